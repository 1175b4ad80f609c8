// apiserver/schema: JSON to CEL values as the schema types them, and the escaping of field names.
import type { Json } from "../json.ts";
import { fieldSchema, type Schema } from "./schema.ts";

const reserved = new Set(
  "true false null in as break const continue else for function if import let loop package namespace return var void while".split(
    " ",
  ),
);

/** A property name as rules must write it: `x-kubernetes` becomes `x__dash__kubernetes`. */
export function escapeName(name: string): string {
  if (reserved.has(name)) return `__${name}__`;
  return name.replace(/__|[-./]/g, (s) =>
    s === "__" ? "__underscores__" : s === "-" ? "__dash__" : s === "." ? "__dot__" : "__slash__",
  );
}

/** A CEL value: what {@link toCel} makes. Integers are bigint, times Date, bytes Uint8Array. */
export type CelValue = null | boolean | number | bigint | string | Date | Uint8Array | CelValue[] | CelObject;
export interface CelObject {
  [key: string]: CelValue;
}

/** Converts a value once for all rules at and below its node; fields of objects are escaped, keys of maps are not. */
export function toCel(value: Json, schema: Schema | undefined): CelValue {
  if (typeof value === "number")
    return schema?.type !== "number" && Number.isInteger(value) ? BigInt(value) : value;
  if (typeof value === "string") return stringToCel(value, schema?.format);
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map((item) => toCel(item, schema?.items));
  const object: CelObject = {};
  for (const key of Object.keys(value)) {
    // A key that would set the prototype instead is no field that a rule can name.
    if (key === "__proto__") continue;
    const known = schema?.properties?.has(key);
    object[known ? escapeName(key) : key] = toCel(value[key]!, fieldSchema(schema, key));
  }
  return object;
}

function stringToCel(text: string, format: string | undefined): CelValue {
  if (format === "date-time" || format === "date") {
    const time = new Date(text);
    return Number.isNaN(time.getTime()) ? text : time;
  }
  return format === "byte" ? new Uint8Array(Buffer.from(text, "base64")) : text;
}
