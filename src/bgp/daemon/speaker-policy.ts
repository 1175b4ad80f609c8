// bgp/daemon: rules of speaker.yaml as the messages that an agent would send; what is wrong is said with its path in the file.
import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  type AttributesSchema,
  CommunityKind,
  type CommunityPatternSchema,
  type MatchSchema,
  type RuleSchema,
  type SetSchema,
  Source,
} from "../../api/generated/proto/speaker_pb.js";
import { bitsOf, parseAddress, parsePrefix, toBytes } from "../../net/address.ts";
import {
  communityKinds,
  compileCommunity,
  extendedOf,
  isPattern,
  type CommunityKind as Kind,
  largeOf,
  standardOf,
} from "../policy/communities.ts";
import { Pattern, PatternError } from "../policy/regex.ts";

/** A file that cannot be used; the message names the field. */
export class SpeakerFileError extends Error {}

type Communities = { readonly [K in Kind]?: readonly string[] };

export interface AttributesYaml {
  readonly med?: number;
  readonly localPreference?: number;
  readonly prepend?: number;
  readonly communities?: Communities;
}

type OriginYaml = keyof typeof originValues;
type NextHopYaml = "self" | "unchanged" | { readonly ipv4?: string; readonly ipv6?: string };

export interface RuleYaml {
  readonly name: string;
  readonly action: "accept" | "reject";
  readonly match?: {
    readonly prefixes?: readonly { readonly prefix: string; readonly ge?: number; readonly le?: number }[];
    readonly communities?: Communities;
    readonly anyCommunity?: Communities;
    readonly asPathContains?: readonly number[];
    readonly asPath?: {
      readonly regex?: string;
      readonly origin?: readonly number[];
      readonly neighbor?: readonly number[];
      readonly minLength?: number;
      readonly maxLength?: number;
    };
    readonly nextHops?: readonly string[];
    readonly origins?: readonly OriginYaml[];
    readonly neighbors?: readonly string[];
    readonly source?: keyof typeof sources;
  };
  readonly set?: {
    readonly med?: number;
    readonly medAdd?: number;
    readonly localPreference?: number;
    readonly origin?: OriginYaml;
    readonly nextHop?: NextHopYaml;
    readonly prepend?: number;
    readonly prependASN?: number;
    readonly communities?: Communities;
    readonly removeCommunities?: Communities;
    readonly addCommunities?: Communities;
  };
}

const originValues = { igp: 0, egp: 1, incomplete: 2 } as const;
const sources = {
  originated: Source.DEFAULT,
  learned: Source.LEARNED,
  any: Source.ANY,
  external: Source.EXTERNAL,
  internal: Source.INTERNAL,
} as const;
const kinds: Readonly<Record<Kind, CommunityKind>> = {
  standard: CommunityKind.COMMUNITY_STANDARD,
  large: CommunityKind.COMMUNITY_LARGE,
  extended: CommunityKind.COMMUNITY_EXTENDED,
};

/** Reads one text of the file. @throws SpeakerFileError */
function at<T>(path: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof PatternError) throw new SpeakerFileError(`${path}: ${error.message}`);
    throw error;
  }
}

const eachAt = <T>(list: readonly string[] | undefined, path: string, read: (text: string) => T): T[] =>
  (list ?? []).map((text, i) => at(`${path}/${i}`, () => read(text)));

const large = (text: string) => {
  const [global, local1, local2] = largeOf(text);
  return { global, local1, local2 };
};

/** A text that is checked and sent as it is. */
const extended = (text: string): string => {
  extendedOf(text);
  return text;
};

/** Exact communities apart from patterns; `path` is that of `lists`. */
function wanted(lists: Communities | undefined, path: string) {
  const exact = <T>(kind: "standard" | "large", read: (text: string) => T): T[] =>
    eachAt(lists?.[kind], `${path}/${kind}`, (t) => (isPattern(t) ? [] : [read(t)])).flat();
  return {
    communities: exact("standard", standardOf),
    large: exact("large", large),
    patterns: patternsOf(lists, path).filter(
      (p) => p.kind === CommunityKind.COMMUNITY_EXTENDED || isPattern(p.pattern ?? ""),
    ),
  };
}

function patternsOf(
  lists: Communities | undefined,
  path: string,
): MessageInitShape<typeof CommunityPatternSchema>[] {
  return communityKinds.flatMap((kind) =>
    eachAt(lists?.[kind], `${path}/${kind}`, (pattern) => {
      compileCommunity({ kind, pattern });
      return { kind: kinds[kind], pattern };
    }),
  );
}

const bytes = (text: string): Uint8Array => toBytes(parseAddress(text));

