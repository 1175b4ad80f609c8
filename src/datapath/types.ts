// datapath: what the agent asks for and what it is told, as plain data. Addresses and prefixes are canonical text.

export type Protocol = "TCP" | "UDP";

/** A node's underlay addresses; tunnelled packets go to the IPv4 one where both ends have one. */
export interface NodeAddresses {
  readonly ipv4?: string;
  readonly ipv6?: string;
}

export interface DesiredBackend {
  /** Same family as the VIP. */
  readonly address: string;
  readonly port: number;
  /** Of the backend's node; not needed for local ones. */
  readonly node?: NodeAddresses;
  readonly local: boolean;
}

/** One VIP and port. All nodes must be given the same backends, or they choose differently. */
export interface DesiredService {
  readonly vip: string;
  readonly port: number;
  readonly protocol: Protocol;
  /**
   * Whether packets from the fabric may enter here. A service that is not an entry still delivers to its local
   * backends what other nodes send.
   */
  readonly entry: boolean;
  readonly backends: readonly DesiredBackend[];
}

/** The whole desired state. What is not in it is taken away. */
export interface DesiredDatapath {
  readonly generation: number;
  readonly node: NodeAddresses;
  /** Towards the fabric. */
  readonly interfaces: readonly string[];
  /** Blocks that this node's pods have their addresses from. */
  readonly podBlocks: readonly string[];
  readonly services: readonly DesiredService[];
}

/** How full a map is. `refused` counts what did not fit since the maps were made. */
export interface MapUsage {
  readonly name: string;
  readonly used: number;
  readonly max: number;
  readonly refused: number;
}

/** Something asked for that was not done, with the reason as a sentence for people. */
export interface Refusal {
  /** "10.101.0.5:80/TCP", "10.1.0.0/26", "eth0" */
  readonly subject: string;
  readonly reason: string;
}

export interface SyncResult {
  readonly generation: number;
  readonly maps: readonly MapUsage[];
  /** Map entries, attachments and devices that were written or taken away. 0: everything was as wanted. */
  readonly changed: number;
  readonly refused: readonly Refusal[];
}

/** What to prove. For a VIP every port that the desired state has of it is tried. */
export type ProofTarget =
  | { readonly kind: "vip"; readonly address: string }
  | { readonly kind: "podBlock"; readonly prefix: string };

/**
 * Proven: synthetic packets went through the attached programs and came out as they must. Failed: one came out
 * otherwise, or the program is not there. Unproven: it cannot be said, for example behind a foreign program.
 */
export type ProofState = "Proven" | "Failed" | "Unproven";

export interface ProofResult {
  readonly target: ProofTarget;
  readonly state: ProofState;
  /** A sentence for people; for Proven, what was tried. */
  readonly reason: string;
}

export type FindingKind =
  | "InterfaceMissing"
  | "ForeignProgramAhead"
  | "LinkMissing"
  | "LinkDetached"
  | "ProgramChanged"
  | "MapEntryMissing"
  | "MapEntryChanged"
  | "MapEntryExtra"
  | "TunnelDeviceMissing"
  | "TunnelDeviceChanged";

/** Something that is not as it was left. */
export interface Finding {
  readonly kind: FindingKind;
  /** "eth0 ingress", "services 10.101.0.5:80/TCP" */
  readonly subject: string;
  readonly message: string;
  /** Whether repair() mends it: what is not ours is only told. */
  readonly repairable: boolean;
  /** The foreign program. */
  readonly program?: { readonly id: number; readonly name: string };
}

export interface RepairResult {
  readonly repaired: readonly Finding[];
  readonly left: readonly Finding[];
}

/** One entry of the route_attributes map. Numbers as in bpf/routes.h; `nextHop` absent where the route has none. */
export interface RouteAttributesEntry {
  readonly id: number;
  readonly cluster: number;
  readonly originASN: number;
  readonly peer: number;
  readonly flags: number;
  readonly nextHop?: string;
  readonly community: number;
}

export interface RoutePrefixEntry {
  readonly prefix: string;
  readonly routeId: number;
}

export interface DesiredRoutes {
  readonly attributes: readonly RouteAttributesEntry[];
  readonly prefixes: readonly RoutePrefixEntry[];
}

export interface RouteSyncResult {
  readonly changed: number;
  readonly maps: readonly MapUsage[];
}

/** Packets and bytes between two routes since the counters were made; ids as in route_attributes. */
export interface FlowCounter {
  readonly source: number;
  readonly destination: number;
  readonly packets: bigint;
  readonly bytes: bigint;
}

export interface FlowCounters {
  readonly flows: readonly FlowCounter[];
  /** Packets of flows that found no room in the map. */
  readonly refused: bigint;
}

export interface DatapathOptions {
  /** Mount point of a bpffs. */
  readonly bpffs: string;
  /** Name of this node, as in its Node object. */
  readonly node: string;
  /** Directory with datapath.bpf.o. */
  readonly objectDirectory: string;
  /** Directory for what must outlive the process and does not fit a map. */
  readonly stateDirectory: string;
  /** UDP port of the tunnel between nodes; default 4789. */
  readonly tunnelPort?: number;
  /** Default: tcx where the kernel has it. */
  readonly attach?: "tcx" | "clsact";
}

/** A kernel route that we want. Without an interface the kernel finds it. */
export interface DesiredKernelRoute {
  readonly prefix: string;
  readonly nextHops: readonly { readonly address: string; readonly interface?: string }[];
}

export interface KernelRoutesResult {
  readonly installed: number;
  readonly changed: number;
  readonly refused: readonly { readonly prefix: string; readonly reason: string }[];
}

/** Bounds of the maps (bpf/maps.h has the same). */
export const limits = {
  services: 16_384,
  backendsPerService: 256,
  vips: 16_384,
  connections: 65_536,
  routes: 16_384,
  routeAttributes: 16_384,
  localPrefixes: 256,
  flows: 8192,
} as const;
