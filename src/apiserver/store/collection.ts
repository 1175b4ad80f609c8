// apiserver/store: the objects of one kind, by key and in key order (a list answers in that order, as etcd does).
import type { Entry } from "./store.ts";

/** Hears of every change of a collection in the same turn; of an entry that came, one that went, or both. */
export type EntryObserver = (before: Entry | undefined, now: Entry | undefined) => void;

export class Collection {
  readonly #observers: EntryObserver[] = [];
  readonly #entries = new Map<string, Entry>();
  #keys: string[] = [];

  get size(): number {
    return this.#entries.size;
  }

  get(key: string): Entry | undefined {
    return this.#entries.get(key);
  }

  set(key: string, entry: Entry): void {
    const before = this.#entries.get(key);
    if (!before) this.#keys.splice(this.#lowerBound(key), 0, key);
    this.#entries.set(key, entry);
    for (const observe of this.#observers) observe(before, entry);
  }

  delete(key: string): void {
    const before = this.#entries.get(key);
    if (!before) return;
    this.#entries.delete(key);
    this.#keys.splice(this.#lowerBound(key), 1);
    for (const observe of this.#observers) observe(before, undefined);
  }

  /** Calls the observer for all that there is, and for every change from now on. It must not throw. */
  observe(observer: EntryObserver): void {
    for (const entry of this.#entries.values()) observer(undefined, entry);
    this.#observers.push(observer);
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
