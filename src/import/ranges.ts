// import: address ranges of other products as the prefixes that our pools are made of.
import {
  AddressError,
  bitsOf,
  endOf,
  type Family,
  formatPrefix,
  fromInteger,
  maskTo,
  type Prefix,
  parseAddress,
  parsePrefix,
  toInteger,
} from "../net/address.ts";

export interface Range {
  readonly family: Family;
  readonly first: bigint;
  /** Inclusive. */
  readonly last: bigint;
}

/** "10.0.0.0/24", "10.0.0.1-10.0.0.9" or a first and a last address. @throws AddressError */
export function parseRange(text: string, stop?: string): Range {
  const [from = "", to] = stop === undefined ? text.split("-").map((s) => s.trim()) : [text, stop];
  if (to === undefined && from.includes("/")) {
    const [address, length] = from.split("/");
    // Others take host bits; what is meant is the prefix around the address.
    const prefix = maskTo(parseAddress(address!), parsePrefix(`${zeroOf(address!)}/${length}`).length);
    return { family: prefix.family, first: toInteger(prefix), last: endOf(prefix) - 1n };
  }
  const a = parseAddress(from);
  const b = to === undefined ? a : parseAddress(to);
  const range = { family: a.family, first: toInteger(a), last: toInteger(b) };
  if (a.family !== b.family || range.first > range.last)
    throw new AddressError(stop === undefined ? text : `${text}-${stop}`, "is no range of one family");
  return range;
}

const zeroOf = (address: string): string => (address.includes(":") ? "::" : "0.0.0.0");

/** The fewest prefixes that hold exactly the range, in order. */
export function prefixesOf({ family, first, last }: Range): readonly Prefix[] {
  const out: Prefix[] = [];
  const bits = bitsOf(family);
  for (let at = first; at <= last; ) {
    let size = 0;
    while (size < bits) {
      const next = 1n << BigInt(size + 1);
      if (at % next !== 0n || at + next - 1n > last) break;
      size++;
    }
    out.push(maskTo(fromInteger(family, at), bits - size));
    at += 1n << BigInt(size);
  }
  return out;
}

/** The addresses at both ends, as host prefixes. Prefixes of two addresses or one have no ends to spare. */
export function edgesOf(range: Range): readonly string[] {
  if (range.last - range.first < 2n) return [];
  return [range.first, range.last].map((v) => hostText(range.family, v));
}

/** Every IPv4 address of the range that ends in .0 or .255; undefined for more than `most`. */
export function buggyOf({ family, first, last }: Range, most: number): readonly string[] | undefined {
  if (family === 6) return [];
  const out: string[] = [];
  for (let block = first & ~255n; block <= last; block += 256n)
    for (const value of [block, block + 255n]) {
      if (value < first || value > last) continue;
      if (out.length >= most) return undefined;
      out.push(hostText(family, value));
    }
  return out;
}

export const hostText = (family: Family, value: bigint): string =>
  formatPrefix(maskTo(fromInteger(family, value), bitsOf(family)));

export const holds = (ranges: readonly Range[], family: Family, value: bigint): boolean =>
  ranges.some((r) => r.family === family && value >= r.first && value <= r.last);

/** The first pair that shares an address. */
export function overlapOf(a: readonly Range[], b: readonly Range[]): Range | undefined {
  for (const x of a)
    for (const y of b) if (x.family === y.family && x.first <= y.last && y.first <= x.last) return y;
  return undefined;
}
