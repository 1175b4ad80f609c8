// bgp/session: what is handed in (clock, randomness, transport) and the configuration of a speaker, as plain data.
import type { Address, Prefix } from "../../net/address.ts";
import type { StationConfig } from "../bmp/exporter.ts";
import type { Policy } from "../policy/types.ts";
import type { MultipathRule } from "../rib/decision.ts";
import type { Origin } from "../rib/group.ts";
import type { PeerTreatment } from "../rib/treatment.ts";
import type { Afi } from "../wire/constants.ts";
import type { BfdConfig } from "./bfd.ts";

export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** Milliseconds that only grow. */
  now(): number;
  /** Milliseconds since 1970, for people. */
  unixMs(): number;
  after(ms: number, run: () => void): Timer;
  /** Runs once the input that is waiting now has been read. */
  soon(run: () => void): void;
}

/** A number in [0, 1). */
export type Random = () => number;

/** One TCP connection, connected or about to be. */
export interface Connection {
  /** Addresses once connected. */
  readonly local: Address | undefined;
  readonly remote: Address | undefined;
  /** TCP ports once connected, where they are known. */
  readonly localPort?: number | undefined;
  readonly remotePort?: number | undefined;
  /** Prefixes of the interface that the connection runs over, once connected; undefined where that is not known or has no meaning. */
  readonly links?: readonly Prefix[] | undefined;
  /**
   * Sends; false asks to wait for {@link ConnectionHandler.drained}. Never blocks, never throws. The octets must stay as they are until
   * {@link pendingBytes} is 0, which it may be at once.
   */
  write(bytes: Uint8Array): boolean;
  /** Octets that the kernel has not taken yet. */
  readonly pendingBytes: number;
  /** Octets that the other end's kernel has not acknowledged; undefined where that cannot be known. */
  unacknowledged(): number | undefined;
  /** Ends after what is pending. */
  end(): void;
  /** Drops at once. */
  destroy(): void;
}

/** What a connection tells its owner. Nothing more comes after `closed`. */
export interface ConnectionHandler {
  connected(): void;
  /** The octets are there during the call only: what comes next is read into the same memory. */
  data(chunk: Uint8Array): void;
  drained(): void;
  /** `reason` is a phrase for people: "Connection refused". */
  closed(reason: string): void;
}

export interface ConnectTarget {
  readonly address: Address;
  readonly port: number;
  readonly localAddress: Address | undefined;
  /** 0: the kernel chooses. */
  readonly localPort: number;
  readonly interface: string | undefined;
  /** TCP-MD5 (RFC 2385). */
  readonly password: string | undefined;
  /** Hops that a packet may have come (RFC 5082); 0 is off. */
  readonly ttlSecurityHops: number;
  /** TTL of outgoing packets where {@link ttlSecurityHops} is 0; 0 leaves the system's. */
  readonly ttl: number;
}

export interface Transport {
  /** Begins to connect. What cannot even begin is told by `closed`, later. */
  connect(target: ConnectTarget, handler: ConnectionHandler): Connection;
}

/** ADD-PATH (RFC 7911) for one family. */
export interface AddPathConfig {
  /** Take several paths of a prefix. */
  readonly receive: boolean;
  /** Send up to this many paths of a prefix, best first; 0: only the best, without an identifier. */
  readonly send: number;
}

export const noAddPath: Readonly<Record<Afi, AddPathConfig>> = {
  1: { receive: false, send: 0 },
  2: { receive: false, send: 0 },
};

export interface PeerRange {
  readonly prefixes: readonly Prefix[];
  /** Neighbours at once. */
  readonly limit: number;
}

/** What becomes of prefixes above a limit. */
export interface PrefixLimits {
  /** Of what the neighbour sends: the end of the session, the new ones are not taken, or a word and nothing else. */
  readonly action: "teardown" | "discard" | "warn";
  /** Share of the limit from which on it is said; 100 is the limit itself. */
  readonly warnPercent: number;
  /** Pause after such an end of the session; undefined: a minute, twice as long each time, up to 15. */
  readonly restartSeconds?: number;
  /** Most prefixes that the neighbour is sent; undefined: no limit. */
  readonly sent: Readonly<Record<Afi, number | undefined>>;
}

