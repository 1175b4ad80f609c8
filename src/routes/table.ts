// routes: the node's route table: what the speaker reports, whose each route is, and the routeId that the kernel gets for it.
import { formatAddress, formatPrefix, type Prefix, toInteger } from "../net/address.ts";
import { type PeerNumbers, RouteIds } from "./intern.ts";
import { decideOrigin } from "./origin.ts";
import {
  type LearnedPath,
  type LearnedRoute,
  type NextHop,
  type OriginDecision,
  prefixLimit,
  type RefusalCode,
  type RouteAttributes,
  type RoutePolicy,
} from "./types.ts";

/** A prefix of this cluster: a pool's block, a node's pod block, a VIP. */
export interface LocalPrefix {
  readonly prefix: Prefix;
}

export interface FibRoute {
  readonly prefix: Prefix;
  /** The ECMP set, best first, without repetitions. */
  readonly nextHops: readonly NextHop[];
  readonly cluster: number;
  readonly peering: string;
}

/** All that others need to know of the table at one moment. */
export interface RouteView {
  readonly version: number;
  readonly attributes: readonly { readonly id: number; readonly attributes: RouteAttributes }[];
  readonly prefixes: readonly { readonly prefix: Prefix; readonly routeId: number }[];
  /** Routes that a ClusterPeering wants in the kernel's table, before the guards of fib.ts. */
  readonly fib: readonly FibRoute[];
  readonly counts: {
    readonly learned: number;
    readonly inMap: number;
    readonly refused: number;
    readonly ignoredTags: number;
    readonly overflowed: number;
    readonly stale: number;
  };
  /** Refused routes by reason. */
  readonly refusals: Readonly<Partial<Record<RefusalCode, number>>>;
  /** Names of peered clusters some of whose routes came without a tag. */
  readonly tagMissing: readonly string[];
  /** Accepted prefixes by peering. */
  readonly byPeering: Readonly<Record<string, number>>;
  /** False from a start of speaker or agent until the initial table, End-of-RIB and timers have settled what is stale. */
  readonly settled: boolean;
}

interface Entry {
  readonly route: LearnedRoute;
  epoch: number;
  decision: OriginDecision;
  routeId: number | undefined;
}

const keyOf = (p: Prefix): string => `${p.family} ${toInteger(p)} ${p.length}`;
const wellKnown = 0xffff_0000;

/** Route table of one node. Times are ms of one clock, handed in. */
export class RouteTable {
  readonly #ids: RouteIds;
  readonly #peers: PeerNumbers;
  readonly #entries = new Map<string, Entry>();
  /** Prefixes read back from the map at start, until the speaker has spoken about them. */
  readonly #restored = new Map<string, { readonly prefix: Prefix; readonly routeId: number }>();
  #local: { readonly prefix: Prefix; readonly routeId: number }[] = [];
  #policy: RoutePolicy | undefined;
  #tableFull = 0;
  #version = 1;
  #view: RouteView | undefined;
  // Epochs: everything confirmed by the present connection to the speaker has the present number.
  #epoch = 0;
  #snapshotDone = false;
  #sameProcess = false;
  #expiresAt = 0;
  readonly #endOfRib = new Set<string>();

  constructor(peers: PeerNumbers, ids = new RouteIds()) {
    this.#peers = peers;
    this.#ids = ids;
  }

  get policy(): RoutePolicy | undefined {
    return this.#policy;
  }

