// golden tests: rows of what a program prints, read from text files: exact stdout, exit code and JSON, in one dialect or both.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** What one run prints on stdout, and how it ends. */
export interface Expected {
  readonly out: string;
  readonly code: number;
}

export interface Row {
  readonly file: string;
  readonly name: string;
  readonly program: string;
  readonly flags: readonly string[];
  readonly arguments: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** By mode: "out" and "json" of the newest dialect, "0.17 out" and "0.17 json" of the old one. */
  readonly runs: Readonly<Partial<Record<Mode, Expected>>>;
}

export const modes = ["out", "json", "0.17 out", "0.17 json"] as const;
export type Mode = (typeof modes)[number];

/** Why something that a section names is in no row. */
export interface Untested {
  readonly name: string;
  readonly reason: string;
}

const isMode = (text: string): text is Mode => (modes as readonly string[]).includes(text);

/**
 * A file of rows. `### name` begins one, its program follows; then parts: `--- flags`, `--- arguments` and `--- env` have words on
 * the same line, `--- out` and the other modes the exit code, if it is not 0, and stdout to the letter in the lines below.
 * `### name !! reason` is a row that cannot be tested. `#` lines before the first row are remarks.
 */
export function parseRows(file: string, text: string): { rows: Row[]; untested: Untested[] } {
  const rows: Row[] = [];
  const untested: Untested[] = [];
  for (const block of text.split(/^### /m).slice(1)) {
    const [title = "", ...lines] = block.replace(/\n$/, "").split("\n");
    const [name = "", reason] = title.split(" !! ");
    if (reason !== undefined) {
      untested.push({ name, reason });
      continue;
    }
    const program: string[] = [];
    let flags: string[] = [];
    let positional: string[] = [];
    let env: Record<string, string> = {};
    const runs: Partial<Record<Mode, Expected>> = {};
    let mode: Mode | undefined;
    for (const line of lines) {
      const part = /^--- (0\.17 out|0\.17 json|out|json|flags|arguments|env)(?: (.*))?$/.exec(line);
      const [, kind = "", rest = ""] = part ?? [];
      const words = rest.split(" ").filter((w) => w !== "");
      if (!part) {
        if (mode === undefined) program.push(line);
        else runs[mode] = { out: `${runs[mode]?.out ?? ""}${line}\n`, code: runs[mode]?.code ?? 0 };
      } else if (isMode(kind)) {
        mode = kind;
        runs[mode] = { out: "", code: Number(rest || 0) };
      } else if (kind === "flags") flags = words;
      else if (kind === "arguments") positional = words;
      else env = Object.fromEntries(words.map((w) => w.split("=") as [string, string]));
    }
    rows.push({ file, name, program: program.join("\n"), flags, arguments: positional, env, runs });
  }
  return { rows, untested };
}

/** The command line of a row, without `--local`. */
export const commandLine = (row: Row, mode: Mode): string[] => [
  ...(mode.startsWith("0.17") ? ["--compat", "0.17"] : []),
  ...(mode.endsWith("json") ? ["-f", "json"] : []),
  ...row.flags,
  "-e",
  row.program,
  ...row.arguments,
];

export const directory = join(import.meta.dirname, "rows");

export function readRows(): { readonly rows: readonly Row[]; readonly untested: readonly Untested[] } {
  const files = readdirSync(directory).filter((name) => name.endsWith(".txt"));
  const all = files.map((name) => parseRows(name, readFileSync(join(directory, name), "utf8")));
  return { rows: all.flatMap((f) => f.rows), untested: all.flatMap((f) => f.untested) };
}
