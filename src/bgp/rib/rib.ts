// bgp/rib: the routing information base of a speaker: neighbours, their paths, what this node originates, and who is to hear what.
import { type Afi, afis, WellKnown } from "../wire/constants.ts";
import { NlriCursor, PATH_ID_BYTES, readPathId } from "../wire/nlri.ts";
import { AttributeTable } from "./attributes.ts";
import { ChangeLog } from "./changelog.ts";
import type { MultipathRule, PeerRank } from "./decision.ts";
import type { ExportTarget } from "./export.ts";
import { ExportGroup, exportKey, type Origin } from "./group.ts";
import { type ImportContext, Importer, importKey, RuleNames } from "./importer.ts";
import type { Links } from "./links.ts";
import { SharedChunks } from "./shared.ts";
import { FamilyTable, PathFlag } from "./table.ts";

/** Index of this node among the neighbours. */
export const LOCAL = 0;

/** Neighbours at once; their index is 16 bits wide in the path table. */
export const PEERS_MAX = 4096;

/** One neighbour as the RIB sees it. Changed by the session when it comes up. */
export interface RibPeer extends PeerRank {
  readonly name: string;
  /** Under which name origins are for it: its own, or that of the range it came by. */
  readonly audience: string;
  /** Interface of the session where it is given: link-local next hops are of it. */
  linkName: string;
  ebgp: boolean;
  routerId: number;
  address: bigint;
  asn: number;
  /** A client of ours (RFC 4456). */
  reflectorClient: boolean;
  /** See nextHopHash; of our own address on the session, by family. */
  ownNextHop: Record<Afi, number>;
  /** Where next hops may be; undefined: anywhere. */
  links: Links | undefined;
  importer: Importer | undefined;
  /** Paths in Adj-RIB-In, and those of them that policy accepted. */
  readonly received: Record<Afi, number>;
  readonly accepted: Record<Afi, number>;
  /** Paths that were not taken because there were as many as there may be. */
  readonly discarded: Record<Afi, number>;
}

/** Told of each path of a neighbour that came, changed or went, before or after policy; `id` is its path identifier. */
export type PathWatcher = (peer: RibPeer, afi: Afi, pid: number, id: number) => void;

export class Rib {
  readonly attributes: AttributeTable;
  readonly tables: Readonly<Record<Afi, FamilyTable>>;
  readonly names = new RuleNames();
  readonly #offLink = this.names.id("rejected: the next hop is not on the link (RFC 4271 5.1.3)");
  /** Changes of the Loc-RIB, for whoever follows it. */
  readonly locLogs: Readonly<Record<Afi, ChangeLog>>;
  readonly origins: Record<Afi, Map<number, Origin[]>> = { 1: new Map(), 2: new Map() };
  readonly #changedOrigins: Record<Afi, Set<number>> = { 1: new Set(), 2: new Set() };
  readonly #peers: (RibPeer | undefined)[] = [];
  readonly #importers = new Map<string, { importer: Importer; users: number }>();
  readonly #groups = new Map<string, ExportGroup>();
  readonly #cursor = new NlriCursor();
  readonly #shared = new SharedChunks();
  /** Further holders of attribute numbers, asked before a sweep. */
  readonly markers = new Set<(used: Uint8Array) => void>();
  readonly pathWatchers = new Set<PathWatcher>();

  constructor(seed: number) {
    this.attributes = new AttributeTable(seed);
    const rank = (index: number): PeerRank => this.#peers[index]!;
    this.tables = {
      1: new FamilyTable(1, seed, this.attributes, rank),
      2: new FamilyTable(2, seed ^ 0x5bd1e995, this.attributes, rank),
    };
    this.locLogs = { 1: new ChangeLog(this.tables[1]), 2: new ChangeLog(this.tables[2]) };
    this.#peers.push(newPeer(LOCAL, "", ""));
  }

