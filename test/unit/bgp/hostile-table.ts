// test/unit/bgp: the hostile cases: every attribute with every mistake, by RFC 4271, 4760, 5065, 6608, 6793, 7313, 7606, 7607, 8092, 8654, 9072, 9774.
import {
  type Attribute,
  attr,
  type Case,
  type Context,
  context,
  type Kind,
  type OpenOptions,
  raw,
  replaced,
  sequence,
  without,
} from "./hostile-cases.ts";

const used = "used";
const withdraw = "withdraw";
const kept = "kept";
const kinds = ["external", "internal"] as const;
/** Any UPDATE error that ends the session. */
const resets = ["reset 3/1", "reset 3/5", "reset 3/9", "reset 3/10"];

export const table: Case[] = [];

interface Options {
  readonly open?: OpenOptions;
  readonly focus?: 4 | 6;
  readonly bytewise?: boolean;
  readonly seen?: Case["seen"];
  readonly kinds?: readonly Kind[];
}
type Expected = string | readonly string[];
const list = (e: Expected): readonly string[] => (typeof e === "string" ? [e] : e);

/** A case for external and internal neighbours; `internal` where the two differ. */
function add(
  name: string,
  external: Expected,
  messages: (c: Context) => Uint8Array[],
  options: Options & { readonly internal?: Expected } = {},
): void {
  for (const kind of options.kinds ?? kinds)
    table.push({
      name: `${name}, ${kind}`,
      kind,
      expected: list(kind === "internal" ? (options.internal ?? external) : external),
      messages,
      focus: options.focus ?? 4,
      ...(options.open ? { open: options.open } : {}),
      ...(options.bytewise ? { bytewise: true } : {}),
      ...(options.seen ? { seen: options.seen } : {}),
      context: (index) => context(kind, options.open, index),
    });
}

/** One UPDATE of the prefix with attributes in place of the base's. */
const with4 =
  (...by: readonly Attribute[]) =>
  (c: Context): Uint8Array[] => [c.update(replaced(c.base, ...by), c.prefix4)];

interface Known {
  readonly code: number;
  readonly name: string;
  readonly flags: number;
  readonly value: (c: Context) => readonly number[];
  /** Lengths that are as they should be, among 0..40. */
  readonly fits: (length: number, c: Context) => boolean;
  readonly wrong: typeof used | typeof withdraw;
  /** From an external neighbour it is discarded whatever it looks like. */
  readonly internalOnly?: true;
  readonly notWithAs4?: true;
}
const n32 = [0, 0, 0, 9];
const ones = (n: number): number[] => Array.from({ length: n }, (_, i) => 1 + i);
const multiple = (size: number) => (length: number) => length > 0 && length % size === 0;
const exactly = (size: number) => (length: number) => length === size;

const known: readonly Known[] = [
  { code: 1, name: "ORIGIN", flags: 0x40, value: () => [0], fits: exactly(1), wrong: withdraw },
  {
    code: 2,
    name: "AS_PATH",
    flags: 0x40,
    value: (c) => c.path(64701).slice(3),
    fits: () => true,
    wrong: withdraw,
  },
  { code: 3, name: "NEXT_HOP", flags: 0x40, value: (c) => c.hop4, fits: exactly(4), wrong: withdraw },
  { code: 4, name: "MULTI_EXIT_DISC", flags: 0x80, value: () => n32, fits: exactly(4), wrong: withdraw },
  {
    code: 5,
    name: "LOCAL_PREF",
    flags: 0x40,
    value: () => n32,
    fits: exactly(4),
    wrong: withdraw,
    internalOnly: true,
  },
  { code: 6, name: "ATOMIC_AGGREGATE", flags: 0x40, value: () => [], fits: exactly(0), wrong: used },
  {
    code: 7,
    name: "AGGREGATOR",
    flags: 0xc0,
    value: (c) => (c.as4 ? [0, 0, 0xfd, 0xe9, 1, 2, 3, 4] : [0xfd, 0xe9, 1, 2, 3, 4]),
    fits: (n, c) => n === (c.as4 ? 8 : 6),
    wrong: used,
  },
  { code: 8, name: "COMMUNITIES", flags: 0xc0, value: () => n32, fits: multiple(4), wrong: withdraw },
  {
    code: 9,
    name: "ORIGINATOR_ID",
    flags: 0x80,
    value: () => n32,
    fits: exactly(4),
    wrong: withdraw,
    internalOnly: true,
  },
  {
    code: 10,
    name: "CLUSTER_LIST",
    flags: 0x80,
    value: () => n32,
    fits: multiple(4),
    wrong: withdraw,
    internalOnly: true,
  },
  {
    code: 16,
    name: "EXTENDED_COMMUNITIES",
    flags: 0xc0,
    value: () => [0, 2, 0, 1, 0, 0, 0, 9],
    fits: multiple(8),
    wrong: withdraw,
  },
  {
    code: 32,
    name: "LARGE_COMMUNITY",
    flags: 0xc0,
    value: () => ones(12),
    fits: multiple(12),
    wrong: withdraw,
  },
];

