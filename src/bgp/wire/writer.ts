// bgp/wire: writing UPDATEs: as many prefixes behind one attribute set as a message holds.
import { pathLength, writeAsPath } from "./aspath.ts";
import { decodeCanonical, writeAttribute } from "./canonical.ts";
import {
  type Afi,
  AS_TRANS,
  Attr,
  addressBytes,
  Flag,
  HEADER_BYTES,
  MESSAGE_BYTES_MAX,
  MessageType,
  SAFI_UNICAST,
} from "./constants.ts";
import { message, writeHeader } from "./frame.ts";
import { nlriBytes, PATH_ID_BYTES, writeNlri } from "./nlri.ts";

/** Octets of an UPDATE before its attributes when it withdraws nothing: header and two lengths. */
const EMPTY_UPDATE_BYTES = HEADER_BYTES + 4;
/** MP_UNREACH_NLRI before its NLRI: flags, code, two length octets, AFI, SAFI. */
const UNREACH_HEAD_BYTES = 7;

/**
 * Writes UPDATEs one after another into one growing buffer. Use: `withdraw()` or `announce()` opens a message, `add()` puts prefixes
 * into it and starts a further one like it when it is full, `finish()` closes the last and hands out everything, `lend()` without a copy.
 */
export class UpdateWriter {
  #out = new Uint8Array(64 * 1024);
  #end = 0;
  #messageStart = -1;
  #afi: Afi = 1;
  /** Attributes of the open message; undefined while it withdraws. */
  #attributes: Uint8Array | undefined;
  #attributesStart = 0;
  #attributesEnd = 0;
  #limit = MESSAGE_BYTES_MAX;
  /** Octets in front of each prefix of the open message. */
  #idBytes: 0 | 4 = 0;
  /** Messages written since `begin`. */
  messages = 0;

  /** Starts over; `messageBytesMax` is what the session negotiated. */
  begin(messageBytesMax: number): void {
    this.#end = 0;
    this.#messageStart = -1;
    this.#limit = messageBytesMax;
    this.messages = 0;
  }

  /** Octets written so far. */
  get length(): number {
    return this.#end;
  }

  /** @param pathIds whether each prefix is to have a path identifier (RFC 7911) */
  withdraw(afi: Afi, pathIds = false): void {
    this.#close();
    this.#afi = afi;
    this.#idBytes = pathIds ? PATH_ID_BYTES : 0;
    this.#attributes = undefined;
    this.#open();
  }

