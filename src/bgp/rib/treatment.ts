// bgp/rib: how routes of and for one neighbour are treated beside policy: AS numbers, next hop, reflection (RFC 4456), route server (RFC 7947), roles (RFC 9234).
import type { AsPath } from "../wire/aspath.ts";
import type { PathAttributes } from "../wire/attributes.ts";
import { Role } from "../wire/constants.ts";

/** As configured for a neighbour. */
export interface PeerTreatment {
  /** How often our own AS number may be in a path from it. */
  readonly allowAsIn: number;
  /** Its AS number in what it is sent is replaced by ours. */
  readonly asOverride: boolean;
  /** Private AS numbers (RFC 6996) but its own are taken out of what it is sent. */
  readonly removePrivateAs: boolean;
  /** Learned routes keep their next hop. */
  readonly nextHopUnchanged: boolean;
  /** It is a client of ours in the sense of RFC 4456. */
  readonly reflectorClient: boolean;
  /** It is a client of ours in the sense of RFC 7947: path, next hop and MED reach it as they came. */
  readonly routeServerClient: boolean;
  /** Ours in the sense of RFC 9234. */
  readonly role: Role | undefined;
  /** Without a role of the neighbour there is no session. */
  readonly strictRole: boolean;
}

export const noTreatment: PeerTreatment = {
  allowAsIn: 0,
  asOverride: false,
  removePrivateAs: false,
  nextHopUnchanged: false,
  reflectorClient: false,
  routeServerClient: false,
  role: undefined,
  strictRole: false,
};

/** What is out of the ordinary on the way in. Equal for neighbours that share an importer. */
export interface ImportTreatment {
  readonly allowAsIn: number;
  readonly role: Role | undefined;
  /** Of the neighbour where it has a role, else 0. */
  readonly peerAsn: number;
  readonly clusterId: number;
  /** ORIGINATOR_ID of routes that have none: the neighbour's identifier. 0: we do not reflect. */
  readonly originatorId: number;
}

/** What is out of the ordinary on the way out. Equal for neighbours that hear the same. */
export interface ExportTreatment {
  /** Of the neighbour where its number matters, else 0. */
  readonly peerAsn: number;
  readonly asOverride: boolean;
  readonly removePrivateAs: boolean;
  readonly nextHopUnchanged: boolean;
  readonly routeServerClient: boolean;
  readonly reflectorClient: boolean;
  readonly clusterId: number;
  readonly role: Role | undefined;
}

/** What is known of a session when its treatments are made. */
export interface TreatedSession {
  readonly ebgp: boolean;
  readonly peerAsn: number;
  readonly peerRouterId: number;
  /** Some neighbour is a client of ours (RFC 4456). */
  readonly reflecting: boolean;
  readonly clusterId: number;
}

/** Undefined where nothing is out of the ordinary, so that ordinary neighbours share an importer. */
export function importTreatment(t: PeerTreatment, s: TreatedSession): ImportTreatment | undefined {
  const reflecting = s.reflecting && !s.ebgp;
  const role = s.ebgp ? t.role : undefined;
  if (t.allowAsIn === 0 && role === undefined && !reflecting) return undefined;
  return {
    allowAsIn: t.allowAsIn,
    role,
    peerAsn: role === undefined ? 0 : s.peerAsn,
    clusterId: s.clusterId,
    originatorId: reflecting ? s.peerRouterId : 0,
  };
}

/** Undefined where nothing is out of the ordinary, so that ordinary neighbours share a group. */
export function exportTreatment(t: PeerTreatment, s: TreatedSession): ExportTreatment | undefined {
  const reflecting = s.reflecting && !s.ebgp;
  const external =
    s.ebgp &&
    (t.asOverride || t.removePrivateAs || t.nextHopUnchanged || t.routeServerClient || t.role !== undefined);
  if (!reflecting && !external) return undefined;
  return {
    peerAsn: s.ebgp && (t.asOverride || t.removePrivateAs) ? s.peerAsn : 0,
    asOverride: s.ebgp && t.asOverride,
    removePrivateAs: s.ebgp && t.removePrivateAs,
    nextHopUnchanged: s.ebgp && t.nextHopUnchanged,
    routeServerClient: s.ebgp && t.routeServerClient,
    reflectorClient: reflecting && t.reflectorClient,
    clusterId: reflecting ? s.clusterId : 0,
    role: s.ebgp ? t.role : undefined,
  };
}

/** RFC 6996: reserved for private use. */
const isPrivate = (asn: number): boolean =>
  (asn >= 64512 && asn <= 65534) || (asn >= 4_200_000_000 && asn <= 4_294_967_294);

/** A learned path as it goes to the neighbour, before our own AS number is put in front. */
export function treatPath(path: AsPath, t: ExportTreatment, localAsn: number): AsPath {
  if (!t.asOverride && !t.removePrivateAs) return path;
  return path.flatMap((segment) => {
    let asns = segment.asns;
    // Its own number stays: that is how the neighbour knows its own routes.
    if (t.removePrivateAs) asns = asns.filter((asn) => asn === t.peerAsn || !isPrivate(asn));
    if (t.asOverride) asns = asns.map((asn) => (asn === t.peerAsn ? localAsn : asn));
    return asns.length === 0 ? [] : [{ type: segment.type, asns }];
  });
}

/** Roles of ours towards those who are above or beside us. */
const upward: ReadonlySet<Role> = new Set([Role.customer, Role.routeServerClient, Role.peer]);
/** Roles of ours towards those who are below or beside us. */
const downward: ReadonlySet<Role> = new Set([Role.provider, Role.routeServer, Role.peer]);

/** RFC 9234 5, ingress: the attributes with OTC where it is due; undefined for a route leak. */
export function otcIn(a: PathAttributes, role: Role, peerAsn: number): PathAttributes | undefined {
  if (a.otc === undefined) return upward.has(role) ? { ...a, otc: peerAsn } : a;
  if (role === Role.provider || role === Role.routeServer) return undefined;
  return role === Role.peer && a.otc !== peerAsn ? undefined : a;
}

/** RFC 9234 5, egress: the attributes with OTC where it is due; undefined where the route must not go there. */
export function otcOut(a: PathAttributes, role: Role, localAsn: number): PathAttributes | undefined {
  if (a.otc !== undefined) return upward.has(role) ? undefined : a;
  return downward.has(role) ? { ...a, otc: localAsn } : a;
}

/** RFC 9234 4.2: the only neighbour that fits each role of ours. */
export const counterpart: Readonly<Record<Role, Role>> = {
  [Role.provider]: Role.customer,
  [Role.customer]: Role.provider,
  [Role.routeServer]: Role.routeServerClient,
  [Role.routeServerClient]: Role.routeServer,
  [Role.peer]: Role.peer,
};
