// operator: where each family's address of a Service comes from, by caches alone; what is shown and claimed comes first.
import { type IPAllocation, type IPReservation, type Service, serviceLabels } from "../api/index.ts";
import {
  type Applicant,
  type Choice,
  chooseExactly,
  describePrefix,
  refusals,
  type Space,
} from "../ipam/index.ts";
import { getCondition, keyOf } from "../kube/index.ts";
import { bitsOf, claimName, type Family, formatPrefix, type Prefix } from "../net/address.ts";
import { chooseUnshown } from "./allocate.ts";
import { describeOwner, isBound, isGoing, isSharer, phaseOf, prefixOf } from "./claim.ts";
import { indexes, ingressOf, type OperatorContext } from "./context.ts";
import { type Say, sayRefusal, serviceSays } from "./messages.ts";
import { tryHost } from "./pool-book.ts";
import type { ServiceSharing } from "./service-sharing.ts";
import type { Wish } from "./service-wish.ts";

export type Source =
  | { readonly kind: "held"; readonly claim: IPAllocation }
  | { readonly kind: "adopt"; readonly prefix: Prefix }
  | { readonly kind: "choose"; readonly choose: () => Choice; readonly exactly?: Prefix }
  /** Somebody's address that this Service may have too. */
  | { readonly kind: "join"; readonly claim: IPAllocation }
  | { readonly kind: "wait"; readonly say: Say }
  | { readonly kind: "refused"; readonly say: Say };

export class ServiceSources {
  readonly #c: OperatorContext;
  readonly #sharing: ServiceSharing;

  constructor(context: OperatorContext, sharing: ServiceSharing) {
    this.#c = context;
    this.#sharing = sharing;
  }

  readonly hasPool = (family: Family): boolean =>
    [...this.#c.pools.views.values()].some(
      (v) => v.pool.purpose === "LoadBalancers" && v.pool.blocks.some((b) => b.family === family),
    );

  /** A Service without a class whose status somebody else serves: nothing in it is ours. */
  isForeign(service: Service): boolean {
    const shown = ingressOf(service);
    return (
      service.spec.loadBalancerClass === undefined &&
      shown.length > 0 &&
      this.#c.claims.usedBy(service.metadata.uid).length === 0 &&
      shown.every((ip) => {
        const prefix = tryHost(ip);
        return !prefix || !this.#c.pools.poolOf(prefix, "LoadBalancers");
      })
    );
  }

  adoptable(service: Service, prefix: Prefix): boolean {
    if (this.#c.claims.taken.overlapping(prefix).length > 0) return false;
    // A foreign controller's address in a Service without a class is not ours to claim, but ours is by its pool.
    return this.#c.pools.poolOf(prefix, "LoadBalancers") !== undefined && service.metadata.uid !== undefined;
  }

  /** Whether a claim that this Service may show is known for the prefix. */
  mayShow(key: string, service: Service, prefix: Prefix): boolean {
    return this.#usable(key, service, prefix.family).some((c) => c.spec.prefix === formatPrefix(prefix));
  }

  isOthers(key: string, service: Service, ip: string): boolean {
    const prefix = tryHost(ip);
    return (
      prefix !== undefined &&
      this.#c.claims.taken.overlapping(prefix).length > 0 &&
      !this.mayShow(key, service, prefix)
    );
  }

  #reservation(key: string, family: Family): IPReservation | undefined {
    return this.#c.caches.reservations.cache
      .byIndex(indexes.service, key)
      .find((r) => tryHost(r.spec.address)?.family === family);
  }

