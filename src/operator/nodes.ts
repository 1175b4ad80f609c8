// operator: Nodes: one pod block of each family for every Node that a rule lets Waggle allocate for, and NodeNetwork, its view.
import {
  type ClusterNetwork,
  type IPAllocation,
  isPaused,
  type Node,
  type NodeNetwork,
} from "../api/index.ts";
import { type Applicant, type Refusal, refusals } from "../ipam/index.ts";
import { isAlreadyExists, isNotFound, kinds, type Result, sameJson } from "../kube/index.ts";
import {
  claimName,
  comparePrefix,
  type Family,
  formatAddress,
  formatPrefix,
  fromInteger,
  type Prefix,
} from "../net/address.ts";
import { hashedRouterID } from "../plan/index.ts";
import { addressesOf, type ClusterNetworkRule, ruleOf } from "../plan/noderule.ts";
import { allocate, chooseUnshown, claimOnce, takeQuarantined } from "./allocate.ts";
import { isBound, isGoing, type Owner, phaseOf, prefixOf } from "./claim.ts";
import { clusterNetworkOf, fieldManager, indexes, type OperatorContext } from "./context.ts";
import { eventNotes } from "./messages.ts";
import { tryPrefix } from "./pool-book.ts";

const families: readonly Family[] = [4, 6];

export const nodeOwner = (node: Node): Owner => ({
  kind: "Node",
  name: node.metadata.name,
  uid: node.metadata.uid ?? "",
});

export const ruleFor = (network: ClusterNetwork | undefined, node: Node): ClusterNetworkRule | undefined =>
  ruleOf(network, node.metadata.labels)?.rule;

/** The router ID by the rule; undefined where NodeAddress finds no IPv4 address. */
export function routerIDOf(rule: ClusterNetworkRule, node: Node): string | undefined {
  if (rule.routerIDSource === "Hash")
    return formatAddress(fromInteger(4, BigInt(hashedRouterID(node.metadata.name))));
  const own = addressesOf(node).find((a) => a.family === 4);
  return own && formatAddress(own);
}

type Block = NonNullable<NodeNetwork["spec"]["podBlocks"]>[number];
interface Unclaimed {
  readonly prefix: Prefix;
  readonly block: Block;
}

/** Why a node lacks a block of a family, by node name; only where a pool is there for it at all. */
export type MissingBlocks = Map<string, ReadonlyMap<Family, Refusal>>;

export class NodeReconciler {
  readonly missing: MissingBlocks = new Map();
  readonly #c: OperatorContext;

  constructor(context: OperatorContext) {
    this.#c = context;
  }

  readonly reconcile = async (name: string): Promise<Result | undefined> => {
    const { caches } = this.#c;
    const node = caches.nodes.cache.get(name);
    if (!node) {
      this.missing.delete(name);
      await this.#removeView(name);
      return undefined;
    }
    const rule = ruleFor(clusterNetworkOf(caches), node);
    if (!rule) {
      this.missing.delete(name);
      return undefined;
    }
    const view = await this.#ensureView(node);
    if (rule.mode === "Observe" || isPaused(node)) return undefined;
    await this.#recall(node, view);
    await this.adopt(node, view);
    const unclaimed = this.#unclaimed(view);
    await this.#allocate(node, unclaimed);
    await this.#writeView(node, rule, view, unclaimed);
    return undefined;
  };

