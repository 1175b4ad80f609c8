// datapath: a map together with what it should hold: written by difference, compared, mended.
import type { BpfMap } from "../kernel/maps.ts";
import type { Entry } from "./codec.ts";
import { entryChanged, entryExtra, entryMissing, mapFull } from "./messages.ts";
import type { Finding, MapUsage, Refusal } from "./types.ts";

const keyText = (key: Uint8Array): string =>
  Buffer.from(key.buffer, key.byteOffset, key.length).toString("latin1");

const equal = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;

/** A non-preallocated element may find the kernel's cache empty for a moment; it is refilled at once. */
const memoryRetries = 8;
/** From here on a batch is quicker than single calls. */
const batchFrom = 16;

/** One map of the datapath. What it holds at the beginning is taken as known. */
export class MapTable {
  readonly map: BpfMap;
  readonly name: string;
  /** What is in the map, as far as we know. */
  readonly #held = new Map<string, Uint8Array>();
  /** What should be. */
  #wanted = new Map<string, Entry>();
  #refused = 0;

  constructor(name: string, map: BpfMap) {
    this.name = name;
    this.map = map;
    for (const [key, value] of map.entries()) this.#held.set(keyText(key), value.slice());
  }

  get wanted(): Iterable<Entry> {
    return this.#wanted.values();
  }

  get(key: Uint8Array): Entry | undefined {
    return this.#wanted.get(keyText(key));
  }

  usage(): MapUsage {
    return { name: this.name, used: this.#held.size, max: this.map.maxEntries, refused: this.#refused };
  }

  /** Writes what is new or different. Nothing is taken away: see {@link prune}. */
  write(entries: readonly Entry[]): { readonly changed: number; readonly refused: readonly Refusal[] } {
    this.#wanted = new Map(entries.map((entry) => [keyText(entry.key), entry]));
    const due = [...this.#wanted].filter(([text, entry]) => {
      const held = this.#held.get(text);
      return !held || !equal(held, entry.value);
    });
    const done = this.#writeAll(due.map(([, entry]) => entry));
    const refused: Refusal[] = [];
    for (const [text, entry] of due) {
      if (done.has(entry)) {
        this.#held.set(text, entry.value);
        continue;
      }
      this.#refused++;
      this.#wanted.delete(text);
      refused.push({ subject: `${this.name} ${entry.subject}`, reason: mapFull(this.name) });
    }
    return { changed: due.length - refused.length, refused };
  }

  #writeAll(entries: readonly Entry[]): ReadonlySet<Entry> {
    const done = new Set<Entry>();
    let rest = entries;
    if (entries.length >= batchFrom) {
      // Sorted: a trie is filled in half the time.
      const sorted = entries.toSorted((a, b) => Buffer.compare(a.key, b.key));
      const written = this.map.updateBatch(sorted.map((e) => [e.key, e.value]));
      for (const entry of sorted.slice(0, written)) done.add(entry);
      // A full map still takes new values of keys that it has.
      rest = sorted.slice(written);
    }
    for (const entry of rest) if (this.#writeOne(entry)) done.add(entry);
    return done;
  }

  #writeOne(entry: Entry): boolean {
    for (let attempt = 0; ; attempt++) {
      const result = this.map.tryUpdate(entry.key, entry.value);
      if (result >= 0) return true;
      if (result === -ENOMEM && attempt < memoryRetries) continue;
      if (result === -E2BIG || result === -ENOSPC || result === -ENOMEM) return false;
      // Any other failure is one of ours: let the call itself say which.
      this.map.update(entry.key, entry.value);
    }
  }

  /** Makes the map this and nothing else: new entries before old ones go, and after that what found no room before. */
  replace(entries: readonly Entry[]): { readonly changed: number; readonly removed: number } {
    const before = this.#refused;
    const first = this.write(entries);
    const removed = this.prune();
    if (first.refused.length === 0 || removed === 0) return { changed: first.changed, removed };
    this.#refused = before;
    return { changed: first.changed + this.write(entries).changed, removed };
  }

  /** Takes away what is not wanted. */
  prune(): number {
    let removed = 0;
    for (const text of [...this.#held.keys()]) {
      if (this.#wanted.has(text)) continue;
      this.map.delete(Buffer.from(text, "latin1"));
      this.#held.delete(text);
      removed++;
    }
    return removed;
  }

  /** Compares the map itself with what we wrote. What is found different is known to be so: the next write mends it. */
  inspect(): Finding[] {
    const findings: Finding[] = [];
    const found = new Map<string, Uint8Array>();
    for (const [key, value] of this.map.entries(true)) {
      const text = keyText(key);
      // Services are large, and nearly always as they were written: one copy of them is enough.
      const wanted = this.#wanted.get(text)?.value;
      found.set(text, wanted && equal(value, wanted) ? wanted : value.slice());
    }
    for (const [text, entry] of this.#wanted) {
      const value = found.get(text);
      if (value === entry.value) continue;
      findings.push({
        kind: value ? "MapEntryChanged" : "MapEntryMissing",
        subject: `${this.name} ${entry.subject}`,
        message: (value ? entryChanged : entryMissing)(this.name, entry.subject),
        repairable: true,
      });
    }
    const extra = [...found.keys()].filter((text) => !this.#wanted.has(text)).length;
    if (extra > 0)
      findings.push({
        kind: "MapEntryExtra",
        subject: this.name,
        message: entryExtra(this.name, extra),
        repairable: true,
      });
    this.#held.clear();
    for (const [text, value] of found) this.#held.set(text, value);
    return findings;
  }

  /** Writes the wanted entries again where {@link inspect} found others, and takes away what is too much. */
  repair(): number {
    return this.write([...this.#wanted.values()]).changed + this.prune();
  }
}

/** How long a count of a large map is good for, in ms: counting reads every element. */
const gaugeLifetime = 10_000;

/** How full a map is that the programs write themselves. */
export class MapGauge {
  readonly #map: BpfMap;
  readonly #name: string;
  #used = 0;
  #countedAt = Number.NEGATIVE_INFINITY;

  constructor(name: string, map: BpfMap) {
    this.#name = name;
    this.#map = map;
  }

  /** `used` may be some seconds old. */
  usage(refused: number): MapUsage {
    const now = performance.now();
    if (now - this.#countedAt > gaugeLifetime) {
      this.#countedAt = now;
      this.#used = 0;
      for (const _ of this.#map.entries(true)) this.#used++;
    }
    return { name: this.#name, used: this.#used, max: this.#map.maxEntries, refused };
  }
}

const ENOMEM = 12;
const E2BIG = 7;
const ENOSPC = 28;
