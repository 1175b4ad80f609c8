// apiserver: what a new cluster has before anybody writes to it: namespaces, default roles, its own Service.

import { formatAddress, fromInteger, parsePrefix, toInteger } from "../net/address.ts";
import type { ServerContext } from "./context.ts";
import type { JsonObject } from "./json.ts";
import { type ApiObject, keyOf, timeText } from "./object.ts";

const rbac = "rbac.authorization.k8s.io";
const rbacVersion = `${rbac}/v1`;

const namespaces = ["default", "kube-node-lease", "kube-public", "kube-system"];

const rule = (apiGroups: string[], resources: string[], verbs: string[]): JsonObject => ({
  apiGroups,
  resources,
  verbs,
});
const paths = (nonResourceURLs: string[]): JsonObject => ({ nonResourceURLs, verbs: ["get"] });
const read = ["get", "list", "watch"];
const write = ["create", "delete", "deletecollection", "patch", "update"];
const namespacedCore = ["configmaps", "events", "pods", "services", "serviceaccounts"];

const aggregate = (role: string): { [key: string]: string } => ({ [`${rbac}/aggregate-to-${role}`]: "true" });

interface Role {
  readonly name: string;
  readonly labels?: { [key: string]: string };
  readonly rules?: JsonObject[];
  readonly aggregates?: string;
}

const clusterRoles: readonly Role[] = [
  {
    name: "cluster-admin",
    rules: [rule(["*"], ["*"], ["*"]), { nonResourceURLs: ["*"], verbs: ["*"] }],
  },
  {
    name: "system:basic-user",
    rules: [
      rule(["authorization.k8s.io"], ["selfsubjectaccessreviews", "selfsubjectrulesreviews"], ["create"]),
      rule(["authentication.k8s.io"], ["selfsubjectreviews"], ["create"]),
    ],
  },
  {
    name: "system:discovery",
    rules: [
      paths([
        "/api",
        "/api/*",
        "/apis",
        "/apis/*",
        "/healthz",
        "/livez",
        "/openapi",
        "/openapi/*",
        "/readyz",
        "/version",
        "/version/",
      ]),
    ],
  },
  {
    name: "system:public-info-viewer",
    rules: [paths(["/healthz", "/livez", "/readyz", "/version", "/version/"])],
  },
  {
    name: "system:auth-delegator",
    rules: [
      rule(["authentication.k8s.io"], ["tokenreviews"], ["create"]),
      rule(["authorization.k8s.io"], ["subjectaccessreviews"], ["create"]),
    ],
  },
  { name: "admin", aggregates: "admin" },
  { name: "edit", aggregates: "edit", labels: aggregate("admin") },
  { name: "view", aggregates: "view", labels: aggregate("edit") },
  {
    name: "system:aggregate-to-admin",
    labels: aggregate("admin"),
    rules: [
      rule([rbac], ["roles", "rolebindings"], [...read, ...write]),
      rule(["authorization.k8s.io"], ["localsubjectaccessreviews"], ["create"]),
    ],
  },
  {
    name: "system:aggregate-to-edit",
    labels: aggregate("edit"),
    rules: [
      rule([""], [...namespacedCore, "secrets"], write),
      rule([""], ["secrets"], read),
      rule([""], ["serviceaccounts/token"], ["create"]),
      rule(["coordination.k8s.io"], ["leases"], [...read, ...write]),
    ],
  },
  {
    name: "system:aggregate-to-view",
    labels: aggregate("view"),
    rules: [
      rule([""], [...namespacedCore, "namespaces", "pods/status", "services/status"], read),
      rule(["discovery.k8s.io"], ["endpointslices"], read),
    ],
  },
];

