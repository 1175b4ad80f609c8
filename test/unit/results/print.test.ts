// test, results: text and JSON of maps, formats, times, histogram bounds.
import { describe, expect, test } from "vitest";
import { buckets } from "../../../src/results/histogram.ts";
import {
  hashSchema,
  type MapData,
  type MapSchema,
  mapJson,
  mapText,
  printText,
} from "../../../src/results/index.ts";
import { inetText } from "../../../src/results/inet.ts";
import { strftime } from "../../../src/results/strftime.ts";
import { logBuckets } from "../../../src/script/lower/storage.ts";

const schema = (more: Partial<MapSchema> & Pick<MapSchema, "kind">): MapSchema => ({
  name: "@m",
  key: ["int64"],
  value: "int64",
  ...more,
});
const map = (...rows: MapData["rows"]): MapData => ({ name: "@m", rows });

describe("text", () => {
  test("rows ascend by value, equal ones by key; the largest `top` are kept", () => {
    const data = map(
      { key: [10], cell: { number: "1" } },
      { key: [9], cell: { number: "1" } },
      { key: [1], cell: { number: "30" } },
      { key: [2], cell: { number: "4" } },
    );
    expect(mapText(schema({ kind: "count" }), data)).toBe("@m[9]: 1\n@m[10]: 1\n@m[2]: 4\n@m[1]: 30\n");
    expect(mapText(schema({ kind: "count" }), data, { top: 2 })).toBe("@m[2]: 4\n@m[1]: 30\n");
    expect(mapText(schema({ kind: "count" }), data, { top: 1, divide: 10 })).toBe("@m[1]: 3\n");
  });

  test("numbers beyond doubles keep their digits and their order", () => {
    const data = map(
      { key: ["18446744073709551615"], cell: { value: "18446744073709551615" } },
      { key: [3], cell: { value: 5 } },
    );
    expect(mapText(schema({ kind: "value", value: "uint64" }), data)).toBe(
      "@m[3]: 5\n@m[18446744073709551615]: 18446744073709551615\n",
    );
  });

  test("average and stats, as the newest and as 0.17", () => {
    const data = map({ key: [], cell: { count: "3", total: "-10" } });
    expect(mapText(schema({ kind: "avg", key: [] }), data)).toBe("@m: -3\n");
    expect(mapText(schema({ kind: "stats", key: [] }), data)).toBe(
      "@m: { .count = 3, .average = -3, .total = -10 }\n",
    );
    expect(mapText(schema({ kind: "stats", key: [] }), data, { old: true })).toBe(
      "@m: count 3, average -3, total -10\n\n",
    );
  });

  test("values that are no numbers are ordered by key", () => {
    const data = map({ key: ["b"], cell: { value: "1" } }, { key: ["a"], cell: { value: "2" } });
    expect(mapText(schema({ kind: "value", value: "string[16]", key: ["string[2]"] }), data)).toBe(
      "@m[a]: 2\n@m[b]: 1\n",
    );
  });

  test("maps by name, empty ones left out", () => {
    const one = (name: string, ...rows: MapData["rows"]): MapData => ({ name, rows });
    const schemas = ["@b", "@a", "@c"].map((name) => schema({ kind: "count", name, key: [] }));
    expect(
      printText(schemas, [
        one("@b", { key: [], cell: { number: "1" } }),
        one("@c"),
        one("@a", { key: [], cell: { number: "2" } }),
      ]),
    ).toBe("@a: 2\n@b: 1\n");
  });
});

describe("JSON", () => {
  test("keys of several parts, escapes, large integers as strings", () => {
    const data = map({ key: [1, 'a"b'], cell: { number: "9007199254740993" } });
    expect(mapJson(schema({ kind: "sum", key: ["int64", "string[8]"] }), data)).toBe(
      '{"type": "map", "data": {"@m": {"1,a\\"b": "9007199254740993"}}}\n',
    );
  });
  test("histograms have inclusive bounds, the first of negatives only an upper one", () => {
    const data = map({
      key: [],
      cell: {
        buckets: [
          [0, "1"],
          [2, "3"],
        ],
      },
    });
    const hist = { bits: 0, min: "0", max: "0", step: "0" };
    expect(mapJson(schema({ kind: "hist", key: [], hist }), data)).toBe(
      '{"type": "hist", "data": {"@m": [{"max": -1, "count": 1},{"min": 0, "max": 0, "count": 0},{"min": 1, "max": 1, "count": 3}]}}\n',
    );
  });
  test("stats and tuples", () => {
    expect(
      mapJson(schema({ kind: "stats", key: [] }), map({ key: [], cell: { count: "2", total: "5" } })),
    ).toBe('{"type": "stats", "data": {"@m": {"count": 2, "average": 2, "total": 5}}}\n');
    expect(
      mapJson(
        schema({ kind: "value", value: "(int64,string[2])" }),
        map({ key: [1], cell: { value: [1, "a", [2, "b"]] } }),
      ),
    ).toBe('{"type": "map", "data": {"@m": {"1": [1,"a",[2,"b"]]}}}\n');
  });
});

