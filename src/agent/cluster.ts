// agent: the cluster as one immutable snapshot, from reflectors that never turn a failure into an absence.
import type { KubernetesObject, Node, NodeNetwork } from "../api/index.ts";
import {
  type Clock,
  ClusterIdentity,
  Informer,
  type InformerOptions,
  type KubeApi,
  kinds,
  type Random,
  type Resource,
  sameJson,
} from "../kube/index.ts";
import type { LastGood, Snapshot } from "../plan/index.ts";
import { snapshotKept } from "./messages.ts";
import type { ClusterPort } from "./ports.ts";
import { snapshotOf } from "./snapshot.ts";
import { thinClaim, thinNetwork, thinNode, thinService, thinSlice } from "./thin.ts";

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
  /** The API server's data is older than what was known: what is in force is kept for a while. */
  readonly onRewound: () => void;
}

/**
 * How long the snapshot that was there stays in force after the API server's data went back, as by a restore from a backup,
 * ms: until then the operator has heard what is in use and has put back what it can. Nothing is withdrawn for a lost object.
 */
const keptMs = 90_000;

/** Reflectors of all kinds that an agent reads. */
export class ClusterView implements ClusterPort, Disposable {
  readonly identity: ClusterIdentity;
  readonly #informers: readonly Informer<KubernetesObject>[];
  readonly #nodes: Informer<Node>;
  readonly #network: Informer<NodeNetwork>;
  readonly #node: string;
  readonly #of;
  readonly #options: ClusterOptions;
  #memo: Snapshot | undefined;
  /** The last one that was handed out. */
  #last: Snapshot | undefined;
  /** Monotonic ms. */
  #keptUntil = Number.NEGATIVE_INFINITY;

  constructor(options: ClusterOptions) {
    const { api, node, clock, random } = options;
    this.#node = node;
    this.#options = options;
    this.identity = new ClusterIdentity(api, {
      clock,
      ...(options.expectedUID !== undefined && { expected: options.expectedUID }),
    });
    const all: Informer<KubernetesObject>[] = [];
    const follow = <T extends KubernetesObject>(
      resource: Resource<T>,
      more: Pick<InformerOptions<T>, "fieldSelector" | "trim"> = {},
    ): Informer<T> => {
      const informer = new Informer<T>({
        api,
        resource,
        identity: this.identity,
        clock,
        random,
        onState: () => options.onChange(),
        onHandlerError: options.onError,
        ...more,
      });
      informer.cache.onReplaced = ({ older }) => {
        if (older) this.rewound();
      };
      let before = 0n;
      informer.cache.onProgress((version) => {
        const now = /^\d+$/.test(version) ? BigInt(version) : 0n;
        if (now < before) this.rewound();
        before = now;
      });
      informer.cache.onChange(() => {
        if ((informer as unknown) !== this.#network || this.#isNetworkNews()) this.#memo = undefined;
        options.onChange();
      });
      all.push(informer as unknown as Informer<KubernetesObject>);
      return informer;
    };
    this.#nodes = follow(kinds.Node, { trim: thinNode });
    this.#network = follow(kinds.NodeNetwork, { fieldSelector: `metadata.name=${node}` });
    this.#of = {
      clusterNetworks: follow(kinds.ClusterNetwork),
      services: follow(kinds.Service, { trim: thinService }),
      endpointSlices: follow(kinds.EndpointSlice, { trim: thinSlice }),
      pools: follow(kinds.IPPool),
      allocations: follow(kinds.IPAllocation, { trim: thinClaim }),
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

  /** For metrics. */
  get informers(): readonly Informer<KubernetesObject>[] {
    return this.#informers;
  }

  /** Every kind has been listed in full since the start. */
  get complete(): boolean {
    return this.#informers.every((i) => i.reflector.state.synced);
  }

  /** Why the API server is not followed; undefined while every kind is. */
  get staleBecause(): string | undefined {
    if (this.#isKept) return snapshotKept(keptMs / 1000);
    const stale = this.#informers.find((i) => !i.reflector.state.fresh);
    return stale && (stale.reflector.state.lastError ?? "it has not answered yet");
  }

  /** The own NodeNetwork with its status, for writing. */
  get nodeNetwork(): NodeNetwork | undefined {
    return this.#network.cache.get(this.#node);
  }

  snapshot(lastGood: LastGood): Snapshot | undefined {
    const clusterUID = this.identity.uid;
    if (this.#isKept && this.#last) {
      if (this.#last.lastGood !== lastGood) this.#last = { ...this.#last, lastGood };
      return this.#last;
    }
    if (!this.complete || clusterUID === undefined) return undefined;
    if (this.#memo?.lastGood !== lastGood) this.#memo = this.#build(clusterUID, lastGood);
    this.#last = this.#memo;
    return this.#memo;
  }

  get #isKept(): boolean {
    return this.#options.clock.monotonic() < this.#keptUntil;
  }

  /** The API server's data is older than what was known. All of it is asked for again; what is in force stays for a while. */
  rewound(): void {
    const { clock, onChange, onRewound } = this.#options;
    if (this.#isKept) return;
    this.#keptUntil = clock.monotonic() + keptMs;
    for (const informer of this.#informers) informer.relist();
    clock.after(keptMs, onChange);
    onRewound();
    onChange();
  }

  /** The highest resourceVersion that is known; undefined before anything is. */
  get seen(): bigint | undefined {
    let highest: bigint | undefined;
    for (const { cache } of this.#informers) {
      if (!/^\d+$/.test(cache.resourceVersion ?? "")) continue;
      const version = BigInt(cache.resourceVersion!);
      if (highest === undefined || version > highest) highest = version;
    }
    return highest;
  }

  /** Its status is this agent's own report, and no news. */
  #isNetworkNews(): boolean {
    const now = this.nodeNetwork;
    const before = this.#memo?.nodeNetwork;
    return !now || !before || !sameJson(thinNetwork(now), before);
  }

  #build(clusterUID: string, lastGood: LastGood): Snapshot {
    const list = <T extends KubernetesObject>(informer: Informer<T>): readonly T[] => informer.cache.list();
    const of = this.#of;
    return snapshotOf(
      clusterUID,
      {
        nodes: list(this.#nodes),
        clusterNetworks: list(of.clusterNetworks),
        services: list(of.services),
        endpointSlices: list(of.endpointSlices),
        pools: list(of.pools),
        allocations: list(of.allocations),
        peers: list(of.peers),
        policies: list(of.policies),
        advertisements: list(of.advertisements),
        peerings: list(of.peerings),
      },
      this.nodeNetwork,
      lastGood,
    );
  }

  [Symbol.dispose](): void {
    for (const informer of this.#informers) informer[Symbol.dispose]();
  }
}
