// kube: the typed client of one API server: reads in pages, watches by lines, writes with preconditions, retries what is safe.
import type { KubernetesObject } from "../api/index.ts";
import type {
  CallOptions,
  DeleteOptions,
  KubeApi,
  List,
  ListOptions,
  ObjectOptions,
  PatchOptions,
  PatchType,
  RawRequest,
  WatchEvent,
  WatchOptions,
  WriteOptions,
} from "./api.ts";
import { type Clock, jitter, type Random, sleep, systemClock } from "./clock.ts";
import { ApiError, errorFromStatus, isExpired, isNotFound, TransportError } from "./errors.ts";
import { apiVersionOf, pathOf, type Resource } from "./resource.ts";
import type { HttpResponse, Transport } from "./transport.ts";
import { parseWatchLine, splitLines } from "./watch-lines.ts";

export interface KubeClientOptions {
  readonly clock?: Clock;
  readonly random?: Random;
  /** Sent as User-Agent, and as fieldManager where a call gives none. */
  readonly name?: string;
}

/** What the client has done, for metrics. */
export interface ClientStats {
  requests: number;
  /** Those that are no GET. */
  writes: number;
  retries: number;
  /** Answers with an error status, and requests without an answer. */
  failures: number;
}

const contentTypes: Readonly<Record<PatchType, string>> = {
  merge: "application/merge-patch+json",
  json: "application/json-patch+json",
  apply: "application/apply-patch+yaml",
};

const query = (parameters: Readonly<Record<string, string | number | boolean | undefined>>): string => {
  const q = new URLSearchParams();
  for (const [key, value] of Object.entries(parameters))
    if (value !== undefined && value !== "") q.set(key, String(value));
  const text = q.toString();
  return text === "" ? "" : `?${text}`;
};

/** Longest wait that a server's Retry-After is followed for, inside one call. */
const longestRetryMs = 30_000;
/** Pages of one list: 500 objects each, so five million objects. */
const mostPages = 10_000;

interface ListBody<T> {
  readonly kind?: string;
  readonly metadata?: { readonly resourceVersion?: string; readonly continue?: string };
  readonly items?: readonly T[];
}

export class KubeClient implements KubeApi, AsyncDisposable {
  readonly stats: ClientStats = { requests: 0, writes: 0, retries: 0, failures: 0 };
  readonly #transport: Transport;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #name: string;

  constructor(transport: Transport, options: KubeClientOptions = {}) {
    this.#transport = transport;
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? Math.random;
    this.#name = options.name ?? "waggle";
  }

  get<T extends KubernetesObject>(r: Resource<T>, name: string, options: ObjectOptions = {}): Promise<T> {
    return this.#json<T>({ ...call(options), method: "GET", path: pathOf(r, { ...at(options), name }) });
  }

  async list<T extends KubernetesObject>(r: Resource<T>, options: ListOptions = {}): Promise<List<T>> {
    for (let attempt = 0; ; attempt++) {
      try {
        // A list that outlives the server's history twice is asked for in one piece.
        return await this.#listOnce(r, options, attempt < 2 ? (options.limit ?? 500) : 0);
      } catch (error) {
        if (!isExpired(error) || attempt >= 2) throw error;
        this.stats.retries += 1;
      }
    }
  }

