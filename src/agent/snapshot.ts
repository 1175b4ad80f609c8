// agent: objects of the API as a snapshot: what an agent's caches hold, or what somebody who foretells its plan has listed.
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
import type { LastGood, Snapshot } from "../plan/index.ts";
import { thinNetwork, thinNode } from "./thin.ts";

/** Everything that a snapshot is made of, as the API server has it. */
export interface ClusterObjects {
  readonly nodes: readonly Node[];
  readonly clusterNetworks: readonly ClusterNetwork[];
  readonly services: readonly Service[];
  readonly endpointSlices: readonly EndpointSlice[];
  readonly pools: readonly IPPool[];
  readonly allocations: readonly IPAllocation[];
  readonly peers: readonly BGPPeer[];
  readonly policies: readonly BGPPolicy[];
  readonly advertisements: readonly BGPAdvertisement[];
  readonly peerings: readonly ClusterPeering[];
}

/** The snapshot of a node whose NodeNetwork is `network`. */
export function snapshotOf(
  clusterUID: string,
  objects: ClusterObjects,
  network: NodeNetwork | undefined,
  lastGood: LastGood,
): Snapshot {
  const { nodes, clusterNetworks, ...others } = objects;
  const clusterNetwork = clusterNetworks.find((n) => n.metadata.name === "default");
  return {
    clusterUID,
    nodes: nodes.map(thinNode),
    ...(network && { nodeNetwork: thinNetwork(network) }),
    ...(clusterNetwork && { clusterNetwork }),
    ...others,
    lastGood,
  };
}
