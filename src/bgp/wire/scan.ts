// bgp/wire: attribute sets as octets, without making values of them: the short cut for the sets that are as they should be, which
// is nearly all. Whatever is unusual is left to parseAttributes, which knows every case.
import { Attr, Flag, SAFI_UNICAST, Segment, WellKnown } from "./constants.ts";

/** What the decision process and export look at, of one set. */
export interface SetSummary {
  localPref: number;
  med: number;
  pathLength: number;
  neighborAs: number;
  origin: number;
  flags: number;
  originatorId: number;
  clusterLength: number;
  nextHopHash: number;
}

/** Bits of {@link SetSummary.flags}. */
export const AttrFlag = {
  hasMed: 1,
  noExport: 2,
  noAdvertise: 4,
  gracefulShutdown: 8,
  longLivedStale: 16,
} as const;

/** LOCAL_PREF of a route that carries none (RFC 4271 leaves it to configuration; every vendor uses 100). */
export const LOCAL_PREF_DEFAULT = 100;

export const setSummary = (): SetSummary => ({
  localPref: LOCAL_PREF_DEFAULT,
  med: 0,
  pathLength: 0,
  neighborAs: 0,
  origin: 0,
  flags: 0,
  originatorId: 0,
  clusterLength: 0,
  nextHopHash: 0,
});

const u32 = (b: Uint8Array, at: number): number =>
  ((b[at]! << 24) | (b[at + 1]! << 16) | (b[at + 2]! << 8) | b[at + 3]!) >>> 0;

/** Hash of the first address of a next hop; equal next hops have equal hashes. */
export function nextHopHash(b: Uint8Array, start = 0, end = b.length): number {
  let h = end - start > 4 ? 16 : end - start;
  for (let i = start; i < end && i < start + 16; i++) h = Math.imul(h ^ b[i]!, 0x01000193);
  return h;
}

const optionalTransitive = Flag.optional | Flag.transitive;
const partialOrLong = Flag.partial | Flag.extendedLength;

/** Flags of the attributes that are read here; 0 for all others. */
const flagsOf = new Uint8Array(256);
flagsOf[Attr.origin] = flagsOf[Attr.asPath] = flagsOf[Attr.nextHop] = Flag.transitive;
flagsOf[Attr.localPref] = flagsOf[Attr.atomicAggregate] = Flag.transitive;
flagsOf[Attr.med] =
  flagsOf[Attr.originatorId] =
  flagsOf[Attr.clusterList] =
  flagsOf[Attr.mpReach] =
    Flag.optional;
flagsOf[Attr.aggregator] = flagsOf[Attr.communities] = flagsOf[Attr.extendedCommunities] = optionalTransitive;
flagsOf[Attr.largeCommunities] = flagsOf[Attr.onlyToCustomer] = optionalTransitive;
flagsOf[Attr.ipv6ExtendedCommunities] = optionalTransitive;

/** Bits for what must be there. */
const Seen = { origin: 1, asPath: 2, nextHop: 4, localPref: 8 } as const;

/**
 * Summarises a set in canonical form (see canonical.ts). False when it is not in that form, is not flawless for routes that may
 * be used, or has something that is not looked at here.
 * @param external from an external peer: LOCAL_PREF, ORIGINATOR_ID and CLUSTER_LIST are then not for us to see
 */
export function scanReceived(
  b: Uint8Array,
  start: number,
  end: number,
  external: boolean,
  into: SetSummary,
): boolean {
  const seen = scan(b, start, end, external, into);
  const needed = Seen.origin | Seen.asPath | Seen.nextHop | (external ? 0 : Seen.localPref);
  return seen >= 0 && (seen & needed) === needed;
}

/** Summarises a canonical set of our own making. */
export function summarize(b: Uint8Array, start: number, end: number, into: SetSummary): boolean {
  return scan(b, start, end, false, into) >= 0;
}

