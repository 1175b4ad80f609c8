// script, lowering: statements.

import { HELPER } from "../ir/helpers.ts";
import type { MemorySize } from "../ir/ir.ts";
import { isScalar, sizeOf } from "../layout.ts";
import type { TStatement, Variable } from "../typed.ts";
import type { Type } from "../types.ts";
import { aggregate } from "./aggregates.ts";
import { loopDepth, lowerLoop } from "./loops.ts";
import { setMap } from "./maps.ts";
import { into } from "./memory.ts";
import { branchOn, value } from "./scalars.ts";
import { at, count, helperFailed, inMemory, type Lowering, plus, scoped, when, zero } from "./state.ts";

export function lowerStatements(l: Lowering, body: readonly TStatement[]): void {
  for (const s of body) {
    // What follows a return is dead.
    if (!l.b.reachable()) return;
    lowerStatement(l, s);
  }
}

function lowerStatement(l: Lowering, s: TStatement): void {
  const { b } = l;
  const outer = b.loc;
  b.loc = s.loc;
  switch (s.op) {
    case "expr": {
      const mark = b.mark();
      if (s.value.type.kind === "none" && s.value.op === "choose") chooseAction(l, s.value);
      else if (inMemory(s.value.type))
        into(l, s.value, at(b.frame(sizeOf(s.value.type))), s.value.type, false);
      else {
        const made = value(l, s.value);
        // What nobody asks about is told of, if it comes to nothing.
        if (l.options.checkHelpers && s.value.op === "call" && s.value.name === "delete" && b.reachable())
          when(l, "eq", made, 0n, () => helperFailed(l, "map_delete_elem", -2n));
      }
      b.release(mark);
      break;
    }
    case "set_variable":
      setVariable(l, s.variable, s);
      break;
    case "set_map": {
      const mark = b.mark();
      setMap(l, s.map, s.key, s.value, (e) => value(l, e));
      b.release(mark);
      break;
    }
    case "aggregate": {
      const mark = b.mark();
      aggregate(l, s.map, s.key, s.args);
      b.release(mark);
      break;
    }
    case "emit": {
      const mark = b.mark();
      emit(l, s);
      b.release(mark);
      break;
    }
    case "if": {
      const [yes, no, done] = [b.block(), b.block(), b.block()];
      branchOn(l, s.condition, yes, s.otherwise.length > 0 ? no : done);
      b.enter(yes);
      scoped(l, () => lowerStatements(l, s.then));
      if (b.reachable()) b.jump(done);
      if (s.otherwise.length > 0) {
        b.enter(no);
        scoped(l, () => lowerStatements(l, s.otherwise));
        if (b.reachable()) b.jump(done);
      }
      b.enter(done);
      break;
    }
    case "scope": {
      const mark = b.mark();
      lowerStatements(l, s.body);
      b.release(mark);
      break;
    }
    case "inline":
      inline(l, s.body);
      break;
    case "unroll":
      unroll(l, s);
      break;
    case "while":
    case "for_range":
    case "for_map":
      lowerLoop(l, s);
      break;
    case "break":
    case "continue": {
      const around = l.loops.at(-1);
      if (around) b.jump(s.op === "break" ? around.exit : around.next);
      break;
    }
    case "return":
      b.jump(l.exitBlock());
      break;
  }
  b.loc = outer;
}

function chooseAction(l: Lowering, e: Extract<TStatement, { op: "expr" }>["value"]): void {
  if (e.op !== "choose") return;
  const { b } = l;
  const [yes, no, done] = [b.block(), b.block(), b.block()];
  branchOn(l, e.condition, yes, no);
  for (const [block, side] of [
    [yes, e.then],
    [no, e.otherwise],
  ] as const) {
    b.enter(block);
    scoped(l, () => {
      if (side.op === "block") lowerStatements(l, side.body);
      else if (side.op === "choose" && side.type.kind === "none") chooseAction(l, side);
    });
    if (b.reachable()) b.jump(done);
  }
  b.enter(done);
}

