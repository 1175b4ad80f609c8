// plan: the heart. What a node programs, originates and tells its peers is a pure function of what it knows.
import { approveAnnotation, drainTaint, isPaused, type Node, withdrawAnnotation } from "../api/index.ts";
import { nodeSpecPool } from "../ipam/index.ts";
import type { Address, Prefix } from "../net/address.ts";
import { type FibGuard, type LocalPrefix, planFib } from "../routes/index.ts";
import { type AnnounceContext, type Decision, decide } from "./announce.ts";
import { type Candidate, candidates, servicesOf } from "./candidates.ts";
import { deepFreeze, listsHashOf } from "./canonical.ts";
import { type Compiled, compileAll, type OwnNode } from "./compile.ts";
import { conflistFor } from "./conflist.ts";
import { indexEndpoints, portsOf } from "./endpoints.ts";
import { tryPrefix } from "./fields.ts";
import { type GuardResult, guard, isAnnounced, keep, withHeld } from "./guard.ts";
import { faults } from "./messages.ts";
import { addressesOf } from "./noderule.ts";
import type { PausedObject } from "./paused.ts";
import { reuse } from "./reuse.ts";
import { addressOf, hostOf, prefixText } from "./text.ts";
import type {
  Announcement,
  InForce,
  Plan,
  PlanInputs,
  Problem,
  Snapshot,
  SpeakerState,
  VipEntry,
  VipPort,
} from "./types.ts";

/** Entries of all addresses of Services, by canonical prefix. */
function vipEntries(
  all: readonly Candidate[],
  snapshot: Snapshot,
  node: string,
  released: boolean,
): ReadonlyMap<string, VipEntry> {
  const index = indexEndpoints(snapshot.endpointSlices, snapshot.nodes);
  const out = new Map<string, VipEntry>();
  for (const candidate of all) {
    const { kind, prefix, service, obstacle } = candidate;
    if (kind !== "VIPs" || !prefix || !service || (obstacle && obstacle.code !== "ClaimReleasing")) continue;
    // Who came first has a port that two of them want since one was edited.
    const ports = new Map<string, VipPort>();
    for (const each of servicesOf(candidate)) {
      const local = each.spec.externalTrafficPolicy === "Local";
      for (const p of portsOf(each, prefix.family, node, index)) {
        const key = `${p.protocol}/${p.port}`;
        if (!ports.has(key))
          ports.set(key, local ? { ...p, backends: p.backends.filter((b) => b.local) } : p);
      }
    }
    out.set(prefixText(prefix), {
      address: addressOf(prefix),
      service: `${service.metadata.namespace ?? ""}/${service.metadata.name}`,
      ports: [...ports.values()],
      entry: !released,
    });
  }
  return out;
}

/** Ports that no datapath of ours delivers. */
function protocolProblems(all: readonly Candidate[]): readonly Problem[] {
  const seen = new Set<string>();
  const services = all.flatMap((c) =>
    c.obstacle || c.addressType !== "LoadBalancerIP" ? [] : servicesOf(c),
  );
  return services.flatMap((service) => {
    const object = `Service/${service.metadata.namespace ?? ""}/${service.metadata.name}`;
    if (seen.has(object)) return [];
    seen.add(object);
    return (service.spec.ports ?? []).flatMap((port, i) =>
      port.protocol === "SCTP"
        ? [
            {
              object,
              path: `spec.ports[${i}].protocol`,
              message: faults.protocol("SCTP"),
              lastGoodInForce: false,
            },
          ]
        : [],
    );
  });
}

/** Blocks of the own pools, each with its pool's name. */
function poolBlocks(snapshot: Snapshot): readonly { readonly pool: string; readonly prefix: Prefix }[] {
  // What others give to nodes is this cluster's as well.
  const given = snapshot.allocations.flatMap(({ spec: { pool, prefix: text } }) => {
    const prefix = pool === nodeSpecPool ? tryPrefix(text) : undefined;
    return prefix ? [{ pool, prefix }] : [];
  });
  const pools = snapshot.pools.flatMap((pool) =>
    pool.spec.blocks.flatMap((text) => {
      const prefix = tryPrefix(text);
      return prefix ? [{ pool: pool.metadata.name, prefix }] : [];
    }),
  );
  return [...pools, ...given];
}

