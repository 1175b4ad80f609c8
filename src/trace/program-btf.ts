// trace: BTF of a script's programs: functions and source lines, so that the verifier, bpftool and perf can name them.
import type { CompiledProgram } from "../script/types.ts";

const BTF_MAGIC = 0xeb9f;
const KIND_INT = 1;
const KIND_FUNC = 12;
const KIND_FUNC_PROTO = 13;
const SIGNED_32 = (1 << 24) | 32;

/** Ids of the types that come first: int, and int(void). */
const INT = 1;
const PROTO = 2;
const firstFunction = 3;

const BPF_LD_IMM64 = 0x18;
const BPF_CALL = 0x85;
const PSEUDO_CALL = 1;
const PSEUDO_FUNC = 4;

/** The column's bits of bpf_line_info.line_col. */
const columnBits = 10;

export interface ProgramBtfBytes {
  readonly btf: Uint8Array;
  /** struct bpf_func_info[] and struct bpf_line_info[]. */
  readonly funcInfo: Uint8Array;
  readonly lineInfo: Uint8Array;
}

/** First instructions of all functions: the program's own, 0, and those that it calls or passes to helpers. */
export function functionStarts(code: Uint8Array): number[] {
  const view = new DataView(code.buffer, code.byteOffset, code.byteLength);
  const starts = new Set([0]);
  for (let i = 0; i * 8 < code.length; i++) {
    const opcode = view.getUint8(i * 8);
    const source = view.getUint8(i * 8 + 1) >> 4;
    const target = i + 1 + view.getInt32(i * 8 + 4, true);
    if (opcode === BPF_CALL && source === PSEUDO_CALL) starts.add(target);
    if (opcode === BPF_LD_IMM64) {
      if (source === PSEUDO_FUNC) starts.add(target);
      i++;
    }
  }
  return [...starts].sort((a, b) => a - b);
}

/** Whether an instruction is the second half of a 16-byte one, which may not carry a line. */
function secondHalves(code: Uint8Array): ReadonlySet<number> {
  const found = new Set<number>();
  for (let i = 0; i * 8 < code.length; i++) if (code[i * 8] === BPF_LD_IMM64) found.add(++i);
  return found;
}

const identifier = (name: string): string => name.replace(/\W/g, "_").replace(/^(?=\d|$)/, "_");

/**
 * Describes one program. Every function begins with a line, as the kernel wants it; lines that the source does not have are
 * left empty.
 */
export function programBtf(
  program: CompiledProgram,
  file: string,
  source: readonly string[],
): ProgramBtfBytes {
  const text: string[] = [""];
  let length = 1;
  const known = new Map<string, number>([["", 0]]);
  const string = (value: string): number => {
    const before = known.get(value);
    if (before !== undefined) return before;
    const at = length;
    known.set(value, at);
    text.push(value);
    length += Buffer.byteLength(value) + 1;
    return at;
  };
  const starts = functionStarts(program.code);
  const name = identifier(program.name);
  const types = [
    ...[string("int"), KIND_INT << 24, 4, SIGNED_32],
    ...[0, KIND_FUNC_PROTO << 24, INT],
    ...starts.flatMap((_, i) => [string(i === 0 ? name : `${name}_${i}`), KIND_FUNC << 24, PROTO]),
  ];
  const funcInfo = Uint32Array.from(starts.flatMap((start, i) => [start, firstFunction + i]));
  const lineInfo = linesOf(program, starts).flatMap(({ instruction, line, column }) => [
    instruction,
    string(file),
    string((source[line - 1] ?? "").trim()),
    ((line << columnBits) | Math.min(column, (1 << columnBits) - 1)) >>> 0,
  ]);
  const strings = Buffer.from(`${text.join("\0")}\0`);
  const typeBytes = types.length * 4;
  const btf = new Uint8Array(24 + typeBytes + strings.length);
  const view = new DataView(btf.buffer);
  view.setUint16(0, BTF_MAGIC, true);
  view.setUint8(2, 1);
  view.setUint32(4, 24, true);
  view.setUint32(12, typeBytes, true);
  view.setUint32(16, typeBytes, true);
  view.setUint32(20, strings.length, true);
  for (const [i, word] of types.entries()) view.setUint32(24 + i * 4, word, true);
  btf.set(strings, 24 + typeBytes);
  return {
    btf,
    funcInfo: new Uint8Array(funcInfo.buffer),
    lineInfo: new Uint8Array(Uint32Array.from(lineInfo).buffer),
  };
}

function linesOf(program: CompiledProgram, starts: readonly number[]): CompiledProgram["lines"][number][] {
  const halves = secondHalves(program.code);
  const byInstruction = new Map<number, CompiledProgram["lines"][number]>();
  const count = program.code.length / 8;
  for (const line of program.lines)
    if (line.instruction < count && !halves.has(line.instruction) && !byInstruction.has(line.instruction))
      byInstruction.set(line.instruction, line);
  for (const start of starts)
    if (!byInstruction.has(start))
      byInstruction.set(start, { instruction: start, line: program.lines[0]?.line ?? 1, column: 1 });
  return [...byInstruction.values()].sort((a, b) => a.instruction - b.instruction);
}
