// test, script: what programs compute, run in the machine of test/support.
import { describe, expect, test } from "vitest";
import { record, start } from "./run.ts";

/** What BEGIN prints. */
const prints = (body: string, positional: readonly string[] = []): string =>
  start(`BEGIN { ${body} }`, { positional, unsafe: true }).output();

describe("integers", () => {
  test.each([
    ["1 + 2 * 3", "7"],
    ["(1 + 2) * 3", "9"],
    ["10 - 3 - 2", "5"],
    ["7 / 2", "3"],
    ["-7 / 2", "-3"],
    ["7 % 3", "1"],
    ["-7 % 3", "-1"],
    ["1 << 40", "1099511627776"],
    ["0xff & 0x0f | 0x100", "271"],
    ["5 ^ 1", "4"],
    ["~0", "-1"],
    ["!5", "false"],
    ["1e3", "1000"],
    ["1_000", "1000"],
    ["0x10", "16"],
    ["3 > 2", "true"],
    ["-1 > 1", "false"],
    ["1 && 0 || 1", "true"],
    ["(uint8)257", "1"],
    ["(int8)200", "-56"],
    ["(int32)0xffffffff", "-1"],
    ["2ms", "2000000"],
    ["1 ? 2 : 3", "2"],
    ["sizeof(uint32)", "4"],
    ["sizeof(struct sock_common)", "136"],
    ["offsetof(struct sock_common, skc_net)", "48"],
    ["018446744073709551615 == 0 ? 1 : 2", "2"],
  ])("%s is %s", (expression, value) => {
    expect(prints(`print(${expression});`)).toBe(`${value}\n`);
  });

  test.each([
    ["$a + $b", "10"],
    ["$a - $b", "-4"],
    ["$a * $b", "21"],
    ["$b / $a", "2"],
    ["$b % $a", "1"],
    ["-$b / $a", "-2"],
    ["-$b % $a", "-1"],
    ["$b / -$a", "-2"],
    ["$a << 2", "12"],
    ["-$b >> 1", "-4"],
    ["$a < $b", "true"],
    ["-$a < $b", "true"],
    ["$a == 3 && $b == 7", "true"],
    ["$a == 4 || $b == 8", "false"],
    ["!$a", "false"],
    ["~$a", "-4"],
    ["$a > 2 ? $b : 0", "7"],
    ["$a++ + $a", "7"],
    ["++$a", "4"],
    ["$a--", "3"],
    ["(uint8)($b * 100)", "188"],
    ["(int8)($b * 100)", "-68"],
    ["$b / ($a - 3)", "1"],
    ["bswap((uint16)0x1234)", "13330"],
    ["bswap((uint32)0x12345678)", "2018915346"],
  ])("%s with $a = 3 and $b = 7 is %s", (expression, value) => {
    expect(prints(`$a = pid - 97; $b = tid - 94; print(${expression});`)).toBe(`${value}\n`);
  });

  test("assignments with an operator", () => {
    expect(prints("$a = 5; $a += 3; $a *= 2; $a -= 1; $a /= 3; $a <<= 2; $a |= 1; $a ^= 3; print($a);")).toBe(
      "22\n",
    );
  });
});

describe("strings", () => {
  test.each([
    ['"a" == "a"', "true"],
    ['comm == "test"', "true"],
    ['comm == "tes"', "false"],
    ['comm == "testing"', "false"],
    ['comm != "x"', "true"],
    ['"abc"', "abc"],
    ['"a" "b"', "ab"],
    ['strlen("abcd")', "4"],
    ['strcap("abcd")', "4"],
    ["strcap(comm)", "15"],
    ["strlen(comm)", "4"],
    ['pid == 100 ? "yes" : "no"', "yes"],
    ['(1, "a", (2, comm))', "(1, a, (2, test))"],
    ['(1, ("b", 2)).1.0', "b"],
  ])("%s prints %s", (expression, value) => {
    expect(prints(`print(${expression});`)).toBe(`${value}\n`);
  });

  test("a variable takes the size of what is longest", () => {
    expect(prints('$s = "a"; $s = "longer"; print($s); $s = "b"; print($s);')).toBe("longer\nb\n");
  });

  test("positional parameters are numbers or strings as they look", () => {
    expect(prints('printf("%d %s %d %s|", $1, str($1), $#, str($2)); print($2 == "ab");', ["42", "ab"])).toBe(
      "42 42 2 ab|true\n",
    );
    expect(prints('printf("%d %s|", $3, str($3));', [])).toBe("0 |");
  });

  test("escapes", () => {
    expect(prints('printf("a\\tb\\n\\x41\\101\\\\\\"");')).toBe('a\tb\nAA\\"');
  });
});

