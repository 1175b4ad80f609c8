// apiserver: the shape that every stored object has, and the few helpers that read its metadata.
import type { Json, JsonObject } from "./json.ts";

export type OwnerReference = {
  apiVersion: string;
  kind: string;
  name: string;
  uid: string;
  controller?: boolean;
  blockOwnerDeletion?: boolean;
};

export type ManagedFieldsEntry = {
  manager?: string;
  operation?: string;
  apiVersion?: string;
  time?: string;
  fieldsType?: string;
  fieldsV1?: JsonObject;
  subresource?: string;
};

/** ObjectMeta of apimachinery; times are RFC 3339 in UTC with whole seconds. */
export type ObjectMeta = {
  name: string;
  generateName?: string;
  namespace?: string;
  uid: string;
  resourceVersion: string;
  generation?: number;
  creationTimestamp: string;
  deletionTimestamp?: string;
  deletionGracePeriodSeconds?: number;
  labels?: { [key: string]: string };
  annotations?: { [key: string]: string };
  ownerReferences?: OwnerReference[];
  finalizers?: string[];
  managedFields?: ManagedFieldsEntry[];
};

export type ApiObject = {
  apiVersion: string;
  kind: string;
  metadata: ObjectMeta;
  [field: string]: Json;
};

/** A kind by name. `group` is empty for the core group. */
export interface GroupVersionKind {
  readonly group: string;
  readonly version: string;
  readonly kind: string;
}

export const apiVersionOf = (group: string, version: string): string =>
  group ? `${group}/${version}` : version;

/** Splits `group/version`; a core version has an empty group. */
export function parseApiVersion(text: string): { group: string; version: string } {
  const slash = text.indexOf("/");
  return slash < 0
    ? { group: "", version: text }
    : { group: text.slice(0, slash), version: text.slice(slash + 1) };
}

/** `resource.group`, or the bare resource for the core group: how the server names a collection. */
export const groupResource = (group: string, resource: string): string =>
  group ? `${resource}.${group}` : resource;

/** The key of an object within its collection: `namespace/name`, or the name where there is no namespace. */
export const keyOf = (namespace: string | undefined, name: string): string =>
  namespace ? `${namespace}/${name}` : name;

/** Milliseconds since the epoch as metav1.Time: whole seconds, UTC. */
export const timeText = (milliseconds: number): string =>
  `${new Date(Math.floor(milliseconds / 1000) * 1000).toISOString().slice(0, 19)}Z`;

/** Milliseconds since the epoch as metav1.MicroTime. */
export const microTimeText = (milliseconds: number): string =>
  `${new Date(milliseconds).toISOString().slice(0, 23)}000Z`;
