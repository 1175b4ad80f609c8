// import tests: what the original product announces, written down once more from its documentation: field by field, without a
// thought for how Waggle says it. Keys are "node neighbour prefix", values communities and, inside the AS, the preference.
import { type KubernetesObject, type LabelSelector, type Service, selects } from "../../../src/api/index.ts";
import { parseRange } from "../../../src/import/ranges.ts";
import { contains, formatPrefix, hostPrefix, parseAddress, parsePrefix } from "../../../src/net/address.ts";
import { keyOf, podBlock, rangesIn, type World } from "./world.ts";

export type Routes = ReadonlyMap<string, string>;

/** All fields that are read of any of their manifests. None of them need be there. */
interface Written {
  readonly [field: string]: unknown;
  readonly addresses: readonly string[];
  readonly advertisements: readonly Written[] & LabelSelector;
  readonly advertisementType: string;
  readonly address: string;
  readonly afi: string;
  readonly allowed: Written;
  readonly asn: number;
  readonly attributes: Written;
  readonly bgp: { readonly routers: readonly Written[] };
  readonly bgpAdvertisements: readonly Written[];
  readonly bgpInstances: readonly Written[];
  readonly blocks: readonly Written[];
  readonly cidr: string;
  readonly cidrs: readonly Written[] & readonly string[];
  readonly communities: readonly Written[] & readonly string[] & Written;
  readonly community: string;
  readonly dualStackAddressFamily: boolean;
  readonly dynamicASN: string;
  readonly interface: string;
  readonly families: readonly Written[];
  readonly ge: number;
  readonly ipAddressPoolSelectors: readonly LabelSelector[];
  readonly ipAddressPools: readonly string[];
  readonly ipv4: Written;
  readonly large: readonly string[];
  readonly le: number;
  readonly localASN: number;
  readonly localPref: number;
  readonly localPreference: number;
  readonly mode: string;
  readonly myASN: number;
  readonly name: string;
  readonly neighbors: readonly Written[];
  readonly nodeSelector: LabelSelector;
  readonly nodeSelectors: readonly LabelSelector[];
  readonly own: number;
  readonly peerASN: number;
  readonly peerAddress: string;
  readonly peerConfigRef: Written;
  readonly peers: readonly Written[] & readonly string[];
  readonly prefix: string;
  readonly prefixes: readonly Written[] & readonly string[];
  readonly protocol: string;
  readonly safi: string;
  readonly selector: LabelSelector;
  readonly service: Written;
  readonly serviceSelectors: readonly LabelSelector[];
  readonly standard: readonly string[];
  readonly start: string;
  readonly stop: string;
  readonly toAdvertise: Written;
  readonly toReceive: Written;
  readonly value: string;
  readonly vrf: string;
  readonly wellKnown: readonly string[];
  readonly withCommunity: readonly Written[];
  readonly withLocalPref: readonly Written[];
}

const spec = (o: KubernetesObject): Written => (o as { spec?: Written }).spec ?? ({} as Written);
const of = (objects: readonly KubernetesObject[], kind: string): readonly KubernetesObject[] =>
  objects.filter((o) => o.kind === kind);
const host = (ip: string): string => formatPrefix(hostPrefix(parseAddress(ip)));
const is6 = (text: string): boolean => text.includes(":");
const any = (
  list: readonly LabelSelector[] | undefined,
  labels: Readonly<Record<string, string>> | undefined,
): boolean => (list ?? []).length === 0 || list!.some((s) => selects(s, labels));
const wellKnown: Readonly<Record<string, string>> = { "no-export": "65535:65281" };
const canonical = (c: string): string => {
  if (c in wellKnown) return wellKnown[c]!;
  const n = Number(c);
  return c.includes(":") ? c.replace("large:", "") : `${Math.floor(n / 65536)}:${n % 65536}`;
};
const value = (communities: Iterable<string>, internal: boolean, preference: number | undefined): string =>
  `${[...new Set([...communities].map(canonical))].sort().join(" ")}${internal ? ` pref ${preference ?? 100}` : ""}`;
const ingress = (s: Service): readonly string[] =>
  (s.status?.loadBalancer?.ingress ?? []).flatMap((i) => (i.ip ? [i.ip] : []));

const inRange = (texts: readonly string[], ip: string): boolean =>
  rangesIn(texts).some((r) => {
    const one = parseRange(ip);
    return r.family === one.family && one.first >= r.first && one.first <= r.last;
  });

/** Ranges that Services of the world may have addresses of. */
export function rangesOf(objects: readonly KubernetesObject[]) {
  const texts = [
    ...[...of(objects, "IPAddressPool"), ...of(objects, "AddressPool")].flatMap(
      (p) => spec(p).addresses as string[],
    ),
    ...of(objects, "CiliumLoadBalancerIPPool").flatMap((p) =>
      [...(spec(p).blocks ?? []), ...(spec(p).cidrs ?? [])].map(
        (b: Written) => b.cidr ?? `${b.start}-${b.stop ?? b.start}`,
      ),
    ),
  ];
  return rangesIn(texts);
}

