// script, checker: object-like #define. An identifier that is one stands for the expression that its text is.
import type { Expr, Loc } from "../ast.ts";
import { createDiagnostics, say } from "../diagnostics.ts";
import { parse } from "../parse.ts";
import { lineMap } from "../text.ts";
import type { TExpr } from "../typed.ts";
import { checkExpr } from "./expressions.ts";
import { bad, type Checking } from "./state.ts";

/** Every place in an expression becomes the place where the name was used. */
function moved<T>(node: T, loc: Loc): T {
  if (Array.isArray(node)) return node.map((n) => moved(n, loc)) as T;
  if (node === null || typeof node !== "object") return node;
  return Object.fromEntries(
    Object.entries(node).map(([k, v]) => [k, k === "loc" || k === "nameLoc" ? loc : moved(v, loc)]),
  ) as T;
}

function expressionOf(text: string): Expr | undefined {
  const wrapped = `BEGIN { _ = (${text}); }`;
  const parsed = parse(wrapped, createDiagnostics(lineMap(wrapped)));
  const [probe] = parsed?.program.items ?? [];
  const [statement] = probe?.node === "probe" ? probe.body.statements : [];
  return statement?.node === "discard" ? statement.value : undefined;
}

/** The value of a #define'd name; undefined if it is none. */
export function checkDefine(c: Checking, name: string, loc: Loc): TExpr | undefined {
  const found = c.defines.get(name);
  if (!found) return undefined;
  if (c.expanding.includes(`#${name}`)) {
    c.report(loc, say.macroRecursion(name));
    return bad(loc);
  }
  const value = expressionOf(found.text);
  if (!value) {
    c.report(found.loc, say.unsupported(`#define ${name}: "${found.text}" is no expression, which`));
    return bad(loc);
  }
  const before = c.expanding;
  c.expanding = [...before, `#${name}`];
  try {
    return checkExpr(c, moved(value, loc));
  } finally {
    c.expanding = before;
  }
}
