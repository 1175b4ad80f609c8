// test, script: laying a script out anew changes nothing of what it means, and doing it twice changes nothing at all.
import { describe, expect, test } from "vitest";
import { createDiagnostics } from "../../../src/script/diagnostics.ts";
import { formatSource, languageReference } from "../../../src/script/index.ts";
import { parse } from "../../../src/script/parse.ts";
import { lineMap } from "../../../src/script/text.ts";
import { generate, picker } from "../../support/script-generator.ts";
import { PROGRAMS } from "./programs.ts";

/** The tree without its places. */
function tree(source: string): string {
  const diagnostics = createDiagnostics(lineMap(source));
  const parsed = parse(source, diagnostics);
  if (!parsed) return `does not parse: ${diagnostics.list()[0]?.message}`;
  return JSON.stringify(parsed.program.items, (key, value: unknown) =>
    key === "loc" || key === "nameLoc" || key === "end"
      ? undefined
      : typeof value === "bigint"
        ? `${value}n`
        : value,
  );
}

describe("layout", () => {
  test("keeps the meaning and is stable", () => {
    for (const source of [
      ...PROGRAMS,
      ...Array.from({ length: 200 }, (_, i) => generate(picker(i + 1)).source),
    ]) {
      const once = formatSource(source);
      expect(tree(once)).toBe(tree(source));
      expect(formatSource(once)).toBe(once);
    }
  });

  test("of comments, directives, predicates and signs", () => {
    const source =
      '#!/usr/bin/env waggle\n#define N 3\n// what it does\nBEGIN\n{\nprintf("hi; {\\n");// there\n/* block */ $a=-1+ -2*(int8)3;\n\n\nif($a>3){exit();}else{@x[1,2]=count()}}\nkprobe:a,\nkprobe:b_*/pid == 1/\n{@[kstack]=count();}';
    expect(formatSource(source)).toBe(
      [
        "#!/usr/bin/env waggle",
        "#define N 3",
        "// what it does",
        "BEGIN {",
        '  printf("hi; {\\n"); // there',
        "  /* block */ $a = -1 + -2 * (int8)3;",
        "",
        "  if ($a > 3) {",
        "    exit();",
        "  } else {",
        "    @x[1, 2] = count()",
        "  }",
        "}",
        "",
        "kprobe:a,",
        "kprobe:b_*/pid == 1/ {",
        "  @[kstack] = count();",
        "}",
        "",
      ].join("\n"),
    );
  });
});

test("the reference lists what the checker knows", () => {
  const reference = languageReference();
  for (const name of ["printf", "hist", "cluster", "prefix", "kstack"])
    expect(reference.functions.find((f) => f.name === name)?.usage).toContain(name);
  expect(reference.builtins.map((b) => b.name)).toEqual(
    expect.arrayContaining(["pid", "comm", "args", "pod", "probe"]),
  );
  expect(reference.providers.map((p) => p.name)).toEqual(
    expect.arrayContaining(["tracepoint", "interval", "iter"]),
  );
  expect(reference.settings).toContain("max_strlen");
  for (const f of reference.functions) expect(f.about).not.toBe("");
});
