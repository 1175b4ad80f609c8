// apiserver/rest: from a parsed body to an object of a kind: names checked, unknown fields out, defaults in, then validated.
import type { ServerContext } from "../context.ts";
import { isObject, type Json, type JsonObject, stringAt } from "../json.ts";
import { badRequest, type FieldError, fieldErrors, invalid, invalidRequest } from "../messages.ts";
import { type ApiObject, parseApiVersion } from "../object.ts";
import { gvOf, present, type ResourceType } from "../registry/resource.ts";
import { validateRules } from "../schema/cel.ts";
import { applyDefaults, fillZeros, prune } from "../schema/prune.ts";
import type { Schema } from "../schema/schema.ts";
import { validateSchema } from "../schema/validate.ts";
import { builtinType } from "../types/index.ts";
import { typeMismatch } from "./go-types.ts";
import { isServerFinalizer, readMetadata, validateMetadata } from "./metadata.ts";
import { scaleErrors } from "./scale-errors.ts";

export type FieldValidation = "Ignore" | "Warn" | "Strict";

/** What a write request says besides its object. Warnings gather what goes into Warning headers. */
export interface WriteOptions {
  readonly dryRun: boolean;
  readonly fieldManager: string;
  readonly fieldValidation: FieldValidation;
  readonly warnings: string[];
  /** Complaints of the reader of the body that count as strict errors: duplicate keys. */
  readonly strictErrors: readonly string[];
  /** Called with what is about to be written, in storage form; throws to refuse it. */
  readonly check: (type: ResourceType, next: ApiObject, old: ApiObject | undefined) => void;
}

/** Warnings in one answer: each is a header. */
const maxWarnings = 20;

const rootSchemas = new WeakMap<Schema, Schema>();

/** The schema of a kind with the parts that every kind has; field ownership is decided by it. */
export function rootSchema(type: ResourceType): Schema {
  let schema = rootSchemas.get(type.schema);
  if (!schema) {
    const properties = new Map(type.schema.properties ?? []);
    properties.set("apiVersion", { type: "string" });
    properties.set("kind", { type: "string" });
    properties.set("metadata", builtinType("ObjectMeta").schema);
    schema = { ...type.schema, type: "object", properties };
    rootSchemas.set(type.schema, schema);
  }
  return schema;
}

function checkKind(type: ResourceType, body: JsonObject, patched: boolean): void {
  const { apiVersion, kind } = body;
  const expected = gvOf(type);
  const name = stringAt(body, "metadata", "name");
  const { group } = type;
  if (type.custom && typeof kind !== "string")
    throw badRequest(`Object 'Kind' is missing in '${JSON.stringify(body).slice(0, 200)}'`);
  if (apiVersion !== expected && (type.custom || apiVersion)) {
    if (!patched)
      throw badRequest(
        `the API version in the data (${apiVersion ?? ""}) does not match the expected API version (${expected})`,
      );
    throw invalid(type, name, [fieldErrors.invalid("apiVersion", apiVersion, `must be ${expected}`)]);
  }
  if (kind !== type.kind && (type.custom || kind)) {
    if (type.custom)
      throw invalid({ group, kind: String(kind) }, name, [
        fieldErrors.invalid("kind", kind, `must be ${type.kind}`),
      ]);
    throw badRequest(
      `${kind} in version ${JSON.stringify(parseApiVersion(expected).version)} cannot be handled as a ${type.kind}: converting (v1.${kind}) to (core.${type.kind}): unknown conversion`,
    );
  }
  body.apiVersion = expected;
  body.kind = type.kind;
}

function dropNulls(value: Json): void {
  if (Array.isArray(value)) for (const item of value) dropNulls(item);
  else if (isObject(value))
    for (const key of Object.keys(value)) {
      if (value[key] === null) delete value[key];
      else dropNulls(value[key]!);
    }
}

const cannotHandle = (type: ResourceType, why: string): string =>
  `${type.kind} in version ${JSON.stringify(type.version)} cannot be handled as a ${type.kind}: ${why}`;

