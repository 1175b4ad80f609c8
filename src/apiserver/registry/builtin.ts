// apiserver/registry: the built-in resources, one line each, and the two faces of Event.
import { isObject, type JsonObject } from "../json.ts";
import { type ApiObject, apiVersionOf, groupResource } from "../object.ts";
import { fillZeros } from "../schema/prune.ts";
import { columnsByKind, fallbackColumns } from "../table/builtin.ts";
import { builtinType } from "../types/index.ts";
import { crdStrategy } from "./crd.ts";
import { allVerbs, type ResourceType, type Strategy, type Verb } from "./resource.ts";
import { serviceStrategy } from "./service.ts";
import * as strategies from "./strategies.ts";

interface Row {
  readonly gv: string;
  readonly kind: string;
  readonly resource: string;
  readonly singular?: string;
  readonly short?: string;
  readonly categories?: readonly string[];
  readonly namespaced: boolean;
  readonly status?: boolean;
  readonly strategy?: Strategy;
  readonly type?: string;
  readonly verbs?: readonly Verb[];
  readonly review?: string;
  readonly fields?: Readonly<Record<string, readonly string[]>>;
}

const withoutCollectionDelete = allVerbs.filter((v) => v !== "deletecollection");
const create: readonly Verb[] = ["create"];
const rbac = "rbac.authorization.k8s.io/v1";
const { plainStrategy, roleStrategy, bindingStrategy } = strategies;

const rows: readonly Row[] = [
  {
    gv: "v1",
    kind: "ConfigMap",
    resource: "configmaps",
    short: "cm",
    namespaced: true,
    strategy: strategies.configMapStrategy,
  },
  {
    gv: "v1",
    kind: "Event",
    resource: "events",
    short: "ev",
    namespaced: true,
    strategy: strategies.eventStrategy,
    fields: {
      "involvedObject.kind": ["involvedObject", "kind"],
      "involvedObject.namespace": ["involvedObject", "namespace"],
      "involvedObject.name": ["involvedObject", "name"],
      "involvedObject.uid": ["involvedObject", "uid"],
      "involvedObject.apiVersion": ["involvedObject", "apiVersion"],
      "involvedObject.resourceVersion": ["involvedObject", "resourceVersion"],
      "involvedObject.fieldPath": ["involvedObject", "fieldPath"],
      reason: ["reason"],
      reportingComponent: ["reportingComponent"],
      source: ["source", "component"],
      type: ["type"],
    },
  },
  {
    gv: "v1",
    kind: "Namespace",
    resource: "namespaces",
    short: "ns",
    namespaced: false,
    status: true,
    strategy: strategies.namespaceStrategy,
    verbs: withoutCollectionDelete,
    fields: { "status.phase": ["status", "phase"] },
  },
  {
    gv: "v1",
    kind: "Node",
    resource: "nodes",
    short: "no",
    namespaced: false,
    status: true,
    strategy: strategies.nodeStrategy,
    fields: { "spec.unschedulable": ["spec", "unschedulable"] },
  },
  {
    gv: "v1",
    kind: "Pod",
    resource: "pods",
    short: "po",
    categories: ["all"],
    namespaced: true,
    status: true,
    strategy: strategies.podStrategy,
    fields: {
      "spec.nodeName": ["spec", "nodeName"],
      "spec.restartPolicy": ["spec", "restartPolicy"],
      "spec.schedulerName": ["spec", "schedulerName"],
      "spec.serviceAccountName": ["spec", "serviceAccountName"],
      "spec.hostNetwork": ["spec", "hostNetwork"],
      "status.phase": ["status", "phase"],
      "status.podIP": ["status", "podIP"],
    },
  },
  {
    gv: "v1",
    kind: "Secret",
    resource: "secrets",
    namespaced: true,
    strategy: strategies.secretStrategy,
    fields: { type: ["type"] },
  },
  { gv: "v1", kind: "ServiceAccount", resource: "serviceaccounts", short: "sa", namespaced: true },
  {
    gv: "v1",
    kind: "Service",
    resource: "services",
    short: "svc",
    categories: ["all"],
    namespaced: true,
    status: true,
    strategy: serviceStrategy,
    fields: { "spec.clusterIP": ["spec", "clusterIP"], "spec.type": ["spec", "type"] },
  },
  {
    gv: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    resource: "customresourcedefinitions",
    short: "crd,crds",
    categories: ["api-extensions"],
    namespaced: false,
    status: true,
    strategy: crdStrategy,
  },
  {
    gv: "coordination.k8s.io/v1",
    kind: "Lease",
    resource: "leases",
    namespaced: true,
    strategy: strategies.leaseStrategy,
  },
  {
    gv: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    resource: "endpointslices",
    namespaced: true,
    strategy: strategies.endpointSliceStrategy,
  },
  {
    gv: "networking.k8s.io/v1",
    kind: "IPAddress",
    resource: "ipaddresses",
    singular: "ipaddress",
    short: "ip",
    namespaced: false,
  },
  {
    gv: "networking.k8s.io/v1",
    kind: "ServiceCIDR",
    resource: "servicecidrs",
    namespaced: false,
    status: true,
    strategy: { ...plainStrategy, generation: "spec" },
  },
  {
    gv: rbac,
    kind: "ClusterRoleBinding",
    resource: "clusterrolebindings",
    namespaced: false,
    strategy: bindingStrategy,
  },
  { gv: rbac, kind: "ClusterRole", resource: "clusterroles", namespaced: false, strategy: roleStrategy },
  { gv: rbac, kind: "RoleBinding", resource: "rolebindings", namespaced: true, strategy: bindingStrategy },
  { gv: rbac, kind: "Role", resource: "roles", namespaced: true, strategy: roleStrategy },
  {
    gv: "authentication.k8s.io/v1",
    kind: "SelfSubjectReview",
    resource: "selfsubjectreviews",
    namespaced: false,
    verbs: create,
    review: "self",
  },
  {
    gv: "authentication.k8s.io/v1",
    kind: "TokenReview",
    resource: "tokenreviews",
    namespaced: false,
    verbs: create,
    review: "token",
  },
  {
    gv: "authorization.k8s.io/v1",
    kind: "LocalSubjectAccessReview",
    resource: "localsubjectaccessreviews",
    namespaced: true,
    verbs: create,
    review: "access",
  },
  {
    gv: "authorization.k8s.io/v1",
    kind: "SelfSubjectAccessReview",
    resource: "selfsubjectaccessreviews",
    namespaced: false,
    verbs: create,
    review: "selfAccess",
  },
  {
    gv: "authorization.k8s.io/v1",
    kind: "SelfSubjectRulesReview",
    resource: "selfsubjectrulesreviews",
    namespaced: false,
    verbs: create,
    review: "selfRules",
  },
  {
    gv: "authorization.k8s.io/v1",
    kind: "SubjectAccessReview",
    resource: "subjectaccessreviews",
    namespaced: false,
    verbs: create,
    review: "access",
  },
];

