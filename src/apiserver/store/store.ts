// apiserver/store: all objects in memory, one revision sequence, every write journalled before anybody hears of it.
import type { Json } from "../json.ts";
import { tooLarge } from "../messages.ts";
import type { ApiObject } from "../object.ts";
import { Collection } from "./collection.ts";
import { History, type StoreEvent } from "./history.ts";
import type { Journal, StateEntry } from "./journal.ts";

/** One object at one revision. `object` is shared by every reader and never changed. */
export interface Entry {
  readonly key: string;
  readonly revision: number;
  readonly object: ApiObject;
  /** The object as JSON, made once: lists, watches and the journal all send this text. */
  readonly json: string;
}

export type Listener = (event: StoreEvent) => void;

export interface StoreBounds {
  readonly historyEvents: number;
  readonly historyBytes: number;
  /** Longest JSON of one object. Default 1.5 MiB, as in etcd. */
  readonly maxObjectBytes?: number;
}

export interface StoreHooks {
  /** The journal has failed: called once, and no write is taken any more. */
  readonly onFailure?: (error: Error) => void;
  readonly onListenerError?: (error: Error) => void;
}

export interface StoreImage {
  readonly revision: number;
  readonly oldest: number;
  readonly entries: Iterable<{ readonly resource: string; readonly entry: Entry }>;
  /** Events between `oldest` and `revision`, to refill the history; their effect is in `entries` already. */
  readonly events: readonly StoreEvent[];
}

export const emptyImage: StoreImage = { revision: 0, oldest: 0, entries: [], events: [] };

/** JSON text with the fields that every object has in front, as people expect to read them. */
export function toText(object: ApiObject): string {
  const { kind, apiVersion, metadata: unordered, ...rest } = object;
  const { name, namespace, uid, resourceVersion, creationTimestamp, managedFields, ...others } = unordered;
  const metadata = {
    name,
    ...(namespace === undefined ? {} : { namespace }),
    uid,
    resourceVersion,
    creationTimestamp,
    ...others,
    ...(managedFields === undefined ? {} : { managedFields }),
  };
  return JSON.stringify({ kind, apiVersion, metadata, ...rest } satisfies { [key: string]: Json });
}

/**
 * The object store. Reads and writes are synchronous, so that read-check-write in one turn is atomic; listeners
 * hear of a write only when the journal has it, and {@link committed} tells a request when to answer.
 */
export class Store {
  readonly #collections = new Map<string, Collection>();
  readonly #listeners = new Map<string, Set<Listener>>();
  readonly #everything = new Set<Listener>();
  readonly #history: History;
  readonly #journal: Journal;
  readonly #hooks: StoreHooks;
  readonly #maxObjectBytes: number;
  #revision: number;
  #published: number;
  readonly #unpublished: StoreEvent[] = [];
  #committing = false;
  #waiters: { revision: number; resolve: () => void; reject: (error: Error) => void }[] = [];
  #failed: Error | undefined;

  constructor(journal: Journal, bounds: StoreBounds, image: StoreImage = emptyImage, hooks: StoreHooks = {}) {
    this.#journal = journal;
    this.#hooks = hooks;
    this.#maxObjectBytes = bounds.maxObjectBytes ?? 1.5 * 1024 * 1024;
    this.#revision = image.revision;
    this.#published = image.revision;
    this.#history = new History(image.oldest, { events: bounds.historyEvents, bytes: bounds.historyBytes });
    for (const { resource, entry } of image.entries) this.collection(resource).set(entry.key, entry);
    for (const event of image.events) this.#history.push(event);
  }

  /** The revision of the newest write. */
  get revision(): number {
    return this.#revision;
  }

  /** The revision up to which listeners have heard everything. */
  get published(): number {
    return this.#published;
  }

  get oldest(): number {
    return this.#history.oldest;
  }

  /** Why the store takes no more writes, once its journal has failed. */
  get failure(): Error | undefined {
    return this.#failed;
  }

  collection(resource: string): Collection {
    let found = this.#collections.get(resource);
    if (!found) {
      found = new Collection();
      this.#collections.set(resource, found);
    }
    return found;
  }

