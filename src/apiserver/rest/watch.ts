// apiserver/rest: watches: initial state, history, selector transitions, bookmarks, tables; one line of JSON an event.
import type { ServerContext } from "../context.ts";
import type { JsonObject } from "../json.ts";
import { expired, fieldErrors, invalid, tooManyRequests } from "../messages.ts";
import type { ApiObject } from "../object.ts";
import { gvOf, present, type ResourceType } from "../registry/resource.ts";
import type { StoreEvent } from "../store/history.ts";
import type { Entry } from "../store/store.ts";
import { partialMetadata, tableColumns, tableRow } from "../table/table.ts";
import type { Accepted, Exchange } from "./exchange.ts";
import { includeOf, prefixOf, revisionOf, type Scope, selectorOf, textOf } from "./read.ts";

/** Open watches of one server. */
const maxWatches = 10_000;
/** A watch whose client is this many events behind, after the initial ones, is ended: it will list again. */
const maxBehind = 20_000;
/** Events written between two turns of the event loop. */
const batch = 500;
const bookmarkEverySeconds = 60;
const defaultTimeoutSeconds = { least: 1800, most: 3600 } as const;
const initialEventsEnd = "k8s.io/initial-events-end";

/** All open watches, so that a bound holds, a stop ends them, and the end of a kind ends its watches. */
export class Watches {
  readonly #open = new Map<() => void, ResourceType>();

  get size(): number {
    return this.#open.size;
  }

