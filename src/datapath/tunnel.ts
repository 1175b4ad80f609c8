// datapath: the VXLAN device through which a node hands packets to the nodes that have the backends.
import { readFileSync, writeFileSync } from "node:fs";
import { KernelError } from "../kernel/ffi.ts";
import {
  addHostAddress,
  createTunnelDevice,
  deleteInterface,
  type InterfaceInfo,
  listInterfaces,
  setInterfaceUp,
} from "../kernel/interfaces.ts";
import type { NetlinkSocket } from "../kernel/netlink.ts";
import { parseAddress } from "../net/address.ts";
import { tunnelFailed, tunnelForeign, tunnelSysctl } from "./messages.ts";
import type { Refusal } from "./types.ts";

export const tunnelDevice = "waggle0";
/** IANA's port of VXLAN (RFC 7348). */
export const defaultTunnelPort = 4789;

/** Settings of the device: what comes out of it is forwarded, and it speaks for nobody, so it needs no IPv6 address. */
const sysctls: readonly (readonly [path: string, value: string])[] = [
  [`ipv4/conf/${tunnelDevice}/forwarding`, "1"],
  [`ipv6/conf/${tunnelDevice}/addr_gen_mode`, "1"],
  [`ipv6/conf/${tunnelDevice}/accept_ra`, "0"],
];

/** On the device where reverse-path filtering cannot be switched off. Means nothing to anybody else. */
const ownAddress = parseAddress("169.254.87.71");

const isOurs = (device: InterfaceInfo, port: number): boolean =>
  device.vxlan?.collectMetadata === true && device.vxlan.port === port;

export interface TunnelState {
  /** 0: there is none. */
  readonly interfaceIndex: number;
  readonly changed: number;
  readonly refused: readonly Refusal[];
}

function sysctl(path: string, value: string): Refusal[] {
  try {
    writeFileSync(`/proc/sys/net/${path}`, value);
    return [];
  } catch (error) {
    // A read-only /proc/sys, or no IPv6 on this machine: worth telling, no reason to do without the tunnel.
    const reason = tunnelSysctl(path.replaceAll("/", "."), value, String((error as Error).message));
    return [{ subject: tunnelDevice, reason }];
  }
}

/**
 * What comes out of the tunnel has the client's address, and the way back to it is another interface. So the filter must
 * be off; where it is on for `all` interfaces, of which the stricter counts, it must be loose, and then the kernel asks
 * that the device have any IPv4 address at all (fib_validate_source).
 */
function configure(netlink: NetlinkSocket, interfaceIndex: number): Refusal[] {
  const filtered = readFileSync("/proc/sys/net/ipv4/conf/all/rp_filter", "utf8").trim() !== "0";
  if (filtered) addHostAddress(netlink, interfaceIndex, ownAddress);
  return [
    ...sysctl(`ipv4/conf/${tunnelDevice}/rp_filter`, filtered ? "2" : "0"),
    ...sysctls.flatMap(([path, value]) => sysctl(path, value)),
  ];
}

/** Makes the device, or makes it what it should be. A foreign one of its name is left and reported. @throws KernelError */
export function ensureTunnel(netlink: NetlinkSocket, port: number, mtu: number): TunnelState {
  let device = listInterfaces(netlink).find((d) => d.name === tunnelDevice);
  if (device && !device.vxlan)
    return {
      interfaceIndex: 0,
      changed: 0,
      refused: [{ subject: tunnelDevice, reason: tunnelForeign(tunnelDevice) }],
    };
  if (device && isOurs(device, port) && device.up && device.mtu === mtu)
    return { interfaceIndex: device.index, changed: 0, refused: [] };
  if (device && !isOurs(device, port)) {
    deleteInterface(netlink, device.index);
    device = undefined;
  }
  let refused: Refusal[] = [];
  if (!device) {
    try {
      createTunnelDevice(netlink, tunnelDevice, port, mtu);
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
      return {
        interfaceIndex: 0,
        changed: 0,
        refused: [{ subject: tunnelDevice, reason: tunnelFailed(tunnelDevice, port, error.message) }],
      };
    }
    device = listInterfaces(netlink).find((d) => d.name === tunnelDevice);
    if (device) refused = configure(netlink, device.index);
  }
  if (!device) return { interfaceIndex: 0, changed: 1, refused };
  try {
    setInterfaceUp(netlink, device.index, mtu);
  } catch (error) {
    // The port is bound when the device comes up: another VXLAN or a socket may have it.
    if (!(error instanceof KernelError)) throw error;
    refused.push({ subject: tunnelDevice, reason: tunnelFailed(tunnelDevice, port, error.message) });
  }
  return { interfaceIndex: device.index, changed: 1, refused };
}

/** Removes the device if it is ours. Returns how many. */
export function removeTunnel(netlink: NetlinkSocket): number {
  const device = listInterfaces(netlink).find((d) => d.name === tunnelDevice);
  if (!device?.vxlan) return 0;
  deleteInterface(netlink, device.index);
  return 1;
}