export function metallb(objects: readonly KubernetesObject[], world: World): Routes {
  const out = new Map<string, string>();
  const aliases = new Map<string, string>(
    of(objects, "Community").flatMap((c) => spec(c).communities.map((x: Written) => [x.name, x.value])),
  );
  const pools = [
    ...of(objects, "IPAddressPool"),
    ...of(objects, "AddressPool").filter((p) => spec(p).protocol === "bgp"),
  ];
  for (const node of world.nodes)
    for (const peer of of(objects, "BGPPeer")) {
      const p = spec(peer);
      const address = p.peerAddress ?? (p.interface ? "::" : undefined);
      if (!address || p.vrf || !any(p.nodeSelectors, node.metadata.labels)) continue;
      for (const service of world.services)
        for (const ip of ingress(service)) {
          if (is6(ip) !== is6(address) && !p.dualStackAddressFamily && !p.interface) continue;
          const pool = pools.find((x) => inRange(spec(x).addresses, ip));
          const on = world.endpoints.get(keyOf(service))!;
          const local = service.spec.externalTrafficPolicy === "Local";
          if (!pool || !(local ? on.includes(node.metadata.name) : on.length > 0)) continue;
          const adverts =
            pool.kind === "AddressPool"
              ? (spec(pool).bgpAdvertisements ?? [{}])
              : of(objects, "BGPAdvertisement")
                  .filter((a) => {
                    const { ipAddressPools: names = [], ipAddressPoolSelectors: labels = [] } = spec(a);
                    const all = names.length === 0 && labels.length === 0;
                    return (
                      (all ||
                        names.includes(pool.metadata.name) ||
                        (labels.length > 0 && any(labels, pool.metadata.labels))) &&
                      any(spec(a).nodeSelectors, node.metadata.labels) &&
                      ((spec(a).peers ?? []).length === 0 || spec(a).peers.includes(peer.metadata.name)) &&
                      any(spec(a).serviceSelectors, service.metadata.labels)
                    );
                  })
                  .map(spec);
          if (adverts.length === 0) continue;
          const communities = adverts
            .flatMap((a: Written) => a.communities ?? [])
            .flatMap((c: string) => (c.includes(":") ? [c] : (aliases.get(c) ?? [])));
          const internal = p.dynamicASN === "internal" || (p.localASN ?? p.myASN) === p.peerASN;
          const preference = adverts.find((a: Written) => a.localPref !== undefined)?.localPref;
          out.set(`${node.metadata.name} ${address} ${host(ip)}`, value(communities, internal, preference));
        }
    }
  return out;
}

export function cilium(objects: readonly KubernetesObject[], world: World): Routes {
  const out = new Map<string, string>();
  const magic = (s: Service): Readonly<Record<string, string>> => ({
    ...s.metadata.labels,
    "io.kubernetes.service.namespace": s.metadata.namespace ?? "default",
    "io.kubernetes.service.name": s.metadata.name,
  });
  for (const node of world.nodes)
    for (const config of of(objects, "CiliumBGPClusterConfig")) {
      if (!selects(spec(config).nodeSelector ?? {}, node.metadata.labels)) continue;
      for (const instance of spec(config).bgpInstances)
        for (const peer of instance.peers) {
          const found = of(objects, "CiliumBGPPeerConfig").find(
            (c) => c.metadata.name === peer.peerConfigRef?.name,
          );
          if (!found || !peer.peerAddress) continue;
          for (const family of (spec(found).families ?? []) as readonly Written[]) {
            if (family.safi !== "unicast" || !family.advertisements) continue;
            const adverts = of(objects, "CiliumBGPAdvertisement")
              .filter((a) => selects(family.advertisements, a.metadata.labels))
              .flatMap((a) => spec(a).advertisements as readonly Written[]);
            const said = new Map<string, Written[]>();
            const say = (prefix: string, attributes: Written): void => {
              if (is6(prefix) === (family.afi === "ipv6"))
                said.set(prefix, [...(said.get(prefix) ?? []), attributes ?? {}]);
            };
            for (const a of adverts) {
              if (a.advertisementType === "PodCIDR") say(podBlock(node.metadata.name), a.attributes);
              if (a.advertisementType === "CiliumPodIPPool")
                for (const pool of of(objects, "CiliumPodIPPool"))
                  if (a.selector && selects(a.selector, pool.metadata.labels))
                    for (const block of poolBlocks(pool, node.metadata.name)) say(block, a.attributes);
              if (a.advertisementType !== "Service" || !a.selector) continue;
              for (const service of world.services) {
                if (!selects(a.selector, magic(service))) continue;
                const on = world.endpoints.get(keyOf(service))!;
                const local = service.spec.externalTrafficPolicy === "Local";
                if (local && !on.includes(node.metadata.name)) continue;
                const ips = {
                  LoadBalancerIP: ingress(service).filter((ip) => rangesOf(objects).some((r) => ipIn(r, ip))),
                  ClusterIP: service.spec.clusterIPs ?? [],
                  ExternalIP: service.spec.externalIPs ?? [],
                };
                for (const type of a.service.addresses as (keyof typeof ips)[])
                  for (const ip of ips[type]) say(host(ip), a.attributes);
              }
            }
            for (const [prefix, list] of said) {
              const communities = list.flatMap(({ communities: c = {} }) => [
                ...(c.standard ?? []),
                ...(c.wellKnown ?? []),
                ...(c.large ?? []),
              ]);
              const preferences = list.flatMap((a) => a.localPreference ?? []);
              const internal = instance.localASN === peer.peerASN;
              out.set(
                `${node.metadata.name} ${peer.peerAddress} ${prefix}`,
                value(communities, internal, preferences.length > 0 ? Math.max(...preferences) : undefined),
              );
            }
          }
        }
    }
  return out;
}

