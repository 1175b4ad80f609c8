// bgp/wire: NLRI: lengths are checked over a whole field before anything of it is used (RFC 7606 5.3).
import { type Afi, addressBytes } from "./constants.ts";

/** How many prefixes the field holds, or -1 where one is too long or runs over the end. */
export function countNlri(b: Uint8Array, start: number, end: number, afi: Afi): number {
  const bitsMax = addressBytes(afi) * 8;
  let at = start;
  let n = 0;
  while (at < end) {
    const bits = b[at]!;
    if (bits > bitsMax) return -1;
    at += 1 + ((bits + 7) >> 3);
    n++;
  }
  return at === end ? n : -1;
}

/** Octets of a path identifier (RFC 7911 3). */
export const PATH_ID_BYTES = 4;

/** The same where every prefix has a path identifier in front of it (RFC 7911). */
export function countNlriWithIds(b: Uint8Array, start: number, end: number, afi: Afi): number {
  const bitsMax = addressBytes(afi) * 8;
  let at = start;
  let n = 0;
  while (at + PATH_ID_BYTES < end) {
    const bits = b[at + PATH_ID_BYTES]!;
    if (bits > bitsMax) return -1;
    at += PATH_ID_BYTES + 1 + ((bits + 7) >> 3);
    n++;
  }
  return at === end ? n : -1;
}

/** The path identifier in front of a prefix. */
export const readPathId = (b: Uint8Array, at: number): number =>
  ((b[at]! << 24) | (b[at + 1]! << 16) | (b[at + 2]! << 8) | b[at + 3]!) >>> 0;

/** Octets of a prefix on the wire. */
export const nlriBytes = (length: number): number => 1 + ((length + 7) >> 3);

/** One prefix, read in place: address as 32-bit words with host bits cleared. Reused by its owner for each prefix. */
export class NlriCursor {
  length = 0;
  readonly words = new Uint32Array(4);

  /** Reads at `at`, which {@link countNlri} has checked; returns the offset after it. */
  read(b: Uint8Array, at: number, afi: Afi): number {
    const bits = b[at]!;
    const bytes = (bits + 7) >> 3;
    this.length = bits;
    if (afi === 1) {
      let w = 0;
      if (bytes > 0) w = b[at + 1]! << 24;
      if (bytes > 1) w |= b[at + 2]! << 16;
      if (bytes > 2) w |= b[at + 3]! << 8;
      if (bytes > 3) w |= b[at + 4]!;
      this.words[0] = bits === 0 ? 0 : w & (-1 << (32 - bits));
      return at + 1 + bytes;
    }
    for (let i = 0; i < 4; i++) {
      let w = 0;
      const from = at + 1 + i * 4;
      const left = bytes - i * 4;
      if (left > 0) w = b[from]! << 24;
      if (left > 1) w |= b[from + 1]! << 16;
      if (left > 2) w |= b[from + 2]! << 8;
      if (left > 3) w |= b[from + 3]!;
      const keep = bits - i * 32;
      this.words[i] = keep <= 0 ? 0 : keep >= 32 ? w : w & (-1 << (32 - keep));
    }
    return at + 1 + bytes;
  }

  /** Neither multicast, loopback nor the like: such a prefix is ignored, the session lives (RFC 4271 6.3). */
  routable(afi: Afi): boolean {
    const first = this.words[0]! >>> 24;
    if (afi === 1) return first === 0 ? this.length === 0 : first !== 127 && first < 224;
    if (first === 0xff) return this.length < 8;
    if (first === 0xfe && this.words[0]! >>> 22 === 0x3fa) return this.length < 10;
    if (first !== 0 || this.length < 128) return true;
    return !(this.words[0] === 0 && this.words[1] === 0 && this.words[2] === 0 && this.words[3]! <= 1);
  }
}

/** Writes one prefix; returns the offset after it. */
export function writeNlri(
  out: Uint8Array,
  at: number,
  keys: Uint32Array,
  key: number,
  length: number,
): number {
  const bytes = (length + 7) >> 3;
  out[at++] = length;
  for (let i = 0; i < bytes; i++) out[at++] = (keys[key + (i >> 2)]! >>> (24 - (i & 3) * 8)) & 255;
  return at;
}
