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
import {
  claimLabels,
  Occupancy,
  overlapSelector,
  type Pool,
  parseClaimName,
  poolSelector,
} from "../ipam/index.ts";
import {
  type Clock,
  type Informer,
  isAlreadyExists,
  isConflict,
  isNotFound,
  type KubeApi,
  kinds,
  setCondition,
  timestamp,
} from "../kube/index.ts";
import { claimName, type Family, formatPrefix, overlaps, type Prefix, parsePrefix } from "../net/address.ts";
import { claimSays } from "./messages.ts";

export type Owner = IPAllocation["spec"]["owner"];
export type Phase = NonNullable<NonNullable<IPAllocation["status"]>["phase"]>;

/** UID of an owner that nobody knows: no object has it. */
export const unknownUID = "unknown";

/** undefined: not verified. */
export const phaseOf = (claim: IPAllocation): Phase | undefined => claim.status?.phase;
export const isBound = (claim: IPAllocation): boolean => phaseOf(claim) === "Bound";
/** Releasing or Cooling: nobody may use it, and nobody else may have it. */
export const isGoing = (claim: IPAllocation): boolean => {
  const phase = phaseOf(claim);
  return phase === "Releasing" || phase === "Cooling";
};
export const prefixOf = (claim: IPAllocation): Prefix => parsePrefix(claim.spec.prefix);

/** `namespace/name`, or `name`. */
export const ownerKey = (o: Owner): string => (o.namespace ? `${o.namespace}/${o.name}` : o.name);
export const describeOwner = (o: Owner): string => `${o.kind} ${ownerKey(o)}`;

export type ClaimOutcome =
  | { readonly ok: true; readonly claim: IPAllocation }
  /** Somebody else has it, or something that overlaps it; look for another. */
  | { readonly ok: false; readonly by: string }
  /** The pool's quota is used up, though the cache did not know. */
  | { readonly ok: false; readonly quota: true };

const options = { fieldManager: "waggle-ipam" } as const;
const versionOf = (claim: IPAllocation): bigint => BigInt(claim.metadata.resourceVersion ?? "0");
const guard = (claim: IPAllocation): { readonly uid: string; readonly resourceVersion: string } => ({
  uid: claim.metadata.uid ?? "",
  resourceVersion: claim.metadata.resourceVersion ?? "",
});

/** Whether a claim counts before this unverified one: it is verified, or was made earlier. */
const isBefore = (other: IPAllocation, claim: IPAllocation): boolean =>
  other.metadata.uid !== claim.metadata.uid &&
  (phaseOf(other) !== undefined || versionOf(other) < versionOf(claim));

/** What the API server has answered. */
interface Written {
  /** Undefined: the claim of UID `gone` is there no more. */
  readonly claim: IPAllocation | undefined;
  readonly gone?: string;
  /** Monotonic ms. */
  readonly at: number;
}

/** A cache that does not show a claim this long after it was deleted will not show it any more. */
const goneMs = 60_000;

interface Known {
  readonly claim: IPAllocation;
  readonly prefix: Prefix;
}

/**
 * All claims as far as this process knows: the cache, and on top of it what this process has written or been told and the
 * cache does not show yet. It only makes good guesses; what is so, the API server decides.
 */
export class ClaimLedger implements Disposable {
  readonly taken = new Occupancy();
  /** Who else has the prefix in use by what agents report, asked for at the API server before a claim counts. */
  usedElsewhere: (owner: Owner, prefix: string) => Promise<string | undefined> = async () => undefined;
  readonly #api: KubeApi;
  readonly #clock: Clock;
  readonly #informer: Informer<IPAllocation>;
  readonly #known = new Map<string, Known>();
  readonly #byOwner = new Map<string, Set<string>>();
  /** By kind and namespace/name. */
  readonly #byOwnerName = new Map<string, Set<string>>();
  readonly #perPool = new Map<string, number>();
  readonly #releasing = new Set<string>();
  /** What is newer than the cache; goes as soon as the cache has come as far. */
  readonly #written = new Map<string, Written>();
  /** Names that are being claimed by this process, so that its workers do not try the same. */
  readonly #pending = new Map<string, number>();
  readonly #subscriptions: readonly Disposable[];

