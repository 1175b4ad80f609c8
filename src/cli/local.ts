// cli: `waggle trace --local` without the rest of the program: it starts in the time that the others take to read their options.
import { runLocal, showFormatted, showInfo } from "../trace/local.ts";
import { type LocalRequest, localOptions, parseLocal } from "./local-options.ts";

declare const WAGGLE_VERSION: string | undefined;

const usage = `Usage: waggle trace --local [options] -e PROGRAM [ARGS]
       waggle trace --local [options] FILE [ARGS]
       waggle trace -l [PATTERN | FILE]`;

function optionLines(): string {
  const left = localOptions.map(({ short, long, argument }) => {
    const names = [...(short ? [`-${short}`] : []), ...(long ? [`--${long}`] : [])].join(", ");
    return `${short ? "" : "    "}${names}${argument ? ` <${argument}>` : ""}`;
  });
  const width = Math.max(...left.map((text) => text.length));
  return localOptions
    .map(
      ({ about, choices }, i) =>
        `  ${(left[i] ?? "").padEnd(width)}  ${about}${choices ? ` (${choices.join(", ")})` : ""}\n`,
    )
    .join("");
}

const examples = `
Examples:
  waggle trace --local -e 'tracepoint:syscalls:sys_enter_openat { printf("%s %s\\n", comm, str(args.filename)); }'
  waggle trace --local tools/run-queue.bt
  waggle trace -lv 'tracepoint:tcp:*'

The language is bpftrace's; docs/language.md has it all, docs/trace-compat.md the differences. Exit codes: 0 or what the
script gave to exit, 1 for any error.
`;

/** Runs one command line, without `trace`. @returns the exit code */
export async function localMain(args: readonly string[]): Promise<number> {
  const request: LocalRequest = parseLocal(args);
  switch (request.kind) {
    case "elsewhere":
      throw new Error("not a local trace");
    case "run":
      return runLocal(request.options);
    case "format":
      return showFormatted(request.options);
    case "info":
      return showInfo();
    case "help":
      process.stdout.write(`${usage}\n\nOptions:\n${optionLines()}${examples}`);
      return 0;
    case "version":
      process.stdout.write(`waggle ${typeof WAGGLE_VERSION === "string" ? WAGGLE_VERSION : "source"}\n`);
      return 0;
    case "wrong":
      process.stderr.write(`ERROR: ${request.message}\n${usage}\n`);
      return 1;
  }
}
