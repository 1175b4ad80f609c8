// script: `waggle trace --fmt`: lays a script out anew. It works on tokens, so comments and directives stay where they were.

type Kind =
  | "word"
  | "string"
  | "comment"
  | "block_comment"
  | "directive"
  | "operator"
  | "open"
  | "close"
  | "semicolon"
  | "comma";

interface Token {
  readonly kind: Kind;
  readonly text: string;
  /** Line ends before it. */
  readonly lines: number;
  /** Whether white space stood before it. */
  readonly space: boolean;
}

const OPERATORS = [
  "<<=",
  ">>=",
  "...",
  "->",
  "++",
  "--",
  "<<",
  ">>",
  "<=",
  ">=",
  "==",
  "!=",
  "&&",
  "||",
  "+=",
  "-=",
  "*=",
  "/=",
  "%=",
  "&=",
  "|=",
  "^=",
  "..",
];
const BINARY = new Set(
  "<<= >>= << >> <= >= == != && || += -= *= /= %= &= |= ^= = < > + - * / % & | ^ ?".split(" "),
);

/** Splits into tokens. Attach points and everything else that has no spaces inside is a word. */
function tokenize(source: string): Token[] {
  const tokens: Token[] = [];
  let at = 0;
  let lines = 0;
  let space = false;
  const push = (kind: Kind, end: number): void => {
    tokens.push({ kind, text: source.slice(at, end), lines, space });
    at = end;
    lines = 0;
    space = false;
  };
  while (at < source.length) {
    const c = source[at] ?? "";
    if (c === "\n") {
      lines++;
      space = true;
      at++;
    } else if (/\s/.test(c)) {
      space = true;
      at++;
    } else if (c === "#" && (lines > 0 || tokens.length === 0)) {
      const end = source.indexOf("\n", at);
      push("directive", end < 0 ? source.length : end);
    } else if (source.startsWith("//", at)) {
      const end = source.indexOf("\n", at);
      push("comment", end < 0 ? source.length : end);
    } else if (source.startsWith("/*", at)) {
      const end = source.indexOf("*/", at + 2);
      push("block_comment", end < 0 ? source.length : end + 2);
    } else if (c === '"') {
      let end = at + 1;
      while (end < source.length && source[end] !== '"') end += source[end] === "\\" ? 2 : 1;
      push("string", Math.min(end + 1, source.length));
    } else if ("{([".includes(c)) push("open", at + 1);
    else if ("})]".includes(c)) push("close", at + 1);
    else if (c === ";") push("semicolon", at + 1);
    else if (c === ",") push("comma", at + 1);
    else if (/[\w$@]/.test(c)) {
      const word = /^[\w$@]+/.exec(source.slice(at, at + 4096))?.[0] ?? c;
      push("word", at + word.length);
    } else push("operator", at + (OPERATORS.find((o) => source.startsWith(o, at))?.length ?? 1));
  }
  return tokens;
}

const INDENT = "  ";
/** Words after which a sign is a sign, not an operation between two values. */
const KEYWORDS = new Set(["return", "if", "else", "while", "for", "unroll", "in"]);

