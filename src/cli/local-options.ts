// cli: the options of `waggle trace --local`: bpftrace's letters, in one table that both the quick start and the long help read.
import type { LocalOptions } from "../trace/local.ts";
import type { Stage } from "../trace/stages.ts";

export interface LocalOption {
  readonly short?: string;
  readonly long?: string;
  /** What its argument is called; absent: it takes none. */
  readonly argument?: string;
  readonly about: string;
  readonly choices?: readonly string[];
}

/** Names of stages, bpftrace's own among them. */
const stages: Readonly<Record<string, readonly Stage[]>> = {
  ast: ["ast"],
  types: ["plan"],
  plan: ["plan"],
  bytecode: ["bytecode"],
  dis: ["bytecode"],
  verifier: ["verifier"],
  all: ["ast", "plan", "bytecode", "verifier"],
};

export const localOptions: readonly LocalOption[] = [
  { long: "local", about: "on this machine alone, without a cluster; needs root" },
  { short: "e", argument: "program", about: "script on the command line" },
  { short: "l", about: "list probes that match the next word, or those of a script" },
  { short: "v", about: "verbose; with -l the arguments, too" },
  { short: "o", argument: "file", about: "print to a file" },
  { short: "B", argument: "mode", about: "buffering of the output", choices: ["line", "full", "none"] },
  { short: "f", long: "format", argument: "format", about: "of the results", choices: ["text", "json"] },
  { short: "c", argument: "command", about: "run a command, and end with it" },
  { short: "p", argument: "pid", about: "events of one process, and end with it" },
  {
    short: "d",
    argument: "stage",
    about: "show what the compiler makes, attach nothing",
    choices: Object.keys(stages),
  },
  { short: "k", about: "warn of every helper of the kernel that fails, with its place in the script" },
  { short: "q", long: "quiet", about: "nothing but the script's own output" },
  {
    short: "I",
    argument: "directory",
    about: "accepted: types come from the kernel itself, no headers are read",
  },
  { long: "include", argument: "file", about: "accepted, as -I" },
  { long: "unsafe", about: "allow system() and other functions that change the machine" },
  { long: "compat", argument: "version", about: "behave as an older bpftrace", choices: ["0.17"] },
  { long: "for", argument: "duration", about: "end after this long: 500ms, 10s, 2m" },
  { long: "no-warnings", about: "errors only" },
  { long: "dry-run", about: "compile and load, attach nothing" },
  { long: "fmt", about: "print the script laid out anew; runs nothing, needs no root" },
  { long: "info", about: "what this kernel offers to scripts" },
  { long: "usdt-file-activation", about: "accepted: semaphores are always raised by file" },
  { short: "V", long: "version", about: "which build this is" },
  { short: "h", long: "help", about: "help" },
];

export type LocalRequest =
  | { readonly kind: "run" | "format"; readonly options: LocalOptions }
  /** Neither --local, -l nor --fmt: this is for a cluster. */
  | { readonly kind: "elsewhere" }
  | { readonly kind: "help" | "version" | "info" }
  | { readonly kind: "wrong"; readonly message: string };

class Wrong extends Error {}

const durationUnits: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

function milliseconds(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h)?$/.exec(text);
  const value = Number(match?.[1]) * (durationUnits[match?.[2] ?? "s"] ?? 0);
  if (!(value > 0)) throw new Wrong(`--for ${text}: write a duration such as 10s`);
  return value;
}

