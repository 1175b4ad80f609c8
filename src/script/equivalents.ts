// script: tracepoints whose events a program takes from the raw tracepoint below instead. The kernel then neither writes a record nor
// goes through perf for each event, and takes the program off without waiting for grace periods (75 ms for each of the others).
// A row says where each field comes from, as the event's TP_fast_assign in include/trace/events/*.h has it; a probe that uses anything
// else stays on the event itself. test/kernel/trace/equivalents.test.ts puts both on each event and compares.
import { argumentOffset } from "./arguments.ts";
import { sizeOf } from "./layout.ts";
import { memberOf } from "./paths.ts";
import type { ResolvedPoint } from "./probes.ts";
import type { TProbe } from "./typed.ts";
import type { Field, FunctionPrototype, TypeSource } from "./types.ts";

/** Where a program on the raw tracepoint finds a field. */
export interface EquivalentField {
  /** Byte offset of the argument in the context. */
  readonly word: number;
  /** Offsets by which pointers are followed from there; none: it is the argument. */
  readonly steps: readonly number[];
  /** Bytes of what is there, and its sign. */
  readonly size: number;
  readonly signed: boolean;
  /** 16 bits in network order. */
  readonly swap: boolean;
  /** A pointer that is wanted as a number. */
  readonly pointer: boolean;
  /** The field is not what lies there but where it lies: text, an array. */
  readonly address: boolean;
  /** The argument's own type has it: the verifier allows a load. */
  readonly typed: boolean;
  readonly taskState?: TaskState;
}

/** Offsets from which sched_switch makes the state in which a task leaves the CPU. */
export interface TaskState {
  readonly preempt: number;
  readonly state: number;
  readonly task: number;
  /** In struct task_struct. */
  readonly exitState: number;
}

export interface Equivalent {
  readonly fields: ReadonlyMap<string, EquivalentField>;
}

/** `argument`, then members: "next.task_struct:pid"; a member may be embedded: "sk.sock:__sk_common/skc_state". "~" swaps 16 bits. */
type Way = string;
/** What __trace_sched_switch_state() of include/trace/events/sched.h makes of several arguments. */
const taskState: Way = "=";
type Row = Readonly<Record<string, Way>>;

const task = (argument: string, prefix = ""): Row => ({
  [`${prefix}comm`]: `${argument}.task_struct:comm`,
  [`${prefix}pid`]: `${argument}.task_struct:pid`,
});
const wakeup: Row = {
  ...task("p"),
  prio: "p.task_struct:prio",
  target_cpu: "p.task_struct:thread_info/cpu",
};
const device: Row = {
  skbaddr: "skb",
  len: "skb.sk_buff:len",
  name: "skb.sk_buff:dev.net_device:name",
};
const socket: Row = {
  skaddr: "sk",
  family: "sk.sock:__sk_common/skc_family",
  sport: "~sk.inet_sock:inet_sport",
  dport: "~sk.sock:__sk_common/skc_dport",
  saddr: "sk.inet_sock:inet_saddr",
  daddr: "sk.sock:__sk_common/skc_daddr",
};
const vector: Row = { vec: "vec_nr" };

/** By `category:event`; the raw tracepoint has the event's name. */
export const EQUIVALENTS: Readonly<Record<string, Row>> = {
  "raw_syscalls:sys_enter": { id: "id" },
  "raw_syscalls:sys_exit": { ret: "ret" },
  "sched:sched_switch": {
    ...task("prev", "prev_"),
    prev_prio: "prev.task_struct:prio",
    prev_state: taskState,
    ...task("next", "next_"),
    next_prio: "next.task_struct:prio",
  },
  "sched:sched_waking": wakeup,
  "sched:sched_wakeup": wakeup,
  "sched:sched_wakeup_new": wakeup,
  "sched:sched_process_exit": {
    ...task("p"),
    prio: "p.task_struct:prio",
    group_dead: "group_dead",
  },
  "sched:sched_process_fork": { ...task("parent", "parent_"), ...task("child", "child_") },
  "sched:sched_process_exec": {
    filename: "bprm.linux_binprm:filename",
    pid: "p.task_struct:pid",
    old_pid: "old_pid",
  },
  "net:net_dev_queue": device,
  "net:netif_receive_skb": device,
  "net:netif_rx": device,
  "net:net_dev_xmit": { skbaddr: "skb", len: "skb_len", rc: "rc", name: "dev.net_device:name" },
  "skb:kfree_skb": {
    skbaddr: "skb",
    location: "location",
    rx_sk: "rx_sk",
    protocol: "~skb.sk_buff:protocol",
    reason: "reason",
  },
  "skb:consume_skb": { skbaddr: "skb", location: "location" },
  "sock:inet_sock_set_state": {
    ...socket,
    oldstate: "oldstate",
    newstate: "newstate",
    protocol: "sk.sock:sk_protocol",
  },
  "tcp:tcp_retransmit_skb": {
    ...socket,
    skbaddr: "skb",
    state: "sk.sock:__sk_common/skc_state",
    err: "err",
  },
  "tcp:tcp_destroy_sock": socket,
  "tcp:tcp_receive_reset": socket,
  "irq:softirq_entry": vector,
  "irq:softirq_exit": vector,
  "irq:softirq_raise": vector,
  "irq:irq_handler_entry": { irq: "irq", name: "action.irqaction:name" },
  "irq:irq_handler_exit": { irq: "irq", ret: "ret" },
};

const bare = (name: string): string => name.replace(/^(struct|union) /, "");

