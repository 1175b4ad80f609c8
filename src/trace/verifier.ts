// trace: a program that the kernel refused, told as an error of the script: the line that its last instruction came from.
import type { VerifierError } from "../kernel/programs.ts";
import type { CompiledProgram, Diagnostic, Span } from "../script/types.ts";
import { say } from "./messages.ts";

/** Lines of the log that only tell of the verifier's work. */
const chatter =
  /^(processed|verification time|stack depth|peak_|mark_precise|from \d+ to|;|\d+: |The sequence of)/;

/** The last instruction that the log speaks of; undefined if it got to none. */
export function lastInstruction(log: string): number | undefined {
  let last: number | undefined;
  for (const match of log.matchAll(/^(\d+): \(/gm)) last = Number(match[1]);
  return last;
}

/** The sentence by which the verifier refuses: the last line that is neither code nor statistics. */
export function refusal(log: string): string | undefined {
  return log
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "" && !chatter.test(line))
    .at(-1);
}

/** Span of a whole source line, without its indentation. */
function lineSpan(source: string, line: number, column: number): Span {
  const lines = source.split("\n");
  const text = lines[line - 1] ?? "";
  const lineStart = lines.slice(0, line - 1).reduce((sum, l) => sum + l.length + 1, 0);
  const from = Math.min(Math.max(0, column - 1), text.length);
  return {
    start: lineStart + from,
    end: lineStart + text.length,
    line,
    column: from + 1,
    endLine: line,
    endColumn: text.length + 1,
  };
}

/** The refusal as a diagnostic. */
export function verifierDiagnostic(
  error: VerifierError,
  program: CompiledProgram,
  source: string,
): Diagnostic {
  const instruction = lastInstruction(error.log);
  const line = program.lines.findLast((l) => instruction !== undefined && l.instruction <= instruction);
  const at = line ?? program.lines[0];
  return {
    severity: "error",
    code: "verifier",
    message: say.refused(program.name, refusal(error.log) ?? error.message),
    span: lineSpan(source, at?.line ?? 1, at?.column ?? 1),
    ...(instruction === undefined ? {} : { hint: say.refusedHint(instruction) }),
  };
}
