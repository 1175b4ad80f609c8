// operator: what every reconciler is given: the API, the caches, the claims, time and a log.
import {
  type BGPAdvertisement,
  type BGPPeer,
  type BGPPolicy,
  type ClusterNetwork,
  type ClusterPeering,
  type IPAllocation,
  type IPPool,
  type IPReservation,
  isPaused,
  type KubernetesObject,
  type Node,
  type NodeNetwork,
  type Service,
} from "../api/index.ts";
import {
  type Clock,
  type ClusterIdentity,
  type EventRecorder,
  Informer,
  type InformerOptions,
  type KubeApi,
  kinds,
  type Random,
  type ReflectorState,
  type Resource,
} from "../kube/index.ts";
import type { ClaimLedger } from "./claims.ts";
import type { PoolBook } from "./pool-book.ts";
import type { ServiceRanges } from "./service-ranges.ts";

/** pino's shape, as far as it is used. */
export interface Log {
  debug(members: object, message: string): void;
  info(members: object, message: string): void;
  warn(members: object, message: string): void;
  error(members: object, message: string): void;
}

export const fieldManager = "waggle-operator";

/** IPs that a Service shows. */
export const ingressOf = (service: Service): readonly string[] =>
  (service.status?.loadBalancer?.ingress ?? []).flatMap((i) => (i.ip ? [i.ip] : []));

/** Cluster addresses of a Service. */
export const clusterIPsOf = (service: Service): readonly string[] =>
  (service.spec.clusterIPs ?? []).filter((ip) => ip !== "None");

export interface Caches {
  readonly nodes: Informer<Node>;
  readonly networks: Informer<NodeNetwork>;
  readonly services: Informer<Service>;
  readonly clusterNetworks: Informer<ClusterNetwork>;
  readonly pools: Informer<IPPool>;
  readonly allocations: Informer<IPAllocation>;
  readonly reservations: Informer<IPReservation>;
  readonly peers: Informer<BGPPeer>;
  readonly policies: Informer<BGPPolicy>;
  readonly advertisements: Informer<BGPAdvertisement>;
  readonly peerings: Informer<ClusterPeering>;
}

/** Names of indexes. */
export const indexes = {
  /** Services by an IP that they show. */
  ingress: "ingress",
  /** NodeNetworks by a pod block that they show. */
  block: "block",
  /** NodeNetworks by a prefix that their node announces, or has not yet withdrawn everywhere. */
  announced: "announced",
  /** IPReservations by the Service that they are for, as namespace/name. */
  service: "service",
} as const;

export interface CacheOptions {
  readonly api: KubeApi;
  readonly identity: ClusterIdentity;
  readonly clock: Clock;
  readonly random: Random;
  readonly onState: (kind: string, state: ReflectorState) => void;
  readonly onHandlerError: (error: unknown) => void;
}

export function makeCaches(options: CacheOptions): Caches {
  const { onState, ...rest } = options;
  const follow = <T extends KubernetesObject>(
    resource: Resource<T>,
    more: Partial<InformerOptions<T>> = {},
  ): Informer<T> =>
    new Informer<T>({ ...rest, resource, onState: (state) => onState(resource.kind, state), ...more });
  return {
    nodes: follow(kinds.Node),
    networks: follow(kinds.NodeNetwork, {
      indexes: {
        [indexes.block]: (n) => (n.spec.podBlocks ?? []).map((b) => b.prefix),
        [indexes.announced]: announcedBy,
      },
    }),
    services: follow(kinds.Service, { indexes: { [indexes.ingress]: ingressOf } }),
    clusterNetworks: follow(kinds.ClusterNetwork),
    pools: follow(kinds.IPPool),
    allocations: follow(kinds.IPAllocation),
    reservations: follow(kinds.IPReservation, {
      indexes: { [indexes.service]: (r) => [`${r.metadata.namespace}/${r.spec.serviceName}`] },
    }),
    peers: follow(kinds.BGPPeer),
    policies: follow(kinds.BGPPolicy),
    advertisements: follow(kinds.BGPAdvertisement),
    peerings: follow(kinds.ClusterPeering),
  };
}

/** What a node's agent says to be in use there. */
export interface Use {
  readonly prefix: string;
  /** namespace/name of the Service for which it is; undefined for a pod block, or where that is not known. */
  readonly service?: string;
  /** The same of those that share it. */
  readonly sharedBy?: readonly string[];
}

/** namespace/name of all Services for which it is. */
export const usersOf = (use: Use): readonly string[] =>
  use.service === undefined ? [] : [use.service, ...(use.sharedBy ?? [])];

/** Everything that a NodeNetwork reports to be in use: announced and not withdrawn everywhere, or held by pods or maps. */
export const usesOf = ({ status }: NodeNetwork): readonly Use[] => [
  ...(status?.announced ?? []).filter((a) => a.state !== "Withdrawn"),
  ...(status?.inUse ?? []),
  // Shown, perhaps still those of an earlier Node of this name: pods are in them all the same.
  ...(status?.podBlocks ?? []).filter((b) => b.fill !== "Empty").map(({ prefix }) => ({ prefix })),
];

/** Prefixes of a NodeNetwork whose withdrawal has not been reported. */
export const announcedBy = (network: NodeNetwork): readonly string[] => [
  ...new Set(usesOf(network).map((u) => u.prefix)),
];

export const allCaches = (caches: Caches): readonly Informer<KubernetesObject>[] =>
  Object.values(caches) as unknown as readonly Informer<KubernetesObject>[];

export interface Gate {
  /** Whom it waits for before anything new is given out; undefined: nobody. */
  readonly awaited: readonly string[] | undefined;
  /** Nodes whose agents beat no more. */
  readonly silent: ReadonlySet<string>;
}

export interface OperatorContext {
  readonly api: KubeApi;
  readonly caches: Caches;
  readonly claims: ClaimLedger;
  readonly pools: PoolBook;
  /** Ranges of Services' cluster addresses. */
  readonly ranges: ServiceRanges;
  /** Whether anything new may be given out. */
  readonly gate: Gate;
  readonly clock: Clock;
  readonly random: Random;
  readonly events: EventRecorder;
  readonly log: Log;
}

type Observed = KubernetesObject & { readonly status?: { readonly observedGeneration?: number } };

/** Whether what is written in the object counts: it is not paused, or was seen in this form before it was. */
export const isInForce = (object: Observed): boolean =>
  !isPaused(object) || object.status?.observedGeneration === object.metadata.generation;

/** The last form of each ClusterNetwork that counted; remembered, because a paused one may be written into. */
const remembered = new WeakMap<Caches, ClusterNetwork>();

/** The one ClusterNetwork, in the form that is in force. Undefined: there is none, or it was changed while it was paused. */
export function clusterNetworkOf(caches: Caches): ClusterNetwork | undefined {
  const now = caches.clusterNetworks.cache.get("default");
  if (now && isInForce(now)) {
    remembered.set(caches, now);
    return now;
  }
  const before = remembered.get(caches);
  return before?.metadata.uid === now?.metadata.uid ? before : undefined;
}
