// script, backend: makes the intermediate form smaller: copies and constants are carried forward, branches on constants decided,
// what nobody reads is dropped, blocks that follow one another alone are joined.
import { foldAlu, foldCondition, smaller } from "../ir/builder.ts";
import {
  type Address,
  defines,
  type Insn,
  type IrFunction,
  isPure,
  successors,
  type Terminator,
  terminatorUses,
  uses,
  type Val,
  type VReg,
} from "../ir/ir.ts";
import { definitionCounts, liveness } from "./flow.ts";

/** Rounds; each finds what the one before made possible. */
const ROUNDS = 4;

export function optimise(f: IrFunction): IrFunction {
  let out = f;
  for (let round = 0; round < ROUNDS; round++) {
    out = simplifyBlocks(out);
    propagate(out);
    removeDead(out);
  }
  return simplifyBlocks(out);
}

/** Drops blocks that are never reached, skips empty ones, joins a block with its only successor's only predecessor. */
function simplifyBlocks(f: IrFunction): IrFunction {
  const byId = new Map(f.blocks.map((b) => [b.id, b]));
  const target = (id: number): number => {
    let at = id;
    for (let hops = 0; hops < 64; hops++) {
      const block = byId.get(at);
      if (block?.insns.length !== 0 || block.end.op !== "jump" || block.end.to === at) return at;
      at = block.end.to;
    }
    return at;
  };
  for (const block of f.blocks) {
    const { end } = block;
    if (end.op === "jump") block.end = { ...end, to: target(end.to) };
    else if (end.op === "branch") {
      const yes = target(end.yes);
      const no = target(end.no);
      block.end = yes === no ? { op: "jump", to: yes, loc: end.loc } : { ...end, yes, no };
    }
  }
  const predecessors = new Map<number, number>();
  const reached = new Set<number>();
  const [entry] = f.blocks;
  const stack = entry ? [entry.id] : [];
  while (stack.length > 0) {
    const id = stack.pop() ?? 0;
    if (reached.has(id)) continue;
    reached.add(id);
    const block = byId.get(id);
    for (const s of block ? successors(block.end) : []) {
      predecessors.set(s, (predecessors.get(s) ?? 0) + 1);
      stack.push(s);
    }
  }
  const joined = new Set<number>();
  for (const block of f.blocks) {
    if (!reached.has(block.id) || joined.has(block.id)) continue;
    for (;;) {
      const { end } = block;
      if (end.op !== "jump" || end.to === block.id || predecessors.get(end.to) !== 1 || end.to === entry?.id)
        break;
      const next = byId.get(end.to);
      if (!next || joined.has(next.id)) break;
      block.insns = [...block.insns, ...next.insns];
      block.end = next.end;
      joined.add(next.id);
    }
  }
  return { ...f, blocks: f.blocks.filter((b) => reached.has(b.id) && !joined.has(b.id)) };
}

type Replace = (v: VReg) => Val;

function mapVal(v: Val, replace: Replace): Val {
  return typeof v === "number" ? replace(v) : v;
}
function mapReg(v: VReg, replace: Replace): VReg {
  const r = replace(v);
  return typeof r === "number" ? r : v;
}
function mapAddress(a: Address, replace: Replace): Address {
  return typeof a.base === "number" ? { base: mapReg(a.base, replace), offset: a.offset } : a;
}

