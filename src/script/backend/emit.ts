// script, backend: from allocated intermediate form to instructions, with relocations and the line of each.
import type { Address, Val, VReg } from "../ir/ir.ts";
import type { LineMap } from "../text.ts";
import type { Relocation } from "../types.ts";
import type { Allocation } from "./allocate.ts";
import { type Encoded, encode, INVERSE, PSEUDO, toBytes } from "./encode.ts";
import { fits32 } from "./legalise.ts";

export interface Emitted {
  readonly code: Uint8Array;
  readonly relocations: readonly Relocation[];
  readonly lines: readonly { readonly instruction: number; readonly line: number; readonly column: number }[];
}

const FP = 10;

/** The functions one after another; the first is the program's entry. */
export function emitProgram(allocations: readonly Allocation[], lines: LineMap): Emitted {
  const insns: Encoded[] = [];
  const relocations: Relocation[] = [];
  const table: { instruction: number; line: number; column: number }[] = [];
  const starts: number[] = [];
  const functionLoads: { at: number; index: number }[] = [];
  for (const a of allocations) {
    starts.push(insns.length);
    emitFunction(a, insns, relocations, functionLoads, (loc) => {
      if (!loc) return;
      const { line, column } = lines.position(loc.start);
      const last = table.at(-1);
      if (last?.instruction === insns.length) table.pop();
      const before = table.at(-1);
      if (before?.line !== line || before.column !== column)
        table.push({ instruction: insns.length, line, column });
    });
  }
  for (const { at, index } of functionLoads) {
    const load = insns[at];
    // BPF_PSEUDO_FUNC: the constant is the distance from the next instruction.
    if (load) insns[at] = { ...load, imm: (starts[index] ?? 0) - at - 1 };
  }
  return { code: toBytes(insns), relocations, lines: table };
}