  async #listOnce<T extends KubernetesObject>(
    r: Resource<T>,
    options: ListOptions,
    limit: number,
  ): Promise<List<T>> {
    const items: T[] = [];
    let resourceVersion: string | undefined;
    let next: string | undefined;
    for (let page = 0; page < mostPages; page++) {
      const q = query({
        limit: limit > 0 ? limit : undefined,
        continue: next,
        labelSelector: options.labelSelector,
        fieldSelector: options.fieldSelector,
      });
      const body = await this.#json<ListBody<T>>({
        timeoutMs: 60_000,
        ...call(options),
        method: "GET",
        path: pathOf(r, at(options)) + q,
      });
      // Anything that is not plainly a list is no answer: an empty list would withdraw everything.
      if (!body.kind?.endsWith("List") || !Array.isArray(body.items) || !body.metadata?.resourceVersion)
        throw new TransportError("malformed", `the answer to a list of ${r.plural} is not a ${r.kind}List`);
      resourceVersion ??= body.metadata.resourceVersion;
      for (const item of body.items as T[]) {
        if (!item.metadata?.name)
          throw new TransportError("malformed", `the list of ${r.plural} has an item without a name`);
        // Items of core lists carry no kind of their own.
        items.push(item.kind === r.kind ? item : { ...item, apiVersion: apiVersionOf(r), kind: r.kind });
      }
      next = body.metadata.continue;
      if (!next) return { resourceVersion, items };
    }
    throw new TransportError("malformed", `the list of ${r.plural} does not end`);
  }

  async watch<T extends KubernetesObject>(
    r: Resource<T>,
    options: WatchOptions,
  ): Promise<AsyncIterable<WatchEvent<T>>> {
    const q = query({
      watch: true,
      allowWatchBookmarks: true,
      resourceVersion: options.resourceVersion,
      timeoutSeconds: options.timeoutSeconds,
      labelSelector: options.labelSelector,
      fieldSelector: options.fieldSelector,
    });
    const response = await this.#send(
      { method: "GET", path: pathOf(r, at(options)) + q, ...(options.signal && { signal: options.signal }) },
      { timeoutMs: 0, idleMs: (options.timeoutSeconds + 30) * 1000 },
    );
    if (response.status !== 200) throw await this.#failure(response);
    return (async function* () {
      for await (const line of splitLines(response.chunks())) yield parseWatchLine(r, line);
    })();
  }

  create<T extends KubernetesObject>(r: Resource<T>, object: T, options: WriteOptions = {}): Promise<T> {
    const namespace = options.namespace ?? object.metadata.namespace;
    const where = {
      ...(namespace !== undefined && { namespace }),
      ...(options.subresource !== undefined && {
        name: object.metadata.name,
        subresource: options.subresource,
      }),
    };
    return this.#json<T>({
      ...call(options),
      method: "POST",
      path: pathOf(r, where) + this.#writeQuery(options),
      body: object,
    });
  }

  replace<T extends KubernetesObject>(r: Resource<T>, object: T, options: WriteOptions = {}): Promise<T> {
    const namespace = options.namespace ?? object.metadata.namespace;
    const { subresource } = options;
    const where = {
      name: object.metadata.name,
      ...(namespace !== undefined && { namespace }),
      ...(subresource !== undefined && { subresource }),
    };
    return this.#json<T>({
      ...call(options),
      method: "PUT",
      path: pathOf(r, where) + this.#writeQuery(options),
      body: object,
    });
  }

  patch<T extends KubernetesObject>(
    r: Resource<T>,
    name: string,
    type: PatchType,
    body: unknown,
    options: PatchOptions = {},
  ): Promise<T> {
    const { subresource } = options;
    const path = pathOf(r, { ...at(options), name, ...(subresource !== undefined && { subresource }) });
    return this.#json<T>({
      ...call(options),
      method: "PATCH",
      path: path + this.#writeQuery(options, type === "apply" ? { force: options.force ?? false } : {}),
      body,
      contentType: contentTypes[type],
    });
  }

  /** A merge patch of the status subresource; with `resourceVersion` it fails with Conflict if the object has changed. */
  patchStatus<T extends KubernetesObject>(
    r: Resource<T>,
    name: string,
    status: unknown,
    options: PatchOptions & { readonly resourceVersion?: string } = {},
  ): Promise<T> {
    const { resourceVersion, ...rest } = options;
    const body = { ...(resourceVersion && { metadata: { resourceVersion } }), status };
    return this.patch(r, name, "merge", body, { ...rest, subresource: "status" });
  }

  async delete<T extends KubernetesObject>(
    r: Resource<T>,
    name: string,
    options: DeleteOptions = {},
  ): Promise<void> {
    const { preconditions, propagationPolicy } = options;
    await this.raw({
      ...call(options),
      method: "DELETE",
      path: pathOf(r, { ...at(options), name }),
      body: {
        apiVersion: "v1",
        kind: "DeleteOptions",
        ...(preconditions && { preconditions }),
        ...(propagationPolicy && { propagationPolicy }),
      },
    });
  }

  async verbs(r: Resource, options: CallOptions = {}): Promise<readonly string[] | undefined> {
    const path = r.group === "" ? `/api/${r.version}` : `/apis/${r.group}/${r.version}`;
    try {
      const body = await this.#json<{
        readonly resources?: readonly { readonly name: string; readonly verbs: readonly string[] }[];
      }>({ ...call(options), method: "GET", path });
      return body.resources?.find((each) => each.name === r.plural)?.verbs;
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  /** Any request; the parsed JSON of the answer, or its text where it is not JSON. @throws ApiError, TransportError */
  async raw(request: RawRequest): Promise<unknown> {
    const retries = request.retries ?? 3;
    for (let attempt = 0; ; attempt++) {
      try {
        return await this.#once(request);
      } catch (error) {
        const wait = this.#retryAfter(request, error, attempt);
        if (attempt >= retries || wait === undefined) throw error;
        this.stats.retries += 1;
        if (!(await sleep(this.#clock, wait, request.signal))) throw error;
      }
    }
  }

  /**
   * How long to wait before trying again; undefined where trying again is not safe or not useful. A read may always be
   * repeated; a write only where it has not been sent, or the server says that it has not begun it (429, 503 with
   * Retry-After).
   */
  #retryAfter(request: RawRequest, error: unknown, attempt: number): number | undefined {
    const pause = Math.min(longestRetryMs, jitter(200 * 2 ** attempt, 0.5, this.#random));
    if (error instanceof TransportError)
      return error.unsent ||
        (request.method === "GET" && (error.kind === "connect" || error.kind === "timeout"))
        ? pause
        : undefined;
    if (!(error instanceof ApiError)) return undefined;
    const asked = error.retryAfterMs;
    const refused = error.code === 429 || (error.code === 503 && asked !== undefined);
    if (!refused && !(request.method === "GET" && error.code >= 500)) return undefined;
    if (asked === undefined) return pause;
    return asked > longestRetryMs ? undefined : Math.max(pause, jitter(asked, 0.1, this.#random));
  }

  async #once(request: RawRequest): Promise<unknown> {
    const timeoutMs = request.timeoutMs ?? 30_000;
    const response = await this.#send(request, { timeoutMs, idleMs: timeoutMs });
    if (response.status < 200 || response.status > 299) throw await this.#failure(response);
    const text = await response.text();
    if (!(response.header("content-type") ?? "").includes("json")) return text;
    try {
      return JSON.parse(text) as unknown;
    } catch (error) {
      this.stats.failures += 1;
      throw new TransportError("malformed", `${request.method} ${request.path}: the answer is not JSON`, {
        cause: error,
      });
    }
  }

  async #send(
    request: RawRequest,
    limits: { readonly timeoutMs: number; readonly idleMs: number },
  ): Promise<HttpResponse> {
    this.stats.requests += 1;
    if (request.method !== "GET") this.stats.writes += 1;
    try {
      return await this.#transport.send({
        method: request.method,
        path: request.path,
        headers: {
          accept: request.accept ?? "application/json",
          "user-agent": this.#name,
          ...(request.body !== undefined && { "content-type": request.contentType ?? "application/json" }),
        },
        ...(request.body !== undefined && { body: JSON.stringify(request.body) }),
        ...(request.signal && { signal: request.signal }),
        ...limits,
      });
    } catch (error) {
      this.stats.failures += 1;
      throw error;
    }
  }

  async #failure(response: HttpResponse): Promise<ApiError> {
    this.stats.failures += 1;
    const text = await response.text();
    let body: unknown = text;
    if ((response.header("content-type") ?? "").includes("json"))
      try {
        body = JSON.parse(text);
      } catch {
        // A broken error body is still an error: its text is shown as it came.
        body = text;
      }
    return errorFromStatus(response.status, body, response.header("retry-after"));
  }

  async #json<T>(request: RawRequest): Promise<T> {
    const body = await this.raw(request);
    if (typeof body !== "object" || body === null)
      throw new TransportError(
        "malformed",
        `${request.method} ${request.path}: the answer is not a JSON object`,
      );
    return body as T;
  }

  #writeQuery(options: WriteOptions, more: Readonly<Record<string, boolean>> = {}): string {
    return query({
      fieldManager: options.fieldManager ?? this.#name,
      dryRun: options.dryRun ? "All" : undefined,
      ...more,
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#transport.close();
  }
}

const at = (o: { readonly namespace?: string }): { readonly namespace?: string } =>
  o.namespace === undefined ? {} : { namespace: o.namespace };

const call = (o: CallOptions): CallOptions => ({
  ...(o.signal && { signal: o.signal }),
  ...(o.timeoutMs !== undefined && { timeoutMs: o.timeoutMs }),
  ...(o.retries !== undefined && { retries: o.retries }),
});
