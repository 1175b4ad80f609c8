// plan: addresses from text and back, remembered: a node plans again and again over the same few thousand of them.
import {
  type Address,
  formatAddress,
  formatPrefix,
  hostPrefix,
  type Prefix,
  parseAddress,
  parsePrefix,
} from "../net/address.ts";

/** Texts that are remembered; beyond it everything is forgotten and learned again. */
const limit = 65_536;

/** `make` for each text once. What it throws is not remembered. */
function remember<T>(make: (text: string) => T): (text: string) => T {
  const known = new Map<string, T>();
  return (text) => {
    const found = known.get(text);
    if (found !== undefined) return found;
    const made = make(text);
    if (known.size >= limit) known.clear();
    known.set(text, made);
    return made;
  };
}

/** `make` for each object once, as long as the object lives. */
function rememberOf<K extends object, T>(make: (key: K) => T): (key: K) => T {
  const known = new WeakMap<K, T>();
  return (key) => {
    let found = known.get(key);
    if (found === undefined) {
      found = make(key);
      known.set(key, found);
    }
    return found;
  };
}

/** {@link parseAddress}; equal texts give the same frozen object. @throws AddressError */
export const toAddress = remember((text): Address => Object.freeze(parseAddress(text)));
/** {@link parsePrefix}; equal texts give the same frozen object. @throws AddressError */
export const toPrefix = remember((text): Prefix => Object.freeze(parsePrefix(text)));
/** {@link formatAddress} */
export const addressText = rememberOf(formatAddress);
/** {@link formatPrefix} */
export const prefixText = rememberOf(formatPrefix);
/** {@link hostPrefix}; the same address object gives the same prefix object. */
export const hostOf = rememberOf((a: Address): Prefix => Object.freeze(hostPrefix(a)));
/** The address of a single-address prefix; the same prefix object gives the same address object. */
export const addressOf = rememberOf(
  (p: Prefix): Address => Object.freeze({ family: p.family, hi: p.hi, lo: p.lo }),
);
