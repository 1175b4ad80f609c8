// cli: what `waggle trace` prints of an answer.
import { describe, expect, it } from "vitest";
import { painter } from "../../../src/cli/output.ts";
import {
  coverageLine,
  failureLines,
  jsonPrinter,
  NodeLines,
  named,
  textPrinter,
} from "../../../src/cli/trace-output.ts";
import type { TraceEvent, TraceOutcome } from "../../../src/fleet/client/index.ts";
import { countMap, schema } from "../fleet/world.ts";

const outcome = (more: Partial<TraceOutcome> = {}): TraceOutcome => ({
  status: "ok",
  schema,
  maps: [countMap({ curl: 2 }), { name: "@v", rows: [{ key: ["n1", 7], cell: { value: 5 } }] }],
  coverage: { asked: 4, answered: 4, lostEvents: 0, mapFull: 0, unattributed: 0, errors: [] },
  clusters: [
    { cluster: "dc1", asked: 2, answered: 2 },
    { cluster: "dc2", asked: 2, answered: 2 },
  ],
  exitCode: 0,
  ...more,
});
const events: TraceEvent[] = [
  { kind: "compiled", cluster: "dc1", asked: 2, compiled: 2, errors: [], warnings: [] },
  { kind: "running", schema },
  { kind: "line", node: "n1", line: { kind: "line", type: "printf", text: "hello\n" } },
  { kind: "round", round: { kind: "round", site: 1, ordinal: 0, map: countMap({ x: 1 }) } },
];

describe("text", () => {
  const print = (list: readonly TraceEvent[]): string => {
    let out = "";
    const printer = textPrinter((text) => {
      out += text;
    });
    for (const event of list) printer.event(event);
    printer.end(outcome());
    return out;
  };

  it("names nodes where there are several, and puts the node into the key of what is not merged", () => {
    expect(print(events)).toBe("n1: hello\n@c[x]: 1\n@c[curl]: 2\n@v[n1, 7]: 5\n");
  });

  it("is bpftrace's own where there is one node", () => {
    const alone = events.map((e) => (e.kind === "compiled" ? { ...e, asked: 1, compiled: 1 } : e));
    expect(print(alone)).toMatch(/^hello\n/);
  });

  it("keeps lines of nodes apart that printf did not end", () => {
    let out = "";
    const lines = new NodeLines((text) => {
      out += text;
    });
    lines.add("a", "one ");
    lines.add("b", "two\nthree\n");
    lines.add("a", "more\nrest");
    lines.flush();
    expect(out).toBe("b: two\nb: three\na: one more\na: rest\n");
  });

  it("does not hold an endless line back", () => {
    let out = "";
    const lines = new NodeLines((text) => {
      out += text;
    });
    for (let i = 0; i < 100; i++) lines.add("a", "x".repeat(1000));
    expect(out.length).toBeGreaterThan(60_000);
  });
});

it("JSON lines carry their node and end with the coverage", () => {
  let out = "";
  const printer = jsonPrinter((text) => {
    out += text;
  });
  for (const event of events) printer.event(event);
  printer.end(outcome());
  expect(
    out
      .trim()
      .split("\n")
      .map((l) => JSON.parse(l) as unknown),
  ).toEqual([
    { type: "printf", data: "hello\n", node: "n1" },
    { type: "map", data: { "@c": { x: 1 } } },
    { type: "map", data: { "@c": { curl: 2 } } },
    { type: "map", data: { "@v": { "n1,7": 5 } } },
    { type: "coverage", data: { ...outcome().coverage, clusters: outcome().clusters } },
  ]);
});

describe("who answered", () => {
  it("in one line", () => {
    expect(coverageLine(outcome())).toBe("4/4 nodes answered (dc1 2/2, dc2 2/2), 0 events lost");
  });
  it("with what is missing and what was lost", () => {
    expect(
      coverageLine(
        outcome({
          coverage: { asked: 2, answered: 1, lostEvents: 1, mapFull: 2, unattributed: 1, errors: [] },
          clusters: [
            { cluster: "dc1", asked: 2, answered: 1 },
            { cluster: "dc2", asked: 0, answered: 0, error: "refused (no)" },
            { cluster: "dc3", asked: 0, answered: 0, error: "does not answer (ECONNREFUSED)" },
          ],
        }),
      ),
    ).toBe(
      "1/2 nodes answered (dc1 1/2, dc2 refused, dc3 did not answer), 1 event lost, 2 updates did not fit into their maps, 1 event belonged to no node",
    );
  });
  it("the same trouble once, with the nodes it is on", () => {
    const plain = painter({ isTTY: false }, {});
    const failures = ["e", "d", "c", "b", "a"].map((node) => ({ node, error: "no such field" }));
    expect(failureLines([...failures, { node: "z", error: "line\nline\n" }], plain)).toEqual([
      "a, b, c, d and 1 more: no such field",
      "z:\nline\nline",
    ]);
    expect(named("script:1:2-3: ERROR: x\nscript: y", "a.bt")).toBe("a.bt:1:2-3: ERROR: x\nscript: y");
  });
});
