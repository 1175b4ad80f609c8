// script, intermediate form: writes it. Constants are folded as they are written; what memory is asked for is given out here.
import type { Loc } from "../ast.ts";
import { align8 } from "../layout.ts";
import type {
  Address,
  AluOp,
  Block,
  BlockId,
  Condition,
  FrameObject,
  Insn,
  IrFunction,
  MapRef,
  MemorySize,
  Terminator,
  Val,
  VReg,
} from "./ir.ts";

/** Objects up to this size may lie on the stack. */
const STACK_OBJECT = 64;

export interface Builder {
  loc: Loc | undefined;
  /** Whether the code being written can be reached. */
  reachable(): boolean;
  reg(): VReg;
  block(): BlockId;
  /** Continues in a block. */
  enter(id: BlockId): void;
  jump(to: BlockId): void;
  branch(condition: Condition, a: Val, b: Val, yes: BlockId, no: BlockId): void;
  ret(value: Val): void;
  mov(s: Val): VReg;
  set(d: VReg, s: Val): void;
  alu(op: AluOp, a: Val, b: Val): Val;
  neg(a: Val): Val;
  low32(a: Val): Val;
  /** The smaller one, unsigned, in a form whose bounds the verifier sees. */
  atMost(a: Val, limit: number): Val;
  swap(a: Val, bits: 16 | 32 | 64): Val;
  load(from: Address, size: MemorySize): VReg;
  store(to: Address, size: MemorySize, s: Val): void;
  atomicAdd(to: Address, size: 4 | 8, s: Val): void;
  address(of: Address): VReg;
  map(map: MapRef): VReg;
  mapValue(map: number, offset: number): VReg;
  kernelVariable(btfId: number): VReg;
  call(helper: number, args: readonly Val[]): VReg;
  functionAddress(index: number): VReg;
  /** Memory until `release` of an earlier mark. */
  frame(size: number): FrameObject;
  /** Memory that is kept until the program ends; up to 64 bytes each. */
  pinned(size: number, where?: FrameObject["where"]): FrameObject;
  mark(): FrameMark;
  release(mark: FrameMark): void;
  /** `scratchBase`: where this function's part of the scratch element begins. */
  finish(scratchBase: number): { readonly f: IrFunction; readonly scratchBytes: number };
  readonly scratch: VReg;
}

export interface FrameMark {
  readonly stack: number;
  readonly scratch: number;
}

export const at = (base: VReg | FrameObject, offset = 0): Address => ({ base, offset });
export const plus = (a: Address, n: number): Address => ({ base: a.base, offset: a.offset + n });

const MASK = (1n << 64n) - 1n;

/** What an operation gives on 64-bit words, as BPF does it. */
export function foldAlu(op: AluOp, a: bigint, b: bigint): bigint {
  const x = a & MASK;
  const y = b & MASK;
  switch (op) {
    case "add":
      return BigInt.asIntN(64, x + y);
    case "sub":
      return BigInt.asIntN(64, x - y);
    case "mul":
      return BigInt.asIntN(64, x * y);
    case "div":
      return BigInt.asIntN(64, y === 0n ? 0n : x / y);
    case "mod":
      return BigInt.asIntN(64, y === 0n ? x : x % y);
    case "and":
      return BigInt.asIntN(64, x & y);
    case "or":
      return BigInt.asIntN(64, x | y);
    case "xor":
      return BigInt.asIntN(64, x ^ y);
    case "lsh":
      return BigInt.asIntN(64, x << (y & 63n));
    case "rsh":
      return BigInt.asIntN(64, x >> (y & 63n));
    case "arsh":
      return BigInt.asIntN(64, BigInt.asIntN(64, x) >> (y & 63n));
  }
}

export function foldCondition(c: Condition, a: bigint, b: bigint): boolean {
  const [ux, uy] = [BigInt.asUintN(64, a), BigInt.asUintN(64, b)];
  const [sx, sy] = [BigInt.asIntN(64, a), BigInt.asIntN(64, b)];
  switch (c) {
    case "eq":
      return ux === uy;
    case "ne":
      return ux !== uy;
    case "lt":
      return ux < uy;
    case "le":
      return ux <= uy;
    case "gt":
      return ux > uy;
    case "ge":
      return ux >= uy;
    case "slt":
      return sx < sy;
    case "sle":
      return sx <= sy;
    case "sgt":
      return sx > sy;
    case "sge":
      return sx >= sy;
    case "set":
      return (ux & uy) !== 0n;
  }
}

/** The smaller one of an unsigned word and a limit. */
export const smaller = (a: bigint, limit: number): bigint =>
  (a & MASK) > BigInt(limit) ? BigInt(limit) : a & MASK;

const COMMUTES: ReadonlySet<AluOp> = new Set(["add", "mul", "and", "or", "xor"]);

/** The identity of an operation on its right side, where it has one. */
const IDENTITY: Readonly<Partial<Record<AluOp, bigint>>> = {
  add: 0n,
  sub: 0n,
  mul: 1n,
  div: 1n,
  or: 0n,
  xor: 0n,
  lsh: 0n,
  rsh: 0n,
  arsh: 0n,
  and: -1n,
};

/** Bytes of stack for objects that live as long as the program. */
const PINNED_STACK = 96;

