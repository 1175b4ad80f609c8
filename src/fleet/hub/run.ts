// fleet/hub: one run across nodes: prepare everywhere, compare, attach together, collect, merge, and stop whatever happens.
import { createHash } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import { PrepareSchema, type RunEvent, RunEventSchema } from "../../api/generated/proto/hub_pb.js";
import type { Trace } from "../../api/index.ts";
import type { Clock, Timer } from "../../kube/index.ts";
import type { NodeChunk, ResultSchema } from "../../results/types.ts";
import { ChunkError, decodeChunk, decodeSchema, encodeJson, joinMaps } from "../chunks.ts";
import { mergeNodes } from "../merge.ts";
import { messages } from "../messages.ts";
import { Outbox } from "../outbox.ts";
import { bounds, type Log, type Timing } from "../protocol.ts";
import { RoundMerger } from "../rounds.ts";
import type { AgentSession, RunPort } from "./agents.ts";
import { majority, type NodePhase, type NodeState, RunErrors } from "./run-nodes.ts";

/** What became of a run, for the Trace's status. */
export interface RunOutcome {
  readonly asked: number;
  readonly compiled: number;
  readonly attached: number;
  readonly answered: number;
  readonly lostEvents: bigint;
  /** SHA-256 of the merged maps as JSON; empty where there are none. */
  readonly digest: string;
  /** Why it ended: done, or a sentence. */
  readonly failure?: string;
}

export interface RunOptions {
  readonly trace: Trace;
  /** Names of all nodes that the selector matches. */
  readonly nodes: readonly string[];
  readonly session: (node: string) => AgentSession | undefined;
  readonly clock: Clock;
  readonly timing: Timing;
  readonly log: Log;
  /** What is held of its maps, in bytes of JSON. Default {@link bounds.runMapBytes}. */
  readonly mapBytes?: number;
  /** Called when a phase is over, for the Trace's status. */
  readonly progress: (phase: "Compiled" | "Running", message: string, asked: number) => void;
}

type End = "caller-stop" | "caller-gone" | "deleted" | "hub-stops";

/** One run. `execute` never rejects; everything the caller shall hear is in `events`. */
export class HubRun implements RunPort {
  readonly events = new Outbox<RunEvent>(bounds.callerQueueBytes);
  readonly id: string;
  readonly #options: RunOptions;
  readonly #nodes = new Map<string, NodeState>();
  readonly #errors = new RunErrors();
  #schema: ResultSchema | undefined;
  #rounds: RoundMerger | undefined;
  #proceed = false;
  #schemaHash = "";
  #end: End | undefined;
  #wake: (() => void) | undefined;
  #mapBytes = 0;
  #lost = 0n;
  #mapFull = 0n;
  #unattributed = 0n;
  #exitCode = 0;
  #linesDropped = 0;

  constructor(options: RunOptions) {
    this.#options = options;
    this.id = options.trace.metadata.uid ?? options.trace.metadata.name;
  }

