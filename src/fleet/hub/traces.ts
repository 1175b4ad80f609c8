// fleet/hub: Trace objects: says where the hub is, keeps their status true, and deletes those that are long finished.
import type { Condition, Trace, TraceStatus } from "../../api/index.ts";
import {
  type Clock,
  Controller,
  describeError,
  Informer,
  isNotFound,
  type KubeApi,
  kinds,
  type Random,
  type Result,
  setCondition,
  timestamp,
} from "../../kube/index.ts";
import { messages } from "../messages.ts";
import { bounds, type HubEndpoint, type Log, type Timing } from "../protocol.ts";
import type { RunOutcome } from "./run.ts";

export interface TraceKeeperOptions {
  readonly api: KubeApi;
  readonly endpoint: HubEndpoint;
  readonly clock: Clock;
  readonly random: Random;
  readonly timing: Timing;
  readonly log: Log;
  /** The object of a live run is gone. */
  readonly onDeleted: (uid: string) => void;
}

const fieldManager = "waggle-hub";

const ready = (status: Condition["status"], reason: string, message: string) =>
  ({ type: "Ready", status, reason, message }) as const;

export class TraceKeeper implements AsyncDisposable {
  readonly #options: TraceKeeperOptions;
  readonly #informer: Informer<Trace>;
  readonly #controller: Controller;
  /** By name: runs that this hub has taken, until their object is gone. What it knows is newer than the cache. */
  readonly #taken = new Map<string, string>();
  /** UIDs of Traces that pointed to another hub and were taken over; once each, so that two hubs cannot quarrel. */
  readonly #takenOver = new Set<string>();
  #active = true;
  /** By name: the last write of its status, so that writes keep their order. */
  readonly #writes = new Map<string, Promise<void>>();

