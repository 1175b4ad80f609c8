// agent: what `waggle agent` is started with.
import type { MetricsOptions } from "../metrics/index.ts";

export interface AgentOptions {
  /** Name of this node's Node object. */
  readonly node: string;
  readonly kubeconfig: string | undefined;
  /** Unix socket of the API server, where it is reached by one. */
  readonly apiSocket: string | undefined;
  readonly speakerSocket: string;
  readonly bpffs: string;
  readonly stateDir: string;
  /** Directory with the datapath's objects. */
  readonly objectDir: string;
  readonly cniConfDir: string;
  readonly cniDataDir: string;
  /** Directory on tmpfs for copies of passwords; undefined: wherever there is one. */
  readonly passwordDir: string | undefined;
  /** MTU for pods' interfaces, in bytes; undefined leaves the kernel's default. */
  readonly podMTU: number | undefined;
  readonly hub: HubOptions;
  /** Directory with the pinned owner maps. */
  readonly ownerDir: string | undefined;
  /** JSON file with the names behind owners' ids. */
  readonly ownerNames: string | undefined;
  /** Number of this node in owner maps; 0 where there is none. */
  readonly nodeIndex: number;
  /** Whether this agent speaks for events that nobody owns. */
  readonly countsUnattributed: boolean;
  readonly cacheDir: string;
  readonly logLevel: string;
  readonly metrics: Pick<MetricsOptions, "listen" | "tls"> | undefined;
  readonly version: string;
}

/** Where copies of passwords may lie; the first that is on tmpfs is taken. */
export const passwordDirectories = (
  options: Pick<AgentOptions, "node" | "stateDir" | "passwordDir">,
): readonly string[] =>
  options.passwordDir !== undefined
    ? [options.passwordDir]
    : [`${options.stateDir}/passwords`, `/run/waggle/passwords/${options.node}`];

export interface HubOptions {
  readonly socket: string | undefined;
  /** host:port */
  readonly address: string | undefined;
  /** File with the projected token for audience waggle-hub; without one this agent joins no hub. */
  readonly tokenFile: string | undefined;
  /** PEM file; without one the certificate comes from the ConfigMap that the hub writes. */
  readonly caFile: string | undefined;
}
