// script, lowering: plain maps: reading, writing, stepping, deleting. Scalars without a key are words in an array, everything else is a hash.

import { HELPER } from "../ir/helpers.ts";
import type { Address, MemorySize, Val, VReg } from "../ir/ir.ts";
import { isScalar, sizeOf, tupleLayout } from "../layout.ts";
import type { MapInfo, TExpr, TExprOf } from "../typed.ts";
import type { Type } from "../types.ts";
import { readAggregate } from "./aggregates.ts";
import { into } from "./memory.ts";
import { loadFrom } from "./scalars.ts";
import { at, copy, count, helperFailed, type Lowering, plus, when, zero } from "./state.ts";

/** BPF_ANY. */
const ANY = 0n;

/** The key in memory, every byte defined; `extra` bytes are left after it for a bucket number. */
export function storeKey(l: Lowering, map: MapInfo, key: readonly TExpr[]): Address {
  const { b } = l;
  const storage = l.plan.storage(map);
  const size = storage.kernel.keySize;
  const slot = at(b.frame(size));
  if (key.length === 0) {
    b.store(slot, 4, 0n);
    return slot;
  }
  let end = 0;
  for (const [i, type] of storage.keyTypes.entries()) {
    const offset = storage.keyOffsets[i] ?? 0;
    if (offset > end) zero(l, plus(slot, end), offset - end);
    const part = key[i];
    if (part) into(l, part, plus(slot, offset), type, true);
    end = offset + sizeOf(type);
  }
  const rest = storage.bucketOffset > 0 ? storage.bucketOffset : size;
  if (rest > end) zero(l, plus(slot, end), rest - end);
  return slot;
}

export function lookup(l: Lowering, map: MapInfo, key: Address): VReg {
  const { b } = l;
  return b.call(HELPER.map_lookup_elem, [b.map(l.plan.storage(map).index), b.address(key)]);
}

/** Stores an element; a full map is counted. */
export function update(l: Lowering, map: MapInfo, key: Address, from: Address): void {
  const { b } = l;
  const result = b.call(HELPER.map_update_elem, [
    b.map(l.plan.storage(map).index),
    b.address(key),
    b.address(from),
    ANY,
  ]);
  when(l, "ne", result, 0n, () => {
    count(l, "mapFull");
    helperFailed(l, "map_update_elem", result);
  });
}

/** A scalar from a map; 0 where there is no such entry. */
export function loadMap(l: Lowering, e: TExprOf<"map">): Val {
  const { b } = l;
  const { map } = e;
  if (map.aggregate !== undefined) return readAggregate(l, e);
  const storage = l.plan.storage(map);
  if (storage.single)
    return loadFrom(l, { space: "bpf", address: at(b.mapValue(storage.index, 0)) }, storage.valueType);
  const mark = b.mark();
  const found = lookup(l, map, storeKey(l, map, e.key));
  b.release(mark);
  const result = b.reg();
  b.set(result, 0n);
  when(
    l,
    "ne",
    found,
    0n,
    () => b.set(result, loadFrom(l, { space: "bpf", address: at(found) }, storage.valueType)),
    l.options.checkHelpers ? () => helperFailed(l, "map_lookup_elem", 0n) : undefined,
  );
  return result;
}

/** A value in memory from a map; zeros where there is no such entry. */
export function readMapInto(l: Lowering, e: TExprOf<"map">, to: Address, type: Type, padded: boolean): void {
  const { b } = l;
  const storage = l.plan.storage(e.map);
  const mark = b.mark();
  const found = lookup(l, e.map, storeKey(l, e.map, e.key));
  b.release(mark);
  when(
    l,
    "ne",
    found,
    0n,
    () => {
      const have = storage.valueType;
      const size = Math.min(sizeOf(have), sizeOf(type));
      if (
        have.kind === "tuple" &&
        type.kind === "tuple" &&
        tupleLayout(have.items).size !== tupleLayout(type.items).size
      )
        copyItems(l, at(found), have, to, type);
      else copy(l, to, at(found), size);
      if (padded && sizeOf(type) > size) zero(l, plus(to, size), sizeOf(type) - size);
    },
    () => {
      zero(l, to, sizeOf(type));
      helperFailed(l, "map_lookup_elem", 0n);
    },
  );
}

function copyItems(
  l: Lowering,
  from: Address,
  have: Extract<Type, { kind: "tuple" }>,
  to: Address,
  want: Extract<Type, { kind: "tuple" }>,
): void {
  zero(l, to, tupleLayout(want.items).size);
  const source = tupleLayout(have.items).offsets;
  const target = tupleLayout(want.items).offsets;
  for (const [i, type] of want.items.entries()) {
    const had = have.items[i];
    if (had)
      copy(l, plus(to, target[i] ?? 0), plus(from, source[i] ?? 0), Math.min(sizeOf(had), sizeOf(type)));
  }
}

