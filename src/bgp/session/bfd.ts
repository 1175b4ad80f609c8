// bgp/session: what a session with a neighbour asks of BFD, and what BFD tells it, as plain data (RFC 5880, 5882).
import type { Address } from "../../net/address.ts";

/** BFD as it is configured for a neighbour. */
export interface BfdConfig {
  /** Milliseconds, as the next. */
  readonly transmitMs: number;
  readonly receiveMs: number;
  readonly detectMultiplier: number;
  /** RFC 5883: port 4784, any TTL; else RFC 5881: port 3784, TTL 255. */
  readonly multihop: boolean;
}

/** The path that a BFD session watches; neighbours on one path share it. */
export interface BfdTarget extends BfdConfig {
  readonly key: string;
  readonly address: Address;
  readonly localAddress: Address | undefined;
  readonly interface: string | undefined;
}

/** A BFD session at one moment. */
export interface BfdStatus {
  readonly state: "AdminDown" | "Down" | "Init" | "Up";
  readonly diagnostic: string;
  readonly remoteState: "AdminDown" | "Down" | "Init" | "Up";
  readonly remoteDiagnostic: string;
  /** The neighbour's C bit: its BFD lives on while its control plane restarts. */
  readonly remoteIndependent: boolean;
  readonly sinceUnixMs: number;
  /** Milliseconds: ours to the neighbour, and the silence that ends the session. */
  readonly transmitMs: number;
  readonly detectMs: number;
  /** How often it left Up. */
  readonly downs: number;
  /** Why nothing can be sent: a port that is taken, an address that is not there. */
  readonly problem: string;
  /** The session has just left Up because the path, or the neighbour, is gone. Not set where either side was shut down by its operator. */
  readonly failed: boolean;
}

/** Names the path to a neighbour. */
export const bfdKey = (t: Omit<BfdTarget, "key" | "transmitMs" | "receiveMs" | "detectMultiplier">): string =>
  [
    t.multihop ? "multihop" : "single-hop",
    `${t.address.hi.toString(16)}:${t.address.lo.toString(16)}/${t.address.family}`,
    t.localAddress ? `${t.localAddress.hi.toString(16)}:${t.localAddress.lo.toString(16)}` : "",
    t.interface ?? "",
  ].join(" ");
