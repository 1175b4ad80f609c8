// kernel: routes over rtnetlink: listed, looked up, written and removed in batches.
import {
  type Address,
  bitsOf,
  type Family,
  fromBytes,
  fromInteger,
  type Prefix,
  toBytes,
} from "../net/address.ts";
import type { KernelError } from "./ffi.ts";
import {
  attribute32,
  NetlinkBody,
  type NetlinkMessage,
  type NetlinkSocket,
  NlmFlag,
  parseAttributes,
  Rtm,
  viewOver,
} from "./netlink.ts";

const AF_INET = 2;
const AF_INET6 = 10;
const afOf = (family: Family): number => (family === 4 ? AF_INET : AF_INET6);

const RTA_DST = 1;
const RTA_OIF = 4;
const RTA_GATEWAY = 5;
const RTA_PRIORITY = 6;
const RTA_MULTIPATH = 9;
const RTA_TABLE = 15;
const RTA_VIA = 18;

const RTN_UNICAST = 1;
const RT_SCOPE_UNIVERSE = 0;
const RT_SCOPE_LINK = 253;

/** Of rtm_protocol in struct rtmsg. */
const protocolOffset = 5;

/** The main routing table. */
export const mainTable = 254;

export interface NextHop {
  /** Absent: the destination is on the link itself. */
  readonly gateway?: Address;
  /** 0: the kernel finds it by the gateway. */
  readonly interfaceIndex: number;
}

export interface KernelRoute {
  readonly prefix: Prefix;
  readonly nextHops: readonly NextHop[];
  /** Who made it (RTPROT_*, /etc/iproute2/rt_protos). */
  readonly protocol: number;
  readonly table: number;
  /** RTN_*: 1 unicast, 2 local, … */
  readonly type: number;
  readonly metric: number;
}

const emptyAddress = (family: Family): Address => fromInteger(family, 0n);

function parseNextHops(attributes: Map<number, Uint8Array>): NextHop[] {
  const multipath = attributes.get(RTA_MULTIPATH);
  if (!multipath) return [nextHopOf(attributes, attribute32(attributes, RTA_OIF) ?? 0)];
  const hops: NextHop[] = [];
  const v = viewOver(multipath);
  // struct rtnexthop: length 16, flags 8, hops 8, ifindex 32; attributes follow.
  for (let at = 0; at + 8 <= multipath.length; ) {
    const length = v.getUint16(at, true);
    if (length < 8) break;
    hops.push(nextHopOf(parseAttributes(multipath.subarray(at + 8, at + length)), v.getInt32(at + 4, true)));
    at += (length + 3) & ~3;
  }
  return hops;
}

function nextHopOf(attributes: Map<number, Uint8Array>, interfaceIndex: number): NextHop {
  const via = attributes.get(RTA_VIA);
  const gateway = attributes.get(RTA_GATEWAY) ?? via?.subarray(2);
  return gateway ? { gateway: fromBytes(gateway), interfaceIndex } : { interfaceIndex };
}

function parseRoute(message: NetlinkMessage): KernelRoute | undefined {
  const [family = 0, length = 0, , , table = 0, protocol = 0, , type = 0] = message.body;
  if (family !== AF_INET && family !== AF_INET6) return undefined;
  const attributes = parseAttributes(message.body.subarray(12));
  const destination = attributes.get(RTA_DST);
  const address = destination ? fromBytes(destination) : emptyAddress(family === AF_INET ? 4 : 6);
  return {
    prefix: { ...address, length },
    nextHops: parseNextHops(attributes),
    protocol,
    table: attribute32(attributes, RTA_TABLE) ?? table,
    type,
    metric: attribute32(attributes, RTA_PRIORITY) ?? 0,
  };
}

/** struct rtmsg. */
function routeHeader(
  family: Family,
  length: number,
  protocol: number,
  type: number,
  scope: number,
): NetlinkBody {
  return new NetlinkBody().u8(afOf(family), length, 0, 0, mainTable, protocol, scope, type).u32(0);
}

