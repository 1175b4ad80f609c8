// operator: Nodes: pod blocks of each family for every Node that a rule lets Waggle allocate for, and NodeNetwork, their view.
import {
  type ClusterNetwork,
  type IPAllocation,
  isPaused,
  type Node,
  type NodeNetwork,
} from "../api/index.ts";
import {
  type Applicant,
  blocksToShow,
  isClaimable,
  type NodeBlock,
  needsBlock,
  nodeSpecPool,
  type Refusal,
  refusals,
  spareBlock,
} from "../ipam/index.ts";
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
import { describeOwner, isBound, isGoing, type Owner, phaseOf, prefixOf } from "./claim.ts";
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

/** A block that the node can do without is kept so long, ms, before it leaves the view. */
const spareMs = 300_000;
/** From the agent's word that a block is out of the view to its release, ms: a pod that was being made is known by then. */
const leaveMs = 60_000;

/** Why a node lacks a block of a family, by node name; only where a pool is there for it at all. */
export type MissingBlocks = Map<string, ReadonlyMap<Family, Refusal>>;

export class NodeReconciler {
  readonly missing: MissingBlocks = new Map();
  /** Why a node whose blocks are nearly full gets no other, by node name. */
  readonly crowded: MissingBlocks = new Map();
  readonly #c: OperatorContext;
  /** Since when a block could be spared, or has been out of the view and empty, monotonic ms; by node and prefix. */
  readonly #spareSince = new Map<string, number>();

  constructor(context: OperatorContext) {
    this.#c = context;
  }

  readonly reconcile = async (name: string): Promise<Result | undefined> => {
    const { caches } = this.#c;
    const node = caches.nodes.cache.get(name);
    if (!node) {
      this.#forget(name);
      await this.#removeView(name);
      return undefined;
    }
    const rule = ruleFor(clusterNetworkOf(caches), node);
    if (!rule) {
      this.#forget(name);
      return undefined;
    }
    const view = await this.#ensureView(node);
    if (rule.mode === "Observe" || isPaused(node)) return undefined;
    await this.#recall(node, view);
    await this.adopt(node, view);
    const unclaimed = this.#unclaimed(view);
    if (rule.podBlocks === "NodeSpec") await this.#follow(node);
    else await this.#allocate(node, view, unclaimed);
    return this.#writeView(node, rule, view, unclaimed);
  };

  #forget(name: string): void {
    this.missing.delete(name);
    this.crowded.delete(name);
    for (const key of this.#spareSince.keys()) if (key.startsWith(`${name} `)) this.#spareSince.delete(key);
  }

