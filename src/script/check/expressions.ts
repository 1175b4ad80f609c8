// script, checker: expressions. Each gets a type or, after a message, the type none.
import type { Argument, Block, Expr, ExprOf, IfStatement, Loc, TypeName } from "../ast.ts";
import { say } from "../diagnostics.ts";
import { formatType, I64, isInteger, NONE, sizeOf, stored, stringOf, U64 } from "../layout.ts";
import { encodeText } from "../text.ts";
import type { TExpr, TStatement } from "../typed.ts";
import type { Aggregate, Type } from "../types.ts";
import { builtinNames, checkBuiltin } from "./builtins.ts";
import { checkCall } from "./calls.ts";
import { addressOf, checkCast, deref, mapAddress } from "./casts.ts";
import { checkDefine } from "./defines.ts";
import { checkField, checkIndex, checkItem, offsetOf, recordOf } from "./fields.ts";
import { checkMacroIdentifier, substituted } from "./macros.ts";
import { checkBinary, checkChoice, checkUnary } from "./operators.ts";
import {
  allVariables,
  bad,
  type Checking,
  findVariable,
  noteKey,
  unknown,
  useMap,
  withScope,
} from "./state.ts";
import { checkStatement } from "./statements.ts";
import { literalType, plainEnum, resolveType } from "./structures.ts";
import { spreadKey } from "./tuples.ts";

export function checkExpr(c: Checking, e: Expr): TExpr {
  const { loc } = e;
  switch (e.node) {
    case "integer":
      if (e.value >= 1n << 64n) {
        c.report(loc, say.integerRange(String(e.value)));
        return bad(loc);
      }
      // 0.17 has signed literals only.
      if (c.old) return { op: "const", value: BigInt.asIntN(64, e.value), type: I64, literal: true, loc };
      return { op: "const", value: e.value, type: literalType(e.value), literal: true, loc };
    case "string":
      return textOf(e.value, loc);
    case "positional":
      return positional(c, e.index, loc);
    case "positional_count":
      return { op: "const", value: BigInt(c.positional.length), type: I64, literal: true, loc };
    case "variable":
      return checkVariable(c, e.name, loc);
    case "map":
      return checkMap(c, e);
    case "identifier":
      return checkIdentifier(c, e.name, loc);
    case "call":
      return checkCall(c, e);
    case "unary":
      if (e.operator === "*") return deref(c, checkExpr(c, e.operand), loc);
      if (e.operator === "&" && e.operand.node === "map" && !e.operand.keys && !c.old)
        return mapAddress(c, useMap(c, substitutedMap(c, e.operand.name), e.operand.loc), loc);
      if (e.operator === "&") return addressOf(c, checkExpr(c, e.operand), loc);
      return checkUnary(c, e.operator, checkExpr(c, e.operand), loc);
    case "step":
      return checkStep(c, e);
    case "binary":
      return checkBinary(c, e.operator, checkExpr(c, e.left), checkExpr(c, e.right), loc);
    case "ternary": {
      const condition = checkExpr(c, e.condition);
      const then = e.then ? checkExpr(c, e.then) : condition;
      return checkChoice(c, condition, then, checkExpr(c, e.otherwise), loc);
    }
    case "cast":
      return checkCast(
        c,
        resolveType(c, e.type, (n) => typeOperand(c, n)),
        checkExpr(c, e.operand),
        loc,
      );
    case "field":
      return checkField(c, checkExpr(c, e.operand), e.name, e.nameLoc, loc);
    case "item":
      return checkItem(c, checkExpr(c, e.operand), e.index, loc);
    case "index":
      return checkIndex(c, e);
    case "tuple": {
      const items = e.items.map((item) => recordOf(c, checkExpr(c, item)));
      if (items.some((i) => unknown(i.type))) return bad(loc);
      const type: Type = {
        kind: "tuple",
        items: items.map((i) => (i.type.kind === "int" ? i.type : stored(i.type))),
        ...(e.names ? { names: e.names } : {}),
      };
      return { op: "tuple", items, type, loc };
    }
    case "sizeof_type":
      return constant(sizeOf(resolveType(c, e.type, (n) => typeOperand(c, n))), loc);
    case "sizeof":
      return constant(sizeOf(checkExpr(c, e.operand).type), loc);
    case "offsetof":
      return offsetOf(c, e, loc);
    case "if_expression":
      return checkIf(c, e, loc);
    case "block_expression":
      return checkBlockValue(c, e.body, loc);
  }
}

