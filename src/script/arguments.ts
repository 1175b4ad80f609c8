// script: where in its context a program finds the arguments of its probe.
import { sizeOf } from "./layout.ts";
import type { Context, ResolvedPoint } from "./probes.ts";
import type { FunctionPrototype, TypeSource } from "./types.ts";

/** x86-64: where a function's arguments are. */
export const ARGUMENT_REGISTERS = ["di", "si", "dx", "cx", "r8", "r9"];

/**
 * Byte offset of argument n in the context of a program with typed arguments: each takes whole words, structures more than one. The
 * result of a function comes after its last argument.
 */
export function argumentOffset(prototype: FunctionPrototype, n: number): number {
  let offset = 0;
  for (const { type } of prototype.parameters.slice(0, n))
    offset += 8 * Math.max(1, Math.ceil(sizeOf(type) / 8));
  return offset;
}

/** Names under which events have a socket (struct sock) and a packet (struct sk_buff). */
const SOCKETS = ["skaddr", "sk", "rx_sk"];
const PACKETS = ["skbaddr", "skb"];

/** Providers whose events belong to nobody in particular: they always run. */
const OWNERLESS = ["begin", "end", "self", "interval", "profile", "software", "hardware", "iter"];

export const hasOwner = (point: ResolvedPoint): boolean => !OWNERLESS.includes(point.provider);

/** Byte offsets in the context of the pointers by which an event's owner is found. */
export interface OwnerPlaces {
  readonly socket: number | undefined;
  readonly packet: number | undefined;
}

export const ownerPlaces = (context: Context, types: TypeSource): OwnerPlaces => ({
  socket: pointerNamed(context, types, SOCKETS),
  packet: pointerNamed(context, types, PACKETS),
});

function pointerNamed(context: Context, types: TypeSource, names: readonly string[]): number | undefined {
  for (const name of names) {
    const offset = pointer(context, types, name);
    if (offset !== undefined) return offset;
  }
  return undefined;
}

function pointer(context: Context, types: TypeSource, name: string): number | undefined {
  if (context.kind === "tracepoint" && context.equivalent) {
    const field = context.equivalent.fields.get(name);
    return field && field.steps.length === 0 && field.pointer ? field.word : undefined;
  }
  if (context.kind === "tracepoint")
    return context.structure.fields.find((f) => f.name === name && f.type.kind === "pointer")?.offset;
  if (context.kind !== "btf" && !(context.kind === "registers" && context.space === "kernel" && !context.ret))
    return undefined;
  const n =
    context.prototype?.parameters.findIndex((p) => p.name === name && p.type.kind === "pointer") ?? -1;
  if (n < 0 || !context.prototype) return undefined;
  if (context.kind === "btf") return argumentOffset(context.prototype, n);
  return types.structure("pt_regs")?.fields.find((f) => f.name === ARGUMENT_REGISTERS[n])?.offset;
}
