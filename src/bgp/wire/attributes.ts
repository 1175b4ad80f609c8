// bgp/wire: path attributes as one table: flags, how a malformed one is treated (RFC 7606), how each is read and written.
import { type AsPath, mergeAs4Path, pathLength, readAs4Path, readAsPath, writeAsPath } from "./aspath.ts";
import { type Afi, AS_TRANS, Attr, Flag, Segment } from "./constants.ts";

export interface Aggregator {
  readonly asn: number;
  /** Host byte order. */
  readonly address: number;
}

export type LargeCommunity = readonly [global: number, local1: number, local2: number];

export interface UnknownAttribute {
  readonly code: number;
  readonly flags: number;
  readonly value: Uint8Array;
}

/** One set of path attributes as a value. AS numbers are always 4 octets here. */
export interface PathAttributes {
  /** The family of the routes that carry the set. */
  readonly afi: Afi;
  readonly origin: 0 | 1 | 2;
  readonly asPath: AsPath;
  /** 4 octets, 16, or 32 (global and link-local, RFC 2545; link-local twice where there is no global); empty for a route of our own. */
  readonly nextHop: Uint8Array;
  readonly med?: number;
  readonly localPref?: number;
  readonly atomicAggregate?: true;
  readonly aggregator?: Aggregator;
  readonly communities?: readonly number[];
  readonly originatorId?: number;
  readonly clusterList?: readonly number[];
  /** Opaque: 8 octets each. */
  readonly extendedCommunities?: Uint8Array;
  /** Opaque: 20 octets each (RFC 5701). */
  readonly ipv6ExtendedCommunities?: Uint8Array;
  readonly large?: readonly LargeCommunity[];
  /** Only to customer (RFC 9234). */
  readonly otc?: number;
  /** Optional transitive ones that we do not know; passed on with the partial bit. */
  readonly unknown?: readonly UnknownAttribute[];
  /** Codes of those that we do know but somebody before us did not: the partial bit is never taken away again (RFC 4271 5). */
  readonly partial?: readonly number[];
}

/** Attributes while they are read: also what only 2-octet speakers send. */
export type Draft = { -readonly [K in keyof PathAttributes]?: PathAttributes[K] } & {
  as4Path?: AsPath;
  as4Aggregator?: Aggregator;
};

/** What reading depends on; one byte string means the same to all sessions of the same context. */
export interface AttributeContext {
  readonly ebgp: boolean;
  /** 4-octet AS numbers are negotiated. */
  readonly as4: boolean;
}

/** RFC 7606: from weak to strong. What has to end the session is found before attributes are read one by one. */
export type Verb = "discard" | "withdraw";

export interface AttributeDescriptor {
  readonly code: number;
  readonly name: string;
  /** Expected optional and transitive bits; a conflict is treated as withdraw (RFC 7606 3 c). */
  readonly flags: number;
  /** What becomes of a malformed one. */
  readonly malformed: "discard" | "withdraw";
  /** Discarded when it comes from an external peer (RFC 7606 7.5, 7.9, 7.10). */
  readonly internalOnly?: true;
  /** Adds the value to the draft; the text says what is malformed. */
  readonly read: (
    b: Uint8Array,
    start: number,
    end: number,
    into: Draft,
    context: AttributeContext,
  ) => string | undefined;
  /** The value in its 4-octet form; undefined where the set has none. */
  readonly write: (a: PathAttributes) => Uint8Array | undefined;
}

const optional = Flag.optional;
const transitive = Flag.transitive;
const optionalTransitive = Flag.optional | Flag.transitive;

const u32 = (b: Uint8Array, at: number): number =>
  ((b[at]! << 24) | (b[at + 1]! << 16) | (b[at + 2]! << 8) | b[at + 3]!) >>> 0;

const words = (values: readonly number[]): Uint8Array => {
  const out = new Uint8Array(values.length * 4);
  const view = new DataView(out.buffer);
  values.forEach((v, i) => {
    view.setUint32(i * 4, v);
  });
  return out;
};

const readWords = (b: Uint8Array, start: number, end: number): number[] => {
  const out = [];
  for (let at = start; at < end; at += 4) out.push(u32(b, at));
  return out;
};

/** A value of exactly four octets. */
const number32 = (
  code: number,
  name: string,
  flags: number,
  field: "med" | "localPref" | "originatorId" | "otc",
  extra: { internalOnly?: true } = {},
): AttributeDescriptor => ({
  code,
  name,
  flags,
  malformed: "withdraw",
  ...extra,
  read: (b, start, end, into) => {
    if (end - start !== 4) return `length ${end - start}`;
    into[field] = u32(b, start);
    return undefined;
  },
  write: (a) => {
    const value = a[field];
    return value === undefined ? undefined : words([value]);
  },
});