describe("printf", () => {
  test.each([
    ['"%d|%5d|%-5d|%05d|%x|%X", 1, 2, 3, 4, 255, 255', "1|    2|3    |00004|ff|FF"],
    ['"%s|%10s|%-10s|%.2s", "hi", "r", "l", "cut"', "hi|         r|l         |cu"],
    ['"%c%c %p %o %+d", 65, 66, 255, 8, 3', "AB 0xff 10 +3"],
    ['"%lld %llu %lx %%", -1, 1, 255', "-1 1 ff %"],
    ['"%#x %u", 255, 3', "0xff 3"],
    ['"%d", (int8)-3', "-3"],
    ['"%s", 1 == 1', "true"],
  ])("printf(%s)", (args, text) => {
    expect(prints(`printf(${args});`)).toBe(text);
  });
});

describe("maps", () => {
  test("scalars, keys, several keys, steps, deletion", () => {
    const run = start(`BEGIN {
      @scalar = 5; @text = comm; @one[1] = 2; @one[2] = 1; @two[1, "a"] = 3; @two[1, "b"]++; @two[1, "b"]++;
      @gone[1] = 1; delete(@gone[1]); @gone2[1] = 1; delete(@gone2, 1); @read = @one[1] + @one[9];
      @has = has_key(@one, 1) ? 10 : 20; @hasnt = has_key(@one, 7) ? 10 : 20; @neg--; @tuple[(1, 2)] = 3;
    }`);
    expect(run.maps()).toBe(
      [
        "@has: 10",
        "@hasnt: 20",
        "@neg: -1",
        "@one[2]: 1",
        "@one[1]: 2",
        "@read: 2",
        "@scalar: 5",
        "@text: test",
        "@tuple[1, 2]: 3",
        "@two[1, b]: 2",
        "@two[1, a]: 3",
        "",
      ].join("\n"),
    );
  });

  test("aggregates of several CPUs are added up", () => {
    const run =
      start(`i:s:1 { @c = count(); @s = sum(2); @a = avg(cpu); @st = stats(10 + cpu); @mi = min(cpu + 3);
      @ma = max(cpu); @k[cpu] = count(); @kc[1] = count(); @ks[1] = sum(-5); }`);
    run.fire();
    run.vm.cpu = 1;
    run.fire().fire();
    expect(run.maps()).toBe(
      [
        "@a: 0",
        "@c: 3",
        "@k[0]: 1",
        "@k[1]: 2",
        "@kc[1]: 3",
        "@ks[1]: -15",
        "@ma: 1",
        "@mi: 3",
        "@s: 6",
        "@st: { .count = 3, .average = 10, .total = 32 }",
        "",
      ].join("\n"),
    );
  });

  test("an aggregate in an expression is read from all CPUs", () => {
    const run = start("i:s:1 { @c[1] = count(); @m = max(cpu + 1); @r = @c[1] * 100 + @m; }");
    run.fire();
    run.vm.cpu = 1;
    run.fire();
    expect(run.maps()).toContain("@r: 202");
  });

  test("histograms", () => {
    const run = start(
      "BEGIN { @h = hist(-3); @h = hist(0); @h = hist(1); @h = hist(5); @h = hist(5); @h2[1] = hist(1500); @l = lhist(-1, 0, 20, 5); @l = lhist(7, 0, 20, 5); @l = lhist(20, 0, 20, 5); }",
    );
    const bar = (n: number): string => `|${"@".repeat(n).padEnd(52)}|`;
    expect(run.maps()).toBe(
      [
        "@h:",
        `(..., 0)               1 ${bar(26)}`,
        `[0]                    1 ${bar(26)}`,
        `[1]                    1 ${bar(26)}`,
        `[2, 4)                 0 ${bar(0)}`,
        `[4, 8)                 2 ${bar(52)}`,
        "",
        "@h2[1]:",
        `[1K, 2K)               1 ${bar(52)}`,
        "",
        "@l:",
        `(..., 0)               1 ${bar(52)}`,
        `[0, 5)                 0 ${bar(0)}`,
        `[5, 10)                1 ${bar(52)}`,
        `[10, 15)               0 ${bar(0)}`,
        `[15, 20)               0 ${bar(0)}`,
        `[20, ...)              1 ${bar(52)}`,
        "",
        "",
      ].join("\n"),
    );
  });

  test("hist with bits splits each power of two", () => {
    const run = start("BEGIN { @ = hist(9, 1); @ = hist(13, 1); @ = hist(3, 1); }");
    expect(run.maps().replace(/ +\|.*/g, "")).toBe(
      "@:\n[3]                    1\n[4, 6)                 0\n[6, 8)                 0\n[8, 12)                1\n[12, 16)               1\n\n",
    );
  });

  test("a full map is counted, not silent", () => {
    const run = start("i:s:1 { @[rand] = count(); @n[nsecs] = 1; }", { maxMapKeys: 2 });
    run.fire().fire().fire();
    const [counters] = run.vm.read(run.script.output.counters);
    expect(new DataView((counters?.values[0] ?? new Uint8Array(32)).buffer).getBigUint64(8, true)).toBe(1n);
  });

  test("a full ring is counted", () => {
    const run = start('i:s:1 { printf("x"); }');
    run.vm.ringFull = true;
    run.fire().fire();
    const [counters] = run.vm.read(run.script.output.counters);
    expect(new DataView((counters?.values[0] ?? new Uint8Array(32)).buffer).getBigUint64(0, true)).toBe(2n);
  });
});

