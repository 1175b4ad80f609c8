// bgp/policy: import and export policy as plain data.

import type { Prefix } from "../../net/address.ts";
import type { LargeCommunity } from "../wire/attributes.ts";

/** Routes inside `prefix` whose length is ge..le. */
export interface PrefixMatch {
  readonly prefix: Prefix;
  readonly ge: number;
  readonly le: number;
}

/**
 * Which routes a rule of an export policy is for. "default" is what this node originates: nothing that was learned from
 * one neighbour goes to another unless a rule says so. On import every route is learned and the field says nothing.
 */
export type Source = "default" | "learned" | "any";

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
}

export interface RuleSet {
  readonly med?: number;
  readonly localPref?: number;
  readonly addCommunities: readonly number[];
  readonly addLarge: readonly LargeCommunity[];
  /** How many times the local AS number is put in front; only towards external peers. */
  readonly prepend: number;
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
