// bgp/daemon: between the messages of proto/speaker.proto and the speaker's own values.
import { create } from "@bufbuild/protobuf";
import {
  BfdSessionSchema,
  type BmpStationStatus,
  BmpStationStatusSchema,
  Family,
  FamilyCountSchema,
  LargeCommunitySchema,
  LimitState,
  MrtStatusSchema,
  type Path,
  PathSchema,
  type QueryReply,
  type Route,
  RouteSchema,
  type Session,
  SessionSchema,
} from "../../api/generated/proto/speaker_pb.js";
import { toBytes } from "../../net/address.ts";
import type { StationStatus } from "../bmp/exporter.ts";
import { extendedTexts } from "../policy/communities.ts";
import { AdjRibOut } from "../rib/adjout.ts";
import { PathsOut } from "../rib/pathsout.ts";
import { LOCAL, type Rib, type RibPeer } from "../rib/rib.ts";
import { PathFlag } from "../rib/table.ts";
import type { PeerSession } from "../session/peer.ts";
import { isMember } from "../session/ranges.ts";
import { flatten } from "../wire/aspath.ts";
import { isLinkLocalNextHop, type LargeCommunity, type PathAttributes } from "../wire/attributes.ts";
import { type Afi, afis } from "../wire/constants.ts";
import type { MrtStatus } from "./mrt-dump.ts";

const familyOf: Readonly<Record<Afi, Family>> = { 1: Family.IPV4_UNICAST, 2: Family.IPV6_UNICAST };

export type MonitoringReply = Pick<QueryReply, "stations" | "mrt">;

/** Who monitors the speaker, and what is dumped. */
export const monitoringMessage = (
  stations: readonly StationStatus[],
  mrt: MrtStatus | undefined,
): MonitoringReply => ({
  stations: stations.map(stationMessage),
  ...(mrt && {
    mrt: create(MrtStatusSchema, {
      ...mrt,
      files: BigInt(mrt.files),
      bytes: BigInt(mrt.bytes),
      dropped: BigInt(mrt.dropped),
    }),
  }),
});

const stationMessage = (s: StationStatus): BmpStationStatus =>
  create(BmpStationStatusSchema, {
    ...s,
    address: toBytes(s.address),
    sinceUnixMs: BigInt(Math.floor(s.sinceUnixMs)),
    messages: BigInt(s.messages),
  });

const limitStates = {
  ok: LimitState.LIMIT_OK,
  near: LimitState.LIMIT_NEAR,
  over: LimitState.LIMIT_OVER,
} as const;

/** What a session shows of itself. */
export function sessionMessage(s: PeerSession): Session {
  const n = s.negotiated;
  return create(SessionSchema, {
    peer: s.name,
    address: toBytes(s.config.address),
    interface: s.config.interface ?? "",
    range: isMember(s) ? s.rib.audience : "",
    peerAsn: n?.peerAsn ?? s.config.peerAsn,
    localAsn: s.config.localAsn,
    state: s.state,
    sinceUnixMs: BigInt(Math.floor(s.since)),
    peerRouterId: n?.routerId ?? 0,
    holdSeconds: n?.holdSeconds ?? 0,
    families: n ? afis.filter((afi) => n.families[afi]).map((afi) => familyOf[afi]) : [],
    gracefulRestart: n?.gracefulRestart !== undefined,
    addPathReceive: n ? afis.filter((afi) => n.pathsIn[afi]).map((afi) => familyOf[afi]) : [],
    addPathSend: n ? afis.filter((afi) => n.pathsOut[afi]).map((afi) => familyOf[afi]) : [],
    extendedNextHop: n?.extendedNextHop ?? false,
    restartingPeer: s.stale[1] || s.stale[2],
    counts: s.config.families.map((afi) =>
      create(FamilyCountSchema, {
        family: familyOf[afi],
        received: s.rib.received[afi],
        accepted: s.rib.accepted[afi],
        advertised: s.sender?.out(afi)?.advertised ?? 0,
        endOfRibReceived: n !== undefined && s.endOfRibReceived[afi],
        endOfRibSent: s.sender?.endOfRibSent[afi] ?? false,
        limit: s.config.prefixesMax[afi],
        limitState: limitStates[s.limits.state[afi]],
        discarded: BigInt(s.rib.discarded[afi]),
        limitSent: s.config.prefixLimits?.sent[afi] ?? 0,
        heldBack: s.sender?.out(afi)?.heldBack ?? 0,
      }),
    ),
    lastErrorSent: s.lastErrorSent,
    lastErrorReceived: s.lastErrorReceived,
    downReason: s.downReason,
    updatesSent: BigInt(s.updatesSent),
    updatesReceived: BigInt(s.counters.updates),
    flaps: BigInt(s.flaps),
    md5: s.config.password !== undefined,
    ...(s.bfd && {
      bfd: create(BfdSessionSchema, { ...s.bfd, sinceUnixMs: BigInt(Math.floor(s.bfd.sinceUnixMs)) }),
    }),
    ...(s.localAddress && { localAddress: toBytes(s.localAddress) }),
  });
}

