// apiserver/rest: GET of one object and of collections: paging, revisions, tables. Long answers go out in pieces.
import { setImmediate as turn } from "node:timers/promises";
import type { ServerContext } from "../context.ts";
import { isObject, type Json, type JsonObject } from "../json.ts";
import { ApiError, badRequest, expired, fieldErrors, invalid } from "../messages.ts";
import type { ApiObject } from "../object.ts";
import { gvOf, present, presentsAsStored, type ResourceType } from "../registry/resource.ts";
import { type Entry, toText } from "../store/store.ts";
import { type IncludeObject, partialMetadata, tableColumns, tableRow } from "../table/table.ts";
import { type Accepted, type Exchange, sendJson, writeAll } from "./exchange.ts";
import { both, fieldSelector, labelSelector, type Test } from "./selectors.ts";

/** Others are served at least this often while a long answer is made, ms. */
const sliceMs = 5;
/** Objects between two looks at the clock. */
const lookEvery = 32;
/** Pieces of an answer are about this long. Bytes. */
const pieceBytes = 1 << 18;

/** Gives way to others when it has gone on for a slice; called for each object. */
class Slices {
  #began = performance.now();
  #objects = 0;

  /** Whether {@link turn} is due. */
  get due(): boolean {
    this.#objects += 1;
    return this.#objects % lookEvery === 0 && performance.now() - this.#began >= sliceMs;
  }

  async turn(): Promise<void> {
    await turn();
    this.#began = performance.now();
  }
}

/** A part of a kind's objects: a namespace or all, perhaps selected. */
export interface Scope {
  readonly type: ResourceType;
  readonly namespace: string | undefined;
  /** Set for a GET or watch of one object by its path. */
  readonly name?: string;
}

export function selectorOf(scope: Scope, query: URLSearchParams): Test | undefined {
  const byLabel = labelSelector(query.get("labelSelector"));
  const byField = fieldSelector(query.get("fieldSelector"), scope.type);
  const { name } = scope;
  const byName: Test | undefined = name === undefined ? undefined : (object) => object.metadata.name === name;
  return both(byName, both(byLabel, byField));
}

export const prefixOf = (scope: Scope): string => (scope.namespace ? `${scope.namespace}/` : "");

/** A resourceVersion of a query: a number, undefined where there is none; 400 for anything else. */
export function revisionOf(query: URLSearchParams): number | undefined {
  const text = query.get("resourceVersion");
  if (!text) return undefined;
  if (!/^\d+$/.test(text))
    throw badRequest(
      `invalid resource version: resourceVersion: Invalid value: ${JSON.stringify(text)}: strconv.ParseUint: parsing ${JSON.stringify(text)}: invalid syntax`,
    );
  return Number(text);
}

const tooNew = (asked: number, current: number): ApiError =>
  new ApiError(504, "Timeout", `Timeout: Too large resource version: ${asked}, current: ${current}`, {
    causes: [{ reason: "ResourceVersionTooLarge", message: "Too large resource version" }],
    retryAfterSeconds: 1,
  });

interface Token {
  readonly revision: number;
  readonly start: string;
}

const writeToken = (t: Token): string =>
  Buffer.from(JSON.stringify({ v: "meta.k8s.io/v1", rv: t.revision, start: t.start })).toString("base64url");

function readToken(text: string): Token {
  try {
    const value = JSON.parse(Buffer.from(text, "base64url").toString("utf8")) as Json;
    if (isObject(value) && typeof value.rv === "number" && typeof value.start === "string")
      return { revision: value.rv, start: value.start };
  } catch {
    // Falls through: text that is no token is answered the same as a token of the wrong form.
  }
  throw badRequest(
    "invalid continue token: continue key is not valid: encoded value is not a continue token",
  );
}

const expiredToken =
  "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";

/** The revision that a list is answered at, and the entries as they were then. */
function stateFor(
  scope: Scope,
  query: URLSearchParams,
  context: ServerContext,
): { revision: number; entries: Entry[]; after: string } {
  const { store } = context;
  const { storage } = scope.type;
  const prefix = prefixOf(scope);
  const token = query.get("continue");
  if (token) {
    const { revision, start } = readToken(token);
    const at = revision < 0 ? store.revision : revision;
    const entries = store.entriesAt(storage, at, prefix);
    if (!entries) throw expired(expiredToken, writeToken({ revision: -1, start }));
    return { revision: at, entries, after: start };
  }
  const asked = revisionOf(query) ?? 0;
  const match = query.get("resourceVersionMatch");
  if (match && !query.get("resourceVersion"))
    throw invalid({ group: "meta.k8s.io", kind: "ListOptions" }, "", [
      fieldErrors.forbidden(
        "resourceVersionMatch",
        "resourceVersionMatch is forbidden unless resourceVersion is provided",
      ),
    ]);
  if (asked > store.revision) throw tooNew(asked, store.revision);
  const at = match === "Exact" && asked > 0 ? asked : store.revision;
  const entries = store.entriesAt(storage, at, prefix);
  if (!entries) throw expired(`The resourceVersion for the provided list is too old.`);
  return { revision: at, entries, after: "" };
}

