// script, backend: struct bpf_insn (include/uapi/linux/bpf.h): {u8 code; u8 dst:4, src:4; s16 off; s32 imm}, little endian.
import type { AluOp, Condition, MemorySize } from "../ir/ir.ts";

export const ALU: Readonly<Record<AluOp, number>> = {
  add: 0x00,
  sub: 0x10,
  mul: 0x20,
  div: 0x30,
  or: 0x40,
  and: 0x50,
  lsh: 0x60,
  rsh: 0x70,
  mod: 0x90,
  xor: 0xa0,
  arsh: 0xc0,
};

export const JUMP: Readonly<Record<Condition, number>> = {
  eq: 0x10,
  gt: 0x20,
  ge: 0x30,
  set: 0x40,
  ne: 0x50,
  sgt: 0x60,
  sge: 0x70,
  lt: 0xa0,
  le: 0xb0,
  slt: 0xc0,
  sle: 0xd0,
};

export const INVERSE: Readonly<Partial<Record<Condition, Condition>>> = {
  eq: "ne",
  ne: "eq",
  gt: "le",
  le: "gt",
  ge: "lt",
  lt: "ge",
  sgt: "sle",
  sle: "sgt",
  sge: "slt",
  slt: "sge",
};

const SIZE: Readonly<Record<MemorySize, number>> = { 1: 0x10, 2: 0x08, 4: 0x00, 8: 0x18 };

/** BPF_PSEUDO_MAP_FD, BPF_PSEUDO_MAP_VALUE, BPF_PSEUDO_BTF_ID, BPF_PSEUDO_FUNC: what the source register of a 64-bit load says about its constant. */
export const PSEUDO = { none: 0, map: 1, value: 2, variable: 3, function: 4 } as const;

export interface Encoded {
  readonly code: number;
  readonly dst: number;
  readonly src: number;
  readonly off: number;
  readonly imm: number;
}

const insn = (code: number, dst: number, src: number, off: number, imm: number): Encoded => ({
  code,
  dst,
  src,
  off,
  imm,
});

export const encode = {
  aluImm: (op: AluOp, dst: number, imm: number) => insn(0x07 | ALU[op], dst, 0, 0, imm),
  aluReg: (op: AluOp, dst: number, src: number) => insn(0x0f | ALU[op], dst, src, 0, 0),
  movImm: (dst: number, imm: number) => insn(0xb7, dst, 0, 0, imm),
  movReg: (dst: number, src: number) => insn(0xbf, dst, src, 0, 0),
  mov32: (dst: number, src: number) => insn(0xbc, dst, src, 0, 0),
  neg: (dst: number) => insn(0x87, dst, 0, 0, 0),
  swap: (dst: number, bits: number) => insn(0xdc, dst, 0, 0, bits),
  load: (size: MemorySize, dst: number, src: number, off: number) =>
    insn(0x61 | SIZE[size], dst, src, off, 0),
  storeImm: (size: MemorySize, dst: number, off: number, imm: number) =>
    insn(0x62 | SIZE[size], dst, 0, off, imm),
  storeReg: (size: MemorySize, dst: number, off: number, src: number) =>
    insn(0x63 | SIZE[size], dst, src, off, 0),
  atomicAdd: (size: 4 | 8, dst: number, off: number, src: number) =>
    insn(0xc3 | SIZE[size], dst, src, off, 0),
  jump: (off: number) => insn(0x05, 0, 0, off, 0),
  jumpImm: (c: Condition, dst: number, imm: number, off: number) => insn(0x05 | JUMP[c], dst, 0, off, imm),
  jumpReg: (c: Condition, dst: number, src: number, off: number) => insn(0x0d | JUMP[c], dst, src, off, 0),
  call: (helper: number) => insn(0x85, 0, 0, 0, helper),
  exit: () => insn(0x95, 0, 0, 0, 0),
  /** Two slots. */
  wide: (dst: number, src: number, low: number, high: number): readonly Encoded[] => [
    insn(0x18, dst, src, 0, low),
    insn(0, 0, 0, 0, high),
  ],
};

export function toBytes(insns: readonly Encoded[]): Uint8Array {
  const out = new Uint8Array(insns.length * 8);
  const view = new DataView(out.buffer);
  for (const [n, i] of insns.entries()) {
    out[n * 8] = i.code;
    out[n * 8 + 1] = (i.src << 4) | i.dst;
    view.setInt16(n * 8 + 2, i.off, true);
    view.setInt32(n * 8 + 4, i.imm, true);
  }
  return out;
}