/**
 * Makes an object of the kind out of a body, which it takes over. Throws 400 for what cannot be read as the kind, and for
 * unknown or duplicate fields where validation is strict.
 */
export function decodeObject(type: ResourceType, body: Json, o: WriteOptions, patched = false): ApiObject {
  if (!isObject(body)) throw badRequest(cannotHandle(type, "the body is no JSON object"));
  checkKind(type, body, patched);
  const sent = patched ? JSON.stringify(body) : "";
  const refuse = (why: string): never => {
    // What a patch makes of an object is not what anybody sent: the real server shows it.
    if (patched) throw invalidRequest(fieldErrors.invalid("patch", sent, why));
    throw badRequest(cannotHandle(type, why));
  };
  const unknown: string[] = [];
  const metadata = readMetadata(body, type.custom, unknown, refuse);
  const object = Object.assign(body, { metadata }) as ApiObject;
  if (!type.custom) {
    const { metadata: _, ...rest } = object;
    dropNulls(rest);
    const wrong = typeMismatch(rest, type.schema, type.kind);
    if (wrong) refuse(wrong);
  }
  unknown.push(...prune(object, type.schema));
  reportUnknown(unknown, o, refuse);
  applyDefaults(object, type.schema);
  fillZeros(object, type.schema);
  type.strategy.defaults?.(object);
  return object;
}

function reportUnknown(unknown: readonly string[], o: WriteOptions, refuse: (why: string) => never): void {
  if (o.fieldValidation === "Ignore") return;
  const complaints = [
    ...o.strictErrors,
    ...unknown.toSorted().map((path) => `unknown field ${JSON.stringify(path)}`),
  ];
  if (complaints.length === 0) return;
  if (o.fieldValidation === "Strict") refuse(`strict decoding error: ${complaints.join(", ")}`);
  for (const complaint of complaints) warn(o, complaint);
}

export function warn(o: WriteOptions, text: string): void {
  if (o.warnings.length < maxWarnings && !o.warnings.includes(text)) o.warnings.push(text);
}

const blocking: readonly FieldError["type"][] = [
  "FieldValueNotSupported",
  "FieldValueRequired",
  "FieldValueTooLong",
  "FieldValueTooMany",
  "FieldValueTypeInvalid",
];

/** All complaints about a new or updated object, thrown as 422. Both are in storage form. */
export function validateObject(
  type: ResourceType,
  stored: ApiObject,
  oldStored: ApiObject | undefined,
  context: ServerContext,
  o: WriteOptions,
): void {
  const next = present(type, stored);
  const old = oldStored && present(type, oldStored);
  const errors = validateMetadata(next, type, old);
  for (const name of next.metadata.finalizers ?? [])
    if (!name.includes("/") && !isServerFinalizer(name))
      warn(
        o,
        `metadata.finalizers: ${JSON.stringify(name)}: prefer a domain-qualified finalizer name to avoid accidental conflicts with other finalizer writers`,
      );
  if (type.custom) errors.push(...validateCustom(type, next, old, o));
  else {
    const { metadata: _, ...rest } = next;
    // Go's decoder knows no required fields; the kind's own strategy says what must be there.
    errors.push(...validateSchema(rest, type.schema).filter((e) => e.type !== "FieldValueRequired"));
  }
  errors.push(...(type.strategy.validate?.(stored, oldStored, context) ?? []));
  if (errors.length > 0) throw invalid(type, next.metadata.name, errors);
}

function validateCustom(
  type: ResourceType,
  next: ApiObject,
  old: ApiObject | undefined,
  o: WriteOptions,
): FieldError[] {
  const errors = [...validateSchema(next, type.schema, old), ...scaleErrors(type, next)];
  if (errors.some((e) => blocking.includes(e.type))) {
    errors.push(
      fieldErrors.invalid(
        "",
        null,
        "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation",
      ),
    );
    return errors;
  }
  const rules = validateRules(next, type.schema, old);
  for (const text of rules.warnings) warn(o, text);
  return [...errors, ...rules.errors];
}
