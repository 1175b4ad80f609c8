// script, lowering: what the functions that write one program share.

import type { Loc } from "../ast.ts";
import { at, type Builder, plus } from "../ir/builder.ts";
import { HELPER } from "../ir/helpers.ts";
import type { Address, FrameObject, Val, VReg } from "../ir/ir.ts";
import { align8, I64, isScalar, sizeOf } from "../layout.ts";
import type { ResolvedPoint } from "../probes.ts";
import type { ActionKind, Variable } from "../typed.ts";
import type { CompileOptions, Type } from "../types.ts";
import { COUNTER, type Plan } from "./plan.ts";
import type { Owner } from "./prologue.ts";

export interface Lowering {
  readonly b: Builder;
  readonly plan: Plan;
  readonly options: CompileOptions;
  readonly point: ResolvedPoint;
  readonly ctx: VReg;
  /** In a loop's function: the parameter that points to where the context is kept. */
  readonly callbackContext: VReg | undefined;
  readonly variables: Map<Variable, VReg | FrameObject>;
  readonly owner: Owner | undefined;
  /** Values that need not be computed twice where the earlier place dominates this one; one map per open scope. */
  readonly caches: Map<string, Val>[];
  readonly maxStrlen: number;
  readonly loops: { readonly next: number; readonly exit: number }[];
  /** Ends the program: a block that returns, or in a loop's function one that makes the caller return too. */
  exitBlock(): number;
  readonly program: ProgramParts;
}

/** What the functions of one program share: the probe's own and one for each loop. */
export interface ProgramParts {
  readonly builders: Builder[];
  /** Pointer to the program's context, on the stack of the probe's function, for the functions of loops. */
  readonly contextSlot: FrameObject | undefined;
  /** Set by a loop whose body ends the program. */
  readonly ended: FrameObject | undefined;
  readonly stackBudget: number;
}

export type Space = "bpf" | "ctx" | "kernel" | "user";

/** Where a value lies. */
export interface Place {
  readonly space: Space;
  readonly address: Address;
}

/** Computes once per scope; only for what does not change while the program runs. */
export function cached(l: Lowering, key: string, make: () => Val): Val {
  for (const cache of l.caches) {
    const known = cache.get(key);
    if (known !== undefined) return known;
  }
  const value = make();
  l.caches.at(-1)?.set(key, value);
  return value;
}

/** Code that may not run: what it computes is not known after it. */
export function scoped(l: Lowering, work: () => void): void {
  l.caches.push(new Map());
  const mark = l.b.mark();
  work();
  l.b.release(mark);
  l.caches.pop();
}

/** if (a condition b) then() else otherwise(). */
export function when(
  l: Lowering,
  condition: Parameters<Builder["branch"]>[0],
  a: Val,
  b: Val,
  then: () => void,
  otherwise?: () => void,
): void {
  const { b: w } = l;
  const yes = w.block();
  const no = otherwise ? w.block() : undefined;
  const done = w.block();
  w.branch(condition, a, b, yes, no ?? done);
  w.enter(yes);
  scoped(l, then);
  if (w.reachable()) w.jump(done);
  if (no !== undefined && otherwise) {
    w.enter(no);
    scoped(l, otherwise);
    if (w.reachable()) w.jump(done);
  }
  w.enter(done);
}

/** Adds one to a counter of this CPU. */
export function count(l: Lowering, counter: keyof typeof COUNTER): void {
  const { b } = l;
  const mark = b.mark();
  const key = b.frame(4);
  b.store(at(key), 4, 0n);
  const cell = b.call(HELPER.map_lookup_elem, [b.map(l.plan.counters), b.address(at(key))]);
  b.release(mark);
  when(l, "ne", cell, 0n, () => {
    const from = at(cell, COUNTER[counter]);
    b.store(from, 8, b.alu("add", b.load(from, 8), 1n));
  });
}

/** Sends a record about something that went wrong; `code`: what a helper returned. */
function tell(
  l: Lowering,
  action: Extract<ActionKind, { kind: "runtime_error" | "helper_error" }>,
  loc: Loc,
  code?: Val,
): void {
  const { b } = l;
  const planned = l.plan.action(action, code === undefined ? [] : [I64], loc);
  const kept = code === undefined ? undefined : b.mov(code);
  const record = b.call(HELPER.ringbuf_reserve, [b.map(l.plan.ring()), BigInt(planned.size), 0n]);
  when(
    l,
    "ne",
    record,
    0n,
    () => {
      b.store(at(record), 8, BigInt(planned.id));
      if (kept !== undefined) b.store(at(record, planned.arguments[0]?.offset ?? 8), 8, kept);
      b.call(HELPER.ringbuf_submit, [record, 0n]);
    },
    () => count(l, "ringLost"),
  );
}

