// Writes docs/api.md from crds/: one table of fields for each kind. A test asserts that the page is up to date.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { parse } from "yaml";

interface Schema {
  type?: string;
  description?: string;
  properties?: Record<string, Schema>;
  items?: Schema;
  required?: string[];
  enum?: string[];
  default?: unknown;
  minimum?: number;
  maximum?: number;
  "x-kubernetes-validations"?: { rule: string; message?: string }[];
}

const cell = (text: string): string => text.replaceAll("|", "\\|").replaceAll("\n", " ");

function rows(schema: Schema, path: string, out: string[]): void {
  for (const [name, field] of Object.entries(schema.properties ?? {})) {
    const full = path ? `${path}.${name}` : name;
    const inner = field.type === "array" ? (field.items ?? {}) : field;
    const type = field.type === "array" ? `[]${inner.type ?? ""}` : (field.type ?? "");
    const notes = [
      field.description ?? inner.description ?? "",
      inner.enum ? `One of ${inner.enum.join(", ")}.` : "",
      field.minimum !== undefined ? `${field.minimum}..${field.maximum ?? ""}.` : "",
      field.default !== undefined ? `Default \`${JSON.stringify(field.default)}\`.` : "",
      schema.required?.includes(name) ? "**Required.**" : "",
    ];
    out.push(`| \`${full}\` | ${type} | ${cell(notes.filter(Boolean).join(" "))} |`);
    // Selectors are the same everywhere; their inside is Kubernetes' own.
    if (!inner.properties?.["matchLabels"]) rows(inner, field.type === "array" ? `${full}[]` : full, out);
  }
}

/** The page's text. */
export function apiDocs(): string {
  const out = [
    "# API: waggle.dev/v1alpha1",
    "",
    "Made from `crds/` by `node scripts/api-docs.ts`. An omitted selector selects nothing or is refused; `{}` means all.",
    "Statuses carry conditions; `Ready` says whether the object does what it says, and its reason what to do.",
  ];
  for (const file of readdirSync("crds").sort()) {
    const crd = parse(readFileSync(`crds/${file}`, "utf8"));
    const root = crd.spec.versions[0].schema.openAPIV3Schema as Schema;
    const { kind, shortNames } = crd.spec.names as { kind: string; shortNames: string[] };
    out.push(
      "",
      `## ${kind}`,
      "",
      `${root.description} Scope: ${crd.spec.scope}. Short name: \`${shortNames[0]}\`.`,
      "",
    );
    out.push("| field | type | meaning |", "|---|---|---|");
    const table: string[] = [];
    rows(root.properties!["spec"]!, "spec", table);
    rows(root.properties!["status"]!, "status", table);
    out.push(...table.filter((r) => !r.includes("`status.conditions[]")));
    const rules = [
      ...(root["x-kubernetes-validations"] ?? []),
      ...(root.properties!["spec"]!["x-kubernetes-validations"] ?? []),
    ];
    if (rules.length > 0) out.push("", "Rules:", ...rules.map((r) => `- ${r.message ?? r.rule}`));
  }
  return `${out.join("\n")}\n`;
}

if (import.meta.main) writeFileSync("docs/api.md", apiDocs());
