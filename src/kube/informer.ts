// kube: a reflector with its store: read objects by key or by index, and hear the keys of what changed.
import type { KubernetesObject } from "../api/index.ts";
import { sameJson } from "./conditions.ts";
import { Reflector, type ReflectorOptions, type ReflectorState, type Store } from "./reflector.ts";
import type { Resource } from "./resource.ts";

/** From an object to the values under which an index finds it. */
export type IndexFunction<T> = (object: T) => readonly string[];

/** Hears that an object was added, changed or deleted. It gets the key and reads the cache: by then more may have happened. */
export type KeyHandler = (key: string) => void;

/** Hears how far a cache has come; see {@link Store.progressed}. It must not throw. */
export type ProgressHandler = (resourceVersion: string, listedAt: number | undefined) => void;

/** A complete LIST has come. */
export interface Replacement<T> {
  /** Objects that it does not have and that no event has said to be deleted. */
  readonly vanished: readonly T[];
  /** An object in it is older than what was known: the server's data has been restored from a backup. */
  readonly older: boolean;
}

/** Objects of one kind by key, with indexes. Objects are frozen; a reader may keep them. */
export class Cache<T extends KubernetesObject> implements Store<T> {
  /** Handlers that threw; they are counted and otherwise ignored, so that one cannot stop the others. */
  handlerErrors = 0;
  readonly #objects = new Map<string, T>();
  readonly #indexes = new Map<
    string,
    { readonly of: IndexFunction<T>; readonly keys: Map<string, Set<string>> }
  >();
  readonly #handlers = new Set<KeyHandler>();
  readonly #progress = new Set<ProgressHandler>();
  /** Hears of every complete LIST before anyone hears of a key in it. It must not throw. */
  onReplaced: (replacement: Replacement<T>) => void = () => undefined;
  #resourceVersion: string | undefined;
  readonly #onHandlerError: (error: unknown) => void;
  readonly #trimmed: boolean;

  /** `trimmed`: a version that differs in nothing that is kept is no change for handlers. */
  constructor(
    indexes: Readonly<Record<string, IndexFunction<T>>> = {},
    onHandlerError: (error: unknown) => void = () => undefined,
    trimmed = false,
  ) {
    this.#trimmed = trimmed;
    for (const [name, of] of Object.entries(indexes)) this.#indexes.set(name, { of, keys: new Map() });
    this.#onHandlerError = onHandlerError;
  }

