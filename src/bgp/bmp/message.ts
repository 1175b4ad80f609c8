// bgp/bmp: the messages of the BGP Monitoring Protocol (RFC 7854, 8671, 9069), read and written without state; network byte order.
import { type Address, fromBytes, toBytes } from "../../net/address.ts";

export const BMP_VERSION = 3;
export const COMMON_BYTES = 6;
export const PEER_BYTES = 42;
/** Longest message that is read: two OPENs or one UPDATE of 65,535 octets, headers, and room for TLVs. */
export const MESSAGE_BYTES_MAX = 256 * 1024;

/** RFC 7854 4.1. */
export const BmpType = {
  routeMonitoring: 0,
  statistics: 1,
  peerDown: 2,
  peerUp: 3,
  initiation: 4,
  termination: 5,
  routeMirroring: 6,
} as const;

/** RFC 7854 4.2, RFC 9069 4.1. */
export const PeerType = { global: 0, distinguished: 1, local: 2, locRib: 3 } as const;

/** Bits of the peer flags (RFC 7854 4.2, RFC 8671 4). */
const Bit = { ipv6: 0x80, postPolicy: 0x40, as2: 0x20, adjRibOut: 0x10 } as const;
/** The one bit of a Loc-RIB peer (RFC 9069 4.2). */
const FILTERED = 0x80;

/** Types of statistics that are written here (RFC 7854 4.8, RFC 8671 6.2). */
export const Statistic = {
  adjRibIn: 7,
  locRib: 8,
  adjRibInFamily: 9,
  locRibFamily: 10,
  treatedAsWithdraw: 11,
  adjRibOut: 15,
  adjRibOutFamily: 17,
} as const;

/** RFC 7854 4.9, RFC 9069 5.3. */
export const DownReason = {
  localNotification: 1,
  localSilent: 2,
  remoteNotification: 3,
  remoteSilent: 4,
  deconfigured: 5,
  localTlv: 6,
} as const;

/** The per-peer header. */
export interface BmpPeer {
  readonly type: number;
  /** 8 octets as text of 16 digits; zeros for a global instance. */
  readonly distinguisher: string;
  /** Undefined for a Loc-RIB. */
  readonly address: Address | undefined;
  readonly asn: number;
  /** Host byte order. */
  readonly routerId: number;
  readonly postPolicy: boolean;
  readonly adjRibOut: boolean;
  /** AS_PATH has 2-octet numbers. */
  readonly as2: boolean;
  /** Of a Loc-RIB: a policy chose what is shown. */
  readonly filtered: boolean;
  /** Microseconds since 1970; 0 is unknown. */
  readonly timeUs: bigint;
}

export interface Tlv {
  readonly type: number;
  readonly value: Uint8Array;
}

/** One statistic; AFI and SAFI for those that are by family. */
export interface Stat {
  readonly type: number;
  readonly value: bigint;
  readonly afi?: number;
  readonly safi?: number;
}

export type BmpMessage =
  | {
      readonly kind: "route-monitoring";
      readonly peer: BmpPeer /** A whole BGP message. */;
      readonly update: Uint8Array;
    }
  | { readonly kind: "statistics"; readonly peer: BmpPeer; readonly stats: readonly Stat[] }
  | {
      readonly kind: "peer-down";
      readonly peer: BmpPeer;
      readonly reason: number;
      /** A NOTIFICATION, a code of the state machine, or TLVs, by reason. */
      readonly data: Uint8Array;
    }
  | {
      readonly kind: "peer-up";
      readonly peer: BmpPeer;
      readonly localAddress: Address | undefined;
      readonly localPort: number;
      readonly remotePort: number;
      /** Whole OPEN messages. */
      readonly sentOpen: Uint8Array;
      readonly receivedOpen: Uint8Array;
      readonly information: readonly Tlv[];
    }
  | { readonly kind: "initiation" | "termination"; readonly information: readonly Tlv[] }
  | { readonly kind: "route-mirroring"; readonly peer: BmpPeer; readonly information: readonly Tlv[] }
  | { readonly kind: "unknown"; readonly type: number };

const utf8 = new TextEncoder();
export const textTlv = (type: number, text: string): Tlv => ({ type, value: utf8.encode(text) });

const none: Address = { family: 4, hi: 0n, lo: 0n };

/** A message of parts behind the common header. */
function whole(type: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const length = COMMON_BYTES + parts.reduce((sum, p) => sum + p.length, 0);
  const out = new Uint8Array(length);
  out[0] = BMP_VERSION;
  new DataView(out.buffer).setUint32(1, length);
  out[5] = type;
  let at = COMMON_BYTES;
  for (const p of parts) {
    out.set(p, at);
    at += p.length;
  }
  return out;
}

/** An address in 16 octets: IPv4 in the last four (RFC 7854 4.2). */
function wide(a: Address | undefined): Uint8Array {
  const out = new Uint8Array(16);
  const bytes = toBytes(a ?? none);
  out.set(bytes, 16 - bytes.length);
  return out;
}

