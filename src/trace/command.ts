// trace: `-c COMMAND`: a process that waits, already there with its id, until the probes are on.
import { type ChildProcess, spawn } from "node:child_process";
import type { Readable, Writable } from "node:stream";
import { findBinary } from "../kernel/symbols.ts";
import { say } from "./messages.ts";

/** Splits a command line at blanks; quotes and backslashes keep things together, as a shell would. */
export function splitCommand(text: string): string[] {
  const words: string[] = [];
  let word = "";
  let quote = "";
  let inWord = false;
  for (let i = 0; i < text.length; i++) {
    const c = text[i] ?? "";
    if (quote !== "") {
      if (c === quote) quote = "";
      else if (c === "\\" && quote === '"' && /["\\$`]/.test(text[i + 1] ?? "")) word += text[++i] ?? "";
      else word += c;
    } else if (c === '"' || c === "'") {
      quote = c;
      inWord = true;
    } else if (c === "\\") {
      word += text[++i] ?? "";
      inWord = true;
    } else if (/\s/.test(c)) {
      if (inWord) words.push(word);
      word = "";
      inWord = false;
    } else {
      word += c;
      inWord = true;
    }
  }
  if (inWord) words.push(word);
  return words;
}

/** A command that cannot be run. */
export class CommandError extends Error {
  override readonly name = "CommandError";
}

/** Says on descriptor 4 that it is there, waits for a line on 3, then becomes the command: the process id stays. */
const gateScript = 'echo >&4; exec 4>&-; read -r _ <&3 || exit 0; exec 3<&-; exec "$@"';

export class GatedCommand {
  readonly #child: ChildProcess;
  /** Resolves with its exit code (128 + signal number is not told: null then) when it ends. */
  readonly exited: Promise<number | null>;
  /** Resolves when the process waits: what its shell did until then is nobody's. */
  readonly ready: Promise<void>;

  /** @throws Error from node:child_process for an empty command */
  constructor(command: string) {
    const words = splitCommand(command);
    const [file] = words;
    if (file === undefined) throw new Error("the command is empty");
    if (findBinary(file) === undefined)
      throw new CommandError(say.commandFailed(file, "there is no such file"));
    this.#child = spawn("/bin/sh", ["-c", gateScript, "sh", ...words], {
      stdio: ["inherit", "inherit", "inherit", "pipe", "pipe"],
    });
    const told = this.#child.stdio[4] as Readable;
    this.ready = new Promise((resolve) => {
      told.once("close", () => resolve());
      told.once("error", () => resolve());
      told.resume();
    });
    this.exited = new Promise((resolve, reject) => {
      this.#child.on("error", reject);
      this.#child.on("exit", (code) => resolve(code));
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Lets it run. */
  start(): void {
    (this.#child.stdio[3] as Writable).end("\n");
  }

  /** Ends it if it still runs; one that was never started goes away by itself. */
  stop(): void {
    (this.#child.stdio[3] as Writable).destroy();
    if (this.#child.exitCode === null) this.#child.kill("SIGTERM");
  }
}