/** The bits of what was seen, -1 for a set that is not for here. */
function scan(b: Uint8Array, start: number, end: number, external: boolean, into: SetSummary): number {
  into.localPref = LOCAL_PREF_DEFAULT;
  into.med = into.pathLength = into.neighborAs = into.origin = into.flags = 0;
  into.originatorId = into.clusterLength = into.nextHopHash = 0;
  let seen = 0;
  let before = 0;
  for (let at = start; at < end; ) {
    if (at + 3 > end) return -1;
    const flags = b[at]!;
    const code = b[at + 1]!;
    let length = b[at + 2]!;
    let from = at + 3;
    if (flags & Flag.extendedLength) {
      if (at + 4 > end) return -1;
      length = (length << 8) | b[at + 3]!;
      from++;
      if (length < 256) return -1;
    }
    const to = from + length;
    const expected = flagsOf[code]!;
    // The partial bit of an optional transitive one belongs to the set.
    const plain = flags & ~(expected === optionalTransitive ? partialOrLong : Flag.extendedLength);
    if (to > end || expected === 0 || plain !== expected) return -1;
    if (code <= before || (code === Attr.mpReach && at !== start)) return -1;
    // The MP next hop leads, out of order.
    before = code === Attr.mpReach ? 0 : code;
    switch (code) {
      case Attr.origin:
        if (length !== 1 || b[from]! > 2) return -1;
        into.origin = b[from]!;
        seen |= Seen.origin;
        break;
      case Attr.asPath:
        if (!scanPath(b, from, to, into)) return -1;
        seen |= Seen.asPath;
        break;
      case Attr.nextHop:
        // Beside an MP next hop it is to be left out: that is for the slow way.
        if (length !== 4 || seen & Seen.nextHop || b[from] === 0 || b[from] === 127 || b[from]! >= 224)
          return -1;
        into.nextHopHash = nextHopHash(b, from, to);
        seen |= Seen.nextHop;
        break;
      case Attr.mpReach: {
        const hop = b[from + 3]!;
        if (length < 5 || from + 5 + hop !== to || (hop !== 16 && hop !== 32)) return -1;
        if (b[from] !== 0 || b[from + 2] !== SAFI_UNICAST || b[to - 1] !== 0) return -1;
        if (b[from + 1] !== 1 && b[from + 1] !== 2) return -1;
        // Only what is surely a host's: the rest is for the slow way.
        if (b[from + 4]! < 0x20 || b[from + 4] === 0xff) return -1;
        into.nextHopHash = nextHopHash(b, from + 4, to - 1);
        seen |= Seen.nextHop;
        break;
      }
      case Attr.med:
        if (length !== 4) return -1;
        into.med = u32(b, from);
        into.flags |= AttrFlag.hasMed;
        break;
      case Attr.localPref:
        if (length !== 4 || external) return -1;
        into.localPref = u32(b, from);
        seen |= Seen.localPref;
        break;
      case Attr.atomicAggregate:
        if (length !== 0) return -1;
        break;
      case Attr.aggregator:
        if (length !== 8 || u32(b, from) === 0) return -1;
        break;
      case Attr.communities:
        if (length === 0 || length % 4 !== 0) return -1;
        scanCommunities(b, from, to, into);
        break;
      case Attr.originatorId:
        if (length !== 4 || external) return -1;
        into.originatorId = u32(b, from);
        break;
      case Attr.clusterList:
        if (length === 0 || length % 4 !== 0 || external) return -1;
        into.clusterLength = Math.min(length >> 2, 255);
        break;
      case Attr.extendedCommunities:
        if (length === 0 || length % 8 !== 0) return -1;
        break;
      case Attr.ipv6ExtendedCommunities:
        if (length === 0 || length % 20 !== 0) return -1;
        break;
      case Attr.largeCommunities:
        if (length === 0 || length % 12 !== 0 || hasDuplicate(b, from, to)) return -1;
        break;
      default:
        if (length !== 4) return -1;
    }
    at = to;
  }
  return seen;
}

function scanPath(b: Uint8Array, start: number, end: number, into: SetSummary): boolean {
  let total = 0;
  for (let at = start; at < end; ) {
    const count = b[at + 1]!;
    if (at + 2 > end || b[at] !== Segment.sequence || count === 0) return false;
    if (at === start) into.neighborAs = u32(b, at + 2);
    const next = at + 2 + count * 4;
    if (next > end) return false;
    for (at += 2; at < next; at += 4) if ((b[at]! | b[at + 1]! | b[at + 2]! | b[at + 3]!) === 0) return false;
    total += count;
  }
  into.pathLength = Math.min(total, 65535);
  return true;
}

function scanCommunities(b: Uint8Array, start: number, end: number, into: SetSummary): void {
  for (let at = start; at < end; at += 4) {
    // All well-known ones begin so.
    if (b[at] !== 0xff || b[at + 1] !== 0xff) continue;
    const c = u32(b, at);
    if (c === WellKnown.noAdvertise) into.flags |= AttrFlag.noAdvertise;
    else if (c === WellKnown.noExport || c === WellKnown.noExportSubconfed) into.flags |= AttrFlag.noExport;
    else if (c === WellKnown.gracefulShutdown) into.flags |= AttrFlag.gracefulShutdown;
    else if (c === WellKnown.longLivedStale) into.flags |= AttrFlag.longLivedStale;
  }
}

/** Large communities beyond which duplicates are left to the slow way. */
const COMPARE_MAX = 16;

