// golden tests: every row of the language's inventory and of its compatibility rules: stdout, exit code and JSON to the letter.
import { spawnSync } from "node:child_process";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { SYS, writeWorkload } from "../differential/workload.ts";
import { canTrace, skipped } from "../trace/helper.ts";
import { commandLine, type Mode, modes, type Row, readRows } from "./rows.ts";

const { rows, untested } = readRows();
const place = mkdtempSync(join(tmpdir(), "waggle-golden-"));

interface Answer {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Calls of a program that rows run with -c: what each of them is, rows know. */
const calls = join(place, "gold");

function run(lines: readonly { readonly args: readonly string[]; readonly env: Row["env"] }[]): Answer[] {
  const [out, err, answers] = ["out", "err", "answers"].map((name) => join(place, name));
  const fds = [out, err, answers].map((path) => openSync(path ?? "", "w+"));
  const { NODE_EXTRA_CA_CERTS: _, ...env } = process.env;
  const { status, signal } = spawnSync(process.execPath, [join(import.meta.dirname, "main.ts")], {
    input: JSON.stringify(lines),
    stdio: ["pipe", ...fds],
    env: { ...env, TZ: "UTC" },
    timeout: 120_000,
  });
  fds.forEach(closeSync);
  const told = readFileSync(answers ?? "", "utf8").trim();
  const list = told === "" ? [] : told.split("\n").map((line) => JSON.parse(line) as Answer);
  if (list.length < lines.length)
    throw new Error(
      `${signal ?? `exit code ${status}`} at ${JSON.stringify(lines[list.length])}: ${readFileSync(err ?? "", "utf8").slice(-2000)}`,
    );
  return list;
}

const wanted = rows.flatMap((row) =>
  modes.flatMap((mode): { readonly row: Row; readonly mode: Mode }[] =>
    row.runs[mode] ? [{ row, mode }] : [],
  ),
);

describe.skipIf(!canTrace)(`golden rows (${skipped})`, () => {
  let answers: Answer[] = [];
  beforeAll(() => {
    writeWorkload(calls, [
      { call: SYS.getppid, times: 3 },
      ...[1, 2, 3, 4, 5].map((who) => ({ call: SYS.getpriority, with: [0, who] })),
      { call: SYS.openat, with: [-100, { text: "/nothing" }, 0, 0], times: 2 },
      { function: "first", with: [41, 2], times: 2 },
      { function: "second", with: [-7] },
    ]);
    answers = run(
      wanted.map(({ row, mode }) => ({
        args: commandLine(row, mode).map((word) => word.replaceAll("WORKLOAD", calls)),
        env: row.env,
      })),
    );
  }, 150_000);
  afterAll(() => rmSync(place, { recursive: true, force: true }));

  for (const [i, { row, mode }] of wanted.entries())
    it(`${row.name}, ${mode}`, () => {
      const answer = answers[i];
      const expected = row.runs[mode];
      const out = answer?.out.replaceAll(calls, "WORKLOAD");
      expect(out, `${row.program}\n${answer?.err}`).toBe(expected?.out);
      expect(answer?.code, answer?.err).toBe(expected?.code);
    });
});

describe("golden rows", () => {
  it("have names of their own, and those without a run a reason", () => {
    const names = [...rows, ...untested].map((r) => r.name);
    expect(names.filter((name, i) => names.indexOf(name) !== i)).toEqual([]);
    for (const row of rows) expect(Object.keys(row.runs).length, row.name).toBeGreaterThan(0);
    for (const { name, reason } of untested) expect(reason.length, name).toBeGreaterThan(10);
  });
});
