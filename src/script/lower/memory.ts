// script, lowering: values that live in memory: where they are, and writing them somewhere.

import type { Address, MemorySize, Val } from "../ir/ir.ts";
import { isScalar, sizeOf, tupleLayout } from "../layout.ts";
import type { TExpr, TExprOf } from "../typed.ts";
import type { Type } from "../types.ts";
import { callInto, comm, readString } from "./calls.ts";
import { equivalentPlace, equivalentText } from "./equivalent.ts";
import { readMapInto } from "./maps.ts";
import { branchOn, dataLocation, loadFrom, value } from "./scalars.ts";
import {
  at,
  copy,
  type Lowering,
  type Place,
  plus,
  probeRead,
  probeReadString,
  temporary,
  when,
  zero,
} from "./state.ts";
import { lowerStatements } from "./statements.ts";
import { storeText } from "./strings.ts";

/** The address of a place as a number. */
export function addressOf(l: Lowering, p: Place): Val {
  const { base, offset } = p.address;
  if (typeof base === "number" && offset === 0) return base;
  if (p.space === "bpf" || p.space === "ctx" || typeof base !== "number") return l.b.address(p.address);
  return l.b.alu("add", base, BigInt(offset));
}

/** Where an expression's value lies; it is computed into memory of the program if it lies nowhere. */
export function place(l: Lowering, e: TExpr): Place {
  switch (e.op) {
    case "context":
      return { space: "ctx", address: at(l.ctx) };
    case "deref": {
      const pointer = value(l, e.pointer);
      const space = e.pointer.type.kind === "pointer" ? e.pointer.type.space : "kernel";
      return { space, address: at(typeof pointer === "number" ? pointer : l.b.mov(pointer)) };
    }
    case "field": {
      const equivalent = equivalentPlace(l, e);
      if (equivalent) return equivalent;
      const base = place(l, e.base);
      return { space: base.space, address: plus(base.address, e.field.offset) };
    }
    case "element":
      return element(l, e);
    case "context_word": {
      // A structure that is passed as it is.
      const slot = at(temporary(l, e.type));
      for (let i = 0; i < sizeOf(e.type); i += 8)
        l.b.store(plus(slot, i), 8, l.b.load(at(l.ctx, e.offset + i), 8));
      return { space: "bpf", address: slot };
    }
    case "variable": {
      const home = l.variables.get(e.variable);
      if (home && typeof home !== "number") return { space: "bpf", address: at(home) };
      break;
    }
    case "item": {
      const tuple = place(l, e.tuple);
      const types = e.tuple.type.kind === "tuple" ? e.tuple.type.items : [];
      return { space: tuple.space, address: plus(tuple.address, tupleLayout(types).offsets[e.index] ?? 0) };
    }
    default:
      break;
  }
  return { space: "bpf", address: toMemory(l, e) };
}

function element(l: Lowering, e: TExprOf<"element">): Place {
  const { b } = l;
  const size = sizeOf(e.type);
  let base = place(l, e.base);
  if (e.index.op === "const")
    return { space: base.space, address: plus(base.address, Number(e.index.value) * size) };
  const length = e.base.type.kind === "array" ? e.base.type.length : 0;
  const index = value(l, e.index);
  if (base.space === "kernel" || base.space === "user") {
    const start = addressOf(l, base);
    return {
      space: base.space,
      address: at(asReg(l, b.alu("add", start, b.alu("mul", index, BigInt(size))))),
    };
  }
  // The program's own memory takes no unchecked index: it is read through its address, and outside of the array there are zeros.
  if (base.space === "ctx") base = { space: "bpf", address: toMemory(l, e.base) };
  const start = b.address(base.address);
  const target = b.reg();
  when(
    l,
    "lt",
    index,
    BigInt(length),
    // Bounded once more: an index that lies on the stack is loaded anew, and Linux 6.1 does not connect that with the comparison.
    () => {
      const bounded = b.atMost(index, Math.max(0, length - 1));
      b.set(target, b.alu("add", start, b.alu("mul", bounded, BigInt(size))));
    },
    () => b.set(target, 0n),
  );
  return { space: "kernel", address: at(target) };
}

const asReg = (l: Lowering, v: Val): number => (typeof v === "number" ? v : l.b.mov(v));

/** The value of an expression in memory of the program, zero-padded to its size. */
export function toMemory(l: Lowering, e: TExpr): Address {
  if (e.op === "variable") {
    const home = l.variables.get(e.variable);
    if (home && typeof home !== "number") return at(home);
  }
  if (e.op === "item") {
    const p = place(l, e);
    if (p.space === "bpf") return p.address;
  }
  const slot = at(temporary(l, e.type));
  into(l, e, slot, e.type, true);
  return slot;
}

/**
 * Writes a value as `type` takes it. `padded`: every byte of the type is defined afterwards, as keys and values of maps need it;
 * else what follows the end of a string may be anything.
 */