for (const k of known) {
  for (const flags of [0x00, 0x40, 0x80, 0xc0])
    for (const extra of [0x00, 0x10, 0x20, 0x0f, 0x3f]) {
      const right = flags === k.flags;
      // What an external neighbour must not send may be looked at before it is thrown away, or not.
      const external = right ? used : k.internalOnly ? [withdraw, used] : withdraw;
      add(
        `${k.name} with flags ${(flags | extra).toString(16)}`,
        external,
        (c) => with4(attr(flags | extra, k.code, k.value(c)))(c),
        {
          internal: right ? used : withdraw,
        },
      );
    }
  if (k.code !== 2)
    for (const length of [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 16, 20, 24, 255, 256, 300])
      for (const as4 of k.code === 7 ? [true, false] : [true]) {
        const c0 = context("internal", { as4 }, 0);
        const value = (c: Context): readonly number[] =>
          k.fits(length, c) && length === k.value(c).length ? k.value(c) : ones(length).map((n) => n & 0x3f);
        const fits = k.fits(length, c0);
        add(
          `${k.name} of ${length} octets${as4 ? "" : " on a 2-octet session"}`,
          fits || k.internalOnly ? used : k.wrong,
          (c) => with4(attr(k.flags, k.code, value(c)))(c),
          {
            internal: fits ? used : k.wrong,
            open: { as4 },
          },
        );
      }
  // The attribute runs over the end of the attributes, last and alone.
  for (const over of [1, 200])
    add(`${k.name} runs over the end by ${over}`, withdraw, (c) => {
      const value = k.value(c);
      return [
        c.update([...without(c.base, k.code), [k.flags, k.code, value.length + over, ...value]], c.prefix4),
      ];
    });
  if ([1, 2, 3].includes(k.code) || k.code === 5)
    add(
      `${k.name} missing`,
      k.code === 5 ? used : withdraw,
      (c) => [c.update(without(c.base, k.code), c.prefix4)],
      {
        internal: k.code === 5 ? [withdraw, used] : withdraw,
      },
    );
  // A second one is discarded, however it looks.
  const again = (c: Context, second: Attribute): Uint8Array[] => [
    c.update([...replaced(c.base, attr(k.flags, k.code, k.value(c))), second], c.prefix4),
  ];
  add(`${k.name} twice`, used, (c) => again(c, attr(k.flags, k.code, k.value(c))));
  add(`${k.name} again, malformed`, used, (c) => again(c, attr(k.flags, k.code, ones(7))));
}

for (const origin of [0, 1, 2, 3, 4, 127, 255])
  add(`ORIGIN ${origin}`, origin <= 2 ? used : withdraw, with4(attr(0x40, 1, [origin])));

