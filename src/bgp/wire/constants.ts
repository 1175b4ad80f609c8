// bgp/wire: the numbers of BGP-4, each described once, with the names that logs, tables and documentation use.

export const PORT = 179;
export const VERSION = 4;
export const HEADER_BYTES = 19;
/** RFC 4271 4.1. */
export const MESSAGE_BYTES_MAX = 4096;
/** RFC 8654. */
export const EXTENDED_MESSAGE_BYTES_MAX = 65535;
/** What a 2-octet speaker sees in place of an AS number that does not fit (RFC 6793). */
export const AS_TRANS = 23456;

export const MessageType = { open: 1, update: 2, notification: 3, keepalive: 4, routeRefresh: 5 } as const;

/** An address family of ours. The value is the AFI; the SAFI is always 1, unicast. */
export type Afi = 1 | 2;
export const SAFI_UNICAST = 1;
export const afis = [1, 2] as const;
export const afiName: Record<Afi, string> = { 1: "IPv4 unicast", 2: "IPv6 unicast" };
/** Octets of an address of the family. */
export const addressBytes = (afi: Afi): 4 | 16 => (afi === 1 ? 4 : 16);

export const Attr = {
  origin: 1,
  asPath: 2,
  nextHop: 3,
  med: 4,
  localPref: 5,
  atomicAggregate: 6,
  aggregator: 7,
  communities: 8,
  originatorId: 9,
  clusterList: 10,
  mpReach: 14,
  mpUnreach: 15,
  extendedCommunities: 16,
  as4Path: 17,
  as4Aggregator: 18,
  ipv6ExtendedCommunities: 25,
  largeCommunities: 32,
  onlyToCustomer: 35,
} as const;

/** Bits of the attribute flags octet (RFC 4271 4.3). */
export const Flag = { optional: 0x80, transitive: 0x40, partial: 0x20, extendedLength: 0x10 } as const;

export const originName = ["IGP", "EGP", "INCOMPLETE"] as const;

/** AS_PATH segment types (RFC 4271, RFC 5065). */
export const Segment = { set: 1, sequence: 2, confedSequence: 3, confedSet: 4 } as const;

/** Roles of a speaker on a session (RFC 9234), in the numbers of its capability. */
export const Role = { provider: 0, routeServer: 1, routeServerClient: 2, customer: 3, peer: 4 } as const;
export type Role = (typeof Role)[keyof typeof Role];

export const WellKnown = {
  gracefulShutdown: 0xffff0000,
  /** RFC 9494: kept although its router has been away for long; and: not to be kept so. */
  longLivedStale: 0xffff0006,
  noLongLived: 0xffff0007,
  noExport: 0xffffff01,
  noAdvertise: 0xffffff02,
  noExportSubconfed: 0xffffff03,
} as const;
