// trace: the tracer's child process: prepares, runs and stops scripts as its parent says, and ends all of them when the parent is gone.

import { ensureTracefs } from "../kernel/tracefs.ts";
import { hashSchema, schemaOf } from "../results/index.ts";
import type { NodeChunk } from "../results/types.ts";
import { renderDiagnostics } from "../script/index.ts";
import type { LoadedScript } from "./load.ts";
import { leaveMemoryCgroup } from "./memory-cgroup.ts";
import { say } from "./messages.ts";
import { type PreparedScript, prepareScript, TraceEnvironment } from "./prepare.ts";
import type { Attached, ChildOptions, FromChild, ToChild } from "./protocol.ts";
import { createResolvers } from "./resolvers.ts";
import { Run } from "./run.ts";
import type { Finished, Prepared, PrepareRequest } from "./types.ts";

/** What the source is called in messages of a run that came from the hub. */
const sourceName = "script";
/** A prepared run that nobody attaches is dropped after this. */
const preparedForMs = 120_000;
/** Bytes on their way to the parent beyond which records stay in the ring. */
const backlogLimit = 4 << 20;
/** Chunks that go in one message. */
const batchLimit = 512;

interface PreparedRun {
  readonly request: PrepareRequest;
  readonly loaded: LoadedScript;
  readonly expiry: NodeJS.Timeout;
}

/** The channel to the parent, which counts what is still on its way. */
class Channel {
  #backlog = 0;

  get ready(): boolean {
    return this.#backlog < backlogLimit;
  }

  send(message: FromChild): void {
    if (!process.send || !process.connected) return;
    const size = message.type === "chunks" ? sizeOf(message.chunks) : 0;
    this.#backlog += size;
    process.send(message, undefined, undefined, () => {
      this.#backlog -= size;
    });
  }
}

/** Rough size on the wire; rows of maps count as 100 bytes. */
function sizeOf(chunks: readonly NodeChunk[]): number {
  let size = 0;
  for (const chunk of chunks) {
    if (chunk.kind === "line") size += 64 + chunk.text.length;
    else
      for (const map of chunk.kind === "maps" ? chunk.maps : [chunk.map]) size += 100 * (1 + map.rows.length);
  }
  return size;
}

/** Collects chunks of a run and sends them together. */
class Batch {
  readonly #run: string;
  readonly #channel: Channel;
  #chunks: NodeChunk[] = [];
  #scheduled = false;

  constructor(run: string, channel: Channel) {
    this.#run = run;
    this.#channel = channel;
  }

  add(chunk: NodeChunk): void {
    this.#chunks.push(chunk);
    if (this.#chunks.length >= batchLimit) this.flush();
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.flush();
    });
  }

  flush(): void {
    if (this.#chunks.length === 0) return;
    const chunks = this.#chunks;
    this.#chunks = [];
    this.#channel.send({ type: "chunks", run: this.#run, chunks });
  }
}

/** The largest power of two up to a limit, at least one page. */
export const ringSize = (limit: number): number =>
  2 ** Math.max(12, Math.floor(Math.log2(Math.max(1, limit))));

/** Texts for a user from what preparing said. */
function errorTexts(source: string, prepared: Extract<PreparedScript, { ok: false }>): string[] {
  const rendered = prepared.diagnostics
    .filter((d) => d.severity === "error")
    .map((d) => renderDiagnostics(source, sourceName, [d]).trimEnd());
  return prepared.problem === undefined ? rendered : [...rendered, prepared.problem];
}

export class TracerChild {
  readonly #options: ChildOptions;
  readonly #environment: TraceEnvironment;
  readonly #channel = new Channel();
  readonly #prepared = new Map<string, PreparedRun>();
  readonly #running = new Map<string, Run>();

  constructor(options: ChildOptions) {
    this.#options = options;
    const tracefs = ensureTracefs();
    if (tracefs.root === undefined)
      process.stderr.write(`${say.noTracefs(tracefs.reason)}
`);
    else if (tracefs.mounted)
      process.stderr.write(`${say.mountedTracefs(tracefs.root)}
`);
    this.#environment = new TraceEnvironment({ ...options, tracefs: tracefs.root });
  }

