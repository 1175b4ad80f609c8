// script, lowering: aggregates. Every CPU adds to its own copy, so that no event is lost to a race; readers add the copies up.

import { HELPER } from "../ir/helpers.ts";
import type { Address, Val } from "../ir/ir.ts";
import type { MapInfo, TExpr, TExprOf } from "../typed.ts";
import { lookup, storeKey, update } from "./maps.ts";
import { value } from "./scalars.ts";
import { addToSeries } from "./series.ts";
import { at, type Lowering, plus, when } from "./state.ts";

/** @map[key] = count() and its kin. */
export function aggregate(l: Lowering, map: MapInfo, key: readonly TExpr[], args: readonly TExpr[]): void {
  const [first] = args;
  const operand = first ? value(l, first) : 1n;
  if (map.aggregate === "hist" || map.aggregate === "lhist") {
    histogram(l, map, key, operand);
    return;
  }
  if (map.aggregate === "tseries") {
    addToSeries(l, map, key, operand);
    return;
  }
  if (map.aggregate === "max" && l.options.compat === "0.17") {
    // Its maxima begin at 0, so that nothing below is ever kept.
    when(l, "sge", operand, 0n, () => addValue(l, map, key, operand));
    return;
  }
  addValue(l, map, key, operand);
}

function addValue(l: Lowering, map: MapInfo, key: readonly TExpr[], operand: Val): void {
  const { b } = l;
  const slot = storeKey(l, map, key);
  const found = lookup(l, map, slot);
  const single = key.length === 0;
  const fresh = (): void => {
    if (single) return;
    const initial = at(b.frame(16));
    b.store(initial, 8, operand);
    b.store(plus(initial, 8), 8, map.aggregate === "count" ? 0n : 1n);
    update(l, map, slot, initial);
  };
  when(l, "ne", found, 0n, () => addTo(l, map, at(found), operand), single ? undefined : fresh);
}

/** Value at 0; at 8 the number of values (avg, stats) or whether there is one (the others; count needs none). */
function addTo(l: Lowering, map: MapInfo, cell: Address, operand: Val): void {
  const { b } = l;
  const second = plus(cell, 8);
  switch (map.aggregate) {
    case "count":
      b.store(cell, 8, b.alu("add", b.load(cell, 8), 1n));
      return;
    case "sum":
      b.store(cell, 8, b.alu("add", b.load(cell, 8), operand));
      b.store(second, 8, 1n);
      return;
    case "avg":
    case "stats":
      b.store(cell, 8, b.alu("add", b.load(cell, 8), operand));
      b.store(second, 8, b.alu("add", b.load(second, 8), 1n));
      return;
    case "min":
    case "max": {
      const better = map.aggregate === "min" ? (map.signed ? "slt" : "lt") : map.signed ? "sgt" : "gt";
      const set = b.load(second, 8);
      const [compare, store, done] = [b.block(), b.block(), b.block()];
      b.branch("eq", set, 0n, store, compare);
      b.enter(compare);
      const have = b.load(cell, 8);
      const candidate = typeof operand === "number" ? operand : b.mov(operand);
      b.branch(better, candidate, have, store, done);
      b.enter(store);
      b.store(cell, 8, operand);
      b.store(second, 8, 1n);
      b.jump(done);
      b.enter(done);
      return;
    }
    default:
      throw new Error(`aggregate ${map.aggregate}`);
  }
}

function histogram(l: Lowering, map: MapInfo, key: readonly TExpr[], operand: Val): void {
  const { b } = l;
  const bucket =
    map.aggregate === "hist" ? log2Bucket(l, operand, map.hist?.bits ?? 0) : linearBucket(l, operand, map);
  const storage = l.plan.storage(map);
  let slot: Address;
  if (key.length === 0) {
    slot = at(b.frame(4));
    b.store(slot, 4, bucket);
  } else {
    slot = storeKey(l, map, key);
    b.store(plus(slot, storage.bucketOffset), 8, bucket);
  }
  const found = lookup(l, map, slot);
  const add = (): void => b.store(at(found), 8, b.alu("add", b.load(at(found), 8), 1n));
  if (key.length === 0) when(l, "ne", found, 0n, add);
  else
    when(l, "ne", found, 0n, add, () => {
      const one = at(b.frame(8));
      b.store(one, 8, 1n);
      update(l, map, slot, one);
    });
}

/**
 * 0 for negative numbers; n + 1 for n < 2^bits; then each power of two in 2^bits parts:
 * ((log2 n - bits + 1) << bits) + (the `bits` bits of n after its highest) + 1.
 */
