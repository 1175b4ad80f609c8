// plan: the configuration that concerns one node, compiled: what does not compile leaves the last form that did in force.
import {
  type BGPAdvertisement,
  type BGPPeer,
  type BGPPolicy,
  type ClusterNetwork,
  type ClusterPeering,
  isPaused,
  type KubernetesObject,
  type Node,
} from "../api/index.ts";
import type { Address, Prefix } from "../net/address.ts";
import type { PeeringRule } from "../routes/index.ts";
import { type CompiledAdvertisement, compileAdvertisement } from "./announce.ts";
import { canonical } from "./canonical.ts";
import { collectFaults, type Fault } from "./fields.ts";
import { type ClusterNetworkRule, compileRule, ruleOf } from "./noderule.ts";
import { formInForce, type PausedObject } from "./paused.ts";
import { compilePeering, peeringOverlaps } from "./peerings.ts";
import { type CompiledPeer, compilePeer, peerOnNode, sourcesOf } from "./peers.ts";
import { compilePolicy } from "./policies.ts";
import { formThatCounts, type RollOut, type Staging } from "./rollout.ts";
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
  readonly clusterID?: number;
  readonly bmpStations?: SpeakerState["bmpStations"];
  readonly multipath?: SpeakerState["multipath"];
  readonly mrt?: SpeakerState["mrt"];
  readonly listen: SpeakerState["listen"];
  readonly peerings: readonly PeeringRule[];
  readonly peers: ReadonlyMap<string, { readonly compiled: CompiledPeer; readonly sources: PeerSources }>;
  readonly advertisements: readonly CompiledAdvertisement[];
  /** Every BGPPeer in the form that counts, whether it is this node's or not. */
  readonly allPeers: readonly BGPPeer[];
  readonly problems: readonly Problem[];
  readonly paused: readonly PausedObject[];
  readonly rollouts: readonly RollOut[];
  readonly lastGood: LastGood;
}

const byName = <T extends { readonly metadata: { readonly name: string } }>(
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
  readonly clusterID?: number;
  readonly bmpStations?: SpeakerState["bmpStations"];
  readonly multipath?: SpeakerState["multipath"];
  readonly mrt?: SpeakerState["mrt"];
  readonly listen: SpeakerState["listen"];
}

