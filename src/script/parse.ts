// script: text to syntax tree. Whatever the text is, the answer is a tree or a message with a place, never an exception.
import type { Loc, Program } from "./ast.ts";
import { type Diagnostics, say } from "./diagnostics.ts";
import { parse as generatedParse, SyntaxError as PegSyntaxError } from "./generated/parser.js";
import { type Preprocessed, preprocess } from "./preprocess.ts";

/** Longest source that is looked at, in UTF-16 units. */
export const MAX_SOURCE = 1 << 20;

export interface Parsed {
  readonly program: Program;
  readonly preprocessed: Preprocessed;
}

/** Parses a whole script; undefined after an error, which is in `diagnostics`. */
export function parse(source: string, diagnostics: Diagnostics): Parsed | undefined {
  if (source.length > MAX_SOURCE) {
    diagnostics.report({ start: 0, end: 0 }, say.tooLong(MAX_SOURCE));
    return undefined;
  }
  const preprocessed = preprocess(source);
  for (const problem of preprocessed.problems)
    diagnostics.report(problem.loc, say.preprocessor(problem.message));
  try {
    const program = generatedParse(preprocessed.text) as Program;
    return diagnostics.errors() > 0 ? undefined : { program, preprocessed };
  } catch (error) {
    if (error instanceof PegSyntaxError) {
      const { start, end } = error.location;
      const at = tokenAt(preprocessed.text, start.offset, end.offset);
      if (error.expected === null) diagnostics.report(at, say.parser(error.message));
      else {
        const found =
          at.start >= preprocessed.text.length ? undefined : preprocessed.text.slice(at.start, at.end);
        diagnostics.report(at, say.syntax(found, expectations(error.expected)));
      }
      return undefined;
    }
    if (error instanceof RangeError) {
      diagnostics.report({ start: 0, end: Math.min(1, source.length) }, say.parser("nested too deeply"));
      return undefined;
    }
    throw error;
  }
}

/** The token at an offset: a word, or one character. */
function tokenAt(text: string, start: number, end: number): Loc {
  if (start >= text.length) {
    const last = text.trimEnd().length;
    return { start: last, end: last + 1 };
  }
  const word = /^[\w$@]+/.exec(text.slice(start, start + 40));
  return { start, end: word ? start + word[0].length : Math.max(end, start + 1) };
}

function expectations(list: readonly { type: string; text?: string; description?: string }[]): string[] {
  const out = new Set<string>();
  for (const e of list) {
    if (e.type === "literal" && e.text !== undefined) out.add(`'${e.text}'`);
    else if (e.type === "other" && e.description !== "white space") out.add(e.description ?? "");
    else if (e.type === "end") out.add("end of file");
  }
  out.delete("");
  return [...out].sort();
}