function log2Bucket(l: Lowering, operand: Val, bits: number): Val {
  const { b } = l;
  const small = (1n << BigInt(bits)) - 1n;
  const result = b.reg();
  b.set(result, 0n);
  when(l, "sge", operand, 0n, () =>
    when(
      l,
      "le",
      operand,
      small,
      () => b.set(result, b.alu("add", operand, 1n)),
      () => {
        // Branch-free: each step tests whether a high half holds a bit, and shifts it down if so.
        let rest: Val = operand;
        let log: Val = 0n;
        // 0.17 tells powers of two apart up to 2^31.
        const halves = l.options.compat === "0.17" ? [16n, 8n, 4n, 2n, 1n] : [32n, 16n, 8n, 4n, 2n, 1n];
        for (const half of halves) {
          const most = (1n << half) - 1n;
          const over = b.alu("rsh", b.alu("sub", most, rest), 63n);
          const shift = b.alu("lsh", over, BigInt(half.toString(2).length - 1));
          rest = b.alu("rsh", rest, shift);
          log = b.alu("or", log, shift);
        }
        const exponent = b.alu("sub", log, BigInt(bits));
        const group = b.alu("lsh", b.alu("add", exponent, 1n), BigInt(bits));
        const part = bits === 0 ? 0n : b.alu("and", b.alu("rsh", operand, exponent), small);
        b.set(result, b.alu("add", b.alu("add", group, part), 1n));
      },
    ),
  );
  return result;
}

/** 0 below min, 1 + (n - min) / step, the last at or over max. */
function linearBucket(l: Lowering, operand: Val, map: MapInfo): Val {
  const { b } = l;
  const { min = 0n, max = 0n, step = 1n } = map.hist ?? {};
  const result = b.reg();
  b.set(result, 0n);
  when(l, "sge", operand, min, () =>
    when(
      l,
      "sge",
      operand,
      max,
      () => b.set(result, BigInt(l.plan.storage(map).buckets - 1)),
      () => b.set(result, b.alu("add", b.alu("div", b.alu("sub", operand, min), step), 1n)),
    ),
  );
  return result;
}

/** The reduced value of an aggregate in an expression: all CPUs' copies are read. */
export function readAggregate(l: Lowering, e: TExprOf<"map">): Val {
  const mark = l.b.mark();
  const result = reduceCpus(l, e.map, storeKey(l, e.map, e.key));
  l.b.release(mark);
  return result;
}

/** The same for a key that lies in memory. */
export function reduceCpus(l: Lowering, map: MapInfo, slot: Address): Val {
  const { b } = l;
  const storage = l.plan.storage(map);
  const total = b.reg();
  const number = b.reg();
  const cpu = b.reg();
  b.set(total, 0n);
  b.set(number, 0n);
  b.set(cpu, 0n);
  const [head, body, next, done] = [b.block(), b.block(), b.block(), b.block()];
  b.jump(head);
  b.enter(head);
  b.branch("lt", cpu, BigInt(l.options.types.features.cpus), body, done);
  b.enter(body);
  l.caches.push(new Map());
  const found = b.call(HELPER.map_lookup_percpu_elem, [b.map(storage.index), b.address(slot), cpu]);
  const there = b.block();
  b.branch("eq", found, 0n, done, there);
  b.enter(there);
  const v = b.load(at(found), 8);
  const set = b.load(at(found, 8), 8);
  if (map.aggregate === "min" || map.aggregate === "max") {
    const better = map.aggregate === "min" ? (map.signed ? "slt" : "lt") : map.signed ? "sgt" : "gt";
    when(l, "ne", set, 0n, () => {
      const [take, compare, after] = [b.block(), b.block(), b.block()];
      b.branch("eq", number, 0n, take, compare);
      b.enter(compare);
      b.branch(better, v, total, take, after);
      b.enter(take);
      b.set(total, v);
      b.jump(after);
      b.enter(after);
      b.set(number, 1n);
    });
  } else {
    b.set(total, b.alu("add", total, v));
    b.set(number, b.alu("add", number, set));
  }
  l.caches.pop();
  b.jump(next);
  b.enter(next);
  b.set(cpu, b.alu("add", cpu, 1n));
  b.jump(head);
  b.enter(done);
  if (map.aggregate !== "avg" && map.aggregate !== "stats") return total;
  const result = b.reg();
  b.set(result, 0n);
  when(l, "ne", number, 0n, () => {
    if (!map.signed) b.set(result, b.alu("div", total, number));
    else {
      const sign = b.alu("arsh", total, 63n);
      const q = b.alu("div", b.alu("sub", b.alu("xor", total, sign), sign), number);
      b.set(result, b.alu("sub", b.alu("xor", q, sign), sign));
    }
  });
  return result;
}