  /** The Node's Bound blocks with what its agent reports of each. */
  #blocksOf(node: Node, view: NodeNetwork): readonly NodeBlock[] {
    const shown = new Set((view.spec.podBlocks ?? []).map((b) => b.prefix));
    const inUse = new Set(view.status?.inUse?.map((b) => b.prefix));
    const fills = new Map(view.status?.podBlocks?.map((b) => [b.prefix, b.fill]));
    return this.#c.claims
      .ofOwner(node.metadata.uid)
      .filter(isBound)
      .map((c) => ({
        prefix: c.spec.prefix,
        family: prefixOf(c).family,
        shown: shown.has(c.spec.prefix),
        fill: fills.get(c.spec.prefix),
        inUse: inUse.has(c.spec.prefix),
      }));
  }

  /** Claims what somebody else has given to the Node; it is in use, so it needs no room in a quota and no open gate. */
  async #follow(node: Node): Promise<void> {
    const missing = new Map<Family, Refusal>();
    for (const text of node.spec?.podCIDRs ?? []) {
      const prefix = tryPrefix(text);
      if (!prefix || this.#c.claims.holds(node.metadata.uid, prefix)) continue;
      const other = this.#c.claims.taken
        .overlapping(prefix)
        .map((n) => this.#c.claims.get(n))
        .find((c) => c && c.spec.owner.uid !== node.metadata.uid);
      // Claiming would find out as well, but an attempt that fails makes and deletes a claim, and that wakes the next one.
      const refusal = !isClaimable(prefix)
        ? refusals.tooWide(text)
        : other && refusals.taken(text, describeOwner(other.spec.owner));
      const refused = refusal
        ? ({ ok: false, refusal } as const)
        : await claimOnce(this.#c, nodeOwner(node), { name: nodeSpecPool, quota: undefined }, prefix, true);
      if (!refused.ok) missing.set(prefix.family, refused.refusal);
    }
    if ((node.spec?.podCIDRs ?? []).length === 0) missing.set(4, refusals.noPodCIDRs());
    this.#note(node, this.missing, missing);
    this.crowded.delete(node.metadata.name);
  }

  #note(node: Node, where: MissingBlocks, missing: ReadonlyMap<Family, Refusal>): void {
    const { name } = node.metadata;
    if (missing.size > 0) where.set(name, missing);
    else where.delete(name);
    for (const [family, refusal] of missing)
      if (refusal.code !== "SelectorMismatch")
        this.#c.events.record(node, {
          type: "Warning",
          reason: "NoPodBlock",
          action: "Allocate",
          note: eventNotes.noBlock(family, refusal.message),
        });
  }

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
    // A pod got an address just before the block was given back.
    for (const { prefix } of view.status?.inUse ?? []) {
      const parsed = tryPrefix(prefix);
      const claim = parsed && claims.get(claimName(parsed));
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

  async #allocate(node: Node, view: NodeNetwork, unclaimed: readonly Unclaimed[]): Promise<void> {
    const missing = new Map<Family, Refusal>();
    const crowded = new Map<Family, Refusal>();
    for (const family of families) {
      const blocks = this.#blocksOf(node, view).filter((b) => b.family === family);
      if (unclaimed.some((u) => u.prefix.family === family) || !needsBlock(blocks, family)) continue;
      const refusal = await this.#another(node, family, blocks.length === 0);
      if (refusal && refusal.code !== "NoPool")
        (blocks.length === 0 ? missing : crowded).set(family, refusal);
    }
    this.#note(node, this.missing, missing);
    this.#note(node, this.crowded, crowded);
  }

  /** Claims a block; why there is none otherwise. */
  async #another(node: Node, family: Family, first: boolean): Promise<Refusal | undefined> {
    const { claims, gate, pools } = this.#c;
    const { uid, name } = node.metadata;
    const back = first ? await takeQuarantined(this.#c, nodeOwner(node), family) : undefined;
    if (back?.ok) return undefined;
    if (gate.awaited) return refusals.awaitingAgents(gate.awaited);
    const own = claims.ofOwner(uid).filter((c) => prefixOf(c).family === family);
    const unfinished = own.find((c) => phaseOf(c) === undefined);
    if (unfinished) {
      const outcome = await claims.verify(unfinished, pools.get(unfinished.spec.pool)?.pool.quota);
      if (outcome.ok) return undefined;
    }
    const applicant: Applicant = {
      purpose: "Pods",
      family,
      labels: node.metadata.labels,
      has: (pool) =>
        claims.ofOwner(uid).filter((c) => c.spec.pool === pool && prefixOf(c).family === family).length,
    };
    const result = await allocate(this.#c, nodeOwner(node), () =>
      chooseUnshown(applicant, pools.space(), (p) => this.#shownBy(p, name)),
    );
    return result.ok ? undefined : result.refusal;
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
  ): Promise<Result | undefined> {
    const { api, claims } = this.#c;
    const { name, uid } = node.metadata;
    const bound = claims.ofOwner(uid).filter(isBound);
    const blocks = this.#blocksOf(node, view);
    const wait = this.#spare(
      node,
      view,
      blocks,
      rule.podBlocks === "NodeSpec" ? node.spec?.podCIDRs : undefined,
    );
    // Two leaders can have claimed a block each; the one that the view shows first stays.
    const wanted = new Set(
      rule.podBlocks === "NodeSpec"
        ? blocks
            .filter((b) => b.shown || b.inUse || node.spec?.podCIDRs?.includes(b.prefix))
            .map((b) => b.prefix)
        : blocksToShow(blocks).map((b) => b.prefix),
    );
    if (wait.retire !== undefined) wanted.delete(wait.retire);
    const kept = bound.filter((c) => wanted.has(c.spec.prefix));
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
    const left = surplus.length > 0 ? await this.#releaseSurplus(now, kept, surplus) : undefined;
    const again = Math.min(left ?? Number.POSITIVE_INFINITY, wait.again ?? Number.POSITIVE_INFINITY);
    return Number.isFinite(again) ? { requeueAfterMs: again } : undefined;
  }

  /**
   * The block that is to leave the view because the node has done without it for long enough, or when to look again. The agent
   * must have seen the view as it is: what it says is about these blocks then.
   */
  #spare(
    node: Node,
    view: NodeNetwork,
    blocks: readonly NodeBlock[],
    given: readonly string[] | undefined,
  ): { readonly retire?: string; readonly again?: number } {
    const now = this.#c.clock.monotonic();
    const seen = view.status?.observedGeneration === view.metadata.generation;
    for (const family of families) {
      const spare = seen ? spareBlock(blocks, family) : undefined;
      for (const b of blocks)
        if (b.family === family && b.shown && b !== spare)
          this.#spareSince.delete(`${node.metadata.name} ${b.prefix}`);
      if (!spare || given?.includes(spare.prefix)) continue;
      const key = `${node.metadata.name} ${spare.prefix}`;
      const since = this.#spareSince.get(key) ?? now;
      this.#spareSince.set(key, since);
      if (now - since < spareMs) return { again: since + spareMs - now };
      this.#spareSince.delete(key);
      return { retire: spare.prefix };
    }
    return {};
  }

  /**
   * Gives back blocks that are not in the view, once the API server itself shows the view with the ones that stay. Where pods
   * have got addresses from this view, its agent has to have seen that a block is not in it, and then no pod may be in it for
   * a while: one that was being made meanwhile is counted by then. Returns when to look again, ms.
   */
  async #releaseSurplus(
    view: NodeNetwork,
    kept: readonly IPAllocation[],
    surplus: readonly IPAllocation[],
  ): Promise<number | undefined> {
    const { name } = view.metadata;
    const live = await this.#c.api.get(kinds.NodeNetwork, name);
    const shown = new Set((live.spec.podBlocks ?? []).map((b) => b.prefix));
    if (!kept.every((c) => shown.has(c.spec.prefix))) return undefined;
    const { status } = live;
    const hands = status?.podBlocks !== undefined;
    if (hands && status.observedGeneration !== live.metadata.generation) return leaveMs;
    const now = this.#c.clock.monotonic();
    let again: number | undefined;
    for (const claim of surplus) {
      const { prefix } = claim.spec;
      const key = `${name} ${prefix}`;
      if (shown.has(prefix)) continue;
      if (status?.inUse?.some((b) => b.prefix === prefix)) {
        this.#spareSince.delete(key);
        continue;
      }
      const since = this.#spareSince.get(key) ?? now;
      if (hands && now - since < leaveMs) {
        this.#spareSince.set(key, since);
        again = Math.min(again ?? leaveMs, since + leaveMs - now);
        continue;
      }
      this.#spareSince.delete(key);
      await this.#c.claims.release(claim, []);
    }
    return again;
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
