// bgp/rib: from Adj-RIB-In to Loc-RIB: loops, RFC 8326 and the import policy, with everything cached that depends on the attributes alone.
import { applySet, type Chain, changes } from "../policy/chain.ts";
import type { Afi } from "../wire/constants.ts";
import { AttrFlag, pathHas } from "../wire/scan.ts";
import type { AttributeTable } from "./attributes.ts";
import { AttributeCache, ChainRunner } from "./runner.ts";

/** What import depends on besides the route. Neighbours with equal contexts share an {@link Importer}. */
export interface ImportContext {
  readonly ebgp: boolean;
  readonly localAsn: number;
  /** Ours, host byte order: a reflected route that we originated is a loop (RFC 4456 8). */
  readonly routerId: number;
  readonly chain: Chain;
}

export const importKey = (c: ImportContext): string => `${c.ebgp} ${c.localAsn} ${c.routerId} ${c.chain.key}`;

/** Numbers of the sentences that stand in for a rule; labels of rules come from {@link RuleNames}. */
export class RuleNames {
  readonly #names: string[] = [""];
  readonly #byName = new Map<string, number>([["", 0]]);

  /** The number of a name. Numbers are 16 bits wide: names beyond that share 0. */
  id(name: string): number {
    const known = this.#byName.get(name);
    if (known !== undefined) return known;
    if (this.#names.length > 65535) return 0;
    this.#byName.set(name, this.#names.length);
    return this.#names.push(name) - 1;
  }

  name(id: number): string {
    return this.#names[id] ?? "";
  }
}

/** Decides routes for all neighbours of one context. The answer of the last {@link decide} is in `attribute` and `rule`. */
export class Importer {
  readonly context: ImportContext;
  /** Accepted with these attributes; -1 rejected. */
  attribute = -1;
  /** Number of the deciding rule or sentence. */
  rule = 0;
  readonly #attributes: AttributeTable;
  readonly #runner: ChainRunner;
  readonly #before: AttributeCache;
  readonly #after: (AttributeCache | undefined)[];
  readonly #labels: number[];
  readonly #loop: number;
  readonly #noPolicy: number;
  readonly #noMatch: number;
  readonly #internal: number;
  readonly #firstAs: number;
  readonly #ownNextHop: number;

  constructor(context: ImportContext, attributes: AttributeTable, names: RuleNames) {
    this.context = context;
    this.#attributes = attributes;
    this.#runner = new ChainRunner(context.chain, "import", attributes);
    this.#before = new AttributeCache(attributes);
    this.#labels = context.chain.rules.map((r) => names.id(r.label));
    this.#after = context.chain.rules.map((r) =>
      changes(r.rule.set) ? new AttributeCache(attributes) : undefined,
    );
    this.#loop = names.id("rejected: our own AS number, identifier or cluster is in the path");
    this.#noPolicy = names.id("rejected: no import policy (RFC 8212)");
    this.#noMatch = names.id("rejected: no rule of the import policy matches");
    this.#internal = names.id("internal peer without a policy");
    this.#firstAs = names.id("rejected: the path does not begin with the neighbour's AS number");
    this.#ownNextHop = names.id("rejected: the next hop is our own address");
  }

  /**
   * Decides one route as received.
   * @param peerAsn of the sender; @param ownNextHop hash of our own address on the session, see nextHopHash
   */
  decide(
    raw: number,
    peerAsn: number,
    ownNextHop: number,
    afi: Afi,
    keys: Uint32Array,
    key: number,
    length: number,
  ): void {
    const t = this.#attributes;
    this.attribute = -1;
    if (this.context.ebgp && t.neighborAs[raw] !== peerAsn) {
      this.rule = this.#firstAs;
      return;
    }
    if (t.nextHopHash[raw] === ownNextHop) {
      this.rule = this.#ownNextHop;
      return;
    }
    let attribute = this.#before.get(raw);
    if (attribute === AttributeCache.unknown) {
      attribute = this.#prepare(raw, afi);
      this.#before.set(raw, attribute);
    }
    if (attribute < 0) {
      this.rule = this.#loop;
      return;
    }
    if (this.context.chain.rules.length === 0) {
      this.rule = this.context.ebgp ? this.#noPolicy : this.#internal;
      this.attribute = this.context.ebgp ? -1 : attribute;
      return;
    }
    const index = this.#runner.decide(attribute, afi, keys, key, length);
    if (index < 0) {
      this.rule = this.#noMatch;
      return;
    }
    this.rule = this.#labels[index]!;
    const { rule } = this.context.chain.rules[index]!;
    if (!rule.accept) return;
    const cache = this.#after[index];
    if (!cache) {
      this.attribute = attribute;
      return;
    }
    let changed = cache.get(attribute);
    if (changed === AttributeCache.unknown) {
      changed = t.intern(applySet(t.attributes(attribute, afi), rule.set));
      cache.set(attribute, changed);
    }
    this.attribute = changed;
  }

  /** Loops, and what RFC 8326 asks for, which depend on the attributes alone. -1 is a loop. */
  #prepare(raw: number, afi: Afi): number {
    const t = this.#attributes;
    const { ebgp, localAsn, routerId } = this.context;
    if (pathHas(t.bytes, t.start(raw), t.end(raw), localAsn)) return -1;
    const shutdown = ebgp && t.flags[raw]! & AttrFlag.gracefulShutdown;
    if (!shutdown && (ebgp || (t.originatorId[raw] === 0 && t.clusterLength[raw] === 0))) return raw;
    const a = t.attributes(raw, afi);
    if (!ebgp && (a.originatorId === routerId || a.clusterList?.includes(routerId))) return -1;
    return shutdown ? t.intern({ ...a, localPref: 0 }) : raw;
  }
}
