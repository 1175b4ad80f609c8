// apiserver/rest: server-side apply: the request's checks around the merge of field ownership.
import type { ServerContext } from "../context.ts";
import { at, clone, isObject, type Json, type JsonObject, stringAt } from "../json.ts";
import { badRequest, fieldErrors, invalid, notFound } from "../messages.ts";
import { keyOf } from "../object.ts";
import { gvOf, present, type ResourceType } from "../registry/resource.ts";
import { applyAsKubectl } from "../ssa/managers.ts";
import { checkTyped } from "../ssa/typed-errors.ts";
import { decodeObject, rootSchema, type WriteOptions } from "./decode.ts";
import { checkPrecondition, doorOf, insert, type Target, update, type Written, writerOf } from "./write.ts";

/** PATCH with an apply configuration; makes the object where there is none. */
export function applyObject(
  t: Target,
  name: string,
  config: Json,
  force: boolean,
  context: ServerContext,
  o: WriteOptions,
): Written {
  if (!o.fieldManager)
    throw invalid({ group: "meta.k8s.io", kind: "PatchOptions" }, "", [
      fieldErrors.required("fieldManager", "is required for apply patch"),
    ]);
  if (!isObject(config)) throw badRequest("error decoding YAML: the body is no object");
  const expected = gvOf(t.type);
  for (const [field, value] of [
    ["apiVersion", expected],
    ["kind", t.type.kind],
  ] as const)
    if (config[field] !== value)
      throw badRequest(
        `the ${field} of the applied object (${stringAt(config, field)}) does not match ${value}`,
      );
  const managed = at(config, "metadata", "managedFields");
  if (managed !== undefined && managed !== null) throw badRequest("metadata.managedFields must be nil");
  checkAppliedName(t, name, config);
  const entry = context.store.get(t.type.storage, keyOf(t.namespace, name));
  if (!entry && t.subresource) throw notFound(t.type, name);
  const live = entry && present(t.type, entry.object);
  checkPrecondition(
    t,
    name,
    stringAt(config, "metadata", "uid"),
    stringAt(config, "metadata", "resourceVersion"),
    entry,
  );
  const schema = rootSchema(t.type);
  checkTyped(
    config,
    schema,
    `${t.namespace ?? ""}/${name}; ${t.type.group}/${t.type.version}, Kind=${t.type.kind}`,
  );
  const known = decodeApplied(t, config, o);
  const result = applyAsKubectl(live, known, schema, doorOf(t), writerOf(t, context, o), force);
  if (entry && result.unchanged) return { object: entry.object, created: false };
  const quiet: WriteOptions = { ...o, fieldValidation: "Ignore" };
  const object = decodeObject(t.type, clone(result.object), quiet);
  if (entry) return update(t, entry, object, context, o, true);
  object.metadata.resourceVersion = "";
  return insert(t, object, context, o, true);
}

function checkAppliedName(t: Target, name: string, config: JsonObject): void {
  const metadata = isObject(config.metadata) ? config.metadata : {};
  config.metadata = metadata;
  const given = stringAt(metadata, "name");
  if (given && given !== name)
    throw badRequest(`the name of the object (${given}) does not match the name on the URL (${name})`);
  metadata.name = name;
  const namespace = stringAt(metadata, "namespace");
  if (t.namespace && namespace && namespace !== t.namespace)
    throw badRequest("the namespace of the provided object does not match the namespace sent on the request");
  if (t.namespace) metadata.namespace = t.namespace;
}

/** The applied configuration without unknown fields and without the defaults that decoding adds. */
function decodeApplied(t: Target, config: JsonObject, o: WriteOptions): JsonObject {
  const { defaults: _d, ...strategy } = t.type.strategy;
  const bare: ResourceType = { ...t.type, schema: withoutDefaults(t.type), strategy };
  const { metadata, ...rest } = decodeObject(bare, clone(config), o);
  const { uid: _u, resourceVersion: _r, creationTimestamp: _c, ...kept } = metadata;
  return { ...rest, metadata: kept };
}

const undefaulted = new WeakMap<object, ResourceType["schema"]>();

function withoutDefaults(type: ResourceType): ResourceType["schema"] {
  let schema = undefaulted.get(type.schema);
  if (!schema) {
    schema = stripDefaults(type.schema, new Map());
    undefaulted.set(type.schema, schema);
  }
  return schema;
}

function stripDefaults(
  schema: ResourceType["schema"],
  seen: Map<object, ResourceType["schema"]>,
): ResourceType["schema"] {
  const known = seen.get(schema);
  if (known) return known;
  const { default: _, zero: _z, ...copy } = schema;
  const result: { -readonly [K in keyof ResourceType["schema"]]: ResourceType["schema"][K] } = copy;
  seen.set(schema, result);
  if (schema.properties)
    result.properties = new Map([...schema.properties].map(([k, v]) => [k, stripDefaults(v, seen)]));
  if (schema.items) result.items = stripDefaults(schema.items, seen);
  if (typeof schema.additionalProperties === "object")
    result.additionalProperties = stripDefaults(schema.additionalProperties, seen);
  return result;
}