  add(end: () => void, type: ResourceType): boolean {
    if (this.#open.size >= maxWatches) return false;
    this.#open.set(end, type);
    return true;
  }

  delete(end: () => void): void {
    this.#open.delete(end);
  }

  endAll(which: (type: ResourceType) => boolean = () => true): void {
    for (const [end, type] of [...this.#open]) if (which(type)) end();
  }
}

type EventType = "ADDED" | "MODIFIED" | "DELETED";

/** Lines for plain watches are the same for every watcher: made once an event. */
const lineCache = new WeakMap<Entry, Map<string, Buffer>>();

function plainLine(type: ResourceType, eventType: EventType, entry: Entry): Buffer {
  let lines = lineCache.get(entry);
  if (!lines) {
    lines = new Map();
    lineCache.set(entry, lines);
  }
  const id = `${eventType} ${type.group}/${type.version}`;
  let line = lines.get(id);
  if (!line) {
    line = Buffer.from(`{"type":"${eventType}","object":${textOf(type, entry)}}\n`);
    lines.set(id, line);
  }
  return line;
}

const jsonLine = (type: string, object: JsonObject): Buffer =>
  Buffer.from(`${JSON.stringify({ type, object })}\n`);

interface WatchOptions {
  readonly from: number;
  readonly initial: boolean;
  /** True: the end of the initial events is marked. */
  readonly marked: boolean;
  readonly bookmarks: boolean;
  readonly timeoutSeconds: number;
}

const listOptions = { group: "meta.k8s.io", kind: "ListOptions" };
const isTrue = (text: string | null): boolean =>
  text !== null && text !== "" && text !== "false" && text !== "0";

/** Whether a GET of a collection is a watch: any value but an explicit no counts as yes, as in the real server. */
export const isWatch = (query: URLSearchParams): boolean => isTrue(query.get("watch"));

function readOptions(query: URLSearchParams, context: ServerContext): WatchOptions {
  const revision = revisionOf(query);
  const wantsInitial = query.get("sendInitialEvents");
  const match = query.get("resourceVersionMatch");
  if (wantsInitial !== null && match !== "NotOlderThan")
    throw invalid(listOptions, "", [
      fieldErrors.forbidden(
        "sendInitialEvents",
        "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
      ),
    ]);
  if (wantsInitial === null && match)
    throw invalid(listOptions, "", [
      fieldErrors.forbidden(
        "resourceVersionMatch",
        "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
      ),
    ]);
  const bookmarks = isTrue(query.get("allowWatchBookmarks"));
  const marked = isTrue(wantsInitial);
  const unset = revision === undefined || revision === 0;
  const seconds = Number(query.get("timeoutSeconds") ?? 0);
  const { least, most } = defaultTimeoutSeconds;
  return {
    from: unset || marked ? context.store.published : revision,
    initial: marked || (unset && wantsInitial === null),
    marked: marked && bookmarks,
    bookmarks,
    timeoutSeconds:
      Number.isFinite(seconds) && seconds > 0 ? seconds : least + context.randomBelow(most - least),
  };
}

/** Serves a watch until its time is over, the client goes, or the server ends it. */
export async function sendWatch(
  x: Exchange,
  scope: Scope,
  accepted: Accepted,
  context: ServerContext,
  watches: Watches,
): Promise<void> {
  // What is written but not yet published belongs to the initial state or to the stream, never to both.
  await context.store.committed();
  const options = readOptions(x.query, context);
  const stream = new WatchStream(x, scope, accepted, context, options);
  if (!watches.add(stream.end, scope.type)) {
    context.refused.watchesOverLimit += 1;
    throw tooManyRequests("too many watches");
  }
  stream.closed.finally(() => watches.delete(stream.end));
  stream.start();
  await stream.closed;
}

type Item =
  | { readonly type: EventType; readonly entry: Entry }
  | { readonly type: "BOOKMARK"; readonly revision: number; readonly annotations?: Record<string, string> };

class WatchStream {
  readonly closed: Promise<void>;
  readonly end: () => void;
  readonly #x: Exchange;
  readonly #scope: Scope;
  readonly #accepted: Accepted;
  readonly #context: ServerContext;
  readonly #options: WatchOptions;
  readonly #test: ReturnType<typeof selectorOf>;
  readonly #prefix: string;
  /** What is still to be written, oldest first; references to shared objects, so that waiting costs little. */
  #queue: Item[] = [];
  #next = 0;
  #waits = false;
  #columnsSent = false;
  #stop: (() => void) | undefined;
  readonly #timers: NodeJS.Timeout[] = [];
  #ended = false;

  constructor(x: Exchange, scope: Scope, accepted: Accepted, context: ServerContext, options: WatchOptions) {
    this.#x = x;
    this.#scope = scope;
    this.#accepted = accepted;
    this.#context = context;
    this.#options = options;
    this.#test = selectorOf(scope, x.query);
    this.#prefix = prefixOf(scope);
    const { promise, resolve } = Promise.withResolvers<void>();
    this.closed = promise;
    this.end = () => {
      if (this.#ended) return;
      this.#ended = true;
      this.#stop?.();
      for (const timer of this.#timers) clearTimeout(timer);
      if (!x.response.destroyed) x.response.end();
      resolve();
    };
    x.response.on("close", this.end);
  }

  start(): void {
    const { response } = this.#x;
    const { store } = this.#context;
    const { from, initial, marked } = this.#options;
    response.writeHead(200, { "content-type": this.#accepted.contentType, "transfer-encoding": "chunked" });
    // Clients wait for the head before they go on, and the first event may be long in coming.
    response.flushHeaders();
    const state = initial ? (store.entriesAt(this.#scope.type.storage, from, this.#prefix) ?? []) : [];
    for (const entry of state)
      if (!this.#test || this.#test(entry.object)) this.#queue.push({ type: "ADDED", entry });
    if (marked)
      this.#queue.push({ type: "BOOKMARK", revision: from, annotations: { [initialEventsEnd]: "true" } });
    const stop = store.watch(this.#scope.type.storage, from, (event) => this.#hear(event));
    if (!stop) {
      const error = expired(`too old resource version: ${from} (${store.oldest})`);
      response.write(jsonLine("ERROR", error.toStatus()));
      this.end();
      return;
    }
    this.#stop = stop;
    this.#startTimers();
    this.#pump();
  }

  #startTimers(): void {
    const { timeoutSeconds, bookmarks } = this.#options;
    const later = (seconds: number, act: () => void): void => {
      const timer = setTimeout(act, seconds * 1000);
      timer.unref();
      this.#timers.push(timer);
    };
    later(timeoutSeconds, this.end);
    if (!bookmarks) return;
    // The last bookmark comes shortly before the end, so that the next watch starts from a fresh revision.
    later(Math.max(timeoutSeconds - 2, timeoutSeconds * 0.8), () => this.#bookmark());
    const timer = setInterval(() => this.#bookmark(), bookmarkEverySeconds * 1000);
    timer.unref();
    this.#timers.push(timer);
  }

  #hear(event: StoreEvent): void {
    if (this.#ended || !event.key.startsWith(this.#prefix)) return;
    const test = this.#test;
    if (!test) {
      this.#enqueue({ type: event.type, entry: event.entry });
      return;
    }
    const before = event.previous !== undefined && test(event.previous.object);
    const after = event.type !== "DELETED" && test(event.entry.object);
    if (after) this.#enqueue({ type: before ? "MODIFIED" : "ADDED", entry: event.entry });
    else if (before)
      this.#enqueue({
        type: "DELETED",
        entry: event.type === "DELETED" ? event.entry : leftSelection(event),
      });
  }

  /** Everything up to the published revision has been enqueued, whatever kind it was of. */
  #bookmark(): void {
    this.#enqueue({ type: "BOOKMARK", revision: this.#context.store.published });
  }

  #enqueue(item: Item): void {
    this.#queue.push(item);
    if (this.#queue.length - this.#next > maxBehind && this.#waits) {
      this.#context.refused.slowWatchesEnded += 1;
      this.#x.response.destroy();
      this.end();
      return;
    }
    if (!this.#waits) this.#pump();
  }

  /** Writes what the client takes; goes on when it has read, or in the next turn after a batch. */
  #pump(): void {
    const { response } = this.#x;
    this.#waits = false;
    for (let written = 0; this.#next < this.#queue.length; written++) {
      if (this.#ended || response.destroyed) return;
      if (written === batch) {
        this.#waits = true;
        setImmediate(() => this.#pump());
        return;
      }
      const taken = response.write(this.#line(this.#queue[this.#next++]!));
      if (taken) continue;
      this.#waits = true;
      response.once("drain", () => this.#pump());
      return;
    }
    this.#queue = [];
    this.#next = 0;
  }

  #line(item: Item): Buffer {
    const { type } = this.#scope;
    if (item.type === "BOOKMARK") return this.#bookmarkLine(item.revision, item.annotations);
    switch (this.#accepted.shape) {
      case "object":
        return plainLine(type, item.type, item.entry);
      case "partial":
        return jsonLine(item.type, partialMetadata(item.entry.object));
      case "table":
        return jsonLine(item.type, this.#table(item.entry));
    }
  }

  #table(entry: Entry): JsonObject {
    const { type } = this.#scope;
    const columns = this.#columnsSent ? null : tableColumns(type.columns);
    this.#columnsSent = true;
    const include = includeOf(this.#x.query);
    const shown = (): ApiObject => present(type, entry.object);
    return {
      kind: "Table",
      apiVersion: "meta.k8s.io/v1",
      metadata: { resourceVersion: entry.object.metadata.resourceVersion },
      columnDefinitions: columns,
      rows: [tableRow(type.columns, entry.object, shown, include, this.#context.now())],
    };
  }

  #bookmarkLine(revision: number, annotations: Record<string, string> | undefined): Buffer {
    const { type } = this.#scope;
    const resourceVersion = String(revision);
    const metadata: JsonObject = {
      resourceVersion,
      creationTimestamp: null,
      ...(annotations ? { annotations } : {}),
    };
    const partial = { kind: "PartialObjectMetadata", apiVersion: "meta.k8s.io/v1", metadata };
    switch (this.#accepted.shape) {
      case "object":
        return jsonLine("BOOKMARK", { kind: type.kind, apiVersion: gvOf(type), metadata });
      case "partial":
        return jsonLine("BOOKMARK", partial);
      case "table":
        return jsonLine("BOOKMARK", {
          kind: "Table",
          apiVersion: "meta.k8s.io/v1",
          metadata: { resourceVersion },
          columnDefinitions: null,
          rows: [{ cells: [], object: partial }],
        });
    }
  }
}

/** An object that no longer matches: its previous state under the revision at which it left. */
function leftSelection(event: StoreEvent): Entry {
  const previous = event.previous ?? event.entry;
  const object = {
    ...previous.object,
    metadata: { ...previous.object.metadata, resourceVersion: String(event.revision) },
  };
  return { key: event.key, revision: event.revision, object, json: JSON.stringify(object) };
}