  resources(): readonly string[] {
    return [...this.#collections.keys()];
  }

  get(resource: string, key: string): Entry | undefined {
    return this.#collections.get(resource)?.get(key);
  }

  /** Writes `object` and stamps its resourceVersion; the caller gives up the object. Throws 413 for one that is too long. */
  put(resource: string, key: string, object: ApiObject): Entry {
    if (this.#failed) throw this.#failed;
    const collection = this.collection(resource);
    const previous = collection.get(key);
    const revision = this.#revision + 1;
    object.metadata.resourceVersion = String(revision);
    const entry: Entry = { key, revision, object, json: toText(object) };
    if (entry.json.length > this.#maxObjectBytes) throw tooLarge(this.#maxObjectBytes);
    this.#revision = revision;
    collection.set(key, entry);
    this.#journal.append({ op: "put", revision, resource, key, json: entry.json });
    this.#record({ type: previous ? "MODIFIED" : "ADDED", resource, key, revision, entry, previous });
    return entry;
  }

  /** Removes an object; returns its last state with the deletion's own resourceVersion. */
  delete(resource: string, key: string): Entry | undefined {
    if (this.#failed) throw this.#failed;
    const previous = this.#collections.get(resource)?.get(key);
    if (!previous) return undefined;
    const revision = ++this.#revision;
    const entry = deletedEntry(previous, revision);
    this.collection(resource).delete(key);
    this.#journal.append({ op: "delete", revision, resource, key });
    this.#record({ type: "DELETED", resource, key, revision, entry, previous });
    return entry;
  }

  /**
   * Replaces how an object reads without writing it: same revision, no event. For defaults that its kind has got since;
   * the next start does the same again.
   */
  reread(resource: string, key: string, object: ApiObject): void {
    const collection = this.#collections.get(resource);
    const entry = collection?.get(key);
    if (entry) collection?.set(key, { ...entry, object, json: toText(object) });
  }

  #record(event: StoreEvent): void {
    this.#unpublished.push(event);
    if (!this.#committing) void this.#commit();
  }

  async #commit(): Promise<void> {
    this.#committing = true;
    try {
      // Everything written in this turn of the loop shares one sync.
      await Promise.resolve();
      while (this.#unpublished.length > 0) {
        const count = this.#unpublished.length;
        await this.#journal.sync();
        for (const event of this.#unpublished.splice(0, count)) this.#publish(event);
        this.#wake();
      }
      this.#journal.compact(this.#revision, () => this.#state());
    } catch (error) {
      this.#failed = error instanceof Error ? error : new Error(String(error));
      for (const waiter of this.#waiters.splice(0)) waiter.reject(this.#failed);
      this.#hooks.onFailure?.(this.#failed);
    } finally {
      this.#committing = false;
    }
  }

  #wake(): void {
    const waiting = this.#waiters;
    this.#waiters = waiting.filter((w) => w.revision > this.#published);
    for (const waiter of waiting) if (waiter.revision <= this.#published) waiter.resolve();
  }

  #publish(event: StoreEvent): void {
    this.#history.push(event);
    this.#published = event.revision;
    for (const listener of this.#everything) this.#tell(listener, event);
    for (const listener of this.#listeners.get(event.resource) ?? []) this.#tell(listener, event);
  }

  /** A listener that throws must not be taken for a journal that failed, nor keep others from hearing. */
  #tell(listener: Listener, event: StoreEvent): void {
    try {
      listener(event);
    } catch (error) {
      this.#hooks.onListenerError?.(error instanceof Error ? error : new Error(String(error)));
    }
  }

  #state(): StateEntry[] {
    const state: StateEntry[] = [];
    for (const [resource, collection] of this.#collections)
      for (const e of collection.range(""))
        state.push({ resource, key: e.key, revision: e.revision, json: e.json });
    return state;
  }

  /** Resolves when every write made before the call is durable and published; rejects when the journal has failed. */
  committed(): Promise<void> {
    if (this.#failed) return Promise.reject(this.#failed);
    const revision = this.#revision;
    if (revision === this.#published) return Promise.resolve();
    return new Promise((resolve, reject) => {
      this.#waiters.push({ revision, resolve, reject });
    });
  }

  /**
   * Calls `listener` for each event of a collection after `revision`, past ones now, later ones as they come. Undefined
   * where the past is no longer all there (the client must list again).
   */
  watch(resource: string, revision: number, listener: Listener): (() => void) | undefined {
    const past = this.#history.since(revision, resource);
    if (!past) return undefined;
    for (const event of past) listener(event);
    let listeners = this.#listeners.get(resource);
    if (!listeners) {
      listeners = new Set();
      this.#listeners.set(resource, listeners);
    }
    listeners.add(listener);
    return () => listeners.delete(listener);
  }

  /** Calls `listener` for every later event of every collection, before anybody who watches that collection. */
  watchAll(listener: Listener): () => void {
    this.#everything.add(listener);
    return () => this.#everything.delete(listener);
  }

  /** The entries of a collection as they were at `revision`, in key order; undefined where that is too long ago. */
  entriesAt(resource: string, revision: number, prefix: string): Entry[] | undefined {
    const entries = this.collection(resource).entries(prefix);
    if (revision === this.#revision) return entries;
    const published = this.#history.since(revision, resource);
    if (!published) return undefined;
    const later = [
      ...published,
      ...this.#unpublished.filter((e) => e.resource === resource && e.revision > revision),
    ];
    const undo = new Map<string, Entry | undefined>();
    for (const event of later)
      if (event.key.startsWith(prefix) && !undo.has(event.key)) undo.set(event.key, event.previous);
    if (undo.size === 0) return entries;
    const kept = entries.filter((e) => !undo.has(e.key));
    for (const entry of undo.values()) if (entry) kept.push(entry);
    return kept.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0));
  }

  async close(): Promise<void> {
    try {
      await this.committed();
    } finally {
      this.#listeners.clear();
      this.#everything.clear();
      await this.#journal.close();
    }
  }
}

/** The last state of a deleted object, stamped with the revision of its deletion. */
export function deletedEntry(previous: Entry, revision: number): Entry {
  const object: ApiObject = {
    ...previous.object,
    metadata: { ...previous.object.metadata, resourceVersion: String(revision) },
  };
  return { key: previous.key, revision, object, json: toText(object) };
}
