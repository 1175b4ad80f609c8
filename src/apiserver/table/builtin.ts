// apiserver/table: the columns of built-in kinds, as kubectl users know them.
import { at, isObject, type Json, listAt, numberAt, objectAt, stringAt, stringsAt } from "../json.ts";
import type { ApiObject } from "../object.ts";
import { age, ageColumn, type Column, column, createdAtColumn, nameColumn } from "./columns.ts";

const wide = { priority: 1 } as const;
const orNone = (text: string, none = "<none>"): string => text || none;
const size = (o: Json, ...path: string[]): number => Object.keys(objectAt(o, ...path) ?? {}).length;

export const formatSelector = (labels: Json | undefined): string =>
  isObject(labels) && Object.keys(labels).length > 0
    ? Object.entries(labels)
        .map(([key, value]) => `${key}=${String(value)}`)
        .sort()
        .join(",")
    : "<none>";

const rolePrefix = "node-role.kubernetes.io/";

function nodeStatus(o: ApiObject): string {
  const ready = listAt(o, "status", "conditions").find((c) => stringAt(c, "type") === "Ready");
  const words = [ready ? (stringAt(ready, "status") === "True" ? "Ready" : "NotReady") : "Unknown"];
  if (at(o, "spec", "unschedulable") === true) words.push("SchedulingDisabled");
  return words.join(",");
}

const nodeRoles = (o: ApiObject): string =>
  orNone(
    Object.entries(o.metadata.labels ?? {})
      .flatMap(([key, value]) =>
        key.startsWith(rolePrefix)
          ? [key.slice(rolePrefix.length)]
          : key === "kubernetes.io/role"
            ? [value]
            : [],
      )
      .filter(Boolean)
      .sort()
      .join(","),
  );

const nodeAddress = (o: ApiObject, type: string): string =>
  orNone(
    stringAt(
      listAt(o, "status", "addresses").find((a) => stringAt(a, "type") === type),
      "address",
    ),
  );

const nodeInfo = (field: string) => (o: ApiObject) =>
  orNone(stringAt(o, "status", "nodeInfo", field), "<unknown>");

const node: Column[] = [
  nameColumn,
  column("Status", nodeStatus),
  column("Roles", nodeRoles),
  ageColumn,
  column("Version", (o) => stringAt(o, "status", "nodeInfo", "kubeletVersion")),
  column("Internal-IP", (o) => nodeAddress(o, "InternalIP"), wide),
  column("External-IP", (o) => nodeAddress(o, "ExternalIP"), wide),
  column("OS-Image", nodeInfo("osImage"), wide),
  column("Kernel-Version", nodeInfo("kernelVersion"), wide),
  column("Container-Runtime", nodeInfo("containerRuntimeVersion"), wide),
];

function servicePorts(o: ApiObject): string {
  const texts = listAt(o, "spec", "ports").map((p) => {
    const nodePort = numberAt(p, "nodePort");
    return `${numberAt(p, "port")}${nodePort ? `:${nodePort}` : ""}/${stringAt(p, "protocol")}`;
  });
  return orNone(texts.join(","));
}

function externalAddress(o: ApiObject): string {
  const external = stringsAt(o, "spec", "externalIPs");
  const type = stringAt(o, "spec", "type");
  if (type === "ExternalName") return stringAt(o, "spec", "externalName");
  if (type !== "LoadBalancer") return orNone(external.join(","));
  const balanced = listAt(o, "status", "loadBalancer", "ingress").map(
    (i) => stringAt(i, "ip") || stringAt(i, "hostname"),
  );
  return [...new Set([...balanced, ...external])].join(",") || "<pending>";
}

const service: Column[] = [
  nameColumn,
  column("Type", (o) => stringAt(o, "spec", "type")),
  column("Cluster-IP", (o) =>
    orNone(stringsAt(o, "spec", "clusterIPs")[0] ?? stringAt(o, "spec", "clusterIP")),
  ),
  column("External-IP", externalAddress),
  column("Port(s)", servicePorts),
  ageColumn,
  column("Selector", (o) => formatSelector(at(o, "spec", "selector")), wide),
];

function slicePorts(o: ApiObject): string {
  const ports = listAt(o, "ports").map((p) => String(numberAt(p, "port") ?? "*"));
  if (ports.length === 0) return "<unset>";
  return ports.length > 3 ? `${ports.slice(0, 3).join(",")} + ${ports.length - 3} more...` : ports.join(",");
}

function sliceEndpoints(o: ApiObject): string {
  const addresses = listAt(o, "endpoints").flatMap((e) => stringsAt(e, "addresses"));
  if (addresses.length === 0) return "<unset>";
  return addresses.length > 3
    ? `${addresses.slice(0, 3).join(",")} + ${addresses.length - 3} more...`
    : addresses.join(",");
}

const endpointSlice: Column[] = [
  nameColumn,
  column("AddressType", (o) => stringAt(o, "addressType")),
  column("Ports", slicePorts),
  column("Endpoints", sliceEndpoints),
  ageColumn,
];

