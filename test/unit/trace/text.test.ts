// trace: the parsers of what the kernel writes as text or notes, on fixtures.
import { describe, expect, it } from "vitest";
import { parseUsdtNotes } from "../../../src/kernel/elf.ts";
import { cpuIds } from "../../../src/kernel/perf.ts";
import { executableMappings, KernelSymbols, parseLibraryCache } from "../../../src/kernel/symbols.ts";
import { parseFormat } from "../../../src/kernel/tracefs.ts";
import type { Type } from "../../../src/script/types.ts";
import { globMatcher } from "../../../src/trace/glob.ts";
import { cgroupMounts, ownCgroups } from "../../../src/trace/memory-cgroup.ts";
import { userNames } from "../../../src/trace/resolvers.ts";
import { recordOf } from "../../../src/trace/tracepoint-types.ts";
import { lastInstruction, refusal } from "../../../src/trace/verifier.ts";

const format = (fields: string, name = "event", id = 7): string => `name: ${name}
ID: ${id}
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

${fields}
print fmt: "x: %d", REC->x
`;

const line = (declaration: string, offset: number, size: number, signed = 0): string =>
  `\tfield:${declaration};\toffset:${offset};\tsize:${size};\tsigned:${signed};`;

const types: Readonly<Record<string, Type>> = {
  u8: { kind: "int", size: 1, signed: false },
  __u8: { kind: "int", size: 1, signed: false },
  u64: { kind: "int", size: 8, signed: false },
  pid_t: { kind: "int", size: 4, signed: true },
  umode_t: { kind: "int", size: 2, signed: false },
  bool: { kind: "bool" },
  "struct sock": { kind: "struct", name: "struct sock", size: 760, union: false },
  "enum reason": { kind: "enum", name: "reason", size: 4, signed: false },
};

function fieldOf(declaration: string, offset: number, size: number, category = "sock", signed = 0) {
  const record = recordOf(
    parseFormat(format(line(declaration, offset, size, signed))),
    category,
    (n) => types[n],
  );
  return record.fields[0];
}

describe("event formats", () => {
  it("leave the common fields out and keep what is declared", () => {
    const parsed = parseFormat(format([line("int a", 8, 4, 1), line("const char * name", 16, 8)].join("\n")));
    expect(parsed).toMatchObject({ name: "event", id: 7 });
    expect(parsed.fields.map((f) => f.declaration)).toEqual(["int a", "const char * name"]);
    expect(() => parseFormat("nothing")).toThrow(/without name/);
  });

  it("become types as scripts see them", () => {
    expect(fieldOf("int oldstate", 16, 4, "sock", 1)?.type).toEqual({ kind: "int", size: 4, signed: true });
    expect(fieldOf("__u8 saddr[4]", 32, 4)).toMatchObject({
      offset: 32,
      type: { kind: "array", of: { kind: "int", size: 1, signed: false }, length: 4 },
    });
    expect(fieldOf("char comm[16]", 8, 16)?.type).toEqual({
      kind: "array",
      of: { kind: "int", size: 1, signed: true },
      length: 16,
    });
    expect(fieldOf("unsigned long caller[8]", 8, 64)?.type).toMatchObject({ of: { size: 8 }, length: 8 });
    expect(fieldOf("__data_loc char[] filename", 8, 4)).toMatchObject({
      dataLoc: true,
      type: { kind: "array", of: { size: 1, signed: true } },
    });
    expect(fieldOf("__data_loc u64[] addrs", 8, 4)?.type).toMatchObject({ of: { size: 8, signed: false } });
    expect(fieldOf("const struct sock * sk", 8, 8)?.type).toMatchObject({
      kind: "pointer",
      to: { name: "struct sock" },
      space: "kernel",
    });
    expect(fieldOf("enum reason why", 8, 4)?.type).toMatchObject({ kind: "enum", name: "reason" });
    expect(fieldOf("bool ok", 8, 1)?.type).toEqual({ kind: "bool" });
    expect(fieldOf("struct weird thing", 8, 12)?.type).toMatchObject({ kind: "array", length: 12 });
  });

  it("widen the arguments of system calls by their C type's sign, and point to user memory", () => {
    expect(fieldOf("int dfd", 16, 8, "syscalls")?.type).toEqual({ kind: "int", size: 8, signed: true });
    expect(fieldOf("umode_t mode", 16, 8, "syscalls")?.type).toEqual({ kind: "int", size: 8, signed: false });
    expect(fieldOf("const char * filename", 16, 8, "syscalls")?.type).toMatchObject({ space: "user" });
    expect(fieldOf("const char *const * argv", 16, 8, "syscalls")?.type).toMatchObject({
      kind: "pointer",
      to: { kind: "pointer", to: { kind: "int", size: 1 } },
    });
  });
});