export function into(l: Lowering, e: TExpr, to: Address, type: Type, padded: boolean): void {
  const { b } = l;
  if (isScalar(type)) {
    b.store(to, sizeOf(type) as MemorySize, value(l, e));
    return;
  }
  switch (e.op) {
    case "text": {
      storeText(l, e.bytes, to, sizeOf(type), padded);
      return;
    }
    case "tuple": {
      if (type.kind !== "tuple") break;
      const { offsets, size } = tupleLayout(type.items);
      if (padded) clearGaps(l, to, type, size);
      for (const [i, item] of e.items.entries()) {
        const itemType = type.items[i];
        if (itemType) into(l, item, plus(to, offsets[i] ?? 0), itemType, padded);
      }
      return;
    }
    case "builtin":
      if (e.name === "comm") {
        comm(l, to, sizeOf(type), padded);
        return;
      }
      break;
    case "choose": {
      const [yes, no, done] = [b.block(), b.block(), b.block()];
      branchOn(l, e.condition, yes, no);
      for (const [block, side] of [
        [yes, e.then],
        [no, e.otherwise],
      ] as const) {
        b.enter(block);
        l.caches.push(new Map());
        const mark = b.mark();
        into(l, side, to, type, padded);
        b.release(mark);
        l.caches.pop();
        if (b.reachable()) b.jump(done);
      }
      b.enter(done);
      return;
    }
    case "block":
      lowerStatements(l, e.body);
      if (b.reachable()) into(l, e.value, to, type, padded);
      return;
    case "map": {
      readMapInto(l, e, to, type, padded);
      return;
    }
    case "call": {
      callInto(l, e, to, type, padded);
      return;
    }
    case "convert":
      if (type.kind === "array") {
        b.store(to, sizeOf(type) as MemorySize, value(l, e.operand));
        return;
      }
      break;
    default:
      break;
  }
  copyInto(l, e, to, type, padded);
}

/** Bytes of a tuple that belong to no item. */
function clearGaps(l: Lowering, to: Address, type: Extract<Type, { kind: "tuple" }>, size: number): void {
  const { offsets } = tupleLayout(type.items);
  let at = 0;
  for (const [i, item] of type.items.entries()) {
    const start = offsets[i] ?? 0;
    if (start > at) zero(l, plus(to, at), start - at);
    at = start + sizeOf(item);
  }
  if (size > at) zero(l, plus(to, at), size - at);
}

/** From a place of the same kind of type, perhaps of another size. */
function copyInto(l: Lowering, e: TExpr, to: Address, type: Type, padded: boolean): void {
  if (e.type.kind === "string" && type.kind === "string") {
    copyString(l, e, to, type.size, padded);
    return;
  }
  if (e.type.kind === "tuple" && type.kind === "tuple") {
    let from: Address;
    if (e.op === "deref") {
      from = at(temporary(l, e.type));
      copyFrom(l, place(l, e), from, sizeOf(e.type));
    } else from = toMemory(l, e);
    copyTuple(l, from, e.type, to, type, padded);
    return;
  }
  const from = place(l, e);
  const size = Math.min(sizeOf(e.type), sizeOf(type));
  copyFrom(l, from, to, size);
  if (sizeOf(type) > size) zero(l, plus(to, size), sizeOf(type) - size);
}

function copyTuple(
  l: Lowering,
  from: Address,
  have: Extract<Type, { kind: "tuple" }>,
  to: Address,
  want: Extract<Type, { kind: "tuple" }>,
  padded: boolean,
): void {
  const source = tupleLayout(have.items);
  const target = tupleLayout(want.items);
  if (padded) clearGaps(l, to, want, target.size);
  for (const [i, type] of want.items.entries()) {
    const had = have.items[i];
    if (!had) continue;
    const src = plus(from, source.offsets[i] ?? 0);
    const dst = plus(to, target.offsets[i] ?? 0);
    if (isScalar(type))
      l.b.store(dst, sizeOf(type) as MemorySize, loadFrom(l, { space: "bpf", address: src }, had));
    else if (had.kind === "tuple" && type.kind === "tuple") copyTuple(l, src, had, dst, type, padded);
    else {
      const size = Math.min(sizeOf(had), sizeOf(type));
      copy(l, dst, src, size);
      if (sizeOf(type) > size) zero(l, plus(dst, size), sizeOf(type) - size);
    }
  }
}

/** Raw bytes from any space. */
export function copyFrom(l: Lowering, from: Place, to: Address, size: number): void {
  if (from.space === "bpf" || from.space === "ctx") {
    copy(l, to, from.address, size);
    return;
  }
  probeRead(l, from.space, to, BigInt(size), addressOf(l, from));
}

function copyString(l: Lowering, e: TExpr, to: Address, capacity: number, padded: boolean): void {
  const { b } = l;
  const have = sizeOf(e.type);
  if (e.op === "field" && e.field.dataLoc) {
    const pointer = equivalentText(l, e) ?? dataLocation(l, place(l, e));
    readString(l, "kernel", pointer, to, capacity, padded);
    return;
  }
  const from = place(l, e);
  if (from.space === "bpf") {
    // Strings in the program's memory are padded with zeros; a smaller target cuts and ends them.
    const size = Math.min(have, capacity);
    copy(l, to, from.address, size);
    if (have > capacity) b.store(plus(to, capacity - 1), 1, 0n);
    else if (padded && capacity > have) zero(l, plus(to, have), capacity - have);
    return;
  }
  // Arrays of the kernel may hold anything after the end of the string.
  const size = Math.min(have, capacity);
  if (padded) zero(l, to, capacity);
  probeReadString(l, from.space, to, BigInt(size), addressOf(l, from));
}
