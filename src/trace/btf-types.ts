// trace: BTF's types as the script room's types: structures with anonymous members flattened, bitfields, prototypes.
import { type Btf, BtfKind, type BtfParameter } from "../kernel/btf.ts";
import type { AddressSpace, Field, FunctionPrototype, Structure, Type } from "../script/types.ts";

const NONE: Type = { kind: "none" };

/** Nesting of anonymous members and of pointers and arrays that is followed; the kernel's own stays below 10. */
const deepest = 32;

/** Name of a type, or `#id` (`#module:id`) of an anonymous one: what {@link anonymousId} reads back. */
function tagOf(btf: Btf, id: number): string {
  const { label } = btf.owner(id);
  return btf.name(id) || `#${label === "" ? "" : `${label}:`}${id}`;
}

/** Module ("" is vmlinux) and id behind a name that stands for an anonymous type. */
export function anonymousId(tag: string): { readonly module: string; readonly id: number } | undefined {
  const match = /^#(?:(.+):)?(\d+)$/.exec(tag);
  return match ? { module: match[1] ?? "", id: Number(match[2]) } : undefined;
}

const aggregateName = (btf: Btf, id: number): string =>
  `${btf.kind(id) === BtfKind.UNION ? "union" : "struct"} ${tagOf(btf, id)}`;

const intSize = (size: number): 1 | 2 | 4 | 8 | undefined =>
  size === 1 || size === 2 || size === 4 || size === 8 ? size : undefined;

const bytesArray = (length: number): Type => ({
  kind: "array",
  of: { kind: "int", size: 1, signed: false },
  length,
});

/** The type behind an id. Memory of a kernel structure is the kernel's; `space` says whose a pointer's target is. */
export function typeOf(btf: Btf, id: number, space: AddressSpace = "kernel", depth = 0): Type {
  const at = btf.resolve(id);
  if (at === 0 || depth > deepest) return NONE;
  switch (btf.kind(at)) {
    case BtfKind.INT: {
      const bytes = btf.ownSize(at);
      const size = intSize(bytes);
      const { signed, bool, char } = btf.integer(at);
      if (size === undefined) return bytesArray(bytes);
      if (bool) return { kind: "bool" };
      // A plain char is what strings are made of, whatever its encoding says.
      return { kind: "int", size, signed: signed || char || btf.name(at) === "char" };
    }
    case BtfKind.PTR:
      return { kind: "pointer", to: typeOf(btf, btf.target(at), space, depth + 1), space };
    case BtfKind.ARRAY: {
      const { elementId, length } = btf.array(at);
      return { kind: "array", of: typeOf(btf, elementId, space, depth + 1), length };
    }
    case BtfKind.STRUCT:
    case BtfKind.UNION:
      return {
        kind: "struct",
        name: aggregateName(btf, at),
        size: btf.ownSize(at),
        union: btf.kind(at) === BtfKind.UNION,
      };
    case BtfKind.FWD:
      return { kind: "struct", name: `struct ${btf.name(at)}`, size: 0, union: false };
    case BtfKind.ENUM:
    case BtfKind.ENUM64:
      return {
        kind: "enum",
        name: tagOf(btf, at),
        size: intSize(btf.ownSize(at)) ?? 4,
        signed: btf.enumSigned(at),
      };
    case BtfKind.FLOAT:
      return bytesArray(btf.ownSize(at));
    default:
      return NONE;
  }
}

/**
 * Where a bitfield lies: the byte offset of a unit that holds all of it, the unit's size and the bit in it. The unit is the
 * declared type's where that works, which keeps loads aligned; packed fields get the smallest that does.
 */
function bitfield(bitOffset: number, width: number, declared: 1 | 2 | 4 | 8) {
  const unit = declared * 8;
  const start = Math.floor(bitOffset / unit) * declared;
  if (bitOffset - start * 8 + width <= unit)
    return { offset: start, size: declared, bit: bitOffset - start * 8 };
  const byte = bitOffset >> 3;
  const size = intSize(2 ** Math.ceil(Math.log2(Math.ceil(((bitOffset & 7) + width) / 8)))) ?? 8;
  return { offset: byte, size, bit: bitOffset & 7 };
}

/** Members of a structure; `only`: those of a name. */
function* flattened(btf: Btf, id: number, base: number, depth: number, only?: string): Generator<Field> {
  for (const member of btf.members(id)) {
    const bitOffset = base * 8 + member.bitOffset;
    const inner = btf.resolve(member.typeId);
    const kind = btf.kind(inner);
    if (member.name === "" && (kind === BtfKind.STRUCT || kind === BtfKind.UNION)) {
      if (depth < deepest) yield* flattened(btf, inner, bitOffset >> 3, depth + 1, only);
      continue;
    }
    if (member.name === "" || (only !== undefined && member.name !== only)) continue;
    const type = typeOf(btf, member.typeId);
    // Before the kernel's pahole marked bitfields by the kind flag, an INT's own width told.
    const width = member.bitWidth || oldStyleWidth(btf, inner);
    if (width === 0) {
      yield { name: member.name, offset: bitOffset >> 3, type };
      continue;
    }
    const declared = type.kind === "int" || type.kind === "enum" ? type.size : 1;
    const { offset, size, bit } = bitfield(bitOffset, width, declared);
    yield {
      name: member.name,
      offset,
      type: type.kind === "int" || type.kind === "enum" ? { ...type, size } : type,
      bits: { offset: bit, width },
    };
  }
}

function oldStyleWidth(btf: Btf, id: number): number {
  if (btf.kind(id) !== BtfKind.INT) return 0;
  const { bits } = btf.integer(id);
  return bits === btf.ownSize(id) * 8 ? 0 : bits;
}

/** Layout of a struct or union, members of anonymous ones among its own. */
export function structureOf(btf: Btf, id: number): Structure {
  const at = btf.resolve(id);
  return { name: aggregateName(btf, at), size: btf.ownSize(at), fields: [...flattened(btf, at, 0, 0)] };
}

/** One member, without the work for all the others: some structures have hundreds. */
export function memberNamed(btf: Btf, id: number, name: string): Field | undefined {
  for (const field of flattened(btf, btf.resolve(id), 0, 0, name)) return field;
  return undefined;
}

const parameterOf = (btf: Btf, parameter: BtfParameter, index: number) => ({
  name: parameter.name || `arg${index}`,
  type: typeOf(btf, parameter.typeId),
});

/** Prototype of a FUNC_PROTO without its first `skip` parameters. `btfId` is what programs attach by. */
export function prototypeOf(
  btf: Btf,
  protoId: number,
  about: { readonly name: string; readonly module: string; readonly btfId: number },
  skip = 0,
): FunctionPrototype {
  const parameters = btf.parameters(protoId);
  // A variadic function ends in a parameter without name and type.
  const last = parameters.at(-1);
  const fixed = last && last.name === "" && last.typeId === 0 ? parameters.slice(0, -1) : parameters;
  return {
    ...about,
    parameters: fixed.slice(skip).map((p, i) => parameterOf(btf, p, i)),
    returns: typeOf(btf, btf.target(protoId)),
  };
}