describe("control", () => {
  test("if, else if, else", () => {
    const body =
      '$x = pid; if ($x == 1) { print("one"); } else if ($x == 100) { print("hundred"); } else { print("more"); }';
    expect(prints(body)).toBe("hundred\n");
  });
  test("unroll", () => {
    expect(prints("$i = 0; unroll(4) { $i += 2; } print($i);")).toBe("8\n");
  });
  test("exit ends the probe", () => {
    expect(prints('print("a"); exit(); print("b");')).toBe("a\n<exit>");
  });
  test("return ends the probe", () => {
    expect(prints('if (pid == 100) { return; } print("b");')).toBe("");
  });
  test("a predicate", () => {
    const run = start(
      "t:sock:inet_sock_set_state /args.newstate == 1 && args.dport != 179/ { @ = count(); }",
    );
    run.fire(record("sock:inet_sock_set_state", { newstate: 1, dport: 80 }));
    run.fire(record("sock:inet_sock_set_state", { newstate: 1, dport: 179 }));
    run.fire(record("sock:inet_sock_set_state", { newstate: 2, dport: 80 }));
    expect(run.maps()).toBe("@: 1\n");
  });
  test("the gate stops everything but BEGIN and END", () => {
    const run = start("i:s:1 { @ = count(); } END { @end = 1; }");
    run.vm.setGate(false);
    run.fire();
    for (const end of run.script.end) run.vm.run(end);
    expect(run.maps()).toBe("@: 0\n@end: 1\n");
  });
  test("ternaries of actions", () => {
    expect(prints('pid == 100 ? print("y") : print("n"); pid == 1 ? exit() : 0;')).toBe("y\n");
  });
  test("block expressions and if expressions", () => {
    expect(prints("$a = { $b = 3; $b + 1 }; print($a); print(if (pid == 100) { 1 } else { 2 });")).toBe(
      "4\n1\n",
    );
  });
  test("macros, by expression, variable and map", () => {
    const source =
      "macro add(x, y) { x + y } macro inc($v) { $v++; $v } macro put(@m, k) { @m[k] = 7 } BEGIN { $n = 1; print(add($n, 2)); print(inc($n)); print($n); put(@a, 5); print(@a[5]); }";
    expect(start(source).output()).toBe("3\n2\n2\n7\n");
  });
});

