// kube: keeps a store in step with one kind: LIST, then WATCH with bookmarks. It survives every failure and never turns one
// into an absence: the store changes only by an observed event or by a complete LIST from the same cluster.
import type { KubernetesObject } from "../api/index.ts";
import type { KubeApi } from "./api.ts";
import { backoff, type Clock, jitter, type Random, sleep, systemClock } from "./clock.ts";
import { DefinitionGuard, isCustom } from "./definition.ts";
import { ApiError, describeError, isExpired } from "./errors.ts";
import type { ClusterIdentity } from "./identity.ts";
import { keyOf, qualifiedName, type Resource } from "./resource.ts";

/** Where a reflector puts what it learns. Objects are frozen and without managedFields. */
export interface Store<T> {
  /** All that there is; what is not in it is gone. */
  replaceAll(items: ReadonlyMap<string, T>): void;
  set(key: string, object: T): void;
  delete(key: string, last: T): void;
  /**
   * The store holds everything up to this resourceVersion now. `listedAt`: it comes from a complete LIST that was asked for at
   * this monotonic ms, and may be lower than one before where the server's data has been restored.
   */
  progressed?(resourceVersion: string, listedAt?: number): void;
}

export interface ReflectorOptions<T extends KubernetesObject> {
  readonly api: KubeApi;
  readonly resource: Resource<T>;
  readonly store: Store<T>;
  readonly namespace?: string;
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
  /** Which cluster this must be; a list or watch from another one is an error. */
  readonly identity?: ClusterIdentity;
  /** What is kept of an object; key, UID and resourceVersion must stay. Default: all of it. */
  readonly trim?: (object: T) => T;
  readonly clock?: Clock;
  readonly random?: Random;
  /** Called when `state` changes; must not throw. */
  readonly onState?: (state: ReflectorState) => void;
}

export interface ReflectorState {
  /** A complete LIST has been stored once. */
  readonly synced: boolean;
  /** The store follows the server now. False: it is the last known state, and `lastError` says why. */
  readonly fresh: boolean;
  /** Wall time in ms of the last change of `fresh`. */
  readonly since: number;
  readonly lastError?: string;
  /** HTTP status of the last error, where it was an answer. */
  readonly lastErrorCode?: number;
}

export interface ReflectorStats {
  lists: number;
  watches: number;
  events: number;
  bookmarks: number;
  errors: number;
  /** Lists that were needed because the server had forgotten our resourceVersion. */
  expired: number;
  /** Lists that were needed because the server's data was older than what we had seen. */
  rewound: number;
}

const watchSeconds = 300;
/** A watch that ends sooner without an event counts as a failure, or a server that closes watches would be hammered. */
const shortestWatchMs = 1_000;
/** A forgotten resourceVersion is answered with a new LIST at once, but no more often than this. */
const relistMs = 5_000;
/** Selects no object: only the list's own resourceVersion is of interest. */
const nothing = "metadata.name=waggle-is-asking-for-the-resource-version";

function freeze<T>(value: T): T {
  if (typeof value === "object" && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const child of Object.values(value)) freeze(child);
  }
  return value;
}

/** Drops managedFields (half of an object's size, of no use to a reader) and what else is not kept, and freezes the rest. */
function ingest<T extends KubernetesObject>(object: T, trim: (object: T) => T): T {
  const { managedFields: _, ...metadata } = object.metadata as typeof object.metadata & {
    readonly managedFields?: unknown;
  };
  return freeze(trim({ ...object, metadata }));
}

export class Reflector<T extends KubernetesObject> implements Disposable {
  readonly stats: ReflectorStats = {
    lists: 0,
    watches: 0,
    events: 0,
    bookmarks: 0,
    errors: 0,
    expired: 0,
    rewound: 0,
  };
  /** Resolves at the first complete LIST. Never rejects. */
  readonly synced: Promise<void>;
  readonly #options: ReflectorOptions<T>;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #stop = new AbortController();
  readonly #trim: (object: T) => T;
  readonly #definition: DefinitionGuard | undefined;
  #state: ReflectorState;
  #resolveSynced: () => void = () => undefined;
  #started = false;
  /** Monotonic ms of the last complete LIST. */
  #listedAt = Number.NEGATIVE_INFINITY;
  /** Ends the watch that runs. */
  #watching: AbortController | undefined;
  #relist = false;

