// bgp/wire: message framing: a stream of octets becomes whole messages, in a buffer that cannot grow past one message.
import { EXTENDED_MESSAGE_BYTES_MAX, HEADER_BYTES, MESSAGE_BYTES_MAX, MessageType } from "./constants.ts";
import { type Notification, notification } from "./notification.ts";

/** Shortest legal message of each type. The length of a ROUTE-REFRESH is judged where it is read: its error depends on the session. */
const lengthMin: Readonly<Record<number, number>> = {
  [MessageType.open]: 29,
  [MessageType.update]: 23,
  [MessageType.notification]: 21,
  [MessageType.keepalive]: 19,
  [MessageType.routeRefresh]: HEADER_BYTES,
};

/** Called with a whole message: its type and where its body (after the header) lies. False stops the reader. */
export type MessageSink = (type: number, buffer: Uint8Array, start: number, end: number) => boolean;

/**
 * Cuts the stream of one connection into messages (RFC 4271 4.1, errors by 6.1). Keeps at most one incomplete message;
 * everything else is read in place from the chunk that arrived.
 */
export class FrameReader {
  #rest: Uint8Array = new Uint8Array(0);
  #restLength = 0;
  /** Raised to 65535 once extended messages (RFC 8654) are negotiated. */
  lengthMax = MESSAGE_BYTES_MAX;

  /** Octets that wait for the remainder of their message. */
  get buffered(): number {
    return this.#restLength;
  }

  /** Feeds a chunk. Returns the error that ends the session, or undefined. */
  push(chunk: Uint8Array, sink: MessageSink): Notification | undefined {
    let offset = 0;
    if (this.#restLength > 0) {
      const take = this.#fill(chunk, 0, HEADER_BYTES);
      offset = take;
      if (this.#restLength < HEADER_BYTES) return undefined;
      const length = checkHeader(this.#rest, 0, this.lengthMax);
      if (typeof length !== "number") return length;
      offset += this.#fill(chunk, offset, length);
      if (this.#restLength < length) return undefined;
      this.#restLength = 0;
      if (!sink(this.#rest[18]!, this.#rest, HEADER_BYTES, length)) return undefined;
    }
    while (offset + HEADER_BYTES <= chunk.length) {
      const length = checkHeader(chunk, offset, this.lengthMax);
      if (typeof length !== "number") return length;
      if (offset + length > chunk.length) break;
      if (!sink(chunk[offset + 18]!, chunk, offset + HEADER_BYTES, offset + length)) return undefined;
      offset += length;
    }
    if (offset < chunk.length) this.#fill(chunk, offset, EXTENDED_MESSAGE_BYTES_MAX);
    return undefined;
  }

  /** Copies from the chunk until `upTo` octets are held; returns how many it took. */
  #fill(chunk: Uint8Array, from: number, upTo: number): number {
    const take = Math.min(Math.max(upTo - this.#restLength, 0), chunk.length - from);
    if (this.#restLength + take > this.#rest.length) {
      const wanted = Math.max(this.#restLength + take, MESSAGE_BYTES_MAX);
      const grown = new Uint8Array(wanted > MESSAGE_BYTES_MAX ? EXTENDED_MESSAGE_BYTES_MAX : wanted);
      grown.set(this.#rest.subarray(0, this.#restLength));
      this.#rest = grown;
    }
    this.#rest.set(chunk.subarray(from, from + take), this.#restLength);
    this.#restLength += take;
    return take;
  }
}

/** Length of the message whose header begins at `at`, or the error of RFC 4271 6.1. */
function checkHeader(b: Uint8Array, at: number, lengthMax: number): number | Notification {
  for (let i = at; i < at + 16; i++) if (b[i] !== 0xff) return notification(1, 1, "marker is not all ones");
  const length = (b[at + 16]! << 8) | b[at + 17]!;
  const type = b[at + 18]!;
  const min = lengthMin[type];
  if (length < HEADER_BYTES || length > Math.max(lengthMax, MESSAGE_BYTES_MAX))
    return notification(1, 2, `message length ${length}`, b.slice(at + 16, at + 18));
  if (min === undefined) return notification(1, 3, `message type ${type}`, b.slice(at + 18, at + 19));
  const fixed = type === MessageType.keepalive || type === MessageType.open;
  // RFC 8654 3: OPEN and KEEPALIVE stay within 4096 octets whatever was negotiated.
  if (
    length < min ||
    (type === MessageType.keepalive && length !== min) ||
    (fixed && length > MESSAGE_BYTES_MAX)
  )
    return notification(1, 2, `message length ${length} for type ${type}`, b.slice(at + 16, at + 18));
  return length;
}

/** Writes a header for a message of `length` octets in all. */
export function writeHeader(out: Uint8Array, at: number, length: number, type: number): void {
  out.fill(0xff, at, at + 16);
  out[at + 16] = length >> 8;
  out[at + 17] = length & 255;
  out[at + 18] = type;
}

/** A whole message from its body. */
export function message(type: number, body: Uint8Array): Uint8Array {
  const out = new Uint8Array(HEADER_BYTES + body.length);
  writeHeader(out, 0, out.length, type);
  out.set(body, HEADER_BYTES);
  return out;
}

export const keepaliveMessage = message(MessageType.keepalive, new Uint8Array(0));

export function notificationMessage(n: Notification): Uint8Array {
  const data = n.data.subarray(0, MESSAGE_BYTES_MAX - HEADER_BYTES - 2);
  const body = new Uint8Array(2 + data.length);
  body[0] = n.code;
  body[1] = n.subcode;
  body.set(data, 2);
  return message(MessageType.notification, body);
}

export const decodeNotification = (b: Uint8Array, start: number, end: number): Notification => ({
  code: b[start]!,
  subcode: b[start + 1]!,
  data: b.slice(start + 2, end),
});
