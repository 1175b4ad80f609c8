// bgp/session: what we offer in an OPEN, whether the neighbour's is acceptable, and what the two agree on.
import { counterpart } from "../rib/treatment.ts";
import {
  AddPathMode,
  type GracefulRestart,
  type LongLivedFamily,
  writeCapabilities,
} from "../wire/capabilities.ts";
import { type Afi, EXTENDED_MESSAGE_BYTES_MAX, MESSAGE_BYTES_MAX, SAFI_UNICAST } from "../wire/constants.ts";
import { type Notification, notification } from "../wire/notification.ts";
import type { Open } from "../wire/open.ts";
import { UpdateForm } from "../wire/update.ts";
import type { PeerConfig } from "./types.ts";

/** Both sides' OPENs put together. */
export interface Negotiated {
  readonly ebgp: boolean;
  readonly peerAsn: number;
  readonly routerId: number;
  readonly as4: boolean;
  readonly families: Readonly<Record<Afi, boolean>>;
  /** 0: neither KEEPALIVE nor hold timer. */
  readonly holdSeconds: number;
  readonly routeRefresh: boolean;
  readonly enhancedRouteRefresh: boolean;
  readonly messageBytesMax: number;
  /** The neighbour's capability, where we offer ours too. */
  readonly gracefulRestart: GracefulRestart | undefined;
  /** RFC 9494, where both speak it: the neighbour's families, for no longer than is configured here. */
  readonly longLived: readonly LongLivedFamily[] | undefined;
  /** Both keep routes also after a NOTIFICATION (RFC 8538). */
  readonly restartOnNotification: boolean;
  /** Several paths of a prefix come, and are sent, each with an identifier (RFC 7911). */
  readonly pathsIn: Readonly<Record<Afi, boolean>>;
  readonly pathsOut: Readonly<Record<Afi, boolean>>;
  /** IPv4 routes may have IPv6 next hops (RFC 8950). */
  readonly extendedNextHop: boolean;
  /** The neighbour will look for an End-of-RIB. */
  readonly endOfRib: boolean;
}

/** Our OPEN towards a neighbour. `restarting` sets the R bit. */
export function ourOpen(config: PeerConfig, routerId: number, restarting: boolean): Open {
  const families = config.families.map((afi) => ({ afi, safi: SAFI_UNICAST }));
  const addPath = families.flatMap((f) => {
    const { receive, send } = config.addPath[f.afi];
    const mode = (receive ? AddPathMode.receive : 0) | (send > 0 ? AddPathMode.send : 0);
    return mode === 0 ? [] : [{ ...f, mode }];
  });
  return {
    asn: config.localAsn,
    holdSeconds: config.holdSeconds,
    routerId,
    capabilities: {
      families,
      routeRefresh: true,
      enhancedRouteRefresh: true,
      extendedMessages: true,
      as4: config.localAsn,
      ...(addPath.length > 0 && { addPath }),
      ...(offersExtendedNextHop(config) && {
        extendedNextHop: [{ afi: 1, safi: SAFI_UNICAST, nextHopAfi: 2 }],
      }),
      ...(config.treatment.role === undefined ? {} : { role: config.treatment.role }),
      ...(config.gracefulRestart
        ? {
            gracefulRestart: {
              restarting,
              notification: true,
              seconds: config.restartSeconds,
              families: families.map((f) => ({ ...f, forwarding: config.forwardingPreserved })),
            },
            ...(config.longLivedSeconds > 0 && {
              longLived: families.map((f) => ({
                ...f,
                forwarding: config.forwardingPreserved,
                seconds: config.longLivedSeconds,
              })),
            }),
          }
        : {}),
    },
  };
}

/** RFC 8950 is of use where IPv4 routes are told over IPv6. */
const offersExtendedNextHop = (config: PeerConfig): boolean =>
  config.families.includes(1) && (config.extendedNextHop ?? config.address.family === 6);

