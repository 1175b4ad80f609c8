// Makes what the sources are written against: protobuf messages, API types from crds/, the parser from its grammar.
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";

const only = process.argv[2];

if (!only || only === "proto") {
  // The local plugin is a Node script: it must run on the same Node as this.
  execFileSync("node_modules/.bin/buf", ["generate"], { stdio: "inherit" });
}

if ((!only || only === "crds") && existsSync("scripts/crd-types.ts")) {
  const { generateTypes } = await import("./crd-types.ts");
  mkdirSync("src/api/generated", { recursive: true });
  writeFileSync("src/api/generated/crds.ts", generateTypes("crds"));
}

const grammar = "src/script/grammar.peggy";
if ((!only || only === "grammar") && existsSync(grammar)) {
  const { default: peggy } = await import("peggy");
  const parser = peggy.generate(readFileSync(grammar, "utf8"), {
    output: "source",
    format: "es",
    allowedStartRules: ["Program"],
  });
  mkdirSync("src/script/generated", { recursive: true });
  writeFileSync("src/script/generated/parser.js", parser);
  writeFileSync(
    "src/script/generated/parser.d.ts",
    "export function parse(text: string, options?: Record<string, unknown>): unknown;\n" +
      "export class SyntaxError extends Error { location: { start: { offset: number; line: number; column: number }; end: { offset: number; line: number; column: number } }; expected: { type: string; text?: string; description?: string }[] | null; found: string | null; }\n",
  );
}
