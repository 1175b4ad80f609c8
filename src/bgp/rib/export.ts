// bgp/rib: what one neighbour is told of one route, as a pure function: the speaker, `explain` and `diff` all ask here.
import { type Address, toBytes } from "../../net/address.ts";
import {
  type Chain,
  matchesAttributes,
  matchesPrefix,
  matchesSender,
  matchesSource,
  type Sender,
} from "../policy/chain.ts";
import type { NextHopSet } from "../policy/types.ts";
import { pathContains, prepend } from "../wire/aspath.ts";
import { isLinkLocalNextHop, type PathAttributes } from "../wire/attributes.ts";
import { type Afi, afiName, WellKnown } from "../wire/constants.ts";
import { type ExportTreatment, otcOut, treatPath } from "./treatment.ts";

/** All of a session that decides what is sent on it. Equal targets hear equal routes. */
export interface ExportTarget {
  readonly ebgp: boolean;
  readonly localAsn: number;
  readonly chain: Chain;
  /** Next hop of our own by family; undefined where the session has none that fits. */
  readonly nextHop: Readonly<Record<Afi, Uint8Array | undefined>>;
  /** Also routes of others get our next hop; always so towards external peers. */
  readonly nextHopSelf: boolean;
  /** Undefined for an ordinary neighbour. */
  readonly treatment?: ExportTreatment | undefined;
  /** Paths of a prefix that are sent at most (RFC 7911); undefined: the best one, without an identifier. */
  readonly paths?: Readonly<Record<Afi, number | undefined>> | undefined;
  /** IPv4 routes may go out with IPv6 next hops (RFC 8950). */
  readonly extendedNextHop?: boolean;
  /** The neighbour knows routes that are kept for long (RFC 9494), so it may have them. */
  readonly longLived?: boolean;
}

/** What is known of a session when its {@link ExportTarget} is made. */
export interface ExportSession {
  readonly ebgp: boolean;
  readonly localAsn: number;
  readonly chain: Chain;
  /** As configured. */
  readonly nextHop: Readonly<Record<Afi, Uint8Array | undefined>>;
  /** Our own address on it, which is the next hop of its family where none is configured. */
  readonly local: Address | undefined;
  readonly treatment?: ExportTreatment | undefined;
  readonly paths?: ExportTarget["paths"];
  readonly extendedNextHop?: boolean;
  readonly longLived?: boolean;
}

/** The target of a session. */
export function exportTarget(session: ExportSession): ExportTarget {
  const { ebgp, localAsn, chain, nextHop, local, treatment, paths, extendedNextHop, longLived } = session;
  const v6 = local?.family === 6 ? ownNextHop6(toBytes(local), nextHop[2]) : nextHop[2];
  const v4 = nextHop[1] ?? (local?.family === 4 ? toBytes(local) : extendedNextHop ? v6 : undefined);
  return {
    ebgp,
    localAsn,
    chain,
    nextHop: { 1: v4, 2: v6 },
    nextHopSelf: false,
    treatment,
    ...(paths && (paths[1] !== undefined || paths[2] !== undefined) && { paths }),
    ...(extendedNextHop && { extendedNextHop }),
    ...(longLived && { longLived }),
  };
}

/**
 * Our IPv6 next hop on a session over IPv6. On a link-local session the link-local address goes along (RFC 2545 3), twice where there
 * is no global one, as other speakers do.
 */
function ownNextHop6(local: Uint8Array, configured: Uint8Array | undefined): Uint8Array {
  if (!isLinkLocalNextHop(local)) return configured ?? local;
  const out = new Uint8Array(32);
  out.set(configured ?? local);
  out.set(local, 16);
  return out;
}

/** The prefix as words (see PrefixTable) and its length. */
export interface RoutePrefix {
  readonly afi: Afi;
  readonly keys: Uint32Array;
  readonly key: number;
  readonly length: number;
}

export interface RouteSource {
  /** From a neighbour, not from this node. */
  readonly learned: boolean;
  readonly fromEbgp: boolean;
  /** From a client of ours (RFC 4456). */
  readonly fromClient?: boolean;
  /** Who sent a learned route; rules that ask for it are for nobody where it is not known. */
  readonly sender?: Sender | undefined;
  /** How many further times our AS number is put in front of an originated route. */
  readonly prepend: number;
}

export type ExportDecision =
  | { readonly accepted: true; readonly attributes: PathAttributes; readonly decidedBy: string }
  | { readonly accepted: false; readonly decidedBy: string };

const reject = (decidedBy: string): ExportDecision => ({ accepted: false, decidedBy });

