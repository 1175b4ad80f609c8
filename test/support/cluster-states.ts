// Seeded random states of a small cluster, as one node's plan sees them: everything that decides what a neighbour hears varies.
import type {
  BGPAdvertisement,
  BGPPeer,
  BGPPolicy,
  ClusterNetwork,
  EndpointSlice,
  IPAllocation,
  LabelSelector,
  Node,
  Service,
} from "../../src/api/index.ts";
import { claimName, parsePrefix } from "../../src/net/address.ts";
import { nothingRemembered, type Proof, type Snapshot } from "../../src/plan/index.ts";

/** mulberry32: the same seed gives the same numbers everywhere. */
export function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Choices from a source of randomness. */
export class Dice {
  readonly #random: () => number;
  constructor(random: () => number) {
    this.#random = random;
  }
  below(n: number): number {
    return Math.floor(this.#random() * n);
  }
  chance(share: number): boolean {
    return this.#random() < share;
  }
  of<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }
  some<T>(list: readonly T[], share: number): readonly T[] {
    return list.filter(() => this.chance(share));
  }
  maybe<K extends string, T>(share: number, key: K, make: () => T): { readonly [P in K]?: T } {
    return this.chance(share) ? ({ [key]: make() } as Record<K, T>) : {};
  }
}

const apiVersion = "waggle.dev/v1alpha1" as const;
export const nodeName = "node1";

/** Neighbours and addresses that do not change from state to state; sessions would be made anew with each. */
export interface Fixed {
  readonly clusterASN: number;
  readonly nodeAddresses: readonly string[];
  readonly peers: readonly { readonly name: string; readonly spec: Omit<BGPPeer["spec"], "nodeSelector"> }[];
}

/** Defaults of what is out of the ordinary. */
export const plainPeer = {
  external: false,
  adminDown: false,
  nextHopUnchanged: false,
  allowASIn: 0,
  asOverride: false,
  removePrivateAS: false,
  reflectorClient: false,
  routeServerClient: false,
  strictRole: false,
} as const;

export const peerDefaults = {
  ...plainPeer,
  port: 179,
  families: ["IPv4Unicast", "IPv6Unicast"],
  holdSeconds: 90,
  connectRetrySeconds: 1,
  connectRetryMaxSeconds: 120,
  passive: false,
  gracefulRestart: { enabled: true, restartSeconds: 120 },
  maxPrefixes: { ipv4: 10_000, ipv6: 10_000 },
} as const;

const services = ["web", "api", "dns"] as const;
const podBlocks = ["10.1.0.0/26", "10.1.0.64/26", "fd10:1::/122"] as const;
const vips: Readonly<Record<(typeof services)[number], readonly string[]>> = {
  web: ["10.101.0.5/32", "fd20:1::5/128"],
  api: ["10.101.0.6/32"],
  dns: ["fd20:1::7/128", "10.101.0.7/32"],
};
const otherAddresses = ["10.96.0.1", "fd96::1", "192.0.2.1", "2001:db8:7::1"] as const;
const asns = [64_601, 64_777, 65_001] as const;
const communityValues = [
  "64601:100",
  "64601:200",
  "65001:7",
  "no-export",
  "graceful-shutdown",
  "blackhole",
] as const;
const large = ["64601:9:9", "64601:1:2", "64601:1:1", "65001:0:4294967295"] as const;
const prefixes = [
  "10.0.0.0/8",
  "10.1.0.0/16",
  "10.101.0.0/24",
  "10.101.0.5/32",
  "0.0.0.0/0",
  "fd00::/8",
  "fd20:1::/112",
  "::/0",
  "192.0.2.0/24",
] as const;

const tiers = ["gold", "silver"] as const;

function selector(d: Dice, key: string, values: readonly string[]): LabelSelector {
  const pick = d.below(8);
  if (pick < 5) return {};
  if (pick === 5) return { matchLabels: { [key]: d.of(values) } };
  if (pick === 6) return { matchExpressions: [{ key, operator: "NotIn", values: [d.of(values)] }] };
  return { matchExpressions: [{ key, operator: d.chance(0.5) ? "Exists" : "In", values: [...values] }] };
}

function communities(d: Dice) {
  return {
    ...d.maybe(0.6, "standard", () => d.some(communityValues, 0.25)),
    ...d.maybe(0.6, "large", () => d.some(large, 0.3)),
  };
}