  /** A new neighbour; undefined when there are too many. */
  addPeer(name: string, audience = name): RibPeer | undefined {
    let index = 1;
    while (index < PEERS_MAX && this.#peers[index]) index++;
    if (index >= PEERS_MAX) return undefined;
    const peer = newPeer(index, name, audience);
    this.#peers[index] = peer;
    return peer;
  }

  /** Forgets a neighbour and all its paths. */
  removePeer(peer: RibPeer): void {
    for (const afi of afis) this.removePaths(peer, afi, false);
    this.#setImporter(peer, undefined);
    this.#peers[peer.index] = undefined;
  }

  peer(index: number): RibPeer | undefined {
    return this.#peers[index];
  }

  get groups(): Iterable<ExportGroup> {
    return this.#groups.values();
  }

  /** Gives a neighbour its import policy; paths that are there are decided anew where it changed. */
  setImport(peer: RibPeer, context: ImportContext): void {
    const key = importKey(context);
    if (peer.importer && importKey(peer.importer.context) === key) return;
    let entry = this.#importers.get(key);
    if (!entry) {
      entry = { importer: new Importer(context, this.attributes, this.names), users: 0 };
      this.#importers.set(key, entry);
    }
    this.#setImporter(peer, entry.importer);
    for (const afi of afis) if (peer.received[afi] > 0) this.#redecide(peer, afi);
  }

  #setImporter(peer: RibPeer, importer: Importer | undefined): void {
    if (importer) this.#importers.get(importKey(importer.context))!.users++;
    const old = peer.importer;
    peer.importer = importer;
    if (!old) return;
    const key = importKey(old.context);
    const entry = this.#importers.get(key)!;
    if (--entry.users === 0) this.#importers.delete(key);
  }