// AS_PATH, as the neighbour's AS in front and a tail.
const tail = (c: Context, more: readonly number[]): Attribute => {
  const head = c.kind === "external" ? sequence([c.asn], c.as4 ? 4 : 2) : [];
  return attr(0x40, 2, [...head, ...more]);
};
for (const as4 of [true, false]) {
  const n = as4 ? 4 : 2;
  const session = as4 ? "" : " on a 2-octet session";
  const asNumber = as4 ? [0, 0, 0xfc, 0xbd] : [0xfc, 0xbd];
  const zero = new Array<number>(n).fill(0);
  const paths: readonly [string, Expected, readonly number[]][] = [
    ["a sequence of one", used, [2, 1, ...asNumber]],
    ["a sequence of 255", used, [2, 255, ...new Array<number[]>(255).fill(asNumber).flat()]],
    ["two sequences", used, [2, 1, ...asNumber, 2, 1, ...asNumber]],
    ["a set (RFC 9774)", [withdraw, used], [1, 1, ...asNumber]],
    ["segment type 0", withdraw, [0, 1, ...asNumber]],
    ["segment type 5", withdraw, [5, 1, ...asNumber]],
    ["segment type 255", withdraw, [255, 1, ...asNumber]],
    ["a confederation sequence (RFC 5065)", withdraw, [3, 1, ...asNumber]],
    ["a confederation set (RFC 5065)", withdraw, [4, 1, ...asNumber]],
    ["an empty sequence", withdraw, [2, 0]],
    ["an empty set", withdraw, [1, 0]],
    ["an empty segment after a good one", withdraw, [2, 1, ...asNumber, 2, 0]],
    ["a segment that runs over the end", withdraw, [2, 2, ...asNumber]],
    ["a segment of 255 that runs over the end", withdraw, [2, 255, ...asNumber]],
    ["one octet left over", withdraw, [2, 1, ...asNumber, 2]],
    ["half an AS number", withdraw, [2, 1, ...asNumber.slice(0, n - 1)]],
    ["AS 0 (RFC 7607)", withdraw, [2, 1, ...zero]],
    ["AS 0 in the middle (RFC 7607)", withdraw, [2, 3, ...asNumber, ...zero, ...asNumber]],
    ["AS 0 in a set (RFC 7607)", withdraw, [1, 1, ...zero]],
  ];
  for (const [name, expected, more] of paths)
    add(`AS_PATH with ${name}${session}`, expected, (c) => with4(tail(c, more))(c), { open: { as4 } });
}
add(
  "AS_PATH of 4-octet numbers on a 2-octet session",
  withdraw,
  (c) => with4(attr(0x40, 2, sequence([c.asn, 64701])))(c),
  {
    open: { as4: false },
  },
);
add("AS_PATH of 2-octet numbers on a 4-octet session", withdraw, (c) =>
  with4(attr(0x40, 2, sequence([c.asn, 64701, 64702], 2)))(c),
);
add("AS_PATH empty", used, with4(attr(0x40, 2, [])), { kinds: ["internal"] });
add("AS_PATH with our own AS", withdraw, (c) => with4(tail(c, sequence([65000])))(c));

// NEXT_HOP.
const hops: readonly [string, Expected, readonly number[]][] = [
  ["0.0.0.0", withdraw, [0, 0, 0, 0]],
  ["0.1.2.3", withdraw, [0, 1, 2, 3]],
  ["127.0.0.1", withdraw, [127, 0, 0, 1]],
  ["multicast", withdraw, [224, 0, 0, 1]],
  ["class E", withdraw, [240, 0, 0, 1]],
  ["broadcast", withdraw, [255, 255, 255, 255]],
];
for (const [name, expected, hop] of hops) add(`NEXT_HOP ${name}`, expected, with4(attr(0x40, 3, hop)));

// AGGREGATOR, AS4_*.
const aggregator2 = (asn: number): number[] => [asn >> 8, asn & 255, 9, 9, 9, 9];
add("AGGREGATOR AS 0 (RFC 7607)", used, with4(attr(0xc0, 7, [0, 0, 0, 0, 1, 1, 1, 1])), {
  seen: [{ code: 7 }],
});
add("AGGREGATOR AS 0 on a 2-octet session (RFC 7607)", used, with4(attr(0xc0, 7, aggregator2(0))), {
  open: { as4: false },
  seen: [{ code: 7 }],
});
const as4Path = sequence([400_000]);
add("AS4_PATH on a 4-octet session", used, with4(attr(0xc0, 17, as4Path)), { seen: [{ code: 17 }] });
add("AS4_AGGREGATOR on a 4-octet session", used, with4(attr(0xc0, 18, ones(8))), { seen: [{ code: 18 }] });
for (const [name, value] of [
  ["empty segment", [2, 0]],
  ["overrun", [2, 2, 0, 6, 26, 128]],
  ["segment type 9", [9, 1, 0, 6, 26, 128]],
  ["AS 0 (RFC 7607)", [2, 1, 0, 0, 0, 0]],
  ["odd length", [2, 1, 0, 6, 26]],
  ["one octet", [2]],
] as const)
  add(`AS4_PATH malformed: ${name}`, used, with4(attr(0xc0, 17, value)), { open: { as4: false } });
