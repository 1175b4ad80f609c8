// bgp/session: what goes out on an established session: UPDATEs as the connection takes them, End-of-RIB, acknowledgements.
import { AdjRibOut, type SessionOut } from "../rib/adjout.ts";
import type { ExportTarget } from "../rib/export.ts";
import { PathsOut } from "../rib/pathsout.ts";
import type { Rib, RibPeer } from "../rib/rib.ts";
import { type Afi, afis } from "../wire/constants.ts";
import { endOfRib, routeRefresh, UpdateWriter } from "../wire/writer.ts";
import type { Channel } from "./channel.ts";
import type { Clock, Timer } from "./types.ts";

/** Octets written before asking the connection whether it takes more: what a session that does not read costs at most. */
const CHUNK_BYTES = 128 * 1024;
/** What a session begins with, and what one that does not take its octets falls back to. */
const CHUNK_BYTES_MIN = 16 * 1024;
/** A session whose octets are not taken for this long is slow. */
const SLOW_MS = 100;
/** So long a session has to prove that it stays. */
const PROVING_MS = 1_000;
/** Without sight of the kernel's queue: how long after the last write everything counts as sent. */
const SETTLE_MS = 50;
const POLL_MS = 5;

const writer = new UpdateWriter();

export class Sender {
  readonly #rib: Rib;
  readonly #channel: Channel;
  readonly #clock: Clock;
  readonly #peer: RibPeer;
  #out: SessionOut[] = [];
  /** Families whose End-of-RIB is still to be sent, and whether the speaker may send it. */
  readonly #endOfRib = new Set<Afi>();
  /** Families that were sent again on request, to be closed with EoRR (RFC 7313). */
  readonly #refreshed = new Set<Afi>();
  readonly endOfRibSent: Record<Afi, boolean> = { 1: false, 2: false };
  updatesSent = 0;
  /** Everything is written: since when. */
  #settled: number | undefined;
  #waiting: (() => void)[] = [];
  #poll: Timer | undefined;
  #closed = false;
  #chunk = CHUNK_BYTES_MIN;
  #slow = false;
  /** Since when the connection has octets that it cannot send. */
  #pendingSince: number | undefined;
  readonly #born: number;

