// lab: the fleet in a box as data: names, addresses and AS numbers of every cluster, node and router.

/** Bounds of a lab: what its address plan and one machine can hold. */
export const limits = { clusters: 16, nodes: 64, tors: 2, podsPerNode: 24 } as const;

export const ipFamilies = ["dual", "ipv4", "ipv6"] as const;
/** Which addresses nodes, pods, VIPs and routers have. */
export type IPFamily = (typeof ipFamilies)[number];

/** An address or prefix of each family that the lab has; one at least. */
export interface Addresses {
  readonly ipv4?: string;
  readonly ipv6?: string;
}

/** What there is, IPv4 first. */
export const textsOf = (a: Addresses): readonly string[] =>
  [a.ipv4, a.ipv6].filter((text) => text !== undefined);

/** The address that BGP sessions run over. */
export const sessionAddress = (a: Addresses): string => a.ipv4 ?? a.ipv6!;

export interface LabRouter {
  readonly name: string;
  readonly netns: string;
  readonly asn: number;
  /** Looks like an IPv4 address and is one only where the lab has IPv4. */
  readonly routerID: string;
  /** The router's address on the segment that it shares with the nodes. */
  readonly address: Addresses;
  /** The router's address on the client's link. */
  readonly clientGateway: Addresses;
}

/** An interface towards the router of the same number. */
export interface Uplink {
  readonly interface: string;
  readonly address: Addresses;
}

export interface LabNode {
  /** Name of the Node object and in every printed line. */
  readonly name: string;
  /** Unique in the lab, from 1; what owner maps call the node. */
  readonly index: number;
  readonly netns: string;
  /** The routers' ports towards it. */
  readonly port: string;
  /** The node's own address, that of its first uplink. */
  readonly address: Addresses;
  /** One a router, in their order. */
  readonly uplinks: readonly Uplink[];
}

export interface LabCluster {
  readonly name: string;
  readonly id: number;
  readonly nodeASN: number;
  readonly routers: readonly [LabRouter, ...LabRouter[]];
  /** A host behind the routers that is neither node nor pod. */
  readonly client: { readonly name: string; readonly netns: string; readonly uplinks: readonly Uplink[] };
  readonly nodes: readonly LabNode[];
  readonly pods: Addresses;
  readonly vips: Addresses;
}

/** A link between two routers: of two data centres, or of one that has two. */
export interface RouterLink {
  readonly kind: "DCI" | "Peer";
  readonly ends: readonly [LinkEnd, LinkEnd];
}

export interface LinkEnd {
  readonly cluster: number;
  readonly router: LabRouter;
  readonly interface: string;
  readonly address: Addresses;
}

export interface Topology {
  readonly lab: string;
  readonly family: IPFamily;
  readonly clusters: readonly LabCluster[];
  readonly links: readonly RouterLink[];
}

export interface TopologyOptions {
  readonly lab: string;
  readonly clusters: number;
  readonly nodes: number;
  /** Default dual. */
  readonly family?: IPFamily;
  /** Routers in each data centre, every node with an uplink to each. Default 1. */
  readonly tors?: number;
}

/** Prefix of all namespaces of a lab; two labs never share a name. */
export const netnsPrefix = (lab: string): string => (lab === "default" ? "wgl-" : `wgl-${lab}-`);

/** What lies behind the routers, whichever data centre it is in. */
export const underlay: Readonly<Record<keyof Addresses, readonly string[]>> = {
  ipv4: ["172.16.0.0/12"],
  ipv6: ["fd29::/16", "fd30::/16", "fd31::/16"],
};

/** The routers of every cluster. */
export const routersOf = (plan: Topology): readonly LabRouter[] => plan.clusters.flatMap((c) => c.routers);

function checked(options: TopologyOptions): Required<TopologyOptions> {
  const { lab, clusters, nodes, family = "dual", tors = 1 } = options;
  if (!/^[a-z0-9]([-a-z0-9]{0,18}[a-z0-9])?$/.test(lab))
    throw new RangeError(`lab name ${JSON.stringify(lab)} must be 1..20 of a-z, 0-9 and -`);
  for (const [flag, value, most] of [
    ["--clusters", clusters, limits.clusters],
    ["--nodes", nodes, limits.nodes],
    ["--tors", tors, limits.tors],
  ] as const)
    if (!(value >= 1 && value <= most)) throw new RangeError(`${flag} must be 1..${most}`);
  return { lab, clusters, nodes, family, tors };
}

