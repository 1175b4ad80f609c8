// fleet/client: asks several clusters one question: each prepares, then all attach together, and their answers become one.
import type { PhaseOne } from "../../api/generated/proto/hub_pb.js";
import type { Coverage, MapData, NodeChunk, ResultSchema } from "../../results/types.ts";
import { decodeSchema, joinMaps } from "../chunks.ts";
import { mergeClusters, type Part, renameNodes } from "../merge.ts";
import { messages } from "../messages.ts";
import { bounds, defaultTiming } from "../protocol.ts";
import { RoundMerger } from "../rounds.ts";
import { within } from "../watchdog.ts";
import { type ClusterEnd, ClusterRun, type Opened } from "./cluster.ts";
import type { ClusterCoverage, NodeFailure, RunTraceOptions, TraceOutcome } from "./types.ts";

export type * from "./types.ts";

interface Participant {
  readonly run: ClusterRun;
  readonly phase: PhaseOne;
}

/** What nodes are called: their own name, or cluster/name where two clusters have one of that name. */
export function nodeNames(clusters: readonly { readonly name: string; readonly nodes: readonly string[] }[]) {
  const seen = new Map<string, number>();
  for (const { nodes } of clusters)
    for (const node of new Set(nodes)) seen.set(node, (seen.get(node) ?? 0) + 1);
  return (cluster: string, node: string): string => {
    if (node === "") return cluster;
    return (seen.get(node) ?? 0) > 1 ? `${cluster}/${node}` : node;
  };
}

/** The schema that most nodes of all clusters have; among equals the smaller hash. */
function commonSchema(participants: readonly Participant[]): PhaseOne | undefined {
  const weight = new Map<string, number>();
  for (const { phase } of participants)
    weight.set(phase.schemaHash, (weight.get(phase.schemaHash) ?? 0) + phase.compiled);
  return participants
    .map((p) => p.phase)
    .filter((phase) => phase.compiled > 0)
    .sort(
      (a, b) =>
        weight.get(b.schemaHash)! - weight.get(a.schemaHash)! || (a.schemaHash < b.schemaHash ? -1 : 1),
    )[0];
}

/**
 * Runs a script on all clusters. A cluster that refuses or does not answer is told of and the others go on. Everything that
 * was created is deleted before this returns. Never rejects for what a cluster does.
 */
export async function runTrace(options: RunTraceOptions): Promise<TraceOutcome> {
  const { clusters, clock, onEvent, stop, strict } = options;
  const timing = { ...defaultTiming, ...options.timing };
  const dial = options.dial ?? (await import("../dial.ts")).dialHub;
  const answer = new Answer(options);
  const runs = clusters.map(
    ({ name, client }) =>
      new ClusterRun({
        name,
        client,
        question: options,
        clock,
        timing,
        randomBytes: options.randomBytes,
        socketExists: options.socketExists,
        dial,
        onAttached: (attached, asked) => onEvent({ kind: "attached", cluster: name, asked, attached }),
        onChunk: (node, chunk) => answer.take(name, node, chunk),
      }),
  );
  const stopAll = (): void => {
    for (const run of runs) run.stop();
  };
  stop.addEventListener("abort", stopAll, { once: true });
  try {
    const opened = await Promise.all(
      runs.map(async (run) => {
        const result = await run.open();
        tell(run.name, result, onEvent);
        return result;
      }),
    );
    const participants = runs.flatMap((run, i): Participant[] => {
      const result = opened[i]!;
      return "phase" in result ? [{ run, phase: result.phase }] : [];
    });
    answer.name = nodeNames(participants.map(({ run, phase }) => ({ name: run.name, nodes: phase.nodes })));
    const everywhere =
      participants.length === runs.length && participants.every(({ phase: p }) => p.compiled === p.asked);
    const common = commonSchema(participants);
    let reason: string | undefined;
    const attaching = new Set<ClusterRun>();
    if (stop.aborted) reason = messages.stoppedEarly();
    else if (!common) reason = messages.nothingAttached();
    else if (strict && !everywhere) reason = messages.strict();
    else {
      const schema = decodeSchema(common.schemaJson);
      const same = participants.filter(
        ({ phase }) => phase.compiled > 0 && phase.schemaHash === common.schemaHash,
      );
      for (const { run } of same) attaching.add(run);
      answer.begin(
        schema,
        same.map(({ run }) => run.name),
      );
      onEvent({ kind: "running", schema });
    }
    // Hubs whose nodes do not take part are told at once; those that do begin together.
    for (const { run } of participants)
      if (attaching.has(run)) run.proceed(common!.schemaHash);
      else run.stop();
    const limitMs =
      options.durationSeconds * 1000 + timing.attachMs + timing.graceMs + timing.collectMs + 5_000;
    const ends = await Promise.all(
      runs.map(async (run, i) => {
        const result = opened[i]!;
        if (!("phase" in result)) return undefined;
        const end = await within(clock, limitMs, run.ended);
        answer.leave(run.name);
        return end;
      }),
    );
    return answer.outcome(
      runs.map(({ name }, i) => coverageOf(name, opened[i]!, ends[i], common)),
      ends,
      reason,
    );
  } finally {
    stop.removeEventListener("abort", stopAll);
    await Promise.all(runs.map((run) => run.close()));
  }
}

