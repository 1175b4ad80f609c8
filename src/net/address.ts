// net: addresses and prefixes as values. Text is parsed and printed here and nowhere else (on ip-address).
import { Address4, Address6 } from "ip-address";

/** IP version. */
export type Family = 4 | 6;

/**
 * One address. IPv4 is `hi = 0n` and `lo` = the 32-bit value; IPv6 is two 64-bit halves in network order (hi first).
 */
export interface Address {
  readonly family: Family;
  readonly hi: bigint;
  readonly lo: bigint;
}

/** An address block with all host bits zero; `length` is 0..32 or 0..128. */
export interface Prefix extends Address {
  readonly length: number;
}

/** Thrown for text that is not an address or prefix; `reason` is the part worth showing to a user. */
export class AddressError extends Error {
  readonly text: string;
  readonly reason: string;
  constructor(text: string, reason: string) {
    super(`${JSON.stringify(text)} ${reason}`);
    this.name = "AddressError";
    this.text = text;
    this.reason = reason;
  }
}

const U64 = (1n << 64n) - 1n;

/** Number of address bits of a family: 32 or 128. */
export const bitsOf = (family: Family): number => (family === 4 ? 32 : 128);

/** The address as one integer of {@link bitsOf} bits. */
export const toInteger = (a: Address): bigint => (a.hi << 64n) | a.lo;

/** Inverse of {@link toInteger}. */
export const fromInteger = (family: Family, value: bigint): Address => ({
  family,
  hi: value >> 64n,
  lo: value & U64,
});

/**
 * Parses an address. Refuses what KEP-4858 refuses: leading zeros, IPv4-mapped IPv6, zones, and anything with a slash.
 * @throws AddressError
 */
export function parseAddress(text: string): Address {
  if (text.includes("/")) throw new AddressError(text, "is a prefix, not an address");
  if (text.includes(":")) {
    if (text.includes("%")) throw new AddressError(text, "has a zone; give the interface separately");
    if (!Address6.isValid(text)) throw new AddressError(text, "is not an IPv6 address");
    const value = new Address6(text).bigInt();
    if (value >> 32n === 0xffffn)
      throw new AddressError(text, "is an IPv4-mapped IPv6 address; write the IPv4 address");
    return fromInteger(6, value);
  }
  if (!/^\d{1,3}(\.\d{1,3}){3}$/.test(text) || !Address4.isValid(text))
    throw new AddressError(text, "is not an IPv4 or IPv6 address");
  if (/(^|\.)0\d/.test(text)) throw new AddressError(text, "has a leading zero in an octet");
  return fromInteger(4, new Address4(text).bigInt());
}

/** Canonical text (RFC 5952 for IPv6). */
export function formatAddress(a: Address): string {
  if (a.family === 4) {
    const v = Number(a.lo);
    return `${(v >>> 24) & 255}.${(v >>> 16) & 255}.${(v >>> 8) & 255}.${v & 255}`;
  }
  return Address6.fromBigInt(toInteger(a)).correctForm();
}

/**
 * Parses `address/length`. Host bits must be zero: a wrong network is more often a typing error than a shorthand.
 * @throws AddressError
 */
export function parsePrefix(text: string): Prefix {
  const slash = text.indexOf("/");
  if (slash < 0) throw new AddressError(text, "has no prefix length; write for example 10.0.0.0/24");
  const address = parseAddress(text.slice(0, slash));
  const lengthText = text.slice(slash + 1);
  const length = Number(lengthText);
  if (!/^(0|[1-9]\d{0,2})$/.test(lengthText) || length > bitsOf(address.family))
    throw new AddressError(text, `has a prefix length outside 0..${bitsOf(address.family)}`);
  const prefix = maskTo(address, length);
  if (toInteger(prefix) !== toInteger(address))
    throw new AddressError(text, `has host bits set; did you mean ${formatPrefix(prefix)}?`);
  return prefix;
}

/** Canonical `address/length`. */
export const formatPrefix = (p: Prefix): string => `${formatAddress(p)}/${p.length}`;

/** The block of `length` bits that holds the address. */
export function maskTo(a: Address, length: number): Prefix {
  const host = BigInt(bitsOf(a.family) - length);
  const value = (toInteger(a) >> host) << host;
  return { ...fromInteger(a.family, value), length };
}

/** The single-address prefix (/32 or /128). */
export const hostPrefix = (a: Address): Prefix => ({
  family: a.family,
  hi: a.hi,
  lo: a.lo,
  length: bitsOf(a.family),
});

/** First address after the block, as an integer (may be 2^bits). */
export const endOf = (p: Prefix): bigint => toInteger(p) + (1n << BigInt(bitsOf(p.family) - p.length));

/** Whether `inner` lies wholly inside `outer`. */
export function contains(outer: Prefix, inner: Address | Prefix): boolean {
  if (outer.family !== inner.family) return false;
  if ("length" in inner && inner.length < outer.length) return false;
  return toInteger(maskTo(inner, outer.length)) === toInteger(outer);
}

/** Whether two blocks share an address. */
export const overlaps = (a: Prefix, b: Prefix): boolean => contains(a, b) || contains(b, a);

/** Total order: family, address, shorter first. For sorting. */
export function comparePrefix(a: Prefix, b: Prefix): number {
  if (a.family !== b.family) return a.family - b.family;
  const x = toInteger(a);
  const y = toInteger(b);
  return x < y ? -1 : x > y ? 1 : a.length - b.length;
}

/** Network byte order: 4 bytes for IPv4, 16 for IPv6. */
export function toBytes(a: Address): Uint8Array {
  const out = new Uint8Array(a.family === 4 ? 4 : 16);
  let value = toInteger(a);
  for (let i = out.length - 1; i >= 0; i--) {
    out[i] = Number(value & 255n);
    value >>= 8n;
  }
  return out;
}

/** 16 bytes for either family; IPv4 as ::ffff:a.b.c.d. The form that the kernel maps use. */
export function toMappedBytes(a: Address): Uint8Array {
  if (a.family === 6) return toBytes(a);
  const out = new Uint8Array(16);
  out[10] = 0xff;
  out[11] = 0xff;
  out.set(toBytes(a), 12);
  return out;
}

/** Reads 4 or 16 bytes in network order; a v4-mapped 16-byte address becomes IPv4. */
export function fromBytes(bytes: Uint8Array): Address {
  let value = 0n;
  for (const b of bytes) value = (value << 8n) | BigInt(b);
  if (bytes.length === 4) return fromInteger(4, value);
  if (bytes.length !== 16) throw new AddressError(`${bytes.length} bytes`, "is neither 4 nor 16 bytes");
  return value >> 32n === 0xffffn ? fromInteger(4, value & 0xffffffffn) : fromInteger(6, value);
}

/**
 * The object name of a claim: DNS-1123, one name per prefix, so that create is the lock (as KEP-1880 does).
 * IPv4 `v4-10-1-0-0-26`; IPv6 `v6-` + 32 hex digits + `-122`.
 */
export function claimName(p: Prefix): string {
  if (p.family === 4) return `v4-${formatAddress(p).replaceAll(".", "-")}-${p.length}`;
  return `v6-${toInteger(p).toString(16).padStart(32, "0")}-${p.length}`;
}
