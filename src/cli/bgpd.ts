// cli: waggle bgpd: the BGP speaker as a process.
import { Command, Option } from "commander";
import { type MetricsFlags, metricsOptions, metricsPlace } from "./metrics-options.ts";
import { printJson, usageError } from "./output.ts";
import { versionText } from "./version.ts";

const levels = ["trace", "debug", "info", "warn", "error", "fatal", "silent"];

interface Flags extends MetricsFlags {
  readonly socket?: string;
  readonly file?: string;
  readonly schema?: boolean;
  readonly logLevel: string;
}

export function command(): Command {
  return metricsOptions(new Command("bgpd"))
    .description(
      "Runs the BGP speaker. It starts with nothing and does what an agent tells it over --socket, or what a file says. On " +
        "SIGTERM it leaves without a NOTIFICATION where graceful restart is negotiated, so that neighbours keep its routes.",
    )
    .option("--socket <path>", "unix socket for the agent and for waggle bgp")
    .option("-f, --file <speaker.yaml>", "run alone, from this file; SIGHUP reads it again")
    .option("--schema", "print the JSON Schema of speaker.yaml and end")
    .addOption(
      new Option("--log-level <level>", "what goes to stderr, as JSON lines").choices(levels).default("info"),
    )
    .action(async (flags: Flags) => {
      if (flags.schema) {
        printJson((await import("../bgp/daemon/speaker.schema.json", { with: { type: "json" } })).default);
        return;
      }
      if (flags.socket === undefined && flags.file === undefined)
        throw usageError("give --socket PATH for an agent, -f FILE to run alone, or both");
      const { file } = flags;
      const metrics = metricsPlace(flags);
      const { run } = await import("../bgp/daemon/run.ts");
      const read =
        file === undefined ? undefined : (await import("../bgp/daemon/standalone.ts")).readSpeakerFile;
      const code = await run({
        socket: flags.socket,
        version: versionText(),
        logLevel: flags.logLevel,
        ...(metrics && { metrics }),
        ...(read && file !== undefined ? { file: () => read(file) } : {}),
      });
      process.exit(code);
    });
}
