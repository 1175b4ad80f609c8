// script, checker: operators on checked operands. Constants are folded here, so that `10 * 2` is as good as 20 where a literal is asked for.
import type { BinaryOperator, Loc } from "../ast.ts";
import { say } from "../diagnostics.ts";
import {
  BOOL,
  formatType,
  I64,
  INET,
  isInteger,
  isScalar,
  isSigned,
  sizeOf,
  stringOf,
  U64,
  unify,
} from "../layout.ts";
import { parseInet } from "../literals.ts";
import type { Arithmetic, Comparison, TExpr } from "../typed.ts";
import type { Type } from "../types.ts";
import { bad, type Checking, unknown } from "./state.ts";
import { complete } from "./structures.ts";

const isLiteral = (e: TExpr): e is Extract<TExpr, { op: "const" }> => e.op === "const";

/** Wraps to the width and sign of an integer type. */
export function wrap(value: bigint, type: Type): bigint {
  if (type.kind !== "int" && type.kind !== "enum") return value;
  return type.signed ? BigInt.asIntN(type.size * 8, value) : BigInt.asUintN(type.size * 8, value);
}

/** The sign under which two integers meet: a literal takes the other's. */
function jointSign(left: TExpr, right: TExpr): boolean {
  const leftLiteral = isLiteral(left) && left.literal === true && left.value >= 0n;
  const rightLiteral = isLiteral(right) && right.literal === true && right.value >= 0n;
  if (leftLiteral && !rightLiteral) return isSigned(right.type);
  if (rightLiteral && !leftLiteral) return isSigned(left.type);
  return isSigned(left.type) || isSigned(right.type);
}

const mixesSigns = (left: TExpr, right: TExpr): boolean =>
  !(isLiteral(left) && left.literal) &&
  !(isLiteral(right) && right.literal) &&
  left.type.kind === "int" &&
  right.type.kind === "int" &&
  left.type.signed !== right.type.signed;

/** 0.17 has no bool: comparisons give an integer. */
const boolOf = (c: Checking): Type => (c.old ? { kind: "int", size: 4, signed: true } : BOOL);

const isTruth = (e: TExpr): boolean =>
  e.op === "compare" || e.op === "same" || e.op === "logical" || e.op === "not" || e.op === "truth";

/** As a condition: a bool. */
export function truth(c: Checking, e: TExpr): TExpr {
  if (c.old && e.op === "map" && e.map.aggregate) {
    c.report(e.loc, say.notCondition(e.map.aggregate));
    return bad(e.loc);
  }
  if (unknown(e.type) || e.type.kind === "bool" || isTruth(e)) return e;
  if (isLiteral(e)) return { op: "const", value: e.value === 0n ? 0n : 1n, type: boolOf(c), loc: e.loc };
  if (!isScalar(e.type)) {
    c.report(e.loc, say.notCondition(formatType(e.type)));
    return bad(e.loc);
  }
  return { op: "truth", operand: e, type: boolOf(c), loc: e.loc };
}

export function checkUnary(c: Checking, operator: "!" | "~" | "-", operand: TExpr, loc: Loc): TExpr {
  if (unknown(operand.type)) return bad(loc);
  if (operator === "!") {
    const value = truth(c, operand);
    if (unknown(value.type)) return bad(loc);
    if (isLiteral(value)) return { ...value, value: value.value === 0n ? 1n : 0n, loc };
    return { op: "not", operand: value, type: boolOf(c), loc };
  }
  if (!isInteger(operand.type) && operand.type.kind !== "pointer") {
    c.report(loc, say.operatorType(operator, formatType(operand.type)));
    return bad(loc);
  }
  if (operator === "-") {
    if (isLiteral(operand))
      return {
        op: "const",
        value: BigInt.asIntN(64, -operand.value),
        type: I64,
        literal: operand.literal === true,
        loc,
      };
    return { op: "negate", operand, type: I64, loc };
  }
  const type: Type = isSigned(operand.type) ? I64 : U64;
  if (isLiteral(operand)) return { op: "const", value: wrap(~operand.value, type), type, loc };
  return { op: "complement", operand, type, loc };
}

