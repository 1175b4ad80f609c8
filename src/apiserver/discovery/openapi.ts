// apiserver/discovery: OpenAPI v3, one document a group version, and as much of v2 as clients need to go on to v3.
import type { JsonObject } from "../json.ts";
import type { Registry, ResourceType } from "../registry/resource.ts";
import type { Schema } from "../schema/schema.ts";
import { allTypes, builtinType } from "../types/index.ts";
import { subresourcesOf } from "./discovery.ts";

const quantity = "io.k8s.apimachinery.pkg.api.resource.Quantity";
const intOrString = "io.k8s.apimachinery.pkg.util.intstr.IntOrString";
const ref = (name: string): JsonObject => ({ $ref: `#/components/schemas/${name}` });

const scalarComponents: JsonObject = {
  [quantity]: {
    description: "A number with a unit, as 100m or 1.5Gi.",
    oneOf: [{ type: "string" }, { type: "number" }],
  },
  [intOrString]: {
    description: "A number or a text.",
    format: "int-or-string",
    oneOf: [{ type: "integer" }, { type: "string" }],
  },
};

/** Collects the named types that a document refers to. */
class Components {
  readonly schemas: JsonObject = {};
  readonly #pending: string[] = [];

  refer(name: string): JsonObject {
    if (!(name in this.schemas)) {
      this.schemas[name] = scalarComponents[name] ?? {};
      if (!(name in scalarComponents)) this.#pending.push(name);
    }
    return ref(name);
  }

  /** Resolves what was referred to and not yet written down. */
  finish(): void {
    const byName = new Map(allTypes.map((t) => [t.schema.typeName, t.schema]));
    for (let name = this.#pending.pop(); name !== undefined; name = this.#pending.pop()) {
      const schema = byName.get(name);
      if (schema) this.schemas[name] = this.body(schema);
    }
  }

  /** A schema in place: a reference for a named type, its body for any other. */
  inline(schema: Schema): JsonObject {
    const name =
      schema.format === "quantity"
        ? quantity
        : schema.format === "int-or-string"
          ? intOrString
          : schema.typeName;
    if (!name) return this.body(schema);
    const reference = this.refer(name);
    if (!schema.description && schema.default === undefined) return reference;
    return {
      allOf: [reference],
      ...(schema.typeName ? { default: {} } : {}),
      ...(schema.description ? { description: schema.description } : {}),
    };
  }

  body(schema: Schema): JsonObject {
    const out: JsonObject = {};
    if (schema.description) out.description = schema.description;
    if (schema.type) out.type = schema.type;
    copyScalars(schema, out);
    if (schema.properties && schema.properties.size > 0)
      out.properties = Object.fromEntries([...schema.properties].map(([k, v]) => [k, this.inline(v)]));
    if (schema.required && schema.required.length > 0) out.required = [...schema.required];
    if (typeof schema.additionalProperties === "object")
      out.additionalProperties = this.inline(schema.additionalProperties);
    else if (schema.additionalProperties === true) out.additionalProperties = true;
    if (schema.items) out.items = this.inline(schema.items);
    for (const key of ["allOf", "anyOf", "oneOf"] as const)
      if (schema[key]) out[key] = schema[key].map((s) => this.body(s));
    if (schema.not) out.not = this.body(schema.not);
    if (schema.validations) out["x-kubernetes-validations"] = schema.validations.map((v) => ({ ...v }));
    return out;
  }
}

const plainKeys = [
  "format",
  "pattern",
  "minimum",
  "maximum",
  "exclusiveMinimum",
  "exclusiveMaximum",
  "multipleOf",
  "minLength",
  "maxLength",
  "minItems",
  "maxItems",
  "uniqueItems",
  "minProperties",
  "maxProperties",
  "nullable",
  "default",
] as const;

function copyScalars(schema: Schema, out: JsonObject): void {
  for (const key of plainKeys) {
    const value = schema[key];
    if (value !== undefined) out[key] = value;
  }
  if (schema.enum) out.enum = [...schema.enum];
  if (schema.listType) out["x-kubernetes-list-type"] = schema.listType;
  if (schema.listMapKeys) out["x-kubernetes-list-map-keys"] = [...schema.listMapKeys];
  if (schema.mapType) out["x-kubernetes-map-type"] = schema.mapType;
  if (schema.preserveUnknown) out["x-kubernetes-preserve-unknown-fields"] = true;
  if (schema.intOrString) out["x-kubernetes-int-or-string"] = true;
  if (schema.embeddedResource) out["x-kubernetes-embedded-resource"] = true;
  if (schema.patchStrategy) out["x-kubernetes-patch-strategy"] = schema.patchStrategy;
  if (schema.patchMergeKey) out["x-kubernetes-patch-merge-key"] = schema.patchMergeKey;
}

const apiVersionText =
  "The version of the schema that this object is written in. Servers convert what they know to their newest and may refuse others.";
const kindText = "The kind of object. It cannot be changed.";

/** `dev.waggle.v1alpha1.IPPool`: the group backwards, the version, the kind. */
const componentName = (type: ResourceType): string =>
  type.custom
    ? [...type.group.split(".").reverse(), type.version, type.kind].join(".")
    : (type.schema.typeName ?? type.kind);

