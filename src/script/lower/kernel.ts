// script, lowering: helpers that take the kernel's own objects: pointers whose types the verifier follows, variables of the kernel.
import { HELPER } from "../ir/helpers.ts";
import type { Address, Val, VReg } from "../ir/ir.ts";
import { isScalar, sizeOf } from "../layout.ts";
import type { TExpr, TExprOf } from "../typed.ts";
import { toMemory } from "./memory.ts";
import { value } from "./scalars.ts";
import { asNumber, at, type Lowering, plus, zero } from "./state.ts";
import { storeText } from "./strings.ts";

/** A pointer that the verifier knows, from the arguments on; goes to `no` where one on the way is null. */
function tracked(l: Lowering, e: TExpr, no: number): VReg | undefined {
  const { b } = l;
  if (e.op === "address") {
    const place = trackedPlace(l, e.place, no);
    if (!place) return undefined;
    const sum = b.alu("add", place.base, BigInt(place.offset));
    return typeof sum === "number" ? sum : undefined;
  }
  const from =
    e.op === "context_word"
      ? { base: l.ctx, offset: e.offset }
      : e.op === "field" && e.base.op === "context"
        ? { base: l.ctx, offset: e.field.offset }
        : trackedPlace(l, e, no);
  if (!from) return undefined;
  const pointer = b.load(at(from.base, from.offset), 8);
  const next = b.block();
  b.branch("eq", pointer, 0n, no, next);
  b.enter(next);
  return pointer;
}

function trackedPlace(
  l: Lowering,
  e: TExpr,
  no: number,
): { readonly base: VReg; readonly offset: number } | undefined {
  if (e.op === "field") {
    const place = trackedPlace(l, e.base, no);
    return place && { ...place, offset: place.offset + e.field.offset };
  }
  const base = e.op === "deref" ? tracked(l, e.pointer, no) : undefined;
  return base === undefined ? undefined : { base, offset: 0 };
}

/** path(): the text, empty where there is none. */
export function pathInto(l: Lowering, e: TExprOf<"call">, to: Address, capacity: number): void {
  const { b } = l;
  const [pointer] = e.args;
  zero(l, to, capacity);
  if (!pointer) return;
  const done = b.block();
  const found = tracked(l, pointer, done);
  const size = Math.min(sizeOf(e.type), capacity);
  if (found !== undefined) b.call(HELPER.d_path, [found, b.address(to), BigInt(size)]);
  b.jump(done);
  b.enter(done);
}

/** debugf(): the format on the stack or in scratch, strings by their addresses. */
export function debugPrint(l: Lowering, e: TExprOf<"call">): Val {
  const { b } = l;
  const mark = b.mark();
  const text = new TextEncoder().encode(e.data?.word ?? "");
  const values = e.args.map((a) => (isScalar(a.type) ? value(l, a) : asNumber(l, b.address(toMemory(l, a)))));
  const slot = at(b.frame(text.length + 1));
  storeText(l, text, slot, text.length + 1, true);
  const result = b.call(HELPER.trace_printk, [b.address(slot), BigInt(text.length + 1), ...values]);
  b.release(mark);
  return result;
}

/** write_user(): 1 if the kernel wrote all of it. */
export function writeUser(l: Lowering, e: TExprOf<"call">): Val {
  const { b } = l;
  const [target, source] = e.args;
  if (!target || !source) return 0n;
  const mark = b.mark();
  const size = e.data?.size ?? 0;
  const have = sizeOf(source.type);
  let from = toMemory(l, source);
  if (size > have) {
    const padded = at(b.frame(size));
    zero(l, plus(padded, have), size - have);
    b.call(HELPER.probe_read_kernel, [b.address(padded), BigInt(have), b.address(from)]);
    from = padded;
  }
  const result = b.call(HELPER.probe_write_user, [value(l, target), b.address(from), BigInt(size)]);
  b.release(mark);
  const yes = b.reg();
  const [good, done] = [b.block(), b.block()];
  b.set(yes, 0n);
  b.branch("eq", result, 0n, good, done);
  b.enter(good);
  b.set(yes, 1n);
  b.jump(done);
  b.enter(done);
  return yes;
}

/** percpu_kaddr(): the address of a CPU's copy. */
export function percpuAddress(l: Lowering, e: TExprOf<"call">): Val {
  const { b } = l;
  const [cpu] = e.args;
  const variable = b.kernelVariable(e.data?.size ?? 0);
  const found = cpu
    ? b.call(HELPER.per_cpu_ptr, [variable, value(l, cpu)])
    : b.call(HELPER.this_cpu_ptr, [variable]);
  return asNumber(l, found);
}
