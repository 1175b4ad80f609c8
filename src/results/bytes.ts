// results: little-endian integers and text in raw kernel bytes.
import type { Value } from "./types.ts";

/** The integer of 1, 2, 4 or 8 bytes at an offset; 0 beyond the end. */
export function readInteger(bytes: Uint8Array, offset: number, size: number, signed: boolean): bigint {
  let value = 0n;
  for (let i = size - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[offset + i] ?? 0);
  return signed ? BigInt.asIntN(size * 8, value) : value;
}

/** As a number where a double holds it exactly, else as decimal text. */
export function integerValue(value: bigint): Value {
  const number = Number(value);
  return BigInt(number) === value ? number : String(value);
}

const utf8 = new TextDecoder();

/** The text before the first zero byte. */
export function readText(bytes: Uint8Array, offset: number, size: number): string {
  const slice = bytes.subarray(offset, offset + size);
  const end = slice.indexOf(0);
  return utf8.decode(end < 0 ? slice : slice.subarray(0, end));
}
