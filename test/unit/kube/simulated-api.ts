// test: an API server in memory behind the client's interface, with latency on a virtual clock and faults from a function.
import type { KubernetesObject, ObjectMeta } from "../../../src/api/index.ts";
import type {
  CallOptions,
  DeleteOptions,
  KubeApi,
  List,
  ListOptions,
  ObjectOptions,
  PatchOptions,
  PatchType,
  WatchEvent,
  WatchOptions,
  WriteOptions,
} from "../../../src/kube/api.ts";
import { type Clock, sleep } from "../../../src/kube/clock.ts";
import { sameJson } from "../../../src/kube/conditions.ts";
import { ApiError, TransportError } from "../../../src/kube/errors.ts";
import { builtinKinds, qualifiedName, type Resource } from "../../../src/kube/resource.ts";

export interface Operation {
  readonly verb: "get" | "list" | "watch" | "create" | "replace" | "patch" | "delete";
  readonly kind: string;
  readonly name: string;
  readonly subresource?: string;
}

export interface SimulatedApiOptions {
  readonly clock: Clock;
  readonly random: () => number;
  /** Longest pause before an operation takes effect, and again before its answer, ms. */
  readonly latencyMs?: number;
}

type Stored = KubernetesObject & { readonly spec?: unknown; readonly status?: unknown };
interface Change {
  readonly resourceVersion: number;
  readonly collection: string;
  readonly type: "ADDED" | "MODIFIED" | "DELETED";
  readonly object: Stored;
  readonly previous?: Stored;
}

const plain = <T>(value: T): T => JSON.parse(JSON.stringify(value)) as T;

function merge(into: unknown, patch: unknown): unknown {
  if (typeof patch !== "object" || patch === null || Array.isArray(patch)) return patch;
  const out: Record<string, unknown> =
    typeof into === "object" && into !== null && !Array.isArray(into) ? { ...into } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete out[key];
    else out[key] = merge(out[key], value);
  }
  return out;
}

/** Selectors as far as Waggle uses them: `a=b,c!=d,e`. */
function matches(object: Stored, options: { labelSelector?: string; fieldSelector?: string }): boolean {
  const field = /^metadata\.name=(.*)$/.exec(options.fieldSelector ?? "");
  if (options.fieldSelector && !field) throw new Error(`unknown field selector ${options.fieldSelector}`);
  if (field && object.metadata.name !== field[1]) return false;
  for (const part of (options.labelSelector ?? "").split(",").filter((p) => p !== "")) {
    const [, key, operator, value] = /^([^!=]+)(!=|=)?(.*)$/.exec(part) ?? [];
    const have = object.metadata.labels?.[key ?? ""];
    if (operator === "=" ? have !== value : operator === "!=" ? have === value : have === undefined)
      return false;
  }
  return true;
}

export interface Backup {
  readonly objects: ReadonlyMap<string, ReadonlyMap<string, Stored>>;
  readonly version: number;
}

export class SimulatedApi {
  /** How often the store has been restored from a backup. */
  epoch = 0;
  /** Thrown before (`effect` false) or after the operation has taken effect. */
  fault: (operation: Operation, effect: boolean, client: string) => Error | undefined = () => undefined;
  /** Sees every write that takes effect. */
  onWrite: (kind: string, type: "ADDED" | "MODIFIED" | "DELETED", object: KubernetesObject) => void = () =>
    undefined;
  /** Extra ms before an operation takes effect; beyond the call's timeout the caller gives up and the effect comes later. */
  stall: (operation: Operation, client: string) => number = () => 0;
  /** Extra ms before a client hears of each event of its watches. */
  lag: (client: string, kind: string) => number = () => 0;
  /** Kinds that are not served now: their CustomResourceDefinition is gone. */
  readonly gone = new Set<string>();
  readonly log: { readonly client: string; readonly operation: Operation }[] = [];
  readonly #o: SimulatedApiOptions;
  readonly #objects = new Map<string, Map<string, Stored>>();
  #history: Change[] = [];
  #compacted = 0;
  #version = 100;
  #uids = 0;
  #wake = new Set<() => void>();
  #cut = new Set<() => void>();
  clusterUID = "cluster-1";

  constructor(options: SimulatedApiOptions) {
    this.#o = options;
    this.put(builtinKinds.Namespace, {
      apiVersion: "v1",
      kind: "Namespace",
      metadata: { name: "kube-system" },
    });
  }

  /** A client of this server; once its signal aborts, the process is dead: no call of it returns any more. */
  client(name: string, signal?: AbortSignal): KubeApi {
    return new SimulatedClient(this, name, signal);
  }

  // What a test does from outside, at once and without faults.

