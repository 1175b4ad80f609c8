// test: random well-typed programs. `pick(n)` gives 0..n-1; everything else follows from it, so a program is a function of its choices.

export type Pick = (n: number) => number;

export interface Generated {
  readonly source: string;
}

type Kind = "int" | "text" | "inet" | "tuple" | "bool";

interface Scope {
  readonly pick: Pick;
  readonly maps: Map<string, { readonly key: readonly Kind[]; readonly value: Kind | "agg" }>;
  readonly variables: { readonly name: string; readonly kind: Kind }[];
  readonly point: (typeof POINTS)[number];
  /** Names of functions of (int64, string). */
  readonly functions: readonly string[];
  depth: number;
  /** Names given so far, and calls of functions written so far: each is the whole of its body. */
  counter: { n: number; calls: number };
}

/** Attach points with the fields that expressions may use. */
const POINTS = [
  {
    text: "tracepoint:sock:inet_sock_set_state",
    ints: ["args.oldstate", "args.newstate", "args.sport", "args.dport", "args.family"],
    texts: [] as string[],
    inets: ["args.saddr", "args.daddr", "args.saddr_v6", "args.daddr_v6"],
  },
  {
    text: "tracepoint:sched:sched_switch",
    ints: ["args.prev_pid", "args.next_prio", "args.prev_state"],
    texts: ["args.prev_comm", "args.next_comm"],
    inets: [],
  },
  {
    text: "tracepoint:syscalls:sys_enter_openat",
    ints: ["args.flags", "args.mode", "args.dfd"],
    texts: ["str(args.filename)", "str(args.filename, 8)", "str(args.filename, args.mode)"],
    inets: [],
  },
  {
    text: "tracepoint:tcp:tcp_retransmit_skb",
    ints: ["args.state", "args.sport", "args.err"],
    texts: [],
    inets: ["args.saddr", "args.daddr_v6"],
  },
  {
    text: "tracepoint:tcp:tcp_send_reset",
    ints: ["args.state"],
    texts: [],
    inets: ["args.saddr", "args.daddr"],
  },
  { text: "tracepoint:skb:kfree_skb", ints: ["args.protocol", "args.reason"], texts: [], inets: [] },
  {
    text: "tracepoint:sched:sched_process_fork",
    ints: ["args.parent_pid", "args.child_pid"],
    texts: ["args.parent_comm", "args.child_comm"],
    inets: [],
  },
  { text: "kprobe:vfs_read", ints: ["arg0", "arg1", "arg5"], texts: ["str(arg0)"], inets: [] },
  { text: "kretprobe:vfs_read", ints: ["retval"], texts: [], inets: [] },
  { text: "interval:s:1", ints: [], texts: [], inets: [] },
  { text: "profile:hz:99", ints: [], texts: [], inets: [] },
  { text: "BEGIN", ints: [], texts: [], inets: [] },
  { text: "END", ints: [], texts: [], inets: [] },
  {
    text: "rawtracepoint:sched_switch",
    ints: ["args.prev->pid", "args.next->tgid", "arg0"],
    texts: ["args.next->comm"],
    inets: [],
  },
] as const;

const oneOf = <T>(pick: Pick, list: readonly T[]): T => list[pick(list.length)] as T;

const INTS = ["pid", "tid", "uid", "gid", "nsecs", "cpu", "elapsed", "cgroup", "rand", "numaid"];
const NUMBERS = [
  "0",
  "1",
  "2",
  "7",
  "255",
  "4096",
  "0x7fffffff",
  "0x80000000",
  "0xffffffff",
  "1e9",
  "9223372036854775807",
  "0xffffffffffffffff",
  "100ms",
];
const TEXTS = [
  "comm",
  '"a"',
  '"longer text"',
  '"exactly fifteen"',
  '""',
  '"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789"',
];