export function encodePeer(p: BmpPeer): Uint8Array {
  const out = new Uint8Array(PEER_BYTES);
  const view = new DataView(out.buffer);
  out[0] = p.type;
  out[1] =
    p.type === PeerType.locRib
      ? p.filtered
        ? FILTERED
        : 0
      : (p.address?.family === 6 ? Bit.ipv6 : 0) |
        (p.postPolicy ? Bit.postPolicy : 0) |
        (p.as2 ? Bit.as2 : 0) |
        (p.adjRibOut ? Bit.adjRibOut : 0);
  view.setBigUint64(2, BigInt(`0x${p.distinguisher}`));
  out.set(wide(p.address), 10);
  view.setUint32(26, p.asn);
  view.setUint32(30, p.routerId);
  view.setUint32(34, Number(p.timeUs / 1_000_000n));
  view.setUint32(38, Number(p.timeUs % 1_000_000n));
  return out;
}

function encodeTlvs(tlvs: readonly Tlv[]): Uint8Array {
  const out = new Uint8Array(tlvs.reduce((sum, t) => sum + 4 + t.value.length, 0));
  const view = new DataView(out.buffer);
  let at = 0;
  for (const { type, value } of tlvs) {
    view.setUint16(at, type);
    view.setUint16(at + 2, value.length);
    out.set(value, at + 4);
    at += 4 + value.length;
  }
  return out;
}

export const initiation = (information: readonly Tlv[]): Uint8Array =>
  whole(BmpType.initiation, encodeTlvs(information));
/** Reason 0 of RFC 7854 4.5: administratively closed. */
export const termination = (): Uint8Array =>
  whole(BmpType.termination, encodeTlvs([{ type: 1, value: Uint8Array.of(0, 0) }]));

export const routeMonitoring = (peer: Uint8Array, update: Uint8Array): Uint8Array =>
  whole(BmpType.routeMonitoring, peer, update);

export function peerUp(
  peer: Uint8Array,
  m: Omit<Extract<BmpMessage, { kind: "peer-up" }>, "kind" | "peer">,
): Uint8Array {
  const ports = new Uint8Array(4);
  const view = new DataView(ports.buffer);
  view.setUint16(0, m.localPort);
  view.setUint16(2, m.remotePort);
  return whole(
    BmpType.peerUp,
    peer,
    wide(m.localAddress),
    ports,
    m.sentOpen,
    m.receivedOpen,
    encodeTlvs(m.information),
  );
}

export const peerDown = (peer: Uint8Array, reason: number, data: Uint8Array): Uint8Array =>
  whole(BmpType.peerDown, peer, Uint8Array.of(reason), data);

/** Statistics of 64 bits and by family are gauges; 32-bit ones are counters. */
const isCounter = (type: number): boolean =>
  type !== 7 && type !== 8 && !isByFamily(type) && type !== 14 && type !== 15;
const isByFamily = (type: number): boolean => type === 9 || type === 10 || type === 16 || type === 17;

export function statistics(peer: Uint8Array, stats: readonly Stat[]): Uint8Array {
  const count = new Uint8Array(4);
  new DataView(count.buffer).setUint32(0, stats.length);
  const tlvs = stats.map(({ type, value, afi = 0, safi = 0 }): Tlv => {
    const head = isByFamily(type) ? 3 : 0;
    const out = new Uint8Array(head + (isCounter(type) ? 4 : 8));
    const view = new DataView(out.buffer);
    if (head > 0) {
      view.setUint16(0, afi);
      out[2] = safi;
    }
    if (isCounter(type)) view.setUint32(0, Number(value & 0xffffffffn));
    else view.setBigUint64(head, value);
    return { type, value: out };
  });
  return whole(BmpType.statistics, peer, count, encodeTlvs(tlvs));
}

/** Reads one whole message. Text says why it cannot be read. */
export function decodeMessage(b: Uint8Array): BmpMessage | string {
  if (b.length < COMMON_BYTES) return "message is too short";
  if (b[0] !== BMP_VERSION) return `version ${b[0]}`;
  const view = new DataView(b.buffer, b.byteOffset, b.length);
  if (view.getUint32(1) !== b.length) return "length does not fit";
  const type = b[5]!;
  if (type === BmpType.initiation || type === BmpType.termination) {
    const information = decodeTlvs(b.subarray(COMMON_BYTES));
    if (!information) return "malformed information";
    return { kind: type === BmpType.initiation ? "initiation" : "termination", information };
  }
  if (type > BmpType.routeMirroring) return { kind: "unknown", type };
  if (b.length < COMMON_BYTES + PEER_BYTES) return "per-peer header is truncated";
  const peer = decodePeer(b.subarray(COMMON_BYTES, COMMON_BYTES + PEER_BYTES));
  const body = b.subarray(COMMON_BYTES + PEER_BYTES);
  switch (type) {
    case BmpType.routeMonitoring: {
      const length = bgpLength(body, 0);
      return length === body.length
        ? { kind: "route-monitoring", peer, update: body.slice() }
        : "BGP message does not fill the message";
    }
    case BmpType.statistics:
      return decodeStatistics(peer, body);
    case BmpType.peerDown:
      return body.length < 1
        ? "reason is missing"
        : { kind: "peer-down", peer, reason: body[0]!, data: body.slice(1) };
    case BmpType.peerUp:
      return decodePeerUp(peer, body);
    default: {
      const information = decodeTlvs(body);
      return information ? { kind: "route-mirroring", peer, information } : "malformed information";
    }
  }
}

