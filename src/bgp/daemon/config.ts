// bgp/daemon: a desired state, message by message, as the speaker's configuration: checked and with its defaults.
import {
  type Bfd,
  type BmpStation,
  type DesiredState,
  Family,
  LimitAction,
  type Mrt,
  type Multipath,
  type Peer,
} from "../../api/generated/proto/speaker_pb.js";
import type { Address } from "../../net/address.ts";
import type { StationConfig } from "../bmp/exporter.ts";
import { MULTIPATH_MAX, type MultipathRule } from "../rib/decision.ts";
import { addressIn, fail, originIn, policyIn, prefixIn, treatmentIn } from "../rib/desired.ts";
import type { BfdConfig } from "../session/bfd.ts";
import {
  type AddPathConfig,
  type MrtConfig,
  noAddPath,
  type PeerConfig,
  type PeerRange,
  type PrefixLimits,
  type SpeakerConfig,
} from "../session/types.ts";
import { type Afi, PORT } from "../wire/constants.ts";

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
    ...(m.multipath && { multipath: multipathIn(m.multipath) }),
  };
}

const multipathIn = (m: Multipath): MultipathRule => ({
  external: Math.min(m.external || MULTIPATH_MAX, MULTIPATH_MAX),
  internal: Math.min(m.internal || MULTIPATH_MAX, MULTIPATH_MAX),
  samePath: m.samePath,
});

const actionIn: Readonly<Record<LimitAction, PrefixLimits["action"]>> = {
  [LimitAction.LIMIT_TEARDOWN]: "teardown",
  [LimitAction.LIMIT_DISCARD]: "discard",
  [LimitAction.LIMIT_WARN]: "warn",
};

/** Where nothing is said: a word before the last tenth is used up. */
const WARN_PERCENT = 90;

const limitsIn = (p: Peer): PrefixLimits => ({
  action: actionIn[p.maxPrefixesAction] ?? "teardown",
  warnPercent: Math.min(p.maxPrefixesWarnPercent || WARN_PERCENT, 100),
  ...(p.maxPrefixesRestartSeconds > 0 && { restartSeconds: p.maxPrefixesRestartSeconds }),
  sent: {
    1: p.maxSentIpv4 || undefined,
    2: p.maxSentIpv6 || undefined,
  },
});

function localPortIn(p: Peer, where: string): number {
  if (p.localPort > 65535) fail(where, `local_port ${p.localPort}`);
  if (p.ranges.length > 0 || p.passive) fail(where, "local_port, and we do not connect");
  return p.localPort;
}

const afiIn: Readonly<Partial<Record<Family, Afi>>> = { [Family.IPV4_UNICAST]: 1, [Family.IPV6_UNICAST]: 2 };

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
    ...(p.localPort > 0 && { localPort: localPortIn(p, where) }),
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
    prefixLimits: limitsIn(p),
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