function integer(s: Scope): string {
  const { pick } = s;
  if (s.depth <= 0) return leaf(s);
  s.depth--;
  try {
    switch (pick(17)) {
      case 0:
      case 1:
        return leaf(s);
      case 2:
      case 3:
      case 4:
        return `(${integer(s)} ${oneOf(pick, ["+", "-", "*", "&", "|", "^"])} ${integer(s)})`;
      case 5:
        return `(${integer(s)} ${oneOf(pick, ["/", "%"])} ${oneOf(pick, [leaf(s), "3", "16", "(pid + 1)"]).replace(/^0$/, "1")})`;
      case 6:
        return `(${integer(s)} ${oneOf(pick, ["<<", ">>"])} ${oneOf(pick, [String(pick(64)), "(cpu & 7)"])})`;
      case 7:
        return `${oneOf(pick, ["-", "~"])}(${integer(s)})`;
      case 8:
        return `(${oneOf(pick, ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"])})(${integer(s)})`;
      case 9:
        return `(${condition(s)} ? ${integer(s)} : ${integer(s)})`;
      case 10:
        return mapRead(s, "int") ?? leaf(s);
      case 11:
        return `strlen(${text(s)})`;
      case 12:
        return `bswap((uint${oneOf(pick, [16, 32, 64])})${integer(s)})`;
      case 13: {
        const v = s.variables.filter((x) => x.kind === "int");
        return v.length > 0 ? `${oneOf(pick, v).name}${oneOf(pick, ["++", "--"])}` : leaf(s);
      }
      case 14:
        return s.point.inets.length > 0 ? `asn(${oneOf(pick, s.point.inets)})` : leaf(s);
      case 15:
        return s.functions.length > 0 && s.counter.calls++ < 3
          ? `${oneOf(pick, s.functions)}(${integer(s)}, ${text(s)})`
          : leaf(s);
      default:
        return `(${integer(s)}, ${text(s)}).0`;
    }
  } finally {
    s.depth++;
  }
}

function leaf(s: Scope): string {
  const { pick } = s;
  const choices = [oneOf(pick, NUMBERS), oneOf(pick, INTS)];
  const variables = s.variables.filter((v) => v.kind === "int");
  if (variables.length > 0) choices.push(oneOf(pick, variables).name);
  if (s.point.ints.length > 0) choices.push(oneOf(pick, s.point.ints), oneOf(pick, s.point.ints));
  return oneOf(pick, choices);
}

function text(s: Scope): string {
  const { pick } = s;
  const choices: string[] = [oneOf(pick, TEXTS)];
  const variables = s.variables.filter((v) => v.kind === "text");
  if (variables.length > 0) choices.push(oneOf(pick, variables).name);
  if (s.point.texts.length > 0) choices.push(oneOf(pick, s.point.texts));
  if (s.depth > 0) {
    s.depth--;
    if (pick(4) === 0) choices.push(`(${condition(s)} ? ${text(s)} : ${text(s)})`);
    const read = pick(4) === 0 ? mapRead(s, "text") : undefined;
    if (read) choices.push(read);
    if (pick(6) === 0) choices.push(`(1, ${text(s)}).1`);
    s.depth++;
  }
  return oneOf(pick, choices);
}

function inet(s: Scope): string {
  const { pick } = s;
  if (s.point.inets.length === 0) return `ntop((uint32)${leaf(s)})`;
  const field = oneOf(pick, s.point.inets);
  return oneOf(pick, [
    `ntop(${field})`,
    `nexthop(${field})`,
    `nexthop(ntop(${field}))`,
    `nexthop(prefix(${field}))`,
  ]);
}

