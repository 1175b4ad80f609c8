// kernel: UDP sockets as BFD needs them: a source port of its own, TTL 255 out, and nothing but TTL 255 in.
import { type Address, type Family, parseAddress } from "../net/address.ts";
import { addressOf, bind, close, hasCode, sendTo, setsockopt, socket } from "./ffi.ts";
import { bindToInterface, setNetworkControl, setTtl, socketAddressOf } from "./sockets.ts";

const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_DGRAM = 2;
const SOL_SOCKET = 1;
const SO_ATTACH_FILTER = 26;
const IPPROTO_IPV6 = 41;
const IPV6_V6ONLY = 26;
const MSG_DONTWAIT = 0x40;
/** RFC 5881 4: source ports of BFD. */
const SOURCE_PORT_FIRST = 49152;
const SOURCE_PORTS = 65536 - SOURCE_PORT_FIRST;
const PORT_ATTEMPTS = 64;

const any = { 4: parseAddress("0.0.0.0"), 6: parseAddress("::") } as const;

function openUdp(family: Family): number {
  const fd = socket(family === 4 ? AF_INET : AF_INET6, SOCK_DGRAM, 0);
  if (family === 6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
  return fd;
}

/** What is set up on a new descriptor; it is closed when that fails. */
function prepared(family: Family, prepare: (fd: number) => void): number {
  const fd = openUdp(family);
  try {
    prepare(fd);
    return fd;
  } catch (error) {
    close(fd);
    throw error;
  }
}

/**
 * A bound socket that receives; the caller owns the descriptor.
 * @param ttl255 drops in the kernel whatever came over a router (RFC 5881 5); node:dgram shows no TTL
 * @throws KernelError EADDRINUSE, EADDRNOTAVAIL, EACCES
 */
export const openUdpReceiver = (
  family: Family,
  address: Address | undefined,
  scope: number,
  port: number,
  ttl255: boolean,
): number =>
  prepared(family, (fd) => {
    // Before it is bound: no packet may slip in between.
    if (ttl255) attachTtlFilter(fd, family);
    bind(fd, socketAddressOf(address ?? any[family], port, scope));
  });

/** Drops what has come over a router: anything but TTL or hop limit 255. Classic BPF (linux/filter.h): load the TTL from the network header, accept where it is 255. */
export function attachTtlFilter(fd: number, family: Family): void {
  const program = new Uint8Array(4 * 8);
  const view = new DataView(program.buffer);
  const SKF_NET_OFF = 0xfff00000;
  const instructions = [
    [0x30, 0, 0, SKF_NET_OFF + (family === 4 ? 8 : 7)],
    [0x15, 0, 1, 255],
    [0x06, 0, 0, 0xffff],
    [0x06, 0, 0, 0],
  ] as const;
  for (const [i, [code, jt, jf, k]] of instructions.entries()) {
    view.setUint16(i * 8, code, true);
    view.setUint8(i * 8 + 2, jt);
    view.setUint8(i * 8 + 3, jf);
    view.setUint32(i * 8 + 4, k, true);
  }
  const fprog = new Uint8Array(16);
  const head = new DataView(fprog.buffer);
  head.setUint16(0, instructions.length, true);
  head.setBigUint64(8, addressOf(program), true);
  setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, fprog);
}

export interface UdpSenderOptions {
  readonly family: Family;
  readonly localAddress: Address | undefined;
  readonly interface: string | undefined;
  /** Interface index for a link-local {@link localAddress}. */
  readonly scope: number;
  /** A number in [0, 1): where to begin to look for a free port. */
  readonly random: number;
}

/**
 * A socket that sends with TTL 255 from a port of 49152–65535 that no other session uses; the caller owns the descriptor.
 * @throws KernelError EADDRNOTAVAIL, EADDRINUSE when no port was free, ENODEV
 */
export const openUdpSender = (o: UdpSenderOptions): number =>
  prepared(o.family, (fd) => {
    setTtl(fd, o.family, 255);
    setNetworkControl(fd, o.family);
    if (o.interface !== undefined) bindToInterface(fd, o.interface);
    const first = Math.floor(o.random * SOURCE_PORTS);
    for (let i = 0; ; i++) {
      const port = SOURCE_PORT_FIRST + ((first + i) % SOURCE_PORTS);
      try {
        bind(fd, socketAddressOf(o.localAddress ?? any[o.family], port, o.scope));
        return;
      } catch (error) {
        if (!hasCode(error, "EADDRINUSE") || i >= PORT_ATTEMPTS) throw error;
      }
    }
  });

/** Sends one datagram without waiting. @throws KernelError EAGAIN, ENETUNREACH, EHOSTUNREACH, EPERM */
export const sendUdp = (fd: number, to: Address, port: number, scope: number, bytes: Uint8Array): number =>
  sendTo(fd, bytes, socketAddressOf(to, port, scope), MSG_DONTWAIT);
