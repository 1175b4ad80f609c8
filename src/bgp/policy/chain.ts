// bgp/policy: the policies of one session as one list of rules, and the decision for one route.
import type { PathAttributes } from "../wire/attributes.ts";
import type { Afi } from "../wire/constants.ts";
import { type Change, compileChange } from "./change.ts";
import { type AttributeTest, compileMatch } from "./match.ts";
import type { Policy, PrefixMatch, Rule } from "./types.ts";

/** A rule and its name as shown: "policy/rule". */
export interface ChainRule {
  readonly rule: Rule;
  readonly label: string;
  /** The prefixes by family, as words and masks; undefined where the rule takes every prefix. */
  readonly prefixes: readonly CompiledPrefix[] | undefined;
  /** What it asks of the attributes; empty where it looks at the prefix alone. */
  readonly tests: readonly AttributeTest[];
  readonly change: Change;
  /** It asks who sent a learned route. */
  readonly readsSource: boolean;
}

/** Who sent a route. */
export interface Sender {
  /** Its own name, and that of the range it came by (the same for one that is configured itself). */
  readonly name: string;
  readonly audience: string;
  readonly ebgp: boolean;
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

/**
 * Joins policies; a name without a policy rejects everything from its place on, so that a missing one never widens.
 * @param sender of all routes, for an import chain: rules that are for other neighbours are left out
 * @throws PatternError
 */
export function compileChain(
  names: readonly string[],
  policies: ReadonlyMap<string, Policy>,
  sender?: Omit<Sender, "ebgp">,
): Chain {
  const rules: ChainRule[] = [];
  for (const name of names) {
    const policy = policies.get(name);
    if (!policy) {
      rules.push(compileRule(name, missing));
      break;
    }
    for (const rule of policy.rules) if (!sender || isFrom(rule, sender)) rules.push(compileRule(name, rule));
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

interface Compiled {
  readonly prefixes: readonly CompiledPrefix[] | undefined;
  readonly tests: readonly AttributeTest[];
  readonly change: Change;
}

/** Rules are shared by all neighbours that name their policy, and so is what becomes of them. */
const compiled = new WeakMap<Rule, Compiled>();

/** Compiles what a rule asks and does. @throws PatternError */
export function checkRule(rule: Rule): Compiled {
  const { match } = rule;
  let known = compiled.get(rule);
  if (!known) {
    known = {
      prefixes: match.prefixes.length === 0 ? undefined : match.prefixes.map(compilePrefix),
      tests: compileMatch(match),
      change: compileChange(rule.set),
    };
    compiled.set(rule, known);
  }
  return known;
}

function compileRule(policy: string, rule: Rule): ChainRule {
  const { source, neighbors } = rule.match;
  const readsSource = neighbors !== undefined || source === "external" || source === "internal";
  return { rule, label: `${policy}/${rule.name}`, ...checkRule(rule), readsSource };
}

const isFrom = ({ match: { neighbors } }: Rule, s: Omit<Sender, "ebgp">): boolean =>
  neighbors === undefined || neighbors.includes(s.name) || neighbors.includes(s.audience);

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
  for (const test of rule.tests) if (!test(a)) return false;
  return true;
}

/** Whether a rule may be for routes that were learned, or for those of our own, whoever has sent them. */
export function matchesSource(rule: ChainRule, direction: "import" | "export", learned: boolean): boolean {
  if (direction === "import") return true;
  const { source, neighbors } = rule.rule.match;
  if (!learned) return (source === "default" || source === "any") && neighbors === undefined;
  return source !== "default";
}

/** Whether a rule that asks who sent a learned route is for routes from this neighbour. */
export function matchesSender(rule: ChainRule, sender: Sender): boolean {
  const { source } = rule.rule.match;
  if ((source === "external" && !sender.ebgp) || (source === "internal" && sender.ebgp)) return false;
  return isFrom(rule.rule, sender);
}
