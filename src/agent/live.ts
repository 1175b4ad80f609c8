// agent: a node's plan foretold from outside: objects listed with the caller's own credentials, the rest from the agent's report.
import { isPaused, type NodeNetwork, type NodeNetworkStatus } from "../api/index.ts";
import { isForbidden, type KubeApi, kinds } from "../kube/index.ts";
import type { Address } from "../net/address.ts";
import {
  type Announcement,
  addressesOf,
  type InForce,
  inForceOf,
  type NodeFacts,
  noDrain,
  nothingRemembered,
  type Plan,
  type PlanInputs,
  plan,
  type Reported,
  type SessionFacts,
  type Snapshot,
  type SpeakerPeer,
  toAddress,
} from "../plan/index.ts";
import { announcedElsewhere } from "./elsewhere.ts";
import { missingSecret } from "./messages.ts";
import { type ClusterObjects, snapshotOf } from "./snapshot.ts";

/** A cluster as one moment's lists show it. */
export interface LiveCluster {
  /** Empty where the caller may not know it. */
  readonly uid: string;
  readonly objects: ClusterObjects;
  readonly networks: readonly NodeNetwork[];
}

/** What a plan of one node is made of, and what its agent says. */
export interface LiveNode {
  readonly node: string;
  readonly snapshot: Snapshot;
  readonly inputs: PlanInputs;
  readonly facts: NodeFacts;
}

/** Lists everything that plans are made of. @throws ApiError, TransportError: with a kind missing nothing can be foretold */
export async function readCluster(api: KubeApi): Promise<LiveCluster> {
  const items = async <T>(list: Promise<{ readonly items: readonly T[] }>): Promise<readonly T[]> =>
    (await list).items;
  const uidOf = async (): Promise<string> => {
    try {
      return (await api.get(kinds.Namespace, "kube-system")).metadata.uid ?? "";
    } catch (error) {
      if (isForbidden(error)) return "";
      throw error;
    }
  };
  const [uid, networks, nodes, clusterNetworks, services, endpointSlices, pools, allocations, ...rest] =
    await Promise.all([
      uidOf(),
      items(api.list(kinds.NodeNetwork)),
      items(api.list(kinds.Node)),
      items(api.list(kinds.ClusterNetwork)),
      items(api.list(kinds.Service)),
      items(api.list(kinds.EndpointSlice)),
      items(api.list(kinds.IPPool)),
      items(api.list(kinds.IPAllocation)),
      items(api.list(kinds.BGPPeer)),
      items(api.list(kinds.BGPPolicy)),
      items(api.list(kinds.BGPAdvertisement)),
      items(api.list(kinds.ClusterPeering)),
    ]);
  const [peers, policies, advertisements, peerings] = rest;
  return {
    uid,
    networks,
    objects: {
      nodes,
      clusterNetworks,
      services,
      endpointSlices,
      pools,
      allocations,
      peers,
      policies,
      advertisements,
      peerings,
    },
  };
}

type Status = NodeNetworkStatus | undefined;

const reportedOf = (status: Status): ReadonlyMap<string, Reported> | undefined =>
  status?.announced && new Map(status.announced.map((a) => [a.prefix, a] as const));

/** An announcement of which only the report is known. */
function fromReport(
  node: string,
  reported: NonNullable<NonNullable<Status>["announced"]>[number],
): Announcement {
  const [namespace, name] = reported.service?.split("/") ?? [];
  return {
    prefix: reported.prefix,
    kind: name === undefined ? "Pods" : "VIPs",
    state: reported.state,
    reason: { code: "Announced", message: reported.reason ?? "" },
    owner:
      name === undefined
        ? { kind: "Node", name: node }
        : { kind: "Service", namespace: namespace ?? "", name },
    ...(reported.sharedBy && { sharedBy: reported.sharedBy }),
    advertisements: [],
    peers: reported.peers ?? [],
    refusals: [],
  };
}

