// agent: objects of the API as a snapshot: what an agent's caches hold, or what somebody who foretells its plan has listed.
import {
  type BGPAdvertisement,
  type BGPPeer,
  type BGPPolicy,
  type ClusterNetwork,
  type ClusterPeering,
  type EndpointSlice,
  type IPAllocation,
  type IPPool,
  type Node,
  type NodeNetwork,
  pausedAnnotation,
  type Service,
} from "../api/index.ts";
import type { LastGood, Snapshot } from "../plan/index.ts";

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

/** Of nodes an agent needs names, labels, addresses, taints and readiness; heartbeats change nothing of it. */
export function thinNode(node: Node): Node {
  const { name, uid, labels, annotations } = node.metadata;
  const paused = annotations?.[pausedAnnotation];
  return {
    apiVersion: "v1",
    kind: "Node",
    metadata: {
      name,
      ...(uid !== undefined && { uid }),
      ...(labels && { labels }),
      ...(paused !== undefined && { annotations: { [pausedAnnotation]: paused } }),
    },
    ...(node.spec?.taints && { spec: { taints: node.spec.taints } }),
    status: {
      addresses: node.status?.addresses ?? [],
      conditions: (node.status?.conditions ?? [])
        .filter((c) => c.type === "Ready")
        .map(({ type, status }) => ({ type, status })),
    },
  };
}

/** Without status and versions: the agent's own reports must not look like news. */
function thinNetwork(network: NodeNetwork): NodeNetwork {
  const { name, uid, annotations } = network.metadata;
  return {
    apiVersion: network.apiVersion,
    kind: network.kind,
    metadata: { name, ...(uid !== undefined && { uid }), ...(annotations && { annotations }) },
    spec: network.spec,
  };
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
