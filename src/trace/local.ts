// trace: `waggle trace --local`: a script on this machine alone, in this process, printed as bpftrace prints.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { whenProcessEnds } from "../kernel/ffi.ts";
import { ensureTracefs } from "../kernel/tracefs.ts";
import { schemaOf } from "../results/index.ts";
import { checkSyntax, formatSource, knownSettings, renderDiagnostics } from "../script/index.ts";
import type { CompiledScript, Diagnostic } from "../script/types.ts";
import { AttachError } from "./attach.ts";
import type { GatedCommand } from "./command.ts";
import { listProbes } from "./listing.ts";
import type { LoadedScript } from "./load.ts";
import { say } from "./messages.ts";
import { type Buffering, Printer, Sink } from "./output.ts";
import { type PreparedScript, prepareScript, TraceEnvironment } from "./prepare.ts";
import { createResolvers } from "./resolvers.ts";
import { Run } from "./run.ts";
import { dumpStages, type Stage } from "./stages.ts";
import { KernelTypes } from "./type-source.ts";
import type { Finished, TracerOptions } from "./types.ts";

export interface LocalOptions {
  /** The script's text (`-e`), or `file`, where "-" is stdin. */
  readonly program?: string;
  readonly file?: string;
  /** Positional parameters, $1 first. */
  readonly arguments?: readonly string[];
  readonly format?: "text" | "json";
  /** File to print to instead of stdout. */
  readonly output?: string;
  readonly buffering?: Buffering;
  /** Nothing but the script's own output. */
  readonly quiet?: boolean;
  readonly verbose?: boolean;
  /** Compile and load, attach nothing. */
  readonly dryRun?: boolean;
  /** List probes that match (or those of the script) instead of running; `verbose` adds their arguments. */
  readonly list?: string | true;
  readonly stages?: readonly Stage[];
  readonly command?: string;
  readonly pid?: number;
  readonly unsafe?: boolean;
  /** Tell of every helper that fails, with its place (-k). */
  readonly checkHelpers?: boolean;
  readonly compat?: "0.17";
  /** False: warnings are not shown. */
  readonly warnings?: boolean;
  /** The run ends after this time. */
  readonly durationMs?: number;
  readonly maxStrlen?: number;
  readonly maxMapKeys?: number;
  readonly maxProbes?: number;
  readonly ringBytes?: number;
  /** Where the node's maps, names and index are; an agent's node has them, others need not. */
  readonly tracer?: Partial<TracerOptions>;
  readonly environment?: Readonly<Record<string, string | undefined>>;
}

let attached = false;

/** Whether a run of this process has reached the kernel. */
export const hasAttached = (): boolean => attached;

/** Where the index of kernel types is kept unless it is said otherwise. */
export const defaultCacheDirectory = "/var/cache/waggle";

/** Not process.stderr: the streams behind it cost a start several milliseconds. */
const err = new Sink({ fd: 2 }, "none");
const out = new Sink({ fd: 1 }, "none");
const stderr = (text: string): void => err.write(text);
const complain = (text: string): void => stderr(`ERROR: ${text}\n`);
const warn = (text: string): void => stderr(`WARNING: ${text}\n`);

interface Source {
  readonly text: string;
  readonly name: string;
}

function readSource(options: LocalOptions): Source | undefined {
  if (options.program) return { text: options.program, name: "stdin" };
  if (options.file === undefined) return undefined;
  const name = options.file === "-" ? "stdin" : options.file;
  return { text: readFileSync(options.file === "-" ? 0 : options.file, "utf8"), name };
}

/** Runs, lists or checks. @returns the exit code: 0, the script's own, or after an error that was printed 255 where a probe could not be attached, else 1 */
export async function runLocal(options: LocalOptions): Promise<number> {
  try {
    return await runOrList(options);
  } catch (error) {
    for (const text of error instanceof AttachError ? error.failures : [(error as Error).message])
      complain(text);
    // 0.17 makes no difference between a command that is not there and a probe that cannot be attached.
    if ((error as Error).name === "CommandError" && options.compat === "0.17") return attachFailed;
    return (error as { readonly exitCode?: number }).exitCode ?? 1;
  }
}

/** bpftrace's exit code where a probe cannot be attached. */
const attachFailed = 255;

/** Scripts leave the tracer out by `comm != "bpftrace"`. */
function nameThread(): void {
  try {
    writeFileSync("/proc/self/comm", "bpftrace");
  } catch (error) {
    warn(say.notNamed((error as Error).message));
  }
}