function limitOf(query: URLSearchParams): number {
  const text = query.get("limit");
  if (!text) return 0;
  if (!/^-?\d+$/.test(text))
    throw badRequest(`strconv.ParseInt: parsing ${JSON.stringify(text)}: invalid syntax`);
  return Math.max(0, Number(text));
}

interface Page {
  readonly revision: number;
  readonly entries: readonly Entry[];
  readonly continueToken: string;
  readonly remaining: number | undefined;
}

async function pageOf(scope: Scope, query: URLSearchParams, context: ServerContext): Promise<Page> {
  const { revision, entries, after } = stateFor(scope, query, context);
  const test = selectorOf(scope, query);
  const limit = limitOf(query);
  const selected: Entry[] = [];
  const slices = new Slices();
  let i = 0;
  for (; i < entries.length; i++) {
    const entry = entries[i]!;
    if (test && slices.due) await slices.turn();
    if (entry.key <= after && after !== "") continue;
    if (test && !test(entry.object)) continue;
    if (limit > 0 && selected.length === limit) break;
    selected.push(entry);
  }
  const more = i < entries.length;
  return {
    revision,
    entries: selected,
    continueToken: more ? writeToken({ revision, start: selected.at(-1)?.key ?? "" }) : "",
    remaining: more && !test ? entries.length - i : undefined,
  };
}

const listMeta = (page: Page): JsonObject => ({
  resourceVersion: String(page.revision),
  ...(page.continueToken ? { continue: page.continueToken } : {}),
  ...(page.remaining !== undefined ? { remainingItemCount: page.remaining } : {}),
});

/** An object's JSON in the version's form. In lists of built-in kinds items say nothing of their kind. */
export function textOf(type: ResourceType, entry: Entry): string {
  return presentsAsStored(type, entry.object) ? entry.json : JSON.stringify(present(type, entry.object));
}

function itemText(type: ResourceType, entry: Entry): string {
  const text = textOf(type, entry);
  if (type.custom) return text;
  const metadata = text.indexOf('"metadata":');
  return metadata < 0 ? text : `{${text.slice(metadata)}`;
}

export function includeOf(query: URLSearchParams): IncludeObject {
  const include = query.get("includeObject");
  return include === "None" || include === "Object" ? include : "Metadata";
}

/** GET of a collection. */
export async function sendList(
  x: Exchange,
  scope: Scope,
  accepted: Accepted,
  context: ServerContext,
): Promise<void> {
  const page = await pageOf(scope, x.query, context);
  await context.store.committed();
  const { type } = scope;
  const head = (fields: JsonObject): string => JSON.stringify(fields).slice(0, -1);
  const include = includeOf(x.query);
  const now = context.now();
  let start: string;
  let item: (entry: Entry) => string;
  if (accepted.shape === "table") {
    start = `${head({ kind: "Table", apiVersion: "meta.k8s.io/v1", metadata: listMeta(page), columnDefinitions: tableColumns(type.columns) })},"rows":[`;
    item = (e) =>
      JSON.stringify(tableRow(type.columns, e.object, () => present(type, e.object), include, now));
  } else if (accepted.shape === "partial") {
    start = `${head({ kind: "PartialObjectMetadataList", apiVersion: "meta.k8s.io/v1", metadata: listMeta(page) })},"items":[`;
    item = (e) => JSON.stringify(partialMetadata(e.object));
  } else {
    start = `${head({ kind: type.listKind, apiVersion: gvOf(type), metadata: listMeta(page) })},"items":[`;
    item = (e) => itemText(type, e);
  }
  await sendPieces(x, accepted.contentType, start, page.entries, item);
}

async function sendPieces(
  x: Exchange,
  contentType: string,
  start: string,
  entries: readonly Entry[],
  item: (entry: Entry) => string,
): Promise<void> {
  let piece = start;
  const slices = new Slices();
  for (let i = 0; i < entries.length; i++) {
    piece += i === 0 ? item(entries[i]!) : `,${item(entries[i]!)}`;
    if (slices.due) await slices.turn();
    if (piece.length < pieceBytes) continue;
    if (!x.response.headersSent) x.response.writeHead(200, { "content-type": contentType });
    if (!(await writeAll(x.response, piece))) return;
    piece = "";
  }
  piece += "]}\n";
  if (!x.response.headersSent) sendJson(x, 200, piece, contentType);
  else x.response.end(piece);
}

/** One object, as the client wants to see it. */
export function sendObject(
  x: Exchange,
  code: number,
  type: ResourceType,
  stored: ApiObject,
  accepted: Accepted,
  context: ServerContext,
  entry?: Entry,
): void {
  if (accepted.shape === "table") {
    const row = tableRow(
      type.columns,
      stored,
      () => present(type, stored),
      includeOf(x.query),
      context.now(),
    );
    sendJson(
      x,
      code,
      {
        kind: "Table",
        apiVersion: "meta.k8s.io/v1",
        metadata: { resourceVersion: stored.metadata.resourceVersion },
        columnDefinitions: tableColumns(type.columns),
        rows: [row],
      },
      accepted.contentType,
    );
  } else if (accepted.shape === "partial") sendJson(x, code, partialMetadata(stored), accepted.contentType);
  else sendJson(x, code, `${entry ? textOf(type, entry) : toText(present(type, stored))}\n`);
}
