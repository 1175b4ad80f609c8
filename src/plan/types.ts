// plan: what a plan is made from and what it says. Everything here is plain readonly data.

import type {
  BGPAdvertisement,
  BGPPeer,
  BGPPolicy,
  ClusterNetwork,
  ClusterPeering,
  EndpointSlice,
  IPAllocation,
  IPPool,
  Node,
  NodeNetwork,
  Service,
} from "../api/index.ts";
import type { CommunityPattern } from "../bgp/policy/communities.ts";
import type { PathMatch } from "../bgp/policy/types.ts";
import type { Address, Prefix } from "../net/address.ts";
import type { FibPlan, LargeCommunity, LocalPrefix, RoutePolicy, RouteView } from "../routes/index.ts";
import type { DrainProgress } from "./drain.ts";
import type { Reason, ReasonCode } from "./messages.ts";
import type { PausedObject } from "./paused.ts";
import type { RollOut } from "./rollout.ts";

/** Source objects of the last configuration that compiled, by name. Survives in the stored snapshot. */
export interface LastGood {
  readonly clusterNetwork?: ClusterNetwork;
  readonly peers: Readonly<Record<string, PeerSources>>;
  /** Absent in what an earlier version has stored. */
  readonly policies?: Readonly<Record<string, BGPPolicy>>;
  readonly advertisements: Readonly<Record<string, BGPAdvertisement>>;
  readonly peerings: Readonly<Record<string, ClusterPeering>>;
}

/** Of a cluster that has never been seen before. */
export const nothingRemembered: LastGood = { peers: {}, policies: {}, advertisements: {}, peerings: {} };

/** A BGPPeer and the BGPPolicies that it names, as they were together. */
export interface PeerSources {
  readonly peer: BGPPeer;
  readonly policies: Readonly<Record<string, BGPPolicy>>;
}

/** The cluster as this node's agent sees it, complete and immutable. JSON, without secrets. */
export interface Snapshot {
  /** UID of namespace kube-system: which cluster this is. */
  readonly clusterUID: string;
  /** All nodes, thinned to names, addresses, labels, taints and readiness. */
  readonly nodes: readonly Node[];
  readonly nodeNetwork?: NodeNetwork;
  readonly clusterNetwork?: ClusterNetwork;
  readonly services: readonly Service[];
  readonly endpointSlices: readonly EndpointSlice[];
  readonly pools: readonly IPPool[];
  readonly allocations: readonly IPAllocation[];
  readonly peers: readonly BGPPeer[];
  readonly policies: readonly BGPPolicy[];
  readonly advertisements: readonly BGPAdvertisement[];
  readonly peerings: readonly ClusterPeering[];
  readonly lastGood: LastGood;
}

export type ProofState = "Proven" | "Unproven" | "Failed";
export interface Proof {
  readonly state: ProofState;
  readonly reason: string;
}

/** What the machine itself contributes. */
export interface HostFacts {
  /** Subnets of the node's interfaces. */
  readonly connected: readonly Prefix[];
  /** Addresses of the API server. */
  readonly apiServer: readonly Address[];
  /** MTU for pods' interfaces, in bytes; absent leaves the kernel's default. */
  readonly podMTU?: number;
  /** Directory of host-local's own state. */
  readonly cniDataDir: string;
}

/** A VIP whose withdrawal has been decided and whose entry is still programmed. */
export interface Retirement {
  /** Canonical text. */
  readonly prefix: string;
  /** The entry as it was; absent for what is not a VIP. */
  readonly entry?: VipEntry;
  /** First generation without it; absent until it has been sent. */
  readonly generation?: number;
  /** When its withdrawal was acknowledged, unix ms. */
  readonly ackedAt?: number;
  readonly peers: readonly string[];
}

