// bgp/mrt: MRT records (RFC 6396, RFC 8050): table dumps with their peers, messages and state changes; read and written without I/O.
import { type Address, fromBytes, type Prefix, toBytes } from "../../net/address.ts";
import type { PathAttributes } from "../wire/attributes.ts";
import {
  type Afi,
  AS_TRANS,
  Attr,
  addressBytes,
  Flag,
  HEADER_BYTES,
  MessageType,
} from "../wire/constants.ts";
import { nlriBytes, writeNlri } from "../wire/nlri.ts";
import { attributesOf, readAttributes, readPrefixes, readRoutes, type SeenUpdate } from "../wire/routes.ts";

export const RECORD_HEADER_BYTES = 12;
/** Longest record that is read. */
export const RECORD_BYTES_MAX = 4 * 1024 * 1024;

/** RFC 6396 4. */
export const MrtType = { tableDumpV2: 13, bgp4mp: 16, bgp4mpEt: 17 } as const;
/** RFC 6396 4.3, RFC 8050 4. */
export const TableSubtype = {
  peerIndex: 1,
  ipv4: 2,
  ipv6: 4,
  ipv4AddPath: 8,
  ipv6AddPath: 10,
} as const;
/** RFC 6396 4.4, RFC 8050 3. */
export const MessageSubtype = {
  stateChange: 0,
  message: 1,
  messageAs4: 4,
  stateChangeAs4: 5,
  messageLocal: 6,
  messageAs4Local: 7,
  messageAddPath: 8,
  messageAs4AddPath: 9,
  messageLocalAddPath: 10,
  messageAs4LocalAddPath: 11,
} as const;

export interface IndexedPeer {
  readonly address: Address;
  readonly asn: number;
  /** Host byte order. */
  readonly routerId: number;
}

export interface RibEntry {
  readonly peer: number;
  /** Seconds since 1970. */
  readonly originated: number;
  /** 0 where the record has none. */
  readonly pathId: number;
  readonly attributes: PathAttributes;
}

/** What messages and state changes say of their session. */
export interface MrtSession {
  readonly peerAsn: number;
  readonly localAsn: number;
  readonly peerAddress: Address;
  readonly localAddress: Address;
}

export type MrtRecord = { readonly timeMs: number } & (
  | {
      readonly kind: "peer-index";
      readonly collectorId: number;
      readonly view: string;
      readonly peers: readonly IndexedPeer[];
    }
  | {
      readonly kind: "rib";
      readonly sequence: number;
      readonly prefix: Prefix;
      readonly entries: readonly RibEntry[];
    }
  | {
      readonly kind: "message";
      readonly session: MrtSession;
      /** We sent it (RFC 6396 4.4.5). */
      readonly local: boolean;
      readonly message: Uint8Array;
      /** Of an UPDATE; text where it cannot be read. */
      readonly update: SeenUpdate | string | undefined;
    }
  | { readonly kind: "state"; readonly session: MrtSession; readonly from: number; readonly to: number }
  | { readonly kind: "unknown"; readonly type: number; readonly subtype: number }
);

function record(timeMs: number, type: number, subtype: number, body: Uint8Array): Uint8Array {
  const out = new Uint8Array(RECORD_HEADER_BYTES + body.length);
  const view = new DataView(out.buffer);
  view.setUint32(0, Math.floor(timeMs / 1000));
  view.setUint16(4, type);
  view.setUint16(6, subtype);
  view.setUint32(8, body.length);
  out.set(body, RECORD_HEADER_BYTES);
  return out;
}

/** Grows as it is written to; integers in network byte order. */
class Body {
  #bytes = new Uint8Array(256);
  #end = 0;

  #room(n: number): number {
    if (this.#end + n > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(this.#bytes.length * 2, this.#end + n));
      grown.set(this.#bytes.subarray(0, this.#end));
      this.#bytes = grown;
    }
    const at = this.#end;
    this.#end += n;
    return at;
  }

