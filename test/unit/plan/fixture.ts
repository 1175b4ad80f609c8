// plan tests: a small cluster as a snapshot, like the lab's: two nodes, one router, pod blocks and a dual-stack Service.
import type {
  BGPAdvertisement,
  BGPPeer,
  ClusterNetwork,
  ClusterPeering,
  EndpointSlice,
  IPAllocation,
  IPPool,
  Node,
  NodeNetwork,
  Service,
} from "../../../src/api/index.ts";
import { claimName, formatPrefix, parsePrefix } from "../../../src/net/address.ts";
import {
  type DrainProgress,
  noDrain,
  type PlanInputs,
  type Proof,
  type Snapshot,
} from "../../../src/plan/index.ts";

import { plainPeer } from "../../support/cluster-states.ts";

const apiVersion = "waggle.dev/v1alpha1" as const;

export const node = (index: number, extra: Partial<Node> = {}): Node => ({
  apiVersion: "v1",
  kind: "Node",
  metadata: { name: `node${index}`, uid: `uid-node${index}`, labels: { host: `node${index}` } },
  status: {
    addresses: [
      { type: "InternalIP", address: `172.30.1.${10 + index}` },
      { type: "InternalIP", address: `fd30:1::${10 + index}` },
    ],
    conditions: [{ type: "Ready", status: "True" }],
  },
  ...extra,
});

export const drained = (index: number, value = ""): Node => ({
  ...node(index),
  spec: { taints: [{ key: "waggle.dev/drain", value, effect: "NoSchedule" }] },
});

export const claim = (
  prefix: string,
  owner: IPAllocation["spec"]["owner"],
  pool: string,
  phase: "Bound" | "Releasing" | "Cooling" = "Bound",
): IPAllocation => ({
  apiVersion,
  kind: "IPAllocation",
  metadata: { name: claimName(parsePrefix(prefix)) },
  spec: { prefix, pool, owner },
  status: { phase },
});

export const podClaim = (prefix: string, index: number): IPAllocation =>
  claim(prefix, { kind: "Node", name: `node${index}`, uid: `uid-node${index}` }, "pods");

export const vipClaim = (prefix: string, service: string): IPAllocation =>
  claim(prefix, { kind: "Service", namespace: "default", name: service, uid: `uid-${service}` }, "vips");

export const service = (name: string, spec: Partial<Service["spec"]> = {}): Service => ({
  apiVersion: "v1",
  kind: "Service",
  metadata: { name, namespace: "default", uid: `uid-${name}`, labels: { app: name } },
  spec: {
    type: "LoadBalancer",
    loadBalancerClass: "waggle.dev/bgp",
    ports: [{ name: "http", port: 80, targetPort: 8080, protocol: "TCP" }],
    ...spec,
  },
});

export interface Endpoint {
  readonly address: string;
  readonly node: number;
  readonly ready?: boolean;
  readonly terminating?: boolean;
}

export const slice = (name: string, family: 4 | 6, endpoints: readonly Endpoint[]): EndpointSlice => ({
  apiVersion: "discovery.k8s.io/v1",
  kind: "EndpointSlice",
  metadata: {
    name: `${name}-ipv${family}`,
    namespace: "default",
    labels: { "kubernetes.io/service-name": name },
  },
  addressType: family === 4 ? "IPv4" : "IPv6",
  endpoints: endpoints.map((e) => ({
    addresses: [e.address],
    nodeName: `node${e.node}`,
    conditions: { ready: e.ready ?? true, terminating: e.terminating ?? false },
  })),
  ports: [{ name: "http", port: 8080, protocol: "TCP" }],
});

export const clusterNetwork = (
  rule: Partial<ClusterNetwork["spec"]["nodes"][number]> = {},
  spec: Partial<ClusterNetwork["spec"]> = {},
): ClusterNetwork => ({
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
        mode: "Announce",
        owns: ["Pods", "VIPs", "Routes"],
        localASN: 64601,
        listen: { mode: "Any", port: 179 },
        routerIDSource: "NodeAddress",
        interfaces: ["eth0"],
        ...rule,
      },
    ],
    ...spec,
  },
});

export const peer = (name: string, spec: Partial<BGPPeer["spec"]> = {}): BGPPeer => ({
  apiVersion,
  kind: "BGPPeer",
  metadata: { name, labels: { fabric: name } },
  spec: {
    nodeSelector: {},
    address: "172.30.1.1",
    port: 179,
    peerASN: 65001,
    families: ["IPv4Unicast", "IPv6Unicast"],
    holdSeconds: 90,
    connectRetrySeconds: 5,
    connectRetryMaxSeconds: 120,
    passive: false,
    gracefulRestart: { enabled: true, restartSeconds: 120 },
    maxPrefixes: { ipv4: 10_000, ipv6: 10_000 },
    ...plainPeer,
    ...spec,
  },
});