const gvkOf = (type: ResourceType, kind = type.kind): JsonObject => ({
  group: type.group,
  kind,
  version: type.version,
});

function addKind(components: Components, type: ResourceType): string {
  const name = componentName(type);
  const metadata = (text: string, typeName: string): JsonObject => ({
    allOf: [components.refer(typeName)],
    default: {},
    description: text,
  });
  const body = components.body(type.schema);
  const properties = (body.properties ?? {}) as JsonObject;
  components.schemas[name] = {
    ...body,
    type: "object",
    properties: {
      apiVersion: { description: apiVersionText, type: "string" },
      kind: { description: kindText, type: "string" },
      ...properties,
      metadata: metadata("Standard metadata.", builtinType("ObjectMeta").schema.typeName!),
    },
    "x-kubernetes-group-version-kind": [gvkOf(type)],
  };
  if (type.review) return name;
  components.schemas[`${name}List`] = {
    description: `A list of ${type.kind}.`,
    type: "object",
    required: ["items"],
    properties: {
      apiVersion: { description: apiVersionText, type: "string" },
      items: { description: "The objects.", type: "array", items: ref(name) },
      kind: { description: kindText, type: "string" },
      metadata: metadata("Standard list metadata.", builtinType("ListMeta").schema.typeName!),
    },
    "x-kubernetes-group-version-kind": [gvkOf(type, type.listKind)],
  };
  return name;
}

const parameter = (name: string, description: string): JsonObject => ({
  name,
  in: "query",
  description,
  schema: { type: "string", uniqueItems: true },
});

const writeParameters: JsonObject[] = [
  parameter("dryRun", "All: check everything, change nothing."),
  parameter("fieldManager", "Who is writing."),
  parameter("fieldValidation", "What to do about unknown and duplicate fields: Ignore, Warn or Strict."),
];

const actions: Readonly<Record<string, string>> = {
  get: "get",
  put: "put",
  post: "post",
  patch: "patch",
  delete: "delete",
};

function operation(type: ResourceType, method: string, action: string, component: string): JsonObject {
  const body =
    method === "get" || method === "delete"
      ? {}
      : { requestBody: { content: { "*/*": { schema: ref(component) } } } };
  return {
    ...body,
    ...(method === "get" ? {} : { parameters: writeParameters }),
    responses: { "200": { description: "OK", content: { "application/json": { schema: ref(component) } } } },
    "x-kubernetes-action": action,
    "x-kubernetes-group-version-kind": gvkOf(type),
  };
}

function pathsOf(type: ResourceType, component: string): JsonObject {
  const base = type.group ? `/apis/${type.group}/${type.version}` : `/api/${type.version}`;
  const collection = `${base}${type.namespaced ? "/namespaces/{namespace}" : ""}/${type.resource}`;
  const has = (verb: string): boolean => type.verbs.some((v) => v === verb);
  const paths: JsonObject = {
    [collection]: {
      ...(has("list") ? { get: operation(type, "get", "list", `${component}List`) } : {}),
      ...(has("create") ? { post: operation(type, "post", "post", component) } : {}),
    },
  };
  if (type.review) return paths;
  const item = (methods: readonly string[]): JsonObject =>
    Object.fromEntries(methods.map((m) => [m, operation(type, m, actions[m]!, component)]));
  paths[`${collection}/{name}`] = item(["get", "put", "patch", "delete"]);
  if (type.namespaced)
    paths[`${base}/${type.resource}`] = { get: operation(type, "get", "list", `${component}List`) };
  for (const s of subresourcesOf(type))
    if (s.name === "status") paths[`${collection}/{name}/status`] = item(["get", "put", "patch"]);
  return paths;
}

/** The OpenAPI v3 document of one group version. */
export function openApiV3(registry: Registry, group: string, version: string, title: string): JsonObject {
  const components = new Components();
  const paths: JsonObject = {};
  for (const type of registry.all().filter((t) => t.group === group && t.version === version))
    Object.assign(paths, pathsOf(type, addKind(components, type)));
  components.finish();
  return {
    openapi: "3.0.0",
    info: { title, version: "v1" },
    paths,
    components: { schemas: components.schemas },
  };
}

/**
 * An OpenAPI v2 document without content as protobuf (gnostic's openapi.v2.Document: swagger 1, info 2, paths 8). Old
 * clients read it only to learn that it says nothing of a kind.
 */
export function openApiV2Protobuf(title: string, version: string): Buffer {
  const field = (tag: number, bytes: Buffer): Buffer =>
    Buffer.concat([Buffer.from([tag, bytes.length]), bytes]);
  const info = Buffer.concat([field(0x0a, Buffer.from(title)), field(0x12, Buffer.from(version))]);
  return Buffer.concat([field(0x0a, Buffer.from("2.0")), field(0x12, info), field(0x42, Buffer.alloc(0))]);
}

export const openApiV2Json = (title: string, version: string): JsonObject => ({
  swagger: "2.0",
  info: { title, version },
  paths: {},
  definitions: {},
});