  uint(value: number, bytes: 1 | 2 | 4): this {
    let at = this.#room(bytes);
    for (let shift = (bytes - 1) * 8; shift >= 0; shift -= 8) this.#bytes[at++] = (value >>> shift) & 255;
    return this;
  }

  bytes(b: Uint8Array): this {
    const at = this.#room(b.length);
    this.#bytes.set(b, at);
    return this;
  }

  nlri(keys: Uint32Array, key: number, length: number): this {
    const at = this.#room(nlriBytes(length));
    writeNlri(this.#bytes, at, keys, key, length);
    return this;
  }

  finish(): Uint8Array {
    return this.#bytes.slice(0, this.#end);
  }
}

/** PEER_INDEX_TABLE (RFC 6396 4.3.1). */
export function peerIndexTable(
  timeMs: number,
  collectorId: number,
  view: string,
  peers: readonly IndexedPeer[],
): Uint8Array {
  const name = new TextEncoder().encode(view);
  const body = new Body().uint(collectorId, 4).uint(name.length, 2).bytes(name).uint(peers.length, 2);
  for (const { address, asn, routerId } of peers)
    body
      // 4-octet AS number, and IPv6 where it is.
      .uint(2 | (address.family === 6 ? 1 : 0), 1)
      .uint(routerId, 4)
      .bytes(toBytes(address))
      .uint(asn, 4);
  return record(timeMs, MrtType.tableDumpV2, TableSubtype.peerIndex, body.finish());
}

/** One path of a prefix; `attributes` are canonical octets (bgp/wire/canonical.ts). */
export interface WrittenEntry {
  readonly peer: number;
  readonly originated: number;
  readonly pathId: number;
  readonly attributes: Uint8Array;
}

/** RIB_IPV4_UNICAST and its like (RFC 6396 4.3.2, RFC 8050 4); with path identifiers as soon as one path has one. */
export function ribRecord(
  timeMs: number,
  sequence: number,
  afi: Afi,
  keys: Uint32Array,
  key: number,
  length: number,
  entries: readonly WrittenEntry[],
): Uint8Array {
  const addPath = entries.some((e) => e.pathId !== 0);
  const body = new Body().uint(sequence, 4).nlri(keys, key, length).uint(entries.length, 2);
  for (const e of entries) {
    const attributes = abbreviated(e.attributes);
    body.uint(e.peer, 2).uint(e.originated, 4);
    if (addPath) body.uint(e.pathId, 4);
    body.uint(attributes.length, 2).bytes(attributes);
  }
  const { ipv4, ipv6, ipv4AddPath, ipv6AddPath } = TableSubtype;
  const subtype = afi === 1 ? (addPath ? ipv4AddPath : ipv4) : addPath ? ipv6AddPath : ipv6;
  return record(timeMs, MrtType.tableDumpV2, subtype, body.finish());
}

/** A leading MP_REACH_NLRI is cut to the length of its next hop and the next hop (RFC 6396 4.3.4). */
function abbreviated(b: Uint8Array): Uint8Array {
  if (b[1] !== Attr.mpReach) return b;
  const hop = b[6]!;
  const rest = b.subarray(3 + b[2]!);
  const out = new Uint8Array(4 + hop + rest.length);
  out.set([Flag.optional, Attr.mpReach, 1 + hop, hop]);
  out.set(b.subarray(7, 7 + hop), 4);
  out.set(rest, 4 + hop);
  return out;
}

function sessionHead(s: MrtSession, as4: boolean): Body {
  const asn = (n: number): number => (as4 || n <= 0xffff ? n : AS_TRANS);
  const size = as4 ? 4 : 2;
  return new Body()
    .uint(asn(s.peerAsn), size)
    .uint(asn(s.localAsn), size)
    .uint(0, 2)
    .uint(s.peerAddress.family === 4 ? 1 : 2, 2)
    .bytes(toBytes(s.peerAddress))
    .bytes(toBytes(s.localAddress));
}

/**
 * BGP4MP_MESSAGE and its like (RFC 6396 4.4.2, RFC 8050 3).
 * @param as4 whether AS numbers in the message have 4 octets
 */
export function messageRecord(
  timeMs: number,
  session: MrtSession,
  message: Uint8Array,
  { as4, local, addPath }: { readonly as4: boolean; readonly local: boolean; readonly addPath: boolean },
): Uint8Array {
  const m = MessageSubtype;
  const plain = as4 ? (local ? m.messageAs4Local : m.messageAs4) : local ? m.messageLocal : m.message;
  const withIds = as4
    ? local
      ? m.messageAs4LocalAddPath
      : m.messageAs4AddPath
    : local
      ? m.messageLocalAddPath
      : m.messageAddPath;
  const body = sessionHead(session, as4).bytes(message).finish();
  return record(timeMs, MrtType.bgp4mp, addPath ? withIds : plain, body);
}

/** BGP4MP_STATE_CHANGE_AS4 (RFC 6396 4.4.4). States count from 1, Idle. */
export const stateRecord = (timeMs: number, session: MrtSession, from: number, to: number): Uint8Array =>
  record(
    timeMs,
    MrtType.bgp4mp,
    MessageSubtype.stateChangeAs4,
    sessionHead(session, true).uint(from, 2).uint(to, 2).finish(),
  );

/** Reads integers and addresses; what lies beyond the end throws a RangeError, which {@link decodeRecord} turns into text. */
class Cursor {
  at: number;
  readonly b: Uint8Array;
  readonly #view: DataView;
  constructor(b: Uint8Array, at: number) {
    this.b = b;
    this.at = at;
    this.#view = new DataView(b.buffer, b.byteOffset, b.length);
  }