describe("loops", () => {
  test.each([
    ["for ($i : 0..4) { print($i); }", "0\n1\n2\n3\n"],
    ["for ($i : (-2)..1) { print($i); }", "-2\n-1\n0\n"],
    ["for $i : 3..3 { print($i); }", ""],
    ["for ($i : 5..1) { print($i); }", ""],
    ["for ($i : 0..9) { if ($i == 1) { continue; } if ($i == 3) { break; } print($i); }", "0\n2\n"],
    ["$s = 0; for ($i : 0..3) { for ($j : 0..3) { $s += $i * $j; } } print($s);", "9\n"],
    ["$n = 3; while ($n > 0) { $n--; print($n); }", "2\n1\n0\n"],
    ["$n = 0; while (true) { $n++; if ($n == 5) { break; } } print($n);", "5\n"],
    ["for ($i : 0..3) { if ($i == 1) { return; } print($i); } print(9);", "0\n"],
    ["for ($i : 0..3) { for ($j : 0..3) { if ($j == 1) { exit(); } print($j); } }", "0\n<exit>"],
    ["@a = 3; for ($i : 0..@a) { @a++; } print((@a, 1));", "(6, 1)\n"],
    ["@m[1] = 2; @m[3] = 4; $s = 0; for ($kv : @m) { $s += $kv.0 * $kv.1; } print($s);", "14\n"],
    ['@m["k", 1] = 2; for ($kv : @m) { print($kv); print($kv.0.0); }', "((k, 1), 2)\nk\n"],
    ["@c[7] = count(); @c[7] = count(); for ($kv : @c) { print($kv); }", "(7, 2)\n"],
    ["@m[1] = 1; @m[2] = 1; print(len(@m));", "2\n"],
  ])("%s", (body, text) => {
    expect(prints(body)).toBe(text);
    expect(start(`BEGIN { ${body} }`, { types: withoutLoopHelper }).output()).toBe(text);
  });
});

