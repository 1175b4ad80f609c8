// bgp/session: graceful restart as helper (RFC 4724 4.2, RFC 9494 4.2): a neighbour's routes are kept while it restarts, and how long.
import type { Rib, RibPeer } from "../rib/rib.ts";
import { type Afi, afis } from "../wire/constants.ts";
import { Cease } from "../wire/notification.ts";
import { type Ending, isFinal } from "./channel.ts";
import { keptFor, keptForwarding, type Negotiated } from "./negotiate.ts";
import type { Clock, Timer } from "./types.ts";

/** Longest wait for the End-of-RIB of a neighbour that has come back. */
const RESUMED_MS_MAX = 360_000;
/** Longest timer that setTimeout knows: 24 days. */
const TIMER_MS_MAX = 2 ** 31 - 1;

export class StaleRoutes {
  /** Families with routes of the last session that are kept. */
  readonly families: Record<Afi, boolean> = { 1: false, 2: false };
  /** When the routes of a family that are kept for long (RFC 9494) go; undefined while none are. */
  readonly #longLivedUntil: Record<Afi, number | undefined> = { 1: undefined, 2: undefined };
  readonly #rib: Rib;
  readonly #peer: RibPeer;
  readonly #clock: Clock;
  /** Called when time has run out and routes have gone, or have become the last choice. */
  readonly #expired: () => void;
  readonly #timers: Record<Afi, Timer | undefined> = { 1: undefined, 2: undefined };

  constructor(rib: Rib, peer: RibPeer, clock: Clock, expired: () => void) {
    this.#rib = rib;
    this.#peer = peer;
    this.#clock = clock;
    this.#expired = expired;
  }

  get any(): boolean {
    return this.families[1] || this.families[2];
  }

  /** The session has ended: what may be kept is, for the neighbour's restart time and beyond. Returns the families that are. */
  keep(n: Negotiated, ending: Ending, wanted: boolean): readonly Afi[] {
    const survived = wanted && survives(ending, n.restartOnNotification);
    return afis.filter((afi) => {
      this.#timers[afi]?.cancel();
      const { restart, longLived } = keptFor(n, afi);
      // What was stale already is not kept a second time, but for what is kept for long: its time runs on.
      if (this.families[afi] && this.#longLivedUntil[afi] === undefined)
        this.#rib.removePaths(this.#peer, afi, true);
      const kept = survived && restart + longLived > 0;
      this.families[afi] = kept && this.#peer.received[afi] > 0;
      if (!this.families[afi]) {
        this.#rib.removePaths(this.#peer, afi, false);
        this.#longLivedUntil[afi] = undefined;
        return kept;
      }
      this.#rib.markStale(this.#peer, afi);
      if (restart > 0) this.#arm(afi, restart, () => this.#restartIsOver(afi, longLived));
      else this.#restartIsOver(afi, longLived);
      return true;
    });
  }

  #restartIsOver(afi: Afi, longLived: number): void {
    const now = this.#clock.now();
    const until = this.#longLivedUntil[afi] ?? now + longLived;
    if (until <= now) {
      this.endOfRib(afi);
      return;
    }
    this.#longLivedUntil[afi] = until;
    this.#rib.markLongLived(this.#peer, afi);
    this.#arm(afi, until - now, () => this.endOfRib(afi));
  }

  /** The neighbour is back: what it did not keep itself is not kept here. */
  resume(n: Negotiated): void {
    for (const afi of afis) {
      if (!this.families[afi]) continue;
      const until = this.#longLivedUntil[afi];
      if (!keptForwarding(n, afi, until !== undefined)) {
        this.endOfRib(afi);
        continue;
      }
      this.#timers[afi]?.cancel();
      const left = until === undefined ? RESUMED_MS_MAX : until - this.#clock.now();
      this.#arm(afi, Math.min(left, RESUMED_MS_MAX), () => this.endOfRib(afi));
    }
  }

  /** Everything of a family has come again: what is still stale goes. */
  endOfRib(afi: Afi): void {
    if (!this.families[afi]) return;
    this.#timers[afi]?.cancel();
    this.#rib.removePaths(this.#peer, afi, true);
    this.families[afi] = false;
    this.#longLivedUntil[afi] = undefined;
  }

  /** Nothing is kept any longer. */
  drop(): void {
    for (const afi of afis) this.endOfRib(afi);
  }

  [Symbol.dispose](): void {
    for (const afi of afis) this.#timers[afi]?.cancel();
  }

  #arm(afi: Afi, ms: number, run: () => void): void {
    // Longer than a timer of the runtime can be is no timer at all.
    this.#timers[afi] = this.#clock.after(Math.min(ms, TIMER_MS_MAX), () => {
      run();
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