function policyRule(d: Dice, index: number): BGPPolicy["spec"]["rules"][number] {
  const matches = d.maybe(0.7, "match", () => ({
    ...d.maybe(0.6, "prefixes", () =>
      d.some(prefixes, 0.3).map((prefix) => {
        const length = Number(prefix.split("/")[1]);
        const bits = prefix.includes(":") ? 128 : 32;
        const le = Math.min(bits, length + d.below(bits - length + 1));
        // A lower bound alone would be longer than the prefix's own length, which is the upper one: refused.
        return { prefix, ...(d.chance(0.8) && { le }), ...(d.chance(0.3) && { ge: length }) };
      }),
    ),
    ...d.maybe(0.2, "communities", () => communities(d)),
    ...d.maybe(0.1, "asPathContains", () => [d.of(asns)]),
    ...d.maybe(0.15, "source", () => d.of(["Originated", "Learned", "Any"] as const)),
  }));
  return {
    name: `r${index}`,
    ...matches,
    action: d.chance(0.8) ? "Accept" : "Reject",
    ...d.maybe(0.5, "set", () => ({
      ...d.maybe(0.4, "med", () => d.below(1000)),
      ...d.maybe(0.4, "localPreference", () => d.below(500)),
      ...d.maybe(0.4, "addCommunities", () => communities(d)),
      ...d.maybe(0.4, "prepend", () => d.below(4)),
    })),
  };
}

function attributes(d: Dice) {
  return {
    ...d.maybe(0.4, "med", () => d.below(1000)),
    ...d.maybe(0.4, "localPreference", () => d.below(500)),
    ...d.maybe(0.3, "prepend", () => d.below(4)),
    ...d.maybe(0.5, "communities", () => communities(d)),
  };
}

function advertisement(d: Dice, index: number): BGPAdvertisement {
  return {
    apiVersion,
    kind: "BGPAdvertisement",
    metadata: { name: `adv${index}` },
    spec: {
      nodeSelector: d.chance(0.8) ? {} : selector(d, "zone", ["a", "b"]),
      peerSelector: selector(d, "fabric", ["tor", "spine"]),
      advertise: Array.from({ length: 1 + d.below(4) }, () =>
        d.chance(0.4)
          ? { type: "PodBlocks" as const, ...d.maybe(0.6, "attributes", () => attributes(d)) }
          : {
              type: "Services" as const,
              serviceSelector: selector(d, "tier", tiers),
              addresses: d.chance(0.2)
                ? (["LoadBalancerIP", "ClusterIP", "ExternalIP"] as const)
                : (["LoadBalancerIP"] as const),
              ...d.maybe(0.6, "attributes", () => attributes(d)),
            },
      ),
    },
  };
}

function service(d: Dice, name: (typeof services)[number], index: number): Service {
  const type = d.chance(0.9) ? ("LoadBalancer" as const) : ("ClusterIP" as const);
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: {
      name,
      namespace: "default",
      uid: d.chance(0.95) ? `uid-${name}` : `uid-other-${name}`,
      labels: d.chance(0.8) ? { tier: d.of(tiers) } : {},
    },
    spec: {
      type,
      ...d.maybe(0.8, "loadBalancerClass", () => (d.chance(0.9) ? "waggle.dev/bgp" : "else.example/lb")),
      externalTrafficPolicy: d.chance(0.7) ? "Cluster" : "Local",
      clusterIPs: [otherAddresses[index % 2]!],
      externalIPs: d.chance(0.5) ? [otherAddresses[2 + (index % 2)]!] : [],
      ports: [{ name: "http", port: 80, targetPort: 8080, protocol: "TCP" }],
    },
    status: {
      loadBalancer: {
        // An address that nothing claims must not be announced.
        ingress: d.chance(0.1) ? [{ ip: "10.101.0.99" }] : [],
      },
    },
  };
}

function slices(d: Dice, name: string): readonly EndpointSlice[] {
  return ([4, 6] as const).flatMap((family): readonly EndpointSlice[] =>
    d.chance(0.1)
      ? []
      : [
          {
            apiVersion: "discovery.k8s.io/v1",
            kind: "EndpointSlice",
            metadata: {
              name: `${name}-${family}`,
              namespace: "default",
              labels: { "kubernetes.io/service-name": name },
            },
            addressType: family === 4 ? "IPv4" : "IPv6",
            endpoints: [1, 2].flatMap((n) =>
              d.chance(0.75)
                ? [
                    {
                      addresses: [family === 4 ? `10.1.0.${n * 64 - 60}` : `fd10:1::${n}0`],
                      nodeName: `node${n}`,
                      conditions: { ready: d.chance(0.85), terminating: d.chance(0.1) },
                    },
                  ]
                : [],
            ),
            ports: [{ name: "http", port: 8080, protocol: "TCP" }],
          },
        ],
  );
}

const claim = (
  prefix: string,
  pool: string,
  owner: IPAllocation["spec"]["owner"],
  phase: "Bound" | "Releasing",
): IPAllocation => ({
  apiVersion,
  kind: "IPAllocation",
  metadata: { name: claimName(parsePrefix(prefix)) },
  spec: { prefix, pool, owner },
  status: { phase, conditions: [] },
});