export interface PlanInputs {
  /** By canonical prefix. A prefix that is not in it has not been tried. */
  readonly proofs: ReadonlyMap<string, Proof>;
  /** Secrets (by name) that are there with a password. Contents never enter a plan. */
  readonly passwords: ReadonlySet<string>;
  /** The plan that is in force. */
  readonly previous?: InForce;
  readonly drain: DrainProgress;
  readonly retiring: readonly Retirement[];
  /** Prefixes that another node, itself not draining, announces with its proofs in order; undefined = not known. */
  readonly elsewhere?: ReadonlySet<string>;
  /** Held plans that have been approved so far; makes each approval good for once. */
  readonly guardSerial: number;
  readonly learned?: RouteView;
  readonly host: HostFacts;
  /** Unix ms. */
  readonly now: number;
}

export type Protocol = "TCP" | "UDP";

export interface Backend {
  readonly address: Address;
  readonly port: number;
  readonly node: string;
  /** InternalIPs of its node. */
  readonly nodeAddresses: readonly Address[];
  readonly local: boolean;
}

export interface VipPort {
  readonly protocol: Protocol;
  readonly port: number;
  readonly backends: readonly Backend[];
}

/** One VIP as the datapath delivers it. */
export interface VipEntry {
  readonly address: Address;
  /** namespace/name */
  readonly service: string;
  readonly ports: readonly VipPort[];
  /** Whether packets from the fabric may enter here; false once a drained node has let go of it. */
  readonly entry: boolean;
}

export interface RouteAttributesOut {
  readonly med?: number;
  readonly localPref?: number;
  /** RFC 1997, high 16 bits = ASN. */
  readonly communities: readonly number[];
  readonly large: readonly LargeCommunity[];
  readonly prepend: number;
}

export interface SpeakerOrigin {
  readonly prefix: Prefix;
  readonly attributes: RouteAttributesOut;
  readonly peers: readonly string[];
}

/** How a neighbour is treated beside policy, where that is out of the ordinary. */
export interface SpeakerTreatment {
  readonly allowASIn: number;
  readonly asOverride: boolean;
  readonly removePrivateAS: boolean;
  readonly nextHopUnchanged: boolean;
  readonly reflectorClient: boolean;
  readonly routeServerClient: boolean;
  readonly role?: "Provider" | "Customer" | "Peer" | "RouteServer" | "RouteServerClient";
  readonly strictRole: boolean;
}

export interface SpeakerPeer {
  readonly name: string;
  /** The unspecified one for an unnumbered neighbour. */
  readonly address: Address;
  /** Of an unnumbered neighbour. */
  readonly interface?: string;
  /** Instead of an address: whoever connects from these prefixes, up to a number. */
  readonly ranges?: readonly Prefix[];
  readonly rangeLimit?: number;
  readonly port: number;
  /** 0 with {@link external}. */
  readonly peerASN: number;
  /** Any AS but ours. */
  readonly external?: true;
  readonly localASN: number;
  readonly localAddress?: Address;
  /** Absent: the kernel chooses. */
  readonly localPort?: number;
  readonly families: readonly ("IPv4Unicast" | "IPv6Unicast")[];
  readonly holdSeconds: number;
  readonly connectRetrySeconds: number;
  readonly connectRetryMaxSeconds?: number;
  /** Name of the Secret; the password itself is added where the state is encoded. */
  readonly passwordSecret?: string;
  readonly passwordMissing: boolean;
  /** 0 = off. */
  readonly ttlSecurityHops: number;
  /** 0 = directly connected. */
  readonly multihopTTL: number;
  readonly gracefulRestart: boolean;
  readonly restartSeconds: number;
  /** RFC 9494; absent = off. */
  readonly longLivedSeconds?: number;
  readonly maxPrefixes: { readonly ipv4: number; readonly ipv6: number };
  /** Absent: Teardown, a word from 90 percent on, and pauses that double. */
  readonly overLimit?: {
    readonly action: "Teardown" | "Discard" | "Warn";
    readonly warnPercent: number;
    readonly restartSeconds?: number;
  };
  /** Absent: no limit. */
  readonly maxPrefixesSent?: { readonly ipv4?: number; readonly ipv6?: number };
  readonly importPolicies: readonly string[];
  readonly exportPolicies: readonly string[];
  readonly nextHopIPv4?: Address;
  readonly nextHopIPv6?: Address;
  readonly passive: boolean;
  readonly adminDown?: true;
  readonly bfd?: {
    readonly transmitMs: number;
    readonly receiveMs: number;
    readonly detectMultiplier: number;
    readonly multihop: boolean;
  };
  /** `best` absent: all. */
  readonly addPath?: { readonly receive: boolean; readonly send: boolean; readonly best?: number };
  /** Absent: on sessions over IPv6. */
  readonly extendedNextHop?: boolean;
  /** Absent for an ordinary neighbour. */
  readonly treatment?: SpeakerTreatment;
}

