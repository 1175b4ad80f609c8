// lab: namespaces, links, addresses and static routes of nodes, routers and clients; made and removed.
import { readdirSync } from "node:fs";
import { CommandError, ipBatch, run, runIn } from "./shell.ts";
import {
  type Addresses,
  type IPFamily,
  type LabCluster,
  type LabNode,
  netnsPrefix,
  type RouterLink,
  type Topology,
  underlay,
} from "./topology.ts";

/** MTU of the fabric: pods keep 1500 and the tunnel between nodes still fits. */
export const fabricMTU = 9000;
/** MTU of a client's link, in bytes. */
const clientMTU = 1500;

const forwarding = [
  "net.ipv4.ip_forward=1",
  "net.ipv6.conf.all.forwarding=1",
  "net.ipv4.conf.all.rp_filter=0",
  "net.ipv4.conf.default.rp_filter=0",
  "net.ipv4.conf.all.send_redirects=0",
  "net.ipv4.conf.default.send_redirects=0",
  // Flows, not packets, are spread over equal paths, by ports too.
  "net.ipv4.fib_multipath_hash_policy=1",
  "net.ipv6.fib_multipath_hash_policy=1",
  "net.ipv6.conf.all.accept_dad=0",
  "net.ipv6.conf.default.accept_dad=0",
  "net.ipv6.conf.default.accept_ra=0",
];

const hostOnly = ["net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0"];

async function makeNamespace(netns: string, family: IPFamily, sysctls: readonly string[]): Promise<void> {
  await run("ip", ["netns", "add", netns]);
  await ipBatch(netns, ["link set lo up"]);
  const without = family === "ipv4" ? ["all", "default", "lo"] : [];
  await runIn(netns, [
    ...["sysctl", "-q", "-w", ...sysctls],
    ...without.map((i) => `net.ipv6.conf.${i}.disable_ipv6=1`),
  ]);
  // Without any IPv4 means without 127.0.0.1, too: nothing may lean on it.
  if (family === "ipv6") await ipBatch(netns, ["addr del 127.0.0.1/8 dev lo"]);
}

/** A namespace for a pod, with loopback up and nothing else. */
export const makePodNamespace = (netns: string, family: IPFamily): Promise<void> =>
  makeNamespace(netns, family, hostOnly);

/** Lines for iproute2 that give an interface its addresses and set it up. */
const configure = (device: string, address: Addresses, length4: number): readonly string[] => [
  ...(address.ipv4 ? [`addr add ${address.ipv4}/${length4} dev ${device}`] : []),
  ...(address.ipv6 ? [`addr add ${address.ipv6}/64 dev ${device} nodad`] : []),
  `link set ${device} up`,
];

/** Lines for routes by way of all gateways alike. */
function routesBy(
  prefixes: Readonly<Partial<Record<keyof Addresses, readonly string[]>>>,
  gateways: readonly Addresses[],
): readonly string[] {
  return (["ipv4", "ipv6"] as const).flatMap((family) => {
    const hops = gateways.flatMap((g) => g[family] ?? []);
    if (hops.length === 0) return [];
    return (prefixes[family] ?? []).map((p) => `route add ${p} ${hopsText(hops)}`);
  });
}

const hopsText = (hops: readonly string[]): string =>
  hops.length === 1 ? `via ${hops[0]}` : hops.map((h) => `nexthop via ${h}`).join(" ");

async function makeRouters(cluster: LabCluster, family: IPFamily): Promise<void> {
  for (const { netns, address } of cluster.routers) {
    await makeNamespace(netns, family, forwarding);
    await ipBatch(netns, [
      "link add br0 type bridge",
      `link set br0 mtu ${fabricMTU}`,
      ...configure("br0", address, 24),
    ]);
  }
}

