// operator: hears from the agents what is in use before anything new is given out, and which agents are silent.
import {
  builtinKinds,
  type Clock,
  describeError,
  heartbeatLabel,
  type KubeApi,
  type Lease,
  reportedAnnotation,
  rewoundAnnotation,
  seenAnnotation,
  type Timer,
} from "../kube/index.ts";
import type { Caches, Log } from "./context.ts";

/** Heartbeats are listed this often while something waits for them, and otherwise, ms. */
const closedMs = 1_000;
const openMs = 10_000;
/** An agent that has not been heard for this long, by our own clock, is silent; one that beats beats several times in it. */
export const silentMs = 40_000;
/** A machine whose Node was lost with the API server's data registers again within this, ms, or is not waited for. */
const nodelessMs = 120_000;
/** Label value of agents' heartbeats. */
export const agentHeartbeats = "agent";

interface Beat {
  readonly lease: Lease;
  /** What changes with every beat. */
  readonly mark: string;
  /** Monotonic ms when this form was first seen. */
  readonly since: number;
  /** Another form, or none, was seen before: the agent has beaten while we watched. */
  readonly beaten: boolean;
}

export interface HearingOptions {
  readonly api: KubeApi;
  readonly namespace: string;
  readonly caches: Caches;
  readonly clock: Clock;
  readonly log: Log;
  /** It waits for others than before; what waits for it says so. */
  readonly onAwaited: () => void;
  /** Everybody has been heard. */
  readonly onOpen: () => void;
  /** Another node has become silent, or one has been heard again. */
  readonly onSilence: () => void;
}

/**
 * Nothing new is given out until every agent has beaten once since it began to matter: when this process starts, for it does
 * not know what has happened to the API server's data, and when the data turns out to be older than it was, as after a
 * restore from a backup. A beat says that what the agent has in use is in its NodeNetwork by then. Whoever is silent is
 * waited for where the data went back, for what it announces can be known from nobody else; otherwise only for a while.
 */
export class Hearing implements Disposable {
  readonly #o: HearingOptions;
  readonly #beats = new Map<string, Beat>();
  #closedAt: number | undefined;
  #rewound = false;
  #timer: Timer | undefined;
  #running = false;
  /** Heartbeats have been listed once since it closed. */
  #looked = false;
  #disposed = false;
  #toldAt = Number.NEGATIVE_INFINITY;
  /** Whom those who wait have been told of. */
  #told = "";
  #silent: ReadonlySet<string> = new Set();
  #awaited: readonly string[] = ["the agents"];

  constructor(options: HearingOptions) {
    this.#o = options;
  }

  /** Begins; nothing new is given out until the agents have been heard. */
  start(): this {
    this.#closedAt = this.#o.clock.monotonic();
    this.#poll(0);
    return this;
  }

  [Symbol.dispose](): void {
    this.#disposed = true;
    this.#timer?.[Symbol.dispose]();
  }

  /** The nodes that have to be heard first; undefined: new addresses may be given out. */
  get awaited(): readonly string[] | undefined {
    return this.#closedAt === undefined ? undefined : this.#awaited;
  }

  /** Nodes whose agents used to beat and do so no more, by what we have seen ourselves. */
  get silent(): ReadonlySet<string> {
    return this.#silent;
  }

