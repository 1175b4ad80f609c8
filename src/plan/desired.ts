// plan: a plan's speaker state as the message that carries it. Passwords are put in here and nowhere else.
import { create } from "@bufbuild/protobuf";
import {
  type DesiredState,
  DesiredStateSchema,
  Family as ProtoFamily,
  Role as ProtoRole,
  Source as ProtoSource,
} from "../api/generated/proto/speaker_pb.js";
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
const sources = { Learned: ProtoSource.LEARNED, Any: ProtoSource.ANY } as const;

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
  address: p.interface === undefined ? toBytes(p.address) : new Uint8Array(0),
  interface: p.interface ?? "",
  port: p.port,
  peerAsn: p.peerASN,
  external: p.external ?? false,
  localAsn: p.localASN,
  localAddress: bytesOf(p.localAddress),
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
    ...(r.match.source && { source: sources[r.match.source] }),
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
