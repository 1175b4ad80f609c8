// bgp/daemon: between the messages of proto/speaker.proto and the speaker's own values.
import { create } from "@bufbuild/protobuf";
import {
  type Bfd,
  BfdSessionSchema,
  type BmpStation,
  type BmpStationStatus,
  BmpStationStatusSchema,
  type DesiredState,
  Family,
  FamilyCountSchema,
  LargeCommunitySchema,
  type Mrt,
  MrtStatusSchema,
  type Path,
  PathSchema,
  type Peer,
  type QueryReply,
  type Route,
  RouteSchema,
  type Session,
  SessionSchema,
} from "../../api/generated/proto/speaker_pb.js";
import { type Address, toBytes } from "../../net/address.ts";
import type { StationConfig, StationStatus } from "../bmp/exporter.ts";
import { extendedTexts } from "../policy/communities.ts";
import { AdjRibOut } from "../rib/adjout.ts";
import { addressIn, fail, originIn, policyIn, prefixIn, treatmentIn } from "../rib/desired.ts";
import { PathsOut } from "../rib/pathsout.ts";
import { LOCAL, type Rib } from "../rib/rib.ts";
import { PathFlag } from "../rib/table.ts";
import type { BfdConfig } from "../session/bfd.ts";
import type { PeerSession } from "../session/peer.ts";
import { isMember } from "../session/ranges.ts";
import {
  type AddPathConfig,
  type MrtConfig,
  noAddPath,
  type PeerConfig,
  type PeerRange,
  type SpeakerConfig,
} from "../session/types.ts";
import { flatten } from "../wire/aspath.ts";
import { isLinkLocalNextHop, type LargeCommunity, type PathAttributes } from "../wire/attributes.ts";
import { type Afi, afis, PORT } from "../wire/constants.ts";
import type { MrtStatus } from "./mrt-dump.ts";

/** "All" paths of a prefix. */
const PATHS_SENT_MAX = 0xffff;

/** Bounds on what one message may ask for. */
const LIMITS = { peers: 4000, origins: 100_000, policies: 4096, ranges: 64, stations: 8 } as const;
/** A dump of a large table takes seconds. */
const MRT_SECONDS_MIN = 5;
const MRT_FILES_MAX = 10_000;
/** What most stations listen on; IANA has given none. */
const BMP_PORT = 11019;

const unspecified: Address = { family: 6, hi: 0n, lo: 0n };

const optionalAddress = (bytes: Uint8Array, where: string): Address | undefined =>
  bytes.length === 0 ? undefined : addressIn(bytes, where);

/** The desired state as the speaker takes it. @throws DesiredStateError */
export function speakerConfig(m: DesiredState): SpeakerConfig {
  if (m.asn === 0) fail("asn", "is 0");
  if (m.routerId === 0) fail("router_id", "is 0");
  for (const [field, max] of [
    ["peers", LIMITS.peers],
    ["origins", LIMITS.origins],
    ["policies", LIMITS.policies],
  ] as const)
    if (m[field].length > max) fail(field, `more than ${max}`);
  const names = new Set<string>();
  for (const p of m.peers) {
    if (p.name === "" || names.has(p.name))
      fail(`peer ${JSON.stringify(p.name)}`, "name is empty or not unique");
    names.add(p.name);
  }
  return {
    generation: m.generation,
    asn: m.asn,
    routerId: m.routerId,
    clusterId: m.clusterId || m.routerId,
    listen: m.listen.map((l, i) => ({
      address: optionalAddress(l.address, `listen ${i}`),
      port: l.port || PORT,
    })),
    peers: m.peers.map((p) => peerConfig(p, m.asn)),
    origins: m.origins.map(originIn),
    policies: m.policies.map(policyIn),
    complete: m.complete,
    stations: stationsIn(m.bmpStations),
    mrt: m.mrt && mrtIn(m.mrt),
  };
}

const afiIn: Readonly<Partial<Record<Family, Afi>>> = { [Family.IPV4_UNICAST]: 1, [Family.IPV6_UNICAST]: 2 };
const familyOf: Readonly<Record<Afi, Family>> = { 1: Family.IPV4_UNICAST, 2: Family.IPV6_UNICAST };

