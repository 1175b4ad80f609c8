// import tests: a small cluster on which originals and what they have become are judged: three nodes, Services, their endpoints and claims.
import type {
  BGPAdvertisement,
  EndpointSlice,
  IPAllocation,
  KubernetesObject,
  Node,
  Service,
} from "../../../src/api/index.ts";
import { parseRange, type Range } from "../../../src/import/ranges.ts";
import {
  claimName,
  contains,
  formatPrefix,
  fromInteger,
  hostPrefix,
  parseAddress,
  parsePrefix,
} from "../../../src/net/address.ts";

export interface World {
  readonly nodes: readonly Node[];
  readonly services: readonly Service[];
  /** Nodes with an endpoint, by namespace/name. */
  readonly endpoints: ReadonlyMap<string, readonly string[]>;
}

const node = (index: number, labels: Record<string, string>): Node => ({
  apiVersion: "v1",
  kind: "Node",
  metadata: {
    name: `n${index}`,
    uid: `uid-n${index}`,
    labels: { "kubernetes.io/hostname": `n${index}`, ...labels },
  },
  status: {
    addresses: [
      { type: "InternalIP", address: `10.0.0.${10 + index}` },
      { type: "InternalIP", address: `fd00::${10 + index}` },
    ],
  },
});

export const nodes: readonly Node[] = [
  node(1, { zone: "a", rack: "r1" }),
  node(2, { zone: "b", rack: "r1" }),
  node(3, { zone: "b", rack: "r2", edge: "true" }),
];

/** The node's own block of pods. */
export const podBlock = (name: string): string => `10.244.${name.slice(1)}.0/24`;

export const keyOf = (o: KubernetesObject): string =>
  `${o.metadata.namespace ?? "default"}/${o.metadata.name}`;

const standard: readonly {
  name: string;
  namespace: string;
  labels: Record<string, string>;
  local?: true;
  on: readonly string[];
}[] = [
  { name: "web", namespace: "default", labels: { app: "web", tier: "gold" }, on: ["n1", "n2"] },
  { name: "api", namespace: "prod", labels: { app: "api" }, local: true, on: ["n1"] },
  { name: "dns", namespace: "prod", labels: { tier: "gold" }, on: ["n3"] },
  { name: "empty", namespace: "default", labels: { app: "web" }, on: [] },
];

/** Services of the file, else four of ours with addresses of every range. */
export function worldOf(objects: readonly KubernetesObject[], ranges: readonly Range[]): World {
  const given = objects.filter((o) => o.kind === "Service") as Service[];
  if (given.length > 0)
    return {
      nodes,
      services: given.map((s) => ({ ...s, metadata: { ...s.metadata, uid: `uid-${keyOf(s)}` } })),
      endpoints: new Map(given.map((s) => [keyOf(s), ["n1", "n2"]])),
    };
  const services = standard.map(
    (s, i): Service => ({
      apiVersion: "v1",
      kind: "Service",
      metadata: {
        name: s.name,
        namespace: s.namespace,
        labels: s.labels,
        uid: `uid-${s.namespace}/${s.name}`,
      },
      spec: {
        type: "LoadBalancer",
        ports: [{ name: "http", port: 80, protocol: "TCP" }],
        externalTrafficPolicy: s.local ? "Local" : "Cluster",
        clusterIPs: [`10.96.0.${i + 1}`],
        externalIPs: i === 0 ? ["192.0.2.200"] : [],
      },
      status: {
        loadBalancer: {
          // Not at an edge, not where a pool must not go.
          ingress: ranges.flatMap((r) => {
            const value = r.first + BigInt(i) + 1n;
            return value < r.last
              ? [{ ip: formatPrefix(hostPrefix(fromInteger(r.family, value))).split("/")[0]! }]
              : [];
          }),
        },
      },
    }),
  );
  return {
    nodes,
    services,
    endpoints: new Map(standard.map((s) => [`${s.namespace}/${s.name}`, s.on])),
  };
}

/** Endpoints of both families; with `all`, every Service has one on every node. */
export const slicesOf = (world: World, all: boolean): readonly EndpointSlice[] =>
  world.services.flatMap((s) =>
    ([4, 6] as const).map(
      (family): EndpointSlice => ({
        apiVersion: "discovery.k8s.io/v1",
        kind: "EndpointSlice",
        metadata: {
          name: `${s.metadata.name}-${family}`,
          namespace: s.metadata.namespace ?? "default",
          labels: { "kubernetes.io/service-name": s.metadata.name },
        },
        addressType: family === 4 ? "IPv4" : "IPv6",
        endpoints: (all ? ["n1", "n2", "n3"] : world.endpoints.get(keyOf(s))!).map((n) => ({
          addresses: [family === 4 ? `10.244.${n.slice(1)}.7` : `fd44:${n.slice(1)}::7`],
          nodeName: n,
          conditions: { ready: true },
        })),
        ports: (s.spec.ports ?? []).map((p) => ({
          ...(p.name !== undefined && { name: p.name }),
          port: 8080,
          protocol: p.protocol ?? "TCP",
        })),
      }),
    ),
  );

export const claim = (prefix: string, pool: string, owner: IPAllocation["spec"]["owner"]): IPAllocation => ({
  apiVersion: "waggle.dev/v1alpha1",
  kind: "IPAllocation",
  metadata: { name: claimName(parsePrefix(prefix)) },
  spec: { prefix, pool, owner },
  status: { phase: "Bound" },
});

/** What the operator would have claimed: addresses that Services show, from the IPPool that holds each. */
export function claimsOf(world: World, objects: readonly KubernetesObject[]): readonly IPAllocation[] {
  const pools = objects.filter((o) => o.kind === "IPPool") as unknown as readonly {
    metadata: { name: string };
    spec: { purpose: string; blocks: readonly string[] };
  }[];
  const seen = new Set<string>();
  return world.services.flatMap((s) =>
    (s.status?.loadBalancer?.ingress ?? []).flatMap(({ ip }) => {
      const host = hostPrefix(parseAddress(ip!));
      const pool = pools.find(
        (p) =>
          p.spec.purpose === "LoadBalancers" && p.spec.blocks.some((b) => contains(parsePrefix(b), host)),
      );
      const prefix = formatPrefix(host);
      if (!pool || seen.has(prefix)) return [];
      seen.add(prefix);
      const { namespace = "default", name, uid = "" } = s.metadata;
      return [claim(prefix, pool.metadata.name, { kind: "Service", namespace, name, uid })];
    }),
  );
}

export const rangesIn = (texts: readonly string[]): readonly Range[] =>
  texts.flatMap((t) => {
    try {
      return [parseRange(t)];
    } catch {
      return []; // the manifest is wrong on purpose
    }
  });

export type Advertise = BGPAdvertisement["spec"]["advertise"];
