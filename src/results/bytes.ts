// results: little-endian integers and text in raw kernel bytes. Every record and every map entry goes through here, so it is quick.
import type { Value } from "./types.ts";

/** The integer of 1, 2, 4 or 8 bytes at an offset; 0 beyond the end. */
export function readInteger(bytes: Uint8Array, offset: number, size: number, signed: boolean): bigint {
  if (size <= 4) return BigInt(readSmall(bytes, offset, size, signed));
  let low = 0;
  let high = 0;
  for (let i = 3; i >= 0; i--) {
    low = low * 256 + (bytes[offset + i] ?? 0);
    high = high * 256 + (i + 4 < size ? (bytes[offset + 4 + i] ?? 0) : 0);
  }
  if (high < 0x20_0000) return BigInt(high * 0x1_0000_0000 + low);
  const value = (BigInt(high) << 32n) | BigInt(low);
  return signed ? BigInt.asIntN(size * 8, value) : value;
}

/** The integer of up to 4 bytes. */
export function readSmall(bytes: Uint8Array, offset: number, size: number, signed: boolean): number {
  let value = 0;
  for (let i = size - 1; i >= 0; i--) value = value * 256 + (bytes[offset + i] ?? 0);
  const limit = 2 ** (size * 8);
  return signed && value >= limit / 2 ? value - limit : value;
}

/** As a number where all its digits survive that, else as its digits. */
export function integerValue(value: bigint): Value {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : { symbol: String(value), number: String(value) };
}

const utf8 = new TextDecoder();
/** Up to how many bytes of ASCII are put together here instead of by the decoder. */
const SHORT = 48;

/** The text before the first zero byte. */
export function readText(bytes: Uint8Array, offset: number, size: number): string {
  const most = Math.min(offset + size, bytes.length);
  let end = offset;
  let ascii = true;
  while (end < most && bytes[end] !== 0) {
    if ((bytes[end] ?? 0) >= 0x80) ascii = false;
    end++;
  }
  if (!ascii || end - offset > SHORT) return utf8.decode(bytes.subarray(offset, end));
  let text = "";
  for (let i = offset; i < end; i++) text += String.fromCharCode(bytes[i] ?? 0);
  return text;
}
