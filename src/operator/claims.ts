// operator: claims. A claim is the create of an IPAllocation named from its prefix; it counts once it has been verified.
//
// Create is a lock for one prefix only. Two prefixes of different length can overlap though their names differ, and pools
// overlap for a moment whenever a user edits them into each other. So a claim has two steps. It is created, without a phase.
// Then everything that could overlap it is listed from the API server (not from a cache), and only if nothing older is there
// its phase becomes Bound, on condition that it has not changed. Of two unverified claims that overlap, the one with the lower
// resourceVersion was created first, and the other's list, made after its own create, must show it. So at most one of them
// becomes Bound, whoever runs, whatever their caches hold, and wherever a process dies. A pool's quota is kept the same way.
// Nothing uses a claim that is not Bound.
import type { IPAllocation } from "../api/index.ts";
import { claimLabels, overlapSelector, type Pool, poolSelector, type Sharer } from "../ipam/index.ts";
import {
  type Clock,
  type Informer,
  isAlreadyExists,
  isConflict,
  isNotFound,
  type KubeApi,
  kinds,
  SharedLists,
  setCondition,
  timestamp,
} from "../kube/index.ts";
import { claimName, formatPrefix, overlaps, type Prefix } from "../net/address.ts";
import { describeOwner, type Owner, phaseOf, prefixOf, sharersOf, versionOf } from "./claim.ts";
import { ClaimView } from "./claim-view.ts";
import { claimSays } from "./messages.ts";

export type ClaimOutcome =
  | { readonly ok: true; readonly claim: IPAllocation }
  /** Somebody else has it, or something that overlaps it; look for another. */
  | { readonly ok: false; readonly by: string }
  /** The pool's quota is used up, though the cache did not know. */
  | { readonly ok: false; readonly quota: true };

const options = { fieldManager: "waggle-ipam" } as const;
const guard = (claim: IPAllocation): { readonly uid: string; readonly resourceVersion: string } => ({
  uid: claim.metadata.uid ?? "",
  resourceVersion: claim.metadata.resourceVersion ?? "",
});

/** Whether a claim counts before this unverified one: it is verified, or was made earlier. */
const isBefore = (other: IPAllocation, claim: IPAllocation): boolean =>
  other.metadata.uid !== claim.metadata.uid &&
  (phaseOf(other) !== undefined || versionOf(other) < versionOf(claim));

/** Makes claims, changes them and gives them back; nothing of it relies on what this process believes. */
export class ClaimLedger extends ClaimView {
  /** Who else has the prefix in use by what agents report, asked for at the API server before a claim counts. */
  usedElsewhere: (owner: Owner, prefix: string) => Promise<string | undefined> = async () => undefined;
  readonly #api: KubeApi;
  readonly #clock: Clock;
  readonly #lists: SharedLists;

  constructor(api: KubeApi, informer: Informer<IPAllocation>, clock: Clock) {
    super(informer, clock);
    this.#api = api;
    this.#clock = clock;
    this.#lists = new SharedLists(api, clock);
  }

  /**
   * Claims a prefix for an owner, or finds that it already has it. `quota` is the pool's, if it is to be kept: what is
   * adopted because it is in use is never refused for a quota.
   * @throws ApiError, TransportError: nothing is known; call again, it goes on where it was
   */
  async claim(
    owner: Owner,
    pool: Pick<Pool, "name" | "quota">,
    prefix: Prefix,
    adopt = false,
  ): Promise<ClaimOutcome> {
    const name = claimName(prefix);
    return this.whilePending(name, prefix, async () => {
      const made = await this.#create(name, owner, pool, prefix);
      if (!made) return { ok: false, by: "another claim that is going" };
      if (made.spec.owner.uid !== owner.uid) return { ok: false, by: describeOwner(made.spec.owner) };
      return this.verify(made, adopt ? undefined : pool.quota);
    });
  }

