// bgp/wire: the OPEN message (RFC 4271 4.2, RFC 5492, extended optional parameters of RFC 9072).
import { type Capabilities, readCapabilities, writeCapabilities } from "./capabilities.ts";
import { AS_TRANS, MessageType, VERSION } from "./constants.ts";
import { message } from "./frame.ts";
import { type Notification, notification } from "./notification.ts";

export interface Open {
  /** The AS number that counts: the capability's where there is one (RFC 6793), else the field's. */
  readonly asn: number;
  /** Proposed hold time in seconds: 0 or at least 3. */
  readonly holdSeconds: number;
  /** BGP identifier, host byte order. */
  readonly routerId: number;
  readonly capabilities: Capabilities;
}

const PARAMETER_CAPABILITIES = 2;
const PARAMETER_EXTENDED = 255;

/** Reads an OPEN's body; the error is the NOTIFICATION to send. What depends on configuration is checked by the session. */
export function decodeOpen(b: Uint8Array, start: number, end: number): Open | Notification {
  const version = b[start]!;
  if (version !== VERSION) return notification(2, 1, `version ${version}`, Uint8Array.of(0, VERSION));
  const field = (b[start + 1]! << 8) | b[start + 2]!;
  const holdSeconds = (b[start + 3]! << 8) | b[start + 4]!;
  const routerId =
    ((b[start + 5]! << 24) | (b[start + 6]! << 16) | (b[start + 7]! << 8) | b[start + 8]!) >>> 0;
  let length = b[start + 9]!;
  let at = start + 10;
  let wide = false;
  // RFC 9072 2: it is the type that tells; the short length says nothing any more, but that it is not 0.
  if (length !== 0 && b[at] === PARAMETER_EXTENDED && at + 3 <= end) {
    wide = true;
    length = (b[at + 1]! << 8) | b[at + 2]!;
    at += 3;
  }
  if (at + length !== end) return notification(2, 0, "optional parameters do not fill the message");
  const capabilities: { -readonly [K in keyof Capabilities]: Capabilities[K] } = {};
  const header = wide ? 3 : 2;
  while (at < end) {
    if (at + header > end) return notification(2, 0, "truncated optional parameter");
    const type = b[at]!;
    const size = wide ? (b[at + 1]! << 8) | b[at + 2]! : b[at + 1]!;
    at += header;
    if (at + size > end) return notification(2, 0, "optional parameter is longer than the message");
    if (type !== PARAMETER_CAPABILITIES) return notification(2, 4, `optional parameter ${type}`);
    const wrong = readCapabilities(b.subarray(at, at + size), capabilities);
    if (wrong) return notification(2, 0, wrong);
    at += size;
  }
  const asn = capabilities.as4 ?? field;
  if (field === 0 || asn === 0) return notification(2, 2, "AS number 0 (RFC 7607)");
  if (holdSeconds === 1 || holdSeconds === 2) return notification(2, 6, `hold time ${holdSeconds} s`);
  if (routerId === 0) return notification(2, 3, "BGP identifier 0.0.0.0");
  return { asn, holdSeconds, routerId, capabilities };
}

/** A whole OPEN message. */
export function encodeOpen(o: Open): Uint8Array {
  const field = o.asn > 0xffff ? AS_TRANS : o.asn;
  const value = writeCapabilities(o.capabilities);
  const head = [VERSION, field >> 8, field & 255, o.holdSeconds >> 8, o.holdSeconds & 255];
  head.push(o.routerId >>> 24, (o.routerId >> 16) & 255, (o.routerId >> 8) & 255, o.routerId & 255);
  if (value.length === 0) head.push(0);
  else if (value.length + 2 < 255) head.push(value.length + 2, PARAMETER_CAPABILITIES, value.length);
  else {
    const inner = value.length + 3;
    head.push(255, PARAMETER_EXTENDED, inner >> 8, inner & 255);
    head.push(PARAMETER_CAPABILITIES, value.length >> 8, value.length & 255);
  }
  const body = new Uint8Array(head.length + value.length);
  body.set(head);
  body.set(value, head.length);
  return message(MessageType.open, body);
}