function node(d: Dice, index: number, addresses: readonly string[]): Node {
  return {
    apiVersion: "v1",
    kind: "Node",
    metadata: {
      name: `node${index}`,
      uid: `uid-node${index}`,
      labels: {
        zone: d.of(["a", "b"]),
        ...(d.chance(0.07) && { "node.kubernetes.io/exclude-from-external-load-balancers": "" }),
      },
    },
    status: {
      addresses: addresses.map((address) => ({ type: "InternalIP", address })),
      conditions: [{ type: "Ready", status: "True" }],
    },
  };
}

function network(d: Dice, asn: number): ClusterNetwork {
  return {
    apiVersion,
    kind: "ClusterNetwork",
    metadata: { name: "default" },
    spec: {
      clusterName: "dc1",
      clusterID: 1,
      withdrawGuardPercent: 30,
      servicesWithoutClass: "WithVIPs",
      drainSeconds: 5,
      nodes: [
        {
          nodeSelector: {},
          mode: d.chance(0.94) ? "Announce" : d.of(["Observe", "Allocate"] as const),
          owns: d.of([["Pods", "VIPs", "Routes"], ["VIPs"], []] as const),
          localASN: asn,
          routerIDSource: "NodeAddress",
          interfaces: ["eth0"],
        },
      ],
    },
  };
}

/** One state, with the proofs that there are in it. */
export interface State {
  readonly snapshot: Snapshot;
  readonly proofs: ReadonlyMap<string, Proof>;
}

/** Everything that can be proven in a state. */
export const provable: readonly string[] = [
  ...podBlocks,
  ...Object.values(vips).flat(),
  ...otherAddresses.map((a) => `${a}/${a.includes(":") ? 128 : 32}`),
];

export function proofs(d: Dice, share = 0.95): ReadonlyMap<string, Proof> {
  return new Map(
    provable.flatMap((prefix): readonly (readonly [string, Proof])[] => {
      if (d.chance(share)) return [[prefix, { state: "Proven", reason: "tried" }]];
      if (d.chance(0.5)) return [];
      return [[prefix, { state: d.of(["Failed", "Unproven"] as const), reason: "dropped" }]];
    }),
  );
}

const policyNames = ["p0", "p1", "p2"] as const;

export function randomState(d: Dice, fixed: Fixed): State {
  const present = d.some(services, 0.85);
  const peers = fixed.peers.map(
    ({ name, spec }): BGPPeer => ({
      apiVersion,
      kind: "BGPPeer",
      metadata: { name, labels: d.chance(0.9) ? { fabric: d.of(["tor", "spine"]) } : {} },
      spec: {
        ...spec,
        nodeSelector: d.chance(0.93) ? {} : { matchLabels: { zone: "nowhere" } },
        ...d.maybe(0.4, "exportPolicies", () => d.some(policyNames, 0.6)),
      },
    }),
  );
  const allocations = [
    ...podBlocks.flatMap((prefix, i) =>
      d.chance(0.85)
        ? [
            claim(
              prefix,
              "pods",
              {
                kind: "Node",
                name: d.chance(0.9) ? nodeName : "node2",
                uid: d.chance(0.95) ? "uid-node1" : `uid-earlier-${i}`,
              },
              d.chance(0.93) ? "Bound" : "Releasing",
            ),
          ]
        : [],
    ),
    ...services.flatMap((name) =>
      vips[name].flatMap((prefix) =>
        d.chance(0.85)
          ? [
              claim(
                prefix,
                "vips",
                { kind: "Service", namespace: "default", name, uid: `uid-${name}` },
                d.chance(0.93) ? "Bound" : "Releasing",
              ),
            ]
          : [],
      ),
    ),
  ];
  const snapshot: Snapshot = {
    clusterUID: "uid-cluster",
    nodes: [node(d, 1, fixed.nodeAddresses), node(d, 2, ["172.30.1.12"])],
    nodeNetwork: { apiVersion, kind: "NodeNetwork", metadata: { name: nodeName }, spec: {} },
    clusterNetwork: network(d, fixed.clusterASN),
    services: services.flatMap((name, i) => (present.includes(name) ? [service(d, name, i)] : [])),
    endpointSlices: services.flatMap((name) => slices(d, name)),
    pools: [],
    allocations,
    peers,
    policies: policyNames.flatMap((name): readonly BGPPolicy[] =>
      d.chance(0.95)
        ? [
            {
              apiVersion,
              kind: "BGPPolicy",
              metadata: { name },
              spec: { rules: Array.from({ length: 1 + d.below(4) }, (_, i) => policyRule(d, i)) },
            },
          ]
        : [],
    ),
    advertisements: Array.from({ length: d.chance(0.93) ? 1 + d.below(3) : 0 }, (_, i) =>
      advertisement(d, i),
    ),
    peerings: [],
    lastGood: nothingRemembered,
  };
  return { snapshot, proofs: proofs(d) };
}
