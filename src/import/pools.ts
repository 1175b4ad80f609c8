// import: ranges of a pool as IPPools, which hold at most 32 prefixes each.
import type { IPPool } from "../api/index.ts";
import { AddressError, formatPrefix } from "../net/address.ts";
import { nameOf, poolObject } from "./build.ts";
import { says } from "./messages.ts";
import { overlapOf, parseRange, prefixesOf, type Range } from "./ranges.ts";
import type { Findings, Reader } from "./reader.ts";
import type { Source } from "./types.ts";

/** Prefixes of one IPPool. */
const blocksMax = 32;
/** Reserved prefixes of one IPPool. */
export const reservedMax = 64;

/** A range, or what is wrong with it said. */
export function rangeAt(reader: Reader, field: string, text: string, stop?: string): Range | undefined {
  try {
    return parseRange(text, stop);
  } catch (error) {
    if (!(error instanceof AddressError)) throw error;
    reader.say(field, says.address(error.message));
    return undefined;
  }
}

/** A pool that has been read, with the names of the IPPools that it has become. */
export interface ReadPool {
  readonly source: Source;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>> | undefined;
  readonly ranges: readonly Range[];
  readonly objects: readonly IPPool[];
}

/** IPPools for the ranges; several where one cannot hold them all. */
export function poolsFor(
  reader: Reader,
  name: string,
  ranges: readonly Range[],
  reserved: readonly string[],
  spec: Partial<IPPool["spec"]>,
): readonly IPPool[] {
  const blocks = ranges.flatMap(prefixesOf);
  const parts = Array.from({ length: Math.ceil(blocks.length / blocksMax) }, (_, i) =>
    blocks.slice(i * blocksMax, (i + 1) * blocksMax),
  );
  const names = parts.map((_, i) => (parts.length === 1 ? nameOf(name) : nameOf(name, String(i + 1))));
  if (names.length > 1) reader.say("", says.split(names));
  const left = new Set(reserved);
  return parts.map((part, i) => {
    const mine = [...left].filter((text) => {
      const r = parseRange(text);
      return (
        overlapOf(
          [r],
          part.map((p) => parseRange(formatPrefix(p))),
        ) !== undefined
      );
    });
    return poolObject(names[i]!, {
      purpose: "LoadBalancers",
      blocks: part.map(formatPrefix),
      ...(mine.length > 0 && { reserved: mine }),
      ...spec,
    });
  });
}

/** Names every pair of pools that share an address, at the later one. */
export function sayOverlaps(pools: readonly ReadPool[], findings: Findings): void {
  for (const [i, pool] of pools.entries())
    for (const other of pools.slice(0, i))
      if (overlapOf(pool.ranges, other.ranges))
        findings.add(pool.source, "spec", says.poolOverlap(`${other.source.object.kind}/${other.name}`));
}
