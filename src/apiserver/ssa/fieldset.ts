// apiserver/ssa: sets of field paths, as managedFields keeps them (FieldsV1 of KEP-555, sets of structured-merge-diff).
import { isObject, type Json, type JsonObject } from "../json.ts";

/**
 * A set of paths as a tree. Path elements are kept in their FieldsV1 form: `f:name` for a field, `k:{"a":1}` for an item
 * of a map list, `v:"x"` for an item of a set. Values are never changed after they were made.
 */
export interface FieldSet {
  /** Elements at this level that are in the set themselves. */
  readonly members: ReadonlySet<string>;
  /** Elements that have something in the set below them. Never an empty set. */
  readonly children: ReadonlyMap<string, FieldSet>;
}

export const emptySet: FieldSet = { members: new Set(), children: new Map() };

export const isEmpty = (set: FieldSet): boolean => set.members.size === 0 && set.children.size === 0;

function combine(
  a: FieldSet,
  b: FieldSet,
  keys: Iterable<string>,
  members: ReadonlySet<string>,
  below: (a: FieldSet, b: FieldSet) => FieldSet,
): FieldSet {
  const children = new Map<string, FieldSet>();
  for (const key of keys) {
    const child = below(a.children.get(key) ?? emptySet, b.children.get(key) ?? emptySet);
    if (!isEmpty(child)) children.set(key, child);
  }
  return { members, children };
}

export function union(a: FieldSet, b: FieldSet): FieldSet {
  if (isEmpty(a)) return b;
  if (isEmpty(b)) return a;
  return combine(
    a,
    b,
    new Set([...a.children.keys(), ...b.children.keys()]),
    a.members.union(b.members),
    union,
  );
}

export function intersection(a: FieldSet, b: FieldSet): FieldSet {
  if (isEmpty(a) || isEmpty(b)) return emptySet;
  return combine(a, b, a.children.keys(), a.members.intersection(b.members), intersection);
}

/** The paths of `a` that are not themselves in `b`; a path in `b` says nothing of what is below it. */
export function difference(a: FieldSet, b: FieldSet): FieldSet {
  if (isEmpty(a) || isEmpty(b)) return a;
  return combine(a, b, a.children.keys(), a.members.difference(b.members), difference);
}

/** Like {@link difference}, but a path in `b` takes everything below it away as well. */
export function recursiveDifference(a: FieldSet, b: FieldSet): FieldSet {
  if (isEmpty(a) || isEmpty(b)) return a;
  const keys = [...a.children.keys()].filter((key) => !b.members.has(key));
  return combine(a, b, keys, a.members.difference(b.members), recursiveDifference);
}

export function setsEqual(a: FieldSet, b: FieldSet): boolean {
  if (a.members.size !== b.members.size || a.children.size !== b.children.size) return false;
  for (const member of a.members) if (!b.members.has(member)) return false;
  for (const [key, child] of a.children) {
    const other = b.children.get(key);
    if (!other || !setsEqual(child, other)) return false;
  }
  return true;
}

/** The set of one path. */
export function pathSet(path: readonly string[]): FieldSet {
  const [first, ...rest] = path;
  if (first === undefined) return emptySet;
  return rest.length === 0
    ? { members: new Set([first]), children: new Map() }
    : { members: new Set(), children: new Map([[first, pathSet(rest)]]) };
}

/** Collects paths; {@link build} makes the set. */
export class SetBuilder {
  readonly members = new Set<string>();
  readonly #children = new Map<string, SetBuilder>();

  child(element: string): SetBuilder {
    let found = this.#children.get(element);
    if (!found) {
      found = new SetBuilder();
      this.#children.set(element, found);
    }
    return found;
  }

  build(): FieldSet {
    const children = new Map<string, FieldSet>();
    for (const [key, child] of this.#children) {
      const set = child.build();
      if (!isEmpty(set)) children.set(key, set);
    }
    return { members: this.members, children };
  }
}

/** FieldsV1: keys sorted, `.` for a path that is in the set and has others below it. */
export function toFieldsV1(set: FieldSet): JsonObject {
  const result: JsonObject = {};
  for (const key of [...new Set([...set.members, ...set.children.keys()])].sort()) {
    const child = set.children.get(key);
    result[key] = {
      ...(set.members.has(key) && child ? { ".": {} } : {}),
      ...(child ? toFieldsV1(child) : {}),
    };
  }
  return result;
}

/** Reads FieldsV1; anything malformed is left out. */
export function fromFieldsV1(source: Json | undefined): FieldSet {
  const members = new Set<string>();
  const children = new Map<string, FieldSet>();
  for (const [key, value] of Object.entries(isObject(source) ? source : {})) {
    if (!/^[fkvi]:/.test(key) || !isObject(value)) continue;
    const child = fromFieldsV1(value);
    if (isEmpty(child) || Object.hasOwn(value, ".")) members.add(key);
    if (!isEmpty(child)) children.set(key, child);
  }
  return { members, children };
}

/** A path element as conflict messages show it: `.spec`, `[name="a"]`, `[="x"]`. */
export function elementText(element: string): string {
  const body = element.slice(2);
  if (element.startsWith("f:")) return `.${body}`;
  if (element.startsWith("v:")) return `[=${body}]`;
  const key = JSON.parse(body) as JsonObject;
  return `[${Object.keys(key)
    .sort()
    .map((name) => `${name}=${JSON.stringify(key[name])}`)
    .join(",")}]`;
}

/** Every path of the set as text: what is at one level before what is below it. */
export function pathTexts(set: FieldSet, prefix = ""): string[] {
  const texts = [...set.members].sort().map((key) => prefix + elementText(key));
  for (const key of [...set.children.keys()].sort())
    texts.push(...pathTexts(set.children.get(key)!, prefix + elementText(key)));
  return texts;
}