async function runOrList(options: LocalOptions): Promise<number> {
  if (process.geteuid?.() !== 0) throw new Error(say.notRoot());
  nameThread();
  const mounts = ensureTracefs();
  if (mounts.root === undefined) warn(say.noTracefs(mounts.reason));
  else if (mounts.mounted) warn(say.mountedTracefs(mounts.root));
  const tracefs = mounts.root;
  const command = options.command === undefined || options.list ? undefined : await gated(options.command);
  const pid = options.pid ?? command?.pid;
  if (options.pid !== undefined && !existsSync(`/proc/${options.pid}`))
    throw new Error(say.noProcess(options.pid));
  const environment = new TraceEnvironment({
    cacheDirectory: defaultCacheDirectory,
    ...options.tracer,
    tracefs,
    ...(pid === undefined ? {} : { pid }),
  });
  try {
    if (options.list !== undefined) return list(options, environment, tracefs);
    const source = readSource(options);
    if (!source) throw new Error(say.noProgram());
    return await runSource(source, options, environment, command);
  } finally {
    command?.stop();
  }
}

/** `--fmt`: the script in the usual layout, on stdout; one that is no script is refused. @returns the exit code */
export function showFormatted(options: LocalOptions): number {
  try {
    const source = readSource(options);
    if (!source) throw new Error(say.noProgram());
    const errors = checkSyntax(source.text).filter((d) => d.severity === "error" && d.code !== "no-probes");
    stderr(renderDiagnostics(source.text, source.name, errors));
    if (errors.length > 0) return 1;
    out.write(formatSource(source.text));
    return 0;
  } catch (error) {
    complain((error as Error).message);
    return 1;
  } finally {
    out.flush();
  }
}

/** `--info`: what this kernel offers to scripts. @returns the exit code */
export function showInfo(): number {
  try {
    const { features } = new KernelTypes({ tracefs: undefined, cacheDirectory: defaultCacheDirectory });
    for (const [name, value] of Object.entries(features)) out.write(`${name}: ${yesNo(value)}\n`);
    return 0;
  } catch (error) {
    complain((error as Error).message);
    return 1;
  }
}

const yesNo = (value: boolean | number): string =>
  typeof value === "number" ? `${value}` : value ? "yes" : "no";

/** Only `-c` pays for child processes. */
const gated = async (command: string): Promise<GatedCommand> =>
  new (await import("./command.ts")).GatedCommand(command);

function list(options: LocalOptions, environment: TraceEnvironment, tracefs: string | undefined): number {
  using sink = new Sink({ fd: 1 }, "full");
  const listing = {
    types: environment.types,
    tracefs,
    verbose: options.verbose === true,
    ...(options.pid === undefined ? {} : { pid: options.pid }),
  };
  const pattern = options.list === true ? "" : (options.list ?? "");
  const source =
    pattern !== "" && !pattern.includes(":") && existsSync(pattern)
      ? readFileSync(pattern, "utf8")
      : undefined;
  const patterns = source === undefined ? [pattern] : pointsOf({ ...options, program: source }, environment);
  for (const one of patterns) for (const line of listProbes(one, listing)) sink.write(`${line}\n`);
  return 0;
}

/** Attach points of a script, for listing them. @throws Error that holds its diagnostics */
function pointsOf(options: LocalOptions, environment: TraceEnvironment): string[] {
  const source = options.program ?? "";
  let script: CompiledScript | undefined;
  const prepared = prepareScript(environment, source, {
    ...prepareOptions(options, "stdin"),
    compileOnly: true,
    compiled: (made) => {
      script = made;
    },
  });
  if (!prepared.ok)
    throw new Error(prepared.problem ?? renderDiagnostics(source, "stdin", prepared.diagnostics).trim());
  return (script?.attach ?? []).map((point) => point.text);
}

const pageSize = 4096;
/** All of a ring counts as memory of this process; this is four times what bpftrace has on two CPUs, and holds 40,000 short lines. */
const localRing = 2 << 20;

/** Settings of which a wrong value is ignored with a warning. */
const numbers = new Set(["max_strlen", "max_map_keys", "max_probes", "perf_rb_pages"]);

