// bgp/policy: what a rule does to a set of attributes, compiled once a rule.
import { prepend } from "../wire/aspath.ts";
import type { LargeCommunity, PathAttributes } from "../wire/attributes.ts";
import { type CommunityTest, compileCommunity, extendedOf, extendedTexts } from "./communities.ts";
import { sameLarge } from "./match.ts";
import type { RuleSet } from "./types.ts";

export interface Change {
  /** The rule changes attributes, its prepending apart. */
  readonly changes: boolean;
  /** The attributes with the changes that do not depend on the session: all but prepending and the next hop. */
  readonly apply: (a: PathAttributes) => PathAttributes;
  /** The same for a received route: with the next hop and another's AS number in front. */
  readonly applyIn: (a: PathAttributes) => PathAttributes;
}

type Step = (a: PathAttributes) => PathAttributes;

const U32_MAX = 0xffffffff;
const PREPEND_MAX = 64;

/** @throws PatternError */
export function compileChange(set: RuleSet): Change {
  const steps: Step[] = [];
  const { med, localPref, medAdd, origin, nextHop, prependAsn } = set;
  if (med !== undefined) steps.push((a) => ({ ...a, med }));
  if (medAdd !== undefined)
    steps.push((a) => ({ ...a, med: Math.min(Math.max((a.med ?? 0) + medAdd, 0), U32_MAX) }));
  if (localPref !== undefined) steps.push((a) => ({ ...a, localPref }));
  if (origin !== undefined) steps.push((a) => ({ ...a, origin }));
  steps.push(...communitySteps(set));
  const apply: Step = (a) => steps.reduce((out, step) => step(out), a);
  const hop = nextHop?.mode === "address" ? nextHop : undefined;
  const times = prependAsn === undefined ? 0 : Math.min(set.prepend, PREPEND_MAX);
  const applyIn: Step = (a) => {
    let out = apply(a);
    const own = out.afi === 1 ? hop?.ipv4 : hop?.ipv6;
    if (own) out = { ...out, nextHop: own };
    return times > 0 ? { ...out, asPath: prepend(out.asPath, prependAsn!, times) } : out;
  };
  return { changes: steps.length > 0 || nextHop !== undefined || prependAsn !== undefined, apply, applyIn };
}

/** In order: replace, remove, add. */
function communitySteps(set: RuleSet): Step[] {
  const steps: Step[] = [];
  const { replace, remove, addCommunities, addLarge, addExtended } = set;
  if (replace) {
    const { standard, large, extended } = replace;
    const octets = extended && join(extended);
    steps.push((a) => {
      let out = a;
      if (standard) out = withStandard(out, standard);
      if (large) out = withLarge(out, large);
      if (octets) out = withExtended(out, octets);
      return out;
    });
  }
  for (const pattern of remove ?? []) steps.push(removal(compileCommunity(pattern), pattern.pattern === "*"));
  if (addCommunities.length > 0)
    steps.push((a) => {
      const had = a.communities ?? [];
      return withStandard(a, [...had, ...addCommunities.filter((c) => !had.includes(c))]);
    });
  if (addLarge.length > 0)
    steps.push((a) => {
      const had = a.large ?? [];
      return withLarge(a, [...had, ...addLarge.filter((l) => !had.some((x) => sameLarge(x, l)))]);
    });
  if (addExtended && addExtended.length > 0) {
    const added = addExtended.map((text) => [extendedTexts(extendedOf(text))[0]!, extendedOf(text)] as const);
    steps.push((a) => {
      const had = a.extendedCommunities ?? none;
      const texts = extendedTexts(had);
      const more = added.filter(([text]) => !texts.includes(text)).map(([, octets]) => octets);
      return more.length === 0 ? a : withExtended(a, concat([had, ...more]));
    });
  }
  return steps;
}

function removal(t: CommunityTest, all: boolean): Step {
  if (t.kind === "standard")
    return (a) =>
      a.communities
        ? withStandard(
            a,
            a.communities.filter((c) => !t.test(c)),
          )
        : a;
  if (t.kind === "large")
    return (a) =>
      a.large
        ? withLarge(
            a,
            a.large.filter((l) => !t.test(l)),
          )
        : a;
  return (a) => {
    let out = a;
    if (all && out.ipv6ExtendedCommunities) {
      const { ipv6ExtendedCommunities: _, ...rest } = out;
      out = rest;
    }
    const had = out.extendedCommunities;
    if (!had) return out;
    const kept = extendedTexts(had).flatMap((text, i) =>
      t.test(text) ? [] : [had.subarray(i * 8, i * 8 + 8)],
    );
    return withExtended(out, concat(kept));
  };
}

const none = new Uint8Array(0);

/** An empty attribute is malformed: the one without any is left out. */
function withStandard(a: PathAttributes, communities: readonly number[]): PathAttributes {
  const { communities: _, ...rest } = a;
  return communities.length > 0 ? { ...rest, communities } : rest;
}

function withLarge(a: PathAttributes, large: readonly LargeCommunity[]): PathAttributes {
  const { large: _, ...rest } = a;
  return large.length > 0 ? { ...rest, large } : rest;
}

function withExtended(a: PathAttributes, extendedCommunities: Uint8Array): PathAttributes {
  const { extendedCommunities: _, ...rest } = a;
  return extendedCommunities.length > 0 ? { ...rest, extendedCommunities } : rest;
}

const join = (texts: readonly string[]): Uint8Array => concat(texts.map(extendedOf));

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const p of parts) {
    out.set(p, at);
    at += p.length;
  }
  return out;
}
