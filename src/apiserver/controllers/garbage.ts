// apiserver/controllers: garbage collection: dependants go with their owners, in the background, before them, or not at all.
import type { ServerContext } from "../context.ts";
import type { ApiObject, OwnerReference } from "../object.ts";
import { keyOf, parseApiVersion } from "../object.ts";
import type { ResourceType } from "../registry/resource.ts";
import { deleteEntry } from "../rest/delete.ts";
import type { StoreEvent } from "../store/history.ts";
import type { Entry } from "../store/store.ts";

const background = {
  dryRun: false,
  gracePeriodSeconds: undefined,
  propagation: "Background",
  uid: "",
  resourceVersion: "",
} as const;

interface Place {
  readonly storage: string;
  readonly key: string;
}

/**
 * Follows every object's ownerReferences. Work is queued as keys and done in small steps between other turns of the loop;
 * each step looks at the store as it is then, so a key may be queued any number of times.
 */
export class GarbageCollector {
  readonly #context: ServerContext;
  /** Dependants by the UID of an owner; a place is `storage key`. */
  readonly #dependants = new Map<string, Map<string, Place>>();
  readonly #queue = new Map<string, Place>();
  #running = false;
  #stopped = false;

  constructor(context: ServerContext) {
    this.#context = context;
    for (const type of context.registry.stored()) this.adopt(type.storage);
  }

  /** Takes in the objects of a collection that was there before. */
  adopt(storage: string): void {
    for (const entry of this.#context.store.collection(storage).range("")) {
      this.#index(storage, entry.key, undefined, entry.object);
      this.#enqueue(storage, entry.key);
    }
  }

  hear(event: StoreEvent): void {
    const { resource, key, entry } = event;
    this.#index(resource, key, event.previous?.object, event.type === "DELETED" ? undefined : entry.object);
    if (event.type === "DELETED") {
      for (const place of this.#dependants.get(entry.object.metadata.uid)?.values() ?? [])
        this.#enqueue(place.storage, place.key);
      for (const owner of entry.object.metadata.ownerReferences ?? [])
        this.#enqueueOwner(owner, entry.object);
    } else this.#enqueue(resource, key);
  }

  stop(): void {
    this.#stopped = true;
    this.#queue.clear();
  }

  #index(storage: string, key: string, before: ApiObject | undefined, after: ApiObject | undefined): void {
    const id = `${storage} ${key}`;
    for (const owner of before?.metadata.ownerReferences ?? []) {
      const places = this.#dependants.get(owner.uid);
      places?.delete(id);
      if (places?.size === 0) this.#dependants.delete(owner.uid);
    }
    for (const owner of after?.metadata.ownerReferences ?? []) {
      const places = this.#dependants.get(owner.uid) ?? new Map<string, Place>();
      places.set(id, { storage, key });
      this.#dependants.set(owner.uid, places);
    }
  }

  #enqueue(storage: string, key: string): void {
    this.#queue.set(`${storage} ${key}`, { storage, key });
    if (this.#running || this.#stopped) return;
    this.#running = true;
    setImmediate(() => this.#work());
  }

  #enqueueOwner(owner: OwnerReference, dependant: ApiObject): void {
    const place = this.#placeOf(owner, dependant);
    if (place) this.#enqueue(place.storage, place.key);
  }

