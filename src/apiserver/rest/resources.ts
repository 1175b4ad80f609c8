// apiserver/rest: the handlers of objects and collections: which method does what, and how the answer goes out.
import { answerReview, type ReviewTools, requestToken } from "../auth/reviews.ts";
import { isObject, type Json, stringsAt } from "../json.ts";
import {
  badRequest,
  deniedBecause,
  fieldErrors,
  forbidden,
  invalid,
  methodNotAllowed,
  notFound,
  notServed,
  unsupportedMediaType,
} from "../messages.ts";
import { keyOf } from "../object.ts";
import type { ResourceType } from "../registry/resource.ts";
import { builtinType } from "../types/index.ts";
import { applyObject } from "./apply.ts";
import { decodeObject, type FieldValidation, type WriteOptions } from "./decode.ts";
import { deletedStatus, deleteEntry, deleteObject, readDeleteOptions } from "./delete.ts";
import { checkEscalation } from "./escalation.ts";
import {
  type Body,
  type Exchange,
  mediaTypeOf,
  negotiate,
  parseJson,
  parseObjectBody,
  readBody,
  sendJson,
} from "./exchange.ts";
import { prefixOf, selectorOf, sendList, sendObject } from "./read.ts";
import type { ResourceRequest } from "./request-info.ts";
import { patchScale, readScale } from "./scale.ts";
import { sendWatch, type Watches } from "./watch.ts";
import {
  createObject,
  find,
  type PatchType,
  patchObject,
  replaceObject,
  type Target,
  type Written,
} from "./write.ts";

export interface ResourceTools extends ReviewTools {
  readonly watches: Watches;
  readonly maxBodyBytes: number;
}

const optionKinds: Readonly<Record<string, string>> = {
  POST: "CreateOptions",
  PUT: "UpdateOptions",
  PATCH: "PatchOptions",
};
const optionsOf = (x: Exchange): { group: string; kind: string } => ({
  group: "meta.k8s.io",
  kind: optionKinds[x.request.method ?? ""] ?? "Options",
});

function writeOptions(
  x: Exchange,
  body: Body | undefined,
  fallbackManager: boolean,
  tools?: ResourceTools,
): WriteOptions {
  const dryRun = x.query.getAll("dryRun").filter(Boolean);
  if (dryRun.some((d) => d !== "All"))
    throw invalid(optionsOf(x), "", [fieldErrors.notSupported("dryRun", dryRun, ['"All"'])]);
  const validation = x.query.get("fieldValidation") || "Warn";
  if (validation !== "Ignore" && validation !== "Warn" && validation !== "Strict")
    throw invalid(optionsOf(x), "", [
      fieldErrors.notSupported("fieldValidation", validation, ['""', '"Ignore"', '"Strict"', '"Warn"']),
    ]);
  const agent = (x.request.headers["user-agent"] ?? "").split("/")[0]!.trim();
  return {
    dryRun: dryRun.length > 0,
    fieldManager: (x.query.get("fieldManager") ?? (fallbackManager ? agent || "unknown" : "")).slice(0, 128),
    fieldValidation: validation as FieldValidation,
    warnings: x.warnings,
    strictErrors: body?.strictErrors ?? [],
    check: tools ? (type, next, old) => checkEscalation(type, next, old, x.user, tools.authorizer) : () => {},
  };
}

async function finish(
  x: Exchange,
  tools: ResourceTools,
  type: ResourceType,
  written: Written,
): Promise<void> {
  await tools.context.store.committed();
  sendObject(
    x,
    written.created ? 201 : 200,
    type,
    written.object,
    negotiate(x.request.headers.accept),
    tools.context,
  );
}

const objectBody = async (x: Exchange, tools: ResourceTools): Promise<Body> =>
  parseObjectBody(await readBody(x.request, tools.maxBodyBytes), mediaTypeOf(x.request));

