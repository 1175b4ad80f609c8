// bgp/rib: all paths of one family: Adj-RIB-In before and after policy and the Loc-RIB, as columns by prefix and by path.
import type { Afi } from "../wire/constants.ts";
import { AttrFlag, LOCAL_PREF_DEFAULT } from "../wire/scan.ts";
import type { AttributeTable } from "./attributes.ts";
import { capacityFor, grown } from "./columns.ts";
import { allThatTie, type Candidate, decide, type MultipathRule, type PeerRank } from "./decision.ts";
import { PrefixTable } from "./prefixes.ts";

/** Bits of a path's flags. */
export const PathFlag = { stale: 1 } as const;

export const NO_PEER = 0xffff;

/** Most prefixes of a family; beyond it new ones are refused and counted. */
export const PREFIXES_MAX = 8_000_000;

/** Most paths of one prefix from one neighbour (RFC 7911); further ones are refused and counted. */
export const PATHS_MAX = 64;

/**
 * Prefixes have numbers (pid), paths have numbers; the paths of a prefix are a list through `next`, at most one a
 * neighbour and path identifier. A change only marks its prefix dirty; the best path is found when the dirty ones are taken, so that a prefix
 * that changes many times between is decided once.
 */
export class FamilyTable {
  readonly afi: Afi;
  readonly prefixes: PrefixTable;
  readonly #attributes: AttributeTable;
  readonly #peerOf: (index: number) => PeerRank;

  /** By pid: first path, best path (-1 none), 1 while dirty, how many logs still speak of it. Filled as pids are first handed out. */
  head = new Int32Array(64);
  best = new Int32Array(64);
  /** Neighbour of the best path when it was last decided: right also while the path itself has gone and its number may be another's. */
  bestPeer = new Uint16Array(64);
  /** Pids below this have been handed out before. */
  #known = 0;
  #dirtyFlag = new Uint8Array(64);
  pins = new Uint16Array(64);
  #dirty = new Int32Array(64);
  #dirtyCount = 0;
  /** By index of what takeDirty() hands out: neighbour of the best path before; {@link NO_PEER} for none. */
  peerBefore = new Uint16Array(64);

  /** By path: its pid (-1 free), neighbour, attributes as received, after policy (-1 not accepted), deciding rule, flags, next path. */
  pathPid = new Int32Array(64);
  pathPeer = new Uint16Array(64);
  pathRaw = new Int32Array(64);
  pathAttr = new Int32Array(64);
  pathRule = new Uint16Array(64);
  pathFlags = new Uint8Array(64);
  pathNext = new Int32Array(64);
  /** By path: identifier that its neighbour gave it (RFC 7911). Made when the first one comes: most tables never need it. */
  #pathId: Uint32Array | undefined;
  pathLimit = 0;
  pathCount = 0;
  #freePath = -1;
  #multipath: MultipathRule = allThatTie;

  /** Prefixes that found no room. */
  refused = 0;
  /** Paths beyond {@link PATHS_MAX}. */
  pathsRefused = 0;

  constructor(afi: Afi, seed: number, attributes: AttributeTable, peerOf: (index: number) => PeerRank) {
    this.afi = afi;
    this.prefixes = new PrefixTable(afi, seed);
    this.#attributes = attributes;
    this.#peerOf = peerOf;
  }

  /** The pid of a prefix, with its columns; -1 when the table is full. */
  intern(keys: Uint32Array, at: number, length: number): number {
    if (this.prefixes.size >= PREFIXES_MAX && this.prefixes.find(keys, at, length) < 0) {
      this.refused++;
      return -1;
    }
    const pid = this.prefixes.intern(keys, at, length);
    if (pid >= this.head.length) {
      const capacity = this.prefixes.capacity;
      this.head = grown(this.head, capacity);
      this.best = grown(this.best, capacity);
      this.bestPeer = grown(this.bestPeer, capacity);
      this.#dirtyFlag = grown(this.#dirtyFlag, capacity);
      this.pins = grown(this.pins, capacity);
    }
    if (pid >= this.#known) {
      this.#known = pid + 1;
      this.head[pid] = -1;
      this.best[pid] = -1;
      this.bestPeer[pid] = NO_PEER;
    }
    return pid;
  }

  /** The path of a neighbour to a prefix, or -1. */
  pathOf(pid: number, peer: number): number {
    let path = this.head[pid]!;
    while (path >= 0 && this.pathPeer[path] !== peer) path = this.pathNext[path]!;
    return path;
  }

  /** The same for one of its path identifiers. -2: there is none and no further one is taken. */
  pathWithId(pid: number, peer: number, id: number): number {
    const ids = this.#pathId;
    let count = 0;
    for (let path = this.head[pid]!; path >= 0; path = this.pathNext[path]!) {
      if (this.pathPeer[path] !== peer) continue;
      if ((ids ? ids[path] : 0) === id) return path;
      count++;
    }
    return count < PATHS_MAX ? -1 : -2;
  }

  /** The path identifier that the neighbour gave a path; 0 where it gave none. */
  idOf(path: number): number {
    return this.#pathId?.[path] ?? 0;
  }

