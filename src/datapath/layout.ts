// datapath: what the maps of an object look like: a hash that names the layout, and values moved from one to another.
import { createHash } from "node:crypto";
import { btfById } from "../kernel/bpf.ts";
import { Btf, BtfKind } from "../kernel/btf.ts";
import type { BpfObject } from "../kernel/libbpf.ts";
import type { BpfMap, MapInfo } from "../kernel/maps.ts";

/** A member of a map's value (or the whole of it, where that is no struct): what to copy where. */
export interface Field {
  readonly name: string;
  /** Bytes. */
  readonly offset: number;
  readonly size: number;
  readonly type: string;
}

/** A map's shape, types included. */
export interface MapLayout {
  readonly name: string;
  readonly type: number;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly flags: number;
  readonly key: string;
  readonly value: string;
  readonly fields: readonly Field[];
}

/** A type in words that change when its layout does: names, offsets and sizes, all the way down. */
export function describeType(btf: Btf, id: number): string {
  const at = btf.resolve(id);
  const kind = btf.kind(at);
  if (kind === BtfKind.ARRAY) {
    const { elementId, length } = btf.array(at);
    return `${describeType(btf, elementId)}[${length}]`;
  }
  if (kind === BtfKind.STRUCT || kind === BtfKind.UNION) {
    const members = btf.members(at).map((m) => `${m.name}@${m.bitOffset}:${describeType(btf, m.typeId)}`);
    return `{${members.join(" ")}}${btf.size(at)}`;
  }
  return `${btf.size(at)}`;
}

function fieldsOf(btf: Btf, id: number): Field[] {
  const at = btf.resolve(id);
  if (btf.kind(at) !== BtfKind.STRUCT)
    return [{ name: "", offset: 0, size: btf.size(at), type: describeType(btf, at) }];
  return btf.members(at).map((m) => ({
    name: m.name,
    offset: m.bitOffset / 8,
    size: btf.size(m.typeId),
    type: describeType(btf, m.typeId),
  }));
}

function layoutOf(
  shape: Pick<
    MapInfo,
    "name" | "type" | "keySize" | "valueSize" | "maxEntries" | "flags" | "keyTypeId" | "valueTypeId"
  >,
  btf: Btf,
): MapLayout {
  const { name, type, keySize, valueSize, maxEntries, flags } = shape;
  return {
    ...{ name, type, keySize, valueSize, maxEntries, flags },
    key: describeType(btf, shape.keyTypeId),
    value: describeType(btf, shape.valueTypeId),
    fields: fieldsOf(btf, shape.valueTypeId),
  };
}

/** The layouts of an object's maps; without those that the compiler makes for its constants. */
export function objectLayouts(object: BpfObject): MapLayout[] {
  const bytes = object.btf();
  if (!bytes) throw new Error(`${object.path} was compiled without BTF (-g)`);
  const btf = new Btf(bytes);
  return object
    .maps()
    .filter((map) => !map.name.includes("."))
    .map((map) => layoutOf(map, btf))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** The layout of a map that is in the kernel; undefined if it was made without BTF. */
export function mapLayout(map: BpfMap): MapLayout | undefined {
  const info = map.info();
  const bytes = info.btfId === 0 ? undefined : btfById(info.btfId);
  return bytes && layoutOf(info, new Btf(bytes));
}

/** Twelve hex digits that name a set of layouts. */
export function layoutHash(layouts: readonly MapLayout[]): string {
  const text = layouts.map(
    (l) => `${l.name} ${l.type} ${l.keySize} ${l.valueSize} ${l.maxEntries} ${l.flags} ${l.key} ${l.value}\n`,
  );
  return createHash("sha256").update(text.join("")).digest("hex").slice(0, 12);
}

/** Whether one map can stand in for the other. Names in the kernel are cut to 15 bytes, so they are not compared. */
export const sameLayout = (a: MapLayout, b: MapLayout): boolean =>
  a.type === b.type &&
  a.keySize === b.keySize &&
  a.valueSize === b.valueSize &&
  a.maxEntries === b.maxEntries &&
  a.flags === b.flags &&
  a.key === b.key &&
  a.value === b.value;

/**
 * How to make a value of one layout from one of another: fields of the same name and type are copied, new ones are zero.
 * undefined where the keys differ: then there is no way.
 */
export function converter(from: MapLayout, to: MapLayout): ((value: Uint8Array) => Uint8Array) | undefined {
  if (from.key !== to.key || from.keySize !== to.keySize) return undefined;
  const source = new Map(from.fields.map((f) => [f.name, f]));
  const copies = to.fields.flatMap((field) => {
    const known = source.get(field.name);
    return known && known.type === field.type
      ? [{ from: known.offset, to: field.offset, size: field.size }]
      : [];
  });
  return (value) => {
    const converted = new Uint8Array(to.valueSize);
    for (const c of copies) converted.set(value.subarray(c.from, c.from + c.size), c.to);
    return converted;
  };
}