/** The routes of the main table, both families or one; only or not those of a protocol. @throws KernelError */
export function listRoutes(
  netlink: NetlinkSocket,
  filter: { readonly family?: Family; readonly protocol?: number; readonly exceptProtocol?: number } = {},
): KernelRoute[] {
  const routes: KernelRoute[] = [];
  for (const family of filter.family ? [filter.family] : ([4, 6] as const)) {
    const body = routeHeader(family, 0, filter.protocol ?? 0, 0, 0).bytes();
    for (const message of netlink.dump("RTM_GETROUTE", Rtm.GETROUTE, body)) {
      // By the header alone: a node may have many thousand routes of no interest.
      if (message.body[protocolOffset] === filter.exceptProtocol) continue;
      const route = parseRoute(message);
      if (!route || route.table !== mainTable) continue;
      if (filter.protocol !== undefined && route.protocol !== filter.protocol) continue;
      routes.push(route);
    }
  }
  return routes;
}

/** By which interface the kernel would send to an address. @throws KernelError (ENETUNREACH) */
export function lookupRoute(netlink: NetlinkSocket, address: Address): KernelRoute | undefined {
  const body = routeHeader(address.family, bitsOf(address.family), 0, 0, 0).attribute(
    RTA_DST,
    toBytes(address),
  );
  return parseRoute(netlink.get("RTM_GETROUTE", Rtm.GETROUTE, body.bytes()));
}

function routeBody(route: Pick<KernelRoute, "prefix" | "nextHops" | "protocol" | "metric">): Uint8Array {
  const { prefix, nextHops } = route;
  const scope =
    prefix.family === 4 && nextHops.every((hop) => !hop.gateway) ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
  const body = routeHeader(prefix.family, prefix.length, route.protocol, RTN_UNICAST, scope).attribute(
    RTA_DST,
    toBytes(prefix),
  );
  if (route.metric > 0) body.attribute32(RTA_PRIORITY, route.metric);
  const hopAttributes = (to: NetlinkBody, hop: NextHop): void => {
    if (!hop.gateway) return;
    if (hop.gateway.family === prefix.family) to.attribute(RTA_GATEWAY, toBytes(hop.gateway));
    else {
      // IPv4 by way of an IPv6 next hop (RFC 8950): struct rtvia, family first.
      const via = toBytes(hop.gateway);
      to.attribute(RTA_VIA, Uint8Array.of(afOf(hop.gateway.family), 0, ...via));
    }
  };
  const [only, ...others] = nextHops;
  if (only && others.length === 0) {
    if (only.interfaceIndex > 0) body.attribute32(RTA_OIF, only.interfaceIndex);
    hopAttributes(body, only);
  } else
    body.nested(RTA_MULTIPATH, (paths) => {
      for (const hop of nextHops)
        paths.sized((path) => {
          path.u16(0).u8(0, 0).u32(hop.interfaceIndex);
          hopAttributes(path, hop);
        });
    });
  return body.bytes();
}

/** Writes routes, replacing what the same protocol's prefix and metric had before. An error or undefined for each. */
export const writeRoutes = (
  netlink: NetlinkSocket,
  routes: readonly Pick<KernelRoute, "prefix" | "nextHops" | "protocol" | "metric">[],
): (KernelError | undefined)[] =>
  netlink.requestAll(
    "RTM_NEWROUTE",
    routes.map((route) => ({
      type: Rtm.NEWROUTE,
      flags: NlmFlag.CREATE | NlmFlag.REPLACE,
      body: routeBody(route),
    })),
  );

/** Removes routes: exactly those of this prefix, protocol and metric. An error (ESRCH) or undefined for each. */
export const deleteRoutes = (
  netlink: NetlinkSocket,
  routes: readonly Pick<KernelRoute, "prefix" | "protocol" | "metric">[],
): (KernelError | undefined)[] =>
  netlink.requestAll(
    "RTM_DELROUTE",
    routes.map(({ prefix, protocol, metric }) => {
      // Scope NOWHERE matches any.
      const body = routeHeader(prefix.family, prefix.length, protocol, 0, 255).attribute(
        RTA_DST,
        toBytes(prefix),
      );
      if (metric > 0) body.attribute32(RTA_PRIORITY, metric);
      return { type: Rtm.DELROUTE, flags: 0, body: body.bytes() };
    }),
  );