add(
  "AS4_PATH with a confederation segment (RFC 6793 6)",
  used,
  with4(attr(0xc0, 17, [3, 1, 0, 0, 0, 9, ...as4Path])),
  {
    open: { as4: false },
  },
);
for (const length of [0, 4, 6, 7, 9])
  add(
    `AS4_AGGREGATOR of ${length} octets`,
    used,
    with4(attr(0xc0, 7, aggregator2(23456)), attr(0xc0, 18, ones(length))),
    {
      open: { as4: false },
    },
  );
add(
  "AS4_AGGREGATOR AS 0 (RFC 7607)",
  used,
  with4(attr(0xc0, 7, aggregator2(23456)), attr(0xc0, 18, [0, 0, 0, 0, 1, 1, 1, 1])),
  { open: { as4: false } },
);
add(
  "AGGREGATOR and AS4_AGGREGATOR that disagree: AS4_* do not count",
  used,
  (c) =>
    with4(
      attr(0x40, 2, sequence(c.kind === "external" ? [c.asn, 23456] : [23456], 2)),
      attr(0xc0, 7, aggregator2(64999)),
      attr(0xc0, 17, as4Path),
      attr(0xc0, 18, ones(8)),
    )(c),
  { open: { as4: false }, seen: [{ code: 7, is: [0xc0, 7, 8, 0, 0, 0xfd, 0xe7, 9, 9, 9, 9] }] },
);
for (const code of [17, 18])
  for (const flags of [0x00, 0x40, 0x80])
    add(
      `AS4 attribute ${code} with flags ${flags.toString(16)}`,
      [withdraw, used],
      with4(attr(flags, code, code === 17 ? as4Path : ones(8))),
      {
        open: { as4: false },
      },
    );

// What nobody knows.
for (const code of [0, 11, 12, 13, 99, 128, 200, 254, 255])
  for (const flags of [0x00, 0x20, 0x40, 0x60, 0x80, 0xa0, 0xc0, 0xe0])
    for (const long of code === 99 || code === 254 ? [0, 0x10] : [0]) {
      const optional = (flags & 0x80) !== 0;
      const transitive = (flags & 0x40) !== 0;
      add(
        `unknown attribute ${code} with flags ${(flags | long).toString(16)}`,
        optional ? used : ["reset 3/2", withdraw],
        with4(attr(flags | long, code, [1, 2, 3])),
        optional ? { seen: [transitive ? { code, is: [0xe0, code, 3, 1, 2, 3] } : { code }] } : {},
      );
    }
for (const length of [0, 1, 255, 256, 1000])
  add(
    `unknown optional transitive of ${length} octets`,
    used,
    with4(
      attr(
        0xc0,
        99,
        ones(length).map((n) => n & 255),
      ),
    ),
  );
add(
  "unknown optional transitive twice: the first counts",
  used,
  (c) => [c.update([...c.base, attr(0xc0, 99, [1]), attr(0xc0, 99, [2])], c.prefix4)],
  { seen: [{ code: 99, is: [0xe0, 99, 1, 1] }] },
);
add("partial bit of COMMUNITIES stays", used, with4(attr(0xe0, 8, n32)), {
  seen: [{ code: 8, is: [0xe0, 8, 4, ...n32] }],
});
add("COMMUNITIES with the extended length bit", used, with4(attr(0xd0, 8, n32)), {
  seen: [{ code: 8, is: [0xc0, 8, 4, ...n32] }],
});
add(
  "LOCAL_PREF, ORIGINATOR_ID and CLUSTER_LIST do not get out",
  used,
  with4(attr(0x40, 5, n32), attr(0x80, 9, n32), attr(0x80, 10, n32)),
  {
    seen: [{ code: 5 }, { code: 9 }, { code: 10 }],
  },
);
add("MULTI_EXIT_DISC does not get out", used, with4(attr(0x80, 4, n32)), { seen: [{ code: 4 }] });
for (const [name, community] of [
  ["NO_EXPORT", [255, 255, 255, 1]],
  ["NO_ADVERTISE", [255, 255, 255, 2]],
] as const)
  add(`${name} is obeyed`, withdraw, with4(attr(0xc0, 8, community)));
add(
  "large communities twice are told once (RFC 8092 5)",
  used,
  with4(attr(0xc0, 32, [...ones(12), ...ones(12)])),
  {
    seen: [{ code: 32, is: [0xc0, 32, 12, ...ones(12)] }],
  },
);

