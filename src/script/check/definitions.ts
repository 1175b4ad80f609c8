// script, checker: C definitions in the script: structures, unions, enums, typedefs, laid out as the C ABI of LP64 does.
import type { CBase, CDeclarator, CField, Item } from "../ast.ts";
import { say } from "../diagnostics.ts";
import { alignOf, NONE, sizeOf } from "../layout.ts";
import type { Field, Structure, Type } from "../types.ts";
import { checkExpr } from "./expressions.ts";
import { type Checking, unknown } from "./state.ts";
import { findStructure, resolveType } from "./structures.ts";

type Definition = Extract<Item, { node: "structure" | "enumeration" | "typedef" }>;

export function define(c: Checking, item: Definition): void {
  if (item.node === "structure") {
    const name = `${item.union ? "union" : "struct"} ${item.name}`;
    if (c.structures.has(name)) c.report(item.loc, say.duplicate("struct", item.name));
    c.structures.set(name, layout(c, name, item.union, item.fields));
  } else if (item.node === "enumeration") enumeration(c, item);
  else {
    const base = baseType(c, item.base, item.loc, item.name);
    c.typedefs.set(item.name, declared(c, base, item.declarator));
  }
}

function enumeration(c: Checking, item: Extract<Definition, { node: "enumeration" }>): void {
  let next = 0n;
  const values: [string, bigint][] = [];
  for (const member of item.members) {
    if (member.value) {
      const value = checkExpr(c, member.value);
      if (value.op !== "const") {
        if (!unknown(value.type)) c.report(member.loc, say.literalArgument("enum", "integer"));
        return;
      }
      next = value.value;
    }
    values.push([member.name, next]);
    next++;
  }
  const wide = values.some(([, v]) => v > 0xffff_ffffn || v < -0x8000_0000n);
  const signed = values.some(([, v]) => v < 0n);
  const shown = item.name || `<anonymous ${c.enums.size}>`;
  const type: Type = { kind: "enum", name: shown, size: wide ? 8 : 4, signed };
  for (const [name, value] of values) c.constants.set(name, { value, type });
  if (item.name) c.typedefs.set(`enum ${item.name}`, type);
  c.enums.set(shown, new Map(values.map(([text, value]) => [String(value), text])));
}

function baseType(c: Checking, base: CBase, loc: Item["loc"], hint: string): Type {
  if (base.inline) {
    const tag = base.inline.union ? "union" : "struct";
    const name = `${tag} ${base.inline.name || `<anonymous ${hint}.${c.structures.size}>`}`;
    const structure = layout(c, name, base.inline.union, base.inline.fields);
    c.structures.set(name, structure);
    return { kind: "struct", name, size: structure.size, union: base.inline.union };
  }
  const known = base.tag === undefined ? undefined : findStructure(c, `${base.tag} ${base.name ?? ""}`);
  if (base.tag && base.tag !== "enum" && !known)
    return { kind: "struct", name: `${base.tag} ${base.name ?? ""}`, size: 0, union: base.tag === "union" };
  return resolveType(
    c,
    {
      name: base.name ?? "",
      ...(base.tag ? { tag: base.tag } : {}),
      pointers: 0,
      dimensions: [],
      loc,
    },
    () => NONE,
  );
}

function declared(c: Checking, base: Type, d: CDeclarator): Type {
  let type: Type = d.function ? NONE : base;
  for (let i = 0; i < d.pointers; i++) type = { kind: "pointer", to: type, space: "kernel" };
  for (const dimension of [...d.dimensions].reverse()) {
    const length = dimension ? checkExpr(c, dimension) : undefined;
    type = { kind: "array", of: type, length: length?.op === "const" ? Number(length.value) : 0 };
  }
  return type;
}

const up = (bits: number, to: number): number => Math.ceil(bits / to) * to;

/** Offsets by natural alignment; bit-fields share their type's storage unit as long as they fit into it. */
function layout(c: Checking, name: string, union: boolean, fields: readonly CField[]): Structure {
  const out: Field[] = [];
  let bits = 0;
  let size = 0;
  let align = 1;
  for (const field of fields) {
    const base = baseType(c, field.base, field.loc, name);
    const declarators: readonly CDeclarator[] =
      field.declarators.length > 0 ? field.declarators : [{ name: "", pointers: 0, dimensions: [] }];
    for (const d of declarators) {
      const type = declared(c, base, d);
      const bytes = type.kind === "struct" ? (findStructure(c, type.name)?.size ?? type.size) : sizeOf(type);
      const alignment = structureAlign(c, type);
      align = Math.max(align, alignment);
      if (union) bits = 0;
      if (d.bits !== undefined) {
        const unit = Math.max(1, bytes) * 8;
        if (d.bits === 0 || Math.floor(bits / unit) !== Math.floor((bits + d.bits - 1) / unit))
          bits = up(bits, unit);
        if (d.bits > 0)
          out.push({ name: d.name, offset: bits >> 3, type, bits: { offset: bits & 7, width: d.bits } });
        bits += d.bits;
      } else {
        bits = up(bits, alignment * 8);
        out.push({ name: d.name, offset: bits >> 3, type });
        bits += bytes * 8;
      }
      size = Math.max(size, bits);
    }
  }
  return { name, size: up(size, align * 8) >> 3, fields: out };
}

function structureAlign(c: Checking, type: Type): number {
  if (type.kind === "array") return structureAlign(c, type.of);
  if (type.kind !== "struct") return Math.max(1, alignOf(type));
  const fields = findStructure(c, type.name)?.fields ?? [];
  return Math.max(1, ...fields.map((f) => structureAlign(c, f.type)));
}
