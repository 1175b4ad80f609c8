// apiserver/schema: runs the x-kubernetes-validations of a schema over an object, transition rules and ratcheting included.
import { type Environment, Optional, type ParseResult } from "@marcbachmann/cel-js";
import { equal, isObject, type Json } from "../json.ts";
import { type FieldError, fieldErrors } from "../messages.ts";
import { celEnvironment } from "./cel-library.ts";
import { mentions } from "./cel-types.ts";
import { type CelValue, toCel } from "./cel-values.ts";
import { type CelRule, fieldSchema, type Schema } from "./schema.ts";
import { correlate } from "./validate.ts";

interface CompiledRule {
  readonly rule: CelRule;
  readonly run: ParseResult;
  readonly message: ParseResult | undefined;
  readonly usesOldSelf: boolean;
}

/** A rule that does not parse; a CRD with one is not stored, so this is met only while one is checked. */
export class CelCompileError extends Error {}

let environments: { readonly plain: Environment; readonly optional: Environment } | undefined;

/** Values are typed when rules are checked, not when they run: here everything is dyn. */
function environmentFor(rule: CelRule): Environment {
  if (!environments) {
    const base = celEnvironment().registerVariable("self", "dyn");
    environments = {
      plain: base.clone().registerVariable("oldSelf", "dyn"),
      optional: base.clone().registerVariable("oldSelf", "optional<dyn>"),
    };
  }
  return rule.optionalOldSelf ? environments.optional : environments.plain;
}

/** Throws {@link CelCompileError}. */
export function compileRule(rule: CelRule): CompiledRule {
  const parse = (text: string): ParseResult => {
    try {
      return environmentFor(rule).parse(text);
    } catch (error) {
      throw new CelCompileError(error instanceof Error ? error.message : String(error));
    }
  };
  const run = parse(rule.rule);
  return {
    rule,
    run,
    message: rule.messageExpression ? parse(rule.messageExpression) : undefined,
    usesOldSelf: mentions(run.ast, "oldSelf"),
  };
}

const compiled = new WeakMap<Schema, readonly CompiledRule[]>();

function rulesOf(schema: Schema): readonly CompiledRule[] {
  let rules = compiled.get(schema);
  if (!rules) {
    rules = (schema.validations ?? []).map(compileRule);
    compiled.set(schema, rules);
  }
  return rules;
}

const withRules = new WeakMap<Schema, boolean>();

/** Whether a schema or anything below it has rules; most parts have none and are not walked. */
export function hasRules(schema: Schema): boolean {
  const known = withRules.get(schema);
  if (known !== undefined) return known;
  const found =
    (schema.validations?.length ?? 0) > 0 ||
    (schema.items !== undefined && hasRules(schema.items)) ||
    (typeof schema.additionalProperties === "object" && hasRules(schema.additionalProperties)) ||
    [...(schema.properties?.values() ?? [])].some(hasRules) ||
    (schema.allOf ?? []).some(hasRules);
  withRules.set(schema, found);
  return found;
}

interface Walk {
  readonly errors: FieldError[];
  readonly warnings: string[];
}

/**
 * Complaints of the rules about `value`; `old` is the object before an update. A rule that fails on a part that has not
 * changed is a warning only, unless it looks at oldSelf.
 */
export function validateRules(value: Json, schema: Schema, old: Json | undefined): Walk {
  const walk: Walk = { errors: [], warnings: [] };
  if (!hasRules(schema)) return walk;
  const seen: Part = { value, cel: rootValue(value, schema) };
  const before: Part | undefined =
    old === undefined ? undefined : { value: old, cel: rootValue(old, schema) };
  visit(seen, before, schema, "", false, walk);
  return walk;
}

/** Rules at the root see apiVersion, kind, metadata.name and metadata.generateName besides the schema's fields. */
function rootValue(value: Json, schema: Schema): CelValue {
  const converted = toCel(value, schema);
  if (!isObject(value) || !isObject(value.metadata) || converted === null || typeof converted !== "object")
    return converted;
  const { name, generateName } = value.metadata;
  Object.assign(converted, {
    metadata: {
      ...(typeof name === "string" ? { name } : {}),
      ...(typeof generateName === "string" ? { generateName } : {}),
    },
  });
  return converted;
}

/** A value both as JSON, to walk by schema, and as CEL, to hand to rules. */
interface Part {
  readonly value: Json;
  readonly cel: CelValue;
}

