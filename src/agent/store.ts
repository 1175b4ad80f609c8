// agent: what is kept over a restart: the last complete snapshot and what is in force, with the UID of their cluster.
import { join } from "node:path";
import { canonical, noDrain, parseCanonical, type Snapshot } from "../plan/index.ts";
import { readIfThere, writeByRename } from "./files.ts";
import type { Log, Progress, StateStore } from "./ports.ts";

/** Raised when a stored form can no longer be read by newer code. */
const storedVersion = 1;

export const snapshotFile = "snapshot.json";
export const progressFile = "progress.json";

interface Stored<T> {
  readonly version: number;
  readonly clusterUID: string;
  readonly node: string;
  readonly content: T;
}

/** Files in the agent's state directory, readable for root only. */
export class FileStore implements StateStore {
  readonly #directory: string;
  readonly #node: string;
  readonly #log: Log;

  constructor(directory: string, node: string, log: Log) {
    this.#directory = directory;
    this.#node = node;
    this.#log = log;
  }

  readSnapshot(): Snapshot | undefined {
    return this.#read<Snapshot>(snapshotFile)?.content;
  }

  writeSnapshot(snapshot: Snapshot): void {
    this.#write(snapshotFile, snapshot.clusterUID, snapshot);
  }

  readProgress(clusterUID: string): Progress | undefined {
    const stored = this.#read<Progress>(progressFile);
    return stored?.clusterUID === clusterUID
      ? { ...stored.content, drain: stored.content.drain ?? noDrain, retiring: stored.content.retiring ?? [] }
      : undefined;
  }

  writeProgress(clusterUID: string, progress: Progress): void {
    this.#write(progressFile, clusterUID, progress);
  }

  #read<T>(name: string): Stored<T> | undefined {
    const path = join(this.#directory, name);
    const text = readIfThere(path);
    if (text === undefined) return undefined;
    try {
      const stored = parseCanonical(text) as Stored<T>;
      if (stored.version === storedVersion && stored.node === this.#node) return stored;
      this.#log.warn({ path, version: stored.version, node: stored.node }, "stored state is of another kind");
    } catch (error) {
      // A file that cannot be read is as good as none: what the API server says replaces it.
      this.#log.warn({ path, error: String(error) }, "stored state cannot be read");
    }
    return undefined;
  }

  #write<T>(name: string, clusterUID: string, content: T): void {
    const stored: Stored<T> = { version: storedVersion, clusterUID, node: this.#node, content };
    writeByRename(join(this.#directory, name), canonical(stored), 0o600);
  }
}
