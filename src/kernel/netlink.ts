// kernel: netlink: messages and attributes, one synchronous socket for requests, and a subscription to changes.
import { Fd } from "./bpf.ts";
import { bind, hasCode, KernelError, koffi, recv, send, setsockopt, socket } from "./ffi.ts";

const AF_NETLINK = 16;
const SOCK_RAW = 3;
const SOL_SOCKET = 1;
const SO_RCVTIMEO = 20;
const SOL_NETLINK = 270;
const NETLINK_EXT_ACK = 11;
const MSG_DONTWAIT = 0x40;

const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;

/** Bits of nlmsg_flags. */
export const NlmFlag = {
  REQUEST: 1,
  ACK: 4,
  DUMP: 0x300,
  REPLACE: 0x100,
  EXCL: 0x200,
  CREATE: 0x400,
  APPEND: 0x800,
} as const;

/** RTM_* (include/uapi/linux/rtnetlink.h). */
export const Rtm = {
  NEWLINK: 16,
  DELLINK: 17,
  GETLINK: 18,
  NEWADDR: 20,
  DELADDR: 21,
  GETADDR: 22,
  NEWROUTE: 24,
  DELROUTE: 25,
  GETROUTE: 26,
  NEWQDISC: 36,
  DELQDISC: 37,
  GETQDISC: 38,
  NEWTFILTER: 44,
  DELTFILTER: 45,
  GETTFILTER: 46,
} as const;

const align4 = (n: number): number => (n + 3) & ~3;

/** Builds a message body: fixed struct fields in host order, then attributes, nested as deep as wanted. */
export class NetlinkBody {
  #bytes = new Uint8Array(256);
  #length = 0;

  #reserve(size: number): number {
    const at = this.#length;
    this.#length += size;
    if (this.#length > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(this.#length, this.#bytes.length * 2));
      larger.set(this.#bytes);
      this.#bytes = larger;
    }
    return at;
  }

  #view(): DataView {
    return new DataView(this.#bytes.buffer);
  }

  u8(...values: readonly number[]): this {
    const at = this.#reserve(values.length);
    this.#bytes.set(values, at);
    return this;
  }

  u16(value: number): this {
    const at = this.#reserve(2);
    this.#view().setUint16(at, value, true);
    return this;
  }

  u32(...values: readonly number[]): this {
    for (const value of values) {
      const at = this.#reserve(4);
      this.#view().setUint32(at, value >>> 0, true);
    }
    return this;
  }

  raw(bytes: Uint8Array): this {
    const at = this.#reserve(align4(bytes.length));
    this.#bytes.set(bytes, at);
    return this;
  }

  attribute(type: number, value: Uint8Array): this {
    this.u16(4 + value.length).u16(type);
    return this.raw(value);
  }

  attribute8(type: number, value: number): this {
    return this.attribute(type, Uint8Array.of(value));
  }

  /** Network byte order: ports. */
  attribute16BE(type: number, value: number): this {
    return this.attribute(type, Uint8Array.of(value >> 8, value & 255));
  }

  attribute32(type: number, value: number): this {
    return this.attribute(type, new Uint8Array(new Uint32Array([value]).buffer));
  }

  attributeText(type: number, value: string): this {
    return this.attribute(type, new TextEncoder().encode(`${value}\0`));
  }

  nested(type: number, fill: (inner: this) => void): this {
    const at = this.#reserve(4);
    fill(this);
    this.#view().setUint16(at, this.#length - at, true);
    this.#view().setUint16(at + 2, type, true);
    return this;
  }

  /** For structs that say their own length, as rtnexthop does: the length goes into the first two bytes. */
  sized(fill: (inner: this) => void): this {
    const at = this.#length;
    fill(this);
    this.#view().setUint16(at, this.#length - at, true);
    return this;
  }

  bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }
}

/** Attributes by type, NLA_F_NESTED and byte-order bits stripped. Of repeated ones the last. */
export function parseAttributes(bytes: Uint8Array): Map<number, Uint8Array> {
  const attributes = new Map<number, Uint8Array>();
  for (const [type, value] of eachAttribute(bytes)) attributes.set(type, value);
  return attributes;
}