const bindings: readonly { name: string; role: string; groups: readonly string[] }[] = [
  { name: "cluster-admin", role: "cluster-admin", groups: ["system:masters"] },
  { name: "system:basic-user", role: "system:basic-user", groups: ["system:authenticated"] },
  { name: "system:discovery", role: "system:discovery", groups: ["system:authenticated"] },
  {
    name: "system:public-info-viewer",
    role: "system:public-info-viewer",
    groups: ["system:authenticated", "system:unauthenticated"],
  },
];

/** Makes what is missing; what is there is left as it is, also where somebody has changed it. */
export function bootstrap(context: ServerContext): void {
  for (const name of namespaces)
    ensure(
      context,
      "namespaces",
      { apiVersion: "v1", kind: "Namespace", name, labels: { "kubernetes.io/metadata.name": name } },
      { spec: { finalizers: ["kubernetes"] }, status: { phase: "Active" } },
    );
  for (const role of clusterRoles) {
    const body: JsonObject = role.aggregates
      ? {
          aggregationRule: { clusterRoleSelectors: [{ matchLabels: aggregate(role.aggregates) }] },
          rules: [],
        }
      : { rules: role.rules ?? [] };
    ensure(
      context,
      `clusterroles.${rbac}`,
      {
        apiVersion: rbacVersion,
        kind: "ClusterRole",
        name: role.name,
        labels: { ...bootLabel, ...role.labels },
      },
      body,
    );
  }
  for (const b of bindings)
    ensure(
      context,
      `clusterrolebindings.${rbac}`,
      { apiVersion: rbacVersion, kind: "ClusterRoleBinding", name: b.name, labels: bootLabel },
      {
        subjects: b.groups.map((name) => ({ kind: "Group", apiGroup: rbac, name })),
        roleRef: { apiGroup: rbac, kind: "ClusterRole", name: b.role },
      },
    );
  ensureServiceRanges(context);
}

const bootLabel = { "kubernetes.io/bootstrapping": "rbac-defaults" };

function ensureServiceRanges(context: ServerContext): void {
  const cidrs = [...context.serviceCidrs];
  const [first] = cidrs;
  if (!first) return;
  ensure(
    context,
    "servicecidrs.networking.k8s.io",
    { apiVersion: "networking.k8s.io/v1", kind: "ServiceCIDR", name: "kubernetes" },
    {
      spec: { cidrs },
      status: {
        conditions: [
          {
            type: "Ready",
            status: "True",
            reason: "",
            message: "Kubernetes Service CIDR is ready",
            lastTransitionTime: timeText(context.now()),
          },
        ],
      },
    },
  );
  const range = parsePrefix(first);
  const clusterIP = formatAddress(fromInteger(range.family, toInteger(range) + 1n));
  ensure(
    context,
    "services",
    {
      apiVersion: "v1",
      kind: "Service",
      name: "kubernetes",
      namespace: "default",
      labels: { component: "apiserver", provider: "kubernetes" },
    },
    {
      spec: {
        clusterIP,
        clusterIPs: [clusterIP],
        internalTrafficPolicy: "Cluster",
        ipFamilies: [range.family === 6 ? "IPv6" : "IPv4"],
        ipFamilyPolicy: "SingleStack",
        ports: [{ name: "https", port: 443, protocol: "TCP", targetPort: 6443 }],
        sessionAffinity: "None",
        type: "ClusterIP",
      },
      status: { loadBalancer: {} },
    },
  );
}

interface Head {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly namespace?: string;
  readonly labels?: { [key: string]: string };
}

function ensure(context: ServerContext, storage: string, head: Head, body: JsonObject): void {
  const { apiVersion, kind, name, namespace, labels } = head;
  const key = keyOf(namespace, name);
  if (context.store.get(storage, key)) return;
  const object: ApiObject = {
    apiVersion,
    kind,
    metadata: {
      name,
      ...(namespace ? { namespace } : {}),
      uid: context.randomUUID(),
      resourceVersion: "",
      creationTimestamp: timeText(context.now()),
      ...(labels ? { labels } : {}),
    },
    ...body,
  };
  context.store.put(storage, key, object);
}
