// script, lowering: literals in memory, and comparing memory.
import { HELPER } from "../ir/helpers.ts";
import type { Address, MemorySize, Val } from "../ir/ir.ts";
import { isScalar, sizeOf, tupleLayout } from "../layout.ts";
import type { TExpr, TExprOf } from "../typed.ts";
import type { Type } from "../types.ts";
import { searchFrom } from "./loops.ts";
import { into, place, toMemory } from "./memory.ts";
import { loadFrom } from "./scalars.ts";
import { at, type Lowering, type Place, plus, step, when, zero } from "./state.ts";

/** `size` bytes at `at` as a little-endian word. */
function word(bytes: Uint8Array, start: number, size: number): bigint {
  let value = 0n;
  for (let i = size - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[start + i] ?? 0);
  return value;
}

/** Writes a literal; what does not fit is cut, strings end with a zero. */
export function storeText(
  l: Lowering,
  bytes: Uint8Array,
  to: Address,
  capacity: number,
  padded: boolean,
): void {
  const { b } = l;
  const used = Math.min(bytes.length + 1, capacity);
  const shown = bytes.length < capacity ? bytes : bytes.slice(0, capacity);
  const end = padded ? capacity : used;
  let i = 0;
  while (i < used) {
    // Rounding up past the end of the text writes zeros that padding wants anyway.
    const n = step(to.offset + i, end - i);
    b.store(plus(to, i), n, BigInt.asIntN(64, word(shown, i, n)));
    i += n;
  }
  if (i < end) zero(l, plus(to, i), end - i);
}

/** Jumps by whether two values in memory are the same. */
export function equalMemory(l: Lowering, e: TExprOf<"same">, yes: number, no: number): void {
  const { left, right } = e;
  const [literal, other] = left.op === "text" ? [left, right] : [right, left];
  const mark = l.b.mark();
  if (literal.op === "text") equalText(l, literal, other, yes, no);
  else if (left.type.kind === "tuple" && right.type.kind === "tuple")
    equalTuples(l, toMemory(l, left), left.type, toMemory(l, right), right.type, no, yes);
  else {
    const a = toMemory(l, left);
    const b = toMemory(l, right);
    equalBytes(l, a, sizeOf(left.type), b, sizeOf(right.type), left.type.kind === "string", no);
    l.b.jump(yes);
  }
  l.b.release(mark);
}

/** Where the bytes of a value can be compared without copying them, else in a copy. */
function comparable(l: Lowering, e: TExpr): Place {
  if (e.op === "field" && !e.field.dataLoc) {
    const from = place(l, e);
    if (from.space === "ctx" || from.space === "bpf") return from;
  }
  return { space: "bpf", address: toMemory(l, e) };
}

function equalText(l: Lowering, literal: TExprOf<"text">, other: TExpr, yes: number, no: number): void {
  const { b } = l;
  const from = comparable(l, other);
  const capacity = sizeOf(other.type);
  const string = other.type.kind === "string";
  // The end of the text is part of what is compared, unless the text fills the whole of the other side.
  const size = string ? Math.min(literal.bytes.length + 1, capacity) : capacity;
  if (string && literal.bytes.length > capacity) {
    b.jump(no);
    return;
  }
  for (let i = 0; i < size; ) {
    const n = step(from.address.offset + i, size - i) as MemorySize;
    const next = b.block();
    const want = word(literal.bytes, i, n);
    const got: Val = b.load(plus(from.address, i), n);
    b.branch("ne", got, BigInt.asIntN(64, want), no, next);
    b.enter(next);
    i += n;
  }
  b.jump(yes);
}

/** Falls through if equal. Strings of different capacity are padded with zeros, so the longer one's rest must be zero. */
function equalBytes(
  l: Lowering,
  a: Address,
  aSize: number,
  c: Address,
  cSize: number,
  string: boolean,
  no: number,
): void {
  const { b } = l;
  const size = Math.min(aSize, cSize);
  for (let i = 0; i < size; ) {
    const n = Math.min(step(a.offset + i, size - i), step(c.offset + i, size - i)) as MemorySize;
    const next = b.block();
    b.branch("ne", b.load(plus(a, i), n), b.load(plus(c, i), n), no, next);
    b.enter(next);
    i += n;
  }
  if (!string || aSize === cSize) return;
  const longer = aSize > cSize ? a : c;
  const next = b.block();
  b.branch("ne", b.load(plus(longer, size), 1), 0n, no, next);
  b.enter(next);
}

