// lab: BIRD's configuration for a top-of-rack router: ECMP towards the nodes, eBGP to the other routers.
import { peeringsOf, type RouterConfig, type RouterOptions, sessionsOf } from "./routing.ts";
import type { LabCluster, LabRouter, Topology } from "./topology.ts";

const channel = { ipv4: "ipv4", ipv6: "ipv6" } as const;

/** bird.conf (BIRD 2) of one router. */
export function birdConfig(
  topology: Topology,
  cluster: LabCluster,
  router: LabRouter,
  options: RouterOptions = {},
): string {
  const sessions = sessionsOf(topology, cluster, router);
  const families = [...new Set(sessions.flatMap((s) => s.families))].sort();
  const channels = (list: RouterConfig["families"], rest: string): string =>
    list.map((f) => `${channel[f]} { ${rest} };`).join(" ");
  const own = families.map((f) => `${channel[f]};`).join(" ");
  const out = [
    `# ${router.name}: AS ${router.asn}, written by waggle lab`,
    `router id ${router.routerID};`,
    "log stderr { warning, error, fatal, bug, auth, remote };",
    "protocol device { scan time 2; }",
    `protocol direct { ${own} interface "br0", "client"; }`,
    // Routes that neighbours with the nodes' AS sent, not what the router itself is connected to.
    ...families.map(
      (f) =>
        `protocol kernel kernel${f.slice(-1)} { merge paths yes limit 16; ${channels([f], "import none; export where source = RTS_BGP;")} }`,
    ),
    "filter from_dci {",
    ...(options.stripCommunities
      ? ["  bgp_community.empty;", "  bgp_large_community.empty;", "  bgp_ext_community.empty;"]
      : []),
    "  accept;",
    "}",
    "template bgp node {",
    "  graceful restart on; graceful restart time 120;",
    "  connect retry time 2; connect delay time 1; error wait time 1, 5;",
    ...(options.password ? [`  password "${options.password}";`] : []),
    ...(options.letGo ? ["  disabled;"] : []),
    "}",
    "template bgp dci {",
    "  graceful restart on; connect retry time 2; connect delay time 1; error wait time 1, 5;",
    "}",
  ];
  const toNodes = `import all; import limit 1000 action restart; export where source = RTS_BGP && bgp_path.last != ${cluster.nodeASN};`;
  for (const s of sessions)
    out.push(
      `protocol bgp ${s.name} from node { local ${s.local} as ${router.asn}; neighbor ${s.neighbor} as ${s.asn}; ${channels(s.families, toNodes)} }`,
    );
  for (const s of peeringsOf(topology, router))
    out.push(
      `protocol bgp ${s.name} from dci { local ${s.local} as ${router.asn}; neighbor ${s.neighbor} as ${s.asn}; ${channels(s.families, "import filter from_dci; export all; next hop self;")} }`,
    );
  return `${out.join("\n")}\n`;
}
