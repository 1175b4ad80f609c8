// script, lowering: expressions whose value fits a register.

import { argumentOffset } from "../arguments.ts";
import { HELPER } from "../ir/helpers.ts";
import type { Condition, MemorySize, Val } from "../ir/ir.ts";
import { isSigned, sizeOf } from "../layout.ts";
import type { TExpr, TExprOf } from "../typed.ts";
import type { FunctionPrototype, Type } from "../types.ts";
import { arithmetic, convert, increment } from "./arithmetic.ts";
import { equivalentText, equivalentValue } from "./equivalent.ts";
import { debugPrint, percpuAddress, writeUser } from "./kernel.ts";
import { mapLength } from "./loops.ts";
import { deleteKey, hasKey, loadMap } from "./maps.ts";
import { addressOf, place, toMemory } from "./memory.ts";
import { ownerWord } from "./prologue.ts";
import { routeWord } from "./routes.ts";
import {
  asNumber,
  at,
  cached,
  canonical,
  type Lowering,
  type Place,
  probeRead,
  step,
  when,
} from "./state.ts";
import { lowerStatements } from "./statements.ts";
import { compareBytes, equalMemory, findText, textLength } from "./strings.ts";

/** The value of a scalar expression, extended to 64 bits by its type. */
export function value(l: Lowering, e: TExpr): Val {
  const { b } = l;
  switch (e.op) {
    case "const":
      return BigInt.asIntN(64, e.value);
    case "builtin":
      return builtin(l, e);
    case "context_word":
      return cached(l, `word:${e.offset}:${e.size}`, () => contextWord(l, e));
    case "variable": {
      const home = l.variables.get(e.variable);
      if (typeof home === "number") return b.mov(home);
      if (home) return loadFrom(l, { space: "bpf", address: at(home) }, e.type);
      return 0n;
    }
    case "map":
      return loadMap(l, e);
    case "negate":
      return b.neg(value(l, e.operand));
    case "complement":
      return b.alu("xor", value(l, e.operand), -1n);
    case "not":
    case "truth":
    case "compare":
    case "same":
    case "logical":
      return asBool(l, e);
    case "arithmetic":
      return arithmetic(l, e);
    case "choose":
      return choose(l, e);
    case "convert":
      return convert(l, e);
    case "field":
    case "deref":
    case "element":
      return loadPlace(l, e);
    case "address":
      return ofOwnMemory(l, place(l, e.place));
    case "item":
      return loadFrom(l, place(l, e), e.type);
    case "step":
      return increment(l, e);
    case "call":
      return call(l, e);
    case "block":
      lowerStatements(l, e.body);
      return b.reachable() ? value(l, e.value) : 0n;
    case "text":
    case "tuple":
    case "context":
      return 0n;
  }
}

function builtin(l: Lowering, e: TExprOf<"builtin">): Val {
  const { b } = l;
  const pidTgid = (): Val => cached(l, "pid_tgid", () => b.call(HELPER.get_current_pid_tgid, []));
  const uidGid = (): Val => cached(l, "uid_gid", () => b.call(HELPER.get_current_uid_gid, []));
  switch (e.name) {
    case "pid":
      return cached(l, "pid", () => b.alu("rsh", pidTgid(), 32n));
    case "tid":
      return cached(l, "tid", () => canonical(l, pidTgid(), 4, false));
    case "uid":
      return cached(l, "uid", () => canonical(l, uidGid(), 4, false));
    case "gid":
      return cached(l, "gid", () => b.alu("rsh", uidGid(), 32n));
    case "cpu":
      return cached(l, "cpu", () => b.call(HELPER.get_smp_processor_id, []));
    case "numaid":
      return cached(l, "numaid", () => b.call(HELPER.get_numa_node_id, []));
    case "cgroup":
      return cached(l, "cgroup", () => b.call(HELPER.get_current_cgroup_id, []));
    case "curtask":
      return cached(l, "curtask", () => b.call(HELPER.get_current_task, []));
    case "nsecs":
      return b.call(HELPER.ktime_get_boot_ns, []);
    case "nsecs_monotonic":
      return b.call(HELPER.ktime_get_ns, []);
    case "nsecs_tai":
    case "nsecs_sw_tai":
      return b.call(HELPER.ktime_get_tai_ns, []);
    case "elapsed":
      return b.alu("sub", b.call(HELPER.ktime_get_boot_ns, []), b.load(at(b.mapValue(l.plan.start(), 0)), 8));
    case "rand":
      return b.call(HELPER.get_prandom_u32, []);
    case "jiffies":
      return b.call(HELPER.jiffies64, []);
    case "ctx":
      return asNumber(l, l.ctx);
    case "username":
      return cached(l, "uid", () => canonical(l, uidGid(), 4, false));
    case "func":
      return cached(l, "func", () => b.call(HELPER.get_func_ip, [l.ctx]));
    case "node":
    case "pod":
    case "namespace":
      return ownerWord(l, e.name);
    default:
      throw new Error(`builtin ${e.name}`);
  }
}