  /** The API server's data is older than it was. */
  rewound(reason: string): void {
    const { clock, log } = this.#o;
    if (!this.#rewound)
      log.warn(
        { reason },
        "the API server's data went back; nothing new is given out until all agents are heard",
      );
    this.#rewound = true;
    this.#closedAt = clock.monotonic();
    this.#awaited = ["the agents"];
    // Leases went back as well: only what comes now counts.
    this.#beats.clear();
    this.#looked = false;
    this.#poll(0);
  }

  #poll(ms: number): void {
    this.#timer?.[Symbol.dispose]();
    if (this.#disposed) return;
    this.#timer = this.#o.clock.after(ms, () => void this.#look());
  }

  async #look(): Promise<void> {
    if (this.#running) return;
    this.#running = true;
    const { api, namespace, clock, log } = this.#o;
    const closedAt = this.#closedAt;
    try {
      const { items } = await api.list(builtinKinds.Lease, {
        namespace,
        labelSelector: `${heartbeatLabel}=${agentHeartbeats}`,
        retries: 0,
        timeoutMs: 5_000,
      });
      // What was asked for before the data went back says nothing.
      if (closedAt === this.#closedAt) this.#heard(items, clock.monotonic());
    } catch (error) {
      log.debug({ error: describeError(error) }, "heartbeats could not be listed");
    } finally {
      this.#running = false;
      this.#poll(this.#closedAt === undefined ? openMs : closedMs);
    }
  }

  #heard(leases: readonly Lease[], now: number): void {
    const names = new Set<string>();
    for (const lease of leases) {
      const node = lease.spec?.holderIdentity ?? "";
      const mark = `${lease.metadata.uid} ${lease.metadata.resourceVersion}`;
      const before = this.#beats.get(node);
      names.add(node);
      if (before?.mark !== mark)
        this.#beats.set(node, { lease, mark, since: now, beaten: before !== undefined || this.#looked });
    }
    for (const node of this.#beats.keys()) if (!names.has(node)) this.#beats.delete(node);
    this.#looked = true;
    this.#noteSilence(now);
    if (this.#closedAt === undefined) return;
    const awaited = this.#awaitedNow(now, this.#closedAt);
    this.#awaited = awaited;
    if (awaited.join() !== this.#told && awaited.length > 0 && now - this.#toldAt >= openMs) {
      this.#toldAt = now;
      this.#told = awaited.join();
      this.#o.onAwaited();
    }
    if (awaited.length > 0) return;
    this.#o.log.info({ agents: names.size, rewound: this.#rewound }, "all agents have been heard");
    this.#closedAt = undefined;
    this.#rewound = false;
    this.#o.onOpen();
  }

  #noteSilence(now: number): void {
    const { nodes } = this.#o.caches;
    const silent = new Set(
      [...this.#beats].flatMap(([node, b]) =>
        nodes.cache.has(node) && now - b.since > silentMs ? [node] : [],
      ),
    );
    const same = silent.size === this.#silent.size && [...silent].every((n) => this.#silent.has(n));
    this.#silent = silent;
    if (!same) this.#o.onSilence();
  }

  #awaitedNow(now: number, closedAt: number): readonly string[] {
    const { caches } = this.#o;
    if (!caches.nodes.state.synced || !caches.networks.state.synced) return ["the API server"];
    const waited = now - closedAt;
    const out: string[] = [];
    // An agent that found the data gone back proves that it did, whenever that was; who was silent since is still unheard.
    const proofs = [...this.#beats.values()].flatMap(
      (b) => b.lease.metadata.annotations?.[rewoundAnnotation] ?? [],
    );
    const rewoundAt = proofs.sort().at(-1);
    for (const [node, beat] of this.#beats) {
      const { annotations = {}, resourceVersion = "0" } = beat.lease.metadata;
      const seen = BigInt(annotations[seenAnnotation] ?? "0");
      const heard =
        beat.beaten &&
        beat.since >= closedAt &&
        annotations[reportedAnnotation] !== "false" &&
        seen < BigInt(resourceVersion);
      if (heard) continue;
      const unheardSince = rewoundAt !== undefined && (beat.lease.spec?.renewTime ?? "") < rewoundAt;
      // A machine without a Node can report nothing; where the data went back its Node may come again.
      const limit = caches.nodes.cache.has(node) ? silentMs : this.#rewound ? nodelessMs : 0;
      const forever = caches.nodes.cache.has(node) && (this.#rewound || unheardSince);
      const living = caches.nodes.cache.has(node) && beat.beaten && now - beat.since <= silentMs;
      if (living || forever || waited < limit) out.push(node);
    }
    // Agents of which only their reports are known: their Leases may be what was lost.
    for (const network of caches.networks.cache.list()) {
      const { name } = network.metadata;
      if (this.#beats.has(name) || network.status?.agent === undefined || !caches.nodes.cache.has(name))
        continue;
      if (waited <= silentMs || this.#rewound) out.push(name);
    }
    // Agents of which nothing is known any more make themselves known within this.
    if (out.length === 0 && this.#rewound && waited <= silentMs) return ["agents that are not known yet"];
    return out.sort();
  }
}
