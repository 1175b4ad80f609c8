// datapath: which interfaces matter: the fabric's by name, the tunnel, and those behind which this node's pods are.
import type { InterfaceInfo } from "../kernel/interfaces.ts";
import type { NetlinkSocket } from "../kernel/netlink.ts";
import { listRoutes } from "../kernel/routes.ts";
import { contains, parsePrefix } from "../net/address.ts";
import type { Hook } from "./hooks.ts";
import { routeProtocol } from "./protocol.ts";
import { tunnelDevice } from "./tunnel.ts";
import type { DesiredDatapath } from "./types.ts";

const RTN_UNICAST = 1;

/** Interfaces to which the kernel has routes without gateway into the pod blocks: one per pod, or a bridge. */
function podInterfaces(
  netlink: NetlinkSocket,
  interfaces: readonly InterfaceInfo[],
  desired: DesiredDatapath,
): InterfaceInfo[] {
  if (desired.podBlocks.length === 0) return [];
  const blocks = desired.podBlocks.map(parsePrefix);
  const indexes = new Set<number>();
  for (const route of listRoutes(netlink, { exceptProtocol: routeProtocol })) {
    const [hop, ...others] = route.nextHops;
    if (!hop || others.length > 0 || hop.gateway || route.type !== RTN_UNICAST) continue;
    if (blocks.some((block) => contains(block, route.prefix))) indexes.add(hop.interfaceIndex);
  }
  const taken = new Set([...desired.interfaces, tunnelDevice, "lo"]);
  return interfaces.filter((i) => indexes.has(i.index) && !taken.has(i.name));
}

/** Where our programs belong, as the interfaces are now. Interfaces that do not exist are left out. */
export function hooksFor(
  netlink: NetlinkSocket,
  interfaces: readonly InterfaceInfo[],
  desired: DesiredDatapath,
): Hook[] {
  const hooks: Hook[] = [];
  const add = (i: InterfaceInfo, direction: Hook["direction"], program: Hook["program"]): void => {
    hooks.push({ interface: i.name, interfaceIndex: i.index, direction, program });
  };
  const delivering = desired.services.length > 0;
  // The ways out before the ways in: a connection that enters must find its answer's name.
  if (delivering)
    for (const pod of podInterfaces(netlink, interfaces, desired)) add(pod, "egress", "pod_egress");
  for (const name of new Set(desired.interfaces)) {
    const fabric = interfaces.find((i) => i.name === name);
    if (!fabric) continue;
    add(fabric, "egress", "fabric_egress");
    add(fabric, "ingress", "fabric_ingress");
  }
  const tunnel = interfaces.find((i) => i.name === tunnelDevice);
  if (delivering && tunnel?.vxlan) add(tunnel, "ingress", "tunnel_ingress");
  return hooks;
}
