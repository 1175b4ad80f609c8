// cli: waggle trace: one script, every kernel of the clusters that are asked, one answer; or this machine alone.
import { existsSync, readFileSync } from "node:fs";
import { Command, InvalidArgumentError, Option } from "commander";
import type { LabelSelector } from "../api/index.ts";
import type { TraceEvent, TraceOutcome } from "../fleet/client/index.ts";
import { type ClusterFlags, clusterOptions, withClusters } from "./clusters.ts";
import { localOptions } from "./local-options.ts";
import {
  CliError,
  exitCode,
  formatDuration,
  Progress,
  painter,
  parseDuration,
  usageError,
} from "./output.ts";

interface Flags extends ClusterFlags {
  readonly e?: string;
  readonly for?: number;
  readonly nodes?: string;
  readonly format: "text" | "json";
  readonly quiet?: boolean;
  readonly strict?: boolean;
}

/** Without --for; Ctrl-C ends it earlier. */
const defaultSeconds = 60;
const longestSeconds = 3_600;

function wholeSeconds(text: string): number {
  const ms = parseDuration(text);
  if (ms < 1_000 || ms % 1_000 !== 0 || ms > longestSeconds * 1_000)
    throw new InvalidArgumentError("write whole seconds from 1s to 1h.");
  return ms / 1_000;
}

interface Script {
  readonly name: string;
  readonly text: string;
  readonly positional: readonly string[];
}

function readScript(flags: Flags, args: readonly string[]): Script {
  if (flags.e !== undefined) return { name: "stdin", text: flags.e, positional: args };
  const [file, ...positional] = args;
  if (file === undefined)
    throw usageError(
      "there is no script",
      "give one with -e 'PROGRAM', or the name of a file; - reads stdin",
    );
  try {
    return {
      name: file === "-" ? "stdin" : file,
      text: readFileSync(file === "-" ? 0 : file, "utf8"),
      positional,
    };
  } catch (error) {
    throw new CliError(`${file}: ${(error as Error).message}`, {
      ...(/[{};]/.test(file) ? { hint: "a script on the command line comes after -e" } : {}),
    });
  }
}

/** What can be seen without a kernel is told here, before anything exists anywhere. */
async function checkHere({ name, text }: Script): Promise<void> {
  const { checkSyntax, renderDiagnostics } = await import("../script/index.ts");
  const found = checkSyntax(text);
  if (found.length > 0) process.stderr.write(renderDiagnostics(text, name, found));
  if (found.some((d) => d.severity === "error"))
    throw new CliError("the script has errors; nothing was asked", { exitCode: exitCode.failed });
}

async function selectorOf(text: string | undefined): Promise<LabelSelector> {
  const { parseSelector } = await import("../fleet/client/selector.ts");
  try {
    return parseSelector(text ?? "");
  } catch (error) {
    throw usageError(`--nodes: ${(error as Error).message}`);
  }
}

/** First signal: end the run and print what there is. Second: quit; hubs notice, and agents detach within 5 s. */
function stopOnSignals(say: (text: string) => void): AbortSignal & Disposable {
  const controller = new AbortController();
  const handler = (): void => {
    if (controller.signal.aborted) process.exit(130);
    say("stopping; once more quits without an answer");
    controller.abort();
  };
  process.on("SIGINT", handler);
  process.on("SIGTERM", handler);
  return Object.assign(controller.signal, {
    [Symbol.dispose]: () => {
      process.off("SIGINT", handler);
      process.off("SIGTERM", handler);
    },
  });
}

/** Says how it goes, on stderr: what failed at once, what goes on while it does. */
function narrator(
  progress: Progress,
  flags: Flags,
  seconds: number,
  failures: (e: TraceEvent) => readonly string[],
) {
  let compiled = 0;
  let asked = 0;
  let attached = 0;
  let began = 0;
  return {
    event(event: TraceEvent): void {
      if (event.kind === "out") progress.line(`${event.cluster}: ${event.error}`);
      if (event.kind === "compiled") {
        compiled += event.compiled;
        asked += event.asked;
        for (const text of failures(event)) progress.line(text);
        for (const warning of flags.quiet ? [] : event.warnings) progress.line(warning.trimEnd());
        progress.now(`compiles on ${compiled}/${asked} nodes`);
      }
      if (event.kind === "attached") {
        attached += event.attached;
        began ||= performance.now();
      }
    },
    tick(): void {
      if (began === 0) return;
      const left = Math.max(0, seconds * 1_000 - (performance.now() - began));
      progress.now(
        `asking ${attached} nodes, ${formatDuration(Math.ceil(left / 1_000) * 1_000)} left; Ctrl-C for the answer so far`,
      );
    },
  };
}

