// apiserver/schema: checks rules against the types that a schema gives to self, so that a wrong rule is refused with its CRD.
import {
  type ASTNode,
  TypeError as CelTypeError,
  type Environment,
  EvaluationError,
  ParseError,
} from "@marcbachmann/cel-js";
import { celEnvironment } from "./cel-library.ts";
import { escapeName } from "./cel-values.ts";
import type { CelRule, Schema } from "./schema.ts";

/** What is wrong with a rule: the part that is wrong, and why. */
export interface RuleProblem {
  readonly part: "rule" | "messageExpression";
  readonly reason: string;
}

let base: Environment | undefined;

const scalarTypes: Readonly<Record<string, string>> = {
  integer: "int",
  number: "double",
  boolean: "bool",
  string: "string",
};

const stringFormats: Readonly<Record<string, string>> = {
  "date-time": "timestamp",
  date: "timestamp",
  byte: "bytes",
};

/** Types of one environment; names are unique by number. */
class TypeNames {
  readonly #env: Environment;
  #count = 0;
  constructor(env: Environment) {
    this.#env = env;
  }

  /** The CEL type of a schema, its objects registered on the way. What a schema leaves open is dyn. */
  of(schema: Schema | undefined, isRoot = false): string {
    if (!schema || schema.intOrString || !schema.type || (schema.preserveUnknown && !schema.properties))
      return "dyn";
    if (schema.type === "array") return `list<${this.of(schema.items)}>`;
    if (schema.type === "string") return stringFormats[schema.format ?? ""] ?? "string";
    if (schema.type !== "object") return scalarTypes[schema.type] ?? "dyn";
    if (!schema.properties)
      return `map<string, ${typeof schema.additionalProperties === "object" ? this.of(schema.additionalProperties) : "dyn"}>`;
    const fields: Record<string, string> = {};
    for (const [name, property] of schema.properties) fields[escapeName(name)] = this.of(property);
    if (isRoot) {
      fields.apiVersion = "string";
      fields.kind = "string";
      fields.metadata = this.#register({ name: "string", generateName: "string" });
    }
    return this.#register(fields);
  }

  #register(fields: Record<string, string>): string {
    const name = `Object${this.#count++}`;
    this.#env
      .registerType(name, { ctor: class {}, fields })
      // Only types matter here; nothing is ever evaluated in this environment.
      .registerOperator(`${name} == ${name}`, () => true);
    return name;
  }
}

/** Complaints about the rules of one node of a schema. `isRoot`: the node is the whole resource. */
export function checkRules(schema: Schema, isRoot: boolean): (readonly RuleProblem[])[] {
  base ??= celEnvironment();
  const env = base.clone();
  const self = new TypeNames(env).of(schema, isRoot);
  env.registerVariable("self", self);
  const plain = env.clone().registerVariable("oldSelf", self);
  const optional = env.clone().registerVariable("oldSelf", `optional<${self}>`);
  return (schema.validations ?? []).map((rule) => checkRule(rule, rule.optionalOldSelf ? optional : plain));
}

function checkRule(rule: CelRule, env: Environment): RuleProblem[] {
  const problems: RuleProblem[] = [];
  const parts = [
    ["rule", rule.rule, "bool"],
    ["messageExpression", rule.messageExpression, "string"],
  ] as const;
  for (const [part, text, wanted] of parts) {
    if (!text?.trim()) continue;
    const result = env.check(text);
    if (!result.valid) problems.push({ part, reason: describe(result.error, text) });
    else if (result.type !== wanted && result.type !== "dyn")
      problems.push({
        part,
        reason:
          part === "rule"
            ? "cel expression must evaluate to a bool"
            : "messageExpression must evaluate to a string",
      });
  }
  return problems;
}

function describe(error: unknown, text: string): string {
  if (!(error instanceof ParseError || error instanceof CelTypeError || error instanceof EvaluationError))
    return String(error);
  const start = error.range?.start ?? 0;
  const before = text.slice(0, start).split("\n");
  const place = `<input>:${before.length}:${before.at(-1)!.length + 1}`;
  const reason = error.summary
    .replace(/^No such key: (.+)$/, "undefined field '$1'")
    .replace(/^Unknown variable: (.+)$/, "undeclared reference to '$1' (in container '')");
  return `compilation failed: ERROR: ${place}: ${reason}`;
}

/** Whether an expression looks at a variable. */
export function mentions(node: ASTNode, name: string): boolean {
  if (node.op === "id") return node.args === name;
  const walk = (value: unknown): boolean =>
    Array.isArray(value) ? value.some(walk) : isNode(value) ? mentions(value, name) : false;
  return walk(node.args);
}

const isNode = (value: unknown): value is ASTNode =>
  typeof value === "object" && value !== null && "op" in value;
