// operator: the operator as a whole: caches, election, terms of office. It needs nothing that it cannot derive again.

import { type IPAllocation, systemNamespace } from "../api/index.ts";
import {
  backoff,
  type Clock,
  ClusterIdentity,
  describeError,
  EventRecorder,
  type KubeApi,
  LeaseElector,
  type Random,
  type ReflectorState,
  sleep,
} from "../kube/index.ts";
import { isBound } from "./claim.ts";
import { ClaimLedger } from "./claims.ts";
import { allCaches, type Caches, type Log, makeCaches, type OperatorContext } from "./context.ts";
import { Hearing } from "./hearing.ts";
import { PoolBook } from "./pool-book.ts";
import { Reconcilers } from "./reconcilers.ts";
import { ServiceRanges } from "./service-ranges.ts";

export interface OperatorOptions {
  readonly api: KubeApi;
  /** Unique among replicas. */
  readonly identity: string;
  /** Where the Lease and Secrets are. */
  readonly namespace: string;
  /** UID of the cluster that this operator served before, where it is known: another one is never believed. */
  readonly expectedUID?: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** Signs that the data went back come several at a time; one list of everything answers them all. */
const relistSpacingMs = 5_000;

export const leaseName = "waggle-operator";

export interface OperatorState {
  readonly leading: boolean;
  /** Everything in use is claimed and new addresses may be given out. */
  readonly serving: boolean;
  /** Kinds that are not followed now, each with the last error. */
  readonly stale: Readonly<Record<string, string>>;
  readonly clusterUID: string | undefined;
}

export class Operator implements AsyncDisposable {
  readonly caches: Caches;
  readonly claims: ClaimLedger;
  readonly #o: OperatorOptions;
  readonly #identity: ClusterIdentity;
  readonly #context: OperatorContext;
  readonly #elector: LeaseElector;
  readonly #pools: PoolBook;
  readonly #stale = new Map<string, string>();
  readonly #hearing: Hearing;
  readonly #ranges: ServiceRanges;
  /** The reconcilers of the term that serves. */
  #reconcilers: Reconcilers | undefined;
  /** All that was reported has been looked at since the agents were heard. */
  #settled = false;
  #term: AbortController | undefined;
  #running: Promise<void> = Promise.resolve();
  #serving = false;
  #relisting = false;

