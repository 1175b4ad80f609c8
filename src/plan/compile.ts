// plan: the configuration that concerns one node, compiled: what does not compile leaves the last form that did in force.
import type { BGPAdvertisement, ClusterNetwork, ClusterPeering, Node } from "../api/index.ts";
import type { Address, Prefix } from "../net/address.ts";
import type { PeeringRule } from "../routes/index.ts";
import { type CompiledAdvertisement, compileAdvertisement } from "./announce.ts";
import { collectFaults, type Fault } from "./fields.ts";
import { type ClusterNetworkRule, compileRule, ruleOf } from "./noderule.ts";
import { compilePeering, peeringOverlaps } from "./peerings.ts";
import { type CompiledPeer, compilePeer, peerOnNode, sourcesOf } from "./peers.ts";
import type { LastGood, PeerSources, Problem, Snapshot, SpeakerState } from "./types.ts";

type Outcome<T> = { readonly value: T } | { readonly faults: readonly Fault[] };

/**
 * The present form of an object if it compiles, else the last one that did; problems say which field is wrong and whether
 * something older stays in force.
 */
function compileOrKeep<S, T>(
  object: string,
  current: S,
  remembered: S | undefined,
  compile: (source: S, kept: boolean) => Outcome<T>,
  problems: Problem[],
): { readonly value: T; readonly source: S } | undefined {
  const fresh = compile(current, false);
  if ("value" in fresh) return { value: fresh.value, source: current };
  const old = remembered === undefined ? undefined : compile(remembered, true);
  const kept = old !== undefined && "value" in old;
  for (const fault of fresh.faults) problems.push({ object, ...fault, lastGoodInForce: kept });
  return kept ? { value: old.value, source: remembered! } : undefined;
}

export interface Compiled {
  readonly network: ClusterNetwork | undefined;
  readonly rule: ClusterNetworkRule | undefined;
  readonly routerID: number;
  readonly listen: SpeakerState["listen"];
  readonly peerings: readonly PeeringRule[];
  readonly peers: ReadonlyMap<string, { readonly compiled: CompiledPeer; readonly sources: PeerSources }>;
  readonly advertisements: readonly CompiledAdvertisement[];
  readonly problems: readonly Problem[];
  readonly lastGood: LastGood;
}

export const byName = <T extends { readonly metadata: { readonly name: string } }>(
  list: readonly T[],
): readonly T[] => [...list].sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));

export interface OwnNode {
  readonly name: string;
  readonly object: Node | undefined;
  readonly labels: Readonly<Record<string, string>> | undefined;
  readonly addresses: readonly Address[];
}

interface CompiledNetwork {
  readonly rule: ClusterNetworkRule | undefined;
  readonly routerID: number;
  readonly listen: SpeakerState["listen"];
}

function compileNetwork(
  snapshot: Snapshot,
  node: OwnNode,
  problems: Problem[],
): { readonly value: CompiledNetwork; readonly source: ClusterNetwork } | undefined {
  const current = snapshot.clusterNetwork;
  if (!current) return undefined;
  const routerID = snapshot.nodeNetwork?.spec.routerID;
  return compileOrKeep(
    `ClusterNetwork/${current.metadata.name}`,
    current,
    snapshot.lastGood.clusterNetwork,
    (network): Outcome<CompiledNetwork> => {
      const found = ruleOf(network, node.labels);
      if (!found) return { value: { rule: undefined, routerID: 0, listen: [] } };
      // Only who announces needs a router ID.
      if (found.rule.mode !== "Announce") return { value: { rule: found.rule, routerID: 0, listen: [] } };
      const compiled = compileRule(found, {
        name: node.name,
        addresses: node.addresses,
        ...(routerID !== undefined && { routerID }),
      });
      return "value" in compiled ? { value: { rule: found.rule, ...compiled.value } } : compiled;
    },
    problems,
  );
}

/** Compiles everything; nothing in it can fail as a whole. */
export function compileAll(
  snapshot: Snapshot,
  node: OwnNode,
  passwords: ReadonlySet<string>,
  ownBlocks: readonly { readonly pool: string; readonly prefix: Prefix }[],
): Compiled {
  const problems: Problem[] = [];
  const network = compileNetwork(snapshot, node, problems);
  const clusterID = network?.source.spec.clusterID ?? 0;
  const rule = network?.value.rule;

  const peerings: PeeringRule[] = [];
  const goodPeerings: Record<string, ClusterPeering> = {};
  for (const peering of byName(snapshot.peerings)) {
    const { name } = peering.metadata;
    const kept = compileOrKeep(
      `ClusterPeering/${name}`,
      peering,
      snapshot.lastGood.peerings[name],
      (source) => compilePeering(source, snapshot.peers, clusterID),
      problems,
    );
    if (!kept) continue;
    peerings.push(kept.value);
    goodPeerings[name] = kept.source;
  }
  problems.push(...peeringOverlaps(peerings, ownBlocks));

  const advertisements: CompiledAdvertisement[] = [];
  const goodAdvertisements: Record<string, BGPAdvertisement> = {};
  for (const advertisement of byName(snapshot.advertisements)) {
    const { name } = advertisement.metadata;
    const kept = compileOrKeep(
      `BGPAdvertisement/${name}`,
      advertisement,
      snapshot.lastGood.advertisements[name],
      (source) => {
        const into = collectFaults();
        const value = compileAdvertisement(source, into);
        return into.list.length > 0 ? { faults: into.list } : { value };
      },
      problems,
    );
    if (!kept) continue;
    advertisements.push(kept.value);
    goodAdvertisements[name] = kept.source;
  }

  const peers = new Map<string, { compiled: CompiledPeer; sources: PeerSources }>();
  const goodPeers: Record<string, PeerSources> = {};
  if (network && rule?.mode === "Announce") {
    const context = {
      localASN: rule.localASN,
      clusterID,
      clusterASNs: [...new Set(network.source.spec.nodes.map((n) => n.localASN))].sort((a, b) => a - b),
      nodeAddresses: node.addresses,
      peerings,
      passwords,
    };
    for (const peer of byName(snapshot.peers)) {
      if (!peerOnNode(peer, node.labels)) continue;
      const { name } = peer.metadata;
      const kept = compileOrKeep(
        `BGPPeer/${name}`,
        sourcesOf(peer, snapshot.policies),
        snapshot.lastGood.peers[name],
        (sources, old) => compilePeer(sources, context, old),
        problems,
      );
      if (!kept) continue;
      peers.set(name, { compiled: kept.value, sources: kept.source });
      goodPeers[name] = kept.source;
    }
  }
  return {
    network: network?.source,
    rule,
    routerID: network?.value.routerID ?? 0,
    listen: network?.value.listen ?? [],
    peerings,
    peers,
    advertisements,
    problems,
    lastGood: {
      ...(network && { clusterNetwork: network.source }),
      peers: goodPeers,
      advertisements: goodAdvertisements,
      peerings: goodPeerings,
    },
  };
}
