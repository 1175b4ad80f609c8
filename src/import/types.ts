// import: what goes in and what comes out when manifests of another product become ours. Plain data.
import type { KubernetesObject } from "../api/index.ts";

/** An object of a file, with its place. */
export interface Source {
  /** As it was named; `live` for what a cluster holds. */
  readonly file: string;
  /** Which document of the file, from 0. */
  readonly document: number;
  readonly object: KubernetesObject;
}

/**
 * `error`: it has no equal, and what stands there is not in the result. `warning`: it has been converted, but something is
 * different or left to do. `note`: a default that was not written is now.
 */
export type Severity = "error" | "warning" | "note";

/** Something that whoever imports has to know. */
export interface Finding {
  readonly severity: Severity;
  readonly code: string;
  readonly file: string;
  readonly document: number;
  /** Kind/name or Kind/namespace/name. */
  readonly object: string;
  /** `spec.peers[0].peerAddress`; empty for the object as a whole. */
  readonly path: string;
  readonly message: string;
}

export interface ImportOptions {
  /** For the ClusterNetwork; without it none is written. */
  readonly cluster?: { readonly name: string; readonly id: number };
  readonly mode: "Observe" | "Allocate" | "Announce";
}

export interface Imported {
  readonly objects: readonly KubernetesObject[];
  readonly findings: readonly Finding[];
}

export const dialects = ["cilium", "metallb", "frr-k8s"] as const;
export type Dialect = (typeof dialects)[number];