  uint(bytes: 1 | 2 | 4): number {
    const { at } = this;
    this.at += bytes;
    if (bytes === 1) return this.#view.getUint8(at);
    return bytes === 2 ? this.#view.getUint16(at) : this.#view.getUint32(at);
  }

  take(n: number): Uint8Array {
    if (this.at + n > this.b.length) throw new RangeError("record is too short");
    this.at += n;
    return this.b.slice(this.at - n, this.at);
  }

  address(family: 4 | 6): Address {
    return fromBytes(this.take(family === 4 ? 4 : 16));
  }
}

/** Reads one whole record. Text says why it cannot be read. */
export function decodeRecord(b: Uint8Array): MrtRecord | string {
  try {
    return decode(b);
  } catch (error) {
    if (error instanceof RangeError) return "record is too short";
    throw error;
  }
}

function decode(b: Uint8Array): MrtRecord | string {
  const c = new Cursor(b, 0);
  let timeMs = c.uint(4) * 1000;
  const type = c.uint(2);
  const subtype = c.uint(2);
  if (c.uint(4) !== b.length - RECORD_HEADER_BYTES) return "length does not fit";
  if (type === MrtType.bgp4mpEt) timeMs += c.uint(4) / 1000;
  if (type === MrtType.tableDumpV2) {
    if (subtype === TableSubtype.peerIndex) return decodeIndex(c, timeMs);
    const afi = subtype === TableSubtype.ipv4 || subtype === TableSubtype.ipv4AddPath ? 1 : 2;
    const known: readonly number[] = Object.values(TableSubtype);
    if (known.includes(subtype)) return decodeRib(c, timeMs, afi, subtype >= TableSubtype.ipv4AddPath);
  }
  if (type === MrtType.bgp4mp || type === MrtType.bgp4mpEt) return decodeMessage(c, timeMs, type, subtype);
  return { kind: "unknown", timeMs, type, subtype };
}

function decodeIndex(c: Cursor, timeMs: number): MrtRecord {
  const collectorId = c.uint(4);
  const view = new TextDecoder().decode(c.take(c.uint(2)));
  const peers: IndexedPeer[] = [];
  for (let left = c.uint(2); left > 0; left--) {
    const kind = c.uint(1);
    const routerId = c.uint(4);
    const address = c.address(kind & 1 ? 6 : 4);
    peers.push({ address, routerId, asn: c.uint(kind & 2 ? 4 : 2) });
  }
  return { kind: "peer-index", timeMs, collectorId, view, peers };
}

function decodeRib(c: Cursor, timeMs: number, afi: Afi, addPath: boolean): MrtRecord | string {
  const sequence = c.uint(4);
  const bytes = nlriBytes(c.b[c.at] ?? 0);
  const [seen] = readPrefixes(c.b, c.at, Math.min(c.at + bytes, c.b.length), afi, false) ?? [];
  if (!seen) return "malformed prefix";
  c.at += bytes;
  const entries: RibEntry[] = [];
  for (let left = c.uint(2); left > 0; left--) {
    const peer = c.uint(2);
    const originated = c.uint(4);
    const pathId = addPath ? c.uint(4) : 0;
    const field = c.take(c.uint(2));
    const read = readAttributes(field, 0, field.length, afi, true, true);
    if (typeof read === "string") return read;
    const nextHop = read.draft.nextHop ?? new Uint8Array(addressBytes(afi));
    entries.push({ peer, originated, pathId, attributes: attributesOf(read.draft, afi, nextHop) });
  }
  return { kind: "rib", timeMs, sequence, prefix: seen.prefix, entries };
}

function decodeMessage(c: Cursor, timeMs: number, type: number, subtype: number): MrtRecord | string {
  const m = MessageSubtype;
  const as4 = [
    m.messageAs4,
    m.stateChangeAs4,
    m.messageAs4Local,
    m.messageAs4AddPath,
    m.messageAs4LocalAddPath,
  ].includes(subtype as never);
  const known: readonly number[] = Object.values(m);
  if (!known.includes(subtype)) return { kind: "unknown", timeMs, type, subtype };
  const size = as4 ? 4 : 2;
  const peerAsn = c.uint(size);
  const localAsn = c.uint(size);
  c.uint(2);
  const family = c.uint(2) === 1 ? 4 : 6;
  const session = { peerAsn, localAsn, peerAddress: c.address(family), localAddress: c.address(family) };
  if (subtype === m.stateChange || subtype === m.stateChangeAs4)
    return { kind: "state", timeMs, session, from: c.uint(2), to: c.uint(2) };
  const message = c.take(c.b.length - c.at);
  if (message.length < HEADER_BYTES || ((message[16]! << 8) | message[17]!) !== message.length)
    return "BGP message does not fill the record";
  const addPath = subtype >= m.messageAddPath;
  const update =
    message[18] === MessageType.update
      ? readRoutes(message, HEADER_BYTES, message.length, { as4, addPath: { 1: addPath, 2: addPath } })
      : undefined;
  const local = [m.messageLocal, m.messageAs4Local, m.messageLocalAddPath, m.messageAs4LocalAddPath].includes(
    subtype as never,
  );
  return { kind: "message", timeMs, session, local, message, update };
}

/** Cuts a stream into records; holds at most one. */
export class MrtReader {
  #rest: Uint8Array = new Uint8Array(0);

  /** Feeds a chunk and hands out each record, or text for one that cannot be read. Text returned ends the stream. */
  push(chunk: Uint8Array, take: (record: MrtRecord | string) => void): string | undefined {
    const b = new Uint8Array(this.#rest.length + chunk.length);
    b.set(this.#rest);
    b.set(chunk, this.#rest.length);
    const view = new DataView(b.buffer);
    let at = 0;
    while (at + RECORD_HEADER_BYTES <= b.length) {
      const length = view.getUint32(at + 8);
      if (length > RECORD_BYTES_MAX) return `record of ${length} octets`;
      if (at + RECORD_HEADER_BYTES + length > b.length) break;
      take(decodeRecord(b.subarray(at, at + RECORD_HEADER_BYTES + length)));
      at += RECORD_HEADER_BYTES + length;
    }
    this.#rest = b.slice(at);
    return undefined;
  }

  /** Octets of a record whose end has not come. */
  get unfinished(): number {
    return this.#rest.length;
  }
}
