// Writes TypeScript interfaces from the structural schemas in crds/: the manifests are the one source of API truth.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";

interface Schema {
  type?: string;
  description?: string;
  properties?: Record<string, Schema>;
  additionalProperties?: Schema;
  items?: Schema;
  required?: string[];
  enum?: string[];
  default?: unknown;
}

interface Crd {
  spec: {
    group: string;
    scope: "Cluster" | "Namespaced";
    names: { kind: string; plural: string };
    versions: { name: string; schema: { openAPIV3Schema: Schema } }[];
  };
}

/** The TypeScript type of one schema. A field with a default is always there once the API server has seen the object. */
function typeOf(schema: Schema, indent: string): string {
  if (schema.enum) return schema.enum.map((v) => JSON.stringify(v)).join(" | ");
  if (schema.type === "object" && schema.properties) {
    const inner = `${indent}  `;
    const lines = Object.entries(schema.properties).map(([name, field]) => {
      const optional = !(schema.required?.includes(name) || field.default !== undefined);
      const doc = field.description ? `${inner}/** ${field.description.replaceAll("*/", "* /")} */\n` : "";
      return `${doc}${inner}readonly ${name}${optional ? "?" : ""}: ${typeOf(field, inner)};`;
    });
    return lines.length === 0 ? "Record<string, never>" : `{\n${lines.join("\n")}\n${indent}}`;
  }
  if (schema.type === "object" && schema.additionalProperties)
    return `Readonly<Record<string, ${typeOf(schema.additionalProperties, indent)}>>`;
  if (schema.type === "array") return `readonly (${typeOf(schema.items ?? {}, indent)})[]`;
  if (schema.type === "integer" || schema.type === "number") return "number";
  if (schema.type === "boolean") return "boolean";
  if (schema.type === "string") return "string";
  return "unknown";
}

/** All kinds of a directory of CustomResourceDefinitions as one TypeScript module. */
export function generateTypes(directory: string): string {
  const out = [
    "// Generated from crds/ by scripts/crd-types.ts; change the manifests, not this file.",
    'import type { KubernetesObject } from "../object.ts";',
    "",
  ];
  const kinds: string[] = [];
  for (const file of readdirSync(directory)
    .filter((f) => f.endsWith(".yaml"))
    .sort()) {
    const crd = parse(readFileSync(join(directory, file), "utf8")) as Crd;
    const version = crd.spec.versions[0]!;
    const root = version.schema.openAPIV3Schema;
    const { kind, plural } = crd.spec.names;
    const { spec, status } = root.properties as { spec: Schema; status: Schema };
    out.push(`export type ${kind}Spec = ${typeOf(spec, "")};\n`);
    out.push(`export type ${kind}Status = ${typeOf(status, "")};\n`);
    out.push(`/** ${root.description ?? kind} */`);
    out.push(`export interface ${kind} extends KubernetesObject {`);
    out.push(`  readonly apiVersion: "${crd.spec.group}/${version.name}";`);
    out.push(`  readonly kind: "${kind}";`);
    out.push(`  readonly spec: ${kind}Spec;\n  readonly status?: ${kind}Status;\n}\n`);
    kinds.push(
      `  ${kind}: { group: "${crd.spec.group}", version: "${version.name}", kind: "${kind}", plural: "${plural}", namespaced: ${crd.spec.scope === "Namespaced"} },`,
    );
  }
  out.push(
    "/** Group, version and plural of each of our kinds. */",
    "export const waggleKinds = {",
    ...kinds,
    "} as const;",
    "",
  );
  return out.join("\n");
}