describe("globs", () => {
  it("match whole texts, and nothing but wildcards is special", () => {
    expect(globMatcher("sys_enter_*")("sys_enter_openat")).toBe(true);
    expect(globMatcher("sys_enter_*")("xsys_enter_openat")).toBe(false);
    expect(globMatcher("a.c")("abc")).toBe(false);
    expect(globMatcher("a?c")("abc")).toBe(true);
    expect(globMatcher("[st]cp")("tcp")).toBe(true);
    expect(globMatcher("[!st]cp")("tcp")).toBe(false);
    expect(globMatcher("a[b")("a[b")).toBe(true);
    expect(globMatcher("[a-c]?-[0-9_]")("bx-_")).toBe(true);
    expect(globMatcher("[a-c]")("-")).toBe(false);
    expect(globMatcher("[a-]")("-")).toBe(true);
    expect(globMatcher("*a*b*")("xxaxxbxx")).toBe(true);
    expect(globMatcher("*a*b")("xxaxxbxx")).toBe(false);
    expect(globMatcher("ab*ab")("ab")).toBe(false);
    expect(globMatcher("*")("")).toBe(true);
  });

  it("take no more time than pattern times text, however many wildcards there are", () => {
    const matches = globMatcher(`${"*a".repeat(200)}*b`);
    const text = "a".repeat(5000);
    const began = performance.now();
    expect(matches(text)).toBe(false);
    expect(matches(`${text}b`)).toBe(true);
    // Two million steps; backtracking would not end in this universe.
    expect(performance.now() - began).toBeLessThan(20_000);
  });
});

describe("kernel symbols", () => {
  const text = [
    "ffffffff81000000 T _text",
    "ffffffff81000000 t also_text",
    "ffffffff81000100 T vfs_read",
    "ffffffff81000200 d some_data",
    "ffffffffc0000010 t helper\t[mod]",
    "0000000000000000 A hidden",
    "",
  ].join("\n");
  const symbols = new KernelSymbols(() => Buffer.from(text));

  it("are found by address, with module and offset", () => {
    expect(symbols.at(0xffffffff81000105n)).toEqual({ name: "vfs_read", offset: 5n });
    expect(symbols.at(0xffffffff81000000n)).toEqual({ name: "_text", offset: 0n });
    expect(symbols.at(0xffffffffc0000011n)).toEqual({ name: "helper", offset: 1n, module: "mod" });
    expect(symbols.at(0x1000n)).toBeUndefined();
  });

  it("are found by whole name", () => {
    expect(symbols.address("vfs_read")).toBe(0xffffffff81000100n);
    expect(symbols.address("helper")).toBe(0xffffffffc0000010n);
    expect(symbols.address("vfs_rea")).toBeUndefined();
    expect(symbols.address("text")).toBeUndefined();
    expect(symbols.address("hidden")).toBeUndefined();
    expect([...symbols.functions()]).toEqual(["_text", "also_text", "vfs_read", "helper"]);
  });
});

describe("notes, lists and mounts", () => {
  it("USDT notes give address, semaphore and arguments, moved with the base", () => {
    const text = Buffer.from("provider\0name\0-4@%edi 8@%rsi\0");
    const data = Buffer.concat([Buffer.from(BigUint64Array.of(0x1010n, 0x2000n, 0x3000n).buffer), text]);
    const padded = Buffer.concat([data, Buffer.alloc((4 - (data.length % 4)) % 4)]);
    const note = Buffer.concat([
      Buffer.from(Uint32Array.of(8, data.length, 3).buffer),
      Buffer.from("stapsdt\0"),
      padded,
    ]);
    expect(parseUsdtNotes(note, 0x2100n)).toEqual([
      {
        provider: "provider",
        name: "name",
        address: 0x1110n,
        semaphore: 0x3100n,
        arguments: "-4@%edi 8@%rsi",
      },
    ]);
    expect(parseUsdtNotes(note.subarray(0, 40), 0n)).toEqual([]);
  });

  it("CPU lists, process maps, library caches, users", () => {
    expect(cpuIds("0-2,5\n")).toEqual([0, 1, 2, 5]);
    expect(cpuIds("\n")).toEqual([]);
    expect(
      executableMappings(
        "00400000-00401000 r-xp 00001000 08:01 12  /bin/x y\n00401000-00402000 rw-p 0 08:01 12 /bin/x\n",
      ),
    ).toEqual([{ start: 0x400000n, end: 0x401000n, offset: 0x1000n, path: "/bin/x y" }]);
    expect(parseLibraryCache(Buffer.from("rubbish"))).toEqual(new Map());
    expect(userNames("root:x:0:0::/root:/bin/sh\ntoor:x:0:0\nme:x:7:7")).toEqual(
      new Map([
        [0, "root"],
        [7, "me"],
      ]),
    );
  });

  it("cgroup hierarchies of both versions", () => {
    const own = ownCgroups("4:memory:/a/b\n3:cpu,cpuacct:/\n0::/user.slice\n");
    expect(own.get("memory")).toBe("/a/b");
    expect(own.get("cpuacct")).toBe("/");
    expect(own.get("")).toBe("/user.slice");
    expect(
      cgroupMounts(
        "cgroup /c/memory cgroup rw,memory 0 0\ncgroup2 /c/unified cgroup2 rw 0 0\ncgroup /c/cpu cgroup rw,cpu 0 0\n",
      ),
    ).toEqual({ version1: "/c/memory", version2: "/c/unified" });
  });
});

describe("the verifier's log", () => {
  const log = `func#0 @0
0: R1=ctx() R10=fp0
; @x = args.nope @ script.bt:1
0: (b7) r1 = 0                        ; R1_w=0
1: (79) r2 = *(u64 *)(r1 +0)
R1 invalid mem access 'scalar'
processed 2 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
`;

  it("is read for the last instruction and the sentence that refuses", () => {
    expect(lastInstruction(log)).toBe(1);
    expect(refusal(log)).toBe("R1 invalid mem access 'scalar'");
    expect(lastInstruction("")).toBeUndefined();
    expect(refusal("")).toBeUndefined();
  });
});
