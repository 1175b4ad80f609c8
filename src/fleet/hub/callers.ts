// fleet/hub: the streams of callers: one for each run, opened with the run's one-time key.
import { createHash, timingSafeEqual } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { type FromCaller, type RunEvent, RunEventSchema } from "../../api/generated/proto/hub_pb.js";
import { selects, type Trace } from "../../api/index.ts";
import { type Clock, describeError, type KubeApi, kinds } from "../../kube/index.ts";
import { messages } from "../messages.ts";
import { bounds, type Log, type Timing } from "../protocol.ts";
import { every, Watchdog, within } from "../watchdog.ts";
import type { AgentRegistry } from "./agents.ts";
import { HubRun } from "./run.ts";
import type { TraceKeeper } from "./traces.ts";

export interface CallerRegistryOptions {
  readonly api: KubeApi;
  readonly agents: AgentRegistry;
  readonly traces: TraceKeeper;
  readonly clock: Clock;
  readonly timing: Timing;
  readonly log: Log;
}

export interface CallerStats {
  runs: number;
  refused: number;
  gone: number;
}

export class CallerRegistry {
  readonly stats: CallerStats = { runs: 0, refused: 0, gone: 0 };
  readonly #options: CallerRegistryOptions;
  /** By the Trace's UID. */
  readonly #runs = new Map<string, HubRun>();
  readonly #executions = new Set<Promise<void>>();
  /** Streams that have not shown a key yet. */
  #opening = 0;
  /** Runs that are going on or about to. */
  #slots = 0;
  #closed = false;

  constructor(options: CallerRegistryOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#runs.size;
  }

  /** The object of a run is gone. */
  deleted(uid: string): void {
    this.#runs.get(uid)?.stop("deleted");
  }

  /** Resolves when no run is going on. */
  async idle(): Promise<void> {
    while (this.#executions.size > 0) await Promise.all(this.#executions);
  }

  /** Ends every run; agents are told at once. */
  close(): void {
    this.#closed = true;
    for (const run of this.#runs.values()) run.stop("hub-stops");
  }

  /** CallerHub.Run: one stream, from its key to the answer. */
  async *run(
    requests: AsyncIterable<FromCaller>,
    signal: AbortSignal,
  ): AsyncGenerator<RunEvent, void, undefined> {
    const { clock, timing } = this.#options;
    const incoming = requests[Symbol.asyncIterator]();
    let trace: Trace;
    let run: HubRun;
    try {
      trace = await this.#admit(incoming);
      run = await this.#begin(trace).catch((error: unknown) => {
        this.#slots -= 1;
        const nothing = { asked: 0, compiled: 0, attached: 0, answered: 0, lostEvents: 0n, digest: "" };
        void this.#options.traces.finished(trace, { ...nothing, failure: describeError(error) });
        throw error;
      });
    } catch (error) {
      this.stats.refused += 1;
      this.#options.log.info({ error: describeError(error) }, "caller refused");
      throw error;
    }
    const gone = (): void => {
      if (run.events.ended) return;
      this.stats.gone += 1;
      run.stop("caller-gone");
      run.events.drop();
    };
    signal.addEventListener("abort", gone, { once: true });
    using watchdog = new Watchdog(clock, timing.peerDeadMs, gone);
    using _beat = every(clock, timing.heartbeatMs, () => {
      const value = {
        $typeName: "waggle.hub.v1.Heartbeat" as const,
        atUnixMs: BigInt(Math.floor(clock.now())),
      };
      if (run.events.size < 16)
        run.events.push(create(RunEventSchema, { message: { case: "heartbeat", value } }));
    });
    void this.#read(incoming, run, watchdog).then(gone, gone);
    try {
      yield* run.events;
    } finally {
      signal.removeEventListener("abort", gone);
      gone();
      void incoming.return?.();
    }
  }

  async #admit(incoming: AsyncIterator<FromCaller>): Promise<Trace> {
    const { clock, timing, traces } = this.#options;
    if (this.#closed) throw new ConnectError(messages.hubStops(), Code.Unavailable);
    if (this.#slots + this.#opening >= bounds.runs * 2)
      throw new ConnectError(messages.tooManyRuns(bounds.runs), Code.ResourceExhausted);
    this.#opening += 1;
    try {
      const first = await within(clock, timing.helloMs, incoming.next());
      const message = first && !first.done ? first.value.message : undefined;
      if (message?.case !== "run") throw new ConnectError(messages.firstMessage(), Code.InvalidArgument);
      const trace = traces.get(message.value.trace);
      // One answer for a wrong name and a wrong key, after the same work: nothing is to be learnt by trying.
      const right = keyFits(message.value.key, trace?.spec.keyHash ?? "0".repeat(64));
      if (!trace || !right) throw new ConnectError(messages.badKey(), Code.Unauthenticated);
      if (this.#slots >= bounds.runs)
        throw new ConnectError(messages.tooManyRuns(bounds.runs), Code.ResourceExhausted);
      if (!traces.take(trace)) throw new ConnectError(messages.callerTwice(), Code.AlreadyExists);
      this.#slots += 1;
      return trace;
    } finally {
      this.#opening -= 1;
    }
  }

  async #begin(trace: Trace): Promise<HubRun> {
    const { api, agents, traces, clock, timing, log } = this.#options;
    const uid = trace.metadata.uid ?? trace.metadata.name;
    const { items } = await api.list(kinds.Node, { timeoutMs: timing.prepareMs });
    const nodes = items
      .filter((node) => selects(trace.spec.nodeSelector, node.metadata.labels))
      .map((node) => node.metadata.name)
      .sort();
    const run = new HubRun({
      trace,
      nodes,
      session: (node) => agents.get(node),
      clock,
      timing,
      log,
      progress: (phase, message, asked) => traces.progress(trace, phase, message, asked),
    });
    this.#runs.set(uid, run);
    this.stats.runs += 1;
    log.info({ trace: trace.metadata.name, nodes: nodes.length }, "run begins");
    const execution = run.execute().then(async (outcome) => {
      // The object says how it ended before the caller, who deletes it, hears of it; but nobody waits long for that.
      await within(clock, 1_000, traces.finished(trace, outcome));
      run.finish(outcome);
      this.#runs.delete(uid);
      this.#slots -= 1;
      const { asked, answered, failure } = outcome;
      log.info({ trace: trace.metadata.name, asked, answered, failure }, "run ended");
    });
    this.#executions.add(execution);
    void execution.finally(() => this.#executions.delete(execution));
    return run;
  }

  async #read(incoming: AsyncIterator<FromCaller>, run: HubRun, watchdog: Watchdog): Promise<void> {
    for (let next = await incoming.next(); !next.done; next = await incoming.next()) {
      watchdog.heard();
      const { message } = next.value;
      if (message.case === "proceed") run.proceed(message.value.schemaHash);
      else if (message.case === "stop") run.stop("caller-stop");
    }
  }
}

/** Whether the key's SHA-256 is the hash (64 hex digits), in a time that does not depend on where they differ. */
function keyFits(key: string, keyHash: string): boolean {
  const hash = createHash("sha256").update(key, "utf8").digest();
  const wanted = Buffer.from(keyHash, "hex");
  return wanted.length === hash.length && timingSafeEqual(hash, wanted);
}
