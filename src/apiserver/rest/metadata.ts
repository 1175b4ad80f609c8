// apiserver/rest: object metadata on its way in: what clients may set, what the server sets, what is refused.
import type { ServerContext } from "../context.ts";
import { equal, isObject, type Json, type JsonObject } from "../json.ts";
import { type FieldError, fieldErrors } from "../messages.ts";
import { type ApiObject, type ObjectMeta, timeText } from "../object.ts";
import { cleanupFinalizer } from "../registry/crd.ts";
import type { ResourceType } from "../registry/resource.ts";
import { labelValueProblems, qualifiedProblems, subdomainProblems } from "../schema/names.ts";
import { prune } from "../schema/prune.ts";
import { builtinType } from "../types/index.ts";
import { typeMismatch } from "./go-types.ts";

const metaSchema = builtinType("ObjectMeta").schema;

/** Total bytes of annotations, as in the real server. */
const maxAnnotationBytes = 256 * 1024;

/**
 * Turns a body's metadata into an ObjectMeta: unknown fields go (and are reported), nulls go, wrong types are refused with
 * 400 as the real decoder does. Fields that a client may leave out are empty afterwards.
 */
export function readMetadata(
  body: JsonObject,
  custom: boolean,
  unknown: string[],
  refuse: (why: string) => never,
): ObjectMeta {
  const source = body.metadata ?? {};
  if (!isObject(source))
    return refuse("json: cannot unmarshal into Go struct field metadata of type v1.ObjectMeta");
  for (const [key, value] of Object.entries(source)) if (value === null) delete source[key];
  unknown.push(...prune(source, metaSchema, false).map((path) => `metadata.${path}`));
  const wrong = typeMismatch(source, metaSchema, custom ? "ObjectMeta" : "ObjectMeta.metadata");
  if (wrong) refuse(wrong);
  for (const key of ["labels", "annotations"] as const)
    if (isObject(source[key]) && Object.keys(source[key]).length === 0) delete source[key];
  return { name: "", uid: "", resourceVersion: "", creationTimestamp: "", ...source } as ObjectMeta;
}

/** Five characters that make no words, as the real server's name generator uses. */
const suffixAlphabet = "bcdfghjklmnpqrstvwxz2456789";

export function generatedName(prefix: string, context: ServerContext): string {
  let suffix = "";
  for (let i = 0; i < 5; i++) suffix += suffixAlphabet[context.randomBelow(suffixAlphabet.length)];
  return prefix.slice(0, 58) + suffix;
}

/** Server fields of a new object. */
export function stampNew(meta: ObjectMeta, type: ResourceType, context: ServerContext): void {
  meta.uid = context.randomUUID();
  meta.creationTimestamp = timeText(context.now());
  delete meta.deletionTimestamp;
  delete meta.deletionGracePeriodSeconds;
  delete (meta as { selfLink?: string }).selfLink;
  if (type.strategy.generation === "spec") meta.generation = 1;
  else delete meta.generation;
}

/** Server fields of an updated object: those of the old one, whatever the client sent. */
export function keepServerFields(meta: ObjectMeta, old: ObjectMeta): void {
  meta.uid = old.uid;
  meta.creationTimestamp = old.creationTimestamp;
  meta.resourceVersion = old.resourceVersion;
  delete (meta as { selfLink?: string }).selfLink;
  for (const key of [
    "generation",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generateName",
  ] as const) {
    delete meta[key];
    if (old[key] !== undefined) Object.assign(meta, { [key]: old[key] });
  }
}

/** Complaints about metadata, names included. */
export function validateMetadata(
  object: ApiObject,
  type: ResourceType,
  old: ApiObject | undefined,
): FieldError[] {
  const errors: FieldError[] = [];
  const { metadata: meta } = object;
  if (!old) {
    if (!meta.name) errors.push(fieldErrors.required("metadata.name", "name or generateName is required"));
    else
      for (const problem of (type.strategy.validateName ?? subdomainProblems)(meta.name))
        errors.push(fieldErrors.invalid("metadata.name", meta.name, problem));
  }
  errors.push(...validateLabels(meta, old?.metadata));
  meta.ownerReferences?.forEach((owner) => {
    for (const key of ["apiVersion", "kind", "name", "uid"] as const)
      if (!owner[key])
        errors.push(
          fieldErrors.invalid(`metadata.ownerReferences.${key}`, owner[key] ?? "", "must not be empty"),
        );
  });
  if ((meta.ownerReferences ?? []).filter((o) => o.controller === true).length > 1)
    errors.push(
      fieldErrors.invalid(
        "metadata.ownerReferences",
        meta.ownerReferences as Json,
        "Only one reference can have Controller set to true",
      ),
    );
  errors.push(...validateFinalizers(meta, old?.metadata));
  return errors;
}

function validateLabels(meta: ObjectMeta, old: ObjectMeta | undefined): FieldError[] {
  const errors: FieldError[] = [];
  const complain = (path: string, text: string, problems: readonly string[]): void => {
    for (const problem of problems) errors.push(fieldErrors.invalid(path, text, problem));
  };
  if (!old || !equal(meta.labels, old.labels))
    for (const [key, value] of Object.entries(meta.labels ?? {})) {
      complain("metadata.labels", key, qualifiedProblems(key));
      complain("metadata.labels", value, labelValueProblems(value));
    }
  let bytes = 0;
  for (const [key, value] of Object.entries(meta.annotations ?? {})) {
    complain("metadata.annotations", key, qualifiedProblems(key.toLowerCase()));
    bytes += key.length + value.length;
  }
  if (bytes > maxAnnotationBytes)
    errors.push(fieldErrors.tooLong("metadata.annotations", maxAnnotationBytes));
  return errors;
}

const builtinFinalizers = new Set(["foregroundDeletion", "orphan", "kubernetes"]);
export const isServerFinalizer = (name: string): boolean =>
  builtinFinalizers.has(name) || name === cleanupFinalizer;

function validateFinalizers(meta: ObjectMeta, old: ObjectMeta | undefined): FieldError[] {
  const errors: FieldError[] = [];
  const before = new Set(old?.finalizers);
  const added = (meta.finalizers ?? []).filter((f) => !before.has(f));
  for (const name of added)
    for (const problem of qualifiedProblems(name))
      errors.push(fieldErrors.invalid("metadata.finalizers", name, problem));
  if (old?.deletionTimestamp && added.some((f) => !builtinFinalizers.has(f)))
    errors.push(
      fieldErrors.forbidden(
        "metadata.finalizers",
        `no new finalizers can be added if the object is being deleted, found new finalizers []string{${added.map((f) => JSON.stringify(f)).join(", ")}}`,
      ),
    );
  return errors;
}
