// script, lowering: fields of a tracepoint whose program is on the raw tracepoint below it: found in the arguments when they are asked for.
import type { EquivalentField, TaskState } from "../equivalents.ts";
import type { MemorySize, Val } from "../ir/ir.ts";
import { isSigned, sizeOf } from "../layout.ts";
import type { TExprOf } from "../typed.ts";
import { loadFrom } from "./scalars.ts";
import { asNumber, at, cached, canonical, type Lowering, type Place, when } from "./state.ts";

/** How to find a field of `args`; undefined for everything else. */
function equivalentOf(l: Lowering, e: TExprOf<"field">): EquivalentField | undefined {
  const { context } = l.point;
  if (e.base.op !== "context" || context.kind !== "tracepoint") return undefined;
  return context.equivalent?.fields.get(e.field.name);
}

/** What lies behind a pointer. The verifier follows those whose type it knows: they are loaded from, and a bad one reads as zeros. */
function behind(l: Lowering, field: EquivalentField, pointer: Val, offset: number, size: MemorySize): Val {
  if (field.typed && typeof pointer === "number") return l.b.load(at(pointer, offset), size);
  const address = l.b.alu("add", asNumber(l, pointer), BigInt(offset));
  const from: Place = { space: "kernel", address: at(l.b.mov(address)) };
  return loadFrom(l, from, { kind: "int", size, signed: false });
}

/** The pointer before the last step. */
function followed(l: Lowering, field: EquivalentField): Val {
  let pointer: Val = l.b.load(at(l.ctx, field.word), 8);
  for (const offset of field.steps.slice(0, -1)) pointer = behind(l, field, pointer, offset, 8);
  return pointer;
}

const once = (l: Lowering, e: TExprOf<"field">, what: string, make: () => Val): Val =>
  cached(l, `equivalent:${l.ctx}:${what}:${e.field.name}`, make);

/** include/linux/sched.h: what is reported as it is, and what is reported as something else. Unchanged since Linux 5.15, TASK_FROZEN 6.1. */
const REPORTED = 0x7fn;
const IDLE = 0x402n;
const REPORTED_IDLE = 0x80n;
const FROZEN_OR_RTLOCK = 0x9000n;
const UNINTERRUPTIBLE = 2n;
const PREEMPTED = 0x100n;

/** The highest of the reported bits, as __trace_sched_switch_state() has it. */
function stateOf(l: Lowering, { preempt, state, task, exitState }: TaskState): Val {
  const { b } = l;
  const result = b.reg();
  b.set(result, PREEMPTED);
  when(l, "eq", canonical(l, b.load(at(l.ctx, preempt), 8), 1, false), 0n, () => {
    const own = b.low32(b.load(at(l.ctx, state), 8) as number);
    const exited = b.load(at(b.load(at(l.ctx, task), 8), exitState), 4);
    const bits = b.reg();
    b.set(bits, b.alu("and", b.alu("or", own, exited), REPORTED));
    when(l, "eq", b.alu("and", own, IDLE), IDLE, () => b.set(bits, REPORTED_IDLE));
    when(l, "ne", b.alu("and", own, FROZEN_OR_RTLOCK), 0n, () => b.set(bits, UNINTERRUPTIBLE));
    let filled: Val = bits;
    for (const shift of [1n, 2n, 4n]) filled = b.alu("or", filled, b.alu("rsh", filled, shift));
    b.set(result, b.alu("sub", filled, b.alu("rsh", filled, 1n)));
  });
  return result;
}

/** The value of a field that fits a register. */
export function equivalentValue(l: Lowering, e: TExprOf<"field">): Val | undefined {
  const field = equivalentOf(l, e);
  if (!field || field.address) return undefined;
  const { taskState } = field;
  if (taskState) return once(l, e, "value", () => stateOf(l, taskState));
  return once(l, e, "value", () => {
    const last = field.steps.at(-1);
    const found =
      last === undefined
        ? l.b.load(at(l.ctx, field.word), 8)
        : behind(l, field, followed(l, field), last, field.size as MemorySize);
    if (field.pointer) return asNumber(l, found);
    const loaded = field.swap ? l.b.swap(found, 16) : found;
    const size = sizeOf(e.type);
    // As C assigns: from the source's type to the field's.
    if (size > field.size) return field.signed ? canonical(l, loaded, field.size, true) : loaded;
    return canonical(l, loaded, size, isSigned(e.type));
  });
}

/** Where the text of a field lies: an array of characters, or what a pointer points to. */
export function equivalentText(l: Lowering, e: TExprOf<"field">): Val | undefined {
  const field = equivalentOf(l, e);
  if (!field) return undefined;
  return once(l, e, "text", () => {
    const last = field.steps.at(-1) ?? 0;
    const pointer = followed(l, field);
    if (field.address) return l.b.alu("add", asNumber(l, pointer), BigInt(last));
    return asNumber(l, behind(l, field, pointer, last, 8));
  });
}

/** Where a field that fits no register lies. */
export function equivalentPlace(l: Lowering, e: TExprOf<"field">): Place | undefined {
  const field = equivalentOf(l, e);
  if (!field?.address) return undefined;
  const address = equivalentText(l, e);
  if (address === undefined) return undefined;
  return { space: "kernel", address: at(typeof address === "number" ? address : l.b.mov(address)) };
}
