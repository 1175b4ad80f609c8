// lab: BIRD's configuration for a top-of-rack router: ECMP towards the nodes, eBGP to the other data centres.
import type { LabCluster, Topology } from "./topology.ts";

export interface BirdOptions {
  /** TCP-MD5 password for the sessions with nodes; none where undefined. */
  readonly password?: string;
  /** Strip every community on the way in from the other data centres. */
  readonly stripCommunities?: boolean;
}

/** bird.conf (BIRD 2) of one cluster's router. */
export function birdConfig(topology: Topology, cluster: LabCluster, options: BirdOptions = {}): string {
  const { router } = cluster;
  const out = [
    `# ${router.name}: AS ${router.asn}, written by waggle lab`,
    `router id ${router.address.ipv4};`,
    "log stderr { warning, error, fatal, bug, auth, remote };",
    "protocol device { scan time 2; }",
    'protocol direct { ipv4; ipv6; interface "br0", "client"; }',
    // Routes that neighbours with the nodes' AS sent, not what the router itself is connected to.
    "protocol kernel kernel4 { merge paths yes limit 16; ipv4 { import none; export where source = RTS_BGP; }; }",
    "protocol kernel kernel6 { merge paths yes limit 16; ipv6 { import none; export where source = RTS_BGP; }; }",
    "filter from_dci {",
    ...(options.stripCommunities
      ? ["  bgp_community.empty;", "  bgp_large_community.empty;", "  bgp_ext_community.empty;"]
      : []),
    "  accept;",
    "}",
    "template bgp node {",
    `  local ${router.address.ipv4} as ${router.asn};`,
    "  graceful restart on; graceful restart time 120;",
    "  connect retry time 2; connect delay time 1; error wait time 1, 5;",
    ...(options.password ? [`  password "${options.password}";`] : []),
    `  ipv4 { import all; import limit 1000 action restart; export where source = RTS_BGP && bgp_path.last != ${cluster.nodeASN}; };`,
    `  ipv6 { import all; import limit 1000 action restart; export where source = RTS_BGP && bgp_path.last != ${cluster.nodeASN}; };`,
    "}",
    "template bgp dci {",
    "  graceful restart on; connect retry time 2; connect delay time 1; error wait time 1, 5;",
    "  ipv4 { import filter from_dci; export all; next hop self; };",
    "  ipv6 { import filter from_dci; export all; next hop self; };",
    "}",
  ];
  for (const node of cluster.nodes)
    out.push(
      `protocol bgp ${node.name.replaceAll("-", "_")} from node { neighbor ${node.address.ipv4} as ${cluster.nodeASN}; }`,
    );
  for (const link of topology.dci) {
    if (link.from !== cluster.id && link.to !== cluster.id) continue;
    const outward = link.from === cluster.id;
    const other = topology.clusters[(outward ? link.to : link.from) - 1]!;
    const [own, theirs] = outward ? [link.fromAddress, link.toAddress] : [link.toAddress, link.fromAddress];
    out.push(
      `protocol bgp dci_${other.name} from dci { local ${own.ipv4} as ${router.asn}; neighbor ${theirs.ipv4} as ${other.router.asn}; }`,
    );
  }
  return `${out.join("\n")}\n`;
}