  get size(): number {
    return this.#objects.size;
  }
  get(key: string): T | undefined {
    return this.#objects.get(key);
  }
  has(key: string): boolean {
    return this.#objects.has(key);
  }
  keys(): readonly string[] {
    return [...this.#objects.keys()];
  }
  /** In the order of keys, so that what is computed from it does not depend on the order of events. */
  list(): readonly T[] {
    return [...this.#objects].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)).map(([, object]) => object);
  }
  /** Objects that the index has under the value, in the order of keys. @throws RangeError for an unknown index */
  byIndex(index: string, value: string): readonly T[] {
    const found = this.#indexes.get(index);
    if (!found) throw new RangeError(`no index ${index}`);
    return [...(found.keys.get(value) ?? [])].sort().map((key) => this.#objects.get(key) as T);
  }

  /** Calls the handler for every change from now on; dispose to stop. */
  onChange(handler: KeyHandler): Disposable {
    this.#handlers.add(handler);
    return { [Symbol.dispose]: () => void this.#handlers.delete(handler) };
  }

  /** Calls the handler whenever the cache has come further; dispose to stop. */
  onProgress(handler: ProgressHandler): Disposable {
    this.#progress.add(handler);
    return { [Symbol.dispose]: () => void this.#progress.delete(handler) };
  }
  /** Up to where it follows the server; undefined before the first LIST. */
  get resourceVersion(): string | undefined {
    return this.#resourceVersion;
  }
  progressed(resourceVersion: string, listedAt?: number): void {
    this.#resourceVersion = resourceVersion;
    for (const handler of this.#progress) handler(resourceVersion, listedAt);
  }

  replaceAll(items: ReadonlyMap<string, T>): void {
    const changed: string[] = [];
    const vanished: T[] = [];
    let older = false;
    for (const [key, old] of this.#objects) {
      const now = items.get(key);
      older ||= now !== undefined && isOlder(now, old);
      if (now?.metadata.uid !== old.metadata.uid) vanished.push(old);
      if (now) continue;
      this.#unindex(key, old);
      this.#objects.delete(key);
      changed.push(key);
    }
    for (const [key, object] of items) if (this.#put(key, object)) changed.push(key);
    this.onReplaced({ vanished, older });
    for (const key of changed) this.#notify(key);
  }

  set(key: string, object: T): void {
    if (this.#put(key, object)) this.#notify(key);
  }

  delete(key: string): void {
    const old = this.#objects.get(key);
    if (!old) return;
    this.#unindex(key, old);
    this.#objects.delete(key);
    this.#notify(key);
  }

  #put(key: string, object: T): boolean {
    const old = this.#objects.get(key);
    if (
      old &&
      old.metadata.uid === object.metadata.uid &&
      old.metadata.resourceVersion !== undefined &&
      old.metadata.resourceVersion === object.metadata.resourceVersion
    )
      return false;
    if (old && this.#trimmed && isSameButVersion(old, object)) {
      this.#objects.set(key, object);
      return false;
    }
    if (old) this.#unindex(key, old);
    this.#objects.set(key, object);
    for (const { of, keys } of this.#indexes.values())
      for (const value of of(object)) {
        const set = keys.get(value);
        if (set) set.add(key);
        else keys.set(value, new Set([key]));
      }
    return true;
  }

  #unindex(key: string, object: T): void {
    for (const { of, keys } of this.#indexes.values())
      for (const value of of(object)) {
        const set = keys.get(value);
        set?.delete(key);
        if (set?.size === 0) keys.delete(value);
      }
  }

  #notify(key: string): void {
    for (const handler of this.#handlers)
      try {
        handler(key);
      } catch (error) {
        this.handlerErrors += 1;
        this.#onHandlerError(error);
      }
  }
}

function isSameButVersion(a: KubernetesObject, b: KubernetesObject): boolean {
  const plain = (o: KubernetesObject) => ({ ...o, metadata: { ...o.metadata, resourceVersion: undefined } });
  return sameJson(plain(a), plain(b));
}

/** Whether an object is an earlier form of the same one. ResourceVersions of one kind are ordered (KEP-5504). */
function isOlder({ metadata: a }: KubernetesObject, { metadata: b }: KubernetesObject): boolean {
  const numbers = /^\d+$/.test(a.resourceVersion ?? "") && /^\d+$/.test(b.resourceVersion ?? "");
  return numbers && a.uid === b.uid && BigInt(a.resourceVersion!) < BigInt(b.resourceVersion!);
}

export interface InformerOptions<T extends KubernetesObject> extends Omit<ReflectorOptions<T>, "store"> {
  readonly indexes?: Readonly<Record<string, IndexFunction<T>>>;
  readonly onHandlerError?: (error: unknown) => void;
}

/** One reflector and its cache. */
export class Informer<T extends KubernetesObject> implements Disposable {
  readonly resource: Resource<T>;
  readonly cache: Cache<T>;
  readonly reflector: Reflector<T>;

  constructor(options: InformerOptions<T>) {
    const { indexes, onHandlerError, ...rest } = options;
    this.resource = options.resource;
    this.cache = new Cache<T>(indexes, onHandlerError, options.trim !== undefined);
    this.reflector = new Reflector<T>({ ...rest, store: this.cache });
  }

  /** Starts following. Add handlers before, to hear of the first objects too. */
  start(): this {
    this.reflector.start();
    return this;
  }
  /** Lists again in full, though nothing seems wrong. */
  relist(): void {
    this.reflector.relist();
  }
  /** Resolves at the first complete LIST. Never rejects. */
  get synced(): Promise<void> {
    return this.reflector.synced;
  }
  get state(): ReflectorState {
    return this.reflector.state;
  }
  onChange(handler: KeyHandler): Disposable {
    return this.cache.onChange(handler);
  }
  [Symbol.dispose](): void {
    this.reflector[Symbol.dispose]();
  }
}
