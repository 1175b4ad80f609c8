// test, script: docs/language.md is what the compiler's tables say, and what it shows is the language.
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { checkSyntax, compile, languagePage, languageReference } from "../../../src/script/index.ts";
import { options } from "./fixture.ts";

describe("docs/language.md", () => {
  test("is what `node scripts/language-docs.ts` writes", () => {
    expect(readFileSync("docs/language.md", "utf8")).toBe(languagePage());
  });

  test("has every function, builtin, provider and setting", () => {
    const { functions, builtins, providers, settings } = languageReference();
    const page = languagePage();
    for (const { usage } of functions) expect(page).toContain(usage.replaceAll("|", "\\|"));
    for (const { name } of [...builtins, ...providers]) expect(page).toContain(`\`${name}\``);
    for (const name of settings) expect(page).toContain(`\`${name}\``);
  });

  test("every statement that it shows is one", () => {
    const prologue = "BEGIN { $p = curtask; $y = 1; @map[1] = 1; ";
    const rows = languagePage().split("## Statements")[1]?.split("Operators")[0] ?? "";
    const shown = [...rows.matchAll(/`([^`]*;[^`]*)`/g)].map(([, text]) => text ?? "");
    expect(shown.length).toBeGreaterThan(6);
    for (const text of shown)
      expect(
        checkSyntax(`${prologue}$a = 1; $b = 2; ${text.replaceAll(/\b([ab])\b/g, "$$$1")} }`),
        text,
      ).toEqual([]);
  });

  test("the frame of a script compiles", () => {
    const frame = (languagePage().match(/(?:^ {4}.*\n|(?<=^ {4}.*\n)\n)+/m)?.[0] ?? "").replace(
      /^ {4}probe, .*$/m,
      "BEGIN, END /1/ { @seen[1] = twice(PORT); }",
    );
    expect(frame).toContain("lruhash");
    expect(compile(frame, options()).diagnostics).toEqual([]);
  });
});
