// plan tests: what neighbours hear, written down once more from the documentation, without a thought for speed or reasons.
import {
  type BGPAdvertisement,
  type BGPPolicy,
  type EndpointSlice,
  type Service,
  selects,
} from "../../../src/api/index.ts";
import { contains, formatPrefix, hostPrefix, parseAddress, parsePrefix } from "../../../src/net/address.ts";
import type { HeardRoute } from "../../../src/plan/index.ts";
import { type Fixed, nodeName, type State } from "../../support/cluster-states.ts";

type Item = BGPAdvertisement["spec"]["advertise"][number];
type Rule = BGPPolicy["spec"]["rules"][number];

interface Route {
  med?: number;
  localPreference?: number;
  communities: string[];
  large: string[];
  prepend: number;
}

const excluded = "node.kubernetes.io/exclude-from-external-load-balancers";
const isV4 = (prefix: string): boolean => !prefix.includes(":");
const wellKnown: Readonly<Record<string, string>> = {
  "no-export": "65535:65281",
  "graceful-shutdown": "65535:0",
  blackhole: "65535:666",
};
const standard = (list: readonly string[] | undefined): string[] =>
  (list ?? []).map((c) => wellKnown[c] ?? c);

interface Wish {
  readonly prefix: string;
  readonly pods: boolean;
  readonly type?: "LoadBalancerIP" | "ClusterIP" | "ExternalIP";
  readonly service?: Service;
  readonly good: boolean;
}

/** Every address that somebody could want announced, the first mention of each. */
function wishes({ snapshot }: State): readonly Wish[] {
  const out: Wish[] = [];
  const bound = (phase: string | undefined): boolean => phase === "Bound";
  for (const { spec, status } of snapshot.allocations)
    if (spec.owner.kind === "Node" && spec.owner.name === nodeName)
      out.push({
        prefix: spec.prefix,
        pods: true,
        good: bound(status?.phase) && spec.owner.uid === "uid-node1",
      });
  for (const { spec, status } of snapshot.allocations) {
    if (spec.owner.kind === "Node") continue;
    const service = snapshot.services.find(
      (s) => s.metadata.name === spec.owner.name && s.metadata.uid === spec.owner.uid,
    );
    const ours =
      service?.spec.type === "LoadBalancer" &&
      (service.spec.loadBalancerClass ?? "waggle.dev/bgp") === "waggle.dev/bgp";
    out.push({
      prefix: spec.prefix,
      pods: false,
      type: "LoadBalancerIP",
      ...(service && { service }),
      good: ours && bound(status?.phase),
    });
  }
  for (const service of snapshot.services)
    for (const { ip } of service.status?.loadBalancer?.ingress ?? [])
      out.push({ prefix: `${ip}/32`, pods: false, type: "LoadBalancerIP", service, good: false });
  const host = (ip: string): string => formatPrefix(hostPrefix(parseAddress(ip)));
  for (const service of snapshot.services) {
    for (const ip of service.spec.clusterIPs ?? [])
      out.push({ prefix: host(ip), pods: false, type: "ClusterIP", service, good: true });
    for (const ip of service.spec.externalIPs ?? [])
      out.push({ prefix: host(ip), pods: false, type: "ExternalIP", service, good: true });
  }
  return out;
}

function hasEndpoint(slices: readonly EndpointSlice[], service: Service, prefix: string): boolean {
  const local = service.spec.externalTrafficPolicy === "Local";
  return slices.some(
    (s) =>
      s.metadata.labels?.["kubernetes.io/service-name"] === service.metadata.name &&
      (s.addressType === "IPv4") === isV4(prefix) &&
      (s.endpoints ?? []).some(
        (e) => e.conditions?.ready && !e.conditions.terminating && (!local || e.nodeName === nodeName),
      ),
  );
}

const itemWants = (item: Item, wish: Wish): boolean =>
  wish.pods
    ? item.type === "PodBlocks"
    : item.type === "Services" &&
      (item.addresses ?? []).includes(wish.type!) &&
      selects(item.serviceSelector, wish.service?.metadata.labels);