  #redecide(peer: RibPeer, afi: Afi): void {
    const table = this.tables[afi];
    let left = peer.received[afi];
    for (let path = 0; path < table.pathLimit && left > 0; path++)
      if (table.pathPid[path]! >= 0 && table.pathPeer[path] === peer.index) {
        left--;
        this.#decidePath(peer, table, path);
        this.#pathChanged(peer, afi, table.pathPid[path]!, table.idOf(path));
      }
  }

  /** Decides a path by import policy; touches its prefix where the outcome differs. */
  #decidePath(peer: RibPeer, table: FamilyTable, path: number): void {
    const pid = table.pathPid[path]!;
    const { afi } = table;
    const before = table.pathAttr[path]!;
    const { importer } = peer;
    let now = -1;
    if (importer && peer.links?.isOff(this.attributes, table.pathRaw[path]!))
      table.pathRule[path] = this.#offLink;
    else if (importer) {
      const { keys, words, lengths } = table.prefixes;
      importer.decide(
        table.pathRaw[path]!,
        peer.asn,
        peer.ownNextHop[afi],
        afi,
        keys,
        pid * words,
        lengths[pid]!,
      );
      now = importer.attribute;
      table.pathRule[path] = importer.rule;
    }
    table.pathAttr[path] = now;
    if (now >= 0 !== before >= 0) peer.accepted[afi] += now >= 0 ? 1 : -1;
    if (now !== before) table.touch(pid);
  }

  #pathChanged(peer: RibPeer, afi: Afi, pid: number, id: number): void {
    if (this.pathWatchers.size > 0) for (const told of this.pathWatchers) told(peer, afi, pid, id);
  }

  /**
   * Takes the NLRI in `b[start, end)`, which have been checked, with a set of attributes. Returns the prefixes ignored as unroutable.
   * @param pathIds whether each has a path identifier (RFC 7911)
   * @param most paths of the neighbour; further ones are not taken, and counted
   */
  announce(
    peer: RibPeer,
    afi: Afi,
    b: Uint8Array,
    start: number,
    end: number,
    raw: number,
    pathIds = false,
    most = Infinity,
  ): number {
    const table = this.tables[afi];
    const cursor = this.#cursor;
    let ignored = 0;
    if (table.prefixes.large && !pathIds)
      for (let at = start; at < end; ) {
        at = cursor.read(b, at, afi);
        table.prefixes.warm(cursor.words, 0, cursor.length);
      }
    let id = 0;
    for (let at = start; at < end; ) {
      if (pathIds) {
        id = readPathId(b, at);
        at += PATH_ID_BYTES;
      }
      at = cursor.read(b, at, afi);
      if (!cursor.routable(afi)) {
        ignored++;
        continue;
      }
      const pid = table.intern(cursor.words, 0, cursor.length);
      if (pid < 0) continue;
      let path = pathIds ? table.pathWithId(pid, peer.index, id) : table.pathOf(pid, peer.index);
      if (path < -1) {
        table.pathsRefused++;
        continue;
      }
      if (path < 0 && peer.received[afi] >= most) {
        peer.discarded[afi]++;
        // So that a prefix without any path is given back.
        table.touch(pid);
        continue;
      }
      if (path < 0) {
        path = table.addPath(pid, peer.index, id);
        peer.received[afi]++;
        // Even a path that is rejected must be looked at once, so that its prefix is not lost.
        table.touch(pid);
      } else if (table.pathRaw[path] === raw) {
        if (table.pathFlags[path]! & PathFlag.stale) {
          table.pathFlags[path] = 0;
          table.touch(pid);
        }
        continue;
      } else this.attributes.released++;
      if (table.pathFlags[path]! & PathFlag.stale) {
        table.pathFlags[path] = 0;
        table.touch(pid);
      }
      table.pathRaw[path] = raw;
      this.#decidePath(peer, table, path);
      this.#pathChanged(peer, afi, pid, id);
    }
    return ignored;
  }

  /** Takes routes back. */
  withdraw(peer: RibPeer, afi: Afi, b: Uint8Array, start: number, end: number, pathIds = false): void {
    const table = this.tables[afi];
    const cursor = this.#cursor;
    let id = 0;
    for (let at = start; at < end; ) {
      if (pathIds) {
        id = readPathId(b, at);
        at += PATH_ID_BYTES;
      }
      at = cursor.read(b, at, afi);
      const pid = table.prefixes.find(cursor.words, 0, cursor.length);
      if (pid < 0) continue;
      const path = pathIds ? table.pathWithId(pid, peer.index, id) : table.pathOf(pid, peer.index);
      if (path >= 0) this.#dropPath(peer, table, path);
    }
  }

  #dropPath(peer: RibPeer, table: FamilyTable, path: number): void {
    this.attributes.released++;
    peer.received[table.afi]--;
    if (table.pathAttr[path]! >= 0) peer.accepted[table.afi]--;
    this.#pathChanged(peer, table.afi, table.pathPid[path]!, table.idOf(path));
    table.removePath(path);
  }

  /** Removes all paths of a neighbour, or only the stale ones. */
  removePaths(peer: RibPeer, afi: Afi, onlyStale: boolean): void {
    const table = this.tables[afi];
    let left = peer.received[afi];
    for (let path = 0; path < table.pathLimit && left > 0; path++) {
      if (table.pathPid[path]! < 0 || table.pathPeer[path] !== peer.index) continue;
      left--;
      if (!onlyStale || table.pathFlags[path]! & PathFlag.stale) this.#dropPath(peer, table, path);
    }
  }

  /** Marks all paths of a neighbour as stale (RFC 4724 4.2): kept, and shown as such. */
  markStale(peer: RibPeer, afi: Afi): void {
    const table = this.tables[afi];
    let left = peer.received[afi];
    for (let path = 0; path < table.pathLimit && left > 0; path++) {
      if (table.pathPid[path]! < 0 || table.pathPeer[path] !== peer.index) continue;
      left--;
      table.pathFlags[path]! |= PathFlag.stale;
      table.touch(table.pathPid[path]!);
    }
  }

  /**
   * The stale paths of a neighbour are kept for long (RFC 9494 4.2): marked with LLGR_STALE, which makes them the last choice; those that
   * say that they must not be are removed.
   */
  markLongLived(peer: RibPeer, afi: Afi): void {
    const table = this.tables[afi];
    /** By set as received: the marked one, -1 to remove. */
    const marked = new Map<number, number>();
    const mark = (raw: number): number => {
      const a = this.attributes.attributes(raw, afi);
      const communities = a.communities ?? [];
      if (communities.includes(WellKnown.noLongLived)) return -1;
      if (communities.includes(WellKnown.longLivedStale)) return raw;
      return this.attributes.intern({ ...a, communities: [...communities, WellKnown.longLivedStale] });
    };
    let left = peer.received[afi];
    for (let path = 0; path < table.pathLimit && left > 0; path++) {
      if (table.pathPid[path]! < 0 || table.pathPeer[path] !== peer.index) continue;
      left--;
      if (!(table.pathFlags[path]! & PathFlag.stale)) continue;
      const raw = table.pathRaw[path]!;
      let now = marked.get(raw);
      if (now === undefined) {
        now = mark(raw);
        marked.set(raw, now);
      }
      if (now < 0) this.#dropPath(peer, table, path);
      else if (now !== raw) {
        table.pathRaw[path] = now;
        this.#decidePath(peer, table, path);
      }
    }
  }

  /** Says which paths of a prefix are delivered together. */
  setMultipath(rule: MultipathRule): void {
    for (const afi of afis) this.tables[afi].setMultipath(rule);
  }

  /** Replaces what this node originates. Equal origins are not touched. */
  setOrigins(origins: readonly Origin[]): void {
    for (const afi of afis)
      this.#setOrigins(
        afi,
        origins.filter((o) => o.afi === afi),
      );
    for (const group of this.#groups.values()) group.dropOrigins();
  }

  #setOrigins(afi: Afi, origins: readonly Origin[]): void {
    const table = this.tables[afi];
    const local = this.#peers[LOCAL]!;
    const next = new Map<number, Origin[]>();
    for (const origin of origins) {
      const pid = table.intern(origin.words, 0, origin.length);
      if (pid < 0) continue;
      const list = next.get(pid);
      if (list) list.push(origin);
      else next.set(pid, [origin]);
    }
    const before = this.origins[afi];
    this.origins[afi] = next;
    for (const pid of before.keys()) {
      if (next.has(pid)) continue;
      this.#changedOrigins[afi].add(pid);
      const path = table.pathOf(pid, LOCAL);
      if (path >= 0) this.#dropPath(local, table, path);
    }
    for (const [pid, list] of next) {
      const old = before.get(pid);
      if (old && old.length === list.length && old.every((o, i) => o.key === list[i]!.key)) continue;
      this.#changedOrigins[afi].add(pid);
      let path = table.pathOf(pid, LOCAL);
      if (path < 0) {
        path = table.addPath(pid, LOCAL);
        local.received[afi]++;
        local.accepted[afi]++;
      }
      const attribute = this.attributes.intern(list[0]!.attributes);
      table.pathRaw[path] = attribute;
      table.pathAttr[path] = attribute;
      table.touch(pid);
    }
  }

  /** The group of neighbours that hear what `target` says; made and computed where it is new. */
  group(target: ExportTarget): ExportGroup {
    const key = exportKey(target);
    let group = this.#groups.get(key);
    if (!group) {
      group = new ExportGroup(key, target, {
        attributes: this.attributes,
        tables: this.tables,
        origins: this.origins,
        shared: this.#shared,
        fromEbgp: (index) => this.#peers[index]?.ebgp ?? false,
        sender: (index) => (index === LOCAL ? undefined : this.#peers[index]),
        fromClient: (index) => this.#peers[index]?.reflectorClient ?? false,
      });
      this.flush();
      group.fill();
      this.#groups.set(key, group);
    }
    return group;
  }

  /** Lets go of groups without members. */
  dropEmptyGroups(): void {
    for (const [key, group] of this.#groups) if (group.members === 0) this.#groups.delete(key);
  }

  /** There are changes that {@link flush} has not carried on yet. */
  get dirty(): boolean {
    return this.tables[1].dirtyCount + this.tables[2].dirtyCount > 0;
  }

  /** Decides all changed prefixes and carries the outcome to the groups and the followers of the Loc-RIB. */
  flush(): void {
    for (const afi of afis) {
      const table = this.tables[afi];
      const pids = table.takeDirty();
      const changed = this.#changedOrigins[afi];
      const origins = changed.size > 0;
      for (const group of this.#groups.values())
        for (let i = 0; i < pids.length; i++)
          group.update(afi, pids[i]!, origins && changed.has(pids[i]!), table.peerBefore[i]!);
      const log = this.locLogs[afi];
      if (log.readers > 0) for (let i = 0; i < pids.length; i++) log.append(pids[i]!);
      for (let i = 0; i < pids.length; i++) table.releaseIfUnused(pids[i]!);
      changed.clear();
    }
    this.#shared.trim();
    if (this.attributes.sweepDue) this.sweep();
  }

  /** Frees attribute sets that nothing holds. */
  sweep(): void {
    this.attributes.sweep((used) => {
      for (const afi of afis) {
        const table = this.tables[afi];
        for (let path = 0; path < table.pathLimit; path++) {
          if (table.pathPid[path]! < 0) continue;
          used[table.pathRaw[path]!] = 1;
          const attribute = table.pathAttr[path]!;
          if (attribute >= 0) used[attribute] = 1;
        }
      }
      for (const group of this.#groups.values()) group.mark(used);
      for (const marker of this.markers) marker(used);
    });
  }
}

function newPeer(index: number, name: string, audience: string): RibPeer {
  return {
    index,
    name,
    audience,
    linkName: "",
    ebgp: false,
    routerId: 0,
    address: 0n,
    asn: 0,
    reflectorClient: false,
    ownNextHop: { 1: 0, 2: 0 },
    links: undefined,
    importer: undefined,
    received: { 1: 0, 2: 0 },
    accepted: { 1: 0, 2: 0 },
    discarded: { 1: 0, 2: 0 },
  };
}