/** Settings that bpftrace takes from the environment and that mean something here. */
function environmentSettings(options: LocalOptions) {
  const environment = options.environment ?? process.env;
  const number = (name: string): number | undefined => {
    const text = environment[`BPFTRACE_${name}`];
    if (text === undefined || text === "") return undefined;
    if (/^\d+$/.test(text)) return Number(text);
    warn(say.environmentNumber(`BPFTRACE_${name}`, text));
    return undefined;
  };
  const pages = number("PERF_RB_PAGES");
  const counts = {
    max_strlen: number("MAX_STRLEN") ?? number("STRLEN"),
    max_map_keys: number("MAX_MAP_KEYS") ?? number("MAP_KEYS_MAX"),
    max_probes: number("MAX_PROBES"),
  };
  /** Those that are settings of a config block, too. */
  const settings = Object.fromEntries(
    Object.entries(environment).flatMap(([variable, text]) => {
      const name = variable.replace(/^BPFTRACE_/, "").toLowerCase();
      const meant = variable.startsWith("BPFTRACE_") && knownSettings.has(name);
      return text && meant && !numbers.has(name) ? [[name, text]] : [];
    }),
  );
  return {
    settings: {
      ...settings,
      ...Object.fromEntries(
        Object.entries(counts).flatMap(([name, value]) => (value === undefined ? [] : [[name, `${value}`]])),
      ),
    },
    maxStrlen: options.maxStrlen,
    maxMapKeys: options.maxMapKeys,
    maxProbes: options.maxProbes,
    // A few pages a CPU are bpftrace's buffers; ours is one for all.
    ringBytes:
      options.ringBytes ??
      (pages === undefined || pages === 0 ? undefined : 2 ** Math.ceil(Math.log2(pages * pageSize * 2))),
  };
}

function prepareOptions(options: LocalOptions, name: string) {
  const { compat, unsafe, checkHelpers } = options;
  const { settings, maxStrlen, maxMapKeys, maxProbes, ringBytes } = environmentSettings(options);
  return {
    name,
    positional: options.arguments ?? [],
    ringBytes: localRing,
    compile: {
      ...(compat === undefined ? {} : { compat }),
      ...(unsafe === undefined ? {} : { unsafe }),
      ...(checkHelpers ? { checkHelpers } : {}),
      settings,
      ...(maxStrlen === undefined ? {} : { maxStrlen }),
      ...(maxMapKeys === undefined ? {} : { maxMapKeys }),
      ...(maxProbes === undefined ? {} : { maxProbes }),
      ...(ringBytes === undefined ? {} : { ringBytes }),
    },
  };
}

/** Process whose events alone count: -p, but 0.17 means by it only where USDT probes are. What -c runs is no filter. */
const filtered = ({ pid, compat }: LocalOptions): number | undefined =>
  compat === undefined ? pid : undefined;

function showDiagnostics(source: Source, diagnostics: readonly Diagnostic[], options: LocalOptions): void {
  const shown = options.warnings === false ? diagnostics.filter((d) => d.severity === "error") : diagnostics;
  stderr(renderDiagnostics(source.text, source.name, shown));
}

function showFailure(
  source: Source,
  prepared: Extract<PreparedScript, { ok: false }>,
  options: LocalOptions,
): void {
  // bpftrace takes that for an answer, not for a mistake.
  const nothing = prepared.diagnostics.find((d) => d.code === "no-probes");
  if (nothing && !options.quiet) out.write(`${nothing.message}\n`);
  showDiagnostics(
    source,
    prepared.diagnostics.filter((d) => d !== nothing),
    options,
  );
  if (prepared.problem !== undefined) complain(prepared.problem);
  if (prepared.log && (options.verbose || options.stages?.includes("verifier")))
    stderr(`\n${prepared.log}\n`);
}

async function runSource(
  source: Source,
  options: LocalOptions,
  environment: TraceEnvironment,
  command: GatedCommand | undefined,
): Promise<number> {
  const stages = options.stages ?? [];
  const settings = prepareOptions(options, source.name);
  // Stages of the compiler alone are shown of any script, whatever this kernel would load.
  const checked = stages.length > 0 && !stages.includes("verifier");
  const pid = filtered(options);
  const childPid = options.pid ?? command?.pid;
  const prepared = prepareScript(environment, source.text, {
    ...settings,
    compile: {
      ...settings.compile,
      ...(childPid === undefined ? {} : { childPid }),
      anyKernel: checked ? "all" : "kprobe",
    },
    compileOnly: checked,
    ...(pid === undefined ? {} : { pid }),
    verifierLog: stages.includes("verifier"),
    compiled: (script) => {
      for (const text of dumpStages(stages, source.text, script)) out.write(text);
    },
  });
  if (!prepared.ok) {
    showFailure(source, prepared, options);
    return 1;
  }
  showDiagnostics(source, prepared.warnings, options);
  if (environment.types.indexNotSaved !== undefined && options.verbose)
    warn(say.indexNotKept(environment.types.indexNotSaved));
  const { loaded } = prepared;
  if (!loaded) return 0;
  if (stages.includes("verifier"))
    for (const [i, program] of loaded.programs.entries())
      out.write(`\n${loaded.script.programs[i]?.name}:\n${program.log}\n`);
  if (options.dryRun || stages.length > 0) {
    loaded[Symbol.dispose]();
    return 0;
  }
  return runLoaded(loaded, options, environment, command);
}

