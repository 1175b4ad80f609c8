// bgp/wire: an UPDATE as the routes that it announces and withdraws, for those who only look on: collectors and readers of dumps.
import type { Prefix } from "../../net/address.ts";
import { attributeByCode, type Draft, mergeAs4, type PathAttributes } from "./attributes.ts";
import { type Afi, Attr, addressBytes, Flag, SAFI_UNICAST } from "./constants.ts";
import { NlriCursor } from "./nlri.ts";

/** What must be known of the session that an UPDATE is from. */
export interface RouteContext {
  /** AS numbers in AS_PATH have 4 octets. */
  readonly as4: boolean;
  /** Each prefix has a path identifier in front (RFC 7911), by family. */
  readonly addPath: Readonly<Record<Afi, boolean>>;
}

export interface SeenPrefix {
  readonly prefix: Prefix;
  readonly pathId: number;
}

export interface SeenUpdate {
  readonly withdrawn: readonly SeenPrefix[];
  /** By family, as the next hop depends on it; a family is there only with routes. */
  readonly announced: readonly {
    readonly attributes: PathAttributes;
    readonly prefixes: readonly SeenPrefix[];
  }[];
  readonly endOfRib: Afi | undefined;
  /** AFI/SAFI of routes that are not unicast, which are not read. */
  readonly skipped: readonly string[];
}

const u16 = (b: Uint8Array, at: number): number => (b[at]! << 8) | b[at + 1]!;

/** The prefixes of a field; undefined where it is malformed. */
export function readPrefixes(
  b: Uint8Array,
  start: number,
  end: number,
  afi: Afi,
  addPath: boolean,
): SeenPrefix[] | undefined {
  const out: SeenPrefix[] = [];
  const cursor = new NlriCursor();
  let at = start;
  while (at < end) {
    let pathId = 0;
    if (addPath) {
      if (at + 4 >= end) return undefined;
      pathId = ((u16(b, at) << 16) | u16(b, at + 2)) >>> 0;
      at += 4;
    }
    const bits = b[at]!;
    if (bits > addressBytes(afi) * 8 || at + 1 + ((bits + 7) >> 3) > end) return undefined;
    at = cursor.read(b, at, afi);
    out.push({ prefix: prefixOf(cursor.words, bits, afi), pathId });
  }
  return out;
}

function prefixOf(words: Uint32Array, length: number, afi: Afi): Prefix {
  const word = (i: number): bigint => BigInt(words[i]!);
  if (afi === 1) return { family: 4, hi: 0n, lo: word(0), length };
  return { family: 6, hi: (word(0) << 32n) | word(1), lo: (word(2) << 32n) | word(3), length };
}

interface MpRoutes {
  readonly afi: number;
  readonly safi: number;
  readonly nextHop: Uint8Array;
  readonly nlri: readonly [start: number, end: number];
}

export interface SeenAttributes {
  readonly draft: Draft;
  readonly reach: MpRoutes | undefined;
  readonly unreach: MpRoutes | undefined;
  /** Types of the attributes that are there. */
  readonly codes: readonly number[];
}

/**
 * All attributes of a field, whatever kind of neighbour it is from; one whose value is malformed is left out. Text where the field
 * itself cannot be walked.
 * @param abbreviated MP_REACH_NLRI holds nothing but its next hop, as in a table dump (RFC 6396 4.3.4)
 */
