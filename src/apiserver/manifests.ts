// apiserver: manifests that a server takes in at its start: the CRDs of a directory, applied as kubectl apply would.
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { parseAllDocuments } from "yaml";
import type { ServerContext } from "./context.ts";
import { isObject, type Json, type JsonObject, stringAt } from "./json.ts";
import { parseApiVersion } from "./object.ts";
import { applyObject } from "./rest/apply.ts";

/** A manifest that cannot be read or that the server refuses; the message names the file or the object. */
export class ManifestError extends Error {}

/** Every object in the YAML and JSON files of a directory (or of one file), in the order of the file names. */
export function readManifests(path: string): JsonObject[] {
  const files = statSync(path).isDirectory()
    ? readdirSync(path)
        .filter((name) => /\.(ya?ml|json)$/.test(name))
        .sort()
        .map((name) => join(path, name))
    : [path];
  return files.flatMap((file) =>
    parseAllDocuments(readFileSync(file, "utf8")).flatMap((document) => {
      const [problem] = document.errors;
      if (problem) throw new ManifestError(`${file}: ${problem.message.split("\n", 1)[0]}`);
      const value = document.toJS() as Json;
      if (value === null) return [];
      if (!isObject(value)) throw new ManifestError(`${file}: a document is no object`);
      return value.kind === "List" && Array.isArray(value.items) ? value.items.filter(isObject) : [value];
    }),
  );
}

const manager = "waggle-apiserver";

/** Applies objects whose kinds the server knows, CRDs first. Throws ManifestError. */
export async function applyManifests(
  manifests: readonly JsonObject[],
  context: ServerContext,
): Promise<void> {
  const isCrd = (m: JsonObject): boolean => m.kind === "CustomResourceDefinition";
  for (const manifest of [...manifests.filter(isCrd), ...manifests.filter((m) => !isCrd(m))]) {
    const { group, version } = parseApiVersion(stringAt(manifest, "apiVersion"));
    const kind = stringAt(manifest, "kind");
    const name = stringAt(manifest, "metadata", "name");
    const type = context.registry.byKind(group, version, kind);
    if (!type)
      throw new ManifestError(`${kind} ${name}: no such kind in ${stringAt(manifest, "apiVersion")}`);
    const namespace = type.namespaced ? stringAt(manifest, "metadata", "namespace") || "default" : undefined;
    try {
      applyObject({ type, namespace, subresource: "" }, name, structuredClone(manifest), true, context, {
        dryRun: false,
        fieldManager: manager,
        fieldValidation: "Strict",
        warnings: [],
        strictErrors: [],
        check: () => {},
      });
    } catch (error) {
      throw new ManifestError(`${kind} ${name}: ${error instanceof Error ? error.message : String(error)}`);
    }
    // A kind is served once its CRD is committed; the next manifest may be of that kind.
    await context.store.committed();
  }
}