const readAggregator = (b: Uint8Array, start: number, asBytes: 2 | 4): Aggregator => ({
  asn: asBytes === 4 ? u32(b, start) : (b[start]! << 8) | b[start + 1]!,
  address: u32(b, start + asBytes),
});

/** A non-empty list of items of `size` octets. */
const listLength = (start: number, end: number, size: number): string | undefined =>
  end === start || (end - start) % size !== 0 ? `length ${end - start}` : undefined;

/** Communities that are passed on as they came (RFC 7606 7.14, 7.15). */
function opaqueList(
  code: number,
  name: string,
  field: "extendedCommunities" | "ipv6ExtendedCommunities",
  size: number,
): AttributeDescriptor {
  return {
    code,
    name,
    flags: optionalTransitive,
    malformed: "withdraw",
    read: (b, start, end, into) => {
      into[field] = b.slice(start, end);
      return listLength(start, end, size);
    },
    write: (a) => (a[field]?.length ? a[field] : undefined),
  };
}

/** In the order of their codes, which is the order on the wire. */
export const attributeTable: readonly AttributeDescriptor[] = [
  {
    code: Attr.origin,
    name: "ORIGIN",
    flags: transitive,
    malformed: "withdraw",
    read: (b, start, end, into) => {
      if (end - start !== 1) return `length ${end - start}`;
      const value = b[start]!;
      if (value > 2) return `value ${value}`;
      into.origin = value as 0 | 1 | 2;
      return undefined;
    },
    write: (a) => Uint8Array.of(a.origin),
  },
  {
    code: Attr.asPath,
    name: "AS_PATH",
    flags: transitive,
    malformed: "withdraw",
    read: (b, start, end, into, context) => {
      const { path, error } = readAsPath(b, start, end, context.as4 ? 4 : 2);
      into.asPath = path;
      return error;
    },
    write: (a) => writeAsPath(a.asPath, 4),
  },
  {
    code: Attr.nextHop,
    name: "NEXT_HOP",
    flags: transitive,
    malformed: "withdraw",
    read: (b, start, end, into) => {
      if (end - start !== 4) return `length ${end - start}`;
      into.nextHop = b.slice(start, end);
      return checkNextHop(into.nextHop);
    },
    write: (a) => (a.nextHop.length === 4 ? a.nextHop : undefined),
  },
  number32(Attr.med, "MULTI_EXIT_DISC", optional, "med"),
  number32(Attr.localPref, "LOCAL_PREF", transitive, "localPref", { internalOnly: true }),
  {
    code: Attr.atomicAggregate,
    name: "ATOMIC_AGGREGATE",
    flags: transitive,
    malformed: "discard",
    read: (_b, start, end, into) => {
      if (end !== start) return `length ${end - start}`;
      into.atomicAggregate = true;
      return undefined;
    },
    write: (a) => (a.atomicAggregate ? new Uint8Array(0) : undefined),
  },
  {
    code: Attr.aggregator,
    name: "AGGREGATOR",
    flags: optionalTransitive,
    malformed: "discard",
    read: (b, start, end, into, context) => {
      const asBytes = context.as4 ? 4 : 2;
      if (end - start !== asBytes + 4) return `length ${end - start}`;
      const value = readAggregator(b, start, asBytes);
      if (value.asn === 0) return "AS 0 (RFC 7607)";
      into.aggregator = value;
      return undefined;
    },
    write: (a) => a.aggregator && words([a.aggregator.asn, a.aggregator.address]),
  },
  {
    code: Attr.communities,
    name: "COMMUNITIES",
    flags: optionalTransitive,
    malformed: "withdraw",
    read: (b, start, end, into) => {
      into.communities = readWords(b, start, end - ((end - start) % 4));
      return listLength(start, end, 4);
    },
    write: (a) => (a.communities?.length ? words(a.communities) : undefined),
  },
  number32(Attr.originatorId, "ORIGINATOR_ID", optional, "originatorId", { internalOnly: true }),
  {
    code: Attr.clusterList,
    name: "CLUSTER_LIST",
    flags: optional,
    malformed: "withdraw",
    internalOnly: true,
    read: (b, start, end, into) => {
      into.clusterList = readWords(b, start, end - ((end - start) % 4));
      return listLength(start, end, 4);
    },
    write: (a) => (a.clusterList?.length ? words(a.clusterList) : undefined),
  },
  opaqueList(Attr.extendedCommunities, "EXTENDED_COMMUNITIES", "extendedCommunities", 8),
  {
    code: Attr.as4Path,
    name: "AS4_PATH",
    flags: optionalTransitive,
    malformed: "discard",
    read: (b, start, end, into, context) => {
      if (context.as4) return "from a speaker of 4-octet AS numbers";
      const { path, error } = readAs4Path(b, start, end);
      if (error === undefined) into.as4Path = path;
      return error;
    },
    write: () => undefined,
  },
  {
    code: Attr.as4Aggregator,
    name: "AS4_AGGREGATOR",
    flags: optionalTransitive,
    malformed: "discard",
    read: (b, start, end, into, context) => {
      if (context.as4) return "from a speaker of 4-octet AS numbers";
      if (end - start !== 8) return `length ${end - start}`;
      const value = readAggregator(b, start, 4);
      if (value.asn === 0) return "AS 0 (RFC 7607)";
      into.as4Aggregator = value;
      return undefined;
    },
    write: () => undefined,
  },
  opaqueList(Attr.ipv6ExtendedCommunities, "IPV6_EXTENDED_COMMUNITIES", "ipv6ExtendedCommunities", 20),
  {
    code: Attr.largeCommunities,
    name: "LARGE_COMMUNITY",
    flags: optionalTransitive,
    malformed: "withdraw",
    read: (b, start, end, into) => {
      const wrong = listLength(start, end, 12);
      if (wrong) return wrong;
      const seen = new Set<string>();
      const out: LargeCommunity[] = [];
      for (let at = start; at < end; at += 12) {
        const value = [u32(b, at), u32(b, at + 4), u32(b, at + 8)] as const;
        // RFC 8092 5: duplicates are removed.
        if (seen.size < seen.add(value.join()).size) out.push(value);
      }
      into.large = out;
      return undefined;
    },
    write: (a) => (a.large?.length ? words(a.large.flat()) : undefined),
  },
  number32(Attr.onlyToCustomer, "ONLY_TO_CUSTOMER", optionalTransitive, "otc"),
];

