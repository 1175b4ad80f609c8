// cli: the program: a table of commands, each loaded only when it is asked for, and one place where errors become exit codes.
import { Command, CommanderError } from "commander";
import { isLocal } from "./local-options.ts";
import { describeFailure, exitCode, painter } from "./output.ts";

interface Entry {
  readonly name: string;
  readonly group: string;
  readonly summary: string;
  readonly load: () => Promise<{ command(): Command }>;
}

const start = "Start here:";
const ask = "Ask every kernel:";
const look = "See what is so and why:";
const act = "Change it safely:";
const daemons = "Daemons, started by the chart or by the lab:";
const other = "Other:";

/** Every command. What one of them needs is loaded with it and not before: a laptop's `waggle trace` loads no FFI. */
export const commands: readonly Entry[] = [
  {
    name: "lab",
    group: start,
    summary: "a fleet in a box: clusters, nodes, pods and routers on this machine",
    load: () => import("./lab.ts"),
  },
  {
    name: "check",
    group: start,
    summary: "whether this machine has what Waggle needs, and the fix where not",
    load: () => import("./check.ts"),
  },
  {
    name: "trace",
    group: ask,
    summary: "run a bpftrace-style script on nodes of one or many clusters",
    load: () => import("./trace.ts"),
  },
  {
    name: "status",
    group: look,
    summary: "clusters, nodes, sessions, proofs: one picture",
    load: () => import("./status.ts"),
  },
  {
    name: "ipam",
    group: look,
    summary: "pools, blocks and virtual IPs: who has which address",
    load: () => import("./ipam.ts"),
  },
  {
    name: "bgp",
    group: look,
    summary: "peers and routes, as the speakers see them",
    load: () => import("./bgp.ts"),
  },
  {
    name: "collect",
    group: look,
    summary: "a support bundle of clusters and this machine, without secrets",
    load: () => import("./collect.ts"),
  },
  {
    name: "diff",
    group: act,
    summary: "what each neighbour would hear differently if manifests were applied",
    load: () => import("./diff.ts"),
  },
  {
    name: "rollout",
    group: act,
    summary: "changes on their way from node to node: how far, why stopped, go on, go back",
    load: () => import("./rollout.ts"),
  },
  {
    name: "test",
    group: act,
    summary: "routing policy tests without a cluster, for CI",
    load: () => import("./test.ts"),
  },
  {
    name: "import",
    group: act,
    summary: "manifests of Cilium, MetalLB or FRR-K8s as ours, every default and every trap said",
    load: () => import("./import.ts"),
  },
  {
    name: "drain",
    group: act,
    summary: "take a node out: de-prefer, withdraw, wait, then unprogram",
    load: () => import("./drain.ts"),
  },
  {
    name: "uninstall",
    group: act,
    summary: "the deliberate way out: every node lets go of what it announces",
    load: () => import("./uninstall.ts"),
  },
  {
    name: "operator",
    group: daemons,
    summary: "the cluster's reconcilers and the hub of its traces",
    load: () => import("./operator.ts"),
  },
  {
    name: "agent",
    group: daemons,
    summary: "a node's plan, datapath, proofs and traces",
    load: () => import("./agent.ts"),
  },
  {
    name: "bgpd",
    group: daemons,
    summary: "the BGP speaker; runs alone, too",
    load: () => import("./bgpd.ts"),
  },
  {
    name: "apiserver",
    group: daemons,
    summary: "a small Kubernetes API server for machines without a cluster",
    load: () => import("./apiserver.ts"),
  },
  {
    name: "health",
    group: daemons,
    summary: "whether a daemon on this machine is ready",
    load: () => import("./health.ts"),
  },
  {
    name: "version",
    group: other,
    summary: "which build this is",
    load: () => import("./version.ts"),
  },
];

const story = `Waggle tells clusters where their addresses are, proves that packets get there, and lets one person ask every kernel in the fleet a question in one line.`;

