// trace: the records of tracepoints as structures: C types as tracefs writes them, sizes as the record has them.
import type { EventField, EventFormat } from "../kernel/tracefs.ts";
import type { Field, Structure, Type } from "../script/types.ts";

/** Finds a typedef, `struct X` or `enum X`. */
export type TypeByName = (name: string) => Type | undefined;

const NONE: Type = { kind: "none" };
const CHAR: Type = { kind: "int", size: 1, signed: true };

const words = (ctype: string): string[] =>
  ctype
    .split(/\s+/)
    .filter((word) => !["", "const", "volatile", "__user", "__seg_gs", "__seg_fs"].includes(word));

const integerWords: ReadonlySet<string> = new Set(["unsigned", "signed", "char", "short", "int", "long"]);

/** The kernel's own names of plain integers: they are the same everywhere, and its types need not be opened for them. */
const kernelIntegers: ReadonlyMap<string, Type> = new Map(
  [8, 16, 32, 64].flatMap((bits) =>
    [true, false].flatMap((signed): (readonly [string, Type])[] => {
      const type: Type = { kind: "int", size: (bits / 8) as 1 | 2 | 4 | 8, signed };
      const name = `${signed ? "s" : "u"}${bits}`;
      return [
        [name, type],
        [`__${name}`, type],
      ];
    }),
  ),
);

/** C's integer types by their words; size as on LP64. */
function cInteger(of: readonly string[]): Type | undefined {
  if (of.length === 0 || !of.every((word) => integerWords.has(word))) return undefined;
  const signed = !of.includes("unsigned");
  const size = of.includes("char") ? 1 : of.includes("short") ? 2 : of.includes("long") ? 8 : 4;
  return { kind: "int", size, signed };
}

function named(ctype: string, byName: TypeByName): Type | undefined {
  const parts = words(ctype);
  if (parts.length === 0) return undefined;
  const name = parts.join(" ");
  // No type of that name is anywhere, and the search for one would open the types of all modules.
  if (name === "void") return undefined;
  return cInteger(parts) ?? kernelIntegers.get(name) ?? byName(name);
}

function pointer(ctype: string, byName: TypeByName, space: "kernel" | "user"): Type {
  // Everything before the last star is what it points to; `const char *const *` has two.
  const at = ctype.lastIndexOf("*");
  const to = ctype.slice(0, at).trim();
  const inner = to.includes("*")
    ? pointer(to.replace(/\bconst\s*$/, ""), byName, space)
    : (named(to, byName) ?? NONE);
  return { kind: "pointer", to: inner, space };
}

/** A value of `size` bytes of a C type. What the size contradicts (system calls widen everything) is widened. */
function typeOfValue(field: EventField, size: number, byName: TypeByName, syscall: boolean): Type {
  const { ctype } = field;
  if (ctype.includes("*")) return pointer(ctype, byName, syscall ? "user" : "kernel");
  const type = named(ctype, byName);
  const integerSize = size === 1 || size === 2 || size === 4 || size === 8 ? size : undefined;
  if (type?.kind === "pointer" && size === 8) return type;
  if (type?.kind === "bool" && size === 1) return type;
  if (type?.kind === "enum" && integerSize !== undefined) return { ...type, size: integerSize };
  if ((type?.kind === "struct" || type?.kind === "array") && !syscall) return type;
  if (integerSize === undefined)
    return { kind: "array", of: { kind: "int", size: 1, signed: false }, length: size };
  // tracefs calls every argument of a system call unsigned; what C says is right there.
  const signed = syscall && type?.kind === "int" ? type.signed : field.signed;
  return { kind: "int", size: integerSize, signed };
}

function elementOf(ctype: string, size: number | undefined, byName: TypeByName): Type {
  const type = named(ctype, byName);
  if (words(ctype).join(" ") === "char") return CHAR;
  if (type && type.kind !== "struct" && type.kind !== "array") return type;
  const fitting = size === 1 || size === 2 || size === 4 || size === 8 ? size : 8;
  return { kind: "int", size: fitting, signed: false };
}

function fieldOf(field: EventField, byName: TypeByName, syscall: boolean): Field {
  const { name, offset, ctype } = field;
  if (field.location === "data")
    return {
      name,
      offset,
      type: { kind: "array", of: elementOf(ctype, undefined, byName), length: 0 },
      dataLoc: true,
    };
  if (field.location === "relative") return { name, offset, type: { kind: "int", size: 4, signed: false } };
  if (field.length !== undefined) {
    const size = field.length > 0 ? field.size / field.length : undefined;
    return {
      name,
      offset,
      type: { kind: "array", of: elementOf(ctype, size, byName), length: field.length },
    };
  }
  return { name, offset, type: typeOfValue(field, field.size, byName, syscall) };
}

/** A field whose type is found when it is asked for: most scripts ask for few, and the kernel's types need not be opened for them. */
function lazily({ name, offset, location }: EventField, find: () => Field): Field {
  let found: Field | undefined;
  return {
    name,
    offset,
    get type() {
      found ??= find();
      return found.type;
    },
    ...(location === "data" ? { dataLoc: true } : {}),
  };
}

/** The record of `category:event`. */
export function recordOf(
  format: EventFormat,
  category: string,
  byName: TypeByName,
): Structure & { readonly id: number } {
  const syscall = category === "syscalls";
  return {
    id: format.id,
    name: `_tracepoint_${category}_${format.name}`,
    size: Math.max(8, ...format.fields.map((f) => f.offset + f.size)),
    fields: format.fields.map((field) => lazily(field, () => fieldOf(field, byName, syscall))),
  };
}
