// operator: Services that have one address together: who may, how one joins, what the claim remembers of each, how one leaves.
import type { IPAllocation, Service } from "../api/index.ts";
import {
  type Applicant,
  describePrefix,
  poolRefusal,
  refusals,
  type Sharer,
  type Space,
  sharerOf,
  sharingKeyOf,
  sharingObstacle,
} from "../ipam/index.ts";
import { keyOf, sameJson } from "../kube/index.ts";
import { bitsOf, type Family } from "../net/address.ts";
import { isBound, isSharer, prefixOf, sharersOf } from "./claim.ts";
import { indexes, type OperatorContext, usersOf, usesOf } from "./context.ts";
import { eventNotes, type Say, sayRefusal } from "./messages.ts";

export class ServiceSharing {
  readonly #c: OperatorContext;

  constructor(context: OperatorContext) {
    this.#c = context;
  }

  /** Why a Service cannot have this claim's address too; "" where it or the claim shares nothing under one key. */
  obstacle(service: Service, claim: IPAllocation): string | undefined {
    const key = sharingKeyOf(service);
    const sharing = claim.status?.sharing;
    if (key === undefined || sharing?.key !== key || !isBound(claim)) return "";
    return sharingObstacle(sharerOf(service), [...sharing.users, ...this.#reported(claim)]);
  }

  /** Services that agents say to have the address, that share by their key and are not recorded: a restore can lose them. */
  #reported(claim: IPAllocation): readonly Sharer[] {
    const { networks, services } = this.#c.caches;
    const keys = networks.cache
      .byIndex(indexes.announced, claim.spec.prefix)
      .flatMap((n) => usesOf(n).filter((u) => u.prefix === claim.spec.prefix))
      .flatMap((u) => u.sharedBy ?? []);
    return [...new Set(keys)].flatMap((key) => {
      const service = services.cache.get(key);
      if (!service || isSharer(claim, service.metadata.uid)) return [];
      return sharingKeyOf(service) === claim.status?.sharing?.key ? [sharerOf(service)] : [];
    });
  }

  /** An address of this family that the Service may have together with others; first one that it has by what agents say. */
  joinable(service: Service, applicant: Applicant, space: Space): IPAllocation | undefined {
    const key = sharingKeyOf(service);
    if (key === undefined) return undefined;
    const unlimited = { ...space, used: () => 0 };
    const fitting = this.#c.claims.sharedUnder(key).filter((claim) => {
      const prefix = prefixOf(claim);
      const pool = this.#c.pools.get(claim.spec.pool)?.pool;
      return (
        pool &&
        prefix.family === applicant.family &&
        prefix.length === bitsOf(prefix.family) &&
        poolRefusal(pool, applicant, unlimited) === undefined &&
        this.obstacle(service, claim) === undefined
      );
    });
    const name = keyOf(service);
    const has = (claim: IPAllocation): boolean =>
      this.#c.caches.networks.cache
        .byIndex(indexes.announced, claim.spec.prefix)
        .some((n) => usesOf(n).some((u) => u.prefix === claim.spec.prefix && usersOf(u).includes(name)));
    return fitting.find(has) ?? fitting[0];
  }

  /** Becomes one of those that have the claim's address, as the API server has the claim now. */
  async join(
    service: Service,
    family: Family,
    { metadata: { name } }: IPAllocation,
  ): Promise<{ readonly claim: IPAllocation } | { readonly say: Say; readonly wait?: true }> {
    const claim = await this.#c.claims.read(name);
    const why = claim && this.obstacle(service, claim);
    if (!claim || why !== undefined)
      return { say: sayRefusal(family, refusals.sharing(name, why || "it has gone meanwhile")), wait: true };
    const others = sharersOf(claim);
    const key = claim.status?.sharing?.key ?? "";
    const joined = await this.#c.claims.share(claim, key, [...others, sharerOf(service)]);
    this.#c.events.record(service, {
      type: "Normal",
      reason: "Shared",
      action: "Allocate",
      note: eventNotes.shared(
        describePrefix(prefixOf(claim)),
        key,
        others.map((u) => `${u.namespace}/${u.name}`),
      ),
    });
    return { claim: joined };
  }

  /**
   * Keeps what a claim remembers of this Service as the Service is now. Where it has come to clash with others it keeps its
   * address, as addresses never move, and what it has been recorded with; why it clashes is returned.
   */
  async record(
    service: Service,
    claim: IPAllocation,
  ): Promise<{ readonly claim: IPAllocation; readonly clash?: string }> {
    const key = sharingKeyOf(service);
    const { uid } = service.metadata;
    const sharing = claim.status?.sharing;
    const others = sharersOf(claim).filter((u) => u.uid !== uid);
    if (others.length === 0 && key === undefined)
      return { claim: sharing ? await this.#c.claims.share(claim, "", []) : claim };
    const me = sharerOf(service);
    const why = sharingObstacle(me, others);
    if (why !== undefined) return { claim, clash: why };
    // Alone it may change the key; with others the key stays, and so does the Service.
    const wanted = others.length === 0 ? (key ?? "") : (sharing?.key ?? key ?? "");
    const at = sharersOf(claim).findIndex((u) => u.uid === uid);
    const users = at < 0 ? [...others, me] : sharersOf(claim).with(at, me);
    if (sharing?.key === wanted && sameJson(users, sharing.users)) return { claim };
    return { claim: await this.#c.claims.share(claim, wanted, users) };
  }

  has(service: Service, claim: IPAllocation): boolean {
    const { uid } = service.metadata;
    return claim.spec.owner.uid === uid || isSharer(claim, uid);
  }

  /** Gives the address back, or leaves it to those that share it. */
  async leave(service: Service, claim: IPAllocation): Promise<void> {
    await this.#c.claims.leave(claim, new Set([service.metadata.uid ?? ""]), this.#announcers(claim));
  }

  #announcers(claim: IPAllocation): readonly string[] {
    return this.#c.caches.networks.cache
      .byIndex(indexes.announced, claim.spec.prefix)
      .map((n) => n.metadata.name);
  }
}
