// bgp/rib: routes and policies of a desired state as the RIB's own values: the speaker and whoever foretells it read them here.
import {
  type Attributes,
  CommunityKind as KindMessage,
  type Match as MatchMessage,
  type NextHop as NextHopMessage,
  type Origin as OriginMessage,
  type CommunityPattern as PatternMessage,
  type Peer as PeerMessage,
  type Policy as PolicyMessage,
  type PrefixMatch as PrefixMatchMessage,
  Role as RoleMessage,
  type Rule as RuleMessage,
  type Set as SetMessage,
  Source,
} from "../../api/generated/proto/speaker_pb.js";
import {
  type Address,
  bitsOf,
  formatPrefix,
  fromBytes,
  maskTo,
  type Prefix,
  toBytes,
  toInteger,
} from "../../net/address.ts";
import { checkRule } from "../policy/chain.ts";
import type { CommunityPattern } from "../policy/communities.ts";
import { PatternError } from "../policy/regex.ts";
import type {
  CommunityReplacement,
  NextHopSet,
  PathMatch,
  Policy,
  PrefixMatch,
  Rule,
  RuleMatch,
  RuleSet,
} from "../policy/types.ts";
import type { LargeCommunity, PathAttributes } from "../wire/attributes.ts";
import { type Afi, Role } from "../wire/constants.ts";
import type { Origin } from "./group.ts";
import type { PeerTreatment } from "./treatment.ts";

/** A desired state that makes no sense; the text names the field. */
export class DesiredStateError extends Error {}

/** @throws DesiredStateError */
export const fail = (where: string, what: string): never => {
  throw new DesiredStateError(`${where}: ${what}`);
};

/** Rules of one policy at most. */
const RULES_MAX = 4096;

/** An address of a message. @throws DesiredStateError */
export const addressIn = (bytes: Uint8Array, where: string): Address =>
  bytes.length === 4 || bytes.length === 16 ? fromBytes(bytes) : fail(where, `${bytes.length} bytes`);

/** A prefix of a message. @throws DesiredStateError */
export function prefixIn(bytes: Uint8Array, length: number, where: string): Prefix {
  const address = addressIn(bytes, where);
  if (length > bitsOf(address.family)) fail(where, `length ${length}`);
  const prefix = maskTo(address, length);
  if (toInteger(prefix) !== toInteger(address)) fail(where, "host bits are set");
  return prefix;
}

const largeIn = (l: { global: number; local1: number; local2: number }): LargeCommunity => [
  l.global,
  l.local1,
  l.local2,
];

/** A prefix as address words, see PrefixTable. */
function wordsOf(p: Prefix): Uint32Array {
  const bytes = toBytes(p);
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  return Uint32Array.from({ length: bytes.length / 4 }, (_, i) => view.getUint32(i * 4));
}

/** A route of a desired state. @throws DesiredStateError */
export function originIn(o: OriginMessage): Origin {
  const prefix = prefixIn(o.prefix, o.length, "origin");
  return makeOrigin(prefix, o.attributes, o.peers);
}

/** A route of this node. */
function makeOrigin(prefix: Prefix, a: Attributes | undefined, peers: readonly string[]): Origin {
  const afi: Afi = prefix.family === 4 ? 1 : 2;
  const prepend = Math.min(a?.prepend ?? 0, 64);
  const attributes: PathAttributes = {
    afi,
    origin: 0,
    asPath: [],
    nextHop: new Uint8Array(0),
    ...(a?.med === undefined ? {} : { med: a.med }),
    ...(a?.localPref === undefined ? {} : { localPref: a.localPref }),
    ...(a?.communities.length ? { communities: [...new Set(a.communities)] } : {}),
    ...(a?.large.length ? { large: a.large.map(largeIn) } : {}),
  };
  const key = [
    formatPrefix(prefix),
    attributes.med ?? "",
    attributes.localPref ?? "",
    attributes.communities?.join("+") ?? "",
    attributes.large?.map((l) => l.join(":")).join("+") ?? "",
    prepend,
    [...peers].sort().join(","),
  ].join(" ");
  return {
    afi,
    words: wordsOf(prefix),
    length: prefix.length,
    attributes,
    prepend,
    peers: new Set(peers),
    key,
  };
}

/** A policy of a desired state. @throws DesiredStateError */
export function policyIn(p: PolicyMessage): Policy {
  if (p.rules.length > RULES_MAX) fail(`policy ${p.name}`, `more than ${RULES_MAX} rules`);
  return { name: p.name, rules: p.rules.map((r) => ruleIn(r, `policy ${p.name} rule ${r.name}`)) };
}

const sourceIn: Readonly<Record<Source, RuleMatch["source"]>> = {
  [Source.DEFAULT]: "default",
  [Source.LEARNED]: "learned",
  [Source.ANY]: "any",
  [Source.EXTERNAL]: "external",
  [Source.INTERNAL]: "internal",
};

const kindIn: Readonly<Record<KindMessage, CommunityPattern["kind"]>> = {
  [KindMessage.COMMUNITY_STANDARD]: "standard",
  [KindMessage.COMMUNITY_LARGE]: "large",
  [KindMessage.COMMUNITY_EXTENDED]: "extended",
};

function ruleIn(r: RuleMessage, where: string): Rule {
  const rule: Rule = {
    name: r.name,
    match: matchIn(r.match, where),
    accept: r.accept,
    set: setIn(r.set, where),
  };
  try {
    checkRule(rule);
  } catch (error) {
    if (!(error instanceof PatternError)) throw error;
    fail(where, error.message);
  }
  return rule;
}

