// bgp/wire: NOTIFICATION codes as one table, their text, and the shutdown communication of RFC 9003.

/** An error of BGP as a value: what a NOTIFICATION carries. `reason` is ours alone and never on the wire. */
export interface Notification {
  readonly code: number;
  readonly subcode: number;
  readonly data: Uint8Array;
  readonly reason?: string;
}

const table: Readonly<Record<number, { name: string; sub: Readonly<Record<number, string>> }>> = {
  1: {
    name: "Message Header Error",
    sub: { 1: "Connection Not Synchronized", 2: "Bad Message Length", 3: "Bad Message Type" },
  },
  2: {
    name: "OPEN Message Error",
    sub: {
      1: "Unsupported Version Number",
      2: "Bad Peer AS",
      3: "Bad BGP Identifier",
      4: "Unsupported Optional Parameter",
      6: "Unacceptable Hold Time",
      7: "Unsupported Capability",
      11: "Role Mismatch",
    },
  },
  3: {
    name: "UPDATE Message Error",
    sub: {
      1: "Malformed Attribute List",
      2: "Unrecognized Well-known Attribute",
      3: "Missing Well-known Attribute",
      4: "Attribute Flags Error",
      5: "Attribute Length Error",
      6: "Invalid ORIGIN Attribute",
      8: "Invalid NEXT_HOP Attribute",
      9: "Optional Attribute Error",
      10: "Invalid Network Field",
      11: "Malformed AS_PATH",
    },
  },
  4: { name: "Hold Timer Expired", sub: {} },
  5: {
    name: "Finite State Machine Error",
    sub: {
      1: "Unexpected Message in OpenSent",
      2: "Unexpected Message in OpenConfirm",
      3: "Unexpected Message in Established",
    },
  },
  6: {
    name: "Cease",
    sub: {
      1: "Maximum Number of Prefixes Reached",
      2: "Administrative Shutdown",
      3: "Peer De-configured",
      4: "Administrative Reset",
      5: "Connection Rejected",
      6: "Other Configuration Change",
      7: "Connection Collision Resolution",
      8: "Out of Resources",
      9: "Hard Reset",
      10: "BFD Down",
    },
  },
  7: { name: "ROUTE-REFRESH Message Error", sub: { 1: "Invalid Message Length" } },
  8: { name: "Send Hold Timer Expired", sub: {} },
};

export const Cease = {
  maxPrefixes: 1,
  shutdown: 2,
  deconfigured: 3,
  reset: 4,
  rejected: 5,
  configChange: 6,
  collision: 7,
  resources: 8,
  hardReset: 9,
  /** RFC 9384. */
  bfdDown: 10,
} as const;

const none = new Uint8Array(0);

export const notification = (
  code: number,
  subcode: number,
  reason?: string,
  data: Uint8Array = none,
): Notification => (reason === undefined ? { code, subcode, data } : { code, subcode, data, reason });

const decoder = new TextDecoder("utf-8");
const encoder = new TextEncoder();

/**
 * Data of a Cease with a shutdown communication: one length octet and UTF-8 (RFC 9003). Longer text is cut at a whole
 * character so that it fits 255 octets.
 */
export function shutdownData(text: string): Uint8Array {
  if (text === "") return none;
  const out = new Uint8Array(256);
  const { written } = encoder.encodeInto(text, out.subarray(1));
  out[0] = written;
  return out.subarray(0, 1 + written);
}

/** The shutdown communication of a received Cease/2 or Cease/4; undefined where there is none or it is malformed. */
export function shutdownText(n: Notification): string | undefined {
  if (n.code !== 6 || (n.subcode !== Cease.shutdown && n.subcode !== Cease.reset)) return undefined;
  const length = n.data[0];
  if (length === undefined || length === 0 || length + 1 > n.data.length) return undefined;
  // Printable only: this text comes from a stranger and goes to a terminal.
  return decoder.decode(n.data.subarray(1, 1 + length)).replace(/[\u0000-\u001f\u007f-\u009f]/g, "?");
}

/** "6/2 Cease, Administrative Shutdown: text". */
export function describeNotification(n: Notification): string {
  const known = table[n.code];
  const sub = known?.sub[n.subcode];
  const text = shutdownText(n);
  return `${n.code}/${n.subcode} ${known?.name ?? "unknown error"}${sub ? `, ${sub}` : ""}${text ? `: ${text}` : ""}`;
}
