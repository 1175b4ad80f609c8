// kube: leader election on a Lease (coordination.k8s.io/v1). It saves work; it never keeps an address safe.

import type { KubeApi } from "./api.ts";
import type { Lease } from "./builtin.ts";
import { type Clock, jitter, microTimestamp, type Random, sleep, systemClock, type Timer } from "./clock.ts";
import { describeError, isAlreadyExists, isConflict, isNotFound } from "./errors.ts";
import { builtinKinds } from "./resource.ts";

export interface LeaseElectorOptions {
  readonly api: KubeApi;
  readonly namespace: string;
  readonly name: string;
  /** Of this process, unique. */
  readonly identity: string;
  readonly clock?: Clock;
  readonly random?: Random;
  /** After this long without a renewal another may take the lease. Default 15 000. */
  readonly leaseMs?: number;
  /** After this long without a renewal we stop leading. Default 10 000. */
  readonly renewDeadlineMs?: number;
  /** Pause between attempts. Default 2 000. */
  readonly retryMs?: number;
  readonly onElected: () => void;
  /** Leadership has ended: stop writing now. Also called on stop, if we led. */
  readonly onLost: (reason: string) => void;
  readonly onError?: (message: string) => void;
  /** The Lease is older than it was: the API server's data has been restored from a backup. */
  readonly onRewound?: () => void;
}

const requestMs = 5_000;

export class LeaseElector implements AsyncDisposable {
  readonly #o: LeaseElectorOptions;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #leaseMs: number;
  readonly #deadlineMs: number;
  readonly #retryMs: number;
  readonly #stop = new AbortController();
  #running: Promise<void> | undefined;
  #leading = false;
  /** What we last saw of another's lease, and when by our own monotonic clock: clocks of others are not trusted. */
  #seen: { readonly mark: string; readonly at: number } | undefined;
  #held: Lease | undefined;
  /** The newest form of the Lease that was read or written. */
  #newest: { readonly uid: string | undefined; readonly version: bigint } | undefined;
  #deadline: Timer | undefined;

  constructor(options: LeaseElectorOptions) {
    this.#o = options;
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? Math.random;
    this.#leaseMs = options.leaseMs ?? 15_000;
    this.#deadlineMs = options.renewDeadlineMs ?? 10_000;
    this.#retryMs = options.retryMs ?? 2_000;
  }

  get leading(): boolean {
    return this.#leading;
  }

  start(): this {
    this.#running ??= this.#run();
    return this;
  }

  /** Stops, and gives the lease back so that another takes it at once. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      const asked = this.#clock.monotonic();
      try {
        if (await this.#tryOnce()) this.#renewed(asked);
        else this.#lose("another holds the lease");
      } catch (error) {
        this.#o.onError?.(describeError(error));
      }
      await sleep(this.#clock, jitter(this.#retryMs, 0.2, this.#random), signal);
    }
    await this.#release();
  }

  /** Counted from before the request: what matters is when others may think that the lease runs out. */
  #renewed(asked: number): void {
    const left = asked + this.#deadlineMs - this.#clock.monotonic();
    if (left <= 0) return;
    this.#deadline?.[Symbol.dispose]();
    // A timer of its own, so that an attempt that hangs cannot outlive the lease.
    this.#deadline = this.#clock.after(left, () =>
      this.#lose(`the lease could not be renewed for ${this.#deadlineMs / 1000} s`),
    );
    if (this.#leading || this.#stop.signal.aborted) return;
    this.#leading = true;
    this.#o.onElected();
  }

  /** One attempt to take or renew; true if the lease is ours now. */
  async #tryOnce(): Promise<boolean> {
    const { api, namespace, name, identity } = this.#o;
    const limit = { namespace, timeoutMs: requestMs, retries: 0 };
    const now = microTimestamp(this.#clock.now());
    let lease: Lease;
    try {
      lease = await api.get(builtinKinds.Lease, name, limit);
    } catch (error) {
      if (!isNotFound(error)) throw error;
      return this.#write(() =>
        api.create(
          builtinKinds.Lease,
          {
            apiVersion: "coordination.k8s.io/v1",
            kind: "Lease",
            metadata: { name, namespace },
            spec: { ...this.#spec(now), acquireTime: now, leaseTransitions: 0 },
          },
          limit,
        ),
      );
    }
    this.#noteVersion(lease);
    const { holderIdentity, renewTime, leaseTransitions } = lease.spec ?? {};
    const mine = holderIdentity === identity;
    if (!mine && holderIdentity) {
      const mark = `${holderIdentity} ${renewTime} ${leaseTransitions}`;
      if (this.#seen?.mark !== mark) this.#seen = { mark, at: this.#clock.monotonic() };
      const theirs = (lease.spec?.leaseDurationSeconds ?? this.#leaseMs / 1000) * 1000;
      if (this.#clock.monotonic() - this.#seen.at < theirs) return false;
    }
    const spec = {
      ...lease.spec,
      ...this.#spec(now),
      ...(!mine && { acquireTime: now, leaseTransitions: (leaseTransitions ?? 0) + 1 }),
    };
    return this.#write(() => api.replace(builtinKinds.Lease, { ...lease, spec }, limit));
  }

  #spec(now: string): NonNullable<Lease["spec"]> {
    return {
      holderIdentity: this.#o.identity,
      leaseDurationSeconds: Math.round(this.#leaseMs / 1000),
      renewTime: now,
    };
  }

  async #write(request: () => Promise<Lease>): Promise<boolean> {
    try {
      this.#held = await request();
      this.#noteVersion(this.#held);
      return true;
    } catch (error) {
      // Somebody was faster: what they wrote is read at the next attempt.
      if (isConflict(error) || isAlreadyExists(error)) return false;
      throw error;
    }
  }

  #noteVersion({ metadata: { uid, resourceVersion = "" } }: Lease): void {
    if (!/^\d+$/.test(resourceVersion)) return;
    const version = BigInt(resourceVersion);
    const rewound = this.#newest?.uid === uid && this.#newest !== undefined && version < this.#newest.version;
    this.#newest = { uid, version };
    if (rewound) this.#o.onRewound?.();
  }

  #lose(reason: string): void {
    this.#deadline?.[Symbol.dispose]();
    if (!this.#leading) return;
    this.#leading = false;
    this.#o.onLost(reason);
  }

  async #release(): Promise<void> {
    const lease = this.#held;
    const led = this.#leading;
    this.#lose("stopped");
    if (!led || !lease) return;
    const now = microTimestamp(this.#clock.now());
    try {
      await this.#o.api.replace(
        builtinKinds.Lease,
        { ...lease, spec: { ...lease.spec, holderIdentity: "", leaseDurationSeconds: 1, renewTime: now } },
        { namespace: this.#o.namespace, timeoutMs: requestMs, retries: 0 },
      );
    } catch (error) {
      this.#o.onError?.(`the lease runs out by itself: ${describeError(error)}`);
    }
  }
}