export interface SpeakerPrefixMatch {
  readonly prefix: Prefix;
  readonly ge: number;
  readonly le: number;
}

export interface SpeakerRule {
  readonly name: string;
  readonly match: {
    readonly prefixes: readonly SpeakerPrefixMatch[];
    readonly communities: readonly number[];
    readonly large: readonly LargeCommunity[];
    readonly asPathContains: readonly number[];
    /** Absent: what this node originates. */
    readonly source?: "Learned" | "Any" | "External" | "Internal";
    /** All of. */
    readonly patterns?: readonly CommunityPattern[];
    /** Any of. */
    readonly anyCommunity?: readonly CommunityPattern[];
    readonly path?: PathMatch;
    readonly nextHops?: readonly Prefix[];
    readonly origins?: readonly (0 | 1 | 2)[];
    readonly neighbors?: readonly string[];
  };
  readonly accept: boolean;
  readonly set: {
    readonly med?: number;
    readonly localPref?: number;
    readonly communities: readonly number[];
    readonly large: readonly LargeCommunity[];
    readonly prepend: number;
    readonly prependASN?: number;
    readonly medAdd?: number;
    readonly origin?: 0 | 1 | 2;
    readonly nextHop?: { readonly mode: "Self" | "Unchanged" } | SpeakerNextHop;
    readonly extended?: readonly string[];
    readonly replace?: {
      readonly standard?: readonly number[];
      readonly large?: readonly LargeCommunity[];
      readonly extended?: readonly string[];
    };
    readonly remove?: readonly CommunityPattern[];
  };
}

/** By family of the routes. */
export interface SpeakerNextHop {
  readonly mode: "Address";
  readonly ipv4?: Address;
  readonly ipv6?: Address;
}

export interface SpeakerPolicy {
  readonly name: string;
  readonly rules: readonly SpeakerRule[];
}

/** A station that hears what neighbours send (RFC 7854). */
export interface BmpStation {
  readonly name: string;
  readonly address: Address;
  readonly port: number;
  readonly prePolicy: boolean;
  readonly postPolicy: boolean;
  readonly locRIB: boolean;
  readonly statisticsSeconds: number;
}

/** Dumps of messages and tables (RFC 6396). */
export interface MrtDumps {
  readonly directory: string;
  readonly messages: boolean;
  /** 0: none. */
  readonly tableSeconds: number;
  readonly fileBytesMax: number;
  readonly filesMax: number;
}

/** Content of the speaker's DesiredState, without generation and passwords. */
export interface SpeakerState {
  readonly asn: number;
  /** 10.0.0.1 = 0x0a000001. */
  readonly routerID: number;
  /** Absent: none. */
  readonly bmpStations?: readonly BmpStation[];
  /** Of route reflectors; absent: routerID. */
  readonly clusterID?: number;
  /** Absent: all that tie, of any AS. */
  readonly multipath?: { readonly external: number; readonly internal: number; readonly samePath: boolean };
  /** Absent: no dumps. */
  readonly mrt?: MrtDumps;
  readonly listen: readonly { readonly address?: Address; readonly port: number }[];
  readonly peers: readonly SpeakerPeer[];
  readonly origins: readonly SpeakerOrigin[];
  readonly policies: readonly SpeakerPolicy[];
}

