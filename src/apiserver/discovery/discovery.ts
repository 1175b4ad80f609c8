// apiserver/discovery: which groups, versions and resources there are, one by one and aggregated (KEP-3352).
import { createHash } from "node:crypto";
import type { JsonObject } from "../json.ts";
import { gvOf, type Registry, type ResourceType } from "../registry/resource.ts";

/** Groups in the order in which clients should prefer them; custom ones come after, by name. */
const groupOrder = [
  "",
  "events.k8s.io",
  "authentication.k8s.io",
  "authorization.k8s.io",
  "networking.k8s.io",
  "rbac.authorization.k8s.io",
  "apiextensions.k8s.io",
  "coordination.k8s.io",
  "discovery.k8s.io",
];

export function groupsOf(registry: Registry): string[] {
  const rank = (group: string): number => {
    const index = groupOrder.indexOf(group);
    return index < 0 ? groupOrder.length : index;
  };
  return [...new Set(registry.all().map((t) => t.group))].sort(
    (a, b) => rank(a) - rank(b) || (a < b ? -1 : 1),
  );
}

/** Newest stable version first: v2, v1, v1beta2, v1alpha1, then anything else by name. */
export function compareVersions(a: string, b: string): number {
  const parse = (v: string): [number, number, number] => {
    const match = /^v(\d+)(?:(alpha|beta)(\d+))?$/.exec(v);
    if (!match) return [-1, 0, 0];
    return [match[2] === "alpha" ? 0 : match[2] === "beta" ? 1 : 2, Number(match[1]), Number(match[3] ?? 0)];
  };
  const [x, y] = [parse(a), parse(b)];
  for (let i = 0; i < 3; i++) if (x[i] !== y[i]) return y[i]! - x[i]!;
  return a < b ? -1 : a > b ? 1 : 0;
}

export const versionsOf = (registry: Registry, group: string): string[] =>
  [
    ...new Set(
      registry
        .all()
        .filter((t) => t.group === group)
        .map((t) => t.version),
    ),
  ].sort(compareVersions);

const typesOf = (registry: Registry, group: string, version: string): ResourceType[] =>
  registry
    .all()
    .filter((t) => t.group === group && t.version === version)
    .sort((a, b) => (a.resource < b.resource ? -1 : 1));

export function apiGroup(registry: Registry, group: string): JsonObject {
  const versions = versionsOf(registry, group).map((version) => ({
    groupVersion: `${group}/${version}`,
    version,
  }));
  return { name: group, versions, preferredVersion: versions[0]! };
}

export const apiGroupList = (registry: Registry): JsonObject => ({
  kind: "APIGroupList",
  apiVersion: "v1",
  groups: groupsOf(registry)
    .filter((g) => g !== "")
    .map((g) => apiGroup(registry, g)),
});

interface Subresource {
  readonly name: string;
  readonly kind: { readonly group: string; readonly version: string; readonly kind: string };
  readonly verbs: readonly string[];
}

/** Subresources that a resource has here. */
export function subresourcesOf(type: ResourceType): Subresource[] {
  const { group, version, kind } = type;
  const found: Subresource[] = [];
  if (type.hasStatus)
    found.push({ name: "status", kind: { group, version, kind }, verbs: ["get", "patch", "update"] });
  if (type.scale)
    found.push({
      name: "scale",
      kind: { group: "autoscaling", version: "v1", kind: "Scale" },
      verbs: ["get", "patch", "update"],
    });
  if (type.storage === "namespaces")
    found.push({ name: "finalize", kind: { group, version, kind }, verbs: ["update"] });
  if (type.storage === "serviceaccounts")
    found.push({
      name: "token",
      kind: { group: "authentication.k8s.io", version: "v1", kind: "TokenRequest" },
      verbs: ["create"],
    });
  return found;
}

const storageHash = (type: ResourceType): string =>
  createHash("sha256").update(`${type.storage}/${type.kind}`).digest("base64").slice(0, 11).concat("=");

/** APIResourceList of one version of a group. */
export function apiResourceList(registry: Registry, group: string, version: string): JsonObject {
  const resources = typesOf(registry, group, version).flatMap((type): JsonObject[] => [
    {
      name: type.resource,
      singularName: type.singular,
      namespaced: type.namespaced,
      kind: type.kind,
      verbs: [...type.verbs],
      ...(type.shortNames.length > 0 ? { shortNames: [...type.shortNames] } : {}),
      ...(type.categories.length > 0 ? { categories: [...type.categories] } : {}),
      ...(type.review ? {} : { storageVersionHash: storageHash(type) }),
    },
    ...subresourcesOf(type).map(
      (s): JsonObject => ({
        name: `${type.resource}/${s.name}`,
        singularName: "",
        namespaced: type.namespaced,
        ...(s.kind.group !== type.group ? { group: s.kind.group, version: s.kind.version } : {}),
        kind: s.kind.kind,
        verbs: [...s.verbs],
      }),
    ),
  ]);
  return { kind: "APIResourceList", apiVersion: "v1", groupVersion: gvOf({ group, version }), resources };
}

function aggregatedVersion(registry: Registry, group: string, version: string): JsonObject {
  const resources = typesOf(registry, group, version).map(
    (type): JsonObject => ({
      resource: type.resource,
      responseKind: { group, version, kind: type.kind },
      scope: type.namespaced ? "Namespaced" : "Cluster",
      singularResource: type.singular,
      verbs: [...type.verbs],
      ...(type.shortNames.length > 0 ? { shortNames: [...type.shortNames] } : {}),
      ...(type.categories.length > 0 ? { categories: [...type.categories] } : {}),
      ...(subresourcesOf(type).length > 0
        ? {
            subresources: subresourcesOf(type).map((s) => ({
              subresource: s.name,
              responseKind: { ...s.kind },
              verbs: [...s.verbs],
            })),
          }
        : {}),
    }),
  );
  return { version, resources, freshness: "Current" };
}

/** APIGroupDiscoveryList of the core group, or of all others. */
export function aggregated(registry: Registry, core: boolean, apiVersion: string): JsonObject {
  return {
    kind: "APIGroupDiscoveryList",
    apiVersion,
    metadata: {},
    items: groupsOf(registry)
      .filter((g) => (g === "") === core)
      .map((group) => ({
        metadata: { ...(group ? { name: group } : {}), creationTimestamp: null },
        versions: versionsOf(registry, group).map((v) => aggregatedVersion(registry, group, v)),
      })),
  };
}
