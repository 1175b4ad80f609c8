// bgp/rib: the decision process of RFC 4271 9.1.2.2 over columns: which path is best, and which are as good for multipath.
import { AttrFlag } from "../wire/scan.ts";
import type { AttributeTable } from "./attributes.ts";

/** What the decision knows of a neighbour. */
export interface PeerRank {
  /** 0 is this node. */
  readonly index: number;
  readonly ebgp: boolean;
  /** BGP identifier, host byte order. */
  readonly routerId: number;
  /** The neighbour's address as an integer, for the last tie-break. */
  readonly address: bigint;
}

/** One candidate: which neighbour, which attributes. */
export interface Candidate {
  readonly path: number;
  /** Path identifier (RFC 7911): between paths of one neighbour it decides last. */
  readonly id: number;
  readonly attribute: number;
  readonly peer: PeerRank;
}

/** Most paths of a prefix that are compared by MED among themselves and reported for multipath. */
export const MULTIPATH_MAX = 64;

/** Which paths that tie are used together. */
export interface MultipathRule {
  /** From external neighbours at most. */
  readonly external: number;
  readonly internal: number;
  /** Only paths whose AS path is that of the best; else of the same length, whoever the neighbours are ("as-path relax"). */
  readonly samePath: boolean;
}

export const allThatTie: MultipathRule = {
  external: MULTIPATH_MAX,
  internal: MULTIPATH_MAX,
  samePath: false,
};

/** Steps a to d: negative when `x` is better, 0 when they tie so far. MED apart, see {@link decide}. */
function compareHead(t: AttributeTable, x: Candidate, y: Candidate): number {
  // A route of our own wins over any that was learned.
  if ((x.peer.index === 0) !== (y.peer.index === 0)) return x.peer.index === 0 ? -1 : 1;
  const a = x.attribute;
  const b = y.attribute;
  // Kept for long without its router: better than nothing, worse than anything else (RFC 9494 4.3).
  return (
    (t.flags[a]! & AttrFlag.longLivedStale) - (t.flags[b]! & AttrFlag.longLivedStale) ||
    t.localPref[b]! - t.localPref[a]! ||
    t.pathLength[a]! - t.pathLength[b]! ||
    t.origin[a]! - t.origin[b]!
  );
}

/** After MED: external over internal. (There is no IGP here: the cost to every next hop is the same.) */
const compareKind = (x: Candidate, y: Candidate): number => Number(y.peer.ebgp) - Number(x.peer.ebgp);

/** The last steps: cluster list length (RFC 4456 9), router identifier or originator, address, path identifier. */
function compareTail(t: AttributeTable, x: Candidate, y: Candidate): number {
  const a = x.attribute;
  const b = y.attribute;
  const idX = t.originatorId[a]! || x.peer.routerId;
  const idY = t.originatorId[b]! || y.peer.routerId;
  if (idX !== idY) return idX - idY;
  return (
    t.clusterLength[a]! - t.clusterLength[b]! ||
    (x.peer.address < y.peer.address ? -1 : x.peer.address > y.peer.address ? 1 : x.id - y.id)
  );
}

const medOf = (t: AttributeTable, c: Candidate): number =>
  t.flags[c.attribute]! & AttrFlag.hasMed ? t.med[c.attribute]! : 0;

/**
 * Best first, then those that tie with it until the router identifier, as far as `rule` lets them (the `equal` ones), then the
 * others. MED counts among routes of one neighbouring AS, over the whole set and not pairwise in order of arrival, so the
 * answer does not depend on it (the trap that "deterministic MED" is named after).
 */
export function decide(
  t: AttributeTable,
  candidates: readonly Candidate[],
  rule: MultipathRule = allThatTie,
): { order: Candidate[]; equal: number } {
  const order = [...candidates];
  if (order.length < 2) return { order, equal: order.length };
  order.sort((x, y) => compareHead(t, x, y));
  let tied = 1;
  while (tied < order.length && compareHead(t, order[0]!, order[tied]!) === 0) tied++;
  const head = order.slice(0, tied);
  const lowest = new Map<number, number>();
  for (const c of head) {
    const asn = t.neighborAs[c.attribute]!;
    const med = medOf(t, c);
    if (med < (lowest.get(asn) ?? Infinity)) lowest.set(asn, med);
  }
  const kept = head.filter((c) => medOf(t, c) === lowest.get(t.neighborAs[c.attribute]!));
  const dropped = head.filter((c) => medOf(t, c) !== lowest.get(t.neighborAs[c.attribute]!));
  kept.sort((x, y) => compareKind(x, y) || compareTail(t, x, y));
  const best = kept[0]!;
  const others = [...dropped, ...order.slice(tied)];
  const same = rule.samePath
    ? kept.filter((c) => compareKind(best, c) === 0 && t.samePath(best.attribute, c.attribute))
    : kept;
  const most = best.peer.ebgp ? rule.external : rule.internal;
  let equal = 1;
  while (equal < same.length && equal < most && compareKind(best, same[equal]!) === 0) equal++;
  if (!rule.samePath) return { order: [...kept, ...others], equal };
  const chosen = new Set(same.slice(0, equal));
  return { order: [...chosen, ...kept.filter((c) => !chosen.has(c)), ...others], equal };
}
