// trace: what the tracer and its child process say to one another over the IPC channel. Plain JSON.
import type { NodeChunk } from "../results/types.ts";
import type { Finished, Prepared, PrepareRequest, TracerOptions } from "./types.ts";

/** Everything that the child needs to know, on its command line. */
export interface ChildOptions extends TracerOptions {
  readonly limits: TracerLimits;
  /** The memory cgroup that the parent puts the child into; the child removes it when the parent is gone. */
  readonly cgroup?: string;
}

/** Ceilings of one node. */
export interface TracerLimits {
  /** Runs at once, prepared ones included. */
  readonly runs: number;
  /** Bytes of kernel memory for one run's maps, ring included. */
  readonly mapBytes: number;
  /** Bytes of one run's ring, a power of two. */
  readonly ringBytes: number;
  readonly durationMs: number;
  /** Attach points of one run: each takes the kernel some tens of milliseconds to take off. */
  readonly probes: number;
}

export type ToChild =
  | { readonly type: "prepare"; readonly id: number; readonly request: PrepareRequest }
  | { readonly type: "attach"; readonly id: number; readonly run: string }
  | { readonly type: "stop"; readonly id: number; readonly run: string; readonly reason: Finished["reason"] };

export type Attached = { readonly ok: boolean; readonly probes: number; readonly error?: string };

export type FromChild =
  | { readonly type: "ready" }
  | { readonly type: "prepared"; readonly id: number; readonly result: Prepared }
  | { readonly type: "attached"; readonly id: number; readonly result: Attached }
  | { readonly type: "stopped"; readonly id: number }
  | { readonly type: "chunks"; readonly run: string; readonly chunks: readonly NodeChunk[] }
  | { readonly type: "finished"; readonly run: string; readonly end: Finished };