/** A word of the context. The kernel lets typed programs load most arguments; for the others there is a helper. */
function contextWord(l: Lowering, e: TExprOf<"context_word">): Val {
  const { b } = l;
  const { context } = l.point;
  const word = context.kind === "btf" && context.typed ? wordAt(context.prototype, e.offset) : undefined;
  if (word?.type.kind !== "pointer") return b.load(at(l.ctx, e.offset), e.size);
  const { to } = word.type;
  if (to.kind === "struct" || to.kind === "int") return asNumber(l, b.load(at(l.ctx, e.offset), e.size));
  const mark = b.mark();
  const slot = at(b.frame(8));
  b.store(slot, 8, 0n);
  if (word.result) b.call(HELPER.get_func_ret, [l.ctx, b.address(slot)]);
  else b.call(HELPER.get_func_arg, [l.ctx, BigInt(e.offset / 8), b.address(slot)]);
  const read = b.load(slot, 8);
  b.release(mark);
  return read;
}

/** What lies at an offset of the context of fentry and fexit. */
function wordAt(prototype: FunctionPrototype, offset: number): { type: Type; result: boolean } | undefined {
  const { parameters, returns } = prototype;
  for (const [n, { type }] of parameters.entries())
    if (argumentOffset(prototype, n) === offset) return { type, result: false };
  return argumentOffset(prototype, parameters.length) === offset
    ? { type: returns, result: true }
    : undefined;
}

function ofOwnMemory(l: Lowering, p: Place): Val {
  const address = addressOf(l, p);
  return p.space === "bpf" || p.space === "ctx" ? asNumber(l, address) : address;
}

/** Reads an integer or pointer from where it lies. */
export function loadFrom(l: Lowering, from: Place, type: Type): Val {
  const size = sizeOf(type) as MemorySize;
  const { b } = l;
  if (from.space === "bpf" || from.space === "ctx") {
    const { address } = from;
    if (step(address.offset, size) >= size) {
      const load = (): Val => {
        const raw = b.load(address, size);
        const tracked = l.point.context.kind === "iterator" && type.kind === "pointer";
        return tracked ? asNumber(l, raw) : canonicalLoad(l, raw, type);
      };
      if (from.space === "ctx" && typeof address.base === "number")
        return cached(l, `ctx:${address.base}:${address.offset}:${size}:${isSigned(type)}`, load);
      return load();
    }
  }
  const mark = b.mark();
  const slot = b.frame(8);
  probeRead(l, from.space, at(slot), BigInt(size), addressOf(l, from));
  const raw = b.load(at(slot), size);
  b.release(mark);
  return canonicalLoad(l, raw, type);
}

const canonicalLoad = (l: Lowering, raw: Val, type: Type): Val =>
  isSigned(type) ? canonical(l, raw, sizeOf(type), true) : raw;

function loadPlace(l: Lowering, e: TExpr): Val {
  const { b } = l;
  // What a failing read is told to be: the expression, not its statement.
  if (!l.options.checkHelpers) return placeValue(l, e);
  const outer = b.loc;
  b.loc = e.loc;
  const loaded = placeValue(l, e);
  b.loc = outer;
  return loaded;
}

function placeValue(l: Lowering, e: TExpr): Val {
  const field = e.op === "field" ? e.field : undefined;
  if (e.op === "field") {
    const equivalent = field?.dataLoc ? equivalentText(l, e) : equivalentValue(l, e);
    if (equivalent !== undefined) return equivalent;
  }
  const from = place(l, e);
  if (field?.dataLoc) return dataLocation(l, from);
  if (!field?.bits) return loadFrom(l, from, e.type);
  // A bitfield: the bytes that hold it, shifted down.
  const { offset, width } = field.bits;
  const bytes = Math.ceil((offset + width) / 8);
  const size: MemorySize = bytes <= 1 ? 1 : bytes <= 2 ? 2 : bytes <= 4 ? 4 : 8;
  const raw = loadFrom(l, from, { kind: "int", size, signed: false });
  const up = l.b.alu("lsh", raw, BigInt(64 - offset - width));
  return l.b.alu(isSigned(e.type) ? "arsh" : "rsh", up, BigInt(64 - width));
}

/** Address of the data behind a __data_loc word: its low half is an offset from the record. */
export function dataLocation(l: Lowering, from: Place): Val {
  const word = l.b.load(from.address, 4);
  return l.b.alu("add", l.b.mov(l.ctx), l.b.alu("and", word, 0xffffn));
}

