// kube: time and randomness as parameters, so that queues, reflectors and elections run on a virtual clock in tests.

/** A pending call; disposing it is cancelling it. Disposing twice, or after it has run, does nothing. */
export interface Timer extends Disposable {}

export interface Clock {
  /** Wall time, ms since the epoch: for what people read (conditions, events, leases). May jump. */
  now(): number;
  /** Milliseconds from an arbitrary start: for durations and expiry. Never goes back. */
  monotonic(): number;
  /** Calls `run` once after `ms` (>= 0). Keeps the process alive until then, or until it is disposed. */
  after(ms: number, run: () => void): Timer;
}

/** A number in [0, 1). */
export type Random = () => number;

/** Node's own clock. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after(ms, run) {
    const timer = setTimeout(run, Math.max(0, ms));
    return { [Symbol.dispose]: () => clearTimeout(timer) };
  },
};

/** Resolves after `ms`, or at once when the signal aborts; true if the whole time passed. Never rejects. */
export function sleep(clock: Clock, ms: number, signal?: AbortSignal): Promise<boolean> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve(false);
    const stop = (): void => {
      timer[Symbol.dispose]();
      resolve(false);
    };
    const timer = clock.after(ms, () => {
      signal?.removeEventListener("abort", stop);
      resolve(true);
    });
    signal?.addEventListener("abort", stop, { once: true });
  });
}

/** `ms` with up to ± `share` (0..1) of it, so that many clients do not act in step. */
export const jitter = (ms: number, share: number, random: Random): number =>
  ms * (1 + share * (2 * random() - 1));

export interface Backoff {
  /** Next pause in ms; doubles from `minMs` to `maxMs`, with ±20 % jitter. */
  next(): number;
  reset(): void;
  /** Failures since the last reset. */
  readonly failures: number;
}

export function backoff(minMs: number, maxMs: number, random: Random): Backoff {
  let failures = 0;
  return {
    next() {
      const ms = Math.min(maxMs, minMs * 2 ** Math.min(failures, 30));
      failures += 1;
      return Math.min(maxMs, jitter(ms, 0.2, random));
    },
    reset() {
      failures = 0;
    },
    get failures() {
      return failures;
    },
  };
}

/** Wall time as Kubernetes' metav1.Time: whole seconds, UTC. */
export const timestamp = (ms: number): string => new Date(ms).toISOString().replace(/\.\d{3}Z$/, "Z");

/** Wall time as Kubernetes' metav1.MicroTime, which Leases and Events want. */
export const microTimestamp = (ms: number): string => new Date(ms).toISOString().replace(/Z$/, "000Z");
