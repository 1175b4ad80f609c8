// apiserver/ssa: what keeps an applied configuration from being read by its schema, in structured-merge-diff's words.
import { canonical, isObject, type Json } from "../json.ts";
import { ApiError } from "../messages.ts";
import { fieldSchema, listKey, type Schema } from "../schema/schema.ts";
import { elementText } from "./fieldset.ts";

/** Complaints about one configuration. */
const maxErrors = 20;

const goText = (value: Json): string =>
  Array.isArray(value)
    ? `[${value.map(goText).join(" ")}]`
    : isObject(value)
      ? `map[${Object.entries(value)
          .map(([k, v]) => `${k}:${goText(v)}`)
          .join(" ")}]`
      : String(value);

/** How a value that should have been a scalar is named. */
const shown = (value: Json): string => {
  if (typeof value === "boolean") return "bool";
  if (typeof value === "string") return "string";
  return `&value.valueUnstructured{Value:${goText(value)}}`;
};

/** Throws a 500 without a reason, as the real server answers, for a configuration that its schema cannot read. */
export function checkTyped(config: Json, schema: Schema, described: string): void {
  const errors: string[] = [];
  check(config, schema, "", errors);
  if (errors.length === 0) return;
  const text = errors.length === 1 ? errors[0]! : `errors:\n${errors.map((e) => `  ${e}`).join("\n")}`;
  throw new ApiError(500, "", `failed to create typed patch object (${described}): ${text}`);
}

function check(value: Json, schema: Schema, path: string, errors: string[]): void {
  if (value === null || errors.length >= maxErrors) return;
  const complain = (text: string): void => {
    errors.push(`${path}: ${text}`);
  };
  switch (schema.type) {
    case "object":
      if (isObject(value)) checkFields(value, schema, path, errors);
      else complain(`expected map, got &{${goText(value)}}`);
      break;
    case "array":
      if (Array.isArray(value)) checkItems(value, schema, path, errors);
      else complain(`expected list, got &{${goText(value)}}`);
      break;
    case "string":
      if (typeof value !== "string") complain(`expected string, got ${shown(value)}`);
      break;
    case "boolean":
      if (typeof value !== "boolean") complain(`expected boolean, got ${shown(value)}`);
      break;
    case "integer":
    case "number":
      if (typeof value !== "number") complain(`expected numeric (int or float), got ${shown(value)}`);
      break;
    default:
      if (isObject(value) && schema.properties) checkFields(value, schema, path, errors);
  }
}

function checkFields(value: { [key: string]: Json }, schema: Schema, path: string, errors: string[]): void {
  const open = schema.preserveUnknown || schema.additionalProperties === true;
  for (const key of Object.keys(value).sort()) {
    const child = fieldSchema(schema, key);
    if (child) check(value[key]!, child, `${path}.${key}`, errors);
    else if (!open) errors.push(`${path}.${key}: field not declared in schema`);
  }
}

function checkItems(list: Json[], schema: Schema, path: string, errors: string[]): void {
  const { items, listType, listMapKeys } = schema;
  const seen = new Set<string>();
  list.forEach((item, i) => {
    let element = `[${i}]`;
    if (listType === "map" || listType === "set") {
      const key = listType === "map" ? listKey(schema, item) : item;
      if (
        listType === "map" &&
        (!isObject(item) || (listMapKeys ?? []).every((k) => item[k] === undefined) || !key)
      ) {
        const names = (listMapKeys ?? []).map((k) => JSON.stringify(k)).join(" ");
        errors.push(
          `${path}: element ${i}: associative list with keys has an element that omits ${key ? "" : "all "}key fields [${names}] (and doesn't have default values for any key fields)`,
        );
        return;
      }
      element = elementText(`${listType === "map" ? "k" : "v"}:${canonical(key ?? null)}`);
      if (seen.has(element)) errors.push(`${path}: duplicate entries for key ${element}`);
      seen.add(element);
    }
    if (items) check(item, items, path + element, errors);
  });
}
