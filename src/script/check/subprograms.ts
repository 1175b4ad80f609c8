// script, checker: `fn`: functions with typed parameters. A call is the body in place of the call, so that no program needs the
// kernel's own calls, whose frames share 512 bytes; recursion ends where those would.
import type { ExprOf, Item, Loc } from "../ast.ts";
import { say } from "../diagnostics.ts";
import { formatType, NONE } from "../layout.ts";
import type { TExpr, TStatement, Variable } from "../typed.ts";
import type { Type } from "../types.ts";
import { checkExpr, typeOperand } from "./expressions.ts";
import { type Binding, bad, type Checking, declareVariable, unknown } from "./state.ts";
import { assignVariable, checkBlock } from "./statements.ts";
import { resolveType } from "./structures.ts";

export type Subprogram = Extract<Item, { node: "subprogram" }>;

/** Where `return` goes inside of a function: undefined as variable in one that gives nothing. */
export interface Returning {
  readonly name: string;
  readonly variable: Variable | undefined;
  /** It calls functions: branches that are not taken are not read, as they may be calls without an end. */
  readonly prunes: boolean;
}

/** Calls within one another, as the kernel allows frames beside the program's own. */
const MOST_CALLS = 7;

/** Calls of a probe, those within others among them: each is the code of its body. */
const MOST_EXPANSIONS = 400;

/** Whether something in the body may write to a parameter, so that it must be a variable. */
function writes(node: unknown, name: string, c: Checking): boolean {
  if (typeof node !== "object" || node === null) return false;
  if (Array.isArray(node)) return node.some((n) => writes(n, name, c));
  const n = node as {
    node?: unknown;
    target?: unknown;
    operand?: unknown;
    operator?: unknown;
    arguments?: unknown;
  };
  const is = (x: unknown): boolean => {
    const v = x as { node?: unknown; name?: unknown } | undefined;
    return v?.node === "variable" && v.name === name;
  };
  if (n.node === "assign" && is(n.target)) return true;
  if (n.node === "step" && is(n.operand)) return true;
  if (n.node === "unary" && n.operator === "&" && is(n.operand)) return true;
  // find() and macros write to variables that they are given.
  const call = node as { name?: unknown };
  const given = n.node === "call" && Array.isArray(n.arguments) && n.arguments.some(is);
  if (given && (call.name === "find" || c.macros.has(String(call.name)))) return true;
  return Object.values(node).some((v) => writes(v, name, c));
}

/** Whether a body calls functions of the script, itself perhaps: elsewhere a literal needs not stay one. */
function calls(node: unknown, c: Checking): boolean {
  if (typeof node !== "object" || node === null) return false;
  if (Array.isArray(node)) return node.some((n) => calls(n, c));
  const n = node as { node?: unknown; name?: unknown };
  if (n.node === "call" && c.subprograms.has(String(n.name))) return true;
  return Object.values(node).some((v) => calls(v, c));
}

const typeName = (c: Checking, name: Subprogram["returns"]): Type =>
  resolveType(c, name, (n) => typeOperand(c, n));

/** A call of a function of the script; undefined if there is none of that name. */
export function checkSubprogramCall(c: Checking, e: ExprOf<"call">): TExpr | undefined {
  const sub = c.subprograms.get(e.name);
  if (!sub) return undefined;
  const { parameters } = sub;
  if (parameters.length !== e.arguments.length) {
    c.report(e.loc, say.argumentCount(e.name, parameters.length, parameters.length, e.arguments.length));
    return bad(e.loc);
  }
  const depth = c.expanding.filter((x) => x.startsWith("fn:")).length;
  if (depth >= MOST_CALLS) {
    c.report(e.loc, say.callDepth(e.name, MOST_CALLS));
    return bad(e.loc);
  }
  if (++c.expansions > MOST_EXPANSIONS) {
    if (c.expansions === MOST_EXPANSIONS + 1) c.report(e.loc, say.callsInAll(MOST_EXPANSIONS));
    return bad(e.loc);
  }
  const values: TExpr[] = [];
  for (const argument of e.arguments) {
    if (argument.node === "type") {
      c.report(argument.loc, say.unknownName(argument.type.name, []));
      return bad(e.loc);
    }
    values.push(checkExpr(c, argument));
  }
  if (values.some((v) => unknown(v.type))) return bad(e.loc);
  c.called.add(e.name);
  return expand(c, sub, values, e.loc);
}

