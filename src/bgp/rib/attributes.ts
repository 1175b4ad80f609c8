// bgp/rib: attribute sets interned by hash in one byte arena; the columns that the decision process compares lie beside.
import { firstAs, formatAsPath, pathLength } from "../wire/aspath.ts";
import type { PathAttributes } from "../wire/attributes.ts";
import { decodeCanonical, encodeCanonical } from "../wire/canonical.ts";
import { type Afi, WellKnown } from "../wire/constants.ts";
import {
  AttrFlag,
  LOCAL_PREF_DEFAULT,
  nextHopHash,
  type SetSummary,
  setSummary,
  summarize,
} from "../wire/scan.ts";
import { capacityFor, grown } from "./columns.ts";

/** Class of the canonical sets; 1..15 are the contexts in which raw octets were read, see {@link AttributeTable.lookup}. */
const CANONICAL = 0;

/** Most octets of the arena: beyond it new sets are refused and their routes treated as withdrawn. */
const ARENA_BYTES_MAX = 512 * 1024 * 1024;

/**
 * Attribute sets by number. A set that arrives is looked up by its raw octets and the context that gives them their
 * meaning; only a set that was never seen in this form is parsed. Unused sets are found by mark and sweep, so that nothing is counted per route.
 */
export class AttributeTable {
  #bytes: Uint8Array = new Uint8Array(64 * 1024);
  #used = 0;
  #offset = new Int32Array(64);
  #length = new Int32Array(64);
  #hash = new Int32Array(64);
  #class = new Uint8Array(64);
  /** The canonical set that a raw one stands for; itself for a canonical one; -1 for a free number. */
  #target = new Int32Array(64);
  /** By canonical set: bit k is set when its octets have come in context k and mean it. */
  #seenIn = new Uint16Array(64);
  /** Raw forms that are not canonical themselves. */
  #aliases = 0;
  /** Numbers of sets by hash; 0 is an empty place, and no set's number. */
  #slots = new Int32Array(256);
  #mask = 255;
  #limit = 1;
  #free: number[] = [];
  readonly #seed: number;

  localPref = new Uint32Array(64);
  med = new Uint32Array(64);
  pathLength = new Uint16Array(64);
  /** The neighbouring AS; 0 where the path is empty. */
  neighborAs = new Uint32Array(64);
  origin = new Uint8Array(64);
  flags = new Uint8Array(64);
  originatorId = new Uint32Array(64);
  clusterLength = new Uint8Array(64);
  /** Hash of the next hop, to find one's own without decoding. */
  nextHopHash = new Int32Array(64);

  /** Sets and raw forms in the table. */
  size = 0;
  /** Sets and raw forms that the last sweep left. */
  sizeSwept = 0;
  /** Paths that have let go of a set since the last sweep. */
  released = 0;
  /** Raised by each sweep: whoever caches by number starts over. */
  epoch = 0;
  /** Sets that found no room. */
  refused = 0;

  constructor(seed: number) {
    this.#seed = seed | 0;
    this.#length[0] = -1;
    this.#target[0] = -1;
  }

  /** All numbers are below this, and above 0. */
  get limit(): number {
    return this.#limit;
  }

  get bytes(): Uint8Array {
    return this.#bytes;
  }

  /** Where the canonical octets of a set lie in {@link bytes}. */
  start(id: number): number {
    return this.#offset[id]!;
  }

  end(id: number): number {
    return this.#offset[id]! + this.#length[id]!;
  }

