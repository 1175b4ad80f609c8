// apiserver/rest: create, update and patch. Each reads, computes, checks and writes in one turn of the loop.
import type { ServerContext } from "../context.ts";
import { at, clone, equal, isObject, type Json, type JsonObject } from "../json.ts";
import {
  alreadyExists,
  badRequest,
  conflict,
  fieldErrors,
  forbidden,
  invalid,
  notFound,
  type ResourceName,
  staleObject,
} from "../messages.ts";
import { type ApiObject, keyOf, timeText } from "../object.ts";
import { jsonPatch, mergePatch } from "../patch/patch.ts";
import { strategicPatch } from "../patch/strategic.ts";
import { gvOf, present, type ResourceType } from "../registry/resource.ts";
import { fillZeros } from "../schema/prune.ts";
import { type Door, doors, updateManagers, type Writer } from "../ssa/managers.ts";
import type { Entry } from "../store/store.ts";
import { decodeObject, rootSchema, validateObject, type WriteOptions } from "./decode.ts";
import { generatedName, keepServerFields, stampNew } from "./metadata.ts";

/** Where a request writes: a kind, perhaps a namespace, and the main door or a subresource. */
export interface Target {
  readonly type: ResourceType;
  readonly namespace: string | undefined;
  readonly subresource: "" | "status" | "finalize" | "scale";
}

export interface Written {
  /** In storage form. */
  readonly object: ApiObject;
  readonly created: boolean;
}

const nameOf = (type: ResourceType): ResourceName => type;

export const writerOf = (t: Target, context: ServerContext, o: WriteOptions): Writer => ({
  manager: o.fieldManager,
  apiVersion: gvOf(t.type),
  subresource: t.subresource,
  time: timeText(context.now()),
});

export const doorOf = (t: Target): Door =>
  t.subresource === "status" ? doors.status : t.type.hasStatus ? doors.main : doors.whole;

function toStored(type: ResourceType, object: ApiObject): ApiObject {
  const stored = type.toStorage ? type.toStorage(object) : object;
  stored.apiVersion = type.storedAs.apiVersion;
  stored.kind = type.storedAs.kind;
  return stored;
}

/** The namespace must be there and stay: 404 or 403 otherwise. */
function checkNamespace(t: Target, name: string, context: ServerContext): void {
  if (!t.namespace) return;
  const namespace = context.store.get("namespaces", t.namespace)?.object;
  if (!namespace) throw notFound({ group: "", resource: "namespaces", kind: "Namespace" }, t.namespace);
  if (!namespace.metadata.deletionTimestamp) return;
  throw forbidden(
    nameOf(t.type),
    name,
    `unable to create new content in namespace ${t.namespace} because it is being terminated`,
    {
      causes: [
        {
          reason: "NamespaceTerminating",
          message: `namespace ${t.namespace} is being terminated`,
          field: "metadata.namespace",
        },
      ],
    },
  );
}

function placeInNamespace(t: Target, object: ApiObject): void {
  const { metadata } = object;
  if (!t.type.namespaced) {
    delete metadata.namespace;
    return;
  }
  if (metadata.namespace && metadata.namespace !== t.namespace)
    throw badRequest("the namespace of the provided object does not match the namespace sent on the request");
  if (t.namespace) metadata.namespace = t.namespace;
}

/** POST. */
export function createObject(t: Target, body: Json, context: ServerContext, o: WriteOptions): Written {
  const object = decodeObject(t.type, body, o);
  if (object.metadata.resourceVersion)
    throw badRequest("resourceVersion should not be set on objects to be created");
  return insert(t, object, context, o, false);
}

