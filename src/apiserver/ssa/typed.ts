// apiserver/ssa: values seen through a schema: their field sets, what differs, how an applied one merges into a live one.
import { canonical, clone, equal, isObject, type Json, type JsonObject } from "../json.ts";
import { fieldSchema, listKey, type Schema } from "../schema/schema.ts";
import { emptySet, type FieldSet, isEmpty, SetBuilder } from "./fieldset.ts";

/** How a value is owned: as a whole, by its items, or by its fields. */
type Shape = "leaf" | "items" | "fields";

/** A value that the schema does not describe is what it looks like: objects by their fields, lists as a whole. */
function shapeOf(value: Json | undefined, schema: Schema | undefined): Shape {
  if (isObject(value)) return schema?.mapType === "atomic" ? "leaf" : "fields";
  if (Array.isArray(value))
    return schema?.listType === "map" || schema?.listType === "set" ? "items" : "leaf";
  return "leaf";
}

const fieldElement = (name: string): string => `f:${name}`;

/** The element of an item of a set or map list; undefined for one whose key is not complete. */
function itemElement(item: Json, schema: Schema): string | undefined {
  if (schema.listType === "set") return `v:${canonical(item)}`;
  const key = listKey(schema, item);
  return key ? `k:${canonical(key)}` : undefined;
}

interface Item {
  readonly element: string;
  readonly value: Json;
}

function itemsOf(list: Json | undefined, schema: Schema): Item[] {
  const items: Item[] = [];
  for (const value of Array.isArray(list) ? list : []) {
    const element = itemElement(value, schema);
    if (element !== undefined) items.push({ element, value });
  }
  return items;
}

/** All the paths that applying `value` claims. */
export function fieldsOf(value: Json, schema: Schema): FieldSet {
  const builder = new SetBuilder();
  collect(value, schema, builder);
  return builder.build();
}

function collect(value: Json, schema: Schema | undefined, into: SetBuilder): void {
  if (isObject(value)) {
    for (const [name, child] of Object.entries(value)) {
      const element = fieldElement(name);
      const known = schema?.properties?.has(name) === true;
      const childSchema = schema && fieldSchema(schema, name);
      if (shapeOf(child, childSchema) !== "leaf") collect(child, childSchema, into.child(element));
      const emptyMap = isObject(child) && Object.keys(child).length === 0;
      if (shapeOf(child, childSchema) === "leaf" || child === null || emptyMap || !known)
        into.members.add(element);
    }
    return;
  }
  if (!schema) return;
  for (const item of itemsOf(value, schema)) {
    into.members.add(item.element);
    if (shapeOf(item.value, schema.items) !== "leaf")
      collect(item.value, schema.items, into.child(item.element));
  }
}

export interface Comparison {
  readonly added: FieldSet;
  readonly modified: FieldSet;
  readonly removed: FieldSet;
}

interface Builders {
  readonly added: SetBuilder;
  readonly modified: SetBuilder;
  readonly removed: SetBuilder;
}

const childBuilders = (b: Builders, element: string): Builders => ({
  added: b.added.child(element),
  modified: b.modified.child(element),
  removed: b.removed.child(element),
});

/** Which paths come, change and go between two values of a schema. */
export function compare(before: Json, after: Json, schema: Schema): Comparison {
  const builders: Builders = {
    added: new SetBuilder(),
    modified: new SetBuilder(),
    removed: new SetBuilder(),
  };
  compareInside(before, after, schema, builders);
  return {
    added: builders.added.build(),
    modified: builders.modified.build(),
    removed: builders.removed.build(),
  };
}

function compareInside(
  before: Json | undefined,
  after: Json | undefined,
  schema: Schema | undefined,
  into: Builders,
): void {
  if (isObject(before) || isObject(after)) {
    const left = isObject(before) ? before : {};
    const right = isObject(after) ? after : {};
    for (const name of new Set([...Object.keys(left), ...Object.keys(right)]))
      compareAt(left[name], right[name], schema && fieldSchema(schema, name), fieldElement(name), into);
    return;
  }
  if (!schema) return;
  const left = new Map(itemsOf(before, schema).map((i) => [i.element, i.value]));
  const right = new Map(itemsOf(after, schema).map((i) => [i.element, i.value]));
  for (const element of new Set([...left.keys(), ...right.keys()]))
    compareAt(left.get(element), right.get(element), schema.items, element, into);
}

const size = (value: Json | undefined): number =>
  Array.isArray(value) ? value.length : isObject(value) ? Object.keys(value).length : 0;

