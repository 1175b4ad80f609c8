// datapath: the VXLAN device through which a node hands packets to the nodes that have the backends.
import { writeFileSync } from "node:fs";
import { KernelError } from "../kernel/ffi.ts";
import {
  createTunnelDevice,
  deleteInterface,
  type InterfaceInfo,
  listInterfaces,
  setInterfaceUp,
} from "../kernel/interfaces.ts";
import type { NetlinkSocket } from "../kernel/netlink.ts";
import { tunnelFailed, tunnelForeign, tunnelSysctl } from "./messages.ts";
import type { Refusal } from "./types.ts";

export const tunnelDevice = "waggle0";
/** IANA's port of VXLAN (RFC 7348). */
export const defaultTunnelPort = 4789;

/**
 * Settings of the device, each with why: what comes out of the tunnel has the client's address, to which the way back is
 * another interface (2 = loose, and the larger of this and `all` counts); it is forwarded; and the device speaks for
 * nobody, so it needs no address.
 */
const sysctls: readonly (readonly [path: string, value: string])[] = [
  [`ipv4/conf/${tunnelDevice}/rp_filter`, "2"],
  [`ipv4/conf/${tunnelDevice}/forwarding`, "1"],
  [`ipv6/conf/${tunnelDevice}/addr_gen_mode`, "1"],
  [`ipv6/conf/${tunnelDevice}/accept_ra`, "0"],
];

const isOurs = (device: InterfaceInfo, port: number): boolean =>
  device.vxlan?.collectMetadata === true && device.vxlan.port === port;

export interface TunnelState {
  /** 0: there is none. */
  readonly interfaceIndex: number;
  readonly changed: number;
  readonly refused: readonly Refusal[];
}

function writeSysctls(): Refusal[] {
  const refused: Refusal[] = [];
  for (const [path, value] of sysctls)
    try {
      writeFileSync(`/proc/sys/net/${path}`, value);
    } catch (error) {
      // A read-only /proc/sys, or no IPv6 on this machine: worth telling, no reason to do without the tunnel.
      const reason = tunnelSysctl(path.replaceAll("/", "."), value, String((error as Error).message));
      refused.push({ subject: tunnelDevice, reason });
    }
  return refused;
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
    refused = writeSysctls();
    device = listInterfaces(netlink).find((d) => d.name === tunnelDevice);
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