async function ask(script: Script, flags: Flags): Promise<number> {
  const nodeSelector = await selectorOf(flags.nodes);
  await checkHere(script);
  const [{ runTrace }, { systemClock }, output, { randomBytes }] = await Promise.all([
    import("../fleet/client/index.ts"),
    import("../kube/index.ts"),
    import("./trace-output.ts"),
    import("node:crypto"),
  ]);
  const paint = painter(process.stderr);
  const seconds = flags.for ?? defaultSeconds;
  using progress = new Progress(process.stderr, flags.quiet);
  const write = (text: string): void => {
    if (text === "") return;
    progress.clear();
    process.stdout.write(text);
  };
  const printer = flags.format === "json" ? output.jsonPrinter(write) : output.textPrinter(write);
  const told = narrator(progress, flags, seconds, (event) =>
    event.kind === "compiled"
      ? output.failureLines(event.errors, paint).map((text) => output.named(text, script.name))
      : [],
  );
  using stop = stopOnSignals((text) => progress.line(text));
  // Also keeps the process alive: the clock's own timers do not.
  const ticker = setInterval(() => told.tick(), 500);
  try {
    const outcome = await withClusters(flags, (clusters) =>
      runTrace({
        clusters,
        script: script.text,
        positional: script.positional,
        nodeSelector,
        durationSeconds: seconds,
        strict: flags.strict ?? false,
        stop,
        clock: systemClock,
        randomBytes,
        socketExists: existsSync,
        onEvent: (event) => {
          told.event(event);
          printer.event(event);
        },
      }),
    );
    progress.clear();
    printer.end(outcome);
    return conclude(outcome, flags, output, paint);
  } finally {
    clearInterval(ticker);
  }
}

function conclude(
  outcome: TraceOutcome,
  flags: Flags,
  { coverageLine, failureLines }: typeof import("./trace-output.ts"),
  paint: ReturnType<typeof painter>,
): number {
  const say = (text: string): void => void process.stderr.write(`${text}\n`);
  if (outcome.reason !== undefined) say(paint("red", outcome.reason));
  else {
    // What phase 1 said was said then; this is what happened since.
    const known = new Set(outcome.clusters.map((c) => c.error));
    const later = outcome.coverage.errors.filter(({ error }) => !known.has(error));
    for (const text of failureLines(later, paint)) say(text);
    if (!flags.quiet || outcome.status !== "ok") say(coverageLine(outcome));
  }
  if (outcome.status === "failed") return exitCode.failed;
  if (outcome.status === "partial") return exitCode.partial;
  return outcome.exitCode;
}

const examples = `
Examples:
  waggle trace --for 5s -e 'tracepoint:sock:inet_sock_set_state /args.newstate == 1/ { @[node, prefix(args.daddr_v6)] = count(); }'
  waggle trace --nodes 'zone=a,!spot' tools/connect-latency.bt
  waggle trace --local -e 'interval:s:1 { print(@); clear(@); } tracepoint:syscalls:sys_enter_openat { @[comm] = count(); }'

The script is checked here first, then compiled on every node before it is attached on any. count, sum, min, max, avg, stats,
hist and lhist of all nodes are merged exactly; other maps get the node as first key. The last line on stderr says which nodes
answered and how many events were lost. Exit codes: 0 all nodes answered (or what the script gave to exit), 1 none did,
3 some did.`;

export function command(): Command {
  const trace = new Command("trace")
    .description(
      "run a bpftrace-style script on the nodes of every cluster that is named, and merge their answers",
    )
    .usage("[options] -e PROGRAM [-- ARGS]\n       waggle trace [options] FILE [ARGS]")
    .argument("[file]", "script; - reads stdin. With -e all arguments are the script's own ($1, $2, ...)")
    .argument("[args...]")
    .option("-e <program>", "script on the command line")
    .addOption(new Option("--for <duration>", "end after this long (default: 60s)").argParser(wholeSeconds))
    .option("--nodes <selector>", "only nodes with these labels, as kubectl -l (default: all)")
    .addOption(
      new Option("-f, --format <format>", "of the results").choices(["text", "json"]).default("text"),
    )
    .option("-q, --quiet", "no progress, and no coverage where all is well")
    .option("--strict", "attach nowhere unless every node compiles the script")
    .option("--local", "on this machine alone, without a cluster; needs root")
    .addHelpText("after", examples);
  clusterOptions(trace);
  trace.optionsGroup("With --local, as in bpftrace:");
  const own = new Set(trace.options.map((o) => o.attributeName()));
  const ofOneMachine = localOptions.filter(
    ({ short, long }) => !own.has(long ?? short ?? "") && !["local", "help", "version"].includes(long ?? ""),
  );
  for (const { short, long, argument, about, choices } of ofOneMachine) {
    const names = [...(short ? [`-${short}`] : []), ...(long ? [`--${long}`] : [])].join(", ");
    const option = new Option(`${names}${argument ? ` <${argument}>` : ""}`, about);
    trace.addOption(choices ? option.choices([...choices]) : option);
  }
  return trace.action(async (file: string | undefined, rest: string[], flags: Flags, command: Command) => {
    const odd = ofOneMachine.find(({ short, long }) => {
      const option = command.options.find((o) => o.long === `--${long}` || o.short === `-${short}`);
      return option && command.getOptionValueSource(option.attributeName()) === "cli";
    });
    if (odd)
      throw usageError(`${odd.long ? `--${odd.long}` : `-${odd.short}`} is about one machine`, "add --local");
    process.exitCode = await ask(readScript(flags, file === undefined ? rest : [file, ...rest]), flags);
  });
}