export const constant = (value: number, loc: Loc): TExpr => ({
  op: "const",
  value: BigInt(value),
  type: U64,
  literal: true,
  loc,
});

export function textOf(value: string, loc: Loc): TExpr {
  const bytes = encodeText(value);
  return { op: "text", value, bytes, type: stringOf(bytes.length + 1), loc };
}

/** $n: a number where it looks like one, else a string; 0 where it was not given. */
function positional(c: Checking, index: number, loc: Loc): TExpr {
  if (index === 0) {
    c.report(loc, say.argumentValue("$0", "positional parameters begin with $1"));
    return bad(loc);
  }
  const text = c.positional[index - 1];
  if (text === undefined || text === "") return { op: "const", value: 0n, type: I64, literal: true, loc };
  const number = /^-?(0x[0-9a-f_]+|[0-9][0-9_]*)$/i.exec(text);
  if (!number) return textOf(text, loc);
  const negative = text.startsWith("-");
  const digits = text.slice(negative ? 1 : 0).replaceAll("_", "");
  const value = BigInt(/^0[0-7]+$/.test(digits) ? `0o${digits.slice(1)}` : digits);
  return { op: "const", value: negative ? -value : value, type: literalType(value), literal: true, loc };
}

function checkVariable(c: Checking, name: string, loc: Loc): TExpr {
  const replaced = substituted(c, name);
  if (replaced) return replaced;
  const variable = findVariable(c, name);
  if (!variable) {
    c.report(loc, say.undefinedVariable(name, allVariables(c)));
    return bad(loc);
  }
  return { op: "variable", variable, type: variable.type, loc };
}

/** Reading a map. */
function checkMap(c: Checking, e: ExprOf<"map">): TExpr {
  const map = useMap(c, substitutedMap(c, e.name), e.loc);
  const key = checkKey(c, e.keys);
  noteKey(c, map, key, e.loc);
  if (map.aggregate !== undefined) {
    if (hasNoValue(map.aggregate)) return { op: "map", map, key, type: NONE, loc: e.loc };
    return { op: "map", map, key, type: map.signed ? I64 : U64, loc: e.loc };
  }
  if (unknown(map.value) && !map.assigned)
    c.report(
      e.loc,
      say.undefinedMap(
        map.name,
        [...c.maps.keys()].filter((n) => n !== map.name),
      ),
    );
  return { op: "map", map, key, type: map.value, loc: e.loc };
}

/** Aggregates that are no number. */
export const hasNoValue = (aggregate: Aggregate | undefined): boolean =>
  aggregate === "hist" || aggregate === "lhist" || aggregate === "stats" || aggregate === "tseries";

export const substitutedMap = (c: Checking, name: string): string => {
  const replaced = substituted(c, name);
  return replaced?.op === "map" ? replaced.map.name : name;
};

/** `@x[a, b]` and `@x[(a, b)]` are the same key. */
export function checkKey(c: Checking, keys: readonly Expr[] | undefined): readonly TExpr[] {
  return spreadKey(
    c,
    (keys ?? []).map((k) => recordOf(c, checkExpr(c, k))),
  );
}

function checkIdentifier(c: Checking, name: string, loc: Loc): TExpr {
  const macro = checkMacroIdentifier(c, name, loc);
  if (macro) return macro;
  const defined = checkDefine(c, name, loc);
  if (defined) return defined;
  const builtin = checkBuiltin(c, name, loc);
  if (builtin) return builtin;
  const known = c.constants.get(name) ?? c.types.enumValue(name);
  if (known) return { op: "const", value: known.value, type: plainEnum(c, known.type), loc };
  c.report(loc, say.unknownName(name, [...builtinNames(), ...c.constants.keys()]));
  return bad(loc);
}

