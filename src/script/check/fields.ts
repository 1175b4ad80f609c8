// script, checker: what lies in something else: fields, array elements, items of tuples.
import { argumentOffset } from "../arguments.ts";
import type { ExprOf, Loc } from "../ast.ts";
import { say } from "../diagnostics.ts";
import { BOOL, formatType, isInteger, NONE, sizeOf, stringOf, U64 } from "../layout.ts";
import type { TExpr } from "../typed.ts";
import type { Field, Structure, Type } from "../types.ts";
import { deref } from "./casts.ts";
import { settingNames, settingValue } from "./config.ts";
import { checkExpr, constant, textOf, typeOperand } from "./expressions.ts";
import { checkBinary } from "./operators.ts";
import { bad, type Checking, unknown } from "./state.ts";
import { fieldType, findStructure, plainEnum, requireField, resolveType } from "./structures.ts";

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

/** The fields of what `args` stands for. */
export function contextStructure(c: Checking): Structure | undefined {
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
export function configField(c: Checking, name: string, nameLoc: Loc, loc: Loc): TExpr {
  const value = settingValue(c.settings, name);
  if (value === undefined) {
    c.report(nameLoc, say.config(name, settingNames));
    return bad(loc);
  }
  if (typeof value === "string") return textOf(value, loc);
  return { op: "const", value: BigInt(value), type: typeof value === "boolean" ? BOOL : U64, loc };
}

export function fieldOf(base: TExpr, field: Field, user: boolean, c: Checking, loc: Loc): TExpr {
  let type = plainEnum(c, fieldType(field, user));
  if (field.dataLoc)
    type =
      type.kind === "array" && type.of.kind === "int" && !type.of.signed
        ? { kind: "pointer", to: type.of, space: "kernel" }
        : stringOf(c.settings.maxStrlen);
  return { op: "field", base, field, type, loc };
}

export function contextField(c: Checking, base: TExpr, name: string, nameLoc: Loc, loc: Loc): TExpr {
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
    const word: TExpr = {
      op: "context_word",
      offset: argumentOffset(context.prototype, at),
      size: 8,
      type,
      loc,
    };
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

export function checkItem(c: Checking, tuple: TExpr, index: number, loc: Loc): TExpr {
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

export function checkIndex(c: Checking, e: ExprOf<"index">): TExpr {
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

export function offsetOf(c: Checking, e: ExprOf<"offsetof">, loc: Loc): TExpr {
  const type = e.type
    ? resolveType(c, e.type, (n) => typeOperand(c, n))
    : e.operand
      ? checkExpr(c, e.operand).type
      : NONE;
  const offset = fieldPathOffset(c, type, e.path, loc);
  return offset === undefined ? bad(loc) : constant(offset, loc);
}
