// script, backend: gives virtual registers machine registers, by linear scan over live intervals. What is live across a call
// needs one of r6-r9; what finds none goes to the stack, or is computed again where that is as cheap.
import {
  defines,
  type FrameObject,
  type Insn,
  type IrFunction,
  terminatorUses,
  uses,
  type VReg,
} from "../ir/ir.ts";
import { definitionCounts, liveness } from "./flow.ts";

const SAVED = [6, 7, 8, 9];
const ALL = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
export interface Allocation {
  readonly f: IrFunction;
  /** Machine register by virtual register. */
  readonly registers: ReadonlyMap<VReg, number>;
  readonly stackBytes: number;
}

interface Interval {
  readonly v: VReg;
  start: number;
  end: number;
  crosses: boolean;
  hint: number | undefined;
  /** A copy partner whose register is as good a choice. */
  friend: VReg | undefined;
}

/** undefined if `stackLimit` bytes do not hold the function's objects and all that must be spilled. */
export function allocate(input: IrFunction, stackLimit: number): Allocation | undefined {
  let f = input;
  let spillBytes = 0;
  const fixed = new Set<VReg>();
  for (let round = 0; round < 64; round++) {
    const intervals = liveIntervals(f);
    const { registers, spilled } = scan(intervals, fixed);
    if (f.stackBytes + spillBytes > stackLimit) return undefined;
    if (spilled.length === 0) return { f, registers, stackBytes: f.stackBytes + spillBytes };
    const rewritten = spill(f, spilled, fixed, f.stackBytes + spillBytes);
    f = rewritten.f;
    spillBytes += rewritten.bytes;
    if (f.stackBytes + spillBytes > stackLimit) return undefined;
  }
  return undefined;
}

/** Positions: instruction n reads at 2n and writes at 2n + 1. */
function liveIntervals(f: IrFunction): Interval[] {
  const live = liveness(f);
  const found = new Map<VReg, Interval>();
  const calls: number[] = [];
  const touch = (v: VReg, at: number): Interval => {
    let i = found.get(v);
    if (!i) {
      i = { v, start: at, end: at, crosses: false, hint: undefined, friend: undefined };
      found.set(v, i);
    }
    if (at < i.start) i.start = at;
    if (at > i.end) i.end = at;
    return i;
  };
  for (const [k, p] of f.parameters.entries()) touch(p, -1).hint = k + 1;
  let n = 0;
  for (const block of f.blocks) {
    const first = 2 * n;
    for (const i of block.insns) {
      for (const u of uses(i)) touch(u, 2 * n);
      const d = defines(i);
      if (d !== undefined) touch(d, 2 * n + 1);
      if (i.op === "alu" && typeof i.b === "number" && i.b !== i.a) touch(i.b, 2 * n + 1);
      if (i.op === "alu" && typeof i.a === "number") befriend(touch(i.d, 2 * n + 1), i.a, found);
      if (i.op === "mov" && typeof i.s === "number") befriend(touch(i.d, 2 * n + 1), i.s, found);
      if (i.op === "neg" || i.op === "low32" || i.op === "at_most" || i.op === "swap")
        befriend(touch(i.d, 2 * n + 1), i.a, found);
      if (i.op === "call") {
        calls.push(2 * n);
        if (i.d !== undefined) touch(i.d, 2 * n + 1).hint ??= 0;
        for (const [k, a] of i.args.entries()) if (typeof a === "number") touch(a, 2 * n).hint = k + 1;
      }
      n++;
    }
    for (const u of terminatorUses(block.end)) touch(u, 2 * n);
    n++;
    const last = 2 * n - 1;
    for (const v of live.liveOut(block.id)) touch(v, last);
    for (const v of live.liveIn(block.id)) touch(v, first);
  }
  for (const i of found.values()) i.crosses = crossesCall(calls, i);
  return [...found.values()].sort((a, b) => a.start - b.start || a.end - b.end);
}

function befriend(i: Interval, other: VReg, found: Map<VReg, Interval>): void {
  i.friend ??= other;
  const o = found.get(other);
  if (o) o.friend ??= i.v;
}

/** Live before a call and after it. */
function crossesCall(calls: readonly number[], i: Interval): boolean {
  let low = 0;
  let high = calls.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((calls[middle] ?? 0) < i.start) low = middle + 1;
    else high = middle;
  }
  const call = calls[low];
  return call !== undefined && call > i.start - 1 && i.start <= call && i.end > call;
}

