// apiserver/rest: deletion: preconditions, finalizers, propagation, grace, and whole collections.
import type { ServerContext } from "../context.ts";
import { at, isObject, type Json, type JsonObject, numberAt, stringAt, stringsAt } from "../json.ts";
import { badRequest, conflict, fieldErrors, invalid } from "../messages.ts";
import { type ApiObject, timeText } from "../object.ts";
import { cleanupFinalizer, crdStorage } from "../registry/crd.ts";
import type { ResourceType } from "../registry/resource.ts";
import type { Entry } from "../store/store.ts";
import { find, type Target } from "./write.ts";

export interface DeleteOptions {
  readonly dryRun: boolean;
  /** Seconds; undefined is the kind's own default. */
  readonly gracePeriodSeconds: number | undefined;
  readonly propagation: "Orphan" | "Background" | "Foreground" | undefined;
  readonly uid: string;
  readonly resourceVersion: string;
}

/** Reads DeleteOptions from a body and, for what the body leaves out, from the query. */
export function readDeleteOptions(body: Json | undefined, query: URLSearchParams): DeleteOptions {
  const source = isObject(body) ? body : {};
  const grace =
    numberAt(source, "gracePeriodSeconds") ??
    (query.has("gracePeriodSeconds") ? Number(query.get("gracePeriodSeconds")) : undefined);
  if (grace !== undefined && (!Number.isInteger(grace) || grace < 0))
    throw invalid({ group: "meta.k8s.io", kind: "DeleteOptions" }, "", [
      fieldErrors.invalid("gracePeriodSeconds", grace, "must be a whole number of seconds, not negative"),
    ]);
  const orphan =
    at(source, "orphanDependents") ??
    (query.has("orphanDependents") ? query.get("orphanDependents") === "true" : undefined);
  const policy =
    stringAt(source, "propagationPolicy") ||
    query.get("propagationPolicy") ||
    (orphan === undefined ? "" : orphan === true ? "Orphan" : "Background");
  if (policy && policy !== "Orphan" && policy !== "Background" && policy !== "Foreground")
    throw invalid({ group: "meta.k8s.io", kind: "DeleteOptions" }, "", [
      fieldErrors.notSupported("propagationPolicy", policy, ['"Foreground"', '"Background"', '"Orphan"']),
    ]);
  const dryRun = [...stringsAt(source, "dryRun"), ...query.getAll("dryRun")].filter(Boolean);
  if (dryRun.some((d) => d !== "All"))
    throw badRequest(`dryRun: Unsupported value: ${JSON.stringify(dryRun)}: supported values: "All"`);
  return {
    dryRun: dryRun.length > 0,
    gracePeriodSeconds: grace,
    propagation: (policy || undefined) as DeleteOptions["propagation"],
    uid: stringAt(source, "preconditions", "uid"),
    resourceVersion: stringAt(source, "preconditions", "resourceVersion"),
  };
}

export interface Deleted {
  /** The last state, or the state with its deletionTimestamp. In storage form. */
  readonly object: ApiObject;
  readonly gone: boolean;
}

/** DELETE of one object. */
export function deleteObject(t: Target, name: string, o: DeleteOptions, context: ServerContext): Deleted {
  return deleteEntry(t.type, find(t, name, context), o, context);
}

export function deleteEntry(
  type: ResourceType,
  entry: Entry,
  o: DeleteOptions,
  context: ServerContext,
): Deleted {
  const { metadata } = entry.object;
  checkPreconditions(type, metadata.name, metadata.uid, metadata.resourceVersion, o);
  const finalizers = finalizersAfter(type, entry.object, o.propagation);
  const grace = graceOf(type, entry.object, o);
  const waits = finalizers.length > 0 || grace > 0 || isLiveNamespace(type, entry.object);
  if (!waits) {
    const last = o.dryRun ? entry : context.store.delete(type.storage, entry.key);
    return { object: last?.object ?? entry.object, gone: true };
  }
  const already = metadata.deletionTimestamp !== undefined;
  const shorter = grace < (metadata.deletionGracePeriodSeconds ?? 0);
  const same = finalizers.length === (metadata.finalizers?.length ?? 0);
  if (already && !shorter && same) return { object: entry.object, gone: false };
  const next: ApiObject = {
    ...entry.object,
    metadata: {
      ...metadata,
      deletionTimestamp:
        already && !shorter ? metadata.deletionTimestamp! : timeText(context.now() + grace * 1000),
      deletionGracePeriodSeconds: grace,
      ...(finalizers.length > 0 ? { finalizers } : {}),
      ...(metadata.generation !== undefined && !already ? { generation: metadata.generation + 1 } : {}),
    },
  };
  if (type.storage === "namespaces")
    next.status = { ...(isObject(next.status) ? next.status : {}), phase: "Terminating" };
  if (!o.dryRun) context.store.put(type.storage, entry.key, next);
  return { object: next, gone: false };
}

function checkPreconditions(
  type: ResourceType,
  name: string,
  uid: string,
  revision: string,
  o: DeleteOptions,
): void {
  // Here, unlike everywhere else, the real server names the kind and not the resource.
  const asKind = { group: type.group, resource: type.kind, kind: type.kind };
  if (o.uid && o.uid !== uid)
    throw conflict(
      asKind,
      name,
      `the UID in the precondition (${o.uid}) does not match the UID in record (${uid}). The object might have been deleted and then recreated`,
    );
  if (o.resourceVersion && o.resourceVersion !== revision)
    throw conflict(
      asKind,
      name,
      `the ResourceVersion in the precondition (${o.resourceVersion}) does not match the ResourceVersion in record (${revision}). The object might have been modified`,
    );
}

function finalizersAfter(
  type: ResourceType,
  object: ApiObject,
  propagation: DeleteOptions["propagation"],
): string[] {
  const current = object.metadata.finalizers ?? [];
  const kept = propagation
    ? current.filter((f) => f !== "orphan" && f !== "foregroundDeletion")
    : [...current];
  if (propagation === "Orphan") kept.push("orphan");
  if (propagation === "Foreground") kept.push("foregroundDeletion");
  if (type.storage === crdStorage && !object.metadata.deletionTimestamp) kept.push(cleanupFinalizer);
  return kept;
}

const isLiveNamespace = (type: ResourceType, object: ApiObject): boolean =>
  type.storage === "namespaces" && stringsAt(object, "spec", "finalizers").length > 0;

/** Only a pod that a node has taken is given time; everything else goes at once. */
function graceOf(type: ResourceType, object: ApiObject, o: DeleteOptions): number {
  if (type.storage !== "pods" || !stringAt(object, "spec", "nodeName")) return 0;
  const phase = stringAt(object, "status", "phase");
  if (phase === "Succeeded" || phase === "Failed") return 0;
  return o.gracePeriodSeconds ?? numberAt(object, "spec", "terminationGracePeriodSeconds") ?? 30;
}

/** What a deletion that took effect at once answers. */
export const deletedStatus = (type: ResourceType, object: ApiObject): JsonObject => ({
  kind: "Status",
  apiVersion: "v1",
  metadata: {},
  status: "Success",
  details: {
    name: object.metadata.name,
    ...(type.group ? { group: type.group } : {}),
    kind: type.resource,
    uid: object.metadata.uid,
  },
});
