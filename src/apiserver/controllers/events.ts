// apiserver/controllers: Events do not live for ever: they go an hour after their last change, as in a real cluster.
import type { ServerContext } from "../context.ts";
import type { StoreEvent } from "../store/history.ts";

const lifeMs = 60 * 60 * 1000;
const sweepEveryMs = 60 * 1000;
/** Deletions between two turns of the event loop. */
const batch = 200;

/** Keeps an expiry for each Event, in the order of expiry, and deletes what is due. */
export class EventExpiry {
  readonly #context: ServerContext;
  /** Key to time of expiry in ms. A changed Event is moved to the end, so that the first is always the next due. */
  readonly #expiries = new Map<string, number>();
  readonly #timer: NodeJS.Timeout;
  #stopped = false;

  constructor(context: ServerContext) {
    this.#context = context;
    // After a restart nobody knows when an Event last changed: it gets a whole life.
    for (const entry of context.store.collection("events").range("")) this.#touch(entry.key);
    this.#timer = setInterval(() => this.sweep(), sweepEveryMs);
    this.#timer.unref();
  }

  hear(event: StoreEvent): void {
    if (event.resource !== "events") return;
    if (event.type === "DELETED") this.#expiries.delete(event.key);
    else this.#touch(event.key);
  }

  #touch(key: string): void {
    this.#expiries.delete(key);
    this.#expiries.set(key, this.#context.now() + lifeMs);
  }

  /** Deletes what is due; goes on in the next turn where there is a lot. */
  sweep(): void {
    const now = this.#context.now();
    let done = 0;
    for (const [key, expiry] of this.#expiries) {
      if (this.#stopped || this.#context.store.failure || expiry > now) return;
      if (done === batch) {
        setImmediate(() => this.sweep());
        return;
      }
      this.#expiries.delete(key);
      this.#context.store.delete("events", key);
      done += 1;
    }
  }

  stop(): void {
    this.#stopped = true;
    clearInterval(this.#timer);
  }
}
