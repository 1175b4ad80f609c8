// bgp/session: how near a neighbour is to the most prefixes that it may send: what is said of it, and when what was not taken is asked for again.
import type { RibPeer } from "../rib/rib.ts";
import type { Afi } from "../wire/constants.ts";
import { limitText } from "./messages.ts";
import { type Clock, noLimits, type PeerConfig } from "./types.ts";

export type LimitState = "ok" | "near" | "over";
const rank: Readonly<Record<LimitState, number>> = { ok: 0, near: 1, over: 2 };

/** A neighbour is asked to send everything again this often at most. */
const ASK_MS = 60_000;

export class LimitWatch {
  readonly state: Record<Afi, LimitState> = { 1: "ok", 2: "ok" };
  readonly #asked: Record<Afi, number> = { 1: -Infinity, 2: -Infinity };
  /** Of what was discarded, what has been asked for again. */
  readonly #settled: Record<Afi, number> = { 1: 0, 2: 0 };
  readonly #rib: RibPeer;
  readonly #clock: Clock;

  constructor(rib: RibPeer, clock: Clock) {
    this.#rib = rib;
    this.#clock = clock;
  }

  /**
   * Looks at one family after routes have come or gone, or the limit has changed.
   * @returns what is to be said, and whether the neighbour is to send everything again
   */
  look(afi: Afi, config: PeerConfig): { readonly text?: string; readonly ask: boolean } | undefined {
    const limits = config.prefixLimits ?? noLimits;
    const max = config.prefixesMax[afi];
    const received = this.#rib.received[afi];
    const missing = this.#rib.discarded[afi] > this.#settled[afi];
    const near = received * 100 >= max * limits.warnPercent;
    const now: LimitState = received > max || (missing && near) ? "over" : near ? "near" : "ok";
    const before = this.state[afi];
    // What was not taken is asked for once there is room for more than a few.
    const ask = missing && !near && this.#clock.now() - this.#asked[afi] >= ASK_MS;
    if (now === before && !ask) return undefined;
    this.state[afi] = now;
    if (ask) {
      this.#asked[afi] = this.#clock.now();
      this.#settled[afi] = this.#rib.discarded[afi];
    }
    const text = rank[now] > rank[before] ? limitText(afi, now, received, max, limits.action) : undefined;
    return { ask, ...(text !== undefined && { text }) };
  }
}
