// apiserver/store: the last events, so that a watch can start in the past and a paged list stays at its revision.
import type { Entry } from "./store.ts";

export interface StoreEvent {
  readonly type: "ADDED" | "MODIFIED" | "DELETED";
  readonly resource: string;
  readonly key: string;
  readonly revision: number;
  /** For DELETED the last state, with the deletion's own resourceVersion. */
  readonly entry: Entry;
  readonly previous: Entry | undefined;
}

/** A ring bounded in events and in bytes of JSON; what falls out is counted and answered with 410. */
export class History {
  #events: StoreEvent[] = [];
  #head = 0;
  #bytes = 0;
  #oldest: number;
  #dropped = 0;
  readonly #maxEvents: number;
  readonly #maxBytes: number;

  constructor(revision: number, bounds: { events: number; bytes: number }) {
    this.#oldest = revision;
    this.#maxEvents = bounds.events;
    this.#maxBytes = bounds.bytes;
  }

  /** The lowest revision from which every later event is still here. */
  get oldest(): number {
    return this.#oldest;
  }

  get dropped(): number {
    return this.#dropped;
  }

  get length(): number {
    return this.#events.length - this.#head;
  }

  push(event: StoreEvent): void {
    this.#events.push(event);
    this.#bytes += event.entry.json.length;
    while (this.length > 1 && (this.length > this.#maxEvents || this.#bytes > this.#maxBytes)) {
      const gone = this.#events[this.#head]!;
      this.#head += 1;
      this.#bytes -= gone.entry.json.length;
      this.#oldest = gone.revision;
      this.#dropped += 1;
    }
    // Shifting the array once per half keeps a push cheap.
    if (this.#head > 1024 && this.#head * 2 > this.#events.length) {
      this.#events = this.#events.slice(this.#head);
      this.#head = 0;
    }
  }

  /** Events of one collection after `revision`, oldest first; undefined where they are no longer all here. */
  since(revision: number, resource: string): StoreEvent[] | undefined {
    if (revision < this.#oldest) return undefined;
    const found: StoreEvent[] = [];
    for (let i = this.#indexAfter(revision); i < this.#events.length; i++) {
      const event = this.#events[i]!;
      if (event.resource === resource) found.push(event);
    }
    return found;
  }

  #indexAfter(revision: number): number {
    let low = this.#head;
    let high = this.#events.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#events[middle]!.revision > revision) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}