  constructor(options: TraceKeeperOptions) {
    this.#options = options;
    const { api, clock, random, log } = options;
    this.#informer = new Informer<Trace>({ api, resource: kinds.Trace, clock, random });
    this.#controller = new Controller({
      name: "traces",
      reconcile: (key) => this.#reconcile(key),
      clock,
      random,
      maxBackoffMs: 10_000,
      allKeys: () => this.#informer.cache.keys(),
      onError: (trace, error) => log.warn({ trace, error: describeError(error) }, "trace status not written"),
    });
  }

  start(): void {
    this.#informer.onChange(this.#controller.enqueue);
    this.#informer.start();
    this.#controller.start();
  }

  /** Whether new Traces are ours. Those that this hub has begun stay its own. */
  set active(active: boolean) {
    this.#active = active;
    if (active) for (const name of this.#informer.cache.keys()) this.#controller.enqueue(name);
  }

  get(name: string): Trace | undefined {
    return this.#informer.cache.get(name);
  }

  /** Takes the run for its one caller; false when it was taken before. */
  take(trace: Trace): boolean {
    const { name } = trace.metadata;
    const phase = trace.status?.phase ?? "Pending";
    if (this.#taken.get(name) === uidOf(trace) || phase !== "Pending") return false;
    this.#taken.set(name, uidOf(trace));
    return true;
  }

  progress(trace: Trace, phase: "Compiled" | "Running", message: string, asked: number): void {
    void this.#write(trace, { phase, asked, message }, ready("Unknown", phase, message));
  }

  /** Resolves when the API server has it, or has refused it. */
  finished(trace: Trace, outcome: RunOutcome): Promise<void> {
    const { asked, answered, digest, failure } = outcome;
    const message = failure ?? messages.done(answered, asked);
    return this.#write(
      trace,
      {
        phase: failure === undefined ? "Done" : "Failed",
        asked,
        answered,
        lostEvents: Number(outcome.lostEvents),
        ...(digest === "" ? {} : { resultDigest: digest }),
        message,
        finishedAt: timestamp(this.#options.clock.now()),
      },
      failure === undefined ? ready("True", "Done", message) : ready("False", "Failed", message),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#informer[Symbol.dispose]();
    await this.#controller[Symbol.asyncDispose]();
    await Promise.all(this.#writes.values());
  }

  async #reconcile(name: string): Promise<Result | undefined> {
    const trace = this.get(name);
    const taken = this.#taken.get(name);
    if (taken !== undefined && taken !== (trace && uidOf(trace))) {
      this.#taken.delete(name);
      this.#options.onDeleted(taken);
    }
    if (!trace) return undefined;
    if (!this.#active) return undefined;
    if (trace.status?.finishedAt) return this.#expire(trace, Date.parse(trace.status.finishedAt));
    if (this.#taken.has(name)) return undefined;
    return this.#offer(trace);
  }

  /** Tells the caller where we are, and gives a Trace up whose caller does not come. */
  async #offer(trace: Trace): Promise<Result | undefined> {
    const { endpoint, timing, clock } = this.#options;
    const { status } = trace;
    const phase = status?.phase ?? "Pending";
    if (phase !== "Pending") {
      await this.#fail(trace, messages.hubRestarted());
      return undefined;
    }
    const restMs = Date.parse(trace.metadata.creationTimestamp ?? "") + timing.joinMs - clock.now();
    if (restMs <= 0) {
      await this.#fail(trace, messages.neverJoined(timing.joinMs));
      return undefined;
    }
    const { ca, ...where } = endpoint;
    const hub = { ...where, caBundle: ca };
    const other = status?.hub?.caBundle !== undefined && status.hub.caBundle !== ca;
    if (other && this.#takenOver.has(uidOf(trace))) return undefined;
    if (status?.hub?.caBundle !== ca) {
      if (this.#takenOver.size >= bounds.takenOver) this.#takenOver.clear();
      this.#takenOver.add(uidOf(trace));
      const message = messages.waiting();
      await this.#patch(trace, { phase: "Pending", hub, message }, ready("Unknown", "Waiting", message));
    }
    return { requeueAfterMs: Number.isFinite(restMs) ? restMs + 1_000 : timing.joinMs };
  }

  #fail(trace: Trace, message: string): Promise<void> {
    const finishedAt = timestamp(this.#options.clock.now());
    return this.#patch(trace, { phase: "Failed", message, finishedAt }, ready("False", "Failed", message));
  }

  async #expire(trace: Trace, finishedAt: number): Promise<Result | undefined> {
    const { api, timing, clock } = this.#options;
    const finished = this.#informer.cache
      .list()
      .filter((t) => t.status?.finishedAt)
      .sort((a, b) => Date.parse(a.status!.finishedAt!) - Date.parse(b.status!.finishedAt!));
    const surplus = finished.slice(0, Math.max(0, finished.length - bounds.finishedTraces));
    for (const old of surplus) if (old !== trace) this.#controller.enqueue(old.metadata.name);
    const restMs = finishedAt + timing.keepMs - clock.now();
    if (restMs > 0 && !surplus.includes(trace)) return { requeueAfterMs: restMs + 1_000 };
    try {
      await api.delete(kinds.Trace, trace.metadata.name, { preconditions: { uid: uidOf(trace) } });
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
    return undefined;
  }

  /** After all earlier writes of this Trace. A failure is told in the log: the caller has its answer anyway. */
  #write(trace: Trace, status: Partial<TraceStatus>, condition: ReturnType<typeof ready>): Promise<void> {
    const { name } = trace.metadata;
    const write = (this.#writes.get(name) ?? Promise.resolve()).then(() =>
      this.#patch(trace, status, condition).catch((error: unknown) =>
        this.#options.log.warn({ trace: name, error: describeError(error) }, "trace status not written"),
      ),
    );
    this.#writes.set(name, write);
    void write.then(() => {
      if (this.#writes.get(name) === write) this.#writes.delete(name);
    });
    return write;
  }

  async #patch(
    trace: Trace,
    status: Partial<TraceStatus>,
    condition: ReturnType<typeof ready>,
  ): Promise<void> {
    const { api, clock } = this.#options;
    const { name, generation, uid } = trace.metadata;
    const observed = generation === undefined ? {} : { observedGeneration: generation };
    const conditions = setCondition(
      this.get(name)?.status?.conditions,
      { ...condition, ...observed },
      clock.now(),
    );
    try {
      await api.patch(
        kinds.Trace,
        name,
        "merge",
        // The UID makes the write fail on another object of the same name.
        {
          ...(uid === undefined ? {} : { metadata: { uid } }),
          status: { ...observed, ...status, conditions },
        },
        { subresource: "status", fieldManager },
      );
    } catch (error) {
      // Its caller deletes a Trace when it has its answer.
      if (!isNotFound(error)) throw error;
    }
  }
}

const uidOf = (trace: Trace): string => trace.metadata.uid ?? trace.metadata.name;
