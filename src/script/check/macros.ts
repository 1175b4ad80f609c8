// script, checker: macros. A call is checked as the macro's body in scopes of its own, with its parameters bound to what was passed.
import type { ExprOf, Loc } from "../ast.ts";
import { say } from "../diagnostics.ts";
import type { TExpr, TStatement } from "../typed.ts";
import { checkBlockValue, checkExpr } from "./expressions.ts";
import {
  type Binding,
  bad,
  type Checking,
  declareVariable,
  findVariable,
  noteVariable,
  unknown,
  useMap,
} from "./state.ts";

/** What a `$name` or `@name` inside a macro stands for; undefined outside, or if it is the macro's own. */
export function substituted(c: Checking, name: string): TExpr | undefined {
  const binding = c.bindings.get(name);
  if (binding?.kind === "variable")
    return { op: "variable", variable: binding.variable, type: binding.variable.type, loc: binding.loc };
  if (binding?.kind === "constant") return binding.value;
  if (binding?.kind === "map") {
    const map = useMap(c, binding.name, binding.loc);
    return { op: "map", map, key: [], type: map.value, loc: binding.loc };
  }
  return binding?.kind === "expression" ? passed(c, binding) : undefined;
}

/** What was passed for a parameter, in the scopes of the caller; what it does is done at each mention. */
function passed(c: Checking, binding: Extract<Binding, { kind: "expression" }>): TExpr {
  const saved = { scopes: c.scopes, bindings: c.bindings, expanding: c.expanding };
  c.scopes = binding.scopes;
  c.bindings = binding.bindings;
  try {
    return checkExpr(c, binding.value);
  } finally {
    Object.assign(c, saved);
  }
}

/** An identifier that is an expression parameter, or a macro without parameters. */
export function checkMacroIdentifier(c: Checking, name: string, loc: Loc): TExpr | undefined {
  const binding = c.bindings.get(name);
  if (binding?.kind === "expression") return passed(c, binding);
  const macro = c.macros.get(name);
  return macro && macro.parameters.length === 0 ? expand(c, name, new Map(), loc) : undefined;
}

/** A call of a macro; undefined if there is none of that name. */
export function checkMacroCall(c: Checking, e: ExprOf<"call">): TExpr | undefined {
  const macro = c.macros.get(e.name);
  if (!macro) return undefined;
  if (macro.parameters.length !== e.arguments.length) {
    c.report(e.loc, say.macroArguments(e.name, macro.parameters.length, e.arguments.length));
    return bad(e.loc);
  }
  const bindings = new Map<string, Binding>();
  const before: TStatement[] = [];
  for (const [i, parameter] of macro.parameters.entries()) {
    const argument = e.arguments[i];
    if (!argument || argument.node === "type") return bad(e.loc);
    if (
      parameter.kind === "expression" ||
      (parameter.kind === "variable" && argument.node === "block_expression")
    ) {
      bindings.set(parameter.name, {
        kind: "expression",
        value: argument,
        scopes: c.scopes,
        bindings: c.bindings,
        loc: argument.loc,
      });
      continue;
    }
    if (parameter.kind === "variable" && argument.node !== "variable") {
      // A value for a variable: it gets one of its own.
      const value = checkExpr(c, argument);
      const variable = declareVariable(c, `${parameter.name}@${e.loc.start}`, argument.loc);
      noteVariable(c, variable, value, argument.loc);
      if (!unknown(value.type)) before.push({ op: "set_variable", variable, value, loc: argument.loc });
      bindings.set(parameter.name, { kind: "variable", variable, loc: argument.loc });
      continue;
    }
    if (argument.node !== parameter.kind) {
      c.report(argument.loc, say.macroArgument(e.name, i + 1, parameter.kind));
      return bad(e.loc);
    }
    const outer = c.bindings.get(argument.name);
    if (parameter.kind === "map") {
      const name = outer?.kind === "map" ? outer.name : argument.name;
      bindings.set(parameter.name, { kind: "map", name, loc: argument.loc });
    } else {
      const variable = outer?.kind === "variable" ? outer.variable : findVariable(c, argument.name);
      if (!variable) {
        c.report(argument.loc, say.undefinedVariable(argument.name, []));
        return bad(e.loc);
      }
      bindings.set(parameter.name, { kind: "variable", variable, loc: argument.loc });
    }
  }
  const value = expand(c, e.name, bindings, e.loc);
  if (before.length === 0) return value;
  if (value.op === "block") return { ...value, body: [...before, ...value.body] };
  return { op: "block", body: before, value, type: value.type, loc: e.loc };
}

function expand(c: Checking, name: string, bindings: Map<string, Binding>, loc: Loc): TExpr {
  const macro = c.macros.get(name);
  if (!macro) return bad(loc);
  if (c.expanding.some((x) => x.startsWith(`${name}@`))) {
    c.report(loc, say.macroRecursion(name));
    return bad(loc);
  }
  const saved = { scopes: c.scopes, bindings: c.bindings, expanding: c.expanding };
  c.scopes = [new Map()];
  c.bindings = bindings;
  c.expanding = [...c.expanding, `${name}@${loc.start}`];
  try {
    return checkBlockValue(c, macro.body, loc);
  } finally {
    Object.assign(c, saved);
  }
}