function emitFunction(
  { f, registers }: Allocation,
  out: Encoded[],
  relocations: Relocation[],
  functionLoads: { at: number; index: number }[],
  note: (loc: { start: number } | undefined) => void,
): void {
  const reg = (v: VReg): number => {
    const r = registers.get(v);
    // A register that is written and never read has no interval of its own worth keeping; r0 may be overwritten.
    return r ?? 0;
  };
  const constant = (dst: number, v: bigint): void => {
    if (fits32(v)) {
      out.push(encode.movImm(dst, Number(v)));
      return;
    }
    const bits = BigInt.asUintN(64, v);
    out.push(
      ...encode.wide(
        dst,
        PSEUDO.none,
        Number(BigInt.asIntN(32, bits)),
        Number(BigInt.asIntN(32, bits >> 32n)),
      ),
    );
  };
  const moveTo = (dst: number, v: Val): void => {
    if (typeof v === "bigint") constant(dst, v);
    else if (reg(v) !== dst) out.push(encode.movReg(dst, reg(v)));
  };
  const base = (a: Address): { r: number; off: number } =>
    typeof a.base === "number" ? { r: reg(a.base), off: a.offset } : { r: FP, off: a.offset - a.base.offset };

  const labels = new Map<number, number>();
  const fixups: { at: number; to: number }[] = [];
  parallelMove(
    f.parameters.flatMap((p, i) => (registers.has(p) ? [{ dst: reg(p), src: i + 1 }] : [])),
    out,
  );
  for (const [n, block] of f.blocks.entries()) {
    labels.set(block.id, out.length);
    for (const i of block.insns) {
      note(i.loc);
      switch (i.op) {
        case "mov":
          moveTo(reg(i.d), i.s);
          break;
        case "alu": {
          const d = reg(i.d);
          moveTo(d, i.a);
          out.push(
            typeof i.b === "bigint"
              ? encode.aluImm(i.alu, d, Number(i.b))
              : encode.aluReg(i.alu, d, reg(i.b)),
          );
          break;
        }
        case "neg":
          moveTo(reg(i.d), i.a);
          out.push(encode.neg(reg(i.d)));
          break;
        case "low32":
          out.push(encode.mov32(reg(i.d), reg(i.a)));
          break;
        case "at_most":
          moveTo(reg(i.d), i.a);
          out.push(encode.jumpImm("le", reg(i.d), i.limit, 1), encode.movImm(reg(i.d), i.limit));
          break;
        case "swap":
          moveTo(reg(i.d), i.a);
          out.push(encode.swap(reg(i.d), i.bits));
          break;
        case "load": {
          const { r, off } = base(i.from);
          out.push(encode.load(i.size, reg(i.d), r, off));
          break;
        }
        case "store": {
          const { r, off } = base(i.to);
          out.push(
            typeof i.s === "bigint"
              ? encode.storeImm(i.size, r, off, Number(i.s))
              : encode.storeReg(i.size, r, off, reg(i.s)),
          );
          break;
        }
        case "atomic_add": {
          const { r, off } = base(i.to);
          out.push(encode.atomicAdd(i.size, r, off, reg(i.s)));
          break;
        }
        case "address": {
          const { r, off } = base(i.of);
          if (r !== reg(i.d)) out.push(encode.movReg(reg(i.d), r));
          if (off !== 0) out.push(encode.aluImm("add", reg(i.d), off));
          break;
        }
        case "map":
          relocations.push({ instruction: out.length, map: i.map });
          out.push(...encode.wide(reg(i.d), PSEUDO.map, 0, 0));
          break;
        case "map_value":
          relocations.push({ instruction: out.length, map: i.map, value: true });
          out.push(...encode.wide(reg(i.d), PSEUDO.value, 0, i.offset));
          break;
        case "kernel_variable":
          out.push(...encode.wide(reg(i.d), PSEUDO.variable, i.btfId, 0));
          break;
        case "function":
          functionLoads.push({ at: out.length, index: i.index });
          out.push(...encode.wide(reg(i.d), PSEUDO.function, 0, 0));
          break;
        case "call": {
          const moves: { dst: number; src: number }[] = [];
          for (const [k, a] of i.args.entries())
            if (typeof a === "number") moves.push({ dst: k + 1, src: reg(a) });
          parallelMove(moves, out);
          for (const [k, a] of i.args.entries()) if (typeof a === "bigint") constant(k + 1, a);
          out.push(encode.call(i.helper));
          if (i.d !== undefined && registers.has(i.d) && reg(i.d) !== 0) out.push(encode.movReg(reg(i.d), 0));
          break;
        }
      }
    }
    const { end } = block;
    note(end.loc);
    const next = f.blocks[n + 1]?.id;
    if (end.op === "return") {
      moveTo(0, end.value);
      out.push(encode.exit());
    } else if (end.op === "jump") {
      if (end.to === next) continue;
      fixups.push({ at: out.length, to: end.to });
      out.push(encode.jump(0));
    } else {
      const inverse = INVERSE[end.condition];
      const flip = end.yes === next && inverse !== undefined;
      const condition = flip ? inverse : end.condition;
      const to = flip ? end.no : end.yes;
      const rest = flip ? end.yes : end.no;
      fixups.push({ at: out.length, to });
      out.push(
        typeof end.b === "bigint"
          ? encode.jumpImm(condition, reg(end.a), Number(end.b), 0)
          : encode.jumpReg(condition, reg(end.a), reg(end.b), 0),
      );
      if (rest !== next) {
        fixups.push({ at: out.length, to: rest });
        out.push(encode.jump(0));
      }
    }
  }
  for (const { at, to } of fixups) {
    const jump = out[at];
    const off = (labels.get(to) ?? 0) - at - 1;
    if (off > 0x7fff || off < -0x8000) throw new RangeError("jump");
    if (jump) out[at] = { ...jump, off };
  }
}

/** Moves between registers as if all at once. r0 is never a target, so it can break a cycle once nobody reads it any more. */
function parallelMove(moves: readonly { dst: number; src: number }[], out: Encoded[]): void {
  let pending = moves.filter((m) => m.dst !== m.src);
  while (pending.length > 0) {
    const ready = pending.find((m) => !pending.some((o) => o !== m && o.src === m.dst));
    if (ready) {
      out.push(encode.movReg(ready.dst, ready.src));
      pending = pending.filter((m) => m !== ready);
      continue;
    }
    const [first] = pending;
    if (!first) return;
    out.push(encode.movReg(0, first.src));
    pending = pending.map((m) => (m.src === first.src ? { dst: m.dst, src: 0 } : m));
  }
}
