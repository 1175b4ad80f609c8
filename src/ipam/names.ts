// ipam: names that are made from prefixes: of claims, and of the buckets in which overlapping claims find one another.
import { createHash } from "node:crypto";
import { AddressError, claimName, fromInteger, maskTo, type Prefix, parsePrefix } from "../net/address.ts";

/** Inverse of claimName(); undefined for a name that it never gives. */
export function parseClaimName(name: string): Prefix | undefined {
  const v4 = /^v4-(\d+)-(\d+)-(\d+)-(\d+)-(\d+)$/.exec(name);
  const v6 = /^v6-([0-9a-f]{32})-(\d+)$/.exec(name);
  try {
    const prefix = v4
      ? parsePrefix(`${v4.slice(1, 5).join(".")}/${v4[5]}`)
      : v6
        ? maskTo(fromInteger(6, BigInt(`0x${v6[1]}`)), Math.min(128, Number(v6[2])))
        : undefined;
    return prefix && claimName(prefix) === name ? prefix : undefined;
  } catch (error) {
    if (error instanceof AddressError) return undefined;
    throw error;
  }
}

/** Label of a claim by which everything that could overlap it is listed. */
export const bucketLabel = "waggle.dev/range";
/** Label of a claim with its prefix length. Two claims of one length overlap only if they are the same name. */
export const lengthLabel = "waggle.dev/length";
/** Label of a claim by which the claims of a pool are listed; its value is {@link poolLabelValue}. */
export const poolLabel = "waggle.dev/pool";

/** No block is wider than this (the CRD's bounds of blockSize), so a claim lies in exactly one bucket. */
const bucketLength = { 4: 16, 6: 64 } as const;

/** Value of {@link bucketLabel}: the /16 or /64 around the claim. @throws RangeError for a wider prefix */
export function bucketOf(prefix: Prefix): string {
  const length = bucketLength[prefix.family];
  if (prefix.length < length) throw new RangeError(`a claim is never wider than /${length}`);
  return claimName(maskTo(prefix, length));
}

/** Whether a prefix lies in one bucket, so that its claim finds what overlaps it. */
export const isClaimable = (prefix: Prefix): boolean => prefix.length >= bucketLength[prefix.family];

/** Labels of the claim of a prefix. */
export const claimLabels = (prefix: Prefix, pool: string): Readonly<Record<string, string>> => ({
  [bucketLabel]: bucketOf(prefix),
  [lengthLabel]: String(prefix.length),
  [poolLabel]: poolLabelValue(pool),
});

/** Label selector of the claims that could overlap this one without having its name. */
export const overlapSelector = (prefix: Prefix): string =>
  `${bucketLabel}=${bucketOf(prefix)},${lengthLabel}!=${prefix.length}`;

/** Label selector of a pool's claims. */
export const poolSelector = (pool: string): string => `${poolLabel}=${poolLabelValue(pool)}`;

/** A pool's name as a label value: itself, or shortened with a digest where it is longer than 63. */
export function poolLabelValue(pool: string): string {
  if (pool.length <= 63) return pool;
  return `${pool.slice(0, 46)}-${createHash("sha256").update(pool).digest("hex").slice(0, 16)}`;
}

/** In place of a pool's name in claims of a Node's spec.podCIDRs. No object has it: names of pools have no capitals. */
export const nodeSpecPool = "Node.spec.podCIDRs";
