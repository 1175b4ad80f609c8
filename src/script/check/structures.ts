// script, checker: type names, structures and their fields, from the script's own definitions first, then from the kernel.
import type { Loc, TypeName } from "../ast.ts";
import { say } from "../diagnostics.ts";
import { BOOL, formatType, I64, NONE, stringOf } from "../layout.ts";
import type { Field, Structure, Type } from "../types.ts";
import type { Checking } from "./state.ts";

const int = (size: 1 | 2 | 4 | 8, signed: boolean): Type => ({ kind: "int", size, signed });

/** Names of base types. C's are those of LP64. */
const BASE: Readonly<Record<string, Type>> = {
  void: NONE,
  bool: BOOL,
  int8: int(1, true),
  int16: int(2, true),
  int32: int(4, true),
  int64: int(8, true),
  uint8: int(1, false),
  uint16: int(2, false),
  uint32: int(4, false),
  uint64: int(8, false),
  inet: { kind: "inet" },
  _Bool: BOOL,
};

function cInteger(name: string): Type | undefined {
  const words = name.split(" ");
  if (!words.every((w) => ["unsigned", "signed", "char", "short", "int", "long"].includes(w)))
    return undefined;
  const signed = !words.includes("unsigned");
  if (words.includes("char")) return int(1, signed);
  if (words.includes("short")) return int(2, signed);
  if (words.includes("long")) return int(8, signed);
  return int(4, signed);
}

/** A structure by the name of its type, with or without its tag. */
export function findStructure(c: Checking, name: string): Structure | undefined {
  const bare = name.replace(/^(struct|union) /, "");
  return (
    c.structures.get(name) ??
    c.structures.get(bare) ??
    c.types.structure(name) ??
    c.types.structure(bare) ??
    c.types.structure(`struct ${bare}`) ??
    c.types.structure(`union ${bare}`)
  );
}

/** Resolves a type that the user wrote; none after an error. */
export function resolveType(c: Checking, name: TypeName, operandType: (n: TypeName) => Type): Type {
  let type = baseType(c, name, operandType);
  if (type === undefined) return NONE;
  for (let i = 0; i < name.pointers; i++) type = { kind: "pointer", to: type, space: "kernel" };
  if (name.name === "string" && name.dimensions.length > 0)
    return stringOf(name.dimensions[0] || c.settings.maxStrlen);
  for (const length of [...name.dimensions].reverse()) type = { kind: "array", of: type, length };
  return type;
}

function baseType(c: Checking, name: TypeName, operandType: (n: TypeName) => Type): Type | undefined {
  if (name.typeof) return operandType(name);
  if (name.tag === "struct" || name.tag === "union") {
    const structure = findStructure(c, `${name.tag} ${name.name}`);
    if (structure)
      return { kind: "struct", name: structure.name, size: structure.size, union: name.tag === "union" };
    // A pointer to a structure that nobody defined may still be passed around.
    if (name.pointers > 0)
      return { kind: "struct", name: `${name.tag} ${name.name}`, size: 0, union: name.tag === "union" };
    c.report(name.loc, say.unknownType(`${name.tag} ${name.name}`));
    return undefined;
  }
  if (name.tag === "enum") {
    const type =
      c.typedefs.get(`enum ${name.name}`) ??
      c.types.typeByName(`enum ${name.name}`) ??
      c.types.typeByName(name.name);
    if (type) return type;
    c.report(name.loc, say.unknownType(`enum ${name.name}`));
    return undefined;
  }
  if (name.name === "string") return stringOf(c.settings.maxStrlen);
  if (name.name === "buffer") return { kind: "buffer", size: c.settings.maxStrlen };
  const known =
    BASE[name.name] ??
    cInteger(name.name) ??
    c.typedefs.get(name.name) ??
    c.types.typeByName(name.name) ??
    structureType(c, name.name);
  if (known === undefined) c.report(name.loc, say.unknownType(name.name));
  return known;
}

function structureType(c: Checking, name: string): Type | undefined {
  const structure = findStructure(c, name);
  if (!structure) return undefined;
  return {
    kind: "struct",
    name: structure.name,
    size: structure.size,
    union: structure.name.startsWith("union "),
  };
}

/** A structure that was named before it was known gets its size. */
export function complete(c: Checking, type: Type): Type {
  if (type.kind !== "struct" || type.size > 0) return type;
  const structure = findStructure(c, type.name);
  return structure ? { ...type, name: structure.name, size: structure.size } : type;
}

/** A field as scripts see it: char arrays are strings, pointers of system call tracepoints point to user space. */
export function fieldType(field: Field, userPointers: boolean): Type {
  const { type } = field;
  if (
    type.kind === "array" &&
    type.of.kind === "int" &&
    type.of.size === 1 &&
    type.of.signed &&
    !field.dataLoc
  )
    return stringOf(type.length);
  if (userPointers && type.kind === "pointer") return { ...type, space: "user" };
  return type;
}

/** 0.17 shows enums as numbers. */
export const plainEnum = (c: Checking, type: Type): Type =>
  c.old && type.kind === "enum" ? { kind: "int", size: type.size, signed: type.signed } : type;

/** Finds a field by name, looking into anonymous members. */
export function findField(c: Checking, structure: Structure, name: string, depth = 0): Field | undefined {
  const direct = structure.fields.find((f) => f.name === name);
  if (direct || depth > 8) return direct;
  for (const field of structure.fields) {
    if (field.name !== "" || field.type.kind !== "struct") continue;
    const inner = findStructure(c, field.type.name);
    const found = inner && findField(c, inner, name, depth + 1);
    if (!found) continue;
    return { ...found, offset: field.offset + found.offset };
  }
  return undefined;
}

/** Looks a field up and reports it missing, with the nearest name. */
export function requireField(
  c: Checking,
  structure: Structure,
  shown: string,
  name: string,
  loc: Loc,
): Field | undefined {
  const field = findField(c, structure, name);
  if (!field)
    c.report(
      loc,
      say.unknownField(
        shown,
        name,
        structure.fields.map((f) => f.name).filter((n) => n && !n.startsWith("common_")),
      ),
    );
  return field;
}

/** An integer type that a literal has: the 64-bit one of its sign. */
export const literalType = (value: bigint): Type => (value > 0x7fff_ffff_ffff_ffffn ? int(8, false) : I64);

export const shownStructure = (type: Type): string => formatType(type);
