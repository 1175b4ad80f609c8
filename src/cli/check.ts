// cli: waggle check: whether this machine has what Waggle needs, and the fix where not.
import { Command, Option } from "commander";
import { type CheckResult, type CheckState, type Purpose, preflight } from "../kernel/preflight.ts";
import {
  exitCode,
  type OutputFormat,
  outputOption,
  type Painter,
  painter,
  printJson,
  type Style,
} from "./output.ts";

const shown: Readonly<Record<CheckState, readonly [word: string, style: Style]>> = {
  ok: ["ok", "green"],
  note: ["note", "yellow"],
  failed: ["FAILED", "red"],
};

function text(results: readonly CheckResult[], paint: Painter): string {
  const width = Math.max(...results.map((r) => r.name.length));
  const lines = results.flatMap((r) => {
    const [word, style] = shown[r.state];
    const line = `${paint(style, word.padEnd(6))}  ${r.name.padEnd(width)}  ${r.detail}`;
    return r.fix === undefined
      ? [line]
      : [line, `${" ".repeat(width + 10)}${paint("cyan", "fix")}: ${r.fix}`];
  });
  const bad = results.filter((r) => r.state === "failed").length;
  lines.push(bad === 0 ? "All that is needed is there." : `${bad} of ${results.length} checks failed.`);
  return `${lines.join("\n")}\n`;
}

interface Flags {
  readonly output: OutputFormat;
  readonly for: Purpose;
  readonly bpffs?: string;
}

export function command(): Command {
  return new Command("check")
    .addOption(
      new Option("--for <purpose>", "what the machine is to run").choices(["lab", "node"]).default("lab"),
    )
    .addOption(new Option("--bpffs <directory>", "where a node's BPF file system is (default /sys/fs/bpf)"))
    .addOption(outputOption())
    .action((flags: Flags) => {
      const results = preflight({
        purpose: flags.for,
        ...(flags.bpffs !== undefined && { bpffs: flags.bpffs }),
      });
      if (flags.output === "json") printJson(results);
      else process.stdout.write(text(results, painter(process.stdout)));
      if (results.some((r) => r.state === "failed")) process.exitCode = exitCode.failed;
    });
}
