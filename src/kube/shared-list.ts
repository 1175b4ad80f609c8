// kube: lists that several callers share, none of whom is shown anything older than its own question.
import type { KubernetesObject } from "../api/index.ts";
import type { KubeApi, ListOptions } from "./api.ts";
import type { Clock, Timer } from "./clock.ts";
import { qualifiedName, type Resource } from "./resource.ts";

/** Another list is begun when the one under way has been waited for so long, ms: a stalled one holds up nobody else. */
const patienceMs = 100;

type Selection = Pick<ListOptions, "namespace" | "labelSelector">;

interface Line {
  /** Lists under way. */
  running: number;
  /** The list that has not been begun: whoever asks now may have it. */
  next:
    | { readonly items: Promise<readonly unknown[]>; readonly begin: () => void; timer?: Timer }
    | undefined;
}

/**
 * Answers as a LIST that is begun after the question, which is all that safety asks of it. While one is under way those
 * who ask wait for the next one and share it: what a hundred claims need costs the API server as much as what one needs.
 */
export class SharedLists {
  readonly #api: KubeApi;
  readonly #clock: Clock;
  readonly #lines = new Map<string, Line>();

  constructor(api: KubeApi, clock: Clock) {
    this.#api = api;
    this.#clock = clock;
  }

  /** @throws ApiError, TransportError */
  list<T extends KubernetesObject>(resource: Resource<T>, selection: Selection): Promise<readonly T[]> {
    const key = [qualifiedName(resource), selection.namespace ?? "", selection.labelSelector ?? ""].join(
      "\0",
    );
    let line = this.#lines.get(key);
    if (!line) this.#lines.set(key, (line = { running: 0, next: undefined }));
    if (!line.next) {
      const { promise, resolve } = Promise.withResolvers<void>();
      const items = promise.then(() => this.#begin(key, line, resource, selection));
      line.next = { items, begin: resolve };
      if (line.running === 0) resolve();
      else line.next.timer = this.#clock.after(patienceMs, resolve);
    }
    return line.next.items as Promise<readonly T[]>;
  }

  async #begin<T extends KubernetesObject>(
    key: string,
    line: Line,
    resource: Resource<T>,
    selection: Selection,
  ): Promise<readonly T[]> {
    line.next?.timer?.[Symbol.dispose]();
    line.next = undefined;
    line.running += 1;
    try {
      return (await this.#api.list(resource, selection)).items;
    } finally {
      line.running -= 1;
      const waiting: Line["next"] = this.#lines.get(key)?.next;
      if (waiting) waiting.begin();
      else if (line.running === 0) this.#lines.delete(key);
    }
  }
}
