// script, checker: statements.
import type { Block, ExprOf, IfStatement, Loc, Statement } from "../ast.ts";
import { say } from "../diagnostics.ts";
import { formatType, I64, isInteger, U64 } from "../layout.ts";
import type { TExpr, TStatement } from "../typed.ts";
import type { Type } from "../types.ts";
import { checkCast } from "./casts.ts";
import { checkExpr, checkKey, substitutedMap, typeOperand } from "./expressions.ts";
import { recordOf } from "./fields.ts";
import { checkAggregate, isAggregate } from "./functions/aggregates.ts";
import { substituted } from "./macros.ts";
import { checkBinary, truth } from "./operators.ts";
import {
  type Checking,
  declareVariable,
  findVariable,
  noteKey,
  noteValue,
  noteVariable,
  unknown,
  useMap,
  withScope,
} from "./state.ts";
import { resolveType } from "./structures.ts";
import { checkReturn } from "./subprograms.ts";
import { reordered } from "./tuples.ts";

export function checkBlock(c: Checking, block: Block): TStatement[] {
  return withScope(c, () => {
    if (!c.returning?.prunes) return block.statements.flatMap((s) => checkStatement(c, s));
    // What follows a return is never read: in functions it may be a call that would have no end.
    const out: TStatement[] = [];
    for (const s of block.statements) {
      out.push(...checkStatement(c, s));
      if (ends(out.at(-1))) break;
    }
    return out;
  });
}

const ends = (s: TStatement | undefined): boolean =>
  s?.op === "return" || (s?.op === "scope" && ends(s.body.at(-1)));

/** A value that nobody reads, as statements. */
function discard(value: TExpr): TStatement[] {
  if (value.op === "block" && unknown(value.type)) return [...value.body];
  if (unknown(value.type) && value.op !== "choose") return [];
  return [{ op: "expr", value, loc: value.loc }];
}

export function checkStatement(c: Checking, s: Statement): TStatement[] {
  const { loc } = s;
  switch (s.node) {
    case "expression":
      return discard(checkExpr(c, s.value));
    case "discard":
      return discard(checkExpr(c, s.value));
    case "assign":
      return checkAssign(c, s);
    case "let":
      return checkLet(c, s);
    case "if":
      return checkIfStatement(c, s);
    case "scope":
      return [{ op: "scope", body: checkBlock(c, s.body), loc }];
    case "unroll": {
      const count = checkExpr(c, s.count);
      if (count.op !== "const") {
        if (!unknown(count.type)) c.report(s.count.loc, say.unrollLiteral());
        return [];
      }
      if (count.value < 1n || count.value > 100n) {
        c.report({ start: loc.start, end: s.count.loc.end + 1 }, say.unrollRange(count.value < 1n));
        return [];
      }
      return [{ op: "unroll", count: Number(count.value), body: loop(c, s.body), loc }];
    }
    case "while": {
      const condition = truth(c, checkExpr(c, s.condition));
      return [{ op: "while", condition, body: loop(c, s.body), loc }];
    }
    case "for":
      return checkFor(c, s);
    case "break":
    case "continue":
      if (c.loops === 0) c.report(loc, say.notInLoop(s.node));
      return [{ op: s.node, loc }];
    case "return":
      if (c.returning) return checkReturn(c, c.returning, s.value ? checkExpr(c, s.value) : undefined, loc);
      if (s.value) return [...discard(checkExpr(c, s.value)), { op: "return", loc }];
      return [{ op: "return", loc }];
  }
}

function loop(c: Checking, body: Block): TStatement[] {
  c.loops++;
  try {
    return checkBlock(c, body);
  } finally {
    c.loops--;
  }
}

function checkIfStatement(c: Checking, s: IfStatement): TStatement[] {
  const condition = truth(c, checkExpr(c, s.condition));
  // In a function that was given a literal the other branch may be a call that would have no end.
  if (c.returning?.prunes && condition.op === "const") {
    const taken = condition.value !== 0n ? s.then : s.otherwise;
    if (!taken) return [];
    return taken.node === "if"
      ? checkIfStatement(c, taken)
      : [{ op: "scope", body: checkBlock(c, taken), loc: taken.loc }];
  }
  const then = checkBlock(c, s.then);
  const otherwise = !s.otherwise
    ? []
    : s.otherwise.node === "if"
      ? checkIfStatement(c, s.otherwise)
      : checkBlock(c, s.otherwise);
  return [{ op: "if", condition, then, otherwise, loc: s.loc }];
}

