// plan: every sentence that a plan gives as a reason, and every sentence about a field that is wrong. One place.
import { excludeLabel } from "../api/index.ts";

export type ReasonCode =
  | "Announced"
  | "NodeNotSelected"
  | "NodePaused"
  | "NodeExcluded"
  | "ModeIsObserve"
  | "ModeIsAllocate"
  | "NoAddress"
  | "NotClaimed"
  | "ClaimReleasing"
  | "OwnerGone"
  | "NotOurs"
  | "NotLoadBalancer"
  | "NoReadyEndpoint"
  | "NoLocalEndpoint"
  | "NoAdvertisement"
  | "NodeSelectorNoMatch"
  | "ServiceSelectorNoMatch"
  | "TypeNotAdvertised"
  | "PoolNotAdvertised"
  | "AddressTypeNotAdvertised"
  | "NoPeer"
  | "PeerNotSelected"
  | "PeerNotOnNode"
  | "FamilyNotConfigured"
  | "Silenced"
  | "NotProven"
  | "ProofFails"
  | "ProofFailsElsewhere"
  | "Draining"
  | "Drained"
  | "LastAnnouncer"
  | "AnnouncerUnknown"
  | "WithdrawGuard"
  | "AwaitingAck";

export interface Reason {
  readonly code: ReasonCode;
  readonly message: string;
}

const reason = (code: ReasonCode, message: string): Reason => ({ code, message });

export const reasons = {
  announced: (advertisements: readonly string[]) =>
    reason("Announced", `claimed, proven and asked for by BGPAdvertisement ${advertisements.join(", ")}`),
  nodeNotSelected: () =>
    reason("NodeNotSelected", "no rule of the ClusterNetwork matches this node; it is left alone"),
  nodePaused: () =>
    reason("NodePaused", "the Node is paused and nothing of Waggle's was in force on it; it is left alone"),
  nodeExcluded: () =>
    reason("NodeExcluded", `the Node's label ${excludeLabel} keeps addresses of Services away from it`),
  observe: () => reason("ModeIsObserve", "the ClusterNetwork says mode Observe for this node"),
  allocate: () => reason("ModeIsAllocate", "the ClusterNetwork says mode Allocate for this node"),
  noAddress: () => reason("NoAddress", "the Service has no address yet; see its Events and the IPPools"),
  notClaimed: () => reason("NotClaimed", "no IPAllocation claims it for this Service"),
  claimReleasing: (phase: string) => reason("ClaimReleasing", `its IPAllocation is ${phase}`),
  ownerGone: (owner: string) => reason("OwnerGone", `${owner}, which has claimed it, is gone`),
  notOurs: (loadBalancerClass: string) =>
    reason("NotOurs", `the Service's loadBalancerClass ${loadBalancerClass} is somebody else's`),
  notLoadBalancer: (type: string) =>
    reason("NotLoadBalancer", `the Service's type is ${type}, not LoadBalancer`),
  noReadyEndpoint: () => reason("NoReadyEndpoint", "no ready endpoint of the address's family"),
  noLocalEndpoint: () =>
    reason("NoLocalEndpoint", "externalTrafficPolicy is Local and no ready endpoint is on this node"),
  noAdvertisement: () => reason("NoAdvertisement", "no BGPAdvertisement asks for it on this node"),
  nodeSelectorNoMatch: () => reason("NodeSelectorNoMatch", "nodeSelector does not match this node"),
  serviceSelectorNoMatch: () =>
    reason("ServiceSelectorNoMatch", "serviceSelector does not match the Service"),
  poolNotAdvertised: (pool: string | undefined) =>
    reason(
      "PoolNotAdvertised",
      pool === undefined ? "no IPPool holds it" : `pools do not include ${pool}, which it is claimed from`,
    ),
  typeNotAdvertised: (type: string) => reason("TypeNotAdvertised", `advertises nothing of type ${type}`),
  addressTypeNotAdvertised: (type: string) =>
    reason("AddressTypeNotAdvertised", `addresses do not include ${type}`),
  noPeer: () => reason("NoPeer", "no BGPPeer of this node is to hear it"),
  peerNotSelected: (advertisements: readonly string[]) =>
    reason("PeerNotSelected", `peerSelector of ${advertisements.join(", ")} does not match the BGPPeer`),
  peerNotOnNode: () => reason("PeerNotOnNode", "the BGPPeer's nodeSelector does not match this node"),
  familyNotConfigured: (family: string) =>
    reason("FamilyNotConfigured", `the BGPPeer's families do not include ${family}`),
  silenced: () => reason("Silenced", "the export policies of every neighbour reject it"),
  notProven: (why: string) => reason("NotProven", `not proven: ${why}`),
  proofFails: (why: string) =>
    reason(
      "ProofFails",
      `its proof fails (${why}); de-preferred, and kept because no other node announces it`,
    ),
  proofFailsElsewhere: (why: string) =>
    reason("ProofFailsElsewhere", `its proof fails (${why}) and another node announces it`),
  draining: () => reason("Draining", "this node drains: de-preferred until the fabric has turned away"),
  drained: () => reason("Drained", "this node drains"),
  lastAnnouncer: () =>
    reason(
      "LastAnnouncer",
      "this node drains, but no other node announces it; drain with --force to withdraw it all the same",
    ),
  announcerUnknown: () =>
    reason(
      "AnnouncerUnknown",
      "this node drains, but the API server has not said yet whether another node announces it",
    ),
  withdrawGuard: (hash: string, why: Reason) =>
    reason(
      "WithdrawGuard",
      `kept: the plan withdraws too much at once (${why.message}); approve with annotation waggle.dev/approve=${hash}`,
    ),
  awaitingAck: () => reason("AwaitingAck", "withdrawn, but not every neighbour has acknowledged it"),
} as const;

