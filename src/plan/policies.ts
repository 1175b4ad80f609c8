// plan: BGPPolicies as the speaker's rules, and the policies that follow from ClusterPeerings and from our own tags.
import { type BGPPolicy, routeKind } from "../api/index.ts";
import { Pattern, PatternError } from "../bgp/policy/regex.ts";
import type { PathMatch } from "../bgp/policy/types.ts";
import { type Address, bitsOf } from "../net/address.ts";
import type { PeeringRule } from "../routes/index.ts";
import { addressAt, communitiesAt, type Faults, patternsAt, prefixAt, wantedAt } from "./fields.ts";
import { faults } from "./messages.ts";
import type { SpeakerPolicy, SpeakerPrefixMatch, SpeakerRule } from "./types.ts";

const anything: SpeakerRule["match"] = { prefixes: [], communities: [], large: [], asPathContains: [] };
const unchanged: SpeakerRule["set"] = { communities: [], large: [], prepend: 0 };

type PolicyRule = BGPPolicy["spec"]["rules"][number];

function prefixMatches(rule: PolicyRule, path: string, into: Faults): readonly SpeakerPrefixMatch[] {
  const out: SpeakerPrefixMatch[] = [];
  for (const [i, wanted] of (rule.match?.prefixes ?? []).entries()) {
    const at = `${path}.match.prefixes[${i}]`;
    const prefix = prefixAt(wanted.prefix, `${at}.prefix`, into);
    if (!prefix) continue;
    const bits = bitsOf(prefix.family);
    const ge = wanted.ge ?? prefix.length;
    const le = wanted.le ?? prefix.length;
    for (const [name, value] of [
      ["ge", ge],
      ["le", le],
    ] as const)
      if (value < prefix.length || value > bits)
        into.add(`${at}.${name}`, faults.lengthOutside(name, value, prefix.length, bits));
    if (ge > le) into.add(`${at}.ge`, faults.geAboveLe(ge, le));
    out.push({ prefix, ge, le });
  }
  return out;
}

const originValues = { IGP: 0, EGP: 1, Incomplete: 2 } as const;

/** What is asked of the path; a regular expression that is none is a fault. */
function pathOf(rule: PolicyRule, path: string, into: Faults): PathMatch | undefined {
  const given = rule.match?.asPath;
  if (!given) return undefined;
  if (given.regex !== undefined)
    try {
      new Pattern(given.regex);
    } catch (error) {
      if (!(error instanceof PatternError)) throw error;
      into.add(`${path}.match.asPath.regex`, faults.pattern(error.message));
    }
  return given;
}

function matchOf(rule: PolicyRule, path: string, into: Faults): SpeakerRule["match"] {
  const { match } = rule;
  const at = `${path}.match`;
  const { standard, large, patterns } = wantedAt(match?.communities, `${at}.communities`, into);
  const any = patternsAt(match?.anyCommunity, `${at}.anyCommunity`, into);
  const asPath = pathOf(rule, path, into);
  const nextHops = (match?.nextHops ?? []).flatMap(
    (text, i) => prefixAt(text, `${at}.nextHops[${i}]`, into) ?? [],
  );
  const origins = (match?.origins ?? []).map((o) => originValues[o]);
  return {
    prefixes: prefixMatches(rule, path, into),
    communities: standard,
    large,
    asPathContains: match?.asPathContains ?? [],
    ...(match?.source !== undefined && match.source !== "Originated" && { source: match.source }),
    ...(patterns.length > 0 && { patterns }),
    ...(any.length > 0 && { anyCommunity: any }),
    ...(asPath && { path: asPath }),
    ...(nextHops.length > 0 && { nextHops }),
    ...(origins.length > 0 && { origins }),
    ...(match?.neighbors?.length && { neighbors: match.neighbors }),
  };
}

function nextHopOf(rule: PolicyRule, path: string, into: Faults): SpeakerRule["set"]["nextHop"] {
  const given = rule.set?.nextHop;
  if (!given) return undefined;
  if (given.mode !== "Address") return { mode: given.mode };
  const out: { mode: "Address"; ipv4?: Address; ipv6?: Address } = { mode: "Address" };
  for (const [field, family] of [
    ["ipv4", 4],
    ["ipv6", 6],
  ] as const) {
    const text = given[field];
    const at = `${path}.set.nextHop.${field}`;
    const address = text === undefined ? undefined : addressAt(text, at, into);
    if (address && address.family !== family) into.add(at, faults.notFamily(family));
    if (address) out[field] = address;
  }
  if (!out.ipv4 && !out.ipv6) into.add(`${path}.set.nextHop`, faults.nextHopAddress());
  return out;
}

