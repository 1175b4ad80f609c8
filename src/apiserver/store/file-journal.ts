// apiserver/store: the journal on disk. One append-only log of JSON lines after a snapshot; both replaced by rename.
import {
  closeSync,
  fdatasync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  write,
} from "node:fs";
import { join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { isObject, type Json } from "../json.ts";
import type { ApiObject } from "../object.ts";
import type { StoreEvent } from "./history.ts";
import type { Journal, JournalRecord, StateEntry } from "./journal.ts";
import { deletedEntry, type Entry, type StoreImage } from "./store.ts";

/** Told when files under the data directory contradict each other or are damaged other than by a torn last line. */
export class JournalError extends Error {
  readonly file: string;
  constructor(file: string, reason: string) {
    super(`${file}: ${reason}`);
    this.name = "JournalError";
    this.file = file;
  }
}

const logName = (generation: number): string => `log-${generation}.jsonl`;
const snapshotName = (generation: number): string => `snapshot-${generation}.jsonl`;

const encode = (r: JournalRecord): string =>
  r.op === "put"
    ? `{"v":${r.revision},"r":${JSON.stringify(r.resource)},"k":${JSON.stringify(r.key)},"o":${r.json}}\n`
    : `{"v":${r.revision},"r":${JSON.stringify(r.resource)},"k":${JSON.stringify(r.key)}}\n`;

interface Line {
  readonly revision: number;
  readonly resource: string;
  readonly key: string;
  /** Undefined for a deletion. */
  readonly object: ApiObject | undefined;
  readonly json: string;
}

function decode(text: string): Line | undefined {
  let value: Json;
  try {
    value = JSON.parse(text) as Json;
  } catch {
    // A torn line; the caller decides whether a torn line may be where this one is.
    return undefined;
  }
  if (!isObject(value)) return undefined;
  const { v, r, k, o } = value;
  if (typeof v !== "number" || typeof r !== "string" || typeof k !== "string") return undefined;
  // Quotes inside strings are escaped, so this finds the field and nothing else.
  const json = text.slice(text.indexOf(',"o":') + 5, -1);
  return { revision: v, resource: r, key: k, object: isObject(o) ? (o as ApiObject) : undefined, json };
}

/** Below this a log is never worth compacting. Bytes. */
const compactAtLeast = 8 * 1024 * 1024;
/** How many events a restart puts back into the watch history. */
const replayedEvents = 10_000;

/**
 * Opens or makes the journal under `dir` and reads what is there. A torn last line of the last log is cut off: it was
 * never acknowledged. Throws {@link JournalError} for any other damage.
 */
export function openFileJournal(dir: string): { journal: Journal; image: StoreImage } {
  const names = readdirSync(dir);
  const generations = (prefix: string): number[] =>
    names
      .map((name) => new RegExp(`^${prefix}-(\\d+)\\.jsonl$`).exec(name)?.[1])
      .filter((n) => n !== undefined)
      .map(Number)
      .sort((a, b) => a - b);
  for (const name of names) if (name.endsWith(".tmp")) rmSync(join(dir, name));
  const snapshot = generations("snapshot").at(-1) ?? 0;
  const logs = generations("log").filter((g) => g >= snapshot);

  const state = new Map<string, Map<string, Entry>>();
  let revision = snapshot ? readSnapshot(join(dir, snapshotName(snapshot)), state) : 0;
  const events: StoreEvent[] = [];
  let oldest = revision;
  logs.forEach((generation, i) => {
    const file = join(dir, logName(generation));
    for (const line of readLog(file, i === logs.length - 1)) {
      if (line.revision <= revision)
        throw new JournalError(file, `revision ${line.revision} comes after ${revision}`);
      revision = line.revision;
      events.push(replay(state, line, file));
    }
  });
  if (events.length > replayedEvents) {
    const cut = events.splice(0, events.length - replayedEvents);
    oldest = cut.at(-1)!.entry.revision;
  }

  const generation = logs.at(-1) ?? Math.max(snapshot, 1);
  const entries = [...state].flatMap(([resource, collection]) =>
    [...collection.values()].map((entry) => ({ resource, entry })),
  );
  return { journal: new FileJournal(dir, generation), image: { revision, oldest, entries, events } };
}

function replay(state: Map<string, Map<string, Entry>>, line: Line, file: string): StoreEvent {
  let collection = state.get(line.resource);
  if (!collection) {
    collection = new Map();
    state.set(line.resource, collection);
  }
  const previous = collection.get(line.key);
  const { resource, key, revision, object, json } = line;
  if (!object) {
    if (!previous)
      throw new JournalError(file, `revision ${revision} deletes ${resource} ${key}, which is not there`);
    collection.delete(key);
    return { type: "DELETED", resource, key, revision, entry: deletedEntry(previous, revision), previous };
  }
  const entry: Entry = { key, revision, object, json };
  collection.set(key, entry);
  return { type: previous ? "MODIFIED" : "ADDED", resource, key, revision, entry, previous };
}

function readSnapshot(file: string, state: Map<string, Map<string, Entry>>): number {
  const lines = readFileSync(file, "utf8").split("\n");
  const header = JSON.parse(lines[0] ?? "") as { revision?: number; entries?: number };
  if (typeof header.revision !== "number" || header.entries !== lines.length - 2)
    throw new JournalError(file, "the snapshot is not complete");
  for (const text of lines.slice(1, -1)) {
    const line = decode(text);
    if (!line?.object) throw new JournalError(file, "the snapshot has a damaged line");
    replay(state, line, file);
  }
  return header.revision;
}

function readLog(file: string, last: boolean): Line[] {
  const bytes = readFileSync(file);
  const lines: Line[] = [];
  let start = 0;
  while (start < bytes.length) {
    const end = bytes.indexOf(10, start);
    const line = end < 0 ? undefined : decode(bytes.toString("utf8", start, end));
    if (!line) {
      const torn = last && (end < 0 || end === bytes.length - 1);
      if (!torn) throw new JournalError(file, `damaged at byte ${start}`);
      const fd = openSync(file, "r+");
      ftruncateSync(fd, start);
      fsyncSync(fd);
      closeSync(fd);
      break;
    }
    lines.push(line);
    start = end + 1;
  }
  return lines;
}

const writeAll = (fd: number, data: Buffer): Promise<void> =>
  new Promise((resolve, reject) => {
    const step = (offset: number): void => {
      write(fd, data, offset, data.length - offset, null, (error, written) => {
        if (error) reject(error);
        else if (offset + written < data.length) step(offset + written);
        else resolve();
      });
    };
    step(0);
  });

const dataSync = (fd: number): Promise<void> =>
  new Promise((resolve, reject) => {
    fdatasync(fd, (error) => (error ? reject(error) : resolve()));
  });

class FileJournal implements Journal {
  readonly #dir: string;
  #generation: number;
  #fd: number;
  #buffer: string[] = [];
  #logBytes = 0;
  #snapshotBytes = 0;
  #syncing: Promise<void> = Promise.resolve();
  #compacting: Promise<void> | undefined;

  constructor(dir: string, generation: number) {
    this.#dir = dir;
    this.#generation = generation;
    this.#fd = openSync(join(dir, logName(generation)), "a", 0o600);
    syncDirectory(dir);
  }

  append(record: JournalRecord): void {
    this.#buffer.push(encode(record));
  }

  sync(): Promise<void> {
    // One sync at a time; a failed one fails all later ones, because what it lost is lost.
    this.#syncing = this.#syncing.then(() => this.#flush());
    return this.#syncing;
  }

  async #flush(): Promise<void> {
    if (this.#buffer.length === 0) return;
    const data = Buffer.from(this.#buffer.join(""));
    this.#buffer = [];
    await writeAll(this.#fd, data);
    await dataSync(this.#fd);
    this.#logBytes += data.length;
  }

  compact(revision: number, state: () => readonly StateEntry[]): void {
    if (this.#compacting || this.#buffer.length > 0) return;
    if (this.#logBytes < Math.max(compactAtLeast, this.#snapshotBytes)) return;
    // Writes from now on go to the next log; the snapshot holds everything before.
    const fd = openSync(join(this.#dir, logName(this.#generation + 1)), "a", 0o600);
    const entries = state();
    const oldFd = this.#fd;
    this.#fd = fd;
    this.#generation += 1;
    this.#logBytes = 0;
    this.#compacting = this.#writeSnapshot(this.#generation, revision, entries)
      .then((bytes) => {
        this.#snapshotBytes = bytes;
      })
      .finally(() => {
        closeSync(oldFd);
        this.#compacting = undefined;
      });
    // A snapshot that could not be written costs nothing but space: both logs are still there, and sync() will fail too.
    this.#compacting.catch(() => {});
  }

  async #writeSnapshot(
    generation: number,
    revision: number,
    entries: readonly StateEntry[],
  ): Promise<number> {
    const temporary = join(this.#dir, `${snapshotName(generation)}.tmp`);
    const fd = openSync(temporary, "w", 0o600);
    let bytes = 0;
    try {
      let chunk = `${JSON.stringify({ revision, entries: entries.length })}\n`;
      for (const e of entries) {
        chunk += encode({ op: "put", ...e });
        if (chunk.length < 1 << 20) continue;
        bytes += chunk.length;
        await writeAll(fd, Buffer.from(chunk));
        await turn();
        chunk = "";
      }
      await writeAll(fd, Buffer.from(chunk));
      bytes += chunk.length;
      await dataSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, join(this.#dir, snapshotName(generation)));
    syncDirectory(this.#dir);
    for (const old of readdirSync(this.#dir)) {
      const match = /^(?:log|snapshot)-(\d+)\.jsonl$/.exec(old);
      if (match && Number(match[1]) < generation) rmSync(join(this.#dir, old));
    }
    return bytes;
  }

  async close(): Promise<void> {
    await this.sync();
    await this.#compacting;
    closeSync(this.#fd);
  }
}

function syncDirectory(dir: string): void {
  const fd = openSync(dir, "r");
  fsyncSync(fd);
  closeSync(fd);
}
