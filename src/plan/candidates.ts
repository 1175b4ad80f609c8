// plan: what this node could announce at all: its pod blocks and the addresses of Services, each with its claim.
import {
  type BGPAdvertisement,
  type IPAllocation,
  type IPReservation,
  loadBalancerClass,
  type Node,
  type Service,
} from "../api/index.ts";
import type { Prefix } from "../net/address.ts";
import { tryAddress, tryPrefix } from "./fields.ts";
import { type Reason, reasons } from "./messages.ts";
import { hostOf, prefixText } from "./text.ts";
import type { Snapshot } from "./types.ts";

export type AddressType = "LoadBalancerIP" | "ClusterIP" | "ExternalIP";

export interface Candidate {
  /** Absent for a Service that waits for an address. */
  readonly prefix?: Prefix;
  readonly kind: "Pods" | "VIPs";
  readonly owner: { readonly kind: "Node" | "Service"; readonly namespace?: string; readonly name: string };
  readonly pool?: string;
  readonly service?: Service;
  /** The other Services that have the address too, in the order in which they came. */
  readonly sharers?: readonly Service[];
  readonly addressType?: AddressType;
  /** Why it cannot be announced whatever else holds; undefined where the claim stands. */
  readonly obstacle?: Reason;
}

const claimObstacle = (claim: IPAllocation): Reason | undefined => {
  // A claim without a phase may still have to yield to an older one that overlaps it.
  const phase = claim.status?.phase ?? "not verified yet";
  return phase === "Bound" ? undefined : reasons.claimReleasing(phase);
};

function podCandidates(snapshot: Snapshot, node: string, own: Node | undefined): readonly Candidate[] {
  return snapshot.allocations.flatMap((claim): readonly Candidate[] => {
    const { owner, pool } = claim.spec;
    const prefix = tryPrefix(claim.spec.prefix);
    if (owner.kind !== "Node" || owner.name !== node || !prefix) return [];
    // A claim of an earlier Node of this name is not this Node's.
    const obstacle =
      own?.metadata.uid === owner.uid ? claimObstacle(claim) : reasons.ownerGone(`Node ${owner.name}`);
    return [
      { prefix, kind: "Pods", owner: { kind: "Node", name: node }, pool, ...(obstacle && { obstacle }) },
    ];
  });
}

/** Whether Waggle gives this Service its addresses. */
export function serviceObstacle(service: Service): Reason | undefined {
  const type = service.spec.type ?? "ClusterIP";
  if (type !== "LoadBalancer") return reasons.notLoadBalancer(type);
  const wanted = service.spec.loadBalancerClass;
  return wanted !== undefined && wanted !== loadBalancerClass ? reasons.notOurs(wanted) : undefined;
}

const keyOf = (s: Service): string => `${s.metadata.namespace ?? ""}/${s.metadata.name}`;
/** The Service of a candidate and those that share its address. */
export const servicesOf = ({ service, sharers }: Candidate): readonly Service[] =>
  service ? [service, ...(sharers ?? [])] : [];

const ingressOf = (s: Service): readonly string[] =>
  (s.status?.loadBalancer?.ingress ?? []).flatMap((i) => (i.ip ? [i.ip] : []));
const ownerOf = (s: Service): Candidate["owner"] => ({
  kind: "Service",
  namespace: s.metadata.namespace ?? "",
  name: s.metadata.name,
});

/** The Service behind a claim; a reserved address is the Service's whose status shows it. */
function serviceOf(
  claim: IPAllocation,
  prefix: Prefix,
  byKey: ReadonlyMap<string, Service>,
  byIngress: ReadonlyMap<string, Service>,
): Service | undefined {
  const { owner } = claim.spec;
  if (owner.kind === ("IPReservation" satisfies IPReservation["kind"]))
    return byIngress.get(`${owner.namespace ?? ""} ${prefixText(prefix)}`);
  const service = byKey.get(`${owner.namespace ?? ""}/${owner.name}`);
  return service?.metadata.uid === owner.uid ? service : undefined;
}

/** Services that have a claim's address together, in the order in which they came; they show it, or are about to. */
function usersOf(claim: IPAllocation, byKey: ReadonlyMap<string, Service>): readonly Service[] {
  return (claim.status?.sharing?.users ?? []).flatMap((u) => {
    const service = byKey.get(`${u.namespace}/${u.name}`);
    return service?.metadata.uid === u.uid && !serviceObstacle(service) ? [service] : [];
  });
}