  /** The caller has decided that phase 2 begins. It names the schema, as another cluster's may have won. */
  proceed(schemaHash: string): void {
    if (schemaHash === this.#schemaHash) this.#proceed = true;
    else this.#end ??= "caller-stop";
    this.#wake?.();
  }

  /** Ends the run: agents detach; what they have is still collected unless nobody waits for it. */
  stop(end: End): void {
    // Gone is stronger than stopping: nobody is there to collect for.
    if (this.#end !== "caller-gone") this.#end = end;
    this.#wake?.();
  }

  async execute(): Promise<RunOutcome> {
    const { nodes, log } = this.#options;
    let compiled = 0;
    let attached = 0;
    let digest = "";
    let failure: string | undefined;
    try {
      compiled = await this.#phaseOne();
      failure = compiled === 0 ? messages.nothingAttached() : await this.#awaitProceed();
      if (failure === undefined) {
        attached = await this.#phaseTwo();
        if (attached === 0) failure = messages.nothingAttached();
        else {
          await this.#collect();
          digest = this.#deliverMaps();
          failure = this.#endedBy();
        }
      }
    } catch (error) {
      // A fault of ours must not leave anything attached, nor the caller without an end.
      log.error({ run: this.id, error: (error as Error).stack }, "run failed");
      failure = messages.runError((error as Error).message);
    } finally {
      this.#release(failure ?? "stopped");
    }
    const answered = this.#count("answered");
    const outcome = { asked: nodes.length, compiled, attached, answered, digest };
    const lostEvents = this.#lost + BigInt(this.#linesDropped);
    return { ...outcome, lostEvents, ...(failure === undefined ? {} : { failure }) };
  }

  /** The last event; sent by the owner once the Trace's status is written. */
  finish(outcome: RunOutcome): void {
    if (this.#linesDropped > 0) this.#errors.add("", messages.linesDropped(this.#linesDropped));
    if (this.#rounds && this.#rounds.late > 0) this.#errors.add("", messages.lateRound(this.#rounds.late));
    this.#emit({
      case: "done",
      value: {
        $typeName: "waggle.hub.v1.RunDone",
        asked: outcome.asked,
        answered: outcome.answered,
        lostEvents: outcome.lostEvents,
        mapFull: this.#mapFull,
        unattributed: this.#unattributed,
        errors: this.#errors.list(),
        reason: outcome.failure ?? "done",
        exitCode: this.#exitCode,
      },
    });
    this.events.end();
  }

  // What agents say.

  compiled(
    node: string,
    m: { ok: boolean; schemaHash: string; schemaJson: Uint8Array; errors: string[]; warnings: string[] },
  ): void {
    const state = this.#nodes.get(node);
    if (state?.phase !== "preparing") return;
    if (m.ok) {
      state.phase = "compiled";
      state.schemaHash = m.schemaHash;
      state.schemaJson = m.schemaJson;
      state.warnings = m.warnings;
    } else this.#drop(node, m.errors.join("\n"));
    this.#wake?.();
  }

  attached(node: string, m: { ok: boolean; error: string }): void {
    const state = this.#nodes.get(node);
    if (state?.phase !== "attaching") return;
    if (m.ok) state.phase = "attached";
    else this.#drop(node, m.error);
    this.#wake?.();
  }

  report(node: string, chunkJson: Uint8Array): void {
    const state = this.#nodes.get(node);
    if (state?.phase !== "attached" && state?.phase !== "attaching") return;
    try {
      this.#take(node, state, decodeChunk(chunkJson), chunkJson);
    } catch (error) {
      if (!(error instanceof ChunkError)) throw error;
      this.#drop(node, messages.badChunk(error.message));
      state.session.stop(this.id, "error");
      this.#wake?.();
    }
  }

  finished(
    node: string,
    m: {
      reason: string;
      lostEvents: bigint;
      mapFull: bigint;
      unattributed: bigint;
      exitCode: number;
      message: string;
    },
  ): void {
    const state = this.#nodes.get(node);
    if (!state || state.phase === "out" || state.phase === "answered") return;
    this.#lost += m.lostEvents;
    this.#mapFull += m.mapFull;
    this.#unattributed += m.unattributed;
    if (m.exitCode !== 0 && this.#exitCode === 0) this.#exitCode = m.exitCode;
    if (m.reason === "error" || m.reason === "hub-lost") this.#drop(node, messages.runError(m.message));
    else {
      state.phase = "answered";
      this.#rounds?.leave(node);
    }
    this.#wake?.();
  }

  lost(node: string): void {
    const phase = this.#nodes.get(node)?.phase;
    if (phase === undefined || phase === "out" || phase === "answered") return;
    this.#drop(node, messages.agentLost());
    this.#wake?.();
  }

  // The phases.

  async #phaseOne(): Promise<number> {
    const { nodes, trace, timing } = this.#options;
    const { spec } = trace;
    if (nodes.length === 0) this.#errors.add("", messages.noNodes());
    const request = create(PrepareSchema, {
      run: this.id,
      script: spec.script,
      durationMs: spec.durationSeconds * 1000,
      limits: { mapBytes: BigInt(spec.limits.mapBytes), ringBytes: BigInt(spec.limits.ringBytes) },
      positional: [...(spec.positional ?? [])],
    });
    for (const node of nodes) {
      const session = this.#options.session(node);
      if (!session) {
        this.#errors.add(node, messages.noAgent());
        continue;
      }
      const none = { schemaHash: "", schemaJson: new Uint8Array(), warnings: [], maps: [] };
      this.#nodes.set(node, { session, phase: "preparing", ...none });
      session.listen(this.id, this);
      session.prepare(request);
    }
    await this.#until(timing.prepareMs, () => this.#count("preparing") === 0);
    this.#giveUp("preparing", messages.silent("compile", timing.prepareMs));
    const most = majority(this.#nodes.values());
    if (most) {
      this.#keepOnly(most.schemaHash);
      this.#schema = decodeSchema(most.schemaJson);
      this.#schemaHash = most.schemaHash;
    }
    const compiled = this.#count("compiled");
    this.#options.progress("Compiled", messages.compiledOn(compiled, nodes.length), nodes.length);
    this.#emit({
      case: "compiled",
      value: {
        $typeName: "waggle.hub.v1.PhaseOne",
        asked: nodes.length,
        compiled,
        errors: this.#errors.list(),
        schemaJson: most?.schemaJson ?? new Uint8Array(),
        schemaHash: most?.schemaHash ?? "",
        warnings: this.#warnings(),
        nodes: [...nodes],
      },
    });
    return compiled;
  }

  /** @returns why phase 2 is not to begin; undefined when it is */
  async #awaitProceed(): Promise<string | undefined> {
    const { timing } = this.#options;
    await this.#until(timing.proceedMs, () => this.#proceed);
    if (this.#end === "caller-stop") return messages.stoppedEarly();
    if (this.#end !== undefined) return this.#endedBy();
    return this.#proceed ? undefined : messages.callerSilent(timing.proceedMs);
  }

  #endedBy(): string | undefined {
    if (this.#end === "caller-gone") return messages.callerGone();
    if (this.#end === "deleted") return messages.deleted();
    return this.#end === "hub-stops" ? messages.hubStops() : undefined;
  }

  async #phaseTwo(): Promise<number> {
    const { nodes, timing } = this.#options;
    const ready = [...this.#nodes].filter(([, state]) => state.phase === "compiled");
    this.#rounds = new RoundMerger({
      schema: this.#schema!,
      merge: mergeNodes,
      sources: ready.map(([node]) => node),
      maxPending: bounds.pendingRounds,
      emit: (round) => this.#deliver("", round),
    });
    for (const [, state] of ready) {
      state.phase = "attaching";
      state.session.attach(this.id);
    }
    // A caller that stops now still gets what the nodes have by then.
    const nobodyWaits = (): boolean => this.#end !== undefined && this.#end !== "caller-stop";
    await this.#until(timing.attachMs, () => this.#count("attaching") === 0, nobodyWaits);
    this.#giveUp("attaching", messages.silent("attach", timing.attachMs));
    const attached = this.#count("attached") + this.#count("answered");
    this.#options.progress("Running", messages.running(attached, nodes.length), nodes.length);
    this.#emit({
      case: "attached",
      value: { $typeName: "waggle.hub.v1.PhaseTwo", attached, errors: this.#errors.list() },
    });
    return attached;
  }

