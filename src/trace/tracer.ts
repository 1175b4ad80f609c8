// trace: the tracer: a warm child process that runs scripts, restarted when it dies, in a memory cgroup of its own.
import { type ChildProcess, fork } from "node:child_process";
import { getCompileCacheDir } from "node:module";
import { fileURLToPath } from "node:url";
import { createMemoryCgroup, type MemoryCgroup } from "./memory-cgroup.ts";
import { say } from "./messages.ts";
import type { Attached, ChildOptions, FromChild, ToChild, TracerLimits } from "./protocol.ts";
import type { Finished, Prepared, PrepareRequest, RunListener, Tracer, TracerOptions } from "./types.ts";

export const defaultLimits: TracerLimits = {
  runs: 8,
  mapBytes: 256 << 20,
  ringBytes: 8 << 20,
  durationMs: 3_600_000,
  // Each takes the kernel about 40 ms to take off, one after the other: all are off within 5 s of a lost parent.
  probes: 96,
};

/** Bytes that the child and the kernel objects that it makes may take. */
const defaultMemory = 768 << 20;

const backoffMs = { first: 100, longest: 10_000, forgottenAfter: 30_000 } as const;
/** How long close() waits for the child to detach before it is killed. */
const closeWithinMs = 5000;

export interface ProcessTracerOptions extends TracerOptions {
  /** The child's program; default: beside this file. */
  readonly childPath?: string;
  readonly limits?: Partial<TracerLimits>;
  readonly memoryBytes?: number;
  /** Told what an operator should know: deaths, a missing memory limit. */
  readonly log?: (message: string) => void;
}

/** The child's source beside this one, or its bundle beside the main bundle. */
const defaultChildPath = (): string =>
  fileURLToPath(
    new URL(import.meta.url.endsWith(".ts") ? "./child.ts" : "./trace-child.js", import.meta.url),
  );

/** The child shares our cache of compiled code, and speaks to nobody whose certificate it would have to check. */
function childEnvironment(): NodeJS.ProcessEnv {
  const { NODE_EXTRA_CA_CERTS: _, ...rest } = process.env;
  const cache = getCompileCacheDir();
  return cache === undefined ? rest : { ...rest, NODE_COMPILE_CACHE: cache };
}

interface Waiting {
  readonly fail: (reason: string) => void;
  readonly done: (message: FromChild) => void;
}

