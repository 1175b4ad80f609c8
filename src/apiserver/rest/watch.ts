// apiserver/rest: watches: initial state, history, selector transitions, bookmarks, tables; one line of JSON an event.
import type { ServerContext } from "../context.ts";
import type { JsonObject } from "../json.ts";
import { expired, fieldErrors, invalid, tooManyRequests } from "../messages.ts";
import { gvOf, present, type ResourceType } from "../registry/resource.ts";
import type { StoreEvent } from "../store/history.ts";
import type { Entry } from "../store/store.ts";
import { partialMetadata, tableColumns, tableRow } from "../table/table.ts";
import type { Accepted, Exchange } from "./exchange.ts";
import { includeOf, prefixOf, revisionOf, type Scope, selectorOf, textOf } from "./read.ts";

/** Open watches of one server. */
const maxWatches = 10_000;
/** A watch whose client has not read this much is ended: it will list again. Bytes. */
const maxBacklogBytes = 8 * 1024 * 1024;
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
  #revision: number;
  #columnsSent = false;
  #stop: (() => void) | undefined;
  #timers: NodeJS.Timeout[] = [];
  #ended = false;

  constructor(x: Exchange, scope: Scope, accepted: Accepted, context: ServerContext, options: WatchOptions) {
    this.#x = x;
    this.#scope = scope;
    this.#accepted = accepted;
    this.#context = context;
    this.#options = options;
    this.#test = selectorOf(scope, x.query);
    this.#prefix = prefixOf(scope);
    this.#revision = options.from;
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
    response.writeHead(200, { "content-type": this.#accepted.contentType, "transfer-encoding": "chunked" });
    // Clients wait for the head before they go on, and the first event may be long in coming.
    response.flushHeaders();
    if (this.#options.initial) this.#sendInitial();
    const stop = this.#context.store.watch(this.#scope.type.storage, this.#options.from, (event) =>
      this.#hear(event),
    );
    if (!stop) {
      const error = expired(
        `too old resource version: ${this.#options.from} (${this.#context.store.oldest})`,
      );
      this.#write(jsonLine("ERROR", error.toStatus()));
      this.end();
      return;
    }
    if (this.#ended) {
      stop();
      return;
    }
    this.#stop = stop;
    this.#startTimers();
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

  #sendInitial(): void {
    const { store } = this.#context;
    for (const entry of store.entriesAt(this.#scope.type.storage, this.#options.from, this.#prefix) ?? [])
      if (!this.#test || this.#test(entry.object)) this.#send("ADDED", entry);
    if (this.#options.marked) this.#bookmark({ [initialEventsEnd]: "true" });
  }

  #hear(event: StoreEvent): void {
    this.#revision = event.revision;
    if (this.#ended || !event.key.startsWith(this.#prefix)) return;
    const test = this.#test;
    if (!test) {
      this.#send(event.type, event.entry);
      return;
    }
    const before = event.previous !== undefined && test(event.previous.object);
    const after = event.type !== "DELETED" && test(event.entry.object);
    if (after) this.#send(before ? "MODIFIED" : "ADDED", event.entry);
    else if (before) this.#send("DELETED", event.type === "DELETED" ? event.entry : leftSelection(event));
  }

  #send(eventType: EventType, entry: Entry): void {
    const { type } = this.#scope;
    switch (this.#accepted.shape) {
      case "object":
        this.#write(plainLine(type, eventType, entry));
        break;
      case "partial":
        this.#write(jsonLine(eventType, partialMetadata(entry.object)));
        break;
      case "table":
        this.#write(jsonLine(eventType, this.#table(entry)));
        break;
    }
  }

  #table(entry: Entry): JsonObject {
    const { type } = this.#scope;
    const columns = this.#columnsSent ? null : tableColumns(type.columns);
    this.#columnsSent = true;
    const include = includeOf(this.#x.query);
    return {
      kind: "Table",
      apiVersion: "meta.k8s.io/v1",
      metadata: { resourceVersion: entry.object.metadata.resourceVersion },
      columnDefinitions: columns,
      rows: [
        tableRow(type.columns, entry.object, () => present(type, entry.object), include, this.#context.now()),
      ],
    };
  }

  #bookmark(annotations?: Record<string, string>): void {
    const { type } = this.#scope;
    // Everything up to the published revision has gone out, whatever kind it was of.
    const revision = Math.max(this.#revision, this.#context.store.published);
    const metadata: JsonObject = {
      resourceVersion: String(revision),
      creationTimestamp: null,
      ...(annotations ? { annotations } : {}),
    };
    const object: JsonObject =
      this.#accepted.shape === "table"
        ? {
            kind: "Table",
            apiVersion: "meta.k8s.io/v1",
            metadata: { resourceVersion: String(revision) },
            columnDefinitions: null,
            rows: [
              {
                cells: [],
                object: { kind: "PartialObjectMetadata", apiVersion: "meta.k8s.io/v1", metadata },
              },
            ],
          }
        : this.#accepted.shape === "partial"
          ? { kind: "PartialObjectMetadata", apiVersion: "meta.k8s.io/v1", metadata }
          : { kind: type.kind, apiVersion: gvOf(type), metadata };
    this.#write(jsonLine("BOOKMARK", object));
  }

  #write(line: Buffer): void {
    const { response } = this.#x;
    if (this.#ended || response.destroyed) return;
    response.write(line);
    if (response.writableLength <= maxBacklogBytes) return;
    this.#context.refused.slowWatchesEnded += 1;
    response.destroy();
    this.end();
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