function condition(s: Scope): string {
  const { pick } = s;
  if (s.depth <= 0) return `${leaf(s)} ${oneOf(pick, ["==", "!=", "<", ">", "<=", ">="])} ${leaf(s)}`;
  s.depth--;
  try {
    switch (pick(7)) {
      case 0:
        return `(${condition(s)} ${oneOf(pick, ["&&", "||"])} ${condition(s)})`;
      case 1:
        return `!(${condition(s)})`;
      case 2:
        return `${text(s)} ${oneOf(pick, ["==", "!="])} ${text(s)}`;
      case 3:
        return `(${integer(s)})`;
      case 4:
        return s.point.inets.length > 0
          ? oneOf(pick, [
              `cluster(${oneOf(pick, s.point.inets)}) == "dc1"`,
              `prefix(${oneOf(pick, s.point.inets)}) == "10.0.0.0/8"`,
              `node != "n1"`,
            ])
          : `(${integer(s)}, ${text(s)}) == (${integer(s)}, ${text(s)})`;
      default:
        return `${integer(s)} ${oneOf(pick, ["==", "!=", "<", ">", "<=", ">="])} ${integer(s)}`;
    }
  } finally {
    s.depth++;
  }
}

function value(s: Scope, kind: Kind): string {
  switch (kind) {
    case "int":
      return integer(s);
    case "text":
      return text(s);
    case "inet":
      return inet(s);
    case "bool":
      return `(${condition(s)})`;
    case "tuple":
      return `(${integer(s)}, ${text(s)})`;
  }
}

function mapRead(s: Scope, kind: Kind): string | undefined {
  const fitting = [...s.maps].filter(([, m]) => m.value === kind);
  if (fitting.length === 0) return undefined;
  const [name, map] = oneOf(s.pick, fitting);
  return `${name}${keyOf(s, map.key)}`;
}

const keyOf = (s: Scope, key: readonly Kind[]): string =>
  key.length === 0 ? "" : `[${key.map((k) => value(s, k)).join(", ")}]`;

const KEYS: readonly (readonly Kind[])[] = [
  [],
  [],
  ["int"],
  ["text"],
  ["int", "text"],
  ["text", "int", "int"],
  ["tuple"],
];

function mapFor(s: Scope, wanted: Kind | "agg"): readonly [string, readonly Kind[]] {
  const known = [...s.maps].filter(([, m]) => m.value === wanted && wanted !== "agg");
  if (known.length > 0 && s.pick(2) === 0) {
    const [name, map] = oneOf(s.pick, known);
    return [name, map.key];
  }
  const name = `@m${s.counter.n++}`;
  const inets: readonly (readonly Kind[])[] = s.point.inets.length > 0 ? [["inet"], ["inet", "int"]] : [];
  const key = oneOf(s.pick, [...KEYS, ...inets]);
  s.maps.set(name, { key, value: wanted });
  return [name, key];
}