// The frame of the attributes.
for (const [name, rest] of [
  ["one octet", [0x80]],
  ["two octets", [0x80, 4]],
  ["three octets with the extended length bit", [0x90, 4, 0]],
] as const)
  add(`${name} left over at the end of the attributes`, withdraw, (c) => [
    c.update([...c.base, rest], c.prefix4),
  ]);
add("no attributes at all", withdraw, (c) => [c.update([], c.prefix4)]);
add("attributes in reverse order", used, (c) => [c.update([...c.base].reverse(), c.prefix4)]);
add("NLRI is found by the total length, whatever an attribute says", withdraw, (c) => [
  c.update([...c.base, [0x40, 6, 3]], [...c.prefix4, ...c.second4]),
]);
add("two errors: the stronger counts", withdraw, with4(attr(0x40, 6, [0]), attr(0x80, 4, [1])));
add("an error and no route in sight", "reset 3/1", (c) => [c.update([attr(0x40, 1, [3])], [])]);
add("a discard and no route in sight", kept, (c) => [c.update([attr(0x40, 1, [0]), attr(0x40, 6, [0])], [])]);
add("an error beside a withdrawal only", ["reset 3/1"], (c) => [
  c.update([attr(0x40, 1, [3])], [], c.second4),
]);
add("an error beside a withdrawal and routes", withdraw, (c) => [
  c.update(replaced(c.base, attr(0x40, 1, [3])), c.prefix4, c.second4),
]);
add("attributes and no route", kept, (c) => [c.update(c.base, [])]);
add("a withdrawal of what was never there", kept, (c) => [c.update([], [], [24, 99, 9, 9])]);
add("a withdrawal", withdraw, (c) => [c.update([], [], c.prefix4)]);
add("a withdrawal and the same route", used, (c) => [c.update(c.base, c.prefix4, c.prefix4)]);
add("the same route twice in one message", used, (c) => [c.update(c.base, [...c.prefix4, ...c.prefix4])]);
add("an empty UPDATE", kept, () => [raw(2, [0, 0, 0, 0])]);
add("500 withdrawals", kept, (c) => [
  c.update([], [], Array.from({ length: 500 }, (_, i) => [24, 99, i >> 8, i & 255]).flat()),
]);

// NLRI and lengths.
for (const bits of [33, 34, 64, 128, 129, 255])
  add(`NLRI of ${bits} bits`, "reset 3/10", (c) => [c.update(c.base, [bits, ...ones((bits + 7) >> 3)])]);
add("NLRI truncated", "reset 3/10", (c) => [c.update(c.base, [24, 198, 51])]);
add("NLRI of one octet", "reset 3/10", (c) => [c.update(c.base, [...c.prefix4, 24])]);
add("withdrawn routes of 33 bits", ["reset 3/10", "reset 3/1"], (c) => [
  c.update(c.base, c.prefix4, [33, ...ones(5)]),
]);
add("withdrawn routes truncated", ["reset 3/10", "reset 3/1"], (c) => [
  c.update(c.base, c.prefix4, [24, 1, 2]),
]);
add("withdrawn length runs over the message", "reset 3/1", () => [raw(2, [0, 9, 0, 0])]);
add("attribute length runs over the message", "reset 3/1", () => [raw(2, [0, 0, 0, 9])]);
add("attribute length runs over the message by one", "reset 3/1", (c) => {
  const flat = c.base.flat();
  return [raw(2, [0, 0, 0, flat.length + 1, ...flat])];
});
add("bits beyond the length are ignored", used, (c) => [
  c.update(c.base, [23, 20, c.prefix4[2]!, c.prefix4[3]! | 1, ...c.prefix4]),
]);
add("a default route", used, (c) => [c.update(c.base, [0, ...c.prefix4])]);
for (const [name, nlri] of [
  ["127.0.0.0/8", [8, 127]],
  ["multicast", [4, 224]],
  ["broadcast", [32, 255, 255, 255, 255]],
  ["0.1.2.0/24", [24, 0, 1, 2]],
] as const)
  add(`a prefix that is no host's is left out, the rest used: ${name}`, used, (c) => [
    c.update(c.base, [...nlri, ...c.prefix4]),
  ]);

