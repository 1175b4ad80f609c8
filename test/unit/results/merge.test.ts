// test, results: merging is exact: in any order and any grouping it gives what one node would have counted.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { mergedSchema, mergeMaps, sortRows } from "../../../src/results/index.ts";
import type { Cell, MapData, MapSchema, ResultSchema } from "../../../src/results/types.ts";

const KINDS = ["count", "sum", "min", "max", "avg", "stats", "hist", "lhist"] as const;

const schemaOf = (kind: MapSchema["kind"]): ResultSchema => ({
  version: 1,
  maps: [{ name: "@m", key: ["int64"], value: "int64", kind }],
  rounds: [],
});

/** Events as (key, value); what one node counts of them. */
type Events = readonly (readonly [key: number, value: number])[];

function counted(kind: MapSchema["kind"], events: Events): MapData {
  const rows = new Map<number, number[]>();
  for (const [key, value] of events) rows.set(key, [...(rows.get(key) ?? []), value]);
  const cell = (values: number[]): Cell => {
    const total = values.reduce((a, b) => a + b, 0);
    switch (kind) {
      case "count":
        return { number: String(values.length) };
      case "sum":
        return { number: String(total) };
      case "min":
        return { number: String(Math.min(...values)) };
      case "max":
        return { number: String(Math.max(...values)) };
      case "avg":
      case "stats":
        return { count: String(values.length), total: String(total) };
      default: {
        const counts = new Map<number, number>();
        for (const v of values) counts.set(Math.abs(v) % 7, (counts.get(Math.abs(v) % 7) ?? 0) + 1);
        return { buckets: [...counts].sort(([a], [b]) => a - b).map(([i, n]) => [i, String(n)] as const) };
      }
    }
  };
  return { name: "@m", rows: [...rows].map(([key, values]) => ({ key: [key], cell: cell(values) })) };
}

const sorted = (schema: ResultSchema, maps: readonly MapData[]) => {
  const [first] = schema.maps;
  return maps.map((m) => (first ? sortRows(first, m.rows) : m.rows));
};

describe.each(KINDS)("%s", (kind) => {
  const events = fc.array(fc.tuple(fc.integer({ min: 0, max: 4 }), fc.integer({ min: -1000, max: 1000 })), {
    maxLength: 40,
  });
  test("of parts is that of the whole, in one step and in two", () => {
    fc.assert(
      fc.property(
        fc.array(events, { minLength: 1, maxLength: 6 }),
        fc.integer({ min: 0, max: 6 }),
        (nodes, cut) => {
          const schema = schemaOf(kind);
          const parts = nodes.map((e, i) => ({ source: `n${i}`, maps: [counted(kind, e)] }));
          const whole = sorted(schema, [counted(kind, nodes.flat())]);
          expect(sorted(schema, mergeMaps(schema, parts))).toEqual(whole);
          const two = [parts.slice(0, cut), parts.slice(cut)].map((p, i) => ({
            source: `c${i}`,
            maps: mergeMaps(schema, p),
          }));
          expect(sorted(schema, mergeMaps(mergedSchema(schema), two))).toEqual(whole);
          expect(sorted(schema, mergeMaps(schema, [...parts].reverse()))).toEqual(whole);
        },
      ),
      { seed: 5, numRuns: 200 },
    );
  });
});

describe("maps that do not merge", () => {
  const schema = schemaOf("value");
  const map = (value: number): MapData => ({ name: "@m", rows: [{ key: [1], cell: { value } }] });
  test("keep each node's rows under its name", () => {
    expect(
      mergeMaps(schema, [
        { source: "a", maps: [map(1)] },
        { source: "b", maps: [map(2)] },
      ]),
    ).toEqual([
      {
        name: "@m",
        rows: [
          { key: ["a", 1], cell: { value: 1 } },
          { key: ["b", 1], cell: { value: 2 } },
        ],
      },
    ]);
    expect(mergedSchema(schema).maps[0]?.key).toEqual(["node", "int64"]);
    expect(mergedSchema(mergedSchema(schema))).toEqual(mergedSchema(schema));
  });
  test("of several clusters keep their nodes apart, even where two have one name", () => {
    const merged = mergedSchema(schema);
    const cluster = (source: string, node: string, value: number) => ({
      source,
      maps: mergeMaps(schema, [{ source: node, maps: [map(value)] }]),
    });
    expect(
      mergeMaps(merged, [
        cluster("dc1", "n1", 1),
        cluster("dc2", "n1", 2),
        cluster("dc3", "n2", 3),
      ])[0]?.rows.map((r) => r.key),
    ).toEqual([
      ["dc1/n1", 1],
      ["dc2/n1", 1],
      ["n2", 1],
    ]);
  });
});

test("sums wrap at 64 bits as the kernel's do", () => {
  const schema = schemaOf("sum");
  const part = (number: string) => ({
    source: "n",
    maps: [{ name: "@m", rows: [{ key: [1], cell: { number } }] }],
  });
  expect(mergeMaps(schema, [part("9223372036854775807"), part("1")])[0]?.rows[0]?.cell).toEqual({
    number: "-9223372036854775808",
  });
});