export function insert(
  t: Target,
  object: ApiObject,
  context: ServerContext,
  o: WriteOptions,
  applied: boolean,
): Written {
  const { type } = t;
  placeInNamespace(t, object);
  const { metadata } = object;
  if (!metadata.name && metadata.generateName) metadata.name = generatedName(metadata.generateName, context);
  checkNamespace(t, metadata.name, context);
  stampNew(metadata, type, context);
  if (type.hasStatus && !type.strategy.statusOnCreate) {
    delete object.status;
    fillZeros(object, type.schema);
  }
  if (!applied) {
    const managed = updateManagers(undefined, object, rootSchema(type), doorOf(t), writerOf(t, context, o));
    if (managed) metadata.managedFields = managed;
    else delete metadata.managedFields;
  }
  const stored = toStored(type, object);
  type.strategy.prepareCreate?.(stored, context);
  validateObject(type, stored, undefined, context, o);
  o.check(type, stored, undefined);
  const key = keyOf(metadata.namespace, metadata.name);
  if (context.store.get(type.storage, key)) throw alreadyExists(nameOf(type), metadata.name);
  if (!o.dryRun) context.store.put(type.storage, key, stored);
  return { object: stored, created: true };
}

/** PUT. Kinds that a client may name itself are not made by PUT: 404. */
export function replaceObject(
  t: Target,
  name: string,
  body: Json,
  context: ServerContext,
  o: WriteOptions,
): Written {
  const entry = find(t, name, context);
  const object = decodeObject(t.type, body, o);
  if (object.metadata.name && object.metadata.name !== name)
    throw badRequest(
      `the name of the object (${object.metadata.name}) does not match the name on the URL (${name})`,
    );
  object.metadata.name = name;
  if (!object.metadata.resourceVersion && !t.type.strategy.unconditionalUpdate)
    throw invalid({ group: t.type.group, kind: t.type.resource }, name, [
      {
        type: "FieldValueInvalid",
        path: "metadata.resourceVersion",
        body: "Invalid value: 0: must be specified for an update",
      },
    ]);
  return update(t, entry, object, context, o, false);
}

export function find(
  t: { type: ResourceType; namespace: string | undefined },
  name: string,
  context: ServerContext,
): Entry {
  const entry = context.store.get(t.type.storage, keyOf(t.namespace, name));
  if (!entry) throw notFound(nameOf(t.type), name);
  return entry;
}

export type PatchType = "json" | "merge" | "strategic";

/** PATCH other than apply. */
export function patchObject(
  t: Target,
  name: string,
  patchType: PatchType,
  patch: Json,
  context: ServerContext,
  o: WriteOptions,
): Written {
  const entry = find(t, name, context);
  const current = present(t.type, entry.object);
  const patched = applyPatch(patchType, current, patch, t.type);
  if (!isObject(patched)) throw badRequest("the patched object is no JSON object");
  const object = decodeObject(t.type, clone(patched), o, true);
  checkUid(t.type, object, entry);
  if (object.metadata.name !== name)
    throw badRequest(
      `the name of the object (${object.metadata.name}) does not match the name on the URL (${name})`,
    );
  return update(t, entry, object, context, o, false);
}

/** A patch that names another UID is wrong, not late. */
function checkUid(type: ResourceType, next: ApiObject, entry: Entry): void {
  const { uid, name } = entry.object.metadata;
  if (next.metadata.uid && next.metadata.uid !== uid)
    throw invalid(type, name, [fieldErrors.invalid("metadata.uid", next.metadata.uid, "field is immutable")]);
}

function applyPatch(patchType: PatchType, current: ApiObject, patch: Json, type: ResourceType): Json {
  if (patchType === "json") return jsonPatch(current, patch);
  if (!isObject(patch))
    throw badRequest(
      `error decoding patch: json: cannot unmarshal ${Array.isArray(patch) ? "array" : typeof patch} into Go value of type map[string]interface {}`,
    );
  return patchType === "merge" ? mergePatch(current, patch) : strategicPatch(current, patch, type.schema);
}

export function checkPrecondition(
  t: Target,
  name: string,
  uid: string,
  revision: string,
  entry: Entry | undefined,
): void {
  const meta = entry?.object.metadata;
  if (!meta) {
    if (uid || revision) throw conflict(nameOf(t.type), name, staleObject);
    return;
  }
  if (revision && revision !== meta.resourceVersion) throw conflict(nameOf(t.type), name, staleObject);
  if (uid && uid !== meta.uid)
    throw conflict(
      nameOf(t.type),
      name,
      `Precondition failed: UID in precondition: ${uid}, UID in object meta: ${meta.uid}`,
    );
}

