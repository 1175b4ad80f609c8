// script, backend: which registers are live where.
import {
  type Block,
  defines,
  type IrFunction,
  successors,
  terminatorUses,
  uses,
  type VReg,
} from "../ir/ir.ts";

/** Registers live at the end of each block, by block id. */
export function liveOut(f: IrFunction): Map<number, Set<VReg>> {
  const gen = new Map<number, Set<VReg>>();
  const kill = new Map<number, Set<VReg>>();
  for (const block of f.blocks) {
    const g = new Set<VReg>();
    const k = new Set<VReg>();
    for (const i of block.insns) {
      for (const u of uses(i)) if (!k.has(u)) g.add(u);
      const d = defines(i);
      if (d !== undefined) k.add(d);
    }
    for (const u of terminatorUses(block.end)) if (!k.has(u)) g.add(u);
    gen.set(block.id, g);
    kill.set(block.id, k);
  }
  const liveIn = new Map<number, Set<VReg>>(f.blocks.map((b) => [b.id, new Set(gen.get(b.id))]));
  const out = new Map<number, Set<VReg>>(f.blocks.map((b) => [b.id, new Set<VReg>()]));
  for (let changed = true; changed; ) {
    changed = false;
    for (let i = f.blocks.length - 1; i >= 0; i--) {
      const block = f.blocks[i];
      if (!block) continue;
      const o = out.get(block.id);
      const n = liveIn.get(block.id);
      const k = kill.get(block.id);
      if (!o || !n || !k) continue;
      for (const s of successors(block.end))
        for (const v of liveIn.get(s) ?? [])
          if (!o.has(v)) {
            o.add(v);
            changed = true;
            if (!k.has(v)) n.add(v);
          }
    }
  }
  return out;
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

export type { Block };
