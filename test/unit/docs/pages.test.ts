// Pages that are made from sources are up to date, and links between pages lead somewhere.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, it } from "vitest";
import { apiDocs } from "../../../scripts/api-docs.ts";

describe("docs", () => {
  it("api.md is what crds/ says", () => {
    expect(readFileSync("docs/api.md", "utf8")).toBe(apiDocs());
  });

  it("links lead to files", () => {
    const pages = [
      "README.md",
      "ARCHITECTURE.md",
      ...readdirSync("docs")
        .filter((f) => f.endsWith(".md"))
        .map((f) => `docs/${f}`),
    ];
    const broken = pages.flatMap((page) =>
      [...readFileSync(page, "utf8").matchAll(/\]\((?!https?:)([^)#]+)[^)]*\)/g)]
        .map((m) => join(dirname(page), m[1]!))
        .filter((target) => !existsSync(target))
        .map((target) => `${page}: ${target}`),
    );
    expect(broken).toEqual([]);
  });

  it("every dependency has its line in dependencies.md", () => {
    const text = readFileSync("docs/dependencies.md", "utf8");
    const { dependencies, devDependencies, optionalDependencies } = JSON.parse(
      readFileSync("package.json", "utf8"),
    ) as Record<string, Record<string, string>>;
    const names = Object.keys({ ...dependencies, ...devDependencies, ...optionalDependencies });
    expect(names.filter((n) => !text.includes(`\`${n}\``))).toEqual([]);
  });

  it("versions are pinned", () => {
    const { dependencies, devDependencies, optionalDependencies } = JSON.parse(
      readFileSync("package.json", "utf8"),
    ) as Record<string, Record<string, string>>;
    const loose = Object.entries({ ...dependencies, ...devDependencies, ...optionalDependencies }).filter(
      ([, v]) => !/^\d+\.\d+\.\d+$/.test(v),
    );
    expect(loose).toEqual([]);
  });
});
