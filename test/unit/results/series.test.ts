// test, results: time series as graphs and as JSON, in the shapes that the newest bpftrace prints.
import { describe, expect, test } from "vitest";
import { decodeMap, type MapData, type MapSchema, mapJson, mapText } from "../../../src/results/index.ts";
import type { OutputMap, OutputPlan } from "../../../src/script/types.ts";
import { resolvers } from "../script/run.ts";

const ms = 1_000_000n;
const noon = BigInt(new Date(2025, 4, 22, 12, 0, 0).getTime()) * ms;

const schema = (more: Partial<MapSchema> = {}): MapSchema => ({
  name: "@a",
  key: [],
  value: "int64",
  kind: "tseries",
  series: { interval: String(100n * ms), count: 5 },
  ...more,
});
const points = (from: number, ...values: readonly (bigint | undefined)[]) =>
  values.flatMap((v, i) =>
    v === undefined ? [] : [[String(noon + BigInt(from + i) * 100n * ms), String(v)] as const],
  );
const data = (...rows: MapData["rows"]): MapData => ({ name: "@a", rows });

describe("graphs", () => {
  test("a mark for each interval, a line at zero, gaps where there is no value", () => {
    const series = points(1, -5n, undefined, 0n, 3n, 5n);
    expect(mapText(schema(), data({ key: [], cell: { series } }))).toBe(
      [
        "@a:",
        "             -5                                                  5",
        "hh:mm:ss.ms  |___________________________________________________|",
        "12:00:00.100 *                         .                         | -5",
        "12:00:00.200 |                         .                         | -",
        "12:00:00.300 |                         *                         | 0",
        "12:00:00.400 |                         .              *          | 3",
        "12:00:00.500 |                         .                         * 5",
        "             v___________________________________________________v",
        "             -5                                                  5",
        "",
        "",
      ].join("\n"),
    );
  });

  test("one value has a margin on both sides, and none below an unsigned 0", () => {
    const one = mapText(schema(), data({ key: [], cell: { series: points(0, 4n, 4n) } }));
    expect(one).toContain("12:00:00.100 |                         *                         | 4\n");
    expect(one).toContain("             3                                                   5\n");
    const zero = mapText(schema({ value: "uint64" }), data({ key: [], cell: { series: points(0, 0n, 0n) } }));
    expect(zero).toContain("             0                                                   1\n");
  });

  test("every key's graph ends with the newest interval of the map", () => {
    const text = mapText(
      schema({ key: ["string[4]"] }),
      data(
        { key: ["one"], cell: { series: points(0, 0n, 5n) } },
        { key: ["two"], cell: { series: points(3, 4n) } },
      ),
    );
    expect(text.split("\n\n")[0]?.split("\n").slice(3, 7)).toEqual([
      "12:00:00.000 *                                                   | 0",
      "12:00:00.100 |                                                   * 5",
      "12:00:00.200 |                                                   | -",
      "12:00:00.300 |                                                   | -",
    ]);
    expect(text).toContain("@a[two]:\n");
  });

  test("the unit of the times is that of the interval", () => {
    const of = (interval: bigint) =>
      mapText(
        schema({ series: { interval: String(interval), count: 3 } }),
        data({
          key: [],
          cell: {
            series: [
              [String(noon), "1"],
              [String(noon + interval), "2"],
            ],
          },
        }),
      ).split("\n")[2];
    expect(of(1000n * ms)?.slice(0, 10)).toBe("hh:mm:ss |");
    expect(of(2000n)?.slice(0, 16)).toBe("hh:mm:ss.μs    |");
    expect(of(500n)?.slice(0, 20)).toBe("hh:mm:ss.ns        |");
  });

  test("nothing in it", () => {
    expect(mapText(schema(), data({ key: [], cell: { series: [] } }))).toBe("@a:\n<no data>\n");
    expect(mapJson(schema(), data({ key: [], cell: { series: [] } }))).toBe(
      '{"type": "tseries", "data": {"@a": []}}\n',
    );
    expect(mapJson(schema(), data())).toBe("");
  });

  test("JSON has the points that have a value, with their time to the nanosecond", () => {
    const series = points(0, 9n, undefined, 7n);
    expect(mapJson(schema({ key: ["int64", "string[2]"] }), data({ key: [1, "x"], cell: { series } }))).toBe(
      '{"type": "tseries", "data": {"@a": {"1,x": [{"interval_start":"2025-05-22T12:00:00.000000000","value":9},' +
        '{"interval_start":"2025-05-22T12:00:00.200000000","value":7}]}}}\n',
    );
  });
});

describe("from the kernel's entries", () => {
  const cell = (value: bigint, second: bigint, interval: bigint): Uint8Array =>
    new Uint8Array(BigInt64Array.of(value, second, interval).buffer);
  const plan = { enums: {} } as OutputPlan;
  const output = (how: "last" | "sum" | "min" | "max" | "avg"): OutputMap => ({
    name: "@a",
    map: 0,
    key: [],
    value: {
      kind: "aggregate",
      aggregate: "tseries",
      signed: true,
      series: { interval: 10n, count: 3, how, clock: "boot", bucketOffset: 0 },
    },
    perCpu: true,
  });
  // Bucket 1 was taken over by interval 7 on one CPU and still holds interval 4 on the other.
  const entries = [
    { key: new Uint8Array([0, 0, 0, 0]), values: [cell(-3n, 2n, 6n), cell(8n, 3n, 6n)] },
    { key: new Uint8Array([1, 0, 0, 0]), values: [cell(5n, 4n, 7n), cell(100n, 9n, 4n)] },
    { key: new Uint8Array([2, 0, 0, 0]), values: [cell(0n, 0n, 0n), cell(0n, 0n, 0n)] },
  ];
  test.each([
    ["last", "8"],
    ["sum", "5"],
    ["min", "-3"],
    ["max", "8"],
    ["avg", "1"],
  ] as const)("the CPUs' parts of one interval as %s", (how, wanted) => {
    const { rows } = decodeMap(plan, output(how), entries, resolvers);
    const start = (n: bigint) => String(1_700_000_000_000_000_000n + n * 10n);
    const second = how === "avg" ? "1" : "5";
    expect(rows).toEqual([
      {
        key: [],
        cell: {
          series: [
            [start(6n), wanted],
            [start(7n), second],
          ],
        },
      },
    ]);
  });
});
