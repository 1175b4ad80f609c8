// ipam: IPPools parsed once, which of them hold when they overlap, and how much fits.
import type { IPPool, LabelSelector } from "../api/index.ts";
import {
  AddressError,
  bitsOf,
  contains,
  endOf,
  type Family,
  formatPrefix,
  maskTo,
  overlaps,
  type Prefix,
  parsePrefix,
  toInteger,
} from "../net/address.ts";
import { faults } from "./messages.ts";
import { joined, type Range, unitsIn } from "./ranges.ts";

export interface Pool {
  readonly name: string;
  readonly uid: string;
  readonly purpose: "Pods" | "LoadBalancers";
  readonly blocks: readonly Prefix[];
  readonly reserved: readonly Prefix[];
  /** Prefix length of what is given out: of a node's block, or 32 and 128. */
  readonly unit: Readonly<Record<Family, number>>;
  readonly selector: LabelSelector | undefined;
  /** Empty: any. */
  readonly namespaces: readonly string[];
  readonly priority: number;
  readonly quota: number | undefined;
  /** Blocks of one family that a node gets. */
  readonly perNode: number;
  readonly cooldownMs: number;
  readonly disabled: boolean;
  /** ms since the epoch. */
  readonly createdAt: number;
}

export interface FieldFault {
  /** As in `spec.blocks[0]`. */
  readonly path: string;
  readonly message: string;
}

/** Where the object does not say it. */
const defaultPerNode = 8;

const defaultUnit = { 4: 26, 6: 122 } as const;

/** Parses a pool; with faults it is not usable at all, as half a pool would move addresses when it is mended. */
export function parsePool(object: IPPool): { readonly pool: Pool; readonly faults: readonly FieldFault[] } {
  const { spec, metadata } = object;
  const found: FieldFault[] = [];
  const parse = (texts: readonly string[], field: string): Prefix[] =>
    texts.flatMap((text, i) => {
      try {
        return [parsePrefix(text)];
      } catch (error) {
        if (!(error instanceof AddressError)) throw error;
        found.push({ path: `spec.${field}[${i}]`, message: error.message });
        return [];
      }
    });
  const blocks = parse(spec.blocks, "blocks");
  const reserved = parse(spec.reserved ?? [], "reserved");
  const pods = spec.purpose === "Pods";
  const unit = pods
    ? { 4: spec.blockSize?.ipv4 ?? defaultUnit[4], 6: spec.blockSize?.ipv6 ?? defaultUnit[6] }
    : { 4: 32, 6: 128 };
  for (const [i, block] of blocks.entries()) {
    if (block.length > unit[block.family])
      found.push({ path: `spec.blocks[${i}]`, message: faults.blockTooSmall(block, unit[block.family]) });
    const other = blocks.slice(0, i).find((b) => overlaps(b, block));
    if (other) found.push({ path: `spec.blocks[${i}]`, message: faults.overlapsOwn(block, other) });
  }
  return {
    faults: found,
    pool: {
      name: metadata.name,
      uid: metadata.uid ?? "",
      purpose: spec.purpose,
      blocks,
      reserved,
      unit,
      selector: pods ? spec.nodeSelector : spec.serviceSelector,
      namespaces: spec.namespaces ?? [],
      priority: spec.priority,
      quota: spec.quota,
      perNode: spec.maxBlocksPerNode ?? defaultPerNode,
      cooldownMs: spec.cooldownSeconds * 1000,
      disabled: spec.disabled,
      createdAt: Date.parse(metadata.creationTimestamp ?? "") || 0,
    },
  };
}

export interface Overlap {
  /** Name of the other pool, peering or the like. */
  readonly other: string;
  readonly mine: Prefix;
  readonly theirs: Prefix;
}

/** The first pair of prefixes that share an address. */
export function overlapOf(
  mine: readonly Prefix[],
  theirs: readonly Prefix[],
  other: string,
): Overlap | undefined {
  for (const a of mine) {
    const b = theirs.find((t) => overlaps(a, t));
    if (b) return { other, mine: a, theirs: b };
  }
  return undefined;
}

const age = (a: Pool, b: Pool): number =>
  a.createdAt - b.createdAt || (a.name < b.name ? -1 : a.name > b.name ? 1 : 0);

/**
 * Which pools hold: the older of two that overlap stays, the younger is not accepted. A pure function of the set of pools,
 * so everyone who sees the same set decides the same.
 * @returns the overlap that refuses a pool, by name; a pool that is not in it is accepted
 */
export function refusedPools(pools: readonly Pool[]): ReadonlyMap<string, Overlap> {
  const accepted: Pool[] = [];
  const refused = new Map<string, Overlap>();
  for (const pool of [...pools].sort(age)) {
    let overlap: Overlap | undefined;
    for (const older of accepted) overlap ??= overlapOf(pool.blocks, older.blocks, older.name);
    if (overlap) refused.set(pool.name, overlap);
    else accepted.push(pool);
  }
  return refused;
}

/** What a pool never gives out, with further prefixes (such as those of other clusters), sorted and joined. */
export const keptOf = (pool: Pool, family: Family, more: readonly Prefix[] = []): readonly Range[] =>
  joined([...pool.reserved, ...more], family);

/** Addresses or blocks in all, without the reserved ones. */
export function capacityOf(pool: Pool): bigint {
  let units = 0n;
  for (const block of pool.blocks)
    units += unitsIn(block, pool.unit[block.family], keptOf(pool, block.family));
  return units;
}

/** The smallest prefix that holds both. */
export function spanOf(first: Prefix, last: Prefix): Prefix {
  const apart = toInteger(first) ^ (endOf(last) - 1n);
  const length = bitsOf(first.family) - (apart === 0n ? 0 : apart.toString(2).length);
  return maskTo(first, Math.min(length, first.length, last.length));
}

/** Whether a prefix is one that this pool could have given out. */
export const gives = (pool: Pool, prefix: Prefix): boolean =>
  prefix.length === pool.unit[prefix.family] && pool.blocks.some((b) => contains(b, prefix));

export const describePrefix = (p: Prefix): string =>
  p.length === bitsOf(p.family) ? formatPrefix(p).replace(/\/\d+$/, "") : formatPrefix(p);
