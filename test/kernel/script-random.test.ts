// test, kernel: random well-typed programs under this kernel's verifier: none is refused. SCRIPT_PROGRAMS=20000 runs them all.
import { describe, expect, test } from "vitest";
import { compile, renderDiagnostics } from "../../src/script/index.ts";
import { generate, picker } from "../support/script-generator.ts";
import { options } from "../unit/script/fixture.ts";
import { load } from "./script-loader.ts";

const root = process.getuid?.() === 0;
const programs = Number(process.env.SCRIPT_PROGRAMS ?? 200);
const OWNERSHIPS = [
  undefined,
  { node: 1, unownedIsNode: false, countsUnattributed: true },
  { node: 0, unownedIsNode: true, countsUnattributed: false },
];

describe.skipIf(!root)("random programs (skipped: needs root)", () => {
  test(`${programs} of them load`, { timeout: 60_000 + programs * 200 }, () => {
    for (let seed = 1; seed <= programs; seed++) {
      const { source } = generate(picker(seed * 7919), 2 + (seed % 3));
      const ownership = OWNERSHIPS[seed % 3];
      const { diagnostics, script } = compile(source, options(ownership ? { ownership } : {}));
      expect(script, renderDiagnostics(source, `seed ${seed}`, diagnostics)).toBeDefined();
      if (!script) return;
      try {
        load(script)[Symbol.dispose]();
      } catch (error) {
        throw new Error(`seed ${seed}: ${(error as Error).message}\n${source}`, { cause: error });
      }
    }
  });
});