// Multiprotocol.
const six = { focus: 6 } as const;
const base6 = (c: Context): readonly Attribute[] => without(c.base, 3);
const mp = (c: Context, value: readonly number[], flags = 0x80, code = 14): Uint8Array[] => [
  c.update([...base6(c), attr(flags, code, value)], []),
];
add("MP_REACH_NLRI", used, (c) => [c.update([...base6(c), c.reach6(c.prefix6)], [])], six);
add("MP_REACH_NLRI first", used, (c) => [c.update([c.reach6(c.prefix6), ...base6(c)], [])], six);
add(
  "MP_REACH_NLRI with the extended length bit",
  used,
  (c) => mp(c, [0, 2, 1, 16, ...c.hop6, 0, ...c.prefix6], 0x90),
  six,
);
add(
  "MP_REACH_NLRI with a reserved octet that is not 0",
  used,
  (c) => mp(c, [0, 2, 1, 16, ...c.hop6, 7, ...c.prefix6]),
  six,
);
add(
  "MP_REACH_NLRI with global and link-local next hop",
  used,
  (c) => mp(c, [0, 2, 1, 32, ...c.hop6, 0xfe, 0x80, ...new Array<number>(13).fill(0), 1, 0, ...c.prefix6]),
  six,
);
for (const flags of [0x00, 0x40, 0xc0])
  add(
    `MP_REACH_NLRI with flags ${flags.toString(16)}`,
    withdraw,
    (c) => mp(c, [0, 2, 1, 16, ...c.hop6, 0, ...c.prefix6], flags),
    six,
  );
for (const flags of [0x00, 0x40, 0xc0])
  add(
    `MP_UNREACH_NLRI with flags ${flags.toString(16)}`,
    [withdraw, "reset 3/1", "reset 3/4"],
    (c) => [c.update([attr(flags, 15, [0, 2, 1, ...c.prefix6])], [])],
    six,
  );
for (const length of [0, 1, 3, 5, 8, 12, 15, 17, 24, 31, 33, 48, 255])
  add(
    `MP_REACH_NLRI with a next hop of ${length} octets`,
    resets,
    (c) => mp(c, [0, 2, 1, length, ...ones(length), 0, ...c.prefix6]),
    six,
  );
add(
  "MP_REACH_NLRI with a next hop that runs over the end",
  resets,
  (c) => mp(c, [0, 2, 1, 200, ...c.hop6, 0, ...c.prefix6]),
  six,
);
for (const length of [0, 1, 2, 3, 4])
  add(`MP_REACH_NLRI of ${length} octets`, resets, (c) => mp(c, [0, 2, 1, 16].slice(0, length)), six);
for (const length of [0, 1, 2])
  add(`MP_UNREACH_NLRI of ${length} octets`, resets, (c) => mp(c, [0, 2, 1].slice(0, length), 0x80, 15), six);
for (const bits of [129, 200, 255])
  add(
    `MP_REACH_NLRI with NLRI of ${bits} bits`,
    resets,
    (c) => mp(c, [0, 2, 1, 16, ...c.hop6, 0, bits, ...ones((bits + 7) >> 3)]),
    six,
  );
