// trace tests: run a script in this process on a workload, and system calls whose number is known exactly.
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemCall } from "../../../src/kernel/ffi.ts";
import { tracefsRoot } from "../../../src/kernel/tracefs.ts";
import type { MapData, NodeChunk } from "../../../src/results/types.ts";
import { renderDiagnostics } from "../../../src/script/index.ts";
import {
  type EnvironmentOptions,
  type PrepareOptions,
  prepareScript,
  TraceEnvironment,
} from "../../../src/trace/prepare.ts";
import { createResolvers } from "../../../src/trace/resolvers.ts";
import { Run, type RunOptions } from "../../../src/trace/run.ts";
import type { Finished } from "../../../src/trace/types.ts";

export const isRoot = process.geteuid?.() === 0;
const tracefs = isRoot ? tracefsRoot() : undefined;
/** Whether scripts can run here at all. */
export const canTrace = isRoot && tracefs !== undefined && process.arch === "x64";
export const skipped = "skipped: needs root, tracefs and x86-64";

export const cacheDirectory = mkdtempSync(join(tmpdir(), "waggle-trace-"));

let shared: TraceEnvironment | undefined;

export function environment(options?: Partial<EnvironmentOptions>): TraceEnvironment {
  if (options) return new TraceEnvironment({ tracefs, cacheDirectory, ...options });
  shared ??= new TraceEnvironment({ tracefs, cacheDirectory });
  return shared;
}

export interface Outcome {
  readonly chunks: readonly NodeChunk[];
  readonly text: string;
  readonly maps: readonly MapData[];
  readonly end: Finished;
  readonly probes: number;
}

export interface ScriptOptions {
  readonly environment?: TraceEnvironment;
  readonly prepare?: Partial<PrepareOptions>;
  readonly run?: Partial<RunOptions>;
  /** Runs once everything is attached; the script ends after it unless it ends itself. */
  readonly work?: () => void | Promise<void>;
  /** The script ends by itself: nothing stops it after the work. */
  readonly endsItself?: boolean;
}

/** Prepares, attaches, works, ends. @throws Error with the diagnostics */
export async function runScript(source: string, options: ScriptOptions = {}): Promise<Outcome> {
  const env = options.environment ?? environment();
  const prepared = prepareScript(env, source, { name: "test.bt", positional: [], ...options.prepare });
  if (!prepared.ok)
    throw new Error(prepared.problem ?? renderDiagnostics(source, "test.bt", prepared.diagnostics));
  if (!prepared.loaded) throw new Error("not loaded");
  const { loaded } = prepared;
  const chunks: NodeChunk[] = [];
  let tell: (end: Finished) => void = () => {};
  const finished = new Promise<Finished>((resolve) => {
    tell = resolve;
  });
  const run = new Run(loaded, {
    resolvers: createResolvers({ loaded, names: env.names, symbols: env.symbols }),
    endWithoutProbes: true,
    listener: { chunk: (chunk) => chunks.push(chunk), finished: tell },
    ...options.run,
  });
  const { probes } = await run.attach();
  await options.work?.();
  if (!options.endsItself) await run.end("stopped");
  const end = await finished;
  await run.end("stopped");
  const text = chunks.flatMap((c) => (c.kind === "line" ? [c.text] : [])).join("");
  const maps = chunks.flatMap((c) => (c.kind === "maps" ? c.maps : []));
  return { chunks, text, maps, end, probes };
}

/** Rows of a map as plain objects: key joined by commas -> value. */
export function rowsOf(maps: readonly MapData[], name: string): Record<string, unknown> {
  const map = maps.find((m) => m.name === name);
  return Object.fromEntries(
    (map?.rows ?? []).map(({ key, cell }) => {
      const value =
        "value" in cell
          ? cell.value
          : "number" in cell
            ? Number(cell.number)
            : "buckets" in cell
              ? cell.buckets
              : cell;
      return [key.join(","), value];
    }),
  );
}

/** getppid(2), which nothing else in this process calls. */
export function getppid(times: number): void {
  for (let i = 0; i < times; i++) systemCall("getppid", 110);
}

/** getpriority(PRIO_PROCESS, who) for 0..n-1; who is unsigned here, so that errors do not matter. */
export function getpriority(n: number): void {
  for (let who = 0; who < n; who++) {
    try {
      systemCall("getpriority", 140, 0, who);
    } catch {
      // ESRCH for ids that nobody has: the call was made, which is all that counts.
    }
  }
}

export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Waits until something is so. @throws Error after the time given */
export async function until(what: string, test: () => boolean, withinMs = 10_000): Promise<void> {
  const end = Date.now() + withinMs;
  while (!test()) {
    if (Date.now() > end) throw new Error(`${what}: not within ${withinMs} ms`);
    await sleep(10);
  }
}