  constructor(rib: Rib, channel: Channel, peer: RibPeer, clock: Clock) {
    this.#rib = rib;
    this.#channel = channel;
    this.#peer = peer;
    this.#clock = clock;
    this.#born = clock.now();
    if (channel.negotiated!.endOfRib)
      for (const afi of afis) if (channel.negotiated!.families[afi]) this.#endOfRib.add(afi);
    rib.markers.add(this.#mark);
  }

  readonly #mark = (used: Uint8Array): void => {
    for (const out of this.#out) out.mark(used);
  };

  [Symbol.dispose](): void {
    this.#closed = true;
    this.#poll?.cancel();
    this.#rib.markers.delete(this.#mark);
    for (const out of this.#out) out[Symbol.dispose]();
    this.#out = [];
    this.#waiting = [];
  }

  out(afi: Afi): SessionOut | undefined {
    return this.#out.find((o) => o.afi === afi);
  }

  /** Says what the neighbour is to hear; where that is new, everything is told again. */
  setTarget(target: ExportTarget): void {
    const { families, as4 } = this.#channel.negotiated!;
    const group = this.#rib.group(target);
    if (this.#out[0]?.group === group) return;
    const before = this.#out;
    this.#out = afis
      .filter((afi) => families[afi])
      .map((afi) => {
        const { tables, attributes } = this.#rib;
        const Out = group.sendsPaths(afi) ? PathsOut : AdjRibOut;
        const out = new Out(afi, group, this.#peer, tables[afi], attributes, as4);
        const old = before.find((o) => o.afi === afi);
        // Which of the two it is was negotiated, so it is the same for the whole session.
        if (out instanceof PathsOut && old instanceof PathsOut) out.inherit(old);
        if (out instanceof AdjRibOut && old instanceof AdjRibOut) out.inherit(old);
        return out;
      });
    for (const old of before) old[Symbol.dispose]();
    this.#rib.dropEmptyGroups();
  }

  /** Most routes by family that it is sent. */
  setLimits(most: Readonly<Record<Afi, number | undefined>>): void {
    for (const out of this.#out) out.setLimit(most[out.afi]);
  }

  /** Sends a family again (RFC 2918). */
  refresh(afi: Afi): void {
    const out = this.out(afi);
    if (!out) return;
    // RFC 7313 4: no BoRR before the End-of-RIB, which closes the first telling and what is asked for meanwhile.
    if (this.#channel.negotiated!.enhancedRouteRefresh && !this.#endOfRib.has(afi)) {
      this.#channel.write(routeRefresh(afi, 1));
      this.#refreshed.add(afi);
    }
    out.restart();
  }

  /** Asks the neighbour to send a family again; nothing where it does not know how. */
  askAgain(afi: Afi): void {
    if (this.#channel.negotiated!.routeRefresh) this.#channel.write(routeRefresh(afi));
  }

  /** Calls back once everything that is to be sent now has left. Never, when the session ends before. */
  whenSent(run: () => void): void {
    this.#waiting.push(run);
  }

  /** New or slow: what it is to hear waits for a turn with others of the kind, so that they do not hold up those who read. */
  get patient(): boolean {
    return this.#slow || this.#clock.now() - this.#born < PROVING_MS;
  }

  /** The connection has taken everything. */
  drained(): void {
    if (this.#pendingSince === undefined) return;
    this.#slow = this.#clock.now() - this.#pendingSince > SLOW_MS;
    this.#chunk = this.#slow ? CHUNK_BYTES_MIN : Math.min(this.#chunk * 2, CHUNK_BYTES);
    this.#pendingSince = undefined;
  }

  /** There is something to say, or to look after. */
  hungry(complete: boolean): boolean {
    if (this.#waiting.length > 0 || this.#refreshed.size > 0 || (complete && this.#endOfRib.size > 0))
      return true;
    for (const out of this.#out) if (!out.idle) return true;
    return false;
  }

  /**
   * Writes some of what there is to say, where the connection takes it.
   * @param complete whether End-of-RIB may follow
   * @returns whether it wrote anything: then there may be more
   */
  pump(complete: boolean): boolean {
    if (this.#closed) return false;
    const connection = this.#channel.connection!;
    if (this.#out.some((o) => !o.idle)) {
      if (connection.pendingBytes > 0) {
        const now = this.#clock.now();
        this.#pendingSince ??= now;
        if (now - this.#pendingSince > SLOW_MS) this.#slow = true;
        return false;
      }
      this.drained();
      this.#settled = undefined;
      // Both families share a chunk, so that a large one does not starve the other.
      let taken = true;
      for (const out of this.#out) {
        if (out.idle) continue;
        const { messageBytesMax } = this.#channel.negotiated!;
        const budget = this.#chunk / this.#out.length;
        // Who reads has nearly always taken them when the call returns. Of the others, none is to hold more than it was sent.
        const { bytes, messages, lent } = out.take(writer, messageBytesMax, budget, !this.patient);
        this.updatesSent += messages;
        if (bytes.length === 0) continue;
        if (!this.#channel.write(bytes)) taken = false;
        if (lent && connection.pendingBytes > 0) writer.giveAway();
      }
      if (this.#closed) return false;
      if (taken) this.#chunk = Math.min(this.#chunk * 2, CHUNK_BYTES);
      else this.#pendingSince = this.#clock.now();
      if (!taken || this.#out.some((o) => !o.idle)) return true;
    }
    this.#finishRefresh();
    if (complete) this.#sendEndOfRib();
    this.#settle();
    return false;
  }

  #finishRefresh(): void {
    for (const afi of this.#refreshed) this.#channel.write(routeRefresh(afi, 2));
    this.#refreshed.clear();
  }

  #sendEndOfRib(): void {
    for (const afi of this.#endOfRib) {
      this.#channel.write(endOfRib(afi));
      this.endOfRibSent[afi] = true;
      this.updatesSent++;
    }
    this.#endOfRib.clear();
  }

  /** Looks whether what was written has left, for those who wait for it. */
  #settle(): void {
    if (this.#waiting.length === 0 || this.#closed) return;
    if (this.#out.some((o) => !o.idle)) return;
    const connection = this.#channel.connection!;
    if (connection.pendingBytes === 0) {
      const unacknowledged = connection.unacknowledged();
      const now = this.#clock.now();
      this.#settled ??= now;
      const sent = unacknowledged === undefined ? now - this.#settled >= SETTLE_MS : unacknowledged === 0;
      if (sent) {
        const run = this.#waiting;
        this.#waiting = [];
        for (const f of run) f();
        return;
      }
    } else this.#settled = undefined;
    this.#poll?.cancel();
    this.#poll = this.#clock.after(POLL_MS, () => this.#settle());
  }
}