add("MP_REACH_NLRI with truncated NLRI", resets, (c) => mp(c, [0, 2, 1, 16, ...c.hop6, 0, 64, 0x20, 1]), six);
add(
  "MP_UNREACH_NLRI with NLRI of 129 bits",
  resets,
  (c) => mp(c, [0, 2, 1, 129, ...ones(17)], 0x80, 15),
  six,
);
add("MP_UNREACH_NLRI with truncated NLRI", resets, (c) => mp(c, [0, 2, 1, 64, 0x20, 1], 0x80, 15), six);
add(
  "MP_REACH_NLRI twice",
  "reset 3/1",
  (c) => [c.update([...base6(c), c.reach6(c.prefix6), c.reach6(c.prefix6)], [])],
  six,
);
add(
  "MP_UNREACH_NLRI twice",
  "reset 3/1",
  (c) => {
    const a = attr(0x80, 15, [0, 2, 1, ...c.prefix6]);
    return [c.update([a, a], [])];
  },
  six,
);
add("MP_UNREACH_NLRI", withdraw, (c) => [c.update([attr(0x80, 15, [0, 2, 1, ...c.prefix6])], [])], six);
add(
  "MP_UNREACH_NLRI beside attributes",
  withdraw,
  (c) => [c.update([...c.base, attr(0x80, 15, [0, 2, 1, ...c.prefix6])], c.prefix4)],
  six,
);
add("MP_UNREACH_NLRI for IPv4 unicast", withdraw, (c) => [
  c.update([attr(0x80, 15, [0, 1, 1, ...c.prefix4])], []),
]);
add("MP_REACH_NLRI for IPv4 unicast", used, (c) => mp(c, [0, 1, 1, 4, ...c.hop4, 0, ...c.prefix4]));
add(
  "both families in one message",
  used,
  (c) => [c.update([...c.base, c.reach6(c.prefix6)], c.prefix4)],
  six,
);
add(
  "both families in one message with an error",
  withdraw,
  (c) => [c.update([...replaced(c.base, attr(0x40, 1, [9])), c.reach6(c.prefix6)], c.prefix4)],
  six,
);
add("both families in one message with an error, judged by IPv4", withdraw, (c) => [
  c.update([...replaced(c.base, attr(0x40, 1, [9])), c.reach6(c.prefix6)], c.prefix4),
]);
add(
  "reach and unreach of one prefix",
  [used, withdraw],
  (c) => [c.update([...base6(c), c.reach6(c.prefix6), attr(0x80, 15, [0, 2, 1, ...c.prefix6])], [])],
  six,
);
add("an error in an IPv6 route leaves the IPv4 one alone", kept, (c) => [
  c.update([...replaced(base6(c), attr(0x40, 1, [9])), c.reach6(c.prefix6)], []),
]);
add(
  "MP_REACH_NLRI without ORIGIN",
  withdraw,
  (c) => [c.update([...without(base6(c), 1), c.reach6(c.prefix6)], [])],
  six,
);
add(
  "MP_REACH_NLRI without AS_PATH",
  withdraw,
  (c) => [c.update([...without(base6(c), 2), c.reach6(c.prefix6)], [])],
  six,
);
add("MP_REACH_NLRI beside NEXT_HOP", used, (c) => [c.update([...c.base, c.reach6(c.prefix6)], [])], six);
add("IPv4 routes without NEXT_HOP beside MP_REACH_NLRI", withdraw, (c) => [
  c.update([...base6(c), c.reach6(c.prefix6)], c.prefix4),
]);
add("MP_REACH_NLRI without NLRI", kept, (c) => [c.update([...base6(c), c.reach6([])], [])], six);
add(
  "an error beside MP_REACH_NLRI without NLRI",
  "reset 3/1",
  (c) => [c.update([...replaced(base6(c), attr(0x40, 1, [9])), c.reach6([])], [])],
  six,
);
add("End-of-RIB of IPv6", kept, () => [raw(2, [0, 0, 0, 6, 0x80, 15, 3, 0, 2, 1])], six);
for (const [name, hop] of [
  ["::", new Array<number>(16).fill(0)],
  ["::1", [...new Array<number>(15).fill(0), 1]],
  ["multicast", [0xff, 2, ...new Array<number>(13).fill(0), 1]],
] as const)
  add(
    `MP_REACH_NLRI with next hop ${name}`,
    withdraw,
    (c) => [c.update([...base6(c), c.reach6(c.prefix6, hop)], [])],
    six,
  );
for (const [afi, safi] of [
  [1, 2],
  [2, 128],
  [25, 70],
  [16388, 71],
  [0, 0],
  [9, 9],
] as const) {
  const family = [afi >> 8, afi & 255, safi];
  add(`routes of family ${afi}/${safi}, which was not negotiated`, kept, (c) =>
    mp(c, [...family, 4, ...c.hop4, 0, 1, 2, 3]),
  );
  add(`withdrawals of family ${afi}/${safi}, which was not negotiated`, kept, (c) =>
    mp(c, [...family, 1, 2, 3], 0x80, 15),
  );
}
add(
  "IPv6 routes where only IPv4 was negotiated",
  kept,
  (c) => [c.update([...base6(c), c.reach6(c.prefix6)], [])],
  {
    open: { families: [1] },
  },
);
add(
  "malformed IPv6 routes where only IPv4 was negotiated",
  [kept, ...resets],
  (c) => mp(c, [0, 2, 1, 16, ...c.hop6, 0, 129, ...ones(17)]),
  {
    open: { families: [1] },
  },
);
for (const [name, nlri] of [
  ["fe80::/64", [64, 0xfe, 0x80, 0, 0, 0, 0, 0, 0]],
  ["multicast", [16, 0xff, 2]],
  ["::1", [128, ...new Array<number>(15).fill(0), 1]],
] as const)
  add(
    `an IPv6 prefix that is no host's is left out, the rest used: ${name}`,
    used,
    (c) => [c.update([...base6(c), c.reach6([...nlri, ...c.prefix6])], [])],
    six,
  );