describe("types", () => {
  test.each([
    ["sizeof(struct Foo)", "24"],
    ["offsetof(struct Foo, c)", "8"],
    ["offsetof(struct Foo, in.s)", "20"],
    ["sizeof(struct Bits)", "4"],
    ["GREEN", "GREEN"],
    ["GREEN + 1", "6"],
    ["(enum color)0", "RED"],
    ["(enum color)44", "44"],
    ["SIZE * 2", "32"],
    ["(uint8[4])(uint32)0x01020304", "[4,3,2,1]"],
    ["(uint8[4])0x01020304", "[4,3,2,1]"],
    ["(int8[8])12345", "[57,48,0,0,0,0,0,0]"],
    ["comptime (1 + 2)", "3"],
    ['comptime is_str("a")', "true"],
    ["pid(init) == pid", "true"],
    ["tid(curr_ns) == tid()", "true"],
    ['kfunc_exist("vfs_read")', "true"],
    ['kfunc_exist("no_such_function")', "false"],
    ["((uint8[4])(uint32)0x01020304)[1]", "3"],
    ["(bool[2])(uint16)1", "[true,false]"],
    ['(a=1, b="x", c=(2, 3))', "{ .a = 1, .b = x, .c = (2, 3) }"],
    ["(a=1, b=2).b", "2"],
    ["((int8)1, (int64)2)", "(1, 2)"],
    ["sizeof(((int8)1, (int64)1, (int8)1, (int64)1))", "32"],
    ["sizeof(((int8)1, (int16)1, (int32)1))", "8"],
    ['(bool)"x"', "true"],
    ['(bool)""', "false"],
    ["is_ptr(curtask)", "true"],
    ["is_str(1)", "false"],
    ['strncmp("hhvm", "hhvm-proc", 4)', "0"],
    ['strncmp("one", "one ", 4)', "1"],
    ['strncmp("wow", comm, 17)', "1"],
    ['strcontains("a test", "tes")', "true"],
    ['strcontains(comm, "es")', "true"],
    ['strcontains(comm, "xx")', "false"],
    ['buf("a\\x01b", 3)', "a\\x01b"],
    ["strerror(1)", "Operation not permitted"],
    ['pton("::1")', "[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,1]"],
    ["comm()", "test"],
    ["__builtin_pid", "100"],
    ["config().max_strlen", "1024"],
    ["probe", "begin"],
    ["username", "1000"],
    ["kstack", "\n"],
  ])("%s is %s", (expression, text) => {
    const source = `#define SIZE 16
      struct Foo { int a; char b; long c; struct { int x; short s; } in; };
      struct Bits { unsigned int a:4, b:8, c:20; };
      enum color { RED, GREEN = 5, BLUE };
      BEGIN { print(${expression}); }`;
    expect(start(source).output()).toBe(`${text}\n`);
  });

  test("structures behind pointers: fields, bit-fields, copies", () => {
    const run = start(`struct In { int x; int y; };
      struct Foo { int m; struct In in; unsigned int a:4, b:8, c:20; char name[6]; struct Foo *next; };
      kprobe:vfs_read { $f = (struct Foo *)arg0; print($f->in.y); print(($f->a, $f->b, $f->c)); print($f->name);
        print($f->next->m); @in = $f->in; print(@in.x); @whole = *$f; $copy = *$f; print($copy.b); }`);
    const foo = new Uint8Array(40);
    const view = new DataView(foo.buffer);
    view.setInt32(0, 7, true);
    view.setInt32(4, -3, true);
    view.setInt32(8, 9, true);
    view.setUint32(12, 5 | (200 << 4) | (77777 << 12), true);
    foo.set(new TextEncoder().encode("hello"), 16);
    const at = run.vm.place(foo);
    view.setBigUint64(24, at, true);
    const live = run.vm.place(foo);
    const registers = new Uint8Array(512);
    const di = (structure("struct pt_regs")?.fields ?? []).find((f) => f.name === "di")?.offset ?? 0;
    new DataView(registers.buffer).setBigUint64(di, live, true);
    run.fire(registers);
    expect(run.output()).toBe("9\n(5, 200, 77777)\nhello\n7\n-3\n200\n");
    expect(run.maps()).toMatch(
      /^@in: { .x = -3, .y = 9 }\n@whole: { .m = 7, .in = { .x = -3, .y = 9 }, .a = 5, .b = 200, .c = 77777, .name = hello, .next = 0x[0-9a-f]+ }\n$/,
    );
  });

  test("named parameters and positional ones", () => {
    const source =
      'BEGIN { print(($1, getopt("aa", 10), $2, getopt("bb", "hello"), getopt("cc"), getopt("dd", true), $#)); }';
    const positional = ["--aa=20", "pos1", "--bb=bye", "pos2", "--cc", "--dd=False"];
    expect(start(source, { positional }).output()).toBe("(pos1, 20, pos2, bye, true, false, 2)\n");
    expect(start("BEGIN { print(str($1 + 1)); }", { positional: ["hello"] }).output()).toBe("ello\n");
  });

  test("text that str() cut gets the trailer, other text does not", () => {
    const source =
      'config = { max_strlen = 4 } t:syscalls:sys_enter_openat { print(str(args.filename)); print("abcd"); }';
    const run = start(source);
    run.fire(
      record("syscalls:sys_enter_openat", { filename: run.vm.place(new TextEncoder().encode("/etc/x\0")) }),
    );
    run.fire(
      record("syscalls:sys_enter_openat", { filename: run.vm.place(new TextEncoder().encode("/et\0")) }),
    );
    expect(run.output()).toBe("/etc..\nabcd\n/et\nabcd\n");
  });
});

