// kernel: network interfaces and their addresses over rtnetlink, and the VXLAN device through which nodes reach each other.
import { type Address, fromBytes, toBytes } from "../net/address.ts";
import { fromCString } from "./bpf.ts";
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

const IFF_UP = 1;

const IFLA_ADDRESS = 1;
const IFLA_IFNAME = 3;
const IFLA_MTU = 4;
const IFLA_LINKINFO = 18;
const IFLA_XDP = 43;
const IFLA_INFO_KIND = 1;
const IFLA_INFO_DATA = 2;
const IFLA_VXLAN_LEARNING = 7;
const IFLA_VXLAN_PORT = 15;
const IFLA_VXLAN_COLLECT_METADATA = 25;
const IFLA_XDP_PROG_ID = 4;

export interface InterfaceInfo {
  readonly index: number;
  readonly name: string;
  readonly up: boolean;
  /** Bytes. */
  readonly mtu: number;
  /** "vxlan", "veth", …; undefined for hardware and loopback. */
  readonly kind: string | undefined;
  /** 6 bytes on Ethernet. */
  readonly address: Uint8Array;
  /** The XDP program that runs before anything else; 0 = none. */
  readonly xdpProgramId: number;
  /** Of a VXLAN device: its UDP port, and whether it takes addresses from each packet's metadata. */
  readonly vxlan: { readonly port: number; readonly collectMetadata: boolean } | undefined;
}

/** struct ifinfomsg. */
const linkHeader = (index = 0, flags = 0, change = 0): NetlinkBody =>
  new NetlinkBody().u8(0, 0).u16(0).u32(index, flags, change);

function parseLink(message: NetlinkMessage): InterfaceInfo {
  const v = viewOver(message.body);
  const attributes = parseAttributes(message.body.subarray(16));
  const info = parseAttributes(attributes.get(IFLA_LINKINFO) ?? new Uint8Array());
  const kindBytes = info.get(IFLA_INFO_KIND);
  const kind = kindBytes && fromCString(kindBytes);
  const xdp = parseAttributes(attributes.get(IFLA_XDP) ?? new Uint8Array());
  const data = parseAttributes(info.get(IFLA_INFO_DATA) ?? new Uint8Array());
  const port = data.get(IFLA_VXLAN_PORT);
  return {
    index: v.getInt32(4, true),
    name: fromCString(attributes.get(IFLA_IFNAME) ?? new Uint8Array()),
    up: (v.getUint32(8, true) & IFF_UP) !== 0,
    mtu: attribute32(attributes, IFLA_MTU) ?? 0,
    kind,
    address: attributes.get(IFLA_ADDRESS) ?? new Uint8Array(),
    xdpProgramId: attribute32(xdp, IFLA_XDP_PROG_ID) ?? 0,
    vxlan:
      kind === "vxlan" && port
        ? {
            port: viewOver(port).getUint16(0),
            collectMetadata: data.get(IFLA_VXLAN_COLLECT_METADATA)?.[0] === 1,
          }
        : undefined,
  };
}

/** All interfaces of the socket's namespace. @throws KernelError */
export const listInterfaces = (netlink: NetlinkSocket): InterfaceInfo[] =>
  netlink.dump("RTM_GETLINK", Rtm.GETLINK, linkHeader().bytes()).map(parseLink);

/** An address on an interface, with the subnet that is connected there. */
export interface InterfaceAddress {
  readonly interfaceIndex: number;
  readonly address: Address;
  readonly prefixLength: number;
}

const AF_INET = 2;
const AF_INET6 = 10;
const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;

/** All addresses of the socket's namespace, both families. @throws KernelError */
export function listAddresses(netlink: NetlinkSocket): InterfaceAddress[] {
  const found: InterfaceAddress[] = [];
  // struct ifaddrmsg
  const body = new NetlinkBody().u8(0, 0, 0, 0).u32(0).bytes();
  for (const message of netlink.dump("RTM_GETADDR", Rtm.GETADDR, body)) {
    const attributes = parseAttributes(message.body.subarray(8));
    const bytes = attributes.get(IFA_LOCAL) ?? attributes.get(IFA_ADDRESS);
    if (!bytes) continue;
    found.push({
      interfaceIndex: viewOver(message.body).getUint32(4, true),
      address: fromBytes(bytes),
      prefixLength: message.body[1] ?? 0,
    });
  }
  return found;
}

const RT_SCOPE_HOST = 254;

/**
 * Gives an interface an address that only this host knows of (scope host): never chosen as a source, no subnet with it.
 * @throws KernelError (EEXIST)
 */
export function addHostAddress(netlink: NetlinkSocket, interfaceIndex: number, address: Address): void {
  const bytes = toBytes(address);
  const body = new NetlinkBody()
    .u8(address.family === 4 ? AF_INET : AF_INET6, bytes.length * 8, 0, RT_SCOPE_HOST)
    .u32(interfaceIndex)
    .attribute(IFA_LOCAL, bytes)
    .attribute(IFA_ADDRESS, bytes);
  netlink.request("RTM_NEWADDR", Rtm.NEWADDR, NlmFlag.CREATE | NlmFlag.EXCL, body.bytes());
}

/**
 * Creates a VXLAN device that takes remote address and network identifier from each packet (`external`), without
 * learning. It is down at first.
 * @throws KernelError (EEXIST: the name, or the UDP port is another device's)
 */
export function createTunnelDevice(netlink: NetlinkSocket, name: string, port: number, mtu: number): void {
  const body = linkHeader()
    .attributeText(IFLA_IFNAME, name)
    .attribute32(IFLA_MTU, mtu)
    .nested(IFLA_LINKINFO, (info) =>
      info
        .attributeText(IFLA_INFO_KIND, "vxlan")
        .nested(IFLA_INFO_DATA, (data) =>
          data
            .attribute16BE(IFLA_VXLAN_PORT, port)
            .attribute8(IFLA_VXLAN_LEARNING, 0)
            .attribute8(IFLA_VXLAN_COLLECT_METADATA, 1),
        ),
    );
  netlink.request("RTM_NEWLINK", Rtm.NEWLINK, NlmFlag.CREATE | NlmFlag.EXCL, body.bytes());
}

/** Sets an interface up, and its MTU. @throws KernelError */
export function setInterfaceUp(netlink: NetlinkSocket, index: number, mtu: number): void {
  const body = linkHeader(index, IFF_UP, IFF_UP).attribute32(IFLA_MTU, mtu);
  netlink.request("RTM_NEWLINK", Rtm.NEWLINK, 0, body.bytes());
}

/** Deletes an interface. @throws KernelError (ENODEV) */
export const deleteInterface = (netlink: NetlinkSocket, index: number): void =>
  netlink.request("RTM_DELLINK", Rtm.DELLINK, 0, linkHeader(index).bytes());
