// bgp/bfd: the BFD Control packet (RFC 5880 4.1): 24 octets, network byte order, read and written without state.

/** States of a session, in the numbers of the packet's Sta field. */
export const BfdState = { adminDown: 0, down: 1, init: 2, up: 3 } as const;
export type BfdState = (typeof BfdState)[keyof typeof BfdState];
export const stateNames = ["AdminDown", "Down", "Init", "Up"] as const;

/** Why a session was last not up (RFC 5880 4.1). */
export const Diagnostic = {
  none: 0,
  timeExpired: 1,
  echoFailed: 2,
  neighborSignaled: 3,
  forwardingReset: 4,
  pathDown: 5,
  concatenatedPathDown: 6,
  administrativelyDown: 7,
  reverseConcatenatedPathDown: 8,
} as const;
export const diagnosticNames = [
  "no diagnostic",
  "control detection time expired",
  "echo function failed",
  "neighbor signaled session down",
  "forwarding plane reset",
  "path down",
  "concatenated path down",
  "administratively down",
  "reverse concatenated path down",
] as const;

export const PACKET_BYTES = 24;
const VERSION = 1;
/** Bits of the second octet, below the state. */
const Bit = {
  poll: 0x20,
  final: 0x10,
  independent: 0x08,
  authentication: 0x04,
  demand: 0x02,
  multipoint: 0x01,
};

export interface BfdPacket {
  readonly diagnostic: number;
  readonly state: BfdState;
  readonly poll: boolean;
  readonly final: boolean;
  /** The C bit: the sender's BFD does not share fate with its control plane. */
  readonly independent: boolean;
  readonly demand: boolean;
  readonly detectMultiplier: number;
  readonly myDiscriminator: number;
  readonly yourDiscriminator: number;
  /** Microseconds, as the next two. */
  readonly desiredMinTx: number;
  readonly requiredMinRx: number;
  readonly requiredMinEchoRx: number;
}

/** Why a packet is discarded (RFC 5880 6.8.6); counters carry these names. */
export type Refusal =
  | "short"
  | "version"
  | "length"
  | "multiplier"
  | "multipoint"
  | "discriminator"
  | "authentication";

/** Reads the payload of one datagram, with every check of RFC 5880 6.8.6 that needs no session. */
export function decodePacket(b: Uint8Array): BfdPacket | Refusal {
  if (b.length < PACKET_BYTES) return "short";
  if (b[0]! >> 5 !== VERSION) return "version";
  const bits = b[1]!;
  const length = b[3]!;
  if (length < (bits & Bit.authentication ? PACKET_BYTES + 2 : PACKET_BYTES) || length > b.length)
    return "length";
  if (b[2] === 0) return "multiplier";
  if (bits & Bit.multipoint) return "multipoint";
  const view = new DataView(b.buffer, b.byteOffset, b.length);
  const state = (bits >> 6) as BfdState;
  const myDiscriminator = view.getUint32(4);
  const yourDiscriminator = view.getUint32(8);
  if (myDiscriminator === 0) return "discriminator";
  if (yourDiscriminator === 0 && state !== BfdState.down && state !== BfdState.adminDown)
    return "discriminator";
  // No session here uses authentication, so a packet that does is not for it.
  if (bits & Bit.authentication) return "authentication";
  return {
    diagnostic: b[0]! & 0x1f,
    state,
    poll: (bits & Bit.poll) !== 0,
    final: (bits & Bit.final) !== 0,
    independent: (bits & Bit.independent) !== 0,
    demand: (bits & Bit.demand) !== 0,
    detectMultiplier: b[2]!,
    myDiscriminator,
    yourDiscriminator,
    desiredMinTx: view.getUint32(12),
    requiredMinRx: view.getUint32(16),
    requiredMinEchoRx: view.getUint32(20),
  };
}

/** Writes a packet without an authentication section. Integers are cut to the width of their fields. */
export function encodePacket(p: BfdPacket): Uint8Array {
  const out = new Uint8Array(PACKET_BYTES);
  const view = new DataView(out.buffer);
  out[0] = (VERSION << 5) | (p.diagnostic & 0x1f);
  out[1] =
    (p.state << 6) |
    (p.poll ? Bit.poll : 0) |
    (p.final ? Bit.final : 0) |
    (p.independent ? Bit.independent : 0) |
    (p.demand ? Bit.demand : 0);
  out[2] = p.detectMultiplier;
  out[3] = PACKET_BYTES;
  view.setUint32(4, p.myDiscriminator);
  view.setUint32(8, p.yourDiscriminator);
  view.setUint32(12, p.desiredMinTx);
  view.setUint32(16, p.requiredMinRx);
  view.setUint32(20, p.requiredMinEchoRx);
  return out;
}

export const diagnosticName = (code: number): string => diagnosticNames[code] ?? `diagnostic ${code}`;
