// cli: waggle health: asks a daemon on this machine whether it lives and is ready; for probes of containers.
import { Command } from "commander";
import { CliError, type OutputFormat, outputOption, parseDuration, printJson } from "./output.ts";

interface Flags {
  readonly address: string;
  readonly live?: boolean;
  readonly timeout: number;
  readonly output: OutputFormat;
}

export function command(): Command {
  return new Command("health")
    .description("whether a daemon on this machine is ready, or with --live whether it answers at all")
    .option("--address <host:port>", "the daemon's --metrics-listen on loopback", "127.0.0.1:9630")
    .option("--live", "whether it answers, not whether it is ready")
    .option("--timeout <duration>", "how long to wait for the answer", parseDuration, 2_000)
    .addOption(outputOption())
    .action(async ({ address, live, timeout, output }: Flags) => {
      const url = `http://${address}/${live ? "livez" : "readyz"}`;
      let text: string;
      let ok: boolean;
      try {
        const answer = await fetch(url, { signal: AbortSignal.timeout(timeout) });
        ok = answer.ok;
        text = (await answer.text()).trim();
      } catch (error) {
        const { cause, message } = error as Error;
        throw new CliError(
          `${address} does not answer: ${(cause as Error | undefined)?.message ?? message}`,
          { cause: error },
        );
      }
      if (output === "json") printJson({ ok, message: text });
      else process.stdout.write(`${text}\n`);
      if (!ok) process.exitCode = 1;
    });
}