const examples = `
Examples:
  waggle check                                   is this machine ready?
  waggle lab demo                                the whole story on this machine, in about a minute
  waggle lab up                                  the same fleet, left running; prints its kubeconfigs
  waggle trace --local -e 'tracepoint:syscalls:sys_enter_openat { @[comm] = count(); }'
  waggle trace --for 5s -e 'tracepoint:sock:inet_sock_set_state /args.newstate == 1/ { @[node, prefix(args.daddr_v6)] = count(); }'
  waggle drain node-3                            before maintenance

Every command explains itself: waggle COMMAND --help. Results go to stdout, everything else to stderr;
-o json prints results for programs. Exit codes: 0 ok, 1 failed, 2 usage, 3 partial answer.`;

/** Makes a loaded command and all below it behave as one family: no exit inside, help in our form, usage errors with a pointer. */
function adopt(command: Command, path: string): void {
  command.exitOverride();
  command.showHelpAfterError(`See: ${path} --help`);
  // Redirected help is read in an editor or a page: 100 columns, not 80.
  command.configureHelp({ helpWidth: Math.max(process.stdout.columns ?? 0, 100) });
  for (const child of command.commands) adopt(child, `${path} ${child.name()}`);
}

/** The command of a line, before anything is parsed: the first word that is not an option. */
const firstWord = (args: readonly string[]): string | undefined => args.find((a) => !a.startsWith("-"));

async function program(args: readonly string[]): Promise<Command> {
  const root = new Command("waggle")
    .usage("COMMAND [options]")
    .description(story)
    .helpOption("-h, --help", "this text; after a command, that command's")
    .addHelpText("after", examples)
    // A command's subcommand may have options of the same names.
    .enablePositionalOptions()
    .showSuggestionAfterError(true);
  root.option("-V, --version", "which build this is");
  const wanted =
    firstWord(args) === "help" ? firstWord(args.slice(args.indexOf("help") + 1)) : firstWord(args);
  for (const { name, group, summary, load } of commands) {
    const command = name === wanted ? (await load()).command() : new Command(name);
    command.name(name).summary(summary).helpGroup(group);
    if (command.description() === "") command.description(summary);
    root.addCommand(command);
  }
  root.addHelpCommand(
    new Command("help").argument("[command]").description("the same as COMMAND --help").helpGroup(other),
  );
  adopt(root, "waggle");
  return root;
}

/**
 * Runs one command line (without node and script). Returns the exit code; daemons return when they end.
 * Never throws: errors are printed to stderr.
 */
export async function main(args: readonly string[]): Promise<number> {
  // Somebody closed the pipe that reads us (`| head`): that is no failure of ours, and nobody is there to be told.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") process.exit(exitCode.ok);
    throw error;
  });
  const word = firstWord(args);
  const name = word && commands.some((c) => c.name === word) ? `waggle ${word}` : "waggle";
  try {
    if (word === undefined && (args.includes("-V") || args.includes("--version"))) {
      await (await import("./version.ts")).command().parseAsync([], { from: "user" });
      return exitCode.ok;
    }
    // Scripts of one machine have bpftrace's options, which are read as bpftrace reads them.
    if (word === "trace" && isLocal(args)) {
      const { localMain } = await import("./local.ts");
      return await localMain(args.slice(args.indexOf("trace") + 1));
    }
    const root = await program(args);
    if (args.length === 0) {
      root.outputHelp();
      return exitCode.ok;
    }
    await root.parseAsync([...args], { from: "user" });
    return Number(process.exitCode ?? exitCode.ok);
  } catch (error) {
    // Commander has printed its own message already; its codes for usage errors are all 1.
    if (error instanceof CommanderError) return error.exitCode === 0 ? exitCode.ok : exitCode.usage;
    process.stderr.write(describeFailure(name, error, painter(process.stderr)));
    const code = (error as { exitCode?: unknown }).exitCode;
    return typeof code === "number" ? code : exitCode.failed;
  }
}

if (import.meta.main) process.exitCode = await main(process.argv.slice(2));