export function readAttributes(
  b: Uint8Array,
  start: number,
  end: number,
  afi: Afi,
  as4: boolean,
  abbreviated = false,
): SeenAttributes | string {
  const draft: Draft = { afi };
  const unknown: { code: number; flags: number; value: Uint8Array }[] = [];
  const codes: number[] = [];
  const partial: number[] = [];
  let reach: MpRoutes | undefined;
  let unreach: MpRoutes | undefined;
  let at = start;
  while (at < end) {
    const flags = b[at]!;
    const long = (flags & Flag.extendedLength) !== 0;
    const from = at + (long ? 4 : 3);
    if (from > end) return "truncated attribute header";
    const code = b[at + 1]!;
    const to = from + (long ? u16(b, at + 2) : b[at + 2]!);
    if (to > end) return `attribute ${code} is longer than the attributes`;
    at = to;
    codes.push(code);
    if (code === Attr.mpReach && abbreviated && from < to && b[from] === to - from - 1) {
      draft.nextHop = b.slice(from + 1, to);
    } else if (code === Attr.mpReach) {
      const part = readReach(b, from, to);
      if (!part) return "malformed MP_REACH_NLRI";
      reach = part;
      if (abbreviated) draft.nextHop = part.nextHop;
    } else if (code === Attr.mpUnreach) {
      if (to - from < 3) return "malformed MP_UNREACH_NLRI";
      unreach = { afi: u16(b, from), safi: b[from + 2]!, nextHop: new Uint8Array(0), nlri: [from + 3, to] };
    } else {
      const d = attributeByCode.get(code);
      if (d && d.read(b, from, to, draft, { ebgp: false, as4 }) === undefined && flags & Flag.partial)
        partial.push(code);
      if (d) continue;
      unknown.push({ code, flags: flags & ~Flag.extendedLength, value: b.slice(from, to) });
    }
  }
  mergeAs4(draft);
  if (partial.length > 0) draft.partial = partial.sort((x, y) => x - y);
  if (unknown.length > 0) draft.unknown = unknown;
  return { draft, reach, unreach, codes };
}

function readReach(b: Uint8Array, from: number, to: number): MpRoutes | undefined {
  if (to - from < 5) return undefined;
  const length = b[from + 3]!;
  const nlri = from + 4 + length + 1;
  if (nlri > to) return undefined;
  return {
    afi: u16(b, from),
    safi: b[from + 2]!,
    nextHop: b.slice(from + 4, from + 4 + length),
    nlri: [nlri, to],
  };
}

/** The attributes as a value; what is mandatory and missing is what an empty one would be. */
export const attributesOf = (draft: Draft, afi: Afi, nextHop: Uint8Array): PathAttributes => {
  const { as4Path: _path, as4Aggregator: _aggregator, ...rest } = draft;
  return { ...rest, afi, origin: draft.origin ?? 2, asPath: draft.asPath ?? [], nextHop } as PathAttributes;
};

/** Reads the body of an UPDATE (after the header) in `b[start, end)`. Text says why it cannot be read. */
export function readRoutes(
  b: Uint8Array,
  start: number,
  end: number,
  context: RouteContext,
): SeenUpdate | string {
  if (start + 4 > end) return "UPDATE is too short";
  const withdrawnEnd = start + 2 + u16(b, start);
  if (withdrawnEnd + 2 > end) return "withdrawn routes are longer than the message";
  const attributesStart = withdrawnEnd + 2;
  const attributesEnd = attributesStart + u16(b, withdrawnEnd);
  if (attributesEnd > end) return "attributes are longer than the message";
  const withdrawn = readPrefixes(b, start + 2, withdrawnEnd, 1, context.addPath[1]);
  const nlri = readPrefixes(b, attributesEnd, end, 1, context.addPath[1]);
  if (!withdrawn || !nlri) return "malformed prefixes";
  const seen = readAttributes(b, attributesStart, attributesEnd, 1, context.as4);
  if (typeof seen === "string") return seen;
  const { draft, reach, unreach, codes } = seen;
  const announced: { attributes: PathAttributes; prefixes: readonly SeenPrefix[] }[] = [];
  const skipped: string[] = [];
  let endOfRib: Afi | undefined =
    withdrawn.length === 0 && nlri.length === 0 && codes.length === 0 ? 1 : undefined;
  if (nlri.length > 0)
    announced.push({
      attributes: attributesOf(draft, 1, draft.nextHop ?? new Uint8Array(4)),
      prefixes: nlri,
    });
  for (const part of [reach, unreach]) {
    if (!part) continue;
    const { afi } = part;
    if (part.safi !== SAFI_UNICAST || (afi !== 1 && afi !== 2)) {
      skipped.push(`${afi}/${part.safi}`);
      continue;
    }
    const prefixes = readPrefixes(b, part.nlri[0], part.nlri[1], afi, context.addPath[afi]);
    if (!prefixes) return "malformed prefixes";
    if (part === unreach) {
      withdrawn.push(...prefixes);
      if (prefixes.length === 0 && codes.length === 1) endOfRib = afi;
    } else if (prefixes.length > 0)
      announced.push({ attributes: attributesOf(draft, afi, part.nextHop), prefixes });
  }
  return { withdrawn, announced, endOfRib, skipped };
}