  put<T extends KubernetesObject>(r: Resource<T>, object: T): T {
    const old = this.read(r, object.metadata.name, object.metadata.namespace);
    return old
      ? this.write(r, "MODIFIED", {
          ...plain(object),
          metadata: { ...object.metadata, uid: old.metadata.uid! },
        })
      : this.write(r, "ADDED", this.fresh(r, object));
  }
  read<T extends KubernetesObject>(r: Resource<T>, name: string, namespace?: string): T | undefined {
    return this.collection(r).get(namespace ? `${namespace}/${name}` : name) as T | undefined;
  }
  all<T extends KubernetesObject>(r: Resource<T>): readonly T[] {
    return [...this.collection(r).values()] as unknown as T[];
  }
  remove(r: Resource, name: string, namespace?: string): void {
    const old = this.read(r, name, namespace);
    if (old) this.write(r, "DELETED", old);
  }
  /** Forgets the history: a watch from before is told 410. */
  compact(): void {
    this.#compacted = this.#version;
    this.#history = [];
  }
  /** Ends every running watch with a connection error. */
  cutWatches(): void {
    for (const cut of [...this.#cut]) cut();
  }
  /** A backup of everything that is stored. */
  backup(): Backup {
    const objects = new Map([...this.#objects].map(([id, of]) => [id, new Map(of)]));
    return { objects, version: this.#version };
  }
  /**
   * The backup in place of what is stored; whatever is under way is lost. With `bump` versions go on above those that were,
   * and the history is compacted, as etcdutl's --bump-revision and --mark-compacted do; without, they begin again where
   * the backup ends, and a watch from a later one hears nothing until they have come there.
   */
  restore(backup: Backup, bump: boolean): void {
    this.epoch += 1;
    this.#objects.clear();
    for (const [id, of] of backup.objects) this.#objects.set(id, new Map(of));
    if (bump) {
      this.#version += 1_000;
      this.compact();
    } else {
      this.#version = backup.version;
      this.#history = this.#history.filter((c) => c.resourceVersion <= backup.version);
      this.#compacted = Math.min(this.#compacted, backup.version);
    }
    this.cutWatches();
  }
  get clock(): Clock {
    return this.#o.clock;
  }
  get version(): number {
    return this.#version;
  }

  // The store.

  collection(r: Resource): Map<string, Stored> {
    const id = qualifiedName(r);
    let found = this.#objects.get(id);
    if (!found) this.#objects.set(id, (found = new Map()));
    return found;
  }

  fresh<T extends KubernetesObject>(_r: Resource<T>, object: T): T {
    this.#uids += 1;
    const uid = object.metadata.uid ?? `uid-${this.#uids}`;
    const creationTimestamp = new Date(this.#o.clock.now()).toISOString().replace(/\.\d+Z/, "Z");
    return plain({ ...object, metadata: { creationTimestamp, generation: 1, ...object.metadata, uid } });
  }

  write<T extends KubernetesObject>(r: Resource<T>, type: Change["type"], object: T): T {
    const { name, namespace } = object.metadata;
    const key = namespace ? `${namespace}/${name}` : name;
    const collection = this.collection(r);
    const previous = collection.get(key);
    this.#version += 1;
    const metadata: ObjectMeta = { ...object.metadata, resourceVersion: String(this.#version) };
    const stored = { ...plain(object), metadata } as Stored;
    if (type === "DELETED") collection.delete(key);
    else collection.set(key, stored);
    this.#history.push({
      resourceVersion: this.#version,
      collection: qualifiedName(r),
      type,
      object: stored,
      ...(previous && { previous }),
    });
    this.onWrite(r.kind, type, stored);
    for (const wake of [...this.#wake]) wake();
    return stored as unknown as T;
  }

  check(r: Resource): void {
    if (this.gone.has(r.kind))
      throw new ApiError(404, "NotFound", "the server could not find the requested resource");
  }

  pause(): Promise<boolean> {
    return sleep(this.#o.clock, Math.floor(this.#o.random() * (this.#o.latencyMs ?? 0)));
  }

  async *stream<T extends KubernetesObject>(
    r: Resource<T>,
    options: WatchOptions,
    client: string,
  ): AsyncGenerator<WatchEvent<T>> {
    const id = qualifiedName(r);
    const ends = this.#o.clock.monotonic() + options.timeoutSeconds * 1000;
    let seen = Number(options.resourceVersion);
    let broken = false;
    let wake: () => void = () => undefined;
    const cut = (): void => {
      broken = true;
      wake();
    };
    this.#cut.add(cut);
    options.signal?.addEventListener("abort", cut, { once: true });
    try {
      for (;;) {
        if (broken) throw new TransportError("connect", "socket hang up");
        if (this.gone.has(r.kind)) return;
        if (seen < this.#compacted) throw new ApiError(410, "Expired", "too old resource version");
        const next = this.#history.find((c) => c.resourceVersion > seen && c.collection === id);
        if (!next) {
          seen = Math.max(seen, this.#version);
          if (this.#o.clock.monotonic() >= ends) return;
          await new Promise<void>((resolve) => {
            const timer = this.#o.clock.after(ends - this.#o.clock.monotonic(), () => resolve());
            wake = () => {
              timer[Symbol.dispose]();
              resolve();
            };
            this.#wake.add(wake);
          });
          this.#wake.delete(wake);
          continue;
        }
        await this.pause();
        const lag = this.lag(client, r.kind);
        if (lag > 0) await sleep(this.#o.clock, lag);
        if (broken) continue;
        seen = next.resourceVersion;
        const now = matches(next.object, options);
        const before = next.previous !== undefined && matches(next.previous, options);
        const object = plain(next.object) as unknown as T;
        if (next.type === "DELETED") {
          if (before) yield { type: "DELETED", object };
        } else if (now) yield { type: before ? "MODIFIED" : "ADDED", object };
        else if (before) yield { type: "DELETED", object };
      }
    } finally {
      this.#cut.delete(cut);
      this.#wake.delete(wake);
    }
  }
}

class SimulatedClient implements KubeApi {
  readonly #server: SimulatedApi;
  readonly #name: string;
  readonly #signal: AbortSignal | undefined;

  constructor(server: SimulatedApi, name: string, signal: AbortSignal | undefined) {
    this.#server = server;
    this.#name = name;
    this.#signal = signal;
  }

  async #do<R>(operation: Operation, r: Resource, options: CallOptions, effect: () => R): Promise<R> {
    const dead = (): Promise<never> => new Promise(() => undefined);
    const server = this.#server;
    if (this.#signal?.aborted) return dead();
    options.signal?.throwIfAborted();
    server.log.push({ client: this.#name, operation });
    const { epoch } = server;
    const stall = server.stall(operation, this.#name);
    const timeoutMs = options.timeoutMs ?? 30_000;
    if (stall > timeoutMs) {
      void sleep(server.clock, stall).then(() => {
        if (!server.gone.has(r.kind) && server.epoch === epoch) this.#late(effect);
      });
      await sleep(server.clock, timeoutMs);
      if (this.#signal?.aborted) return dead();
      throw new TransportError("timeout", "no answer within the time allowed");
    }
    if (stall > 0) await sleep(server.clock, stall);
    await server.pause();
    // A request that has left a process takes effect even if the process dies meanwhile.
    const lost = new TransportError("connect", "the server was restored meanwhile");
    const before = server.epoch === epoch ? server.fault(operation, false, this.#name) : lost;
    let result: R | undefined;
    let failure: unknown = before;
    if (!failure)
      try {
        server.check(r);
        result = effect();
        failure = server.fault(operation, true, this.#name);
      } catch (error) {
        failure = error;
      }
    await server.pause();
    if (this.#signal?.aborted) return dead();
    options.signal?.throwIfAborted();
    if (failure) throw failure;
    if (server.epoch !== epoch) throw lost;
    return result as R;
  }

  /** The effect of a request whose sender no longer waits for its answer. */
  #late(effect: () => unknown): void {
    try {
      effect();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
    }
  }

  get<T extends KubernetesObject>(r: Resource<T>, name: string, options: ObjectOptions = {}): Promise<T> {
    return this.#do({ verb: "get", kind: r.kind, name }, r, options, () => {
      if (r.kind === "CustomResourceDefinition") {
        const kind = [...this.#server.gone].find((k) => name.startsWith(`${k.toLowerCase()}s.`));
        if (kind) throw notFound(r, name);
        return { apiVersion: "v1", kind: r.kind, metadata: { name } } as unknown as T;
      }
      const found = this.#server.read(r, name, options.namespace);
      if (!found) throw notFound(r, name);
      if (r.kind === "Namespace" && name === "kube-system")
        return { ...found, metadata: { ...found.metadata, uid: this.#server.clusterUID } };
      return plain(found);
    });
  }

  list<T extends KubernetesObject>(r: Resource<T>, options: ListOptions = {}): Promise<List<T>> {
    return this.#do({ verb: "list", kind: r.kind, name: "" }, r, options, () => ({
      resourceVersion: String(this.#server.version),
      items: this.#server
        .all(r)
        .filter((o) => options.namespace === undefined || o.metadata.namespace === options.namespace)
        .filter((o) => matches(o, options))
        .map(plain),
    }));
  }

  async watch<T extends KubernetesObject>(
    r: Resource<T>,
    options: WatchOptions,
  ): Promise<AsyncIterable<WatchEvent<T>>> {
    const both = [options.signal, this.#signal].filter((s) => s !== undefined);
    const rest = { ...options, signal: AbortSignal.any(both) };
    return this.#do({ verb: "watch", kind: r.kind, name: "" }, r, options, () =>
      this.#server.stream(r, rest, this.#name),
    );
  }

  create<T extends KubernetesObject>(r: Resource<T>, object: T, options: WriteOptions = {}): Promise<T> {
    const namespace = options.namespace ?? object.metadata.namespace;
    const { name } = object.metadata;
    return this.#do({ verb: "create", kind: r.kind, name }, r, options, () => {
      if (this.#server.read(r, name, namespace))
        throw new ApiError(409, "AlreadyExists", `${r.plural} "${name}" already exists`);
      const metadata = { ...object.metadata, ...(namespace && { namespace }) };
      // A custom kind with a status subresource ignores the status of a create.
      const { status: _, ...rest } = object as T & { status?: unknown };
      return plain(
        this.#server.write(r, "ADDED", this.#server.fresh(r, { ...rest, metadata } as unknown as T)),
      );
    });
  }

  replace<T extends KubernetesObject>(r: Resource<T>, object: T, options: WriteOptions = {}): Promise<T> {
    return this.#update(
      "replace",
      r,
      object.metadata.name,
      options.namespace ?? object.metadata.namespace,
      options,
      () => plain(object),
    );
  }

  patch<T extends KubernetesObject>(
    r: Resource<T>,
    name: string,
    type: PatchType,
    body: unknown,
    options: PatchOptions = {},
  ): Promise<T> {
    if (type === "json") throw new Error("JSON patches are not simulated");
    // An apply makes what is not there.
    if (type === "apply" && !options.subresource && !this.#server.read(r, name, options.namespace))
      return this.create(r, body as T, options);
    return this.#update("patch", r, name, options.namespace, options, (old) => merge(old, plain(body)) as T);
  }

  #update<T extends KubernetesObject>(
    verb: "replace" | "patch",
    r: Resource<T>,
    name: string,
    namespace: string | undefined,
    options: WriteOptions,
    change: (old: T) => T,
  ): Promise<T> {
    const { subresource } = options;
    return this.#do({ verb, kind: r.kind, name, ...(subresource && { subresource }) }, r, options, () => {
      const old = this.#server.read(r, name, namespace) as (T & Stored) | undefined;
      if (!old) throw notFound(r, name);
      const asked = change(old) as T & Stored;
      const version = asked.metadata?.resourceVersion;
      if (version !== undefined && version !== old.metadata.resourceVersion)
        throw new ApiError(409, "Conflict", `${r.plural} "${name}": the object has been modified`);
      const next =
        subresource === "status"
          ? { ...old, status: asked.status }
          : { ...asked, status: old.status, metadata: { ...asked.metadata, uid: old.metadata.uid } };
      if (sameJson(next, old)) return plain(old);
      const generation = (old.metadata.generation ?? 1) + (sameJson(next.spec, old.spec) ? 0 : 1);
      const metadata = { ...next.metadata, generation };
      return plain(this.#server.write(r, "MODIFIED", { ...next, metadata } as unknown as T));
    });
  }

  delete<T extends KubernetesObject>(
    r: Resource<T>,
    name: string,
    options: DeleteOptions = {},
  ): Promise<void> {
    return this.#do({ verb: "delete", kind: r.kind, name }, r, options, () => {
      const old = this.#server.read(r, name, options.namespace);
      if (!old) throw notFound(r, name);
      const { uid, resourceVersion } = options.preconditions ?? {};
      if (
        (uid !== undefined && uid !== old.metadata.uid) ||
        (resourceVersion !== undefined && resourceVersion !== old.metadata.resourceVersion)
      )
        throw new ApiError(409, "Conflict", `Precondition failed for ${r.kind} "${name}"`);
      this.#server.write(r, "DELETED", old);
    });
  }

  verbs(r: Resource, options: CallOptions = {}): Promise<readonly string[] | undefined> {
    return this.#do(
      { verb: "get", kind: "APIResourceList", name: r.plural },
      builtinKinds.Namespace,
      options,
      () => (this.#server.gone.has(r.kind) ? undefined : ["create", "get", "list", "watch"]),
    );
  }
}

const notFound = (r: Resource, name: string): ApiError =>
  new ApiError(404, "NotFound", `${qualifiedName(r)} "${name}" not found`);
