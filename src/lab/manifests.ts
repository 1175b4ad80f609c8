// lab: what a user would apply to each cluster of the lab; examples/two-clusters is this for two.
import { stringify } from "yaml";
import { type KubernetesObject, systemNamespace } from "../api/index.ts";
import { familiesOf, sessionFamilies, sharedSessions } from "./routing.ts";
import { type Addresses, type IPFamily, type LabCluster, type Topology, textsOf } from "./topology.ts";

const apiVersion = "waggle.dev/v1alpha1";

type Manifest = KubernetesObject & { readonly spec: object };

const unicast = { ipv4: "IPv4Unicast", ipv6: "IPv6Unicast" } as const;

/** The parts of both families that this lab has. */
const some = <T>(family: IPFamily, ipv4: T, ipv6: T): Partial<Record<keyof Addresses, T>> => ({
  ...(family !== "ipv6" && { ipv4 }),
  ...(family !== "ipv4" && { ipv6 }),
});

/** Name of the Secret with the password that routers ask for. */
const passwordSecret = "bgp-password";

/** The Secret that the BGPPeers name where routers ask for a password. */
export const passwordObject = (password: string): KubernetesObject =>
  ({
    apiVersion: "v1",
    kind: "Secret",
    metadata: { name: passwordSecret, namespace: systemNamespace },
    data: { password: Buffer.from(password).toString("base64") },
  }) as KubernetesObject;

/** A BGPPeer for each router; where there are two, one for each family. */
function peers(topology: Topology, cluster: LabCluster, password: boolean): readonly Manifest[] {
  return cluster.routers.flatMap((router, i) =>
    sessionFamilies(cluster, router.address).map(({ over, families }): Manifest => {
      const name = sharedSessions(cluster) ? "tor" : `tor${i + 1}`;
      const whole = families.length === familiesOf(router.address).length;
      return {
        apiVersion,
        kind: "BGPPeer",
        metadata: { name: whole ? name : `${name}-${over}`, labels: { fabric: "tor" } },
        spec: {
          nodeSelector: {},
          address: router.address[over],
          peerASN: router.asn,
          ...(whole && topology.family === "dual" ? {} : { families: families.map((f) => unicast[f]) }),
          connectRetrySeconds: 1,
          ...(password && { passwordSecretName: passwordSecret }),
          gracefulRestart: { enabled: true, restartSeconds: 120 },
        },
      };
    }),
  );
}

/** The objects of one cluster, in the order in which they are best read. `password`: its routers ask for one. */
export function clusterManifests(
  topology: Topology,
  cluster: LabCluster,
  password = false,
): KubernetesObject[] {
  const { family } = topology;
  const objects: Manifest[] = [
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
            // A node without IPv4 has no address to take it from.
            ...(family === "ipv6" && { routerIDSource: "Hash" }),
            listen: { mode: "Any", port: 179 },
            interfaces: cluster.routers.map((_, i) => `eth${i}`),
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
        blocks: textsOf(cluster.pods),
        blockSize: some(family, 26, 122),
        nodeSelector: {},
      },
    },
    {
      apiVersion,
      kind: "IPPool",
      metadata: { name: "vips" },
      spec: {
        purpose: "LoadBalancers",
        blocks: textsOf(cluster.vips),
        serviceSelector: {},
        cooldownSeconds: 10,
      },
    },
    ...peers(topology, cluster, password),
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
        prefixes: [...textsOf(other.pods), ...textsOf(other.vips)],
        peerSelector: { matchLabels: { fabric: "tor" } },
        take: { kinds: ["Pods", "VIPs"], fib: true },
      },
    });
  }
  return objects;
}

const ipFamilies = { ipv4: "IPv4", ipv6: "IPv6" } as const;

/** The demo's Service; its EndpointSlices follow from the pods. */
export const webService = (family: IPFamily = "dual"): Manifest => ({
  apiVersion: "v1",
  kind: "Service",
  metadata: { name: "web", namespace: "default", labels: { app: "web" } },
  spec: {
    type: "LoadBalancer",
    loadBalancerClass: "waggle.dev/bgp",
    allocateLoadBalancerNodePorts: false,
    ipFamilyPolicy: family === "dual" ? "RequireDualStack" : "SingleStack",
    ipFamilies: Object.values(some(family, ipFamilies.ipv4, ipFamilies.ipv6)),
    selector: { app: "web" },
    ports: [{ name: "http", port: 80, targetPort: 8080, protocol: "TCP" }],
  },
});

/** Several objects as one YAML stream. */
export const toYaml = (objects: readonly object[]): string =>
  objects.map((o) => `---\n${stringify(o)}`).join("");