function scan(
  intervals: readonly Interval[],
  fixed: ReadonlySet<VReg>,
): { registers: Map<VReg, number>; spilled: VReg[] } {
  const registers = new Map<VReg, number>();
  const spilled: VReg[] = [];
  let active: Interval[] = [];
  for (const i of intervals) {
    active = active.filter((a) => a.end >= i.start);
    const taken = new Set(active.map((a) => registers.get(a.v)));
    const allowed = i.crosses ? SAVED : ALL;
    const free = allowed.filter((r) => !taken.has(r));
    const friend = i.friend === undefined ? undefined : registers.get(i.friend);
    const choice =
      i.hint !== undefined && free.includes(i.hint)
        ? i.hint
        : friend !== undefined && free.includes(friend)
          ? friend
          : free[0];
    if (choice !== undefined) {
      registers.set(i.v, choice);
      active.push(i);
      continue;
    }
    // The one that is needed last gives way, but never a reload, which is as short as can be.
    const candidates = active.filter((a) => allowed.includes(registers.get(a.v) ?? -1) && !fixed.has(a.v));
    const victim = candidates.reduce<Interval | undefined>(
      (best, a) => (best && best.end >= a.end ? best : a),
      undefined,
    );
    if (victim && (fixed.has(i.v) || victim.end > i.end)) {
      const register = registers.get(victim.v) ?? 0;
      registers.delete(victim.v);
      spilled.push(victim.v);
      active = active.filter((a) => a !== victim);
      registers.set(i.v, register);
      active.push(i);
    } else spilled.push(i.v);
  }
  return { registers, spilled };
}

/** What can be made again where it is needed, as cheaply as it could be loaded. */
function again(i: Insn): boolean {
  return (
    (i.op === "mov" && typeof i.s === "bigint") ||
    i.op === "map" ||
    i.op === "map_value" ||
    i.op === "kernel_variable" ||
    i.op === "function" ||
    (i.op === "address" && typeof i.of.base !== "number")
  );
}

function spill(
  f: IrFunction,
  spilled: readonly VReg[],
  fixed: Set<VReg>,
  stackBytes: number,
): { f: IrFunction; bytes: number } {
  const counts = definitionCounts(f);
  const remake = new Map<VReg, Insn>();
  for (const block of f.blocks)
    for (const i of block.insns) {
      const d = defines(i);
      if (d !== undefined && counts[d] === 1 && again(i)) remake.set(d, i);
    }
  let bytes = 0;
  const slots = new Map<VReg, FrameObject>();
  for (const v of spilled) {
    if (remake.has(v)) continue;
    bytes += 8;
    slots.set(v, { where: "stack", offset: stackBytes + bytes, size: 8 });
  }
  let registers = f.registers;
  const gone = new Set(spilled);
  const blocks = f.blocks.map((block, index) => {
    const insns: Insn[] = [];
    if (index === 0)
      for (const p of f.parameters) {
        const slot = slots.get(p);
        if (slot) insns.push({ op: "store", to: { base: slot, offset: 0 }, size: 8, s: p });
      }
    const fetch = (loc: Insn["loc"]) => {
      const local = new Map<VReg, VReg>();
      return (v: VReg): VReg => {
        if (!gone.has(v)) return v;
        let d = local.get(v);
        if (d !== undefined) return d;
        d = registers++;
        fixed.add(d);
        local.set(v, d);
        const made = remake.get(v);
        const slot = slots.get(v);
        if (made) insns.push({ ...made, d, loc } as Insn);
        else if (slot) insns.push({ op: "load", d, from: { base: slot, offset: 0 }, size: 8, loc });
        return d;
      };
    };
    for (const i of block.insns) {
      const d = defines(i);
      if (d !== undefined && gone.has(d) && remake.has(d)) continue;
      const replaced = substitute(i, fetch(i.loc));
      if (d === undefined || !gone.has(d)) {
        insns.push(replaced);
        continue;
      }
      const fresh = registers++;
      fixed.add(fresh);
      insns.push({ ...replaced, d: fresh } as Insn);
      const slot = slots.get(d);
      if (slot) insns.push({ op: "store", to: { base: slot, offset: 0 }, size: 8, s: fresh, loc: i.loc });
    }
    const get = fetch(block.end.loc);
    const end =
      block.end.op === "branch"
        ? {
            ...block.end,
            a: get(block.end.a),
            b: typeof block.end.b === "number" ? get(block.end.b) : block.end.b,
          }
        : block.end.op === "return" && typeof block.end.value === "number"
          ? { ...block.end, value: get(block.end.value) }
          : block.end;
    return { id: block.id, insns, end };
  });
  return { f: { ...f, blocks, registers }, bytes };
}

function substitute(i: Insn, get: (v: VReg) => VReg): Insn {
  const val = <T extends VReg | bigint>(v: T): VReg | bigint => (typeof v === "number" ? get(v) : v);
  const address = <A extends { base: VReg | FrameObject; offset: number }>(a: A) =>
    typeof a.base === "number" ? { base: get(a.base), offset: a.offset } : a;
  switch (i.op) {
    case "mov":
      return { ...i, s: val(i.s) };
    case "alu":
      return { ...i, a: val(i.a), b: val(i.b) };
    case "neg":
    case "low32":
    case "at_most":
    case "swap":
      return { ...i, a: get(i.a) };
    case "load":
      return { ...i, from: address(i.from) };
    case "store":
      return { ...i, to: address(i.to), s: val(i.s) };
    case "atomic_add":
      return { ...i, to: address(i.to), s: get(i.s) };
    case "address":
      return { ...i, of: address(i.of) };
    case "call":
      return { ...i, args: i.args.map(val) };
    default:
      return i;
  }
}