function matchOf(m: NonNullable<RuleYaml["match"]>, path: string): MessageInitShape<typeof MatchSchema> {
  const { communities, large: larges, patterns } = wanted(m.communities, `${path}/communities`);
  const { regex, origin, neighbor, minLength, maxLength } = m.asPath ?? {};
  if (regex !== undefined) at(`${path}/asPath/regex`, () => new Pattern(regex));
  return {
    prefixes: (m.prefixes ?? []).map((p, i) => {
      const prefix = parsePrefix(p.prefix);
      if ((p.le ?? 0) > bitsOf(prefix.family))
        throw new SpeakerFileError(`${path}/prefixes/${i}/le: ${p.le}`);
      return { prefix: toBytes(prefix), length: prefix.length, ge: p.ge ?? 0, le: p.le ?? 0 };
    }),
    communities,
    large: larges,
    communityPatterns: patterns,
    anyCommunity: patternsOf(m.anyCommunity, `${path}/anyCommunity`),
    asPathContains: [...(m.asPathContains ?? [])],
    asPathRegex: regex ?? "",
    asPathOrigin: [...(origin ?? [])],
    asPathNeighbor: [...(neighbor ?? [])],
    ...(minLength === undefined ? {} : { asPathMin: minLength }),
    ...(maxLength === undefined ? {} : { asPathMax: maxLength }),
    nextHops: (m.nextHops ?? []).map((text) => {
      const prefix = parsePrefix(text);
      return { prefix: toBytes(prefix), length: prefix.length };
    }),
    origins: (m.origins ?? []).map((o) => originValues[o]),
    neighbors: [...(m.neighbors ?? [])],
    source: sources[m.source ?? "originated"],
  };
}

function setOf(s: NonNullable<RuleYaml["set"]>, path: string): MessageInitShape<typeof SetSchema> {
  const { communities: replace, addCommunities: add, nextHop } = s;
  return {
    ...(s.med === undefined ? {} : { med: s.med }),
    ...(s.medAdd === undefined ? {} : { medAdd: BigInt(s.medAdd) }),
    ...(s.localPreference === undefined ? {} : { localPref: s.localPreference }),
    ...(s.origin === undefined ? {} : { origin: originValues[s.origin] }),
    ...(nextHop === undefined ? {} : { nextHop: nextHopOf(nextHop, `${path}/nextHop`) }),
    prepend: s.prepend ?? 0,
    prependAsn: s.prependASN ?? 0,
    addCommunities: eachAt(add?.standard, `${path}/addCommunities/standard`, standardOf),
    addLarge: eachAt(add?.large, `${path}/addCommunities/large`, large),
    addExtended: eachAt(add?.extended, `${path}/addCommunities/extended`, extended),
    ...(replace && {
      replace: {
        standard: replace.standard !== undefined,
        communities: eachAt(replace.standard, `${path}/communities/standard`, standardOf),
        large: replace.large !== undefined,
        largeCommunities: eachAt(replace.large, `${path}/communities/large`, large),
        extended: replace.extended !== undefined,
        extendedCommunities: eachAt(replace.extended, `${path}/communities/extended`, extended),
      },
    }),
    remove: patternsOf(s.removeCommunities, `${path}/removeCommunities`),
  };
}

function nextHopOf(n: NextHopYaml, path: string) {
  if (n === "self") return { self: true };
  if (n === "unchanged") return { unchanged: true };
  const address = (family: "ipv4" | "ipv6", size: number): Uint8Array => {
    const text = n[family];
    if (text === undefined) return new Uint8Array(0);
    const found = bytes(text);
    if (found.length !== size)
      throw new SpeakerFileError(`${path}/${family}: ${text} is of the other family`);
    return found;
  };
  return { ipv4: address("ipv4", 4), ipv6: address("ipv6", 16) };
}

/** @param path of the rule in the file @throws SpeakerFileError, AddressError */
export const ruleOf = (r: RuleYaml, path: string): MessageInitShape<typeof RuleSchema> => ({
  name: r.name,
  accept: r.action === "accept",
  match: matchOf(r.match ?? {}, `${path}/match`),
  set: setOf(r.set ?? {}, `${path}/set`),
});

/** @param path of the attributes in the file @throws SpeakerFileError */
export const attributesOf = (a: AttributesYaml, path: string): MessageInitShape<typeof AttributesSchema> => ({
  ...(a.med === undefined ? {} : { med: a.med }),
  ...(a.localPreference === undefined ? {} : { localPref: a.localPreference }),
  prepend: a.prepend ?? 0,
  communities: eachAt(a.communities?.standard, `${path}/communities/standard`, standardOf),
  large: eachAt(a.communities?.large, `${path}/communities/large`, large),
});
