// plan: BGPPolicies as the speaker's rules, and the policies that follow from ClusterPeerings and from our own tags.
import { type BGPPolicy, routeKind } from "../api/index.ts";
import { bitsOf } from "../net/address.ts";
import type { PeeringRule } from "../routes/index.ts";
import { communitiesAt, type Faults, prefixAt } from "./fields.ts";
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

function compileRule(rule: PolicyRule, path: string, into: Faults): SpeakerRule {
  const match = communitiesAt(rule.match?.communities, `${path}.match.communities`, into);
  const add = communitiesAt(rule.set?.addCommunities, `${path}.set.addCommunities`, into);
  return {
    name: rule.name,
    match: {
      prefixes: prefixMatches(rule, path, into),
      communities: match.standard,
      large: match.large,
      asPathContains: rule.match?.asPathContains ?? [],
      ...(rule.match?.source !== undefined &&
        rule.match.source !== "Originated" && { source: rule.match.source }),
    },
    accept: rule.action === "Accept",
    set: {
      ...(rule.set?.med !== undefined && { med: rule.set.med }),
      ...(rule.set?.localPreference !== undefined && { localPref: rule.set.localPreference }),
      communities: add.standard,
      large: add.large,
      prepend: rule.set?.prepend ?? 0,
    },
  };
}

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