async function runLoaded(
  loaded: LoadedScript,
  options: LocalOptions,
  environment: TraceEnvironment,
  command: GatedCommand | undefined,
): Promise<number> {
  const sink = new Sink(
    options.output === undefined ? { fd: 1 } : { path: options.output },
    options.buffering ?? "line",
  );
  const pid = filtered(options);
  const old = options.compat === "0.17";
  const json = options.format === "json";
  const printer = new Printer(sink, { json, old, schema: schemaOf(loaded.script.output), complain: stderr });
  let tell: (end: Finished) => void = () => {};
  const finished = new Promise<Finished>((resolve) => {
    tell = resolve;
  });
  let lost = 0;
  const tellLost = (total: number): void => {
    if (total <= lost) return;
    printer.lost(total - lost);
    if (!json) stderr(`${say.lost(total - lost)}\n`);
    lost = total;
  };
  const run = new Run(loaded, {
    resolvers: createResolvers({ loaded, names: environment.names, symbols: environment.symbols }),
    listener: {
      chunk: (chunk) => printer.chunk(chunk),
      finished: (end) => {
        // Before the rest of the ending, which takes longer than all that is to be printed.
        sink.flush();
        tell(end);
      },
    },
    lost: (counters) => tellLost(counters.lostEvents),
    leaving: true,
    endWithoutProbes: !old,
    unsafe: options.unsafe === true,
    ...(options.durationMs === undefined ? {} : { durationMs: options.durationMs }),
    ...(pid === undefined ? {} : { pid }),
    ...(command === undefined ? {} : { command: command.pid }),
  });
  const stop = () => void run.end("stopped");
  const own = new Set(loaded.script.attach.map(({ signal }) => signal?.replace(/^(?!SIG)/, "SIG")));
  const unwatch = options.pid === undefined ? undefined : whenProcessEnds(options.pid, stop);
  // Without a listener that signal would open Node's debugger.
  const printMaps = () => (own.has("SIGUSR1") ? undefined : printer.maps(run.readMaps()));
  process.on("SIGUSR1", printMaps);
  process.on("SIGINT", stop);
  process.on("SIGTERM", stop);
  try {
    await command?.ready;
    // 0.17 says so beforehand.
    if (old && !options.quiet) printer.attached(run.probes);
    if (old && !json && !options.quiet) sink.write(`${say.attaching(run.probes)}\n`);
    const { probes, skipped } = await run.attach().catch((error: Error) => {
      throw Object.assign(error, { exitCode: attachFailed });
    });
    if (options.warnings !== false) for (const text of skipped) warn(text);
    attached = true;
    if (!old && !options.quiet) printer.attached(probes);
    if (!old && !json && !options.quiet) stderr(`${say.attached(probes)}\n`);
    const notify = (options.environment ?? process.env)["__BPFTRACE_NOTIFY_PROBES_ATTACHED"];
    if (notify !== undefined && notify !== "") sink.write("__BPFTRACE_NOTIFY_PROBES_ATTACHED\n");
    sink.flush();
    command?.start();
    void command?.exited.then(
      () => run.end("exit"),
      (error: Error) => run.end("error", error.message),
    );
    const end = await finished;
    tellLost(end.lostEvents);
    return report(end);
  } finally {
    unwatch?.();
    process.off("SIGUSR1", printMaps);
    process.off("SIGINT", stop);
    process.off("SIGTERM", stop);
    sink[Symbol.dispose]();
  }
}

function report(end: Finished): number {
  if (end.lostEvents > 0) warn(say.lostInAll(end.lostEvents));
  if (end.mapFull > 0) warn(say.mapFull(end.mapFull));
  if (end.runtimeErrors !== undefined && end.runtimeErrors > 0) warn(say.runtimeErrors(end.runtimeErrors));
  if (end.reason !== "error") return end.exitCode;
  complain(end.message ?? say.failedInRun("unknown"));
  return 1;
}
