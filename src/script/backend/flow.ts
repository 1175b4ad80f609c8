// script, backend: which registers are live where. Most registers live within one block; only the others take part in the equations.
import { defines, type IrFunction, successors, terminatorUses, uses, type VReg } from "../ir/ir.ts";

export interface Liveness {
  /** Registers live at the start and at the end of a block, by its id. */
  liveIn(id: number): readonly VReg[];
  liveOut(id: number): readonly VReg[];
}

/** Registers that some block reads before it writes them, with the bit that stands for each. */
function exposed(f: IrFunction): Map<VReg, number> {
  const bits = new Map<VReg, number>();
  const written = new Int32Array(f.registers).fill(-1);
  const note = (v: VReg, block: number): void => {
    if (written[v] !== block && !bits.has(v)) bits.set(v, bits.size);
  };
  for (const block of f.blocks) {
    for (const i of block.insns) {
      for (const u of uses(i)) note(u, block.id);
      const d = defines(i);
      if (d !== undefined) written[d] = block.id;
    }
    for (const u of terminatorUses(block.end)) note(u, block.id);
  }
  return bits;
}

export function liveness(f: IrFunction): Liveness {
  const bits = exposed(f);
  const registers = [...bits.keys()];
  const words = (registers.length + 31) >> 5;
  interface Sets {
    readonly gen: Uint32Array;
    readonly kill: Uint32Array;
    readonly in: Uint32Array;
    readonly out: Uint32Array;
  }
  const sets = new Map<number, Sets>();
  const add = (set: Uint32Array, bit: number): void => {
    set[bit >> 5] = (set[bit >> 5] ?? 0) | (1 << (bit & 31));
  };
  const has = (set: Uint32Array, bit: number): boolean => ((set[bit >> 5] ?? 0) & (1 << (bit & 31))) !== 0;
  for (const block of f.blocks) {
    const s: Sets = {
      gen: new Uint32Array(words),
      kill: new Uint32Array(words),
      in: new Uint32Array(words),
      out: new Uint32Array(words),
    };
    const use = (v: VReg): void => {
      const bit = bits.get(v);
      if (bit !== undefined && !has(s.kill, bit)) add(s.gen, bit);
    };
    for (const i of block.insns) {
      for (const u of uses(i)) use(u);
      const d = defines(i);
      const bit = d === undefined ? undefined : bits.get(d);
      if (bit !== undefined) add(s.kill, bit);
    }
    for (const u of terminatorUses(block.end)) use(u);
    s.in.set(s.gen);
    sets.set(block.id, s);
  }
  for (let changed = true; changed; ) {
    changed = false;
    for (let n = f.blocks.length - 1; n >= 0; n--) {
      const block = f.blocks[n];
      const s = block && sets.get(block.id);
      if (!s) continue;
      for (const next of successors(block.end)) {
        const after = sets.get(next);
        if (!after) continue;
        for (let w = 0; w < words; w++) {
          const more = (after.in[w] ?? 0) & ~(s.out[w] ?? 0);
          if (more === 0) continue;
          changed = true;
          s.out[w] = (s.out[w] ?? 0) | more;
          s.in[w] = (s.in[w] ?? 0) | (more & ~(s.kill[w] ?? 0));
        }
      }
    }
  }
  const expand = (set: Uint32Array | undefined): VReg[] => {
    const out: VReg[] = [];
    if (!set) return out;
    for (let w = 0; w < words; w++)
      for (let rest = set[w] ?? 0; rest !== 0; rest &= rest - 1) {
        const v = registers[w * 32 + 31 - Math.clz32(rest & -rest)];
        if (v !== undefined) out.push(v);
      }
    return out;
  };
  return { liveIn: (id) => expand(sets.get(id)?.in), liveOut: (id) => expand(sets.get(id)?.out) };
}

/** How often each register is written, parameters once. */
export function definitionCounts(f: IrFunction): Uint32Array {
  const counts = new Uint32Array(f.registers);
  for (const p of f.parameters) counts[p] = 1;
  for (const block of f.blocks)
    for (const i of block.insns) {
      const d = defines(i);
      if (d !== undefined) counts[d] = (counts[d] ?? 0) + 1;
    }
  return counts;
}
