// kernel: the BPF ring buffer's consumer: records are handed over in place, straight from the mapping.
import { mmap, munmap, viewOf } from "./ffi.ts";

const BUSY = 1 << 31;
const DISCARD = 1 << 30;
const headerSize = 8;
const PROT_READ = 1;
const PROT_WRITE = 2;
const MAP_SHARED = 1;

/** Page size of every architecture that we build for; arm64 kernels with larger pages say so in the mapping's failure. */
const pageSize = 4096;

/**
 * Reads a BPF_MAP_TYPE_RINGBUF (kernel/bpf/ringbuf.c): one page with our position, one with the producers', then the data. The
 * kernel offers the data twice in a row so that no record is ever cut; it is mapped once, which halves what this process is
 * charged for it, and the rare record that goes around the end is put together here. One consumer a ring.
 */
export class RingConsumer implements Disposable {
  /** Bytes of the ring. */
  readonly size: number;
  readonly #consumer: bigint;
  readonly #producer: bigint;
  readonly #producerLength: number;
  readonly #ours: BigInt64Array;
  readonly #theirs: BigInt64Array;
  readonly #data: Uint8Array;
  readonly #headers: Int32Array;
  #position: number;
  #closed = false;

  /** @param size the map's max_entries, a power of two. @throws KernelError */
  constructor(fd: number, size: number) {
    this.size = size;
    this.#consumer = mmap(pageSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    this.#producerLength = pageSize + size;
    try {
      this.#producer = mmap(this.#producerLength, PROT_READ, MAP_SHARED, fd, pageSize);
    } catch (error) {
      munmap(this.#consumer, pageSize);
      throw error;
    }
    this.#ours = new BigInt64Array(viewOf(this.#consumer, pageSize), 0, 1);
    const shared = viewOf(this.#producer, this.#producerLength);
    this.#theirs = new BigInt64Array(shared, 0, 1);
    this.#data = new Uint8Array(shared, pageSize, size);
    this.#headers = new Int32Array(shared, pageSize, size / 4);
    this.#position = Number(Atomics.load(this.#ours, 0));
  }

  /**
   * Hands over up to `limit` records. The bytes are valid during the call only. A handler that returns false stops after its record.
   * @returns records handed over; as many as `limit` means that there may be more
   */
  drain(handle: (record: Uint8Array) => boolean | undefined, limit: number): number {
    const mask = this.size - 1;
    let handed = 0;
    let going = true;
    while (going && handed < limit) {
      const end = Number(Atomics.load(this.#theirs, 0));
      if (this.#position >= end) break;
      const from = this.#position;
      // The position is stored once a batch, not once a record; a quarter of the ring bounds how late producers see it.
      while (going && handed < limit && this.#position < end && this.#position - from < this.size >> 2) {
        const at = this.#position & mask;
        const header = Atomics.load(this.#headers, at >> 2);
        if ((header & BUSY) !== 0) {
          going = false;
          break;
        }
        const length = header & ~(BUSY | DISCARD);
        try {
          if ((header & DISCARD) === 0) {
            handed++;
            if (handle(this.#record((at + headerSize) & mask, length)) === false) going = false;
          }
        } finally {
          this.#position += (length + headerSize + 7) & ~7;
        }
      }
      Atomics.store(this.#ours, 0, BigInt(this.#position));
    }
    return handed;
  }

  #record(start: number, length: number): Uint8Array {
    const end = start + length;
    if (end <= this.size) return this.#data.subarray(start, end);
    const whole = new Uint8Array(length);
    whole.set(this.#data.subarray(start));
    whole.set(this.#data.subarray(0, end - this.size), this.size - start);
    return whole;
  }

  /** Bytes that wait. */
  get pending(): number {
    return Number(Atomics.load(this.#theirs, 0)) - this.#position;
  }

  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    munmap(this.#producer, this.#producerLength);
    munmap(this.#consumer, pageSize);
  }
}
