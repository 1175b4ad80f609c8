// differential tests: each program under bpftrace 0.17 and under Waggle: the same stdout, the same exit code, the same JSON.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Case } from "./cases/case.ts";
import { errors } from "./cases/errors.ts";
import { expressions } from "./cases/expressions.ts";
import { maps } from "./cases/maps.ts";
import { probes } from "./cases/probes.ts";
import { strings } from "./cases/strings.ts";
import { bpftraceVersion, buildWaggle, type Ran, removeBuild, runBoth } from "./pair.ts";

const version = bpftraceVersion();
const runs = process.geteuid?.() === 0 && process.arch === "x64" && version?.startsWith("0.17") === true;
const table = readFileSync(join(import.meta.dirname, "../../../docs/trace-compat.md"), "utf8");
let waggle = "";

/** Objects with their keys in order: which of equal entries comes first is the kernel's hash, another in each run. */
const ordered = (value: unknown): unknown =>
  typeof value === "object" && value !== null && !Array.isArray(value)
    ? Object.fromEntries(
        Object.entries(value)
          .map(([k, v]) => [k, ordered(v)] as const)
          .sort(([a], [b]) => (a < b ? -1 : 1)),
      )
    : value;

const comparable = (text: string, test: Case): string =>
  test.unordered
    ? text
        .split("\n")
        .map((line) => (line.startsWith("{") ? JSON.stringify(ordered(JSON.parse(line))) : line))
        .sort()
        .join("\n")
    : text;

/** Line of the first error that has a place. */
const errorLine = ({ err }: Ran): string | undefined => /^stdin:(\d+):[\d-]+: ERROR/m.exec(err)?.[1];

async function check(test: Case, json: boolean): Promise<void> {
  const [theirs, ours] = await runBoth(waggle, test, json);
  if (test.differs !== undefined) {
    expect(table, "the table has the row").toContain(test.differs);
    expect({ out: ours.out, code: ours.code }).not.toEqual({ out: theirs.out, code: theirs.code });
    return;
  }
  expect(comparable(ours.out, test), ours.err).toBe(comparable(theirs.out, test));
  expect(ours.code, ours.err).toBe(theirs.code);
  if (!test.error) return;
  expect(theirs.code).not.toBe(0);
  if (errorLine(theirs) !== undefined) expect(errorLine(ours), ours.err).toBe(errorLine(theirs));
}

/** All of it takes two minutes; every third program is run always, all with WAGGLE_DIFFERENTIAL=all. */
const share = process.env["WAGGLE_DIFFERENTIAL"] === "all" ? 1 : 3;
let turn = 0;
const chosen = (): boolean => turn++ % share === 0;

// bpftrace waits for the kernel most of its time: three pairs at once.
const several = { concurrent: true, timeout: 90_000 };

describe.skipIf(!runs)("bpftrace 0.17 and Waggle (skipped: needs root, x86-64 and bpftrace 0.17)", () => {
  beforeAll(() => {
    waggle = buildWaggle();
  });
  afterAll(removeBuild);
  for (const [subject, cases] of Object.entries({ expressions, maps, strings, probes, errors }))
    describe(subject, several, () => {
      for (const test of cases) {
        if (chosen()) it(test.name, () => check(test, false));
        if (test.json && chosen()) it(`${test.name}, as JSON`, () => check(test, true));
      }
    });
});
