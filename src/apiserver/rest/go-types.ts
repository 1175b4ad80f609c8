// apiserver/rest: the complaint of Go's JSON decoder about a value of the wrong type, which clients see for built-in kinds.
import { isObject, type Json } from "../json.ts";
import { fieldSchema, type Schema } from "../schema/schema.ts";

const jsonName = (value: Json): string => {
  if (Array.isArray(value)) return "array";
  if (typeof value === "boolean") return "bool";
  return typeof value;
};

/** The Go type that a schema stands for, as the decoder names it. */
function goName(schema: Schema): string {
  switch (schema.type) {
    case "integer":
      return schema.format ?? "int64";
    case "number":
      return "float64";
    case "boolean":
      return "bool";
    case "string":
      return schema.format === "byte" ? "[]uint8" : "string";
    case "array":
      return `[]${schema.items ? goName(schema.items) : "interface {}"}`;
    case "object":
      if (schema.typeName) return `${schema.typeName.split(".").at(-2)}.${schema.typeName.split(".").at(-1)}`;
      return `map[string]${typeof schema.additionalProperties === "object" ? goName(schema.additionalProperties) : "interface {}"}`;
    default:
      return "interface {}";
  }
}

function fits(value: Json, schema: Schema): boolean {
  if (schema.intOrString) return typeof value === "string" || typeof value === "number";
  switch (schema.type) {
    case undefined:
      return true;
    case "array":
      return Array.isArray(value);
    case "object":
      return isObject(value);
    case "integer":
      return Number.isInteger(value);
    default:
      return typeof value === schema.type;
  }
}

/** `json: cannot unmarshal number into Go struct field ConfigMap.data of type string`, or undefined where all fits. */
export function typeMismatch(value: Json, schema: Schema, kind: string): string | undefined {
  return find(value, schema, kind);
}

/** `where` names struct fields only: list items and map values have no name of their own for the decoder. */
function find(value: Json, schema: Schema, where: string): string | undefined {
  if (value === null) return undefined;
  if (!fits(value, schema)) {
    const number = typeof value === "number" && !Number.isInteger(value) && schema.type === "integer";
    return `json: cannot unmarshal ${number ? `number ${value}` : jsonName(value)} into Go struct field ${where} of type ${goName(schema)}`;
  }
  if (schema.format === "byte" && typeof value === "string") {
    const bad = value.search(/[^A-Za-z0-9+/=\r\n]/);
    if (bad >= 0 || value.replace(/[\r\n]/g, "").length % 4 !== 0)
      return `illegal base64 data at input byte ${bad >= 0 ? bad : value.length - (value.length % 4)}`;
  }
  if (Array.isArray(value)) {
    const { items } = schema;
    for (const item of items ? value : []) {
      const wrong = find(item, items!, where);
      if (wrong) return wrong;
    }
  } else if (isObject(value))
    for (const key of Object.keys(value)) {
      const child = fieldSchema(schema, key);
      const named = schema.properties?.has(key);
      const wrong = child && find(value[key]!, child, named ? `${where}.${key}` : where);
      if (wrong) return wrong;
    }
  return undefined;
}
