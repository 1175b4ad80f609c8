// script, checker: the builtin variables. One table; the language page is printed from it.
import { argumentOffset } from "../arguments.ts";
import type { Loc } from "../ast.ts";
import { say } from "../diagnostics.ts";
import { formatType, I32, I64, NONE, stringOf, U32, U64 } from "../layout.ts";
import type { TExpr } from "../typed.ts";
import type { Type } from "../types.ts";
import { textOf } from "./expressions.ts";
import { checkField } from "./fields.ts";
import { plainStack } from "./functions/stacks.ts";
import { call } from "./functions/table.ts";
import { checkChoice } from "./operators.ts";
import { bad, type Checking } from "./state.ts";
import { findStructure } from "./structures.ts";
import { usdtArguments, usdtValue } from "./usdt.ts";

export interface Builtin {
  readonly name: string;
  readonly about: string;
  /** Absent where the checker makes an expression of it. */
  readonly type?: Type | ((c: Checking) => Type);
}

const task = (c: Checking): Type => {
  const structure = findStructure(c, "struct task_struct");
  if (!structure) return U64;
  return {
    kind: "pointer",
    to: { kind: "struct", name: structure.name, size: structure.size, union: false },
    space: "kernel",
  };
};

export const BUILTINS: readonly Builtin[] = [
  { name: "pid", type: U32, about: "process ID (the kernel's tgid)" },
  { name: "tid", type: U32, about: "thread ID (the kernel's pid)" },
  { name: "uid", type: U64, about: "user ID" },
  { name: "gid", type: U64, about: "group ID" },
  { name: "comm", type: stringOf(16), about: "name of the current thread" },
  { name: "nsecs", type: U64, about: "nanoseconds since boot, sleep included" },
  { name: "elapsed", type: U64, about: "nanoseconds since the script began" },
  { name: "cpu", type: U64, about: "number of this CPU" },
  { name: "numaid", type: U64, about: "number of this NUMA node" },
  { name: "ncpus", type: U64, about: "number of CPUs" },
  { name: "cgroup", type: U64, about: "cgroup v2 ID of the current task" },
  { name: "curtask", type: task, about: "the current task, as struct task_struct *" },
  { name: "rand", type: U32, about: "a random number" },
  { name: "jiffies", type: U64, about: "kernel ticks since boot" },
  { name: "username", type: { kind: "username" }, about: "name of the user" },
  { name: "func", type: { kind: "symbol", user: false }, about: "the function being traced" },
  { name: "args", about: "the probe's arguments by name" },
  { name: "arg0 .. arg9", about: "the probe's arguments by number" },
  { name: "sarg0 .. sarg9", about: "arguments that a function takes on the stack" },
  { name: "retval", about: "what the function returned" },
  { name: "ctx", about: "the program's context, as a pointer" },
  { name: "kstack", about: "the kernel's stack" },
  { name: "ustack", about: "the stack of the current process" },
  { name: "ppid", about: "process ID of the parent" },
  { name: "pcomm", about: "name of the parent" },
  { name: "leader_tid", about: "thread ID of the first thread of the process" },
  { name: "leader_comm", about: "name of the first thread of the process" },
  { name: "cpid", about: "process ID of the child started with -c" },
  { name: "has_cpid", about: "whether there is one" },
  { name: "probe", about: "name of this attach point" },
  { name: "probetype", about: "provider of this attach point" },
  { name: "usermode", about: "1 if the event interrupted user code" },
  { name: "node", type: { kind: "name", dictionary: "node" }, about: "the node that the event belongs to" },
  { name: "pod", type: { kind: "name", dictionary: "pod" }, about: "the pod that the event belongs to" },
  {
    name: "namespace",
    type: { kind: "name", dictionary: "namespace" },
    about: "the Kubernetes namespace that the event belongs to",
  },
];

const byName = new Map(BUILTINS.map((b) => [b.name, b]));
const NUMBERED = Array.from({ length: 10 }, (_, i) => [`arg${i}`, `sarg${i}`]).flat();
export const builtinNames = (): string[] => [...byName.keys(), ...NUMBERED, "true", "false"];