const CONDITIONS: Readonly<Record<string, readonly [unsigned: Condition, signed: Condition]>> = {
  "==": ["eq", "eq"],
  "!=": ["ne", "ne"],
  "<": ["lt", "slt"],
  "<=": ["le", "sle"],
  ">": ["gt", "sgt"],
  ">=": ["ge", "sge"],
};

/** Goes to one of two blocks by the truth of an expression. */
export function branchOn(l: Lowering, e: TExpr, yes: number, no: number): void {
  const { b } = l;
  switch (e.op) {
    case "const": {
      b.jump(e.value !== 0n ? yes : no);
      return;
    }
    case "not": {
      branchOn(l, e.operand, no, yes);
      return;
    }
    case "truth": {
      b.branch("ne", value(l, e.operand), 0n, yes, no);
      return;
    }
    case "compare": {
      const left = value(l, e.left);
      const right = value(l, e.right);
      const pair = CONDITIONS[e.operator];
      if (!pair) throw new Error(e.operator);
      b.branch(pair[e.signed ? 1 : 0], left, right, yes, no);
      return;
    }
    case "same": {
      equalMemory(l, e, e.equal ? yes : no, e.equal ? no : yes);
      return;
    }
    case "logical": {
      const middle = b.block();
      if (e.and) branchOn(l, e.left, middle, no);
      else branchOn(l, e.left, yes, middle);
      b.enter(middle);
      // What the right side computes is unknown where the left side has decided.
      l.caches.push(new Map());
      branchOn(l, e.right, yes, no);
      l.caches.pop();
      return;
    }
    default: {
      b.branch("ne", value(l, e), 0n, yes, no);
      return;
    }
  }
}

function asBool(l: Lowering, e: TExpr): Val {
  const { b } = l;
  const result = b.reg();
  const [yes, no, done] = [b.block(), b.block(), b.block()];
  branchOn(l, e, yes, no);
  b.enter(yes);
  b.set(result, 1n);
  b.jump(done);
  b.enter(no);
  b.set(result, 0n);
  b.jump(done);
  b.enter(done);
  return result;
}

function choose(l: Lowering, e: TExprOf<"choose">): Val {
  const { b } = l;
  const result = b.reg();
  const [yes, no, done] = [b.block(), b.block(), b.block()];
  branchOn(l, e.condition, yes, no);
  for (const [block, side] of [
    [yes, e.then],
    [no, e.otherwise],
  ] as const) {
    b.enter(block);
    l.caches.push(new Map());
    const mark = b.mark();
    const v = value(l, side);
    b.release(mark);
    l.caches.pop();
    if (!b.reachable()) continue;
    b.set(result, v);
    b.jump(done);
  }
  b.enter(done);
  return result;
}

function call(l: Lowering, e: TExprOf<"call">): Val {
  const { b } = l;
  const [first] = e.args;
  switch (e.name) {
    case "delete":
      return deleteKey(l, e);
    case "has_key":
      return hasKey(l, e);
    case "route":
      return routeWord(l, e);
    case "bswap": {
      if (!first) return 0n;
      const size = sizeOf(e.type);
      const v = value(l, first);
      return size === 1 ? v : b.swap(v, size === 2 ? 16 : size === 4 ? 32 : 64);
    }
    case "strlen":
      return first ? textLength(l, first) : 0n;
    case "zeroed":
      return 0n;
    case "frames": {
      if (!first) return 0n;
      const size = b.load(toMemory(l, first), 8);
      const result = b.reg();
      b.set(result, 0n);
      when(l, "sgt", size, 0n, () => b.set(result, b.alu("rsh", size, 3n)));
      return result;
    }
    case "len":
      return mapLength(l, e);
    case "compare":
      return compareBytes(l, e);
    case "debugf":
      return debugPrint(l, e);
    case "write_user":
      return writeUser(l, e);
    case "percpu_kaddr":
      return percpuAddress(l, e);
    case "map_address":
      return e.data?.map ? asNumber(l, b.map(l.plan.storage(e.data.map).index)) : 0n;
    case "strstr":
      return findText(l, e);
    case "strcontains": {
      const found = findText(l, e);
      return b.alu("xor", b.alu("rsh", found, 63n), 1n);
    }
    case "signal":
      return first ? b.call(HELPER.send_signal, [value(l, first)]) : 0n;
    case "signal_thread":
      return first ? b.call(HELPER.send_signal_thread, [value(l, first)]) : 0n;
    case "override":
      return first ? b.call(HELPER.override_return, [l.ctx, value(l, first)]) : 0n;
    default:
      throw new Error(`call ${e.name}`);
  }
}
