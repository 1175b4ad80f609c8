// kernel: BTF read in place, compared with what bpftool prints of the same file; the index on disk and its rebuilding.
import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Btf, BtfKind, FileBytes, scanOffsets } from "../../src/kernel/btf.ts";
import { buildIdOf, indexVersion, openIndexed } from "../../src/kernel/btf-index.ts";
import type { CompiledProgram } from "../../src/script/types.ts";
import { programBtf } from "../../src/trace/program-btf.ts";
import { KernelTypes } from "../../src/trace/type-source.ts";

const vmlinux = "/sys/kernel/btf/vmlinux";
const hasBtf = existsSync(vmlinux);
const hasBpftool = spawnSync("bpftool", ["version"]).status === 0;
const directory = mkdtempSync(join(tmpdir(), "waggle-btf-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

interface Dumped {
  readonly size: number;
  readonly members: readonly string[];
}

describe.skipIf(!hasBtf || !hasBpftool)("vmlinux against bpftool (skipped: needs BTF and bpftool)", () => {
  let btf: Btf;
  let dump = "";
  beforeAll(() => {
    btf = new Btf(new FileBytes(vmlinux).bytes);
    dump = execFileSync("bpftool", ["btf", "dump", "file", vmlinux, "format", "raw"], {
      encoding: "utf8",
      maxBuffer: 256 << 20,
    });
  });

  it("has every type with its kind and name", () => {
    let checked = 0;
    for (const match of dump.matchAll(/^\[(\d+)\] (\w+) '([^']*)'/gm)) {
      const id = Number(match[1]);
      expect(btf.kind(id), `kind of ${id}`).toBe(BtfKind[match[2] as keyof typeof BtfKind]);
      expect(btf.name(id)).toBe(match[3] === "(anon)" ? "" : match[3]);
      checked++;
    }
    expect(checked).toBe(btf.endId - 1);
  });

  it("lays out every struct and union as bpftool does", () => {
    const dumped = new Map<number, Dumped>();
    for (const block of dump.split(/^(?=\[)/m)) {
      const head = /^\[(\d+)\] (?:STRUCT|UNION) '[^']*' size=(\d+)/.exec(block);
      if (!head) continue;
      const members = [
        ...block.matchAll(/^\t'([^']*)' type_id=(\d+) bits_offset=(\d+)(?: bitfield_size=(\d+))?/gm),
      ].map((m) => `${m[1] === "(anon)" ? "" : m[1]} ${m[2]} ${m[3]} ${m[4] ?? 0}`);
      dumped.set(Number(head[1]), { size: Number(head[2]), members });
    }
    expect(dumped.size).toBeGreaterThan(5000);
    for (const [id, { size, members }] of dumped) {
      expect(btf.size(id)).toBe(size);
      expect(btf.members(id).map((m) => `${m.name} ${m.typeId} ${m.bitOffset} ${m.bitWidth}`)).toEqual(
        members,
      );
    }
  });

  it("reads enumerators with their signs", () => {
    const blocks = dump.split(/^(?=\[)/m).filter((b) => /^\[\d+\] ENUM/.test(b));
    expect(blocks.length).toBeGreaterThan(1000);
    for (const block of blocks) {
      const id = Number(/^\[(\d+)\]/.exec(block)?.[1]);
      const values = [...block.matchAll(/^\t'([^']*)' val=(-?\d+)/gm)].map((m) => `${m[1]}=${m[2]}`);
      expect(btf.enumerators(id).map((e) => `${e.name}=${e.value}`)).toEqual(values);
    }
  });
});

describe.skipIf(!hasBtf)("types for scripts (skipped: needs BTF)", () => {
  const types = new KernelTypes({ tracefs: undefined, cacheDirectory: directory });

  it("flattens anonymous members: sock_common's addresses are its own fields", () => {
    const sock = types.structure("struct sock_common");
    const at = (name: string) => sock?.fields.find((f) => f.name === name);
    expect(at("skc_daddr")).toMatchObject({ offset: 0, type: { kind: "int", size: 4, signed: false } });
    expect(at("skc_rcv_saddr")).toMatchObject({ offset: 4 });
    expect(at("skc_addrpair")).toMatchObject({ offset: 0, type: { size: 8 } });
    expect(sock?.fields.every((f) => f.name !== "")).toBe(true);
  });

  it("places bitfields inside the unit that is loaded", () => {
    for (const name of ["tcp_sock", "sk_buff", "task_struct", "iphdr"]) {
      const structure = types.structure(name);
      for (const field of structure?.fields ?? []) {
        if (!field.bits || (field.type.kind !== "int" && field.type.kind !== "enum")) continue;
        expect(field.bits.offset + field.bits.width).toBeLessThanOrEqual(field.type.size * 8);
        expect(field.offset + field.type.size).toBeLessThanOrEqual(structure?.size ?? 0);
      }
    }
    expect(types.structure("struct iphdr")?.fields.find((f) => f.name === "version")).toMatchObject({
      offset: 0,
      bits: { offset: 4, width: 4 },
    });
  });

  it("resolves members that have an anonymous type", () => {
    const task = types.structure("struct sk_buff");
    const inner = task?.fields.flatMap((f) =>
      f.type.kind === "struct" && /#\d+$/.test(f.type.name) ? [f.type] : [],
    );
    for (const type of inner ?? []) expect(types.structure(type.name)?.size).toBe(type.size);
  });

  it("names the arguments of raw tracepoints and finds what programs attach by", () => {
    const state = types.rawTracepoint("inet_sock_set_state");
    expect(state?.parameters.map((p) => p.name)).toEqual(["sk", "oldstate", "newstate"]);
    expect(state?.parameters[0]?.type).toMatchObject({ kind: "pointer", to: { name: "struct sock" } });
    expect(types.vmlinux.btf.name(state?.btfId ?? 0)).toBe("btf_trace_inet_sock_set_state");
    expect(types.rawTracepoint("no_such_event")).toBeUndefined();
  });

  it("knows enumerators both ways, iterators and functions", () => {
    expect(types.enumValue("TCP_ESTABLISHED")?.value).toBe(1n);
    expect(types.enumName("skb_drop_reason", 0n)).toBe("SKB_NOT_DROPPED_YET");
    expect(types.iterator("task")?.fields.map((f) => f.name)).toEqual(["meta", "task"]);
    expect(types.iterator("nothing")).toBeUndefined();
    expect(types.function("vfs_read")?.parameters.map((p) => p.name)).toEqual([
      "file",
      "buf",
      "count",
      "pos",
    ]);
  });

  it("says of this kernel what loading shows", () => {
    expect(types.features.bpfLoop).toBe(true);
    expect(types.features.ringBuffer).toBe(true);
    expect(types.features.tpBtf).toBe(true);
  });
});

describe("the index on disk", () => {
  const program: CompiledProgram = {
    name: "main",
    type: "syscall",
    code: Uint8Array.of(0xb7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0),
    relocations: [],
    lines: [{ instruction: 0, line: 1, column: 1 }],
  };
  const small = join(directory, "small.btf");
  const notes = join(directory, "notes");
  const cache = join(directory, "cache");
  const index = join(cache, "vmlinux.btfindex");
  const open = () => openIndexed("vmlinux", cache, { btfFile: small, notesFile: notes });
  const note = (byte: number) =>
    Buffer.concat([
      Buffer.from(Uint32Array.of(4, 20, 3).buffer),
      Buffer.from("GNU\0"),
      Buffer.alloc(20, byte),
    ]);

  beforeAll(() => {
    writeFileSync(small, programBtf(program, "x.bt", ["BEGIN {}"]).btf);
    writeFileSync(notes, note(1));
  });

  it("is built once and found the next time", () => {
    expect(open().origin).toBe("built");
    const again = open();
    expect(again.origin).toBe("disk");
    expect(again.indexed.find("main", BtfKind.FUNC)).toBe(3);
    expect(again.indexed.find("main", BtfKind.STRUCT)).toBeUndefined();
    expect(again.indexed.find("int", BtfKind.INT)).toBe(1);
    expect(statSync(index).mode & 0o022).toBe(0);
  });

  it("is rebuilt for another build id, another format, other lengths and for rubbish", () => {
    open();
    writeFileSync(notes, note(2));
    expect(open().origin).toBe("built");
    expect(open().origin).toBe("disk");
    const good = readFileSync(index);
    const word = (at: number, value: number) => (b: Buffer) => {
      b.writeUInt32LE(value, at * 4);
      return b;
    };
    const damage: readonly ((bytes: Buffer) => Buffer)[] = [
      word(1, indexVersion + 1),
      (b) => b.subarray(0, b.length - 4),
      (b) => Buffer.concat([b, Buffer.alloc(4)]),
      (b) => b.subarray(0, 7),
      () => Buffer.alloc(0),
      word(4, 0xffff_ffff),
      word(0, 1),
    ];
    for (const change of damage) {
      writeFileSync(index, change(Buffer.from(good)));
      const opened = open();
      expect(opened.origin).toBe("built");
      expect(opened.indexed.find("main", BtfKind.FUNC)).toBe(3);
      expect(readFileSync(index).equals(good)).toBe(true);
    }
  });

  it("is not trusted in a directory that others may write", () => {
    open();
    chmodSync(cache, 0o777);
    const opened = open();
    expect(opened.origin).toBe("built");
    expect(opened.notSaved).toContain("not ours alone");
    chmodSync(cache, 0o755);
    expect(open().origin).toBe("disk");
  });

  it("is keyed by the content where there is no build id", () => {
    const none = join(directory, "no-such-notes");
    const openBare = () => openIndexed("bare", cache, { btfFile: small, notesFile: none });
    expect(openBare().origin).toBe("built");
    expect(openBare().origin).toBe("disk");
    writeFileSync(small, programBtf({ ...program, name: "niam" }, "x.bt", ["BEGIN {}"]).btf);
    expect(openBare().origin).toBe("built");
    expect(openBare().indexed.find("niam", BtfKind.FUNC)).toBe(3);
  });

  it("reads build ids among other notes", () => {
    const other = Buffer.concat([
      Buffer.from(Uint32Array.of(6, 3, 1).buffer),
      Buffer.from("Linux\0\0\0abc\0"),
    ]);
    expect([...(buildIdOf(Buffer.concat([other, note(7)])) ?? [])]).toEqual(Array(20).fill(7));
    expect(buildIdOf(other)).toBeUndefined();
    expect(buildIdOf(note(7).subarray(0, 30))).toBeUndefined();
  });

  it.skipIf(!hasBtf)("opens vmlinux in a few milliseconds (skipped: needs BTF)", () => {
    openIndexed("vmlinux", join(directory, "real"));
    const start = performance.now();
    const { origin, indexed } = openIndexed("vmlinux", join(directory, "real"));
    const found = indexed.find("task_struct", BtfKind.STRUCT);
    const took = performance.now() - start;
    expect(origin).toBe("disk");
    expect(found).toBeGreaterThan(0);
    // About 1 ms; the bound is for machines that do much else.
    expect(took).toBeLessThan(50);
  });
});

describe("malformed BTF", () => {
  it("is an error, never a hang", () => {
    expect(() => scanOffsets(new Uint8Array(10))).toThrow(/shorter/);
    const bytes = programBtf(
      { name: "x", type: "syscall", code: new Uint8Array(8), relocations: [], lines: [] },
      "x",
      [],
    ).btf;
    const broken = (at: number, value: number) => {
      const copy = bytes.slice();
      copy[at] = value;
      return () => new Btf(copy);
    };
    expect(broken(0, 1)).toThrow(/magic/);
    expect(broken(12, 0xff)).toThrow(/outside|cut off|unknown kind/);
    expect(broken(24 + 7, 31)).toThrow(/unknown kind/);
  });
});