export const familyMessage = (afi: Afi): Family => familyOf[afi];

/** Bytes of a prefix number's address. */
function prefixBytes(rib: Rib, afi: Afi, pid: number): Uint8Array {
  const { keys, words } = rib.tables[afi].prefixes;
  const out = new Uint8Array(words * 4);
  const view = new DataView(out.buffer);
  for (let i = 0; i < words; i++) view.setUint32(i * 4, keys[pid * words + i]!);
  return out;
}

const largeOut = ([global, local1, local2]: LargeCommunity) =>
  create(LargeCommunitySchema, { global, local1, local2 });

const senderOf = (peer: RibPeer | undefined) => ({
  peer: peer?.name ?? "",
  range: peer && peer.audience !== peer.name ? peer.audience : "",
});

/** One path from its attributes. */
export function pathMessage(
  a: PathAttributes,
  rest: {
    peer: string;
    range?: string;
    stale: boolean;
    best: boolean;
    decidedBy: string;
    pathId: number;
    link?: string;
  },
): Path {
  const { link = "", ...fields } = rest;
  return create(PathSchema, {
    ...fields,
    interface: isLinkLocalNextHop(a.nextHop) ? link : "",
    nextHop: a.nextHop.subarray(0, 16),
    asPath: flatten(a.asPath),
    origin: a.origin,
    ...(a.med === undefined ? {} : { med: a.med }),
    ...(a.localPref === undefined ? {} : { localPref: a.localPref }),
    communities: [...(a.communities ?? [])],
    large: (a.large ?? []).map(largeOut),
    extended: extendedTexts(a.extendedCommunities),
  });
}

/** A prefix of the Loc-RIB: the best path and its equals, or with `all` every accepted one. */
export function locRoute(rib: Rib, afi: Afi, pid: number, all: boolean): Route {
  const table = rib.tables[afi];
  const { order, equal } = table.candidates(pid);
  const shown = all ? order : order.slice(0, equal);
  return create(RouteSchema, {
    prefix: prefixBytes(rib, afi, pid),
    length: table.prefixes.lengths[pid]!,
    withdrawn: order.length === 0,
    paths: shown.map((c, i) =>
      pathMessage(rib.attributes.attributes(c.attribute, afi), {
        ...senderOf(c.peer.index === LOCAL ? undefined : rib.peer(c.peer.index)),
        stale: (table.pathFlags[c.path]! & PathFlag.stale) !== 0,
        best: i === 0,
        decidedBy: rib.names.name(table.pathRule[c.path]!),
        pathId: c.id,
        link: rib.peer(c.peer.index)?.linkName ?? "",
      }),
    ),
  });
}

/** What a neighbour has sent of a prefix, before policy; undefined for nothing. */
export function receivedRoute(
  rib: Rib,
  afi: Afi,
  pid: number,
  from: { readonly index: number; readonly name: string; readonly linkName: string },
): Route | undefined {
  const table = rib.tables[afi];
  const paths: Path[] = [];
  for (let path = table.head[pid]!; path >= 0; path = table.pathNext[path]!)
    if (table.pathPeer[path] === from.index)
      paths.push(
        pathMessage(rib.attributes.attributes(table.pathRaw[path]!, afi), {
          peer: from.name,
          stale: (table.pathFlags[path]! & PathFlag.stale) !== 0,
          best: table.best[pid] === path,
          decidedBy: rib.names.name(table.pathRule[path]!),
          pathId: table.idOf(path),
          link: from.linkName,
        }),
      );
  if (paths.length === 0) return undefined;
  paths.sort((a, b) => a.pathId - b.pathId);
  return create(RouteSchema, {
    prefix: prefixBytes(rib, afi, pid),
    length: table.prefixes.lengths[pid]!,
    paths,
  });
}

/** What a neighbour is told of a prefix; undefined for nothing. */
export function advertisedRoute(rib: Rib, afi: Afi, pid: number, session: PeerSession): Route | undefined {
  const out = session.sender?.out(afi);
  if (!out) return undefined;
  const table = rib.tables[afi];
  const told =
    out instanceof PathsOut
      ? out.paths(pid)
      : out instanceof AdjRibOut && out.out(pid) > 0
        ? [{ path: table.best[pid]!, id: 0 }]
        : [];
  const paths = told.flatMap(({ path, id }) => {
    const decision = out.group.explain(afi, pid, session.rib, path);
    if (!decision.accepted) return [];
    const peer = rib.peer(table.pathPeer[path]!)?.name ?? "";
    const best = path === table.best[pid];
    const { attributes, decidedBy } = decision;
    return [pathMessage(attributes, { peer, stale: false, best, decidedBy, pathId: id })];
  });
  if (paths.length === 0) return undefined;
  return create(RouteSchema, {
    prefix: prefixBytes(rib, afi, pid),
    length: table.prefixes.lengths[pid]!,
    paths,
  });
}
