// script, lowering: while and for. The body becomes a function of its own that bpf_loop() or bpf_for_each_map_elem() calls, so that the
// verifier looks at it once, however often it runs. What the functions share lies in the scratch element.
import { RUNTIME } from "../diagnostics.ts";
import { HELPER } from "../ir/helpers.ts";
import type { FrameObject, MemorySize, Val, VReg } from "../ir/ir.ts";
import { isScalar, sizeOf, tupleLayout } from "../layout.ts";
import type { TExpr, TStatement } from "../typed.ts";
import { reduceCpus } from "./aggregates.ts";
import { newFunction } from "./program.ts";
import { branchOn, loadFrom, value } from "./scalars.ts";
import { at, copy, fault, type Lowering, plus, when } from "./state.ts";
import { lowerStatements } from "./statements.ts";

type Loop = Extract<TStatement, { op: "while" | "for_range" | "for_map" }>;

/** BPF_MAX_LOOPS: more turns the kernel does not make. */
const MOST_TURNS = 1n << 23n;
/** Turns of a loop on kernels before 5.17, whose verifier walks through each of them. */
const PLAIN_TURNS = 512n;

/** What bpf_loop()'s callback returns: go on, or stop. */
const GO_ON = 0n;
const STOP = 1n;

export function lowerLoop(l: Lowering, s: Loop): void {
  if (s.op === "for_map") {
    overMap(l, s);
    return;
  }
  const { b } = l;
  if (s.op === "while") {
    turns(l, s, MOST_TURNS, (inner, no) => {
      const yes = inner.b.block();
      branchOn(inner, s.condition, yes, no);
      inner.b.enter(yes);
    });
    return;
  }
  const from = value(l, s.from);
  const to = value(l, s.to);
  const start = b.pinned(8, "scratch");
  b.store(at(start), 8, from);
  when(l, "slt", from, to, () => {
    const wanted = b.alu("sub", to, from);
    const number = b.reg();
    b.set(number, wanted);
    when(l, "gt", wanted, MOST_TURNS, () => {
      fault(l, RUNTIME.loop, s.loc);
      b.set(number, MOST_TURNS);
    });
    turns(l, s, number, (inner, _no, index) => {
      const home = inner.variables.get(s.variable);
      if (!home || typeof home === "number") return;
      const first = inner.b.load(at(start), 8);
      inner.b.store(at(home), sizeOf(s.variable.type) as MemorySize, inner.b.alu("add", first, index));
    });
  });
}

/** `number` turns of the body; `head` begins each and may go to the block that ends the loop. */
function turns(
  l: Lowering,
  s: Loop,
  number: Val,
  head: (inner: Lowering, no: number, index: VReg) => void,
): void {
  const { b } = l;
  if (!l.options.types.features.bpfLoop) {
    plainLoop(l, s, number, head);
    return;
  }
  const index = loopFunction(l, s, 2, 1, (inner, stop) => head(inner, stop, 0));
  const result = b.call(HELPER.loop, [number, b.functionAddress(index), contextPointer(l), 0n]);
  when(l, "slt", result, 0n, () => fault(l, RUNTIME.loop, s.loc));
  leaveIfEnded(l);
}

/** The pointer that callbacks get: to where the program's context is kept. */
function contextPointer(l: Lowering): Val {
  const slot = l.program.contextSlot;
  if (!slot) return 0n;
  return l.callbackContext ?? l.b.address(at(slot));
}

function leaveIfEnded(l: Lowering): void {
  const { ended } = l.program;
  if (!ended) return;
  const { b } = l;
  const on = b.block();
  b.branch("ne", b.load(at(ended), 8), 0n, l.exitBlock(), on);
  b.enter(on);
}