/** The instruction with its operands replaced and folded. */
function rewrite(i: Insn, replace: Replace): Insn {
  switch (i.op) {
    case "mov":
      return { ...i, s: mapVal(i.s, replace) };
    case "alu": {
      const a = mapVal(i.a, replace);
      const b = mapVal(i.b, replace);
      if (typeof a === "bigint" && typeof b === "bigint")
        return { op: "mov", d: i.d, s: foldAlu(i.alu, a, b), loc: i.loc };
      return { ...i, a, b };
    }
    case "neg":
    case "low32":
    case "at_most":
    case "swap": {
      const a = replace(i.a);
      if (typeof a === "number") return { ...i, a };
      if (i.op === "neg") return { op: "mov", d: i.d, s: BigInt.asIntN(64, -a), loc: i.loc };
      if (i.op === "at_most") return { op: "mov", d: i.d, s: smaller(a, i.limit), loc: i.loc };
      if (i.op === "low32") return { op: "mov", d: i.d, s: BigInt.asUintN(32, a), loc: i.loc };
      return i;
    }
    case "load":
      return { ...i, from: mapAddress(i.from, replace) };
    case "store":
      return { ...i, to: mapAddress(i.to, replace), s: mapVal(i.s, replace) };
    case "atomic_add":
      return { ...i, to: mapAddress(i.to, replace), s: mapReg(i.s, replace) };
    case "address":
      return { ...i, of: mapAddress(i.of, replace) };
    case "call":
      return { ...i, args: i.args.map((a) => mapVal(a, replace)) };
    default:
      return i;
  }
}

function rewriteEnd(t: Terminator, replace: Replace): Terminator {
  if (t.op === "return") return { ...t, value: mapVal(t.value, replace) };
  if (t.op !== "branch") return t;
  const a = replace(t.a);
  const b = mapVal(t.b, replace);
  if (typeof a === "bigint" && typeof b === "bigint")
    return { op: "jump", to: foldCondition(t.condition, a, b) ? t.yes : t.no, loc: t.loc };
  // A constant on the left stays in its register.
  return { ...t, a: typeof a === "number" ? a : t.a, b };
}

/** Copies and constants, across the function for registers that are written once, within a block for the others. */
function propagate(f: IrFunction): void {
  const counts = definitionCounts(f);
  const everywhere = new Map<VReg, Val>();
  for (const block of f.blocks)
    for (const i of block.insns)
      if (i.op === "mov" && counts[i.d] === 1 && (typeof i.s === "bigint" || counts[i.s] === 1))
        everywhere.set(i.d, i.s);
  const resolve = (v: VReg): Val => {
    let at: Val = v;
    for (let hops = 0; hops < 64 && typeof at === "number"; hops++) {
      const next = everywhere.get(at);
      if (next === undefined) break;
      at = next;
    }
    return at;
  };
  for (const block of f.blocks) {
    const here = new Map<VReg, Val>();
    /** Registers that are known to be copies of one. */
    const copies = new Map<VReg, VReg[]>();
    const replace: Replace = (v) => {
      const global = resolve(v);
      if (typeof global === "bigint") return global;
      return here.get(global) ?? global;
    };
    block.insns = block.insns.map((insn) => {
      const i = rewrite(insn, replace);
      const d = defines(i);
      if (d !== undefined) {
        here.delete(d);
        for (const k of copies.get(d) ?? []) if (here.get(k) === d) here.delete(k);
        copies.delete(d);
        if (i.op === "mov" && i.s !== d) {
          here.set(d, i.s);
          if (typeof i.s === "number") copies.set(i.s, [...(copies.get(i.s) ?? []), d]);
        }
      }
      return i;
    });
    block.end = rewriteEnd(block.end, replace);
  }
}

/** Drops instructions without effect whose result is not read. */
function removeDead(f: IrFunction): void {
  const { liveOut } = liveness(f);
  for (const block of f.blocks) {
    const live = new Set(liveOut(block.id));
    for (const u of terminatorUses(block.end)) live.add(u);
    const kept: Insn[] = [];
    for (let n = block.insns.length - 1; n >= 0; n--) {
      const i = block.insns[n];
      if (!i) continue;
      const d = defines(i);
      if (d !== undefined && !live.has(d) && isPure(i)) continue;
      if (i.op === "mov" && i.s === i.d) continue;
      if (d !== undefined) live.delete(d);
      for (const u of uses(i)) live.add(u);
      kept.push(i);
    }
    block.insns = kept.reverse();
  }
}
