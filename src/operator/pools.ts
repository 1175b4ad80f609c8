// operator: IPPools: which are accepted, how full they are, and whether something is wrong with them.
import { type IPPool, type IPPoolStatus, isPaused } from "../api/index.ts";
import { capacityOf, overlapOf, spanOf } from "../ipam/index.ts";
import { applyStatus, kinds, type Result, setCondition } from "../kube/index.ts";
import { contains, formatPrefix, type Prefix } from "../net/address.ts";
import { describeOwner, phaseOf, prefixOf } from "./claim.ts";
import { fieldManager, type OperatorContext } from "./context.ts";
import { inUseText, poolSays, type Say, usersText } from "./messages.ts";
import { withPaused } from "./paused.ts";
import { type PoolView, storedAccepted } from "./pool-book.ts";

type Verdict = { readonly status: "True" | "False"; readonly say: Say };

/** Overlapping pools that a status can name. */
const mostRivals = 64;
/** A pool that has to wait for another's refusal is looked at again after this; the other's change comes first usually. */
const waitMs = 250;

export class PoolReconciler {
  readonly #c: OperatorContext;

  constructor(context: OperatorContext) {
    this.#c = context;
  }

  readonly reconcile = async (name: string): Promise<Result | undefined> => {
    const view = this.#c.pools.get(name);
    if (!view) return undefined;
    const { object } = view;
    if (isPaused(object)) return this.#stay(object);
    const rivals = this.#rivals(view);
    const accepted = this.#accepted(view, rivals);
    if (accepted === "later") return { requeueAfterMs: waitMs };
    const claims = this.#c.claims.all().filter((c) => c.spec.pool === name);
    const used = claims.filter((c) => phaseOf(c) !== undefined);
    const inUse = this.#inUse(view);
    const { generation } = object.metadata;
    const observed = generation === undefined ? {} : { observedGeneration: generation };
    const now = this.#c.clock.now();
    let conditions = setCondition(
      object.status?.conditions,
      { type: "Accepted", status: accepted.status, ...accepted.say, ...observed },
      now,
    );
    const ready = this.#ready(view, accepted, used.length);
    conditions = setCondition(
      conditions,
      { type: "Ready", status: ready.status, ...ready.say, ...observed },
      now,
    );
    const status: IPPoolStatus = {
      ...observed,
      allocated: used.filter((c) => phaseOf(c) === "Bound").length,
      cooling: used.filter((c) => phaseOf(c) !== "Bound").length,
      ...(inUse.length > 0 && { inUse, usedBy: inUseText(inUse) }),
      capacity: view.faults.length > 0 ? "0" : String(capacityOf(view.pool)),
      ...(rivals.length > 0 && {
        overlaps: rivals.map((v) => ({ pool: v.pool.name, generation: v.object.metadata.generation ?? 0 })),
      }),
      conditions: withPaused(object, conditions, now),
    };
    await applyStatus(this.#c.api, kinds.IPPool, object, status, { fieldManager });
    const refusedNow = accepted.status === "False" && storedAccepted(object) !== false;
    if (refusedNow)
      this.#c.events.record(object, {
        type: "Warning",
        reason: accepted.say.reason,
        action: "Accept",
        note: accepted.say.message,
      });
    return undefined;
  };

  /**
   * What is claimed from a paused pool stays, and its status goes on speaking of the form before the pause. Nothing new is
   * given out of a form that was never accepted: see {@link storedAccepted}.
   */
  async #stay(object: IPPool): Promise<undefined> {
    const conditions = withPaused(object, object.status?.conditions ?? [], this.#c.clock.now());
    await applyStatus(this.#c.api, kinds.IPPool, object, { ...object.status, conditions }, { fieldManager });
    return undefined;
  }

  /** Every pool that shares an address with it, by name. */
  #rivals(view: PoolView): readonly PoolView[] {
    return [...this.#c.pools.views.values()]
      .filter((v) => v !== view && overlapOf(view.pool.blocks, v.pool.blocks, v.pool.name))
      .sort((a, b) => (a.pool.name < b.pool.name ? -1 : 1));
  }

  /**
   * A pool is accepted only when each pool that overlaps it says in its status, for its own present spec and having seen
   * this one's, that it is not. Statuses are written on condition that the object has not changed since it was read, so a
   * write that was decided before loses against that refusal, and one that is decided later has seen both specs. Two
   * overlapping pools are so never both accepted, even while two operators write with caches of different age.
   */
  #accepted(view: PoolView, rivals: readonly PoolView[]): Verdict | "later" {
    if (view.faults.length > 0)
      return {
        status: "False",
        say: poolSays.invalid(view.faults.map((f) => `${f.path}: ${f.message}`)),
      };
    const services = this.#c.ranges.overlap(view.pool.blocks);
    if (services) return { status: "False", say: poolSays.overlapsServices(services) };
    if (view.refusedBy) return { status: "False", say: poolSays.overlap(view.refusedBy) };
    if (rivals.length > mostRivals) return { status: "False", say: poolSays.tooManyOverlaps(rivals.length) };
    const standing = storedAccepted(view.object) === true;
    if (!standing && !this.#c.ranges.known) return "later";
    if (!standing && rivals.some((v) => !this.#yields(v, view))) return "later";
    return { status: "True", say: poolSays.accepted() };
  }

  /** Whether a pool's stored status refuses it, knowing the other's present spec. */
  #yields({ object }: PoolView, to: PoolView): boolean {
    const { name, generation } = to.object.metadata;
    const seen = object.status?.overlaps?.some((o) => o.pool === name && o.generation === generation);
    return storedAccepted(object) === false && seen === true;
  }

  #ready(view: PoolView, accepted: Verdict, used: number): Verdict {
    if (accepted.status === "False") return accepted;
    const outside = this.#outside(view.object, view);
    if (outside.length > 0) return { status: "False", say: poolSays.claimsOutside(outside) };
    if (view.peering) return { status: "False", say: poolSays.overlapsPeering(view.peering) };
    if (view.pool.disabled) return { status: "True", say: poolSays.disabled() };
    const full =
      BigInt(used) >= capacityOf(view.pool) || used >= (view.pool.quota ?? Number.POSITIVE_INFINITY);
    return { status: "True", say: full ? poolSays.full() : poolSays.ready() };
  }

  /** What of each block somebody has, in one prefix, and who; what rests is nobody's. The admission rules go by this. */
  #inUse({ pool }: PoolView): NonNullable<IPPoolStatus["inUse"]> {
    const { claims } = this.#c;
    return pool.blocks.flatMap((block) => {
      let first: Prefix | undefined;
      let last: Prefix | undefined;
      const owners = new Set<string>();
      for (const { name, prefix } of claims.taken.within(block)) {
        const claim = claims.get(name);
        const phase = claim && phaseOf(claim);
        if (claim?.spec.pool !== pool.name || (phase !== "Bound" && phase !== "Releasing")) continue;
        first ??= prefix;
        last = prefix;
        owners.add(describeOwner(claim.spec.owner));
      }
      if (!first || !last) return [];
      return [{ prefix: formatPrefix(spanOf(first, last)), users: usersText([...owners]) }];
    });
  }

  /** Claims of the pool that its blocks no longer hold. */
  #outside(object: IPPool, { pool }: PoolView): readonly string[] {
    return this.#c.claims
      .all()
      .filter(
        (c) => c.spec.pool === object.metadata.name && !pool.blocks.some((b) => contains(b, prefixOf(c))),
      )
      .map((c) => `${c.spec.prefix} of ${describeOwner(c.spec.owner)}`)
      .sort();
  }
}