function foldArithmetic(operator: Arithmetic, a: bigint, b: bigint): bigint | undefined {
  switch (operator) {
    case "+":
      return a + b;
    case "-":
      return a - b;
    case "*":
      return a * b;
    case "/":
      return b === 0n ? undefined : a / b;
    case "%":
      return b === 0n ? undefined : a % b;
    case "&":
      return a & b;
    case "|":
      return a | b;
    case "^":
      return a ^ b;
    case "<<":
      return b < 0n || b > 63n ? undefined : a << b;
    case ">>":
      return b < 0n || b > 63n ? undefined : a >> b;
  }
}

/** What 0.17 does as if there were no signs. */
const signless: ReadonlySet<string> = new Set(["/", "%", ">>"]);

function checkArithmetic(c: Checking, operator: Arithmetic, left: TExpr, right: TExpr, loc: Loc): TExpr {
  // `$1 + 1` of a string parameter is the string from its second character, as with a pointer in C.
  if (operator === "+" && left.op === "text" && left.type.kind === "string" && isLiteral(right)) {
    const bytes = left.bytes.slice(Number(right.value));
    const value = left.value.slice(Number(right.value));
    return { op: "text", value, bytes, type: stringOf(bytes.length + 1), loc };
  }
  const pointer = left.type.kind === "pointer" ? left : right.type.kind === "pointer" ? right : undefined;
  if (pointer && (operator === "+" || operator === "-"))
    return pointerArithmetic(c, operator, left, right, loc);
  for (const side of [left, right])
    if (!isInteger(side.type) && side.type.kind !== "pointer") {
      c.report(
        loc,
        isInteger(left.type) || isInteger(right.type)
          ? say.operands(operator, formatType(left.type), formatType(right.type))
          : say.operatorType(operator, formatType(side.type)),
      );
      return bad(loc);
    }
  if ((operator === "/" || operator === "%") && isLiteral(right) && right.value === 0n) {
    c.report(right.loc, say.divisionByZero());
    return bad(loc);
  }
  const shift = operator === "<<" || operator === ">>";
  const signed = shift ? isSigned(left.type) : (operator === "-" && !c.old) || jointSign(left, right);
  const type: Type = signed ? I64 : U64;
  if (isLiteral(left) && isLiteral(right)) {
    const unsigned = c.old && signless.has(operator);
    const operand = (v: bigint): bigint => (unsigned ? BigInt.asUintN(64, v) : v);
    const value = foldArithmetic(operator, operand(left.value), operand(right.value));
    if (value !== undefined) {
      const literal = left.literal === true && right.literal === true;
      const fits = literal && value > 0x7fff_ffff_ffff_ffffn && value < 1n << 64n && operator !== "-";
      const result: Type = fits ? U64 : type;
      return { op: "const", value: wrap(value, result), type: result, literal, loc };
    }
  }
  if (c.old && signless.has(operator)) {
    const shifted = operator === ">>";
    const unsigned: TExpr = shifted && signed ? { op: "convert", operand: left, type: U64, loc } : left;
    const result: TExpr = {
      op: "arithmetic",
      operator,
      left: unsigned,
      right,
      type: U64,
      loc,
      ...(shifted ? {} : { unchecked: true }),
    };
    return signed ? { op: "convert", operand: result, type, loc } : result;
  }
  return { op: "arithmetic", operator, left, right, type, loc };
}

