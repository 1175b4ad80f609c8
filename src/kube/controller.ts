// kube: runs a reconcile function over a queue of keys: level-triggered, several workers, never two on one key.
import type { Clock, Random, Timer } from "./clock.ts";
import { WorkQueue } from "./workqueue.ts";

/** What a reconcile asks for: nothing, or to be called again after a time though nothing may have changed. */
export interface Result {
  readonly requeueAfterMs?: number;
}

/** A failure that trying again will not mend; it is reported, and the key waits for the next change. */
export class TerminalError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "TerminalError";
  }
}

export interface ControllerOptions {
  readonly name: string;
  /** Brings what the key names to its desired state. It is told what, not why: it reads the caches for itself. */
  readonly reconcile: (key: string, signal: AbortSignal) => Promise<Result | undefined>;
  /** Default 1. */
  readonly workers?: number;
  /** A reconcile is given up (its signal aborts) after this long. Default 60 000 ms. */
  readonly timeoutMs?: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly minBackoffMs?: number;
  readonly maxBackoffMs?: number;
  /** Every key there is; asked for when keys had to be refused, and at `resyncMs`. */
  readonly allKeys?: () => readonly string[];
  /** Default 0: never. */
  readonly resyncMs?: number;
  readonly onError?: (key: string, error: unknown, failures: number) => void;
  /** After each reconcile, however it ended. */
  readonly onDone?: (ms: number) => void;
}

export interface ControllerStats {
  reconciles: number;
  errors: number;
  timeouts: number;
}

export class Controller implements AsyncDisposable {
  readonly queue: WorkQueue;
  readonly stats: ControllerStats = { reconciles: 0, errors: 0, timeouts: 0 };
  readonly #options: ControllerOptions;
  readonly #stop = new AbortController();
  #workers: Promise<void>[] = [];
  #overflowed = false;
  #resyncTimer: Timer | undefined;

  constructor(options: ControllerOptions) {
    this.#options = options;
    this.queue = new WorkQueue({
      clock: options.clock,
      random: options.random,
      ...(options.minBackoffMs !== undefined && { minBackoffMs: options.minBackoffMs }),
      ...(options.maxBackoffMs !== undefined && { maxBackoffMs: options.maxBackoffMs }),
      onOverflow: () => {
        this.#overflowed = true;
      },
    });
  }

  get name(): string {
    return this.#options.name;
  }

  /** Enqueues a key; the form that caches' handlers want. */
  readonly enqueue = (key: string): void => this.queue.add(key);

  /** Starts the workers; once. Caches must have synced before. */
  start(): this {
    if (this.#workers.length > 0) return this;
    for (let i = 0; i < (this.#options.workers ?? 1); i++) this.#workers.push(this.#work());
    this.#resync();
    return this;
  }

  /** Takes no further key, aborts running reconciles and waits for them. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    this.#resyncTimer?.[Symbol.dispose]();
    this.queue[Symbol.dispose]();
    await Promise.all(this.#workers);
  }

  #resync(): void {
    const { allKeys, resyncMs, clock } = this.#options;
    if (!allKeys || !resyncMs || this.#stop.signal.aborted) return;
    this.#resyncTimer = clock.after(resyncMs, () => {
      for (const key of allKeys()) this.queue.add(key);
      this.#resync();
    });
  }

  async #work(): Promise<void> {
    for (let key = await this.queue.take(); key !== undefined; key = await this.queue.take()) {
      await this.#reconcile(key);
      this.queue.done(key);
      if (this.#overflowed && this.queue.size === 0) {
        this.#overflowed = false;
        for (const each of this.#options.allKeys?.() ?? []) this.queue.add(each);
      }
    }
  }

  async #reconcile(key: string): Promise<void> {
    const { reconcile, onError, clock } = this.#options;
    const limit = new AbortController();
    const stop = (): void => limit.abort(this.#stop.signal.reason);
    this.#stop.signal.addEventListener("abort", stop, { once: true });
    const timer = clock.after(this.#options.timeoutMs ?? 60_000, () => {
      this.stats.timeouts += 1;
      limit.abort(new Error(`${this.#options.name} gave up on ${key}: it took too long`));
    });
    this.stats.reconciles += 1;
    const begun = clock.monotonic();
    try {
      const result = await reconcile(key, limit.signal);
      this.queue.forget(key);
      if (result?.requeueAfterMs !== undefined) this.queue.addAfter(key, result.requeueAfterMs);
    } catch (error) {
      if (this.#stop.signal.aborted) return;
      this.stats.errors += 1;
      if (error instanceof TerminalError) this.queue.forget(key);
      else this.queue.addRateLimited(key);
      onError?.(key, error, this.queue.failuresOf(key));
    } finally {
      this.#options.onDone?.(clock.monotonic() - begun);
      timer[Symbol.dispose]();
      this.#stop.signal.removeEventListener("abort", stop);
    }
  }
}
