// script, lowering: calls whose value lies in memory: strings, buffers, stacks, addresses.
import { HELPER } from "../ir/helpers.ts";
import type { Address, Val } from "../ir/ir.ts";
import { sizeOf } from "../layout.ts";
import type { TExprOf } from "../typed.ts";
import type { Type } from "../types.ts";
import { pathInto } from "./kernel.ts";
import { copyFrom, place } from "./memory.ts";
import { addressInto, routeInto } from "./routes.ts";
import { value } from "./scalars.ts";
import { type Lowering, plus, probeReadString, zero } from "./state.ts";

export function comm(l: Lowering, to: Address, capacity: number, padded: boolean): void {
  const { b } = l;
  const size = Math.min(16, capacity);
  // Before Linux 6.2 the helper leaves what lies behind the NUL as it was: stack bytes would be part of keys and output.
  zero(l, to, size);
  b.call(HELPER.get_current_comm, [b.address(to), BigInt(size)]);
  if (padded && capacity > size) zero(l, plus(to, size), capacity - size);
}

/** A string behind a pointer. */
export function readString(
  l: Lowering,
  space: "kernel" | "user",
  pointer: Val,
  to: Address,
  size: number,
  padded: boolean,
  length?: Val,
): void {
  const { b } = l;
  if (padded) zero(l, to, size);
  if (length === undefined) {
    probeReadString(l, space, to, BigInt(size), pointer);
    return;
  }
  // One more for the end, at most the size; the verifier must see both bounds.
  const wanted = b.alu("add", b.atMost(length, size - 1), 1n);
  probeReadString(l, space, to, wanted, pointer);
}

/** BPF_F_USER_STACK. */
const USER_STACK = 0x100n;

/** Frames straight into their place, so that stacks need no map of their own and no two of them are ever confused. */
function takeStack(l: Lowering, type: Type, to: Address, place: Type, padded: boolean): void {
  if (type.kind !== "stack" || place.kind !== "stack") return;
  const { b } = l;
  const bytes = 8 * Math.min(type.limit, place.limit);
  if (padded) zero(l, plus(to, 16), 8 * place.limit);
  // Programs that are run by hand have no registers to walk from: an empty stack.
  if (l.point.programType === "syscall" || l.point.programType === "iter") {
    b.store(to, 8, 0n);
    b.store(plus(to, 8), 8, 0n);
    return;
  }
  const pid = type.user ? b.alu("rsh", b.call(HELPER.get_current_pid_tgid, []), 32n) : 0n;
  b.store(plus(to, 8), 8, pid);
  const size = b.call(HELPER.get_stack, [
    l.ctx,
    b.address(plus(to, 16)),
    BigInt(bytes),
    type.user ? USER_STACK : 0n,
  ]);
  b.store(to, 8, size);
}

/** {u32 length; bytes}: from an array whole or in part, or from behind a pointer. */
function bufferInto(l: Lowering, e: TExprOf<"call">, to: Address, type: Type, padded: boolean): void {
  const { b } = l;
  const [from, length] = e.args;
  if (!from || type.kind !== "buffer" || e.type.kind !== "buffer") return;
  const size = Math.min(type.size, e.type.size);
  if (padded) zero(l, to, sizeOf(type));
  if (from.type.kind === "array" || from.type.kind === "string") {
    const source = place(l, from);
    const bytes = Math.min(size, sizeOf(from.type));
    if (size > bytes && !padded) zero(l, plus(to, 4 + bytes), size - bytes);
    copyFrom(l, source, plus(to, 4), bytes);
    b.store(to, 4, length ? b.atMost(value(l, length), bytes) : BigInt(size));
    return;
  }
  const pointer = value(l, from);
  const wanted = length ? b.atMost(value(l, length), size) : BigInt(size);
  b.store(to, 4, wanted);
  const helper = e.data?.space === "user" ? HELPER.probe_read_user : HELPER.probe_read_kernel;
  b.call(helper, [b.address(plus(to, 4)), wanted, pointer]);
}

export function callInto(l: Lowering, e: TExprOf<"call">, to: Address, type: Type, padded: boolean): void {
  const [first, second] = e.args;
  if (e.name === "zeroed") {
    zero(l, to, sizeOf(type));
    return;
  }
  if (e.name === "stack") {
    takeStack(l, e.type, to, type, padded);
    return;
  }
  if (!first) return;
  switch (e.name) {
    case "buf":
      bufferInto(l, e, to, type, padded);
      return;
    case "str": {
      const pointer = value(l, first);
      const length = second ? value(l, second) : undefined;
      const capacity = sizeOf(type);
      const size = Math.min(sizeOf(e.type), capacity);
      const outer = l.b.loc;
      if (l.options.checkHelpers) l.b.loc = e.loc;
      readString(l, e.data?.space ?? "kernel", pointer, to, size, padded, length);
      l.b.loc = outer;
      if (padded && capacity > size) zero(l, plus(to, size), capacity - size);
      return;
    }
    case "str_bytes": {
      const from = place(l, first);
      const capacity = sizeOf(type);
      const size = Math.min(sizeOf(e.type), capacity, sizeOf(first.type));
      if (padded) zero(l, to, capacity);
      copyFrom(l, from, to, size);
      if (size === capacity) l.b.store(plus(to, capacity - 1), 1, 0n);
      else l.b.store(plus(to, size), 1, 0n);
      return;
    }
    case "path": {
      pathInto(l, e, to, sizeOf(type));
      return;
    }
    case "ntop": {
      addressInto(l, first, second, to);
      return;
    }
    case "route": {
      routeInto(l, e, to);
      return;
    }
    case "macaddr": {
      const from =
        first.type.kind === "pointer"
          ? place(l, { op: "deref", pointer: first, type: first.type.to, loc: e.loc })
          : place(l, first);
      copyFrom(l, from, to, 6);
      return;
    }
    case "usym": {
      const pid = l.b.alu("rsh", l.b.call(HELPER.get_current_pid_tgid, []), 32n);
      l.b.store(to, 8, value(l, first));
      l.b.store(plus(to, 8), 8, pid);
      return;
    }
    default:
      throw new Error(`call ${e.name}`);
  }
}
