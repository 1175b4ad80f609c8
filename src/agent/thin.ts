// agent: of the cluster's many objects only what a plan reads. A Node with its images and conditions, or a slice with references
// to its pods, is several times what is needed of it, and a node keeps those of the whole cluster.
import {
  type EndpointSlice,
  type IPAllocation,
  type Node,
  type NodeNetwork,
  type ObjectMeta,
  pausedAnnotation,
  type Service,
} from "../api/index.ts";

const serviceNameLabel = "kubernetes.io/service-name";
const ours = /^waggle\.dev\//;

/** `made` once for each object, as long as it lives: equal snapshots are then made of the same objects. */
function once<T extends object>(make: (object: T) => T): (object: T) => T {
  const known = new WeakMap<T, T>();
  return (object) => {
    let thin = known.get(object);
    if (!thin) {
      known.set(object, (thin = make(object)));
      known.set(thin, thin);
    }
    return thin;
  };
}

const defined = <K extends string, V>(key: K, value: V | undefined): Partial<Readonly<Record<K, V>>> =>
  value === undefined ? {} : ({ [key]: value } as Readonly<Record<K, V>>);

/** Name and identity, and those of the annotations that are Waggle's own. */
function thinMeta({ name, namespace, uid, resourceVersion, annotations }: ObjectMeta): ObjectMeta {
  const own = Object.entries(annotations ?? {}).filter(([key]) => ours.test(key));
  return {
    name,
    ...defined("namespace", namespace),
    ...defined("uid", uid),
    ...defined("resourceVersion", resourceVersion),
    ...(own.length > 0 && { annotations: Object.fromEntries(own) }),
  };
}

/** Names, labels, addresses, taints and readiness; heartbeats change nothing of it. */
export const thinNode = once((node: Node): Node => {
  const { name, uid, labels, annotations, resourceVersion } = node.metadata;
  const paused = annotations?.[pausedAnnotation];
  return {
    apiVersion: "v1",
    kind: "Node",
    metadata: {
      name,
      ...defined("uid", uid),
      ...defined("resourceVersion", resourceVersion),
      ...defined("labels", labels),
      ...(paused !== undefined && { annotations: { [pausedAnnotation]: paused } }),
    },
    ...(node.spec?.taints && { spec: { taints: node.spec.taints } }),
    status: {
      addresses: node.status?.addresses ?? [],
      conditions: (node.status?.conditions ?? [])
        .filter((c) => c.type === "Ready")
        .map(({ type, status }) => ({ type, status })),
    },
  };
});

export const thinService = (service: Service): Service => {
  const { apiVersion, kind, metadata, spec, status } = service;
  const { type, loadBalancerClass, externalTrafficPolicy, clusterIPs, externalIPs, ports } = spec;
  const ingress = status?.loadBalancer?.ingress;
  return {
    apiVersion,
    kind,
    metadata: { ...thinMeta(metadata), ...defined("labels", metadata.labels) },
    spec: {
      ...defined("type", type),
      ...defined("loadBalancerClass", loadBalancerClass),
      ...defined("externalTrafficPolicy", externalTrafficPolicy),
      ...defined("clusterIPs", clusterIPs),
      ...defined("externalIPs", externalIPs),
      ...(ports && {
        ports: ports.map((p) => ({
          ...defined("name", p.name),
          ...defined("protocol", p.protocol),
          port: p.port,
        })),
      }),
    },
    ...(ingress && {
      status: { loadBalancer: { ingress: ingress.map(({ ip }) => defined("ip", ip)) } },
    }),
  };
};

export const thinSlice = (slice: EndpointSlice): EndpointSlice => {
  const { apiVersion, kind, metadata, addressType, endpoints, ports } = slice;
  const service = metadata.labels?.[serviceNameLabel];
  return {
    apiVersion,
    kind,
    metadata: {
      ...thinMeta(metadata),
      ...(service !== undefined && { labels: { [serviceNameLabel]: service } }),
    },
    addressType,
    ...(endpoints && {
      endpoints: endpoints.map(({ addresses, nodeName, conditions }) => ({
        addresses,
        ...defined("nodeName", nodeName),
        ...defined("conditions", conditions),
      })),
    }),
    ...(ports && {
      ports: ports.map((p) => ({
        ...defined("name", p.name),
        ...defined("port", p.port),
        ...defined("protocol", p.protocol),
      })),
    }),
  };
};

/** What a claim excludes and for whom, and its phase. */
export const thinClaim = (claim: IPAllocation): IPAllocation => {
  const { apiVersion, kind, metadata, spec, status } = claim;
  return {
    apiVersion,
    kind,
    metadata: thinMeta(metadata),
    spec,
    ...(status?.phase && { status: { phase: status.phase } }),
  };
};

/** Without status and versions: the agent's own reports must not look like news. */
export function thinNetwork(network: NodeNetwork): NodeNetwork {
  const { name, uid, annotations } = network.metadata;
  return {
    apiVersion: network.apiVersion,
    kind: network.kind,
    metadata: { name, ...(uid !== undefined && { uid }), ...(annotations && { annotations }) },
    spec: network.spec,
  };
}
