// agent: what the speaker tells, as values: learned routes and sessions.
import {
  Family,
  type Path,
  type Route,
  type Session,
  SessionState,
} from "../../api/generated/proto/speaker_pb.js";
import { formatAddress, fromBytes, maskTo } from "../../net/address.ts";
import type { LearnedPath, LearnedRoute } from "../../routes/index.ts";

const decodePath = (p: Path): LearnedPath => ({
  // A neighbour of a range is known by the BGPPeer that it came by.
  peer: p.range || p.peer,
  // A path without a next hop is our own; nothing reads its next hop.
  nextHop:
    p.nextHop.length > 0
      ? { ...fromBytes(p.nextHop), ...(p.interface !== "" && { link: p.interface }) }
      : { family: 4, hi: 0n, lo: 0n },
  asPath: p.asPath,
  communities: p.communities,
  large: p.large.map((l) => ({ global: l.global, local1: l.local1, local2: l.local2 })),
  stale: p.stale,
});

/** A route of a batch; a withdrawn one has no paths. @throws AddressError for bytes that are no prefix */
export function decodeRoute(route: Route): LearnedRoute {
  return {
    prefix: maskTo(fromBytes(route.prefix), route.length),
    paths: route.withdrawn ? [] : route.paths.map(decodePath),
  };
}

const stateNames = {
  [SessionState.SESSION_IDLE]: "Idle",
  [SessionState.SESSION_CONNECT]: "Connect",
  [SessionState.SESSION_ACTIVE]: "Active",
  [SessionState.SESSION_OPEN_SENT]: "OpenSent",
  [SessionState.SESSION_OPEN_CONFIRM]: "OpenConfirm",
  [SessionState.SESSION_ESTABLISHED]: "Established",
} as const;

/** A session as the agent reports it. */
export interface SessionView {
  readonly peer: string;
  readonly address: string;
  /** Ours; empty where nothing is connected and none is configured. */
  readonly localAddress: string;
  /** Negotiated. */
  readonly families: readonly ("IPv4Unicast" | "IPv6Unicast")[];
  readonly peerASN: number;
  readonly state: (typeof stateNames)[keyof typeof stateNames];
  /** Unix ms; 0 = not known. */
  readonly since: number;
  readonly reason: string;
  readonly lastErrorSent: string;
  readonly lastErrorReceived: string;
  readonly md5: boolean;
  readonly gracefulRestart: boolean;
  readonly received: number;
  readonly accepted: number;
  readonly advertised: number;
  readonly flaps: number;
}

export function decodeSession(s: Session): SessionView {
  const sum = (of: (c: Session["counts"][number]) => number): number =>
    s.counts.reduce((total, c) => total + of(c), 0);
  return {
    peer: s.peer,
    address: s.address.length > 0 ? formatAddress(fromBytes(s.address)) : "",
    localAddress: s.localAddress.length > 0 ? formatAddress(fromBytes(s.localAddress)) : "",
    families: s.families.map((f) => (f === Family.IPV6_UNICAST ? "IPv6Unicast" : "IPv4Unicast")),
    peerASN: s.peerAsn,
    state: stateNames[s.state] ?? "Idle",
    since: Number(s.sinceUnixMs),
    reason: s.downReason,
    lastErrorSent: s.lastErrorSent,
    lastErrorReceived: s.lastErrorReceived,
    md5: s.md5,
    gracefulRestart: s.gracefulRestart,
    received: sum((c) => c.received),
    accepted: sum((c) => c.accepted),
    advertised: sum((c) => c.advertised),
    flaps: Number(s.flaps),
  };
}
