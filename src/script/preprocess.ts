// script: what happens before the grammar sees the text: comments and directives are blanked, object-like macros noted.
// Every character keeps its offset, so that messages point into what the user wrote.
import type { Loc } from "./ast.ts";

export interface Preprocessed {
  readonly text: string;
  /** Object-like #define: name -> replacement text and where it stands. */
  readonly defines: ReadonlyMap<string, { readonly text: string; readonly loc: Loc }>;
  readonly includes: readonly { readonly path: string; readonly loc: Loc }[];
  readonly problems: readonly { readonly message: string; readonly loc: Loc }[];
}

/** Names that are defined for every script: types come from BTF, never from kernel headers. */
const PREDEFINED = ["BPFTRACE_HAVE_BTF"];

const blank = (text: string): string => text.replace(/[^\n]/g, " ");

/** Replaces comments by spaces, outside of strings. A `/*` that is never closed is a path with a wildcard. */
function blankComments(source: string): { text: string; problems: { message: string; loc: Loc }[] } {
  const out: string[] = [];
  let from = 0;
  let at = 0;
  const cut = (end: number): void => {
    out.push(source.slice(from, at), blank(source.slice(at, end)));
    at = from = end;
  };
  while (at < source.length) {
    const c = source[at];
    if (c === '"') {
      at++;
      while (at < source.length && source[at] !== '"' && source[at] !== "\n")
        at += source[at] === "\\" ? 2 : 1;
      at++;
    } else if (c === "/" && source[at + 1] === "/") {
      const end = source.indexOf("\n", at);
      cut(end < 0 ? source.length : end);
    } else if (c === "/" && source[at + 1] === "*") {
      const end = source.indexOf("*/", at + 2);
      if (end < 0) {
        if (/[\w:.-]/.test(source[at - 1] ?? "")) at++;
        else {
          const loc = { start: at, end: Math.min(at + 2, source.length) };
          cut(source.length);
          return { text: out.join(""), problems: [{ message: "unterminated comment", loc }] };
        }
      } else cut(end + 2);
    } else at++;
  }
  out.push(source.slice(from));
  return { text: out.join(""), problems: [] };
}

/** Blanks comments, the shebang and preprocessor lines; keeps the branch of each #if that holds. */
export function preprocess(source: string): Preprocessed {
  const { text, problems } = blankComments(source);
  const defines = new Map<string, { text: string; loc: Loc }>();
  const includes: { path: string; loc: Loc }[] = [];
  const bad: { message: string; loc: Loc }[] = [...problems];
  if (!text.includes("#")) return { text, defines, includes, problems: bad };
  const stack: { active: boolean; taken: boolean; loc: Loc }[] = [];
  const out: string[] = [];
  let offset = 0;
  const active = (): boolean => stack.every((s) => s.active);
  const known = (name: string): boolean => defines.has(name) || PREDEFINED.includes(name);
  for (const line of text.split("\n")) {
    const loc = { start: offset, end: offset + line.length };
    offset += line.length + 1;
    const directive = /^\s*#\s*(\w*|!.*)\s*(.*)$/.exec(line);
    if (!directive) {
      out.push(active() ? line : blank(line));
      continue;
    }
    out.push(blank(line));
    const [, word = "", rest = ""] = directive;
    const name = /^\w+/.exec(rest)?.[0] ?? "";
    const at: Loc = { start: loc.start + Math.max(0, line.indexOf("#")), end: loc.end };
    if (word.startsWith("!")) continue;
    if (word === "ifdef") stack.push({ active: known(name), taken: known(name), loc: at });
    else if (word === "ifndef") stack.push({ active: !known(name), taken: !known(name), loc: at });
    else if (word === "if" || word === "elif") {
      const holds = condition(rest, known, defines);
      const top = stack.at(-1);
      if (word === "if") stack.push({ active: holds, taken: holds, loc: at });
      else if (top) {
        top.active = holds && !top.taken;
        top.taken ||= holds;
      } else bad.push({ message: "#elif without #if", loc: at });
    } else if (word === "else") {
      const top = stack.at(-1);
      if (top) top.active = !top.taken;
      else bad.push({ message: "#else without #if", loc: at });
    } else if (word === "endif") {
      if (!stack.pop()) bad.push({ message: "#endif without #if", loc: at });
    } else if (!active()) continue;
    else if (word === "define") {
      if (rest[name.length] === "(")
        bad.push({ message: "function-like #define is not supported; write a macro", loc: at });
      else if (name) defines.set(name, { text: rest.slice(name.length).trim(), loc: at });
    } else if (word === "undef") defines.delete(name);
    else if (word === "include") includes.push({ path: rest.trim(), loc: at });
    else if (word === "error") bad.push({ message: `#error ${rest}`, loc: at });
    else if (word !== "pragma" && word !== "")
      bad.push({ message: `unknown preprocessor directive '#${word}'`, loc: at });
  }
  for (const open of stack) bad.push({ message: "#if without #endif", loc: open.loc });
  return { text: out.join("\n"), defines, includes, problems: bad };
}

/** The few conditions that scripts use: defined(X), !, && and ||, numbers, and names that are numbers. */
function condition(
  text: string,
  known: (name: string) => boolean,
  defines: ReadonlyMap<string, { readonly text: string }>,
): boolean {
  return text.split("||").some((any) =>
    any.split("&&").every((part) => {
      let rest = part.trim();
      let negated = false;
      while (rest.startsWith("!")) {
        negated = !negated;
        rest = rest.slice(1).trim();
      }
      const defined = /^defined\s*\(?\s*(\w+)\s*\)?$/.exec(rest);
      const value = defined
        ? known(defined[1] ?? "")
        : Number(defines.get(rest)?.text ?? (/^\d+$/.test(rest) ? rest : 0)) !== 0;
      return value !== negated;
    }),
  );
}
