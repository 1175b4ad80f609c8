// plan: a plan's speaker state as the message that carries it. Passwords are put in here and nowhere else.
import { create } from "@bufbuild/protobuf";
import {
  CommunityKind,
  type DesiredState,
  DesiredStateSchema,
  LimitAction,
  Family as ProtoFamily,
  Role as ProtoRole,
  Source as ProtoSource,
} from "../api/generated/proto/speaker_pb.js";
import type { CommunityPattern } from "../bgp/policy/communities.ts";
import { type Address, toBytes } from "../net/address.ts";
import type { LargeCommunity } from "../routes/index.ts";
import type { SpeakerPeer, SpeakerRule, SpeakerState, SpeakerTreatment } from "./types.ts";

const none = new Uint8Array(0);
const bytesOf = (a: Address | undefined): Uint8Array => (a ? toBytes(a) : none);
const large = (list: readonly LargeCommunity[]) => list.map((l) => ({ ...l }));

const roles = {
  Provider: ProtoRole.PROVIDER,
  Customer: ProtoRole.CUSTOMER,
  Peer: ProtoRole.PEER,
  RouteServer: ProtoRole.ROUTE_SERVER,
  RouteServerClient: ProtoRole.ROUTE_SERVER_CLIENT,
} as const;
const sources = {
  Learned: ProtoSource.LEARNED,
  Any: ProtoSource.ANY,
  External: ProtoSource.EXTERNAL,
  Internal: ProtoSource.INTERNAL,
} as const;
const kinds = {
  standard: CommunityKind.COMMUNITY_STANDARD,
  large: CommunityKind.COMMUNITY_LARGE,
  extended: CommunityKind.COMMUNITY_EXTENDED,
} as const;

const limitActions = {
  Teardown: LimitAction.LIMIT_TEARDOWN,
  Discard: LimitAction.LIMIT_DISCARD,
  Warn: LimitAction.LIMIT_WARN,
} as const;

const protoFamily = (f: SpeakerPeer["families"][number]): ProtoFamily =>
  f === "IPv4Unicast" ? ProtoFamily.IPV4_UNICAST : ProtoFamily.IPV6_UNICAST;

const encodeTreatment = (t: SpeakerTreatment) => ({
  allowAsIn: t.allowASIn,
  asOverride: t.asOverride,
  removePrivateAs: t.removePrivateAS,
  nextHopUnchanged: t.nextHopUnchanged,
  reflectorClient: t.reflectorClient,
  routeServerClient: t.routeServerClient,
  role: t.role === undefined ? ProtoRole.ROLE_NONE : roles[t.role],
  strictRole: t.strictRole,
});

const encodePeer = (p: SpeakerPeer, password: string | undefined) => ({
  name: p.name,
  address: p.interface === undefined && !p.ranges ? toBytes(p.address) : new Uint8Array(0),
  ranges: (p.ranges ?? []).map((r) => ({ prefix: toBytes(r), length: r.length })),
  rangeLimit: p.rangeLimit ?? 0,
  interface: p.interface ?? "",
  port: p.port,
  peerAsn: p.peerASN,
  external: p.external ?? false,
  localAsn: p.localASN,
  localAddress: bytesOf(p.localAddress),
  localPort: p.localPort ?? 0,
  families: p.families.map(protoFamily),
  holdSeconds: p.holdSeconds,
  connectRetrySeconds: p.connectRetrySeconds,
  connectRetryMaxSeconds: p.connectRetryMaxSeconds ?? 0,
  password: p.passwordMissing ? "" : (password ?? ""),
  passwordMissing: p.passwordMissing || (p.passwordSecret !== undefined && password === undefined),
  ttlSecurityHops: p.ttlSecurityHops,
  multihopTtl: p.multihopTTL,
  gracefulRestart: p.gracefulRestart,
  restartSeconds: p.restartSeconds,
  longLivedSeconds: p.longLivedSeconds ?? 0,
  // Links, programs, maps and kernel routes are pinned or the kernel's own: they forward while the speaker is away.
  forwardingPreserved: true,
  maxPrefixesIpv4: p.maxPrefixes.ipv4,
  maxPrefixesIpv6: p.maxPrefixes.ipv6,
  maxPrefixesAction: limitActions[p.overLimit?.action ?? "Teardown"],
  maxPrefixesWarnPercent: p.overLimit?.warnPercent ?? 0,
  maxPrefixesRestartSeconds: p.overLimit?.restartSeconds ?? 0,
  maxSentIpv4: p.maxPrefixesSent?.ipv4 ?? 0,
  maxSentIpv6: p.maxPrefixesSent?.ipv6 ?? 0,
  importPolicies: [...p.importPolicies],
  exportPolicies: [...p.exportPolicies],
  nextHopIpv4: bytesOf(p.nextHopIPv4),
  nextHopIpv6: bytesOf(p.nextHopIPv6),
  passive: p.passive,
  adminDown: p.adminDown ?? false,
  ...(p.bfd && { bfd: { ...p.bfd } }),
  ...(p.extendedNextHop !== undefined && { extendedNextHop: p.extendedNextHop }),
  addPath: p.addPath
    ? p.families.map((f) => ({
        family: protoFamily(f),
        receive: p.addPath!.receive,
        send: p.addPath!.send,
        sendMax: p.addPath!.best ?? 0,
      }))
    : [],
  ...(p.treatment && encodeTreatment(p.treatment)),
});