  /**
   * The claim of a prefix as the API server has it now. Asked for before something that is shown is taken away: what is
   * shown was claimed when it was written, and the cache of claims may be older than the view.
   */
  async read(name: string): Promise<IPAllocation | undefined> {
    // Another may be made while this one is asked for: only what is known by now can be found to be gone.
    const known = this.get(name)?.metadata.uid;
    try {
      return this.wrote(await this.#api.get(kinds.IPAllocation, name));
    } catch (error) {
      if (!isNotFound(error)) throw error;
      this.gone(name, known);
      return undefined;
    }
  }

  /** Creates the claim, or reads the one that is there; undefined when it vanished in between. */
  async #create(
    name: string,
    owner: Owner,
    pool: Pick<Pool, "name">,
    prefix: Prefix,
  ): Promise<IPAllocation | undefined> {
    const known = this.get(name);
    if (known && known.spec.owner.uid === owner.uid) return known;
    const object: IPAllocation = {
      apiVersion: "waggle.dev/v1alpha1",
      kind: "IPAllocation",
      metadata: {
        name,
        labels: claimLabels(prefix, pool.name),
      },
      spec: { prefix: formatPrefix(prefix), pool: pool.name, owner },
    };
    try {
      return this.wrote(await this.#api.create(kinds.IPAllocation, object, options));
    } catch (error) {
      if (!isAlreadyExists(error)) throw error;
      return this.read(name);
    }
  }

  /**
   * Makes a claim count: Bound if nothing older overlaps it and the quota has room, else deleted.
   * @throws ApiError Conflict when it has changed meanwhile
   */
  async verify(claim: IPAllocation, quota: number | undefined): Promise<ClaimOutcome> {
    const phase = phaseOf(claim);
    if (phase === "Bound") return { ok: true, claim };
    if (phase !== undefined) return { ok: false, by: `${describeOwner(claim.spec.owner)}, ${phase}` };
    const older = await this.#olderOverlap(claim);
    if (older) {
      await this.#yield(claim);
      return { ok: false, by: `${describeOwner(older.spec.owner)} (${older.spec.prefix})` };
    }
    const by = await this.usedElsewhere(claim.spec.owner, claim.spec.prefix);
    if (by !== undefined) {
      await this.#yield(claim);
      return { ok: false, by };
    }
    if (quota !== undefined) {
      const same = await this.#list(poolSelector(claim.spec.pool));
      if (same.filter((c) => c.spec.pool === claim.spec.pool && isBefore(c, claim)).length >= quota) {
        await this.#yield(claim);
        return { ok: false, quota: true };
      }
    }
    const conditions = setCondition(
      undefined,
      { type: "Ready", status: "True", ...claimSays.bound() },
      this.#clock.now(),
    );
    return { ok: true, claim: await this.#patchStatus(claim, { phase: "Bound", conditions }) };
  }

  /**
   * Keeps from everybody what a node has in use and nobody claims. It is on its way out from the beginning: it goes as any
   * claim does, when no node reports it any more and it has rested. Undefined: somebody else has it, or what overlaps it.
   */
  async quarantine(
    owner: Owner,
    pool: string,
    prefix: Prefix,
    node: string,
  ): Promise<IPAllocation | undefined> {
    const name = claimName(prefix);
    const made = await this.#create(name, owner, { name: pool }, prefix);
    if (!made || made.spec.owner.uid !== owner.uid || phaseOf(made) !== undefined) return undefined;
    const older = await this.#olderOverlap(made);
    if (older) {
      await this.#yield(made);
      return undefined;
    }
    const condition = { type: "Ready", status: "False", ...claimSays.quarantined([node]) } as const;
    return this.#patchStatus(made, {
      phase: "Releasing",
      releasedAt: timestamp(this.#clock.now()),
      announcedBy: [node],
      conditions: setCondition(undefined, condition, this.#clock.now()),
    });
  }

  /** What is before this unverified claim and shares an address with it. */
  async #olderOverlap(claim: IPAllocation): Promise<IPAllocation | undefined> {
    const prefix = prefixOf(claim);
    const near = await this.#list(overlapSelector(prefix));
    return near.find((other) => isBefore(other, claim) && overlaps(prefixOf(other), prefix));
  }

  /** From the API server itself, asked for now: it shows whatever was created before what the caller has created. */
  #list(labelSelector: string): Promise<readonly IPAllocation[]> {
    return this.#lists.list(kinds.IPAllocation, { labelSelector });
  }

