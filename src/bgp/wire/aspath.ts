// bgp/wire: AS_PATH: reading with the checks of RFC 4271, 5065, 6793, 7607 and 9774, and what policy and decision ask of a path.
import { AS_TRANS, Segment } from "./constants.ts";

export interface PathSegment {
  /** 1 set, 2 sequence; confederation segments never get past the reader. */
  readonly type: number;
  readonly asns: readonly number[];
}

export type AsPath = readonly PathSegment[];

/** Most AS numbers in one segment: its count is one octet. */
const SEGMENT_ASNS_MAX = 255;

export interface PathReading {
  readonly path: AsPath;
  /** Undefined where the path is acceptable. */
  readonly error?: string;
}

/**
 * Reads AS_PATH (`asBytes` 4, or 2 from a speaker without 4-octet AS numbers). Malformed are an unknown segment
 * type, an empty segment, an overrun, AS 0, confederation segments (we are in none), and AS_SET (RFC 9774).
 */
export function readAsPath(b: Uint8Array, start: number, end: number, asBytes: 2 | 4): PathReading {
  const reading = readSegments(b, start, end, asBytes);
  const set = reading.path.find((s) => s.type !== Segment.sequence);
  if (!set || reading.error !== undefined) return reading;
  if (set.type === Segment.set) return { path: reading.path, error: "AS_SET (RFC 9774)" };
  return { path: reading.path, error: "confederation segment from outside a confederation" };
}

/** Reads AS4_PATH: confederation segments have no place in it and are left out (RFC 6793 6); sets are judged once it is known to count. */
export function readAs4Path(b: Uint8Array, start: number, end: number): PathReading {
  const { path, error } = readSegments(b, start, end, 4);
  if (error !== undefined) return { path, error };
  return { path: path.filter((s) => s.type === Segment.sequence || s.type === Segment.set) };
}

function readSegments(b: Uint8Array, start: number, end: number, asBytes: 2 | 4): PathReading {
  const path: PathSegment[] = [];
  let at = start;
  while (at < end) {
    if (at + 2 > end) return { path, error: "truncated segment" };
    const type = b[at]!;
    const count = b[at + 1]!;
    at += 2;
    if (type < Segment.set || type > Segment.confedSet) return { path, error: `segment type ${type}` };
    if (count === 0) return { path, error: "empty segment" };
    if (at + count * asBytes > end) return { path, error: "segment is longer than the attribute" };
    const asns: number[] = [];
    for (let i = 0; i < count; i++, at += asBytes) {
      const asn = asBytes === 2 ? (b[at]! << 8) | b[at + 1]! : word(b, at);
      if (asn === 0) return { path, error: "AS 0 (RFC 7607)" };
      asns.push(asn);
    }
    path.push({ type, asns });
  }
  return { path };
}

const word = (b: Uint8Array, at: number): number =>
  ((b[at]! << 24) | (b[at + 1]! << 16) | (b[at + 2]! << 8) | b[at + 3]!) >>> 0;

export function writeAsPath(path: AsPath, asBytes: 2 | 4): Uint8Array {
  let size = 0;
  for (const s of path) size += 2 + s.asns.length * asBytes;
  const out = new Uint8Array(size);
  let at = 0;
  for (const s of path) {
    out[at++] = s.type;
    out[at++] = s.asns.length;
    for (const asn of s.asns) {
      const value = asBytes === 2 && asn > 0xffff ? AS_TRANS : asn;
      if (asBytes === 4) {
        out[at++] = value >>> 24;
        out[at++] = (value >> 16) & 255;
      }
      out[at++] = (value >> 8) & 255;
      out[at++] = value & 255;
    }
  }
  return out;
}

/** Length for the decision process: a set counts one (RFC 4271 9.1.2.2). */
export function pathLength(path: AsPath): number {
  let n = 0;
  for (const s of path) n += s.type === Segment.set ? 1 : s.asns.length;
  return n;
}

/** Nearest AS first, sets included. */
export const flatten = (path: AsPath): number[] => path.flatMap((s) => s.asns);

export const pathContains = (path: AsPath, asn: number): boolean => path.some((s) => s.asns.includes(asn));

/** The neighbouring AS: first of the path when it begins with a sequence, else undefined. */
export const firstAs = (path: AsPath): number | undefined =>
  path[0]?.type === Segment.sequence ? path[0].asns[0] : undefined;

/** Puts `asn` in front `times` times; a full segment is followed by a new one. */
export function prepend(path: AsPath, asn: number, times: number): AsPath {
  let out = path;
  for (let left = times; left > 0; ) {
    const head = out[0];
    const room = head?.type === Segment.sequence ? SEGMENT_ASNS_MAX - head.asns.length : 0;
    const take = Math.min(left, room === 0 ? SEGMENT_ASNS_MAX : room);
    const asns = new Array<number>(take).fill(asn);
    out =
      room === 0 || !head
        ? [{ type: Segment.sequence, asns }, ...out]
        : [{ type: head.type, asns: [...asns, ...head.asns] }, ...out.slice(1)];
    left -= take;
  }
  return out;
}

/**
 * Joins AS_PATH of a 2-octet speaker with its AS4_PATH (RFC 6793 4.2.3): the newer one replaces the tail of the older, unless it is
 * longer than it.
 */
export function mergeAs4Path(path: AsPath, as4: AsPath): AsPath {
  let lead = pathLength(path) - pathLength(as4);
  if (lead < 0 || as4.length === 0) return path;
  const out: PathSegment[] = [];
  for (const s of path) {
    if (lead <= 0) break;
    if (s.type === Segment.set) {
      out.push(s);
      lead -= 1;
      continue;
    }
    const asns = s.asns.slice(0, lead);
    lead -= asns.length;
    out.push({ type: s.type, asns });
  }
  const last = out.at(-1);
  const next = as4[0]!;
  if (
    last?.type === Segment.sequence &&
    next.type === Segment.sequence &&
    last.asns.length + next.asns.length <= SEGMENT_ASNS_MAX
  )
    return [...out.slice(0, -1), { type: last.type, asns: [...last.asns, ...next.asns] }, ...as4.slice(1)];
  return [...out, ...as4];
}

/** "65001 65002 {65003 65004}". */
export const formatAsPath = (path: AsPath): string =>
  path.map((s) => (s.type === Segment.set ? `{${s.asns.join(" ")}}` : s.asns.join(" "))).join(" ");
