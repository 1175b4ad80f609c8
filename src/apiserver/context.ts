// apiserver: what every part of one running server shares.
import type { Registry } from "./registry/resource.ts";
import type { Store } from "./store/store.ts";

/** Counters of everything that a bound refused; shown at /metrics. */
export interface Refused {
  requestsTooLarge: number;
  watchesOverLimit: number;
  slowWatchesEnded: number;
  errorsUnexpected: number;
}

export interface ServerContext {
  readonly store: Store;
  readonly registry: Registry;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly randomUUID: () => string;
  /** A whole number in [0, limit). */
  readonly randomBelow: (limit: number) => number;
  readonly serviceCidrs: readonly string[];
  readonly refused: Refused;
  readonly log: (message: string, fields?: Readonly<Record<string, string | number>>) => void;
}
