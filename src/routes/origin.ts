// routes: whose a learned route is. Tags are believed from named peers inside declared prefixes and nowhere else.
import { routeKind } from "../api/object.ts";
import { contains, overlaps, type Prefix } from "../net/address.ts";
import type {
  LargeCommunity,
  LearnedPath,
  OriginDecision,
  PeeringRule,
  RouteKind,
  RoutePolicy,
} from "./types.ts";

const kindOf = (value: number): RouteKind | undefined =>
  value === routeKind.pods ? "Pods" : value === routeKind.vips ? "VIPs" : undefined;

/**
 * Large communities of the form `<ASN>:<clusterID>:<kind>` whose cluster this node knows. A community of an unknown
 * cluster cannot be told from one that somebody else defined, so it is not ours.
 */
function tagsOf(path: LearnedPath, policy: RoutePolicy): readonly LargeCommunity[] {
  return path.large.filter(
    (l) =>
      kindOf(l.local2) !== undefined &&
      (l.local1 === policy.clusterID || policy.peerings.some((p) => p.clusterID === l.local1)),
  );
}

/** The peering with the most specific declared prefix around this one; between equals one that names the peer. */
function declaredBy(prefix: Prefix, peer: string, policy: RoutePolicy): PeeringRule | undefined {
  let best: { rule: PeeringRule; length: number; named: boolean } | undefined;
  for (const rule of policy.peerings)
    for (const declared of rule.prefixes) {
      if (!contains(declared, prefix)) continue;
      const named = rule.peers.includes(peer);
      const better =
        !best || declared.length > best.length || (declared.length === best.length && named && !best.named);
      if (better) best = { rule, length: declared.length, named };
    }
  return best?.rule;
}

/**
 * Decides about one path. The order matters: a loop is refused before anything is believed, and a tag from a peer that no
 * ClusterPeering names never makes a route acceptable.
 */
export function decideOrigin(prefix: Prefix, path: LearnedPath, policy: RoutePolicy): OriginDecision {
  const tags = tagsOf(path, policy);
  const refuse = (code: (OriginDecision & { accepted: false })["code"]): OriginDecision => ({
    accepted: false,
    code,
    ignoredTag: tags.length > 0 && (code === "PeerNotNamed" || code === "OutsideDeclared"),
  });
  if (prefix.length === 0) return refuse("DefaultRoute");
  if (policy.ownBlocks.some((own) => overlaps(own, prefix))) return refuse("OwnPrefix");
  const rule = declaredBy(prefix, path.peer, policy);
  if (!rule) return refuse("OutsideDeclared");
  if (!rule.peers.includes(path.peer)) return refuse("PeerNotNamed");
  if (rule.clusterID === policy.clusterID || tags.some((t) => t.local1 === policy.clusterID))
    return refuse("OwnCluster");
  const believed = tags.filter((t) => t.local1 === rule.clusterID);
  const ignoredTag = believed.length < tags.length;
  // Two kinds on one route say nothing about which it is: as good as none.
  const kinds = new Set(believed.map((t) => kindOf(t.local2)));
  const kind = kinds.size === 1 ? [...kinds][0] : undefined;
  const taken = kind ? rule.kinds.includes(kind) : rule.kinds.length > 0;
  if (!taken) return { accepted: false, code: "KindNotTaken", ignoredTag };
  return {
    accepted: true,
    cluster: rule.clusterID,
    peering: rule.name,
    kind: kind ?? "Both",
    tag: believed.length > 0 ? "Believed" : "Missing",
    ignoredTag,
    fib: rule.fib,
  };
}
