// operator: IPReservations: the address is claimed in the reservation's own name, so that it outlives every Service.
import { type IPReservation, type IPReservationStatus, isPaused } from "../api/index.ts";
import { describePrefix, type Pool, refusals } from "../ipam/index.ts";
import { applyStatus, kinds, type Result, setCondition } from "../kube/index.ts";
import { claimName, overlaps, type Prefix } from "../net/address.ts";
import { claimOnce } from "./allocate.ts";
import { describeOwner, isBound, type Owner, phaseOf, prefixOf } from "./claim.ts";
import { clusterNetworkOf, fieldManager, type OperatorContext } from "./context.ts";
import { reservationSays, type Say } from "./messages.ts";
import { withPaused } from "./paused.ts";
import { tryHost } from "./pool-book.ts";

export const reservationOwner = (r: IPReservation): Owner => ({
  kind: "IPReservation",
  namespace: r.metadata.namespace ?? "",
  name: r.metadata.name,
  uid: r.metadata.uid ?? "",
});

type Verdict = { readonly status: "True" | "False" | "Unknown"; readonly say: Say; readonly pool?: string };
const refused = (reason: string, message: string): Verdict => ({ status: "False", say: { reason, message } });

export class ReservationReconciler {
  /** Keys of reservations that have not got their address. */
  readonly waiting = new Set<string>();
  readonly #c: OperatorContext;

  constructor(context: OperatorContext) {
    this.#c = context;
  }

  readonly reconcile = async (key: string): Promise<Result | undefined> => {
    const reservation = this.#c.caches.reservations.cache.get(key);
    if (!reservation) {
      this.waiting.delete(key);
      return undefined;
    }
    if (isPaused(reservation)) {
      // What it has claimed stays; what it has not waits.
      const before = reservation.status?.conditions ?? [];
      const conditions = withPaused(reservation, before, this.#c.clock.now());
      const status: IPReservationStatus = { ...reservation.status, conditions };
      await applyStatus(this.#c.api, kinds.IPReservation, reservation, status, { fieldManager });
      return undefined;
    }
    const verdict = await this.#keep(reservation);
    if (verdict.status === "True") this.waiting.delete(key);
    else this.waiting.add(key);
    const { generation } = reservation.metadata;
    const status: IPReservationStatus = {
      ...(generation !== undefined && { observedGeneration: generation }),
      ...(verdict.pool !== undefined && { pool: verdict.pool }),
      conditions: withPaused(
        reservation,
        setCondition(
          reservation.status?.conditions,
          {
            type: "Ready",
            status: verdict.status,
            ...verdict.say,
            ...(generation !== undefined && { observedGeneration: generation }),
          },
          this.#c.clock.now(),
        ),
        this.#c.clock.now(),
      ),
    };
    await applyStatus(this.#c.api, kinds.IPReservation, reservation, status, { fieldManager });
    return undefined;
  };

  async #keep(r: IPReservation): Promise<Verdict> {
    const { caches, claims, pools } = this.#c;
    const prefix = tryHost(r.spec.address);
    if (!prefix)
      return { status: "False", say: reservationSays.invalid(`${r.spec.address} is not an address`) };
    const mine = claims.ofOwner(r.metadata.uid).find((c) => isBound(c) && overlaps(prefixOf(c), prefix));
    if (mine) return this.#holds(r, prefix, mine.spec.pool);
    const observing = !clusterNetworkOf(caches)?.spec.nodes.some((n) => n.mode !== "Observe");
    if (observing) return { status: "Unknown", say: reservationSays.observing() };
    const holder = claims.taken.overlapping(prefix).map((n) => claims.get(n))[0];
    const service = `${r.metadata.namespace}/${r.spec.serviceName}`;
    if (holder && holder.spec.owner.uid !== r.metadata.uid) {
      const { owner } = holder.spec;
      const forUs = owner.kind === "Service" && `${owner.namespace}/${owner.name}` === service;
      if (forUs && isBound(holder))
        return { status: "True", say: reservationSays.inUse(service), pool: holder.spec.pool };
      const phase = phaseOf(holder);
      if (phase === "Releasing" || phase === "Cooling")
        return { status: "False", say: reservationSays.waits(phase), pool: holder.spec.pool };
      const { code, message } = refusals.taken(describePrefix(prefix), describeOwner(owner));
      return refused(code, message);
    }
    const pool = pools.poolOf(prefix, "LoadBalancers");
    const obstacle = pool ? this.#obstacle(prefix, pool) : refusals.outside(describePrefix(prefix));
    if (!pool || obstacle) return refused(obstacle?.code ?? "", obstacle?.message ?? "");
    const result = await claimOnce(this.#c, reservationOwner(r), pool, prefix);
    return result.ok
      ? this.#holds(r, prefix, pool.name)
      : refused(result.refusal.code, result.refusal.message);
  }

  #holds(r: IPReservation, prefix: Prefix, pool: string): Verdict {
    const key = `${r.metadata.namespace}/${r.spec.serviceName}`;
    const service = this.#c.caches.services.cache.get(key);
    const shown = service?.status?.loadBalancer?.ingress?.some((i) => i.ip === describePrefix(prefix));
    return { status: "True", say: shown ? reservationSays.inUse(key) : reservationSays.kept(pool), pool };
  }

  /** Selectors of the pool do not matter: whoever may make a reservation in a namespace has been given that right. */
  #obstacle(prefix: Prefix, pool: Pool): { readonly code: string; readonly message: string } | undefined {
    const text = describePrefix(prefix);
    if (pool.reserved.some((p) => overlaps(p, prefix))) return refusals.reserved(text, pool.name);
    if (!this.#c.pools.accepted(pool)) return refusals.notAccepted(pool.name);
    if (pool.disabled) return refusals.disabled(pool.name);
    const foreign = this.#c.pools.foreign.find((f) => overlaps(f.prefix, prefix));
    if (foreign) return refusals.otherCluster(text, foreign.peering);
    // Claiming would find out as well, but each attempt that fails makes and deletes a claim, and that wakes the next one.
    if (pool.quota !== undefined && this.#c.claims.used(pool.name) >= pool.quota)
      return refusals.quota(pool.name, pool.quota);
    return undefined;
  }
}

/** Name of the claim that a reservation asks for; undefined for what is no address. */
export function reservedClaim(r: IPReservation): string | undefined {
  const prefix = tryHost(r.spec.address);
  return prefix && claimName(prefix);
}
