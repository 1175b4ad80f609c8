// script, intermediate form: three-address code over virtual 64-bit registers in basic blocks, one function per BPF program.
// A virtual register may be assigned more than once ($variables are); memory is named by its base and a byte offset.
import type { Loc } from "../ast.ts";
import type { ExternalMap } from "../types.ts";

export type VReg = number;
/** A register (number) or a constant (bigint, 64 bits, either sign). */
export type Val = VReg | bigint;

/** Memory of the program itself: on its stack, or in its element of the per-CPU scratch map. Aligned to 8. */
export interface FrameObject {
  readonly where: "stack" | "scratch";
  /** stack: distance of its first byte below the frame pointer; scratch: offset in the element. Pinned objects get theirs at the end. */
  offset: number;
  readonly size: number;
}

export interface Address {
  readonly base: VReg | FrameObject;
  readonly offset: number;
}

export type MemorySize = 1 | 2 | 4 | 8;
export type AluOp = "add" | "sub" | "mul" | "div" | "mod" | "and" | "or" | "xor" | "lsh" | "rsh" | "arsh";
export type Condition = "eq" | "ne" | "lt" | "le" | "gt" | "ge" | "slt" | "sle" | "sgt" | "sge" | "set";
export type MapRef = number | ExternalMap;

export type Insn = { readonly loc?: Loc | undefined } & (
  | { readonly op: "mov"; readonly d: VReg; readonly s: Val }
  | { readonly op: "alu"; readonly alu: AluOp; readonly d: VReg; readonly a: Val; readonly b: Val }
  /** The low 32 bits, zero-extended. */
  | { readonly op: "low32"; readonly d: VReg; readonly a: VReg }
  | { readonly op: "neg"; readonly d: VReg; readonly a: VReg }
  /**
   * The smaller one, unsigned. One instruction and no branch: the verifier learns the bound of the very register that goes on, also
   * where it comes from the stack (older kernels do not connect two loads of one spilled value).
   */
  | { readonly op: "at_most"; readonly d: VReg; readonly a: VReg; readonly limit: number }
  /** Bytes reversed within the low `bits`, the rest zero. */
  | { readonly op: "swap"; readonly d: VReg; readonly a: VReg; readonly bits: 16 | 32 | 64 }
  /** Zero-extended. */
  | { readonly op: "load"; readonly d: VReg; readonly from: Address; readonly size: MemorySize }
  | { readonly op: "store"; readonly to: Address; readonly size: MemorySize; readonly s: Val }
  | { readonly op: "atomic_add"; readonly to: Address; readonly size: 4 | 8; readonly s: VReg }
  | { readonly op: "address"; readonly d: VReg; readonly of: Address }
  | { readonly op: "map"; readonly d: VReg; readonly map: MapRef }
  | { readonly op: "map_value"; readonly d: VReg; readonly map: number; readonly offset: number }
  /** Pointer to a variable of vmlinux, by its BTF id. */
  | { readonly op: "kernel_variable"; readonly d: VReg; readonly btfId: number }
  | {
      readonly op: "call";
      readonly d: VReg | undefined;
      readonly helper: number;
      readonly args: readonly Val[];
    }
  /** Address of another function of the program, for bpf_loop and bpf_for_each_map_elem. */
  | { readonly op: "function"; readonly d: VReg; readonly index: number }
);

export type Terminator = { readonly loc?: Loc | undefined } & (
  | { readonly op: "jump"; readonly to: BlockId }
  | {
      readonly op: "branch";
      readonly condition: Condition;
      readonly a: VReg;
      readonly b: Val;
      readonly yes: BlockId;
      readonly no: BlockId;
    }
  | { readonly op: "return"; readonly value: Val }
);

export type BlockId = number;

export interface Block {
  readonly id: BlockId;
  insns: Insn[];
  end: Terminator;
}

export interface IrFunction {
  readonly name: string;
  /** In order of layout; the first is the entry. */
  blocks: Block[];
  /** Registers that hold r1, r2, ... on entry. */
  readonly parameters: readonly VReg[];
  /** One more than the highest register. */
  registers: number;
  /** Holds the address of the scratch element. */
  readonly scratch: VReg;
  /** Bytes of stack that frame objects take; spills go below. */
  readonly stackBytes: number;
}

/** Registers that an instruction reads. */
export function uses(i: Insn): VReg[] {
  const out: VReg[] = [];
  const val = (v: Val): void => {
    if (typeof v === "number") out.push(v);
  };
  const address = (a: Address): void => {
    if (typeof a.base === "number") out.push(a.base);
  };
  switch (i.op) {
    case "mov":
      val(i.s);
      break;
    case "alu":
      val(i.a);
      val(i.b);
      break;
    case "neg":
    case "low32":
    case "at_most":
    case "swap":
      val(i.a);
      break;
    case "load":
      address(i.from);
      break;
    case "store":
      address(i.to);
      val(i.s);
      break;
    case "atomic_add":
      address(i.to);
      val(i.s);
      break;
    case "address":
      address(i.of);
      break;
    case "call":
      for (const a of i.args) val(a);
      break;
    case "map":
    case "map_value":
    case "kernel_variable":
    case "function":
      break;
  }
  return out;
}

/** The register that an instruction writes. */
export function defines(i: Insn): VReg | undefined {
  return "d" in i ? i.d : undefined;
}

export function terminatorUses(t: Terminator): VReg[] {
  if (t.op === "branch") return typeof t.b === "number" ? [t.a, t.b] : [t.a];
  if (t.op === "return") return typeof t.value === "number" ? [t.value] : [];
  return [];
}

export function successors(t: Terminator): BlockId[] {
  if (t.op === "jump") return [t.to];
  if (t.op === "branch") return [t.yes, t.no];
  return [];
}

/** Whether an instruction may go if nobody reads what it writes. */
export function isPure(i: Insn): boolean {
  return i.op !== "call" && i.op !== "store" && i.op !== "atomic_add";
}