function visit(
  part: Part,
  old: Part | undefined,
  schema: Schema,
  path: string,
  ratchetedAbove: boolean,
  walk: Walk,
): void {
  if (part.value === null || !hasRules(schema)) return;
  const unchanged = ratchetedAbove || (old !== undefined && equal(part.value, old.value));
  for (const rule of rulesOf(schema)) evaluate(rule, part, old, schema, path, unchanged, walk);
  for (const branch of schema.allOf ?? []) visit(part, old, branch, path, unchanged, walk);
  if (Array.isArray(part.value)) visitItems(part, old, schema, path, unchanged, walk);
  else if (isObject(part.value)) visitFields(part, old, schema, path, unchanged, walk);
}

function visitItems(
  part: Part,
  old: Part | undefined,
  schema: Schema,
  path: string,
  unchanged: boolean,
  walk: Walk,
): void {
  const { items } = schema;
  if (!items || !Array.isArray(part.value) || !Array.isArray(part.cel)) return;
  const find = correlate(schema, old?.value);
  for (let i = 0; i < part.value.length; i++) {
    const before = find(part.value[i]!);
    visit(
      { value: part.value[i]!, cel: part.cel[i]! },
      before === undefined ? undefined : { value: before, cel: toCel(before, items) },
      items,
      `${path}[${i}]`,
      unchanged,
      walk,
    );
  }
}

function visitFields(
  part: Part,
  old: Part | undefined,
  schema: Schema,
  path: string,
  unchanged: boolean,
  walk: Walk,
): void {
  if (!isObject(part.value)) return;
  for (const key of Object.keys(part.value)) {
    const child = fieldSchema(schema, key);
    if (!child || !hasRules(child)) continue;
    const known = schema.properties?.has(key) === true;
    const before =
      isObject(old?.value) && schema.mapType !== "atomic" && Object.hasOwn(old.value, key)
        ? old.value[key]!
        : undefined;
    visit(
      { value: part.value[key]!, cel: toCel(part.value[key]!, child) },
      before === undefined ? undefined : { value: before, cel: toCel(before, child) },
      child,
      known ? (path ? `${path}.${key}` : key) : `${path}[${key}]`,
      unchanged,
      walk,
    );
  }
}

const reasons: Readonly<Record<string, FieldError["type"]>> = {
  FieldValueRequired: "FieldValueRequired",
  FieldValueForbidden: "FieldValueForbidden",
  FieldValueDuplicate: "FieldValueDuplicate",
};

function evaluate(
  compiledRule: CompiledRule,
  part: Part,
  old: Part | undefined,
  schema: Schema,
  path: string,
  unchanged: boolean,
  walk: Walk,
): void {
  const { rule, run, usesOldSelf } = compiledRule;
  if (usesOldSelf && !old && !rule.optionalOldSelf) return;
  const oldSelf = rule.optionalOldSelf ? (old ? Optional.of(old.cel) : Optional.none()) : (old?.cel ?? null);
  const context = { self: part.cel, oldSelf };
  const type = schema.type ?? "";
  let result: unknown;
  try {
    result = run(context);
  } catch (error) {
    const reason = error instanceof Error ? firstLine(error.message) : String(error);
    walk.errors.push(
      fieldErrors.invalid(path, type, `${reason} evaluating rule: ${rule.message ?? rule.rule}`),
    );
    return;
  }
  if (result === true) return;
  const where = rule.fieldPath ? joinPath(path, rule.fieldPath) : path;
  const failure = failureOf(rule, where, type, messageOf(compiledRule, context));
  if (unchanged && !usesOldSelf) walk.warnings.push(`${failure.path}: ${failure.body}`);
  else walk.errors.push(failure);
}

const firstLine = (text: string): string => text.split("\n", 1)[0] ?? "";
const joinPath = (path: string, below: string): string => (path ? path + below : below.replace(/^\./, ""));

function failureOf(rule: CelRule, path: string, type: string, detail: string): FieldError {
  switch (reasons[rule.reason ?? ""]) {
    case "FieldValueRequired":
      return fieldErrors.required(path, detail);
    case "FieldValueForbidden":
      return fieldErrors.forbidden(path, detail);
    case "FieldValueDuplicate":
      return fieldErrors.duplicate(path, type);
    default:
      return fieldErrors.invalid(path, type, detail);
  }
}

function messageOf({ rule, message }: CompiledRule, context: Record<string, unknown>): string {
  if (message) {
    try {
      const text: unknown = message(context);
      // A message of several lines or of none is not used, as in the real server.
      if (typeof text === "string" && text.trim() && !text.includes("\n")) return text.trim();
    } catch {
      // A message expression that fails says nothing; the fixed message takes its place.
    }
  }
  return rule.message?.trim() || `failed rule: ${rule.rule.trim()}`;
}
