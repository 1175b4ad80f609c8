// script: sizes, alignment and names of types, and how values lie in keys, map values and ring records.
import type { Type } from "./types.ts";

export const NONE: Type = { kind: "none" };
export const BOOL: Type = { kind: "bool" };
export const I64: Type = { kind: "int", size: 8, signed: true };
export const U64: Type = { kind: "int", size: 8, signed: false };
export const U32: Type = { kind: "int", size: 4, signed: false };
export const I32: Type = { kind: "int", size: 4, signed: true };
export const U16: Type = { kind: "int", size: 2, signed: false };
export const U8: Type = { kind: "int", size: 1, signed: false };
export const INET: Type = { kind: "inet" };
export const PREFIX: Type = { kind: "prefix" };

/** inet and prefix: {u8 family; u8 length; u8 pad[2]; u8 address[16]}. */
export const INET_SIZE = 20;

export const stringOf = (size: number): Type => ({ kind: "string", size });

const align = (offset: number, to: number): number => Math.ceil(offset / to) * to;
export const align8 = (size: number): number => align(size, 8);

/** Bytes of a value of this type in memory. */
export function sizeOf(type: Type): number {
  switch (type.kind) {
    case "none":
      return 0;
    case "int":
    case "enum":
    case "struct":
    case "string":
      return type.size;
    case "buffer":
      return 4 + type.size;
    case "bool":
      return 1;
    case "array":
      return sizeOf(type.of) * type.length;
    case "tuple":
      return tupleLayout(type.items).size;
    case "inet":
    case "prefix":
      return INET_SIZE;
    case "name":
    case "username":
    case "community":
      return 4;
    case "symbol":
      return type.user ? 16 : 8;
    case "stack":
      return 16 + 8 * type.limit;
    case "mac":
      return 6;
    case "pointer":
    case "timestamp":
    case "cgroup_path":
    case "errno":
    case "syscall":
      return 8;
  }
}

export function alignOf(type: Type): number {
  switch (type.kind) {
    case "none":
    case "bool":
    case "string":
    case "mac":
      return 1;
    case "int":
    case "enum":
      return type.size;
    case "array":
      return alignOf(type.of);
    case "tuple":
      return Math.max(1, ...type.items.map(alignOf));
    case "inet":
    case "prefix":
    case "name":
    case "username":
    case "community":
    case "buffer":
      return 4;
    default:
      return 8;
  }
}

/** Natural alignment, the whole rounded up to the largest. */
export function tupleLayout(items: readonly Type[]): {
  readonly offsets: readonly number[];
  readonly size: number;
} {
  let at = 0;
  const offsets: number[] = [];
  for (const item of items) {
    at = align(at, alignOf(item));
    offsets.push(at);
    at += sizeOf(item);
  }
  return { offsets, size: align(at, Math.max(1, ...items.map(alignOf))) };
}

/** Values that live in one register. */
export function isScalar(type: Type): boolean {
  switch (type.kind) {
    case "int":
    case "bool":
    case "enum":
    case "pointer":
    case "name":
    case "username":
    case "community":
    case "timestamp":
    case "cgroup_path":
    case "errno":
    case "syscall":
      return true;
    case "symbol":
      return !type.user;
    default:
      return false;
  }
}

export const isInteger = (type: Type): boolean =>
  type.kind === "int" || type.kind === "enum" || type.kind === "bool";

export const isSigned = (type: Type): boolean => (type.kind === "int" || type.kind === "enum") && type.signed;

/** The type under which a value is kept in a map, a key or a tuple: integers are 64 bits wide there, so that keys need no padding. */
export function stored(type: Type): Type {
  if (type.kind === "int") return type.size === 8 ? type : { ...type, size: 8 };
  if (type.kind === "tuple")
    return { ...type, items: type.items.map((item) => (item.kind === "int" ? item : stored(item))) };
  if (type.kind === "array" && type.of.kind === "int" && type.of.size === 1 && type.of.signed)
    return stringOf(type.length);
  return type;
}