  constructor(options: ReflectorOptions<T>) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? Math.random;
    this.#trim = options.trim ?? ((object) => object);
    if (isCustom(options.resource)) this.#definition = new DefinitionGuard(options.api, options.resource);
    this.#state = { synced: false, fresh: false, since: this.#clock.now() };
    this.synced = new Promise((resolve) => {
      this.#resolveSynced = resolve;
    });
  }

  get resource(): Resource<T> {
    return this.#options.resource;
  }

  get state(): ReflectorState {
    return this.#state;
  }

  /** Starts following; once. It stops only by disposing. */
  start(): this {
    if (this.#started) return this;
    this.#started = true;
    void this.#run();
    return this;
  }

  [Symbol.dispose](): void {
    this.#stop.abort();
  }

  /** Lists again in full, though nothing seems wrong. */
  relist(): void {
    this.#relist = true;
    this.#watching?.abort(new Error("to be listed again"));
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    const pause = backoff(200, 30_000, this.#random);
    let resourceVersion: string | undefined;
    let interrupted = false;
    while (!signal.aborted) {
      try {
        if (interrupted && resourceVersion !== undefined && (await this.#isRewound(resourceVersion, signal)))
          this.#relist = true;
        if (this.#relist) resourceVersion = undefined;
        this.#relist = false;
        resourceVersion ??= await this.#list(signal);
        interrupted = true;
        const begun = this.#clock.monotonic();
        const progress = { resourceVersion, events: 0 };
        try {
          await this.#watch(progress, signal);
        } finally {
          resourceVersion = progress.resourceVersion;
          if (progress.events > 0 || this.#clock.monotonic() - begun >= shortestWatchMs) pause.reset();
        }
        if (this.#relist) continue;
        // Ended in its time, by a server that was there all the time.
        interrupted = this.#clock.monotonic() - begun < (watchSeconds / 2) * 1000;
        if (progress.events > 0 || this.#clock.monotonic() - begun >= shortestWatchMs) continue;
        // Closed at once, without an error: nothing is known to be stale, but do not ask in a loop.
        await sleep(this.#clock, pause.next(), signal);
      } catch (error) {
        if (signal.aborted) return;
        if (this.#relist) continue;
        this.stats.errors += 1;
        if (isExpired(error)) {
          this.stats.expired += 1;
          resourceVersion = undefined;
          // Routine (the server compacted its history), unless it happens again and again.
          if (this.#clock.monotonic() - this.#listedAt > relistMs) continue;
        }
        this.#failed(error);
        await sleep(this.#clock, pause.next(), signal);
      }
    }
  }

  /**
   * Whether the server is at an earlier point than we have seen: its data has been restored from a backup. It would let us
   * watch from our point on without a word, and what happens until it gets there again would be missed. A list of nothing
   * tells where it is.
   */
  async #isRewound(resourceVersion: string, signal: AbortSignal): Promise<boolean> {
    const { api, resource, namespace, fieldSelector } = this.#options;
    if (!/^\d+$/.test(resourceVersion)) return false;
    const list = await api.list(resource, {
      signal,
      retries: 0,
      ...(namespace !== undefined && { namespace }),
      fieldSelector: fieldSelector ?? nothing,
    });
    const rewound =
      /^\d+$/.test(list.resourceVersion) && BigInt(list.resourceVersion) < BigInt(resourceVersion);
    if (rewound) this.stats.rewound += 1;
    return rewound;
  }

  /** One complete LIST, verified to be of the right cluster, put into the store; its resourceVersion. */
  async #list(signal: AbortSignal): Promise<string> {
    const { api, resource, namespace, labelSelector, fieldSelector, store, identity } = this.#options;
    this.stats.lists += 1;
    const asked = this.#clock.monotonic();
    const list = await api.list(resource, {
      signal,
      retries: 0,
      ...(namespace !== undefined && { namespace }),
      ...(labelSelector !== undefined && { labelSelector }),
      ...(fieldSelector !== undefined && { fieldSelector }),
    });
    await identity?.verify(asked, signal);
    if (signal.aborted) throw new Error("stopped");
    const items = new Map<string, T>();
    for (const item of list.items) items.set(keyOf(item), ingest(item, this.#trim));
    store.replaceAll(items);
    store.progressed?.(list.resourceVersion, asked);
    this.#listedAt = this.#clock.monotonic();
    this.#succeeded();
    return list.resourceVersion;
  }

  async #watch(progress: { resourceVersion: string; events: number }, signal: AbortSignal): Promise<void> {
    const { api, resource, namespace, labelSelector, fieldSelector, store, identity } = this.#options;
    this.stats.watches += 1;
    const asked = this.#clock.monotonic();
    const ending = new AbortController();
    this.#watching = ending;
    using _ = { [Symbol.dispose]: () => ending.abort() };
    const stream = await api.watch(resource, {
      resourceVersion: progress.resourceVersion,
      timeoutSeconds: Math.round(jitter(watchSeconds, 0.5, this.#random)),
      signal: AbortSignal.any([signal, ending.signal]),
      ...(namespace !== undefined && { namespace }),
      ...(labelSelector !== undefined && { labelSelector }),
      ...(fieldSelector !== undefined && { fieldSelector }),
    });
    // Another cluster's history may contain our resourceVersion: nothing of the stream is believed before this.
    await identity?.verify(asked, signal);
    this.#succeeded();
    for await (const event of stream) {
      if (signal.aborted) return;
      if (event.type === "BOOKMARK") {
        this.stats.bookmarks += 1;
        progress.resourceVersion = event.resourceVersion;
        progress.events += 1;
        store.progressed?.(event.resourceVersion);
        continue;
      }
      this.stats.events += 1;
      const object = ingest(event.object, this.#trim);
      if (event.type === "DELETED") {
        await this.#definition?.verify(signal);
        store.delete(keyOf(object), object);
      } else store.set(keyOf(object), object);
      progress.events += 1;
      progress.resourceVersion = object.metadata.resourceVersion ?? progress.resourceVersion;
      store.progressed?.(progress.resourceVersion);
    }
  }

  #succeeded(): void {
    if (this.#state.fresh) return;
    this.#setState({ synced: true, fresh: true, since: this.#clock.now() });
    this.#resolveSynced();
  }

  #failed(error: unknown): void {
    const { fresh, synced, since } = this.#state;
    this.#setState({
      synced,
      fresh: false,
      since: fresh ? this.#clock.now() : since,
      lastError: `${qualifiedName(this.#options.resource)}: ${describeError(error)}`,
      ...(error instanceof ApiError && { lastErrorCode: error.code }),
    });
  }

  #setState(state: ReflectorState): void {
    this.#state = state;
    this.#options.onState?.(state);
  }
}