  constructor(options: OperatorOptions) {
    this.#o = options;
    const { api, clock, random, log } = options;
    this.#identity = new ClusterIdentity(api, {
      clock,
      ...(options.expectedUID !== undefined && { expected: options.expectedUID }),
    });
    this.caches = makeCaches({
      api,
      identity: this.#identity,
      clock,
      random,
      onState: (kind, state) => this.#onState(kind, state),
      onHandlerError: (error) => log.error({ error: describeError(error) }, "handler failed"),
    });
    this.claims = new ClaimLedger(api, this.caches.allocations, clock);
    this.#pools = new PoolBook(this.caches, this.claims);
    this.#hearing = new Hearing({
      api,
      namespace: systemNamespace,
      caches: this.caches,
      clock,
      log,
      onAwaited: () => this.#reconcilers?.retryWaiting(),
      onOpen: () => void this.#settle(),
      onSilence: () => this.#reconcilers?.summarise(),
    });
    this.#ranges = new ServiceRanges({
      api,
      caches: this.caches,
      clock,
      log,
      onChange: () => this.#reconcilers?.recheckPools(),
    });
    this.#watchForRewinds();
    const gate = {
      awaited: (): readonly string[] | undefined =>
        this.#hearing.awaited ?? (this.#settled ? undefined : ["their reports"]),
      silent: () => this.#hearing.silent,
    };
    this.#context = {
      gate: {
        get awaited() {
          return gate.awaited();
        },
        get silent() {
          return gate.silent();
        },
      },
      api,
      caches: this.caches,
      claims: this.claims,
      pools: this.#pools,
      ranges: this.#ranges,
      clock,
      random,
      log,
      events: new EventRecorder({
        api,
        controller: "waggle.dev/operator",
        instance: options.identity,
        clock,
        onError: (message) => log.debug({ message }, "event"),
      }),
    };
    this.#elector = new LeaseElector({
      api,
      namespace: options.namespace,
      name: leaseName,
      identity: options.identity,
      clock,
      random,
      onElected: () => this.#begin(),
      onLost: (reason) => this.#end(reason),
      onError: (message) => log.debug({ message }, "election"),
      onRewound: () => this.#rewound("the Lease is older than it was"),
    });
  }

  /** Whom it waits for before anything new is given out; undefined: nobody. */
  get awaited(): readonly string[] | undefined {
    return this.#context.gate.awaited;
  }

  get state(): OperatorState {
    return {
      leading: this.#elector.leading,
      serving: this.#serving,
      stale: Object.fromEntries(this.#stale),
      clusterUID: this.#identity.uid,
    };
  }

  /** Of this term of office, where there is one. */
  get reconcilers(): Reconcilers | undefined {
    return this.#reconcilers;
  }

  get events(): EventRecorder {
    return this.#context.events;
  }

  start(): this {
    for (const informer of allCaches(this.caches)) informer.start();
    this.#elector.start();
    this.#hearing.start();
    this.#ranges.start();
    return this;
  }

  /** Stops; nothing is patched and nothing is released but the Lease. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#term?.abort();
    await this.#running;
    await this.#elector[Symbol.asyncDispose]();
    for (const informer of allCaches(this.caches)) informer[Symbol.dispose]();
    this.#hearing[Symbol.dispose]();
    this.#ranges[Symbol.dispose]();
    this.#pools[Symbol.dispose]();
    this.claims[Symbol.dispose]();
  }

  #begin(): void {
    this.#o.log.info({ identity: this.#o.identity }, "leading");
    this.#term?.abort();
    const term = new AbortController();
    this.#term = term;
    // A term begins when the one before has ended: its reconciles are aborted, not abandoned.
    this.#running = this.#running.then(() => this.#serve(term.signal));
  }

  #end(reason: string): void {
    this.#o.log.info({ reason }, "leadership ended; nothing is taken back");
    this.#term?.abort();
  }

  /** Never rejects. */
  async #serve(signal: AbortSignal): Promise<void> {
    const { clock, random, log } = this.#o;
    const ended = new Promise<void>((resolve) => {
      if (signal.aborted) resolve();
      signal.addEventListener("abort", () => resolve(), { once: true });
    });
    await Promise.race([Promise.all(allCaches(this.caches).map((i) => i.synced)), ended]);
    const reconcilers = new Reconcilers(this.#context, this.#identity);
    this.#reconcilers = reconcilers;
    const pause = backoff(200, 10_000, random);
    while (!signal.aborted)
      try {
        await reconcilers.adopt();
        break;
      } catch (error) {
        log.warn(
          { error: describeError(error) },
          "what is in use could not be claimed again; nothing new is given out",
        );
        await sleep(clock, pause.next(), signal);
      }
    if (!signal.aborted) {
      log.info({ claims: this.claims.all().length }, "serving");
      this.#serving = true;
      reconcilers.start();
      void this.#settle();
    }
    await ended;
    this.#serving = false;
    this.#reconcilers = undefined;
    this.#settled = false;
    await reconcilers[Symbol.asyncDispose]();
  }

  /** A backup of the API server's data shows in lists that are older than what was known, or lack what nobody has deleted. */
  #watchForRewinds(): void {
    for (const informer of allCaches(this.caches)) {
      const { kind } = informer.resource;
      let before: bigint | undefined;
      informer.cache.onReplaced = ({ vanished, older }) => {
        // A Bound claim is released, withdrawn and rests before it goes: that takes longer than a watch is away.
        const lost = vanished.some((o) => kind === "IPAllocation" && isBound(o as unknown as IPAllocation));
        if (older || lost) this.#rewound(`${kind} objects are older, or gone that nobody has deleted`);
      };
      informer.cache.onProgress((version) => {
        const now = /^\d+$/.test(version) ? BigInt(version) : undefined;
        if (now !== undefined && before !== undefined && now < before)
          this.#rewound(`the list of ${kind} is at version ${now}, after ${before}`);
        before = now;
      });
    }
  }

  /** Nothing that is known may be newer than the API server's data: all of it is asked for again. */
  #rewound(reason: string): void {
    this.#settled = false;
    this.#hearing.rewound(reason);
    if (this.#relisting) return;
    this.#relisting = true;
    for (const informer of allCaches(this.caches)) informer.relist();
    this.#o.clock.after(relistSpacingMs, () => {
      this.#relisting = false;
    });
  }

  /** With all agents heard, what they report and nobody claims is claimed or quarantined; then new addresses may be given out. */
  async #settle(): Promise<void> {
    const { clock, random, log } = this.#o;
    const pause = backoff(200, 10_000, random);
    for (;;) {
      const reconcilers = this.#reconcilers;
      if (!reconcilers || !this.#serving || this.#settled || this.#hearing.awaited) return;
      try {
        await reconcilers.quarantine.all();
        if (this.#reconcilers !== reconcilers || this.#hearing.awaited) continue;
        this.#settled = true;
        reconcilers.retryWaiting();
        return;
      } catch (error) {
        log.warn({ error: describeError(error) }, "what agents report could not be looked at");
        await sleep(clock, pause.next());
      }
    }
  }

  #onState(kind: string, state: ReflectorState): void {
    const { log } = this.#o;
    const before = this.#stale.get(kind);
    if (state.fresh) {
      if (before !== undefined) log.info({ kind }, "followed again");
      this.#stale.delete(kind);
      return;
    }
    const error = state.lastError ?? "not listed yet";
    if (before !== error) log.warn({ kind, error }, "not followed; what is known stays in force");
    this.#stale.set(kind, error);
  }
}
