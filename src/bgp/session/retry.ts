// bgp/session: when to try again: back-off that a brief Established does not reset.
import type { Clock, Random } from "./types.ts";

/** A session that lived this long has proved itself: the next failure counts as the first. */
const STABLE_MS = 60_000;
const COLLISION_MS_MAX = 1_000;
const DELAY_SECONDS_MAX = 120;
/** From this many failures in a row the neighbour's own connections are refused too, for as long as one attempt of ours would wait. */
const REFUSE_FROM = 4;
const PREFIX_LIMIT_MS = 60_000;
const PREFIX_LIMIT_MS_MAX = 900_000;

export class Retry {
  readonly #clock: Clock;
  readonly #random: Random;
  #failures = 0;
  #refuseUntil = 0;

  constructor(clock: Clock, random: Random) {
    this.#clock = clock;
    this.#random = random;
  }

  /** The neighbour's own attempts are not wanted now. */
  get refusing(): boolean {
    return this.#clock.now() < this.#refuseUntil;
  }

  /** The configuration has changed, or somebody asked for it: no memory of failures. */
  reset(): void {
    this.#failures = 0;
    this.#refuseUntil = 0;
  }

  /** An attempt to connect failed before there was a session. Returns the pause in milliseconds. */
  connectFailed(retrySeconds: number): number {
    return this.#jittered(retrySeconds * 1000);
  }

  /** Both connections of a collision are gone: that is nobody's fault and soon repaired; chance keeps the two ends apart. */
  collided(retrySeconds: number): number {
    this.#refuseUntil = 0;
    return Math.min(retrySeconds * 1000, COLLISION_MS_MAX) * this.#random();
  }

  /**
   * A session ended after `livedMs`. Returns the pause in milliseconds; it is never longer than `mostSeconds`.
   * @param prefixLimit it ended for too many prefixes: true, or the pause in seconds that is wanted after that
   */
  sessionEnded(
    retrySeconds: number,
    livedMs: number,
    prefixLimit: boolean | number,
    mostSeconds = DELAY_SECONDS_MAX,
  ): number {
    if (livedMs >= STABLE_MS) this.#failures = 0;
    this.#failures++;
    if (prefixLimit !== false) {
      const doubled = Math.min(PREFIX_LIMIT_MS * 2 ** (this.#failures - 1), PREFIX_LIMIT_MS_MAX);
      const pause = prefixLimit === true ? this.#jittered(doubled) : prefixLimit * 1000;
      this.#refuseUntil = this.#clock.now() + pause;
      return pause;
    }
    const doublings = Math.min(Math.max(this.#failures - 2, 0), 10);
    const most = Math.max(mostSeconds, retrySeconds);
    const pause = this.#jittered(Math.min(retrySeconds * 2 ** doublings, most) * 1000);
    // One that comes by itself is there: it waits for a turn, not for the end of a pause that is meant for one that may be away.
    this.#refuseUntil =
      this.#failures >= REFUSE_FROM ? this.#clock.now() + Math.min(pause, retrySeconds * 1000) : 0;
    return pause;
  }

  #jittered(ms: number): number {
    return ms * (0.75 + this.#random() * 0.25);
  }
}
