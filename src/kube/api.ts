// kube: what a client can do, as an interface. KubeClient is it over HTTP; tests put a simulated API server behind it.
import type { KubernetesObject } from "../api/index.ts";
import type { Resource } from "./resource.ts";

export interface CallOptions {
  readonly signal?: AbortSignal;
  /** Whole call, ms. */
  readonly timeoutMs?: number;
  /** Attempts after the first, for failures where trying again is safe. Default 3; 0 hands every failure to the caller. */
  readonly retries?: number;
}

export interface ObjectOptions extends CallOptions {
  readonly namespace?: string;
}

export interface ListOptions extends CallOptions {
  /** Omitted: all namespaces. */
  readonly namespace?: string;
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
  /** Objects a page; default 500. */
  readonly limit?: number;
}

/** A complete list: every page, of one resourceVersion. */
export interface List<T> {
  readonly resourceVersion: string;
  readonly items: readonly T[];
}

export interface WatchOptions {
  readonly namespace?: string;
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
  readonly resourceVersion: string;
  /** The server ends the stream after this long. */
  readonly timeoutSeconds: number;
  readonly signal?: AbortSignal;
}

export type WatchEvent<T> =
  | { readonly type: "ADDED" | "MODIFIED" | "DELETED"; readonly object: T }
  /** Nothing changed up to this resourceVersion. */
  | { readonly type: "BOOKMARK"; readonly resourceVersion: string };

export interface WriteOptions extends ObjectOptions {
  readonly fieldManager?: string;
  /** Checked and answered, not stored. */
  readonly dryRun?: boolean;
  readonly subresource?: string;
}

export type PatchType = "merge" | "json" | "apply";

export interface PatchOptions extends WriteOptions {
  /** Only with `apply`: take fields over from other managers. */
  readonly force?: boolean;
}

export interface DeleteOptions extends ObjectOptions {
  /** The delete happens only if the stored object still has these. */
  readonly preconditions?: { readonly uid?: string; readonly resourceVersion?: string };
  readonly propagationPolicy?: "Background" | "Foreground" | "Orphan";
}

export interface RawRequest extends CallOptions {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** With query. */
  readonly path: string;
  readonly body?: unknown;
  readonly contentType?: string;
  readonly accept?: string;
}

/** Every method throws ApiError for an answer of the server and TransportError where there was none. */
export interface KubeApi {
  get<T extends KubernetesObject>(resource: Resource<T>, name: string, options?: ObjectOptions): Promise<T>;
  list<T extends KubernetesObject>(resource: Resource<T>, options?: ListOptions): Promise<List<T>>;
  /**
   * One watch stream; it ends when the server ends it. Resolves once the server has accepted it.
   * The iteration throws ApiError for an ERROR event (410: the resourceVersion is too old).
   */
  watch<T extends KubernetesObject>(
    resource: Resource<T>,
    options: WatchOptions,
  ): Promise<AsyncIterable<WatchEvent<T>>>;
  create<T extends KubernetesObject>(resource: Resource<T>, object: T, options?: WriteOptions): Promise<T>;
  /** Replaces; a metadata.resourceVersion in the object makes it conditional. */
  replace<T extends KubernetesObject>(resource: Resource<T>, object: T, options?: WriteOptions): Promise<T>;
  /** `body` is a merge patch (RFC 7386), a JSON patch (RFC 6902) or, for `apply`, the applied object. */
  patch<T extends KubernetesObject>(
    resource: Resource<T>,
    name: string,
    type: PatchType,
    body: unknown,
    options?: PatchOptions,
  ): Promise<T>;
  delete<T extends KubernetesObject>(
    resource: Resource<T>,
    name: string,
    options?: DeleteOptions,
  ): Promise<void>;
  /** The verbs that the server offers for a kind; undefined when it does not serve the kind. */
  verbs(resource: Resource, options?: CallOptions): Promise<readonly string[] | undefined>;
}
