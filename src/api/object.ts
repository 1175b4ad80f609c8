// api: the parts of the Kubernetes API that every kind shares, and the built-in kinds as far as Waggle reads them.

export interface OwnerReference {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly uid: string;
  readonly controller?: boolean;
  readonly blockOwnerDeletion?: boolean;
}

export interface ObjectMeta {
  readonly name: string;
  readonly namespace?: string;
  readonly uid?: string;
  readonly resourceVersion?: string;
  readonly generation?: number;
  readonly creationTimestamp?: string;
  readonly deletionTimestamp?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly finalizers?: readonly string[];
  readonly ownerReferences?: readonly OwnerReference[];
}

export interface KubernetesObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: ObjectMeta;
}

/** metav1.Condition (KEP-1623). */
export interface Condition {
  readonly type: string;
  readonly status: "True" | "False" | "Unknown";
  readonly reason: string;
  readonly message: string;
  readonly lastTransitionTime: string;
  readonly observedGeneration?: number;
}

export interface LabelSelector {
  readonly matchLabels?: Readonly<Record<string, string>>;
  readonly matchExpressions?: readonly {
    readonly key: string;
    readonly operator: "In" | "NotIn" | "Exists" | "DoesNotExist";
    readonly values?: readonly string[];
  }[];
}

/**
 * Whether labels satisfy a selector. `{}` matches all; an absent selector matches nothing (an omitted selector never widens).
 */
export function selects(
  selector: LabelSelector | undefined,
  labels: Readonly<Record<string, string>> | undefined,
): boolean {
  if (!selector) return false;
  for (const [key, value] of Object.entries(selector.matchLabels ?? {}))
    if (labels?.[key] !== value) return false;
  for (const { key, operator, values } of selector.matchExpressions ?? []) {
    const value = labels?.[key];
    const listed = value !== undefined && (values ?? []).includes(value);
    if (operator === "In" && !listed) return false;
    if (operator === "NotIn" && listed) return false;
    if (operator === "Exists" && value === undefined) return false;
    if (operator === "DoesNotExist" && value !== undefined) return false;
  }
  return true;
}

/** Labels that stand for where and what a Service is, under the names that selectors of Services know them by. */
export const serviceNamespaceLabel = "io.kubernetes.service.namespace";
export const serviceNameLabel = "io.kubernetes.service.name";

/** A Service's labels as selectors of Services see them. */
export const serviceLabels = (service: Service): Readonly<Record<string, string>> => ({
  ...service.metadata.labels,
  [serviceNamespaceLabel]: service.metadata.namespace ?? "",
  [serviceNameLabel]: service.metadata.name,
});

export interface Node extends KubernetesObject {
  readonly kind: "Node";
  readonly spec?: {
    readonly podCIDRs?: readonly string[];
    readonly unschedulable?: boolean;
    readonly taints?: readonly { readonly key: string; readonly value?: string; readonly effect: string }[];
  };
  readonly status?: {
    readonly addresses?: readonly { readonly type: string; readonly address: string }[];
    readonly conditions?: readonly { readonly type: string; readonly status: string }[];
  };
}

export interface ServicePort {
  readonly name?: string;
  readonly protocol?: "TCP" | "UDP" | "SCTP";
  readonly port: number;
  readonly targetPort?: number | string;
  readonly nodePort?: number;
}

export interface Service extends KubernetesObject {
  readonly kind: "Service";
  readonly spec: {
    readonly type?: "ClusterIP" | "NodePort" | "LoadBalancer" | "ExternalName";
    readonly ports?: readonly ServicePort[];
    readonly selector?: Readonly<Record<string, string>>;
    readonly clusterIPs?: readonly string[];
    readonly externalIPs?: readonly string[];
    readonly ipFamilies?: readonly ("IPv4" | "IPv6")[];
    readonly ipFamilyPolicy?: "SingleStack" | "PreferDualStack" | "RequireDualStack";
    readonly loadBalancerClass?: string;
    readonly externalTrafficPolicy?: "Cluster" | "Local";
  };
  readonly status?: {
    readonly loadBalancer?: {
      readonly ingress?: readonly { readonly ip?: string; readonly ipMode?: string }[];
    };
    readonly conditions?: readonly Condition[];
  };
}

export interface EndpointSlice extends KubernetesObject {
  readonly kind: "EndpointSlice";
  readonly addressType: "IPv4" | "IPv6" | "FQDN";
  readonly endpoints?: readonly {
    readonly addresses: readonly string[];
    readonly nodeName?: string;
    readonly conditions?: {
      readonly ready?: boolean;
      readonly serving?: boolean;
      readonly terminating?: boolean;
    };
  }[];
  readonly ports?: readonly {
    readonly name?: string;
    readonly port?: number;
    readonly protocol?: "TCP" | "UDP" | "SCTP";
  }[];
}

export interface Secret extends KubernetesObject {
  readonly kind: "Secret";
  /** base64 */
  readonly data?: Readonly<Record<string, string>>;
}

/** The taint that drains a node; its documented equivalent is `waggle drain NODE`. */
export const drainTaint = "waggle.dev/drain";
/** Namespace of Secrets, Leases and ServiceAccounts. */
export const systemNamespace = "waggle-system";
/** Annotation on a NodeNetwork that approves the held plan with this hash. */
export const approveAnnotation = "waggle.dev/approve";
/**
 * Annotation on any of our objects and on Nodes: with the value "true" what is in force of it stays as it is, whatever is
 * written into it.
 */
export const pausedAnnotation = "waggle.dev/paused";
/** Annotation on the ClusterNetwork: every node lets go of everything, as in a forced drain. Its value is the cluster's name. */
export const withdrawAnnotation = "waggle.dev/withdraw";
/** Annotation on a Service: Services with one key may have one address together. */
export const sharingKeyAnnotation = "waggle.dev/sharing-key";
/** Annotation on a Service: other namespaces, as a comma list or `*`, whose Services it shares with; both sides must say so. */
export const sharingNamespacesAnnotation = "waggle.dev/sharing-namespaces";
/** Annotation on a Service: Keep or Withdraw, what becomes of its addresses once it has no ready endpoint. */
export const whenEmptyAnnotation = "waggle.dev/when-empty";
/** Label on a Node: none of its Services' addresses are announced there (Kubernetes KEP-1143). */
export const excludeLabel = "node.kubernetes.io/exclude-from-external-load-balancers";

/** Whether an object is paused. */
export const isPaused = (object: { readonly metadata: Pick<ObjectMeta, "annotations"> }): boolean =>
  object.metadata.annotations?.[pausedAnnotation] === "true";

/** loadBalancerClass of Services that Waggle owns; Services without a class are owned too where ClusterNetwork owns VIPs. */
export const loadBalancerClass = "waggle.dev/bgp";
/** Third number of large communities <ASN>:<clusterID>:<kind>. */
export const routeKind = { pods: 1, vips: 2 } as const;
