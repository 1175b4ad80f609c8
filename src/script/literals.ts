// script: text in scripts that stands for addresses and prefixes.
import { AddressError, parseAddress, parsePrefix, toMappedBytes } from "../net/address.ts";
import { INET_SIZE } from "./layout.ts";

/** The 20 bytes {family, length, pad[2], address[16]} of an address or prefix; undefined if the text is none. */
export function parseInet(text: string, prefix: boolean): Uint8Array | undefined {
  try {
    const value = prefix ? parsePrefix(text) : parseAddress(text);
    const out = new Uint8Array(INET_SIZE);
    out[0] = value.family;
    out[1] =
      "length" in value && typeof value.length === "number" ? value.length : value.family === 4 ? 32 : 128;
    out.set(toMappedBytes(value), 4);
    return out;
  } catch (error) {
    if (error instanceof AddressError) return undefined;
    throw error;
  }
}
