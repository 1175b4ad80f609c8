// fleet: the runs of one agent: what the hub asks becomes calls of the tracer, in order for each run, within this node's ceilings.
import type { FromAgent, Prepare } from "../api/generated/proto/hub_pb.js";
import type { Clock, Timer } from "../kube/index.ts";
import type { NodeChunk } from "../results/types.ts";
import type { Finished, Tracer } from "../trace/types.ts";
import { encodeJson, splitMaps } from "./chunks.ts";
import type { Ceilings, MemberStats } from "./member.ts";
import { messages } from "./messages.ts";
import { bounds, type Log, type Timing } from "./protocol.ts";
import { within } from "./watchdog.ts";

/** Sends to the hub; with a size it is output that may be refused. */
export type Send = (message: FromAgent["message"], bytes?: number) => boolean;

interface Run {
  readonly id: string;
  readonly durationMs: number;
  readonly send: Send;
  /** Calls of the tracer for this run, one after the other. */
  queue: Promise<void>;
  /** Stops a run that was prepared and is not attached, or that overruns its deadline. */
  timer: Timer | undefined;
  ended: boolean;
  dropped: number;
}

export interface MemberRunsOptions {
  readonly tracer: Tracer;
  readonly ceilings: Ceilings;
  readonly clock: Clock;
  readonly timing: Timing;
  readonly log: Log;
  readonly stats: MemberStats;
}

/** The smaller of what is asked and what is allowed; 0 asks for as much as is allowed. */
const atMost = (asked: bigint, most: number): number =>
  asked > 0n && asked < BigInt(most) ? Number(asked) : most;

export class MemberRuns {
  readonly #options: MemberRunsOptions;
  readonly #runs = new Map<string, Run>();

  constructor(options: MemberRunsOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#runs.size;
  }

