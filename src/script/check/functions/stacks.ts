// script, checker: kernel and user stacks, as variables and as functions.
import type { Loc } from "../../ast.ts";
import { say } from "../../diagnostics.ts";
import type { TExpr } from "../../typed.ts";
import type { Type } from "../../types.ts";
import { bad, type Checking } from "../state.ts";
import { type CallArguments, call, type FunctionSpec, literalArgument } from "./table.ts";

/** Frames of a stack that names no limit, and the most that one may name (as bpftrace). */
const FRAMES = 127;

type Mode = Extract<Type, { kind: "stack" }>["mode"];
const isMode = (name: string): name is Mode => name === "bpftrace" || name === "perf" || name === "raw";

export function stackOf(user: boolean, mode: Mode, limit: number, loc: Loc): TExpr {
  return call("stack", { kind: "stack", user, limit, mode }, [], loc);
}

/** `kstack`, `ustack` without parentheses. */
export const plainStack = (c: Checking, name: string, loc: Loc): TExpr | undefined =>
  name === "kstack" || name === "ustack"
    ? stackOf(name === "ustack", c.settings.stackMode, FRAMES, loc)
    : undefined;

function check(user: boolean) {
  return (c: Checking, args: CallArguments): TExpr => {
    let mode: Mode = c.settings.stackMode;
    let limit = BigInt(FRAMES);
    for (const [i, raw] of args.raw.entries()) {
      if (raw.node === "identifier" && i === 0 && (isMode(raw.name) || raw.name === "build_id")) {
        mode = isMode(raw.name) ? raw.name : "raw";
        continue;
      }
      if (raw.node === "identifier" && i === 0) {
        c.report(raw.loc, say.argumentValue(args.call.name, `Invalid stack mode: ${raw.name}`));
        return bad(args.loc);
      }
      const n = literalArgument(c, args, i);
      if (n === undefined) return bad(args.loc);
      if (n < 0n || n > BigInt(FRAMES)) {
        c.report(raw.loc, say.argumentValue(args.call.name, `stack size must be 0..${FRAMES}, ${n} given`));
        return bad(args.loc);
      }
      limit = n || 1n;
    }
    return stackOf(user, mode, Number(limit), args.loc);
  };
}

export const STACKS: readonly FunctionSpec[] = [
  {
    name: "kstack",
    usage: "kstack([mode,] [frames])",
    about: "the kernel's stack",
    least: 0,
    most: 2,
    check: check(false),
  },
  {
    name: "ustack",
    usage: "ustack([mode,] [frames])",
    about: "the stack of the current process",
    least: 0,
    most: 2,
    check: check(true),
  },
];
