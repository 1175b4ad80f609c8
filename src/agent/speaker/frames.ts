// agent: framing on the speaker's socket: a big-endian uint32 length, then one protobuf message.

/** Longest message in bytes that is read or written. */
export const frameLimit = 16 * 1024 * 1024;

export class FrameError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "FrameError";
  }
}

/** One frame. @throws FrameError for a message beyond the limit */
export function encodeFrame(message: Uint8Array): Uint8Array {
  if (message.length > frameLimit) throw new FrameError(`a message of ${message.length} bytes is too long`);
  const out = new Uint8Array(4 + message.length);
  new DataView(out.buffer).setUint32(0, message.length);
  out.set(message, 4);
  return out;
}

/** Cuts a byte stream into messages. Holds at most one incomplete message. */
export class FrameReader {
  #pending: Uint8Array[] = [];
  #length = 0;

  /** The messages that are complete now. @throws FrameError for an announced length beyond the limit */
  push(chunk: Uint8Array): readonly Uint8Array[] {
    this.#pending.push(chunk);
    this.#length += chunk.length;
    const out: Uint8Array[] = [];
    while (this.#length >= 4) {
      const buffer =
        this.#pending.length === 1 ? this.#pending[0]! : Buffer.concat(this.#pending, this.#length);
      this.#pending = [buffer];
      const wanted = new DataView(buffer.buffer, buffer.byteOffset, 4).getUint32(0);
      if (wanted > frameLimit) throw new FrameError(`a message of ${wanted} bytes is announced`);
      if (buffer.length < 4 + wanted) break;
      out.push(buffer.subarray(4, 4 + wanted));
      const rest = buffer.subarray(4 + wanted);
      this.#pending = rest.length > 0 ? [rest] : [];
      this.#length = rest.length;
    }
    return out;
  }
}