  /** Until every node has answered or is out. Past the deadline, or when told to, they are stopped and waited for briefly. */
  async #collect(): Promise<void> {
    const { timing, trace } = this.#options;
    const all = (): boolean => this.#count("attached") === 0;
    await this.#until(trace.spec.durationSeconds * 1000 + timing.graceMs, all);
    if (!all()) {
      this.#stopAgents(this.#end === undefined ? "deadline" : "stopped");
      // With nobody to collect for, agents are told and that is all.
      const end = this.#end;
      if (end !== "caller-gone" && end !== "hub-stops")
        await this.#until(timing.collectMs, all, () => this.#end === "caller-gone");
    }
    this.#giveUp("attached", messages.silent("answer", timing.collectMs));
  }

  /** Merged maps go out once, at the end. */
  #deliverMaps(): string {
    this.#rounds?.flush();
    const parts = [...this.#nodes]
      .filter(([, state]) => state.phase === "answered")
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([source, state]) => ({ source, maps: joinMaps(state.maps) }));
    if (!this.#schema || parts.length === 0) return "";
    const maps = mergeNodes(this.#schema, parts);
    const json = encodeJson({ kind: "maps", maps } satisfies NodeChunk);
    this.#emit(
      { case: "report", value: { $typeName: "waggle.hub.v1.NodeReport", node: "", chunkJson: json } },
      json.length,
    );
    return createHash("sha256").update(json).digest("hex");
  }

  // Details.

  #take(node: string, state: NodeState, chunk: NodeChunk, json: Uint8Array): void {
    if (chunk.kind === "round") this.#rounds?.add(node, chunk);
    else if (chunk.kind === "line") this.#forward(node, json);
    else if (this.#mapBytes + json.length > (this.#options.mapBytes ?? bounds.runMapBytes)) {
      this.#drop(node, messages.mapsTooLarge(this.#options.mapBytes ?? bounds.runMapBytes));
      state.session.stop(this.id, "error");
    } else {
      this.#mapBytes += json.length;
      state.maps.push(chunk.maps);
    }
  }

  #deliver(node: string, chunk: NodeChunk): void {
    this.#forward(node, encodeJson(chunk));
  }

  #forward(node: string, chunkJson: Uint8Array): void {
    const value = { $typeName: "waggle.hub.v1.NodeReport" as const, node, chunkJson };
    const event = create(RunEventSchema, { message: { case: "report", value } });
    if (!this.events.offer(event, chunkJson.length)) this.#linesDropped += 1;
  }

  #emit(message: RunEvent["message"], bytes = 0): void {
    this.events.push(create(RunEventSchema, { message }), bytes);
  }

  #keepOnly(hash: string): void {
    for (const [node, state] of this.#nodes)
      if (state.phase === "compiled" && state.schemaHash !== hash) {
        state.session.stop(this.id, "error");
        this.#drop(node, messages.otherSchema(state.schemaHash, hash));
      }
  }

  #warnings(): string[] {
    const all = new Set<string>();
    for (const state of this.#nodes.values())
      if (state.phase === "compiled") for (const text of state.warnings) all.add(text);
    return [...all].slice(0, bounds.errors);
  }

  #count(phase: NodePhase): number {
    let n = 0;
    for (const state of this.#nodes.values()) if (state.phase === phase) n += 1;
    return n;
  }

  #drop(node: string, error: string): void {
    const state = this.#nodes.get(node);
    if (state) {
      state.phase = "out";
      state.maps = [];
    }
    this.#rounds?.leave(node);
    this.#errors.add(node, error);
  }

  /** Nodes that are still in a phase are told to let go, and are out. */
  #giveUp(phase: NodePhase, error: string): void {
    for (const [node, state] of this.#nodes)
      if (state.phase === phase) {
        state.session.stop(this.id, "error");
        this.#drop(node, error);
      }
  }

  #stopAgents(reason: string): void {
    for (const state of this.#nodes.values())
      if (["attached", "attaching", "compiled", "preparing"].includes(state.phase))
        state.session.stop(this.id, reason);
  }

  /** Every agent that could hold something of this run is told to let go; nothing of it is heard any more. */
  #release(reason: string): void {
    for (const state of this.#nodes.values()) {
      if (state.phase !== "answered" && state.phase !== "out") state.session.stop(this.id, reason);
      state.session.forget(this.id);
    }
  }

  /** Waits until the condition holds, the run is ended, or `ms` have passed. */
  async #until(
    ms: number,
    holds: () => boolean,
    ended = (): boolean => this.#end !== undefined,
  ): Promise<void> {
    let late = false;
    const timer: Timer = this.#options.clock.after(ms, () => {
      late = true;
      this.#wake?.();
    });
    while (!holds() && !late && !ended())
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    this.#wake = undefined;
    timer[Symbol.dispose]();
  }
}
