// trace: the wildcards of attach points: `*`, `?` and `[...]`, everything else stands for itself.

/** Whether a pattern has a wildcard. */
export const isGlob = (pattern: string): boolean => /[*?[]/.test(pattern);

/** The pattern as a regular expression over the whole text. */
export function globExpression(pattern: string): RegExp {
  let source = "";
  for (let i = 0; i < pattern.length; i++) {
    const c = pattern[i] ?? "";
    if (c === "*") source += ".*";
    else if (c === "?") source += ".";
    else if (c === "[" && pattern.indexOf("]", i + 1) > i + 1) {
      const end = pattern.indexOf("]", i + 1);
      const inner = pattern.slice(i + 1, end).replace(/[\\\]^]/g, (x) => (x === "^" ? "^" : `\\${x}`));
      source += `[${inner.replace(/^!/, "^")}]`;
      i = end;
    } else source += c.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&");
  }
  return new RegExp(`^${source}$`);
}

/** A test for one pattern. Without wildcards it compares. */
export function globMatcher(pattern: string): (text: string) => boolean {
  if (pattern === "*") return () => true;
  if (!isGlob(pattern)) return (text) => text === pattern;
  const expression = globExpression(pattern);
  return (text) => expression.test(text);
}
