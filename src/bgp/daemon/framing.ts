// bgp/daemon: messages on the unix socket: a big-endian uint32 length, then the message. Both ends use this.
export const FRAME_HEAD_BYTES = 4;

/** A message with its length in front. */
export function frame(message: Uint8Array): Uint8Array {
  const out = new Uint8Array(FRAME_HEAD_BYTES + message.length);
  new DataView(out.buffer).setUint32(0, message.length);
  out.set(message, FRAME_HEAD_BYTES);
  return out;
}

/** Cuts a stream into messages. Holds at most one that is incomplete, of at most `lengthMax` octets. */
export class FrameSplitter {
  lengthMax: number;
  #buffer = new Uint8Array(4096);
  #length = 0;

  constructor(lengthMax: number) {
    this.lengthMax = lengthMax;
  }

  /** Feeds a chunk. False when a message is longer than allowed: the stream cannot be used any more. */
  push(chunk: Uint8Array, sink: (message: Uint8Array) => void): boolean {
    let at = 0;
    while (at < chunk.length || this.#complete()) {
      const wanted = this.#wanted();
      if (wanted < 0) return false;
      if (this.#length < wanted) {
        const take = Math.min(wanted - this.#length, chunk.length - at);
        this.#append(chunk, at, at + take);
        at += take;
        if (this.#length < wanted) continue;
      }
      if (!this.#complete()) continue;
      const message = this.#buffer.slice(FRAME_HEAD_BYTES, this.#length);
      this.#length = 0;
      sink(message);
    }
    return true;
  }

  #body(): number {
    return new DataView(this.#buffer.buffer, this.#buffer.byteOffset).getUint32(0);
  }

  /** Octets that make the head, or head and message; -1 where the message is too long. */
  #wanted(): number {
    if (this.#length < FRAME_HEAD_BYTES) return FRAME_HEAD_BYTES;
    const body = this.#body();
    return body > this.lengthMax ? -1 : FRAME_HEAD_BYTES + body;
  }

  #complete(): boolean {
    return this.#length >= FRAME_HEAD_BYTES && this.#length === FRAME_HEAD_BYTES + this.#body();
  }

  #append(chunk: Uint8Array, from: number, to: number): void {
    const needed = this.#length + to - from;
    if (needed > this.#buffer.length) {
      const grown = new Uint8Array(Math.max(needed, this.#buffer.length * 2));
      grown.set(this.#buffer.subarray(0, this.#length));
      this.#buffer = grown;
    }
    this.#buffer.set(chunk.subarray(from, to), this.#length);
    this.#length = needed;
  }
}
