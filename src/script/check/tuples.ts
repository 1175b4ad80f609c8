// script, checker: tuples taken apart and put together again: as keys of maps, and records whose fields come in another order.
import type { TExpr, TStatement } from "../typed.ts";
import { type Checking, declareVariable, noteVariable } from "./state.ts";

/** Reading the expression again gives the same and does nothing else. */
const repeatable = (e: TExpr): boolean =>
  e.op === "variable" ||
  (e.op === "map" && e.key.every((k) => k.op === "const" || k.op === "variable")) ||
  (e.op === "item" && repeatable(e.tuple));

/** The items of a tuple, each an expression; what must run first is in the first of them. */
function items(c: Checking, e: TExpr): readonly TExpr[] | undefined {
  if (e.type.kind !== "tuple") return undefined;
  if (e.op === "tuple") return e.items;
  const { items: types } = e.type;
  const all = (tuple: TExpr): TExpr[] =>
    types.map((type, index) => ({ op: "item", tuple, index, type, loc: e.loc }));
  if (repeatable(e)) return all(e);
  const variable = declareVariable(c, `tuple@${e.loc.start}`, e.loc);
  noteVariable(c, variable, e, e.loc);
  const before: TStatement = { op: "set_variable", variable, value: e, loc: e.loc };
  const [first, ...rest] = all({ op: "variable", variable, type: variable.type, loc: e.loc });
  return first ? [{ op: "block", body: [before], value: first, type: first.type, loc: e.loc }, ...rest] : [];
}

/** `@x[(1, 2)]` is `@x[1, 2]`: a tuple that is the whole key stands for its parts. 0.17 has no such keys; records stay whole. */
export function spreadKey(c: Checking, key: readonly TExpr[]): readonly TExpr[] {
  const [only] = key;
  if (c.old || key.length !== 1 || only?.type.kind !== "tuple" || only.type.names) return key;
  return items(c, only) ?? key;
}

/** A record with the fields of `names` in that order, if it has just those. */
export function reordered(c: Checking, e: TExpr, names: readonly string[]): TExpr {
  const have = e.type.kind === "tuple" ? e.type.names : undefined;
  if (!have || have.join() === names.join() || [...have].sort().join() !== [...names].sort().join()) return e;
  // Evaluated as written, then taken in order.
  const whole: TExpr = e.op === "tuple" ? { op: "block", body: [], value: e, type: e.type, loc: e.loc } : e;
  const parts = items(c, whole);
  if (!parts) return e;
  const [first] = parts;
  const before = first?.op === "block" ? first.body : [];
  const plain = parts.map((p) => (p.op === "block" ? p.value : p));
  const taken = names.map((name) => plain[have.indexOf(name)]).filter((p) => p !== undefined);
  const value: TExpr = {
    op: "tuple",
    items: taken,
    type: { kind: "tuple", items: taken.map((t) => t.type), names },
    loc: e.loc,
  };
  return { op: "block", body: before, value, type: value.type, loc: e.loc };
}
