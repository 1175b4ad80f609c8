// cli: YAML files that a user names: the objects in them, each with its place, and the line of any field.
import { readFileSync } from "node:fs";
import { type Document, isNode, LineCounter, parseAllDocuments } from "yaml";
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

/** `spec.nodes[0].mode` as a path of keys and indexes. */
export const pathOf = (field: string): readonly (string | number)[] =>
  [...field.matchAll(/\[(\d+)\]|\[([^\]]+)\]|([^.[\]]+)/g)].map(([, index, key, name]) =>
    index !== undefined ? Number(index) : (key ?? name ?? ""),
  );
