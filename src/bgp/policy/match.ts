// bgp/policy: what a rule asks of a set of attributes, compiled once a rule.
import { contains, fromBytes } from "../../net/address.ts";
import { firstAs, flatten, formatAsPath, pathLength } from "../wire/aspath.ts";
import type { LargeCommunity, PathAttributes } from "../wire/attributes.ts";
import { compileCommunity, hasCommunity } from "./communities.ts";
import { Pattern } from "./regex.ts";
import type { PathMatch, RuleMatch } from "./types.ts";

export type AttributeTest = (a: PathAttributes) => boolean;

export const sameLarge = (a: LargeCommunity, b: LargeCommunity): boolean =>
  a[0] === b[0] && a[1] === b[1] && a[2] === b[2];

/** All that must hold of the attributes; empty where the rule does not look at them. @throws PatternError */
export function compileMatch(m: RuleMatch): readonly AttributeTest[] {
  const out: AttributeTest[] = [];
  const { communities, large, asPathContains, patterns, anyCommunity, path, nextHops, origins } = m;
  if (communities.length > 0)
    out.push((a) => {
      const has = a.communities;
      return has !== undefined && communities.every((c) => has.includes(c));
    });
  if (large.length > 0) out.push((a) => large.every((l) => a.large?.some((x) => sameLarge(x, l))));
  for (const test of (patterns ?? []).map(compileCommunity)) out.push((a) => hasCommunity(a, test));
  if (anyCommunity && anyCommunity.length > 0) {
    const tests = anyCommunity.map(compileCommunity);
    out.push((a) => tests.some((test) => hasCommunity(a, test)));
  }
  if (origins && origins.length > 0) out.push((a) => origins.includes(a.origin));
  if (nextHops && nextHops.length > 0)
    out.push((a) => {
      if (a.nextHop.length === 0) return false;
      const hop = fromBytes(a.nextHop.subarray(0, 16));
      return nextHops.some((p) => contains(p, hop));
    });
  if (asPathContains.length > 0)
    out.push((a) => asPathContains.some((asn) => a.asPath.some((s) => s.asns.includes(asn))));
  if (path) out.push(...compilePath(path));
  return out;
}

function compilePath(p: PathMatch): AttributeTest[] {
  const out: AttributeTest[] = [];
  const { origin, neighbor, minLength, maxLength } = p;
  if (neighbor && neighbor.length > 0)
    out.push((a) => {
      const first = firstAs(a.asPath);
      return first !== undefined && neighbor.includes(first);
    });
  if (origin && origin.length > 0)
    out.push((a) => {
      const last = flatten(a.asPath).at(-1);
      return last !== undefined && origin.includes(last);
    });
  if (minLength !== undefined) out.push((a) => pathLength(a.asPath) >= minLength);
  if (maxLength !== undefined) out.push((a) => pathLength(a.asPath) <= maxLength);
  if (p.regex !== undefined) {
    const pattern = new Pattern(p.regex);
    out.push((a) => pattern.test(formatAsPath(a.asPath)));
  }
  return out;
}
