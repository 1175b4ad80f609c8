// datapath: synthetic packets for proofs, built whole with every checksum, so that what comes out can be compared byte by byte.
import { type Address, toBytes } from "../net/address.ts";

const ethernetSize = 14;
const TCP = 6;
const UDP = 17;
const ICMP = 1;
const ICMPV6 = 58;
const SYN = 2;

/** Ones' complement sum over 16-bit words, folded (RFC 1071). */
export function checksum(...parts: readonly Uint8Array[]): number {
  let sum = 0;
  for (const part of parts) {
    const v = new DataView(part.buffer, part.byteOffset, part.length);
    for (let i = 0; i + 1 < part.length; i += 2) sum += v.getUint16(i);
    if (part.length % 2 === 1) sum += (part.at(-1) ?? 0) << 8;
  }
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

export interface PacketSpec {
  readonly destinationMac: Uint8Array;
  readonly sourceMac: Uint8Array;
  readonly source: Address;
  readonly destination: Address;
  /** Time to live, hop limit. */
  readonly ttl?: number;
  readonly payload:
    | { readonly kind: "TCP" | "UDP"; readonly sourcePort: number; readonly destinationPort: number }
    | { readonly kind: "echo"; readonly reply: boolean };
}

const text = new TextEncoder().encode("waggle proof");

function l4(spec: PacketSpec): { protocol: number; bytes: Uint8Array; checksumAt: number; pseudo: boolean } {
  const { payload } = spec;
  const six = spec.destination.family === 6;
  if (payload.kind === "echo") {
    const bytes = new Uint8Array(8 + text.length);
    const v = new DataView(bytes.buffer);
    bytes[0] = six ? (payload.reply ? 129 : 128) : payload.reply ? 0 : 8;
    v.setUint16(4, 0x5767);
    v.setUint16(6, 1);
    bytes.set(text, 8);
    return { protocol: six ? ICMPV6 : ICMP, bytes, checksumAt: 2, pseudo: six };
  }
  const size = payload.kind === "TCP" ? 20 : 8;
  const bytes = new Uint8Array(size + (payload.kind === "TCP" ? 0 : text.length));
  const v = new DataView(bytes.buffer);
  v.setUint16(0, payload.sourcePort);
  v.setUint16(2, payload.destinationPort);
  if (payload.kind === "TCP") {
    v.setUint32(4, 0x57616767);
    bytes[12] = 5 << 4;
    bytes[13] = SYN;
    v.setUint16(14, 64_240);
    return { protocol: TCP, bytes, checksumAt: 16, pseudo: true };
  }
  v.setUint16(4, bytes.length);
  bytes.set(text, size);
  return { protocol: UDP, bytes, checksumAt: 6, pseudo: true };
}

/** The frame, from the Ethernet header on. */
export function buildPacket(spec: PacketSpec): Uint8Array {
  const { protocol, bytes, checksumAt, pseudo } = l4(spec);
  const source = toBytes(spec.source);
  const destination = toBytes(spec.destination);
  const pseudoHeader = new Uint8Array(8);
  const pv = new DataView(pseudoHeader.buffer);
  pv.setUint32(0, bytes.length);
  pseudoHeader[7] = protocol;
  const sum = pseudo ? checksum(source, destination, pseudoHeader, bytes) : checksum(bytes);
  new DataView(bytes.buffer).setUint16(checksumAt, sum === 0 && protocol === UDP ? 0xffff : sum);
  const six = spec.destination.family === 6;
  const header = new Uint8Array(six ? 40 : 20);
  const v = new DataView(header.buffer);
  const ttl = spec.ttl ?? 64;
  if (six) {
    v.setUint32(0, 0x6000_0000);
    v.setUint16(4, bytes.length);
    header[6] = protocol;
    header[7] = ttl;
    header.set(source, 8);
    header.set(destination, 24);
  } else {
    header[0] = 0x45;
    v.setUint16(2, 20 + bytes.length);
    v.setUint16(6, 0x4000);
    header[8] = ttl;
    header[9] = protocol;
    header.set(source, 12);
    header.set(destination, 16);
    v.setUint16(10, checksum(header));
  }
  const frame = new Uint8Array(ethernetSize + header.length + bytes.length);
  frame.set(spec.destinationMac);
  frame.set(spec.sourceMac, 6);
  new DataView(frame.buffer).setUint16(12, six ? 0x86dd : 0x0800);
  frame.set(header, ethernetSize);
  frame.set(bytes, ethernetSize + header.length);
  return frame;
}