describe("0.17", () => {
  const old = { compat: "0.17" } as const;
  test.each([
    ["print(1 == 1);", "1\n"],
    ["if (1) { $x = 5; } print($x);", "5\n"],
    ["if (0) { $x = 5; } print($x);", "0\n"],
    ['printf("%d %u %x", 0x12345678abcdef, -1, -1);', "2024525295 4294967295 ffffffff"],
    [
      'printf("%hhx %hx %lx %p", 0x12345678abcdef, 0x12345678abcdef, 0x12345678abcdef, 0);',
      "ef cdef 12345678abcdef (nil)",
    ],
    ["print((uint64)5 - (uint64)10);", "18446744073709551611\n"],
    ["print(probe);", "BEGIN\n"],
  ])("%s", (body, text) => {
    expect(start(`BEGIN { ${body} }`, old).output()).toBe(text);
  });
  test("maps print as it prints them", () => {
    const run = start(
      'BEGIN { @h = hist(5); @s[1] = stats(4); @k[5] = "q"; @k[-1] = "w"; @b[1 < 2] = 1; @m = min(3); clear(@m); }',
      old,
    );
    expect(run.maps().replace(/ +\|.*/g, "")).toBe(
      "@b[1]: 1\n@h: \n[4, 8)                 1\n\n@k[5]: q\n@k[-1]: w\n@m: 3\n@s[1]: count 1, average 4, total 4\n\n",
    );
  });
});

describe("fields", () => {
  test("of tracepoints: integers, arrays as addresses, strings", () => {
    const run = start(
      't:sched:sched_switch { printf("%s %d %s", args.prev_comm, args.next_pid, args->next_comm); }',
    );
    run.fire(record("sched:sched_switch", { prev_comm: "before", next_pid: 7, next_comm: "after" }));
    expect(run.output()).toBe("before 7 after");
  });
  test("of structures behind kernel pointers", () => {
    const run = start(
      "t:syscalls:sys_enter_getppid { @ = curtask->tgid; @c = curtask->comm; @p = curtask->real_parent->pid; }",
    );
    const parent = new Uint8Array(16384);
    const task = new Uint8Array(16384);
    const types = run.script;
    expect(types.programs).toHaveLength(1);
    const field = (name: string): number => offsets[name] ?? 0;
    new DataView(parent.buffer).setInt32(field("pid"), 44, true);
    new DataView(task.buffer).setInt32(field("tgid"), 33, true);
    task.set(new TextEncoder().encode("thread"), field("comm"));
    new DataView(task.buffer).setBigUint64(field("real_parent"), run.vm.place(parent), true);
    run.vm.task = run.vm.place(task);
    run.fire();
    expect(run.maps()).toBe("@: 33\n@c: thread\n@p: 44\n");
  });
  test("an enum is printed by name", () => {
    const run = start("t:skb:kfree_skb { @[args.reason] = count(); }");
    run.fire(record("skb:kfree_skb", { reason: 3 }));
    expect(run.maps()).toMatch(/^@\[SKB_DROP_REASON_\w+\]: 1\n$/);
  });
  test("str() of a user pointer", () => {
    const run = start(
      't:syscalls:sys_enter_openat { printf("%s", str(args.filename)); @[str(args.filename, 4)] = count(); }',
    );
    run.fire(
      record("syscalls:sys_enter_openat", {
        filename: run.vm.place(new TextEncoder().encode("/etc/passwd\0")),
      }),
    );
    expect(run.output() + run.maps()).toBe("/etc/passwd@[/etc..]: 1\n");
  });
});

const { types: kernelTypes } = await import("./fixture.ts");
const { structure } = kernelTypes;
/** As a kernel before 5.17. */
const withoutLoopHelper = { ...kernelTypes, features: { ...kernelTypes.features, bpfLoop: false } };
const offsets = Object.fromEntries(
  (structure("struct task_struct")?.fields ?? []).map((f) => [f.name, f.offset]),
);