const patternsIn = (list: readonly PatternMessage[]): CommunityPattern[] =>
  list.map(({ kind, pattern }) => ({ kind: kindIn[kind] ?? "standard", pattern }));

const some = <T>(list: readonly T[] | undefined): readonly T[] | undefined =>
  list && list.length > 0 ? list : undefined;

/** The fields that have a value: rules that ask for the same have equal keys. */
const given = <T extends object>(fields: T): { [K in keyof T]: Exclude<T[K], undefined> } =>
  Object.fromEntries(Object.entries(fields).filter(([, v]) => v !== undefined)) as {
    [K in keyof T]: Exclude<T[K], undefined>;
  };

const originValue = (value: number, where: string): 0 | 1 | 2 =>
  value === 0 || value === 1 || value === 2 ? value : fail(where, `origin ${value}`);

function matchIn(m: MatchMessage | undefined, where: string): RuleMatch {
  const path: PathMatch = given({
    regex: m?.asPathRegex || undefined,
    origin: some(m?.asPathOrigin),
    neighbor: some(m?.asPathNeighbor),
    minLength: m?.asPathMin,
    maxLength: m?.asPathMax,
  });
  return {
    prefixes: (m?.prefixes ?? []).map((p) => prefixMatchIn(p, where)),
    communities: m?.communities ?? [],
    large: (m?.large ?? []).map(largeIn),
    asPathContains: m?.asPathContains ?? [],
    source: sourceIn[m?.source ?? Source.DEFAULT] ?? "default",
    ...given({
      patterns: some(patternsIn(m?.communityPatterns ?? [])),
      anyCommunity: some(patternsIn(m?.anyCommunity ?? [])),
      path: Object.keys(path).length > 0 ? path : undefined,
      nextHops: some(m?.nextHops.map((p) => prefixIn(p.prefix, p.length, where))),
      origins: some(m?.origins.map((o) => originValue(o, where))),
      neighbors: some(m?.neighbors),
    }),
  };
}

function setIn(s: SetMessage | undefined, where: string): RuleSet {
  const replace: CommunityReplacement = given({
    standard: s?.replace?.standard ? s.replace.communities : undefined,
    large: s?.replace?.large ? s.replace.largeCommunities.map(largeIn) : undefined,
    extended: s?.replace?.extended ? s.replace.extendedCommunities : undefined,
  });
  if (s?.med !== undefined && s.medAdd !== undefined) fail(where, "med and med_add");
  return {
    addCommunities: s?.addCommunities ?? [],
    addLarge: (s?.addLarge ?? []).map(largeIn),
    prepend: Math.min(s?.prepend ?? 0, 64),
    ...given({
      med: s?.med,
      localPref: s?.localPref,
      prependAsn: s?.prependAsn || undefined,
      medAdd: s?.medAdd === undefined ? undefined : Number(s.medAdd),
      origin: s?.origin === undefined ? undefined : originValue(s.origin, where),
      nextHop: s?.nextHop && nextHopIn(s.nextHop, where),
      addExtended: some(s?.addExtended),
      replace: Object.keys(replace).length > 0 ? replace : undefined,
      remove: some(patternsIn(s?.remove ?? [])),
    }),
  };
}

function nextHopIn(n: NextHopMessage, where: string): NextHopSet {
  if (n.self) return { mode: "self" };
  if (n.unchanged) return { mode: "unchanged" };
  for (const [bytes, size] of [
    [n.ipv4, 4],
    [n.ipv6, 16],
  ] as const)
    if (bytes.length !== 0 && bytes.length !== size) fail(where, `a next hop of ${bytes.length} bytes`);
  return {
    mode: "address",
    ...(n.ipv4.length > 0 && { ipv4: n.ipv4 }),
    ...(n.ipv6.length > 0 && { ipv6: n.ipv6 }),
  };
}

function prefixMatchIn(m: PrefixMatchMessage, where: string): PrefixMatch {
  const prefix = prefixIn(m.prefix, m.length, where);
  const ge = m.ge || m.length;
  // Where only a lower bound is given, anything from it on is meant.
  const le = m.le || (m.ge ? bitsOf(prefix.family) : m.length);
  if (ge < m.length || le < ge) fail(where, `${formatPrefix(prefix)} with ge ${ge} and le ${le}`);
  return { prefix, ge, le };
}

/** Number of the capability; undefined for none. */
const roleIn: Readonly<Partial<Record<RoleMessage, Role>>> = {
  [RoleMessage.PROVIDER]: Role.provider,
  [RoleMessage.ROUTE_SERVER]: Role.routeServer,
  [RoleMessage.ROUTE_SERVER_CLIENT]: Role.routeServerClient,
  [RoleMessage.CUSTOMER]: Role.customer,
  [RoleMessage.PEER]: Role.peer,
};

/** How a neighbour is treated beside policy. @throws DesiredStateError */
export function treatmentIn(p: PeerMessage, ebgp: boolean, where: string): PeerTreatment {
  const external = [
    "asOverride",
    "removePrivateAs",
    "nextHopUnchanged",
    "routeServerClient",
    "role",
  ] as const;
  for (const field of external) if (p[field] && !ebgp) fail(where, `${field} is for external neighbours`);
  if (p.reflectorClient && ebgp) fail(where, "reflectorClient is for internal neighbours");
  return {
    allowAsIn: Math.min(p.allowAsIn, 255),
    asOverride: p.asOverride,
    removePrivateAs: p.removePrivateAs,
    nextHopUnchanged: p.nextHopUnchanged,
    reflectorClient: p.reflectorClient,
    routeServerClient: p.routeServerClient,
    role: roleIn[p.role],
    strictRole: p.strictRole,
  };
}
