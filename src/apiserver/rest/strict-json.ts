// apiserver/rest: finds duplicate keys in JSON text, which JSON.parse lets through and strict validation must not.

/** Complaints at most: one is enough to refuse a body. */
const maxComplaints = 10;

/**
 * `duplicate field "spec.a"` for every key that an object has twice, without the quotes of the path. Text must be valid
 * JSON. One pass over the characters, no recursion.
 */
export function duplicateKeys(text: string): string[] {
  const complaints: string[] = [];
  const stack: { keys: Set<string> | undefined; name: string; index: number }[] = [];
  let i = 0;
  let key = "";
  const path = (last: string): string => {
    const parts = stack.slice(1).map((f) => f.name);
    return [...parts, last].reduce((a, b) => (b.startsWith("[") || !a ? a + b : `${a}.${b}`), "");
  };
  const top = (): (typeof stack)[number] | undefined => stack.at(-1);
  const nameOfChild = (): string => {
    const frame = top();
    if (!frame) return "";
    return frame.keys ? key : `[${frame.index}]`;
  };
  while (i < text.length && complaints.length < maxComplaints) {
    const c = text.charCodeAt(i);
    if (c === 0x7b || c === 0x5b) {
      stack.push({ keys: c === 0x7b ? new Set() : undefined, name: nameOfChild(), index: 0 });
      i += 1;
    } else if (c === 0x7d || c === 0x5d) {
      stack.pop();
      i += 1;
    } else if (c === 0x2c) {
      const frame = top();
      if (frame) frame.index += 1;
      i += 1;
    } else if (c === 0x22) {
      const end = endOfString(text, i);
      let next = end;
      while (next < text.length && text.charCodeAt(next) <= 0x20) next += 1;
      const frame = top();
      if (frame?.keys && text.charCodeAt(next) === 0x3a) {
        key = JSON.parse(text.slice(i, end)) as string;
        if (frame.keys.has(key)) complaints.push(`duplicate field ${JSON.stringify(path(key))}`);
        frame.keys.add(key);
        i = next + 1;
      } else i = end;
    } else i += 1;
  }
  return complaints;
}

/** Position after the closing quote of the string that opens at `start`. Most strings have no quote inside. */
function endOfString(text: string, start: number): number {
  let i = start + 1;
  for (;;) {
    const quote = text.indexOf('"', i);
    if (quote < 0) return text.length;
    let backslashes = 0;
    while (text.charCodeAt(quote - 1 - backslashes) === 0x5c) backslashes += 1;
    if (backslashes % 2 === 0) return quote + 1;
    i = quote + 1;
  }
}