  /** Takes over what the pinned maps hold. Call once, before anything else. */
  restore(
    attributes: Iterable<{ readonly id: number; readonly attributes: RouteAttributes }>,
    prefixes: Iterable<{ readonly prefix: Prefix; readonly routeId: number }>,
    now: number,
  ): void {
    this.#ids.restore(attributes, now);
    for (const { prefix, routeId } of prefixes) {
      const known = this.#ids.get(routeId);
      if (!known || this.#restored.size >= prefixLimit) continue;
      this.#ids.take(known, now);
      this.#restored.set(keyOf(prefix), { prefix, routeId });
    }
    this.#changed();
  }

  /** A new policy or new own prefixes: every route is decided again. */
  configure(policy: RoutePolicy, local: readonly LocalPrefix[], now: number): void {
    this.#policy = policy;
    for (const { routeId } of this.#local) this.#ids.release(routeId, now);
    const own: RouteAttributes = { cluster: policy.clusterID, originASN: policy.asn, peer: 0, community: 0 };
    const seen = new Set<string>();
    this.#local = [];
    for (const { prefix } of local) {
      const key = keyOf(prefix);
      if (seen.has(key) || this.#local.length >= prefixLimit) continue;
      seen.add(key);
      this.#local.push({ prefix, routeId: this.#ids.take(own, now) });
    }
    for (const entry of this.#entries.values()) this.#decide(entry, now);
    this.#changed();
  }

  /**
   * A connection to the speaker begins. `sameProcess`: the speaker has not restarted, so its whole table follows and what
   * is not in it is gone; otherwise routes are kept until End-of-RIB or `expiresAt`.
   */
  beginEpoch(sameProcess: boolean, expiresAt: number): void {
    this.#epoch++;
    this.#snapshotDone = false;
    this.#sameProcess = sameProcess;
    this.#expiresAt = expiresAt;
    this.#endOfRib.clear();
    this.#changed();
  }

  /** Best-path changes from the speaker. */
  apply(routes: readonly LearnedRoute[], now: number): void {
    for (const route of routes) {
      const key = keyOf(route.prefix);
      this.#dropRestored(key, now);
      const known = this.#entries.get(key);
      // Originated here: the own prefixes are known from the claims.
      if (route.paths.length === 0 || route.paths[0]!.peer === "") {
        if (known) this.#drop(key, known, now);
        continue;
      }
      if (!known && this.#entries.size >= prefixLimit) {
        this.#tableFull++;
        continue;
      }
      if (known?.routeId !== undefined) this.#ids.release(known.routeId, now);
      const entry: Entry = {
        route,
        epoch: this.#epoch,
        decision: { accepted: false, code: "OutsideDeclared", ignoredTag: false },
        routeId: undefined,
      };
      this.#entries.set(key, entry);
      this.#decide(entry, now);
    }
    if (routes.length > 0) this.#changed();
  }

  /** The batch that completes the initial table has been applied. */
  snapshotDone(now: number): void {
    this.#snapshotDone = true;
    this.#sweep(now);
  }

  /** End-of-RIB of a peer's family has arrived at the speaker. */
  endOfRib(peer: string, family: 4 | 6, now: number): void {
    this.#endOfRib.add(`${peer}/${family}`);
    this.#sweep(now);
  }

  /** Lets go what the restart timer no longer covers. Call now and then. */
  expire(now: number): void {
    this.#sweep(now);
  }

  /** The present state; the same object until something changes. */
  view(): RouteView {
    this.#view ??= this.#build();
    return this.#view;
  }

  /** What the table knows of one prefix, for explanations. */
  explain(prefix: Prefix): { readonly route: LearnedRoute; readonly decision: OriginDecision } | undefined {
    const entry = this.#entries.get(keyOf(prefix));
    return entry && { route: entry.route, decision: entry.decision };
  }

  #changed(): void {
    this.#version++;
    this.#view = undefined;
  }

  #settled(): boolean {
    return this.#epoch > 0 && this.#snapshotDone && this.#unconfirmed().next().done === true;
  }

  *#unconfirmed(): Generator<[string, Entry | undefined]> {
    for (const [key, entry] of this.#entries) if (entry.epoch !== this.#epoch) yield [key, entry];
    for (const key of this.#restored.keys()) yield [key, undefined];
  }

  #sweep(now: number): void {
    const expired = now >= this.#expiresAt;
    if (this.#epoch === 0 || !(this.#snapshotDone || expired)) return;
    const before = this.#settled();
    let changed = false;
    for (const [key, entry] of [...this.#unconfirmed()]) {
      const gone = expired || this.#sameProcess || this.#allEnded(key, entry);
      if (!gone) continue;
      changed = true;
      if (entry) this.#drop(key, entry, now);
      else this.#dropRestored(key, now);
    }
    if (changed || before !== this.#settled() || this.#view?.settled !== this.#settled()) this.#changed();
  }

  /** Whether each peer that a route came from has sent its End-of-RIB since. */
  #allEnded(key: string, entry: Entry | undefined): boolean {
    const family = key.startsWith("4") ? 4 : 6;
    if (entry) return entry.route.paths.every((p) => this.#endOfRib.has(`${p.peer}/${family}`));
    const restored = this.#restored.get(key);
    const peer = restored && this.#ids.get(restored.routeId)?.peer;
    // Own prefixes are known from the claims; those that are not among them any more have no peer to wait for.
    if (!peer) return this.#policy !== undefined;
    const name = this.#peers.nameOf(peer);
    return name !== undefined && this.#endOfRib.has(`${name}/${family}`);
  }

  #drop(key: string, entry: Entry, now: number): void {
    if (entry.routeId !== undefined) this.#ids.release(entry.routeId, now);
    this.#entries.delete(key);
  }

  #dropRestored(key: string, now: number): void {
    const restored = this.#restored.get(key);
    if (!restored) return;
    this.#ids.release(restored.routeId, now);
    this.#restored.delete(key);
  }

  #decide(entry: Entry, now: number): void {
    if (!this.#policy) return;
    const { route } = entry;
    const best = route.paths[0]!;
    const decision = decideOrigin(route.prefix, best, this.#policy);
    const previous = entry.routeId;
    entry.decision = decision;
    entry.routeId = decision.accepted
      ? this.#ids.take(this.#attributes(best, decision.cluster), now)
      : undefined;
    if (previous !== undefined) this.#ids.release(previous, now);
  }

  #attributes(path: LearnedPath, cluster: number): RouteAttributes {
    const communities = path.communities.filter((c) => c < wellKnown && c > 0);
    return {
      cluster,
      originASN: path.asPath.at(-1) ?? this.#policy!.asn,
      peer: this.#peers.of(path.peer),
      nextHop: path.nextHop,
      community: communities.length > 0 ? Math.min(...communities) : 0,
    };
  }

  #build(): RouteView {
    const taken = new Set<string>();
    const prefixes: { prefix: Prefix; routeId: number }[] = [];
    const put = (prefix: Prefix, routeId: number): void => {
      const key = keyOf(prefix);
      if (taken.has(key) || prefixes.length >= prefixLimit) return;
      taken.add(key);
      prefixes.push({ prefix, routeId });
    };
    for (const { prefix, routeId } of this.#local) put(prefix, routeId);
    const refusals: Partial<Record<RefusalCode, number>> = {};
    if (this.#tableFull > 0) refusals.TableFull = this.#tableFull;
    const fib: FibRoute[] = [];
    const byPeering: Record<string, number> = {};
    const missing = new Set<string>();
    let ignoredTags = 0;
    let stale = 0;
    let refused = this.#tableFull;
    for (const { route, decision, routeId } of this.#entries.values()) {
      if (decision.ignoredTag) ignoredTags++;
      if (route.paths[0]!.stale) stale++;
      if (!decision.accepted) {
        refused++;
        refusals[decision.code] = (refusals[decision.code] ?? 0) + 1;
        continue;
      }
      byPeering[decision.peering] = (byPeering[decision.peering] ?? 0) + 1;
      if (decision.tag === "Missing") missing.add(decision.peering);
      put(route.prefix, routeId!);
      if (decision.fib) fib.push(this.#fibRoute(route, decision.cluster, decision.peering));
    }
    for (const { prefix, routeId } of this.#restored.values()) put(prefix, routeId);
    const names = new Map(this.#policy?.peerings.map((p) => [p.name, p.clusterName]));
    return {
      version: this.#version,
      attributes: [...this.#ids.entries()],
      prefixes,
      fib,
      counts: {
        learned: this.#entries.size,
        inMap: prefixes.length,
        refused,
        ignoredTags,
        overflowed: this.#ids.overflows,
        stale,
      },
      refusals,
      tagMissing: [...missing].map((m) => names.get(m) ?? m).sort(),
      byPeering,
      settled: this.#settled(),
    };
  }

  /** Next hops of all paths that are the same cluster's: a tie with somebody else's route is no reason to send there. */
  #fibRoute(route: LearnedRoute, cluster: number, peering: string): FibRoute {
    const hops = new Map<string, NextHop>();
    for (const path of route.paths) {
      const decision = decideOrigin(route.prefix, path, this.#policy!);
      if (decision.accepted && decision.cluster === cluster && decision.fib && path.nextHop.family > 0)
        hops.set(`${formatAddress(path.nextHop)}%${path.nextHop.link ?? ""}`, path.nextHop);
    }
    return { prefix: route.prefix, nextHops: [...hops.values()], cluster, peering };
  }

  toString(): string {
    return [...this.#entries.values()].map((e) => formatPrefix(e.route.prefix)).join(", ");
  }
}
