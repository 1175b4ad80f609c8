// fleet: what waits to be written to a stream, bounded: control always fits, bulk is refused when there is too much of it.

interface Item<T> {
  readonly value: T;
  readonly bytes: number;
}

/**
 * A queue with one reader, which iterates it. `push` is for messages of the protocol, of which there are few by design;
 * `offer` for output, which a slow reader loses.
 */
export class Outbox<T> implements AsyncIterable<T> {
  /** Offers that were refused. */
  refused = 0;
  readonly #maxBytes: number;
  readonly #maxItems: number;
  #items: Item<T>[] = [];
  #head = 0;
  #bytes = 0;
  #ended = false;
  #error: Error | undefined;
  #wake: (() => void) | undefined;

  constructor(maxBytes: number, maxItems = 65_536) {
    this.#maxBytes = maxBytes;
    this.#maxItems = maxItems;
  }

  get size(): number {
    return this.#items.length - this.#head;
  }
  get bytes(): number {
    return this.#bytes;
  }
  get ended(): boolean {
    return this.#ended;
  }

  /** Queues a message whatever waits already. After the end it does nothing. */
  push(value: T, bytes = 0): void {
    if (this.#ended) return;
    this.#items.push({ value, bytes });
    this.#bytes += bytes;
    this.#wake?.();
  }

  /** Queues output if it fits; false when it was refused, which `refused` counts. */
  offer(value: T, bytes: number): boolean {
    if (this.#ended || this.#bytes + bytes > this.#maxBytes || this.size >= this.#maxItems) {
      this.refused += 1;
      return false;
    }
    this.push(value, bytes);
    return true;
  }

  /** What is queued still goes out, then the iteration ends, or throws the error. */
  end(error?: Error): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    this.#wake?.();
  }

  /** Ends at once: what is queued is dropped. */
  drop(): void {
    this.#items = [];
    this.#head = 0;
    this.#bytes = 0;
    this.end();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    for (;;) {
      while (this.size > 0) {
        const item = this.#items[this.#head++]!;
        this.#bytes -= item.bytes;
        if (this.#head > 1024 && this.#head * 2 > this.#items.length) {
          this.#items = this.#items.slice(this.#head);
          this.#head = 0;
        }
        yield item.value;
      }
      if (this.#ended) {
        if (this.#error) throw this.#error;
        return;
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
  }
}