function textAt(object: ApiObject, path: readonly string[]): string {
  const value = path.reduce<unknown>(
    (v, key) => (isObject(v as JsonObject) ? (v as JsonObject)[key] : undefined),
    object,
  );
  return value === undefined || value === null
    ? path.at(-1) === "unschedulable" || path.at(-1) === "hostNetwork"
      ? "false"
      : ""
    : String(value);
}

function fromRow(row: Row): ResourceType {
  const slash = row.gv.indexOf("/");
  const group = slash < 0 ? "" : row.gv.slice(0, slash);
  const version = row.gv.slice(slash + 1);
  return {
    group,
    version,
    kind: row.kind,
    listKind: `${row.kind}List`,
    resource: row.resource,
    singular: row.singular ?? row.kind.toLowerCase(),
    shortNames: row.short?.split(",") ?? [],
    categories: row.categories ?? [],
    namespaced: row.namespaced,
    verbs: row.verbs ?? allVerbs,
    storage: groupResource(group, row.resource),
    schema: builtinType(row.type ?? row.kind).schema,
    custom: false,
    hasStatus: row.status ?? false,
    strategy: row.strategy ?? plainStrategy,
    columns: columnsByKind[row.kind] ?? fallbackColumns,
    selectableFields: new Map(
      Object.entries(row.fields ?? {}).map(([field, path]) => [
        field,
        (object: ApiObject) => textAt(object, path),
      ]),
    ),
    storedAs: { apiVersion: apiVersionOf(group, version), kind: row.kind },
    ...(row.review ? { review: row.review } : {}),
  };
}

/** Field names of events.k8s.io/v1 and of the stored core/v1 form. */
const eventFields: readonly (readonly [newer: string, core: string])[] = [
  ["reportingController", "reportingComponent"],
  ["regarding", "involvedObject"],
  ["note", "message"],
  ["deprecatedSource", "source"],
  ["deprecatedFirstTimestamp", "firstTimestamp"],
  ["deprecatedLastTimestamp", "lastTimestamp"],
  ["deprecatedCount", "count"],
];

function rename(
  object: ApiObject,
  pairs: readonly (readonly [from: string, to: string])[],
  apiVersion: string,
): ApiObject {
  const names = new Map(pairs);
  const renamed: ApiObject = { apiVersion, kind: object.kind, metadata: object.metadata };
  for (const [key, value] of Object.entries(object))
    if (key !== "apiVersion" && key !== "kind" && key !== "metadata") renamed[names.get(key) ?? key] = value;
  return renamed;
}

function newerEvents(core: ResourceType): ResourceType {
  return {
    ...core,
    group: "events.k8s.io",
    schema: builtinType("EventsV1Event").schema,
    selectableFields: new Map(
      [...core.selectableFields].flatMap(([field, get]) => {
        const name = field
          .replace("involvedObject", "regarding")
          .replace("reportingComponent", "reportingController");
        return [[name, get] as const];
      }),
    ),
    fromStorage(object) {
      const shown = rename(
        object,
        eventFields.map(([a, b]) => [b, a] as const),
        "events.k8s.io/v1",
      );
      // The newer kind leaves out what the older one writes as empty text.
      for (const field of ["reportingController", "reportingInstance"])
        if (shown[field] === "") delete shown[field];
      return shown;
    },
    toStorage(object) {
      const stored = rename(object, eventFields, "v1");
      fillZeros(stored, core.schema);
      return stored;
    },
  };
}

export function builtinResources(): ResourceType[] {
  const types = rows.map(fromRow);
  const events = types.find((t) => t.kind === "Event");
  return events ? [...types, newerEvents(events)] : types;
}