  constructor(api: KubeApi, informer: Informer<IPAllocation>, clock: Clock) {
    this.#api = api;
    this.#clock = clock;
    this.#informer = informer;
    this.#subscriptions = [
      informer.onChange((name) => this.#refresh(name)),
      informer.cache.onProgress((version, listedAt) => this.#progressed(BigInt(version), listedAt)),
    ];
    for (const name of informer.cache.keys()) this.#refresh(name);
  }

  [Symbol.dispose](): void {
    for (const s of this.#subscriptions) s[Symbol.dispose]();
  }

  get(name: string): IPAllocation | undefined {
    return this.#known.get(name)?.claim;
  }
  all(): readonly IPAllocation[] {
    return [...this.#known.values()].map((k) => k.claim);
  }
  /** In the order of their names. */
  ofOwner(uid: string | undefined): readonly IPAllocation[] {
    return [...(this.#byOwner.get(uid ?? "") ?? [])].sort().map((name) => this.#known.get(name)!.claim);
  }
  /** Names of the claims of whoever has this name, whatever its UID. */
  ofOwnerNamed(kind: Owner["kind"], key: string): readonly string[] {
    return [...(this.#byOwnerName.get(`${kind} ${key}`) ?? [])];
  }
  /** Names of claims that wait for withdrawals. */
  get releasing(): readonly string[] {
    return [...this.#releasing];
  }
  /** Claims of a pool, in any phase. */
  readonly used = (pool: string): number => this.#perPool.get(pool) ?? 0;
  /** Whether this process is in the middle of claiming it. */
  isPending(name: string): boolean {
    return this.#pending.has(name);
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
    this.#pending.set(name, (this.#pending.get(name) ?? 0) + 1);
    if (!this.#known.has(name)) this.taken.set(name, prefix);
    try {
      const made = await this.#create(name, owner, pool, prefix);
      if (!made) return { ok: false, by: "another claim that is going" };
      if (made.spec.owner.uid !== owner.uid) return { ok: false, by: describeOwner(made.spec.owner) };
      return await this.verify(made, adopt ? undefined : pool.quota);
    } finally {
      const left = (this.#pending.get(name) ?? 1) - 1;
      if (left > 0) this.#pending.set(name, left);
      else this.#pending.delete(name);
      this.#refresh(name);
    }
  }

  /**
   * The claim of a prefix as the API server has it now. Asked for before something that is shown is taken away: what is
   * shown was claimed when it was written, and the cache of claims may be older than the view.
   */
  async read(name: string): Promise<IPAllocation | undefined> {
    // Another may be made while this one is asked for: only what is known by now can be found to be gone.
    const known = this.get(name)?.metadata.uid;
    try {
      return this.#wrote(await this.#api.get(kinds.IPAllocation, name));
    } catch (error) {
      if (!isNotFound(error)) throw error;
      this.#gone(name, known);
      return undefined;
    }
  }

  /** Whether a Bound claim of this owner is known for the prefix. */
  holds(uid: string | undefined, prefix: Prefix): boolean {
    const claim = this.get(claimName(prefix));
    return claim !== undefined && isBound(claim) && claim.spec.owner.uid === uid;
  }

  /** Creates the claim, or reads the one that is there; undefined when it vanished in between. */
  async #create(
    name: string,
    owner: Owner,
    pool: Pick<Pool, "name">,
    prefix: Prefix,
  ): Promise<IPAllocation | undefined> {
    const known = this.#known.get(name)?.claim;
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
      return this.#wrote(await this.#api.create(kinds.IPAllocation, object, options));
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

  /**
   * The quarantined claim of whoever has this name: what is in use for it and was lost. Its owner may have come back with a
   * UID of its own, since nobody else's claim would be believed while agents report the use.
   */
  quarantinedFor({ kind, namespace, name }: Owner, family: Family): IPAllocation | undefined {
    return this.ofOwner(unknownUID).find(
      ({ spec: { owner, prefix } }) =>
        owner.kind === kind &&
        owner.namespace === namespace &&
        owner.name === name &&
        parsePrefix(prefix).family === family,
    );
  }

  /** What is before this unverified claim and shares an address with it. */
  async #olderOverlap(claim: IPAllocation): Promise<IPAllocation | undefined> {
    const prefix = prefixOf(claim);
    const near = await this.#list(overlapSelector(prefix));
    return near.find((other) => isBefore(other, claim) && overlaps(prefixOf(other), prefix));
  }

  /** From the API server itself; everything in it is newer than what was created before. */
  async #list(labelSelector: string): Promise<readonly IPAllocation[]> {
    return (await this.#api.list(kinds.IPAllocation, { labelSelector })).items;
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
    });
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
    this.#gone(claim.metadata.name, claim.metadata.uid);
  }

  async #patchStatus(claim: IPAllocation, status: object): Promise<IPAllocation> {
    const observed = { observedGeneration: claim.metadata.generation ?? 1 };
    try {
      return this.#wrote(
        await this.#api.patch(
          kinds.IPAllocation,
          claim.metadata.name,
          "merge",
          { metadata: guard(claim), status: { ...observed, ...status } },
          { ...options, subresource: "status" },
        ),
      );
    } catch (error) {
      if (isNotFound(error)) this.#gone(claim.metadata.name, claim.metadata.uid);
      throw await this.#stale(claim, error);
    }
  }

  /** After a conflict what we believed is known to be wrong: read it, so that the next attempt starts from what is so. */
  async #stale(claim: IPAllocation, error: unknown): Promise<unknown> {
    if (!isConflict(error)) return error;
    try {
      this.#wrote(await this.#api.get(kinds.IPAllocation, claim.metadata.name, { retries: 0 }));
    } catch (readError) {
      if (isNotFound(readError)) this.#gone(claim.metadata.name, claim.metadata.uid);
    }
    return error;
  }

  /** An answer that comes late must hide neither what the cache has heard since nor that the claim has gone since. */
  #wrote(claim: IPAllocation): IPAllocation {
    const { name } = claim.metadata;
    if (BigInt(this.#informer.cache.resourceVersion ?? "0") < versionOf(claim))
      this.#written.set(name, { claim, at: this.#clock.monotonic() });
    else this.#written.delete(name);
    this.#refresh(name);
    return claim;
  }
  #gone(name: string, uid: string | undefined): void {
    if (uid !== undefined)
      this.#written.set(name, { claim: undefined, gone: uid, at: this.#clock.monotonic() });
    this.#refresh(name);
  }

  /** Drops what the cache knows by itself now. A complete LIST ends all that was written before it was asked for. */
  #progressed(version: bigint, listedAt: number | undefined): void {
    const late = this.#clock.monotonic() - goneMs;
    for (const [name, { claim, at }] of this.#written) {
      const known = claim ? versionOf(claim) <= version : at < late && !this.#informer.cache.has(name);
      if (!known && (listedAt === undefined || at > listedAt)) continue;
      this.#written.delete(name);
      this.#refresh(name);
    }
  }

  /** The claim of a name as far as this process knows. */
  #current(name: string): IPAllocation | undefined {
    const cached = this.#informer.cache.get(name);
    const written = this.#written.get(name);
    if (!written) return cached;
    if (!written.claim) {
      if (!cached || cached.metadata.uid === written.gone) return undefined;
      this.#written.delete(name);
      return cached;
    }
    if (!cached || versionOf(cached) < versionOf(written.claim)) return written.claim;
    this.#written.delete(name);
    return cached;
  }

  #refresh(name: string): void {
    const old = this.#known.get(name)?.claim;
    if (old) {
      drop(this.#byOwner, old.spec.owner.uid, name);
      drop(this.#byOwnerName, `${old.spec.owner.kind} ${ownerKey(old.spec.owner)}`, name);
      this.#perPool.set(old.spec.pool, this.used(old.spec.pool) - 1);
      this.#known.delete(name);
      this.#releasing.delete(name);
    }
    const claim = this.#current(name);
    if (!claim) {
      if (!this.#pending.has(name)) this.taken.delete(name);
      return;
    }
    // A claim whose name does not say its prefix locks nothing, but its prefix is respected all the same.
    const prefix = parseClaimName(name) ?? prefixOf(claim);
    this.#known.set(name, { claim, prefix });
    this.taken.set(name, prefix);
    add(this.#byOwner, claim.spec.owner.uid, name);
    add(this.#byOwnerName, `${claim.spec.owner.kind} ${ownerKey(claim.spec.owner)}`, name);
    this.#perPool.set(claim.spec.pool, this.used(claim.spec.pool) + 1);
    if (phaseOf(claim) === "Releasing") this.#releasing.add(name);
  }
}

function add(index: Map<string, Set<string>>, key: string, name: string): void {
  const names = index.get(key);
  if (names) names.add(name);
  else index.set(key, new Set([name]));
}

function drop(index: Map<string, Set<string>>, key: string, name: string): void {
  const names = index.get(key);
  names?.delete(name);
  if (names?.size === 0) index.delete(key);
}