  prepare(request: Prepare, send: Send): void {
    const { ceilings, tracer, clock, timing, stats } = this.#options;
    const refusal =
      request.durationMs > ceilings.durationMs
        ? messages.tooLong(request.durationMs, ceilings.durationMs)
        : this.#runs.size >= ceilings.runs || this.#runs.has(request.run)
          ? messages.tooManyHere(ceilings.runs)
          : undefined;
    if (refusal !== undefined) {
      stats.refused += 1;
      compiled(send, request.run, [refusal]);
      return;
    }
    const run: Run = {
      id: request.run,
      durationMs: request.durationMs,
      send,
      queue: Promise.resolve(),
      timer: undefined,
      ended: false,
      dropped: 0,
    };
    this.#runs.set(run.id, run);
    stats.runs += 1;
    this.#then(run, async () => {
      const prepared = await tracer.prepare({
        run: run.id,
        script: request.script,
        positional: request.positional,
        durationMs: request.durationMs,
        mapBytes: atMost(request.limits?.mapBytes ?? 0n, ceilings.mapBytes),
        ringBytes: atMost(request.limits?.ringBytes ?? 0n, ceilings.ringBytes),
      });
      // Stopped meanwhile: the tracer may have heard of the stop before it had anything to let go.
      if (run.ended) return tracer.stop(run.id, "stopped");
      if (!prepared.ok) {
        compiled(send, run.id, prepared.errors);
        this.#forget(run);
        return;
      }
      run.timer = clock.after(timing.prepareMs + timing.proceedMs + timing.collectMs, () =>
        this.stop(run.id),
      );
      send({
        case: "compiled",
        value: {
          $typeName: "waggle.hub.v1.Compiled",
          run: run.id,
          ok: true,
          schemaHash: prepared.schemaHash,
          schemaJson: encodeJson(prepared.schema),
          errors: [],
          warnings: [...prepared.warnings],
        },
      });
    });
  }

  attach(id: string, send: Send): void {
    const run = this.#runs.get(id);
    const answer = (ok: boolean, error: string, probes: number): void =>
      void send({
        case: "attached",
        value: { $typeName: "waggle.hub.v1.Attached", run: id, ok, error, probes },
      });
    if (!run) {
      answer(false, messages.unknownRun(), 0);
      return;
    }
    this.#then(run, async () => {
      if (run.ended) return;
      const { tracer, clock, timing } = this.#options;
      run.timer?.[Symbol.dispose]();
      const { ok, probes, error } = await tracer.attach(id, {
        chunk: (chunk) => this.#chunk(run, chunk),
        finished: (end) => this.#finish(run, end),
      });
      if (ok && run.ended) await tracer.stop(id, "stopped");
      answer(ok, error ?? "", probes);
      if (!ok) this.#forget(run);
      // The tracer ends the run at its deadline by itself; this is for one that does not.
      else if (!run.ended) run.timer = clock.after(run.durationMs + timing.graceMs, () => this.#overrun(run));
    });
  }

  /** Ends a run; what it has is handed in. Unknown runs are none of ours: it has ended. */
  stop(id: string): void {
    const run = this.#runs.get(id);
    if (run) void this.#stop(run, "stopped");
  }

  /** Ends all. Resolves when everything is detached, or the tracer has had 3 s for it. */
  async stopAll(reason: Finished["reason"]): Promise<void> {
    await Promise.all([...this.#runs.values()].map((run) => this.#stop(run, reason)));
  }

  async #stop(run: Run, reason: Finished["reason"]): Promise<void> {
    const { tracer, log, clock, timing } = this.#options;
    run.timer?.[Symbol.dispose]();
    // Not behind the queue: a stop must overtake a prepare or attach that hangs.
    try {
      await within(clock, timing.collectMs, tracer.stop(run.id, reason));
    } catch (error) {
      log.error({ run: run.id, error: (error as Error).message }, "tracer did not stop a run");
      this.#finish(run, {
        ...nothing,
        reason: "error",
        message: messages.tracerFailed((error as Error).message),
      });
    }
    // A run that was only prepared has no listener that would say so.
    this.#forget(run);
  }

  #overrun(run: Run): void {
    const { clock, timing, log } = this.#options;
    if (run.ended) return;
    log.error({ run: run.id }, "a run outlived its deadline");
    run.timer = clock.after(timing.collectMs, () =>
      this.#finish(run, { ...nothing, reason: "error", message: messages.overran() }),
    );
    void this.#options.tracer.stop(run.id, "deadline").catch((error: unknown) => {
      log.error({ run: run.id, error: (error as Error).message }, "tracer did not stop a run");
    });
  }

  #then(run: Run, step: () => Promise<void>): void {
    run.queue = run.queue.then(step).catch((error: unknown) => {
      const why = messages.tracerFailed((error as Error).message);
      this.#options.log.error({ run: run.id, error: (error as Error).stack }, "tracer failed");
      compiled(run.send, run.id, [why]);
      this.#finish(run, { ...nothing, reason: "error", message: why });
    });
  }

  #chunk(run: Run, chunk: NodeChunk): void {
    if (run.ended) return;
    if (chunk.kind === "maps") {
      // The answer itself: in pieces, and never refused; its size is bounded by the maps' own.
      for (const piece of splitMaps(chunk.maps, bounds.chunkBytes)) report(run, encodeJson(piece));
      return;
    }
    const json = encodeJson(chunk);
    if (json.length <= bounds.messageBytes - 1024 && report(run, json, json.length)) return;
    run.dropped += 1;
    this.#options.stats.linesDropped += 1;
  }

  #finish(run: Run, end: Finished): void {
    if (run.ended) return;
    run.send({
      case: "finished",
      value: {
        $typeName: "waggle.hub.v1.Finished",
        run: run.id,
        reason: end.reason,
        lostEvents: BigInt(end.lostEvents + run.dropped),
        mapFull: BigInt(end.mapFull),
        unattributed: BigInt(end.unattributed),
        exitCode: end.exitCode,
        message: end.message ?? "",
      },
    });
    this.#forget(run);
  }

  #forget(run: Run): void {
    run.ended = true;
    run.timer?.[Symbol.dispose]();
    if (this.#runs.get(run.id) === run) this.#runs.delete(run.id);
  }
}

const nothing = { lostEvents: 0, mapFull: 0, unattributed: 0, exitCode: 0 } as const;

const report = ({ send, id }: Run, chunkJson: Uint8Array, bytes?: number): boolean =>
  send({ case: "report", value: { $typeName: "waggle.hub.v1.Report", run: id, chunkJson } }, bytes);

function compiled(send: Send, run: string, errors: readonly string[]): void {
  send({
    case: "compiled",
    value: {
      $typeName: "waggle.hub.v1.Compiled",
      run,
      ok: false,
      schemaHash: "",
      schemaJson: new Uint8Array(),
      errors: [...errors],
      warnings: [],
    },
  });
}
