// trace: BTF of programs: it parses as BTF, every function begins with a line, no line points into the middle of an instruction.
import { describe, expect, it } from "vitest";
import { Btf, BtfKind } from "../../../src/kernel/btf.ts";
import type { CompiledProgram } from "../../../src/script/types.ts";
import { relocate } from "../../../src/trace/load.ts";
import { functionStarts, programBtf } from "../../../src/trace/program-btf.ts";

const insn = (opcode: number, registers = 0, offset = 0, immediate = 0): number[] => [
  opcode,
  registers,
  offset & 0xff,
  (offset >> 8) & 0xff,
  ...new Uint8Array(Int32Array.of(immediate).buffer),
];

const EXIT = insn(0x95);
const R0 = insn(0xb7);
const LDDW = (source: number, immediate: number) => [
  ...insn(0x18, (source << 4) | 1, 0, immediate),
  ...insn(0),
];
const CALL = (source: number, immediate: number) => insn(0x85, source << 4, 0, immediate);

const code = Uint8Array.from([...LDDW(4, 3), ...CALL(1, 3), ...R0, ...EXIT, ...R0, ...EXIT, ...R0, ...EXIT]);
// 0-1 LDDW of the function at 4 (0 + 1 + 3), 2 call of the one at 6 (2 + 1 + 3)

const program: CompiledProgram = {
  name: "sys_enter.x",
  type: "tracepoint",
  code,
  relocations: [],
  lines: [
    { instruction: 0, line: 1, column: 3 },
    { instruction: 1, line: 1, column: 9 },
    { instruction: 2, line: 2, column: 5000 },
  ],
};

describe("program BTF", () => {
  it("finds functions that are called and functions that are passed to helpers", () => {
    expect(functionStarts(code)).toEqual([0, 4, 6]);
    expect(functionStarts(Uint8Array.from([...R0, ...EXIT]))).toEqual([0]);
  });

  it("describes each function and line", () => {
    const { btf, funcInfo, lineInfo } = programBtf(program, "script.bt", ["  first", "second"]);
    const read = new Btf(btf);
    expect(read.kind(3)).toBe(BtfKind.FUNC);
    expect([3, 4, 5].map((id) => read.name(id))).toEqual(["sys_enter_x", "sys_enter_x_1", "sys_enter_x_2"]);
    expect([...new Uint32Array(funcInfo.buffer)]).toEqual([0, 3, 4, 4, 6, 5]);
    const words = new Uint32Array(lineInfo.buffer);
    const lines = Array.from({ length: words.length / 4 }, (_, i) => ({
      instruction: words[i * 4],
      file: read.string(words[i * 4 + 1] ?? 0),
      text: read.string(words[i * 4 + 2] ?? 0),
      line: (words[i * 4 + 3] ?? 0) >>> 10,
      column: (words[i * 4 + 3] ?? 0) & 1023,
    }));
    // Instruction 1 is the second half of 0, the functions at 4 and 6 had no line of their own, columns stop at 1023.
    expect(lines).toEqual([
      { instruction: 0, file: "script.bt", text: "first", line: 1, column: 3 },
      { instruction: 2, file: "script.bt", text: "second", line: 2, column: 1023 },
      { instruction: 4, file: "script.bt", text: "first", line: 1, column: 1 },
      { instruction: 6, file: "script.bt", text: "first", line: 1, column: 1 },
    ]);
  });

  it("relocation leaves everything but source register and immediate alone", () => {
    const before = Uint8Array.from([...LDDW(0, 0), ...R0, ...EXIT]);
    const after = relocate(before, [{ instruction: 0, map: 2, value: true }], (map) => Number(map) + 100);
    expect([...after.subarray(0, 8)]).toEqual(insn(0x18, 0x21, 0, 102));
    expect(after.subarray(8)).toEqual(before.subarray(8));
    expect(before[1]).toBe(1);
    expect([...relocate(before, [{ instruction: 0, map: 5 }], () => 9).subarray(0, 8)]).toEqual(
      insn(0x18, 0x11, 0, 9),
    );
  });
});
