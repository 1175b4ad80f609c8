// bgp/rib: prefix -> small dense number, by open addressing over typed arrays. Everything else is a column by that number.
import { type Afi, addressBytes } from "../wire/constants.ts";
import { capacityFor, grown, spreadCapacityFor } from "./columns.ts";

/** From this many slots on the table is larger than a cache that is fast. */
const WARM_SLOTS = 1 << 15;

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
  /** Two words a slot: hash, and pid + 1 (0: empty). The hash lies here so that a probe touches no other memory until it has found. */
  #slots = new Int32Array(512);
  #mask = 255;
  #free: number[] = [];
  readonly #seed: number;
  /** Keeps {@link warm} from being left out as useless. */
  #touched = 0;

  constructor(afi: Afi, seed: number) {
    this.afi = afi;
    this.words = addressBytes(afi) === 4 ? 1 : 4;
    this.#seed = seed | 0;
    this.keys = new Uint32Array(64 * this.words);
    this.lengths = new Uint8Array(64);
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

  /** The slot of a prefix, or the empty one where it would go. */
  #slotOf(hash: number, keys: Uint32Array, at: number, length: number): number {
    const { words, lengths } = this;
    const slots = this.#slots;
    const mask = this.#mask;
    const own = this.keys;
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const pid = slots[slot * 2 + 1]! - 1;
      if (pid < 0) return slot;
      if (slots[slot * 2] !== hash) continue;
      const key = pid * words;
      if (
        own[key] === keys[at] &&
        lengths[pid] === length &&
        (words === 1 ||
          (own[key + 1] === keys[at + 1] && own[key + 2] === keys[at + 2] && own[key + 3] === keys[at + 3]))
      )
        return slot;
    }
  }

  /**
   * Touches the place of a prefix, so that the memory is on its way when {@link intern} comes to it: places lie anywhere, and to wait for
   * them one after another is most of what a large table costs.
   */
  warm(keys: Uint32Array, at: number, length: number): void {
    this.#touched ^= this.#slots[(this.#hash(keys, at, length) & this.#mask) * 2]!;
  }

  /** Whether the table has outgrown what is near at hand. */
  get large(): boolean {
    return this.#mask >= WARM_SLOTS;
  }

  /** The pid of a prefix whose words begin at `keys[at]`, or -1. */
  find(keys: Uint32Array, at: number, length: number): number {
    return this.#slots[this.#slotOf(this.#hash(keys, at, length), keys, at, length) * 2 + 1]! - 1;
  }

  /** The pid of a prefix, new if need be. */
  intern(keys: Uint32Array, at: number, length: number): number {
    const hash = this.#hash(keys, at, length);
    const slot = this.#slotOf(hash, keys, at, length);
    const found = this.#slots[slot * 2 + 1]! - 1;
    if (found >= 0) return found;
    const pid = this.#free.pop() ?? this.limit++;
    if (pid >= this.lengths.length) {
      const capacity = capacityFor(this.lengths.length, pid + 1);
      this.keys = grown(this.keys, capacity * this.words);
      this.lengths = grown(this.lengths, capacity);
    }
    for (let i = 0; i < this.words; i++) this.keys[pid * this.words + i] = keys[at + i]!;
    this.lengths[pid] = length;
    this.#slots[slot * 2] = hash;
    this.#slots[slot * 2 + 1] = pid + 1;
    this.size++;
    const slots = this.#mask + 1;
    if (this.size * 4 > slots * 3) this.#rehash(spreadCapacityFor(slots));
    return pid;
  }

  /** Takes a prefix out; its pid may be handed out again at once. */
  remove(pid: number): void {
    const slots = this.#slots;
    const mask = this.#mask;
    let hole = this.#hash(this.keys, pid * this.words, this.lengths[pid]!) & mask;
    while (slots[hole * 2 + 1] !== pid + 1) hole = (hole + 1) & mask;
    // Backward shift: no tombstones, so a table that churns stays as fast as a new one.
    for (let next = (hole + 1) & mask; slots[next * 2 + 1] !== 0; next = (next + 1) & mask) {
      const home = slots[next * 2]! & mask;
      if (((next - home) & mask) >= ((next - hole) & mask)) {
        slots[hole * 2] = slots[next * 2]!;
        slots[hole * 2 + 1] = slots[next * 2 + 1]!;
        hole = next;
      }
    }
    slots[hole * 2 + 1] = 0;
    this.#free.push(pid);
    this.size--;
  }

  #rehash(size: number): void {
    const old = this.#slots;
    const slots = new Int32Array(size * 2);
    const mask = size - 1;
    for (let i = 0; i < old.length; i += 2) {
      if (old[i + 1] === 0) continue;
      let slot = old[i]! & mask;
      while (slots[slot * 2 + 1] !== 0) slot = (slot + 1) & mask;
      slots[slot * 2] = old[i]!;
      slots[slot * 2 + 1] = old[i + 1]!;
    }
    this.#slots = slots;
    this.#mask = mask;
  }
}
