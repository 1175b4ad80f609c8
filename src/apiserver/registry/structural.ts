// apiserver/registry: whether an openAPIV3Schema is structural, and whether its rules and defaults hold water.
import { isObject, type Json, type JsonObject, listAt, stringAt, stringsAt } from "../json.ts";
import { type FieldError, fieldErrors } from "../messages.ts";
import { checkRules as checkRuleTypes } from "../schema/cel-types.ts";
import { parseSchema } from "../schema/schema.ts";
import { compilePattern, validateSchema } from "../schema/validate.ts";

const knownTypes = ["array", "boolean", "integer", "number", "object", "string"];
const forbidden = [
  "$ref",
  "definitions",
  "dependencies",
  "deprecated",
  "discriminator",
  "id",
  "patternProperties",
  "readOnly",
  "writeOnly",
  "xml",
];
/** Deeper nesting is no schema that anybody wrote. */
const maxDepth = 64;

/** Complaints about a schema, by the path of the field in the CRD. */
export function structuralErrors(schema: JsonObject, path: string): FieldError[] {
  const errors: FieldError[] = [];
  if (schema.type !== "object")
    errors.push(
      schema.type === undefined
        ? fieldErrors.required(`${path}.type`, "must not be empty at the root")
        : fieldErrors.invalid(`${path}.type`, schema.type, "must be object at the root"),
    );
  checkNode(schema, path, 0, errors);
  return errors;
}

function checkNode(schema: JsonObject, path: string, depth: number, errors: FieldError[]): void {
  if (depth > maxDepth) {
    errors.push(fieldErrors.forbidden(path, `nested more than ${maxDepth} deep`));
    return;
  }
  checkType(schema, path, depth, errors);
  for (const key of forbidden)
    if (schema[key] !== undefined)
      errors.push(fieldErrors.forbidden(`${path}.${key}`, `${key} is not supported`));
  if (schema.uniqueItems === true)
    errors.push(
      fieldErrors.forbidden(
        `${path}.uniqueItems`,
        "uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
      ),
    );
  if (isObject(schema.properties) && schema.additionalProperties !== undefined)
    errors.push(
      fieldErrors.forbidden(
        `${path}.additionalProperties`,
        "additionalProperties and properties are mutual exclusive",
      ),
    );
  checkLists(schema, path, errors);
  checkValues(schema, path, errors);
  checkRules(schema, path, depth === 0, errors);
  for (const [name, property] of Object.entries(isObject(schema.properties) ? schema.properties : {}))
    if (isObject(property)) checkNode(property, `${path}.properties[${name}]`, depth + 1, errors);
  if (isObject(schema.items)) checkNode(schema.items, `${path}.items`, depth + 1, errors);
  if (isObject(schema.additionalProperties))
    checkNode(schema.additionalProperties, `${path}.additionalProperties`, depth + 1, errors);
}

function checkType(schema: JsonObject, path: string, depth: number, errors: FieldError[]): void {
  const type = stringAt(schema, "type");
  const open =
    schema["x-kubernetes-int-or-string"] === true || schema["x-kubernetes-preserve-unknown-fields"] === true;
  if (!type) {
    if (!open && depth > 0)
      errors.push(fieldErrors.required(`${path}.type`, "must not be empty for specified object fields"));
  } else if (!knownTypes.includes(type)) {
    errors.push(
      fieldErrors.notSupported(
        `${path}.type`,
        type,
        knownTypes.map((t) => JSON.stringify(t)),
      ),
    );
  }
  if (type === "array" && !isObject(schema.items))
    errors.push(fieldErrors.required(`${path}.items`, "must be specified"));
}