export const attributeByCode: ReadonlyMap<number, AttributeDescriptor> = new Map(
  attributeTable.map((d) => [d.code, d]),
);

/** A next hop that exists on its link only: fe80::/10 in front. */
export const isLinkLocalNextHop = (b: Uint8Array): boolean =>
  b.length >= 16 && b[0] === 0xfe && (b[1]! & 0xc0) === 0x80;

/** The next hop with an address in front: some speakers send an unspecified one before the link-local one that they mean. */
export function usableNextHop(b: Uint8Array): Uint8Array {
  if (b.length !== 32 || !isLinkLocalNextHop(b.subarray(16))) return b;
  for (let i = 0; i < 16; i++) if (b[i] !== 0) return b;
  const out = b.slice();
  out.set(b.subarray(16), 0);
  return out;
}

/** Why an address cannot be a next hop: neither a host's address nor reachable from elsewhere. Undefined where it can. */
export function checkNextHop(b: Uint8Array): string | undefined {
  if (b.length === 4) {
    if (b[0] === 0 || b[0] === 127 || b[0]! >= 224) return "is not a host's address";
    return undefined;
  }
  if (b[0] === 0xff) return "is multicast";
  for (let i = 0; i < 15; i++) if (b[i] !== 0) return undefined;
  return b[15]! <= 1 ? "is not a host's address" : undefined;
}

/** Finishes a draft from a 2-octet speaker (RFC 6793 4.2.3). The text says why its routes cannot be used after all. */
export function mergeAs4(draft: Draft): string | undefined {
  const { as4Path, as4Aggregator, aggregator } = draft;
  delete draft.as4Path;
  delete draft.as4Aggregator;
  // Both are there and disagree: a 2-octet speaker has aggregated since, so what is older than that is ignored.
  if (aggregator && as4Aggregator && aggregator.asn !== AS_TRANS) return undefined;
  if (aggregator && as4Aggregator) draft.aggregator = as4Aggregator;
  if (!as4Path || !draft.asPath || pathLength(as4Path) > pathLength(draft.asPath)) return undefined;
  if (as4Path.some((s) => s.type === Segment.set)) return "AS4_PATH: AS_SET (RFC 9774)";
  draft.asPath = mergeAs4Path(draft.asPath, as4Path);
  return undefined;
}
