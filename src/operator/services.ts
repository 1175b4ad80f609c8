// operator: Services of type LoadBalancer: an address of each family is claimed, and shown in the status after the claim.
import { type IPAllocation, isPaused, type Service } from "../api/index.ts";
import { describePrefix, refusals, sharingKeyOf } from "../ipam/index.ts";
import { isNotFound, kinds, type Result, SharedLists, sameJson, setCondition } from "../kube/index.ts";
import { claimName, type Family, formatPrefix, type Prefix } from "../net/address.ts";
import { type Allocation, allocate, claimOnce, takeQuarantined } from "./allocate.ts";
import { isBound, isGoing, isSharer, type Owner, phaseOf, prefixOf } from "./claim.ts";
import { Contest } from "./contest.ts";
import { ingressOf, type OperatorContext } from "./context.ts";
import { eventNotes, type Say, sayRefusal, serviceSays } from "./messages.ts";
import { tryHost } from "./pool-book.ts";
import { ServiceSharing } from "./service-sharing.ts";
import { ServiceSources, type Source } from "./service-sources.ts";
import { ownershipOf, type Wish, wishOf } from "./service-wish.ts";

export const allocatedCondition = "waggle.dev/Allocated";
const fieldManager = "waggle-ipam";

/** About how long a Service waits after it had to give back half of what it needs. */
const halfMs = 10_000;
/** A reservation's claim is about to come: look again after this. */
const reservationMs = 500;

export const serviceOwner = (service: Service): Owner => ({
  kind: "Service",
  namespace: service.metadata.namespace ?? "",
  name: service.metadata.name,
  uid: service.metadata.uid ?? "",
});

/** What the Service is to show. */
interface Shown {
  readonly ips: readonly string[];
  readonly claims: readonly IPAllocation[];
  readonly wish: Wish;
  /** Nothing is lacking. */
  readonly complete: boolean;
}

interface Gathered {
  readonly held: ReadonlyMap<Family, IPAllocation>;
  readonly lacking: ReadonlyMap<Family, Say>;
  /** For a reservation's claim, which is about to come. */
  readonly waits: boolean;
  /** What others that share an address have, and this Service asks for too. */
  readonly clashes: readonly Say[];
}