function peerConfig(p: Peer, asn: number): PeerConfig {
  const where = `peer ${p.name}`;
  const hold = p.holdSeconds || 90;
  if (hold < 3 || hold > 65535) fail(where, `hold time ${hold} s`);
  if (p.peerAsn === 0 && !p.external) fail(where, "peer_asn is 0");
  if (p.peerAsn !== 0 && p.external) fail(where, "peer_asn and external");
  const range = rangeIn(p, where);
  const unnumbered = p.address.length === 0 && !range;
  if (unnumbered && p.interface === "") fail(where, "neither address nor interface");
  const nextHop = (bytes: Uint8Array, size: number, field: string): Uint8Array | undefined =>
    bytes.length === 0
      ? undefined
      : bytes.length === size
        ? bytes
        : fail(where, `${field} has ${bytes.length} bytes`);
  const families = p.families.flatMap((f) => afiIn[f] ?? []);
  return {
    name: p.name,
    address: unnumbered || range ? unspecified : addressIn(p.address, where),
    unnumbered,
    range,
    port: p.port || PORT,
    peerAsn: p.peerAsn,
    localAsn: p.localAsn || asn,
    localAddress: optionalAddress(p.localAddress, where),
    families: [...new Set(families)].sort(),
    holdSeconds: hold,
    connectRetrySeconds: p.connectRetrySeconds || 5,
    ...(p.connectRetryMaxSeconds > 0 && { connectRetryMaxSeconds: p.connectRetryMaxSeconds }),
    password: p.password === "" ? undefined : p.password,
    passwordMissing: p.passwordMissing,
    ttlSecurityHops: Math.min(p.ttlSecurityHops, 255),
    multihopTtl: Math.min(p.multihopTtl, 255),
    gracefulRestart: p.gracefulRestart,
    restartSeconds: Math.min(p.restartSeconds || 120, 4095),
    longLivedSeconds: p.gracefulRestart ? Math.min(p.longLivedSeconds, 0xffffff) : 0,
    forwardingPreserved: p.forwardingPreserved,
    prefixesMax: { 1: p.maxPrefixesIpv4 || 10_000, 2: p.maxPrefixesIpv6 || 10_000 },
    importPolicies: p.importPolicies,
    exportPolicies: p.exportPolicies,
    nextHop: {
      1: nextHop(p.nextHopIpv4, 4, "next_hop_ipv4"),
      2: nextHop(p.nextHopIpv6, 16, "next_hop_ipv6"),
    },
    passive: p.passive,
    interface: p.interface === "" ? undefined : p.interface,
    adminDown: p.adminDown,
    treatment: treatmentIn(p, p.peerAsn !== (p.localAsn || asn), where),
    bfd: p.bfd && bfdConfig(p.bfd, where),
    addPath: { 1: addPathOf(p, 1), 2: addPathOf(p, 2) },
    extendedNextHop: p.extendedNextHop,
  };
}

function rangeIn(p: Peer, where: string): PeerRange | undefined {
  if (p.ranges.length === 0) return undefined;
  if (p.ranges.length > LIMITS.ranges) fail(where, `more than ${LIMITS.ranges} ranges`);
  if (p.address.length > 0) fail(where, "address and ranges");
  if (p.bfd) fail(where, "BFD is not for ranges");
  const prefixes = p.ranges.map((r) => prefixIn(r.prefix, r.length, where));
  return { prefixes, limit: Math.min(p.rangeLimit || 100, LIMITS.peers) };
}

function addPathOf(p: Peer, afi: Afi): AddPathConfig {
  const given = p.addPath.find((a) => afiIn[a.family] === afi);
  if (!given) return noAddPath[afi];
  return { receive: given.receive, send: given.send ? given.sendMax || PATHS_SENT_MAX : 0 };
}

function stationsIn(stations: readonly BmpStation[]): StationConfig[] {
  if (stations.length > LIMITS.stations) fail("bmp_stations", `more than ${LIMITS.stations}`);
  const names = new Set<string>();
  return stations.map((s) => {
    const where = `station ${JSON.stringify(s.name)}`;
    if (s.name === "" || names.has(s.name)) fail(where, "name is empty or not unique");
    names.add(s.name);
    return {
      name: s.name,
      address: addressIn(s.address, where),
      port: s.port || BMP_PORT,
      localAddress: optionalAddress(s.localAddress, where),
      prePolicy: s.prePolicy,
      postPolicy: s.postPolicy,
      locRib: s.locRib,
      statisticsSeconds: s.statisticsSeconds,
    };
  });
}

function mrtIn(m: Mrt): MrtConfig {
  const { directory, tableSeconds, messages } = m;
  if (!directory.startsWith("/")) fail("mrt", "directory is not an absolute path");
  if (tableSeconds > 0 && tableSeconds < MRT_SECONDS_MIN) fail("mrt", `a table every ${tableSeconds} s`);
  const fileBytesMax = Number(m.fileBytesMax) || 64 * 1024 * 1024;
  const filesMax = m.filesMax || 16;
  if (filesMax > MRT_FILES_MAX) fail("mrt", `${filesMax} files`);
  return { directory, tableSeconds, messages, fileBytesMax, filesMax };
}

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

/** Packets more often than this cost a node more than they tell it. */
const BFD_MS_MIN = 10;

function bfdConfig(b: Bfd, where: string): BfdConfig {
  const transmitMs = b.transmitMs || 300;
  const receiveMs = b.receiveMs || 300;
  for (const ms of [transmitMs, receiveMs])
    if (ms < BFD_MS_MIN || ms > 60_000) fail(where, `BFD interval of ${ms} ms`);
  const detectMultiplier = b.detectMultiplier || 3;
  if (detectMultiplier > 255) fail(where, `BFD detect multiplier ${detectMultiplier}`);
  return { transmitMs, receiveMs, detectMultiplier, multihop: b.multihop };
}

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

/** One path from its attributes. */
export function pathMessage(
  a: PathAttributes,
  rest: { peer: string; stale: boolean; best: boolean; decidedBy: string; pathId: number; link?: string },
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
        peer: c.peer.index === LOCAL ? "" : (rib.peer(c.peer.index)?.name ?? ""),
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
      : out instanceof AdjRibOut && out.out(pid) >= 0
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