export type AnnouncementState = "Announced" | "DePreferred" | "Held" | "Withdrawn";

/** One yes or no about one prefix, with its provenance. */
export interface Announcement {
  /** Absent where a Service has no address yet. */
  readonly prefix?: string;
  readonly kind: "Pods" | "VIPs";
  readonly state: AnnouncementState;
  readonly reason: Reason;
  /** Of what the withdraw guard holds: why it was to be withdrawn. Absent in what an earlier version has stored. */
  readonly heldFor?: ReasonCode;
  readonly owner: { readonly kind: "Node" | "Service"; readonly namespace?: string; readonly name: string };
  /** namespace/name of the other Services that have the address too; absent where there are none. */
  readonly sharedBy?: readonly string[];
  readonly pool?: string;
  /** BGPAdvertisements that ask for it. */
  readonly advertisements: readonly string[];
  /** Peers that hear it. */
  readonly peers: readonly string[];
  /** Peers of this node that do not, and BGPAdvertisements that do not ask for it, each with its reason. */
  readonly refusals: readonly { readonly object: string; readonly reason: Reason }[];
}

/** Something an object's author has to mend. */
export interface Problem {
  /** Kind/name */
  readonly object: string;
  /** Path of the field, as in `spec.rules[0].match`. */
  readonly path: string;
  readonly message: string;
  /** Whether an earlier configuration of the object stays in force. */
  readonly lastGoodInForce: boolean;
}

export interface HeldPlan {
  readonly hash: string;
  /** Canonical prefixes, sorted. */
  readonly withdraws: readonly string[];
}

/** A CNI network configuration list, as it is written. */
export interface Conflist {
  readonly cniVersion: string;
  readonly name: string;
  readonly plugins: readonly Readonly<Record<string, unknown>>[];
}

/** What a plan does; stored by the agent, and what the next plan compares itself with. */
export interface InForce {
  readonly node: string;
  /** None: no rule of the ClusterNetwork matches this node. */
  readonly mode: "None" | "Observe" | "Allocate" | "Announce";
  readonly owns: readonly ("Pods" | "VIPs" | "Routes")[];
  readonly clusterID: number;
  readonly clusterName: string;
  readonly drainSeconds: number;
  /** Towards the fabric. */
  readonly interfaces: readonly string[];
  /** This node's own InternalIPs. */
  readonly nodeAddresses: readonly Address[];
  /** This node's blocks. */
  readonly podBlocks: readonly Prefix[];
  readonly speaker: SpeakerState;
  readonly vips: readonly VipEntry[];
  /** VIPs that somebody else delivers and a BGPAdvertisement asks for: proven by connecting to them. */
  readonly delegated: readonly VipEntry[];
  readonly announcements: readonly Announcement[];
  readonly routePolicy: RoutePolicy;
  readonly localPrefixes: readonly LocalPrefix[];
  readonly conflist?: Conflist;
}

export interface Plan extends InForce {
  /** Identifies what the plan does and holds; equal arguments give equal hashes. */
  readonly hash: string;
  /** Present where learned routes were given and Waggle owns Routes here. */
  readonly kernelRoutes?: FibPlan;
  readonly held?: HeldPlan;
  /** A plan that the guard would have held, but for its approval: the serial is used up. */
  readonly approved: boolean;
  readonly problems: readonly Problem[];
  /** Objects that are paused; the own Node among them. */
  readonly paused: readonly PausedObject[];
  /** Changes that are being rolled out, whether they have come to this node or not. */
  readonly rollouts: readonly RollOut[];
  readonly lastGood: LastGood;
}