function tell(cluster: string, result: Opened, onEvent: RunTraceOptions["onEvent"]): void {
  if ("error" in result) onEvent({ kind: "out", cluster, error: result.error });
  else {
    const { asked, compiled, errors, warnings } = result.phase;
    const failures = errors.map(({ node, error }) => ({ node, error }));
    onEvent({ kind: "compiled", cluster, asked, compiled, errors: failures, warnings });
  }
}

function coverageOf(
  cluster: string,
  opened: Opened,
  end: ClusterEnd | undefined,
  common: PhaseOne | undefined,
): ClusterCoverage {
  if ("error" in opened) return { cluster, asked: 0, answered: 0, error: opened.error };
  const { asked, compiled, schemaHash } = opened.phase;
  const other = common !== undefined && compiled > 0 && schemaHash !== common.schemaHash;
  const error = other
    ? messages.otherSchema(schemaHash, common.schemaHash)
    : end === undefined
      ? messages.hubLost("it did not end the run")
      : end.error;
  return { cluster, asked, answered: end?.answered ?? 0, ...(error === undefined ? {} : { error }) };
}

/** What has come so far of one answer. */
class Answer {
  /** Set when phase 1 has told all nodes' names; nothing is printed before. */
  name: (cluster: string, node: string) => string = (_, node) => node;
  readonly #onEvent: RunTraceOptions["onEvent"];
  readonly #maps = new Map<string, (readonly MapData[])[]>();
  #schema: ResultSchema | undefined;
  #rounds: RoundMerger | undefined;

  constructor({ onEvent }: RunTraceOptions) {
    this.#onEvent = onEvent;
  }

  begin(schema: ResultSchema, clusters: readonly string[]): void {
    this.#schema = schema;
    this.#rounds = new RoundMerger({
      schema,
      merge: mergeClusters,
      sources: clusters,
      maxPending: bounds.pendingRounds,
      emit: (round) => this.#onEvent({ kind: "round", round }),
    });
  }

  take(cluster: string, node: string, chunk: NodeChunk): void {
    if (!this.#schema) return;
    const called = (each: string): string => this.name(cluster, each);
    if (chunk.kind === "line") this.#onEvent({ kind: "line", node: called(node), line: chunk });
    else if (chunk.kind === "round") {
      const map = renameNodes(this.#schema, [chunk.map], called)[0]!;
      this.#rounds?.add(cluster, { ...chunk, map });
    } else {
      const maps = renameNodes(this.#schema, chunk.maps, called);
      this.#maps.set(cluster, [...(this.#maps.get(cluster) ?? []), maps]);
    }
  }

  leave(cluster: string): void {
    this.#rounds?.leave(cluster);
  }

  outcome(
    clusters: readonly ClusterCoverage[],
    ends: readonly (ClusterEnd | undefined)[],
    reason: string | undefined,
  ): TraceOutcome {
    this.#rounds?.flush();
    const parts = [...this.#maps].map(([source, pieces]): Part => ({ source, maps: joinMaps(pieces) }));
    const maps = this.#schema && parts.length > 0 ? mergeClusters(this.#schema, parts) : [];
    const sum = (of: (c: { lostEvents: number; mapFull: number; unattributed: number }) => number): number =>
      ends.reduce((total, end) => total + (end ? of(end) : 0), 0);
    const errors = clusters.flatMap(({ cluster, error }, i): NodeFailure[] => [
      ...(error === undefined ? [] : [{ node: cluster, error }]),
      ...(ends[i]?.errors ?? []).map(({ node, error: e }) => ({ node: this.name(cluster, node), error: e })),
    ]);
    const coverage: Coverage = {
      asked: clusters.reduce((n, c) => n + c.asked, 0),
      answered: clusters.reduce((n, c) => n + c.answered, 0),
      lostEvents: sum((e) => e.lostEvents),
      mapFull: sum((e) => e.mapFull),
      unattributed: sum((e) => e.unattributed),
      errors,
    };
    const whole = clusters.every((c) => c.error === undefined && c.answered === c.asked);
    return {
      status: coverage.answered === 0 ? "failed" : whole ? "ok" : "partial",
      schema: this.#schema,
      maps,
      coverage,
      clusters,
      exitCode: ends.find((end) => end && end.exitCode !== 0)?.exitCode ?? 0,
      ...(reason === undefined ? {} : { reason }),
    };
  }
}
