// kube: a queue of keys: each at most once, never handed to two workers at a time, failed ones later and later.
import { type Clock, jitter, type Random, systemClock, type Timer } from "./clock.ts";

export interface WorkQueueOptions {
  readonly clock?: Clock;
  readonly random?: Random;
  /** First pause after a failure, ms; doubles per failure. Default 5. */
  readonly minBackoffMs?: number;
  /** Longest pause after a failure, ms. Default 60 000. */
  readonly maxBackoffMs?: number;
  /** Most keys waiting, delayed and in work together. Default 100 000. */
  readonly maxKeys?: number;
  /** Called once when keys begin to be refused: the owner must enqueue everything again when the queue is empty. */
  readonly onOverflow?: () => void;
}

export interface WorkQueueStats {
  added: number;
  /** Adds of a key that was already waiting. */
  merged: number;
  retried: number;
  /** Keys that did not fit. */
  refused: number;
  done: number;
}

/** What a key waits for: a worker, a time, or its own end (`dirty`: it was added again while in work). */
interface Entry {
  state: "ready" | "delayed" | "working";
  dirty: boolean;
  /** Monotonic ms; with `delayed`, or asked for while in work. */
  dueAt: number | undefined;
  timer: Timer | undefined;
}

export class WorkQueue implements Disposable {
  readonly stats: WorkQueueStats = { added: 0, merged: 0, retried: 0, refused: 0, done: 0 };
  readonly #entries = new Map<string, Entry>();
  /** Failure counts outlive the entry, until forget(). */
  readonly #failures = new Map<string, number>();
  #ready: string[] = [];
  /** Index of the next ready key; those before it are taken. Shifting an array of 100 000 would cost more than the work. */
  #head = 0;
  readonly #waiters: ((key: string | undefined) => void)[] = [];
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #min: number;
  readonly #max: number;
  readonly #maxKeys: number;
  readonly #onOverflow: () => void;
  #overflowing = false;
  #closed = false;

  constructor(options: WorkQueueOptions = {}) {
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? Math.random;
    this.#min = options.minBackoffMs ?? 5;
    this.#max = options.maxBackoffMs ?? 60_000;
    this.#maxKeys = options.maxKeys ?? 100_000;
    this.#onOverflow = options.onOverflow ?? (() => undefined);
  }

  /** Keys that a worker could take now. */
  get depth(): number {
    return this.#ready.length - this.#head;
  }
  /** Keys waiting, delayed and in work. */
  get size(): number {
    return this.#entries.size;
  }
  /** Failures of a key since it was last forgotten. */
  failuresOf(key: string): number {
    return this.#failures.get(key) ?? 0;
  }

  /** As soon as possible. A key that waits already is not added again; one in work is handed out again after it. */
  add(key: string): void {
    this.#schedule(key, 0);
  }

  /** After `ms`, or earlier if it is due earlier already. */
  addAfter(key: string, ms: number): void {
    this.#schedule(key, ms);
  }

  /** After the key's own back-off, which doubles with each call until {@link forget}. */
  addRateLimited(key: string): void {
    const failures = this.#failures.get(key) ?? 0;
    this.#failures.set(key, failures + 1);
    this.stats.retried += 1;
    const pause = Math.min(this.#max, this.#min * 2 ** Math.min(failures, 30));
    this.#schedule(key, Math.min(this.#max, jitter(pause, 0.2, this.#random)));
  }

  /** The key has succeeded: its next failure starts at the shortest pause. */
  forget(key: string): void {
    this.#failures.delete(key);
  }

  /** The next key, when there is one; undefined once the queue is closed. Call {@link done} with it. */
  take(): Promise<string | undefined> {
    const key = this.#pop();
    if (key !== undefined || this.#closed) return Promise.resolve(key);
    return new Promise((resolve) => this.#waiters.push(resolve));
  }

  /** Ends the work on a key that was taken. */
  done(key: string): void {
    const entry = this.#entries.get(key);
    if (entry?.state !== "working") return;
    this.stats.done += 1;
    this.#entries.delete(key);
    if (entry.dirty) this.#schedule(key, Math.max(0, (entry.dueAt ?? 0) - this.#clock.monotonic()));
    else if (this.#overflowing && this.#entries.size === 0) this.#overflowing = false;
  }

  /** Hands out nothing more; waiting workers get undefined. */
  [Symbol.dispose](): void {
    this.#closed = true;
    for (const entry of this.#entries.values()) entry.timer?.[Symbol.dispose]();
    this.#entries.clear();
    this.#ready = [];
    this.#head = 0;
    for (const resolve of this.#waiters.splice(0)) resolve(undefined);
  }

  #schedule(key: string, ms: number): void {
    if (this.#closed) return;
    const now = this.#clock.monotonic();
    const dueAt = now + Math.max(0, ms);
    const entry = this.#entries.get(key);
    if (entry?.state === "working") {
      entry.dueAt = entry.dirty ? Math.min(entry.dueAt ?? 0, dueAt) : dueAt;
      entry.dirty = true;
      return;
    }
    if (entry) {
      this.stats.merged += 1;
      if (entry.state === "ready" || (entry.dueAt ?? 0) <= dueAt) return;
      entry.timer?.[Symbol.dispose]();
      this.#entries.delete(key);
    } else if (this.#entries.size >= this.#maxKeys) {
      this.stats.refused += 1;
      if (!this.#overflowing) {
        this.#overflowing = true;
        this.#onOverflow();
      }
      return;
    } else this.stats.added += 1;
    const next: Entry = {
      state: ms > 0 ? "delayed" : "ready",
      dirty: false,
      dueAt,
      timer: undefined,
    };
    this.#entries.set(key, next);
    if (ms > 0)
      next.timer = this.#clock.after(ms, () => {
        next.state = "ready";
        this.#offer(key);
      });
    else this.#offer(key);
  }

  #offer(key: string): void {
    this.#ready.push(key);
    const waiter = this.#waiters.shift();
    if (waiter) waiter(this.#pop());
  }

  #pop(): string | undefined {
    const key = this.#ready[this.#head];
    if (key === undefined) return undefined;
    this.#head += 1;
    if (this.#head * 2 > this.#ready.length) {
      this.#ready = this.#ready.slice(this.#head);
      this.#head = 0;
    }
    const entry = this.#entries.get(key);
    if (entry) entry.state = "working";
    return key;
  }
}
