// bgp/session: when to try again: back-off that a brief Established does not reset.
import type { Clock, Random } from "./types.ts";

/** A session that lived this long has proved itself: the next failure counts as the first. */
const STABLE_MS = 60_000;
const COLLISION_MS_MAX = 1_000;
const DELAY_MS_MAX = 120_000;
/** From this many failures in a row the neighbour's own connections are refused too, while we wait. */
const REFUSE_FROM = 4;
const PREFIX_LIMIT_MS = 60_000;
const PREFIX_LIMIT_MS_MAX = 900_000;

export class Retry {
  readonly #clock: Clock;
  readonly #random: Random;
  #failures = 0;
  #until = 0;
  #refuse = false;

  constructor(clock: Clock, random: Random) {
    this.#clock = clock;
    this.#random = random;
  }

  /** Neither our attempts nor the neighbour's are wanted now. */
  get refusing(): boolean {
    return this.#refuse && this.#clock.now() < this.#until;
  }

  /** The configuration has changed, or somebody asked for it: no memory of failures. */
  reset(): void {
    this.#failures = 0;
    this.#until = 0;
    this.#refuse = false;
  }

  /** An attempt to connect failed before there was a session. Returns the pause in milliseconds. */
  connectFailed(retrySeconds: number): number {
    return this.#pause(retrySeconds * 1000);
  }

  /** Both connections of a collision are gone: that is nobody's fault and soon repaired; chance keeps the two ends apart. */
  collided(retrySeconds: number): number {
    this.#until = this.#clock.now();
    return Math.min(retrySeconds * 1000, COLLISION_MS_MAX) * this.#random();
  }

  /** A session ended after `livedMs`. Returns the pause in milliseconds. */
  sessionEnded(retrySeconds: number, livedMs: number, prefixLimit: boolean): number {
    if (livedMs >= STABLE_MS) this.#failures = 0;
    this.#failures++;
    if (prefixLimit) {
      this.#refuse = true;
      return this.#pause(Math.min(PREFIX_LIMIT_MS * 2 ** (this.#failures - 1), PREFIX_LIMIT_MS_MAX));
    }
    this.#refuse = this.#failures >= REFUSE_FROM;
    const doublings = Math.min(Math.max(this.#failures - 2, 0), 10);
    return this.#pause(Math.min(retrySeconds * 1000 * 2 ** doublings, DELAY_MS_MAX));
  }

  #pause(ms: number): number {
    const jittered = ms * (0.75 + this.#random() * 0.25);
    this.#until = this.#clock.now() + jittered;
    return jittered;
  }
}