/** A link from a host's uplink to a router's port of this name. */
const makeUplink = (netns: string, name: string, router: string, port: string, mtu: number) =>
  run("ip", [
    ...["link", "add", name, "netns", netns, "mtu", String(mtu), "type", "veth"],
    ...["peer", "name", port, "netns", router, "mtu", String(mtu)],
  ]);

async function makeNode(cluster: LabCluster, node: LabNode, family: IPFamily): Promise<void> {
  await makeNamespace(node.netns, family, forwarding);
  for (const [t, router] of cluster.routers.entries()) {
    const uplink = node.uplinks[t]!;
    await makeUplink(node.netns, uplink.interface, router.netns, node.port, fabricMTU);
    await ipBatch(router.netns, [`link set ${node.port} master br0 up`]);
    await ipBatch(node.netns, configure(uplink.interface, uplink.address, 24));
  }
  // The underlay and the own cluster lie behind the routers; other clusters are known by BGP alone.
  const own = (f: keyof Addresses): readonly string[] =>
    [cluster.pods[f], cluster.vips[f]].filter((p) => p !== undefined);
  await ipBatch(
    node.netns,
    routesBy(
      { ipv4: [...underlay.ipv4, ...own("ipv4")], ipv6: [...underlay.ipv6, ...own("ipv6")] },
      cluster.routers.map((r) => r.address),
    ),
  );
}

async function makeClient(cluster: LabCluster, family: IPFamily): Promise<void> {
  const { client, routers } = cluster;
  await makeNamespace(client.netns, family, hostOnly);
  for (const [t, router] of routers.entries()) {
    const uplink = client.uplinks[t]!;
    await makeUplink(client.netns, uplink.interface, router.netns, "client", clientMTU);
    await ipBatch(router.netns, configure("client", router.clientGateway, 24));
    await ipBatch(client.netns, configure(uplink.interface, uplink.address, 24));
  }
  await ipBatch(
    client.netns,
    routesBy(
      { ipv4: ["default"], ipv6: ["default"] },
      routers.map((r) => r.clientGateway),
    ),
  );
}

async function makeLink({ kind, ends }: RouterLink, dciMTU: number): Promise<void> {
  const [from, to] = ends;
  const mtu = kind === "DCI" ? dciMTU : fabricMTU;
  await makeUplink(from.router.netns, from.interface, to.router.netns, to.interface, mtu);
  for (const end of ends) await ipBatch(end.router.netns, configure(end.interface, end.address, 30));
}

/** Makes every namespace and link of the lab. `dciMTU` in bytes. */
export async function makeNetwork(topology: Topology, dciMTU = fabricMTU): Promise<void> {
  const { family } = topology;
  await Promise.all(
    topology.clusters.map(async (cluster) => {
      await makeRouters(cluster, family);
      await makeClient(cluster, family);
      for (const node of cluster.nodes) await makeNode(cluster, node, family);
    }),
  );
  for (const link of topology.links) await makeLink(link, dciMTU);
}

/** Names of all namespaces of a lab that exist now. */
export function labNamespaces(lab: string): readonly string[] {
  const prefix = netnsPrefix(lab);
  let names: string[];
  try {
    names = readdirSync("/run/netns");
  } catch (error) {
    // The directory comes with the machine's first namespace.
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
  // The default lab's prefix is a prefix of every other lab's; theirs have a lab name before the cluster's.
  return names.filter((n) => n.startsWith(prefix) && /^dc\d+-/.test(n.slice(prefix.length)));
}

/** Processes whose network namespace is this one. */
export async function processesIn(netns: string): Promise<readonly number[]> {
  try {
    return (await run("ip", ["netns", "pids", netns])).split("\n").filter(Boolean).map(Number);
  } catch (error) {
    if (error instanceof CommandError) return [];
    throw error;
  }
}

/** Deletes the lab's namespaces and with them their links, routes and tunnel devices. */
export async function removeNetwork(lab: string): Promise<void> {
  await Promise.all(labNamespaces(lab).map((n) => run("ip", ["netns", "del", n])));
}