function equalTuples(
  l: Lowering,
  a: Address,
  aType: Extract<Type, { kind: "tuple" }>,
  c: Address,
  cType: Extract<Type, { kind: "tuple" }>,
  no: number,
  yes: number | undefined,
): void {
  const { b } = l;
  const left = tupleLayout(aType.items);
  const right = tupleLayout(cType.items);
  for (const [i, type] of aType.items.entries()) {
    const other = cType.items[i];
    if (!other) continue;
    const x = plus(a, left.offsets[i] ?? 0);
    const y = plus(c, right.offsets[i] ?? 0);
    if (isScalar(type)) {
      const next = b.block();
      b.branch(
        "ne",
        loadFrom(l, { space: "bpf", address: x }, type),
        loadFrom(l, { space: "bpf", address: y }, other),
        no,
        next,
      );
      b.enter(next);
    } else if (type.kind === "tuple" && other.kind === "tuple")
      equalTuples(l, x, type, y, other, no, undefined);
    else equalBytes(l, x, sizeOf(type), y, sizeOf(other), type.kind === "string", no);
  }
  if (yes !== undefined) b.jump(yes);
}

/**
 * Bytes before the end of a string: what a copy of it reports. (A loop over the bytes would have the verifier follow every length
 * as a case of its own.)
 */
export function textLength(l: Lowering, e: TExpr): Val {
  const { b } = l;
  const mark = b.mark();
  const from = toMemory(l, e);
  const size = sizeOf(e.type);
  const copied = b.call(HELPER.probe_read_kernel_str, [
    b.address(at(b.frame(size))),
    BigInt(size),
    b.address(from),
  ]);
  b.release(mark);
  const result = b.reg();
  b.set(result, 0n);
  when(l, "sgt", copied, 0n, () => b.set(result, b.alu("sub", copied, 1n)));
  return result;
}

/** strncmp and memcmp: 0 if the first n bytes are the same, else 1; memcmp -1 where the left side is less. */
export function compareBytes(l: Lowering, e: TExprOf<"call">): Val {
  const { b } = l;
  const [left, right] = e.args;
  if (!left || !right) return 0n;
  const mark = b.mark();
  const x = toMemory(l, left);
  const y = toMemory(l, right);
  const wanted = e.data?.size ?? 0;
  const size = Math.min(wanted, sizeOf(left.type), sizeOf(right.type));
  const result = b.reg();
  const [same, differ, done] = [b.block(), b.block(), b.block()];
  const ordered = e.data?.word === "memcmp";
  const [xs, ys] = [b.reg(), b.reg()];
  const differsAt = (offset: number, n: MemorySize, on: number): void => {
    const left = b.load(plus(x, offset), n);
    const right = b.load(plus(y, offset), n);
    if (ordered) {
      b.set(xs, left);
      b.set(ys, right);
    }
    b.branch("ne", left, right, differ, on);
  };
  // Strings are padded with zeros, so that words of both can be compared past their ends.
  for (let i = 0; i < size; ) {
    const n = Math.min(step(x.offset + i, size - i), step(y.offset + i, size - i)) as MemorySize;
    const next = b.block();
    differsAt(i, n, next);
    b.enter(next);
    i += n;
  }
  if (size < wanted && sizeOf(left.type) !== sizeOf(right.type)) {
    const longer = sizeOf(left.type) > sizeOf(right.type);
    const rest = b.load(plus(longer ? x : y, size), 1);
    if (ordered) {
      b.set(xs, longer ? rest : 0n);
      b.set(ys, longer ? 0n : rest);
    }
    b.branch("ne", rest, 0n, differ, same);
  } else b.jump(same);
  b.enter(same);
  b.set(result, 0n);
  b.jump(done);
  b.enter(differ);
  b.set(result, 1n);
  // The first byte that differs is the highest one once the words are turned round.
  if (ordered && size > 0) when(l, "lt", b.swap(xs, 64), b.swap(ys, 64), () => b.set(result, -1n));
  b.jump(done);
  b.enter(done);
  b.release(mark);
  return result;
}

