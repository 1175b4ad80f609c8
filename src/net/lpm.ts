// net: longest-prefix match over both families, for tables that are read often and changed seldom.
import {
  type Address,
  bitsOf,
  type Family,
  formatPrefix,
  maskTo,
  type Prefix,
  toInteger,
} from "./address.ts";

/** Longest-prefix-match table; one hash map per length in use, longest first. */
export class LpmTable<T> {
  readonly #byLength = new Map<string, Map<bigint, { prefix: Prefix; value: T }>>();
  readonly #lengths: Record<Family, number[]> = { 4: [], 6: [] };

  get size(): number {
    let n = 0;
    for (const m of this.#byLength.values()) n += m.size;
    return n;
  }

  set(prefix: Prefix, value: T): void {
    const key = `${prefix.family}/${prefix.length}`;
    let level = this.#byLength.get(key);
    if (!level) {
      level = new Map();
      this.#byLength.set(key, level);
      this.#lengths[prefix.family].push(prefix.length);
      this.#lengths[prefix.family].sort((a, b) => b - a);
    }
    level.set(toInteger(prefix), { prefix, value });
  }

  delete(prefix: Prefix): boolean {
    return this.#byLength.get(`${prefix.family}/${prefix.length}`)?.delete(toInteger(prefix)) ?? false;
  }

  get(prefix: Prefix): T | undefined {
    return this.#byLength.get(`${prefix.family}/${prefix.length}`)?.get(toInteger(prefix))?.value;
  }

  /** The most specific entry that holds the address (or the whole prefix). */
  lookup(address: Address | Prefix): { prefix: Prefix; value: T } | undefined {
    const limit = "length" in address ? address.length : bitsOf(address.family);
    for (const length of this.#lengths[address.family]) {
      if (length > limit) continue;
      const hit = this.#byLength.get(`${address.family}/${length}`)?.get(toInteger(maskTo(address, length)));
      if (hit) return hit;
    }
    return undefined;
  }

  *entries(): Generator<{ prefix: Prefix; value: T }> {
    for (const level of this.#byLength.values()) yield* level.values();
  }

  toString(): string {
    return [...this.entries()].map((e) => formatPrefix(e.prefix)).join(", ");
  }
}
