// bgp/rib: neighbours that hear the same: what they hear is computed once, changes are one log that each reads at its own pace.

import type { Sender } from "../policy/chain.ts";
import type { PathAttributes } from "../wire/attributes.ts";
import { encodeCanonical, nextHopAttribute } from "../wire/canonical.ts";
import type { Afi } from "../wire/constants.ts";
import { AttrFlag, rewriteExternal } from "../wire/scan.ts";
import type { AttributeTable } from "./attributes.ts";
import { ChangeLog } from "./changelog.ts";
import { capacityFor, grown } from "./columns.ts";
import {
  decideExport,
  type ExportDecision,
  type ExportTarget,
  exportRoute,
  type RouteSource,
  rewriteExport,
} from "./export.ts";
import { AttributeCache, ChainRunner } from "./runner.ts";
import type { SharedChunks } from "./shared.ts";
import { type FamilyTable, NO_PEER } from "./table.ts";

/** Value of `out` for a prefix that this node originates: what is sent depends on the neighbour's name. */
export const ORIGINATED = -3;
/** Value of `out` for a prefix of which nothing is sent: no attributes have this number. */
export const NOTHING = 0;

/** A route of this node. */
export interface Origin {
  readonly afi: Afi;
  /** Address words and length. */
  readonly words: Uint32Array;
  readonly length: number;
  readonly attributes: PathAttributes;
  readonly prepend: number;
  /** Names of the neighbours that are to hear it. */
  readonly peers: ReadonlySet<string>;
  /** Equal exactly where origins are equal. */
  readonly key: string;
}

/** Origins of one prefix; the first that names a neighbour is the one it hears. */
export type OriginsByPid = ReadonlyMap<number, readonly Origin[]>;

/** What the group asks of the RIB. */
export interface GroupSource {
  readonly attributes: AttributeTable;
  readonly tables: Readonly<Record<Afi, FamilyTable>>;
  readonly origins: Readonly<Record<Afi, OriginsByPid>>;
  readonly shared: SharedChunks;
  fromEbgp(peer: number): boolean;
  /** Undefined for this node. */
  sender(peer: number): Sender | undefined;
  /** A client of ours (RFC 4456). */
  fromClient(peer: number): boolean;
}

/** What a group asks of a session: to look at a prefix again although nothing was logged. */
export interface GroupMember {
  nudge(pid: number): void;
}

/** A neighbour that hears. */
export interface Hearer {
  readonly index: number;
  /** Under which name origins are for it. */
  readonly audience: string;
}

export class ExportGroup {
  readonly key: string;
  readonly target: ExportTarget;
  readonly logs: Readonly<Record<Afi, ChangeLog>>;
  /**
   * By pid: attributes sent, {@link NOTHING}, {@link ORIGINATED}. Where the group {@link rewrites}, attributes as they were learned: they are
   * rewritten while they are written into a message, which costs no more than copying them and keeps no second table of sets.
   */
  readonly out: Record<Afi, Int32Array> = { 1: new Int32Array(64), 2: new Int32Array(64) };
  /** Families whose learned routes go out with nothing changed but path and next hop. */
  readonly rewrites: Readonly<Record<Afi, boolean>>;
  /** Routes whose attributes fit no message. */
  tooLong = 0;
  /** Sessions that hear this group, by family and neighbour. */
  readonly #members: Record<Afi, Map<number, GroupMember>> = { 1: new Map(), 2: new Map() };
  readonly #source: GroupSource;
  readonly #runner: ChainRunner;
  /** By rule (the last: no rule): attributes after export by those before. -1: cannot be exported. */
  readonly #rewritten: AttributeCache[];
  /** Our next hop as an attribute. */
  readonly #nextHop: Readonly<Record<Afi, Uint8Array | undefined>>;
  #originAttributes = new Map<Origin, number>();
  #originEpoch = -1;

  constructor(key: string, target: ExportTarget, source: GroupSource) {
    this.key = key;
    this.target = target;
    this.#source = source;
    this.#runner = new ChainRunner(target.chain, "export", source.attributes, (peer) => source.sender(peer));
    this.#rewritten = [...target.chain.rules, undefined].map(() => new AttributeCache(source.attributes));
    const plain = target.chain.rules.every((r) => !r.change.changes && r.rule.set.prepend === 0);
    const hop = (afi: Afi) => target.nextHop[afi] && nextHopAttribute(afi, target.nextHop[afi]);
    this.#nextHop = { 1: hop(1), 2: hop(2) };
    const rewrites = (afi: Afi) =>
      target.ebgp && plain && !target.treatment && this.#nextHop[afi] !== undefined;
    this.rewrites = { 1: rewrites(1), 2: rewrites(2) };
    const log = (afi: Afi) => new ChangeLog(source.tables[afi]);
    this.logs = { 1: log(1), 2: log(2) };
  }

  /** What members have been told, for others who come to the same place. */
  get shared(): SharedChunks {
    return this.#source.shared;
  }

  get members(): number {
    return this.#members[1].size + this.#members[2].size;
  }