/**
 * The address plan. Underlay 172.30.<c>.0/24 and fd30:<c>::/64, clients 172.29.<c>.0/24 and fd29:<c>::/64 (a second router's:
 * 172.<30, 29>.<100+c>.0/24 and fd<30, 29>:<c>:2::/64); links between routers 172.31.0.0/16 and fd31::/16; pods
 * 10.<c>.0.0/16 and fd10:<c>::/48; VIPs 10.<100+c>.0.0/24 and fd20:<c>::/112.
 * @throws RangeError when the lab would not fit the plan
 */
export function topology(options: TopologyOptions): Topology {
  const { lab, clusters: count, nodes, family, tors } = checked(options);
  const prefix = netnsPrefix(lab);
  const of = (ipv4: string, ipv6: string): Addresses => ({
    ...(family !== "ipv6" && { ipv4 }),
    ...(family !== "ipv4" && { ipv6 }),
  });
  /** A host's address on a segment of cluster `c` at router `t` (0 or 1). */
  const host = (net: 29 | 30, c: number, t: number, n: number): Addresses =>
    of(`172.${net}.${c + 100 * t}.${n}`, `fd${net}:${c}${t === 0 ? "" : ":2"}::${n}`);
  const uplinks = (net: 29 | 30, c: number, n: number): readonly Uplink[] =>
    Array.from({ length: tors }, (_, t) => ({ interface: `eth${t}`, address: host(net, c, t, n) }));

  const clusters = Array.from({ length: count }, (_, i): LabCluster => {
    const c = i + 1;
    const name = `dc${c}`;
    const routers = Array.from({ length: tors }, (_, t): LabRouter => {
      const router = tors === 1 ? `${name}-tor` : `${name}-tor${t + 1}`;
      return {
        name: router,
        netns: `${prefix}${router}`,
        asn: 65_000 + c + 100 * t,
        routerID: `172.30.${c + 100 * t}.1`,
        address: host(30, c, t, 1),
        clientGateway: host(29, c, t, 1),
      };
    });
    return {
      name,
      id: c,
      nodeASN: 64_600 + c,
      routers: routers as [LabRouter, ...LabRouter[]],
      client: {
        name: `${name}-client`,
        netns: `${prefix}${name}-client`,
        uplinks: uplinks(29, c, 2),
      },
      nodes: Array.from({ length: nodes }, (_, n): LabNode => {
        const links = uplinks(30, c, 11 + n);
        return {
          name: `${name}-node${n + 1}`,
          index: i * nodes + n + 1,
          netns: `${prefix}${name}-node${n + 1}`,
          port: `n${11 + n}`,
          address: links[0]!.address,
          uplinks: links,
        };
      }),
      pods: of(`10.${c}.0.0/16`, `fd10:${c}::/48`),
      vips: of(`10.${100 + c}.0.0/24`, `fd20:${c}::/112`),
    };
  });
  return { lab, family, clusters, links: linksOf(clusters, of) };
}

/** Every router with its likes in the other data centres, and the two of one data centre with each other. */
function linksOf(
  clusters: readonly LabCluster[],
  of: (ipv4: string, ipv6: string) => Addresses,
): readonly RouterLink[] {
  const links: RouterLink[] = [];
  const add = (kind: RouterLink["kind"], a: [LabCluster, number], b: [LabCluster, number]): void => {
    // A /30 and a /64 for each.
    const k = links.length;
    const net4 = `172.31.${k >> 6}`;
    const net6 = `fd31:${a[0].id}:${b[0].id}:${a[1] + 1}`;
    const end = ([cluster, t]: [LabCluster, number], n: 1 | 2, other: LabRouter): LinkEnd => ({
      cluster: cluster.id,
      router: cluster.routers[t]!,
      interface: `to-${other.name}`,
      address: of(`${net4}.${(k & 63) * 4 + n}`, `${net6}::${n}`),
    });
    links.push({ kind, ends: [end(a, 1, b[0].routers[b[1]]!), end(b, 2, a[0].routers[a[1]]!)] });
  };
  for (const [i, a] of clusters.entries()) {
    for (const b of clusters.slice(i + 1)) for (const t of a.routers.keys()) add("DCI", [a, t], [b, t]);
    if (a.routers.length > 1) add("Peer", [a, 0], [a, 1]);
  }
  return links;
}
