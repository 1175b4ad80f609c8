// operator: statuses of the kinds that users write and nodes carry out: each is a pure function of caches, written on change.
import type {
  BGPAdvertisement,
  BGPPeer,
  BGPPolicy,
  ClusterNetwork,
  ClusterPeering,
  Condition,
  KubernetesObject,
  Node,
  NodeNetwork,
} from "../api/index.ts";
import { isPaused, selects, serviceLabels } from "../api/index.ts";
import { describePrefix, overlapOf } from "../ipam/index.ts";
import { applyStatus, kinds, type Resource, type Result, setCondition } from "../kube/index.ts";
import { formatPrefix } from "../net/address.ts";
import { compileAdvertisement } from "../plan/announce.ts";
import { collectFaults, type Fault } from "../plan/fields.ts";
import { compilePeering } from "../plan/peerings.ts";
import { compilePeer, sourcesOf } from "../plan/peers.ts";
import { compilePolicy } from "../plan/policies.ts";
import { earlierForm, type Staged } from "../plan/rollout.ts";
import { prefixOf } from "./claim.ts";
import { clusterNetworkOf, fieldManager, indexes, ingressOf, type OperatorContext } from "./context.ts";
import {
  advertisementSays,
  networkSays,
  peeringSays,
  peerSays,
  policySays,
  rolloutSays,
  type Say,
} from "./messages.ts";
import { type MissingBlocks, routerIDOf, ruleFor } from "./nodes.ts";
import { observedOf, withPaused } from "./paused.ts";
import { tryHost, tryPrefix } from "./pool-book.ts";
import { type RollOutOutcome, stepRollOut } from "./rollout.ts";

type Status = Condition["status"];
interface Verdict {
  readonly status: Status;
  readonly say: Say;
}
const yes = (say: Say): Verdict => ({ status: "True", say });
const no = (say: Say): Verdict => ({ status: "False", say });

const lines = (faults: readonly Fault[]): readonly string[] => faults.map((f) => `${f.path} ${f.message}`);

/** Nodes of the cluster whose rule lets them announce. */
const announcing = (c: OperatorContext): readonly Node[] => {
  const network = clusterNetworkOf(c.caches);
  return c.caches.nodes.cache.list().filter((n) => ruleFor(network, n)?.mode === "Announce");
};

const networkOf = (c: OperatorContext, node: Node): NodeNetwork | undefined =>
  c.caches.networks.cache.get(node.metadata.name);

/** Writes a status with its conditions, if something in it has changed. */
async function write<
  T extends KubernetesObject & { readonly status?: { readonly conditions?: readonly Condition[] } },
>(
  c: OperatorContext,
  resource: Resource<T>,
  object: T,
  numbers: Readonly<Record<string, unknown>>,
  verdicts: Readonly<Record<string, Verdict>>,
): Promise<undefined> {
  const seen = observedOf(object);
  const observed = seen === undefined ? {} : { observedGeneration: seen };
  let conditions: readonly Condition[] = (object.status?.conditions ?? []).filter(
    (each) => each.type in verdicts,
  );
  for (const [type, { status, say }] of Object.entries(verdicts))
    conditions = setCondition(conditions, { type, status, ...say, ...observed }, c.clock.now());
  conditions = withPaused(object, conditions, c.clock.now());
  const status = { ...observed, ...numbers, conditions } as NonNullable<T["status"]>;
  await applyStatus(c.api, resource, object, status, { fieldManager });
  return undefined;
}

const rolloutOf = ({ rollout }: RollOutOutcome) => (rollout ? { rollout } : {});
const rolledOut = ({ verdict }: RollOutOutcome) => verdict && { RolledOut: verdict };
const wakes = (c: OperatorContext, { wakeAt }: RollOutOutcome): Result | undefined =>
  wakeAt === undefined ? undefined : { requeueAfterMs: Math.max(100, wakeAt - c.clock.now()) };

export class StatusReconcilers {
  readonly #c: OperatorContext;
  readonly #missing: MissingBlocks;
  readonly #crowded: MissingBlocks;

  constructor(context: OperatorContext, missing: MissingBlocks, crowded: MissingBlocks) {
    this.#c = context;
    this.#missing = missing;
    this.#crowded = crowded;
  }

  readonly clusterNetwork = async (name: string): Promise<Result | undefined> => {
    const object = this.#c.caches.clusterNetworks.cache.get(name);
    if (!object) return undefined;
    const nodes = this.#c.caches.nodes.cache.list().filter((n) => ruleFor(object, n));
    return write(
      this.#c,
      kinds.ClusterNetwork,
      object,
      { nodes: nodes.length },
      {
        Ready: this.#networkReady(object, nodes),
        AgentsAlive: this.#agentsAlive(nodes),
      },
    );
  };