/** Options by name (the long one where there is one) with their arguments, in order, and the words that are none. */
function split(args: readonly string[]): { flags: Map<string, string[]>; words: string[] } {
  const flags = new Map<string, string[]>();
  const words: string[] = [];
  const add = (option: LocalOption, value: string, written: string): void => {
    if (option.choices && !option.choices.includes(value))
      throw new Wrong(`${written} ${value}: one of ${option.choices.join(", ")}`);
    const name = option.long ?? option.short ?? "";
    flags.set(name, [...(flags.get(name) ?? []), value]);
  };
  const rest = [...args];
  const next = (written: string): string => {
    const value = rest.shift();
    if (value === undefined) throw new Wrong(`${written} needs an argument`);
    return value;
  };
  for (let word = rest.shift(); word !== undefined; word = rest.shift()) {
    if (word === "--") {
      words.push(...rest);
      break;
    }
    if (word.startsWith("--")) {
      const [name = "", ...value] = word.slice(2).split("=");
      const option = localOptions.find((o) => o.long === name);
      if (!option) {
        // After the script it is the script's own: getopt() asks for it.
        if (
          (!flags.has("e") && words.length === 0) ||
          args.includes("--compat") ||
          args.includes("--compat=0.17")
        )
          throw new Wrong(`there is no option --${name}`);
        words.push(word);
        continue;
      }
      if (option.argument === undefined) {
        if (value.length > 0) throw new Wrong(`--${name} takes no argument`);
        add(option, "", word);
      } else add(option, value.length > 0 ? value.join("=") : next(word), `--${name}`);
    } else if (word.startsWith("-") && word.length > 1 && !/^-\d/.test(word)) {
      for (let i = 1; i < word.length; i++) {
        const letter = word[i] ?? "";
        const option = localOptions.find((o) => o.short === letter);
        if (!option) throw new Wrong(`there is no option -${letter}`);
        if (option.argument === undefined) add(option, "", `-${letter}`);
        else {
          const value = word.slice(i + 1);
          add(option, value === "" ? next(`-${letter}`) : value, `-${letter}`);
          break;
        }
      }
    } else words.push(word);
  }
  return { flags, words };
}

/** Whether a command line with `trace` in it is about this machine alone: --local, -l or --fmt stands among its options. */
export const isLocal = (args: readonly string[]): boolean =>
  parseLocal(args.slice(args.indexOf("trace") + 1)).kind !== "elsewhere";

/** Reads the words after `trace`. Options may stand before and after the script; `--` ends them, and a negative number is none. */
export function parseLocal(args: readonly string[]): LocalRequest {
  let parsed: ReturnType<typeof split>;
  try {
    parsed = split(args);
    const { flags } = parsed;
    if (!flags.has("local") && !flags.has("l") && !flags.has("fmt")) return { kind: "elsewhere" };
    if (flags.has("help")) return { kind: "help" };
    if (flags.has("version")) return { kind: "version" };
    if (flags.has("info")) return { kind: "info" };
    return { kind: flags.has("fmt") ? "format" : "run", options: optionsOf(parsed.flags, parsed.words) };
  } catch (error) {
    if (!(error instanceof Wrong)) throw error;
    // Options of a cluster's trace are not in the table.
    if (!args.includes("--local") && !args.some((a) => /^-l/.test(a))) return { kind: "elsewhere" };
    return { kind: "wrong", message: error.message };
  }
}

function optionsOf(flags: ReadonlyMap<string, readonly string[]>, words: readonly string[]): LocalOptions {
  const last = (name: string): string | undefined => flags.get(name)?.at(-1);
  const pid = last("p");
  if (pid !== undefined && !/^[1-9]\d{0,9}$/.test(pid))
    throw new Wrong(`-p ${pid}: a process id is a positive number`);
  if (pid !== undefined && flags.has("c")) throw new Wrong("-c and -p exclude each other");
  const program = last("e");
  const duration = last("for");
  const stage = last("d");
  const [file, ...rest] = words;
  const list = flags.has("l");
  const output = last("o");
  const buffering = last("B") as LocalOptions["buffering"];
  const command = last("c");
  return {
    ...(program !== undefined
      ? { program, arguments: list ? [] : words }
      : file === undefined || list
        ? {}
        : { file, arguments: rest }),
    ...(list ? { list: program === undefined ? (file ?? true) : true } : {}),
    format: last("format") === "json" ? "json" : "text",
    verbose: flags.has("v"),
    quiet: flags.has("quiet"),
    unsafe: flags.has("unsafe"),
    checkHelpers: flags.has("k"),
    warnings: !flags.has("no-warnings"),
    dryRun: flags.has("dry-run"),
    ...(output === undefined ? {} : { output }),
    ...(buffering === undefined ? {} : { buffering }),
    ...(command === undefined ? {} : { command }),
    ...(pid === undefined ? {} : { pid: Number(pid) }),
    ...(stage === undefined ? {} : { stages: stages[stage] ?? [] }),
    ...(duration === undefined ? {} : { durationMs: milliseconds(duration) }),
    ...(flags.has("compat") ? { compat: "0.17" } : {}),
    environment: process.env,
  };
}
