// cli: what every command shows and how: tables, JSON, colour, progress on stderr, durations, exit codes.
import { stripVTControlCharacters, styleText } from "node:util";
import { InvalidArgumentError, Option } from "commander";

/** The whole contract with scripts that call us. */
export const exitCode = { ok: 0, failed: 1, usage: 2, partial: 3 } as const;

/** An error whose message is for the user as it stands: no stack, one line, and what to do about it. */
export class CliError extends Error {
  readonly exitCode: number;
  readonly hint: string | undefined;
  constructor(message: string, options: { exitCode?: number; hint?: string; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "CliError";
    this.exitCode = options.exitCode ?? exitCode.failed;
    this.hint = options.hint;
  }
}

/** A command line that cannot be meant. */
export const usageError = (message: string, hint?: string): CliError =>
  new CliError(message, { exitCode: exitCode.usage, ...(hint === undefined ? {} : { hint }) });

export type OutputFormat = "table" | "json";

/** `-o json` of every command. */
export const outputOption = (): Option =>
  new Option("-o, --output <format>", "how the result is printed")
    .choices(["table", "json"])
    .default("table");

/** Whether a stream gets colour: NO_COLOR wins, then FORCE_COLOR, then whether it is a terminal. */
export function usesColor(
  stream: { readonly isTTY?: boolean },
  env: Readonly<Record<string, string | undefined>> = process.env,
): boolean {
  if (env["NO_COLOR"]) return false;
  if (env["FORCE_COLOR"] !== undefined) return env["FORCE_COLOR"] !== "0";
  return stream.isTTY === true && env["TERM"] !== "dumb";
}

export type Style = "bold" | "dim" | "red" | "green" | "yellow" | "cyan";
export type Painter = (style: Style, text: string) => string;

/** Colours text for a stream, or leaves it as it is. */
export function painter(stream: { readonly isTTY?: boolean }, env = process.env): Painter {
  const on = usesColor(stream, env);
  return (style, text) => (on ? styleText(style, text, { validateStream: false }) : text);
}

export interface Column<T> {
  readonly title: string;
  /** Absent values are shown as `-`. */
  readonly value: (row: T) => string | number | bigint | undefined;
  readonly align?: "left" | "right";
}

const widthOf = (text: string): number => [...stripVTControlCharacters(text)].length;

/** Rows under upper-case titles, columns parted by three spaces, as kubectl prints them. Ends with a newline. */
export function table<T>(rows: readonly T[], columns: readonly Column<T>[], paint?: Painter): string {
  const cells = rows.map((row) => columns.map((c) => String(c.value(row) ?? "-")));
  const titles = columns.map((c) => c.title.toUpperCase());
  const widths = columns.map((_, i) =>
    Math.max(widthOf(titles[i]!), ...cells.map((row) => widthOf(row[i]!))),
  );
  const line = (row: readonly string[]): string =>
    row
      .map((text, i) => {
        const pad = " ".repeat(widths[i]! - widthOf(text));
        return columns[i]!.align === "right" ? pad + text : text + pad;
      })
      .join("   ")
      .trimEnd();
  const head = line(titles);
  return [paint ? paint("bold", head) : head, ...cells.map(line)].map((text) => `${text}\n`).join("");
}

/** Prints the result of a command: JSON of the value, or a table of its rows; a line of words where there are none. */
export function printRows<T>(
  format: OutputFormat,
  rows: readonly T[],
  columns: readonly Column<T>[],
  nothing: string,
): void {
  if (format === "json") printJson(rows);
  else if (rows.length === 0) process.stderr.write(`${nothing}\n`);
  else process.stdout.write(table(rows, columns, painter(process.stdout)));
}

/** JSON with integers of any size; two spaces of indent. */
export function printJson(value: unknown): void {
  const text = JSON.stringify(value, (_, v: unknown) => (typeof v === "bigint" ? String(v) : v), 2);
  process.stdout.write(`${text}\n`);
}

/** Progress for people on stderr: one line that is rewritten on a terminal, a line a step elsewhere. */
export class Progress implements Disposable {
  readonly #stream: NodeJS.WriteStream;
  readonly #live: boolean;
  #shown = "";

  constructor(stream: NodeJS.WriteStream = process.stderr, quiet = false) {
    this.#stream = stream;
    this.#live = stream.isTTY === true && !quiet;
  }

  /** What is going on now. Only terminals show it: a log has no use for each step. */
  now(text: string): void {
    if (!this.#live || text === this.#shown) return;
    const columns = this.#stream.columns || 80;
    this.#stream.write(`\r\x1b[2K${text.slice(0, columns - 1)}`);
    this.#shown = text;
  }

  /** A line that stays. */
  line(text: string): void {
    this.clear();
    this.#stream.write(`${text}\n`);
  }

  /** Takes the live line away, so that something else can be printed. */
  clear(): void {
    if (this.#shown === "") return;
    this.#stream.write("\r\x1b[2K");
    this.#shown = "";
  }

  [Symbol.dispose](): void {
    this.clear();
  }
}

const units: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** Milliseconds of `500ms`, `5s`, `2m`, `1h`, `1m30s`. A bare number is seconds. @throws InvalidArgumentError */
export function parseDuration(text: string): number {
  if (/^\d+(\.\d+)?$/.test(text)) return Number(text) * 1000;
  if (!/^(\d+(\.\d+)?(ms|s|m|h))+$/.test(text))
    throw new InvalidArgumentError("write a duration such as 500ms, 5s, 2m or 1m30s.");
  let total = 0;
  for (const [, amount, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g))
    total += Number(amount) * units[unit!]!;
  return total;
}

/** `950 ms`, `41.2 s`, `3 m 20 s`: a duration for people. */
export function formatDuration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  return `${Math.floor(ms / 60_000)} m ${Math.round((ms % 60_000) / 1000)} s`;
}

/** Age as kubectl prints it: `5s`, `3m20s`, `7h`, `12d`. */
export function formatAge(ms: number): string {
  const s = Math.max(0, Math.floor(ms / 1000));
  if (s < 120) return `${s}s`;
  if (s < 600) return s % 60 ? `${Math.floor(s / 60)}m${s % 60}s` : `${s / 60}m`;
  if (s < 10_800) return `${Math.floor(s / 60)}m`;
  if (s < 172_800) return `${Math.floor(s / 3600)}h`;
  return `${Math.floor(s / 86_400)}d`;
}

/** How `main` shows any error. */
export function describeFailure(command: string, error: unknown, paint: Painter): string {
  const message = error instanceof Error ? error.message : String(error);
  const lines = [`${paint("red", command)}: ${message}`];
  if (error instanceof CliError && error.hint) lines.push(`${paint("cyan", "hint")}: ${error.hint}`);
  if (process.env["WAGGLE_DEBUG"] && error instanceof Error && error.stack) lines.push(error.stack);
  return `${lines.join("\n")}\n`;
}