describe("histogram bounds", () => {
  test.each([0, 1, 2, 5])("of hist with %i bits hold every number once", (bits) => {
    const last = logBuckets(bits) - 1;
    const all = buckets(
      schema({ kind: "hist", hist: { bits, min: "0", max: "0", step: "0" } }),
      [
        [0, "1"],
        [last, "1"],
      ],
      false,
    );
    for (const [i, b] of all.entries()) if (i > 0) expect(b.min).toBe((all[i - 1]?.max ?? 0n) + 1n);
    expect(all.at(-1)?.max).toBeGreaterThanOrEqual(2n ** 63n - 1n);
  });
  test("labels", () => {
    const labels = (indices: readonly number[]): string[] =>
      indices.map(
        (i) =>
          buckets(
            schema({ kind: "hist", hist: { bits: 0, min: "0", max: "0", step: "0" } }),
            [[i, "1"]],
            false,
          )[0]?.label ?? "",
      );
    expect(labels([0, 1, 2, 3, 11, 12, 14, 22, 32, 42])).toEqual([
      "(..., 0)",
      "[0]",
      "[1]",
      "[2, 4)",
      "[512, 1K)",
      "[1K, 2K)",
      "[4K, 8K)",
      "[1M, 2M)",
      "[1G, 2G)",
      "[1T, 2T)",
    ]);
  });
  test("a linear histogram whose range is no multiple of the step", () => {
    const hist = { bits: 0, min: "0", max: "7", step: "5" };
    const labels = (old: boolean) =>
      buckets(
        schema({ kind: "lhist", hist }),
        [
          [0, "1"],
          [2, "1"],
        ],
        old,
      ).map((b) => b.label);
    expect(labels(false)).toEqual(["(..., 0)", "[0, 5)", "[5, ...)"]);
    expect(labels(true)).toEqual(["(..., 0)", "[0, 5)", "[7, ...)"]);
  });
});

describe("addresses", () => {
  const inet = (family: number, length: number, ...tail: number[]): Uint8Array => {
    const out = new Uint8Array(20);
    out[0] = family;
    out[1] = length;
    out.set(tail, 20 - tail.length);
    return out;
  };
  test.each([
    [inet(4, 32, 10, 1, 2, 3), false, "10.1.2.3"],
    [inet(4, 16, 10, 1, 2, 3), true, "10.1.0.0/16"],
    [inet(6, 128, 1), false, "::1"],
    [inet(6, 128, 0xff, 0xff, 1, 2, 3, 4), false, "::ffff:1.2.3.4"],
    [inet(6, 128, 1, 2, 3, 4), false, "::1.2.3.4"],
    [inet(0, 0), true, "unknown"],
  ])("%#", (bytes, prefix, text) => {
    expect(inetText(bytes, 0, prefix)).toBe(text);
  });
});

describe("strftime", () => {
  const ns = BigInt(new Date(2024, 1, 29, 13, 5, 9).getTime()) * 1_000_000n + 123_456_789n;
  test.each([
    ["%H:%M:%S", "13:05:09"],
    ["%Y-%m-%d %F %T %D %R", "2024-02-29 2024-02-29 13:05:09 02/29/24 13:05"],
    ["%f", "123456"],
    ["%a %A %b %B %e %j %I %p %y %C %u %w", "Thu Thursday Feb February 29 060 01 PM 24 20 4 4"],
    ["%U %W %V %G", "08 09 09 2024"],
    ["%% %Q", "% %Q"],
  ])("%s", (format, text) => {
    expect(strftime(format, ns)).toBe(text);
  });
});

test("schemas hash alike whatever the order of their fields", () => {
  const a = { version: 1 as const, maps: [schema({ kind: "count" })], rounds: [] };
  const b = {
    rounds: [],
    maps: [{ kind: "count" as const, value: "int64", key: ["int64"], name: "@m" }],
    version: 1 as const,
  };
  expect(hashSchema(a)).toBe(hashSchema(b));
  expect(hashSchema(a)).not.toBe(hashSchema({ ...a, maps: [schema({ kind: "sum" })] }));
});