/** `stackBudget`: bytes of stack for frame objects; what does not fit goes to scratch. */
export function createBuilder(name: string, parameterCount: number, stackBudget: number): Builder {
  let registers = 0;
  const reg = (): VReg => registers++;
  const parameters = Array.from({ length: parameterCount }, reg);
  const scratch = reg();
  const blocks: Block[] = [];
  const placed: Block[] = [];
  let current: Block | undefined;
  let stack = 0;
  let stackHigh = 0;
  let scratchUsed = 0;
  const pinned: FrameObject[] = [];
  let pinnedStack = 0;
  const scratchObjects: FrameObject[] = [];
  let scratchHigh = 0;

  const block = (): BlockId => {
    const id = blocks.length;
    blocks.push({ id, insns: [], end: { op: "return", value: 0n } });
    return id;
  };
  const enter = (id: BlockId): void => {
    const next = blocks[id];
    if (!next) throw new Error(`no block ${id}`);
    current = next;
    placed.push(next);
  };
  const emit = (i: Insn): void => {
    current?.insns.push(builder.loc ? { ...i, loc: builder.loc } : i);
  };
  const end = (t: Terminator): void => {
    if (current) current.end = builder.loc ? { ...t, loc: builder.loc } : t;
    current = undefined;
  };
  const result = (make: (d: VReg) => Insn): VReg => {
    const d = reg();
    emit(make(d));
    return d;
  };
  const force = (v: Val): VReg => (typeof v === "number" ? v : result((d) => ({ op: "mov", d, s: v })));

  const builder: Builder = {
    loc: undefined,
    scratch,
    reachable: () => current !== undefined,
    reg,
    block,
    enter,
    jump: (to) => end({ op: "jump", to }),
    branch: (condition, a, b, yes, no) => {
      if (typeof a === "bigint" && typeof b === "bigint")
        return end({ op: "jump", to: foldCondition(condition, a, b) ? yes : no });
      end({ op: "branch", condition, a: force(a), b, yes, no });
    },
    ret: (value) => end({ op: "return", value }),
    mov: (s) => result((d) => ({ op: "mov", d, s })),
    set: (d, s) => emit({ op: "mov", d, s }),
    alu: (alu, a, b) => {
      if (typeof a === "bigint" && typeof b === "bigint") return foldAlu(alu, a, b);
      if (typeof b === "bigint") {
        if (IDENTITY[alu] === b) return a;
        if ((alu === "mul" || alu === "and") && b === 0n) return 0n;
        // Unsigned division by a power of two is a shift.
        if (b > 0n && (b & (b - 1n)) === 0n && (alu === "div" || alu === "mod" || alu === "mul")) {
          const shift = BigInt(b.toString(2).length - 1);
          if (alu === "div") return builder.alu("rsh", a, shift);
          if (alu === "mod") return builder.alu("and", a, b - 1n);
          return builder.alu("lsh", a, shift);
        }
      }
      if (typeof a === "bigint" && COMMUTES.has(alu)) return builder.alu(alu, b, a);
      return result((d) => ({ op: "alu", alu, d, a, b }));
    },
    neg: (a) => (typeof a === "bigint" ? BigInt.asIntN(64, -a) : result((d) => ({ op: "neg", d, a }))),
    low32: (a) => (typeof a === "bigint" ? BigInt.asUintN(32, a) : result((d) => ({ op: "low32", d, a }))),
    atMost: (a, limit) =>
      typeof a === "bigint" ? smaller(a, limit) : result((d) => ({ op: "at_most", d, a, limit })),
    swap: (a, bits) => {
      const s = force(a);
      return result((d) => ({ op: "swap", d, a: s, bits }));
    },
    load: (from, size) => result((d) => ({ op: "load", d, from, size })),
    store: (to, size, s) => emit({ op: "store", to, size, s }),
    atomicAdd: (to, size, s) => emit({ op: "atomic_add", to, size, s: force(s) }),
    address: (of) => result((d) => ({ op: "address", d, of })),
    map: (map) => result((d) => ({ op: "map", d, map })),
    mapValue: (map, offset) => result((d) => ({ op: "map_value", d, map, offset })),
    kernelVariable: (btfId) => result((d) => ({ op: "kernel_variable", d, btfId })),
    call: (helper, args) => result((d) => ({ op: "call", d, helper, args })),
    functionAddress: (index) => result((d) => ({ op: "function", d, index })),
    frame: (bytes) => {
      const size = align8(Math.max(1, bytes));
      if (size <= STACK_OBJECT && stack + size <= stackBudget) {
        stack += size;
        stackHigh = Math.max(stackHigh, stack);
        return { where: "stack", offset: stack, size };
      }
      const object: FrameObject = { where: "scratch", offset: scratchUsed, size };
      scratchUsed += size;
      scratchHigh = Math.max(scratchHigh, scratchUsed);
      scratchObjects.push(object);
      return object;
    },
    pinned: (bytes, where) => {
      const size = align8(bytes);
      const fits =
        where === undefined ? pinnedStack + size <= Math.min(PINNED_STACK, stackBudget) : where === "stack";
      if (fits) pinnedStack += size;
      const object: FrameObject = { where: fits ? "stack" : "scratch", offset: 0, size };
      pinned.push(object);
      return object;
    },
    mark: () => ({ stack, scratch: scratchUsed }),
    release: (mark) => {
      stack = mark.stack;
      scratchUsed = mark.scratch;
    },
    finish: (scratchBase) => {
      let stackBytes = stackHigh;
      for (const object of pinned)
        if (object.where === "stack") {
          stackBytes += object.size;
          object.offset = stackBytes;
        } else {
          object.offset = scratchHigh;
          scratchHigh += object.size;
          scratchObjects.push(object);
        }
      for (const object of scratchObjects) object.offset += scratchBase;
      return {
        f: { name, blocks: placed, parameters, registers, scratch, stackBytes },
        scratchBytes: scratchHigh,
      };
    },
  };
  enter(block());
  return builder;
}
