// bench: one run of a script under Waggle or under bpftrace, and what can be seen of it from outside.
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

export type Tool = "waggle" | "bpftrace";

const attachedWord = "__BPFTRACE_NOTIFY_PROBES_ATTACHED";
/** Ours says so on stderr as well, which is what is seen where stdout goes to a file. */
const attachedText = new RegExp(`${attachedWord}|^Attached \\d+ probe`, "m");
/** Longest that anything here may take. */
const limitMs = 15_000;
/** bpftrace 0.17 loses a signal that comes in the first moments after its attaching. */
const signalGraceMs = 300;

const commands: Readonly<Record<Tool, readonly string[]>> = {
  waggle: ["bin/waggle", "trace", "--local"],
  bpftrace: ["bpftrace"],
};

/**
 * Ahead of everything else on the machine: what is compared is the work, not who else runs. Where a generator of events has a CPU of
 * its own, the tracer stays on the other and behind it: it must not interrupt the programs whose time is taken.
 */
const ahead = {
  start: ["chrt", "-f", "10"],
  events: ["nice", "-n", "-20", "taskset", "-c", "0"],
} as const;

/** Makes events on CPU 1, undisturbed. @returns the seconds that it took */
export function generate(program: string): number {
  const began = performance.now();
  execFileSync("chrt", ["-f", "5", "taskset", "-c", "1", program]);
  return (performance.now() - began) / 1000;
}

export interface ProgramStats {
  readonly runs: number;
  readonly ns: number;
  /** Bytes of translated code, 8 an instruction. */
  readonly xlated: number;
}

export interface RunOptions {
  /** File descriptor for stdout; absent: it is read. */
  readonly stdout?: number;
  readonly ahead?: keyof typeof ahead;
}

export class TracedRun {
  readonly #child: ChildProcess;
  readonly #began = performance.now();
  #out = "";
  #waiting: (() => void)[] = [];
  readonly closed: Promise<void>;
  /** ms from exec to the word on a stream. */
  attachedMs = 0;

  constructor(tool: Tool, args: readonly string[], options: RunOptions = {}) {
    const [program = "", ...rest] = [...ahead[options.ahead ?? "start"], ...commands[tool], ...args];
    const { NODE_EXTRA_CA_CERTS: _, ...env } = process.env;
    this.#child = spawn(program, rest, {
      env: { ...env, [attachedWord]: "1" },
      stdio: ["ignore", options.stdout ?? "pipe", "pipe"],
      timeout: limitMs,
    });
    for (const stream of [this.#child.stdout, this.#child.stderr])
      stream?.setEncoding("utf8").on("data", (text: string) => {
        this.#out += text;
        if (this.attachedMs === 0 && attachedText.test(this.#out))
          this.attachedMs = performance.now() - this.#began;
        for (const wake of this.#waiting.splice(0)) wake();
      });
    this.closed = new Promise((resolve) => this.#child.on("close", () => resolve()));
    void this.closed.then(() => {
      for (const wake of this.#waiting.splice(0)) wake();
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get out(): string {
    return this.#out;
  }

  get elapsedMs(): number {
    return performance.now() - this.#began;
  }

  /** @throws Error if the process ends or the time is up before the test holds */
  async until(what: string, test: () => boolean): Promise<void> {
    const end = performance.now() + limitMs;
    while (!test()) {
      if (this.#child.exitCode !== null || performance.now() > end)
        throw new Error(`${what} did not come: ${this.#out.slice(-400)}`);
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  attached(): Promise<void> {
    return this.until("attaching", () => this.attachedMs > 0);
  }

  /** Ends it as Ctrl-C would. */
  async interrupt(): Promise<void> {
    await sleep(signalGraceMs);
    this.#child.kill("SIGINT");
    await this.closed;
  }

  /** Largest resident set so far, in MB. */
  peakMb(): number {
    const status = readFileSync(`/proc/${this.pid}/status`, "utf8");
    return Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024;
  }

  /** Programs that the process holds, by kernel type. */
  programs(type: string): readonly ProgramStats[] {
    const ids = new Set<string>();
    for (const fd of readdirSync(`/proc/${this.pid}/fdinfo`)) {
      try {
        const id = /^prog_id:\s*(\d+)/m.exec(readFileSync(`/proc/${this.pid}/fdinfo/${fd}`, "utf8"))?.[1];
        if (id !== undefined) ids.add(id);
      } catch (error) {
        // Closed between the listing and the reading.
        if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
      }
    }
    return [...ids].flatMap((id) => {
      const shown = JSON.parse(
        execFileSync("bpftool", ["-j", "prog", "show", "id", id], { encoding: "utf8" }),
      );
      if (shown.type !== type) return [];
      return [{ runs: shown.run_cnt ?? 0, ns: shown.run_time_ns ?? 0, xlated: shown.bytes_xlated }];
    });
  }
}