function checkStep(c: Checking, e: ExprOf<"step">): TExpr {
  const delta = e.operator === "++" ? 1n : -1n;
  const { operand, loc } = e;
  const replaced = operand.node === "variable" ? substituted(c, operand.name) : undefined;
  if (operand.node === "variable" && (!replaced || replaced.op === "variable")) {
    const target = checkVariable(c, operand.name, operand.loc);
    if (target.op !== "variable" || unknown(target.type)) return bad(loc);
    if (!isInteger(target.type) && target.type.kind !== "pointer") {
      c.report(loc, say.operatorType(e.operator, formatType(target.type)));
      return bad(loc);
    }
    return {
      op: "step",
      target: { variable: target.variable },
      delta,
      prefix: e.prefix,
      type: target.type,
      loc,
    };
  }
  if (operand.node === "map") {
    const map = useMap(c, substitutedMap(c, operand.name), operand.loc);
    const key = checkKey(c, operand.keys);
    noteKey(c, map, key, operand.loc);
    if (
      map.aggregate !== undefined ||
      (!unknown(map.value) && !isInteger(map.value) && map.value.kind !== "pointer")
    ) {
      c.report(
        loc,
        say.operatorType(e.operator, map.aggregate ? `${map.aggregate}_t` : formatType(map.value)),
      );
      return bad(loc);
    }
    if (unknown(map.value)) {
      map.value = e.operator === "--" || !c.old ? I64 : I64;
      c.changed = true;
    }
    return { op: "step", target: { map, key }, delta, prefix: e.prefix, type: map.value, loc };
  }
  c.report(loc, say.notAssignable());
  return bad(loc);
}

/** What `typeof` was asked about. */
export function typeOperand(c: Checking, name: TypeName): Type {
  const of = name.typeof;
  if (!of) return NONE;
  if ("type" in of) return resolveType(c, of.type, (n) => typeOperand(c, n));
  return checkExpr(c, of.operand).type;
}

/** `if` as a value: both branches end in an expression. */
function checkIf(
  c: Checking,
  e: { condition: Expr; then: Block; otherwise?: Block | IfStatement },
  loc: Loc,
): TExpr {
  const condition = checkExpr(c, e.condition);
  const then = checkBlockValue(c, e.then, e.then.loc);
  if (!e.otherwise) {
    c.report(loc, say.noValue("an if without else"));
    return bad(loc);
  }
  const otherwise =
    e.otherwise.node === "if"
      ? checkIf(c, e.otherwise, e.otherwise.loc)
      : checkBlockValue(c, e.otherwise, e.otherwise.loc);
  return checkChoice(c, condition, then, otherwise, loc);
}

/** `{ ...; value }`. */
export function checkBlockValue(c: Checking, block: Block, loc: Loc): TExpr {
  return withScope(c, () => {
    const body: TStatement[] = [];
    for (const statement of block.statements.slice(0, -1)) body.push(...checkStatement(c, statement));
    const last = block.statements.at(-1);
    let value = bad(loc);
    if (last?.node === "expression") value = checkExpr(c, last.value);
    else if (last?.node === "if") value = checkIf(c, last, last.loc);
    else if (last?.node === "scope") value = checkBlockValue(c, last.body, last.loc);
    else if (last) body.push(...checkStatement(c, last));
    if (value.op === "block" && unknown(value.type)) return { ...value, body: [...body, ...value.body], loc };
    if (body.length === 0) return value;
    return { op: "block", body, value, type: value.type, loc };
  });
}

/** The argument of a call as an expression; types are refused. */
export function argumentExpr(c: Checking, a: Argument): TExpr {
  if (a.node === "type") {
    c.report(a.loc, say.unknownName(a.type.name, []));
    return bad(a.loc);
  }
  return checkExpr(c, a);
}
