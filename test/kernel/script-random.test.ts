// test, kernel: random well-typed programs under this kernel's verifier: none is refused. SCRIPT_PROGRAMS=20000 runs them all.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { tracefsRoot } from "../../src/kernel/tracefs.ts";
import { compile, renderDiagnostics } from "../../src/script/index.ts";
import { KernelTypes } from "../../src/trace/type-source.ts";
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

/** What this kernel may not have. */
const absent = /no kprobes|does not contain a field named|tracepoint not found/;

describe.skipIf(!root)("random programs (skipped: needs root)", () => {
  test(`${programs} of them load with this kernel's own types, tracepoints by the raw ones below among them`, {
    timeout: 60_000 + programs * 200,
  }, () => {
    const cacheDirectory = mkdtempSync(join(tmpdir(), "waggle-btf-"));
    const types = new KernelTypes({ tracefs: tracefsRoot(), cacheDirectory });
    const kinds = new Map<string, number>();
    for (let seed = 1; seed <= programs; seed++) {
      const { source } = generate(picker(seed * 6007), 2 + (seed % 3));
      const ownership = OWNERSHIPS[seed % 3];
      const { diagnostics, script } = compile(source, {
        ...options(ownership ? { ownership } : {}),
        types,
      });
      if (!script) {
        for (const { severity, message } of diagnostics)
          if (severity === "error") expect(message, source).toMatch(absent);
        continue;
      }
      for (const { type } of script.programs) kinds.set(type, (kinds.get(type) ?? 0) + 1);
      try {
        load(script)[Symbol.dispose]();
      } catch (error) {
        throw new Error(`seed ${seed}: ${(error as Error).message}\n${source}`, { cause: error });
      }
    }
    rmSync(cacheDirectory, { recursive: true });
    if (types.features.tpBtf) expect(kinds.get("tp_btf") ?? 0).toBeGreaterThan(programs / 20);
  });

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
