// test, script: functions on strings and memory, addresses of variables, covers of single helpers.
import { describe, expect, test } from "vitest";
import { compile } from "../../../src/script/index.ts";
import type { TypeSource } from "../../../src/script/types.ts";
import { options, types } from "./fixture.ts";
import { start } from "./run.ts";

const prints = (body: string): string => start(`BEGIN { ${body} }`, { unsafe: true }).output();
const errors = (source: string, more: Parameters<typeof options>[0] = {}): string =>
  compile(source, options(more))
    .diagnostics.filter((d) => d.severity === "error")
    .map((d) => d.message)
    .join("\n");

describe("strstr and strcontains", () => {
  test.each([
    ["hello world", "o w", 4],
    ["hello world", "hello world", 0],
    ["hello world", "d", 10],
    ["hello world", "ld!", -1],
    ["hello", "hello hello", -1],
    ["aaaaaaaab", "aab", 6],
    ["abc", "", 0],
    ["", "a", -1],
    ["", "", 0],
  ])("of '%s' and '%s'", (text, part, wanted) => {
    const out = prints(
      `$t = "${text}"; $p = "${part}"; print((strstr($t, "${part}"), strstr($t, $p), strstr("${text}", "${part}"), strcontains($t, $p), strcontains($t, "${part}")));`,
    );
    expect(out).toBe(`(${wanted}, ${wanted}, ${wanted}, ${wanted >= 0}, ${wanted >= 0})\n`);
  });

  test("the value of one may be used at once in another", () => {
    expect(prints('$t = "abcabc"; print(strstr($t, "c") + strstr($t, "ca") * 10);')).toBe("22\n");
  });

  test("take what reads as a string, and nothing else", () => {
    expect(
      prints(
        'print(strstr((int8[8])0x636261, "c")); print(strlen((int8[4])0x6162)); print(strcap((int8[4])0));',
      ),
    ).toBe("2\n2\n4\n");
    expect(errors('BEGIN { strstr(1, "a"); }')).toContain("strstr() only supports string as argument 1");
    expect(errors("BEGIN { $a = comm; strcontains(comm, $a); }", { compat: "0.17" })).toContain(
      "string literal",
    );
  });
});

describe("memcmp", () => {
  test.each([
    ['"abc", "abd", 3', "-1"],
    ['"abd", "abc", 3', "1"],
    ['"abd", "abc", 2', "0"],
    ['"ab", "abc", 5', "-1"],
    ['"abcdefghijk", "abcdefghijj", 11', "1"],
  ])("%s", (args, wanted) => {
    const [a, b, n] = args.split(", ");
    expect(prints(`$a = ${a}; $b = ${b}; print(memcmp($a, $b, ${n}));`)).toBe(`${wanted}\n`);
  });
});

describe("addresses", () => {
  test("of variables are pointers to them", () => {
    expect(
      prints(
        '$x = 5; $p = &$x; print(*$p); $x = 7; print(*$p); $s = "abc"; $q = &$s; print(*$q); $t = (1, "x"); $r = &$t; print(*$r); print((*$r).1);',
      ),
    ).toBe("5\n7\nabc\n(1, x)\nx\n");
    expect(prints("$x = 1; for ($i : 0..3) { $p = &$x; $x = *$p + $i; } print($x);")).toBe("4\n");
  });

  test("a setting forbids them", () => {
    expect(errors("config = { unstable_addr = error } BEGIN { $x = 1; $p = &$x; }")).toContain("forbids");
    expect(errors("BEGIN { $x = 1; $p = &$x; }", { compat: "0.17" })).toContain("The & operator");
    expect(errors("BEGIN { $p = &1; }")).toContain("The & operator");
  });
});