  /**
   * Looks at the API server for the claims of what is shown, where the cache knows none that fits: the cache may be behind.
   * An own one that is being released, because another operator thought that it was not needed, is taken back.
   */
  async #recall(node: Node, view: NodeNetwork): Promise<void> {
    const { claims } = this.#c;
    for (const block of view.spec.podBlocks ?? []) {
      const prefix = tryPrefix(block.prefix);
      if (!prefix || claims.holds(node.metadata.uid, prefix)) continue;
      const claim = await claims.read(claimName(prefix));
      if (claim && claim.spec.owner.uid === node.metadata.uid && isGoing(claim)) await claims.revive(claim);
    }
  }

  /** Claims again what the view shows and nothing claims. */
  async adopt(node: Node, view: NodeNetwork): Promise<void> {
    const rule = ruleFor(clusterNetworkOf(this.#c.caches), node);
    if (!rule || rule.mode === "Observe") return;
    const unclaimed = this.#unclaimed(view);
    if (unclaimed.length === 0 || !(await this.#exists(node))) return;
    for (const { prefix, block } of unclaimed) {
      const pool = this.#c.pools.get(block.pool)?.pool ?? this.#c.pools.poolOf(prefix, "Pods");
      if (pool) await claimOnce(this.#c, nodeOwner(node), pool, prefix, true);
    }
  }

  /** What is claimed without asking for room must be in use in fact, not in a late cache. */
  async #exists(node: Node): Promise<boolean> {
    try {
      return (await this.#c.api.get(kinds.Node, node.metadata.name)).metadata.uid === node.metadata.uid;
    } catch (error) {
      if (isNotFound(error)) return false;
      throw error;
    }
  }

  /** Blocks that the view shows and nothing claims: with their pool gone they cannot be claimed, and stay as they are. */
  #unclaimed(view: NodeNetwork): readonly Unclaimed[] {
    return (view.spec.podBlocks ?? []).flatMap((block) => {
      const prefix = tryPrefix(block.prefix);
      return prefix && this.#c.claims.taken.overlapping(prefix).length === 0 ? [{ prefix, block }] : [];
    });
  }

  async #allocate(node: Node, unclaimed: readonly Unclaimed[]): Promise<void> {
    const { claims, events, gate, pools } = this.#c;
    const missing = new Map<Family, Refusal>();
    for (const family of families) {
      if (claims.ofOwner(node.metadata.uid).some((c) => isBound(c) && prefixOf(c).family === family))
        continue;
      if (unclaimed.some((u) => u.prefix.family === family)) continue;
      const applicant: Applicant = { purpose: "Pods", family, labels: node.metadata.labels };
      const back = await takeQuarantined(this.#c, nodeOwner(node), family);
      if (back?.ok) continue;
      if (gate.awaited) {
        missing.set(family, refusals.awaitingAgents(gate.awaited));
        continue;
      }
      const unfinished = claims
        .ofOwner(node.metadata.uid)
        .find((c) => phaseOf(c) === undefined && prefixOf(c).family === family);
      if (unfinished) {
        const outcome = await claims.verify(unfinished, pools.get(unfinished.spec.pool)?.pool.quota);
        if (outcome.ok) continue;
      }
      const result = await allocate(this.#c, nodeOwner(node), () =>
        chooseUnshown(applicant, pools.space(), (p) => this.#shownBy(p, node.metadata.name)),
      );
      if (result.ok || result.refusal.code === "NoPool") continue;
      missing.set(family, result.refusal);
      if (result.refusal.code !== "SelectorMismatch")
        events.record(node, {
          type: "Warning",
          reason: "NoPodBlock",
          action: "Allocate",
          note: eventNotes.noBlock(family, result.refusal.message),
        });
    }
    if (missing.size > 0) this.missing.set(node.metadata.name, missing);
    else this.missing.delete(node.metadata.name);
  }

  #shownBy(prefix: Prefix, node: string): string | undefined {
    const shown = this.#c.caches.networks.cache.byIndex(indexes.block, formatPrefix(prefix));
    const other = shown.find((n) => n.metadata.name !== node);
    return other && `NodeNetwork ${other.metadata.name}`;
  }

  /** The NodeNetwork of a Node, made where it is missing, owned by this Node and not by an earlier one of its name. */
  async #ensureView(node: Node): Promise<NodeNetwork> {
    const { api, caches } = this.#c;
    const { name, uid = "" } = node.metadata;
    const ownerReferences = [{ apiVersion: "v1", kind: "Node", name, uid }];
    const isMine = (view: NodeNetwork): boolean =>
      view.metadata.ownerReferences?.some((o) => o.uid === uid) === true;
    let found = caches.networks.cache.get(name);
    if (found && isMine(found)) return found;
    // Made or taken over only for the Node that the API server has: a late cache may still show an earlier one of its name.
    const live = await api.get(kinds.Node, name);
    if (live.metadata.uid !== uid) throw new Error(`Node ${name} is another one by now`);
    if (!found)
      try {
        return await api.create(
          kinds.NodeNetwork,
          {
            apiVersion: "waggle.dev/v1alpha1",
            kind: "NodeNetwork",
            metadata: { name, ownerReferences },
            spec: {},
          },
          { fieldManager },
        );
      } catch (error) {
        if (!isAlreadyExists(error)) throw error;
        found = await api.get(kinds.NodeNetwork, name);
        if (isMine(found)) return found;
      }
    return api.patch(
      kinds.NodeNetwork,
      name,
      "merge",
      { metadata: { resourceVersion: found.metadata.resourceVersion, ownerReferences } },
      { fieldManager },
    );
  }

  async #writeView(
    node: Node,
    rule: ClusterNetworkRule,
    view: NodeNetwork,
    unclaimed: readonly Unclaimed[],
  ): Promise<void> {
    const { api, claims } = this.#c;
    const { name, uid } = node.metadata;
    const bound = claims.ofOwner(uid).filter(isBound);
    const shown = new Set((view.spec.podBlocks ?? []).map((b) => b.prefix));
    // Two leaders can have claimed a block each; the one that the view shows first stays.
    const kept = families.flatMap((family) => {
      const mine = bound.filter((c) => prefixOf(c).family === family);
      return mine.find((c) => shown.has(c.spec.prefix)) ?? mine[0] ?? [];
    });
    const podBlocks = [
      ...kept.map((c) => ({ prefix: prefixOf(c), block: { prefix: c.spec.prefix, pool: c.spec.pool } })),
      ...unclaimed,
    ]
      .toSorted((a, b) => comparePrefix(a.prefix, b.prefix))
      .map((b) => b.block);
    const routerID = routerIDOf(rule, node);
    const spec = { ...(routerID !== undefined && { routerID }), ...(podBlocks.length > 0 && { podBlocks }) };
    let now = view;
    if (!sameJson(spec, { ...view.spec }))
      now = await api.patch(
        kinds.NodeNetwork,
        name,
        "merge",
        {
          metadata: { resourceVersion: view.metadata.resourceVersion },
          spec: { routerID: routerID ?? null, podBlocks: podBlocks.length > 0 ? podBlocks : null },
        },
        { fieldManager },
      );
    const surplus = bound.filter((c) => !kept.includes(c));
    if (surplus.length > 0) await this.#releaseSurplus(now, kept, surplus);
  }

  /** Gives back blocks that are not in the view, once the API server itself shows the view with the ones that stay. */
  async #releaseSurplus(
    view: NodeNetwork,
    kept: readonly IPAllocation[],
    surplus: readonly IPAllocation[],
  ): Promise<void> {
    const live = await this.#c.api.get(kinds.NodeNetwork, view.metadata.name);
    const shown = new Set((live.spec.podBlocks ?? []).map((b) => b.prefix));
    if (!kept.every((c) => shown.has(c.spec.prefix))) return;
    for (const claim of surplus) if (!shown.has(claim.spec.prefix)) await this.#c.claims.release(claim, []);
  }

  /** A Node is gone: so is its view, if the API server says so too. Claims are released by their own reconciler. */
  async #removeView(name: string): Promise<void> {
    const { api, caches } = this.#c;
    const view = caches.networks.cache.get(name);
    if (!view) return;
    try {
      await api.get(kinds.Node, name);
      return;
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
    const { uid, resourceVersion } = view.metadata;
    try {
      await api.delete(kinds.NodeNetwork, name, {
        preconditions: { ...(uid && { uid }), ...(resourceVersion && { resourceVersion }) },
      });
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }
}
