// apiserver/schema: checks a value against a structural schema, in the words of the real server's validator.
import { canonical, equal, isObject, type Json, type JsonObject } from "../json.ts";
import { type FieldError, fieldErrors, shown } from "../messages.ts";
import { matchesFormat } from "./formats.ts";
import { fieldSchema, listKey, type Schema } from "./schema.ts";

/** At most this many complaints about one object: a body of 3 MiB could make millions. */
const maxErrors = 100;

interface Walk {
  readonly errors: FieldError[];
}

/**
 * Complaints about `value`. With `old`, whatever has not changed is not complained about again (KEP-4008: tightening a
 * schema does not make stored objects unwritable).
 */
export function validateSchema(value: Json, schema: Schema, old?: Json): FieldError[] {
  const walk: Walk = { errors: [] };
  check(value, schema, "", old, walk);
  return walk.errors;
}

const typeName = (value: Json): string => {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  if (typeof value === "number") return Number.isInteger(value) ? "integer" : "number";
  return typeof value;
};

function hasType(value: Json, schema: Schema): boolean {
  if (schema.intOrString) return typeof value === "string" || Number.isInteger(value);
  if (!schema.type) return true;
  const actual = typeName(value);
  return actual === schema.type || (schema.type === "number" && actual === "integer");
}

function check(value: Json, schema: Schema, path: string, old: Json | undefined, walk: Walk): void {
  if (walk.errors.length >= maxErrors) return;
  if (value === null && (schema.nullable || schema.zero === null || (!schema.type && !schema.intOrString)))
    return;
  if (old !== undefined && equal(value, old)) return;
  if (!hasType(value, schema)) {
    const expected = schema.intOrString ? "integer,string" : schema.type;
    const actual = typeName(value);
    walk.errors.push(
      fieldErrors.typeInvalid(
        path,
        actual,
        `${path} in body must be of type ${expected}: ${JSON.stringify(actual)}`,
      ),
    );
    return;
  }
  if (typeof value === "string") checkString(value, schema, path, walk);
  else if (typeof value === "number") checkNumber(value, schema, path, walk);
  else if (Array.isArray(value)) checkList(value, schema, path, old, walk);
  else if (isObject(value)) checkObject(value, schema, path, old, walk);
  if (schema.enum && !schema.enum.some((allowed) => equal(allowed, value)))
    walk.errors.push(fieldErrors.notSupported(path, value, schema.enum.map(shown)));
  checkCombined(value, schema, path, walk);
}

const patterns = new Map<string, RegExp | undefined>();

/** RE2 patterns are nearly JavaScript ones; a leading `(?i)` and possessive differences are what people write. */
export function compilePattern(pattern: string): RegExp | undefined {
  if (!patterns.has(pattern)) {
    if (patterns.size > 10_000) patterns.clear();
    const flags = /^\(\?([is]+)\)/.exec(pattern);
    const body = flags ? pattern.slice(flags[0].length) : pattern;
    const portable = body.replaceAll("\\z", "$").replaceAll("\\A", "^").replaceAll("(?P<", "(?<");
    let compiled: RegExp | undefined;
    try {
      compiled = new RegExp(portable, `${flags?.[1] ?? ""}u`);
    } catch {
      try {
        // Without the u flag JavaScript lets through escapes that RE2 knows as literals, such as \- and \_.
        compiled = new RegExp(portable, flags?.[1] ?? "");
      } catch {
        compiled = undefined;
      }
    }
    patterns.set(pattern, compiled);
  }
  return patterns.get(pattern);
}

function checkString(value: string, schema: Schema, path: string, walk: Walk): void {
  const { maxLength, minLength, pattern, format } = schema;
  // Counting code points is slow; a string that is short in UTF-16 units is short in code points too.
  const length =
    maxLength !== undefined && value.length <= maxLength && !minLength ? value.length : [...value].length;
  if (maxLength !== undefined && length > maxLength) walk.errors.push(fieldErrors.tooLong(path, maxLength));
  if (minLength !== undefined && length < minLength)
    walk.errors.push(
      fieldErrors.invalid(path, value, `${path} in body should be at least ${minLength} chars long`),
    );
  if (pattern !== undefined && compilePattern(pattern)?.test(value) === false)
    walk.errors.push(fieldErrors.invalid(path, value, `${path} in body should match '${pattern}'`));
  if (format !== undefined && !matchesFormat(format, value))
    walk.errors.push(
      fieldErrors.invalid(path, value, `${path} in body must be of type ${format}: ${JSON.stringify(value)}`),
    );
}