/** Answers a request to a resource that is served. Throws ApiError. */
export async function handleResource(
  x: Exchange,
  r: ResourceRequest,
  type: ResourceType,
  tools: ResourceTools,
): Promise<void> {
  if (type.namespaced !== (r.namespace !== undefined) && (r.name || r.verb === "create")) {
    if (!type.namespaced) throw notFound(type, r.name);
    throw notServed();
  }
  if (type.deprecationWarning) x.warnings.push(type.deprecationWarning);
  if (type.review) return handleReview(x, r, type, tools);
  if (r.subresource) return handleSubresource(x, r, type, tools);
  const scope = { type, namespace: r.namespace, ...(r.name ? { name: r.name } : {}) };
  switch (r.verb) {
    case "watch":
      return sendWatch(x, scope, negotiate(x.request.headers.accept), tools.context, tools.watches);
    case "list":
      return sendList(x, scope, negotiate(x.request.headers.accept), tools.context);
    case "get":
      return handleGet(x, r, type, tools);
    case "create":
      return handleCreate(x, r, type, tools);
    case "update":
    case "patch":
      if (!r.name)
        throw type.custom ? badRequest("the server could not understand the request") : methodNotAllowed();
      return handleWrite(x, { type, namespace: r.namespace, subresource: "" }, r, tools);
    case "delete":
      return handleDelete(x, r, type, tools);
    case "deletecollection":
      return handleDeleteCollection(x, r, type, tools);
    default:
      throw methodNotAllowed();
  }
}

async function handleGet(
  x: Exchange,
  r: ResourceRequest,
  type: ResourceType,
  { context }: ResourceTools,
): Promise<void> {
  const accepted = negotiate(x.request.headers.accept);
  const entry = find({ type, namespace: r.namespace }, r.name, context);
  await context.store.committed();
  sendObject(x, 200, type, entry.object, accepted, context, entry);
}

async function handleCreate(
  x: Exchange,
  r: ResourceRequest,
  type: ResourceType,
  tools: ResourceTools,
): Promise<void> {
  if (r.name)
    throw type.custom ? badRequest("the server could not understand the request") : methodNotAllowed();
  const body = await objectBody(x, tools);
  const o = writeOptions(x, body, true, tools);
  const written = createObject(
    { type, namespace: r.namespace, subresource: "" },
    body.value,
    tools.context,
    o,
  );
  await finish(x, tools, type, written);
}

const patchTypes: Readonly<Record<string, PatchType>> = {
  "application/json-patch+json": "json",
  "application/merge-patch+json": "merge",
  "application/strategic-merge-patch+json": "strategic",
};
const applyType = "application/apply-patch+yaml";

async function handleWrite(x: Exchange, t: Target, r: ResourceRequest, tools: ResourceTools): Promise<void> {
  const { context, authorizer } = tools;
  if (r.verb === "update") {
    const body = await objectBody(x, tools);
    const o = writeOptions(x, body, true);
    return finish(x, tools, t.type, replaceObject(t, r.name, body.value, context, o));
  }
  const media = mediaTypeOf(x.request);
  const kind = patchTypes[media];
  const accepted = t.type.custom
    ? "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"
    : `${Object.keys(patchTypes).join(", ")}, ${applyType}`;
  if ((!kind && media !== applyType) || (kind === "strategic" && t.type.custom))
    throw unsupportedMediaType(
      `the body of the request was in an unknown format - accepted media types include: ${accepted}`,
    );
  const bytes = await readBody(x.request, tools.maxBodyBytes);
  if (kind) {
    const body = parseJson(bytes);
    const o = writeOptions(x, body, true);
    return finish(x, tools, t.type, patchObject(t, r.name, kind, body.value, context, o));
  }
  const body = parseObjectBody(bytes, media);
  const o = writeOptions(x, body, false, tools);
  const exists = context.store.get(t.type.storage, keyOf(r.namespace, r.name)) !== undefined;
  if (
    !exists &&
    !authorizer.allows(x.user, {
      kind: "resource",
      verb: "create",
      group: r.group,
      resource: r.resource,
      subresource: "",
      namespace: r.namespace,
      name: r.name,
    })
  )
    throw forbidden(t.type, r.name, deniedBecause(x.user.name, "create", r));
  return finish(
    x,
    tools,
    t.type,
    applyObject(t, r.name, body.value, x.query.get("force") === "true", context, o),
  );
}

async function deleteBody(x: Exchange, tools: ResourceTools): Promise<Json | undefined> {
  const bytes = await readBody(x.request, tools.maxBodyBytes);
  return bytes.length > 0 ? parseObjectBody(bytes, mediaTypeOf(x.request)).value : undefined;
}

async function handleDelete(
  x: Exchange,
  r: ResourceRequest,
  type: ResourceType,
  tools: ResourceTools,
): Promise<void> {
  const o = readDeleteOptions(await deleteBody(x, tools), x.query);
  const { object, gone } = deleteObject(
    { type, namespace: r.namespace, subresource: "" },
    r.name,
    o,
    tools.context,
  );
  await tools.context.store.committed();
  if (gone) sendJson(x, 200, deletedStatus(type, object));
  else sendObject(x, 200, type, object, negotiate(x.request.headers.accept), tools.context);
}

