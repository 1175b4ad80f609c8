// operator: one term of office: from caches in step, through re-adoption, to running controllers, until leadership ends.
import {
  type IPAllocation,
  type IPPool,
  isPaused,
  type KubernetesObject,
  type Node,
  type NodeNetwork,
} from "../api/index.ts";
import { describePrefix } from "../ipam/index.ts";
import {
  type ClusterIdentity,
  Controller,
  type ControllerOptions,
  describeError,
  keyOf,
} from "../kube/index.ts";
import { Histogram } from "../metrics/index.ts";
import { ownerKey, prefixOf, sharersOf } from "./claim.ts";
import { type Caches, indexes, type OperatorContext } from "./context.ts";
import { ClaimLifecycle } from "./lifecycle.ts";
import { NodeReconciler } from "./nodes.ts";
import { PoolReconciler } from "./pools.ts";
import { Quarantine } from "./quarantine.ts";
import { ReservationReconciler } from "./reservations.ts";
import { ServiceReconciler } from "./services.ts";
import { StatusReconcilers } from "./status.ts";

/** Counts and summaries follow changes after this, ± half of it: what changes in bursts is written once. */
const statusDelayMs = 120;
/** A status that somebody has written is looked at again after about this. */
const statusRecheckMs = 5_000;
/** Everything is looked at again this often, in case something was missed. */
const resyncMs = 10 * 60_000;

const names = [
  "pools",
  "nodes",
  "services",
  "reservations",
  "claims",
  "reports",
  "clusterNetworks",
  "peers",
  "policies",
  "advertisements",
  "peerings",
] as const;
type Name = (typeof names)[number];

/** Which cache has a controller's keys. */
const cacheOf: Readonly<Record<Name, keyof Caches>> = {
  pools: "pools",
  nodes: "nodes",
  services: "services",
  reservations: "reservations",
  claims: "allocations",
  reports: "networks",
  clusterNetworks: "clusterNetworks",
  peers: "peers",
  policies: "policies",
  advertisements: "advertisements",
  peerings: "peerings",
};

/** What of a pool decides about allocation; counts in its status do not. */
const poolNews = (pool: IPPool | undefined): string =>
  pool === undefined
    ? ""
    : `${pool.metadata.uid} ${pool.metadata.generation} ${isPaused(pool)} ${pool.status?.conditions
        ?.filter((c) => c.type === "Accepted")
        .map((c) => `${c.status}${c.observedGeneration}`)
        .join()}`;

/** What of a NodeNetwork a Node's reconciler writes or reads. */
const viewNews = (n: NodeNetwork | undefined): string =>
  JSON.stringify([
    n?.spec,
    n?.metadata.ownerReferences,
    n?.metadata.uid,
    n?.status?.podBlocks,
    n?.status?.inUse,
    n?.status?.observedGeneration === n?.metadata.generation,
  ]);

/** Tells whether something about a key is other than it was the last time. */
class News<T> {
  readonly #seen = new Map<string, string>();
  readonly #of: (value: T | undefined) => string;
  constructor(of: (value: T | undefined) => string) {
    this.#of = of;
  }
  isNew(key: string, value: T | undefined): boolean {
    const text = this.#of(value);
    if (this.#seen.get(key) === text) return false;
    if (value === undefined) this.#seen.delete(key);
    else this.#seen.set(key, text);
    return true;
  }
}

export class Reconcilers implements AsyncDisposable {
  readonly nodes: NodeReconciler;
  readonly quarantine: Quarantine;
  readonly services: ServiceReconciler;
  readonly #c: OperatorContext;
  readonly #reservations: ReservationReconciler;
  readonly #controllers: Readonly<Record<Name, Controller>>;
  readonly #subscriptions: Disposable[] = [];
  readonly durations = Object.fromEntries(names.map((n) => [n, new Histogram()])) as Readonly<
    Record<Name, Histogram>
  >;

  constructor(context: OperatorContext, identity: ClusterIdentity) {
    this.#c = context;
    const { caches, clock, random, log } = context;
    this.quarantine = new Quarantine(context);
    context.claims.usedElsewhere = this.quarantine.usedElsewhere;
    this.nodes = new NodeReconciler(context);
    this.services = new ServiceReconciler(context);
    this.#reservations = new ReservationReconciler(context);
    const lifecycle = new ClaimLifecycle(context, identity);
    const status = new StatusReconcilers(context, this.nodes.missing, this.nodes.crowded);
    const reconcile: Readonly<Record<Name, ControllerOptions["reconcile"]>> = {
      pools: new PoolReconciler(context).reconcile,
      nodes: this.nodes.reconcile,
      services: this.services.reconcile,
      reservations: this.#reservations.reconcile,
      claims: lifecycle.reconcile,
      reports: this.quarantine.reconcile,
      clusterNetworks: status.clusterNetwork,
      peers: status.peer,
      policies: status.policy,
      advertisements: status.advertisement,
      peerings: status.peering,
    };
    // A Service waits for the API server nearly all of its time, and those that wait together share their questions.
    const workers: Partial<Record<Name, number>> = { nodes: 16, services: 32, claims: 4 };
    this.#controllers = Object.fromEntries(
      names.map((name) => [
        name,
        new Controller({
          name,
          reconcile: reconcile[name],
          workers: workers[name] ?? 1,
          clock,
          random,
          allKeys: () => caches[cacheOf[name]].cache.keys(),
          resyncMs,
          minBackoffMs: 20,
          maxBackoffMs: 30_000,
          onDone: (ms) => this.durations[name].observe(ms / 1000),
          onError: (key, error, failures) => {
            // The first few are conflicts with our own caches, usually; they are no news.
            const level = failures > 3 ? "warn" : "debug";
            log[level]({ controller: name, key, failures, error: describeError(error) }, "reconcile failed");
          },
        }),
      ]),
    ) as Record<Name, Controller>;
  }