export const advertisement = (
  name: string,
  spec: Partial<BGPAdvertisement["spec"]> = {},
): BGPAdvertisement => ({
  apiVersion,
  kind: "BGPAdvertisement",
  metadata: { name },
  spec: {
    nodeSelector: {},
    peerSelector: {},
    advertise: [
      { type: "PodBlocks" },
      { type: "Services", serviceSelector: {}, addresses: ["LoadBalancerIP"] },
    ],
    ...spec,
  },
});

export const peering = (spec: Partial<ClusterPeering["spec"]> = {}): ClusterPeering => ({
  apiVersion,
  kind: "ClusterPeering",
  metadata: { name: "dc2" },
  spec: {
    clusterName: "dc2",
    clusterID: 2,
    prefixes: ["10.2.0.0/16", "fd10:2::/48"],
    peerSelector: {},
    take: { kinds: ["Pods", "VIPs"], fib: true },
    ...spec,
  },
});

export const pool = (name: string, purpose: "Pods" | "LoadBalancers", blocks: readonly string[]): IPPool => ({
  apiVersion,
  kind: "IPPool",
  metadata: { name },
  spec: { purpose, blocks, priority: 100, cooldownSeconds: 30, disabled: false },
});

export const nodeNetwork = (annotations: Record<string, string> = {}): NodeNetwork => ({
  apiVersion,
  kind: "NodeNetwork",
  metadata: { name: "node1", uid: "uid-nn1", annotations },
  spec: {
    podBlocks: ["10.1.0.0/26", "fd10:1::/122"].map((prefix) => ({ prefix, pool: "pods" })),
  },
});

/** Two nodes; node1 has pod blocks and Service web has backends on both. */
export function snapshot(change: Partial<Snapshot> = {}): Snapshot {
  return {
    clusterUID: "uid-cluster",
    nodes: [node(1), node(2)],
    nodeNetwork: nodeNetwork(),
    clusterNetwork: clusterNetwork(),
    services: [service("web")],
    endpointSlices: [
      slice("web", 4, [
        { address: "10.1.0.2", node: 1 },
        { address: "10.1.0.66", node: 2 },
      ]),
      slice("web", 6, [
        { address: "fd10:1::2", node: 1 },
        { address: "fd10:1::42", node: 2 },
      ]),
    ],
    pools: [
      pool("pods", "Pods", ["10.1.0.0/16", "fd10:1::/48"]),
      pool("vips", "LoadBalancers", ["10.101.0.0/24", "fd20:1::/112"]),
    ],
    allocations: [
      podClaim("10.1.0.0/26", 1),
      podClaim("fd10:1::/122", 1),
      podClaim("10.1.0.64/26", 2),
      vipClaim("10.101.0.5/32", "web"),
      vipClaim("fd20:1::5/128", "web"),
    ],
    peers: [peer("tor")],
    policies: [],
    advertisements: [advertisement("all")],
    peerings: [peering()],
    lastGood: { peers: {}, advertisements: {}, peerings: {} },
    ...change,
  };
}

export const vips = ["10.101.0.5/32", "fd20:1::5/128"] as const;
export const blocks = ["10.1.0.0/26", "fd10:1::/122"] as const;
export const everything = [...blocks, ...vips].sort();

export const proven = (prefixes: readonly string[] = everything): ReadonlyMap<string, Proof> =>
  new Map(prefixes.map((p) => [p, { state: "Proven", reason: "tried" }]));

export const inputs = (change: Partial<PlanInputs> = {}): PlanInputs => ({
  proofs: proven(),
  passwords: new Set(),
  drain: noDrain,
  retiring: [],
  guardSerial: 0,
  host: { connected: [], apiServer: [], cniDataDir: "/var/lib/cni/waggle" },
  now: 1_000_000,
  ...change,
});

export const draining = (phase: DrainProgress["phase"]): DrainProgress => ({ phase, since: 900_000 });

/** Canonical prefixes that a plan's origins name, each once, sorted. */
export const originated = (plan: {
  speaker: { origins: readonly { prefix: Parameters<typeof formatPrefix>[0] }[] };
}) => [...new Set(plan.speaker.origins.map((o) => formatPrefix(o.prefix)))].sort();
