// operator: the pools as the caches show them, parsed once, and which of them may give out addresses now.
import type { IPPool, IPReservation } from "../api/index.ts";
import {
  type FieldFault,
  gives,
  type Kept,
  type Overlap,
  overlapOf,
  type Pool,
  parsePool,
  refusals,
  refusedPools,
  type Space,
} from "../ipam/index.ts";
import { getCondition } from "../kube/index.ts";
import { AddressError, hostPrefix, type Prefix, parseAddress, parsePrefix } from "../net/address.ts";
import type { ClaimLedger } from "./claims.ts";
import type { Caches } from "./context.ts";

export interface PoolView {
  readonly object: IPPool;
  readonly pool: Pool;
  readonly faults: readonly FieldFault[];
  /** The older pool that keeps this one from being accepted. */
  readonly refusedBy: Overlap | undefined;
  /** A prefix of another cluster that it overlaps. */
  readonly peering: Overlap | undefined;
}

/** Text to prefix; undefined for what is none. */
export function tryPrefix(text: string): Prefix | undefined {
  try {
    return parsePrefix(text);
  } catch (error) {
    if (error instanceof AddressError) return undefined;
    throw error;
  }
}

/** Text to a single-address prefix; undefined for what is none. */
export function tryHost(text: string): Prefix | undefined {
  try {
    return hostPrefix(parseAddress(text));
  } catch (error) {
    if (error instanceof AddressError) return undefined;
    throw error;
  }
}

/** Whether the pool's stored status accepts its present spec; all that allocation relies on. */
export const storedAccepted = (pool: IPPool): boolean | undefined => {
  const condition = getCondition(pool.status?.conditions, "Accepted");
  if (!condition || condition.observedGeneration !== pool.metadata.generation) return undefined;
  return condition.status === "True";
};

const reservedFor = (r: IPReservation): string =>
  `Service ${r.metadata.namespace}/${r.spec.serviceName} by IPReservation ${r.metadata.name}`;

export class PoolBook implements Disposable {
  readonly #caches: Caches;
  readonly #claims: ClaimLedger;
  readonly #subscriptions: readonly Disposable[];
  #views: ReadonlyMap<string, PoolView> | undefined;
  #foreign: readonly (Kept & { readonly peering: string })[] | undefined;

  constructor(caches: Caches, claims: ClaimLedger) {
    this.#caches = caches;
    this.#claims = claims;
    const forget = (): void => {
      this.#views = undefined;
      this.#foreign = undefined;
    };
    this.#subscriptions = [caches.pools.onChange(forget), caches.peerings.onChange(forget)];
  }

  [Symbol.dispose](): void {
    for (const s of this.#subscriptions) s[Symbol.dispose]();
  }

  /** Prefixes that are other clusters'. */
  get foreign(): readonly (Kept & { readonly peering: string })[] {
    this.#foreign ??= this.#caches.peerings.cache.list().flatMap((p) =>
      p.spec.prefixes.flatMap((text) => {
        const prefix = tryPrefix(text);
        const peering = p.metadata.name;
        return prefix ? [{ prefix, peering, refusal: refusals.otherCluster(text, peering) }] : [];
      }),
    );
    return this.#foreign;
  }

  get views(): ReadonlyMap<string, PoolView> {
    if (this.#views) return this.#views;
    const parsed = this.#caches.pools.cache.list().map((object) => ({ object, ...parsePool(object) }));
    // A pool with faults takes no part: what of it could be read must not push others out.
    const refused = refusedPools(parsed.filter((p) => p.faults.length === 0).map((p) => p.pool));
    this.#views = new Map(
      parsed.map(({ object, pool, faults }) => {
        const refusedBy = refused.get(pool.name);
        const at = this.foreign.find((f) => overlapOf(pool.blocks, [f.prefix], f.peering));
        const peering = at && overlapOf(pool.blocks, [at.prefix], at.peering);
        return [pool.name, { object, pool, faults, refusedBy, peering }];
      }),
    );
    return this.#views;
  }

  get(name: string): PoolView | undefined {
    return this.views.get(name);
  }

  /** Whether new addresses may come from it: it is accepted in its status, for its present spec, and by what we see. */
  readonly accepted = (pool: Pool): boolean => {
    const view = this.views.get(pool.name);
    return (
      view !== undefined &&
      view.faults.length === 0 &&
      !view.refusedBy &&
      storedAccepted(view.object) === true
    );
  };

  /** The pool that would give out this prefix, accepted or not: for what is in use already. */
  poolOf(prefix: Prefix, purpose: Pool["purpose"]): Pool | undefined {
    const fitting = [...this.views.values()].filter(
      (v) => v.pool.purpose === purpose && gives(v.pool, prefix),
    );
    return (fitting.find((v) => this.accepted(v.pool)) ?? fitting[0])?.pool;
  }

  /** What allocation looks at. Reservations for `service` (namespace/name) do not stand in its own way. */
  space(service?: string): Space {
    const reservations = this.#caches.reservations.cache.list().flatMap((r): Kept[] => {
      const prefix = tryHost(r.spec.address);
      if (!prefix || `${r.metadata.namespace}/${r.spec.serviceName}` === service) return [];
      return [{ prefix, refusal: refusals.reservedFor(r.spec.address, reservedFor(r)) }];
    });
    return {
      pools: [...this.views.values()].filter((v) => v.faults.length === 0).map((v) => v.pool),
      accepted: this.accepted,
      taken: this.#claims.taken,
      used: this.#claims.used,
      kept: [...reservations, ...this.foreign],
    };
  }
}
