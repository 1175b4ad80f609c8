// bgp/policy: the policies of one session as one list of rules, and the decision for one route.
import { flatten } from "../wire/aspath.ts";
import type { LargeCommunity, PathAttributes } from "../wire/attributes.ts";
import type { Afi } from "../wire/constants.ts";
import type { Policy, PrefixMatch, Rule, RuleSet } from "./types.ts";

/** A rule and its name as shown: "policy/rule". */
export interface ChainRule {
  readonly rule: Rule;
  readonly label: string;
  /** The prefixes by family, as words and masks; undefined where the rule takes every prefix. */
  readonly prefixes: readonly CompiledPrefix[] | undefined;
  /** It looks at attributes, not at the prefix alone. */
  readonly readsAttributes: boolean;
}

interface CompiledPrefix {
  readonly afi: Afi;
  readonly words: readonly number[];
  readonly masks: readonly number[];
  readonly ge: number;
  readonly le: number;
}

/** The rules of all named policies, in order. `key` is equal exactly where the rules are. */
export interface Chain {
  readonly rules: readonly ChainRule[];
  readonly key: string;
}

/** Joins policies; a name without a policy rejects everything from its place on, so that a missing one never widens. */
export function compileChain(names: readonly string[], policies: ReadonlyMap<string, Policy>): Chain {
  const rules: ChainRule[] = [];
  for (const name of names) {
    const policy = policies.get(name);
    if (!policy) {
      rules.push(compileRule(name, missing));
      break;
    }
    for (const rule of policy.rules) rules.push(compileRule(name, rule));
  }
  const key = JSON.stringify(
    rules.map((r) => [r.label, r.rule]),
    (_k, v: unknown) => (typeof v === "bigint" ? v.toString(16) : v),
  );
  return { rules, key };
}

const missing: Rule = {
  name: "(no such policy)",
  match: { prefixes: [], communities: [], large: [], asPathContains: [], source: "any" },
  accept: false,
  set: { addCommunities: [], addLarge: [], prepend: 0 },
};

function compileRule(policy: string, rule: Rule): ChainRule {
  const { match } = rule;
  return {
    rule,
    label: `${policy}/${rule.name}`,
    prefixes: match.prefixes.length === 0 ? undefined : match.prefixes.map(compilePrefix),
    readsAttributes: match.communities.length + match.large.length + match.asPathContains.length > 0,
  };
}

function compilePrefix(m: PrefixMatch): CompiledPrefix {
  const { prefix } = m;
  const afi = prefix.family === 4 ? 1 : 2;
  const words =
    afi === 1
      ? [Number(prefix.lo)]
      : [prefix.hi >> 32n, prefix.hi & 0xffffffffn, prefix.lo >> 32n, prefix.lo & 0xffffffffn].map(Number);
  const masks = words.map((_, i) => {
    const bits = Math.min(Math.max(prefix.length - i * 32, 0), 32);
    return bits === 0 ? 0 : (-1 << (32 - bits)) >>> 0;
  });
  return { afi, words, masks, ge: m.ge, le: m.le };
}

/** Whether the prefix `length` bits long whose words begin at `keys[key]` is one of the rule's. */
export function matchesPrefix(
  rule: ChainRule,
  afi: Afi,
  keys: Uint32Array,
  key: number,
  length: number,
): boolean {
  if (!rule.prefixes) return true;
  for (const p of rule.prefixes) {
    if (p.afi !== afi || length < p.ge || length > p.le) continue;
    let equal = true;
    for (let i = 0; i < p.words.length; i++)
      if ((keys[key + i]! & p.masks[i]!) >>> 0 !== p.words[i]!) {
        equal = false;
        break;
      }
    if (equal) return true;
  }
  return false;
}

/** The part of a match that looks at the attributes. */
export function matchesAttributes(rule: ChainRule, a: PathAttributes): boolean {
  const { communities, large, asPathContains } = rule.rule.match;
  if (!communities.every((c) => a.communities?.includes(c))) return false;
  if (!large.every((l) => a.large?.some((x) => sameLarge(x, l)))) return false;
  if (asPathContains.length === 0) return true;
  const path = flatten(a.asPath);
  return asPathContains.some((asn) => path.includes(asn));
}

/** Whether a rule is for routes of this source; on import `learned` is always true and every rule is. */
export const matchesSource = (rule: ChainRule, direction: "import" | "export", learned: boolean): boolean =>
  direction === "import" ||
  rule.rule.match.source === "any" ||
  (rule.rule.match.source === "learned") === learned;

const sameLarge = (a: LargeCommunity, b: LargeCommunity): boolean =>
  a[0] === b[0] && a[1] === b[1] && a[2] === b[2];

/** Whether a rule changes attributes, its prepending apart. */
export const changes = (set: RuleSet): boolean =>
  set.med !== undefined ||
  set.localPref !== undefined ||
  set.addCommunities.length > 0 ||
  set.addLarge.length > 0;

/** The attributes with a rule's changes, without its prepending (which depends on the session). */
export function applySet(a: PathAttributes, set: RuleSet): PathAttributes {
  if (!changes(set)) return a;
  const { med, localPref, addCommunities, addLarge } = set;
  const communities = [
    ...(a.communities ?? []),
    ...addCommunities.filter((c) => !a.communities?.includes(c)),
  ];
  const large = [...(a.large ?? []), ...addLarge.filter((l) => !a.large?.some((x) => sameLarge(x, l)))];
  return {
    ...a,
    ...(med === undefined ? {} : { med }),
    ...(localPref === undefined ? {} : { localPref }),
    ...(communities.length > 0 ? { communities } : {}),
    ...(large.length > 0 ? { large } : {}),
  };
}
