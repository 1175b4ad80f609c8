// agent: the cluster as one immutable snapshot, from reflectors that never turn a failure into an absence.
import { type KubernetesObject, type Node, type NodeNetwork, pausedAnnotation } from "../api/index.ts";
import {
  type Clock,
  ClusterIdentity,
  Informer,
  type KubeApi,
  kinds,
  type Random,
  type Resource,
} from "../kube/index.ts";
import type { LastGood, Snapshot } from "../plan/index.ts";
import type { ClusterPort } from "./ports.ts";

export interface ClusterOptions {
  readonly api: KubeApi;
  readonly node: string;
  /** UID of the stored snapshot's cluster: another one is never believed. */
  readonly expectedUID: string | undefined;
  readonly clock: Clock;
  readonly random: Random;
  /** Something changed, or became fresh or stale. */
  readonly onChange: () => void;
  /** A handler threw. */
  readonly onError: (error: unknown) => void;
}

/** Of other nodes an agent needs names, labels, addresses, taints and readiness; heartbeats change nothing of it. */
export function thinNode(node: Node): Node {
  const { name, uid, labels, annotations } = node.metadata;
  const paused = annotations?.[pausedAnnotation];
  return {
    apiVersion: "v1",
    kind: "Node",
    metadata: {
      name,
      ...(uid !== undefined && { uid }),
      ...(labels && { labels }),
      ...(paused !== undefined && { annotations: { [pausedAnnotation]: paused } }),
    },
    ...(node.spec?.taints && { spec: { taints: node.spec.taints } }),
    status: {
      addresses: node.status?.addresses ?? [],
      conditions: (node.status?.conditions ?? [])
        .filter((c) => c.type === "Ready")
        .map(({ type, status }) => ({ type, status })),
    },
  };
}

/** Without status and versions: the agent's own reports must not look like news. */
function thinNetwork(network: NodeNetwork): NodeNetwork {
  const { name, uid, annotations } = network.metadata;
  return {
    apiVersion: network.apiVersion,
    kind: network.kind,
    metadata: { name, ...(uid !== undefined && { uid }), ...(annotations && { annotations }) },
    spec: network.spec,
  };
}

/** Reflectors of all kinds that an agent reads. */
export class ClusterView implements ClusterPort, Disposable {
  readonly identity: ClusterIdentity;
  readonly #informers: readonly Informer<KubernetesObject>[];
  readonly #nodes: Informer<Node>;
  readonly #network: Informer<NodeNetwork>;
  readonly #node: string;
  readonly #of;
  #memo: Snapshot | undefined;

  constructor(options: ClusterOptions) {
    const { api, node, clock, random } = options;
    this.#node = node;
    this.identity = new ClusterIdentity(api, {
      clock,
      ...(options.expectedUID !== undefined && { expected: options.expectedUID }),
    });
    const all: Informer<KubernetesObject>[] = [];
    const follow = <T extends KubernetesObject>(
      resource: Resource<T>,
      fieldSelector?: string,
    ): Informer<T> => {
      const informer = new Informer<T>({
        api,
        resource,
        identity: this.identity,
        clock,
        random,
        onState: () => options.onChange(),
        onHandlerError: options.onError,
        ...(fieldSelector !== undefined && { fieldSelector }),
      });
      informer.cache.onChange(() => {
        this.#memo = undefined;
        options.onChange();
      });
      all.push(informer as unknown as Informer<KubernetesObject>);
      return informer;
    };
    this.#nodes = follow(kinds.Node);
    this.#network = follow(kinds.NodeNetwork, `metadata.name=${node}`);
    this.#of = {
      clusterNetworks: follow(kinds.ClusterNetwork),
      services: follow(kinds.Service),
      endpointSlices: follow(kinds.EndpointSlice),
      pools: follow(kinds.IPPool),
      allocations: follow(kinds.IPAllocation),
      peers: follow(kinds.BGPPeer),
      policies: follow(kinds.BGPPolicy),
      advertisements: follow(kinds.BGPAdvertisement),
      peerings: follow(kinds.ClusterPeering),
    };
    this.#informers = all;
  }

  start(): void {
    for (const informer of this.#informers) informer.start();
  }

  /** Every kind has been listed in full since the start. */
  get complete(): boolean {
    return this.#informers.every((i) => i.reflector.state.synced);
  }

  /** Why the API server is not followed; undefined while every kind is. */
  get staleBecause(): string | undefined {
    const stale = this.#informers.find((i) => !i.reflector.state.fresh);
    return stale && (stale.reflector.state.lastError ?? "it has not answered yet");
  }

  /** The own NodeNetwork with its status, for writing. */
  get nodeNetwork(): NodeNetwork | undefined {
    return this.#network.cache.get(this.#node);
  }

  snapshot(lastGood: LastGood): Snapshot | undefined {
    const clusterUID = this.identity.uid;
    if (!this.complete || clusterUID === undefined) return undefined;
    if (this.#memo?.lastGood !== lastGood) this.#memo = this.#build(clusterUID, lastGood);
    return this.#memo;
  }

  #build(clusterUID: string, lastGood: LastGood): Snapshot {
    const network = this.nodeNetwork;
    const clusterNetwork = this.#of.clusterNetworks.cache.get("default");
    return {
      clusterUID,
      nodes: this.#nodes.cache.list().map(thinNode),
      ...(network && { nodeNetwork: thinNetwork(network) }),
      ...(clusterNetwork && { clusterNetwork }),
      services: this.#of.services.cache.list(),
      endpointSlices: this.#of.endpointSlices.cache.list(),
      pools: this.#of.pools.cache.list(),
      allocations: this.#of.allocations.cache.list(),
      peers: this.#of.peers.cache.list(),
      policies: this.#of.policies.cache.list(),
      advertisements: this.#of.advertisements.cache.list(),
      peerings: this.#of.peerings.cache.list(),
      lastGood,
    };
  }

  [Symbol.dispose](): void {
    for (const informer of this.#informers) informer[Symbol.dispose]();
  }
}
