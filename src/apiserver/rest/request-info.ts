// apiserver/rest: what a request is about, from its method, path and query.
import type { Action } from "../auth/rbac.ts";
import { isWatch } from "./watch.ts";

/** A request to an object or a collection of the API. */
export interface ResourceRequest {
  readonly group: string;
  readonly version: string;
  readonly resource: string;
  readonly namespace: string | undefined;
  readonly name: string;
  readonly subresource: string;
  readonly verb: string;
}

const verbs: Readonly<Record<string, readonly [onItem: string, onCollection: string]>> = {
  GET: ["get", "list"],
  HEAD: ["get", "list"],
  POST: ["create", "create"],
  PUT: ["update", "update"],
  PATCH: ["patch", "patch"],
  DELETE: ["delete", "deletecollection"],
};

function decodeSegment(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    // A path with broken escapes names nothing.
    return undefined;
  }
}

/** Undefined for a path outside the objects of the API: discovery, health, anything else. */
export function parseResourcePath(
  method: string,
  path: string,
  query: URLSearchParams,
): ResourceRequest | undefined {
  const parts = path.split("/").filter(Boolean).map(decodeSegment);
  if (parts.some((p) => p === undefined)) return undefined;
  const segments = parts as string[];
  const [root] = segments;
  const skip = root === "api" ? 2 : root === "apis" ? 3 : 0;
  if (skip === 0 || segments.length <= skip) return undefined;
  const group = root === "api" ? "" : segments[1]!;
  const version = segments[skip - 1]!;
  let rest = segments.slice(skip);
  let watchPath = false;
  if (rest[0] === "watch") {
    // The old form of a watch, /api/v1/watch/...; some clients still know it.
    watchPath = true;
    rest = rest.slice(1);
  }
  let namespace: string | undefined;
  if (rest[0] === "namespaces" && rest.length > 2 && rest[2] !== "status" && rest[2] !== "finalize") {
    namespace = rest[1]!;
    rest = rest.slice(2);
  }
  const [resource, name = "", ...sub] = rest;
  if (!resource || sub.length > 1) return undefined;
  const pair = verbs[method];
  if (!pair) return undefined;
  let verb = name ? pair[0] : pair[1];
  if (method === "GET" && (watchPath || isWatch(query))) verb = "watch";
  return { group, version, resource, namespace, name, subresource: sub[0] ?? "", verb };
}

/** The request as RBAC sees it. A collection narrowed to one name counts as that one object. */
export function actionOf(r: ResourceRequest, query: URLSearchParams): Action {
  const selected = /(?:^|,)metadata\.name==?([^,]+)(?:,|$)/.exec(query.get("fieldSelector") ?? "")?.[1];
  const narrowed = r.verb === "list" || r.verb === "watch" || r.verb === "deletecollection";
  return {
    kind: "resource",
    verb: r.verb,
    group: r.group,
    resource: r.resource,
    subresource: r.subresource,
    namespace: r.namespace,
    name: r.name || (narrowed ? (selected ?? "") : ""),
  };
}
