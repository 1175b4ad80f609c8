// operator: all claims as this process knows them: the cache, and on top of it what was written or heard since.
import type { IPAllocation } from "../api/index.ts";
import { Occupancy, parseClaimName } from "../ipam/index.ts";
import type { Clock, Informer } from "../kube/index.ts";
import { claimName, type Family, type Prefix, parsePrefix } from "../net/address.ts";
import {
  isBound,
  type Owner,
  ownerKey,
  phaseOf,
  prefixOf,
  sharersOf,
  unknownUID,
  versionOf,
} from "./claim.ts";

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
export class ClaimView implements Disposable {
  readonly taken = new Occupancy();
  readonly #clock: Clock;
  readonly #informer: Informer<IPAllocation>;
  readonly #known = new Map<string, Known>();
  readonly #byOwner = new Map<string, Set<string>>();
  /** By kind and namespace/name. */
  readonly #byOwnerName = new Map<string, Set<string>>();
  /** By the UID of a Service that shares. */
  readonly #byUser = new Map<string, Set<string>>();
  readonly #byKey = new Map<string, Set<string>>();
  readonly #perPool = new Map<string, number>();
  readonly #releasing = new Set<string>();
  /** What is newer than the cache; goes as soon as the cache has come as far. */
  readonly #written = new Map<string, Written>();
  /** Names that are being claimed by this process, so that its workers do not try the same. */
  readonly #pending = new Map<string, number>();
  readonly #subscriptions: readonly Disposable[];

  constructor(informer: Informer<IPAllocation>, clock: Clock) {
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
  /** Claims whose address a Service has, as their owner or together with others; in the order of their names. */
  usedBy(uid: string | undefined): readonly IPAllocation[] {
    const names = new Set([...(this.#byOwner.get(uid ?? "") ?? []), ...(this.#byUser.get(uid ?? "") ?? [])]);
    return [...names].sort().map((name) => this.#known.get(name)!.claim);
  }
  /** Claims whose address Services with this key have; in the order of their names. */
  sharedUnder(key: string): readonly IPAllocation[] {
    return [...(this.#byKey.get(key) ?? [])].sort().map((name) => this.#known.get(name)!.claim);
  }
  /** Names of the claims of whoever has this name, whatever its UID, those that it shares among them. */
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

  /** Whether a Bound claim of this owner is known for the prefix. */
  holds(uid: string | undefined, prefix: Prefix): boolean {
    const claim = this.get(claimName(prefix));
    return claim !== undefined && isBound(claim) && claim.spec.owner.uid === uid;
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

  /** While `work` claims it, the prefix counts as taken here. */
  async whilePending<T>(name: string, prefix: Prefix, work: () => Promise<T>): Promise<T> {
    this.#pending.set(name, (this.#pending.get(name) ?? 0) + 1);
    if (!this.#known.has(name)) this.taken.set(name, prefix);
    try {
      return await work();
    } finally {
      const left = (this.#pending.get(name) ?? 1) - 1;
      if (left > 0) this.#pending.set(name, left);
      else this.#pending.delete(name);
      this.#refresh(name);
    }
  }

  /** An answer that comes late must hide neither what the cache has heard since nor that the claim has gone since. */
  wrote(claim: IPAllocation): IPAllocation {
    const { name } = claim.metadata;
    if (BigInt(this.#informer.cache.resourceVersion ?? "0") < versionOf(claim))
      this.#written.set(name, { claim, at: this.#clock.monotonic() });
    else this.#written.delete(name);
    this.#refresh(name);
    return claim;
  }
  /** The claim of this UID is there no more. */
  gone(name: string, uid: string | undefined): void {
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
      for (const u of sharersOf(old)) {
        drop(this.#byUser, u.uid, name);
        drop(this.#byOwnerName, `Service ${u.namespace}/${u.name}`, name);
      }
      drop(this.#byKey, old.status?.sharing?.key ?? "", name);
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
    for (const u of sharersOf(claim)) {
      add(this.#byUser, u.uid, name);
      add(this.#byOwnerName, `Service ${u.namespace}/${u.name}`, name);
    }
    if (claim.status?.sharing) add(this.#byKey, claim.status.sharing.key, name);
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
