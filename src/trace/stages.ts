// trace: `-d`: what the stages between text and kernel made of a script.

import { createDiagnostics } from "../script/diagnostics.ts";
import { parse } from "../script/parse.ts";
import { lineMap } from "../script/text.ts";
import type { CompiledProgram, CompiledScript } from "../script/types.ts";

/** `verifier` is printed by whoever loads. */
export type Stage = "ast" | "plan" | "bytecode" | "verifier";

export const stageNames: readonly Stage[] = ["ast", "plan", "bytecode", "verifier"];

const plain = (_: string, value: unknown): unknown => (typeof value === "bigint" ? `${value}` : value);
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex").replace(/../g, "$& ").trimEnd();

function bytecode(program: CompiledProgram): string {
  let out = `\n${program.name} (${program.type}, ${program.code.length / 8} instructions)\n`;
  for (let i = 0; i * 8 < program.code.length; i++) {
    const line = program.lines.findLast((l) => l.instruction === i);
    if (line) out += `; line ${line.line}, column ${line.column}\n`;
    out += `${String(i).padStart(5)}: ${hex(program.code.subarray(i * 8, i * 8 + 8))}\n`;
  }
  return out;
}

/** The text of each stage that is asked for, in the order of the stages. */
export function* dumpStages(
  stages: readonly Stage[],
  source: string,
  script: CompiledScript,
): Generator<string> {
  if (stages.includes("ast")) {
    const parsed = parse(source, createDiagnostics(lineMap(source)));
    yield `${JSON.stringify(parsed?.program, plain, 2)}\n`;
  }
  if (stages.includes("plan")) {
    const { programs: _, ...rest } = script;
    yield `${JSON.stringify(rest, plain, 2)}\n`;
  }
  if (stages.includes("bytecode")) for (const program of script.programs) yield bytecode(program);
}