  /**
   * Opens a message with the canonical attributes in `b[start, end)`.
   * False when they leave no room for a single prefix: such a route cannot be announced to this session.
   */
  announce(afi: Afi, b: Uint8Array, start: number, end: number, pathIds = false): boolean {
    this.#close();
    this.#afi = afi;
    this.#idBytes = pathIds ? PATH_ID_BYTES : 0;
    const needed = EMPTY_UPDATE_BYTES + 1 + (end - start) + this.#idBytes + nlriBytes(addressBytes(afi) * 8);
    if (needed > this.#limit) return false;
    this.#attributes = b;
    this.#attributesStart = start;
    this.#attributesEnd = end;
    this.#open();
    return true;
  }

  /** Adds the prefix whose words begin at `keys[key]`; `id` counts only where the message has path identifiers. */
  add(keys: Uint32Array, key: number, length: number, id = 0): void {
    if (this.#end - this.#messageStart + this.#tailBytes + nlriBytes(length) + this.#idBytes > this.#limit) {
      this.#close();
      this.#open();
    }
    if (this.#idBytes > 0) {
      put16(this.#out, this.#end, id >>> 16);
      put16(this.#out, this.#end + 2, id & 0xffff);
      this.#end += PATH_ID_BYTES;
    }
    this.#end = writeNlri(this.#out, this.#end, keys, key, length);
  }

  /** A copy of all messages. */
  finish(): Uint8Array {
    return this.lend().slice();
  }

  /** All messages where they lie: they stay so until `begin`, and after {@link giveAway} for good. */
  lend(): Uint8Array {
    this.#close();
    return this.#out.subarray(0, this.#end);
  }

  /** Somebody still needs what was lent: the next messages go elsewhere. */
  giveAway(): void {
    this.#out = new Uint8Array(this.#out.length);
  }

  get #mp(): boolean {
    return this.#attributes ? this.#attributes[this.#attributesStart + 1] === Attr.mpReach : this.#afi === 2;
  }

  /** What follows the NLRI in the open message. */
  get #tailBytes(): number {
    if (!this.#attributes) return this.#afi === 1 ? 2 : 0;
    return this.#mp ? this.#attributesEnd - this.#restStart() : 0;
  }

  /** Where the attributes after a leading MP_REACH_NLRI begin; its value is always shorter than 256. */
  #restStart(): number {
    return this.#attributesStart + 3 + this.#attributes![this.#attributesStart + 2]!;
  }

  #open(): void {
    if (this.#end + this.#limit > this.#out.length) {
      const grown = new Uint8Array(Math.max(this.#out.length * 2, this.#end + this.#limit));
      grown.set(this.#out.subarray(0, this.#end));
      this.#out = grown;
    }
    const out = this.#out;
    this.#messageStart = this.#end;
    let at = this.#end + HEADER_BYTES;
    out[at] = out[at + 1] = 0;
    at += 2;
    const a = this.#attributes;
    if (!a) {
      if (this.#afi === 2) {
        at += 2;
        out[at++] = Flag.optional | Flag.extendedLength;
        out[at++] = Attr.mpUnreach;
        at += 2;
        out[at++] = 0;
        out[at++] = this.#afi;
        out[at++] = SAFI_UNICAST;
      }
    } else if (!this.#mp) {
      const length = this.#attributesEnd - this.#attributesStart;
      out[at++] = length >> 8;
      out[at++] = length & 255;
      for (let i = this.#attributesStart; i < this.#attributesEnd; i++) out[at++] = a[i]!;
    } else {
      at += 2;
      out[at++] = Flag.optional | Flag.extendedLength;
      out[at++] = Attr.mpReach;
      at += 2;
      const end = this.#restStart();
      for (let i = this.#attributesStart + 3; i < end; i++) out[at++] = a[i]!;
    }
    this.#end = at;
  }

  #close(): void {
    if (this.#messageStart < 0) return;
    const out = this.#out;
    const start = this.#messageStart;
    const lengths = start + HEADER_BYTES;
    if (!this.#attributes) {
      if (this.#afi === 1) {
        put16(out, lengths, this.#end - lengths - 2);
        put16(out, this.#end, 0);
        this.#end += 2;
      } else {
        put16(out, lengths + 2, this.#end - lengths - 4);
        put16(out, lengths + 6, this.#end - lengths - 8);
      }
    } else if (this.#mp) {
      put16(out, lengths + 6, this.#end - lengths - 8);
      for (let i = this.#restStart(); i < this.#attributesEnd; i++) out[this.#end++] = this.#attributes[i]!;
      put16(out, lengths + 2, this.#end - lengths - 4);
    }
    writeHeader(out, start, this.#end - start, MessageType.update);
    this.#messageStart = -1;
    this.messages++;
  }
}

function put16(out: Uint8Array, at: number, value: number): void {
  out[at] = value >> 8;
  out[at + 1] = value & 255;
}

/** End-of-RIB of a family (RFC 4724 2): an empty UPDATE, or an empty MP_UNREACH_NLRI. */
export function endOfRib(afi: Afi): Uint8Array {
  if (afi === 1) return message(MessageType.update, new Uint8Array(4));
  const value = Uint8Array.of(0, afi, SAFI_UNICAST);
  const body = new Uint8Array(4 + UNREACH_HEAD_BYTES - 1);
  body[3] = UNREACH_HEAD_BYTES - 1;
  writeAttribute(body, 4, Flag.optional, Attr.mpUnreach, value);
  return message(MessageType.update, body);
}

/** ROUTE-REFRESH (RFC 2918; the subtype of RFC 7313 is 0 for a plain request). */
export const routeRefresh = (afi: Afi, subtype: 0 | 1 | 2 = 0): Uint8Array =>
  message(MessageType.routeRefresh, Uint8Array.of(0, afi, subtype, SAFI_UNICAST));

/**
 * The same attributes for a session without 4-octet AS numbers (RFC 6793 4.2.2): AS_TRANS in place of what does not fit, and then
 * AS4_PATH and AS4_AGGREGATOR with the truth.
 */
export function toTwoOctet(b: Uint8Array, start: number, end: number, afi: Afi): Uint8Array {
  const { asPath, aggregator } = decodeCanonical(b, start, end, afi);
  const wide = asPath.some((s) => s.asns.some((asn) => asn > 0xffff));
  // Wide enough for all: AS4_PATH is as long as AS_PATH was, the header of each at most 4 octets.
  const out = new Uint8Array((end - start) * 2 + 32);
  const put32 = (value: number) => [value >>> 24, (value >> 16) & 255, (value >> 8) & 255, value & 255];
  let at = 0;
  const tail: [number, Uint8Array][] = [];
  if (wide && pathLength(asPath) > 0) tail.push([Attr.as4Path, writeAsPath(asPath, 4)]);
  if (aggregator && aggregator.asn > 0xffff)
    tail.push([
      Attr.as4Aggregator,
      Uint8Array.from([...put32(aggregator.asn), ...put32(aggregator.address)]),
    ]);
  const emitTail = (before: number) => {
    while (tail.length > 0 && tail[0]![0] < before) {
      const [code, value] = tail.shift()!;
      at = writeAttribute(out, at, Flag.optional | Flag.transitive, code, value);
    }
  };
  for (let i = start; i < end; ) {
    const flags = b[i]!;
    const code = b[i + 1]!;
    const long = (flags & Flag.extendedLength) !== 0;
    const from = i + (long ? 4 : 3);
    i = from + (long ? (b[i + 2]! << 8) | b[i + 3]! : b[i + 2]!);
    if (code !== Attr.mpReach) emitTail(code);
    if (code === Attr.asPath) at = writeAttribute(out, at, flags, code, writeAsPath(asPath, 2));
    else if (code === Attr.aggregator && aggregator) {
      const asn = aggregator.asn > 0xffff ? AS_TRANS : aggregator.asn;
      const value = Uint8Array.from([asn >> 8, asn & 255, ...put32(aggregator.address)]);
      at = writeAttribute(out, at, flags, code, value);
    } else at = writeAttribute(out, at, flags, code, b.subarray(from, i));
  }
  emitTail(256);
  return out.slice(0, at);
}
