// agent: the parts that the loop works with, as interfaces: the real ones in production, simulated ones in tests.
import type { NodeNetwork, NodeNetworkStatus } from "../api/index.ts";
import type {
  DesiredDatapath,
  DesiredKernelRoute,
  DesiredRoutes,
  Finding,
  KernelRoutesResult,
  ProofResult,
  ProofTarget,
  RepairResult,
  RouteAttributesEntry,
  RoutePrefixEntry,
  RouteSyncResult,
  SyncResult,
} from "../datapath/index.ts";
import type { Clock, EventRecorder } from "../kube/index.ts";
import type {
  Conflist,
  DrainProgress,
  HostFacts,
  InForce,
  LastGood,
  Retirement,
  Snapshot,
} from "../plan/index.ts";
import type { CniState } from "./conflist-file.ts";
import type { NamesPort } from "./names.ts";
import type { Watch } from "./rollouts.ts";
import type { SpeakerPort } from "./speaker/client.ts";

/** An Event about this node's NodeNetwork. */
export type NewEvent = Parameters<EventRecorder["record"]>[1];

/** Lines for people who run the agent; constant messages with members, as pino takes them. */
export interface Log {
  debug(members: object, message: string): void;
  info(members: object, message: string): void;
  warn(members: object, message: string): void;
  error(members: object, message: string): void;
}

/** The node's datapath. Everything may throw; nothing may block for longer than 10 ms at a time. */
export interface DatapathPort {
  /** Hash of the map layout. */
  readonly layout: string;
  sync(desired: DesiredDatapath): Promise<SyncResult>;
  prove(targets: readonly ProofTarget[]): Promise<readonly ProofResult[]>;
  inspect(): Promise<readonly Finding[]>;
  /** Mends what {@link inspect} finds, where it is ours. */
  repair(): Promise<RepairResult>;
  /** Attaches to interfaces of pods that have come since the last sync. */
  followPods(): Promise<number>;
  /** What the pinned route maps hold. */
  readRoutes(): Promise<{
    readonly attributes: readonly RouteAttributesEntry[];
    readonly prefixes: readonly RoutePrefixEntry[];
  }>;
  syncRoutes(desired: DesiredRoutes): Promise<RouteSyncResult>;
  /** Closes file descriptors; links, programs and maps stay. */
  close(): void;
}

/** Our routes in the node's kernel table. */
export interface KernelRoutesPort {
  /** `prune`: routes of ours that are not wanted go; false leaves them until it is known which are stale. */
  sync(routes: readonly DesiredKernelRoute[], prune: boolean): Promise<KernelRoutesResult>;
  close(): void;
}

/** Opens a TCP connection and closes it. Undefined where it stood; else why not. */
export type ConnectPort = (address: string, port: number, timeoutMs: number) => Promise<string | undefined>;

/** What an agent keeps over a restart, besides the snapshot. */
export interface Progress {
  readonly inForce?: InForce;
  readonly drain: DrainProgress;
  readonly retiring: readonly Retirement[];
  readonly guardSerial: number;
  /** The last generation that was sent to a speaker. */
  readonly generation: number;
  /** Absent in what an earlier version has stored. */
  readonly watches?: readonly Watch[];
}

/** What is stored of one cluster. Snapshots and progress of another cluster are never handed out. */
export interface StateStore {
  readSnapshot(): Snapshot | undefined;
  writeSnapshot(snapshot: Snapshot): void;
  readProgress(clusterUID: string): Progress | undefined;
  writeProgress(clusterUID: string, progress: Progress): void;
}

/** The cluster as the loop sees it. */
export interface ClusterPort {
  readonly complete: boolean;
  readonly staleBecause: string | undefined;
  /** With its status. */
  readonly nodeNetwork: NodeNetwork | undefined;
  /** The same object until something in it changes; undefined until {@link complete}. */
  snapshot(lastGood: LastGood): Snapshot | undefined;
}

export interface PasswordPort {
  want(names: ReadonlySet<string>): void;
  readonly settled: boolean;
  present(): ReadonlySet<string>;
  passwords(): ReadonlyMap<string, string>;
}

export interface ElsewherePort {
  /**
   * Prefixes that other nodes announce, as the API server said when it was asked at `since` (unix ms) or later; undefined
   * while it has not. Asks again every `everyMs` as long as this is called; `onChange` follows each answer.
   */
  get(
    node: string,
    nodes: Snapshot["nodes"],
    since: number,
    everyMs: number,
    onChange: () => void,
  ): ReadonlySet<string> | undefined;
  /** Nobody wants to know any more; the next answer must be a new one. */
  forget(): void;
}

export interface StatusPort {
  /** Takes the newest status; it is written when it differs from what is stored. */
  set(status: NodeNetworkStatus): void;
}

/** All that the loop is made of. */
export interface AgentParts {
  readonly node: string;
  /** Number of this node in owner maps; 0 where there is none. */
  readonly nodeIndex: number;
  readonly version: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly cluster: ClusterPort;
  readonly passwords: PasswordPort;
  readonly elsewhere: ElsewherePort;
  readonly speaker: SpeakerPort;
  readonly datapath: DatapathPort;
  readonly kernelRoutes: KernelRoutesPort;
  readonly connect: ConnectPort;
  readonly store: StateStore;
  readonly host: () => HostFacts;
  /** @throws Error when the directory cannot be read or written */
  readonly cni: (owns: boolean, wanted: Conflist | undefined) => CniState;
  readonly names: NamesPort;
  readonly status: StatusPort;
  readonly event: (event: NewEvent) => void;
}