  join(afi: Afi, peer: number, member: GroupMember): void {
    this.#members[afi].set(peer, member);
  }

  /** Leaves, unless another session of the neighbour has taken the place. */
  leave(afi: Afi, peer: number, member: GroupMember): void {
    if (this.#members[afi].get(peer) === member) this.#members[afi].delete(peer);
  }

  /** Computes everything; for a group that has just been made. */
  fill(): void {
    for (const afi of [1, 2] as const)
      for (let pid = 0; pid < this.#source.tables[afi].prefixes.limit && !this.sendsPaths(afi); pid++)
        if (this.#source.tables[afi].best[pid]! >= 0) this.update(afi, pid, false, NO_PEER);
  }

  /**
   * Computes one prefix again and logs it where that changed something.
   * @param peerBefore neighbour whose path was the best one until now
   */
  update(afi: Afi, pid: number, originChanged: boolean, peerBefore: number): void {
    if (this.sendsPaths(afi)) {
      // What is sent of it depends on all its paths: each session works that out when it comes to it (PathsOut).
      this.logs[afi].append(pid);
      return;
    }
    if (pid >= this.out[afi].length)
      this.out[afi] = grown(this.out[afi], capacityFor(this.out[afi].length, pid + 1));
    const before = this.out[afi][pid]!;
    const now = this.#compute(afi, pid);
    if (now === before && !(now === ORIGINATED && originChanged)) {
      if (now > 0) this.#nudgeSources(afi, pid, peerBefore);
      return;
    }
    this.out[afi][pid] = now;
    this.logs[afi].append(pid);
  }

  /** The same attributes from another neighbour: only the two of them hear a difference, as nobody hears its own route. */
  #nudgeSources(afi: Afi, pid: number, peerBefore: number): void {
    const table = this.#source.tables[afi];
    const peer = table.pathPeer[table.best[pid]!]!;
    if (peer === peerBefore) return;
    this.#members[afi].get(peerBefore)?.nudge(pid);
    this.#members[afi].get(peer)?.nudge(pid);
  }

  /**
   * Each neighbour is told paths of its own choice: several (RFC 7911), or, as client of a route server, the best of those that
   * may go to it (RFC 7947 2.3): another client's best path must not hide the rest from it.
   */
  sendsPaths(afi: Afi): boolean {
    return this.target.paths?.[afi] !== undefined || this.target.treatment?.routeServerClient === true;
  }

  #compute(afi: Afi, pid: number): number {
    const best = this.#source.tables[afi].best[pid]!;
    return best < 0 ? NOTHING : this.#computePath(afi, pid, best);
  }

  #computePath(afi: Afi, pid: number, path: number): number {
    const table = this.#source.tables[afi];
    const peer = table.pathPeer[path]!;
    if (peer === 0) return ORIGINATED;
    const { target } = this;
    const fromEbgp = this.#source.fromEbgp(peer);
    if (!fromEbgp && !target.ebgp && !target.treatment?.reflectorClient && !this.#source.fromClient(peer))
      return NOTHING;
    if (target.chain.rules.length === 0) return NOTHING;
    const attribute = table.pathAttr[path]!;
    const flags = this.#source.attributes.flags[attribute]!;
    if (flags & AttrFlag.longLivedStale && !target.longLived) return NOTHING;
    if (flags & AttrFlag.noAdvertise || (target.ebgp && flags & AttrFlag.noExport)) return NOTHING;
    const { keys, words, lengths } = table.prefixes;
    const rule = this.#runner.decide(attribute, afi, keys, pid * words, lengths[pid]!, peer);
    if (rule < 0 || !target.chain.rules[rule]!.rule.accept) return NOTHING;
    if (this.rewrites[afi]) return attribute;
    const cache = this.#rewritten[rule]!;
    const cached = cache.get(attribute);
    if (cached !== AttributeCache.unknown) return cached;
    const out = this.#rewrite(afi, attribute, fromEbgp, rule);
    cache.set(attribute, out);
    return out;
  }

  #rewrite(afi: Afi, attribute: number, fromEbgp: boolean, rule: number): number {
    const t = this.#source.attributes;
    const source: RouteSource = { learned: true, fromEbgp, prepend: 0 };
    const rewritten = rewriteExport(this.target, afi, t.attributes(attribute, afi), source, rule);
    return typeof rewritten === "string" ? NOTHING : t.intern(rewritten);
  }