function statement(s: Scope): string {
  const { pick } = s;
  switch (pick(20)) {
    case 15:
      return loop(s);
    case 16:
      return loop(s);
    case 17:
      return oneOf(pick, [
        () => `printf("%r %rx\\n", buf(${text(s)}), buf(curtask, ${integer(s)}));`,
        () => `print(strncmp(${text(s)}, ${text(s)}, ${pick(20)}));`,
        () => `@has = strcontains(${text(s)}, ${oneOf(pick, ['"ab"', text(s)])});`,
        () => `@where = strstr(${text(s)}, ${oneOf(pick, ['"a"', text(s)])});`,
        () => `print(memcmp(${text(s)}, ${text(s)}, ${pick(40)}));`,
        () => `debugf("%d %s", ${integer(s)}, ${text(s)});`,
        () => {
          const name = `$at${s.counter.n++}`;
          const kind = oneOf<Kind>(pick, ["int", "text", "tuple"]);
          return `${name} = ${value(s, kind)}; ${name}p = &${name}; print(*${name}p); ${name} = *${name}p;`;
        },
        () => "print(&@steps); @steps++;",
        () => `print((uint8[4])(uint32)${leaf(s)});`,
        () =>
          `$arr${s.counter.n} = (uint8[8])(uint64)${leaf(s)}; print($arr${s.counter.n}[${leaf(s).replace(/^(0x|[0-9]).*/, "nsecs")}]); print($arr${s.counter.n++}[3]);`,
        () => `printf("%s", strftime("%H", ${integer(s)}));`,
        () => `printf("%s %s", username, strerror(${integer(s)}));`,
      ])();
    case 18:
      return s.point.text === "BEGIN" || s.point.text === "END"
        ? "@steps++;"
        : oneOf(pick, [
            `@st[kstack(${1 + pick(20)})] = count();`,
            "@us[ustack, comm] = count();",
            'printf("%s", kstack(perf, 3));',
            `@ln = len(kstack(${1 + pick(5)}));`,
          ]);
    case 19: {
      const keyed = [...s.maps].filter(([, m]) => m.key.length > 0);
      return keyed.length > 0 ? `@count = len(${oneOf(pick, keyed)[0]});` : "@steps++;";
    }
    case 0:
    case 1: {
      const [name, key] = mapFor(s, "agg");
      const f = oneOf(pick, [
        () => "count()",
        () => `sum(${integer(s)})`,
        () => `min(${integer(s)})`,
        () => `max(${integer(s)})`,
        () => `avg(${integer(s)})`,
        () => `stats(${integer(s)})`,
        () => `hist(${integer(s)})`,
        () => `hist(${integer(s)}, ${pick(6)})`,
        () => `lhist(${integer(s)}, ${pick(10) - 5}, ${10 + pick(100)}, ${1 + pick(5)})`,
        () =>
          `tseries(${integer(s)}, ${oneOf(pick, ["1s", "10ms", "7"])}, ${1 + pick(20)}${oneOf(pick, ["", ...["avg", "sum", "min", "max"].map((how) => `, "${how}"`)])})`,
      ]);
      return `${name}${keyOf(s, key)} = ${f()};`;
    }
    case 2:
    case 3: {
      const kind = oneOf<Kind>(pick, ["int", "int", "text", "tuple", "inet", "bool"]);
      const made = value(s, kind);
      const [name, key] = mapFor(s, kind);
      return `${name}${keyOf(s, key)} = ${made};`;
    }
    case 4: {
      const kind = oneOf<Kind>(pick, ["int", "text", "tuple"]);
      const made = value(s, kind);
      const name = `$v${s.counter.n++}`;
      s.variables.push({ name, kind });
      return `${name} = ${made};`;
    }
    case 5: {
      const v = s.variables.filter((x) => x.kind === "int");
      if (v.length === 0) return "@steps++;";
      return `${oneOf(pick, v).name} ${oneOf(pick, ["=", "+=", "-=", "*=", "|=", "^=", "&="])} ${integer(s)};`;
    }
    case 6:
      return `printf("%d %s %x|%5d|%-8s\\n", ${integer(s)}, ${text(s)}, ${integer(s)}, ${integer(s)}, ${text(s)});`;
    case 7:
      return `print(${value(s, oneOf<Kind>(pick, ["int", "text", "tuple", "bool"]))});`;
    case 8:
      return inner(
        s,
        (body, other) => `if (${condition(s)}) { ${body()} }${pick(2) === 0 ? ` else { ${other()} }` : ""}`,
      );
    case 9:
      return inner(s, (body) => `unroll(${1 + pick(3)}) { ${body()} }`);
    case 10: {
      const known = [...s.maps];
      if (known.length === 0) return 'time("%H");';
      const [name, map] = oneOf(pick, known);
      if (map.value === "agg") return `print(${name});`;
      return oneOf(pick, [
        () => `delete(${name}${keyOf(s, map.key)});`,
        () => `clear(${name});`,
        () => `print(${name}${map.value === "inet" ? "" : keyOf(s, map.key)});`,
        () => (map.value === "int" ? `${name}${keyOf(s, map.key)}++;` : `print(${name});`),
      ])();
    }
    case 11:
      return s.point.inets.length > 0
        ? `printf("%s %s %s\\n", ${inet(s)}, prefix(${oneOf(pick, s.point.inets)}), cluster(${oneOf(pick, s.point.inets)}));`
        : `printf("%s\\n", ${inet(s)});`;
    case 12:
      return oneOf(pick, [
        `@p[node, pod, namespace] = count();`,
        `@sym[ksym(${leaf(s)})] = count();`,
        "@pr[probe] = count();",
      ]);
    case 13:
      return `@task[curtask->tgid, curtask->comm] = count(); @parent = curtask->real_parent->pid;`;
    default:
      return oneOf(pick, ["exit();", "return;", "@steps++;", 'time("%H");']);
  }
}

