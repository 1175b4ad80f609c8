// bgp/policy: import and export policy as plain data.

import type { Prefix } from "../../net/address.ts";
import type { LargeCommunity } from "../wire/attributes.ts";
import type { CommunityPattern } from "./communities.ts";

/** Routes inside `prefix` whose length is ge..le. */
export interface PrefixMatch {
  readonly prefix: Prefix;
  readonly ge: number;
  readonly le: number;
}

/**
 * Which routes a rule is for. "default" is what this node originates: nothing that was learned from one neighbour goes to another
 * unless a rule says so. On import every route is learned, and only "external" and "internal" say something.
 */
export type Source = "default" | "learned" | "any" | "external" | "internal";

/** What a rule asks of the AS path; all that is given must hold. */
export interface PathMatch {
  /** See Pattern: over "65001 65002", nearest first. */
  readonly regex?: string;
  /** Any of, as the last number of the path; a route of our own has none. */
  readonly origin?: readonly number[];
  /** Any of, as the first number of the path. */
  readonly neighbor?: readonly number[];
  /** Bounds of its length as the decision process counts it. */
  readonly minLength?: number;
  readonly maxLength?: number;
}

/** All that is given must hold. */
export interface RuleMatch {
  /** Any of; empty matches every prefix. */
  readonly prefixes: readonly PrefixMatch[];
  /** All of. */
  readonly communities: readonly number[];
  /** All of. */
  readonly large: readonly LargeCommunity[];
  /** Any of; empty matches every path. */
  readonly asPathContains: readonly number[];
  readonly source: Source;
  /** All of. */
  readonly patterns?: readonly CommunityPattern[];
  /** Any of; absent matches every set. */
  readonly anyCommunity?: readonly CommunityPattern[];
  readonly path?: PathMatch;
  /** The next hop as it was sent is inside any of them; a route of our own has none yet. */
  readonly nextHops?: readonly Prefix[];
  /** Any of. */
  readonly origins?: readonly (0 | 1 | 2)[];
  /** Names of neighbours, or of the ranges they came by, any of which has sent the route. */
  readonly neighbors?: readonly string[];
}

/** What the next hop becomes. On import only an address has a meaning. */
export interface NextHopSet {
  readonly mode: "self" | "unchanged" | "address";
  /** Octets, by family of the routes; a family without one keeps what it has. */
  readonly ipv4?: Uint8Array;
  readonly ipv6?: Uint8Array;
}

/** Takes the place of all communities of each kind that is given. */
export interface CommunityReplacement {
  readonly standard?: readonly number[];
  readonly large?: readonly LargeCommunity[];
  /** As text, see extendedOf. */
  readonly extended?: readonly string[];
}

export interface RuleSet {
  readonly med?: number;
  readonly localPref?: number;
  readonly addCommunities: readonly number[];
  readonly addLarge: readonly LargeCommunity[];
  /** How many times an AS number is put in front: ours, only towards external peers, or {@link prependAsn}. */
  readonly prepend: number;
  /** Put in front in place of ours; also on import. */
  readonly prependAsn?: number;
  /** Added to MED (none counts as 0), within 0 and 2^32 - 1. */
  readonly medAdd?: number;
  readonly origin?: 0 | 1 | 2;
  readonly nextHop?: NextHopSet;
  /** As text, see extendedOf. */
  readonly addExtended?: readonly string[];
  /** First all of one kind are replaced, then some removed, then some added. */
  readonly replace?: CommunityReplacement;
  readonly remove?: readonly CommunityPattern[];
}

export interface Rule {
  readonly name: string;
  readonly match: RuleMatch;
  readonly accept: boolean;
  readonly set: RuleSet;
}

/** Rules in order; the first that matches decides, no match rejects. */
export interface Policy {
  readonly name: string;
  readonly rules: readonly Rule[];
}