  /** A claim that was never used goes without a rest. */
  async #yield(claim: IPAllocation): Promise<void> {
    await this.remove(claim);
  }

  /** Begins the release of a claim: it still excludes everybody until it has been withdrawn everywhere and has rested. */
  async release(claim: IPAllocation, announcedBy: readonly string[]): Promise<IPAllocation> {
    return this.#patchStatus(claim, {
      phase: "Releasing",
      releasedAt: timestamp(this.#clock.now()),
      announcedBy: [...announcedBy],
      ...(claim.status?.sharing && { sharing: null }),
    });
  }

  /**
   * Records that a Service has the address together with those that are recorded already. The write is conditional, so of
   * two that clash only one is recorded. @throws ApiError Conflict
   */
  async share(claim: IPAllocation, key: string, users: readonly Sharer[]): Promise<IPAllocation> {
    return this.#patchStatus(claim, { sharing: users.length > 0 ? { key, users: [...users] } : null });
  }

  /**
   * A Service no longer has the address: it goes on to those that share it, the first of them as its owner where that was the
   * Service; else its release begins. `gone`: UIDs that have it no more. @throws ApiError Conflict
   */
  async leave(
    claim: IPAllocation,
    gone: ReadonlySet<string>,
    announcedBy: readonly string[],
  ): Promise<IPAllocation> {
    const sharing = claim.status?.sharing;
    const rest = sharersOf(claim).filter((u) => !gone.has(u.uid));
    const { owner } = claim.spec;
    const heir = rest[0];
    if (!heir || !sharing)
      return gone.has(owner.uid) ? this.release(claim, announcedBy) : this.share(claim, "", []);
    const kept = gone.has(owner.uid) ? await this.#passOn(claim, heir) : claim;
    return rest.length < sharing.users.length ? this.share(kept, sharing.key, rest) : kept;
  }

  /** The claim has excluded everybody all the time, so it may be another's at once. */
  async #passOn(claim: IPAllocation, { namespace, name, uid }: Sharer): Promise<IPAllocation> {
    const owner: Owner = { kind: "Service", namespace, name, uid };
    try {
      return this.wrote(
        await this.#api.patch(
          kinds.IPAllocation,
          claim.metadata.name,
          "merge",
          { metadata: guard(claim), spec: { owner } },
          options,
        ),
      );
    } catch (error) {
      if (isNotFound(error)) this.gone(claim.metadata.name, claim.metadata.uid);
      throw await this.#stale(claim, error);
    }
  }

  /** Takes back an own claim that was on its way out: it has excluded everybody all the time, so it may just stay. */
  async revive(claim: IPAllocation): Promise<IPAllocation> {
    const condition = { type: "Ready", status: "True", ...claimSays.bound() } as const;
    return this.#patchStatus(claim, {
      phase: "Bound",
      releasedAt: null,
      coolingUntil: null,
      announcedBy: null,
      conditions: setCondition(claim.status?.conditions, condition, this.#clock.now()),
    });
  }

  /** A change of status on condition that the claim is as it was. @throws ApiError Conflict */
  async setStatus(claim: IPAllocation, status: Readonly<Record<string, unknown>>): Promise<IPAllocation> {
    return this.#patchStatus(claim, status);
  }

  /** Deletes on condition that the claim is as it was; one that has gone already is fine. @throws ApiError Conflict */
  async remove(claim: IPAllocation): Promise<void> {
    try {
      await this.#api.delete(kinds.IPAllocation, claim.metadata.name, { preconditions: guard(claim) });
    } catch (error) {
      if (!isNotFound(error)) throw await this.#stale(claim, error);
    }
    this.gone(claim.metadata.name, claim.metadata.uid);
  }

  async #patchStatus(claim: IPAllocation, status: object): Promise<IPAllocation> {
    const observed = { observedGeneration: claim.metadata.generation ?? 1 };
    try {
      return this.wrote(
        await this.#api.patch(
          kinds.IPAllocation,
          claim.metadata.name,
          "merge",
          { metadata: guard(claim), status: { ...observed, ...status } },
          { ...options, subresource: "status" },
        ),
      );
    } catch (error) {
      if (isNotFound(error)) this.gone(claim.metadata.name, claim.metadata.uid);
      throw await this.#stale(claim, error);
    }
  }

  /** After a conflict what we believed is known to be wrong: read it, so that the next attempt starts from what is so. */
  async #stale(claim: IPAllocation, error: unknown): Promise<unknown> {
    if (!isConflict(error)) return error;
    try {
      this.wrote(await this.#api.get(kinds.IPAllocation, claim.metadata.name, { retries: 0 }));
    } catch (readError) {
      if (isNotFound(readError)) this.gone(claim.metadata.name, claim.metadata.uid);
    }
    return error;
  }
}
