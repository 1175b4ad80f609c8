// apiserver/rest: the scale subresource of custom kinds: a view of two or three fields as autoscaling/v1 Scale.
import type { ServerContext } from "../context.ts";
import { clone, isObject, type Json, type JsonObject, numberAt, objectAt, stringAt } from "../json.ts";
import { badRequest } from "../messages.ts";
import { jsonPatch, mergePatch } from "../patch/patch.ts";
import { present, type ResourceType } from "../registry/resource.ts";
import type { Entry } from "../store/store.ts";
import { parseJsonPath, select } from "../table/jsonpath.ts";
import type { WriteOptions } from "./decode.ts";
import { find, type PatchType, update } from "./write.ts";

/** The object's Scale. */
export function readScale(type: ResourceType, entry: Entry): JsonObject {
  return scaleOf(type, entry.object);
}

function scaleOf(type: ResourceType, object: Entry["object"]): JsonObject {
  const paths = type.scale;
  const read = (path: string | undefined): Json | undefined =>
    path ? select(parseJsonPath(path), object)[0] : undefined;
  const replicas = read(paths?.specReplicas);
  const current = read(paths?.statusReplicas);
  const selector = read(paths?.labelSelector);
  const { name, namespace, uid, resourceVersion, creationTimestamp } = object.metadata;
  return {
    kind: "Scale",
    apiVersion: "autoscaling/v1",
    metadata: { name, ...(namespace ? { namespace } : {}), uid, resourceVersion, creationTimestamp },
    spec: typeof replicas === "number" ? { replicas } : {},
    status: {
      replicas: typeof current === "number" ? current : 0,
      ...(typeof selector === "string" ? { selector } : {}),
    },
  };
}

/** Writes spec.replicas of the Scale into the object; returns the new Scale. */
export function patchScale(
  type: ResourceType,
  namespace: string | undefined,
  name: string,
  mode: PatchType | "replace",
  body: Json,
  context: ServerContext,
  o: WriteOptions,
): JsonObject {
  const entry = find({ type, namespace }, name, context);
  const scale = scaleOf(type, entry.object);
  const patched =
    mode === "replace" ? body : mode === "json" ? jsonPatch(scale, body) : mergePatch(scale, body);
  const replicas = numberAt(patched, "spec", "replicas") ?? 0;
  if (!Number.isInteger(replicas) || replicas < 0)
    throw badRequest("spec.replicas must be a whole number, not negative");
  const next = clone(present(type, entry.object));
  next.metadata.resourceVersion = stringAt(patched, "metadata", "resourceVersion");
  setPath(next, (type.scale?.specReplicas ?? "").split(".").filter(Boolean), replicas);
  const written = update({ type, namespace, subresource: "scale" }, entry, next, context, o, false);
  return scaleOf(type, written.object);
}

function setPath(target: JsonObject, path: readonly string[], value: Json): void {
  const [last] = path.slice(-1);
  let current = target;
  for (const key of path.slice(0, -1)) {
    if (!isObject(current[key])) current[key] = {};
    current = objectAt(current, key) ?? {};
  }
  if (last !== undefined) current[last] = value;
}