const verdict = (code: string, message: string) => ({ code, message });
const ruleText = (decidedBy: string, byRule: boolean): string =>
  byRule ? `rule ${decidedBy} of its export policies` : decidedBy;

/** What an explanation adds to a plan's reasons. */
export const verdicts = {
  hears: (decidedBy: string, byRule: boolean) =>
    verdict("Hears", byRule ? `${ruleText(decidedBy, true)} accepts it` : decidedBy),
  heldAsBefore: () => verdict("Hears", "held as it was announced before"),
  refused: (decidedBy: string, byRule: boolean) =>
    verdict("ExportPolicy", byRule ? `${ruleText(decidedBy, true)} rejects it` : decidedBy),
  sessionUnknown: () => verdict("SessionUnknown", "the node's agent has not reported a session with it"),
  sessionDown: (state: string, why: string | undefined) =>
    verdict("SessionDown", `the session is ${state}${why ? `: ${why}` : ""}`),
  familyNotNegotiated: (family: string) =>
    verdict("FamilyNotNegotiated", `the neighbour has not agreed to ${family}`),
  nobodyAsks: () => verdict("NoCandidate", "nothing claims it or shows it any more"),
  peerGone: () => verdict("PeerGone", "the node has no such neighbour any more"),
  noService: (namespace: string, name: string) =>
    verdict("NoService", `there is no Service ${name} in namespace ${namespace}`),
  noCandidate: () => verdict("NoCandidate", "the Service has no address that could be announced"),
  unclaimed: (pool: string) => verdict("Unclaimed", `it lies in IPPool ${pool}, and nothing claims it`),
  elsewhere: (peering: string) =>
    verdict(
      "Elsewhere",
      `ClusterPeering ${peering} declares it: this cluster learns it and does not announce it`,
    ),
  unknownPrefix: () =>
    verdict("UnknownPrefix", "no IPPool holds it, nothing claims it and no ClusterPeering declares it"),
} as const;

/** What a policy test says where it fails. */
export const testSays = {
  notAnnouncing: (mode: string) =>
    mode === "None"
      ? "no ClusterNetwork selects the node: give manifests with one, or cluster: {name, id, asn}"
      : `the ClusterNetwork says mode ${mode} for the node, which then has no neighbours`,
  noPeer: (name: string, wrong: readonly string[]) =>
    wrong.length > 0
      ? `BGPPeer ${name} is not usable: ${wrong.join("; ")}`
      : `the node has no BGPPeer ${name}; see its nodeSelector`,
  noFamily: (peer: string, family: string) => `BGPPeer ${peer} does not have family ${family}`,
  unroutable: () => "rejected: no router forwards to such a prefix",
  verdict: (wanted: string, found: string, rule: string) => `expected ${wanted}, and it is ${found}: ${rule}`,
  rule: (wanted: string, found: string) => `expected ${wanted} to decide, and it is ${found}`,
  attribute: (name: string, wanted: string, found: string) =>
    `expected ${name} ${wanted}, and it is ${found}`,
  peering: (wanted: string | null, found: string | null, refusal: string | undefined) =>
    `expected ${wanted ?? "no ClusterPeering"} to take it, and it is ${found ?? `none: ${refusal ?? "the policy rejects it"}`}`,
} as const;

/** Sentences about fields. */
export const faults = {
  address: (why: string) => `is not usable: ${why}`,
  otherFamily: () => "is not of the family of address",
  eitherASN: () => "and external: give one of them",
  externalOnly: () => "is for external neighbours, and peerASN is our own",
  internalOnly: () => "is for internal neighbours, and peerASN is not our own",
  needs: (other: string) => `needs ${other}`,
  notFamily: (family: number) => `is no IPv${family} address`,
  noPolicy: (name: string) => `there is no BGPPolicy ${name}`,
  inPolicy: (name: string, path: string, why: string) => `BGPPolicy ${name}: ${path} ${why}`,
  exclusive: (other: string) => `excludes ${other}`,
  community: (text: string) => text,
  pattern: (text: string) => text,
  nextHopAddress: () => "mode Address needs ipv4 or ipv6",
  geAboveLe: (ge: number, le: number) => `ge ${ge} is longer than le ${le}; give both`,
  lengthOutside: (name: string, value: number, low: number, high: number) =>
    `${name} ${value} is outside ${low}..${high}`,
  ownClusterID: (id: number) => `${id} is this cluster's own ID`,
  sameClusterID: (other: string) => `is the ID in ClusterPeering ${other} too`,
  overlapsPool: (pool: string) => `overlaps IPPool ${pool} of this cluster; routes inside are not taken`,
  overlapsPeering: (peering: string) =>
    `overlaps ClusterPeering ${peering}; the more specific declaration decides`,
  listenAddress: () => "is needed with listen.mode Address",
  noRouterID: () => "NodeAddress needs an IPv4 InternalIP on the Node; use Hash",
  protocol: (protocol: string) => `protocol ${protocol} is not delivered; TCP and UDP are`,
} as const;
