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
    expect(run.maps()).toBe("@end: 1\n");
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
    expect(run.output() + run.maps()).toBe("/etc/passwd@[/etc]: 1\n");
  });
});

const { structure } = (await import("./fixture.ts")).types;
const offsets = Object.fromEntries(
  (structure("struct task_struct")?.fields ?? []).map((f) => [f.name, f.offset]),
);
