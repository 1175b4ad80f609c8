// fleet/client: a question to several clusters and what comes back, as plain data.
import type { LabelSelector } from "../../api/index.ts";
import type { Clock, KubeApi } from "../../kube/index.ts";
import type { Coverage, MapData, NodeChunk, ResultSchema } from "../../results/types.ts";
import type { Dial } from "../dial.ts";
import type { Timing } from "../protocol.ts";

/** A cluster that is asked, with the caller's own credentials. */
export interface AskedCluster {
  readonly name: string;
  readonly client: KubeApi;
}

export interface Question {
  readonly script: string;
  readonly nodeSelector: LabelSelector;
  /** 1 to 3600. */
  readonly durationSeconds: number;
  readonly positional: readonly string[];
}

export interface RunTraceOptions extends Question {
  readonly clusters: readonly AskedCluster[];
  /** Attach nowhere unless every node of every cluster compiles the script. */
  readonly strict: boolean;
  readonly onEvent: (event: TraceEvent) => void;
  /** Aborted: end the run now and hand in what there is. */
  readonly stop: AbortSignal;
  readonly clock: Clock;
  readonly randomBytes: (size: number) => Uint8Array;
  /** Whether a hub's unix socket is on this machine. */
  readonly socketExists: (path: string) => boolean;
  readonly timing?: Partial<Timing>;
  /** How hubs are reached; default TLS. A simulation passes its own. */
  readonly dial?: Dial;
}

export interface NodeFailure {
  readonly node: string;
  readonly error: string;
}

export type Line = Extract<NodeChunk, { readonly kind: "line" }>;

export type TraceEvent =
  /** The cluster takes no part: it refused, or does not answer. */
  | { readonly kind: "out"; readonly cluster: string; readonly error: string }
  | {
      readonly kind: "compiled";
      readonly cluster: string;
      readonly asked: number;
      readonly compiled: number;
      readonly errors: readonly NodeFailure[];
      readonly warnings: readonly string[];
    }
  | { readonly kind: "attached"; readonly cluster: string; readonly asked: number; readonly attached: number }
  /** Phase 1 is over everywhere and has this form; what comes next are lines and rounds. */
  | { readonly kind: "running"; readonly schema: ResultSchema }
  | { readonly kind: "line"; readonly node: string; readonly line: Line }
  | { readonly kind: "round"; readonly round: Extract<NodeChunk, { readonly kind: "round" }> };

export interface ClusterCoverage {
  readonly cluster: string;
  readonly asked: number;
  readonly answered: number;
  /** Why it took no part, or ended early: `refused (...)`, `does not answer (...)`. */
  readonly error?: string;
}

export interface TraceOutcome {
  /** failed: no node answered. partial: some did. */
  readonly status: "ok" | "partial" | "failed";
  readonly schema: ResultSchema | undefined;
  /** Merged over all nodes of all clusters. */
  readonly maps: readonly MapData[];
  readonly coverage: Coverage;
  readonly clusters: readonly ClusterCoverage[];
  /** What the script gave to exit(). */
  readonly exitCode: number;
  /** Why nothing was attached. */
  readonly reason?: string;
}