/** The rule that decides a route on the way out, its index in the chain, or the sentence that stands in for one. */
export function decideExport(
  target: ExportTarget,
  prefix: RoutePrefix,
  attributes: PathAttributes,
  source: RouteSource,
): number | string {
  const communities = attributes.communities ?? [];
  if (source.learned) {
    // What we put on our own routes is for the neighbour to obey; what we were sent is for us.
    if (communities.includes(WellKnown.noAdvertise)) return "community NO_ADVERTISE";
    if (!target.longLived && communities.includes(WellKnown.longLivedStale))
      return "community LLGR_STALE, and the neighbour does not know it (RFC 9494)";
    if (
      target.ebgp &&
      (communities.includes(WellKnown.noExport) || communities.includes(WellKnown.noExportSubconfed))
    )
      return "community NO_EXPORT";
    if (!source.fromEbgp && !target.ebgp && !source.fromClient && !target.treatment?.reflectorClient)
      return "learned from an internal peer (RFC 4271 9.2)";
  }
  if (target.chain.rules.length === 0) {
    if (target.ebgp) return "no export policy (RFC 8212)";
    return source.learned ? "not originated here and no export policy" : -1;
  }
  const { chain } = target;
  for (let i = 0; i < chain.rules.length; i++) {
    const rule = chain.rules[i]!;
    if (!matchesSource(rule, "export", source.learned)) continue;
    if (!matchesPrefix(rule, prefix.afi, prefix.keys, prefix.key, prefix.length)) continue;
    if (source.learned && rule.readsSource && !(source.sender && matchesSender(rule, source.sender)))
      continue;
    if (matchesAttributes(rule, attributes)) return i;
  }
  return "no rule of the export policy matches";
}

/** The attributes as they are sent once `rule` (-1: accepted without one) has accepted the route; text where that cannot be. */
export function rewriteExport(
  target: ExportTarget,
  afi: Afi,
  attributes: PathAttributes,
  source: RouteSource,
  rule: number,
): PathAttributes | string {
  const decided = rule < 0 ? undefined : target.chain.rules[rule]!;
  const set = decided?.rule.set;
  let out = decided ? decided.change.apply(attributes) : attributes;
  const { treatment } = target;
  const given = set?.nextHop && hopOf(set.nextHop, afi, target);
  const kept = treatment !== undefined && (treatment.nextHopUnchanged || treatment.routeServerClient);
  const unchanged = set?.nextHop?.mode === "self" ? false : kept || set?.nextHop?.mode === "unchanged";
  // A next hop that is of one link only is of no use elsewhere (RFC 2545 3).
  const usable = out.nextHop.length > 0 && !isLinkLocalNextHop(out.nextHop);
  const self =
    !source.learned ||
    (target.ebgp && !unchanged) ||
    target.nextHopSelf ||
    set?.nextHop?.mode === "self" ||
    !usable;
  if (given) out = { ...out, nextHop: given };
  else if (self) {
    const nextHop = target.nextHop[afi];
    if (!nextHop) return `no next hop for ${afiName[afi]}`;
    out = { ...out, nextHop };
  }
  // The second half of an IPv6 next hop is of the link it came from (RFC 2545 3).
  else if (out.nextHop.length === 32) out = { ...out, nextHop: out.nextHop.slice(0, 16) };
  if (afi === 1 && out.nextHop.length > 4 && !target.extendedNextHop)
    return "an IPv6 next hop, and RFC 8950 is not negotiated";
  if (!target.ebgp) {
    out = { ...out, localPref: out.localPref ?? 100 };
    // Only what came from within the AS has an originator (see Importer), and what goes on from there is reflected.
    if (!treatment || !source.learned || out.originatorId === undefined) return out;
    return { ...out, clusterList: [treatment.clusterId, ...(out.clusterList ?? [])] };
  }
  if (treatment?.role !== undefined) {
    const marked = otcOut(out, treatment.role, target.localAsn);
    if (!marked) return "only to customers (RFC 9234)";
    out = marked;
  }
  const { localPref: _l, originatorId: _o, clusterList: _c, ...rest } = out;
  const transparent = source.learned && treatment?.routeServerClient === true;
  const another = set?.prependAsn;
  const times = (transparent ? 0 : 1) + source.prepend + (another === undefined ? (set?.prepend ?? 0) : 0);
  // A MED that a neighbour sent stays within our AS (RFC 4271 5.1.4); one that we set goes out.
  const { med: _m, ...withoutMed } = rest;
  const keepMed = !source.learned || transparent || set?.med !== undefined || set?.medAdd !== undefined;
  let path = source.learned && treatment ? treatPath(out.asPath, treatment, target.localAsn) : out.asPath;
  // Ours stays in front: neighbours check the first number of a path.
  if (another !== undefined) path = prepend(path, another, set?.prepend ?? 0);
  return { ...(keepMed ? rest : withoutMed), asPath: prepend(path, target.localAsn, times) };
}

/** The next hop that a rule names for a family; undefined where it names none that fits. */
function hopOf(hop: NextHopSet, afi: Afi, target: ExportTarget): Uint8Array | undefined {
  if (hop.mode !== "address") return undefined;
  return afi === 2 ? hop.ipv6 : (hop.ipv4 ?? (target.extendedNextHop ? hop.ipv6 : undefined));
}

/** Whether and how one route goes to one neighbour. */
export function exportRoute(
  target: ExportTarget,
  prefix: RoutePrefix,
  attributes: PathAttributes,
  source: RouteSource,
): ExportDecision {
  const rule = decideExport(target, prefix, attributes, source);
  if (typeof rule === "string") return reject(rule);
  const decidedBy = rule < 0 ? "internal peer without a policy" : target.chain.rules[rule]!.label;
  if (rule >= 0 && !target.chain.rules[rule]!.rule.accept) return reject(decidedBy);
  const out = rewriteExport(target, prefix.afi, attributes, source, rule);
  return typeof out === "string" ? reject(out) : { accepted: true, attributes: out, decidedBy };
}

/** Whether the neighbour would see its own AS number and drop the route: then sending it is of no use, but allowed. */
export const loops = (a: PathAttributes, asn: number): boolean => pathContains(a.asPath, asn);
