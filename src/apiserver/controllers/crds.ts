// apiserver/controllers: keeps the registry in step with the CustomResourceDefinitions, and empties kinds that go.
import type { ServerContext } from "../context.ts";
import { clone, stringAt } from "../json.ts";
import type { ApiObject } from "../object.ts";
import { cleanupFinalizer, crdStorage, isEstablished, resourcesOf } from "../registry/crd.ts";
import { gvOf, type ResourceType } from "../registry/resource.ts";
import { deleteEntry } from "../rest/delete.ts";
import type { Watches } from "../rest/watch.ts";
import { applyDefaults, missesDefaults } from "../schema/prune.ts";
import type { StoreEvent } from "../store/history.ts";

const background = {
  dryRun: false,
  gracePeriodSeconds: 0,
  propagation: "Background",
  uid: "",
  resourceVersion: "",
} as const;

export class CrdController {
  readonly #context: ServerContext;
  readonly #watches: Watches;
  readonly #served = new Map<string, ResourceType[]>();
  readonly #onAdded: (storage: string) => void;

  constructor(context: ServerContext, watches: Watches, onAdded: (storage: string) => void) {
    this.#context = context;
    this.#watches = watches;
    this.#onAdded = onAdded;
    for (const { object } of context.store.collection(crdStorage).range("")) this.#serve(object);
  }

  hear(event: StoreEvent): void {
    if (event.resource === crdStorage) {
      if (event.type === "DELETED") this.#withdraw(event.key);
      else {
        this.#serve(event.entry.object);
        if (event.entry.object.metadata.deletionTimestamp) this.#empty(event.key);
      }
    } else if (event.type === "DELETED") {
      const crd = this.#context.store.get(crdStorage, event.resource);
      if (crd?.object.metadata.deletionTimestamp) this.#empty(event.resource);
    }
  }

  #serve(crd: ApiObject): void {
    const before = this.#served.get(crd.metadata.name) ?? [];
    const after = isEstablished(crd) ? resourcesOf(crd) : [];
    const { registry } = this.#context;
    for (const type of before)
      if (!after.some((t) => t.version === type.version))
        registry.remove(type.group, type.version, type.resource);
    for (const type of after) registry.add(type);
    this.#served.set(crd.metadata.name, after);
    if (before.length > 0) {
      // A changed schema or column shows only in a new watch; clients reconnect at once.
      const changed = stringAt(crd, "metadata", "name");
      if (!sameShape(before, after)) this.#watches.endAll((t) => t.storage === changed);
    } else this.#onAdded(crd.metadata.name);
    this.#fillDefaults(crd.metadata.name, after);
  }

  /** Stored objects show the defaults that the schema has now, as the real server's do on every read. */
  #fillDefaults(storage: string, types: readonly ResourceType[]): void {
    const type = types.find((t) => t.storedAs.apiVersion === gvOf(t)) ?? types[0];
    const { store } = this.#context;
    if (!type) return;
    const pending = store.collection(storage).entries();
    const step = (): void => {
      const deadline = performance.now() + 5;
      for (let entry = pending.pop(); entry; entry = pending.pop()) {
        const current = store.get(storage, entry.key);
        if (current === entry && missesDefaults(entry.object, type.schema)) {
          const object = clone(entry.object);
          applyDefaults(object, type.schema);
          store.reread(storage, entry.key, object);
        }
        if (performance.now() > deadline) break;
      }
      if (pending.length > 0) setImmediate(step);
    };
    step();
  }

  #withdraw(name: string): void {
    for (const type of this.#served.get(name) ?? [])
      this.#context.registry.remove(type.group, type.version, type.resource);
    this.#served.delete(name);
    this.#watches.endAll((t) => t.storage === name);
  }

  /** Deletes what is left of a kind that goes; with the last object the CRD itself. */
  #empty(name: string): void {
    const { store } = this.#context;
    const [type] = this.#served.get(name) ?? [];
    let left = 0;
    if (type)
      for (const entry of store.collection(name).entries()) {
        const asked = entry.object.metadata.deletionTimestamp !== undefined;
        if (asked || !deleteEntry(type, entry, background, this.#context).gone) left += 1;
      }
    const entry = store.get(crdStorage, name);
    if (!entry || left > 0) return;
    const finalizers = (entry.object.metadata.finalizers ?? []).filter((f) => f !== cleanupFinalizer);
    if (finalizers.length === 0) store.delete(crdStorage, name);
    else if (finalizers.length !== entry.object.metadata.finalizers?.length)
      store.put(crdStorage, name, { ...entry.object, metadata: { ...entry.object.metadata, finalizers } });
  }
}

/** Whether two states of a kind differ in nothing that an open watch shows. */
function sameShape(a: readonly ResourceType[], b: readonly ResourceType[]): boolean {
  const text = (types: readonly ResourceType[]): string =>
    JSON.stringify(types.map((t) => [t.version, t.kind, t.columns.map((c) => [c.name, c.type, c.priority])]));
  return text(a) === text(b);
}