/** @map[key] = value. */
export function setMap(
  l: Lowering,
  map: MapInfo,
  key: readonly TExpr[],
  e: TExpr,
  scalar: (e: TExpr) => Val,
): void {
  const { b } = l;
  const storage = l.plan.storage(map);
  const type = storage.valueType;
  if (storage.single) {
    const v = scalar(e);
    const cell = b.mapValue(storage.index, 0);
    b.store(at(cell), sizeOf(type) as MemorySize, v);
    b.store(at(cell, 8), 8, 1n);
    return;
  }
  const slot = at(b.frame(storage.kernel.valueSize));
  const size = sizeOf(type);
  if (isScalar(type)) {
    const v = scalar(e);
    if (size < storage.kernel.valueSize) zero(l, plus(slot, size), storage.kernel.valueSize - size);
    b.store(slot, size as MemorySize, v);
  } else {
    into(l, e, slot, type, true);
    if (size < storage.kernel.valueSize) zero(l, plus(slot, size), storage.kernel.valueSize - size);
  }
  update(l, map, storeKey(l, map, key), slot);
}

/** @map[key]++ and --; not atomic, as in bpftrace. */
export function stepMap(
  l: Lowering,
  map: MapInfo,
  key: readonly TExpr[],
  delta: bigint,
  prefix: boolean,
): Val {
  const { b } = l;
  const storage = l.plan.storage(map);
  const type = storage.valueType;
  const by = type.kind === "pointer" ? delta * BigInt(Math.max(1, sizeOf(type.to))) : delta;
  if (storage.single) {
    const cell = b.mapValue(storage.index, 0);
    const before = loadFrom(l, { space: "bpf", address: at(cell) }, type);
    const after = b.alu("add", before, by);
    b.store(at(cell), sizeOf(type) as MemorySize, after);
    b.store(at(cell, 8), 8, 1n);
    return prefix ? after : before;
  }
  const slot = storeKey(l, map, key);
  const found = lookup(l, map, slot);
  const result = b.reg();
  when(
    l,
    "ne",
    found,
    0n,
    () => {
      const before = loadFrom(l, { space: "bpf", address: at(found) }, type);
      const after = b.alu("add", before, by);
      b.store(at(found), sizeOf(type) as MemorySize, after);
      b.set(result, prefix ? after : before);
    },
    () => {
      const value = at(b.frame(storage.kernel.valueSize));
      if (sizeOf(type) < storage.kernel.valueSize) zero(l, value, storage.kernel.valueSize);
      b.store(value, sizeOf(type) as MemorySize, by);
      update(l, map, slot, value);
      b.set(result, prefix ? by : 0n);
    },
  );
  return result;
}

/** delete(@map, key): 1 if there was such an entry. */
export function deleteKey(l: Lowering, e: TExprOf<"call">): Val {
  const { b } = l;
  const map = e.data?.map;
  if (!map) return 0n;
  const storage = l.plan.storage(map);
  if (storage.single) {
    if (storage.kernel.type === "array") {
      const cell = b.mapValue(storage.index, 0);
      const had = b.load(at(cell, 8), 8);
      b.store(at(cell), 8, 0n);
      b.store(at(cell, 8), 8, 0n);
      return had;
    }
    const found = lookup(l, map, storeKey(l, map, []));
    when(l, "ne", found, 0n, () => {
      b.store(at(found), 8, 0n);
      b.store(at(found, 8), 8, 0n);
    });
    return 1n;
  }
  if (storage.buckets > 0) return 0n;
  const mark = b.mark();
  const key = storeKey(l, map, e.args);
  const result = b.call(HELPER.map_delete_elem, [b.map(storage.index), b.address(key)]);
  b.release(mark);
  const yes = b.reg();
  b.set(yes, 0n);
  when(l, "eq", result, 0n, () => b.set(yes, 1n));
  return yes;
}

export function hasKey(l: Lowering, e: TExprOf<"call">): Val {
  const { b } = l;
  const map = e.data?.map;
  if (!map) return 0n;
  const storage = l.plan.storage(map);
  if (storage.single && storage.kernel.type === "array")
    return b.load(at(b.mapValue(storage.index, 0), 8), 8);
  const mark = b.mark();
  const found = lookup(l, map, storeKey(l, map, e.args));
  b.release(mark);
  const yes = b.reg();
  b.set(yes, 0n);
  when(l, "ne", found, 0n, () => b.set(yes, 1n));
  return yes;
}
