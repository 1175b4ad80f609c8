// operator: the life of a claim: verified, Bound, Releasing until every node has withdrawn it, Cooling, deleted.
import type { IPAllocation, KubernetesObject, NodeNetwork, Service } from "../api/index.ts";
import { describePrefix } from "../ipam/index.ts";
import {
  type ClusterIdentity,
  isNotFound,
  kinds,
  type Resource,
  type Result,
  sameJson,
  setCondition,
  timestamp,
} from "../kube/index.ts";
import { overlaps } from "../net/address.ts";
import { phaseOf, prefixOf, sharersOf, unknownUID } from "./claim.ts";
import { announcedBy, indexes, ingressOf, type OperatorContext } from "./context.ts";
import { claimSays, type Say } from "./messages.ts";
import { tryHost } from "./pool-book.ts";

/** An unverified claim of another process is left to it for this long. */
const verifyMs = 5_000;
/** From release to the first conclusion that nobody announces it: what an agent has just begun to announce it reports by then. */
const settleMs = 2_000;
/**
 * The same for a reservation's address: whichever Service of its namespace was being made to show it when it was released
 * shows it by then, for a request takes no longer.
 */
const settleReservedMs = 35_000;
/** Looked at again without any news. */
const lookMs = 15_000;
/** Rest of an address whose pool is gone: the default of the CRD. */
const defaultCooldownMs = 30_000;

/** Clocks of two operators differ by less than this, ms. */
const clockSlackMs = 60_000;

/** Owners are asked for at the API server before a claim goes: caches alone never give an address away. */
type Existence = "there" | "gone";

export class ClaimLifecycle {
  readonly #c: OperatorContext;
  readonly #identity: ClusterIdentity;
  /** The last complete list of NodeNetworks: asked for at monotonic ms. One serves all claims that wait at the time. */
  #networks: { readonly askedAt: number; readonly items: Promise<readonly NodeNetwork[]> } | undefined;

  /** When this process first saw a claim as it is now, monotonic ms: wall clocks are set, and differ between operators. */
  readonly #since = new Map<string, { readonly mark: string; readonly at: number }>();

  constructor(context: OperatorContext, identity: ClusterIdentity) {
    this.#c = context;
    this.#identity = identity;
  }

  readonly reconcile = async (name: string): Promise<Result | undefined> => {
    const claim = this.#c.claims.get(name);
    if (!claim || phaseOf(claim) === "Bound") this.#since.delete(name);
    if (!claim) return undefined;
    switch (phaseOf(claim)) {
      case undefined:
        return this.#unverified(claim);
      case "Bound":
        return this.#bound(claim);
      case "Releasing":
        return this.#releasing(claim);
      case "Cooling":
        return this.#cooling(claim);
    }
  };