async function handleDeleteCollection(
  x: Exchange,
  r: ResourceRequest,
  type: ResourceType,
  tools: ResourceTools,
): Promise<void> {
  const { context } = tools;
  const o = readDeleteOptions(await deleteBody(x, tools), x.query);
  const scope = { type, namespace: r.namespace };
  const test = selectorOf(scope, x.query);
  const entries = context.store
    .collection(type.storage)
    .entries(prefixOf(scope))
    .filter((e) => !test || test(e.object));
  for (const entry of entries) deleteEntry(type, entry, o, context);
  await context.store.committed();
  sendJson(x, 200, {
    kind: type.listKind,
    apiVersion: type.group ? `${type.group}/${type.version}` : type.version,
    metadata: { resourceVersion: String(context.store.revision) },
    items: [],
  });
}

async function handleSubresource(
  x: Exchange,
  r: ResourceRequest,
  type: ResourceType,
  tools: ResourceTools,
): Promise<void> {
  const { context } = tools;
  if (r.subresource === "status" && type.hasStatus) {
    if (r.verb === "get") return handleGet(x, r, type, tools);
    if (r.verb === "update" || r.verb === "patch")
      return handleWrite(x, { type, namespace: r.namespace, subresource: "status" }, r, tools);
  } else if (r.subresource === "scale" && type.scale) {
    if (r.verb === "get") {
      sendJson(x, 200, readScale(type, find({ type, namespace: r.namespace }, r.name, context)));
      return;
    }
    if (r.verb === "update" || r.verb === "patch") {
      const bytes = await readBody(x.request, tools.maxBodyBytes);
      const body = parseJson(bytes);
      const o = writeOptions(x, body, true);
      const mode = r.verb === "update" ? "replace" : (patchTypes[mediaTypeOf(x.request)] ?? "merge");
      const written = patchScale(type, r.namespace, r.name, mode, body.value, context, o);
      await context.store.committed();
      sendJson(x, 200, written);
      return;
    }
  } else if (r.subresource === "finalize" && type.storage === "namespaces" && r.verb === "update") {
    return finalizeNamespace(x, r, tools);
  } else if (r.subresource === "token" && type.storage === "serviceaccounts" && r.verb === "create") {
    const body = await objectBody(x, tools);
    const asked = decodeReview(tokenRequestType(type), body, x);
    sendJson(x, 201, requestToken(asked, r.namespace ?? "", r.name, tools));
    return;
  } else throw notFound(type, r.name);
  throw methodNotAllowed();
}

async function finalizeNamespace(x: Exchange, r: ResourceRequest, tools: ResourceTools): Promise<void> {
  const { context } = tools;
  const body = await objectBody(x, tools);
  const entry = context.store.get("namespaces", r.name);
  if (!entry) throw notFound({ group: "", resource: "namespaces", kind: "Namespace" }, r.name);
  const finalizers = isObject(body.value) ? [...stringsAt(body.value, "spec", "finalizers")] : [];
  const next = {
    ...entry.object,
    metadata: { ...entry.object.metadata },
    spec: finalizers.length > 0 ? { finalizers } : {},
  };
  const gone =
    finalizers.length === 0 &&
    next.metadata.deletionTimestamp &&
    (next.metadata.finalizers?.length ?? 0) === 0;
  const object = gone
    ? context.store.delete("namespaces", r.name)?.object
    : context.store.put("namespaces", r.name, next).object;
  await context.store.committed();
  sendJson(x, 200, object ?? next);
}

const tokenRequestType = (account: ResourceType): ResourceType => ({
  ...account,
  group: "authentication.k8s.io",
  version: "v1",
  kind: "TokenRequest",
  schema: builtinType("TokenRequest").schema,
});

const decodeReview = (type: ResourceType, body: Body, x: Exchange): ReturnType<typeof decodeObject> => {
  const object = decodeObject(type, body.value, writeOptions(x, body, true));
  for (const key of ["name", "uid", "resourceVersion"] as const)
    if (object.metadata[key] === "") delete (object.metadata as Partial<typeof object.metadata>)[key];
  object.metadata.creationTimestamp ||= null as unknown as string;
  return object;
};

async function handleReview(
  x: Exchange,
  r: ResourceRequest,
  type: ResourceType,
  tools: ResourceTools,
): Promise<void> {
  if (r.verb !== "create" || r.name) throw methodNotAllowed();
  const body = await objectBody(x, tools);
  const object = decodeReview(type, body, x);
  sendJson(x, 201, answerReview(type, object, x.user, type.namespaced ? r.namespace : undefined, tools));
}
