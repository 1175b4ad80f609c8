// lab: what a user would apply to each cluster of the lab; examples/two-clusters is this for two.
import { stringify } from "yaml";
import type { KubernetesObject } from "../api/index.ts";
import type { LabCluster, Topology } from "./topology.ts";

const apiVersion = "waggle.dev/v1alpha1";

/** The objects of one cluster, in the order in which they are best read. */
export function clusterManifests(topology: Topology, cluster: LabCluster): KubernetesObject[] {
  const objects: (KubernetesObject & { readonly spec: object })[] = [
    {
      apiVersion,
      kind: "ClusterNetwork",
      metadata: { name: "default" },
      spec: {
        clusterName: cluster.name,
        clusterID: cluster.id,
        drainSeconds: 2,
        nodes: [
          {
            nodeSelector: {},
            mode: "Announce",
            owns: ["Pods", "VIPs", "Routes"],
            localASN: cluster.nodeASN,
            listen: { mode: "Any", port: 179 },
            interfaces: ["eth0"],
          },
        ],
      },
    },
    {
      apiVersion,
      kind: "IPPool",
      metadata: { name: "pods" },
      spec: {
        purpose: "Pods",
        blocks: [cluster.pods.ipv4, cluster.pods.ipv6],
        blockSize: { ipv4: 26, ipv6: 122 },
        nodeSelector: {},
      },
    },
    {
      apiVersion,
      kind: "IPPool",
      metadata: { name: "vips" },
      spec: {
        purpose: "LoadBalancers",
        blocks: [cluster.vips.ipv4, cluster.vips.ipv6],
        serviceSelector: {},
        cooldownSeconds: 10,
      },
    },
    {
      apiVersion,
      kind: "BGPPeer",
      metadata: { name: "tor", labels: { fabric: "tor" } },
      spec: {
        nodeSelector: {},
        address: cluster.router.address.ipv4,
        peerASN: cluster.router.asn,
        connectRetrySeconds: 1,
        gracefulRestart: { enabled: true, restartSeconds: 120 },
      },
    },
    {
      apiVersion,
      kind: "BGPAdvertisement",
      metadata: { name: "all" },
      spec: {
        nodeSelector: {},
        peerSelector: { matchLabels: { fabric: "tor" } },
        advertise: [
          { type: "PodBlocks" },
          { type: "Services", serviceSelector: {}, addresses: ["LoadBalancerIP"] },
        ],
      },
    },
  ];
  for (const other of topology.clusters) {
    if (other.id === cluster.id) continue;
    objects.push({
      apiVersion,
      kind: "ClusterPeering",
      metadata: { name: other.name },
      spec: {
        clusterName: other.name,
        clusterID: other.id,
        prefixes: [other.pods.ipv4, other.pods.ipv6, other.vips.ipv4, other.vips.ipv6],
        peerSelector: { matchLabels: { fabric: "tor" } },
        take: { kinds: ["Pods", "VIPs"], fib: true },
      },
    });
  }
  return objects;
}

/** The demo's Service; its EndpointSlices follow from the pods. */
export const webService = (): KubernetesObject & { readonly spec: object } => ({
  apiVersion: "v1",
  kind: "Service",
  metadata: { name: "web", namespace: "default", labels: { app: "web" } },
  spec: {
    type: "LoadBalancer",
    loadBalancerClass: "waggle.dev/bgp",
    allocateLoadBalancerNodePorts: false,
    ipFamilyPolicy: "RequireDualStack",
    ipFamilies: ["IPv4", "IPv6"],
    selector: { app: "web" },
    ports: [{ name: "http", port: 80, targetPort: 8080, protocol: "TCP" }],
  },
});

/** Several objects as one YAML stream. */
export const toYaml = (objects: readonly object[]): string =>
  objects.map((o) => `---\n${stringify(o)}`).join("");