function checkLists(schema: JsonObject, path: string, errors: FieldError[]): void {
  const listType = schema["x-kubernetes-list-type"];
  if (listType !== undefined && schema.type !== "array")
    errors.push(
      fieldErrors.invalid(
        `${path}.type`,
        schema.type,
        "must be array if x-kubernetes-list-type is specified",
      ),
    );
  if (listType !== undefined && listType !== "atomic" && listType !== "set" && listType !== "map")
    errors.push(
      fieldErrors.notSupported(`${path}.x-kubernetes-list-type`, listType, ['"atomic"', '"map"', '"set"']),
    );
  if (listType !== "map") return;
  const keys = stringsAt(schema, "x-kubernetes-list-map-keys");
  if (keys.length === 0)
    errors.push(
      fieldErrors.required(
        `${path}.x-kubernetes-list-map-keys`,
        "must not be empty if x-kubernetes-list-type is map",
      ),
    );
  const items = isObject(schema.items) ? schema.items : {};
  const required = stringsAt(items, "required");
  for (const key of keys) {
    const property = isObject(items.properties) ? items.properties[key] : undefined;
    if (!isObject(property))
      errors.push(
        fieldErrors.invalid(
          `${path}.x-kubernetes-list-map-keys`,
          key,
          "entries must all be names of item properties",
        ),
      );
    else if (property.default === undefined && !required.includes(key))
      errors.push(
        fieldErrors.required(
          `${path}.items.properties[${key}].default`,
          "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
        ),
      );
  }
}

function checkValues(schema: JsonObject, path: string, errors: FieldError[]): void {
  const pattern = stringAt(schema, "pattern");
  if (pattern && !compilePattern(pattern))
    errors.push(
      fieldErrors.invalid(`${path}.pattern`, pattern, "must be a valid regular expression, but isn't"),
    );
  if (schema.default === undefined) return;
  const node = parseSchema(schema);
  for (const e of validateSchema(schema.default, node))
    errors.push({ ...e, path: e.path ? `${path}.default.${e.path}` : `${path}.default` });
}

const ruleReasons = ["FieldValueInvalid", "FieldValueForbidden", "FieldValueRequired", "FieldValueDuplicate"];

function checkRules(schema: JsonObject, path: string, isRoot: boolean, errors: FieldError[]): void {
  const parsed = parseSchema({ "x-kubernetes-validations": [...listAt(schema, "x-kubernetes-validations")] });
  parsed.validations?.forEach((rule, i) => {
    const where = `${path}.x-kubernetes-validations[${i}]`;
    if (!rule.rule.trim()) errors.push(fieldErrors.required(`${where}.rule`, "rule is not specified"));
    if (rule.reason && !ruleReasons.includes(rule.reason))
      errors.push(
        fieldErrors.notSupported(
          `${where}.reason`,
          rule.reason,
          ruleReasons.map((r) => JSON.stringify(r)),
        ),
      );
    if (rule.fieldPath && !pathExists(schema, rule.fieldPath))
      errors.push(
        fieldErrors.invalid(
          `${where}.fieldPath`,
          rule.fieldPath,
          "fieldPath must be a valid path: does not refer to a valid field",
        ),
      );
  });
  if (!parsed.validations?.some((rule) => rule.rule.trim())) return;
  checkRuleTypes(parseSchema(schema), isRoot).forEach((problems, i) => {
    for (const { part, reason } of problems)
      errors.push(
        fieldErrors.invalid(
          `${path}.x-kubernetes-validations[${i}].${part}`,
          parsed.validations?.[i]?.[part],
          reason,
        ),
      );
  });
}

/** Whether `.a.b['c']` leads through the properties of a schema. */
function pathExists(schema: JsonObject, path: string): boolean {
  let node: Json | undefined = schema;
  for (const match of path.matchAll(/\.([^.[\]]+)|\['((?:[^'\\]|\\.)*)'\]/g)) {
    const name = match[1] ?? match[2] ?? "";
    const properties: Json | undefined = isObject(node) ? node.properties : undefined;
    node = isObject(properties) ? properties[name] : isObject(node) ? node.additionalProperties : undefined;
    if (node === undefined) return false;
  }
  return true;
}