/** Attributes in order. */
export function* eachAttribute(bytes: Uint8Array): Generator<[type: number, value: Uint8Array]> {
  const v = viewOver(bytes);
  for (let at = 0; at + 4 <= bytes.length; ) {
    const length = v.getUint16(at, true);
    if (length < 4 || at + length > bytes.length) return;
    yield [v.getUint16(at + 2, true) & 0x3fff, bytes.subarray(at + 4, at + length)];
    at += align4(length);
  }
}

export const viewOver = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** A 32-bit attribute in host order; undefined if absent. */
export const attribute32 = (attributes: Map<number, Uint8Array>, type: number): number | undefined => {
  const bytes = attributes.get(type);
  return bytes && bytes.length >= 4 ? viewOver(bytes).getUint32(0, true) : undefined;
};

export interface NetlinkMessage {
  readonly type: number;
  readonly flags: number;
  readonly body: Uint8Array;
}

/** One request of a batch. */
export interface NetlinkRequest {
  readonly type: number;
  /** Bits of {@link NlmFlag}; REQUEST and ACK are added. */
  readonly flags: number;
  readonly body: Uint8Array;
}

const headerSize = 16;
/** Requests in one send: some microseconds each, so a call stays far below 10 ms. */
const batchSize = 32;
const receiveSize = 128 * 1024;

function* messagesIn(bytes: Uint8Array): Generator<NetlinkMessage & { readonly sequence: number }> {
  const v = viewOver(bytes);
  for (let at = 0; at + headerSize <= bytes.length; ) {
    const length = v.getUint32(at, true);
    if (length < headerSize || at + length > bytes.length) return;
    yield {
      type: v.getUint16(at + 4, true),
      flags: v.getUint16(at + 6, true),
      sequence: v.getUint32(at + 8, true),
      body: bytes.subarray(at + headerSize, at + length),
    };
    at += align4(length);
  }
}

const NLM_F_CAPPED = 0x100;
const NLM_F_ACK_TLVS = 0x200;
const NLMSGERR_ATTR_MSG = 1;

/** The kernel's own words about a refusal (extended acknowledgement), if it had any. */
function extendedAck(message: NetlinkMessage): string | undefined {
  if (!(message.flags & NLM_F_ACK_TLVS)) return undefined;
  const echoed = message.flags & NLM_F_CAPPED ? headerSize : viewOver(message.body).getUint32(4, true);
  const text = parseAttributes(message.body.subarray(4 + align4(echoed))).get(NLMSGERR_ATTR_MSG);
  return text && new TextDecoder().decode(text).replace(/\0.*$/s, "");
}

/** A NETLINK_ROUTE socket in the network namespace in which it was opened. Requests are synchronous. */
export class NetlinkSocket implements Disposable {
  readonly #fd: Fd;
  #sequence = 1;
  readonly #buffer = new Uint8Array(receiveSize);