  /** What is left of `ms` since this process first saw the claim in its phase. */
  #leftOf({ metadata: { name, uid }, status }: IPAllocation, ms: number): number {
    const now = this.#c.clock.monotonic();
    const mark = `${uid} ${status?.phase} ${status?.releasedAt}`;
    let since = this.#since.get(name);
    if (since?.mark !== mark) this.#since.set(name, (since = { mark, at: now }));
    return since.at + ms - now;
  }

  /** What a process that died left behind: finished for its owner, or taken back. */
  async #unverified(claim: IPAllocation): Promise<Result | undefined> {
    if (this.#c.claims.isPending(claim.metadata.name)) return { requeueAfterMs: verifyMs };
    const left = this.#leftOf(claim, verifyMs);
    if (left > 0) return { requeueAfterMs: left };
    if (this.#c.gate.awaited) return { requeueAfterMs: verifyMs };
    if ((await this.#owner(claim)) === "gone") await this.#c.claims.remove(claim);
    else await this.#c.claims.verify(claim, this.#c.pools.get(claim.spec.pool)?.pool.quota);
    return undefined;
  }

  async #bound(claim: IPAllocation): Promise<Result | undefined> {
    const users = await this.#goneSharers(claim);
    const lost = this.#seemsUnwanted(claim) && (await this.#owner(claim)) === "gone";
    if (!lost && users.size === 0) return undefined;
    const nodes = this.#c.caches.networks.cache
      .byIndex(indexes.announced, claim.spec.prefix)
      .map((n) => n.metadata.name);
    const gone = lost ? new Set([...users, claim.spec.owner.uid]) : users;
    const now = await this.#c.claims.leave(claim, gone, nodes);
    if (phaseOf(now) === "Releasing")
      this.#c.log.info(
        { prefix: claim.spec.prefix, owner: claim.spec.owner.name },
        "releasing: its owner is gone",
      );
    return undefined;
  }

  /** UIDs of Services that shared it and are gone, by the API server. */
  async #goneSharers(claim: IPAllocation): Promise<ReadonlySet<string>> {
    const asked = this.#c.clock.monotonic();
    const gone = new Set<string>();
    for (const { namespace, name, uid } of sharersOf(claim)) {
      if (this.#c.caches.services.cache.get(`${namespace}/${name}`)?.metadata.uid === uid) continue;
      const found = await this.#read(kinds.Service, name, namespace);
      if (found?.metadata.uid !== uid) gone.add(uid);
    }
    if (gone.size > 0) await this.#identity.verify(asked);
    return gone;
  }

  /** By the caches: whether it is worth asking the API server. */
  #seemsUnwanted(claim: IPAllocation): boolean {
    const { caches } = this.#c;
    const { kind, namespace, name, uid } = claim.spec.owner;
    const key = namespace ? `${namespace}/${name}` : name;
    if (kind === "Node") return caches.nodes.cache.get(key)?.metadata.uid !== uid;
    if (kind === "Service") return caches.services.cache.get(key)?.metadata.uid !== uid;
    const reservation = caches.reservations.cache.get(key);
    const prefix = reservation && tryHost(reservation.spec.address);
    const wanted = reservation?.metadata.uid === uid && prefix && overlaps(prefix, prefixOf(claim));
    return !wanted && !this.#shownBy(claim);
  }

  /** A Service of the namespace that shows a reservation's address though the reservation is gone: it keeps it. */
  #shownBy(claim: IPAllocation): Service | undefined {
    return this.#c.caches.services.cache
      .byIndex(indexes.ingress, describePrefix(prefixOf(claim)))
      .find((s) => s.metadata.namespace === claim.spec.owner.namespace);
  }

  /** Whether the owner exists and wants the claim, by the API server of the right cluster. @throws when that cannot be found out */
  async #owner(claim: IPAllocation): Promise<Existence> {
    const { owner } = claim.spec;
    const asked = this.#c.clock.monotonic();
    const existence =
      owner.kind === "Node"
        ? await this.#exists(kinds.Node, claim)
        : owner.kind === "Service"
          ? await this.#exists(kinds.Service, claim)
          : await this.#reservationWants(claim);
    if (existence === "gone") await this.#identity.verify(asked);
    return existence;
  }

  async #exists(resource: Resource, claim: IPAllocation): Promise<Existence> {
    const { name, namespace, uid } = claim.spec.owner;
    const found = await this.#read(resource, name, namespace);
    return found?.metadata.uid === uid ? "there" : "gone";
  }

  async #reservationWants(claim: IPAllocation): Promise<Existence> {
    const { name, namespace = "", uid } = claim.spec.owner;
    const found = await this.#read(kinds.IPReservation, name, namespace);
    const prefix = found && tryHost(found.spec.address);
    if (found?.metadata.uid === uid && prefix && overlaps(prefix, prefixOf(claim))) return "there";
    // The definition may be gone rather than the object; then nobody has said that the address may go.
    if (!found) {
      const verbs = await this.#c.api.verbs(kinds.IPReservation);
      if (!verbs?.includes("create")) return "there";
    }
    const address = describePrefix(prefixOf(claim));
    const { items } = await this.#c.api.list(kinds.Service, { namespace });
    return items.some((s) => ingressOf(s).includes(address)) ? "there" : "gone";
  }

  async #read<T extends KubernetesObject>(
    resource: Resource<T>,
    name: string,
    namespace: string | undefined,
  ): Promise<T | undefined> {
    try {
      return await this.#c.api.get(resource, name, namespace === undefined ? {} : { namespace });
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  async #releasing(claim: IPAllocation): Promise<Result | undefined> {
    const { claims, clock } = this.#c;
    if (this.#isShown(claim)) return { requeueAfterMs: lookMs };
    const { networks } = this.#c.caches;
    let waiting = await this.#holdouts(
      claim,
      networks.cache.byIndex(indexes.announced, claim.spec.prefix),
      (n) => networks.cache.get(n),
    );
    const least = claim.spec.owner.kind === "IPReservation" ? settleReservedMs : settleMs;
    const left = this.#leftOf(claim, least);
    if (waiting.length === 0 && left > 0) {
      await this.#say(claim, [], claimSays.settling());
      return { requeueAfterMs: left };
    }
    if (waiting.length === 0) {
      if (await this.#isShownNow(claim)) return { requeueAfterMs: lookMs };
      waiting = await this.#holdoutsNow(claim);
    }
    if (waiting.length > 0) {
      const unknown = claim.spec.owner.uid === unknownUID;
      await this.#say(claim, waiting, unknown ? claimSays.quarantined(waiting) : claimSays.awaiting(waiting));
      return { requeueAfterMs: lookMs };
    }
    const cooldown = this.#c.pools.get(claim.spec.pool)?.pool.cooldownMs ?? defaultCooldownMs;
    const until = timestamp(clock.now() + cooldown + 999);
    await claims.setStatus(claim, {
      phase: "Cooling",
      coolingUntil: until,
      announcedBy: null,
      conditions: this.#conditions(claim, claimSays.cooling(until)),
    });
    return undefined;
  }

  /** The same by what the API server says now: what was reported up to now is in a list that is asked for now. */
  async #holdoutsNow(claim: IPAllocation): Promise<readonly string[]> {
    const now = this.#c.clock.monotonic();
    if (this.#networks?.askedAt !== now) {
      const items = this.#c.api.list(kinds.NodeNetwork).then((l) => l.items);
      this.#networks = { askedAt: now, items };
    }
    const byName = new Map((await this.#networks.items).map((n) => [n.metadata.name, n]));
    const announcers = [...byName.values()].filter((n) => announcedBy(n).includes(claim.spec.prefix));
    return this.#holdouts(claim, announcers, (name) => byName.get(name));
  }

  /**
   * Nodes that announce it, or did when last heard of and have not reported since. A node whose Node object is gone reports
   * nothing any more and is not waited for; one that came back under its name must have reported once.
   */
  async #holdouts(
    claim: IPAllocation,
    announcers: readonly NodeNetwork[],
    reportOf: (name: string) => NodeNetwork | undefined,
  ): Promise<readonly string[]> {
    const { owner, prefix } = claim.spec;
    const suspects = new Set([
      ...(claim.status?.announcedBy ?? []),
      ...announcers.map((n) => n.metadata.name),
    ]);
    if (owner.kind === "Node") suspects.add(owner.name);
    const out: string[] = [];
    for (const name of suspects) {
      const report = reportOf(name);
      const withdrawn = report?.status !== undefined && !announcedBy(report).includes(prefix);
      if (!withdrawn && (await this.#nodeExists(name))) out.push(name);
    }
    return out.sort();
  }

  async #nodeExists(name: string): Promise<boolean> {
    return (
      this.#c.caches.nodes.cache.has(name) || (await this.#read(kinds.Node, name, undefined)) !== undefined
    );
  }

  /** Whether its own owner shows it all the same: the owner's reconciler takes it back then. */
  #isShown(claim: IPAllocation): boolean {
    const { caches } = this.#c;
    const { owner, prefix } = claim.spec;
    if (owner.kind === "Node")
      return (
        caches.nodes.cache.get(owner.name)?.metadata.uid === owner.uid &&
        caches.networks.cache.byIndex(indexes.block, prefix).some((n) => n.metadata.name === owner.name)
      );
    return caches.services.cache
      .byIndex(indexes.ingress, describePrefix(prefixOf(claim)))
      .some((s) =>
        owner.kind === "IPReservation"
          ? s.metadata.namespace === owner.namespace
          : s.metadata.uid === owner.uid,
      );
  }

  /** The same by what the API server says now: caches alone give no address away. */
  async #isShownNow({ spec: { owner, prefix } }: IPAllocation): Promise<boolean> {
    const { name, namespace = "" } = owner;
    if (owner.kind === "Node") {
      const view = await this.#read(kinds.NodeNetwork, name, undefined);
      if (!view?.spec.podBlocks?.some((b) => b.prefix === prefix)) return false;
      return (await this.#read(kinds.Node, name, undefined))?.metadata.uid === owner.uid;
    }
    const address = prefix.replace(/\/\d+$/, "");
    if (owner.kind === "IPReservation")
      return (await this.#c.api.list(kinds.Service, { namespace })).items.some((s) =>
        ingressOf(s).includes(address),
      );
    const service = await this.#read(kinds.Service, name, namespace);
    return service?.metadata.uid === owner.uid && ingressOf(service).includes(address);
  }

  async #say(claim: IPAllocation, waiting: readonly string[], say: Say): Promise<void> {
    const conditions = this.#conditions(claim, say);
    const same =
      sameJson(claim.status?.announcedBy ?? [], waiting) &&
      sameJson(claim.status?.conditions ?? [], conditions);
    if (!same) await this.#c.claims.setStatus(claim, { announcedBy: [...waiting], conditions });
  }

  #conditions(claim: IPAllocation, say: Say) {
    return setCondition(
      claim.status?.conditions,
      { type: "Ready", status: "False", ...say },
      this.#c.clock.now(),
    );
  }

  async #cooling(claim: IPAllocation): Promise<Result | undefined> {
    const until = Date.parse(claim.status?.coolingUntil ?? "");
    const left = until - this.#c.clock.now();
    // Without a readable time it rests from now.
    if (Number.isNaN(until)) return this.#repairCooling(claim);
    // Longer than any rest begun now would take: the wall clock has been set back since.
    const cooldown = this.#c.pools.get(claim.spec.pool)?.pool.cooldownMs ?? defaultCooldownMs;
    if (left > Math.max(cooldown, defaultCooldownMs) + clockSlackMs) return this.#repairCooling(claim);
    if (left > 0) return { requeueAfterMs: Math.min(left, 3_600_000) };
    if (this.#isShown(claim) || (await this.#isShownNow(claim))) return { requeueAfterMs: lookMs };
    const waiting = await this.#holdoutsNow(claim);
    if (waiting.length > 0) {
      await this.#c.claims.release(claim, waiting);
      return undefined;
    }
    this.#c.log.info({ prefix: claim.spec.prefix, pool: claim.spec.pool }, "free again");
    await this.#c.claims.remove(claim);
    return undefined;
  }

  async #repairCooling(claim: IPAllocation): Promise<Result | undefined> {
    const cooldown = this.#c.pools.get(claim.spec.pool)?.pool.cooldownMs ?? defaultCooldownMs;
    await this.#c.claims.setStatus(claim, { coolingUntil: timestamp(this.#c.clock.now() + cooldown + 999) });
    return undefined;
  }
}
