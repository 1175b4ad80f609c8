// cli: waggle operator: the daemon that allocates, reports and hosts the hub, one active of any number of replicas.
import { Command, Option } from "commander";
import { type MetricsFlags, metricsOptions, metricsPlace } from "./metrics-options.ts";
import { versionText } from "./version.ts";

interface Flags extends MetricsFlags {
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly socket?: string;
  readonly hubListen?: string;
  readonly hubAdvertise?: string;
  readonly hubSocket?: string;
  readonly stateDir?: string;
  readonly identity?: string;
  readonly logLevel: string;
}

export function command(): Command {
  return metricsOptions(new Command("operator"))
    .description(
      "Allocates pod blocks and virtual IPs, writes statuses and hosts the hub of traces. Several replicas may run; one is active.",
    )
    .option("--kubeconfig <file>", "kubeconfig (default: KUBECONFIG, else the pod's ServiceAccount)")
    .option("--context <name>", "context of the kubeconfig")
    .option("--socket <path>", "unix socket of the API server")
    .option("--hub-listen <host:port>", "where the hub listens; port 0 takes any")
    .option("--hub-advertise <host:port>", "what agents and callers dial, where it is another address")
    .option("--hub-socket <path>", "unix socket on which the hub listens, too")
    .option(
      "--state-dir <directory>",
      "remembers which cluster this is, so that another one is never believed",
    )
    .option(
      "--identity <name>",
      "name among replicas (default: one that is made up, and kept in --state-dir)",
    )
    .addOption(
      new Option("--log-level <level>", "least level of the log on stderr")
        .choices(["trace", "debug", "info", "warn", "error"])
        .default("info"),
    )
    .action(async (flags: Flags) => {
      const metrics = metricsPlace(flags);
      const { run } = await import("../operator/index.ts");
      const stop = new AbortController();
      for (const name of ["SIGTERM", "SIGINT"] as const) process.once(name, () => stop.abort());
      await run({ ...flags, version: versionText(), ...(metrics && { metrics }) }, stop.signal);
    });
}