function pointerArithmetic(c: Checking, operator: "+" | "-", left: TExpr, right: TExpr, loc: Loc): TExpr {
  const scale = (type: Type): bigint =>
    BigInt(Math.max(1, type.kind === "pointer" ? sizeOf(complete(c, type.to)) : 1));
  const constant = (value: bigint): TExpr => ({ op: "const", value, type: U64, loc });
  if (left.type.kind === "pointer" && right.type.kind === "pointer") {
    if (operator === "+") {
      c.report(loc, say.operands(operator, formatType(left.type), formatType(right.type)));
      return bad(loc);
    }
    const difference: TExpr = { op: "arithmetic", operator: "-", left, right, type: I64, loc };
    const by = scale(left.type);
    return by === 1n
      ? difference
      : { op: "arithmetic", operator: "/", left: difference, right: constant(by), type: I64, loc };
  }
  const [pointer, offset] = left.type.kind === "pointer" ? [left, right] : [right, left];
  if (!isInteger(offset.type) || (operator === "-" && pointer === right)) {
    c.report(loc, say.operands(operator, formatType(left.type), formatType(right.type)));
    return bad(loc);
  }
  const by = scale(pointer.type);
  const scaled: TExpr =
    by === 1n
      ? offset
      : isLiteral(offset)
        ? constant(offset.value * by)
        : { op: "arithmetic", operator: "*", left: offset, right: constant(by), type: I64, loc };
  return { op: "arithmetic", operator, left: pointer, right: scaled, type: pointer.type, loc };
}

const compareConstants: Readonly<Record<Comparison, (a: bigint, b: bigint) => boolean>> = {
  "==": (a, b) => a === b,
  "!=": (a, b) => a !== b,
  "<": (a, b) => a < b,
  "<=": (a, b) => a <= b,
  ">": (a, b) => a > b,
  ">=": (a, b) => a >= b,
};

/** A string literal beside a name or an address stands for the id or the bytes of what it names. */
function adapt(c: Checking, text: TExpr, other: TExpr): TExpr | undefined {
  if (text.op !== "text" || text.type.kind !== "string") return undefined;
  const { type } = other;
  if (type.kind === "name") {
    // 0xffffffff is no id: a name that this node has not heard of equals nothing.
    const id =
      text.value === "unknown" ? 0 : (c.options.nameId?.(type.dictionary, text.value) ?? 0xffff_ffff);
    return { op: "const", value: BigInt(id), type, loc: text.loc };
  }
  if (type.kind === "inet" || type.kind === "prefix") {
    const bytes = parseInet(text.value, type.kind === "prefix");
    if (!bytes) {
      c.report(
        text.loc,
        say.argumentValue(
          type.kind,
          `"${text.value}" is not ${type.kind === "prefix" ? "a prefix" : "an address"}`,
        ),
      );
      return undefined;
    }
    return { op: "text", value: text.value, bytes, type, loc: text.loc };
  }
  return undefined;
}

function checkComparison(c: Checking, operator: Comparison, left: TExpr, right: TExpr, loc: Loc): TExpr {
  const equality = operator === "==" || operator === "!=";
  const l = adapt(c, left, right) ?? left;
  const r = adapt(c, right, left) ?? right;
  const mismatch = (): TExpr => {
    c.report(loc, say.operands(operator, formatType(l.type), formatType(r.type)));
    return bad(loc);
  };
  if (isScalar(l.type) && isScalar(r.type)) {
    const kinds = new Set([l.type.kind, r.type.kind]);
    if (kinds.has("name") && (kinds.size > 1 || !equality)) return mismatch();
    if (isLiteral(l) && isLiteral(r) && isInteger(l.type) && isInteger(r.type))
      return {
        op: "const",
        value: compareConstants[operator](l.value, r.value) ? 1n : 0n,
        type: boolOf(c),
        loc,
      };
    const signed = jointSign(l, r);
    if (!equality && mixesSigns(l, r)) c.report(loc, say.signMix(operator));
    return { op: "compare", operator, signed, left: l, right: r, type: boolOf(c), loc };
  }
  if (!equality) return mismatch();
  const both = unify(l.type, r.type);
  const inets = (t: Type): boolean => t.kind === "inet" || t.kind === "prefix";
  const buffers = (t: Type): boolean => t.kind === "string" || t.kind === "array" || t.kind === "mac";
  if (!both && !(inets(l.type) && inets(r.type))) return mismatch();
  if (!(buffers(l.type) || inets(l.type) || l.type.kind === "tuple")) return mismatch();
  if (l.op === "text" && r.op === "text")
    return {
      op: "const",
      value: (l.value === r.value) === (operator === "==") ? 1n : 0n,
      type: boolOf(c),
      loc,
    };
  return { op: "same", equal: operator === "==", left: l, right: r, type: boolOf(c), loc };
}