/** A way through this kernel's types; undefined where it leads nowhere. */
function resolve(
  way: Way,
  field: Field,
  prototype: FunctionPrototype,
  types: TypeSource,
): EquivalentField | undefined {
  if (way === taskState) return taskStateOf(prototype, types);
  const swap = way.startsWith("~");
  const [argument, ...members] = (swap ? way.slice(1) : way).split(".");
  const n = prototype.parameters.findIndex((p) => p.name === argument);
  const parameter = prototype.parameters[n];
  if (!parameter) return undefined;
  let { type } = parameter;
  const steps: number[] = [];
  let typed = true;
  for (const member of members) {
    const [structure = "", path = ""] = member.split(":");
    const found = memberOf(types, structure, path.split("/"));
    if (!found || found.bits || type.kind !== "pointer") return undefined;
    typed &&= type.to.kind === "struct" && bare(type.to.name) === structure;
    steps.push(found.offset);
    type = found.type;
  }
  const pointer = type.kind === "pointer";
  const text = field.dataLoc === true;
  // A field of several bytes may come from one number: an address from its word.
  const address = type.kind === "array" || (!text && field.type.kind === "array");
  if (address && steps.length === 0) return undefined;
  if (text && !address && !pointer) return undefined;
  if (!address && !text && pointer !== (field.type.kind === "pointer")) return undefined;
  if (address && !text && sizeOf(type) < sizeOf(field.type)) return undefined;
  const size = sizeOf(type);
  if (!address && size !== 1 && size !== 2 && size !== 4 && size !== 8) return undefined;
  const signed = (type.kind === "int" || type.kind === "enum") && type.signed;
  return {
    word: argumentOffset(prototype, n),
    steps,
    size,
    signed,
    swap,
    pointer: pointer && !text,
    address,
    typed,
  };
}

function taskStateOf(prototype: FunctionPrototype, types: TypeSource): EquivalentField | undefined {
  const word = (name: string): number | undefined => {
    const n = prototype.parameters.findIndex((p) => p.name === name);
    return n < 0 ? undefined : argumentOffset(prototype, n);
  };
  const [preempt, state, task] = [word("preempt"), word("prev_state"), word("prev")];
  const exitState = memberOf(types, "task_struct", ["exit_state"]);
  // Before Linux 5.18 the state was not among the arguments.
  if (preempt === undefined || state === undefined || task === undefined || !exitState) return undefined;
  const plain = { steps: [], swap: false, pointer: false, address: false, typed: true };
  const made = { preempt, state, task, exitState: exitState.offset };
  return { ...plain, word: state, size: 8, signed: true, taskState: made };
}

/** What a probe asks of its context; undefined if it asks for more than some fields of its record. */
function fieldsAsked(probe: TProbe): ReadonlyMap<string, Field> | undefined {
  const asked = new Map<string, Field>();
  let other = false;
  const seen = new Set<object>();
  const visit = (node: unknown): void => {
    if (other || typeof node !== "object" || node === null || seen.has(node)) return;
    seen.add(node);
    if (Array.isArray(node)) {
      node.forEach(visit);
      return;
    }
    if (node instanceof Uint8Array) return;
    const { op, base, field, name } = node as {
      op?: unknown;
      base?: { op?: unknown };
      field?: Field;
      name?: unknown;
    };
    if (op === "field" && base?.op === "context" && field) {
      asked.set(field.name, field);
      return;
    }
    // Stacks would begin at other frames.
    if (op === "context" || (op === "builtin" && name === "ctx") || (op === "call" && name === "stack"))
      other = true;
    else for (const value of Object.values(node)) visit(value);
  };
  visit(probe.predicate);
  visit(probe.body);
  return other ? undefined : asked;
}

function equivalentPoint(
  point: ResolvedPoint,
  asked: ReadonlyMap<string, Field>,
  types: TypeSource,
): ResolvedPoint | undefined {
  const { context, attach } = point;
  if (context.kind !== "tracepoint" || !attach.tracepoint) return undefined;
  const { category, event } = attach.tracepoint;
  const row = EQUIVALENTS[`${category}:${event}`];
  if (!row) return undefined;
  const prototype = types.rawTracepoint(event);
  // Those of modules have types of their own.
  if (prototype?.module !== "vmlinux") return undefined;
  const fields = new Map<string, EquivalentField>();
  for (const [name, field] of asked) {
    const way = row[name];
    const found = way === undefined ? undefined : resolve(way, field, prototype, types);
    if (!found) return undefined;
    fields.set(name, found);
  }
  // By these the owner of an event is found; a record without them has its owner by the current task.
  for (const name of ["skaddr", "skbaddr", "rx_sk"]) {
    const field = context.structure.fields.find((f) => f.name === name);
    const way = row[name];
    const found = field && way !== undefined ? resolve(way, field, prototype, types) : undefined;
    if (found) fields.set(name, found);
    else if (field) return undefined;
  }
  return {
    ...point,
    programType: "tp_btf",
    context: { ...context, equivalent: { fields } },
    attach: { ...attach, rawTracepoint: { name: event, btfId: prototype.btfId } },
    attachBtfId: prototype.btfId,
    shareKey: `tp_btf:${event}`,
  };
}

/** The probe on raw tracepoints, a program for each of its points; or as it is, where that would not be the same. */
export function onEquivalents(probe: TProbe, types: TypeSource): readonly TProbe[] {
  const [first] = probe.points;
  if (first?.context.kind !== "tracepoint" || !first.attach.tracepoint) return [probe];
  const { category, event } = first.attach.tracepoint;
  if (EQUIVALENTS[`${category}:${event}`] === undefined || !types.features.tpBtf) return [probe];
  const asked = fieldsAsked(probe);
  if (!asked) return [probe];
  const points = probe.points.map((point) => equivalentPoint(point, asked, types));
  if (!points.every((point) => point !== undefined)) return [probe];
  return points.map((point) => ({ ...probe, points: [point] }));
}