/** Checks the neighbour's OPEN against the configuration (RFC 4271 6.2) and negotiates. */
export function negotiate(config: PeerConfig, ours: Open, theirs: Open): Negotiated | Notification {
  if (config.peerAsn === 0 ? theirs.asn === config.localAsn : theirs.asn !== config.peerAsn) {
    const asn = theirs.asn > 0xffff ? 23456 : theirs.asn;
    return notification(
      2,
      2,
      `AS ${theirs.asn} where ${config.peerAsn || "an external one"} is configured`,
      Uint8Array.of(asn >> 8, asn & 255),
    );
  }
  const ebgp = config.peerAsn !== config.localAsn;
  // RFC 6286: equal identifiers are an error only within an AS.
  if (!ebgp && theirs.routerId === ours.routerId) return notification(2, 3, "our own BGP identifier");
  const { capabilities } = theirs;
  const { role, strictRole } = config.treatment;
  if (role !== undefined) {
    const fits = capabilities.role === undefined ? !strictRole : capabilities.role === counterpart[role];
    if (!fits) return notification(2, 11, `role ${roleName(capabilities.role)}, ours is ${roleName(role)}`);
  }
  const offered = capabilities.families ?? [{ afi: 1, safi: SAFI_UNICAST }];
  const has = (afi: Afi): boolean =>
    config.families.includes(afi) && offered.some((f) => f.afi === afi && f.safi === SAFI_UNICAST);
  const families = { 1: has(1), 2: has(2) };
  if (!families[1] && !families[2]) {
    const wanted = writeCapabilities({ families: ours.capabilities.families ?? [] });
    return notification(2, 7, "no address family in common", wanted);
  }
  const paths = (afi: Afi, wanted: boolean, theirMode: number): boolean =>
    families[afi] &&
    wanted &&
    (capabilities.addPath?.some(
      (f) => f.afi === afi && f.safi === SAFI_UNICAST && (f.mode & theirMode) !== 0,
    ) ??
      false);
  const pathsIn = (afi: Afi) => paths(afi, config.addPath[afi].receive, AddPathMode.send);
  const pathsOut = (afi: Afi) => paths(afi, config.addPath[afi].send > 0, AddPathMode.receive);
  const extendedNextHop =
    offersExtendedNextHop(config) &&
    (capabilities.extendedNextHop ?? []).some(
      (f) => f.afi === 1 && f.safi === SAFI_UNICAST && f.nextHopAfi === 2,
    );
  const gr = config.gracefulRestart ? capabilities.gracefulRestart : undefined;
  const extended = capabilities.extendedMessages === true;
  return {
    ebgp,
    peerAsn: theirs.asn,
    routerId: theirs.routerId,
    as4: capabilities.as4 !== undefined,
    families,
    holdSeconds: Math.min(ours.holdSeconds, theirs.holdSeconds),
    routeRefresh: capabilities.routeRefresh === true,
    enhancedRouteRefresh: capabilities.enhancedRouteRefresh === true,
    messageBytesMax: extended ? EXTENDED_MESSAGE_BYTES_MAX : MESSAGE_BYTES_MAX,
    gracefulRestart: gr,
    // RFC 9494 3.1: without the other capability this one means nothing.
    longLived:
      gr && config.longLivedSeconds > 0
        ? capabilities.longLived?.map((f) => ({
            ...f,
            seconds: Math.min(f.seconds, config.longLivedSeconds),
          }))
        : undefined,
    restartOnNotification: gr?.notification === true,
    pathsIn: { 1: pathsIn(1), 2: pathsIn(2) },
    pathsOut: { 1: pathsOut(1), 2: pathsOut(2) },
    extendedNextHop,
    endOfRib: capabilities.gracefulRestart !== undefined,
  };
}

const roleNames = ["provider", "route server", "route server client", "customer", "peer"];
const roleName = (role: number | undefined): string =>
  role === undefined ? "missing" : (roleNames[role] ?? `${role}`);

/** How UPDATEs of the session are laid out: bits of {@link UpdateForm}. */
export const updateForm = (n: Negotiated): number =>
  (n.pathsIn[1] ? UpdateForm.pathIds[1] : 0) |
  (n.pathsIn[2] ? UpdateForm.pathIds[2] : 0) |
  (n.extendedNextHop ? UpdateForm.extendedNextHop : 0);

const ofFamily = <F extends { readonly afi: number; readonly safi: number }>(
  list: readonly F[] | undefined,
  afi: Afi,
): F | undefined => list?.find((f) => f.afi === afi && f.safi === SAFI_UNICAST);

/** How long the routes of a family are kept while the neighbour is away, in ms: at first, and then as the last choice (RFC 9494). */
export function keptFor(n: Negotiated, afi: Afi): { readonly restart: number; readonly longLived: number } {
  if (!n.families[afi]) return { restart: 0, longLived: 0 };
  return {
    restart: ofFamily(n.gracefulRestart?.families, afi) ? n.gracefulRestart!.seconds * 1000 : 0,
    longLived: (ofFamily(n.longLived, afi)?.seconds ?? 0) * 1000,
  };
}

/** Whether a neighbour that is back has kept forwarding by the routes of a family. */
export const keptForwarding = (n: Negotiated, afi: Afi, longLived: boolean): boolean =>
  n.families[afi] &&
  ofFamily<{ afi: number; safi: number; forwarding: boolean }>(
    longLived ? n.longLived : n.gracefulRestart?.families,
    afi,
  )?.forwarding === true;