const assumable = (e: TExpr): boolean => e.op === "map" && unknown(e.type) && e.map.aggregate === undefined;

/** Any binary operator. */
export function checkBinary(
  c: Checking,
  operator: BinaryOperator,
  leftSide: TExpr,
  rightSide: TExpr,
  loc: Loc,
): TExpr {
  let [left, right] = [leftSide, rightSide];
  if (operator === "&&" || operator === "||") {
    const l = truth(c, left);
    const r = truth(c, right);
    if (unknown(l.type) || unknown(r.type)) return bad(loc);
    const and = operator === "&&";
    if (isLiteral(l)) {
      if ((l.value !== 0n) !== and) return { ...l, loc };
      return r;
    }
    return { op: "logical", and, left: l, right: r, type: boolOf(c), loc };
  }
  // `@x = @x + 1`: a map whose type nothing else tells holds an integer.
  if (assumable(left) && !unknown(right.type)) left = { ...left, type: I64 };
  if (assumable(right) && !unknown(left.type)) right = { ...right, type: I64 };
  if (unknown(left.type) || unknown(right.type)) {
    // A histogram or a time series is no number; what else is unknown has been told.
    const noNumber = [left, right].find(
      (e) => e.op === "map" && e.map.aggregate !== undefined && unknown(e.type),
    );
    if (noNumber?.op === "map") c.report(loc, say.operatorType(operator, `${noNumber.map.aggregate}_t`));
    return bad(loc);
  }
  // 0.17 reads no aggregate in the kernel.
  for (const side of c.old ? [left, right] : [])
    if (side.op === "map" && side.map.aggregate) {
      c.report(
        loc,
        say.operands(operator, side.map.aggregate, formatType(side === left ? right.type : left.type)),
      );
      return bad(loc);
    }
  switch (operator) {
    case "==":
    case "!=":
    case "<":
    case "<=":
    case ">":
    case ">=":
      return checkComparison(c, operator, left, right, loc);
    default:
      return checkArithmetic(c, operator, left, right, loc);
  }
}

/** The type that both branches of a choice have. */
export function checkChoice(c: Checking, condition: TExpr, then: TExpr, otherwise: TExpr, loc: Loc): TExpr {
  const test = truth(c, condition);
  const voids = [then, otherwise].every((e) => e.op === "block" && unknown(e.type));
  if (voids) return { op: "choose", condition: test, then, otherwise, type: then.type, loc };
  if (unknown(then.type) || unknown(otherwise.type)) {
    // One side calls an action, the other is a number that nobody reads: `cond ? exit() : 0`.
    const action = then.op === "block" || otherwise.op === "block";
    return action ? { op: "choose", condition: test, then, otherwise, type: bad(loc).type, loc } : bad(loc);
  }
  const type = unify(then.type, otherwise.type) ?? (INET.kind === then.type.kind ? INET : undefined);
  if (!type || unknown(test.type)) {
    if (!type) c.report(loc, say.ternaryMismatch(formatType(then.type), formatType(otherwise.type)));
    return bad(loc);
  }
  if (isLiteral(test)) return test.value !== 0n ? then : otherwise;
  return { op: "choose", condition: test, then, otherwise, type, loc };
}
