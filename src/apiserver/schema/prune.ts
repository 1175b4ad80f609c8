// apiserver/schema: takes out what a schema does not know, names it, and fills in defaults.
import { clone, isObject, type Json, type JsonObject } from "../json.ts";
import { fieldSchema, type Schema } from "./schema.ts";

const rootFields = new Set(["apiVersion", "kind", "metadata"]);

/**
 * Removes unknown fields from `value` in place and returns their paths (`spec.ports[0].nope`). Where the object is a
 * whole resource its apiVersion, kind and metadata stay and are not looked into.
 */
export function prune(value: Json, schema: Schema, isResource = true): string[] {
  const unknown: string[] = [];
  pruneAt(value, schema, "", isResource, unknown);
  return unknown;
}

function pruneAt(value: Json, schema: Schema, path: string, isResource: boolean, unknown: string[]): void {
  if (Array.isArray(value)) {
    const { items } = schema;
    if (!items) return;
    for (let i = 0; i < value.length; i++)
      pruneAt(value[i]!, items, `${path}[${i}]`, items.embeddedResource === true, unknown);
    return;
  }
  if (!isObject(value) || (schema.preserveUnknown && !schema.properties)) return;
  for (const key of Object.keys(value)) {
    if (isResource && rootFields.has(key)) continue;
    const child = fieldSchema(schema, key);
    const childPath = path ? `${path}.${key}` : key;
    if (child) pruneAt(value[key]!, child, childPath, child.embeddedResource === true, unknown);
    else if (schema.additionalProperties === true || schema.preserveUnknown) continue;
    else {
      delete value[key];
      unknown.push(childPath);
    }
  }
}

/** Fills in defaults in place, also inside lists, maps and objects that defaults brought in. */
export function applyDefaults(value: Json, schema: Schema): void {
  if (Array.isArray(value)) {
    const { items } = schema;
    if (!items) return;
    for (let i = 0; i < value.length; i++) {
      if (value[i] === null && items.default !== undefined && !items.nullable)
        value[i] = clone(items.default);
      applyDefaults(value[i]!, items);
    }
    return;
  }
  if (!isObject(value)) return;
  for (const [key, property] of schema.properties ?? []) fillField(value, key, property);
  if (typeof schema.additionalProperties !== "object") return;
  for (const key of Object.keys(value))
    if (!schema.properties?.has(key)) fillField(value, key, schema.additionalProperties);
}

function fillField(object: JsonObject, key: string, schema: Schema): void {
  // A null where none is allowed counts as not set.
  if (object[key] === null && !schema.nullable && (schema.type || schema.intOrString)) delete object[key];
  if (!Object.hasOwn(object, key) && schema.default !== undefined) object[key] = clone(schema.default);
  if (Object.hasOwn(object, key)) applyDefaults(object[key]!, schema);
}

/** Puts in, in place, what a Go server writes for fields that nobody set; see {@link Schema.zero}. */
export function fillZeros(value: Json, schema: Schema): void {
  if (Array.isArray(value)) {
    for (const item of value) if (schema.items) fillZeros(item, schema.items);
    return;
  }
  if (!isObject(value)) return;
  for (const [key, property] of schema.properties ?? []) {
    if (property.zero !== undefined && (value[key] === undefined || value[key] === null))
      value[key] = clone(property.zero);
    if (Object.hasOwn(value, key)) fillZeros(value[key]!, property);
  }
  if (typeof schema.additionalProperties !== "object") return;
  for (const item of Object.values(value)) fillZeros(item, schema.additionalProperties);
}

/** Whether {@link applyDefaults} would change the value. */
export function missesDefaults(value: Json, schema: Schema): boolean {
  if (!hasDefaults(schema)) return false;
  if (Array.isArray(value)) {
    const { items } = schema;
    return items !== undefined && value.some((item) => missesDefaults(item, items));
  }
  if (!isObject(value)) return false;
  const { properties, additionalProperties } = schema;
  for (const [key, property] of properties ?? []) {
    const present = Object.hasOwn(value, key) && (value[key] !== null || property.nullable === true);
    if (present ? missesDefaults(value[key]!, property) : property.default !== undefined) return true;
  }
  if (typeof additionalProperties !== "object") return false;
  return Object.keys(value).some(
    (key) => !properties?.has(key) && missesDefaults(value[key]!, additionalProperties),
  );
}

const withDefaults = new WeakMap<Schema, boolean>();

function hasDefaults(schema: Schema): boolean {
  const known = withDefaults.get(schema);
  if (known !== undefined) return known;
  // A schema in a circle counts as without while it is being looked into.
  withDefaults.set(schema, false);
  const children = [
    schema.items,
    typeof schema.additionalProperties === "object" ? schema.additionalProperties : undefined,
    ...(schema.properties?.values() ?? []),
  ];
  const found =
    schema.default !== undefined || children.some((child) => child !== undefined && hasDefaults(child));
  withDefaults.set(schema, found);
  return found;
}