function loop(s: Scope): string {
  const { pick } = s;
  return inner(s, (body) => {
    const keyed = [...s.maps].filter(([name, m]) => m.key.length > 0 && name !== "@st" && m.value !== "agg");
    const leave = oneOf(pick, [
      "",
      "",
      "break; ",
      "continue; ",
      `if (${condition(s)}) { break; } `,
      "return; ",
    ]);
    const i = `$i${s.counter.n++}`;
    if (keyed.length > 0 && pick(3) === 0) {
      const [name] = oneOf(pick, keyed);
      return `for (${i} : ${name}) { print(${i}); ${body()} ${leave}}`;
    }
    if (pick(2) === 0) {
      s.variables.push({ name: i, kind: "int" });
      const out = `for (${i} : (${leaf(s).replace(i, "0")} & 7)..(${leaf(s).replace(i, "9")} & 15)) { ${body()} ${leave}}`;
      s.variables.pop();
      return out;
    }
    return `${i} = ${pick(9)}; while (${i} > 0) { ${i}--; ${body()} ${leave}}`;
  });
}

function inner(s: Scope, make: (body: () => string, other: () => string) => string): string {
  if (s.depth <= 0) return "@steps++;";
  const block = (): string => {
    const before = s.variables.length;
    s.depth--;
    const out = statements(s, 1 + s.pick(2));
    s.depth++;
    s.variables.length = before;
    return out;
  };
  return make(block, block);
}

const statements = (s: Scope, n: number): string => Array.from({ length: n }, () => statement(s)).join(" ");

/** A program of one to three probes. `depth` bounds the nesting of expressions and blocks. */
export function generate(pick: Pick, depth = 3): Generated {
  const maps: Scope["maps"] = new Map();
  const counter = { n: 0, calls: 0 };
  const functions: string[] = [];
  const bodies = Array.from({ length: pick(3) }, (_, n) => {
    const point = POINTS.find((p) => p.text === "interval:s:1") ?? POINTS[0];
    const variables = [
      { name: "$a", kind: "int" as const },
      { name: "$s", kind: "text" as const },
    ];
    const s: Scope = { pick, maps, variables, point, depth: 1, counter, functions: [] };
    const body = statements(s, 1 + pick(2));
    const way = oneOf(pick, [
      () => `if (${condition(s)}) { return ${integer(s)}; }`,
      () => `for ($w${n} : 0..($a & 7)) { if (${condition(s)}) { return $w${n}; } }`,
    ]);
    const made = `fn f${n}($a: int64, $s: string[32]): int64 { ${body.replaceAll(/\breturn;/g, "@steps++;")} ${way()} return ${integer(s)}; }`;
    functions.push(`f${n}`);
    return made;
  });
  const probes = Array.from({ length: 1 + pick(2) }, () => {
    const point = oneOf(pick, POINTS);
    const s: Scope = { pick, maps, variables: [], point, depth, counter, functions };
    const predicate =
      point.text !== "BEGIN" && point.text !== "END" && pick(3) === 0 ? ` /${condition(s)}/` : "";
    return `${point.text}${predicate} { ${statements(s, 1 + pick(5))} }`;
  });
  return { source: [...bodies, ...probes].join("\n") };
}

/** xorshift32: the same programs for the same seed everywhere. */
export function picker(seed: number): Pick {
  let x = seed | 0 || 1;
  return (n) => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return (x >>> 0) % n;
  };
}