/** Where a variable lives: a register, or memory for what is larger and for all that functions of loops share. */
export function declare(l: Lowering, variable: Variable): void {
  if (l.variables.has(variable)) return;
  const size = sizeOf(variable.type);
  if (l.program.contextSlot) {
    const home = l.b.pinned(Math.max(8, size), "scratch");
    l.variables.set(variable, home);
    zero(l, at(home), home.size);
  } else if (isScalar(variable.type) && !variable.addressed) {
    const home = l.b.reg();
    l.variables.set(variable, home);
    l.b.set(home, 0n);
  } else {
    const home = l.b.frame(size);
    l.variables.set(variable, home);
    zero(l, at(home), home.size);
  }
}

function setVariable(l: Lowering, variable: Variable, s: Extract<TStatement, { op: "set_variable" }>): void {
  const { b } = l;
  const home = l.variables.get(variable);
  const mark = b.mark();
  if (typeof home === "number") {
    const v = value(l, s.value);
    if (b.reachable()) b.set(home, v);
  } else if (home && isScalar(variable.type)) {
    const v = value(l, s.value);
    if (b.reachable()) b.store(at(home), sizeOf(variable.type) as MemorySize, v);
  } else if (home) {
    // The value may read the variable itself: it is made elsewhere first, unless it plainly does not.
    if (s.value.op === "text" || s.value.op === "builtin") into(l, s.value, at(home), variable.type, true);
    else {
      const made = b.frame(sizeOf(variable.type));
      into(l, s.value, at(made), variable.type, true);
      copyBack(l, made, home, sizeOf(variable.type));
    }
  }
  b.release(mark);
}

function copyBack(
  l: Lowering,
  from: ReturnType<Lowering["b"]["frame"]>,
  to: typeof from,
  size: number,
): void {
  const { b } = l;
  if (size > 128) {
    b.call(HELPER.probe_read_kernel, [b.address(at(to)), BigInt(size), b.address(at(from))]);
    return;
  }
  let i = 0;
  while (i < size) {
    const n: MemorySize = size - i >= 8 ? 8 : size - i >= 4 ? 4 : size - i >= 2 ? 2 : 1;
    b.store(at(to, i), n, b.load(at(from, i), n));
    i += n;
  }
}

/** The body of a function: its end is where `return` goes, from inside of loops as well. */
function inline(l: Lowering, body: readonly TStatement[]): void {
  const { b } = l;
  const end = b.block();
  const { ended } = l.program;
  scoped(l, () => lowerStatements({ ...l, loops: [], exitBlock: () => end }, body));
  if (b.reachable()) b.jump(end);
  b.enter(end);
  // A loop that was left by `return` says so to what is around it: here that ends.
  if (ended && loopDepth(body) > 0) b.store(at(ended), 8, 0n);
}

function unroll(l: Lowering, s: Extract<TStatement, { op: "unroll" }>): void {
  const { b } = l;
  const done = b.block();
  for (let i = 0; i < s.count && b.reachable(); i++) {
    const next = b.block();
    l.loops.push({ next, exit: done });
    scoped(l, () => lowerStatements(l, s.body));
    l.loops.pop();
    if (b.reachable()) b.jump(next);
    b.enter(next);
    l.caches.push(new Map());
  }
  for (let i = 0; i < s.count; i++) l.caches.pop();
  if (b.reachable()) b.jump(done);
  b.enter(done);
}

