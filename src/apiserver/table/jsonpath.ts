// apiserver/table: the JSONPath that printer columns, selectable fields and the scale subresource use.
import { isObject, type Json } from "../json.ts";

type Step =
  | { readonly op: "field"; readonly name: string }
  | { readonly op: "index"; readonly index: number }
  | { readonly op: "wildcard" }
  | { readonly op: "filter"; readonly path: readonly Step[]; readonly compare: string; readonly value: Json }
  | { readonly op: "exists"; readonly path: readonly Step[] };

/** A compiled path; {@link select} evaluates it. */
export interface JsonPath {
  readonly steps: readonly Step[];
}

/** Compiles `.spec.nodes[?(@.type=="Ready")].status` and the like. Throws an Error with the reason for other text. */
export function parseJsonPath(text: string): JsonPath {
  const inner = /^\{(.*)\}$/.exec(text.trim())?.[1] ?? text.trim();
  const parser = { text: inner.startsWith("$") ? inner.slice(1) : inner, at: 0 };
  const steps = parseSteps(parser);
  if (parser.at < parser.text.length) throw new Error(`unexpected ${JSON.stringify(parser.text[parser.at])}`);
  return { steps };
}

interface Parser {
  readonly text: string;
  at: number;
}

function parseSteps(p: Parser): Step[] {
  const steps: Step[] = [];
  while (p.at < p.text.length) {
    const rest = p.text.slice(p.at);
    const field = /^\.?((?:[\w-]|\\.)+)/.exec(rest);
    const index = /^\[(-?\d+)\]/.exec(rest);
    const quoted = /^\[(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)")\]/.exec(rest);
    const wildcard = /^(\.\*|\[\*\])/.exec(rest);
    const filter = /^\[\?\(\s*@/.exec(rest);
    if (wildcard) {
      steps.push({ op: "wildcard" });
      p.at += wildcard[0].length;
    } else if (index) {
      steps.push({ op: "index", index: Number(index[1]) });
      p.at += index[0].length;
    } else if (quoted) {
      steps.push({ op: "field", name: (quoted[1] ?? quoted[2] ?? "").replace(/\\(.)/g, "$1") });
      p.at += quoted[0].length;
    } else if (filter) {
      p.at += filter[0].length;
      steps.push(parseFilter(p));
    } else if (field && (rest.startsWith(".") || steps.length === 0)) {
      steps.push({ op: "field", name: field[1]!.replace(/\\(.)/g, "$1") });
      p.at += field[0].length;
    } else if (rest === ".") p.at += 1;
    else break;
  }
  return steps;
}

function parseFilter(p: Parser): Step {
  const path = parseSteps(p);
  const tail = /^\s*(?:(==|!=|<=|>=|<|>)\s*("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[\w.-]+)\s*)?\)\]/.exec(
    p.text.slice(p.at),
  );
  if (!tail) throw new Error("unterminated filter");
  p.at += tail[0].length;
  if (!tail[1]) return { op: "exists", path };
  return { op: "filter", path, compare: tail[1], value: literal(tail[2]!) };
}

function literal(text: string): Json {
  if (text.startsWith("'")) return text.slice(1, -1).replace(/\\(.)/g, "$1");
  if (text.startsWith('"')) return JSON.parse(text) as Json;
  if (text === "true" || text === "false") return text === "true";
  const number = Number(text);
  return Number.isNaN(number) ? text : number;
}

/** All values that the path leads to, in order. */
export function select(path: JsonPath, root: Json): Json[] {
  let current: Json[] = [root];
  for (const step of path.steps) current = current.flatMap((value) => apply(step, value));
  return current;
}

function apply(step: Step, value: Json): Json[] {
  switch (step.op) {
    case "field":
      return isObject(value) && Object.hasOwn(value, step.name) ? [value[step.name]!] : [];
    case "index": {
      const item = Array.isArray(value) ? value.at(step.index) : undefined;
      return item === undefined ? [] : [item];
    }
    case "wildcard":
      return Array.isArray(value) ? value : isObject(value) ? Object.values(value) : [];
    case "exists":
      return Array.isArray(value)
        ? value.filter((item) => select({ steps: step.path }, item).length > 0)
        : [];
    case "filter":
      return Array.isArray(value) ? value.filter((item) => matches(step, item)) : [];
  }
}

function matches(step: Step & { op: "filter" }, item: Json): boolean {
  const [found] = select({ steps: step.path }, item);
  if (found === undefined || found === null) return false;
  const wanted = step.value ?? "";
  switch (step.compare) {
    case "==":
      return found === wanted;
    case "!=":
      return found !== wanted;
    case "<":
      return found < wanted;
    case "<=":
      return found <= wanted;
    case ">":
      return found > wanted;
    default:
      return found >= wanted;
  }
}