  /**
   * Claims again what is in use and not claimed; all of it, before anything new is given out. Oldest first: where two show
   * the same address, the older one has it.
   * @throws ApiError, TransportError: begin again
   */
  async adopt(): Promise<void> {
    const { caches } = this.#c;
    const age = (a: KubernetesObject, b: KubernetesObject): number => {
      const x = `${a.metadata.creationTimestamp ?? ""} ${keyOf(a)}`;
      const y = `${b.metadata.creationTimestamp ?? ""} ${keyOf(b)}`;
      return x < y ? -1 : x > y ? 1 : 0;
    };
    for (const service of caches.services.cache.list().toSorted(age)) await this.services.adopt(service);
    for (const view of caches.networks.cache.list().toSorted(age)) {
      const node = caches.nodes.cache.get(view.metadata.name);
      if (node) await this.nodes.adopt(node, view);
    }
  }

  /** Starts all controllers on everything that there is. */
  start(): void {
    this.#subscribe();
    for (const controller of Object.values(this.#controllers)) controller.start();
    this.#all("pools", "nodes", "services", "reservations", "claims");
    this.summarise();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const s of this.#subscriptions) s[Symbol.dispose]();
    await Promise.all(Object.values(this.#controllers).map((c) => c[Symbol.asyncDispose]()));
  }

  get controllers(): readonly Controller[] {
    return Object.values(this.#controllers);
  }

  /** Keys in work or waiting, over all controllers. */
  get backlog(): number {
    return Object.values(this.#controllers).reduce((n, c) => n + c.queue.depth, 0);
  }

  #all(...which: readonly Name[]): void {
    for (const name of which)
      for (const key of this.#c.caches[cacheOf[name]].cache.keys()) this.#controllers[name].queue.add(key);
  }

  /** Statuses that sum up what others report. */
  summarise(): void {
    const { caches, random } = this.#c;
    for (const name of ["clusterNetworks", "peers", "policies", "advertisements", "peerings"] as const)
      for (const key of caches[cacheOf[name]].cache.keys())
        this.#controllers[name].queue.addAfter(key, statusDelayMs * (0.5 + random()));
  }

  /** Ranges that no pool may give out of have changed. */
  recheckPools(): void {
    this.#all("pools");
  }

  /** Room may have appeared: everything that got nothing looks again. */
  retryWaiting(): void {
    for (const key of this.services.waiting) this.#controllers.services.queue.add(key);
    for (const key of this.#reservations.waiting) this.#controllers.reservations.queue.add(key);
    for (const name of [...this.nodes.missing.keys(), ...this.nodes.crowded.keys()])
      this.#controllers.nodes.queue.add(name);
  }

  #ownerChanged(claim: IPAllocation): void {
    const { kind, namespace } = claim.spec.owner;
    for (const u of sharersOf(claim)) this.#controllers.services.queue.add(`${u.namespace}/${u.name}`);
    const key = ownerKey(claim.spec.owner);
    if (kind === "Node") this.#controllers.nodes.queue.add(key);
    if (kind === "Service") this.#controllers.services.queue.add(key);
    if (kind === "IPReservation") {
      this.#controllers.reservations.queue.add(key);
      const reservation = this.#c.caches.reservations.cache.get(key);
      if (reservation) this.#controllers.services.queue.add(`${namespace}/${reservation.spec.serviceName}`);
      // Without its reservation the Service that shows the address is all that can take the claim back.
      const shown = this.#c.caches.services.cache.byIndex(indexes.ingress, describePrefix(prefixOf(claim)));
      for (const service of shown) this.#controllers.services.queue.add(keyOf(service));
    }
  }

  #subscribe(): void {
    const { caches, claims, random } = this.#c;
    const { queue: pools } = this.#controllers.pools;
    const on = (subscription: Disposable): void => void this.#subscriptions.push(subscription);
    const poolsSoon = (names: readonly string[]): void => {
      for (const name of names) pools.addAfter(name, statusDelayMs * (0.5 + random()));
    };

    // A status that is written is looked at again, but not at once: two who see different things would write in turns.
    const recheck = (name: Name, key: string): void =>
      this.#controllers[name].queue.addAfter(key, statusRecheckMs * (0.5 + random()));
    const specSeen = new News<KubernetesObject>((o) =>
      JSON.stringify([o?.metadata.uid, o?.metadata.generation, o?.metadata.labels, o && isPaused(o)]),
    );
    const poolSeen = new News(poolNews);
    on(
      caches.pools.onChange((name) => {
        if (!poolSeen.isNew(name, caches.pools.cache.get(name)))
          return pools.addAfter(name, statusRecheckMs * (0.5 + random()));
        this.#all("pools", "reservations");
        // Who has everything is not concerned by a pool, unless it shows an address that nothing could claim.
        this.retryWaiting();
        for (const key of this.services.foreign) this.#controllers.services.queue.add(key);
        this.#all("nodes");
        this.summarise();
      }),
    );

    const known = new Map<string, IPAllocation>();
    for (const claim of claims.all()) known.set(claim.metadata.name, claim);
    on(
      caches.allocations.onChange((name) => {
        const now = caches.allocations.cache.get(name);
        const before = known.get(name);
        if (now) known.set(name, now);
        else known.delete(name);
        this.#controllers.claims.queue.add(name);
        const claim = now ?? before;
        if (!claim) return;
        this.#ownerChanged(claim);
        poolsSoon([claim.spec.pool]);
        // Who left may have had the port that another asks for; who shares from now on may be asked.
        const opened = now && before && now.status?.sharing?.key !== before.status?.sharing?.key;
        if (opened || (now && before && sharersOf(now).length < sharersOf(before).length))
          this.retryWaiting();
        if (now) return;
        // What is in use and has lost its claim is nobody's to take.
        for (const n of caches.networks.cache.byIndex(indexes.announced, claim.spec.prefix))
          this.#controllers.reports.queue.add(n.metadata.name);
        this.retryWaiting();
      }),
    );

    on(
      caches.services.onChange((key) => {
        this.#controllers.services.queue.add(key);
        const service = caches.services.cache.get(key);
        for (const r of caches.reservations.cache.byIndex(indexes.service, key))
          this.#controllers.reservations.queue.add(keyOf(r));
        for (const claim of claims.ofOwnerNamed("Service", key)) this.#controllers.claims.queue.add(claim);
        if (!service) this.#reservedNearby(key);
        this.summarise();
      }),
    );

    on(
      caches.reservations.onChange((key) => {
        this.#controllers.reservations.queue.add(key);
        const reservation = caches.reservations.cache.get(key);
        const namespace = key.slice(0, key.indexOf("/"));
        if (reservation) this.#controllers.services.queue.add(`${namespace}/${reservation.spec.serviceName}`);
        else this.retryWaiting();
        for (const claim of claims.ofOwnerNamed("IPReservation", key))
          this.#controllers.claims.queue.add(claim);
      }),
    );

    const nodeSeen = new News<Node>((n) =>
      JSON.stringify([
        n?.metadata.uid,
        n?.metadata.labels,
        n?.status?.addresses,
        n?.spec?.podCIDRs,
        n && isPaused(n),
      ]),
    );
    on(
      caches.nodes.onChange((name) => {
        // A kubelet's heartbeat changes nothing that matters here.
        if (!nodeSeen.isNew(name, caches.nodes.cache.get(name))) return;
        this.#controllers.nodes.queue.add(name);
        for (const claim of claims.ofOwnerNamed("Node", name)) this.#controllers.claims.queue.add(claim);
        if (!caches.nodes.cache.has(name)) this.#releasing();
        this.summarise();
      }),
    );

    const viewSeen = new News(viewNews);
    on(
      caches.networks.onChange((name) => {
        if (viewSeen.isNew(name, caches.networks.cache.get(name))) this.#controllers.nodes.queue.add(name);
        this.#controllers.reports.queue.add(name);
        this.#releasing();
        this.summarise();
      }),
    );

    on(
      caches.clusterNetworks.onChange((name) => {
        if (!specSeen.isNew(`ClusterNetwork/${name}`, caches.clusterNetworks.cache.get(name)))
          return recheck("clusterNetworks", name);
        this.#all("nodes", "services", "reservations");
        this.summarise();
      }),
    );
    on(
      caches.peerings.onChange((name) => {
        if (!specSeen.isNew(`ClusterPeering/${name}`, caches.peerings.cache.get(name)))
          return recheck("peerings", name);
        poolsSoon(caches.pools.cache.keys());
        this.retryWaiting();
        this.summarise();
      }),
    );
    for (const kind of ["peers", "policies", "advertisements"] as const)
      on(
        caches[kind].onChange((name) => {
          if (specSeen.isNew(`${kind}/${name}`, caches[kind].cache.get(name))) this.summarise();
          else recheck(kind, name);
        }),
      );
  }

  /** A Service went: a claim of a reservation that is gone too may have been kept for it. */
  #reservedNearby(key: string): void {
    const namespace = key.slice(0, key.indexOf("/"));
    for (const claim of this.#c.claims.all())
      if (claim.spec.owner.kind === "IPReservation" && claim.spec.owner.namespace === namespace)
        this.#controllers.claims.queue.add(claim.metadata.name);
  }

  /** Claims that wait for reports of nodes. */
  #releasing(): void {
    for (const name of this.#c.claims.releasing) this.#controllers.claims.queue.add(name);
  }
}
