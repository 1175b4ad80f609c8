// script: wildcards in attach points, matched in time proportional to pattern times name, whatever the pattern.
import type { TypeSource } from "./types.ts";

export const isGlob = (text: string): boolean => /[*?]/.test(text);

/** `*` is any text, `?` any character. */
export function globMatches(pattern: string, text: string): boolean {
  let p = 0;
  let t = 0;
  let star = -1;
  let retry = 0;
  while (t < text.length) {
    if (pattern[p] === "*") {
      star = p++;
      retry = t;
    } else if (p < pattern.length && (pattern[p] === "?" || pattern[p] === text[t])) {
      p++;
      t++;
    } else if (star >= 0) {
      p = star + 1;
      t = ++retry;
    } else return false;
  }
  while (pattern[p] === "*") p++;
  return p === pattern.length;
}

/** Wildcards up to which a pattern is handed on as it is; sources may match by regular expressions. */
const FEW = 3;

/** The names that match; many wildcards are matched here. */
export function matchNames(types: TypeSource, provider: string, pattern: string): readonly string[] {
  const simple = pattern.replace(/\*+/g, "*");
  if ((simple.match(/\*/g)?.length ?? 0) <= FEW) return types.match(provider, simple);
  return types.match(provider, "*").filter((name) => globMatches(simple, name));
}
