// script, checker: expressions. Each gets a type or, after a message, the type none.
import type { Argument, Block, Expr, ExprOf, IfStatement, Loc, TypeName } from "../ast.ts";
import { say } from "../diagnostics.ts";
import {
  BOOL,
  formatType,
  I64,
  isInteger,
  isScalar,
  NONE,
  sizeOf,
  stored,
  stringOf,
  U64,
  unify,
} from "../layout.ts";
import { encodeText } from "../text.ts";
import type { TExpr, TStatement } from "../typed.ts";
import type { Field, Structure, Type } from "../types.ts";
import { builtinNames, checkBuiltin } from "./builtins.ts";
import { checkCall } from "./calls.ts";
import { settingNames, settingValue } from "./config.ts";
import { checkDefine } from "./defines.ts";
import { checkMacroIdentifier, substituted } from "./macros.ts";
import { checkBinary, checkChoice, checkUnary, wrap } from "./operators.ts";
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
import {
  complete,
  fieldType,
  findStructure,
  literalType,
  plainEnum,
  requireField,
  resolveType,
} from "./structures.ts";

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

const constant = (value: number, loc: Loc): TExpr => ({
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
    if (map.aggregate === "hist" || map.aggregate === "lhist" || map.aggregate === "stats")
      return { op: "map", map, key, type: NONE, loc: e.loc };
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

export const substitutedMap = (c: Checking, name: string): string => {
  const replaced = substituted(c, name);
  return replaced?.op === "map" ? replaced.map.name : name;
};

/** `@x[a, b]` and `@x[(a, b)]` are the same key. */
export function checkKey(c: Checking, keys: readonly Expr[] | undefined): TExpr[] {
  return (keys ?? []).map((k) => recordOf(c, checkExpr(c, k)));
}

/** `args` as a value: a record of the probe's arguments. Everything else is itself. */
export function recordOf(c: Checking, e: TExpr): TExpr {
  if (e.op !== "context") return e;
  const { context } = c.point;
  const names =
    context.kind === "btf"
      ? context.prototype.parameters.map((p) => p.name)
      : (contextStructure(c)?.fields.map((f) => f.name) ?? []).filter((n) => !n.startsWith("common_"));
  const items = names.map((name) => checkField(c, e, name, e.loc, e.loc));
  if (items.length === 0 || items.some((i) => unknown(i.type))) return bad(e.loc);
  return { op: "tuple", items, type: { kind: "tuple", items: items.map((i) => i.type), names }, loc: e.loc };
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

export function checkCast(c: Checking, to: Type, e: TExpr, loc: Loc): TExpr {
  if (unknown(to) || unknown(e.type)) return bad(loc);
  const refuse = (): TExpr => {
    c.report(loc, say.cannotCast(formatType(e.type), formatType(to)));
    return bad(loc);
  };
  if (to.kind === "int" || to.kind === "enum" || to.kind === "bool") {
    if (e.type.kind === "array" && isInteger(e.type.of) && sizeOf(e.type) <= 8 && to.kind === "int")
      return { op: "convert", operand: e, type: to, loc };
    if (to.kind === "bool" && e.type.kind === "string") return checkBinary(c, "!=", e, textOf("", loc), loc);
    if (!isScalar(e.type)) return refuse();
    if (to.kind === "bool") return checkUnary(c, "!", checkUnary(c, "!", e, loc), loc);
    if (e.op === "const") return { op: "const", value: wrap(e.value, to), type: to, loc };
    return { op: "convert", operand: e, type: to, loc };
  }
  if (to.kind === "pointer") {
    if (!isScalar(e.type) && !(e.type.kind === "array")) return refuse();
    const space =
      e.type.kind === "pointer"
        ? e.type.space
        : c.point.context.kind === "registers"
          ? c.point.context.space
          : "kernel";
    return { op: "convert", operand: e, type: { ...to, space }, loc };
  }
  if (to.kind === "struct" && isScalar(e.type))
    // Old scripts cast an integer to a structure and mean a pointer to it.
    return { op: "convert", operand: e, type: { kind: "pointer", to, space: "kernel" }, loc };
  if (to.kind === "array" && isInteger(e.type) && isInteger(to.of)) {
    const length = to.length || Math.max(1, Math.floor(sizeOf(e.type) / sizeOf(to.of)));
    if (length * sizeOf(to.of) !== sizeOf(e.type)) return refuse();
    return { op: "convert", operand: e, type: { ...to, length }, loc };
  }
  if (to.kind === "string" && e.type.kind === "string") return { ...e, type: to };
  if (formatType(to) === formatType(e.type)) return e;
  return refuse();
}

function deref(c: Checking, pointer: TExpr, loc: Loc): TExpr {
  if (unknown(pointer.type)) return bad(loc);
  if (pointer.type.kind !== "pointer") {
    c.report(loc, say.cannotDeref(formatType(pointer.type)));
    return bad(loc);
  }
  if (unknown(pointer.type.to)) {
    c.report(loc, say.cannotDeref("void *"));
    return bad(loc);
  }
  return { op: "deref", pointer, type: complete(c, pointer.type.to), loc };
}

function addressOf(c: Checking, place: TExpr, loc: Loc): TExpr {
  if (unknown(place.type)) return bad(loc);
  if (place.op === "deref") return place.pointer;
  if (place.op === "field" || place.op === "element")
    return { op: "address", place, type: { kind: "pointer", to: place.type, space: "kernel" }, loc };
  c.report(loc, say.operatorType("&", formatType(place.type)));
  return bad(loc);
}

/** The fields of what `args` stands for. */
function contextStructure(c: Checking): Structure | undefined {
  const { context } = c.point;
  if (context.kind === "tracepoint" || context.kind === "iterator") return context.structure;
  return undefined;
}

export function checkField(c: Checking, base: TExpr, name: string, nameLoc: Loc, loc: Loc): TExpr {
  if (unknown(base.type)) return bad(loc);
  if (base.op === "builtin" && base.name === "config") return configField(c, name, nameLoc, loc);
  if (base.op === "context") return contextField(c, base, name, nameLoc, loc);
  if (base.type.kind === "tuple") {
    const at = base.type.names?.indexOf(name) ?? -1;
    if (at >= 0) return checkItem(c, base, at, loc);
  }
  const place = base.type.kind === "pointer" ? deref(c, base, loc) : base;
  if (unknown(place.type)) return bad(loc);
  if (place.type.kind !== "struct") {
    c.report(loc, say.notStruct(formatType(base.type), name));
    return bad(loc);
  }
  const structure = findStructure(c, place.type.name);
  if (!structure) {
    c.report(loc, say.unknownType(formatType(place.type)));
    return bad(loc);
  }
  const field = requireField(c, structure, formatType(place.type), name, nameLoc);
  return field ? fieldOf(place, field, false, c, loc) : bad(loc);
}

/** config().max_strlen and its like. */
function configField(c: Checking, name: string, nameLoc: Loc, loc: Loc): TExpr {
  const value = settingValue(c.settings, name);
  if (value === undefined) {
    c.report(nameLoc, say.config(name, settingNames));
    return bad(loc);
  }
  if (typeof value === "string") return textOf(value, loc);
  return { op: "const", value: BigInt(value), type: typeof value === "boolean" ? BOOL : U64, loc };
}

function fieldOf(base: TExpr, field: Field, user: boolean, c: Checking, loc: Loc): TExpr {
  let type = plainEnum(c, fieldType(field, user));
  if (field.dataLoc)
    type =
      type.kind === "array" && type.of.kind === "int" && !type.of.signed
        ? { kind: "pointer", to: type.of, space: "kernel" }
        : stringOf(c.settings.maxStrlen);
  return { op: "field", base, field, type, loc };
}

function contextField(c: Checking, base: TExpr, name: string, nameLoc: Loc, loc: Loc): TExpr {
  const { context } = c.point;
  if (context.kind === "btf") {
    const at = context.prototype.parameters.findIndex((p) => p.name === name);
    const parameter = context.prototype.parameters[at];
    if (!parameter) {
      c.report(
        nameLoc,
        say.unknownField(
          formatType(base.type),
          name,
          context.prototype.parameters.map((p) => p.name),
        ),
      );
      return bad(loc);
    }
    const { type } = parameter;
    const word: TExpr = { op: "context_word", offset: at * 8, size: 8, type, loc };
    if (isInteger(type) && sizeOf(type) < 8)
      return { op: "convert", operand: { ...word, type: U64 }, type, loc };
    return word;
  }
  const structure = contextStructure(c);
  if (!structure) return bad(loc);
  if (name.startsWith("common_")) {
    c.report(nameLoc, say.commonField(name));
    return bad(loc);
  }
  const field = requireField(c, structure, formatType(base.type), name, nameLoc);
  const user = context.kind === "tracepoint" && context.category === "syscalls";
  return field ? fieldOf(base, field, user, c, loc) : bad(loc);
}

function checkItem(c: Checking, tuple: TExpr, index: number, loc: Loc): TExpr {
  if (unknown(tuple.type)) return bad(loc);
  if (tuple.type.kind !== "tuple") {
    c.report(loc, say.notStruct(formatType(tuple.type), String(index)));
    return bad(loc);
  }
  const type = tuple.type.items[index];
  if (!type) {
    c.report(loc, say.tupleIndex(index, tuple.type.items.length));
    return bad(loc);
  }
  if (tuple.op === "tuple") return { ...(tuple.items[index] ?? bad(loc)), loc };
  return { op: "item", tuple, index, type, loc };
}

function checkIndex(c: Checking, e: ExprOf<"index">): TExpr {
  const base = checkExpr(c, e.operand);
  const index = checkExpr(c, e.index);
  if (unknown(base.type) || unknown(index.type)) return bad(e.loc);
  if (base.type.kind === "tuple" && index.op === "const")
    return checkItem(c, base, Number(index.value), e.loc);
  const array = base.type.kind === "array";
  if (!(array || base.type.kind === "pointer") || !isInteger(index.type) || e.rest.length > 0) {
    c.report(e.loc, say.notIndexable(formatType(base.type)));
    return bad(e.loc);
  }
  if (base.type.kind === "pointer") {
    const moved = checkBinary(c, "+", base, index, e.loc);
    return deref(c, moved, e.loc);
  }
  const { of, length } = base.type as Extract<Type, { kind: "array" }>;
  if (index.op === "const" && length > 0 && (index.value < 0n || index.value >= BigInt(length))) {
    c.report(e.index.loc, say.indexRange(index.value, length));
    return bad(e.loc);
  }
  return { op: "element", base, index, type: of, loc: e.loc };
}

/** Offset of a path of fields in a structure; undefined after a message. */
export function fieldPathOffset(
  c: Checking,
  structureType: Type,
  path: readonly string[],
  loc: Loc,
): number | undefined {
  let type = structureType;
  let offset = 0;
  for (const name of path) {
    if (unknown(type)) return undefined;
    const structure = type.kind === "struct" ? findStructure(c, type.name) : undefined;
    if (!structure) {
      c.report(loc, say.notStruct(formatType(type), name));
      return undefined;
    }
    const field = requireField(c, structure, formatType(type), name, loc);
    if (!field) return undefined;
    offset += field.offset;
    type = field.type;
  }
  return offset;
}

function offsetOf(c: Checking, e: ExprOf<"offsetof">, loc: Loc): TExpr {
  const type = e.type
    ? resolveType(c, e.type, (n) => typeOperand(c, n))
    : e.operand
      ? checkExpr(c, e.operand).type
      : NONE;
  const offset = fieldPathOffset(c, type, e.path, loc);
  return offset === undefined ? bad(loc) : constant(offset, loc);
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

export { BOOL, unify };