const ruleMatches = (rule: Rule, prefix: string, route: Route): boolean => {
  const { prefixes = [], communities = {}, asPathContains = [] } = rule.match ?? {};
  const p = parsePrefix(prefix);
  const inside =
    prefixes.length === 0 ||
    prefixes.some((m) => {
      const outer = parsePrefix(m.prefix);
      return contains(outer, p) && p.length >= (m.ge ?? outer.length) && p.length <= (m.le ?? outer.length);
    });
  return (
    inside &&
    standard(communities.standard).every((c) => route.communities.includes(c)) &&
    (communities.large ?? []).every((c) => route.large.includes(c)) &&
    // A route of our own has an empty path until it is sent.
    asPathContains.length === 0 &&
    rule.match?.source !== "Learned"
  );
};

const add = (list: string[], more: readonly string[]): string[] => [...new Set([...list, ...more])];

/** For each peer that the node has, what it hears by prefix. */
export function naive(state: State, fixed: Fixed): ReadonlyMap<string, ReadonlyMap<string, HeardRoute>> {
  const { snapshot, proofs } = state;
  const node = snapshot.nodes.find((n) => n.metadata.name === nodeName)!;
  const out = new Map<string, Map<string, HeardRoute>>();
  if (snapshot.clusterNetwork?.spec.nodes[0]?.mode !== "Announce") return out;
  const policies = new Map(snapshot.policies.map((p) => [p.metadata.name, p] as const));
  const peers = snapshot.peers.filter(
    (p) =>
      selects(p.spec.nodeSelector, node.metadata.labels) &&
      (p.spec.exportPolicies ?? []).every((name) => policies.has(name)),
  );
  for (const peer of peers) out.set(peer.metadata.name, new Map());
  const advertisements = snapshot.advertisements.filter((a) =>
    selects(a.spec.nodeSelector, node.metadata.labels),
  );
  const typesNamed = new Set(
    snapshot.advertisements.flatMap((a) => a.spec.advertise.flatMap((i) => i.addresses ?? [])),
  );
  const seen = new Set<string>();
  for (const wish of wishes(state)) {
    if (wish.type !== undefined && wish.type !== "LoadBalancerIP" && !typesNamed.has(wish.type)) continue;
    if (seen.has(wish.prefix)) continue;
    seen.add(wish.prefix);
    if (!wish.good || proofs.get(wish.prefix)?.state !== "Proven") continue;
    if (!wish.pods && node.metadata.labels?.[excluded] !== undefined) continue;
    if (!wish.pods && !hasEndpoint(snapshot.endpointSlices, wish.service!, wish.prefix)) continue;
    const wanting = advertisements.filter((a) => a.spec.advertise.some((i) => itemWants(i, wish)));
    for (const peer of peers) {
      const family = isV4(wish.prefix) ? "IPv4Unicast" : "IPv6Unicast";
      const chosen = wanting.find((a) => selects(a.spec.peerSelector, peer.metadata.labels));
      if (!chosen || !peer.spec.families.includes(family)) continue;
      const given = chosen.spec.advertise.find((i) => itemWants(i, wish))!.attributes ?? {};
      const tag = `${fixed.clusterASN}:1:${wish.pods ? 1 : 2}`;
      const route: Route = {
        ...(given.med !== undefined && { med: given.med }),
        ...(given.localPreference !== undefined && { localPreference: given.localPreference }),
        communities: standard(given.communities?.standard),
        large: add([...(given.communities?.large ?? [])], [tag]),
        prepend: given.prepend ?? 0,
      };
      const names = peer.spec.exportPolicies ?? [];
      const rule =
        names.length === 0
          ? { name: "", action: "Accept" as const }
          : names.flatMap((n) => policies.get(n)!.spec.rules).find((r) => ruleMatches(r, wish.prefix, route));
      if (rule?.action !== "Accept") continue;
      const set = "set" in rule ? (rule.set ?? {}) : {};
      const localASN = peer.spec.localASN ?? fixed.clusterASN;
      const external = localASN !== peer.spec.peerASN;
      const nextHop = fixed.nodeAddresses.find((a) => isV4(a) === isV4(wish.prefix));
      if (nextHop === undefined) continue;
      const med = set.med ?? route.med;
      const path = 1 + route.prepend + (set.prepend ?? 0);
      out.get(peer.metadata.name)!.set(wish.prefix, {
        nextHop,
        asPath: external ? Array<number>(path).fill(localASN) : [],
        origin: "IGP",
        ...(med !== undefined && { med }),
        ...(!external && { localPreference: set.localPreference ?? route.localPreference ?? 100 }),
        communities: add(route.communities, standard(set.addCommunities?.standard)).sort(),
        largeCommunities: add(route.large, set.addCommunities?.large ?? []).sort(),
      });
    }
  }
  return out;
}