/** The identifier as a builtin; undefined if it is none. */
export function checkBuiltin(c: Checking, written: string, loc: Loc): TExpr | undefined {
  const name = written.replace(/^__builtin_/, "");
  if (name === "true" || name === "false")
    return { op: "const", value: name === "true" ? 1n : 0n, type: { kind: "bool" }, loc };
  if (name === "args") return contextValue(c, loc);
  if (name === "ctx") return contextPointer(c, loc);
  if (name === "retval") return returnValue(c, loc);
  if (/^arg[0-9]$/.test(name)) return argument(c, Number(name[3]), loc);
  const stack = plainStack(c, name, loc);
  if (stack) return stack;
  if (/^sarg[0-9]$/.test(name)) return stackArgument(c, Number(name[4]), loc);
  if (name === "ppid" || name === "pcomm")
    return ofTask(c, "real_parent", name === "ppid" ? "tgid" : "comm", loc);
  if (name === "leader_tid" || name === "leader_comm")
    return ofTask(c, "group_leader", name === "leader_tid" ? "pid" : "comm", loc);
  if (name === "cpid" || name === "has_cpid") return child(c, name, loc);
  if (name === "config")
    return { op: "builtin", name, type: { kind: "struct", name: "config", size: 0, union: false }, loc };
  if (name === "probe") {
    c.asksPoint = true;
    return textOf(c.point.text, loc);
  }
  if (name === "probetype") return textOf(c.point.provider, loc);
  const builtin = byName.get(name);
  if (!builtin) return undefined;
  if (name === "func") return tracedFunction(c, loc);
  if (name === "ncpus") return { op: "const", value: BigInt(c.types.features.cpus), type: U64, loc };
  if (name === "usermode") return userMode(c, loc);
  const type = typeof builtin.type === "function" ? builtin.type(c) : builtin.type;
  if (!type) return undefined;
  return { op: "builtin", name, type, loc };
}

/** The privilege bits of the code segment: registers of perf events and of functions begin the context. */
function userMode(c: Checking, loc: Loc): TExpr {
  const one: TExpr = { op: "const", value: 1n, type: U64, loc };
  const { context } = c.point;
  if (c.point.programType === "syscall") return one;
  const offset = registerByName(c, "cs");
  if ((context.kind !== "registers" && c.point.programType !== "perf_event") || offset === undefined)
    return { ...one, value: 0n };
  const cs: TExpr = { op: "context_word", offset, size: 8, type: U64, loc };
  const bits: TExpr = {
    op: "arithmetic",
    operator: "&",
    left: cs,
    right: { op: "const", value: 3n, type: U64, loc },
    type: U64,
    loc,
  };
  return checkChoice(
    c,
    { op: "truth", operand: bits, type: { kind: "bool" }, loc },
    one,
    { ...one, value: 0n },
    loc,
  );
}

/** A field of a task that the current one points to. */
function ofTask(c: Checking, which: "real_parent" | "group_leader", field: string, loc: Loc): TExpr {
  const task = checkBuiltin(c, "curtask", loc);
  return task ? checkField(c, checkField(c, task, which, loc, loc), field, loc, loc) : bad(loc);
}

function child(c: Checking, name: string, loc: Loc): TExpr {
  const { childPid } = c.options;
  if (name === "has_cpid")
    return { op: "const", value: childPid === undefined ? 0n : 1n, type: { kind: "bool" }, loc };
  if (childPid === undefined) {
    c.report(loc, say.argumentValue("cpid", "there is no child process: use -c"));
    return bad(loc);
  }
  return { op: "const", value: BigInt(childPid), type: U64, loc };
}

/** The instruction pointer, or what the kernel says the probed function is. */
function tracedFunction(c: Checking, loc: Loc): TExpr {
  const { context } = c.point;
  if (context.kind === "registers") {
    if (context.space === "kernel")
      return { op: "builtin", name: "func", type: { kind: "symbol", user: false }, loc };
    const offset = registerByName(c, "ip") ?? registerByName(c, "pc");
    if (offset !== undefined) {
      const ip: TExpr = { op: "context_word", offset, size: 8, type: U64, loc };
      return call("usym", { kind: "symbol", user: true }, [ip], loc);
    }
  }
  if (context.kind === "btf" && c.point.attach.kernelFunction)
    return { op: "builtin", name: "func", type: { kind: "symbol", user: false }, loc };
  c.report(loc, say.notHere("func", c.point.provider));
  return bad(loc);
}

/** Argument n of those that a function takes on the stack. */
function stackArgument(c: Checking, n: number, loc: Loc): TExpr {
  const { context } = c.point;
  const offset = registerByName(c, "sp");
  if (context.kind !== "registers" || context.ret || offset === undefined) {
    c.report(loc, say.notHere(`sarg${n}`, c.point.provider));
    return bad(loc);
  }
  const sp: TExpr = { op: "context_word", offset, size: 8, type: U64, loc };
  const pointer: TExpr = {
    op: "arithmetic",
    operator: "+",
    left: sp,
    right: { op: "const", value: BigInt(8 * (n + 1)), type: U64, loc },
    type: { kind: "pointer", to: U64, space: context.space },
    loc,
  };
  return { op: "deref", pointer, type: U64, loc };
}