  /** @throws KernelError */
  constructor() {
    this.#fd = new Fd(socket(AF_NETLINK, SOCK_RAW, 0));
    // The kernel answers at once; a second without an answer is a failure, not a reason to hang.
    setsockopt(this.#fd.number, SOL_SOCKET, SO_RCVTIMEO, new Uint8Array(new BigInt64Array([1n, 0n]).buffer));
    setsockopt(this.#fd.number, SOL_NETLINK, NETLINK_EXT_ACK, 1);
  }

  /** One request that changes something. @throws KernelError with the kernel's words */
  request(name: string, type: number, flags: number, body: Uint8Array): void {
    const [error] = this.requestAll(name, [{ type, flags, body }]);
    if (error) throw error;
  }

  /** Many requests, in batches; an error or undefined for each, in order. @throws KernelError if the socket fails */
  requestAll(name: string, requests: readonly NetlinkRequest[]): (KernelError | undefined)[] {
    const results: (KernelError | undefined)[] = [];
    for (let from = 0; from < requests.length; from += batchSize)
      results.push(...this.#batch(name, requests.slice(from, from + batchSize)));
    return results;
  }

  #batch(name: string, requests: readonly NetlinkRequest[]): (KernelError | undefined)[] {
    const first = this.#sequence;
    const parts = requests.map((r) => this.#message(r.type, r.flags | NlmFlag.REQUEST | NlmFlag.ACK, r.body));
    send(this.#fd.number, Buffer.concat(parts));
    const results: (KernelError | undefined)[] = new Array(requests.length).fill(undefined);
    for (let missing = requests.length; missing > 0; ) {
      for (const message of messagesIn(this.#receive())) {
        const index = message.sequence - first;
        if (message.type !== NLMSG_ERROR || index < 0 || index >= requests.length) continue;
        missing--;
        const errno = -viewOver(message.body).getInt32(0, true);
        if (errno !== 0) results[index] = new KernelError(name, errno, extendedAck(message));
      }
    }
    return results;
  }

  /** A request that is answered by one message. @throws KernelError */
  get(name: string, type: number, body: Uint8Array): NetlinkMessage {
    send(this.#fd.number, this.#message(type, NlmFlag.REQUEST, body));
    const sequence = this.#sequence - 1;
    for (;;) {
      for (const message of messagesIn(this.#receive())) {
        if (message.sequence !== sequence) continue;
        if (message.type !== NLMSG_ERROR) return { ...message, body: message.body.slice() };
        throw new KernelError(name, -viewOver(message.body).getInt32(0, true), extendedAck(message));
      }
    }
  }

  /** All messages of a dump. @throws KernelError (EINTR: the table changed meanwhile and the kernel gave up) */
  dump(name: string, type: number, body: Uint8Array): NetlinkMessage[] {
    send(this.#fd.number, this.#message(type, NlmFlag.REQUEST | NlmFlag.DUMP, body));
    const sequence = this.#sequence - 1;
    const messages: NetlinkMessage[] = [];
    for (;;) {
      for (const message of messagesIn(this.#receive())) {
        if (message.sequence !== sequence) continue;
        if (message.type === NLMSG_ERROR || message.type === NLMSG_DONE) {
          const errno = message.body.length >= 4 ? -viewOver(message.body).getInt32(0, true) : 0;
          if (errno > 0) throw new KernelError(name, errno, extendedAck(message));
          return messages;
        }
        messages.push({ type: message.type, flags: message.flags, body: message.body.slice() });
      }
    }
  }

  #message(type: number, flags: number, body: Uint8Array): Uint8Array {
    const bytes = new Uint8Array(align4(headerSize + body.length));
    const v = viewOver(bytes);
    v.setUint32(0, headerSize + body.length, true);
    v.setUint16(4, type, true);
    v.setUint16(6, flags, true);
    v.setUint32(8, this.#sequence++, true);
    bytes.set(body, headerSize);
    return bytes;
  }

  #receive(): Uint8Array {
    return this.#buffer.subarray(0, recv(this.#fd.number, this.#buffer));
  }

  [Symbol.dispose](): void {
    this.#fd[Symbol.dispose]();
  }
}

/** Multicast groups of NETLINK_ROUTE, as bits. */
export const NetlinkGroup = {
  LINK: 1,
  IPV4_ADDRESS: 0x10,
  IPV4_ROUTE: 0x40,
  IPV6_ADDRESS: 0x100,
  IPV6_ROUTE: 0x400,
} as const;

/**
 * Tells of changes in the network namespace in which it was made. `overrun` means that the kernel dropped notifications:
 * list again what you follow.
 */
export class NetlinkMonitor implements Disposable {
  readonly #fd: Fd;
  readonly #poll: { stop(): void; close(): void };

  /** @throws KernelError */
  constructor(
    groups: number,
    listener: { message(message: NetlinkMessage): void; overrun(): void; failed(error: unknown): void },
  ) {
    this.#fd = new Fd(socket(AF_NETLINK, SOCK_RAW, 0));
    const address = new Uint8Array(12);
    viewOver(address).setUint16(0, AF_NETLINK, true);
    viewOver(address).setUint32(8, groups, true);
    bind(this.#fd.number, address);
    const buffer = new Uint8Array(64 * 1024);
    const drain = (): void => {
      // Bounded: what is left makes the descriptor readable again at once.
      for (let i = 0; i < 16; i++) {
        try {
          const length = recv(this.#fd.number, buffer, MSG_DONTWAIT);
          for (const m of messagesIn(buffer.slice(0, length)))
            listener.message({ type: m.type, flags: m.flags, body: m.body });
        } catch (error) {
          if (hasCode(error, "EAGAIN")) return;
          if (hasCode(error, "ENOBUFS")) listener.overrun();
          else {
            listener.failed(error);
            return;
          }
        }
      }
    };
    const poll = koffi().node.poll(this.#fd.number, { readable: true }, drain);
    this.#poll = poll;
  }

  [Symbol.dispose](): void {
    if (!this.#fd.open) return;
    this.#poll.stop();
    this.#poll.close();
    this.#fd[Symbol.dispose]();
  }
}
