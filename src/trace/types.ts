// trace: the tracer as the agent and the fleet see it. It runs scripts on this node, in a child process or in this one.
import type { NodeChunk, ResultSchema } from "../results/types.ts";

export interface PrepareRequest {
  readonly run: string;
  readonly script: string;
  readonly positional: readonly string[];
  readonly durationMs: number;
  /** Ceilings in bytes; 0 = the tracer's own. */
  readonly mapBytes: number;
  readonly ringBytes: number;
}

export type Prepared =
  | {
      readonly ok: true;
      readonly schema: ResultSchema;
      readonly schemaHash: string;
      readonly warnings: readonly string[];
    }
  | { readonly ok: false; readonly errors: readonly string[] };

export interface Finished {
  readonly reason: "deadline" | "exit" | "stopped" | "hub-lost" | "error";
  readonly message?: string;
  readonly lostEvents: number;
  readonly mapFull: number;
  readonly unattributed: number;
  /** Divisions by zero, loops that were cut short. Absent: not known. */
  readonly runtimeErrors?: number;
  readonly exitCode: number;
}

/** What a run tells while it lives. `finished` is the last call. */
export interface RunListener {
  chunk(chunk: NodeChunk): void;
  finished(end: Finished): void;
}

/** Phase 1 is prepare (compile and load, attach nothing), phase 2 attach. Bounded: at most 8 runs at once. */
export interface Tracer {
  prepare(request: PrepareRequest): Promise<Prepared>;
  attach(
    run: string,
    listener: RunListener,
  ): Promise<{ readonly ok: boolean; readonly probes: number; readonly error?: string }>;
  /** Ends a run, prepared or attached. Detached when the promise resolves. */
  stop(run: string, reason: Finished["reason"]): Promise<void>;
  close(): Promise<void>;
}

/** Names behind the ids that scripts see, written by the agent as `<state-dir>/names.json` by rename. */
export interface NameTables {
  readonly node: string;
  readonly cluster: string;
  readonly nodes: Readonly<Record<number, string>>;
  readonly pods: Readonly<Record<number, string>>;
  readonly namespaces: Readonly<Record<number, string>>;
  readonly clusters: Readonly<Record<number, string>>;
  readonly peers: Readonly<Record<number, string>>;
}

/** Where a tracer finds the node's things; passed to the child on its command line as JSON. */
export interface TracerOptions {
  /** Directory with the pinned `routes` and `route_attributes` maps; absent where no agent runs. */
  readonly mapDirectory?: string;
  /** Directory with the pinned `owner_netns` and `owner_cgroup` maps. */
  readonly ownerDirectory?: string;
  readonly namesFile?: string;
  readonly nodeIndex: number;
  readonly unownedIsNode: boolean;
  readonly countsUnattributed: boolean;
  /** Directory for the BTF index, root-owned. */
  readonly cacheDirectory: string;
}
