// apiserver/registry: what the server knows of one served resource, and which ones there are.

import type { ServerContext } from "../context.ts";
import type { JsonObject } from "../json.ts";
import type { FieldError } from "../messages.ts";
import { type ApiObject, apiVersionOf } from "../object.ts";
import type { NameCheck } from "../schema/names.ts";
import type { Schema } from "../schema/schema.ts";
import type { Column } from "../table/columns.ts";

/** What a kind does beyond what all kinds do. Functions change `next` in place and never `old`. */
export interface Strategy {
  /** Defaults that depend on other fields; they count as written by the client, so that he comes to own them. */
  readonly defaults?: (next: ApiObject) => void;
  readonly prepareCreate?: (next: ApiObject, context: ServerContext) => void;
  readonly prepareUpdate?: (next: ApiObject, old: ApiObject, context: ServerContext) => void;
  readonly validate?: (next: ApiObject, old: ApiObject | undefined, context: ServerContext) => FieldError[];
  /** Complaints about the name; default: a DNS subdomain. */
  readonly validateName?: NameCheck;
  /** What is part of the desired state: `all` but metadata and status, or nothing (no generation at all). */
  readonly generation: "spec" | "none";
  /** True: an update without a resourceVersion is taken as meant for whatever is there. */
  readonly unconditionalUpdate: boolean;
  /** True: a new object keeps the status that it comes with (nodes register with one). */
  readonly statusOnCreate?: boolean;
  /** True: writing the status subresource may change labels and annotations too. */
  readonly metadataWithStatus?: boolean;
}

export interface ScalePaths {
  readonly specReplicas: string;
  readonly statusReplicas: string;
  readonly labelSelector: string | undefined;
}

export type Verb = "get" | "list" | "watch" | "create" | "update" | "patch" | "delete" | "deletecollection";
export const allVerbs: readonly Verb[] = [
  "create",
  "delete",
  "deletecollection",
  "get",
  "list",
  "patch",
  "update",
  "watch",
];

export interface ResourceType {
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  readonly listKind: string;
  readonly resource: string;
  readonly singular: string;
  readonly shortNames: readonly string[];
  readonly categories: readonly string[];
  readonly namespaced: boolean;
  readonly verbs: readonly Verb[];
  /** Name of the collection that holds the objects; versions and renamed kinds share one. */
  readonly storage: string;
  readonly schema: Schema;
  readonly custom: boolean;
  readonly hasStatus: boolean;
  readonly scale?: ScalePaths;
  readonly strategy: Strategy;
  readonly columns: readonly Column[];
  /** Fields that a field selector may name besides metadata.name and metadata.namespace. */
  readonly selectableFields: ReadonlyMap<string, (object: ApiObject) => string>;
  /** Between this version and the stored form, where they differ by more than apiVersion. */
  readonly fromStorage?: (object: ApiObject) => ApiObject;
  readonly toStorage?: (object: ApiObject) => ApiObject;
  /** The stored form's apiVersion and kind. */
  readonly storedAs: { readonly apiVersion: string; readonly kind: string };
  /** Kinds that are questions and are never stored, by what answers them. */
  readonly review?: string;
  readonly deprecationWarning?: string;
}

export const gvOf = (type: { group: string; version: string }): string =>
  apiVersionOf(type.group, type.version);

/** The object as this version shows it. Shares everything it can with the stored one. */
export function present(type: ResourceType, stored: ApiObject): ApiObject {
  if (type.fromStorage) return type.fromStorage(stored);
  const apiVersion = gvOf(type);
  return stored.apiVersion === apiVersion && stored.kind === type.kind
    ? stored
    : { ...stored, apiVersion, kind: type.kind };
}

/** True where an object's stored text is what this version sends: also objects of an older storage version are stored. */
export const presentsAsStored = (type: ResourceType, stored: ApiObject): boolean =>
  !type.fromStorage && stored.apiVersion === gvOf(type) && stored.kind === type.kind;

/** The served resources, by group, version and resource. Changes when a custom kind comes, changes or goes. */
export class Registry {
  readonly #byPath = new Map<string, ResourceType>();
  #generation = 0;

  /** Grows by one with every change, so that what is derived from the registry can be cached. */
  get generation(): number {
    return this.#generation;
  }

  add(type: ResourceType): void {
    this.#byPath.set(`${type.group}/${type.version}/${type.resource}`, type);
    this.#generation += 1;
  }

  remove(group: string, version: string, resource: string): void {
    if (this.#byPath.delete(`${group}/${version}/${resource}`)) this.#generation += 1;
  }

  find(group: string, version: string, resource: string): ResourceType | undefined {
    return this.#byPath.get(`${group}/${version}/${resource}`);
  }

  all(): ResourceType[] {
    return [...this.#byPath.values()];
  }

  byKind(group: string, version: string, kind: string): ResourceType | undefined {
    return this.all().find((t) => t.group === group && t.version === version && t.kind === kind);
  }

  /** One type for each stored collection: enough to walk all objects once. */
  stored(): ResourceType[] {
    const seen = new Map<string, ResourceType>();
    for (const type of this.#byPath.values())
      if (!type.review && !seen.has(type.storage)) seen.set(type.storage, type);
    return [...seen.values()];
  }

  hasGroup(group: string): boolean {
    return this.all().some((t) => t.group === group);
  }
}

export const emptyList = (type: ResourceType): JsonObject => ({
  kind: type.listKind,
  apiVersion: gvOf(type),
});
