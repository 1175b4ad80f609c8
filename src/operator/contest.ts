// operator: notices when somebody else keeps overwriting what we write, and stops fighting.
import type { Clock } from "../kube/index.ts";

/** Rewrites of the same thing within the window before we stop for a while. */
const mostRewrites = 4;
const windowMs = 10 * 60_000;

interface Bout {
  readonly text: string;
  readonly rewrites: number[];
}

/** Remembers, by key, what was written last. Bounded by the number of Services. */
export class Contest {
  readonly #clock: Clock;
  readonly #bouts = new Map<string, Bout>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  forget(key: string): void {
    this.#bouts.delete(key);
  }

  /** 0 if `wanted` may be written where something else stands; else how long to leave it alone, ms. */
  mayWrite(key: string, wanted: readonly string[]): number {
    const bout = this.#bouts.get(key);
    if (bout?.text !== wanted.join()) return 0;
    const now = this.#clock.monotonic();
    while (bout.rewrites.length > 0 && now - bout.rewrites[0]! > windowMs) bout.rewrites.shift();
    return bout.rewrites.length >= mostRewrites ? windowMs - (now - bout.rewrites[0]!) : 0;
  }

  /** What stands there now; `changed`: by a write of ours that the API server has taken. */
  stands(key: string, wanted: readonly string[], changed: boolean): void {
    const text = wanted.join();
    const bout = this.#bouts.get(key);
    if (bout?.text !== text) this.#bouts.set(key, { text, rewrites: [] });
    else if (changed) bout.rewrites.push(this.#clock.monotonic());
  }
}