const patterns = (list: readonly CommunityPattern[] | undefined) =>
  (list ?? []).map(({ kind, pattern }) => ({ kind: kinds[kind], pattern }));

const encodeMatch = (m: SpeakerRule["match"]) => ({
  prefixes: m.prefixes.map((p) => ({
    prefix: toBytes(p.prefix),
    length: p.prefix.length,
    ge: p.ge,
    le: p.le,
  })),
  communities: [...m.communities],
  large: large(m.large),
  asPathContains: [...m.asPathContains],
  ...(m.source && { source: sources[m.source] }),
  communityPatterns: patterns(m.patterns),
  anyCommunity: patterns(m.anyCommunity),
  asPathRegex: m.path?.regex ?? "",
  asPathOrigin: [...(m.path?.origin ?? [])],
  asPathNeighbor: [...(m.path?.neighbor ?? [])],
  ...(m.path?.minLength !== undefined && { asPathMin: m.path.minLength }),
  ...(m.path?.maxLength !== undefined && { asPathMax: m.path.maxLength }),
  nextHops: (m.nextHops ?? []).map((p) => ({ prefix: toBytes(p), length: p.length })),
  origins: [...(m.origins ?? [])],
  neighbors: [...(m.neighbors ?? [])],
});

const encodeNextHop = (n: NonNullable<SpeakerRule["set"]["nextHop"]>) =>
  n.mode === "Address"
    ? { ipv4: bytesOf(n.ipv4), ipv6: bytesOf(n.ipv6) }
    : { self: n.mode === "Self", unchanged: n.mode === "Unchanged" };

const encodeSet = (s: SpeakerRule["set"]) => ({
  ...(s.med !== undefined && { med: s.med }),
  ...(s.localPref !== undefined && { localPref: s.localPref }),
  addCommunities: [...s.communities],
  addLarge: large(s.large),
  addExtended: [...(s.extended ?? [])],
  prepend: s.prepend,
  prependAsn: s.prependASN ?? 0,
  ...(s.medAdd !== undefined && { medAdd: BigInt(s.medAdd) }),
  ...(s.origin !== undefined && { origin: s.origin }),
  ...(s.nextHop && { nextHop: encodeNextHop(s.nextHop) }),
  ...(s.replace && {
    replace: {
      standard: s.replace.standard !== undefined,
      communities: [...(s.replace.standard ?? [])],
      large: s.replace.large !== undefined,
      largeCommunities: large(s.replace.large ?? []),
      extended: s.replace.extended !== undefined,
      extendedCommunities: [...(s.replace.extended ?? [])],
    },
  }),
  remove: patterns(s.remove),
});

const encodeRule = (r: SpeakerRule) => ({
  name: r.name,
  match: encodeMatch(r.match),
  accept: r.accept,
  set: encodeSet(r.set),
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
    clusterId: state.clusterID ?? 0,
    bmpStations: (state.bmpStations ?? []).map((s) => ({
      name: s.name,
      address: toBytes(s.address),
      port: s.port,
      prePolicy: s.prePolicy,
      postPolicy: s.postPolicy,
      locRib: s.locRIB,
      statisticsSeconds: s.statisticsSeconds,
    })),
    ...(state.multipath && { multipath: state.multipath }),
    ...(state.mrt && { mrt: { ...state.mrt, fileBytesMax: BigInt(state.mrt.fileBytesMax) } }),
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
