// lab: namespaces, links, addresses and static routes of nodes, routers and clients; made and removed.
import { readdirSync } from "node:fs";
import { CommandError, ipBatch, run, runIn } from "./shell.ts";
import { type DciLink, type LabCluster, type LabNode, netnsPrefix, type Topology } from "./topology.ts";

/** MTU of the fabric: pods keep 1500 and the tunnel between nodes still fits. */
export const fabricMTU = 9000;

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

async function makeNamespace(netns: string, sysctls: readonly string[]): Promise<void> {
  await run("ip", ["netns", "add", netns]);
  await ipBatch(netns, ["link set lo up"]);
  await runIn(netns, ["sysctl", "-q", "-w", ...sysctls]);
}

/** A namespace for a pod, with loopback up and nothing else. */
export const makePodNamespace = (netns: string): Promise<void> => makeNamespace(netns, hostOnly);

async function makeRouter(cluster: LabCluster): Promise<void> {
  const { netns, address } = cluster.router;
  await makeNamespace(netns, forwarding);
  await ipBatch(netns, [
    "link add br0 type bridge",
    `link set br0 mtu ${fabricMTU} up`,
    `addr add ${address.ipv4}/24 dev br0`,
    `addr add ${address.ipv6}/64 dev br0 nodad`,
  ]);
}

async function makeNode(cluster: LabCluster, node: LabNode): Promise<void> {
  const { router } = cluster;
  await makeNamespace(node.netns, forwarding);
  const port = `n${node.address.ipv4.split(".")[3]}`;
  await run("ip", [
    ...["link", "add", "eth0", "netns", node.netns, "mtu", String(fabricMTU), "type", "veth"],
    ...["peer", "name", port, "netns", router.netns, "mtu", String(fabricMTU)],
  ]);
  await ipBatch(router.netns, [`link set ${port} master br0 up`]);
  await ipBatch(node.netns, [
    `addr add ${node.address.ipv4}/24 dev eth0`,
    `addr add ${node.address.ipv6}/64 dev eth0 nodad`,
    "link set eth0 up",
    // The underlay and the own cluster lie behind the router; other clusters are known by BGP alone.
    ...["172.16.0.0/12", cluster.pods.ipv4, cluster.vips.ipv4].map(
      (p) => `route add ${p} via ${router.address.ipv4}`,
    ),
    ...["fd29::/16", "fd30::/16", "fd31::/16", cluster.pods.ipv6, cluster.vips.ipv6].map(
      (p) => `route add ${p} via ${router.address.ipv6}`,
    ),
  ]);
}

async function makeClient(cluster: LabCluster): Promise<void> {
  const { client, router } = cluster;
  await makeNamespace(client.netns, hostOnly);
  await run("ip", [
    ...["link", "add", "eth0", "netns", client.netns, "type", "veth"],
    ...["peer", "name", "client", "netns", router.netns],
  ]);
  const gateway = {
    ipv4: client.address.ipv4.replace(/\.2$/, ".1"),
    ipv6: client.address.ipv6.replace(/::2$/, "::1"),
  };
  await ipBatch(router.netns, [
    `addr add ${gateway.ipv4}/24 dev client`,
    `addr add ${gateway.ipv6}/64 dev client nodad`,
    "link set client up",
  ]);
  await ipBatch(client.netns, [
    `addr add ${client.address.ipv4}/24 dev eth0`,
    `addr add ${client.address.ipv6}/64 dev eth0 nodad`,
    "link set eth0 up",
    `route add default via ${gateway.ipv4}`,
    `route add default via ${gateway.ipv6}`,
  ]);
}

async function makeDci(topology: Topology, link: DciLink, mtu: number): Promise<void> {
  const from = topology.clusters[link.from - 1]!;
  const to = topology.clusters[link.to - 1]!;
  await run("ip", [
    ...["link", "add", `dci${to.id}`, "netns", from.router.netns, "mtu", String(mtu), "type", "veth"],
    ...["peer", "name", `dci${from.id}`, "netns", to.router.netns, "mtu", String(mtu)],
  ]);
  for (const [end, peer, address] of [
    [from, to, link.fromAddress],
    [to, from, link.toAddress],
  ] as const)
    await ipBatch(end.router.netns, [
      `addr add ${address.ipv4}/30 dev dci${peer.id}`,
      `addr add ${address.ipv6}/64 dev dci${peer.id} nodad`,
      `link set dci${peer.id} up`,
    ]);
}

/** Makes every namespace and link of the lab. `dciMTU` in bytes. */
export async function makeNetwork(topology: Topology, dciMTU = fabricMTU): Promise<void> {
  await Promise.all(
    topology.clusters.map(async (cluster) => {
      await makeRouter(cluster);
      await makeClient(cluster);
      for (const node of cluster.nodes) await makeNode(cluster, node);
    }),
  );
  for (const link of topology.dci) await makeDci(topology, link, dciMTU);
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