function compileNetwork(
  snapshot: Snapshot,
  node: OwnNode,
  problems: Problem[],
  paused: PausedObject[],
): { readonly value: CompiledNetwork; readonly source: ClusterNetwork } | undefined {
  const written = snapshot.clusterNetwork;
  const current =
    written &&
    formInForce(`ClusterNetwork/${written.metadata.name}`, written, snapshot.lastGood.clusterNetwork, paused);
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

/** BGPPolicies in the forms that count, and those to be remembered. */
function policiesInForce(
  snapshot: Snapshot,
  staging: Staging,
): { readonly list: readonly BGPPolicy[]; readonly good: Readonly<Record<string, BGPPolicy>> } {
  const list: BGPPolicy[] = [];
  const good: Record<string, BGPPolicy> = {};
  for (const policy of byName(snapshot.policies)) {
    const { name } = policy.metadata;
    const remembered = snapshot.lastGood.policies?.[name];
    const form = formThatCounts(`BGPPolicy/${name}`, policy, remembered, staging);
    if (!form) continue;
    list.push(form);
    const faults = collectFaults();
    compilePolicy(form, faults);
    const worth = faults.list.length === 0 ? form : remembered;
    if (worth) good[name] = worth;
  }
  return { list, good };
}

interface Kept<S, T> {
  readonly values: readonly T[];
  readonly good: Readonly<Record<string, S>>;
}

/** Compiles all objects of a kind, each in the form that counts. */
function compileKind<S extends KubernetesObject, T>(
  objects: readonly S[],
  lastGood: Readonly<Record<string, S>>,
  formOf: (object: string, written: S, remembered: S | undefined) => S | undefined,
  compile: (source: S) => Outcome<T>,
  problems: Problem[],
): Kept<S, T> {
  const values: T[] = [];
  const good: Record<string, S> = {};
  for (const written of byName(objects)) {
    const { name } = written.metadata;
    const object = `${written.kind}/${name}`;
    const form = formOf(object, written, lastGood[name]);
    const kept = form && compileOrKeep(object, form, lastGood[name], compile, problems);
    if (!kept) continue;
    values.push(kept.value);
    good[name] = kept.source;
  }
  return { values, good };
}

/** The sources of each BGPPeer that count: a paused one keeps its BGPPolicies as they were together with it. */
function peerSources(
  snapshot: Snapshot,
  policies: readonly BGPPolicy[],
  paused: PausedObject[],
): readonly PeerSources[] {
  return byName(snapshot.peers).flatMap((peer) => {
    const { name } = peer.metadata;
    const remembered = snapshot.lastGood.peers[name];
    const form = formInForce(`BGPPeer/${name}`, peer, remembered?.peer, paused);
    if (!form) return [];
    return [isPaused(peer) && form === remembered?.peer ? remembered : sourcesOf(form, policies)];
  });
}

/** Whether a peer has a BGPPolicy in another form than other peers have it now. */
const hasEarlierPolicies = (sources: PeerSources, now: readonly BGPPolicy[]): boolean =>
  Object.entries(sources.policies).some(([name, policy]) => {
    const other = now.find((p) => p.metadata.name === name);
    return other !== policy && canonical(other?.spec) !== canonical(policy.spec);
  });

/** Compiles everything; nothing in it can fail as a whole. */
export function compileAll(
  snapshot: Snapshot,
  node: OwnNode,
  passwords: ReadonlySet<string>,
  ownBlocks: readonly { readonly pool: string; readonly prefix: Prefix }[],
): Compiled {
  const problems: Problem[] = [];
  const paused: PausedObject[] = [];
  const { lastGood } = snapshot;
  const network = compileNetwork(snapshot, node, problems, paused);
  const clusterID = network?.source.spec.clusterID ?? 0;
  const rule = network?.value.rule;
  const staging: Staging = {
    config: network?.source.spec.rollout,
    labels: node.labels,
    rollouts: [],
    paused,
  };
  const policies = policiesInForce(snapshot, staging);
  const sources = peerSources(snapshot, policies.list, paused);
  const allPeers = sources.map((s) => s.peer);

  const peerings = compileKind(
    snapshot.peerings,
    lastGood.peerings,
    (object, written, remembered) => formInForce(object, written, remembered, paused),
    (source: ClusterPeering) => compilePeering(source, allPeers, clusterID),
    problems,
  );
  problems.push(...peeringOverlaps(peerings.values, ownBlocks));

  const advertisements = compileKind(
    snapshot.advertisements,
    lastGood.advertisements,
    (object, written, remembered) => formThatCounts(object, written, remembered, staging),
    (source: BGPAdvertisement): Outcome<CompiledAdvertisement> => {
      const into = collectFaults();
      const value = compileAdvertisement(source, into);
      return into.list.length > 0 ? { faults: into.list } : { value };
    },
    problems,
  );

  const peers = new Map<string, { compiled: CompiledPeer; sources: PeerSources }>();
  const goodPeers: Record<string, PeerSources> = {};
  if (network && rule?.mode === "Announce") {
    const context = {
      localASN: rule.localASN,
      clusterID,
      clusterASNs: [...new Set(network.source.spec.nodes.map((n) => n.localASN))].sort((a, b) => a - b),
      nodeAddresses: node.addresses,
      peerings: peerings.values,
      passwords,
    };
    for (const source of sources) {
      if (!peerOnNode(source.peer, node.labels)) continue;
      const { name } = source.peer.metadata;
      const kept = compileOrKeep(
        `BGPPeer/${name}`,
        source,
        lastGood.peers[name],
        (each, old) => compilePeer(each, context, old || hasEarlierPolicies(each, policies.list)),
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
    ...(network?.value.clusterID !== undefined && { clusterID: network.value.clusterID }),
    ...(network?.value.bmpStations && { bmpStations: network.value.bmpStations }),
    ...(network?.value.multipath && { multipath: network.value.multipath }),
    ...(network?.value.mrt && { mrt: network.value.mrt }),
    listen: network?.value.listen ?? [],
    peerings: peerings.values,
    peers,
    advertisements: advertisements.values,
    allPeers,
    problems,
    paused,
    rollouts: staging.rollouts,
    lastGood: {
      ...(network && { clusterNetwork: network.source }),
      peers: goodPeers,
      policies: policies.good,
      advertisements: advertisements.good,
      peerings: peerings.good,
    },
  };
}