/** Prefixes that get this cluster's own routeId: its pools' blocks, and every claim inside them. */
function localPrefixes(
  snapshot: Snapshot,
  blocks: readonly { readonly prefix: Prefix }[],
): readonly LocalPrefix[] {
  const claims = snapshot.allocations.flatMap((a) => {
    const prefix = tryPrefix(a.spec.prefix);
    return prefix ? [{ prefix }] : [];
  });
  return [...claims, ...blocks.map((b) => ({ prefix: b.prefix }))];
}

const announcedPrefixes = (inputs: PlanInputs): ReadonlySet<string> =>
  new Set((inputs.previous?.announcements ?? []).filter(isAnnounced).map((a) => a.prefix!));

/** The taint's value; undefined where the node does not drain. */
const drainTaintOf = (node: Node | undefined): string | undefined => {
  const taint = node?.spec?.taints?.find((t) => t.key === drainTaint);
  return taint && (taint.value ?? "");
};

/**
 * How the node is to be drained: the taint's value, or "force" where the ClusterNetwork says that everything goes.
 * Undefined where it does not drain.
 */
export function drainOrder(snapshot: Snapshot, node: string): string | undefined {
  const network = snapshot.clusterNetwork;
  const wanted = network?.metadata.annotations?.[withdrawAnnotation];
  // The name, so that an annotation copied from elsewhere does nothing.
  if (wanted !== undefined && wanted === network?.spec.clusterName) return "force";
  return drainTaintOf(snapshot.nodes.find((n) => n.metadata.name === node));
}

/** The part of a plan that is stored and compared with. */
export function inForceOf(next: Plan): InForce {
  const {
    hash: _h,
    kernelRoutes: _k,
    held: _d,
    approved: _a,
    problems: _p,
    paused: _s,
    rollouts: _r,
    lastGood: _l,
    ...rest
  } = next;
  return rest;
}

/**
 * What `node` does about `snapshot`. Pure: the same arguments give the same plan, with the same hash.
 * Nothing is announced without a claim, a ready endpoint, a BGPAdvertisement, a peer and a proof.
 */
