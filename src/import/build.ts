// import: our objects, with what other products take for granted written out.
import type {
  BGPAdvertisement,
  BGPPeer,
  BGPPolicy,
  ClusterNetwork,
  IPPool,
  IPReservation,
  LabelSelector,
} from "../api/index.ts";
import type { ImportOptions } from "./types.ts";

const apiVersion = "waggle.dev/v1alpha1" as const;

/** On each neighbour: its name, for BGPAdvertisements to select by. */
export const peerLabel = "import.waggle.dev/peer";
/** On Services that are to have an address of a pool that is not for everybody. */
export const poolLabel = "waggle.dev/pool";

/** A name that Kubernetes takes, at most 63 characters; what is cut or replaced is told apart by a hash. */
export function nameOf(...parts: readonly string[]): string {
  const wanted = parts.join("-");
  const clean = wanted
    .toLowerCase()
    .replaceAll(/[^a-z0-9-]+/g, "-")
    .replaceAll(/^-+|-+$/g, "");
  if (clean === wanted && clean.length <= 63) return clean;
  let hash = 0x811c_9dc5;
  for (let i = 0; i < wanted.length; i++) hash = Math.imul(hash ^ wanted.charCodeAt(i), 0x0100_0193) >>> 0;
  return `${clean.slice(0, 54)}-${hash.toString(16).padStart(8, "0")}`.replace(/^-/, "x-");
}

/** What no product limits is limited by Waggle: its highest limit stands for none. */
export const unlimited = { ipv4: 2_000_000, ipv6: 2_000_000 } as const;

/** What only Waggle has is left to its own defaults, which whoever writes the object out fills in. */
export const peerObject = (
  name: string,
  label: string,
  spec: Pick<BGPPeer["spec"], "nodeSelector" | "families"> & Partial<BGPPeer["spec"]>,
): BGPPeer => ({
  apiVersion,
  kind: "BGPPeer",
  metadata: { name, labels: { [peerLabel]: label } },
  spec: {
    port: 179,
    holdSeconds: 90,
    connectRetrySeconds: 120,
    passive: false,
    gracefulRestart: { enabled: false, restartSeconds: 120 },
    maxPrefixes: unlimited,
    ...spec,
  } as BGPPeer["spec"],
});

export const policyObject = (name: string, rules: BGPPolicy["spec"]["rules"]): BGPPolicy => ({
  apiVersion,
  kind: "BGPPolicy",
  metadata: { name },
  spec: { rules },
});

export type Item = BGPAdvertisement["spec"]["advertise"][number];
export type Attributes = NonNullable<Item["attributes"]>;

/** Neighbours by the label that they have been given. */
export const peersNamed = (names: readonly string[]): LabelSelector => ({
  matchExpressions: [{ key: peerLabel, operator: "In", values: [...names].sort() }],
});

export const advertisementObject = (
  name: string,
  nodeSelector: LabelSelector,
  peers: readonly string[],
  advertise: readonly Item[],
): BGPAdvertisement => ({
  apiVersion,
  kind: "BGPAdvertisement",
  metadata: { name },
  spec: { nodeSelector, peerSelector: peersNamed(peers), advertise },
});

export const poolObject = (
  name: string,
  spec: Pick<IPPool["spec"], "purpose" | "blocks"> & Partial<IPPool["spec"]>,
): IPPool => ({
  apiVersion,
  kind: "IPPool",
  metadata: { name },
  spec: { priority: 100, cooldownSeconds: 30, disabled: false, ...spec },
});

export const reservationObject = (
  namespace: string,
  name: string,
  address: string,
  serviceName: string,
): IPReservation => ({
  apiVersion,
  kind: "IPReservation",
  metadata: { namespace, name },
  spec: { address, serviceName },
});

export interface NodeRule {
  readonly nodeSelector: LabelSelector;
  readonly localASN: number;
  /** Absent: nobody may connect. */
  readonly listenPort?: number;
}

/** Whoever delivers packets to Services goes on doing so; Services without a loadBalancerClass get their addresses from us all the same. */
export const networkObject = (
  cluster: NonNullable<ImportOptions["cluster"]>,
  mode: ImportOptions["mode"],
  rules: readonly NodeRule[],
): ClusterNetwork => ({
  apiVersion,
  kind: "ClusterNetwork",
  metadata: { name: "default" },
  spec: {
    clusterName: cluster.name,
    clusterID: cluster.id,
    servicesWithoutClass: "Always",
    nodes: rules.map(({ nodeSelector, localASN, listenPort }) => ({
      nodeSelector,
      mode,
      owns: [],
      localASN,
      listen: listenPort === undefined ? { mode: "None", port: 179 } : { mode: "Any", port: listenPort },
      routerIDSource: "NodeAddress",
      interfaces: ["eth0"],
    })),
  } as unknown as ClusterNetwork["spec"],
});
