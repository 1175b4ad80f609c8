// script, checker: calls. Each function is a row of a table that says how many arguments it takes and how they are checked.
import type { ExprOf } from "../ast.ts";
import { say } from "../diagnostics.ts";
import type { TExpr } from "../typed.ts";
import { checkBuiltin } from "./builtins.ts";
import { argumentExpr } from "./expressions.ts";
import { ACTIONS } from "./functions/actions.ts";
import { AGGREGATES } from "./functions/aggregates.ts";
import { BUFFERS } from "./functions/buffers.ts";
import { KERNEL } from "./functions/kernel.ts";
import { MAPS } from "./functions/maps.ts";
import { NETWORK } from "./functions/network.ts";
import { STACKS } from "./functions/stacks.ts";
import { STRINGS } from "./functions/strings.ts";
import { SYSTEM } from "./functions/system.ts";
import type { CallArguments, FunctionSpec } from "./functions/table.ts";
import { checkMacroCall } from "./macros.ts";
import { bad, type Checking } from "./state.ts";
import { checkSubprogramCall } from "./subprograms.ts";

export const FUNCTIONS: ReadonlyMap<string, FunctionSpec> = new Map(
  [
    ...ACTIONS,
    ...MAPS,
    ...STRINGS,
    ...BUFFERS,
    ...STACKS,
    ...NETWORK,
    ...SYSTEM,
    ...KERNEL,
    ...AGGREGATES,
  ].map((f) => [f.name, f]),
);

/** What 0.17 has. */
const OLD_FUNCTIONS: ReadonlySet<string> = new Set(
  (
    "printf time join str ksym usym kaddr uaddr ntop pton reg system exit cgroupid kstack ustack cat signal strncmp override buf " +
    "print strftime strcontains macaddr bswap cgroup_path strerror clear zero delete count sum min max avg stats hist lhist kptr uptr " +
    "path debugf skboutput unwatch cluster prefix peer asn nexthop community"
  ).split(" "),
);

export function checkCall(c: Checking, e: ExprOf<"call">): TExpr {
  const macro = checkMacroCall(c, e);
  if (macro) return macro;
  const called = checkSubprogramCall(c, e);
  if (called) return called;
  const spec = c.old && !OLD_FUNCTIONS.has(e.name) ? undefined : FUNCTIONS.get(e.name);
  // Builtins may be written as calls: comm().
  const builtin = !spec && e.arguments.length === 0 ? checkBuiltin(c, e.name, e.loc) : undefined;
  if (builtin) return builtin;
  if (!spec) {
    c.report(
      e.nameLoc,
      say.unknownFunction(e.name, [...FUNCTIONS.keys(), ...c.macros.keys(), ...c.subprograms.keys()]),
    );
    return bad(e.loc);
  }
  const given = e.arguments.length;
  if (given < spec.least || given > spec.most) {
    c.report(e.loc, say.argumentCount(e.name, spec.least, spec.most, given));
    return bad(e.loc);
  }
  if (spec.unsafe && !c.options.unsafe) {
    c.report(e.loc, say.unsafe(e.name));
    return bad(e.loc);
  }
  const checked: (TExpr | undefined)[] = [];
  const args: CallArguments = {
    call: e,
    raw: e.arguments,
    loc: e.loc,
    get: (i) => {
      const raw = e.arguments[i];
      if (!raw) return bad(e.loc);
      return (checked[i] ??= argumentExpr(c, raw));
    },
  };
  return spec.check(c, args);
}