  /** Pays for what the first script would otherwise wait for: types, compiler, program loading. */
  warm(): void {
    const source = "tracepoint:syscalls:sys_enter_openat { @[comm] = count(); }";
    const prepared = prepareScript(this.#environment, source, { name: sourceName, positional: [] });
    if (prepared.ok) prepared.loaded?.[Symbol.dispose]();
  }

  handle(message: ToChild): void {
    switch (message.type) {
      case "prepare":
        this.#channel.send({ type: "prepared", id: message.id, result: this.#prepare(message.request) });
        return;
      case "attach":
        void this.#attach(message.run).then((result) =>
          this.#channel.send({ type: "attached", id: message.id, result }),
        );
        return;
      case "stop":
        void this.#stop(message.run, message.reason).then(() =>
          this.#channel.send({ type: "stopped", id: message.id }),
        );
        return;
    }
  }

  #prepare(request: PrepareRequest): Prepared {
    const { limits } = this.#options;
    const refuse = (...errors: string[]): Prepared => ({ ok: false, errors });
    if (this.#prepared.has(request.run) || this.#running.has(request.run))
      return refuse(say.knownRun(request.run));
    if (this.#prepared.size + this.#running.size >= limits.runs) return refuse(say.tooManyRuns(limits.runs));
    if (!(request.durationMs > 0)) return refuse(say.duration());
    if (request.durationMs > limits.durationMs) return refuse(say.tooLong(limits.durationMs));
    const lower = (asked: number, own: number) => (asked > 0 ? Math.min(asked, own) : own);
    try {
      const prepared = prepareScript(this.#environment, request.script, {
        name: sourceName,
        positional: request.positional,
        mapBytes: lower(request.mapBytes, limits.mapBytes),
        compile: {
          unsafe: false,
          maxProbes: limits.probes,
          ringBytes: ringSize(lower(request.ringBytes, limits.ringBytes)),
        },
      });
      if (!prepared.ok) return refuse(...errorTexts(request.script, prepared));
      if (!prepared.loaded) return refuse(say.unknownRun(request.run));
      const expiry = setTimeout(() => this.#drop(request.run), preparedForMs);
      this.#prepared.set(request.run, { request, loaded: prepared.loaded, expiry });
      const schema = schemaOf(prepared.loaded.script.output);
      const warnings = prepared.warnings.map((d) =>
        renderDiagnostics(request.script, sourceName, [d]).trimEnd(),
      );
      return { ok: true, schema, schemaHash: hashSchema(schema), warnings };
    } catch (error) {
      return refuse((error as Error).message);
    }
  }

  #drop(run: string): void {
    const prepared = this.#prepared.get(run);
    if (!prepared) return;
    clearTimeout(prepared.expiry);
    this.#prepared.delete(run);
    prepared.loaded[Symbol.dispose]();
  }

  async #attach(name: string): Promise<Attached> {
    const prepared = this.#prepared.get(name);
    if (!prepared) return { ok: false, probes: 0, error: say.unknownRun(name) };
    clearTimeout(prepared.expiry);
    this.#prepared.delete(name);
    const batch = new Batch(name, this.#channel);
    const { loaded } = prepared;
    const run = new Run(loaded, {
      resolvers: createResolvers({
        loaded,
        names: this.#environment.names,
        symbols: this.#environment.symbols,
      }),
      durationMs: prepared.request.durationMs,
      endWithoutProbes: true,
      ready: () => this.#channel.ready,
      listener: {
        chunk: (chunk) => batch.add(chunk),
        finished: (end) => {
          batch.flush();
          this.#channel.send({ type: "finished", run: name, end });
          // It holds its place until it is detached, which comes after its answer.
          queueMicrotask(() => void run.end("stopped").then(() => this.#running.delete(name)));
        },
      },
    });
    this.#running.set(name, run);
    try {
      const { probes, skipped } = await run.attach();
      // The agent's log: the answer goes on without them.
      for (const text of skipped) process.stderr.write(`${say.skipped(name, text)}\n`);
      return { ok: true, probes };
    } catch (error) {
      this.#running.delete(name);
      run[Symbol.dispose]();
      return { ok: false, probes: 0, error: (error as Error).message };
    }
  }

  async #stop(name: string, reason: Finished["reason"]): Promise<void> {
    this.#drop(name);
    await this.#running.get(name)?.end(reason);
  }

  /** Everything off, at once. */
  async close(): Promise<void> {
    for (const name of [...this.#prepared.keys()]) this.#drop(name);
    await Promise.all([...this.#running.values()].map((run) => run.end("hub-lost")));
  }
}

/** How long the child gives itself to detach once its parent is gone. */
const exitWithinMs = 4000;

function main(): void {
  const options = JSON.parse(process.argv[2] ?? "{}") as ChildOptions;
  const child = new TracerChild(options);
  let closing = false;
  const leave = () => {
    if (closing) return;
    closing = true;
    const go = () => {
      if (options.cgroup !== undefined) leaveMemoryCgroup(options.cgroup);
      process.exit(0);
    };
    setTimeout(go, exitWithinMs).unref();
    void child.close().finally(go);
  };
  process.on("disconnect", leave);
  process.on("SIGTERM", leave);
  // Ctrl-C reaches the whole foreground group; the parent decides what it means.
  process.on("SIGINT", () => {});
  process.on("message", (message: ToChild) => child.handle(message));
  try {
    child.warm();
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`);
  }
  process.send?.({ type: "ready" } satisfies FromChild);
}

if (process.send !== undefined && process.argv[2] !== undefined) main();
