// kernel: TCP sockets with the options that BGP needs before they connect: MD5 keys, TTL security, device, address.
import type { Server, Socket } from "node:net";
import { type Address, type Family, toBytes } from "../net/address.ts";
import { bind, interfaceIndex, ioctl, KernelError, koffi, setsockopt, socket } from "./ffi.ts";

const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_STREAM = 1;
const SOL_SOCKET = 1;
const SO_BINDTODEVICE = 25;
const SO_REUSEADDR = 2;
const IPPROTO_IP = 0;
const IP_TOS = 1;
const IP_TTL = 2;
const IP_MINTTL = 21;
const IPPROTO_IPV6 = 41;
const IPV6_UNICAST_HOPS = 16;
const IPV6_TCLASS = 67;
const IPV6_MINHOPCOUNT = 73;
const IPPROTO_TCP = 6;
const TCP_MD5SIG = 14;
const TCP_MD5SIG_EXT = 32;
const TCP_MD5SIG_FLAG_PREFIX = 1;
const TCP_USER_TIMEOUT = 18;
const SIOCOUTQ = 0x5411;
/** DSCP CS6, network control (RFC 4594): what every router gives its BGP packets. */
const TOS_CS6 = 0xc0;
/** TCP_MD5SIG_MAXKEYLEN of linux/tcp.h. */
export const MD5_KEY_BYTES_MAX = 80;

/** Whether sockets can be made here at all: the native module loads. */
export function nativeSockets(): boolean {
  try {
    koffi();
    return true;
  } catch {
    return false;
  }
}

/** A TCP socket that is neither bound nor connected. The caller owns the descriptor. @throws KernelError */
export const openTcpSocket = (family: Family): number =>
  socket(family === 4 ? AF_INET : AF_INET6, SOCK_STREAM, 0);

/** sockaddr_in or sockaddr_in6 in the kernel's layout; `scope` is an interface index for link-local addresses. */
export function socketAddressOf(address: Address, port: number, scope = 0): Uint8Array {
  const out = new Uint8Array(address.family === 4 ? 16 : 28);
  const view = new DataView(out.buffer);
  view.setUint16(0, address.family === 4 ? AF_INET : AF_INET6, true);
  view.setUint16(2, port);
  out.set(toBytes(address), address.family === 4 ? 4 : 8);
  if (address.family === 6) view.setUint32(24, scope, true);
  return out;
}

/** Binds to an address and port (0: any). @throws KernelError EADDRINUSE, EADDRNOTAVAIL, EACCES */
export function bindTcpSocket(fd: number, address: Address, port: number): void {
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  bind(fd, socketAddressOf(address, port));
}

/**
 * Sets, changes or (undefined) removes the TCP-MD5 key for a neighbour (RFC 2385), on a listening socket or on one that is about to connect.
 * Layout: struct tcp_md5sig of linux/tcp.h.
 * @param prefixLength the key is for all neighbours of this prefix; where several keys fit one, the longest counts
 * @throws KernelError ENOENT when a key that is not there is removed, EINVAL for a key over 80 octets, ENOPROTOOPT or EPERM where the
 * kernel has no MD5 signatures
 */
export function setMd5(
  fd: number,
  neighbor: Address,
  password: string | undefined,
  prefixLength?: number,
): void {
  const key = new TextEncoder().encode(password ?? "");
  if (key.length > MD5_KEY_BYTES_MAX)
    throw new KernelError("setsockopt", 22, "TCP-MD5 password is longer than 80 octets");
  const option = new Uint8Array(216);
  option.set(socketAddressOf(neighbor, 0));
  new DataView(option.buffer).setUint16(130, key.length, true);
  option.set(key, 136);
  if (prefixLength === undefined) {
    setsockopt(fd, IPPROTO_TCP, TCP_MD5SIG, option);
    return;
  }
  option[128] = TCP_MD5SIG_FLAG_PREFIX;
  option[129] = prefixLength;
  setsockopt(fd, IPPROTO_TCP, TCP_MD5SIG_EXT, option);
}

/** Sends with TTL 255 and takes only what came over at most `hops` hops (RFC 5082). @throws KernelError */
export function setTtlSecurity(fd: number, family: Family, hops: number): void {
  setTtl(fd, family, 255);
  if (family === 4) setsockopt(fd, IPPROTO_IP, IP_MINTTL, 256 - hops);
  else setsockopt(fd, IPPROTO_IPV6, IPV6_MINHOPCOUNT, 256 - hops);
}

/** TTL or hop limit of what is sent. @throws KernelError */
export function setTtl(fd: number, family: Family, ttl: number): void {
  if (family === 4) setsockopt(fd, IPPROTO_IP, IP_TTL, ttl);
  else setsockopt(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, ttl);
}

/** Marks packets as network control. @throws KernelError */
export function setNetworkControl(fd: number, family: Family): void {
  if (family === 4) setsockopt(fd, IPPROTO_IP, IP_TOS, TOS_CS6);
  else setsockopt(fd, IPPROTO_IPV6, IPV6_TCLASS, TOS_CS6);
}

/** Ends the connection when sent data stays unacknowledged for `ms` (RFC 5482). @throws KernelError */
export const setUserTimeout = (fd: number, ms: number): void =>
  setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, ms);

/** Keeps a socket to one interface (or VRF). @throws KernelError ENODEV, EPERM */
export function bindToInterface(fd: number, name: string): void {
  if (interfaceIndex(name) === undefined) throw new KernelError("setsockopt", 19, `interface ${name}`);
  setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, new TextEncoder().encode(`${name}\0`));
}

/** Octets that were sent or wait to be, and that the other end has not acknowledged. @throws KernelError */
export function tcpOutQueue(fd: number): number {
  const value = new Int32Array(1);
  ioctl(fd, SIOCOUTQ, new Uint8Array(value.buffer));
  return value[0]!;
}

/** The descriptor behind a socket or server of node:net; undefined once it is closed. Node has no public name for it. */
export function descriptorOf(of: Socket | Server): number | undefined {
  const { _handle: handle } = of as unknown as { _handle?: { fd?: unknown } | null };
  return typeof handle?.fd === "number" && handle.fd >= 0 ? handle.fd : undefined;
}