  #placeOf(owner: OwnerReference, dependant: ApiObject): Place | undefined {
    const { group, version } = parseApiVersion(owner.apiVersion);
    const type = this.#context.registry.byKind(group, version, owner.kind);
    const { namespace } = dependant.metadata;
    // A cluster-wide object cannot be owned by one in a namespace: nobody can say in which.
    if (!type || (type.namespaced && !namespace)) return undefined;
    return { storage: type.storage, key: keyOf(type.namespaced ? namespace : undefined, owner.name) };
  }

  /** One bounded step; the rest of the queue waits for the next turn. */
  #work(): void {
    const deadline = performance.now() + 5;
    for (const [id, place] of this.#queue) {
      if (this.#stopped || this.#context.store.failure || performance.now() > deadline) break;
      this.#queue.delete(id);
      try {
        this.#process(place);
      } catch (error) {
        // One object that cannot be collected must not keep the others from it.
        this.#context.log("garbage collection failed", { object: id, error: String(error) });
      }
    }
    if (this.#queue.size > 0 && !this.#stopped && !this.#context.store.failure)
      setImmediate(() => this.#work());
    else this.#running = false;
  }

  #process({ storage, key }: Place): void {
    const entry = this.#context.store.get(storage, key);
    const type = this.#context.registry.stored().find((t) => t.storage === storage);
    if (!entry || !type) return;
    const { metadata } = entry.object;
    if (metadata.deletionTimestamp && metadata.finalizers?.includes("orphan")) this.#orphan(type, entry);
    else if (metadata.deletionTimestamp && metadata.finalizers?.includes("foregroundDeletion"))
      this.#foreground(type, entry);
    else if (metadata.ownerReferences?.length) this.#collect(type, entry);
  }

  #entriesOwnedBy(uid: string): { type: ResourceType; entry: Entry }[] {
    const types = new Map(this.#context.registry.stored().map((t) => [t.storage, t]));
    return [...(this.#dependants.get(uid)?.values() ?? [])].flatMap(({ storage, key }) => {
      const entry = this.#context.store.get(storage, key);
      const type = types.get(storage);
      return entry && type ? [{ type, entry }] : [];
    });
  }

  /** Removes an object none of whose owners is left; drops the references to those that are gone otherwise. */
  #collect(type: ResourceType, entry: Entry): void {
    const owners = entry.object.metadata.ownerReferences ?? [];
    const states = owners.map((owner) => ({ owner, state: this.#ownerState(owner, entry.object) }));
    const solid = states.filter((s) => s.state === "solid" || s.state === "unknown");
    const absent = states.filter((s) => s.state === "absent");
    const waiting = states.filter((s) => s.state === "waiting");
    if (solid.length === 0 && (absent.length > 0 || waiting.length > 0)) {
      if (entry.object.metadata.deletionTimestamp) return;
      // An owner that waits for its dependants wants those to wait for theirs as well.
      const inherits = waiting.length > 0 && this.#entriesOwnedBy(entry.object.metadata.uid).length > 0;
      deleteEntry(
        type,
        entry,
        inherits ? { ...background, propagation: "Foreground" } : background,
        this.#context,
      );
    } else if (absent.length > 0 || (waiting.length > 0 && solid.length > 0)) {
      this.#rewrite(type, entry, { ownerReferences: solid.map((s) => s.owner) });
    }
  }

  #ownerState(owner: OwnerReference, dependant: ApiObject): "solid" | "absent" | "waiting" | "unknown" {
    const place = this.#placeOf(owner, dependant);
    // An owner of a kind that is not served (yet) says nothing: only a known absence deletes.
    if (!place) return "unknown";
    const meta = this.#context.store.get(place.storage, place.key)?.object.metadata;
    if (!meta || meta.uid !== owner.uid) return "absent";
    return meta.deletionTimestamp && meta.finalizers?.includes("foregroundDeletion") ? "waiting" : "solid";
  }

  #foreground(type: ResourceType, entry: Entry): void {
    const dependants = this.#entriesOwnedBy(entry.object.metadata.uid);
    for (const d of dependants) this.#enqueue(d.type.storage, d.entry.key);
    const blocking = dependants.some((d) =>
      d.entry.object.metadata.ownerReferences?.some(
        (o) => o.uid === entry.object.metadata.uid && o.blockOwnerDeletion === true,
      ),
    );
    if (!blocking) this.#dropFinalizer(type, entry, "foregroundDeletion");
  }

  #orphan(type: ResourceType, entry: Entry): void {
    for (const d of this.#entriesOwnedBy(entry.object.metadata.uid)) {
      const left = (d.entry.object.metadata.ownerReferences ?? []).filter(
        (o) => o.uid !== entry.object.metadata.uid,
      );
      this.#rewrite(d.type, d.entry, { ownerReferences: left });
    }
    this.#dropFinalizer(type, entry, "orphan");
  }

  #dropFinalizer(type: ResourceType, entry: Entry, finalizer: string): void {
    const finalizers = (entry.object.metadata.finalizers ?? []).filter((f) => f !== finalizer);
    if (finalizers.length === 0) this.#context.store.delete(type.storage, entry.key);
    else this.#rewrite(type, entry, { finalizers });
  }

  #rewrite(
    type: ResourceType,
    entry: Entry,
    change: { ownerReferences?: OwnerReference[]; finalizers?: string[] },
  ): void {
    const metadata = { ...entry.object.metadata, ...change };
    if (metadata.ownerReferences?.length === 0) delete metadata.ownerReferences;
    this.#context.store.put(type.storage, entry.key, { ...entry.object, metadata });
  }
}