function setOf(rule: PolicyRule, path: string, into: Faults): SpeakerRule["set"] {
  const { set } = rule;
  const at = `${path}.set`;
  const add = communitiesAt(set?.addCommunities, `${at}.addCommunities`, into);
  const remove = patternsAt(set?.removeCommunities, `${at}.removeCommunities`, into);
  const whole = set?.communities && communitiesAt(set.communities, `${at}.communities`, into);
  const nextHop = nextHopOf(rule, path, into);
  if (set?.med !== undefined && set.medAdd !== undefined) into.add(`${at}.medAdd`, faults.exclusive("med"));
  if (set?.prependASN !== undefined && !set.prepend) into.add(`${at}.prependASN`, faults.needs("prepend"));
  return {
    ...(set?.med !== undefined && { med: set.med }),
    ...(set?.localPreference !== undefined && { localPref: set.localPreference }),
    communities: add.standard,
    large: add.large,
    prepend: set?.prepend ?? 0,
    ...(set?.prependASN !== undefined && { prependASN: set.prependASN }),
    ...(set?.medAdd !== undefined && { medAdd: set.medAdd }),
    ...(set?.origin !== undefined && { origin: originValues[set.origin] }),
    ...(nextHop && { nextHop }),
    ...(add.extended.length > 0 && { extended: add.extended }),
    ...(whole && {
      replace: {
        ...(set.communities?.standard && { standard: whole.standard }),
        ...(set.communities?.large && { large: whole.large }),
        ...(set.communities?.extended && { extended: whole.extended }),
      },
    }),
    ...(remove.length > 0 && { remove }),
  };
}

const compileRule = (rule: PolicyRule, path: string, into: Faults): SpeakerRule => ({
  name: rule.name,
  match: matchOf(rule, path, into),
  accept: rule.action === "Accept",
  set: setOf(rule, path, into),
});

/** The rules of one BGPPolicy; faults carry paths inside that object. */
export const compilePolicy = (policy: BGPPolicy, into: Faults): readonly SpeakerRule[] =>
  policy.spec.rules.map((rule, i) => compileRule(rule, `spec.rules[${i}]`, into));

/**
 * What a peer without importPolicies may tell us: what the ClusterPeerings that name it take, down to single addresses.
 * Routes with our own cluster's tag are refused first (a loop). Undefined where no ClusterPeering names the peer.
 */
export function impliedImport(
  peer: string,
  peerings: readonly PeeringRule[],
  clusterID: number,
  asns: readonly number[],
): SpeakerPolicy | undefined {
  const taken = peerings.filter((p) => p.peers.includes(peer) && p.kinds.length > 0 && p.prefixes.length > 0);
  if (taken.length === 0) return undefined;
  const loops: SpeakerRule[] = asns.flatMap((asn) =>
    Object.entries(routeKind).map(([kind, value]) => ({
      name: asns.length > 1 ? `own-${kind}-${asn}` : `own-${kind}`,
      match: { ...anything, large: [{ global: asn, local1: clusterID, local2: value }] },
      accept: false,
      set: unchanged,
    })),
  );
  const accepts: SpeakerRule[] = taken.map((p) => ({
    name: p.name,
    match: {
      ...anything,
      prefixes: p.prefixes.map((prefix) => ({ prefix, ge: prefix.length, le: bitsOf(prefix.family) })),
    },
    accept: true,
    set: unchanged,
  }));
  return { name: `waggle:clusterpeerings:${peer}`, rules: [...loops, ...accepts] };
}

/** Name of the policy for peers without exportPolicies; a colon keeps it apart from every object's name. */
export const originatedPolicy = "waggle:originated";

/** Exactly what BGPAdvertisements originate: all of it carries our tag, and nothing learned may. */
export const impliedExport = (asn: number, clusterID: number): SpeakerPolicy => ({
  name: originatedPolicy,
  rules: Object.entries(routeKind).map(([kind, value]) => ({
    name: kind,
    match: { ...anything, large: [{ global: asn, local1: clusterID, local2: value }] },
    accept: true,
    set: unchanged,
  })),
});
