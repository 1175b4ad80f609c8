// test, kernel: "if it type-checks, it loads": every program of the collection, without owners and with them, under this kernel's verifier.
import { describe, expect, test } from "vitest";
import { compile, renderDiagnostics } from "../../src/script/index.ts";
import { options } from "../unit/script/fixture.ts";
import { PROGRAMS } from "../unit/script/programs.ts";
import { load } from "./script-loader.ts";

const root = process.getuid?.() === 0;
const OWNERSHIPS = [
  ["alone", undefined],
  ["in the lab", { node: 1, unownedIsNode: false, countsUnattributed: true }],
  ["on a node", { node: 0, unownedIsNode: true, countsUnattributed: false }],
] as const;

describe.skipIf(!root)("programs load (skipped: needs root)", () => {
  describe.each(OWNERSHIPS)("%s", (_name, ownership) => {
    test.each(PROGRAMS.map((p) => [p]))("%s", (source) => {
      const { diagnostics, script } = compile(source, options(ownership ? { ownership } : {}));
      expect(script, renderDiagnostics(source, "stdin", diagnostics)).toBeDefined();
      if (!script) return;
      using loaded = load(script);
      expect(loaded.programs).toHaveLength(script.programs.length);
    });
  });
});
