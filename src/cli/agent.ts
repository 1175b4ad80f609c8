// cli: waggle agent: a node's daemon, and the command that removes what it has left on a node.
import { fileURLToPath } from "node:url";
import { Command, InvalidArgumentError, Option } from "commander";
import type { AgentOptions } from "../agent/options.ts";
import { type MetricsFlags, metricsOptions, metricsPlace } from "./metrics-options.ts";
import { type OutputFormat, outputOption, printJson, usageError } from "./output.ts";
import { versionText } from "./version.ts";

const levels = ["trace", "debug", "info", "warn", "error", "fatal", "silent"];

const number =
  (low: number, high: number) =>
  (text: string): number => {
    const n = Number(text);
    if (!Number.isInteger(n) || n < low || n > high)
      throw new InvalidArgumentError(`must be a whole number from ${low} to ${high}`);
    return n;
  };

/** The bundle lies in build/, beside its bpf/; a source lies two levels below the checkout. */
const defaultObjectDir = (): string =>
  fileURLToPath(new URL(import.meta.url.endsWith(".ts") ? "../../build/bpf" : "./bpf", import.meta.url));

interface NodeFlags {
  readonly node: string;
  readonly bpffs: string;
  readonly stateDir: string;
  readonly cniConfDir: string;
}

interface AgentFlags extends NodeFlags, MetricsFlags {
  readonly kubeconfig?: string;
  readonly socket?: string;
  readonly speakerSocket: string;
  readonly objectDir: string;
  readonly cniDataDir: string;
  readonly passwordDir?: string;
  readonly podMtu?: number;
  readonly hubSocket?: string;
  readonly hubAddress?: string;
  readonly hubTokenFile?: string;
  readonly hubCa?: string;
  readonly ownerDir?: string;
  readonly ownerNames?: string;
  readonly nodeIndex: number;
  readonly countsUnattributed?: boolean;
  readonly cacheDir: string;
  readonly logLevel: string;
}

const nodeOptions = (command: Command): Command =>
  command
    .option("--node <name>", "name of this node's Node object", process.env["NODE_NAME"])
    .option("--bpffs <dir>", "mount point of a BPF file system", "/sys/fs/bpf")
    .option("--state-dir <dir>", "what outlives the agent", "/var/lib/waggle")
    .option("--cni-conf-dir <dir>", "where container runtimes look for CNI configuration", "/etc/cni/net.d");

const optionsOf = (flags: AgentFlags): AgentOptions => ({
  node: flags.node,
  kubeconfig: flags.kubeconfig,
  apiSocket: flags.socket,
  speakerSocket: flags.speakerSocket,
  bpffs: flags.bpffs,
  stateDir: flags.stateDir,
  objectDir: flags.objectDir,
  cniConfDir: flags.cniConfDir,
  cniDataDir: flags.cniDataDir,
  passwordDir: flags.passwordDir,
  podMTU: flags.podMtu,
  hub: {
    socket: flags.hubSocket,
    address: flags.hubAddress,
    tokenFile: flags.hubTokenFile,
    caFile: flags.hubCa,
  },
  ownerDir: flags.ownerDir,
  ownerNames: flags.ownerNames,
  nodeIndex: flags.nodeIndex,
  countsUnattributed: flags.countsUnattributed ?? false,
  cacheDir: flags.cacheDir,
  logLevel: flags.logLevel,
  metrics: metricsPlace(flags),
  version: versionText(),
});

function requireNode(flags: { readonly node?: string }): void {
  if (!flags.node)
    throw usageError("--node is missing", "name the Node object of this machine, or set NODE_NAME");
}

function cleanup(): Command {
  return nodeOptions(new Command("cleanup"))
    .description(
      "remove exactly what agents have left on this node: links, programs, maps, kernel routes, the tunnel device, CNI configuration, state",
    )
    .option("--password-dir <dir>", "directory with copies of passwords")
    .addOption(outputOption())
    .action(async (_: unknown, self: Command) => {
      // Options that the agent knows too are read by the agent's command, whichever side of "cleanup" they stand on.
      const flags = self.optsWithGlobals<NodeFlags & { passwordDir?: string; output: OutputFormat }>();
      requireNode(flags);
      const { cleanupNode } = await import("../agent/cleanup.ts");
      const report = cleanupNode({ ...flags, passwordDir: flags.passwordDir });
      if (flags.output === "json") printJson(report);
      else
        for (const line of report.removed.length > 0 ? report.removed : ["there was nothing of ours"])
          console.log(line);
    });
}

export function command(): Command {
  const agent = metricsOptions(nodeOptions(new Command("agent")))
    .description(
      "Runs a node's agent inside the node's network namespace. On SIGTERM it leaves links, programs, maps, kernel routes and " +
        "the speaker's sessions as they are; take a node out with waggle drain first, and remove everything with cleanup.",
    )
    .option("--kubeconfig <file>", "identity of this agent (default: the pod's ServiceAccount)")
    .option("--socket <path>", "unix socket of the API server")
    .option("--speaker-socket <path>", "unix socket of waggle bgpd", "/run/waggle/bgpd.sock")
    .option("--object-dir <dir>", "directory with the datapath's objects", defaultObjectDir())
    .option("--cni-data-dir <dir>", "where the host-local plugin keeps its state", "/var/lib/cni/waggle")
    .option(
      "--password-dir <dir>",
      "directory on tmpfs for copies of passwords (default: in --state-dir or /run/waggle, whichever is)",
    )
    .option("--pod-mtu <bytes>", "MTU of pods' interfaces (default: the kernel's)", number(576, 65_535))
    .option("--hub-socket <path>", "unix socket of the hub")
    .option("--hub-address <host:port>", "the hub, where it is not the one that the cluster names")
    .option(
      "--hub-token-file <file>",
      "projected token for audience waggle-hub; without it no traces run here",
    )
    .option("--hub-ca <file>", "certificates that the hub's must be signed by (default: as the cluster says)")
    .option("--owner-dir <dir>", "directory with pinned maps of who owns which namespace and cgroup")
    .option("--owner-names <file>", "names behind the numbers in those maps")
    .option("--node-index <n>", "number of this node in those maps", number(0, 65_535), 0)
    .option("--counts-unattributed", "this agent counts events that nobody owns")
    .option("--cache-dir <dir>", "index of kernel types", "/var/cache/waggle")
    .addOption(
      new Option("--log-level <level>", "what goes to stderr, as JSON lines").choices(levels).default("info"),
    )
    .action(async (flags: AgentFlags) => {
      requireNode(flags);
      const { runAgent } = await import("../agent/run.ts");
      await runAgent(optionsOf(flags));
      process.exit(0);
    });
  agent.addCommand(cleanup());
  return agent;
}
