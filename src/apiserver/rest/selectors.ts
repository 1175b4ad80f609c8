// apiserver/rest: label and field selectors, from text to a test of an object.
import { badRequest } from "../messages.ts";
import type { ApiObject } from "../object.ts";
import type { ResourceType } from "../registry/resource.ts";
import { labelValueProblems, qualifiedProblems } from "../schema/names.ts";

export type Test = (object: ApiObject) => boolean;

/** Requirements in one selector. */
const maxRequirements = 100;

interface Requirement {
  readonly key: string;
  readonly operator: "in" | "notin" | "exists" | "!" | "gt" | "lt";
  readonly values: readonly string[];
}

/** Splits at commas outside parentheses. */
function splitTop(text: string): string[] {
  const parts: string[] = [];
  let depth = 0;
  let start = 0;
  for (let i = 0; i < text.length; i++) {
    if (text[i] === "(") depth += 1;
    else if (text[i] === ")") depth -= 1;
    else if (text[i] === "," && depth === 0) {
      parts.push(text.slice(start, i));
      start = i + 1;
    }
  }
  parts.push(text.slice(start));
  return parts.map((p) => p.trim()).filter((p) => p !== "");
}

function parseRequirement(text: string): Requirement {
  const fail = (why: string): Error => badRequest(`unable to parse requirement: ${why}`);
  const set = /^(\S+)\s+(in|notin)\s*\(([^()]*)\)$/.exec(text);
  const compare = /^([^=!<>\s]+)\s*(==|=|!=|>|<)\s*([^=!<>\s]*)$/.exec(text);
  const exists = /^(!?)\s*([^=!<>\s(),]+)$/.exec(text);
  let found: Requirement;
  if (set)
    found = {
      key: set[1]!,
      operator: set[2] as "in" | "notin",
      values: set[3]!.split(",").map((v) => v.trim()),
    };
  else if (compare) {
    const operator =
      compare[2] === "!=" ? "notin" : compare[2] === ">" ? "gt" : compare[2] === "<" ? "lt" : "in";
    found = { key: compare[1]!, operator, values: [compare[3]!] };
  } else if (exists) found = { key: exists[2]!, operator: exists[1] ? "!" : "exists", values: [] };
  else throw fail(`found '${text}', expected: '=', '!=', '==', 'in', notin'`);
  const [wrongKey] = qualifiedProblems(found.key);
  if (wrongKey) throw fail(`key: Invalid value: ${JSON.stringify(found.key)}: ${wrongKey}`);
  if (found.operator === "in" || found.operator === "notin")
    found.values.forEach((value, i) => {
      const [wrong] = labelValueProblems(value);
      if (wrong) throw fail(`values[${i}][${found.key}]: Invalid value: ${JSON.stringify(value)}: ${wrong}`);
    });
  return found;
}

function holds(r: Requirement, labels: Readonly<Record<string, string>>): boolean {
  const value = Object.hasOwn(labels, r.key) ? labels[r.key] : undefined;
  switch (r.operator) {
    case "exists":
      return value !== undefined;
    case "!":
      return value === undefined;
    case "in":
      return value !== undefined && r.values.includes(value);
    case "notin":
      return value === undefined || !r.values.includes(value);
    default: {
      if (value === undefined || !/^-?\d+$/.test(value)) return false;
      return r.operator === "gt" ? Number(value) > Number(r.values[0]) : Number(value) < Number(r.values[0]);
    }
  }
}

const none: Readonly<Record<string, string>> = {};

/** Throws 400 for text that is no label selector; undefined for one that selects everything. */
export function labelSelector(text: string | null): Test | undefined {
  if (!text?.trim()) return undefined;
  const requirements = splitTop(text).map(parseRequirement);
  if (requirements.length > maxRequirements)
    throw badRequest(`a selector may have ${maxRequirements} requirements at most`);
  return (object) => requirements.every((r) => holds(r, object.metadata.labels ?? none));
}

/** Throws 400 for a field that the kind cannot be selected by; undefined for a selector that selects everything. */
export function fieldSelector(text: string | null, type: ResourceType): Test | undefined {
  if (!text?.trim()) return undefined;
  const tests = text.split(",").map((part): Test => {
    const match = /^\s*([^=!\s]+)\s*(==|=|!=)\s*(.*?)\s*$/.exec(part);
    if (!match) throw badRequest(`invalid selector: '${text}'; can't understand '${part}'`);
    const [, field, operator, value] = match;
    const get = fieldGetter(field!, type);
    const wanted = value!.replace(/\\(.)/g, "$1");
    return operator === "!=" ? (object) => get(object) !== wanted : (object) => get(object) === wanted;
  });
  return (object) => tests.every((test) => test(object));
}

function fieldGetter(field: string, type: ResourceType): (object: ApiObject) => string {
  if (field === "metadata.name") return (object) => object.metadata.name;
  if (field === "metadata.namespace" && type.namespaced) return (object) => object.metadata.namespace ?? "";
  const get = type.selectableFields.get(field);
  if (get) return get;
  throw badRequest(
    type.custom || type.selectableFields.size > 0
      ? `field label not supported: ${field}`
      : `${JSON.stringify(field)} is not a known field selector: only "metadata.name", "metadata.namespace"`,
  );
}

export const both = (a: Test | undefined, b: Test | undefined): Test | undefined =>
  a && b ? (object) => a(object) && b(object) : (a ?? b);