/** What is in force as far as the report says: which prefixes are announced to whom, the rest as it would be planned. */
function previousOf(
  snapshot: Snapshot,
  node: string,
  inputs: PlanInputs,
  status: Status,
): InForce | undefined {
  if (!status?.announced) return undefined;
  const nodes = snapshot.nodes.map((n) => {
    const { annotations: _, ...metadata } = n.metadata;
    return n.metadata.name === node && isPaused(n) ? { ...n, metadata } : n;
  });
  const planned = inForceOf(plan({ ...snapshot, nodes }, node, { ...inputs, drain: noDrain }));
  const known = new Map(planned.announcements.map((a) => [a.prefix, a] as const));
  const announcements = status.announced
    .filter((a) => a.state !== "Withdrawn" && a.code !== "AwaitingAck")
    .map((a): Announcement => {
      const own = known.get(a.prefix);
      return own ? { ...own, state: a.state, peers: a.peers ?? [] } : fromReport(node, a);
    });
  return { ...planned, announcements };
}

/** Our address on a session: as reported, else the node's own of the neighbour's family. */
const localAddressOf =
  (status: Status, addresses: readonly Address[]) =>
  (peer: SpeakerPeer): Address | undefined => {
    const session = status?.sessions?.find((s) => s.peer === peer.name);
    return session?.localAddress === undefined
      ? // On a link without numbers ours is known once there is a session.
        addresses.find((a) => a.family === peer.address.family && peer.interface === undefined)
      : toAddress(session.localAddress);
  };

const sessionFacts = (
  s: NonNullable<NonNullable<Status>["sessions"]>[number],
): SessionFacts & { readonly since?: string } => ({
  state: s.state,
  ...(s.since !== undefined && { since: s.since }),
  ...(s.reason !== undefined && { reason: s.reason }),
  ...(s.families && { families: s.families }),
});

/** One node of a cluster. `now` in unix ms. */
export function liveNode(live: LiveCluster, node: string, now: number): LiveNode {
  const network = live.networks.find((n) => n.metadata.name === node);
  const snapshot = snapshotOf(live.uid, live.objects, network, nothingRemembered);
  const status = network?.status;
  const missing = new Set(status?.sessions?.map((s) => s.reason));
  const secrets = snapshot.peers.flatMap((p) => p.spec.passwordSecretName ?? []);
  const proofs = new Map(
    (status?.proofs ?? []).map((p) => [p.prefix, { state: p.state, reason: p.reason ?? "" }] as const),
  );
  const since = Date.parse(status?.drain?.since ?? "");
  const inputs: PlanInputs = {
    proofs,
    passwords: new Set(secrets.filter((name) => !missing.has(missingSecret(name)))),
    drain: { phase: status?.drain?.phase ?? "None", since: Number.isNaN(since) ? 0 : since },
    retiring: [],
    elsewhere: announcedElsewhere(live.networks, node, snapshot.nodes),
    guardSerial: 0,
    host: { connected: [], apiServer: [], cniDataDir: "" },
    now,
  };
  const previous = previousOf(snapshot, node, inputs, status);
  const reported = reportedOf(status);
  const own = snapshot.nodes.find((n) => n.metadata.name === node);
  return {
    node,
    snapshot,
    inputs: { ...inputs, ...(previous && { previous }) },
    facts: {
      sessions: new Map((status?.sessions ?? []).map((s) => [s.peer, sessionFacts(s)] as const)),
      proofs,
      ...(reported && { reported }),
      localAddress: localAddressOf(status, addressesOf(own)),
    },
  };
}

/** Names of the nodes, sorted; of those that are named, where some are. */
export function nodesOf(live: LiveCluster, named: readonly string[] | undefined): readonly string[] {
  const all = live.objects.nodes.map((n) => n.metadata.name).sort();
  return named ? all.filter((n) => named.includes(n)) : all;
}

/** The plan that a node's agent should have made. */
export const foretold = ({ node, snapshot, inputs }: LiveNode): Plan => plan(snapshot, node, inputs);