describe("covers of helpers", () => {
  test("debugf takes few conversions and few arguments", () => {
    expect(errors('BEGIN { debugf("a %d %s %x", 1, comm, pid); }')).toBe("");
    expect(errors('BEGIN { debugf("%d %d %d %d", 1, 2, 3, 4); }')).toContain("more than 3");
    expect(errors('BEGIN { debugf("%d"); }')).toContain("debugf");
    expect(errors('BEGIN { debugf("%s", 1); }')).toContain("string");
    expect(errors('BEGIN { debugf("%r", 1); }')).toContain("%r");
  });

  test("write_user is unsafe, and writes what lies in memory", () => {
    const script =
      "uprobe:/bin/true:1 { $s = comm; print(write_user(arg0, $s, 4)); $n = 5; write_user(arg0, &$n, 8); }";
    const more = { types: { ...types, userSymbol: () => ({ offset: 1n, path: "/bin/true" }) } };
    expect(errors(script, more)).toContain("unsafe");
    expect(errors(script, { ...more, unsafe: true })).toBe("");
    expect(errors("BEGIN { write_user(0, 5, 4); }", { unsafe: true })).toContain("memory");
    expect(errors('BEGIN { write_user(0, "a", 0); }', { unsafe: true })).toContain("1..1024");
  });

  test("path wants an iterator or a function's entry, and a struct path", () => {
    expect(errors("BEGIN { path(curtask); }")).toContain("'fentry', 'fexit', 'iter'");
    const file = { kind: "struct", name: "struct file", size: 64, union: false } as const;
    const path = { kind: "struct", name: "struct path", size: 16, union: false } as const;
    const source: TypeSource = {
      ...types,
      features: { ...types.features, fentry: true },
      structure: (name) =>
        name.endsWith("file")
          ? { name: "struct file", size: 64, fields: [{ name: "f_path", offset: 8, type: path }] }
          : name.endsWith("path")
            ? { name: "struct path", size: 16, fields: [] }
            : types.structure(name),
      function: (name) => ({
        name,
        module: "vmlinux",
        btfId: 1,
        parameters: [{ name: "file", type: { kind: "pointer", to: file, space: "kernel" } }],
        returns: { kind: "none" },
      }),
    };
    expect(
      errors("fentry:f { $p = path(args.file.f_path); @[path(&args.file.f_path, 16)] = 1; }", {
        types: source,
      }),
    ).toBe("");
    expect(errors("fentry:f { path(args.file); }", { types: source })).toContain("struct path");
    expect(errors("fentry:f { path(args.file.f_path, 5000); }", { types: source })).toContain("1..1024");
    expect(errors("fentry:f { $f = args.file; path($f.f_path); }", { types: source })).toContain(
      "arguments point to",
    );
  });

  test("percpu_kaddr points to what the variable is", () => {
    const source: TypeSource = {
      ...types,
      variable: (name) =>
        name === "count" ? { btfId: 7, type: { kind: "int", size: 8, signed: true } } : undefined,
      kernelSymbol: () => 1n,
    };
    expect(
      errors(
        'BEGIN { print(*percpu_kaddr("count")); $p = percpu_kaddr("count", 1); if ($p) { print(*$p); } }',
        { types: source },
      ),
    ).toBe("");
    expect(errors('BEGIN { percpu_kaddr("nothing"); }', { types: source })).toContain('"nothing" from BTF');
    expect(
      errors('BEGIN { percpu_kaddr("count"); }', { types: { ...source, kernelSymbol: () => undefined } }),
    ).toContain("CONFIG_KALLSYMS_ALL");
  });

  test("kfunc_allowed asks for the probe's own kind of program", () => {
    const source: TypeSource = { ...types, kfuncAllowed: (_, program) => program === "syscall" };
    const all = (probe: string) =>
      compile(`${probe} { static_assert(kfunc_allowed("vfs_read"), "no"); }`, options({ types: source }))
        .diagnostics.length;
    expect([all("BEGIN"), all("t:sched:sched_switch")]).toEqual([0, 1]);
  });
});
