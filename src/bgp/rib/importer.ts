// bgp/rib: from Adj-RIB-In to Loc-RIB: loops, RFC 8326 and the import policy, with everything cached that depends on the attributes alone.
import type { Chain } from "../policy/chain.ts";
import { flatten } from "../wire/aspath.ts";
import { type Afi, Role } from "../wire/constants.ts";
import { AttrFlag, pathHas } from "../wire/scan.ts";
import type { AttributeTable } from "./attributes.ts";
import { AttributeCache, ChainRunner } from "./runner.ts";
import { type ImportTreatment, otcIn } from "./treatment.ts";

/** In place of attributes: the route is refused as a leak (RFC 9234). */
const LEAK = -3;

/** What import depends on besides the route. Neighbours with equal contexts share an {@link Importer}. */
export interface ImportContext {
  readonly ebgp: boolean;
  readonly localAsn: number;
  /** Ours, host byte order: a reflected route that we originated is a loop (RFC 4456 8). */
  readonly routerId: number;
  readonly chain: Chain;
  /** Undefined for an ordinary neighbour. */
  readonly treatment?: ImportTreatment | undefined;
}

/** The rules that are for neighbours of this kind. */
function chainFor({ chain, ebgp }: ImportContext): Chain {
  // Which neighbour it is has been looked at already, when the chain was made.
  const meant = chain.rules.filter((r) => {
    const { source } = r.rule.match;
    return source === "external" ? ebgp : source !== "internal" || !ebgp;
  });
  return meant.length === chain.rules.length ? chain : { ...chain, rules: meant };
}

export const importKey = (c: ImportContext): string =>
  `${c.ebgp} ${c.localAsn} ${c.routerId} ${c.chain.key} ${JSON.stringify(c.treatment ?? null)}`;

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
  readonly #leak: number;
  readonly #checksFirstAs: boolean;
  readonly #noPolicy: number;
  readonly #noMatch: number;
  readonly #internal: number;
  readonly #firstAs: number;
  readonly #ownNextHop: number;

  constructor(given: ImportContext, attributes: AttributeTable, names: RuleNames) {
    const context = { ...given, chain: chainFor(given) };
    this.context = context;
    this.#attributes = attributes;
    this.#runner = new ChainRunner(context.chain, "import", attributes);
    this.#before = new AttributeCache(attributes);
    this.#labels = context.chain.rules.map((r) => names.id(r.label));
    this.#after = context.chain.rules.map((r) =>
      r.change.changes ? new AttributeCache(attributes) : undefined,
    );
    this.#loop = names.id("rejected: our own AS number, identifier or cluster is in the path");
    this.#leak = names.id("rejected: a route leak by its ONLY_TO_CUSTOMER (RFC 9234)");
    // A route server does not put itself into the path (RFC 7947 2.2.2.1).
    this.#checksFirstAs = context.ebgp && context.treatment?.role !== Role.routeServerClient;
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
    if (this.#checksFirstAs && t.neighborAs[raw] !== peerAsn) {
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
      this.rule = attribute === LEAK ? this.#leak : this.#loop;
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
    const { rule, change } = this.context.chain.rules[index]!;
    if (!rule.accept) return;
    const cache = this.#after[index];
    if (!cache) {
      this.attribute = attribute;
      return;
    }
    let changed = cache.get(attribute);
    if (changed === AttributeCache.unknown) {
      changed = t.intern(change.applyIn(t.attributes(attribute, afi)));
      cache.set(attribute, changed);
    }
    this.attribute = changed;
  }

  /** Loops, and what RFC 8326, 4456 and 9234 ask for, which depend on the attributes alone. -1 is a loop. */
  #prepare(raw: number, afi: Afi): number {
    const t = this.#attributes;
    const { ebgp, localAsn, routerId, treatment } = this.context;
    if (pathHas(t.bytes, t.start(raw), t.end(raw), localAsn)) {
      const path = flatten(t.attributes(raw, afi).asPath);
      if (path.filter((asn) => asn === localAsn).length > (treatment?.allowAsIn ?? 0)) return -1;
    }
    const shutdown = ebgp && t.flags[raw]! & AttrFlag.gracefulShutdown;
    const { role, peerAsn, clusterId, originatorId } = treatment ?? ordinary;
    const special = role !== undefined || originatorId !== 0;
    if (!shutdown && !special && (ebgp || (t.originatorId[raw] === 0 && t.clusterLength[raw] === 0)))
      return raw;
    let a = t.attributes(raw, afi);
    const before = a;
    if (!ebgp && (a.originatorId === routerId || a.clusterList?.includes(clusterId || routerId))) return -1;
    if (role !== undefined) {
      const marked = otcIn(a, role, peerAsn);
      if (!marked) return LEAK;
      a = marked;
    }
    // Set here and not on the way out, where it is no longer known of a set of attributes who sent it.
    if (originatorId !== 0 && a.originatorId === undefined) a = { ...a, originatorId };
    if (shutdown) a = { ...a, localPref: 0 };
    return a === before ? raw : t.intern(a);
  }
}

const ordinary: ImportTreatment = {
  allowAsIn: 0,
  role: undefined,
  peerAsn: 0,
  clusterId: 0,
  originatorId: 0,
};