/** Length of the BGP message at `at`, by its header; 0 where there is none. */
function bgpLength(b: Uint8Array, at: number): number {
  if (at + 19 > b.length) return 0;
  const length = (b[at + 16]! << 8) | b[at + 17]!;
  return length < 19 || at + length > b.length ? 0 : length;
}

function decodePeer(b: Uint8Array): BmpPeer {
  const view = new DataView(b.buffer, b.byteOffset, b.length);
  const type = b[0]!;
  const flags = b[1]!;
  const loc = type === PeerType.locRib;
  return {
    type,
    distinguisher: view.getBigUint64(2).toString(16).padStart(16, "0"),
    address: loc ? undefined : narrow(b.subarray(10, 26), (flags & Bit.ipv6) !== 0),
    asn: view.getUint32(26),
    routerId: view.getUint32(30),
    postPolicy: !loc && (flags & Bit.postPolicy) !== 0,
    adjRibOut: !loc && (flags & Bit.adjRibOut) !== 0,
    as2: !loc && (flags & Bit.as2) !== 0,
    filtered: loc && (flags & FILTERED) !== 0,
    timeUs: BigInt(view.getUint32(34)) * 1_000_000n + BigInt(view.getUint32(38)),
  };
}

const narrow = (b: Uint8Array, ipv6: boolean): Address => fromBytes(ipv6 ? b.slice() : b.slice(12));

function decodeTlvs(b: Uint8Array): Tlv[] | undefined {
  const out: Tlv[] = [];
  const view = new DataView(b.buffer, b.byteOffset, b.length);
  for (let at = 0; at < b.length; ) {
    if (at + 4 > b.length) return undefined;
    const length = view.getUint16(at + 2);
    if (at + 4 + length > b.length) return undefined;
    out.push({ type: view.getUint16(at), value: b.slice(at + 4, at + 4 + length) });
    at += 4 + length;
  }
  return out;
}

function decodeStatistics(peer: BmpPeer, body: Uint8Array): BmpMessage | string {
  if (body.length < 4) return "count is missing";
  const tlvs = decodeTlvs(body.subarray(4));
  if (!tlvs) return "malformed statistics";
  const count = new DataView(body.buffer, body.byteOffset, body.length).getUint32(0);
  if (count !== tlvs.length) return `${tlvs.length} statistics where ${count} are announced`;
  const stats: Stat[] = [];
  for (const { type, value } of tlvs) {
    const view = new DataView(value.buffer, value.byteOffset, value.length);
    if (value.length === 4) stats.push({ type, value: BigInt(view.getUint32(0)) });
    else if (value.length === 8) stats.push({ type, value: view.getBigUint64(0) });
    else if (value.length === 11)
      stats.push({ type, value: view.getBigUint64(3), afi: view.getUint16(0), safi: value[2]! });
    // A form that no RFC gives: skipped, as RFC 7854 4.8 asks for.
  }
  return { kind: "statistics", peer, stats };
}

function decodePeerUp(peer: BmpPeer, body: Uint8Array): BmpMessage | string {
  const sent = bgpLength(body, 20);
  const received = sent > 0 ? bgpLength(body, 20 + sent) : 0;
  if (sent === 0 || received === 0) return "OPEN messages are missing";
  const view = new DataView(body.buffer, body.byteOffset, body.length);
  const information = decodeTlvs(body.subarray(20 + sent + received));
  if (!information) return "malformed information";
  return {
    kind: "peer-up",
    peer,
    localAddress:
      peer.type === PeerType.locRib ? undefined : narrow(body.subarray(0, 16), peer.address?.family === 6),
    localPort: view.getUint16(16),
    remotePort: view.getUint16(18),
    sentOpen: body.slice(20, 20 + sent),
    receivedOpen: body.slice(20 + sent, 20 + sent + received),
    information,
  };
}

/** Cuts a stream into messages; holds at most one. */
export class BmpReader {
  #rest: Uint8Array = new Uint8Array(0);

  /** Feeds a chunk and hands out each whole message. Text ends the stream: what follows has no beginning any more. */
  push(chunk: Uint8Array, take: (message: BmpMessage) => void): string | undefined {
    const b = new Uint8Array(this.#rest.length + chunk.length);
    b.set(this.#rest);
    b.set(chunk, this.#rest.length);
    const view = new DataView(b.buffer);
    let at = 0;
    while (at + COMMON_BYTES <= b.length) {
      const length = view.getUint32(at + 1);
      if (b[at] !== BMP_VERSION) return `version ${b[at]}`;
      if (length < COMMON_BYTES || length > MESSAGE_BYTES_MAX) return `message of ${length} octets`;
      if (at + length > b.length) break;
      const message = decodeMessage(b.subarray(at, at + length));
      if (typeof message === "string") return message;
      take(message);
      at += length;
    }
    this.#rest = b.slice(at);
    return undefined;
  }
}