function vipCandidates(snapshot: Snapshot): readonly Candidate[] {
  const byKey = new Map(snapshot.services.map((s) => [keyOf(s), s]));
  const byIngress = new Map<string, Service>();
  for (const service of snapshot.services)
    for (const ip of ingressOf(service)) {
      const address = tryAddress(ip);
      if (address)
        byIngress.set(`${service.metadata.namespace ?? ""} ${prefixText(hostOf(address))}`, service);
    }
  const out: Candidate[] = [];
  const claimed = new Map<string, Set<string>>();
  for (const claim of snapshot.allocations) {
    const { owner, pool } = claim.spec;
    const prefix = tryPrefix(claim.spec.prefix);
    if (owner.kind === "Node" || !prefix) continue;
    const users = usersOf(claim, byKey);
    const service = users[0] ?? serviceOf(claim, prefix, byKey, byIngress);
    const sharers = users.slice(1);
    // A reservation that nobody uses is not up for announcement.
    if (!service && owner.kind === "IPReservation") continue;
    const obstacle = service
      ? (claimObstacle(claim) ?? serviceObstacle(service))
      : reasons.ownerGone(`Service ${owner.namespace ?? ""}/${owner.name}`);
    out.push({
      prefix,
      kind: "VIPs",
      owner: service
        ? ownerOf(service)
        : { kind: "Service", namespace: owner.namespace ?? "", name: owner.name },
      pool,
      addressType: "LoadBalancerIP",
      ...(service && { service }),
      ...(sharers.length > 0 && { sharers }),
      ...(obstacle && { obstacle }),
    });
    for (const each of service ? [service, ...sharers] : []) {
      const key = keyOf(each);
      claimed.set(key, (claimed.get(key) ?? new Set()).add(prefixText(prefix)));
    }
  }
  for (const service of snapshot.services) {
    if (serviceObstacle(service)) continue;
    const known = claimed.get(keyOf(service)) ?? new Set();
    const base = { kind: "VIPs", owner: ownerOf(service), service, addressType: "LoadBalancerIP" } as const;
    const shown = ingressOf(service);
    for (const ip of shown) {
      const address = tryAddress(ip);
      if (address && !known.has(prefixText(hostOf(address))))
        out.push({ ...base, prefix: hostOf(address), obstacle: reasons.notClaimed() });
    }
    if (shown.length === 0 && known.size === 0) out.push({ ...base, obstacle: reasons.noAddress() });
  }
  return out;
}

/** Cluster and external IPs, only where some BGPAdvertisement names the type: Kubernetes owns them, nothing claims them. */
function otherCandidates(
  services: readonly Service[],
  advertisements: readonly BGPAdvertisement[],
): readonly Candidate[] {
  const types = new Set(advertisements.flatMap((a) => a.spec.advertise.flatMap((i) => i.addresses ?? [])));
  const of = (service: Service, addressType: AddressType, ips: readonly string[] | undefined): Candidate[] =>
    !types.has(addressType)
      ? []
      : (ips ?? []).flatMap((ip) => {
          const address = tryAddress(ip);
          return address
            ? [{ prefix: hostOf(address), kind: "VIPs", owner: ownerOf(service), service, addressType }]
            : [];
        });
  return services.flatMap((s) => [
    ...of(s, "ClusterIP", s.spec.clusterIPs),
    ...of(s, "ExternalIP", s.spec.externalIPs),
  ]);
}

/** Everything that could be announced here. A prefix appears once; a claim has precedence over what a Service merely says. */
export function candidates(
  snapshot: Snapshot,
  node: string,
  own: Node | undefined,
  advertisements: readonly BGPAdvertisement[],
): readonly Candidate[] {
  const all = [
    ...podCandidates(snapshot, node, own),
    ...vipCandidates(snapshot),
    ...otherCandidates(snapshot.services, advertisements),
  ];
  const seen = new Set<string>();
  return all.filter((c) => {
    const key = c.prefix ? prefixText(c.prefix) : `${c.owner.namespace ?? ""}/${c.owner.name}`;
    return !seen.has(key) && seen.add(key);
  });
}