  /**
   * The octets, in canonical form, of learned attributes of a group that {@link rewrites}. Valid until the next call but one: a message
   * that is still open reads them when it is closed.
   */
  rewritten(afi: Afi, attribute: number): Uint8Array {
    const t = this.#source.attributes;
    const start = t.start(attribute);
    const end = t.end(attribute);
    [scratch, spare] = [spare, scratch];
    if (scratch.length < end - start + 64) scratch = new Uint8Array((end - start) * 2 + 64);
    const length = rewriteExternal(t.bytes, start, end, this.target.localAsn, this.#nextHop[afi]!, scratch);
    if (length >= 0) return scratch.subarray(0, length);
    const source: RouteSource = { learned: true, fromEbgp: true, prepend: 0 };
    return encodeCanonical(
      rewriteExport(this.target, afi, t.attributes(attribute, afi), source, -1) as PathAttributes,
    );
  }

  /** What a neighbour hears of a prefix: attributes, or -1 for nothing. Its own routes do not go back to it. */
  outFor(afi: Afi, pid: number, peer: Hearer): number {
    const out = pid < this.out[afi].length ? this.out[afi][pid]! : NOTHING;
    if (out === ORIGINATED) return this.#originFor(afi, pid, peer.audience);
    if (out <= 0) return NOTHING;
    return this.#source.tables[afi].bestPeer[pid] === peer.index ? NOTHING : out;
  }

  /** The same of one of several paths. */
  outForPath(afi: Afi, pid: number, path: number, peer: Hearer): number {
    const table = this.#source.tables[afi];
    if (table.pathPeer[path] === peer.index) return NOTHING;
    const out = this.#computePath(afi, pid, path);
    return out === ORIGINATED ? this.#originFor(afi, pid, peer.audience) : out;
  }

  #originFor(afi: Afi, pid: number, name: string): number {
    const t = this.#source.attributes;
    if (this.#originEpoch !== t.epoch) {
      this.#originAttributes = new Map();
      this.#originEpoch = t.epoch;
    }
    const origin = originFor(this.#source.origins[afi].get(pid) ?? [], name);
    if (!origin) return NOTHING;
    let out = this.#originAttributes.get(origin);
    if (out === undefined) {
      const decision = exportOrigin(this.target, origin);
      out = decision.accepted ? t.intern(decision.attributes) : NOTHING;
      this.#originAttributes.set(origin, out);
    }
    return out;
  }

  /** The same as {@link outFor}, with its reason, computed afresh; of one path, else of the best. */
  explain(
    afi: Afi,
    pid: number,
    peer: Hearer,
    path?: number,
  ): ExportDecision & { readonly learned: boolean } {
    const table = this.#source.tables[afi];
    const best = path ?? table.best[pid]!;
    const no = (decidedBy: string) => ({ accepted: false as const, decidedBy, learned: false });
    if (best < 0) return no("no accepted path");
    const from = table.pathPeer[best]!;
    if (from === 0) {
      const origin = originFor(this.#source.origins[afi].get(pid) ?? [], peer.audience);
      if (!origin) return no("originated here, but not for this neighbour");
      return { ...exportOrigin(this.target, origin), learned: false };
    }
    if (from === peer.index) return no("learned from this neighbour");
    const { keys, words, lengths } = table.prefixes;
    const attributes = this.#source.attributes.attributes(table.pathAttr[best]!, afi);
    const prefix = { afi, keys, key: pid * words, length: lengths[pid]! };
    const fromEbgp = this.#source.fromEbgp(from);
    const fromClient = this.#source.fromClient(from);
    const source = { learned: true, fromEbgp, fromClient, sender: this.#source.sender(from), prepend: 0 };
    return { ...exportRoute(this.target, prefix, attributes, source), learned: true };
  }

  /** Marks the attribute sets that the group holds (see AttributeTable.sweep). */
  mark(used: Uint8Array): void {
    for (const afi of [1, 2] as const) {
      const out = this.out[afi];
      for (let pid = 0; pid < out.length; pid++) if (out[pid]! > 0) used[out[pid]!] = 1;
    }
  }

  /** Forgets what it has cached of origins that are gone. */
  dropOrigins(): void {
    this.#originAttributes = new Map();
  }
}

let scratch: Uint8Array = new Uint8Array(8192);
let spare: Uint8Array = new Uint8Array(8192);

/** Of the origins of one prefix the one that a neighbour hears. */
export const originFor = (origins: readonly Origin[], peer: string): Origin | undefined =>
  origins.find((o) => o.peers.has(peer));

const originPrefix = (o: Origin) => ({ afi: o.afi, keys: o.words, key: 0, length: o.length });
const originSource = (o: Origin): RouteSource => ({ learned: false, fromEbgp: false, prepend: o.prepend });

/** The rule that decides a route of this node on the way out, see {@link decideExport}. */
export const decideOrigin = (target: ExportTarget, o: Origin): number | string =>
  decideExport(target, originPrefix(o), o.attributes, originSource(o));

/** Whether and how a route of this node goes to one neighbour. */
export const exportOrigin = (target: ExportTarget, o: Origin): ExportDecision =>
  exportRoute(target, originPrefix(o), o.attributes, originSource(o));

export const exportKey = (t: ExportTarget): string =>
  [
    t.ebgp,
    t.localAsn,
    t.nextHopSelf,
    t.nextHop[1]?.join(".") ?? "-",
    t.nextHop[2]?.join(".") ?? "-",
    t.chain.key,
    JSON.stringify(t.treatment ?? null),
    t.paths ? `${t.paths[1] ?? 0}/${t.paths[2] ?? 0}` : "",
    t.extendedNextHop ? "8950" : "",
    t.longLived ? "9494" : "",
  ].join(" ");