function contextValue(c: Checking, loc: Loc): TExpr {
  const { context, text } = c.point;
  if (context.kind === "tracepoint" || context.kind === "iterator") {
    c.asksPoint ||= c.points.length > 1;
    const name =
      context.kind === "tracepoint"
        ? `_tracepoint_${text.slice(11).replace(":", "_")}`
        : context.structure.name;
    return {
      op: "context",
      type: { kind: "struct", name: `struct ${name}`, size: context.structure.size, union: false },
      loc,
    };
  }
  if (context.kind === "btf") {
    c.asksPoint ||= c.points.length > 1;
    return {
      op: "context",
      type: { kind: "struct", name: `struct ${context.prototype.name}_args`, size: 0, union: false },
      loc,
    };
  }
  c.report(loc, say.noArguments(text));
  return bad(loc);
}

function contextPointer(c: Checking, loc: Loc): TExpr {
  // An iterator's context is a structure of the kernel: ctx->task reads it in place.
  if (c.point.context.kind === "iterator") return contextValue(c, loc);
  if (c.point.manual !== undefined) {
    c.report(loc, say.notHere("ctx", c.point.provider));
    return bad(loc);
  }
  return { op: "builtin", name: "ctx", type: { kind: "pointer", to: NONE, space: "kernel" }, loc };
}

/** Byte offset of a register by its name in struct pt_regs ("ip", "sp", "di"). */
export function registerByName(c: Checking, name: string): number | undefined {
  return findStructure(c, "struct pt_regs")?.fields.find((f) => f.name === name)?.offset;
}

/** x86-64 and arm64 calling conventions, by the fields that BTF shows in struct pt_regs. */
const REGISTERS = {
  x86: { args: ["di", "si", "dx", "cx", "r8", "r9"], result: "ax" },
} as const;

/** Byte offset of a register in struct pt_regs; undefined where it has no such argument. */
export function registerOffset(c: Checking, which: number | "result"): number | undefined {
  const regs = findStructure(c, "struct pt_regs");
  const name = which === "result" ? REGISTERS.x86.result : REGISTERS.x86.args[which];
  const found = regs?.fields.find((f) => f.name === name);
  if (found) return found.offset;
  const array = regs?.fields.find((f) => f.name === "regs" || f.name === "user_regs");
  if (!array) return undefined;
  return which === "result" ? array.offset : which < 8 ? array.offset + which * 8 : undefined;
}

function argument(c: Checking, n: number, loc: Loc): TExpr {
  const { context, provider } = c.point;
  if (context.kind === "btf") {
    if (n >= context.prototype.parameters.length && context.prototype.parameters.length > 0) {
      c.report(
        loc,
        say.argumentValue(
          `arg${n}`,
          `${context.prototype.name} has ${context.prototype.parameters.length} arguments`,
        ),
      );
      return bad(loc);
    }
    c.asksPoint ||= c.points.length > 1;
    return { op: "context_word", offset: argumentOffset(context.prototype, n), size: 8, type: U64, loc };
  }
  if (context.kind === "registers" && context.note !== undefined)
    return noteArgument(c, context.note, n, loc);
  if (context.kind === "registers" && !context.ret) {
    const offset = registerOffset(c, n);
    if (offset === undefined) {
      c.report(loc, say.argumentValue(`arg${n}`, "arguments on the stack cannot be read; use sarg"));
      return bad(loc);
    }
    return { op: "context_word", offset, size: 8, type: c.old ? U64 : I64, loc };
  }
  c.report(loc, say.notHere(`arg${n}`, provider));
  return bad(loc);
}

/** Argument n of a USDT probe. */
function noteArgument(c: Checking, note: string, n: number, loc: Loc): TExpr {
  c.asksPoint ||= c.points.length > 1;
  const known = usdtArguments(note);
  const found = known[n];
  const value = found && usdtValue(found, (name) => registerByName(c, name), c.old ? U64 : I64, loc);
  if (value) return value;
  const why =
    n >= known.length
      ? `${c.point.text} has ${known.length} arguments`
      : `it is in a place that cannot be read: ${note}`;
  c.report(loc, say.argumentValue(`arg${n}`, why));
  return bad(loc);
}

function returnValue(c: Checking, loc: Loc): TExpr {
  const { context, provider } = c.point;
  if (context.kind === "registers" && context.ret) {
    const offset = registerOffset(c, "result");
    if (offset !== undefined) return { op: "context_word", offset, size: 8, type: U64, loc };
  }
  if (context.kind === "btf" && context.ret) {
    const { returns, parameters } = context.prototype;
    const word: TExpr = {
      op: "context_word",
      offset: argumentOffset(context.prototype, parameters.length),
      size: 8,
      type: returns,
      loc,
    };
    if (returns.kind === "int" && returns.size < 8)
      return {
        op: "convert",
        operand: { ...word, type: I64 },
        type: returns.size === 4 && returns.signed ? I32 : returns,
        loc,
      };
    if (formatType(returns) === "none") return bad(loc);
    return word;
  }
  c.report(loc, say.notHere("retval", provider));
  return bad(loc);
}