/** Writes the body as a function; its number. `contextParameter`: which parameter is the pointer of {@link contextPointer}. */
function loopFunction(
  l: Lowering,
  s: Loop,
  parameters: number,
  contextParameter: VReg,
  head: (inner: Lowering, stop: number) => void,
): number {
  const b = newFunction(l.program, `${l.point.text}_loop`, parameters);
  const index = l.program.builders.length - 1;
  b.loc = s.loc;
  let ended: number | undefined;
  const stop = b.block();
  const next = b.block();
  const inner: Lowering = {
    ...l,
    b,
    ctx: b.load(at(contextParameter), 8),
    callbackContext: contextParameter,
    caches: [new Map()],
    loops: [{ next, exit: stop }],
    exitBlock: () => (ended ??= b.block()),
  };
  head(inner, stop);
  if (b.reachable()) lowerStatements(inner, s.body);
  if (b.reachable()) b.jump(next);
  b.enter(next);
  b.ret(GO_ON);
  b.enter(stop);
  b.ret(STOP);
  if (ended !== undefined) {
    b.enter(ended);
    if (l.program.ended) b.store(at(l.program.ended), 8, 1n);
    b.ret(STOP);
  }
  return index;
}

/** A loop in place, of a bounded number of turns that the verifier follows one by one. */
function plainLoop(
  l: Lowering,
  s: Loop,
  number: Val,
  head: (inner: Lowering, no: number, index: VReg) => void,
): void {
  const { b } = l;
  const index = b.reg();
  b.set(index, 0n);
  const [test, body, more, next, done, over] = [
    b.block(),
    b.block(),
    b.block(),
    b.block(),
    b.block(),
    b.block(),
  ];
  b.jump(test);
  b.enter(test);
  b.branch("lt", index, number, body, done);
  b.enter(body);
  b.branch("lt", index, PLAIN_TURNS, more, over);
  b.enter(more);
  l.caches.push(new Map());
  const mark = b.mark();
  l.loops.push({ next, exit: done });
  head(l, done, index);
  if (b.reachable()) lowerStatements(l, s.body);
  l.loops.pop();
  b.release(mark);
  l.caches.pop();
  if (b.reachable()) b.jump(next);
  b.enter(next);
  b.set(index, b.alu("add", index, 1n));
  b.jump(test);
  b.enter(over);
  fault(l, RUNTIME.loop, s.loc);
  b.jump(done);
  b.enter(done);
}

/** for ($kv : @map): the callback gets pointers to key and value, which are copied into the variable. */
function overMap(l: Lowering, s: Extract<TStatement, { op: "for_map" }>): void {
  const { b } = l;
  const storage = l.plan.storage(s.map);
  const index = loopFunction(l, s, 4, 3, (inner) => {
    const home = inner.variables.get(s.variable);
    const tuple = s.variable.type;
    if (!home || typeof home === "number" || tuple.kind !== "tuple") return;
    const { offsets } = tupleLayout(tuple.items);
    const [keyType, valueType] = tuple.items;
    if (!keyType || !valueType) return;
    const key = at(1);
    copy(inner, at(home), key, sizeOf(keyType));
    const target = plus(at(home), offsets[1] ?? 0);
    if (s.map.aggregate !== undefined) {
      const slot = keyCopy(inner, storage.kernel.keySize, key);
      inner.b.store(target, 8, reduceCpus(inner, s.map, at(slot)));
    } else if (isScalar(valueType))
      inner.b.store(
        target,
        sizeOf(valueType) as MemorySize,
        loadFrom(inner, { space: "bpf", address: at(2) }, valueType),
      );
    else copy(inner, target, at(2), sizeOf(valueType));
  });
  b.call(HELPER.for_each_map_elem, [b.map(storage.index), b.functionAddress(index), contextPointer(l), 0n]);
  leaveIfEnded(l);
}

/** Helpers take keys from the program's memory. */
function keyCopy(l: Lowering, size: number, from: ReturnType<typeof at>): FrameObject {
  const slot = l.b.frame(size);
  copy(l, at(slot), from, size);
  return slot;
}

