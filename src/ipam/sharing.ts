// ipam: whether Services may have one address together: one key, no port twice, one traffic policy, namespaces that agree.
import {
  type IPAllocation,
  type Service,
  sharingKeyAnnotation,
  sharingNamespacesAnnotation,
} from "../api/index.ts";
import { sharingFaults } from "./messages.ts";

/** A Service as the claim of the address that it shares remembers it. */
export type Sharer = NonNullable<NonNullable<IPAllocation["status"]>["sharing"]>["users"][number];

/** Services that one claim names, and ports of each. */
export const mostSharers = 64;
const mostPorts = 256;

/** Annotations by which other products say the same; ours comes first. MetalLB asks for no leave of namespaces. */
const keyAnnotations: readonly { readonly key: string; readonly namespaces?: string; readonly all?: true }[] =
  [
    { key: sharingKeyAnnotation, namespaces: sharingNamespacesAnnotation },
    { key: "lbipam.cilium.io/sharing-key", namespaces: "lbipam.cilium.io/sharing-cross-namespace" },
    { key: "io.cilium/lb-ipam-sharing-key", namespaces: "io.cilium/lb-ipam-sharing-cross-namespace" },
    { key: "metallb.io/allow-shared-ip", all: true },
    { key: "metallb.universe.tf/allow-shared-ip", all: true },
  ];

const dialectOf = ({ metadata: { annotations } }: Service) =>
  keyAnnotations.find(({ key }) => annotations?.[key]?.trim());

/** The key under which a Service shares its address; undefined: it shares with nobody. */
export function sharingKeyOf(service: Service): string | undefined {
  const dialect = dialectOf(service);
  return dialect && service.metadata.annotations?.[dialect.key]?.trim().slice(0, 256);
}

/** Equal texts: the same endpoints answer. Without Local, any node's endpoints may, so the selector does not matter. */
function policyOf({ spec }: Service): string {
  if (spec.externalTrafficPolicy !== "Local") return "Cluster";
  const labels = Object.entries(spec.selector ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));
  return `Local ${labels.map(([k, v]) => `${k}=${v}`).join(",")}`.slice(0, 1024);
}

/** What of a Service decides with whom it can share. */
export function sharerOf(service: Service): Sharer {
  const dialect = dialectOf(service);
  const said = dialect?.namespaces && service.metadata.annotations?.[dialect.namespaces];
  const namespaces = (dialect?.all ? "*" : (said ?? ""))
    .split(",")
    .map((n) => n.trim())
    .filter((n) => n !== "");
  const ports = new Set((service.spec.ports ?? []).map((p) => `${p.protocol ?? "TCP"}/${p.port}`));
  return {
    namespace: service.metadata.namespace ?? "",
    name: service.metadata.name,
    uid: service.metadata.uid ?? "",
    ports: [...ports].sort().slice(0, mostPorts),
    policy: policyOf(service),
    ...(namespaces.length > 0 && { namespaces: [...new Set(namespaces)].sort().slice(0, 64) }),
  };
}

const admits = (one: Sharer, other: Sharer): boolean =>
  one.namespace === other.namespace ||
  one.namespaces?.includes("*") === true ||
  one.namespaces?.includes(other.namespace) === true;

const named = (s: Sharer): string => `${s.namespace}/${s.name}`;

/** Why a Service cannot have an address together with these; undefined: it can. Its own entry does not stand in its way. */
export function sharingObstacle(one: Sharer, others: readonly Sharer[]): string | undefined {
  const rest = others.filter((o) => o.uid !== one.uid);
  if (rest.length >= mostSharers) return sharingFaults.full(mostSharers);
  if (one.ports.length >= mostPorts) return sharingFaults.manyPorts(mostPorts);
  for (const other of rest) {
    if (!admits(one, other)) return sharingFaults.namespace(named(one), other.namespace);
    if (!admits(other, one)) return sharingFaults.namespace(named(other), one.namespace);
    const port = one.ports.find((p) => other.ports.includes(p));
    if (port !== undefined) return sharingFaults.port(port, named(other));
    if (one.policy !== other.policy) return sharingFaults.policy(named(other), other.policy);
  }
  return undefined;
}
