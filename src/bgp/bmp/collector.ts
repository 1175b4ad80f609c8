// bgp/bmp: what a stream of BMP messages says: which sessions there are, and their routes before and after policy. For comparing, not for routing.
import { type Address, formatAddress, formatPrefix } from "../../net/address.ts";
import type { PathAttributes } from "../wire/attributes.ts";
import { AddPathMode } from "../wire/capabilities.ts";
import { type Afi, HEADER_BYTES, MessageType, SAFI_UNICAST } from "../wire/constants.ts";
import { decodeOpen } from "../wire/open.ts";
import { readRoutes, type SeenPrefix, type SeenUpdate } from "../wire/routes.ts";
import { type BmpMessage, type BmpPeer, PeerType } from "./message.ts";

/** Routes that are kept at most; further ones are counted. */
export const ROUTES_MAX = 4_000_000;

export type View = "pre-policy" | "post-policy" | "loc-rib" | "adj-rib-out-pre" | "adj-rib-out-post";

/** Routes by prefix, and by path identifier where it is not 0: "10.0.0.0/8" or "10.0.0.0/8 7". */
export type RouteTable = Map<string, PathAttributes>;

export interface CollectedPeer {
  /** Undefined for a Loc-RIB. */
  readonly address: Address | undefined;
  /** The router's own on the session. */
  localAddress: Address | undefined;
  readonly asn: number;
  readonly routerId: number;
  readonly distinguisher: string;
  up: boolean;
  /** Path identifiers were negotiated (RFC 7911): for what it sent, and for what it was sent. */
  pathsIn: Readonly<Record<Afi, boolean>>;
  pathsOut: Readonly<Record<Afi, boolean>>;
  readonly views: Map<View, { readonly routes: RouteTable; readonly endOfRib: Set<number> }>;
  /** Last values by type; those by family by "type afi/safi". */
  readonly statistics: Map<string, bigint>;
  /** Reason of the last Peer Down. */
  downReason: number;
}

export class BmpCollector {
  /** By type, distinguisher and address of the neighbour. */
  readonly peers = new Map<string, CollectedPeer>();
  sysName = "";
  sysDescription = "";
  terminated = false;
  /** Route Monitoring messages whose UPDATE could not be read, or of a session that is not up. */
  unreadable = 0;
  /** Routes beyond {@link ROUTES_MAX}. */
  refused = 0;
  #routes = 0;

  get routes(): number {
    return this.#routes;
  }

  take(m: BmpMessage): void {
    switch (m.kind) {
      case "initiation":
        for (const { type, value } of m.information) {
          if (type === 1) this.sysDescription = new TextDecoder().decode(value);
          if (type === 2) this.sysName = new TextDecoder().decode(value);
        }
        break;
      case "termination":
        this.terminated = true;
        break;
      case "peer-up": {
        const peer = this.#peer(m.peer);
        this.#clear(peer);
        peer.up = true;
        peer.localAddress = m.localAddress;
        peer.pathsIn = agreed(m.receivedOpen, m.sentOpen);
        peer.pathsOut = agreed(m.sentOpen, m.receivedOpen);
        break;
      }
      case "peer-down": {
        const peer = this.#peer(m.peer);
        peer.up = false;
        peer.downReason = m.reason;
        // RFC 7854 4.9: all routes of the session go with it.
        this.#clear(peer);
        break;
      }
      case "route-monitoring":
        this.#routesOf(this.#peer(m.peer), m.peer, m.update);
        break;
      case "statistics": {
        const peer = this.#peer(m.peer);
        for (const { type, value, afi, safi } of m.stats)
          peer.statistics.set(afi === undefined ? `${type}` : `${type} ${afi}/${safi}`, value);
        break;
      }
      default:
        break;
    }
  }

  /** The routes of a Route Monitoring message, read as the session's OPENs say. */
  read(p: BmpPeer, message: Uint8Array): SeenUpdate | string {
    if (message[18] !== MessageType.update) return "no UPDATE";
    const peer = this.#peer(p);
    const addPath = p.adjRibOut ? peer.pathsOut : peer.pathsIn;
    return readRoutes(message, HEADER_BYTES, message.length, { as4: !p.as2, addPath });
  }

  #peer(p: BmpPeer): CollectedPeer {
    const key = `${p.type} ${p.distinguisher} ${p.address ? formatAddress(p.address) : ""}`;
    let peer = this.peers.get(key);
    if (!peer) {
      peer = {
        address: p.address,
        localAddress: undefined,
        asn: p.asn,
        routerId: p.routerId,
        distinguisher: p.distinguisher,
        up: false,
        pathsIn: noPathIds,
        pathsOut: noPathIds,
        views: new Map(),
        statistics: new Map(),
        downReason: 0,
      };
      this.peers.set(key, peer);
    }
    return peer;
  }

  #clear(peer: CollectedPeer): void {
    for (const { routes } of peer.views.values()) this.#routes -= routes.size;
    peer.views.clear();
  }

  #routesOf(peer: CollectedPeer, p: BmpPeer, message: Uint8Array): void {
    const update = this.read(p, message);
    if (!peer.up || typeof update === "string") {
      this.unreadable++;
      return;
    }
    const name = viewOf(p);
    let view = peer.views.get(name);
    if (!view) {
      view = { routes: new Map(), endOfRib: new Set() };
      peer.views.set(name, view);
    }
    if (update.endOfRib) view.endOfRib.add(update.endOfRib);
    for (const prefix of update.withdrawn) if (view.routes.delete(routeKey(prefix))) this.#routes--;
    for (const { attributes, prefixes } of update.announced)
      for (const prefix of prefixes) this.#set(view.routes, routeKey(prefix), attributes);
  }

  #set(routes: RouteTable, key: string, attributes: PathAttributes): void {
    if (!routes.has(key)) {
      if (this.#routes >= ROUTES_MAX) {
        this.refused++;
        return;
      }
      this.#routes++;
    }
    routes.set(key, attributes);
  }
}

const noPathIds = { 1: false, 2: false };

/** Families for which the sender of one OPEN sends path identifiers to that of the other. */
function agreed(from: Uint8Array, to: Uint8Array): Readonly<Record<Afi, boolean>> {
  const [sender, receiver] = [from, to].map((b) => decodeOpen(b, HEADER_BYTES, b.length));
  const does = (open: typeof sender, afi: Afi, mode: number): boolean =>
    open !== undefined &&
    "capabilities" in open &&
    (open.capabilities.addPath ?? []).some(
      (f) => f.afi === afi && f.safi === SAFI_UNICAST && (f.mode & mode) !== 0,
    );
  const both = (afi: Afi): boolean =>
    does(sender, afi, AddPathMode.send) && does(receiver, afi, AddPathMode.receive);
  return { 1: both(1), 2: both(2) };
}

export const routeKey = ({ prefix, pathId }: SeenPrefix): string =>
  pathId === 0 ? formatPrefix(prefix) : `${formatPrefix(prefix)} ${pathId}`;

function viewOf(p: BmpPeer): View {
  if (p.type === PeerType.locRib) return "loc-rib";
  if (p.adjRibOut) return p.postPolicy ? "adj-rib-out-post" : "adj-rib-out-pre";
  return p.postPolicy ? "post-policy" : "pre-policy";
}
