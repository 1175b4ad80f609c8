// cli: YAML files that a user names: the objects in them, each with its place, and the line of any field.
import { readFileSync } from "node:fs";
import { type Document, isNode, LineCounter, parseAllDocuments } from "yaml";
import type { KubernetesObject } from "../api/index.ts";
import { CliError } from "./output.ts";

/** One document of a file. */
export interface Source {
  /** As it was named; `-` is standard input. */
  readonly file: string;
  readonly value: unknown;
  /** `file:line`, 1-based, of a field by its path, or of what is nearest to it. */
  readonly place: (path: readonly (string | number)[]) => string;
}

const nameOf = (file: string): string => (file === "-" ? "stdin" : file);

function readText(file: string): string {
  try {
    return readFileSync(file === "-" ? 0 : file, "utf8");
  } catch (error) {
    throw new CliError(`${nameOf(file)}: ${(error as Error).message}`, { cause: error });
  }
}

/** Every document of a file. @throws CliError for a file that cannot be read or is not YAML, with the place */
export function readDocuments(file: string): readonly Source[] {
  const lines = new LineCounter();
  const parsed = parseAllDocuments(readText(file), { lineCounter: lines, prettyErrors: false });
  const documents: readonly Document[] = "empty" in parsed ? [] : parsed;
  return documents.flatMap((document): readonly Source[] => {
    const [error] = document.errors;
    if (error)
      throw new CliError(`${nameOf(file)}:${lines.linePos(error.pos[0]).line}: ${error.message.trim()}`);
    const value: unknown = document.toJS();
    if (value === null) return [];
    const place = (path: readonly (string | number)[]): string => {
      for (let length = path.length; length >= 0; length--) {
        const node: unknown = document.getIn(path.slice(0, length), true);
        if (isNode(node) && node.range) return `${nameOf(file)}:${lines.linePos(node.range[0]).line}`;
      }
      return nameOf(file);
    };
    return [{ file, value, place }];
  });
}

/** An object of a file. */
export interface Manifest {
  readonly object: KubernetesObject;
  readonly source: Source;
  /** Path of the object in its document: inside a List it is not the root. */
  readonly at: readonly (string | number)[];
}

const isKubernetesObject = (value: unknown): value is KubernetesObject => {
  const o = value as { apiVersion?: unknown; kind?: unknown; metadata?: { name?: unknown } } | null;
  return (
    typeof o?.apiVersion === "string" && typeof o.kind === "string" && typeof o.metadata?.name === "string"
  );
};

/** The objects of all files; those inside a List each on its own. @throws CliError */
export function readManifests(files: readonly string[]): readonly Manifest[] {
  return files.flatMap(readDocuments).flatMap((source): readonly Manifest[] => {
    const list = source.value as { kind?: unknown; items?: unknown };
    const isList = typeof list.kind === "string" && list.kind.endsWith("List") && Array.isArray(list.items);
    const values = isList ? (list.items as unknown[]).map((v, i) => ({ value: v, at: ["items", i] })) : [];
    return (isList ? values : [{ value: source.value, at: [] }]).map(({ value, at }) => {
      if (!isKubernetesObject(value))
        throw new CliError(`${source.place(at)}: this is no object with apiVersion, kind and metadata.name`);
      return { object: value, source, at };
    });
  });
}

/** `spec.nodes[0].mode` as a path of keys and indexes. */
export const pathOf = (field: string): readonly (string | number)[] =>
  [...field.matchAll(/\[(\d+)\]|\[([^\]]+)\]|([^.[\]]+)/g)].map(([, index, key, name]) =>
    index !== undefined ? Number(index) : (key ?? name ?? ""),
  );