function compareAt(
  before: Json | undefined,
  after: Json | undefined,
  schema: Schema | undefined,
  element: string,
  into: Builders,
): void {
  // A null takes the shape of what it is compared with.
  const shapeBefore = before === undefined || before === null ? undefined : shapeOf(before, schema);
  const shapeAfter = after === undefined || after === null ? undefined : shapeOf(after, schema);
  const leaf =
    (shapeBefore ?? shapeAfter) === "leaf" ||
    (shapeAfter ?? shapeBefore) === "leaf" ||
    (size(before) === 0 && size(after) === 0);
  if (before === undefined) into.added.members.add(element);
  else if (after === undefined) into.removed.members.add(element);
  else if (leaf && !equal(before, after)) into.modified.members.add(element);
  if (leaf && shapeBefore !== "fields" && shapeAfter !== "fields") return;
  if (leaf && size(before) === 0 && size(after) === 0) return;
  compareInside(before, after, schema, childBuilders(into, element));
}

export const isSame = (c: Comparison): boolean =>
  isEmpty(c.added) && isEmpty(c.modified) && isEmpty(c.removed);

/** The live value with the applied one on top: granular maps and lists are joined, everything else is replaced. */
export function merge(live: Json | undefined, applied: Json, schema: Schema | undefined): Json {
  if (live === undefined) return clone(applied);
  const shape = shapeOf(applied, schema);
  if (shape !== shapeOf(live, schema) || shape === "leaf") return clone(applied);
  if (shape === "items") return mergeItems(live, applied, schema!);
  const result = { ...(live as JsonObject) };
  for (const [name, value] of Object.entries(applied as JsonObject))
    result[name] = merge(result[name], value, schema && fieldSchema(schema, name));
  return result;
}

/**
 * Items that both lists have keep the order of the applied one; those that only the live list has stay before what came
 * after them there (the order of structured-merge-diff).
 */
function mergeItems(live: Json, applied: Json, schema: Schema): Json[] {
  const left = itemsOf(live, schema);
  const right = itemsOf(applied, schema);
  const leftByElement = new Map(left.map((i) => [i.element, i.value]));
  const wanted = new Set(right.map((i) => i.element));
  const shared = right.filter((i) => leftByElement.has(i.element)).map((i) => i.element);
  const result: Json[] = [];
  let l = 0;
  let r = 0;
  let next = 0;
  while (l < left.length || r < right.length) {
    const mine = left[l];
    const theirs = right[r];
    if (
      mine &&
      mine.element !== theirs?.element &&
      (!wanted.has(mine.element) || mine.element !== shared[next])
    ) {
      if (!wanted.has(mine.element)) result.push(mine.value);
      l += 1;
      continue;
    }
    if (!theirs) break;
    result.push(merge(leftByElement.get(theirs.element), theirs.value, schema.items));
    if (mine?.element === theirs.element) l += 1;
    if (theirs.element === shared[next]) next += 1;
    r += 1;
  }
  return result;
}

/** The value without the paths of `set`; what loses all of its parts goes as well, unless it is in `owned` itself. */
export function removeFields(
  value: Json,
  set: FieldSet,
  schema: Schema | undefined,
  owned: FieldSet = emptySet,
): Json {
  if (isEmpty(set)) return value;
  const below = (element: string): FieldSet => owned.children.get(element) ?? emptySet;
  if (isObject(value)) {
    const result: JsonObject = {};
    for (const [name, child] of Object.entries(value)) {
      const element = fieldElement(name);
      if (set.members.has(element)) continue;
      const inside = set.children.get(element);
      const kept = inside
        ? removeFields(child, inside, schema && fieldSchema(schema, name), below(element))
        : child;
      if (inside && size(kept) === 0 && size(child) > 0 && !owned.members.has(element)) continue;
      result[name] = kept;
    }
    return result;
  }
  if (!Array.isArray(value) || !schema) return value;
  const result: Json[] = [];
  for (const item of value) {
    const element = itemElement(item, schema);
    if (element !== undefined && set.members.has(element)) continue;
    const inside = element === undefined ? undefined : set.children.get(element);
    result.push(
      inside && element !== undefined ? removeFields(item, inside, schema.items, below(element)) : item,
    );
  }
  return result;
}

/** Adds the named fields above the paths of a set: owning `spec.a` means `spec` must not go while `a` stays. */
export function withNamedParents(set: FieldSet, schema: Schema | undefined): FieldSet {
  if (set.children.size === 0) return set;
  const members = new Set(set.members);
  const children = new Map<string, FieldSet>();
  for (const [element, child] of set.children) {
    const isField = element.startsWith("f:");
    if (isField && schema?.properties?.has(element.slice(2))) members.add(element);
    const childSchema = isField ? schema && fieldSchema(schema, element.slice(2)) : schema?.items;
    children.set(element, withNamedParents(child, childSchema));
  }
  return { members, children };
}
