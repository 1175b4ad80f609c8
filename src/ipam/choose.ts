// ipam: which pool and which block or address is next. Pure: the same state and question give the same answer.
import { type LabelSelector, selects } from "../api/index.ts";
import type { Family, Prefix } from "../net/address.ts";
import { overlaps } from "../net/address.ts";
import { type Refusal, refusals, tellingOrder } from "./messages.ts";
import { describePrefix, gives, keptOf, type Pool } from "./pool.ts";
import { nextFree, type Occupancy } from "./ranges.ts";

/** A prefix that is not to be given out, and why. */
export interface Kept {
  readonly prefix: Prefix;
  readonly refusal: Refusal;
}

export interface Space {
  /** All pools, accepted or not. */
  readonly pools: readonly Pool[];
  readonly accepted: (pool: Pool) => boolean;
  /** Every claim that exists, in any phase. */
  readonly taken: Occupancy;
  /** Claims of a pool, in any phase. */
  readonly used: (pool: string) => number;
  /** Reservations of others, prefixes of other clusters, addresses that Services show. */
  readonly kept: readonly Kept[];
}

export interface Applicant {
  readonly purpose: Pool["purpose"];
  readonly family: Family;
  /** Of the Node or Service. */
  readonly labels: Readonly<Record<string, string>> | undefined;
  /** Of the Service. */
  readonly namespace?: string;
  /** Blocks of the family that a Node has of a pool already. */
  readonly has?: (pool: string) => number;
}

export type Choice =
  | { readonly ok: true; readonly pool: Pool; readonly prefix: Prefix }
  | { readonly ok: false; readonly refusal: Refusal };

/** Lower priority number first, then by name. */
export const byPriority = (a: Pool, b: Pool): number =>
  a.priority - b.priority || (a.name < b.name ? -1 : a.name > b.name ? 1 : 0);

const matches = (selector: LabelSelector | undefined, applicant: Applicant): boolean =>
  selects(selector, applicant.labels);

/** Why a pool gives this applicant nothing, leaving room aside; undefined if it may. */
export function poolRefusal(pool: Pool, applicant: Applicant, space: Space): Refusal | undefined {
  if (!matches(pool.selector, applicant)) return refusals.selector(pool.name);
  if (pool.namespaces.length > 0 && !pool.namespaces.includes(applicant.namespace ?? ""))
    return refusals.namespace(pool.name);
  if (!space.accepted(pool)) return refusals.notAccepted(pool.name);
  if (pool.disabled) return refusals.disabled(pool.name);
  if ((applicant.has?.(pool.name) ?? 0) >= pool.perNode) return refusals.perNode(pool.name, pool.perNode);
  if (pool.quota !== undefined && space.used(pool.name) >= pool.quota)
    return refusals.quota(pool.name, pool.quota);
  return undefined;
}

/** The lowest free block or address of the first pool, by priority, that may give one. */
export function chooseFree(applicant: Applicant, space: Space): Choice {
  const { purpose, family } = applicant;
  const refused: Refusal[] = [];
  for (const pool of [...space.pools].sort(byPriority)) {
    const blocks = pool.blocks.filter((b) => b.family === family);
    if (pool.purpose !== purpose || blocks.length === 0) continue;
    const refusal = poolRefusal(pool, applicant, space);
    if (refusal) {
      refused.push(refusal);
      continue;
    }
    const kept = keptOf(
      pool,
      family,
      space.kept.map((k) => k.prefix),
    );
    for (const block of blocks) {
      const prefix = nextFree(block, pool.unit[family], space.taken, kept);
      if (prefix) return { ok: true, pool, prefix };
    }
    const other = space.kept.find(
      (k) => k.refusal.code === "OtherCluster" && blocks.some((b) => overlaps(b, k.prefix)),
    );
    refused.push(other ? other.refusal : refusals.exhausted(pool.name));
  }
  if (refused.length === 0) return { ok: false, refusal: refusals.noPool(purpose, family) };
  const code = tellingOrder.find((c) => refused.some((r) => r.code === c)) ?? refused[0]!.code;
  const telling = refused.filter((r) => r.code === code);
  return { ok: false, refusal: { code, message: telling.map((r) => r.message).join("; ") } };
}

/**
 * Whether this very prefix may be given to the applicant. Claims are not looked at: whose the claim is decides the API
 * server. `asking` may have what is kept for it.
 */
export function chooseExactly(
  prefix: Prefix,
  applicant: Applicant,
  space: Space,
  keptForApplicant: (kept: Kept) => boolean = () => false,
): Choice {
  const text = describePrefix(prefix);
  const pools = space.pools
    .filter((p) => p.purpose === applicant.purpose && gives(p, prefix))
    .sort(byPriority);
  if (pools.length === 0) return { ok: false, refusal: refusals.outside(text) };
  const kept = space.kept.find((k) => overlaps(k.prefix, prefix) && !keptForApplicant(k));
  if (kept) return { ok: false, refusal: kept.refusal };
  let first: Refusal | undefined;
  for (const pool of pools) {
    const refusal = pool.reserved.some((r) => overlaps(r, prefix))
      ? refusals.reserved(text, pool.name)
      : poolRefusal(pool, applicant, space);
    if (!refusal) return { ok: true, pool, prefix };
    first ??= refusal;
  }
  return { ok: false, refusal: first ?? refusals.outside(text) };
}
