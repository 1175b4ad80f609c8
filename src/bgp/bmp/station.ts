// bgp/bmp: one monitoring station: its connection, what it has still to be told, and the bound on that. A slow one delays nobody: what it
// has not heard is a set of prefixes, read from the RIB when it can take them, and too many of them begin its connection anew.
import { formatAddress } from "../../net/address.ts";
import { LocRibFeed } from "../rib/feed.ts";
import { PEERS_MAX } from "../rib/rib.ts";
import type { FamilyTable } from "../rib/table.ts";
import type { Connection, ConnectionHandler, Timer } from "../session/types.ts";
import { type Afi, afis } from "../wire/constants.ts";
import { endOfRib, UpdateWriter } from "../wire/writer.ts";
import { Batch, type PathGroups, push, views, writeGroups } from "./batch.ts";
import type { BmpExporter, Monitored, StationConfig, StationStatus } from "./exporter.ts";
import { initiation, routeMonitoring, termination, textTlv } from "./message.ts";
import { stationReason } from "./messages.ts";

/** Changed paths that wait at most; about 50 MiB. */
export const PATHS_WAITING_MAX = 500_000;
/** Messages about sessions that wait at most. */
export const EVENTS_MAX = 16_384;
/** Octets handed to the connection in one go. */
const CHUNK_BYTES = 128 * 1024;
const CHUNKS_MAX = 2;
/** Prefixes looked at in one go. */
const LOOKS_MAX = 20_000;
const RETRY_MS_MIN = 1_000;
/** RFC 7854 3.2: back-off up to 720 s is suggested; two minutes suit a node better. */
const RETRY_MS_MAX = 120_000;
const CONNECT_MS = 10_000;
const PEERS = PEERS_MAX;

/** A walk over the tables for sessions whose routes the station has not had. */
interface Walk {
  readonly peers: Set<number>;
  afi: Afi;
  pid: number;
}

export class Station implements ConnectionHandler {
  readonly #config: StationConfig;
  readonly #exporter: BmpExporter;
  #connection: Connection | undefined;
  #connected = false;
  #since: number;
  #reason: string = stationReason.starting;
  #retryMs = RETRY_MS_MIN;
  #timer: Timer | undefined;
  #statistics: Timer | undefined;
  #due = false;
  #disposed = false;
  #messages = 0;
  #overflows = 0;
  #events: Uint8Array[] = [];
  #walks: Walk[] = [];
  /**
   * By family: `pid * PEERS + index of the neighbour`, and the path identifiers where it gives any (RFC 7911). Each holds a pin, so
   * that its pid stays its prefix's.
   */
  readonly #dirty: Record<Afi, Map<number, number[] | undefined>> = { 1: new Map(), 2: new Map() };
  #feed: LocRibFeed | undefined;
  #locRibEnd = false;
  readonly #writer = new UpdateWriter();

  constructor(config: StationConfig, exporter: BmpExporter) {
    this.#config = config;
    this.#exporter = exporter;
    this.#since = exporter.parts.clock.unixMs();
    this.#connect();
  }

  get status(): StationStatus {
    const { name, address, port } = this.#config;
    return {
      name,
      address,
      port,
      connected: this.#connected,
      sinceUnixMs: this.#since,
      reason: this.#connected ? "" : this.#reason,
      messages: this.#messages,
      waiting: this.#dirty[1].size + this.#dirty[2].size,
      overflows: this.#overflows,
    };
  }