/** What went wrong while the program ran. */
export function fault(l: Lowering, message: string, loc: Loc | undefined): void {
  count(l, "runtimeErrors");
  if (l.options.compat !== "0.17") tell(l, { kind: "runtime_error", message }, loc ?? NOWHERE);
}

/** With -k: tells of a helper that has failed; `code` is negative then. */
export function checkHelper(l: Lowering, helper: string, code: Val): void {
  if (!l.options.checkHelpers) return;
  when(l, "slt", code, 0n, () => helperFailed(l, helper, code));
}

/** With -k: tells of a helper that is known to have failed. */
export function helperFailed(l: Lowering, helper: string, code: Val): void {
  if (l.options.checkHelpers) tell(l, { kind: "helper_error", helper }, l.b.loc ?? NOWHERE, code);
}

const NOWHERE: Loc = { start: 0, end: 1 };

/** Reads bytes of any space into the program's memory. */
export function probeRead(l: Lowering, space: Space, to: Address, size: bigint, from: Val): void {
  const { b } = l;
  const user = space === "user";
  const code = b.call(user ? HELPER.probe_read_user : HELPER.probe_read_kernel, [b.address(to), size, from]);
  checkHelper(l, user ? "probe_read_user" : "probe_read_kernel", code);
}

/** Reads a string of any space; at most `size` bytes with its end. */
export function probeReadString(l: Lowering, space: Space, to: Address, size: Val, from: Val): void {
  const { b } = l;
  const user = space === "user";
  const helper = user ? HELPER.probe_read_user_str : HELPER.probe_read_kernel_str;
  const code = b.call(helper, [b.address(to), size, from]);
  checkHelper(l, user ? "probe_read_user_str" : "probe_read_kernel_str", code);
}

/** Cuts a 64-bit word to an integer type and extends it again. */
export function canonical(l: Lowering, value: Val, size: number, signed: boolean): Val {
  if (size === 8) return value;
  if (typeof value === "bigint")
    return signed ? BigInt.asIntN(size * 8, value) : BigInt.asUintN(size * 8, value);
  const shift = BigInt(64 - size * 8);
  if (signed) return l.b.alu("arsh", l.b.alu("lsh", value, shift), shift);
  if (size === 4) return l.b.low32(value);
  return l.b.alu("and", value, size === 2 ? 0xffffn : 0xffn);
}

/** Largest power of two up to 8 that divides both an offset and a length. */
export function step(offset: number, rest: number): 1 | 2 | 4 | 8 {
  for (const size of [8, 4, 2] as const) if (offset % size === 0 && rest >= size) return size;
  return 1;
}

/** Up to how many bytes are written by single stores; more by a helper. */
const UNROLL = 128;

/** Sets memory of the program to zero. */
export function zero(l: Lowering, to: Address, size: number): void {
  const { b } = l;
  if (size > UNROLL) {
    // A read from address 0 fails, and a read that fails clears its target: a memset in one call.
    b.call(HELPER.probe_read_kernel, [b.address(to), BigInt(size), 0n]);
    return;
  }
  for (let i = 0; i < size; ) {
    const n = step(to.offset + i, size - i);
    b.store(plus(to, i), n, 0n);
    i += n;
  }
}

/** Copies between memory of the program (or out of its context, `from.offset` aligned or not). */
export function copy(l: Lowering, to: Address, from: Address, size: number): void {
  const { b } = l;
  if (size > UNROLL) {
    b.call(HELPER.probe_read_kernel, [b.address(to), BigInt(size), b.address(from)]);
    return;
  }
  for (let i = 0; i < size; ) {
    const both = Math.min(step(to.offset + i, size - i), step(from.offset + i, size - i));
    const n = step(0, both);
    b.store(plus(to, i), n, b.load(plus(from, i), n));
    i += n;
  }
}

/** Memory for a value of a type. */
export const temporary = (l: Lowering, type: Type): FrameObject => l.b.frame(align8(sizeOf(type)));

/**
 * A pointer as a number. What the kernel hands to typed programs are pointers that the verifier watches: it allows no arithmetic but
 * sums with them, and none before they are compared with null. It does not watch what has been negated.
 */
export const asNumber = (l: Lowering, pointer: Val): Val => l.b.neg(l.b.neg(pointer));

export const inMemory = (type: Type): boolean => !isScalar(type) && type.kind !== "none";

export { at, plus };
