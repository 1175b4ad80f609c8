// test, vm: runs in the guest: random well-typed programs through this kernel's verifier. Usage: FIRST-SEED COUNT.
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { VerifierError } from "../../../src/kernel/programs.ts";
import { tracefsRoot } from "../../../src/kernel/tracefs.ts";
import { compile } from "../../../src/script/index.ts";
import { KernelTypes } from "../../../src/trace/type-source.ts";
import { load } from "../../kernel/script-loader.ts";
import { generate, picker } from "../../support/script-generator.ts";
import { observe } from "./say.ts";

/** As on a machine without agents, in a lab, and on a node. */
const ownerships = [
  undefined,
  { node: 1, unownedIsNode: false, countsUnattributed: true },
  { node: 0, unownedIsNode: true, countsUnattributed: false },
];
/** Of failures some are shown. */
const shown = 10;
const longestLog = 3000;

const [first = 1, count = 100] = process.argv.slice(2).map(Number);
const types = new KernelTypes({
  tracefs: tracefsRoot(),
  cacheDirectory: mkdtempSync(join(tmpdir(), "waggle-btf-")),
});

/** What became of all programs. */
export interface Verdicts {
  loaded: number;
  /** What the checker had against a program, given this kernel's types, and how often. */
  readonly refusedByChecker: Record<string, number>;
  readonly refusedByKernel: { readonly seed: number; readonly source: string; readonly reason: string }[];
  refusals: number;
}

function check(): Verdicts {
  const verdicts: Verdicts = { loaded: 0, refusedByChecker: {}, refusedByKernel: [], refusals: 0 };
  for (let seed = first; seed < first + count; seed++) {
    const { source } = generate(picker(seed * 7919), 3);
    const ownership = ownerships[seed % ownerships.length];
    const { script, diagnostics } = compile(source, {
      name: "random.bt",
      types,
      network: true,
      ...(ownership ? { ownership } : {}),
    });
    if (!script) {
      const message = diagnostics.find((d) => d.severity === "error")?.message ?? "no message";
      verdicts.refusedByChecker[message] = (verdicts.refusedByChecker[message] ?? 0) + 1;
      continue;
    }
    try {
      using loaded = load(script);
      verdicts.loaded += loaded.programs.length > 0 ? 1 : 0;
    } catch (error) {
      verdicts.refusals++;
      if (verdicts.refusedByKernel.length >= shown) continue;
      const log = error instanceof VerifierError ? error.log.slice(-longestLog) : "";
      verdicts.refusedByKernel.push({ seed, source, reason: `${(error as Error).message}\n${log}` });
    }
  }
  return verdicts;
}

await observe("random programs", check);
