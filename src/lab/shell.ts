// lab: running programs of the machine: iproute2, nsenter, birdc. Every call has a time limit and an error that names it.
import { type ChildProcess, execFile } from "node:child_process";

/** Programs that run now; a lab that is interrupted ends them before it cleans up. */
const running = new Set<ChildProcess>();

/** Counts a program among those that run now, until it ends. */
export function track<T extends ChildProcess>(child: T): T {
  running.add(child);
  child.once("close", () => running.delete(child));
  return child;
}

/** Kills every program that `run` has started and that has not ended. */
export function killRunning(): void {
  for (const child of running) child.kill("SIGKILL");
}

export class CommandError extends Error {
  readonly command: string;
  readonly status: number | undefined;
  constructor(command: string, status: number | undefined, stderr: string) {
    super(`${command}: ${stderr.trim() || `exit code ${status ?? "none (killed or not found)"}`}`);
    this.name = "CommandError";
    this.command = command;
    this.status = status;
  }
}

export interface RunOptions {
  readonly input?: string;
  readonly timeoutMs?: number;
  readonly env?: Readonly<Record<string, string>>;
}

/**
 * Runs a program to its end and returns its stdout (at most 16 MiB).
 * @throws CommandError on a non-zero exit, a signal, a missing program or after `timeoutMs` (default 20,000)
 */
export function run(file: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = execFile(
      file,
      [...args],
      {
        timeout: options.timeoutMs ?? 20_000,
        maxBuffer: 16 << 20,
        env: options.env ? { ...process.env, ...options.env } : process.env,
      },
      (error, stdout, stderr) => {
        running.delete(child);
        if (!error) return resolve(stdout);
        const code = typeof error.code === "number" ? error.code : undefined;
        reject(
          new CommandError(
            `${file} ${args.join(" ")}`,
            code,
            stderr || (code === undefined ? error.message : ""),
          ),
        );
      },
    );
    running.add(child);
    if (options.input !== undefined) {
      // A program that ends before it has read everything reports by its exit code; EPIPE says nothing more.
      child.stdin?.on("error", () => undefined);
      child.stdin?.end(options.input);
    }
  });
}

/** Runs iproute2 commands in a namespace (the machine's own where undefined) as one batch. */
export const ipBatch = (netns: string | undefined, lines: readonly string[]): Promise<string> =>
  run("ip", [...(netns ? ["-n", netns] : []), "-batch", "-"], { input: `${lines.join("\n")}\n` });

/**
 * Arguments for nsenter that enter a namespace for the network only: `ip netns exec` would also replace /sys and with it
 * bpffs and the cgroup tree.
 */
export const enter = (netns: string, command: readonly string[]): readonly string[] => [
  `--net=/run/netns/${netns}`,
  "--",
  ...command,
];

/** Runs a program inside a namespace. */
export const runIn = (netns: string, command: readonly string[], options: RunOptions = {}): Promise<string> =>
  run("nsenter", enter(netns, command), options);

/** Polls until `check` returns something, at most `timeoutMs`; undefined after that. */
export async function until<T>(
  check: () => Promise<T | undefined | false> | T | undefined | false,
  timeoutMs: number,
  intervalMs = 100,
): Promise<T | undefined> {
  const end = performance.now() + timeoutMs;
  for (;;) {
    const value = await check();
    if (value) return value;
    if (performance.now() >= end) return undefined;
    await new Promise((r) => setTimeout(r, intervalMs));
  }
}
