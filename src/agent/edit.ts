// agent: manifests that somebody means to apply: validated by the API server without being stored, and the cluster as it would be.
import type { KubernetesObject } from "../api/index.ts";
import { apiVersionOf, isNotFound, type KubeApi, keyOf, kinds, type Resource } from "../kube/index.ts";
import type { LiveCluster } from "./live.ts";
import type { ClusterObjects } from "./snapshot.ts";

/** How the manifests would be applied. */
export interface ApplyOptions {
  /** As `kubectl apply --server-side` with this field manager; undefined: as `kubectl apply`. */
  readonly serverSide?: { readonly manager: string; readonly force: boolean };
  /** For namespaced objects that name none. */
  readonly namespace: string;
}

/** One object as it would be after the change. */
export interface Change {
  readonly list: keyof ClusterObjects;
  readonly key: string;
  /** Undefined: it is to be deleted. */
  readonly object: KubernetesObject | undefined;
  readonly existed: boolean;
}

/** The kinds that a plan is made of, by the list that holds them. NodeNetworks are Waggle's own. */
const concerning: Readonly<Record<keyof ClusterObjects, Resource>> = {
  nodes: kinds.Node,
  clusterNetworks: kinds.ClusterNetwork,
  services: kinds.Service,
  endpointSlices: kinds.EndpointSlice,
  pools: kinds.IPPool,
  allocations: kinds.IPAllocation,
  peers: kinds.BGPPeer,
  policies: kinds.BGPPolicy,
  advertisements: kinds.BGPAdvertisement,
  peerings: kinds.ClusterPeering,
};

const isList = (name: string): name is keyof ClusterObjects => name in concerning;

/** The list and the kind behind `apiVersion` and `kind`; undefined where no plan depends on it. */
export function concerns(
  kind: string,
  apiVersion?: string,
): { readonly list: keyof ClusterObjects; readonly resource: Resource } | undefined {
  for (const [list, resource] of Object.entries(concerning)) {
    const same =
      resource.kind === kind && (apiVersion === undefined || apiVersionOf(resource) === apiVersion);
    if (same && isList(list)) return { list, resource };
  }
  return undefined;
}

const lastApplied = "kubectl.kubernetes.io/last-applied-configuration";

type Json = Readonly<Record<string, unknown>>;
const isObject = (value: unknown): value is Json =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** The merge patch (RFC 7386) that `kubectl apply` sends: all that is written, and null for what was written before and is not now. */
export function applyPatch(before: Json | undefined, now: Json): Json {
  const out: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(now)) {
    const old = before?.[key];
    out[key] = isObject(value) ? applyPatch(isObject(old) ? old : undefined, value) : value;
  }
  for (const key of Object.keys(before ?? {})) if (!(key in now)) out[key] = null;
  return out;
}

/** What was applied last, as kubectl has noted it; undefined where it has not. */
function lastAppliedOf(object: KubernetesObject): Json | undefined {
  const text = object.metadata.annotations?.[lastApplied];
  if (text === undefined) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/**
 * What applying one object would leave in the cluster. Nothing is stored. Undefined where no plan depends on its kind.
 * @throws ApiError with the server's causes and their field paths
 */
export async function dryRun(
  api: KubeApi,
  object: KubernetesObject,
  options: ApplyOptions,
): Promise<Change | undefined> {
  const concerned = concerns(object.kind, object.apiVersion);
  if (!concerned) return undefined;
  const { list, resource } = concerned;
  const { name } = object.metadata;
  const namespace = resource.namespaced ? (object.metadata.namespace ?? options.namespace) : undefined;
  const at = { ...(namespace !== undefined && { namespace }) };
  const manifest = { ...object, metadata: { ...object.metadata, ...at } };
  const current = await read(api, resource, name, at);
  const write = {
    ...at,
    dryRun: true,
    fieldManager: options.serverSide?.manager ?? "kubectl-client-side-apply",
  };
  const after = options.serverSide
    ? await api.patch(resource, name, "apply", manifest, { ...write, force: options.serverSide.force })
    : current
      ? await api.patch(resource, name, "merge", applyPatch(lastAppliedOf(current), { ...manifest }), write)
      : await api.create(resource, manifest, write);
  return { list, key: keyOf(after), object: after, existed: current !== undefined };
}

async function read(
  api: KubeApi,
  resource: Resource,
  name: string,
  at: { readonly namespace?: string },
): Promise<KubernetesObject | undefined> {
  try {
    return await api.get(resource, name, at);
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

/** The cluster as it would be with the changes. */
export function withChanges(live: LiveCluster, changes: readonly Change[]): LiveCluster {
  const change = <T extends KubernetesObject>(
    list: keyof ClusterObjects,
    objects: readonly T[],
  ): readonly T[] => {
    const ours = changes.filter((c) => c.list === list);
    if (ours.length === 0) return objects;
    const out = new Map(objects.map((o) => [keyOf(o), o] as const));
    for (const { key, object } of ours) {
      if (object) out.set(key, object as T);
      else out.delete(key);
    }
    return [...out.values()];
  };
  const o = live.objects;
  return {
    ...live,
    objects: {
      nodes: change("nodes", o.nodes),
      clusterNetworks: change("clusterNetworks", o.clusterNetworks),
      services: change("services", o.services),
      endpointSlices: change("endpointSlices", o.endpointSlices),
      pools: change("pools", o.pools),
      allocations: change("allocations", o.allocations),
      peers: change("peers", o.peers),
      policies: change("policies", o.policies),
      advertisements: change("advertisements", o.advertisements),
      peerings: change("peerings", o.peerings),
    },
  };
}

/** The deletion of an object, `kind/name` or `kind/namespace/name`; undefined where it is no such thing or it is not there. */
export function deletion(live: LiveCluster, text: string): Change | undefined {
  const [kind = "", ...rest] = text.split("/");
  const concerned = concerns(kind);
  const key = rest.join("/");
  if (!concerned || !live.objects[concerned.list].some((o) => keyOf(o) === key)) return undefined;
  return { list: concerned.list, key, object: undefined, existed: true };
}