function checkFor(c: Checking, s: Extract<Statement, { node: "for" }>): TStatement[] {
  const { loc, over } = s;
  if (over.kind === "range") {
    const from = checkExpr(c, over.from);
    const to = checkExpr(c, over.to);
    for (const end of [from, to])
      if (!unknown(end.type) && !isInteger(end.type)) {
        c.report(end.loc, say.operatorType("..", formatType(end.type)));
        return [];
      }
    return withScope(c, () => {
      const variable = declareVariable(c, s.variable, loc);
      variable.type = I64;
      return [{ op: "for_range", variable, from, to, body: loop(c, s.body), loc }];
    });
  }
  const map = useMap(c, substitutedMap(c, over.map.name), over.map.loc);
  if (over.map.keys) {
    c.report(over.map.loc, say.mapArgument("for"));
    return [];
  }
  if (map.key === undefined) {
    c.report(
      over.map.loc,
      say.undefinedMap(
        map.name,
        [...c.maps.keys()].filter((n) => n !== map.name),
      ),
    );
    return [];
  }
  if (map.key.length === 0) {
    c.report(over.map.loc, say.needsKey(map.name));
    return [];
  }
  if (map.aggregate === "hist" || map.aggregate === "lhist" || map.aggregate === "tseries") {
    c.report(over.map.loc, say.unsupported(`a loop over a ${map.aggregate} map`));
    return [];
  }
  const [only] = map.key;
  const key: Type = map.key.length === 1 && only ? only : { kind: "tuple", items: map.key };
  const value: Type = map.aggregate === undefined ? map.value : map.signed ? I64 : U64;
  return withScope(c, () => {
    const variable = declareVariable(c, s.variable, loc);
    variable.type = { kind: "tuple", items: [key, value] };
    return [{ op: "for_map", variable, map, body: loop(c, s.body), loc }];
  });
}

function checkLet(c: Checking, s: Extract<Statement, { node: "let" }>): TStatement[] {
  const declared = s.type ? resolveType(c, s.type, (n) => typeOperand(c, n)) : undefined;
  const value = s.value ? checkExpr(c, s.value) : undefined;
  if (findVariable(c, s.name)) {
    c.report(s.loc, c.scopes.at(-1)?.has(s.name) ? say.redeclared(s.name) : say.shadowed(s.name));
    return [];
  }
  const variable = declareVariable(c, s.name, s.loc);
  if (declared && !unknown(declared)) {
    variable.type = declared;
    variable.declared = true;
  }
  if (!value) return [zeroed(variable, s.loc)];
  return assignVariable(c, variable, value, s.loc);
}

const zeroed = (variable: Extract<TStatement, { op: "set_variable" }>["variable"], loc: Loc): TStatement => ({
  op: "set_variable",
  variable,
  value: { op: "call", name: "zeroed", args: [], type: variable.type, loc },
  loc,
});

export function assignVariable(
  c: Checking,
  variable: Extract<TStatement, { op: "set_variable" }>["variable"],
  assigned: TExpr,
  loc: Loc,
): TStatement[] {
  const names = variable.type.kind === "tuple" ? variable.type.names : undefined;
  const value = names ? reordered(c, recordOf(c, assigned), names) : recordOf(c, assigned);
  if (unknown(value.type)) {
    if (value.op === "block" || value.op === "map") c.report(value.loc, say.noValue("this expression"));
    return [];
  }
  noteVariable(c, variable, value, loc);
  const converted =
    isInteger(variable.type) && formatType(variable.type) !== formatType(value.type) && isInteger(value.type)
      ? checkCast(c, variable.type, value, loc)
      : value;
  return [{ op: "set_variable", variable, value: converted, loc }];
}

function checkAssign(c: Checking, s: Extract<Statement, { node: "assign" }>): TStatement[] {
  const { target, loc } = s;
  const compound = (current: TExpr): TExpr =>
    s.operator === ""
      ? checkExpr(c, s.value)
      : checkBinary(c, s.operator, current, checkExpr(c, s.value), loc);
  if (target.node === "variable") {
    const replaced = substituted(c, target.name);
    const existing = replaced?.op === "variable" ? replaced.variable : findVariable(c, target.name);
    if (s.operator !== "") {
      if (!existing) {
        c.report(target.loc, say.undefinedVariable(target.name, []));
        return [];
      }
      const current: TExpr = { op: "variable", variable: existing, type: existing.type, loc: target.loc };
      return assignVariable(c, existing, compound(current), loc);
    }
    const value = checkExpr(c, s.value);
    return assignVariable(c, existing ?? declareVariable(c, target.name, target.loc), value, loc);
  }
  if (target.node === "map") return assignMap(c, s, target, compound);
  if (target.node === "identifier" && target.name === "_") return discard(checkExpr(c, s.value));
  c.report(target.loc, say.notAssignable());
  return [];
}

function assignMap(
  c: Checking,
  s: Extract<Statement, { node: "assign" }>,
  target: ExprOf<"map">,
  compound: (current: TExpr) => TExpr,
): TStatement[] {
  const { loc } = s;
  const map = useMap(c, substitutedMap(c, target.name), target.loc);
  const key = checkKey(c, target.keys);
  const before = map.key;
  map.assigned = true;
  noteKey(c, map, key, target.loc);
  const settled = !key.some((k) => unknown(k.type));
  if (settled && before !== undefined && before.length !== key.length) return [];
  if (
    s.operator === "" &&
    s.value.node === "call" &&
    isAggregate(s.value.name) &&
    !c.macros.has(s.value.name)
  ) {
    const args = checkAggregate(c, map, s.value);
    return args && !key.some((k) => unknown(k.type)) ? [{ op: "aggregate", map, key, args, loc }] : [];
  }
  const current: TExpr = {
    op: "map",
    map,
    key,
    type: unknown(map.value) && s.operator !== "" ? I64 : map.value,
    loc: target.loc,
  };
  const value = recordOf(c, compound(current));
  if (unknown(value.type)) {
    if (value.op === "block" || value.op === "map") c.report(value.loc, say.noValue("this expression"));
    return [];
  }
  noteValue(c, map, value, loc);
  if (key.some((k) => unknown(k.type))) return [];
  return [{ op: "set_map", map, key, value, loc }];
}