  /** Claims that this Service may show: its own, those of its reservations, and a reservation's that it shows already. */
  #usable(key: string, service: Service, family: Family): readonly IPAllocation[] {
    const { claims } = this.#c;
    const mine = claims.usedBy(service.metadata.uid);
    const reserved = this.#c.caches.reservations.cache
      .byIndex(indexes.service, key)
      .flatMap((r) => claims.ofOwner(r.metadata.uid));
    const shown = ingressOf(service).flatMap((ip) => {
      const prefix = tryHost(ip);
      const claim = prefix && claims.taken.overlapping(prefix).map((n) => claims.get(n))[0];
      const orphaned =
        claim?.spec.owner.kind === "IPReservation" &&
        claim.spec.owner.namespace === service.metadata.namespace;
      return claim && orphaned && this.#reservationGone(claim) ? [claim] : [];
    });
    return [...new Set([...mine, ...reserved, ...shown])].filter(
      (c) => isBound(c) && prefixOf(c).family === family && prefixOf(c).length === bitsOf(family),
    );
  }

  /** Whether a claim on its way out, which the Service shows, may stay with it: it has excluded everybody all the time. */
  mayTakeBack(service: Service, claim: IPAllocation): boolean {
    const { owner } = claim.spec;
    if (isSharer(claim, service.metadata.uid)) return true;
    if (owner.kind === "IPReservation") return owner.namespace === service.metadata.namespace;
    return owner.uid === service.metadata.uid;
  }

  #reservationGone(claim: IPAllocation): boolean {
    const { namespace = "", name, uid } = claim.spec.owner;
    return this.#c.caches.reservations.cache.get(`${namespace}/${name}`)?.metadata.uid !== uid;
  }

  /** Where each family's address comes from. What one family is to get counts when the other is looked at. */
  of(key: string, service: Service, wish: Wish): ReadonlyMap<Family, Source> {
    const planned = new Map<string, number>();
    const out = new Map<Family, Source>();
    for (const family of wish.families) {
      const source = this.#source(key, service, family, wish, planned);
      out.set(family, source);
      const choice = source.kind === "choose" ? source.choose() : undefined;
      if (choice?.ok) planned.set(choice.pool.name, (planned.get(choice.pool.name) ?? 0) + 1);
    }
    return out;
  }

  /** What is shown and claimed comes before everything but a request. */
  #source(
    key: string,
    service: Service,
    family: Family,
    wish: Wish,
    planned: ReadonlyMap<string, number>,
  ): Source {
    const { pools, claims } = this.#c;
    const later = pools.space(key);
    const space = { ...later, used: (pool: string) => later.used(pool) + (planned.get(pool) ?? 0) };
    const usable = this.#usable(key, service, family);
    const applicant: Applicant = {
      purpose: "LoadBalancers",
      family,
      labels: serviceLabels(service),
      namespace: service.metadata.namespace ?? "",
    };
    const requested = wish.requested.get(family);
    if (requested) {
      const text = formatPrefix(requested);
      const held = usable.find((c) => c.spec.prefix === text);
      if (held) return { kind: "held", claim: held };
      const going = claims.ofOwner(service.metadata.uid).find((c) => c.spec.prefix === text && isGoing(c));
      if (going) return { kind: "held", claim: going };
      if (
        ingressOf(service).some((ip) => ip === describePrefix(requested)) &&
        this.adoptable(service, requested)
      )
        return { kind: "adopt", prefix: requested };
      const other = claims.taken.overlapping(requested).map((n) => claims.get(n))[0];
      if (other && other.spec.owner.uid !== service.metadata.uid) {
        const why = this.#sharing.obstacle(service, other);
        if (why === undefined) return { kind: "join", claim: other };
        const refusal =
          why === ""
            ? refusals.taken(describePrefix(requested), ownerText(other))
            : refusals.sharing(describePrefix(requested), why);
        return { kind: "refused", say: sayRefusal(family, refusal) };
      }
      const choice = chooseExactly(requested, applicant, space);
      return choice.ok
        ? {
            kind: "choose",
            choose: () => chooseExactly(requested, applicant, pools.space(key)),
            exactly: requested,
          }
        : { kind: "refused", say: sayRefusal(family, choice.refusal) };
    }
    const shown = ingressOf(service)
      .map((ip) => tryHost(ip))
      .filter((p) => p?.family === family);
    for (const prefix of shown) {
      const claim = prefix && usable.find((c) => c.spec.prefix === formatPrefix(prefix));
      if (claim) return { kind: "held", claim };
    }
    // The cache may have come to know only now that another operator lets go of what is shown: it is taken back.
    for (const prefix of shown) {
      const claim = prefix && claims.get(claimName(prefix));
      if (claim && isGoing(claim) && this.mayTakeBack(service, claim)) return { kind: "held", claim };
    }
    for (const prefix of shown) {
      if (prefix && this.adoptable(service, prefix)) return { kind: "adopt", prefix };
      const claim = prefix && claims.get(claimName(prefix));
      if (claim && this.#sharing.obstacle(service, claim) === undefined) return { kind: "join", claim };
    }
    const reservation = this.#reservation(key, family);
    if (reservation) {
      const claim = usable.find((c) => c.spec.owner.uid === reservation.metadata.uid);
      if (claim) return { kind: "held", claim };
    }
    const mine = usable[0];
    if (mine) return { kind: "held", claim: mine };
    // What it shows may be ours from a pool that is not there now. It stays: an address is not moved for a lost pool.
    const lost = shown.find((p) => p && claims.taken.overlapping(p).length === 0);
    if (lost) return { kind: "refused", say: sayRefusal(family, refusals.outside(describePrefix(lost))) };
    if (reservation) {
      const ready = getCondition(reservation.status?.conditions, "Ready");
      return ready?.status === "False" && ready.observedGeneration === reservation.metadata.generation
        ? { kind: "wait", say: serviceSays.reservationBroken(reservation.metadata.name, ready.message) }
        : { kind: "wait", say: serviceSays.reservationPending(reservation.metadata.name) };
    }
    const shared = this.#sharing.joinable(service, applicant, space);
    if (shared) return { kind: "join", claim: shared };
    const choose = (from: Space): Choice => chooseUnshown(applicant, from, (p) => this.#shownBy(p, key));
    const choice = choose(space);
    return choice.ok
      ? { kind: "choose", choose: () => choose(pools.space(key)) }
      : { kind: "refused", say: sayRefusal(family, choice.refusal) };
  }

  #shownBy(prefix: Prefix, key: string): string | undefined {
    const other = this.#c.caches.services.cache
      .byIndex(indexes.ingress, describePrefix(prefix))
      .find((s) => keyOf(s) !== key);
    return other && `Service ${keyOf(other)}`;
  }
}

const ownerText = (claim: IPAllocation): string => {
  const phase = phaseOf(claim);
  const owner = describeOwner(claim.spec.owner);
  return phase === "Bound" || phase === undefined ? owner : `${owner} (${phase})`;
};