  get #monitorsPaths(): boolean {
    return this.#config.prePolicy || this.#config.postPolicy;
  }

  [Symbol.dispose](): void {
    this.#disposed = true;
    this.#timer?.cancel();
    if (this.#connected) this.#connection?.write(termination());
    this.#connection?.end();
    this.#forget();
  }

  #connect(): void {
    if (this.#disposed) return;
    const { address, port, localAddress } = this.#config;
    const { clock, transport } = this.#exporter.parts;
    this.#connection = transport.connect(
      {
        address,
        port,
        localAddress,
        localPort: 0,
        interface: undefined,
        password: undefined,
        ttlSecurityHops: 0,
        ttl: 0,
      },
      this,
    );
    const connection = this.#connection;
    this.#timer = clock.after(CONNECT_MS, () => {
      if (!this.#connected) connection.destroy();
    });
  }

  connected(): void {
    const { parts, monitored } = this.#exporter;
    this.#timer?.cancel();
    this.#connected = true;
    this.#since = parts.clock.unixMs();
    this.#retryMs = RETRY_MS_MIN;
    const { name, address, port, locRib, statisticsSeconds } = this.#config;
    parts.log("info", "monitoring station connected", { station: name, to: formatAddress(address), port });
    this.#events = [initiation([textTlv(1, parts.sysDescription), textTlv(2, parts.sysName)])];
    for (const peer of monitored.values()) this.#events.push(peer.up);
    if (this.#monitorsPaths && monitored.size > 0)
      this.#walks.push({ peers: new Set(monitored.keys()), afi: 1, pid: 0 });
    if (locRib) {
      this.#events.push(this.#exporter.locRibUp());
      this.#feed = new LocRibFeed(parts.rib);
      this.#locRibEnd = false;
    }
    if (statisticsSeconds > 0) this.#statisticsSoon();
    this.work();
  }

  #statisticsSoon(): void {
    this.#statistics = this.#exporter.parts.clock.after(this.#config.statisticsSeconds * 1000, () => {
      // Behind octets that are not taken, one more says nothing.
      if (this.#events.length === 0 && this.#connection?.pendingBytes === 0) {
        for (const peer of this.#exporter.monitored.values()) this.#event(this.#exporter.statisticsOf(peer));
        if (this.#config.locRib) this.#event(this.#exporter.locRibStatistics());
      }
      this.#statisticsSoon();
    });
  }

  /** A station has nothing to say (RFC 7854 3.2); what it says is dropped. */
  data(): void {}

  drained(): void {
    this.work();
  }

  closed(reason: string): void {
    const { clock, random, log } = this.#exporter.parts;
    const was = this.#connected;
    this.#timer?.cancel();
    this.#connected = false;
    this.#connection = undefined;
    this.#since = clock.unixMs();
    this.#forget();
    if (this.#disposed) return;
    if (was || this.#reason !== reason)
      log("warn", "monitoring station is not connected", { station: this.#config.name, reason });
    this.#reason = reason;
    this.#timer = clock.after(this.#retryMs * (0.75 + random() * 0.25), () => this.#connect());
    this.#retryMs = Math.min(this.#retryMs * 2, RETRY_MS_MAX);
  }

  /** Lets go of everything that waits: the next connection begins with everything. */
  #forget(): void {
    this.#statistics?.cancel();
    this.#events = [];
    this.#walks = [];
    for (const afi of afis) {
      for (const key of this.#dirty[afi].keys()) this.#unpin(afi, key);
      this.#dirty[afi].clear();
    }
    this.#feed?.[Symbol.dispose]();
    this.#feed = undefined;
  }

  #overflow(what: string): void {
    if (!this.#connected) return;
    this.#overflows++;
    this.#connected = false;
    this.#exporter.parts.log("warn", stationReason.tooSlow, { station: this.#config.name, what });
    this.#forget();
    // Its `closed` follows, and then a new connection.
    this.#connection?.destroy();
  }

  #event(message: Uint8Array): void {
    if (!this.#connected) return;
    if (this.#events.length >= EVENTS_MAX) {
      this.#overflow("events");
      return;
    }
    this.#events.push(message);
    this.work();
  }

  peerUp(peer: Monitored): void {
    if (!this.#connected) return;
    this.#event(peer.up);
    if (this.#monitorsPaths && this.#connected)
      this.#walks.push({ peers: new Set([peer.index]), afi: 1, pid: 0 });
  }

  peerDown(index: number, message: Uint8Array): void {
    for (const walk of this.#walks) walk.peers.delete(index);
    this.#event(message);
  }

  pathChanged(index: number, afi: Afi, pid: number, id: number): void {
    if (!this.#connected || !this.#monitorsPaths) return;
    const peer = this.#exporter.monitored.get(index);
    if (!peer) return;
    const key = pid * PEERS + index;
    const dirty = this.#dirty[afi];
    if (dirty.has(key)) {
      // At most as many as a neighbour may have of one prefix.
      const ids = dirty.get(key);
      if (ids && !ids.includes(id)) ids.push(id);
      return;
    }
    if (
      this.#dirty[1].size + this.#dirty[2].size >=
      (this.#exporter.parts.pathsWaitingMax ?? PATHS_WAITING_MAX)
    ) {
      this.#overflow("paths");
      return;
    }
    dirty.set(key, peer.pathIds[afi] ? [id] : undefined);
    this.#table(afi).pins[pid]!++;
    this.work();
  }

  #table(afi: Afi): FamilyTable {
    return this.#exporter.parts.rib.tables[afi];
  }

  #unpin(afi: Afi, key: number): void {
    const table = this.#table(afi);
    const pid = Math.floor(key / PEERS);
    if (--table.pins[pid]! === 0) table.releaseIfUnused(pid);
  }

  /** Sends what there is, soon. */
  work(): void {
    if (this.#due || !this.#connected) return;
    this.#due = true;
    this.#exporter.parts.clock.soon(() => {
      this.#due = false;
      this.#pump();
    });
  }

  #pump(): void {
    for (let chunks = 0; this.#connected && this.#connection!.pendingBytes === 0; chunks++) {
      if (chunks >= CHUNKS_MAX) {
        this.work();
        return;
      }
      const bytes = this.#next();
      if (!bytes) return;
      if (bytes.length > 0) this.#connection!.write(bytes);
    }
  }

  /** The next octets; undefined when there is nothing to say; none when a piece of work had nothing to say. */
  #next(): Uint8Array | undefined {
    if (this.#events.length > 0) {
      const out: Uint8Array[] = [];
      let bytes = 0;
      for (const event of this.#events) {
        if (bytes >= CHUNK_BYTES) break;
        bytes += event.length;
        out.push(event);
      }
      const n = out.length;
      this.#events.splice(0, n);
      this.#messages += n;
      return Buffer.concat(out);
    }
    if (this.#walks.length > 0) return this.#walkOn(this.#walks[0]!);
    for (const afi of afis) if (this.#dirty[afi].size > 0) return this.#tellDirty(afi);
    return this.#feed ? this.#tellLocRib(this.#feed) : undefined;
  }

  #walkOn(walk: Walk): Uint8Array {
    const batch = new Batch(this.#exporter, this.#config, walk.afi, 0n);
    const table = this.#table(walk.afi);
    for (let looks = 0; looks < LOOKS_MAX && batch.size < LOOKS_MAX / 4; looks++) {
      if (walk.pid >= table.prefixes.limit || walk.peers.size === 0) {
        const ends = batch.write(this.#writer, (n) => (this.#messages += n));
        if (walk.afi === 2 || walk.peers.size === 0) this.#walks.shift();
        const tail = this.#walkEnds(walk);
        walk.afi = 2;
        walk.pid = 0;
        return Buffer.concat([ends, tail]);
      }
      const pid = walk.pid++;
      for (let path = table.head[pid]!; path >= 0; path = table.pathNext[path]!)
        if (walk.peers.has(table.pathPeer[path]!)) batch.add(table.pathPeer[path]!, pid, path);
    }
    return batch.write(this.#writer, (n) => (this.#messages += n));
  }

  /** RFC 7854 5: End-of-RIB closes the first table of each session. */
  #walkEnds({ peers, afi }: Walk): Uint8Array {
    const out: Uint8Array[] = [];
    for (const index of peers) {
      const peer = this.#exporter.monitored.get(index);
      if (!peer?.families.includes(afi)) continue;
      for (const post of views(this.#config)) out.push(routeMonitoring(peer.header(post, 0n), endOfRib(afi)));
    }
    this.#messages += out.length;
    return Buffer.concat(out);
  }

  #tellDirty(afi: Afi): Uint8Array {
    const batch = new Batch(this.#exporter, this.#config, afi, this.#exporter.nowUs());
    const taken: number[] = [];
    for (const [key, ids] of this.#dirty[afi]) {
      batch.changed(key % PEERS, Math.floor(key / PEERS), ids);
      taken.push(key);
      if (batch.size >= LOOKS_MAX / 4) break;
    }
    const bytes = batch.write(this.#writer, (n) => (this.#messages += n));
    for (const key of taken) {
      this.#dirty[afi].delete(key);
      this.#unpin(afi, key);
    }
    return bytes;
  }

  #tellLocRib(feed: LocRibFeed): Uint8Array | undefined {
    const { parts } = this.#exporter;
    if (parts.rib.dirty) parts.flush();
    const changes = feed.take(LOOKS_MAX / 4);
    const out: Uint8Array[] = [];
    const header = this.#exporter.locRibHeader(feed.complete ? this.#exporter.nowUs() : 0n);
    for (const afi of afis) {
      const pids = changes.filter((c) => c.afi === afi).map((c) => c.pid);
      if (pids.length === 0) continue;
      const table = this.#table(afi);
      const groups: PathGroups = new Map();
      for (const pid of pids)
        push(groups, table.best[pid]! < 0 ? -1 : table.pathAttr[table.best[pid]!]!, pid, 0);
      writeGroups(this.#writer, parts.rib, afi, groups, false, header, out);
    }
    feed.release();
    if (feed.complete && !this.#locRibEnd) {
      this.#locRibEnd = true;
      for (const afi of afis) out.push(routeMonitoring(header, endOfRib(afi)));
    }
    if (out.length === 0) return changes.length > 0 ? new Uint8Array(0) : undefined;
    this.#messages += out.length;
    return Buffer.concat(out);
  }
}
