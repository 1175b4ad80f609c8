// results: the 20 bytes {u8 family; u8 length; u8 pad[2]; u8 address[16]} of inet and prefix values, as text.
import { formatAddress, formatPrefix, fromInteger, maskTo } from "../net/address.ts";

/** What stands for an address or route that nobody knows. */
export const UNKNOWN = "unknown";

function halves(bytes: Uint8Array, offset: number): bigint {
  let value = 0n;
  for (let i = 0; i < 16; i++) value = (value << 8n) | BigInt(bytes[offset + i] ?? 0);
  return value;
}

/** Text as inet_ntop(3) writes it: a v4-mapped address that was read as IPv6 keeps its `::ffff:`. */
export function inetText(bytes: Uint8Array, offset: number, prefix: boolean): string {
  const family = bytes[offset];
  const length = bytes[offset + 1] ?? 0;
  const value = halves(bytes, offset + 4);
  if (family === 4) {
    const address = fromInteger(4, value & 0xffff_ffffn);
    return prefix ? formatPrefix(maskTo(address, Math.min(length, 32))) : formatAddress(address);
  }
  if (family !== 6) return UNKNOWN;
  const address = fromInteger(6, value);
  if (prefix) return formatPrefix(maskTo(address, Math.min(length, 128)));
  const high = value >> 32n;
  if (high === 0xffffn) return `::ffff:${formatAddress(fromInteger(4, value & 0xffff_ffffn))}`;
  // inet_ntop writes the deprecated v4-compatible form for addresses with 96 leading zero bits and more than 16 bits set.
  if (high === 0n && value > 0xffffn) return `::${formatAddress(fromInteger(4, value))}`;
  return formatAddress(address);
}

/** Six bytes as AA:BB:CC:DD:EE:FF. */
export const macText = (bytes: Uint8Array, offset: number): string =>
  [...bytes.subarray(offset, offset + 6)].map((b) => b.toString(16).padStart(2, "0").toUpperCase()).join(":");