/** As bpftrace writes types in messages. */
export function formatType(type: Type): string {
  switch (type.kind) {
    case "int":
      return `${type.signed ? "" : "u"}int${type.size * 8}`;
    case "enum":
      return `enum ${type.name}`;
    case "pointer":
      return `${formatType(type.to) === "none" ? "void" : formatType(type.to)} *`;
    case "array":
      return `${formatType(type.of)}[${type.length}]`;
    case "struct":
      return /^(struct|union) /.test(type.name)
        ? type.name
        : `${type.union ? "union" : "struct"} ${type.name}`;
    case "string":
      return `string[${type.size}]`;
    case "buffer":
      return `buffer[${type.size}]`;
    case "tuple":
      if (type.names)
        return `(${type.items.map((t, i) => `${type.names?.[i] ?? ""}=${formatType(t)}`).join(",")})`;
      return `(${type.items.map(formatType).join(",")})`;
    case "name":
      return type.dictionary;
    case "stack":
      return type.user ? "ustack" : "kstack";
    case "symbol":
      return type.user ? "usym_t" : "ksym_t";
    case "mac":
      return "mac_address";
    default:
      return type.kind;
  }
}

/** Whether two types hold the same values in the same layout. */
export function sameType(a: Type, b: Type): boolean {
  if (a.kind !== b.kind) return false;
  if (a.kind === "tuple" && b.kind === "tuple")
    return (
      a.items.length === b.items.length &&
      a.items.every((t, i) => sameType(t, b.items[i] ?? NONE)) &&
      String(a.names) === String(b.names)
    );
  if (a.kind === "stack" && b.kind === "stack")
    return a.user === b.user && a.limit === b.limit && a.mode === b.mode;
  if (a.kind === "name" && b.kind === "name") return a.dictionary === b.dictionary;
  if (a.kind === "timestamp" && b.kind === "timestamp") return a.format === b.format && a.clock === b.clock;
  if (a.kind === "symbol" && b.kind === "symbol") return a.user === b.user;
  if (a.kind === "pointer" && b.kind === "pointer")
    return formatType(a) === formatType(b) && a.space === b.space;
  return formatType(a) === formatType(b);
}

const larger = <T extends number>(a: T, b: T): T => (b > a ? b : a);

/**
 * The type that can hold both, for a map, key or variable that is assigned from several places; undefined if there is none.
 * Integers become 64 bits, signed if either is; strings and buffers take the larger size.
 */
export function unify(a: Type, b: Type): Type | undefined {
  if (a.kind === "none") return b;
  if (b.kind === "none" || sameType(a, b)) return a;
  if (a.kind === "int" && b.kind === "int")
    return { kind: "int", size: larger(a.size, b.size), signed: a.signed || b.signed };
  const number = (t: Type) => t.kind === "int" || t.kind === "enum" || t.kind === "bool";
  if (number(a) && number(b)) return I64;
  if (a.kind === "string" && b.kind === "string") {
    const size = larger(a.size, b.size);
    return { kind: "string", size, ...(a.cut || b.cut ? { cut: true } : {}) };
  }
  if (a.kind === "buffer" && b.kind === "buffer") return a.size >= b.size ? a : b;
  if (a.kind === "stack" && b.kind === "stack" && a.user === b.user && a.mode === b.mode)
    return a.limit >= b.limit ? a : b;
  if (a.kind === "pointer" && b.kind === "pointer") return { ...a, to: NONE };
  if (a.kind === "pointer" && b.kind === "int") return U64;
  if (a.kind === "int" && b.kind === "pointer") return U64;
  if (
    a.kind === "tuple" &&
    b.kind === "tuple" &&
    a.items.length === b.items.length &&
    String(a.names) === String(b.names)
  ) {
    const items: Type[] = [];
    for (const [i, item] of a.items.entries()) {
      const both = unify(item, b.items[i] ?? NONE);
      if (!both) return undefined;
      items.push(both);
    }
    return { ...a, items };
  }
  return undefined;
}
