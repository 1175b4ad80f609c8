// kernel: raw ICMPv6 sockets for router discovery (RFC 4861) on one interface: advertisements out and in, solicitations out and in.
import { type Address, fromBytes, parseAddress } from "../net/address.ts";
import {
  close,
  hasCode,
  interfaceIndex,
  KernelError,
  receiveFrom,
  sendTo,
  setsockopt,
  socket,
} from "./ffi.ts";
import { bindToInterface, setTtl, socketAddressOf } from "./sockets.ts";
import { attachTtlFilter } from "./udp.ts";

const AF_INET6 = 10;
const SOCK_RAW = 3;
const SOCK_NONBLOCK = 0o4000;
const IPPROTO_IPV6 = 41;
const IPPROTO_ICMPV6 = 58;
const IPV6_MULTICAST_IF = 17;
const IPV6_MULTICAST_HOPS = 18;
const IPV6_MULTICAST_LOOP = 19;
const IPV6_ADD_MEMBERSHIP = 20;
const ICMP6_FILTER = 1;
const ENODEV = 19;

const allNodes = parseAddress("ff02::1");
const allRouters = parseAddress("ff02::2");

/** ICMPv6 types of RFC 4861. */
export const Icmp6Type = { routerSolicitation: 133, routerAdvertisement: 134 } as const;

/** A message of a router or of a host that looks for one. */
export interface RouterMessage {
  readonly type: number;
  readonly from: Address;
}

/**
 * A socket for router discovery on one interface; the caller owns the descriptor, which does not block. Needs CAP_NET_RAW.
 * What came over a router is dropped in the kernel, as RFC 4861 6.1 asks for.
 * @throws KernelError ENODEV, EPERM, EAFNOSUPPORT
 */
export function openRouterSocket(name: string): number {
  const index = interfaceIndex(name);
  if (index === undefined) throw new KernelError("if_nametoindex", ENODEV, name);
  const fd = socket(AF_INET6, SOCK_RAW | SOCK_NONBLOCK, IPPROTO_ICMPV6);
  try {
    // struct icmp6_filter of linux/icmpv6.h: a bit that is set blocks its type.
    const filter = new Uint8Array(32).fill(0xff);
    const view = new DataView(filter.buffer);
    for (const type of Object.values(Icmp6Type)) {
      const word = (type >> 5) * 4;
      view.setUint32(word, view.getUint32(word, true) & ~(1 << (type & 31)), true);
    }
    setsockopt(fd, IPPROTO_ICMPV6, ICMP6_FILTER, filter);
    attachTtlFilter(fd, 6);
    bindToInterface(fd, name);
    setTtl(fd, 6, 255);
    setsockopt(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, 255);
    setsockopt(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, index);
    setsockopt(fd, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 0);
    // struct ipv6_mreq: group, interface index. Solicitations go to all routers.
    const membership = new Uint8Array(20);
    membership.set(socketAddressOf(allRouters, 0).subarray(8, 24));
    new DataView(membership.buffer).setUint32(16, index, true);
    setsockopt(fd, IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, membership);
    return fd;
  } catch (error) {
    close(fd);
    throw error;
  }
}

/**
 * Tells all nodes of the link that we are here. The router lifetime is 0: nobody is to take us for its default router (RFC 4861 4.2).
 * The kernel fills in the checksum. @throws KernelError EADDRNOTAVAIL while there is no link-local address, ENETDOWN
 */
export const sendRouterAdvertisement = (fd: number): void =>
  sendLink(fd, Icmp6Type.routerAdvertisement, 16, allNodes);

/** Asks the routers of the link to advertise themselves at once. @throws KernelError as above */
export const sendRouterSolicitation = (fd: number): void =>
  sendLink(fd, Icmp6Type.routerSolicitation, 8, allRouters);

function sendLink(fd: number, type: number, length: number, to: Address): void {
  const message = new Uint8Array(length);
  message[0] = type;
  sendTo(fd, message, socketAddressOf(to, 0));
}

const buffer = new Uint8Array(2048);
const sender = new Uint8Array(28);

/** The next message that waits; undefined for none. What is malformed (RFC 4861 6.1) is passed over. @throws KernelError */
export function receiveRouterMessage(fd: number): RouterMessage | undefined {
  for (;;) {
    let length: number;
    try {
      length = receiveFrom(fd, buffer, sender);
    } catch (error) {
      if (hasCode(error, "EAGAIN", "EINTR")) return undefined;
      throw error;
    }
    const type = buffer[0]!;
    const from = fromBytes(sender.slice(8, 24));
    const needed = type === Icmp6Type.routerAdvertisement ? 16 : 8;
    if (length < needed || buffer[1] !== 0) continue;
    // An advertisement comes from a link-local address; a solicitation may come from none.
    if (type === Icmp6Type.routerAdvertisement && from.hi >> 54n !== 0x3fan) continue;
    return { type, from };
  }
}