/** Calls `body` for index 0, 1, ... up to `count` - 1 until it goes to `stop`. The index is known to be below `count`. */
export function searchFrom(
  l: Lowering,
  count: number,
  body: (inner: Lowering, index: VReg, stop: number) => void,
): void {
  const { b } = l;
  const callback = newFunction(l.program, `${l.point.text}_search`, 2);
  const number = l.program.builders.length - 1;
  const inner: Lowering = { ...l, b: callback, callbackContext: 1, caches: [new Map()], loops: [] };
  const [stop, fine] = [callback.block(), callback.block()];
  const index = callback.mov(0);
  callback.branch("ge", index, BigInt(count), stop, fine);
  callback.enter(fine);
  body(inner, index, stop);
  callback.enter(stop);
  callback.ret(STOP);
  b.call(HELPER.loop, [BigInt(count), b.functionAddress(number), contextPointer(l), 0n]);
}

/** len(@map): the number of elements that a callback is called for. */
export function mapLength(l: Lowering, e: Extract<TExpr, { op: "call" }>): Val {
  const map = e.data?.map;
  if (!map) return 0n;
  const { b } = l;
  const callback = newFunction(l.program, `${l.point.text}_len`, 4);
  const index = l.program.builders.length - 1;
  callback.ret(GO_ON);
  return b.call(HELPER.for_each_map_elem, [
    b.map(l.plan.storage(map).index),
    b.functionAddress(index),
    contextPointer(l),
    0n,
  ]);
}

/** How deep loops nest; 0 if there are none. */
export function loopDepth(body: readonly TStatement[]): number {
  let most = 0;
  for (const s of body) {
    let depth = 0;
    if (s.op === "while") depth = 1 + Math.max(loopDepth(s.body), expressionDepth(s.condition));
    else if (s.op === "for_range" || s.op === "for_map") depth = 1 + loopDepth(s.body);
    else if (s.op === "if")
      depth = Math.max(loopDepth(s.then), loopDepth(s.otherwise), expressionDepth(s.condition));
    else if (s.op === "scope" || s.op === "inline" || s.op === "unroll") depth = loopDepth(s.body);
    else if (s.op === "expr" || s.op === "set_variable") depth = expressionDepth(s.value);
    else if (s.op === "set_map") depth = Math.max(expressionDepth(s.value), ...s.key.map(expressionDepth));
    else if (s.op === "aggregate") depth = Math.max(0, ...[...s.key, ...s.args].map(expressionDepth));
    else if (s.op === "emit") depth = Math.max(0, ...s.args.map(expressionDepth));
    most = Math.max(most, depth);
  }
  return most;
}

/** Functions that have callbacks of their own. */
const CALLBACKS: ReadonlySet<string> = new Set(["len", "strstr", "strcontains"]);

/** Loops inside of block expressions. */
export function expressionDepth(e: TExpr): number {
  const of = (...list: readonly (TExpr | undefined)[]): number =>
    Math.max(0, ...list.map((x) => (x ? expressionDepth(x) : 0)));
  switch (e.op) {
    case "block":
      return Math.max(loopDepth(e.body), of(e.value));
    case "negate":
    case "complement":
    case "not":
    case "truth":
    case "convert":
      return of(e.operand);
    case "arithmetic":
    case "compare":
    case "same":
    case "logical":
      return of(e.left, e.right);
    case "choose":
      return of(e.condition, e.then, e.otherwise);
    case "field":
      return of(e.base);
    case "deref":
      return of(e.pointer);
    case "element":
      return of(e.base, e.index);
    case "address":
      return of(e.place);
    case "item":
      return of(e.tuple);
    case "tuple":
      return of(...e.items);
    case "map":
      return of(...e.key);
    case "call":
      return Math.max(of(...e.args), CALLBACKS.has(e.name) ? 1 : 0);
    case "step":
      return "map" in e.target ? of(...e.target.key) : 0;
    default:
      return 0;
  }
}
