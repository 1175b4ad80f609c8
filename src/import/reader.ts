// import: reads a manifest field by field and knows which fields nobody has asked for: nothing is dropped in silence.
import type { LabelSelector } from "../api/index.ts";
import { type Said, says } from "./messages.ts";
import type { Finding, Source } from "./types.ts";

type Json = Readonly<Record<string, unknown>>;
const isObject = (value: unknown): value is Json =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Collects findings; each is said once. */
export class Findings {
  readonly list: Finding[] = [];
  readonly #seen = new Set<string>();

  add(source: Source, path: string, said: Said): void {
    const { kind, metadata } = source.object;
    const object = [kind, metadata.namespace, metadata.name].filter(Boolean).join("/");
    const finding = { ...said, file: source.file, document: source.document, object, path };
    const key = JSON.stringify(finding);
    if (this.#seen.has(key)) return;
    this.#seen.add(key);
    this.list.push(finding);
  }
}

/** One object inside a manifest. Each field is asked for by name; {@link done} reports the rest. */
export class Reader {
  readonly source: Source;
  readonly path: string;
  readonly findings: Findings;
  readonly #value: Json;
  readonly #asked = new Set<string>();

  constructor(source: Source, findings: Findings, value: unknown, path: string) {
    this.source = source;
    this.findings = findings;
    this.path = path;
    this.#value = isObject(value) ? value : {};
    if (!isObject(value) && value !== undefined && value !== null) this.say("", says.notA("an object"));
  }

  /** Path of a field. */
  at(name: string): string {
    return name === "" ? this.path : this.path === "" ? name : `${this.path}.${name}`;
  }

  say(name: string, said: Said): void {
    this.findings.add(this.source, this.at(name), said);
  }

  has(name: string): boolean {
    return this.#value[name] !== undefined && this.#value[name] !== null;
  }

  /** The value as it stands. */
  raw(name: string): unknown {
    this.#asked.add(name);
    return this.has(name) ? this.#value[name] : undefined;
  }

  #typed<T>(name: string, what: string, is: (value: unknown) => value is T): T | undefined {
    const value = this.raw(name);
    if (value === undefined || is(value)) return value;
    this.say(name, says.notA(what));
    return undefined;
  }

  text(name: string): string | undefined {
    return this.#typed(name, "a string", (v) => typeof v === "string");
  }

  number(name: string): number | undefined {
    return this.#typed(name, "an integer", (v): v is number => Number.isInteger(v));
  }

  flag(name: string): boolean | undefined {
    return this.#typed(name, "true or false", (v) => typeof v === "boolean");
  }

  texts(name: string): readonly string[] {
    const list = this.#typed(name, "a list", (v) => Array.isArray(v)) ?? [];
    return list.flatMap((v: unknown, i) => {
      if (typeof v === "string") return [v];
      this.say(`${name}[${i}]`, says.notA("a string"));
      return [];
    });
  }

  inner(name: string): Reader | undefined {
    const value = this.raw(name);
    return value === undefined ? undefined : new Reader(this.source, this.findings, value, this.at(name));
  }

  list(name: string): readonly Reader[] {
    const list = this.#typed(name, "a list", (v) => Array.isArray(v)) ?? [];
    return list.map((v, i) => new Reader(this.source, this.findings, v, `${this.at(name)}[${i}]`));
  }

  /** A label selector; undefined where there is none. */
  selector(name: string): LabelSelector | undefined {
    return this.inner(name)?.asSelector();
  }

  selectors(name: string): readonly LabelSelector[] {
    return this.list(name).map((r) => r.asSelector());
  }

  /** This object as a label selector. */
  asSelector(): LabelSelector {
    const labels = this.raw("matchLabels");
    const given = this.list("matchExpressions").map((r) => {
      const operator = r.text("operator");
      const values = r.texts("values");
      const key = r.text("key") ?? "";
      r.done();
      if (operator !== "In" && operator !== "NotIn" && operator !== "Exists" && operator !== "DoesNotExist")
        r.say("operator", says.notA("one of In, NotIn, Exists, DoesNotExist"));
      return { key, operator: operator as "In", ...(values.length > 0 && { values }) };
    });
    this.done();
    const matchLabels = isObject(labels)
      ? Object.fromEntries(Object.entries(labels).map(([k, v]) => [k, String(v)]))
      : {};
    return {
      ...(Object.keys(matchLabels).length > 0 && { matchLabels }),
      ...(given.length > 0 && { matchExpressions: given }),
    };
  }

  /** A field that has no equal; says so where it is set. */
  refuse(name: string, why: string): void {
    if (this.raw(name) !== undefined) this.say(name, says.noEqual(why));
  }

  /** A field that may be left out without a difference that anybody sees; says so where it is set. */
  leave(name: string, why: string): void {
    if (this.raw(name) !== undefined) this.say(name, says.left(why));
  }

  /** Reports every field that was not asked for. */
  done(): void {
    for (const name of Object.keys(this.#value))
      if (!this.#asked.has(name) && this.has(name)) this.say(name, says.unknown());
  }
}

/** Fields of metadata that the API server or a tool has written, and the names by which objects are known. */
const ordinaryMetadata = new Set([
  "name",
  "namespace",
  "labels",
  "annotations",
  "uid",
  "resourceVersion",
  "generation",
  "creationTimestamp",
  "managedFields",
  "ownerReferences",
  "finalizers",
  "selfLink",
]);
/** Annotations by which a tool remembers what it has applied. */
const bookkeeping = /^(kubectl\.kubernetes\.io|meta\.helm\.sh|argocd\.argoproj\.io|helm\.sh)\//;

/** The spec of an object; its status is another product's view and is not read. */
export function specOf(source: Source, findings: Findings): Reader {
  const top = new Reader(source, findings, source.object, "");
  for (const name of ["apiVersion", "kind", "metadata", "status"]) top.raw(name);
  const spec = top.inner("spec") ?? new Reader(source, findings, {}, "spec");
  top.done();
  for (const name of Object.keys(source.object.metadata))
    if (!ordinaryMetadata.has(name)) findings.add(source, `metadata.${name}`, says.unknown());
  for (const name of Object.keys(source.object.metadata.annotations ?? {}))
    if (!bookkeeping.test(name)) findings.add(source, `metadata.annotations[${name}]`, says.annotation());
  return spec;
}
