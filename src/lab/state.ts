// lab: what is written down about a running lab, so that any later command can use it and take it down.
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ProcessRecord } from "./processes.ts";
import type { RouterKind } from "./routing.ts";
import type { TopologyOptions } from "./topology.ts";

export interface PodRecord {
  readonly name: string;
  /** Unique in the lab, from 1; what owner maps call the pod. */
  readonly id: number;
  readonly cluster: string;
  readonly node: string;
  readonly namespace: string;
  readonly netns: string;
  readonly app: string;
  readonly addresses: readonly string[];
}

export const controlPlanes = ["embedded", "real"] as const;
/** Our own API server, or etcd, kube-apiserver and kube-controller-manager. */
export type ControlPlane = (typeof controlPlanes)[number];

/** What a lab is made of; every later command on it needs to know. */
export interface LabOptions extends TopologyOptions {
  /** Default embedded. */
  readonly kubernetes?: ControlPlane;
  /** Default bird. */
  readonly router?: RouterKind;
}

export interface RouterRecord {
  readonly name: string;
  readonly netns: string;
  /** Socket of birdc, or of bgpd for vtysh. */
  readonly controlSocket: string;
  /** Configuration, log and sockets of the router. */
  readonly directory: string;
}

export interface ClusterRecord {
  readonly name: string;
  readonly id: number;
  /** Administrator's kubeconfig, mode 0600. */
  readonly kubeconfig: string;
  readonly apiSocket: string;
  /** The first one. */
  readonly router: RouterRecord;
  readonly routers: readonly RouterRecord[];
  readonly client: { readonly name: string; readonly netns: string };
  readonly nodes: readonly { readonly name: string; readonly netns: string; readonly directory: string }[];
}

export interface LabState {
  readonly lab: string;
  readonly directory: string;
  readonly options: LabOptions;
  readonly startedAt: string;
  readonly bpffs: string;
  readonly cgroup: string;
  /** File systems that this lab mounted and therefore unmounts. */
  readonly mounts: readonly string[];
  readonly clusters: readonly ClusterRecord[];
  readonly processes: readonly ProcessRecord[];
  readonly pods: readonly PodRecord[];
}

export const labsDirectory = "/run/waggle/lab";
export const stateDirectory = (lab: string): string => join(labsDirectory, lab);
/** Sockets of the lab's FRR routers: FRR's user may enter no directory of root's. */
export const frrDirectory = (lab: string): string => join("/run/waggle-lab-frr", lab);
const stateFile = (lab: string): string => join(stateDirectory(lab), "lab.json");

/** The lab's state; undefined where there is none. */
export function readState(lab: string): LabState | undefined {
  try {
    return JSON.parse(readFileSync(stateFile(lab), "utf8")) as LabState;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** Writes by rename: a reader or a killed writer never leaves half a file. */
export function writeState(state: LabState): void {
  mkdirSync(state.directory, { recursive: true, mode: 0o700 });
  const path = stateFile(state.lab);
  writeFileSync(`${path}.new`, JSON.stringify(state, null, 2), { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

export const removeState = (lab: string): void =>
  rmSync(stateDirectory(lab), { recursive: true, force: true });
