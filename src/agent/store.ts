// agent: what is kept over a restart: the last complete snapshot and what is in force, with the UID of their cluster.
import { join } from "node:path";
import { canonical, type InForce, noDrain, parseCanonical, type Snapshot } from "../plan/index.ts";
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
  /** Text of what was in force when progress was last written: it is most of it, and changes least. */
  #inForce: { readonly of: InForce; readonly text: string } | undefined;

  constructor(directory: string, node: string, log: Log) {
    this.#directory = directory;
    this.#node = node;
    this.#log = log;
  }

  readSnapshot(): Snapshot | undefined {
    return this.#read<Snapshot>(snapshotFile)?.content;
  }

  writeSnapshot(snapshot: Snapshot): void {
    this.#write(snapshotFile, snapshot.clusterUID, canonical(snapshot));
  }

  readProgress(clusterUID: string): Progress | undefined {
    const stored = this.#read<Progress>(progressFile);
    return stored?.clusterUID === clusterUID
      ? { ...stored.content, drain: stored.content.drain ?? noDrain, retiring: stored.content.retiring ?? [] }
      : undefined;
  }

  writeProgress(clusterUID: string, progress: Progress): void {
    const { inForce, ...rest } = progress;
    if (inForce && this.#inForce?.of !== inForce) this.#inForce = { of: inForce, text: canonical(inForce) };
    const members = canonical(rest).slice(1, -1);
    const content = inForce ? `{"inForce":${this.#inForce!.text},${members}}` : `{${members}}`;
    this.#write(progressFile, clusterUID, content);
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

  /** `content` is canonical text. */
  #write(name: string, clusterUID: string, content: string): void {
    const about: Omit<Stored<never>, "content"> = { version: storedVersion, clusterUID, node: this.#node };
    const text = `{"content":${content},${canonical(about).slice(1)}`;
    writeByRename(join(this.#directory, name), text, 0o600);
  }
}