/** strstr(text, part): the index of the first place; -1 if there is none. */
export function findText(l: Lowering, e: TExprOf<"call">): Val {
  const [text, part] = e.args;
  if (!text || !part) return -1n;
  return part.op === "text" ? findLiteral(l, text, part.bytes) : findString(l, text, part);
}

/** The literal is looked for at each place by a callback, so that long strings cost no code. */
function findLiteral(l: Lowering, text: TExpr, wanted: Uint8Array): Val {
  const { b } = l;
  const size = sizeOf(text.type);
  if (wanted.length === 0) return 0n;
  if (wanted.length >= size) return -1n;
  const home = b.pinned(size, "scratch");
  const found = b.pinned(8, "scratch");
  into(l, text, at(home), text.type, true);
  b.store(at(found), 8, -1n);
  searchFrom(l, size - wanted.length, (inner, index, stop) => {
    const place = inner.b.reg();
    inner.b.set(place, inner.b.alu("add", inner.b.address(at(home)), index));
    const miss = inner.b.block();
    for (const [i, byte] of wanted.entries()) {
      const next = inner.b.block();
      inner.b.branch("ne", inner.b.load(at(place, i), 1), BigInt(byte), miss, next);
      inner.b.enter(next);
    }
    inner.b.store(at(found), 8, index);
    inner.b.jump(stop);
    inner.b.enter(miss);
    inner.b.ret(0n);
  });
  return b.load(at(found), 8);
}

/** One byte is compared in each turn: `start` is the place that is tried, `done` the bytes of the part that were found there. */
function findString(l: Lowering, text: TExpr, part: TExpr): Val {
  const { b } = l;
  const [size, partSize] = [sizeOf(text.type), sizeOf(part.type)];
  const home = b.pinned(size, "scratch");
  const partHome = b.pinned(partSize, "scratch");
  const [start, done, found] = [b.pinned(8, "scratch"), b.pinned(8, "scratch"), b.pinned(8, "scratch")];
  into(l, text, at(home), text.type, true);
  into(l, part, at(partHome), part.type, true);
  b.store(at(start), 8, 0n);
  b.store(at(done), 8, 0n);
  b.store(at(found), 8, -1n);
  searchFrom(l, size * partSize + 1, (inner, _index, stop) => {
    const w = inner.b;
    const byteAt = (of: typeof home, offset: Val, most: number): Val => {
      const place = w.reg();
      w.set(place, w.alu("add", w.address(at(of)), w.atMost(offset, most - 1)));
      return w.load(at(place), 1);
    };
    const from = w.load(at(start), 8);
    const matched = w.load(at(done), 8);
    const [hit, compare, some, same, differ, on] = [
      w.block(),
      w.block(),
      w.block(),
      w.block(),
      w.block(),
      w.block(),
    ];
    const want = w.reg();
    w.set(want, 0n);
    // A part that fills its memory ends where the memory does.
    w.branch("lt", matched, BigInt(partSize), compare, hit);
    w.enter(compare);
    w.set(want, byteAt(partHome, matched, partSize));
    w.branch("eq", want, 0n, hit, some);
    w.enter(hit);
    w.store(at(found), 8, from);
    w.jump(stop);
    w.enter(some);
    const place = w.alu("add", from, matched);
    const have = w.reg();
    w.set(have, 0n);
    when(inner, "lt", place, BigInt(size), () => w.set(have, byteAt(home, place, size)));
    w.branch("eq", have, want, same, differ);
    w.enter(same);
    w.store(at(done), 8, w.alu("add", matched, 1n));
    w.ret(0n);
    w.enter(differ);
    w.branch("eq", have, 0n, stop, on);
    w.enter(on);
    w.store(at(start), 8, w.alu("add", from, 1n));
    w.store(at(done), 8, 0n);
    w.ret(0n);
  });
  return b.load(at(found), 8);
}