const ipIn = (r: { family: number; first: bigint; last: bigint }, ip: string): boolean => {
  const one = parseRange(ip);
  return one.family === r.family && one.first >= r.first && one.first <= r.last;
};

/** The block that each node has of a pool of pods. */
export const poolBlocks = (pool: KubernetesObject, node: string): readonly string[] =>
  (spec(pool).ipv4?.cidrs ?? []).map(
    (c: string) => `${c.split(".").slice(0, 2).join(".")}.${node.slice(1)}.0/24`,
  );

interface Router {
  readonly prefixes: readonly string[];
  readonly neighbours: ReadonlyMap<string, readonly Written[]>;
}

/** What FRR-K8s makes of all configurations of a node. */
function routerOf(
  objects: readonly KubernetesObject[],
  labels: Readonly<Record<string, string>> | undefined,
): Router {
  const routers = of(objects, "FRRConfiguration")
    .filter((c) => selects(spec(c).nodeSelector ?? {}, labels))
    .flatMap((c) => spec(c).bgp.routers as readonly Written[])
    .filter((r) => !r.vrf);
  const neighbours = new Map<string, Written[]>();
  for (const r of routers)
    for (const n of r.neighbors)
      if (n.address && n.asn)
        neighbours.set(n.address, [...(neighbours.get(n.address) ?? []), { ...n, own: n.localASN ?? r.asn }]);
  return { prefixes: routers.flatMap((r) => r.prefixes ?? []), neighbours };
}

export function frr(objects: readonly KubernetesObject[], world: World): Routes {
  const out = new Map<string, string>();
  for (const node of world.nodes) {
    const router = routerOf(objects, node.metadata.labels);
    for (const [address, said] of router.neighbours) {
      const first = said[0]!;
      const all = said.some((n) => n.toAdvertise?.allowed?.mode === "all");
      const allowed = said.flatMap((n) => n.toAdvertise?.allowed?.prefixes ?? []);
      for (const prefix of router.prefixes) {
        if (!all && !allowed.includes(prefix)) continue;
        if (is6(prefix) !== is6(address) && !first.dualStackAddressFamily) continue;
        const communities = said
          .flatMap((n) => n.toAdvertise?.withCommunity ?? [])
          .filter((c) => c.prefixes.includes(prefix))
          .map((c) => c.community);
        const preference = said
          .flatMap((n) => n.toAdvertise?.withLocalPref ?? [])
          .find((c) => c.prefixes.includes(prefix))?.localPref;
        out.set(
          `${node.metadata.name} ${address} ${prefix}`,
          value(communities, first.own === first.asn, preference),
        );
      }
    }
  }
  return out;
}

/** Whether a neighbour's route is taken. */
export function frrTakes(
  objects: readonly KubernetesObject[],
  labels: Readonly<Record<string, string>>,
  address: string,
  prefix: string,
): boolean {
  const said = routerOf(objects, labels).neighbours.get(address) ?? [];
  const p = parsePrefix(prefix);
  return said.some(
    ({ toReceive: { allowed } = {} as Written }) =>
      allowed?.mode === "all" ||
      (allowed?.prefixes ?? []).some((a: Written) => {
        const outer = parsePrefix(a.prefix);
        const most = a.le ?? (a.ge === undefined ? outer.length : is6(prefix) ? 128 : 32);
        return (
          outer.family === p.family &&
          contains(outer, p) &&
          p.length >= (a.ge ?? outer.length) &&
          p.length <= most
        );
      }),
  );
}