/** The script in the usual layout: one statement a line, two spaces for a block, spaces around operators. */
export function formatSource(source: string): string {
  const tokens = tokenize(source);
  const out: string[] = [];
  let line = "";
  /** What is open around the token: braces, and brackets in which nothing is broken. */
  const open: string[] = [];
  let inPoint = true;
  const depth = (): number => open.filter((o) => o === "{").length;
  const flush = (): void => {
    if (line.trim() !== "") out.push(INDENT.repeat(Math.max(0, lineDepth)) + line.trim());
    line = "";
    lineDepth = depth();
  };
  let lineDepth = 0;
  const inBrackets = (): boolean => open.length > 0 && open.at(-1) !== "{";

  for (const [i, t] of tokens.entries()) {
    const before = tokens[i - 1];
    const next = tokens[i + 1];
    if (t.lines > 1 && line === "" && out.length > 0 && out.at(-1) !== "" && t.text !== "}") out.push("");
    if (t.kind === "directive") {
      flush();
      out.push(t.text.trimEnd());
      continue;
    }
    if (t.kind === "comment") {
      if (line.trim() === "" && t.lines === 0 && out.length > 0 && before)
        out[out.length - 1] += ` ${t.text.trimEnd()}`;
      else {
        line += `${line === "" ? "" : " "}${t.text.trimEnd()}`;
        flush();
      }
      continue;
    }
    if (t.kind === "block_comment") {
      line += `${line === "" ? "" : " "}${t.text}`;
      if (!next || next.lines > 0) flush();
      continue;
    }
    if (t.text === "{") {
      if (line !== "" && !/[\s([]$/.test(line)) line += " ";
      line += "{";
      open.push("{");
      inPoint = false;
      if (next?.text !== "}") {
        const held = depth();
        out.push(INDENT.repeat(Math.max(0, lineDepth)) + line.trim());
        line = "";
        lineDepth = held;
      }
      continue;
    }
    if (t.text === "}") {
      if (before?.text !== "{") {
        flush();
        open.pop();
        lineDepth = depth();
      } else open.pop();
      line += "}";
      if (open.length === 0) inPoint = true;
      const follows = next?.text ?? "";
      if (
        follows === "else" ||
        follows === ";" ||
        follows === "," ||
        follows === ")" ||
        follows === "." ||
        inBrackets()
      )
        continue;
      if (/^[+\-*/%&|^=<>?:]/.test(follows) && open.length > 0) continue;
      // The name of a member of a structure type.
      if (next?.kind === "word" && next.lines === 0 && tokens[i + 2]?.kind === "semicolon") {
        line += " ";
        continue;
      }
      flush();
      if (open.length === 0) {
        if (next && next.kind !== "comment") out.push("");
      }
      continue;
    }
    if (t.kind === "semicolon") {
      line = `${line.trimEnd()};`;
      if (!inBrackets()) flush();
      if (open.length === 0) inPoint = true;
      continue;
    }
    if (t.kind === "comma") {
      line = `${line.trimEnd()}, `;
      if (inPoint && open.length === 0) flush();
      continue;
    }
    if (t.kind === "open") {
      const call = before?.kind === "word" && !KEYWORDS.has(before.text);
      const callable = call || before?.text === ")" || before?.text === "]" || before?.text === "@";
      if (line !== "" && !/[\s([!~]$/.test(line) && !(callable && !t.space) && !callable && spaced(before))
        line += " ";
      line += t.text;
      open.push(t.text);
      continue;
    }
    if (t.kind === "close") {
      line = line.trimEnd() + t.text;
      open.pop();
      continue;
    }
    // Attach points are left as they are written: spaces separate the predicate, nothing else.
    if (inPoint && open.length === 0) {
      line += (t.space && line !== "" ? " " : "") + t.text;
      continue;
    }
    if (t.kind === "operator") {
      const unary = isUnary(before);
      if (t.text === "." || t.text === "->" || t.text === ".." || t.text === "++" || t.text === "--")
        line += t.text;
      else if (t.text === ":") line = `${line.trimEnd()} : `;
      else if (BINARY.has(t.text) && !unary) line = `${line.trimEnd()} ${t.text} `;
      else line += (line !== "" && !/[\s([!~\-*&+]$/.test(line) ? " " : "") + t.text;
      continue;
    }
    line += (needsSpace(line, before, t) ? " " : "") + t.text;
  }
  flush();
  while (out.at(-1) === "") out.pop();
  return `${out.join("\n")}\n`;
}

/** Whether an operator after this token has nothing on its left to operate on. */
const isUnary = (before: Token | undefined): boolean =>
  !before ||
  before.kind === "operator" ||
  before.kind === "open" ||
  before.kind === "comma" ||
  before.kind === "semicolon" ||
  (before.kind === "word" && KEYWORDS.has(before.text));

const spaced = (before: Token | undefined): boolean => before?.kind !== "operator" || BINARY.has(before.text);

function needsSpace(line: string, before: Token | undefined, t: Token): boolean {
  if (line === "" || /[\s([{]$/.test(line)) return false;
  if (before?.kind === "operator") return false;
  if (before?.kind !== "close") return before !== undefined;
  // A cast is written as it was: (uint8)x or (uint8) x.
  return t.space || before.text === "}";
}
