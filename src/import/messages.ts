// import: every sentence that an import says, with its code and how much it matters. One place.
import type { Severity } from "./types.ts";

export interface Said {
  readonly severity: Severity;
  readonly code: string;
  readonly message: string;
}

const error = (code: string, message: string): Said => ({ severity: "error", code, message });
const warning = (code: string, message: string): Said => ({ severity: "warning", code, message });
const note = (code: string, message: string): Said => ({ severity: "note", code, message });

export const says = {
  unknown: () => error("UnknownField", "this field is not known; it is not converted"),
  notA: (what: string) => error("WrongType", `is not ${what}`),
  missing: (what: string) => error("Missing", `is needed: ${what}`),
  noEqual: (why: string) => error("NoEqual", `has no equal in Waggle: ${why}`),
  left: (why: string) => warning("LeftOut", `is not carried over: ${why}`),
  annotation: () => note("Annotation", "the annotation is not carried over"),
  kind: () => error("UnknownKind", "this kind is not converted"),
  otherKind: () => note("OtherKind", "this kind is read where it helps, and stays as it is"),
  layer2: () =>
    error(
      "Layer2",
      "Waggle announces by BGP and does not answer ARP or NDP: these Services would lose their addresses",
    ),
  noObject: (kind: string, name: string) =>
    error("NotFound", `there is no ${kind} ${name} among what was given`),
  address: (why: string) => error("Address", `is not usable: ${why}`),
  defaulted: (what: string) => note("Default", `is not written and means ${what}; that is written out`),
  // The traps.
  selectsAll: (what: string) => warning("EmptySelector", `is empty and selects ${what}; written out`),
  selectsNothing: (what: string) =>
    warning("EmptySelector", `is omitted and selects nothing: ${what}. Waggle has nothing to convert here`),
  anyExternal: () =>
    warning("AnyASN", "any AS number is accepted here; external: true takes any but our own"),
  anyASN: () => error("AnyASN", "any AS number is accepted here; Waggle wants the neighbour's: give peerASN"),
  multihopFlag: () => note("Multihop", "means TTL 255, which is written out as multihopTTL"),
  multihopInternal: () => note("Multihop", "is ignored for internal neighbours, as before"),
  keepalive: (keepalive: number, hold: number) =>
    warning(
      "Keepalive",
      `is ${keepalive} s with a hold time of ${hold} s; Waggle sends KEEPALIVEs every third of the hold time`,
    ),
  clamped: (value: number, limit: number) =>
    warning("Clamped", `${value} is beyond what Waggle takes; ${limit} is written`),
  secret: (secret: string, namespace: string, type: string) =>
    warning(
      "Password",
      `copy Secret ${secret} (key password, ${type}) from namespace ${namespace} into waggle-system. While it is missing Waggle keeps the session down`,
    ),
  failsOpen: () =>
    warning(
      "MissingSecret",
      "Cilium runs the session without a password while the Secret is missing; Waggle keeps it down",
    ),
  plainPassword: (secret: string) =>
    warning(
      "Password",
      `a password stands in the manifest; put it into Secret ${secret} in namespace waggle-system, key password. It is not repeated here`,
    ),
  restart: (seconds: number) =>
    note("GracefulRestart", `is a flag here; a restart time of ${seconds} s is written out`),
  noRestart: () =>
    note(
      "GracefulRestart",
      "is off where it is not written; Waggle's own default is on, so that is written out",
    ),
  alias: (name: string) =>
    error("UnknownAlias", `there is no Community ${name}; MetalLB waits for one, and nothing is written`),
  preferenceConflict: (others: string) =>
    error(
      "LocalPreference",
      `differs from ${others} for the same addresses and neighbours, which is refused where it comes from, too`,
    ),
  preferenceMax: (others: string, value: number) =>
    warning(
      "LocalPreference",
      `overlaps ${others}; the higher value ${value} is written where both select, as before`,
    ),
  united: (others: string) =>
    note(
      "Overlap",
      `overlaps ${others}; where both select, the communities of both are written into one BGPAdvertisement`,
    ),
  tooManyOverlaps: () =>
    error("Overlap", "overlaps so many others that the combinations cannot be written out"),
  aggregation: (length: number, family: number) =>
    warning(
      "Aggregation",
      `IPv${family} routes are aggregated to /${length} here (not where traffic policy is Local in Cilium; always in MetalLB). Waggle announces each address, so the fabric sees more routes, and filters that take no host routes must be widened`,
    ),
  noEndpoints: () =>
    warning(
      "NoEndpoints",
      "addresses of Services without a ready endpoint are announced here (externalTrafficPolicy Cluster). Written as whenEmpty: Keep, which goes on announcing, but begins only with an endpoint to prove",
    ),
  withdrawEmpty: () =>
    note(
      "NoEndpoints",
      "addresses of Services without a ready endpoint are withdrawn, as before; whenEmpty: Withdraw is written out",
    ),
  autoAssign: (label: string) =>
    warning(
      "AutoAssign",
      `addresses of this pool are given on request only. Waggle has no such switch: the pool serves Services with the label ${label}; label those that are to have one`,
    ),
  firstLast: () =>
    note(
      "FirstLast",
      "the addresses at both ends of each block are never given out; they are written as reserved",
    ),
  buggy: () =>
    note("BuggyIPs", "addresses that end in .0 or .255 are never given out; they are written as reserved"),
  tooManyReserved: () =>
    error("BuggyIPs", "more addresses are to be left out than one pool can name (64); split the pool"),
  priority: (value: number) =>
    note("Priority", `lower is first, and without a value last; ${value} is written`),
  sourceOrder: () => note("Priority", "Cilium has no order between pools; all get priority 100"),
  poolServices: () =>
    error(
      "PoolServices",
      "any of several selectors lets a Service in, and an IPPool has one; write one pool for each, or one selector",
    ),
  poolEither: () =>
    warning("PoolServices", "namespaces and selectors both limit this pool; a Service must satisfy both"),
  noNamespaces: () =>
    error(
      "NamespaceSelector",
      "Waggle names namespaces; give the Namespace objects too (or --live), so that they can be found out",
    ),
  namespacesFixed: (names: readonly string[]) =>
    warning(
      "NamespaceSelector",
      `selects ${names.join(", ") || "no namespace"} now; Waggle names namespaces and will not follow new ones`,
    ),
  split: (pools: readonly string[]) =>
    note("Split", `has more prefixes than one IPPool may; they become ${pools.join(", ")}`),
  poolOverlap: (other: string) =>
    error("PoolOverlap", `shares addresses with ${other}; two pools that overlap are never both accepted`),
  podBlocks: () =>
    warning(
      "PodCIDR",
      "pod CIDRs are announced here whoever owns them. Waggle announces the blocks that it has claimed for a node itself: give it an IPPool with purpose Pods",
    ),
  podMode: () =>
    error(
      "PodMode",
      "there are CiliumPodIPPools, too: a node has either one pod CIDR or blocks of pools, and PodBlocks would announce all of them. Advertise the pools by name",
    ),
  podPool: () =>
    warning(
      "PodPool",
      "the range is Cilium's to give out until pods move; the IPPool is written with disabled: true",
    ),
  podSelector: () => "Waggle gives blocks to nodes; which pods take them is the CNI's matter",
  familyDiffers: () =>
    error(
      "Families",
      "IPv4 and IPv6 have different advertisements on one session; BGPAdvertisements are for both families",
    ),
  ofOneNode: (node: string, label: string) =>
    note(
      "OneNode",
      `is for node ${node} alone: what differs there is written as objects of its own for nodes with the label ${label}: ${node}`,
    ),
  instanceOverlap: (other: string) =>
    warning(
      "NodeConflict",
      `selects nodes that ${other} selects too; Cilium uses neither of two for them, Waggle has the neighbours of both`,
    ),
  importsUnused: () =>
    note(
      "Imports",
      "received routes are kept here without any effect; Waggle takes none without an import policy or a ClusterPeering",
    ),
  clusterIPs: () =>
    warning(
      "InternalPolicy",
      "internalTrafficPolicy Local limits a ClusterIP to nodes with an endpoint here; Waggle looks at externalTrafficPolicy",
    ),
  wellKnown: (name: string) => error("Community", `${name} is no well-known community`),
  community: (text: string) => error("Community", `${JSON.stringify(text)} is no community`),
  noCluster: () =>
    warning(
      "NoClusterNetwork",
      "a ClusterNetwork is needed, too: name this cluster by --cluster-name and --cluster-id, and one is written",
    ),
  routerID: () => "set NodeNetwork.spec.routerID of each node, or routerIDSource in the ClusterNetwork",
  // Addresses of Services.
  pinned: (address: string) => note("Pinned", `${address} is kept for it by an IPReservation`),
  outside: (address: string) =>
    warning("Outside", `shows ${address}, which no converted pool holds: nothing keeps it`),
  shared: (address: string, other: string, why: string) =>
    error("Sharing", `shows ${address} as ${other} does, which keeps it: ${why}`),
  sharedTogether: (address: string, other: string) =>
    note("Shared", `has ${address} together with ${other}, for which an IPReservation keeps it`),
  noSharingKey: () => "they have no sharing key in common",
  className: (name: string) =>
    warning(
      "LoadBalancerClass",
      `has loadBalancerClass ${name}, which cannot be changed: make the Service anew with waggle.dev/bgp, its address is kept by the IPReservation`,
    ),
  requested: (annotation: string) =>
    note(
      "Request",
      `asks for addresses by ${annotation}; Waggle reads waggle.dev/addresses, and the IPReservation keeps them meanwhile`,
    ),
  poolRequest: (annotation: string, label: string) =>
    warning("Request", `asks for a pool by ${annotation}; give the Service the label ${label}`),
  sharingKey: (annotation: string) =>
    note(
      "Sharing",
      `may share its address by ${annotation}, which Waggle reads as waggle.dev/sharing-key; its externalTrafficPolicy must be the others', too`,
    ),
  externalIPs: () =>
    warning(
      "ExternalIP",
      "spec.externalIPs is deprecated in Kubernetes; such addresses are announced without a claim",
    ),
  // FRR-K8s.
  rawConfig: () => "Waggle has no FRR behind it; write its effect as fields of BGPPeer and BGPPolicy",
  prefixOwner: (prefix: string) =>
    warning(
      "PrefixOwner",
      `${prefix} is announced here because it is written. Waggle announces what it has claimed: it goes out once an IPAllocation holds it`,
    ),
  apart: (other: string) =>
    warning(
      "Merged",
      `may be for the same nodes as ${other}, and FRR-K8s then merges both. They are converted each on its own: prefixes of one are not let out to neighbours of the other`,
    ),
  neighbourTwice: (address: string, other: string) =>
    error(
      "NeighbourTwice",
      `${address} is a neighbour in ${other}, too, where it may be for the same nodes; one session cannot be two BGPPeers`,
    ),
  neighbourDiffers: (other: string) =>
    error(
      "NeighbourTwice",
      `says something else of this session than ${other}; FRR-K8s refuses that, and the first is written`,
    ),
  filtered: () =>
    note(
      "Filtered",
      "nothing is let out or in without a list here; the empty list is written out as a policy",
    ),
  vrf: () => "Waggle speaks in the node's main routing table only",
} as const;