/** Sends a record: reserved in the ring, filled in place, submitted. A full ring is counted. */
function emit(l: Lowering, s: Extract<TStatement, { op: "emit" }>): void {
  if (s.action.kind === "join") {
    emitJoin(l, s);
    return;
  }
  const { b } = l;
  const types = s.args.map((a) => a.type);
  const action = l.plan.action(s.action, types, s.loc);
  // Registers first: their code may branch and call, which is simpler before there is a record to give back.
  const words = s.args.map((a) => (isScalar(a.type) ? value(l, a) : undefined));
  const prepared = s.args.map((a) => (isScalar(a.type) || simple(a) ? undefined : prepare(l, a)));
  if (!b.reachable()) return;
  const record = b.call(HELPER.ringbuf_reserve, [b.map(l.plan.ring()), BigInt(action.size), 0n]);
  when(
    l,
    "ne",
    record,
    0n,
    () => {
      b.store(at(record), 8, BigInt(action.id));
      for (const [i, a] of s.args.entries()) {
        const target = plus(at(record), action.arguments[i]?.offset ?? 0);
        const word = words[i];
        const made = prepared[i];
        if (word !== undefined) b.store(target, sizeOf(a.type) as MemorySize, word);
        else if (made) into(l, made, target, a.type, false);
        else into(l, a, target, a.type, false);
      }
      b.call(HELPER.ringbuf_submit, [record, 0n]);
      // Nothing is traced any more from here on, however long user space takes to hear of it.
      if (s.action.kind === "exit") b.store(at(b.mapValue(l.plan.gate, 0)), 4, 0n);
    },
    () => count(l, "ringLost"),
  );
}

/** Strings of join(), and bytes of each, as bpftrace has them. */
const JOIN_STRINGS = 16;
const JOIN_BYTES = 1024;

/** join(argv): the strings behind an array of pointers, up to a null pointer. */
function emitJoin(l: Lowering, s: Extract<TStatement, { op: "emit" }>): void {
  const { b } = l;
  const [list] = s.args;
  if (!list) return;
  const type: Type = { kind: "string", size: JOIN_BYTES };
  const action = l.plan.action(s.action, new Array<Type>(JOIN_STRINGS).fill(type), s.loc);
  const space = list.type.kind === "pointer" ? list.type.space : "user";
  const [word, text] =
    space === "user"
      ? [HELPER.probe_read_user, HELPER.probe_read_user_str]
      : [HELPER.probe_read_kernel, HELPER.probe_read_kernel_str];
  const array = b.mov(value(l, list));
  const slot = b.frame(8);
  const record = b.call(HELPER.ringbuf_reserve, [b.map(l.plan.ring()), BigInt(action.size), 0n]);
  when(
    l,
    "ne",
    record,
    0n,
    () => {
      b.store(at(record), 8, BigInt(action.id));
      for (const a of action.arguments) b.store(at(record, a.offset), 1, 0n);
      const done = b.block();
      for (const [i, a] of action.arguments.entries()) {
        b.call(word, [b.address(at(slot)), 8n, b.alu("add", array, BigInt(8 * i))]);
        const pointer = b.load(at(slot), 8);
        const next = b.block();
        b.branch("eq", pointer, 0n, done, next);
        b.enter(next);
        b.call(text, [b.address(at(record, a.offset)), BigInt(JOIN_BYTES), pointer]);
      }
      b.jump(done);
      b.enter(done);
      b.call(HELPER.ringbuf_submit, [record, 0n]);
    },
    () => count(l, "ringLost"),
  );
}

/** Whether writing a value runs no statements of the user's. */
function simple(e: Extract<TStatement, { op: "expr" }>["value"]): boolean {
  switch (e.op) {
    case "block":
    case "step":
      return false;
    case "tuple":
      return e.items.every((i) => isScalar(i.type) || simple(i));
    case "choose":
      return simple(e.then) && simple(e.otherwise);
    case "call":
      return e.args.every(simple);
    case "map":
      return e.key.every(simple);
    default:
      return true;
  }
}

/** Evaluates into memory and hands back an expression that reads it. */
function prepare(l: Lowering, e: Extract<TStatement, { op: "expr" }>["value"]): typeof e {
  const home = l.b.frame(sizeOf(e.type));
  into(l, e, at(home), e.type, true);
  const variable: Variable = { name: "", id: -1, type: e.type, declared: true };
  l.variables.set(variable, home);
  return { op: "variable", variable, type: e.type, loc: e.loc };
}