  /** A new path, not yet accepted; the caller knows that the neighbour has none with this identifier there. */
  addPath(pid: number, peer: number, id = 0): number {
    let path = this.#freePath;
    if (path >= 0) this.#freePath = this.pathNext[path]!;
    else {
      path = this.pathLimit++;
      if (path >= this.pathPid.length) this.#growPaths(capacityFor(this.pathPid.length, path + 1));
    }
    this.pathPid[path] = pid;
    this.pathPeer[path] = peer;
    this.pathRaw[path] = -1;
    this.pathAttr[path] = -1;
    this.pathRule[path] = 0;
    this.pathFlags[path] = 0;
    if (id !== 0) this.#pathId ??= new Uint32Array(this.pathPid.length);
    if (this.#pathId) this.#pathId[path] = id;
    this.pathNext[path] = this.head[pid]!;
    this.head[pid] = path;
    this.pathCount++;
    return path;
  }

  removePath(path: number): void {
    const pid = this.pathPid[path]!;
    const next = this.pathNext[path]!;
    if (this.head[pid] === path) this.head[pid] = next;
    else {
      let before = this.head[pid]!;
      while (this.pathNext[before] !== path) before = this.pathNext[before]!;
      this.pathNext[before] = next;
    }
    this.pathPid[path] = -1;
    this.pathNext[path] = this.#freePath;
    this.#freePath = path;
    this.pathCount--;
    this.touch(pid);
  }

  #growPaths(capacity: number): void {
    this.pathPid = grown(this.pathPid, capacity);
    this.pathPeer = grown(this.pathPeer, capacity);
    this.pathRaw = grown(this.pathRaw, capacity);
    this.pathAttr = grown(this.pathAttr, capacity);
    this.pathRule = grown(this.pathRule, capacity);
    this.pathFlags = grown(this.pathFlags, capacity);
    this.pathNext = grown(this.pathNext, capacity);
    if (this.#pathId) this.#pathId = grown(this.#pathId, capacity);
  }

  /** Which paths are delivered together; prefixes with several are looked at again where that changes. */
  setMultipath(rule: MultipathRule): void {
    const { external, internal, samePath } = this.#multipath;
    if (rule.external === external && rule.internal === internal && rule.samePath === samePath) return;
    this.#multipath = rule;
    for (let pid = 0; pid < this.prefixes.limit; pid++) {
      const first = this.head[pid]!;
      if (first >= 0 && this.pathNext[first]! >= 0) this.touch(pid);
    }
  }

  /** Marks a prefix as changed. */
  touch(pid: number): void {
    if (this.#dirtyFlag[pid]) return;
    this.#dirtyFlag[pid] = 1;
    if (this.#dirtyCount >= this.#dirty.length)
      this.#dirty = grown(this.#dirty, capacityFor(this.#dirty.length, this.#dirtyCount + 1));
    this.#dirty[this.#dirtyCount++] = pid;
  }

  get dirtyCount(): number {
    return this.#dirtyCount;
  }

  /** Decides all changed prefixes and hands them out. They are valid until the next call of any method. */
  takeDirty(): Int32Array {
    const out = this.#dirty.subarray(0, this.#dirtyCount);
    if (this.peerBefore.length < this.#dirty.length) this.peerBefore = new Uint16Array(this.#dirty.length);
    for (let i = 0; i < out.length; i++) {
      const pid = out[i]!;
      this.#dirtyFlag[pid] = 0;
      this.peerBefore[i] = this.bestPeer[pid]!;
      const best = this.#decide(pid);
      this.best[pid] = best;
      this.bestPeer[pid] = best < 0 ? NO_PEER : this.pathPeer[best]!;
    }
    this.#dirtyCount = 0;
    return out;
  }

  #decide(pid: number): number {
    const first = this.head[pid]!;
    if (first < 0) return -1;
    if (this.pathNext[first]! < 0) return this.pathAttr[first]! >= 0 ? first : -1;
    return this.#fastBest(first) ?? this.candidates(pid).order[0]?.path ?? -1;
  }

  /** The best by local preference and length of path alone when it stands out; undefined when more is needed. */
  #fastBest(first: number): number | undefined {
    const { localPref, pathLength, flags } = this.#attributes;
    let best = -1;
    let bestLongLived = 0;
    let bestPref = LOCAL_PREF_DEFAULT;
    let bestLength = 0;
    let tie = false;
    for (let path = first; path >= 0; path = this.pathNext[path]!) {
      const attribute = this.pathAttr[path]!;
      if (attribute < 0) continue;
      if (this.pathPeer[path] === 0) return path;
      const pref = localPref[attribute]!;
      const length = pathLength[attribute]!;
      const longLived = flags[attribute]! & AttrFlag.longLivedStale;
      if (best >= 0 && longLived !== bestLongLived) {
        if (longLived) continue;
        best = -1;
      }
      if (best < 0 || pref > bestPref || (pref === bestPref && length < bestLength)) {
        best = path;
        bestLongLived = longLived;
        bestPref = pref;
        bestLength = length;
        tie = false;
      } else if (pref === bestPref && length === bestLength) tie = true;
    }
    return tie ? undefined : best;
  }

  /** All accepted paths of a prefix, best first; `equal` of them are as good for multipath. */
  candidates(pid: number): { order: Candidate[]; equal: number } {
    const list: Candidate[] = [];
    for (let path = this.head[pid]!; path >= 0; path = this.pathNext[path]!) {
      const attribute = this.pathAttr[path]!;
      if (attribute >= 0)
        list.push({ path, id: this.idOf(path), attribute, peer: this.#peerOf(this.pathPeer[path]!) });
    }
    return decide(this.#attributes, list, this.#multipath);
  }

  /** Gives the pid back when nobody speaks of the prefix any more. */
  releaseIfUnused(pid: number): void {
    if (this.head[pid] === -1 && this.pins[pid] === 0 && !this.#dirtyFlag[pid]) {
      this.best[pid] = -1;
      this.bestPeer[pid] = NO_PEER;
      // A pid that has never had its slot freed twice: remove() is only for prefixes that are in the table.
      this.prefixes.remove(pid);
    }
  }
}
