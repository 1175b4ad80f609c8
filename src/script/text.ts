// script: offsets to lines and columns, and strings of the language to bytes.
import type { Loc } from "./ast.ts";
import type { Span } from "./types.ts";

export interface LineMap {
  /** 1-based line and column of a UTF-16 offset, in O(log lines). */
  position(offset: number): { readonly line: number; readonly column: number };
  span(loc: Loc): Span;
}

export function lineMap(source: string): LineMap {
  const starts = [0];
  for (let at = source.indexOf("\n"); at >= 0; at = source.indexOf("\n", at + 1)) starts.push(at + 1);
  const position = (offset: number) => {
    let low = 0;
    let high = starts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((starts[middle] ?? 0) <= offset) low = middle;
      else high = middle - 1;
    }
    return { line: low + 1, column: offset - (starts[low] ?? 0) + 1 };
  };
  const span = (loc: Loc): Span => {
    const start = position(loc.start);
    const end = position(loc.end);
    return {
      start: loc.start,
      end: loc.end,
      line: start.line,
      column: start.column,
      endLine: end.line,
      endColumn: end.column,
    };
  };
  return { position, span };
}

const encoder = new TextEncoder();

/** UTF-8, except that U+DC80..U+DCFF (escapes such as \xff, see grammar.peggy) stand for single bytes. */
export function encodeText(text: string): Uint8Array {
  if (!/[\udc80-\udcff]/.test(text)) return encoder.encode(text);
  const parts: number[] = [];
  for (const char of text) {
    const code = char.codePointAt(0) ?? 0;
    if (code >= 0xdc80 && code <= 0xdcff) parts.push(code - 0xdc00);
    else parts.push(...encoder.encode(char));
  }
  return Uint8Array.from(parts);
}

/** Levenshtein distance, given up at `limit`. */
function distance(a: string, b: string, limit: number): number {
  if (Math.abs(a.length - b.length) >= limit) return limit;
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++)
      next.push(
        Math.min(
          (row[j] ?? 0) + 1,
          (next[j - 1] ?? 0) + 1,
          (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1),
        ),
      );
    row = next;
  }
  return row[b.length] ?? limit;
}

/** The candidate nearest to a misspelt name, if one is near enough to be worth saying. */
export function nearest(name: string, candidates: Iterable<string>): string | undefined {
  let best: string | undefined;
  let least = Math.min(3, Math.floor(name.length / 3) + 1) + 1;
  const lower = name.toLowerCase();
  for (const candidate of candidates) {
    const d = distance(lower, candidate.toLowerCase(), least);
    if (d < least) {
      least = d;
      best = candidate;
    }
  }
  return best;
}