/** A Tracer whose work is done by a child process. */
export class ProcessTracer implements Tracer {
  readonly #options: ProcessTracerOptions;
  readonly #limits: TracerLimits;
  readonly #log: (message: string) => void;
  readonly #waiting = new Map<number, Waiting>();
  readonly #listeners = new Map<string, { readonly listener: RunListener; readonly attached: boolean }>();
  #cgroup: MemoryCgroup | undefined;
  #child: ChildProcess | undefined;
  #ready: Promise<boolean> = Promise.resolve(false);
  #nextId = 1;
  #startedAt = 0;
  #wait: number = backoffMs.first;
  #restart: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: ProcessTracerOptions) {
    this.#options = options;
    this.#limits = { ...defaultLimits, ...options.limits };
    this.#log = options.log ?? (() => {});
    this.#start();
  }

  /** The child's process id; undefined while there is none. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  #start(): void {
    this.#restart = undefined;
    const { childPath, limits: _, memoryBytes, log: __, ...tracer } = this.#options;
    const cgroup = this.#makeCgroup(memoryBytes ?? defaultMemory);
    const options: ChildOptions = {
      ...tracer,
      limits: this.#limits,
      ...(cgroup === undefined ? {} : { cgroup: cgroup.directory }),
    };
    this.#startedAt = Date.now();
    const child = fork(childPath ?? defaultChildPath(), [JSON.stringify(options)], {
      execArgv: [],
      env: childEnvironment(),
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
    this.#child = child;
    if (cgroup) this.#confine(child, cgroup);
    let settle: (up: boolean) => void = () => {};
    this.#ready = new Promise((resolve) => {
      settle = resolve;
    });
    child.on("message", (message: FromChild) => {
      if (message.type === "ready") settle(true);
      else this.#received(message);
    });
    child.on("error", (error) => this.#log(say.tracerDied(error.message)));
    child.on("exit", (code, signal) => {
      settle(false);
      if (this.#child === child) this.#died(signal ?? `exit code ${code}`);
    });
  }

  /** The same cgroup for every child, one after the other. */
  #makeCgroup(limit: number): MemoryCgroup | undefined {
    const made = createMemoryCgroup("waggle-tracer-", limit);
    this.#cgroup = made.ok ? made.cgroup : undefined;
    if (!made.ok) this.#log(say.noMemoryLimit(made.reason));
    return this.#cgroup;
  }

  #confine(child: ChildProcess, cgroup: MemoryCgroup): void {
    if (child.pid === undefined) return;
    try {
      cgroup.add(child.pid);
    } catch (error) {
      this.#log(say.noMemoryLimit((error as Error).message));
    }
  }

  #received(message: FromChild): void {
    switch (message.type) {
      case "ready":
        return;
      case "chunks": {
        const listener = this.#listeners.get(message.run);
        for (const chunk of message.chunks) listener?.listener.chunk(chunk);
        return;
      }
      case "finished": {
        const listener = this.#listeners.get(message.run);
        this.#listeners.delete(message.run);
        listener?.listener.finished(message.end);
        return;
      }
      default: {
        const waiting = this.#waiting.get(message.id);
        this.#waiting.delete(message.id);
        waiting?.done(message);
      }
    }
  }

  /** The child is gone, and the kernel has taken its probes off: runs end as errors, a new child comes after a while. */
  #died(how: string): void {
    this.#child = undefined;
    const reason = this.#closed ? say.tracerClosed() : say.tracerDied(how);
    for (const { fail } of this.#waiting.values()) fail(reason);
    this.#waiting.clear();
    // A run whose attaching was not yet answered learns it from the answer.
    const listeners = [...this.#listeners.values()].filter((l) => l.attached);
    this.#listeners.clear();
    for (const { listener } of listeners)
      listener.finished({
        reason: "error",
        message: reason,
        lostEvents: 0,
        mapFull: 0,
        unattributed: 0,
        exitCode: 1,
      });
    if (this.#closed) return;
    this.#log(reason);
    if (Date.now() - this.#startedAt > backoffMs.forgottenAfter) this.#wait = backoffMs.first;
    this.#restart = setTimeout(() => this.#start(), this.#wait);
    this.#restart.unref();
    this.#wait = Math.min(this.#wait * 2, backoffMs.longest);
  }

  /** Asks the child; rejects with what to tell the user. */
  async #ask(make: (id: number) => ToChild): Promise<FromChild> {
    if (this.#closed) throw new Error(say.tracerClosed());
    if (!(await this.#ready) || !this.#child) throw new Error(say.tracerUnavailable(this.#wait));
    const id = this.#nextId++;
    const child = this.#child;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { done: resolve, fail: (reason) => reject(new Error(reason)) });
      child.send(make(id), (error) => {
        if (!error || !this.#waiting.delete(id)) return;
        reject(new Error(say.tracerDied(error.message)));
      });
    });
  }

  async prepare(request: PrepareRequest): Promise<Prepared> {
    try {
      const reply = await this.#ask((id) => ({ type: "prepare", id, request }));
      if (reply.type === "prepared") return reply.result;
      return { ok: false, errors: [say.tracerDied(reply.type)] };
    } catch (error) {
      return { ok: false, errors: [(error as Error).message] };
    }
  }

  async attach(run: string, listener: RunListener): Promise<Attached> {
    this.#listeners.set(run, { listener, attached: false });
    try {
      const reply = await this.#ask((id) => ({ type: "attach", id, run }));
      const result: Attached =
        reply.type === "attached"
          ? reply.result
          : { ok: false, probes: 0, error: say.tracerDied(reply.type) };
      if (!result.ok) this.#listeners.delete(run);
      else if (this.#listeners.has(run)) this.#listeners.set(run, { listener, attached: true });
      return result;
    } catch (error) {
      this.#listeners.delete(run);
      return { ok: false, probes: 0, error: (error as Error).message };
    }
  }

  async stop(run: string, reason: Finished["reason"]): Promise<void> {
    // A child that is gone has taken everything with it: there is nothing to stop.
    if (!this.#child) return;
    try {
      await this.#ask((id) => ({ type: "stop", id, run, reason }));
    } catch (error) {
      this.#log((error as Error).message);
    }
  }

  /** Ends all runs and the child. Detached when the promise resolves. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#restart);
    const child = this.#child;
    if (child) {
      const gone = new Promise<void>((resolve) => child.once("exit", () => resolve()));
      const killer = setTimeout(() => child.kill("SIGKILL"), closeWithinMs);
      child.disconnect();
      await gone;
      clearTimeout(killer);
    }
    if (this.#cgroup && !(await this.#cgroup.remove())) this.#log(say.cgroupStays(this.#cgroup.directory));
  }
}
