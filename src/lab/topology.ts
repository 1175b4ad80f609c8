// lab: the fleet in a box as data: names, addresses and AS numbers of every cluster, node and router.

/** Bounds of a lab: what its address plan and one machine can hold. */
export const limits = { clusters: 16, nodes: 64, podsPerNode: 24 } as const;

export interface DualAddress {
  readonly ipv4: string;
  readonly ipv6: string;
}

export interface LabNode {
  /** Name of the Node object and in every printed line. */
  readonly name: string;
  /** Unique in the lab, from 1; what owner maps call the node. */
  readonly index: number;
  readonly netns: string;
  readonly address: DualAddress;
}

export interface LabCluster {
  readonly name: string;
  readonly id: number;
  readonly nodeASN: number;
  readonly router: {
    readonly name: string;
    readonly netns: string;
    readonly asn: number;
    /** The router's address on the segment that it shares with the nodes. */
    readonly address: DualAddress;
  };
  /** A host behind the router that is neither node nor pod. */
  readonly client: { readonly name: string; readonly netns: string; readonly address: DualAddress };
  readonly nodes: readonly LabNode[];
  readonly pods: DualAddress;
  readonly vips: DualAddress;
}

export interface DciLink {
  readonly from: number;
  readonly to: number;
  readonly fromAddress: DualAddress;
  readonly toAddress: DualAddress;
}

export interface Topology {
  readonly lab: string;
  readonly clusters: readonly LabCluster[];
  readonly dci: readonly DciLink[];
}

export interface TopologyOptions {
  readonly lab: string;
  readonly clusters: number;
  readonly nodes: number;
}

/** Prefix of all namespaces of a lab; two labs never share a name. */
export const netnsPrefix = (lab: string): string => (lab === "default" ? "wgl-" : `wgl-${lab}-`);

/**
 * The address plan. Underlay 172.30.<c>.0/24 and fd30:<c>::/64, DCI 172.31.0.0/16 and fd31::/16, clients 172.29.<c>.0/24 and
 * fd29:<c>::/64; pods 10.<c>.0.0/16 and fd10:<c>::/48; VIPs 10.<100+c>.0.0/24 and fd20:<c>::/112.
 * @throws RangeError when the lab would not fit the plan
 */
export function topology(options: TopologyOptions): Topology {
  const { lab } = options;
  if (!/^[a-z0-9]([-a-z0-9]{0,18}[a-z0-9])?$/.test(lab))
    throw new RangeError(`lab name ${JSON.stringify(lab)} must be 1..20 of a-z, 0-9 and -`);
  if (!(options.clusters >= 1 && options.clusters <= limits.clusters))
    throw new RangeError(`--clusters must be 1..${limits.clusters}`);
  if (!(options.nodes >= 1 && options.nodes <= limits.nodes))
    throw new RangeError(`--nodes must be 1..${limits.nodes}`);
  const prefix = netnsPrefix(lab);
  const clusters: LabCluster[] = [];
  for (let c = 1; c <= options.clusters; c++) {
    const name = `dc${c}`;
    const nodes: LabNode[] = [];
    for (let n = 1; n <= options.nodes; n++)
      nodes.push({
        name: `${name}-node${n}`,
        index: (c - 1) * options.nodes + n,
        netns: `${prefix}${name}-node${n}`,
        address: { ipv4: `172.30.${c}.${10 + n}`, ipv6: `fd30:${c}::${10 + n}` },
      });
    clusters.push({
      name,
      id: c,
      nodeASN: 64600 + c,
      router: {
        name: `${name}-tor`,
        netns: `${prefix}${name}-tor`,
        asn: 65000 + c,
        address: { ipv4: `172.30.${c}.1`, ipv6: `fd30:${c}::1` },
      },
      client: {
        name: `${name}-client`,
        netns: `${prefix}${name}-client`,
        address: { ipv4: `172.29.${c}.2`, ipv6: `fd29:${c}::2` },
      },
      nodes,
      pods: { ipv4: `10.${c}.0.0/16`, ipv6: `fd10:${c}::/48` },
      vips: { ipv4: `10.${100 + c}.0.0/24`, ipv6: `fd20:${c}::/112` },
    });
  }
  const dci: DciLink[] = [];
  for (let a = 1; a <= options.clusters; a++)
    for (let b = a + 1; b <= options.clusters; b++) {
      const k = dci.length;
      const base = `172.31.${k >> 6}`;
      const host = (k & 63) * 4;
      dci.push({
        from: a,
        to: b,
        fromAddress: { ipv4: `${base}.${host + 1}`, ipv6: `fd31:${a}:${b}::1` },
        toAddress: { ipv4: `${base}.${host + 2}`, ipv6: `fd31:${a}:${b}::2` },
      });
    }
  return { lab, clusters, dci };
}
