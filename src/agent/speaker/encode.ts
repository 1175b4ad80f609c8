// agent: between the plan's values and the speaker's protobuf. Passwords are put in here and nowhere else.
import { create } from "@bufbuild/protobuf";
import {
  type DesiredState,
  DesiredStateSchema,
  type Path,
  Family as ProtoFamily,
  type Route,
  type Session,
  SessionState,
} from "../../api/generated/proto/speaker_pb.js";
import { type Address, formatAddress, fromBytes, maskTo, toBytes } from "../../net/address.ts";
import type { SpeakerPeer, SpeakerRule, SpeakerState } from "../../plan/index.ts";
import type { LargeCommunity, LearnedPath, LearnedRoute } from "../../routes/index.ts";

const none = new Uint8Array(0);
const bytesOf = (a: Address | undefined): Uint8Array => (a ? toBytes(a) : none);
const large = (list: readonly LargeCommunity[]) => list.map((l) => ({ ...l }));

const encodePeer = (p: SpeakerPeer, password: string | undefined) => ({
  name: p.name,
  address: toBytes(p.address),
  port: p.port,
  peerAsn: p.peerASN,
  localAsn: p.localASN,
  localAddress: bytesOf(p.localAddress),
  families: p.families.map((f) =>
    f === "IPv4Unicast" ? ProtoFamily.IPV4_UNICAST : ProtoFamily.IPV6_UNICAST,
  ),
  holdSeconds: p.holdSeconds,
  connectRetrySeconds: p.connectRetrySeconds,
  password: p.passwordMissing ? "" : (password ?? ""),
  passwordMissing: p.passwordMissing || (p.passwordSecret !== undefined && password === undefined),
  ttlSecurityHops: p.ttlSecurityHops,
  multihopTtl: p.multihopTTL,
  gracefulRestart: p.gracefulRestart,
  restartSeconds: p.restartSeconds,
  // Links, programs, maps and kernel routes are pinned or the kernel's own: they forward while the speaker is away.
  forwardingPreserved: true,
  maxPrefixesIpv4: p.maxPrefixes.ipv4,
  maxPrefixesIpv6: p.maxPrefixes.ipv6,
  importPolicies: [...p.importPolicies],
  exportPolicies: [...p.exportPolicies],
  nextHopIpv4: bytesOf(p.nextHopIPv4),
  nextHopIpv6: bytesOf(p.nextHopIPv6),
  passive: p.passive,
});

const encodeRule = (r: SpeakerRule) => ({
  name: r.name,
  match: {
    prefixes: r.match.prefixes.map((m) => ({
      prefix: toBytes(m.prefix),
      length: m.prefix.length,
      ge: m.ge,
      le: m.le,
    })),
    communities: [...r.match.communities],
    large: large(r.match.large),
    asPathContains: [...r.match.asPathContains],
  },
  accept: r.accept,
  set: {
    ...(r.set.med !== undefined && { med: r.set.med }),
    ...(r.set.localPref !== undefined && { localPref: r.set.localPref }),
    addCommunities: [...r.set.communities],
    addLarge: large(r.set.large),
    prepend: r.set.prepend,
  },
});

/** The whole desired state. `passwords` by Secret name. */
export function encodeDesired(
  state: SpeakerState,
  generation: bigint,
  complete: boolean,
  passwords: ReadonlyMap<string, string>,
): DesiredState {
  return create(DesiredStateSchema, {
    generation,
    asn: state.asn,
    routerId: state.routerID,
    listen: state.listen.map((l) => ({ address: bytesOf(l.address), port: l.port })),
    peers: state.peers.map((p) =>
      encodePeer(p, p.passwordSecret === undefined ? undefined : passwords.get(p.passwordSecret)),
    ),
    origins: state.origins.map((o) => ({
      prefix: toBytes(o.prefix),
      length: o.prefix.length,
      attributes: {
        ...(o.attributes.med !== undefined && { med: o.attributes.med }),
        ...(o.attributes.localPref !== undefined && { localPref: o.attributes.localPref }),
        communities: [...o.attributes.communities],
        large: large(o.attributes.large),
        prepend: o.attributes.prepend,
      },
      peers: [...o.peers],
    })),
    policies: state.policies.map((p) => ({ name: p.name, rules: p.rules.map(encodeRule) })),
    complete,
  });
}

const decodePath = (p: Path): LearnedPath => ({
  peer: p.peer,
  // A path without a next hop is our own; nothing reads its next hop.
  nextHop: p.nextHop.length > 0 ? fromBytes(p.nextHop) : { family: 4, hi: 0n, lo: 0n },
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
