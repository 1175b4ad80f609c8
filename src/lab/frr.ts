// lab: FRR's integrated configuration for a top-of-rack router: the same as BIRD's, in FRR's words.
import { peeringsOf, type RouterConfig, type RouterOptions, sessionsOf } from "./routing.ts";
import type { Addresses, LabCluster, LabRouter, Topology } from "./topology.ts";

const afi = { ipv4: "ipv4", ipv6: "ipv6" } as const;

/** Lines that strip communities on the way in, or stop doing so. */
const strip = (wanted: boolean): readonly string[] => [
  "route-map FROM_DCI permit 10",
  ...["community", "large-community"].map((c) => ` ${wanted ? "" : "no "}set ${c} none`),
  "exit",
];

/** frr.conf (FRR 8) of one router, read by vtysh. */
export function frrConfig(
  topology: Topology,
  cluster: LabCluster,
  router: LabRouter,
  options: RouterOptions = {},
): string {
  const nodes = sessionsOf(topology, cluster, router);
  const others = peeringsOf(topology, router);
  const families = [...new Set(nodes.flatMap((s) => s.families))].sort();
  const has = (f: keyof Addresses) => (s: RouterConfig) => s.families.includes(f);
  return [
    `! ${router.name}: AS ${router.asn}, written by waggle lab`,
    `hostname ${router.name}`,
    "log stdout warnings",
    // What nodes of this cluster sent, and what the router itself is connected to, is no news to its nodes.
    `bgp as-path access-list NO_NEWS seq 5 permit _${cluster.nodeASN}$`,
    "bgp as-path access-list NO_NEWS seq 10 permit ^$",
    ...[
      "route-map TO_NODES deny 10",
      " match as-path NO_NEWS",
      "exit",
      "route-map TO_NODES permit 20",
      "exit",
    ],
    ...["route-map FROM_DCI permit 10", "exit"],
    ...(options.stripCommunities ? strip(true) : []),
    ...["route-map DIRECT permit 10", " match interface br0", "exit"],
    ...["route-map DIRECT permit 20", " match interface client", "exit"],
    `router bgp ${router.asn}`,
    ` bgp router-id ${router.routerID}`,
    " no bgp ebgp-requires-policy",
    " no bgp default ipv4-unicast",
    " bgp bestpath as-path multipath-relax",
    " bgp graceful-restart",
    // Routes of a node that restarts stay for as long as it says.
    " bgp graceful-restart stalepath-time 360",
    ...nodes.flatMap((s) => [
      ` neighbor ${s.neighbor} remote-as ${s.asn}`,
      ` neighbor ${s.neighbor} timers connect 2`,
      ...(options.password ? [` neighbor ${s.neighbor} password ${options.password}`] : []),
      ...(options.letGo ? [` neighbor ${s.neighbor} shutdown`] : []),
    ]),
    ...others.flatMap((s) => [
      ` neighbor ${s.neighbor} remote-as ${s.asn}`,
      ` neighbor ${s.neighbor} timers connect 2`,
    ]),
    ...families.flatMap((f) => [
      ` address-family ${afi[f]} unicast`,
      "  redistribute connected route-map DIRECT",
      "  maximum-paths 16",
      ...nodes
        .filter(has(f))
        .flatMap((s) => [
          `  neighbor ${s.neighbor} activate`,
          `  neighbor ${s.neighbor} route-map TO_NODES out`,
          `  neighbor ${s.neighbor} maximum-prefix 1000`,
        ]),
      ...others
        .filter(has(f))
        .flatMap((s) => [
          `  neighbor ${s.neighbor} activate`,
          `  neighbor ${s.neighbor} route-map FROM_DCI in`,
          `  neighbor ${s.neighbor} next-hop-self`,
        ]),
      " exit-address-family",
    ]),
    "exit",
    "",
  ].join("\n");
}

/** Commands that bring a running router from any options to these. */
export function frrChange(
  topology: Topology,
  cluster: LabCluster,
  router: LabRouter,
  options: RouterOptions,
): string {
  return [
    ...strip(options.stripCommunities === true),
    `router bgp ${router.asn}`,
    ...sessionsOf(topology, cluster, router).flatMap((s) => [
      options.password
        ? ` neighbor ${s.neighbor} password ${options.password}`
        : ` no neighbor ${s.neighbor} password`,
      ` ${options.letGo ? "" : "no "}neighbor ${s.neighbor} shutdown`,
    ]),
    "exit",
    "",
  ].join("\n");
}
