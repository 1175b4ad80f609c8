// trace: the wildcards of attach points: `*`, `?` and `[...]`, everything else stands for itself. Matching takes time proportional to
// pattern times text at most: patterns come from whoever may run a script, also across the hub.

/** Whether a pattern has a wildcard. */
export const isGlob = (pattern: string): boolean => /[*?[]/.test(pattern);

/** One character of a text, or any number of them. */
type Token = "any" | "star" | string | { readonly not: boolean; readonly ranges: readonly string[] };

function tokensOf(pattern: string): Token[] {
  const tokens: Token[] = [];
  for (let i = 0; i < pattern.length; i++) {
    const c = pattern[i] ?? "";
    const end = c === "[" ? pattern.indexOf("]", i + 1) : -1;
    if (c === "*") {
      if (tokens.at(-1) !== "star") tokens.push("star");
    } else if (c === "?") tokens.push("any");
    else if (end > i + 1) {
      const not = /[!^]/.test(pattern[i + 1] ?? "");
      const inner = pattern.slice(i + (not ? 2 : 1), end);
      // "a-z" is a range, a hyphen at either end is itself.
      tokens.push({ not, ranges: inner.match(/.-.|[\s\S]/g) ?? [] });
      i = end;
    } else tokens.push(c);
  }
  return tokens;
}

function takes(token: Token | undefined, c: string): boolean {
  if (token === undefined || token === "star") return false;
  if (token === "any") return true;
  if (typeof token === "string") return token === c;
  const inside = token.ranges.some((r) => (r[0] ?? "") <= c && c <= (r.at(-1) ?? ""));
  return inside !== token.not;
}

/** Each star takes as little as it can; only the last one that was passed ever has to take more. */
function matches(tokens: readonly Token[], text: string): boolean {
  let [p, t, star, retry] = [0, 0, -1, 0];
  while (t < text.length) {
    if (tokens[p] === "star") {
      star = p++;
      retry = t;
    } else if (takes(tokens[p], text[t] ?? "")) {
      p++;
      t++;
    } else if (star >= 0) {
      p = star + 1;
      t = ++retry;
    } else return false;
  }
  while (tokens[p] === "star") p++;
  return p === tokens.length;
}

/** A test for one pattern. Without wildcards it compares. */
export function globMatcher(pattern: string): (text: string) => boolean {
  if (pattern === "*") return () => true;
  if (!isGlob(pattern)) return (text) => text === pattern;
  const tokens = tokensOf(pattern);
  return (text) => matches(tokens, text);
}
