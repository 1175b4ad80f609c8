// bgp/session: graceful restart as helper (RFC 4724 4.2): a neighbour's routes are kept while it restarts, and how long.
import type { Rib, RibPeer } from "../rib/rib.ts";
import { type Afi, afis, SAFI_UNICAST } from "../wire/constants.ts";
import { Cease } from "../wire/notification.ts";
import { type Ending, isFinal } from "./channel.ts";
import { keptFamilies, type Negotiated } from "./negotiate.ts";
import type { Clock, Timer } from "./types.ts";

/** Longest wait for the End-of-RIB of a neighbour that has come back. */
const RESUMED_MS_MAX = 360_000;

export class StaleRoutes {
  /** Families with routes of the last session that are kept. */
  readonly families: Record<Afi, boolean> = { 1: false, 2: false };
  readonly #rib: Rib;
  readonly #peer: RibPeer;
  readonly #clock: Clock;
  /** Called when time has run out and routes have gone. */
  readonly #expired: () => void;
  #timer: Timer | undefined;

  constructor(rib: Rib, peer: RibPeer, clock: Clock, expired: () => void) {
    this.#rib = rib;
    this.#peer = peer;
    this.#clock = clock;
    this.#expired = expired;
  }

  get any(): boolean {
    return this.families[1] || this.families[2];
  }

  /** The session has ended: what may be kept is, for the neighbour's restart time. Returns the families that are. */
  keep(n: Negotiated, ending: Ending, wanted: boolean): readonly Afi[] {
    const kept = wanted && survives(ending, n.restartOnNotification) ? keptFamilies(n) : [];
    for (const afi of afis) {
      // What was stale already is not kept a second time.
      if (this.families[afi]) this.#rib.removePaths(this.#peer, afi, true);
      this.families[afi] = kept.includes(afi) && this.#peer.received[afi] > 0;
      if (this.families[afi]) this.#rib.markStale(this.#peer, afi);
      else this.#rib.removePaths(this.#peer, afi, false);
    }
    this.#timer?.cancel();
    if (kept.length > 0) this.#arm(n.gracefulRestart!.seconds * 1000);
    return kept;
  }

  /** The neighbour is back: what it did not keep itself is not kept here. */
  resume(n: Negotiated): void {
    this.#timer?.cancel();
    for (const afi of afis) {
      if (!this.families[afi]) continue;
      const family = n.gracefulRestart?.families.find((f) => f.afi === afi && f.safi === SAFI_UNICAST);
      if (!n.families[afi] || !family?.forwarding) this.endOfRib(afi);
    }
    if (this.any) this.#arm(RESUMED_MS_MAX);
  }

  /** Everything of a family has come again: what is still stale goes. */
  endOfRib(afi: Afi): void {
    if (!this.families[afi]) return;
    this.#rib.removePaths(this.#peer, afi, true);
    this.families[afi] = false;
    if (!this.any) this.#timer?.cancel();
  }

  /** Nothing is kept any longer. */
  drop(): void {
    this.#timer?.cancel();
    for (const afi of afis) this.endOfRib(afi);
  }

  [Symbol.dispose](): void {
    this.#timer?.cancel();
  }

  #arm(ms: number): void {
    this.#timer = this.#clock.after(ms, () => {
      this.drop();
      this.#expired();
    });
  }
}

/** Whether the neighbour's routes outlive the session (RFC 4724 4.2, RFC 8538 4). */
function survives(ending: Ending, onNotification: boolean): boolean {
  if (ending.kind === "closed") return true;
  if (!onNotification) return false;
  const n = ending.notification;
  if (ending.kind === "sent") return !isFinal(n);
  return !(n.code === 6 && n.subcode === Cease.hardReset);
}