const lastSeen = (o: ApiObject): Json | undefined =>
  at(o, "series", "lastObservedTime") ?? at(o, "lastTimestamp") ?? at(o, "eventTime");

const event: Column[] = [
  column("Last Seen", (o, now) => age(lastSeen(o) ?? o.metadata.creationTimestamp, now)),
  column("Type", (o) => stringAt(o, "type")),
  column("Reason", (o) => stringAt(o, "reason")),
  column("Object", (o) => {
    const about = objectAt(o, "involvedObject");
    const name = stringAt(about, "name");
    const kind = stringAt(about, "kind").toLowerCase();
    return name ? `${kind}/${name}` : kind;
  }),
  column("Subobject", (o) => stringAt(o, "involvedObject", "fieldPath"), wide),
  column(
    "Source",
    (o) => {
      const component = stringAt(o, "source", "component") || stringAt(o, "reportingComponent");
      const host =
        stringAt(o, "source", "host") ||
        (stringAt(o, "source", "component") ? "" : stringAt(o, "reportingInstance"));
      return host ? `${component}, ${host}` : component;
    },
    wide,
  ),
  column("Message", (o) => stringAt(o, "message").trim()),
  column("First Seen", (o, now) => age(at(o, "firstTimestamp") ?? at(o, "eventTime"), now), wide),
  column("Count", (o) => String(numberAt(o, "series", "count") ?? numberAt(o, "count") ?? 1), wide),
  column("Name", (o) => o.metadata.name, { ...wide, format: "name" }),
];

const podReady = (o: ApiObject): string => {
  const total = listAt(o, "spec", "containers").length;
  const ready = listAt(o, "status", "containerStatuses").filter((c) => at(c, "ready") === true).length;
  return `${ready}/${total}`;
};

const pod: Column[] = [
  nameColumn,
  column("Ready", podReady),
  column("Status", (o) =>
    o.metadata.deletionTimestamp
      ? "Terminating"
      : stringAt(o, "status", "reason") || stringAt(o, "status", "phase"),
  ),
  column("Restarts", (o) =>
    String(
      listAt(o, "status", "containerStatuses").reduce<number>(
        (n, c) => n + (numberAt(c, "restartCount") ?? 0),
        0,
      ),
    ),
  ),
  ageColumn,
  column("IP", (o) => orNone(stringAt(o, "status", "podIP")), wide),
  column("Node", (o) => orNone(stringAt(o, "spec", "nodeName")), wide),
  column("Nominated Node", (o) => orNone(stringAt(o, "status", "nominatedNodeName")), wide),
  column("Readiness Gates", () => "<none>", wide),
];

const subjects = (kind: string) => (o: ApiObject) =>
  listAt(o, "subjects")
    .filter((s) => stringAt(s, "kind") === kind)
    .map((s) =>
      kind === "ServiceAccount" ? `${stringAt(s, "namespace")}/${stringAt(s, "name")}` : stringAt(s, "name"),
    )
    .join(", ");

const binding: Column[] = [
  nameColumn,
  column("Role", (o) => `${stringAt(o, "roleRef", "kind")}/${stringAt(o, "roleRef", "name")}`),
  ageColumn,
  column("Users", subjects("User"), wide),
  column("Groups", subjects("Group"), wide),
  column("ServiceAccounts", subjects("ServiceAccount"), wide),
];

export const columnsByKind: Readonly<Record<string, readonly Column[]>> = {
  Node: node,
  Service: service,
  EndpointSlice: endpointSlice,
  Event: event,
  Pod: pod,
  RoleBinding: binding,
  ClusterRoleBinding: binding,
  Role: [nameColumn, createdAtColumn],
  ClusterRole: [nameColumn, createdAtColumn],
  CustomResourceDefinition: [nameColumn, createdAtColumn],
  Namespace: [nameColumn, column("Status", (o) => stringAt(o, "status", "phase")), ageColumn],
  ConfigMap: [nameColumn, column("Data", (o) => String(size(o, "data") + size(o, "binaryData"))), ageColumn],
  Secret: [
    nameColumn,
    column("Type", (o) => stringAt(o, "type")),
    column("Data", (o) => String(size(o, "data"))),
    ageColumn,
  ],
  ServiceAccount: [nameColumn, column("Secrets", (o) => String(listAt(o, "secrets").length)), ageColumn],
  Lease: [nameColumn, column("Holder", (o) => stringAt(o, "spec", "holderIdentity")), ageColumn],
  ServiceCIDR: [nameColumn, column("CIDRs", (o) => stringsAt(o, "spec", "cidrs").join(",")), ageColumn],
  IPAddress: [
    nameColumn,
    column("ParentRef", (o) => {
      const ref = objectAt(o, "spec", "parentRef");
      const parts = [stringAt(ref, "resource"), stringAt(ref, "group")].filter(Boolean).join(".");
      return [parts, stringAt(ref, "namespace"), stringAt(ref, "name")].filter(Boolean).join("/");
    }),
    ageColumn,
  ],
};

export const fallbackColumns: readonly Column[] = [nameColumn, createdAtColumn];
