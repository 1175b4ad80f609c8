// apiserver/store: the objects of one kind, by key and in key order (a list answers in that order, as etcd does).
import type { Entry } from "./store.ts";

export class Collection {
  readonly #entries = new Map<string, Entry>();
  #keys: string[] = [];

  get size(): number {
    return this.#entries.size;
  }

  get(key: string): Entry | undefined {
    return this.#entries.get(key);
  }

  set(key: string, entry: Entry): void {
    if (!this.#entries.has(key)) this.#keys.splice(this.#lowerBound(key), 0, key);
    this.#entries.set(key, entry);
  }

  delete(key: string): void {
    if (this.#entries.delete(key)) this.#keys.splice(this.#lowerBound(key), 1);
  }

  /** Entries whose key begins with `prefix` and comes after `after`, in order. */
  *range(prefix: string, after = ""): Generator<Entry> {
    const start = after >= prefix ? after : prefix;
    // A snapshot of the keys: the caller may yield to writers half-way.
    const keys = this.#keys;
    for (let i = this.#lowerBound(start); i < keys.length; i++) {
      const key = keys[i]!;
      if (!key.startsWith(prefix)) return;
      if (key <= after) continue;
      const entry = this.#entries.get(key);
      if (entry) yield entry;
    }
  }

  /** All entries, in order, as an array that later writes do not touch. */
  entries(prefix = ""): Entry[] {
    return [...this.range(prefix)];
  }

  #lowerBound(key: string): number {
    let low = 0;
    let high = this.#keys.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#keys[middle]! < key) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