export function plan(snapshot: Snapshot, node: string, inputs: PlanInputs): Plan {
  const object = snapshot.nodes.find((n) => n.metadata.name === node);
  const own: OwnNode = {
    name: node,
    object,
    labels: object?.metadata.labels,
    addresses: addressesOf(object),
  };
  const blocks = poolBlocks(snapshot);
  const paused = object !== undefined && isPaused(object);
  const everything = compileAll(snapshot, own, inputs.passwords, blocks);
  const compiled: Compiled = paused
    ? { ...everything, rule: undefined, peers: new Map(), listen: [] }
    : everything;
  const { network, rule } = compiled;
  const mode = rule?.mode ?? "None";
  const owns = mode === "Announce" || mode === "Allocate" ? (rule?.owns ?? []) : [];
  const force = drainOrder(snapshot, node) === "force";

  const all = candidates(
    snapshot,
    node,
    object,
    compiled.advertisements.map((a) => a.object),
  );
  const entries = vipEntries(all, snapshot, node, inputs.drain.phase === "Released");
  // Cluster and external IPs are kube-proxy's.
  const ours = new Set(
    all.flatMap((c) => (c.prefix && c.addressType === "LoadBalancerIP" ? [prefixText(c.prefix)] : [])),
  );
  const delivers = mode === "Announce" && owns.includes("VIPs");
  const delivered = new Map(delivers ? [...entries].filter(([prefix]) => ours.has(prefix)) : []);
  const context: AnnounceContext = {
    node,
    labels: own.labels,
    mode,
    paused,
    asn: rule?.localASN ?? 0,
    clusterID: network?.spec.clusterID ?? 0,
    advertisements: compiled.advertisements,
    allPeers: compiled.allPeers,
    peers: new Map(
      [...compiled.peers].map(([name, p]) => [name, { object: p.sources.peer, speaker: p.compiled.peer }]),
    ),
    vips: entries,
    proofs: inputs.proofs,
    announcedBefore: announcedPrefixes(inputs),
    elsewhere: inputs.elsewhere,
    drain: { phase: inputs.drain.phase, force },
  };
  const decisions = all.map((c) => decide(c, context));
  const next = speakerOf(inputs, compiled, decisions);
  const guarded = guard({
    node,
    paused,
    previous: inputs.previous,
    decisions,
    next,
    percent: (network ?? snapshot.lastGood.clusterNetwork)?.spec.withdrawGuardPercent ?? 30,
    serial: inputs.guardSerial,
    approval: snapshot.nodeNetwork?.metadata.annotations?.[approveAnnotation],
  });
  const announced = assemble(inputs, next, decisions, guarded);
  const claimed = all.flatMap((c) => (c.kind === "Pods" && c.prefix && !c.obstacle ? [c.prefix] : []));
  const podBlocks = withKeptBlocks(claimed, announced.announcements, inputs);
  const heldPrefixes = new Set(guarded.held?.withdraws);
  // The view comes after the last claim: pods that start before it would lack the families that are still to come, for good.
  const shown = new Set(snapshot.nodeNetwork?.spec.podBlocks?.map((b) => b.prefix));
  const conflist =
    owns.includes("Pods") &&
    conflistFor({
      podBlocks: podBlocks.filter(
        (b) => (claimed.includes(b) && shown.has(prefixText(b))) || heldPrefixes.has(prefixText(b)),
      ),
      dataDir: inputs.host.cniDataDir,
      ...(inputs.host.podMTU !== undefined && { mtu: inputs.host.podMTU }),
    });
  const content: InForce = {
    node,
    mode,
    owns,
    clusterID: context.clusterID,
    clusterName: network?.spec.clusterName ?? "",
    drainSeconds: network?.spec.drainSeconds ?? 5,
    interfaces: rule?.interfaces ?? [],
    nodeAddresses: own.addresses,
    podBlocks,
    speaker: announced.speaker,
    vips: mergeVips(delivered, announced.keptVips, announced.announcements, inputs),
    delegated: delegatedVips(entries, delivered, decisions),
    announcements: announced.announcements,
    routePolicy: {
      clusterID: context.clusterID,
      asn: context.asn,
      ownBlocks: blocks.map((b) => b.prefix),
      peerings: compiled.peerings,
    },
    localPrefixes: localPrefixes(snapshot, blocks),
    ...(conflist && { conflist }),
  };
  const settled = deepFreeze(
    reuse(
      paused && inputs.previous
        ? unchanged(inputs.previous, entries)
        : lingering(content, inputs, guarded.held !== undefined),
      inputs.previous,
    ),
  );
  const fibGuard: FibGuard = {
    connected: inputs.host.connected,
    addresses: [
      ...inputs.host.apiServer,
      ...own.addresses,
      ...settled.speaker.peers.flatMap((p): readonly Address[] =>
        p.ranges ? p.ranges : p.interface === undefined ? [p.address] : [],
      ),
    ],
    podBlocks: settled.podBlocks,
  };
  return deepFreeze({
    ...settled,
    hash: listsHashOf({ ...settled, held: guarded.held }),
    ...(inputs.learned &&
      settled.mode === "Announce" &&
      settled.owns.includes("Routes") && { kernelRoutes: planFib(inputs.learned.fib, fibGuard) }),
    ...(guarded.held && { held: guarded.held }),
    approved: guarded.approved,
    problems: [...compiled.problems, ...protocolProblems(all)],
    paused: [...(paused ? [pausedNode(node, inputs)] : []), ...compiled.paused],
    // A paused node takes nothing.
    rollouts: paused ? [] : compiled.rollouts,
    lastGood: compiled.lastGood,
  });
}

const pausedNode = (node: string, inputs: PlanInputs): PausedObject => ({
  object: `Node/${node}`,
  inForce: inputs.previous ? "Present" : "Nothing",
});

/** What is in force on a paused node: as it was, but its VIPs lead to the backends that there are now. */
const unchanged = (previous: InForce, entries: ReadonlyMap<string, VipEntry>): InForce => {
  const refresh = (vip: VipEntry): VipEntry => {
    const now = entries.get(prefixText(hostOf(vip.address)));
    return now?.service === vip.service ? { ...vip, ports: now.ports } : vip;
  };
  return { ...previous, vips: previous.vips.map(refresh), delegated: previous.delegated.map(refresh) };
};

/**
 * A node that is to stop announcing keeps its programs attached until the last withdrawal has rested, and everything else
 * too while the guard holds the withdrawal.
 */
function lingering(content: InForce, inputs: PlanInputs, held: boolean): InForce {
  const { previous } = inputs;
  if (!previous || content.mode === "Announce" || previous.mode !== "Announce") return content;
  const { interfaces, nodeAddresses, podBlocks } = previous;
  if (held) return { ...previous, speaker: content.speaker, announcements: content.announcements };
  const busy = inputs.retiring.length > 0 || previous.announcements.some(isAnnounced);
  // The mode stays what it was, or the next plan could not tell that this one lingers.
  return busy ? { ...content, mode: previous.mode, interfaces, nodeAddresses, podBlocks } : content;
}