  #hashOf(kind: number, b: Uint8Array, start: number, end: number): number {
    let h = this.#seed ^ Math.imul(kind + 1, 0x9e3779b1) ^ (end - start);
    let at = start;
    for (; at + 4 <= end; at += 4) {
      const word = b[at]! | (b[at + 1]! << 8) | (b[at + 2]! << 16) | (b[at + 3]! << 24);
      h = Math.imul(h ^ word, 0x85ebca6b);
      h ^= h >>> 15;
    }
    for (; at < end; at++) h = Math.imul(h ^ b[at]!, 0x01000193);
    h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
    return h ^ (h >>> 16);
  }

  #find(hash: number, kind: number, b: Uint8Array, start: number, end: number): number {
    const size = end - start;
    let slot = hash & this.#mask;
    for (;;) {
      const id = this.#slots[slot]!;
      if (id === 0) return -1;
      if (this.#hash[id] === hash && this.#class[id] === kind && this.#length[id] === size) {
        const own = this.#bytes;
        const from = this.#offset[id]!;
        let i = 0;
        while (i < size && own[from + i] === b[start + i]) i++;
        if (i === size) return id;
      }
      slot = (slot + 1) & this.#mask;
    }
  }

  /**
   * The canonical set that raw octets mean in a context `kind` (1..15), or -1 when they have not been seen there. Most are canonical
   * as they come: then one bit of the set itself says that it may be taken from that context.
   */
  lookup(kind: number, b: Uint8Array, start: number, end: number): number {
    const own = this.#find(this.#hashOf(CANONICAL, b, start, end), CANONICAL, b, start, end);
    if (own >= 0 && this.#seenIn[own]! & (1 << kind)) return own;
    if (this.#aliases === 0) return -1;
    const id = this.#find(this.#hashOf(kind, b, start, end), kind, b, start, end);
    return id < 0 ? -1 : this.#target[id]!;
  }

  /** Remembers that raw octets in a context mean the canonical set `target`. */
  alias(kind: number, b: Uint8Array, start: number, end: number, target: number): void {
    const from = this.#offset[target]!;
    const size = end - start;
    let same = size === this.#length[target];
    for (let i = 0; same && i < size; i++) same = this.#bytes[from + i] === b[start + i];
    if (same) {
      this.#seenIn[target]! |= 1 << kind;
      return;
    }
    const offset = this.#append(b, start, end);
    if (offset < 0) return;
    this.#insert(this.#hashOf(kind, b, start, end), kind, offset, size, target);
    this.#aliases++;
  }

  /** The number of a set; -1 when the arena is full. */
  intern(a: PathAttributes): number {
    const b = encodeCanonical(a);
    return this.internBytes(b, 0, b.length, undefined, a);
  }

  /**
   * The number of the set whose canonical octets are `b[start, end)`; -1 when the arena is full. `summary` is what a scan
   * has said of it, where there was one; `value` the set where it is at hand.
   */
  internBytes(
    b: Uint8Array,
    start: number,
    end: number,
    summary: SetSummary | undefined,
    value?: PathAttributes,
  ): number {
    const hash = this.#hashOf(CANONICAL, b, start, end);
    const found = this.#find(hash, CANONICAL, b, start, end);
    if (found >= 0) return found;
    const offset = this.#append(b, start, end);
    if (offset < 0) {
      this.refused++;
      return -1;
    }
    const id = this.#insert(hash, CANONICAL, offset, end - start, -1);
    this.#target[id] = id;
    if (summary) this.#setColumns(id, summary);
    else if (summarize(b, start, end, scratch)) this.#setColumns(id, scratch);
    else this.#setColumns(id, summaryOf(value ?? decodeCanonical(b, start, end, 1)));
    return id;
  }

  #setColumns(id: number, s: SetSummary): void {
    this.localPref[id] = s.localPref;
    this.med[id] = s.med;
    this.pathLength[id] = s.pathLength;
    this.neighborAs[id] = s.neighborAs;
    this.origin[id] = s.origin;
    this.originatorId[id] = s.originatorId;
    this.clusterLength[id] = s.clusterLength;
    this.nextHopHash[id] = s.nextHopHash;
    this.flags[id] = s.flags;
  }

  /** Whether two sets have the same AS path, number by number. */
  samePath(x: number, y: number): boolean {
    if (x === y) return true;
    if (this.pathLength[x] !== this.pathLength[y] || this.neighborAs[x] !== this.neighborAs[y]) return false;
    return formatAsPath(this.attributes(x, 1).asPath) === formatAsPath(this.attributes(y, 1).asPath);
  }

  /** The set as a value. */
  attributes(id: number, afi: Afi): PathAttributes {
    return decodeCanonical(this.#bytes, this.start(id), this.end(id), afi);
  }

  #append(b: Uint8Array, start: number, end: number): number {
    const needed = this.#used + end - start;
    if (needed > ARENA_BYTES_MAX) return -1;
    if (needed > this.#bytes.length)
      this.#bytes = grown(this.#bytes, Math.min(capacityFor(this.#bytes.length, needed), ARENA_BYTES_MAX));
    const offset = this.#used;
    // A view of so few octets costs more than to copy them.
    for (let i = start, to = offset; i < end; i++) this.#bytes[to++] = b[i]!;
    this.#used = needed;
    return offset;
  }

  #insert(hash: number, kind: number, offset: number, length: number, target: number): number {
    const id = this.#free.pop() ?? this.#limit++;
    if (id >= this.#target.length) this.#grow(capacityFor(this.#target.length, id + 1));
    this.#offset[id] = offset;
    this.#length[id] = length;
    this.#hash[id] = hash;
    this.#class[id] = kind;
    this.#target[id] = target;
    this.#seenIn[id] = 0;
    this.size++;
    if (this.size * 2 > this.#slots.length) this.#rebuild(this.#slots.length * 2);
    else this.#place(id);
    return id;
  }

  #place(id: number): void {
    let slot = this.#hash[id]! & this.#mask;
    while (this.#slots[slot] !== 0) slot = (slot + 1) & this.#mask;
    this.#slots[slot] = id;
  }

  #rebuild(slots: number): void {
    this.#slots = new Int32Array(slots);
    this.#mask = slots - 1;
    for (let id = 0; id < this.#limit; id++) if (this.#length[id]! >= 0) this.#place(id);
  }

  #grow(capacity: number): void {
    this.#offset = grown(this.#offset, capacity);
    this.#length = grown(this.#length, capacity);
    this.#hash = grown(this.#hash, capacity);
    this.#class = grown(this.#class, capacity);
    this.#seenIn = grown(this.#seenIn, capacity);
    this.#target = grown(this.#target, capacity);
    this.localPref = grown(this.localPref, capacity);
    this.med = grown(this.med, capacity);
    this.pathLength = grown(this.pathLength, capacity);
    this.neighborAs = grown(this.neighborAs, capacity);
    this.origin = grown(this.origin, capacity);
    this.flags = grown(this.flags, capacity);
    this.originatorId = grown(this.originatorId, capacity);
    this.clusterLength = grown(this.clusterLength, capacity);
    this.nextHopHash = grown(this.nextHopHash, capacity);
  }

  /** Whether enough has been added and let go of since the last sweep that looking for the unused pays. */
  get sweepDue(): boolean {
    const grown = this.size - this.sizeSwept;
    const base = Math.max(16384, this.sizeSwept);
    // A table that only fills has nothing to give back. Nobody counts all that is let go of, so growth alone is reason enough in the end.
    return grown > base && (this.released + this.#aliases > grown >> 3 || grown > base * 4);
  }

  /** Frees every set that `mark` does not set to 1, and raw forms; packs the arena. */
  sweep(mark: (used: Uint8Array) => void): void {
    const used = new Uint8Array(this.#limit);
    mark(used);
    const old = this.#bytes;
    this.#bytes = new Uint8Array(old.length);
    this.#used = 0;
    this.size = 0;
    for (let id = 0; id < this.#limit; id++) {
      const target = this.#target[id]!;
      if (target < 0) continue;
      if (target === id && used[id]) {
        const from = this.#offset[id]!;
        this.#offset[id] = this.#append(old, from, from + this.#length[id]!);
        this.size++;
        continue;
      }
      // Raw forms go in any case and are read again if they come again: without that, endless spellings of one set would stay.
      // The length marks a free number: no set has a negative one.
      this.#length[id] = -1;
      this.#free.push(id);
    }
    this.#aliases = 0;
    for (const id of this.#free) this.#target[id] = -1;
    this.#rebuild(this.#slots.length);
    this.sizeSwept = this.size;
    this.released = 0;
    this.epoch++;
  }
}

const scratch = setSummary();

/** The summary of any set, by its value. */
export function summaryOf(a: PathAttributes): SetSummary {
  let flags = a.med === undefined ? 0 : AttrFlag.hasMed;
  for (const c of a.communities ?? [])
    if (c === WellKnown.noAdvertise) flags |= AttrFlag.noAdvertise;
    else if (c === WellKnown.noExport || c === WellKnown.noExportSubconfed) flags |= AttrFlag.noExport;
    else if (c === WellKnown.gracefulShutdown) flags |= AttrFlag.gracefulShutdown;
    else if (c === WellKnown.longLivedStale) flags |= AttrFlag.longLivedStale;
  return {
    localPref: a.localPref ?? LOCAL_PREF_DEFAULT,
    med: a.med ?? 0,
    pathLength: Math.min(pathLength(a.asPath), 65535),
    neighborAs: firstAs(a.asPath) ?? 0,
    origin: a.origin,
    flags,
    originatorId: a.originatorId ?? 0,
    clusterLength: Math.min(a.clusterList?.length ?? 0, 255),
    nextHopHash: nextHopHash(a.nextHop),
  };
}
