// ipam: what is taken, as sorted ranges of integers. Every loop is bounded by the number of claims, never by a prefix's size.
import { bitsOf, endOf, type Family, fromInteger, maskTo, type Prefix, toInteger } from "../net/address.ts";

/** Half-open: `start` is in it, `end` is the first integer after it. */
export interface Range {
  readonly start: bigint;
  readonly end: bigint;
}

export const rangeOf = (p: Prefix): Range => ({ start: toInteger(p), end: endOf(p) });

/** Ranges of one family, sorted by start, overlapping and touching ones joined. */
export function joined(prefixes: readonly Prefix[], family: Family): readonly Range[] {
  const sorted = prefixes
    .filter((p) => p.family === family)
    .map(rangeOf)
    .sort((a, b) => (a.start < b.start ? -1 : a.start > b.start ? 1 : 0));
  const out: { start: bigint; end: bigint }[] = [];
  for (const { start, end } of sorted) {
    const last = out.at(-1);
    if (last && start <= last.end) {
      if (end > last.end) last.end = end;
    } else out.push({ start, end });
  }
  return out;
}

interface Entry extends Range {
  readonly name: string;
  readonly prefix: Prefix;
}

/** The claims of both families, ordered by address; names are unique. */
export class Occupancy {
  readonly #sorted: Record<Family, Entry[]> = { 4: [], 6: [] };
  readonly #byName = new Map<string, Entry>();

  static of(prefixes: readonly Prefix[]): Occupancy {
    const occupancy = new Occupancy();
    for (const [i, prefix] of prefixes.entries()) occupancy.set(String(i), prefix);
    return occupancy;
  }

  get size(): number {
    return this.#byName.size;
  }

  set(name: string, prefix: Prefix): void {
    this.delete(name);
    const entry: Entry = { ...rangeOf(prefix), name, prefix };
    this.#byName.set(name, entry);
    const list = this.#sorted[prefix.family];
    list.splice(this.#from(prefix.family, entry.start), 0, entry);
  }

  delete(name: string): void {
    const entry = this.#byName.get(name);
    if (!entry) return;
    this.#byName.delete(name);
    const list = this.#sorted[entry.prefix.family];
    for (let i = this.#from(entry.prefix.family, entry.start); i < list.length; i++)
      if (list[i] === entry) {
        list.splice(i, 1);
        return;
      }
  }

  /** Names of claims that share an address with the prefix. */
  overlapping(prefix: Prefix): readonly string[] {
    const inside = [...this.within(prefix)].map((e) => e.name);
    return [...this.#around(prefix)].map((e) => e.name).concat(inside);
  }

  /** Whether a claim holds the prefix and more. */
  covers(prefix: Prefix): boolean {
    return !this.#around(prefix).next().done;
  }

  /** Claims inside the prefix, in order of address. Prefixes nest or are apart, so these begin inside it. */
  *within(prefix: Prefix): Generator<Range & { readonly name: string; readonly prefix: Prefix }> {
    const { start, end } = rangeOf(prefix);
    const list = this.#sorted[prefix.family];
    for (let i = this.#from(prefix.family, start); i < list.length && list[i]!.start < end; i++)
      if (list[i]!.prefix.length >= prefix.length) yield list[i]!;
  }

  /** Claims that hold the prefix and more. */
  *#around(prefix: Prefix): Generator<Entry> {
    const list = this.#sorted[prefix.family];
    for (let length = prefix.length - 1; length >= 0; length--) {
      const start = toInteger(maskTo(prefix, length));
      for (let i = this.#from(prefix.family, start); list[i]?.start === start; i++)
        if (list[i]!.prefix.length === length) yield list[i]!;
    }
  }

  /** Index of the first entry that begins at `start` or after. */
  #from(family: Family, start: bigint): number {
    const list = this.#sorted[family];
    let low = 0;
    let high = list.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (list[middle]!.start < start) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/**
 * The lowest free block of `length` bits inside `block`, touching neither a claim nor a kept range; undefined when there is
 * none. `kept` is sorted and joined. Cost grows with the number of claims inside the block.
 * @throws RangeError when `length` is shorter than the block's
 */
export function nextFree(
  block: Prefix,
  length: number,
  taken: Occupancy,
  kept: readonly Range[],
): Prefix | undefined {
  if (length < block.length) throw new RangeError(`/${length} does not fit into /${block.length}`);
  if (taken.covers(block)) return undefined;
  const { start, end } = rangeOf(block);
  const size = 1n << BigInt(bitsOf(block.family) - length);
  let cursor = start;
  const claims = taken.within(block);
  let claim = claims.next();
  let k = 0;
  while (cursor < end) {
    const a = claim.done ? undefined : claim.value;
    const b = kept[k];
    const busy = a && b ? (a.start <= b.start ? a : b) : (a ?? b);
    if (!busy || busy.start >= cursor + size) return { ...fromInteger(block.family, cursor), length };
    if (busy === a) claim = claims.next();
    else k += 1;
    if (busy.end > cursor) cursor = ((busy.end + size - 1n) / size) * size;
  }
  return undefined;
}

/** How many aligned blocks of `length` bits lie in `block` without touching a kept range (sorted and joined). */
export function unitsIn(block: Prefix, length: number, kept: readonly Range[]): bigint {
  const { start, end } = rangeOf(block);
  const size = 1n << BigInt(bitsOf(block.family) - length);
  let lost = 0n;
  let countedTo = start;
  for (const range of kept) {
    const from = range.start > countedTo ? (range.start / size) * size : countedTo;
    const to = range.end < end ? ((range.end + size - 1n) / size) * size : end;
    const begin = from > countedTo ? from : countedTo;
    if (to <= begin || begin >= end) continue;
    lost += (to - begin) / size;
    countedTo = to;
  }
  return (end - start) / size - lost;
}