  /** An agent that is quiet has nothing to report; one that is dead beats no more. */
  #agentsAlive(nodes: readonly Node[]): Verdict {
    const silent = nodes.map((n) => n.metadata.name).filter((n) => this.#c.gate.silent.has(n));
    return silent.length > 0 ? no(networkSays.agentsSilent(silent)) : yes(networkSays.agentsAlive());
  }

  #networkReady(object: ClusterNetwork, nodes: readonly Node[]): Verdict {
    const names = (list: readonly Node[]): readonly string[] => list.map((n) => n.metadata.name);
    if (nodes.length === 0) return no(networkSays.noNodes());
    const faults = object.spec.nodes.flatMap((rule, i) =>
      rule.listen?.mode === "Address" && !tryHost(rule.listen.address ?? "")
        ? [`spec.nodes[${i}].listen.address is not an address`]
        : [],
    );
    if (faults.length > 0) return no(networkSays.invalid(faults));
    const nameless = nodes.filter((n) => {
      const rule = ruleFor(object, n);
      return rule?.mode === "Announce" && routerIDOf(rule, n) === undefined;
    });
    if (nameless.length > 0) return no(networkSays.routerIDMissing(names(nameless)));
    const without = nodes.filter((n) =>
      [...(this.#missing.get(n.metadata.name)?.values() ?? [])].some((r) => r.code !== "SelectorMismatch"),
    );
    if (without.length > 0) return no(networkSays.nodesWithoutBlock(names(without)));
    const crowded = nodes.filter((n) => this.#crowded.has(n.metadata.name));
    if (crowded.length > 0) return no(networkSays.nodesCrowded(names(crowded)));
    return yes(networkSays.ready(nodes.length));
  }

  readonly peer = async (name: string): Promise<Result | undefined> => {
    const object = this.#c.caches.peers.cache.get(name);
    if (!object) return undefined;
    const nodes = announcing(this.#c).filter((n) => selects(object.spec.nodeSelector, n.metadata.labels));
    const sessions = nodes.map((n) => ({
      node: n.metadata.name,
      session: networkOf(this.#c, n)?.status?.sessions?.find((s) => s.peer === name),
    }));
    // What a dead agent reported last is not so any more.
    const { silent } = this.#c.gate;
    const established = sessions.filter(
      (s) => s.session?.state === "Established" && !silent.has(s.node),
    ).length;
    return write(
      this.#c,
      kinds.BGPPeer,
      object,
      { nodes: nodes.length, established },
      {
        Ready: this.#peerReady(object, sessions),
      },
    );
  };

  #peerReady(
    object: BGPPeer,
    sessions: readonly {
      readonly node: string;
      readonly session: NonNullable<NonNullable<NodeNetwork["status"]>["sessions"]>[number] | undefined;
    }[],
  ): Verdict {
    const faults = this.#peerFaults(object);
    if (faults.length > 0) return no(peerSays.invalid(lines(faults)));
    if (sessions.length === 0) return no(peerSays.noNodes());
    const secret = object.spec.passwordSecretName;
    const keyless = sessions.filter(
      (s) => secret !== undefined && s.session?.reason?.includes(`Secret waggle-system/${secret} `),
    );
    if (secret !== undefined && keyless.length > 0)
      return no(
        peerSays.secretMissing(
          secret,
          keyless.map((s) => s.node),
        ),
      );
    const unreported = sessions.filter((s) => !s.session);
    if (unreported.length > 0) return no(peerSays.noReport(unreported.map((s) => s.node)));
    const dead = sessions.filter((s) => this.#c.gate.silent.has(s.node));
    if (dead.length > 0) return { status: "Unknown", say: peerSays.agentSilent(dead.map((s) => s.node)) };
    const down = sessions.filter((s) => s.session?.state !== "Established");
    // From a range nobody need come.
    if (down.length > 0 && !object.spec.ranges)
      return no(
        peerSays.notEstablished(
          down.map(
            (s) => `${s.node}: ${s.session?.state}${s.session?.reason ? ` (${s.session.reason})` : ""}`,
          ),
        ),
      );
    return yes(peerSays.established(sessions.length - down.length));
  }

  /** What an agent would refuse in it, as far as it does not depend on the node. */
  #peerFaults(object: BGPPeer): readonly Fault[] {
    const { caches } = this.#c;
    const rule = clusterNetworkOf(caches)?.spec.nodes[0];
    const outcome = compilePeer(
      sourcesOf(object, caches.policies.cache.list()),
      {
        localASN: rule?.localASN ?? 0,
        clusterID: clusterNetworkOf(caches)?.spec.clusterID ?? 0,
        clusterASNs: [],
        nodeAddresses: [],
        peerings: [],
        passwords: new Set(),
      },
      false,
    );
    return "faults" in outcome ? outcome.faults : [];
  }

  readonly policy = async (name: string): Promise<Result | undefined> => {
    const object: BGPPolicy | undefined = this.#c.caches.policies.cache.get(name);
    if (!object) return undefined;
    const faults = collectFaults();
    compilePolicy(object, faults);
    const users = this.#c.caches.peers.cache
      .list()
      .filter((p) => [...(p.spec.importPolicies ?? []), ...(p.spec.exportPolicies ?? [])].includes(name));
    const ready =
      faults.list.length > 0
        ? no(policySays.invalid(lines(faults.list)))
        : yes(policySays.used(users.length));
    const nodes = announcing(this.#c).filter((n) =>
      users.some((p) => selects(p.spec.nodeSelector, n.metadata.labels)),
    );
    const step = this.#rollOut(object, lines(faults.list), nodes);
    await write(this.#c, kinds.BGPPolicy, object, rolloutOf(step), { Ready: ready, ...rolledOut(step) });
    return wakes(this.#c, step);
  };

  readonly advertisement = async (name: string): Promise<Result | undefined> => {
    const object = this.#c.caches.advertisements.cache.get(name);
    if (!object) return undefined;
    const nodes = announcing(this.#c).filter((n) => selects(object.spec.nodeSelector, n.metadata.labels));
    const asked = this.#askedPrefixes(object, nodes);
    const originated = new Set<string>();
    for (const node of nodes)
      for (const a of networkOf(this.#c, node)?.status?.announced ?? [])
        if ((a.state === "Announced" || a.state === "DePreferred") && asked.has(a.prefix))
          originated.add(a.prefix);
    const faults = collectFaults();
    compileAdvertisement(object, faults);
    const before = earlierForm(object)?.spec.nodeSelector;
    const concerned = announcing(this.#c).filter(
      ({ metadata: { labels } }) => selects(object.spec.nodeSelector, labels) || selects(before, labels),
    );
    const step = this.#rollOut(object, lines(faults.list), concerned);
    await write(
      this.#c,
      kinds.BGPAdvertisement,
      object,
      { routes: originated.size, ...rolloutOf(step) },
      {
        Ready: this.#advertisementReady(object, nodes, originated.size),
        ...rolledOut(step),
      },
    );
    return wakes(this.#c, step);
  };

  /** What its roll-out says next. A stop is an Event, too. */
  #rollOut(object: Staged, faults: readonly string[], nodes: readonly Node[]): RollOutOutcome {
    const { clock, caches, gate, events } = this.#c;
    const name = `${object.kind}/${object.metadata.name}`;
    const outcome = stepRollOut({
      object,
      config: clusterNetworkOf(caches)?.spec.rollout,
      faults,
      nodes: nodes.map((n) => {
        const report = networkOf(this.#c, n)?.status?.rollouts?.find((r) => r.object === name);
        const silent = gate.silent.has(n.metadata.name);
        return {
          name: n.metadata.name,
          labels: n.metadata.labels,
          createdAt: Date.parse(n.metadata.creationTimestamp ?? "") || 0,
          left: isPaused(n) || (silent && report?.generation !== object.metadata.generation),
          taken: report?.generation,
          failures: [...(report?.failures ?? []), ...(silent ? [rolloutSays.silent()] : [])],
        };
      }),
      now: clock.now(),
    });
    if (outcome.rollout?.approve !== undefined && outcome.rollout.approve !== object.status?.rollout?.approve)
      events.record(object, {
        type: "Warning",
        reason: "RollOutStopped",
        action: "RollOut",
        note: outcome.verdict?.say.message ?? "",
      });
    return outcome;
  }

  #advertisementReady(object: BGPAdvertisement, nodes: readonly Node[], routes: number): Verdict {
    const faults = collectFaults();
    compileAdvertisement(object, faults);
    if (faults.list.length > 0) return no(advertisementSays.invalid(lines(faults.list)));
    if (nodes.length === 0) return no(advertisementSays.noNodes());
    const peers = this.#c.caches.peers.cache
      .list()
      .filter((p) => selects(object.spec.peerSelector, p.metadata.labels))
      .filter((p) => nodes.some((n) => selects(p.spec.nodeSelector, n.metadata.labels)));
    if (peers.length === 0) return no(advertisementSays.noPeers());
    return routes > 0 ? yes(advertisementSays.announcing(routes)) : no(advertisementSays.nothing());
  }

  /** Every prefix that these nodes would originate by it if nothing stood in the way. */
  #askedPrefixes(object: BGPAdvertisement, nodes: readonly Node[]): ReadonlySet<string> {
    const out = new Set<string>();
    const add = (text: string | undefined): void => {
      const prefix = text === undefined ? undefined : (tryPrefix(text) ?? tryHost(text));
      if (prefix) out.add(formatPrefix(prefix));
    };
    for (const item of object.spec.advertise) {
      if (item.type === "PodBlocks")
        for (const node of nodes)
          for (const block of networkOf(this.#c, node)?.spec.podBlocks ?? []) out.add(block.prefix);
      else if (item.type === "Pools") this.#inPools(item, nodes).forEach(add);
      else
        for (const service of this.#c.caches.services.cache.list()) {
          if (!selects(item.serviceSelector, serviceLabels(service))) continue;
          const types = item.addresses ?? [];
          if (types.includes("LoadBalancerIP")) ingressOf(service).forEach(add);
          if (types.includes("ClusterIP")) service.spec.clusterIPs?.forEach(add);
          if (types.includes("ExternalIP")) service.spec.externalIPs?.forEach(add);
        }
    }
    return out;
  }

  /** Claims of pools that an item names: blocks of the nodes, and addresses that a Service it selects shows. */
  #inPools(item: BGPAdvertisement["spec"]["advertise"][number], nodes: readonly Node[]): readonly string[] {
    const { cache } = this.#c.caches.services;
    const names = new Set(nodes.map((n) => n.metadata.name));
    const shown = (address: string): boolean =>
      cache.byIndex(indexes.ingress, address).some((s) => selects(item.serviceSelector, serviceLabels(s)));
    return this.#c.claims.all().flatMap((claim) => {
      const { owner, pool, prefix } = claim.spec;
      if (!item.pools?.includes(pool)) return [];
      return (owner.kind === "Node" ? names.has(owner.name) : shown(describePrefix(prefixOf(claim))))
        ? [prefix]
        : [];
    });
  }

  readonly peering = async (name: string): Promise<Result | undefined> => {
    const object = this.#c.caches.peerings.cache.get(name);
    if (!object) return undefined;
    const nodes = announcing(this.#c);
    const reports = nodes.flatMap((n) => {
      const routes = networkOf(this.#c, n)?.status?.routes;
      return routes ? [{ node: n.metadata.name, routes }] : [];
    });
    const learned = Math.max(
      0,
      ...reports.map((r) => r.routes.byPeering?.find((p) => p.name === name)?.learned ?? 0),
    );
    const untagged = reports
      .filter((r) => r.routes.tagMissing?.includes(object.spec.clusterName))
      .map((r) => r.node);
    const overlap = this.#overlaps(object);
    return write(
      this.#c,
      kinds.ClusterPeering,
      object,
      { learned },
      {
        Ready: this.#peeringReady(object, learned),
        Overlap: overlap.length > 0 ? yes(peeringSays.overlaps(overlap)) : no(peeringSays.disjoint()),
        TagMissing: untagged.length > 0 ? yes(peeringSays.tagMissing(untagged)) : no(peeringSays.tagged()),
      },
    );
  };

  #peeringReady(object: ClusterPeering, learned: number): Verdict {
    const { caches } = this.#c;
    const peers = caches.peers.cache.list();
    const compiled = compilePeering(object, peers, clusterNetworkOf(caches)?.spec.clusterID ?? 0);
    if ("faults" in compiled) return no(peeringSays.invalid(lines(compiled.faults)));
    if (compiled.value.peers.length === 0) return no(peeringSays.noPeers());
    const overlap = this.#overlaps(object);
    if (overlap.length > 0) return no(peeringSays.overlaps(overlap));
    if (learned === 0 && object.spec.take.kinds.length > 0) return no(peeringSays.nothingLearned());
    return yes(peeringSays.ready(learned));
  }

  /** Own pools and other peerings whose prefixes it shares. */
  #overlaps(object: ClusterPeering): readonly string[] {
    const prefixes = object.spec.prefixes.flatMap((t) => tryPrefix(t) ?? []);
    const pools = [...this.#c.pools.views.values()].flatMap((v) => {
      const found = overlapOf(prefixes, v.pool.blocks, v.pool.name);
      return found ? [`${formatPrefix(found.mine)} overlaps IPPool ${found.other}`] : [];
    });
    const others = this.#c.caches.peerings.cache.list().flatMap((p) => {
      if (p.metadata.name === object.metadata.name) return [];
      const theirs = p.spec.prefixes.flatMap((t) => tryPrefix(t) ?? []);
      const found = overlapOf(prefixes, theirs, p.metadata.name);
      return found ? [`${formatPrefix(found.mine)} overlaps ClusterPeering ${found.other}`] : [];
    });
    return [...pools, ...others];
  }
}
