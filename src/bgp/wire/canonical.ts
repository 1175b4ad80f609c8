// bgp/wire: one byte string for each distinct attribute set: what is interned, compared and, with NLRI added, sent.
import { attributeByCode, attributeTable, type Draft, type PathAttributes } from "./attributes.ts";
import { type Afi, Attr, Flag, SAFI_UNICAST } from "./constants.ts";

/**
 * Canonical form: attributes in the order of their codes with 4-octet AS numbers, extended length only where it is needed.
 * A next hop of 16 or 32 octets comes first, as an MP_REACH_NLRI without its NLRI (RFC 7606 5.1: it leads the message).
 */
export function encodeCanonical(a: PathAttributes): Uint8Array {
  const parts: { code: number; flags: number; value: Uint8Array }[] = [];
  for (const d of attributeTable) {
    const value = d.write(a);
    if (value)
      parts.push({ code: d.code, flags: d.flags | (a.partial?.includes(d.code) ? Flag.partial : 0), value });
  }
  for (const u of a.unknown ?? []) parts.push({ code: u.code, flags: u.flags, value: u.value });
  parts.sort((x, y) => x.code - y.code);
  if (a.nextHop.length > 4) parts.unshift({ code: Attr.mpReach, flags: Flag.optional, value: mpHead(a) });
  let size = 0;
  for (const p of parts) size += p.value.length + (p.value.length > 255 ? 4 : 3);
  const out = new Uint8Array(size);
  let at = 0;
  for (const p of parts) at = writeAttribute(out, at, p.flags, p.code, p.value);
  return out;
}

/** A next hop as the attribute that a canonical set holds it in. */
export function nextHopAttribute(afi: Afi, nextHop: Uint8Array): Uint8Array {
  return encodeCanonicalParts(
    nextHop.length === 4
      ? { code: Attr.nextHop, flags: Flag.transitive, value: nextHop }
      : { code: Attr.mpReach, flags: Flag.optional, value: mpHead({ afi, nextHop }) },
  );
}

function encodeCanonicalParts(part: { code: number; flags: number; value: Uint8Array }): Uint8Array {
  const out = new Uint8Array(part.value.length + 3);
  writeAttribute(out, 0, part.flags, part.code, part.value);
  return out;
}

function mpHead(a: { readonly afi: Afi; readonly nextHop: Uint8Array }): Uint8Array {
  const out = new Uint8Array(5 + a.nextHop.length);
  out[1] = a.afi;
  out[2] = SAFI_UNICAST;
  out[3] = a.nextHop.length;
  out.set(a.nextHop, 4);
  return out;
}

/** Writes one attribute; returns the offset after it. */
export function writeAttribute(
  out: Uint8Array,
  at: number,
  flags: number,
  code: number,
  value: Uint8Array,
): number {
  const long = value.length > 255;
  out[at++] = (flags & ~Flag.extendedLength) | (long ? Flag.extendedLength : 0);
  out[at++] = code;
  if (long) out[at++] = value.length >> 8;
  out[at++] = value.length & 255;
  out.set(value, at);
  return at + value.length;
}

const internal = { ebgp: false, as4: true };

/** Inverse of {@link encodeCanonical}. `afi` is the family for sets without an MP next hop. */
export function decodeCanonical(b: Uint8Array, start: number, end: number, afi: Afi): PathAttributes {
  const draft: Draft = { afi, origin: 0, asPath: [], nextHop: new Uint8Array(0) };
  const unknown = [];
  const partial = [];
  let at = start;
  while (at < end) {
    const flags = b[at]!;
    const code = b[at + 1]!;
    const long = (flags & Flag.extendedLength) !== 0;
    const length = long ? (b[at + 2]! << 8) | b[at + 3]! : b[at + 2]!;
    const from = at + (long ? 4 : 3);
    at = from + length;
    if (code === Attr.mpReach) {
      draft.afi = b[from + 1]! as Afi;
      draft.nextHop = b.slice(from + 4, from + 4 + b[from + 3]!);
      continue;
    }
    const descriptor = attributeByCode.get(code);
    if (descriptor) {
      descriptor.read(b, from, at, draft, internal);
      if (flags & Flag.partial) partial.push(code);
    } else unknown.push({ code, flags: flags & ~Flag.extendedLength, value: b.slice(from, at) });
  }
  if (unknown.length > 0) draft.unknown = unknown;
  if (partial.length > 0) draft.partial = partial;
  return draft as PathAttributes;
}