/** Origins, peers and policies for the speaker as the decisions want them. */
function speakerOf(inputs: PlanInputs, compiled: Compiled, decisions: readonly Decision[]): SpeakerState {
  const policies = new Map(
    [...compiled.peers.values()].flatMap((p) =>
      p.compiled.policies.map((policy) => [policy.name, policy] as const),
    ),
  );
  const announcing = compiled.rule?.mode === "Announce";
  const before = inputs.previous?.speaker;
  return {
    asn: announcing ? (compiled.rule?.localASN ?? 0) : (before?.asn ?? 0),
    routerID: announcing ? compiled.routerID : (before?.routerID ?? 0),
    ...(announcing && compiled.clusterID !== undefined && { clusterID: compiled.clusterID }),
    ...(announcing && compiled.bmpStations && { bmpStations: compiled.bmpStations }),
    ...(announcing && compiled.multipath && { multipath: compiled.multipath }),
    ...(announcing && compiled.mrt && { mrt: compiled.mrt }),
    listen: compiled.listen,
    peers: [...compiled.peers.values()].map((p) => p.compiled.peer),
    origins: decisions.flatMap((d) => d.origins),
    policies: [...policies.values()],
  };
}

/** The speaker's state and the list of decisions, with what the guard holds. */
function assemble(
  inputs: PlanInputs,
  next: SpeakerState,
  decisions: readonly Decision[],
  { held, reasons }: GuardResult,
) {
  const announcements = decisions.map((d) => d.announcement);
  if (!held || !inputs.previous) return { speaker: next, announcements, keptVips: [] as readonly VipEntry[] };
  const kept = keep(held, inputs.previous, reasons);
  const heldPrefixes = new Set(held.withdraws);
  return {
    speaker: withHeld(next, inputs.previous.speaker, kept),
    announcements: [
      ...announcements.filter((a) => a.prefix === undefined || !heldPrefixes.has(a.prefix)),
      ...kept.announcements,
    ],
    keptVips: kept.vips,
  };
}

/** Addresses that are asked for and have backends, but are not ours to deliver. */
const delegatedVips = (
  entries: ReadonlyMap<string, VipEntry>,
  delivered: ReadonlyMap<string, VipEntry>,
  decisions: readonly Decision[],
): readonly VipEntry[] =>
  decisions.flatMap(({ announcement: { prefix, advertisements } }) => {
    const entry = prefix === undefined || delivered.has(prefix) ? undefined : entries.get(prefix);
    return entry && advertisements.length > 0 ? [entry] : [];
  });

/** The claimed blocks, and those that are held, or withdrawn and not let go of yet. */
function withKeptBlocks(
  claimed: readonly Prefix[],
  announcements: readonly Announcement[],
  inputs: PlanInputs,
): readonly Prefix[] {
  const have = new Set(claimed.map(prefixText));
  const announced = new Set(announcements.filter(isAnnounced).map((a) => a.prefix));
  const before = announcedPrefixes(inputs);
  const retiring = new Set(inputs.retiring.map((r) => r.prefix));
  const kept = (inputs.previous?.podBlocks ?? []).filter((b) => {
    const prefix = prefixText(b);
    return !have.has(prefix) && (announced.has(prefix) || before.has(prefix) || retiring.has(prefix));
  });
  return [...claimed, ...kept];
}

/** What is wanted, and what must stay programmed for a while although it is not. */
function mergeVips(
  wanted: ReadonlyMap<string, VipEntry>,
  held: readonly VipEntry[],
  announcements: readonly Announcement[],
  inputs: PlanInputs,
): readonly VipEntry[] {
  const out = new Map(wanted);
  const before = new Map(inputs.previous?.vips.map((v) => [prefixText(hostOf(v.address)), v]));
  for (const entry of [...held, ...inputs.retiring.flatMap((r) => (r.entry ? [r.entry] : []))]) {
    const prefix = prefixText(hostOf(entry.address));
    if (!out.has(prefix)) out.set(prefix, entry);
  }
  // Withdrawn by this very plan: its retirement begins only after this.
  const announced = new Set(announcements.filter(isAnnounced).map((a) => a.prefix));
  for (const prefix of announcedPrefixes(inputs)) {
    const entry = before.get(prefix);
    if (entry && !announced.has(prefix) && !out.has(prefix)) out.set(prefix, entry);
  }
  return [...out].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, entry]) => entry);
}