export class ServiceReconciler {
  /** Keys of Services that lack an address. */
  readonly waiting = new Set<string>();
  /** Keys of Services without a class that show addresses of nobody's pool; theirs may be made a pool of ours. */
  readonly foreign = new Set<string>();
  readonly #c: OperatorContext;
  readonly #contest: Contest;
  readonly #sources: ServiceSources;
  readonly #lists: SharedLists;
  readonly #sharing: ServiceSharing;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(context: OperatorContext) {
    this.#c = context;
    this.#contest = new Contest(context.clock);
    this.#sharing = new ServiceSharing(context);
    this.#sources = new ServiceSources(context, this.#sharing);
    this.#lists = new SharedLists(context.api, context.clock);
  }

  readonly reconcile = async (key: string): Promise<Result | undefined> => {
    const service = this.#c.caches.services.cache.get(key);
    this.foreign.delete(key);
    if (!service) {
      this.waiting.delete(key);
      this.#contest.forget(key);
      return undefined;
    }
    if (isPaused(service)) return undefined;
    const ownership = ownershipOf(service, this.#c.caches);
    if (ownership === "not ours") {
      this.waiting.delete(key);
      await this.#letGo(service);
      return undefined;
    }
    if (ownership === "not now") return undefined;
    return this.#serve(key, service);
  };

  /** Claims again what the Service shows and nothing claims. */
  async adopt(service: Service): Promise<void> {
    if (ownershipOf(service, this.#c.caches) !== "ours") return;
    for (const ip of ingressOf(service)) {
      const prefix = tryHost(ip);
      if (prefix && this.#sources.adoptable(service, prefix)) await this.#claimShown(service, prefix);
    }
  }

  /**
   * Looks at the API server for the claims of what is shown, where the cache knows none that fits: the cache may be behind.
   * One that is being released, because another operator thought that it was not needed or because its reservation went
   * just when it was shown, is taken back.
   */
  async #recall(key: string, service: Service): Promise<void> {
    const { claims } = this.#c;
    for (const ip of ingressOf(service)) {
      const prefix = tryHost(ip);
      if (!prefix || this.#sources.mayShow(key, service, prefix)) continue;
      const claim = await claims.read(claimName(prefix));
      if (claim && isGoing(claim) && this.#sources.mayTakeBack(service, claim)) await claims.revive(claim);
    }
  }

  async #claimShown(service: Service, prefix: Prefix): Promise<IPAllocation | undefined> {
    const pool = this.#c.pools.poolOf(prefix, "LoadBalancers");
    if (!pool || !(await this.#stillShows(service, prefix))) return undefined;
    const result = await claimOnce(this.#c, serviceOwner(service), pool, prefix, true);
    return result.ok ? result.claim : undefined;
  }

  /** What is claimed without asking for room must be in use in fact, not in a late cache. */
  async #stillShows(service: Service, prefix: Prefix): Promise<boolean> {
    const { name, namespace = "", uid } = service.metadata;
    try {
      const live = await this.#c.api.get(kinds.Service, name, { namespace });
      return live.metadata.uid === uid && ingressOf(live).includes(describePrefix(prefix));
    } catch (error) {
      if (isNotFound(error)) return false;
      throw error;
    }
  }

  async #serve(key: string, service: Service): Promise<Result | undefined> {
    if (this.#sources.isForeign(service)) {
      this.foreign.add(key);
      return undefined;
    }
    await this.#recall(key, service);
    const parsed = wishOf(service, this.#sources.hasPool);
    if ("invalid" in parsed) return this.#report(key, service, undefined, parsed.invalid);
    const { wish } = parsed;
    const gather = (): Promise<Gathered> => this.#gather(key, service, wish);
    // Who may share comes one after the other, too, so that the second finds the first one's address.
    const sharing = sharingKeyOf(service);
    const { held, lacking, waits, clashes } = await (wish.all || sharing !== undefined
      ? this.#inTurn(gather)
      : gather());
    const claims = wish.families.flatMap((f) => held.get(f) ?? []);
    const half = wish.all && lacking.size > 0 && ingressOf(service).length === 0;
    const result =
      claims.length === 0 || half
        ? await this.#report(key, service, undefined, [...lacking.values()][0]!)
        : await this.#show(key, service, wish, claims, lacking, clashes[0]);
    if (half && claims.length > 0) return this.#giveBack(key, service, claims);
    return result ?? (waits ? { requeueAfterMs: reservationMs } : undefined);
  }

  /** Two who need both families must not each take the one that the other lacks. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(work);
    this.#turn = turn.catch(() => undefined);
    return turn;
  }

  /** What each family gets, claimed; or why it lacks one. */
  async #gather(key: string, service: Service, wish: Wish): Promise<Gathered> {
    const sources = this.#sources.of(key, service, wish);
    let waits = false;
    const clashes: Say[] = [];
    const held = new Map<Family, IPAllocation>();
    const lacking = new Map<Family, Say>();
    for (const [family, source] of sources)
      if (source.kind === "refused" || source.kind === "wait") {
        lacking.set(family, source.say);
        waits ||= source.kind === "wait";
      }
    const hopeless = wish.all && lacking.size > 0;
    for (const [family, source] of sources) {
      if (source.kind === "refused" || source.kind === "wait") continue;
      // With RequireDualStack nothing new is claimed for one family while the other cannot be had.
      if (source.kind === "choose" && hopeless) continue;
      const result = await this.#obtain(service, family, source);
      if ("claim" in result) {
        const { claim, clash } = await this.#sharing.record(service, result.claim);
        held.set(family, claim);
        if (clash !== undefined)
          clashes.push(serviceSays.sharingConflict(describePrefix(prefixOf(claim)), clash));
      } else {
        lacking.set(family, result.say);
        waits ||= result.wait === true;
      }
    }
    return { held, lacking, waits, clashes };
  }

  /**
   * Half of what is needed keeps others from a whole, so it goes back. The next attempt comes after a time of its own, and
   * not when room appears: whoever else gave back half would come at the same moment.
   */
  async #giveBack(key: string, service: Service, claims: readonly IPAllocation[]): Promise<Result> {
    for (const claim of claims)
      if (this.#sharing.has(service, claim)) await this.#sharing.leave(service, claim);
    this.waiting.delete(key);
    return { requeueAfterMs: halfMs * (0.2 + this.#c.random()) };
  }

  async #obtain(
    service: Service,
    family: Family,
    source: Exclude<Source, { kind: "refused" | "wait" }>,
  ): Promise<{ readonly claim: IPAllocation } | { readonly say: Say; readonly wait?: true }> {
    if (source.kind === "held") return this.#hold(service, source.claim);
    if (source.kind === "join") return this.#sharing.join(service, family, source.claim);
    if (source.kind === "adopt") {
      const claim = await this.#claimShown(service, source.prefix);
      return claim
        ? { claim }
        : { say: sayRefusal(family, refusals.taken(describePrefix(source.prefix), "somebody else")) };
    }
    const { claims, gate, pools } = this.#c;
    if (!source.exactly) {
      const back = await takeQuarantined(this.#c, serviceOwner(service), family);
      if (back?.ok) return back;
    }
    if (gate.awaited) return { say: sayRefusal(family, refusals.awaitingAgents(gate.awaited)) };
    const unfinished = claims
      .ofOwner(service.metadata.uid)
      .find((c) => phaseOf(c) === undefined && prefixOf(c).family === family);
    if (unfinished && (!source.exactly || formatPrefix(source.exactly) === unfinished.spec.prefix)) {
      const outcome = await claims.verify(unfinished, pools.get(unfinished.spec.pool)?.pool.quota);
      if (outcome.ok) return { claim: outcome.claim };
    }
    // A reservation is applied together with its Service often, and its watch may be the slower one.
    const reserved = source.exactly ? undefined : await this.#reservedLately(service, family);
    if (reserved) return { say: serviceSays.reservationPending(reserved), wait: true };
    const result = await this.#allocate(service, source);
    if (!result.ok) return { say: sayRefusal(family, result.refusal) };
    this.#c.events.record(service, {
      type: "Normal",
      reason: "Allocated",
      action: "Allocate",
      note: eventNotes.allocated(result.claim.spec.prefix, result.claim.spec.pool),
    });
    return result;
  }

  /**
   * A claim of somebody else, of a reservation, may be on its way out by now: it is asked for before the Service shows it for
   * the first time.
   */
  async #hold(
    service: Service,
    held: IPAllocation,
  ): Promise<{ readonly claim: IPAllocation } | { readonly say: Say; readonly wait?: true }> {
    const { claims } = this.#c;
    const address = describePrefix(prefixOf(held));
    let claim: IPAllocation | undefined = held;
    if (held.spec.owner.uid !== service.metadata.uid && !ingressOf(service).includes(address)) {
      claim = await claims.read(held.metadata.name);
      const { uid } = service.metadata;
      const left = isSharer(held, uid) && !(claim && isSharer(claim, uid));
      if (!claim || !isBound(claim) || claim.spec.owner.uid !== held.spec.owner.uid || left)
        return { say: serviceSays.reservationPending(held.spec.owner.name), wait: true };
    }
    if (isGoing(claim)) claim = await claims.revive(claim);
    return { claim };
  }

  /** An address that was asked for is tried once: there is no other to go on to. */
  #allocate(service: Service, source: Source & { readonly kind: "choose" }): Promise<Allocation> {
    const owner = serviceOwner(service);
    if (!source.exactly) return allocate(this.#c, owner, source.choose);
    const choice = source.choose();
    return choice.ok ? claimOnce(this.#c, owner, choice.pool, choice.prefix) : Promise.resolve(choice);
  }

  /** Name of a reservation for this Service that the API server has and the cache may not. */
  async #reservedLately(service: Service, family: Family): Promise<string | undefined> {
    const namespace = service.metadata.namespace ?? "";
    const found = (await this.#lists.list(kinds.IPReservation, { namespace })).find(
      (r) => r.spec.serviceName === service.metadata.name && tryHost(r.spec.address)?.family === family,
    );
    return found?.metadata.name;
  }

  async #show(
    key: string,
    service: Service,
    wish: Wish,
    claims: readonly IPAllocation[],
    lacking: ReadonlyMap<Family, Say>,
    clash: Say | undefined,
  ): Promise<Result | undefined> {
    const missing = [...lacking.values()].map((s) => s.message).join("; ") || undefined;
    const complete = missing === undefined || (!wish.all && wish.families.length > 1 && !wish.requested.size);
    const ips = claims.map((c) => describePrefix(prefixOf(c)));
    const say = clash ?? (complete ? serviceSays.allocated(ips, missing) : [...lacking.values()][0]!);
    return this.#report(key, service, { ips, claims, wish, complete: missing === undefined }, say);
  }

  /** Writes addresses (where given) and the condition, if they differ; then gives back what is not shown. */
  async #report(
    key: string,
    service: Service,
    shown: Shown | undefined,
    say: Say,
  ): Promise<Result | undefined> {
    const { api } = this.#c;
    if (shown?.complete) this.waiting.delete(key);
    else this.waiting.add(key);
    const now = ingressOf(service);
    let ips = shown?.ips;
    // Nothing new to show. What is shown stays, unless another has claimed it.
    if (ips === undefined && now.length > 0)
      ips = now.filter((ip) => !this.#sources.isOthers(key, service, ip));
    let verdict = say;
    if (ips !== undefined && !sameJson(ips, now)) {
      const pause = this.#contest.mayWrite(key, ips);
      if (pause > 0) {
        verdict = serviceSays.contested(now.filter((ip) => !ips?.includes(ip)));
        await this.#write(api, service, undefined, "False", verdict);
        return { requeueAfterMs: pause };
      }
    }
    const granted = ips !== undefined && ips.length > 0 && verdict.reason === "Allocated";
    const live = await this.#write(api, service, ips, granted ? "True" : "False", verdict);
    if (shown) {
      this.#contest.stands(key, shown.ips, !sameJson(shown.ips, now));
      await this.#releaseSurplus(live, shown);
    }
    return undefined;
  }

  async #write(
    api: OperatorContext["api"],
    service: Service,
    ips: readonly string[] | undefined,
    status: "True" | "False",
    say: Say,
  ): Promise<Service> {
    const { name, namespace = "", resourceVersion, generation } = service.metadata;
    const old = service.status?.conditions;
    const conditions = setCondition(
      old,
      {
        type: allocatedCondition,
        status,
        ...say,
        ...(generation !== undefined && { observedGeneration: generation }),
      },
      this.#c.clock.now(),
    );
    const ingressChanged = ips !== undefined && !sameJson(ips, ingressOf(service));
    const sorted = [...(old ?? [])].sort((a, b) => (a.type < b.type ? -1 : 1));
    const conditionsChanged = !sameJson(conditions, sorted);
    if (!ingressChanged && !conditionsChanged) return service;
    const ingress = ips?.map((ip) => ({ ip, ipMode: "VIP" }));
    return api.patch(
      kinds.Service,
      name,
      "merge",
      {
        metadata: { resourceVersion },
        status: {
          ...(ingressChanged && { loadBalancer: { ingress } }),
          ...(conditionsChanged && { conditions }),
        },
      },
      { namespace, subresource: "status", fieldManager },
    );
  }

  /**
   * Gives back own claims that the Service does not show, in families of which it shows another or wants none. Decided on
   * the Service as the API server has it: nobody else at work can then make it show one of these without a conflict.
   */
  async #releaseSurplus(service: Service, shown: Shown): Promise<void> {
    const { api, claims } = this.#c;
    const families = new Set(shown.claims.map((c) => prefixOf(c).family));
    const surplus = claims
      .usedBy(service.metadata.uid)
      .filter((c) => isBound(c) && !shown.ips.includes(describePrefix(prefixOf(c))))
      .filter((c) => families.has(prefixOf(c).family) || !shown.wish.families.includes(prefixOf(c).family));
    if (surplus.length === 0) return;
    const live = await api.get(kinds.Service, service.metadata.name, {
      namespace: service.metadata.namespace ?? "",
    });
    if (live.metadata.uid !== service.metadata.uid || !sameJson(ingressOf(live), shown.ips)) return;
    for (const claim of surplus) await this.#sharing.leave(service, claim);
  }

  /** The Service is no longer ours: what we showed goes, then what we claimed for it. */
  async #letGo(service: Service): Promise<void> {
    const { api, claims } = this.#c;
    const mine = claims.usedBy(service.metadata.uid).filter((c) => phaseOf(c) === "Bound");
    if (mine.length === 0) return;
    let live: Service;
    try {
      live = await api.get(kinds.Service, service.metadata.name, {
        namespace: service.metadata.namespace ?? "",
      });
    } catch (error) {
      if (isNotFound(error)) return;
      throw error;
    }
    if (live.metadata.uid !== service.metadata.uid || ownershipOf(live, this.#c.caches) !== "not ours")
      return;
    const ours = new Set(mine.map((c) => describePrefix(prefixOf(c))));
    const rest = (live.status?.loadBalancer?.ingress ?? []).filter((i) => !i.ip || !ours.has(i.ip));
    if (rest.length < (live.status?.loadBalancer?.ingress ?? []).length)
      await api.patch(
        kinds.Service,
        live.metadata.name,
        "merge",
        {
          metadata: { resourceVersion: live.metadata.resourceVersion },
          status: { loadBalancer: { ingress: rest.length > 0 ? rest : null } },
        },
        { namespace: live.metadata.namespace ?? "", subresource: "status", fieldManager },
      );
    for (const claim of mine) await this.#sharing.leave(service, claim);
  }
}