/** Fields outside metadata and status, whose change is a new generation. */
function desired(object: ApiObject, hasStatus: boolean): JsonObject {
  const { metadata: _, apiVersion: _a, kind: _k, ...rest } = object;
  if (hasStatus) delete (rest as JsonObject).status;
  return rest;
}

/** Restores what the door does not write, from the old object. */
function splitSubresource(t: Target, next: ApiObject, old: ApiObject): ApiObject {
  const { type } = t;
  if (t.subresource === "status") {
    const { metadata } = next;
    const merged: ApiObject = {
      ...old,
      metadata: type.strategy.metadataWithStatus
        ? metadata
        : { ...old.metadata, ...(metadata.managedFields ? { managedFields: metadata.managedFields } : {}) },
    };
    if (next.status === undefined) delete merged.status;
    else merged.status = next.status;
    return merged;
  }
  if (!type.hasStatus) return next;
  if (old.status === undefined) delete next.status;
  else next.status = old.status;
  return next;
}

/** Puts `next` (this version's form) over the stored entry, after every check. */
export function update(
  t: Target,
  entry: Entry,
  next: ApiObject,
  context: ServerContext,
  o: WriteOptions,
  applied: boolean,
): Written {
  const { type } = t;
  const name = entry.object.metadata.name;
  const old = present(type, entry.object);
  checkPrecondition(t, name, next.metadata.uid, next.metadata.resourceVersion, entry);
  placeInNamespace(t, next);
  keepServerFields(next.metadata, old.metadata);
  if (!applied) {
    const managed = updateManagers(old, next, rootSchema(type), doorOf(t), writerOf(t, context, o));
    if (managed) next.metadata.managedFields = managed;
    else delete next.metadata.managedFields;
  }
  const split = splitSubresource(t, next, old);
  const stored = toStored(type, split === old ? { ...split } : split);
  if (t.subresource !== "finalize") type.strategy.prepareUpdate?.(stored, entry.object, context);
  if (
    type.strategy.generation === "spec" &&
    !equal(desired(stored, type.hasStatus), desired(entry.object, type.hasStatus))
  )
    stored.metadata.generation = (entry.object.metadata.generation ?? 0) + 1;
  if (sameButTimes(stored, entry.object)) return { object: entry.object, created: false };
  validateObject(type, stored, entry.object, context, o);
  o.check(type, stored, entry.object);
  if (o.dryRun) return { object: stored, created: false };
  return { object: writeUpdate(type, entry, stored, context), created: false };
}

/** An object that waits for its finalizers goes with the last of them. */
function writeUpdate(type: ResourceType, entry: Entry, stored: ApiObject, context: ServerContext): ApiObject {
  const { metadata } = stored;
  const finished =
    metadata.deletionTimestamp !== undefined &&
    (metadata.finalizers?.length ?? 0) === 0 &&
    (metadata.deletionGracePeriodSeconds ?? 0) === 0 &&
    !(type.storage === "namespaces" && Array.isArray(at(stored, "spec", "finalizers")));
  if (!finished) return context.store.put(type.storage, entry.key, stored).object;
  return context.store.delete(type.storage, entry.key)?.object ?? stored;
}

/** Whether nothing has changed but the times of managedFields: then nothing is written at all. */
function sameButTimes(next: ApiObject, old: ApiObject): boolean {
  const timeless = (object: ApiObject): Json => {
    const { managedFields, resourceVersion: _, ...metadata } = object.metadata;
    return {
      ...object,
      metadata: {
        ...metadata,
        managedFields: (managedFields ?? []).map(({ time: _t, ...rest }) => rest) as Json,
      },
    };
  };
  return equal(timeless(next), timeless(old));
}