function checkNumber(value: number, schema: Schema, path: string, walk: Walk): void {
  const { minimum, maximum, multipleOf } = schema;
  const complain = (detail: string): void => {
    walk.errors.push(fieldErrors.invalid(path, value, `${path} in body should be ${detail}`));
  };
  if (maximum !== undefined && (schema.exclusiveMaximum ? value >= maximum : value > maximum))
    complain(schema.exclusiveMaximum ? `less than ${maximum}` : `less than or equal to ${maximum}`);
  if (minimum !== undefined && (schema.exclusiveMinimum ? value <= minimum : value < minimum))
    complain(schema.exclusiveMinimum ? `greater than ${minimum}` : `greater than or equal to ${minimum}`);
  if (multipleOf !== undefined && multipleOf > 0 && !Number.isInteger(value / multipleOf))
    complain(`a multiple of ${multipleOf}`);
}

function checkList(value: Json[], schema: Schema, path: string, old: Json | undefined, walk: Walk): void {
  const { minItems, maxItems, items } = schema;
  if (minItems !== undefined && value.length < minItems)
    walk.errors.push(
      fieldErrors.invalid(path, value.length, `${path} in body should have at least ${minItems} items`),
    );
  if (maxItems !== undefined && value.length > maxItems)
    walk.errors.push(fieldErrors.tooMany(path, value.length, maxItems));
  if (schema.listType === "set" || schema.listType === "map" || schema.uniqueItems)
    checkUnique(value, schema, path, walk);
  if (!items) return;
  const oldItems = correlate(schema, old);
  for (let i = 0; i < value.length; i++) check(value[i]!, items, `${path}[${i}]`, oldItems(value[i]!), walk);
}

function checkUnique(value: Json[], schema: Schema, path: string, walk: Walk): void {
  const seen = new Set<string>();
  for (let i = 0; i < value.length; i++) {
    const item = schema.listType === "map" ? listKey(schema, value[i]!) : value[i]!;
    if (item === undefined) continue;
    const text = canonical(item);
    if (seen.has(text)) walk.errors.push(fieldErrors.duplicate(`${path}[${i}]`, item));
    seen.add(text);
  }
}

/** Finds the old item that a new one continues: by key in a map list, not at all in any other. */
export function correlate(schema: Schema, old: Json | undefined): (item: Json) => Json | undefined {
  if (schema.listType !== "map" || !Array.isArray(old)) return () => undefined;
  const byKey = new Map<string, Json>();
  for (const item of old) {
    const key = listKey(schema, item);
    if (key) byKey.set(canonical(key), item);
  }
  return (item) => {
    const key = listKey(schema, item);
    return key ? byKey.get(canonical(key)) : undefined;
  };
}

function checkObject(
  value: JsonObject,
  schema: Schema,
  path: string,
  old: Json | undefined,
  walk: Walk,
): void {
  const size = schema.maxProperties !== undefined || schema.minProperties ? Object.keys(value).length : 0;
  if (schema.maxProperties !== undefined && size > schema.maxProperties)
    walk.errors.push(fieldErrors.tooMany(path, size, schema.maxProperties));
  if (schema.minProperties !== undefined && size < schema.minProperties)
    walk.errors.push(
      fieldErrors.invalid(
        path,
        size,
        `${path} in body should have at least ${schema.minProperties} properties`,
      ),
    );
  for (const name of schema.required ?? [])
    if (!Object.hasOwn(value, name)) walk.errors.push(fieldErrors.required(path ? `${path}.${name}` : name));
  for (const key of Object.keys(value)) {
    const child = fieldSchema(schema, key);
    if (!child) continue;
    const before =
      isObject(old) && schema.mapType !== "atomic" && Object.hasOwn(old, key) ? old[key] : undefined;
    check(value[key]!, child, path ? `${path}.${key}` : key, before, walk);
  }
}

function checkCombined(value: Json, schema: Schema, path: string, walk: Walk): void {
  const holds = (s: Schema): boolean => {
    const inner: Walk = { errors: [] };
    check(value, s, path, undefined, inner);
    return inner.errors.length === 0;
  };
  const complain = (detail: string): void => {
    walk.errors.push(fieldErrors.invalid(path, value, `${path ? `${path} in body` : "in body"} ${detail}`));
  };
  for (const part of schema.allOf ?? []) check(value, part, path, undefined, walk);
  if (schema.anyOf && !schema.anyOf.some(holds)) complain("must validate at least one schema (anyOf)");
  if (schema.oneOf) {
    const matching = schema.oneOf.filter(holds).length;
    if (matching !== 1)
      complain(
        `must validate one and only one schema (oneOf). Found ${matching === 0 ? "none valid" : `${matching} valid alternatives`}`,
      );
  }
  if (schema.not && holds(schema.not)) complain("must not validate the schema (not)");
}