export const noLimits: PrefixLimits = {
  action: "teardown",
  warnPercent: 100,
  sent: { 1: undefined, 2: undefined },
};

export interface PeerConfig {
  readonly name: string;
  /** The unspecified one while that of an unnumbered neighbour is not known. */
  readonly address: Address;
  /** Whoever is at the other end of {@link interface}: found by router advertisements (RFC 4861). */
  readonly unnumbered: boolean;
  /** Not one neighbour but all that connect from these prefixes: what is here is what each of them gets. */
  readonly range: PeerRange | undefined;
  readonly port: number;
  /** 0: any but ours. */
  readonly peerAsn: number;
  readonly localAsn: number;
  readonly localAddress: Address | undefined;
  /** Of connections that we open; undefined: the kernel chooses. */
  readonly localPort?: number;
  readonly families: readonly Afi[];
  readonly holdSeconds: number;
  readonly connectRetrySeconds: number;
  /** The longest pause after sessions that fail again and again; 120 where it is not given, never less than connectRetrySeconds. */
  readonly connectRetryMaxSeconds?: number;
  readonly password: string | undefined;
  readonly passwordMissing: boolean;
  readonly ttlSecurityHops: number;
  readonly multihopTtl: number;
  readonly gracefulRestart: boolean;
  readonly restartSeconds: number;
  /** RFC 9494: how long routes are kept once the restart time is over, the neighbour's here and, as asked for, ours there; 0 is off. */
  readonly longLivedSeconds: number;
  readonly forwardingPreserved: boolean;
  readonly prefixesMax: Readonly<Record<Afi, number>>;
  /** See {@link noLimits} for what is meant where it is left out. */
  readonly prefixLimits?: PrefixLimits;
  readonly importPolicies: readonly string[];
  readonly exportPolicies: readonly string[];
  readonly nextHop: Readonly<Record<Afi, Uint8Array | undefined>>;
  readonly passive: boolean;
  readonly interface: string | undefined;
  readonly adminDown: boolean;
  readonly treatment: PeerTreatment;
  /** Undefined: the path to the neighbour is not watched. */
  readonly bfd?: BfdConfig | undefined;
  readonly addPath: Readonly<Record<Afi, AddPathConfig>>;
  /** IPv4 routes with IPv6 next hops (RFC 8950); undefined: on sessions over IPv6. */
  readonly extendedNextHop: boolean | undefined;
}

/** Dumps of messages and tables (RFC 6396). */
export interface MrtConfig {
  readonly directory: string;
  /** Seconds between dumps of the table; 0 is none. */
  readonly tableSeconds: number;
  readonly messages: boolean;
  /** A file of messages is closed once it is longer; files of one kind are at most so many. */
  readonly fileBytesMax: number;
  readonly filesMax: number;
}

export interface ListenAddress {
  /** Undefined is every address of both families. */
  readonly address: Address | undefined;
  readonly port: number;
}

export interface SpeakerConfig {
  readonly generation: bigint;
  readonly asn: number;
  readonly routerId: number;
  /** Of ours as reflector (RFC 4456 7). */
  readonly clusterId: number;
  readonly listen: readonly ListenAddress[];
  readonly peers: readonly PeerConfig[];
  readonly origins: readonly Origin[];
  readonly policies: readonly Policy[];
  readonly complete: boolean;
  /** Who monitors the speaker; nobody where it is left out. */
  readonly stations?: readonly StationConfig[];
  readonly mrt?: MrtConfig | undefined;
  /** Undefined: all paths that tie, of any AS. */
  readonly multipath?: MultipathRule;
}

/** States of RFC 4271 8.2.2, in the numbers of proto/speaker.proto. */
export const State = {
  idle: 0,
  connect: 1,
  active: 2,
  openSent: 3,
  openConfirm: 4,
  established: 5,
} as const;
export type State = (typeof State)[keyof typeof State];