function hasDuplicate(b: Uint8Array, start: number, end: number): boolean {
  if (end - start > COMPARE_MAX * 12) return true;
  for (let x = start; x < end; x += 12)
    for (let y = x + 12; y < end; y += 12) {
      let i = 0;
      while (i < 12 && b[x + i] === b[y + i]) i++;
      if (i === 12) return true;
    }
  return false;
}

/** Where the value of an attribute of a canonical set lies; `start` -1 when it is not there. */
export interface Found {
  start: number;
  end: number;
}

/** Finds the AS_PATH of a canonical set: it is first, or second after ORIGIN, but for a leading MP_REACH_NLRI. */
export function findPath(b: Uint8Array, start: number, end: number, into: Found): void {
  for (let at = start; at < end; ) {
    const long = (b[at]! & Flag.extendedLength) !== 0;
    const from = at + (long ? 4 : 3);
    const to = from + (long ? (b[at + 2]! << 8) | b[at + 3]! : b[at + 2]!);
    if (b[at + 1] === Attr.asPath) {
      into.start = from;
      into.end = to;
      return;
    }
    at = to;
  }
  into.start = into.end = -1;
}

/** Finds the address of the next hop of a canonical set. */
export function findNextHop(b: Uint8Array, start: number, end: number, into: Found): void {
  for (let at = start; at < end; ) {
    const long = (b[at]! & Flag.extendedLength) !== 0;
    const from = at + (long ? 4 : 3);
    const to = from + (long ? (b[at + 2]! << 8) | b[at + 3]! : b[at + 2]!);
    const mp = b[at + 1] === Attr.mpReach;
    if (mp || b[at + 1] === Attr.nextHop) {
      into.start = mp ? from + 4 : from;
      into.end = mp ? into.start + b[from + 3]! : to;
      return;
    }
    at = to;
  }
  into.start = into.end = -1;
}

const found: Found = { start: 0, end: 0 };

/** Whether the AS_PATH of a canonical set holds an AS number. */
export function pathHas(b: Uint8Array, start: number, end: number, asn: number): boolean {
  findPath(b, start, end, found);
  for (let at = found.start; at < found.end; ) {
    const next = at + 2 + b[at + 1]! * 4;
    for (at += 2; at < next; at += 4) if (u32(b, at) === asn) return true;
  }
  return false;
}

/** What towards an external neighbour is not sent on of a set that was learned. */
const dropped = new Set<number>([
  Attr.med,
  Attr.localPref,
  Attr.originatorId,
  Attr.clusterList,
  Attr.nextHop,
  Attr.mpReach,
]);

/**
 * Writes a learned canonical set as it goes to an external neighbour: `asn` in front of the path, our next hop, without what stays
 * within an AS. `nextHop` is a whole attribute: NEXT_HOP, or a leading MP_REACH_NLRI.
 * Returns the length written, -1 where it takes the slow way (a full first segment, or an attribute that grows past 255 octets).
 */
export function rewriteExternal(
  b: Uint8Array,
  start: number,
  end: number,
  asn: number,
  nextHop: Uint8Array,
  out: Uint8Array,
): number {
  let to = 0;
  const leads = nextHop[1] === Attr.mpReach;
  let placed = leads;
  if (leads) {
    out.set(nextHop, 0);
    to = nextHop.length;
  }
  for (let at = start; at < end; ) {
    const flags = b[at]!;
    const code = b[at + 1]!;
    const long = (flags & Flag.extendedLength) !== 0;
    const from = at + (long ? 4 : 3);
    const next = from + (long ? (b[at + 2]! << 8) | b[at + 3]! : b[at + 2]!);
    if (!placed && code > Attr.nextHop && code !== Attr.mpReach) {
      out.set(nextHop, to);
      to += nextHop.length;
      placed = true;
    }
    if (code === Attr.asPath) {
      const length = next - from;
      const fresh = length === 0;
      if (!fresh && (b[from] !== Segment.sequence || b[from + 1] === 255)) return -1;
      const grownTo = length + (fresh ? 6 : 4);
      if (grownTo > 255) return -1;
      out[to++] = flags;
      out[to++] = code;
      out[to++] = grownTo;
      out[to++] = Segment.sequence;
      out[to++] = fresh ? 1 : b[from + 1]! + 1;
      out[to++] = asn >>> 24;
      out[to++] = (asn >> 16) & 255;
      out[to++] = (asn >> 8) & 255;
      out[to++] = asn & 255;
      for (let i = from + 2; i < next; i++) out[to++] = b[i]!;
    } else if (!dropped.has(code)) for (let i = at; i < next; i++) out[to++] = b[i]!;
    at = next;
  }
  if (!placed) {
    out.set(nextHop, to);
    to += nextHop.length;
  }
  return to;
}
