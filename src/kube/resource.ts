// kube: kinds as values. A Resource says where a kind lives in the API and, to the type checker, what its objects are.
import {
  type BGPAdvertisement,
  type BGPPeer,
  type BGPPolicy,
  type ClusterNetwork,
  type ClusterPeering,
  type EndpointSlice,
  type IPAllocation,
  type IPPool,
  type IPReservation,
  type KubernetesObject,
  type Node,
  type NodeNetwork,
  type Secret,
  type Service,
  type Trace,
  waggleKinds,
} from "../api/index.ts";
import type {
  CustomResourceDefinition,
  Event,
  Lease,
  Namespace,
  SelfSubjectAccessReview,
  ServiceAccount,
  ServiceCIDR,
  TokenReview,
} from "./builtin.ts";

declare const objectType: unique symbol;

/** One kind: group ("" for the core group), version, plural, scope. `T` is what its objects are. */
export interface Resource<T extends KubernetesObject = KubernetesObject> {
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  readonly plural: string;
  readonly namespaced: boolean;
  /** Never there; carries T for inference. */
  readonly [objectType]?: T;
}

const core = <T extends KubernetesObject>(
  kind: string,
  plural: string,
  namespaced: boolean,
): Resource<T> => ({
  group: "",
  version: "v1",
  kind,
  plural,
  namespaced,
});

const grouped = <T extends KubernetesObject>(
  group: string,
  kind: string,
  plural: string,
  namespaced: boolean,
): Resource<T> => ({ group, version: "v1", kind, plural, namespaced });

/** The kinds of Kubernetes itself that Waggle reads or writes. */
export const builtinKinds = {
  Node: core<Node>("Node", "nodes", false),
  Namespace: core<Namespace>("Namespace", "namespaces", false),
  Service: core<Service>("Service", "services", true),
  Secret: core<Secret>("Secret", "secrets", true),
  ServiceAccount: core<ServiceAccount>("ServiceAccount", "serviceaccounts", true),
  EndpointSlice: grouped<EndpointSlice>("discovery.k8s.io", "EndpointSlice", "endpointslices", true),
  Event: grouped<Event>("events.k8s.io", "Event", "events", true),
  ServiceCIDR: grouped<ServiceCIDR>("networking.k8s.io", "ServiceCIDR", "servicecidrs", false),
  Lease: grouped<Lease>("coordination.k8s.io", "Lease", "leases", true),
  CustomResourceDefinition: grouped<CustomResourceDefinition>(
    "apiextensions.k8s.io",
    "CustomResourceDefinition",
    "customresourcedefinitions",
    false,
  ),
  TokenReview: grouped<TokenReview>("authentication.k8s.io", "TokenReview", "tokenreviews", false),
  SelfSubjectAccessReview: grouped<SelfSubjectAccessReview>(
    "authorization.k8s.io",
    "SelfSubjectAccessReview",
    "selfsubjectaccessreviews",
    false,
  ),
} as const;

/** Our kinds, typed. */
export const kinds = {
  ...builtinKinds,
  BGPAdvertisement: waggleKinds.BGPAdvertisement as Resource<BGPAdvertisement>,
  BGPPeer: waggleKinds.BGPPeer as Resource<BGPPeer>,
  BGPPolicy: waggleKinds.BGPPolicy as Resource<BGPPolicy>,
  ClusterNetwork: waggleKinds.ClusterNetwork as Resource<ClusterNetwork>,
  ClusterPeering: waggleKinds.ClusterPeering as Resource<ClusterPeering>,
  IPAllocation: waggleKinds.IPAllocation as Resource<IPAllocation>,
  IPPool: waggleKinds.IPPool as Resource<IPPool>,
  IPReservation: waggleKinds.IPReservation as Resource<IPReservation>,
  NodeNetwork: waggleKinds.NodeNetwork as Resource<NodeNetwork>,
  Trace: waggleKinds.Trace as Resource<Trace>,
} as const;

/** `group/version`, or `version` in the core group. */
export const apiVersionOf = (r: Resource): string => (r.group === "" ? r.version : `${r.group}/${r.version}`);

/** `bgppeers.waggle.dev`, or `nodes`: how people and messages name a kind. */
export const qualifiedName = (r: Resource): string => (r.group === "" ? r.plural : `${r.plural}.${r.group}`);

/**
 * Path of a collection, an object or a subresource below the server's root.
 * @throws RangeError when a namespaced object is addressed without its namespace
 */
export function pathOf(
  r: Resource,
  at: { readonly namespace?: string; readonly name?: string; readonly subresource?: string } = {},
): string {
  const root = r.group === "" ? `/api/${r.version}` : `/apis/${r.group}/${r.version}`;
  if (r.namespaced && at.name !== undefined && at.namespace === undefined)
    throw new RangeError(`${r.kind} ${at.name}: a namespaced object needs its namespace`);
  const namespace =
    r.namespaced && at.namespace !== undefined ? `/namespaces/${encodeURIComponent(at.namespace)}` : "";
  const name = at.name === undefined ? "" : `/${encodeURIComponent(at.name)}`;
  const subresource = at.subresource === undefined ? "" : `/${at.subresource}`;
  return `${root}${namespace}/${r.plural}${name}${subresource}`;
}

/** Key of an object in caches and queues: `name`, or `namespace/name`. */
export const keyOf = (object: KubernetesObject): string =>
  object.metadata.namespace ? `${object.metadata.namespace}/${object.metadata.name}` : object.metadata.name;

/** Inverse of {@link keyOf}. */
export function splitKey(key: string): { readonly namespace?: string; readonly name: string } {
  const slash = key.indexOf("/");
  return slash < 0 ? { name: key } : { namespace: key.slice(0, slash), name: key.slice(slash + 1) };
}
