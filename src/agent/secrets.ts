// agent: BGP passwords: got by name, never listed, kept on tmpfs only, never logged. What is not there fails closed.
import { mkdirSync, statfsSync } from "node:fs";
import { dirname, join } from "node:path";
import { systemNamespace } from "../api/index.ts";
import {
  type Clock,
  describeError,
  isNotFound,
  jitter,
  type KubeApi,
  kinds,
  type Random,
  type Timer,
} from "../kube/index.ts";
import { readIfThere, removeEmpty, removeIfThere, writeByRename } from "./files.ts";
import type { Log } from "./ports.ts";

export interface PasswordOptions {
  readonly api: KubeApi;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Where passwords outlive this process, on tmpfs; undefined keeps them in this process only. */
  readonly directory: string | undefined;
  /** A password has come, changed or gone. */
  readonly onChange: () => void;
}

/** Magic numbers of file systems that live in memory (linux/magic.h). */
const inMemory: ReadonlySet<number> = new Set([0x0102_1994, 0x8584_58f6]);
const missingPollMs = 2_000;
const presentPollMs = 30_000;
/** Secrets that a node follows; more peers with passwords of their own get none. */
const secretLimit = 256;

interface Entry {
  password: string | undefined;
  /** The API server, or the copy on tmpfs, has been asked with an answer. */
  known: boolean;
  nextAt: number;
}

/** Follows the Secrets that this node's peers name. */
export class Passwords implements Disposable {
  readonly #o: PasswordOptions;
  readonly #entries = new Map<string, Entry>();
  readonly #stop = new AbortController();
  #timer: Timer | undefined;
  #busy = false;

  constructor(options: PasswordOptions) {
    this.#o = options;
  }

  /** From now on these Secrets are followed and no other. */
  want(names: ReadonlySet<string>): void {
    for (const name of this.#entries.keys())
      if (!names.has(name)) {
        this.#entries.delete(name);
        this.#store(name, undefined);
      }
    for (const name of names) {
      if (this.#entries.has(name) || this.#entries.size >= secretLimit) continue;
      const path = this.#path(name);
      const stored = path === undefined ? undefined : readIfThere(path);
      this.#entries.set(name, { password: stored, known: stored !== undefined, nextAt: 0 });
    }
    this.#schedule();
  }

  /** Whether every wanted Secret has been asked for with an answer, so that an absence is one. */
  get settled(): boolean {
    return [...this.#entries.values()].every((e) => e.known);
  }

  /** Names of the Secrets that are there with a password. */
  present(): ReadonlySet<string> {
    return new Set([...this.#entries].flatMap(([name, e]) => (e.password === undefined ? [] : [name])));
  }

  passwords(): ReadonlyMap<string, string> {
    return new Map(
      [...this.#entries].flatMap(([name, e]) =>
        e.password === undefined ? [] : [[name, e.password] as const],
      ),
    );
  }

  [Symbol.dispose](): void {
    this.#stop.abort();
    this.#timer?.[Symbol.dispose]();
  }

  #schedule(): void {
    this.#timer?.[Symbol.dispose]();
    this.#timer = undefined;
    if (this.#stop.signal.aborted || this.#busy || this.#entries.size === 0) return;
    const next = Math.min(...[...this.#entries.values()].map((e) => e.nextAt));
    this.#timer = this.#o.clock.after(Math.max(0, next - this.#o.clock.monotonic()), () => void this.#poll());
  }

  async #poll(): Promise<void> {
    this.#busy = true;
    const now = this.#o.clock.monotonic();
    const due = [...this.#entries].filter(([, e]) => e.nextAt <= now);
    await Promise.all(due.map(([name, entry]) => this.#ask(name, entry)));
    this.#busy = false;
    this.#schedule();
  }

  async #ask(name: string, entry: Entry): Promise<void> {
    const { api, clock, random, log } = this.#o;
    let password = entry.password;
    let answered = true;
    try {
      const secret = await api.get(kinds.Secret, name, {
        namespace: systemNamespace,
        signal: this.#stop.signal,
        timeoutMs: 5_000,
        retries: 0,
      });
      const encoded = secret.data?.["password"];
      password = encoded ? Buffer.from(encoded, "base64").toString("utf8") : undefined;
    } catch (error) {
      if (this.#stop.signal.aborted) return;
      // Only a plain 404 says that it is not there; after anything else the last known password stays.
      if (isNotFound(error)) password = undefined;
      else {
        answered = false;
        log.warn({ secret: name, error: describeError(error) }, "a password Secret cannot be read");
      }
    }
    const changed = entry.password !== password || (answered && !entry.known);
    entry.known ||= answered;
    const wait = entry.known && password !== undefined ? presentPollMs : missingPollMs;
    entry.nextAt = clock.monotonic() + jitter(wait, 0.2, random);
    if (!changed || this.#entries.get(name) !== entry) return;
    entry.password = password;
    this.#store(name, password);
    this.#o.onChange();
  }

  /** The copy of a password; undefined where there are none. */
  #path(name: string): string | undefined {
    return this.#o.directory === undefined ? undefined : join(this.#o.directory, name);
  }

  #store(name: string, password: string | undefined): void {
    const path = this.#path(name);
    const { directory } = this.#o;
    if (path === undefined || directory === undefined) return;
    if (password === undefined) {
      removeIfThere(path);
      removeEmpty(directory);
    } else {
      mkdirSync(directory, { recursive: true, mode: 0o700 });
      writeByRename(path, password, 0o600);
    }
  }
}

/** The first directory that lies on a file system in memory, whether it is there already or not. */
export const firstInMemory = (directories: readonly string[]): string | undefined =>
  directories.find((directory) => {
    for (let path = directory; ; path = dirname(path))
      try {
        return inMemory.has(statfsSync(path).type);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "ENOENT" || path === dirname(path)) return false;
      }
  });