function expand(c: Checking, sub: Subprogram, values: readonly TExpr[], loc: Loc): TExpr {
  const { scopes, bindings, expanding, loops, returning } = c;
  c.scopes = [new Map()];
  c.expanding = [...expanding, `fn:${sub.name}@${loc.start}`];
  c.loops = 0;
  try {
    const before: TStatement[] = [];
    const constants = new Map<string, Binding>();
    for (const [i, parameter] of sub.parameters.entries()) {
      const value = values[i];
      const type = typeName(c, parameter.type);
      if (!value || unknown(type)) continue;
      const variable = declareVariable(c, parameter.name, parameter.type.loc);
      variable.type = type;
      variable.declared = true;
      const set = assignVariable(c, variable, value, value.loc);
      const [first] = set;
      // A literal stays one, so that recursion on it comes to an end while it is compiled.
      const constant =
        calls(sub.body, c) &&
        first?.op === "set_variable" &&
        first.value.op === "const" &&
        !writes(sub.body, parameter.name, c);
      if (constant && first.op === "set_variable")
        constants.set(parameter.name, { kind: "constant", value: { ...first.value, type }, loc });
      before.push(...set);
    }
    c.bindings = constants;
    const type = typeName(c, sub.returns);
    const variable = unknown(type) ? undefined : declareVariable(c, `return@${sub.name}`, sub.loc);
    if (variable) {
      variable.type = type;
      variable.declared = true;
    }
    c.returning = { name: sub.name, variable, prunes: calls(sub.body, c) };
    const body: TStatement = { op: "inline", body: checkBlock(c, sub.body), loc };
    if (!variable) return { op: "block", body: [...before, body], value: bad(loc), type: NONE, loc };
    const zero: TStatement = {
      op: "set_variable",
      variable,
      value: { op: "call", name: "zeroed", args: [], type, loc },
      loc,
    };
    const value = constantResult(body) ?? { op: "variable", variable, type, loc };
    return { op: "block", body: [zero, ...before, body], value, type, loc };
  } finally {
    Object.assign(c, { scopes, bindings, expanding, loops, returning });
  }
}

/** The value of a body that does nothing but return a constant. */
function constantResult(body: TStatement): TExpr | undefined {
  let at: readonly TStatement[] = body.op === "inline" ? body.body : [];
  while (at.length === 1 && at[0]?.op === "scope") at = at[0].body;
  const [set, end] = at;
  return at.length === 2 && set?.op === "set_variable" && set.value.op === "const" && end?.op === "return"
    ? set.value
    : undefined;
}

/** `return` inside of a function. */
export function checkReturn(
  c: Checking,
  returning: Returning,
  value: TExpr | undefined,
  loc: Loc,
): TStatement[] {
  const { variable, name } = returning;
  const end: TStatement = { op: "return", loc };
  if (!variable) {
    if (value && !unknown(value.type)) c.report(value.loc, say.returnsNothing(name));
    return [end];
  }
  if (!value) {
    c.report(loc, say.returnValue(name, formatType(variable.type)));
    return [end];
  }
  if (unknown(value.type)) return [end];
  return [...assignVariable(c, variable, value, loc), end];
}

/** Functions that nobody calls are looked at as well. */
export function checkUncalled(c: Checking, called: ReadonlySet<string>): void {
  for (const sub of c.subprograms.values()) {
    if (called.has(sub.name)) continue;
    const values = sub.parameters.map(
      (p): TExpr => ({
        op: "call",
        name: "zeroed",
        args: [],
        type: typeName(c, p.type),
        loc: sub.loc,
      }),
    );
    expand(c, sub, values, sub.loc);
  }
}
