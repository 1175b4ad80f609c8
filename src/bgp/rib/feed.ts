// bgp/rib: the Loc-RIB for one follower: first all of it, then what changes, each prefix at most once however often it changed.
import { type Afi, afis } from "../wire/constants.ts";
import type { LogCursor } from "./changelog.ts";
import type { Rib } from "./rib.ts";

export interface FeedChange {
  readonly afi: Afi;
  readonly pid: number;
}

export class LocRibFeed {
  readonly #rib: Rib;
  readonly #cursors: Record<Afi, LogCursor>;
  /** Next pid of the first walk over the table; -1 when it is done. */
  readonly #walk: Record<Afi, number> = { 1: 0, 2: 0 };

  constructor(rib: Rib) {
    this.#rib = rib;
    this.#cursors = { 1: rib.locLogs[1].open(), 2: rib.locLogs[2].open() };
  }

  [Symbol.dispose](): void {
    for (const afi of afis) this.#rib.locLogs[afi].close(this.#cursors[afi]);
  }

  /** The first walk is over: the follower has had everything once. */
  get complete(): boolean {
    return this.#walk[1] < 0 && this.#walk[2] < 0;
  }

  get idle(): boolean {
    return this.complete && afis.every((afi) => this.#cursors[afi].position === this.#rib.locLogs[afi].end);
  }

  /** Up to `max` changed prefixes. They are to be read before anything else happens to the RIB. */
  take(max: number): FeedChange[] {
    const out: FeedChange[] = [];
    for (const afi of afis) {
      const table = this.#rib.tables[afi];
      while (this.#walk[afi] >= 0 && out.length < max) {
        const pid = this.#walk[afi]++;
        if (pid >= table.prefixes.limit) this.#walk[afi] = -1;
        else if (table.best[pid]! >= 0) out.push({ afi, pid });
      }
    }
    for (const afi of afis) {
      const log = this.#rib.locLogs[afi];
      const cursor = this.#cursors[afi];
      while (this.complete && cursor.position < log.end && out.length < max) {
        const pid = log.entry(cursor.position++);
        if (pid >= 0) out.push({ afi, pid });
      }
    }
    return out;
  }

  /** Lets go of what has been taken. After the changes were read: a withdrawn prefix is gone then. */
  release(): void {
    for (const afi of afis) this.#rib.locLogs[afi].trim();
  }
}
