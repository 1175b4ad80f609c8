// apiserver/controllers: a terminating namespace is emptied and then removed; every namespace has a default account.
import type { ServerContext } from "../context.ts";
import { stringsAt } from "../json.ts";
import { type ApiObject, timeText } from "../object.ts";
import { deleteEntry } from "../rest/delete.ts";
import type { StoreEvent } from "../store/history.ts";

const background = {
  dryRun: false,
  gracePeriodSeconds: 0,
  propagation: "Background",
  uid: "",
  resourceVersion: "",
} as const;

export class NamespaceController {
  readonly #context: ServerContext;
  readonly #dirty = new Set<string>();
  #scheduled = false;
  #stopped = false;

  constructor(context: ServerContext) {
    this.#context = context;
    for (const entry of context.store.collection("namespaces").range("")) this.#mark(entry.key);
  }

  hear(event: StoreEvent): void {
    if (event.resource === "namespaces") this.#mark(event.key);
    // Only the end of an object can let a terminating namespace go on.
    else if (event.type === "DELETED" && event.entry.object.metadata.namespace)
      this.#mark(event.entry.object.metadata.namespace);
  }

  stop(): void {
    this.#stopped = true;
  }

  #mark(name: string): void {
    this.#dirty.add(name);
    if (this.#scheduled || this.#stopped) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      const names = [...this.#dirty];
      this.#dirty.clear();
      for (const name of names) {
        if (this.#stopped || this.#context.store.failure) return;
        try {
          this.#reconcile(name);
        } catch (error) {
          this.#context.log("namespace controller failed", { namespace: name, error: String(error) });
        }
      }
    });
  }

  #reconcile(name: string): void {
    const { store } = this.#context;
    const namespace = store.get("namespaces", name)?.object;
    if (!namespace) return;
    if (!namespace.metadata.deletionTimestamp) {
      this.#ensureDefaultAccount(name);
      return;
    }
    let left = 0;
    for (const type of this.#context.registry.stored()) {
      if (!type.namespaced) continue;
      for (const entry of store.collection(type.storage).entries(`${name}/`)) {
        // Those that wait for a finalizer have been asked already.
        const asked =
          entry.object.metadata.deletionTimestamp !== undefined &&
          (entry.object.metadata.deletionGracePeriodSeconds ?? 0) === 0;
        if (asked || !deleteEntry(type, entry, background, this.#context).gone) left += 1;
      }
    }
    if (left === 0) this.#finish(namespace);
    else this.#tellRemaining(namespace, left);
  }

  #finish(namespace: ApiObject): void {
    const { store } = this.#context;
    const others = stringsAt(namespace, "spec", "finalizers").filter((f) => f !== "kubernetes");
    if (others.length === 0 && (namespace.metadata.finalizers?.length ?? 0) === 0) {
      store.delete("namespaces", namespace.metadata.name);
      return;
    }
    if (stringsAt(namespace, "spec", "finalizers").includes("kubernetes"))
      store.put("namespaces", namespace.metadata.name, {
        ...namespace,
        metadata: { ...namespace.metadata },
        spec: others.length > 0 ? { finalizers: others } : {},
      });
  }

  /** The condition that says why a namespace is still there. */
  #tellRemaining(namespace: ApiObject, left: number): void {
    const message = `Some content in the namespace has finalizers remaining: ${left} object${left === 1 ? "" : "s"}`;
    const status = namespace.status as { conditions?: { message?: string }[] } | undefined;
    if (status?.conditions?.some((c) => c.message === message)) return;
    this.#context.store.put("namespaces", namespace.metadata.name, {
      ...namespace,
      metadata: { ...namespace.metadata },
      status: {
        phase: "Terminating",
        conditions: [
          {
            type: "NamespaceFinalizersRemaining",
            status: "True",
            lastTransitionTime: timeText(this.#context.now()),
            reason: "SomeFinalizersRemain",
            message,
          },
        ],
      },
    });
  }

  #ensureDefaultAccount(namespace: string): void {
    const { store } = this.#context;
    if (store.get("serviceaccounts", `${namespace}/default`)) return;
    store.put("serviceaccounts", `${namespace}/default`, {
      apiVersion: "v1",
      kind: "ServiceAccount",
      metadata: {
        name: "default",
        namespace,
        uid: this.#context.randomUUID(),
        resourceVersion: "",
        creationTimestamp: timeText(this.#context.now()),
      },
    });
  }
}
