// lab: what routers have to do, whichever program does it: their sessions with nodes and with one another.
import {
  type Addresses,
  type LabCluster,
  type LabRouter,
  sessionAddress,
  type Topology,
} from "./topology.ts";

export const routerKinds = ["bird", "frr"] as const;
/** The program that routes. */
export type RouterKind = (typeof routerKinds)[number];

export interface RouterOptions {
  /** TCP-MD5 password for the sessions with nodes; none where undefined. */
  readonly password?: string;
  /** Strip every community on the way in from the other routers. */
  readonly stripCommunities?: boolean;
  /** Sessions with nodes are shut. */
  readonly letGo?: boolean;
}

export interface RouterConfig {
  /** Unique on the router; letters, digits and underscores. */
  readonly name: string;
  readonly local: string;
  readonly neighbor: string;
  readonly asn: number;
  readonly families: readonly (keyof Addresses)[];
}

export const familiesOf = (a: Addresses): readonly (keyof Addresses)[] =>
  (["ipv4", "ipv6"] as const).filter((f) => a[f] !== undefined);

const nameOf = (text: string): string => text.replaceAll("-", "_");

/**
 * Whether a session carries the other family's routes too. With two routers a node has an address on each segment, and
 * its Node object tells of the first ones only: there each family has a session of its own, with a next hop on its segment.
 */
export const sharedSessions = (cluster: LabCluster): boolean => cluster.routers.length === 1;

/** Families of each session with a node, by the address that it runs over. */
export const sessionFamilies = (
  cluster: LabCluster,
  address: Addresses,
): readonly { readonly over: keyof Addresses; readonly families: readonly (keyof Addresses)[] }[] => {
  const families = familiesOf(address);
  return sharedSessions(cluster)
    ? [{ over: families[0]!, families }]
    : families.map((over) => ({ over, families: [over] }));
};

/** A router's sessions with its nodes. */
export function sessionsOf(
  topology: Topology,
  cluster: LabCluster,
  router: LabRouter,
): readonly RouterConfig[] {
  const at = cluster.routers.indexOf(router);
  if (at < 0) throw new Error(`${router.name} is no router of ${topology.lab}/${cluster.name}`);
  return cluster.nodes.flatMap((node) =>
    sessionFamilies(cluster, router.address).map(({ over, families }) => ({
      name: nameOf(
        over === "ipv6" && families.length < familiesOf(router.address).length
          ? `${node.name}-v6`
          : node.name,
      ),
      local: router.address[over]!,
      neighbor: node.uplinks[at]!.address[over]!,
      asn: cluster.nodeASN,
      families,
    })),
  );
}

/** A router's sessions with the routers that it has links to. */
export const peeringsOf = (topology: Topology, router: LabRouter): readonly RouterConfig[] =>
  topology.links.flatMap(({ ends }) => {
    const own = ends.find((e) => e.router.name === router.name);
    const other = ends.find((e) => e.router.name !== router.name);
    if (!own || !other) return [];
    return [
      {
        name: nameOf(`dci-${other.router.name}`),
        local: sessionAddress(own.address),
        neighbor: sessionAddress(other.address),
        asn: other.router.asn,
        families: familiesOf(own.address),
      },
    ];
  });
