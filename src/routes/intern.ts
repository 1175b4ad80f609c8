// routes: routeIds. An id stands for one set of attributes for as long as a map or a running trace may hold it.
import { toInteger } from "../net/address.ts";
import { overflowRoute, type RouteAttributes, routeIdLimit } from "./types.ts";

/** A trace may run for an hour and then still be printed. */
export const quarantineMs = 3_900_000;

interface Slot {
  readonly attributes: RouteAttributes;
  readonly key: string;
  references: number;
  /** When the last reference went, in ms; meaningless while there are references. */
  freedAt: number;
}

const keyOf = (a: RouteAttributes): string =>
  `${a.cluster} ${a.originASN} ${a.peer} ${a.nextHop ? `${a.nextHop.family}/${toInteger(a.nextHop)}` : "-"} ${a.community}`;

/** The intern table. Ids 0 and 1 are reserved; ids of freed attributes are reused last, and only after the quarantine. */
export class RouteIds {
  readonly #slots = new Map<number, Slot>();
  readonly #byKey = new Map<string, number>();
  readonly #limit: number;
  #next = overflowRoute + 1;
  #overflows = 0;
  /** No id can come free before this, in ms: spares a search for each route of a full table. */
  #noneBefore = 0;

  constructor(limit = routeIdLimit) {
    this.#limit = limit;
  }

  /** Routes that got the overflow id since the start. */
  get overflows(): number {
    return this.#overflows;
  }

  /** Takes over what a pinned map holds, before anything is interned. Ids out of range or given twice are ignored. */
  restore(
    entries: Iterable<{ readonly id: number; readonly attributes: RouteAttributes }>,
    now: number,
  ): void {
    for (const { id, attributes } of entries) {
      const key = keyOf(attributes);
      if (id <= overflowRoute || id >= this.#limit || this.#slots.has(id) || this.#byKey.has(key)) continue;
      this.#slots.set(id, { attributes, key, references: 0, freedAt: now });
      this.#byKey.set(key, id);
      this.#next = Math.max(this.#next, id + 1);
    }
  }

  /** One more reference to the id of these attributes; {@link overflowRoute} where none is free. */
  take(attributes: RouteAttributes, now: number): number {
    const key = keyOf(attributes);
    const known = this.#byKey.get(key);
    if (known !== undefined) {
      this.#slots.get(known)!.references++;
      return known;
    }
    const id = this.#next < this.#limit ? this.#next++ : this.#reusable(now);
    if (id === undefined) {
      this.#overflows++;
      return overflowRoute;
    }
    this.#slots.set(id, { attributes, key, references: 1, freedAt: 0 });
    this.#byKey.set(key, id);
    return id;
  }

  /** Gives a reference back. */
  release(id: number, now: number): void {
    const slot = this.#slots.get(id);
    if (!slot) return;
    slot.references--;
    if (slot.references > 0) return;
    slot.freedAt = now;
    this.#noneBefore = Math.min(this.#noneBefore, now + quarantineMs);
  }

  get(id: number): RouteAttributes | undefined {
    return this.#slots.get(id)?.attributes;
  }

  /** All that the attribute map must hold: ids in use and those in quarantine. */
  *entries(): Generator<{ readonly id: number; readonly attributes: RouteAttributes }> {
    for (const [id, slot] of this.#slots) yield { id, attributes: slot.attributes };
  }

  #reusable(now: number): number | undefined {
    if (now < this.#noneBefore) return undefined;
    let earliest = Number.POSITIVE_INFINITY;
    for (const [id, slot] of this.#slots) {
      if (slot.references > 0) continue;
      if (slot.freedAt + quarantineMs > now) {
        earliest = Math.min(earliest, slot.freedAt + quarantineMs);
        continue;
      }
      this.#slots.delete(id);
      this.#byKey.delete(slot.key);
      return id;
    }
    this.#noneBefore = earliest;
    return undefined;
  }
}

/** Small numbers for peer names, stable over restarts as long as the table of names is kept. 0 is nobody. */
export class PeerNumbers {
  readonly #numbers = new Map<string, number>();
  readonly #names = new Map<number, string>();
  #next = 1;

  constructor(known: Readonly<Record<number, string>> = {}) {
    for (const [number, name] of Object.entries(known)) {
      const value = Number(number);
      if (!Number.isSafeInteger(value) || value < 1 || value > 65_535) continue;
      this.#put(name, value);
      this.#next = Math.max(this.#next, value + 1);
    }
  }

  /** 0 for the empty name, and once 65,535 names have been seen. */
  of(name: string): number {
    if (name === "") return 0;
    const known = this.#numbers.get(name);
    if (known !== undefined) return known;
    if (this.#next > 65_535) return 0;
    return this.#put(name, this.#next++);
  }

  nameOf(number: number): string | undefined {
    return this.#names.get(number);
  }

  names(): Readonly<Record<number, string>> {
    return Object.fromEntries(this.#names);
  }

  #put(name: string, number: number): number {
    this.#numbers.set(name, number);
    this.#names.set(number, name);
    return number;
  }
}
