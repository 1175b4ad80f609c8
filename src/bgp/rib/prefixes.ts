// bgp/rib: prefix -> small dense number, by open addressing over typed arrays. Everything else is a column by that number.
import { type Afi, addressBytes } from "../wire/constants.ts";
import { capacityFor, grown } from "./columns.ts";

/**
 * Interns the prefixes of one family. The number of a prefix (its pid) is stable until {@link remove} and then reused.
 * The hash is seeded so that a neighbour cannot choose prefixes that collide.
 */
export class PrefixTable {
  readonly afi: Afi;
  /** 32-bit words of an address. */
  readonly words: 1 | 4;
  /** The address of pid begins at `pid * words`; host bits are zero. */
  keys: Uint32Array;
  lengths: Uint8Array;
  /** Prefixes that are in the table. */
  size = 0;
  /** All pids are below this. */
  limit = 0;
  #slots: Int32Array;
  #mask: number;
  #free: number[] = [];
  readonly #seed: number;

  constructor(afi: Afi, seed: number) {
    this.afi = afi;
    this.words = addressBytes(afi) === 4 ? 1 : 4;
    this.#seed = seed | 0;
    this.keys = new Uint32Array(64 * this.words);
    this.lengths = new Uint8Array(64);
    this.#slots = new Int32Array(256).fill(-1);
    this.#mask = 255;
  }

  get capacity(): number {
    return this.lengths.length;
  }

  #hash(keys: Uint32Array, at: number, length: number): number {
    let h = Math.imul(this.#seed ^ length, 0x9e3779b1) ^ keys[at]!;
    h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
    if (this.words === 4) {
      h = Math.imul(h ^ keys[at + 1]!, 0xc2b2ae35);
      h = Math.imul(h ^ (h >>> 15) ^ keys[at + 2]!, 0x85ebca6b);
      h = Math.imul(h ^ (h >>> 13) ^ keys[at + 3]!, 0xc2b2ae35);
    }
    h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
    return h ^ (h >>> 16);
  }

  #slotOf(keys: Uint32Array, at: number, length: number): number {
    const { words, lengths } = this;
    const own = this.keys;
    let slot = this.#hash(keys, at, length) & this.#mask;
    for (;;) {
      const pid = this.#slots[slot]!;
      if (pid < 0) return slot;
      const key = pid * words;
      if (
        own[key] === keys[at] &&
        lengths[pid] === length &&
        (words === 1 ||
          (own[key + 1] === keys[at + 1] && own[key + 2] === keys[at + 2] && own[key + 3] === keys[at + 3]))
      )
        return slot;
      slot = (slot + 1) & this.#mask;
    }
  }

  /** The pid of a prefix whose words begin at `keys[at]`, or -1. */
  find(keys: Uint32Array, at: number, length: number): number {
    return this.#slots[this.#slotOf(keys, at, length)]!;
  }

  /** The pid of a prefix, new if need be. */
  intern(keys: Uint32Array, at: number, length: number): number {
    const slot = this.#slotOf(keys, at, length);
    const found = this.#slots[slot]!;
    if (found >= 0) return found;
    const pid = this.#free.pop() ?? this.limit++;
    if (pid >= this.lengths.length) {
      const capacity = capacityFor(this.lengths.length, pid + 1);
      this.keys = grown(this.keys, capacity * this.words);
      this.lengths = grown(this.lengths, capacity);
    }
    for (let i = 0; i < this.words; i++) this.keys[pid * this.words + i] = keys[at + i]!;
    this.lengths[pid] = length;
    this.#slots[slot] = pid;
    this.size++;
    if (this.size * 2 > this.#slots.length) this.#rehash(this.#slots.length * 2);
    return pid;
  }

  /** Takes a prefix out; its pid may be handed out again at once. */
  remove(pid: number): void {
    const { words } = this;
    let hole = this.#slotOf(this.keys, pid * words, this.lengths[pid]!);
    const slots = this.#slots;
    const mask = this.#mask;
    // Backward shift: no tombstones, so a table that churns stays as fast as a new one.
    for (let next = (hole + 1) & mask; slots[next]! >= 0; next = (next + 1) & mask) {
      const other = slots[next]!;
      const home = this.#hash(this.keys, other * words, this.lengths[other]!) & mask;
      if (((next - home) & mask) >= ((next - hole) & mask)) {
        slots[hole] = other;
        hole = next;
      }
    }
    slots[hole] = -1;
    this.#free.push(pid);
    this.size--;
  }

  #rehash(slots: number): void {
    const old = this.#slots;
    this.#slots = new Int32Array(slots).fill(-1);
    this.#mask = slots - 1;
    for (const pid of old) {
      if (pid < 0) continue;
      let slot = this.#hash(this.keys, pid * this.words, this.lengths[pid]!) & this.#mask;
      while (this.#slots[slot]! >= 0) slot = (slot + 1) & this.#mask;
      this.#slots[slot] = pid;
    }
  }
}
