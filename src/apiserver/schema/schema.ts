// apiserver/schema: a structural schema as the server uses it, for custom kinds and for built-in ones alike.
import { isObject, type Json, type JsonObject, listAt, stringsAt } from "../json.ts";

export interface CelRule {
  readonly rule: string;
  readonly message?: string;
  readonly messageExpression?: string;
  readonly reason?: string;
  readonly fieldPath?: string;
  readonly optionalOldSelf?: boolean;
}

/**
 * One node of a structural schema (apiextensions v1). Built-in types add what OpenAPI says of them elsewhere: a type
 * name, and how a strategic merge patch treats the field. The graph of a built-in type may have cycles.
 */
export interface Schema {
  readonly type?: "object" | "array" | "string" | "integer" | "number" | "boolean";
  /** Name of a built-in type, as in OpenAPI: `io.k8s.api.core.v1.Node`. */
  readonly typeName?: string;
  readonly description?: string;
  readonly properties?: ReadonlyMap<string, Schema>;
  readonly additionalProperties?: Schema | true;
  readonly items?: Schema;
  readonly required?: readonly string[];
  readonly nullable?: boolean;
  readonly default?: Json;
  /** Built-in types: what the field holds where nobody set it, because Go always writes it. Nobody comes to own it. */
  readonly zero?: Json;
  readonly format?: string;
  readonly enum?: readonly Json[];
  readonly pattern?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly exclusiveMinimum?: boolean;
  readonly exclusiveMaximum?: boolean;
  readonly multipleOf?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly uniqueItems?: boolean;
  readonly minProperties?: number;
  readonly maxProperties?: number;
  readonly allOf?: readonly Schema[];
  readonly anyOf?: readonly Schema[];
  readonly oneOf?: readonly Schema[];
  readonly not?: Schema;
  readonly listType?: "atomic" | "set" | "map";
  readonly listMapKeys?: readonly string[];
  readonly mapType?: "atomic" | "granular";
  readonly preserveUnknown?: boolean;
  readonly intOrString?: boolean;
  readonly embeddedResource?: boolean;
  readonly validations?: readonly CelRule[];
  readonly patchMergeKey?: string;
  readonly patchStrategy?: string;
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

const numberKeys = [
  "minimum",
  "maximum",
  "multipleOf",
  "minLength",
  "maxLength",
  "minItems",
  "maxItems",
  "minProperties",
  "maxProperties",
] as const;
const stringKeys = ["description", "format", "pattern"] as const;
const booleanKeys = ["nullable", "exclusiveMinimum", "exclusiveMaximum", "uniqueItems"] as const;
const types = ["object", "array", "string", "integer", "number", "boolean"] as const;

/** Reads an openAPIV3Schema. Whether it is a good structural schema is checked elsewhere; here unknown things are dropped. */
export function parseSchema(source: Json | undefined): Schema {
  if (!isObject(source)) return {};
  const schema: Mutable<Schema> = {};
  const type = types.find((t) => t === source.type);
  if (type) schema.type = type;
  for (const key of numberKeys) if (typeof source[key] === "number") schema[key] = source[key];
  for (const key of stringKeys) if (typeof source[key] === "string") schema[key] = source[key];
  for (const key of booleanKeys) if (typeof source[key] === "boolean") schema[key] = source[key];
  if (source.default !== undefined) schema.default = source.default;
  if (Array.isArray(source.enum)) schema.enum = source.enum;
  if (Array.isArray(source.required)) schema.required = stringsAt(source, "required");
  if (isObject(source.properties))
    schema.properties = new Map(Object.entries(source.properties).map(([k, v]) => [k, parseSchema(v)]));
  if (isObject(source.additionalProperties))
    schema.additionalProperties = parseSchema(source.additionalProperties);
  else if (source.additionalProperties === true) schema.additionalProperties = true;
  if (isObject(source.items)) schema.items = parseSchema(source.items);
  for (const key of ["allOf", "anyOf", "oneOf"] as const)
    if (Array.isArray(source[key])) schema[key] = listAt(source, key).map(parseSchema);
  if (isObject(source.not)) schema.not = parseSchema(source.not);
  readExtensions(source, schema);
  return schema;
}

function readExtensions(source: JsonObject, schema: Mutable<Schema>): void {
  const listType = source["x-kubernetes-list-type"];
  if (listType === "atomic" || listType === "set" || listType === "map") schema.listType = listType;
  const keys = stringsAt(source, "x-kubernetes-list-map-keys");
  if (keys.length > 0) schema.listMapKeys = keys;
  const mapType = source["x-kubernetes-map-type"];
  if (mapType === "atomic" || mapType === "granular") schema.mapType = mapType;
  if (source["x-kubernetes-preserve-unknown-fields"] === true) schema.preserveUnknown = true;
  if (source["x-kubernetes-int-or-string"] === true) schema.intOrString = true;
  if (source["x-kubernetes-embedded-resource"] === true) schema.embeddedResource = true;
  const rules = listAt(source, "x-kubernetes-validations").filter(isObject);
  if (rules.length > 0) schema.validations = rules.map(parseRule);
}

function parseRule(source: JsonObject): CelRule {
  const rule: Mutable<CelRule> = { rule: typeof source.rule === "string" ? source.rule : "" };
  for (const key of ["message", "messageExpression", "reason", "fieldPath"] as const)
    if (typeof source[key] === "string") rule[key] = source[key];
  if (source.optionalOldSelf === true) rule.optionalOldSelf = true;
  return rule;
}

/** The schema of a field of an object, or of a value of a map; undefined where the schema does not know it. */
export function fieldSchema(schema: Schema | undefined, name: string): Schema | undefined {
  const property = schema?.properties?.get(name);
  if (property) return property;
  return typeof schema?.additionalProperties === "object" ? schema.additionalProperties : undefined;
}

/** The key that tells items of a map list apart, with defaults filled in, or undefined for an item without them. */
export function listKey(schema: Schema, item: Json): JsonObject | undefined {
  if (!isObject(item)) return undefined;
  const key: JsonObject = {};
  for (const name of schema.listMapKeys ?? []) {
    const value = item[name] ?? fieldSchema(schema.items, name)?.default;
    if (value === undefined) return undefined;
    key[name] = value;
  }
  return key;
}
