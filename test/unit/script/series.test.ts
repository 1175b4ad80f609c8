// test, script: tseries: what it keeps, and what the checker says of it.
import { describe, expect, test } from "vitest";
import { compile } from "../../../src/script/index.ts";
import { options } from "./fixture.ts";
import { start } from "./run.ts";

/** The time of the machine moves on with every call of a clock; the values by interval are what counts. */
const values = (text: string): string[] =>
  text.split("\n").flatMap((line) => /[|*] (-?\d+|-)$/.exec(line)?.[1] ?? []);

describe("tseries", () => {
  test.each([
    ["tseries($i, 1s, 5)", "4"],
    ['tseries($i, 1s, 5, "sum")', "10"],
    ['tseries($i, 1s, 5, "avg")', "2"],
    ['tseries($i, 1s, 5, "min")', "1"],
    ['tseries($i - 9, 1s, 5, "max")', "-5"],
  ])("%s in one interval", (call, wanted) => {
    const o = start(`BEGIN { for ($i : 1..5) { @ = ${call}; @k["x", 1] = ${call}; } }`);
    expect(values(o.maps())).toEqual([wanted, wanted]);
  });

  test("a later interval has a value of its own, and takes over the bucket of one that is too old", () => {
    const o = start('t:sched:sched_switch { @ = tseries(1, 1s, 2, "sum"); @k[pid] = tseries(@n++, 1s, 2); }');
    for (const second of [10n, 10n, 11n, 12n]) {
      o.vm.now = second * 1_000_000_000n;
      o.fire();
    }
    expect(values(o.maps())).toEqual(["1", "1", "2", "3"]);
  });

  test.each([
    ["@ = tseries(1, 1s)", "tseries() requires at least 3 arguments (2 provided)"],
    ["@ = tseries(1, 0, 5)", "tseries: interval_ns must be >= 1 (0 provided)"],
    ["@ = tseries(1, 1s, 0)", "tseries: num_intervals must be >= 1 (0 provided)"],
    ["@ = tseries(1, 1s, 1000001)", "tseries: num_intervals must be <= 1000000 (1000001 provided)"],
    ["@ = tseries(1, pid, 1)", "tseries: invalid interval_ns value (must be non-negative literal)"],
    [
      '@ = tseries(1, 1s, 5, "last")',
      'tseries: expects one of the following aggregation functions: avg, max, min, sum ("last" provided)',
    ],
    [
      "@ = tseries(1, 1s, 5); @ = tseries(1, 2s, 5)",
      "Type mismatch for @: trying to assign value of type 'tseries_t' when map already contains a value of type 'tseries_t",
    ],
    ["print(tseries(1, 1s, 5))", "tseries() must be assigned directly t"],
    [
      "@ = tseries(1, 1s, 5); $x = @ + 1",
      "The + operator can not be used on expressions of type 'tseries_t'",
    ],
  ])("%s is refused", (body, message) => {
    const { diagnostics, script } = compile(`BEGIN { ${body} }`, options());
    expect(script).toBeUndefined();
    expect(diagnostics.map((d) => d.message).join("\n")).toContain(message);
  });

  test("a setting says whether it may be used, and whether with a word", () => {
    const said = (setting: string) =>
      compile(
        `config = { unstable_tseries = ${setting} } BEGIN { @ = tseries(1, 1s, 5); }`,
        options(),
      ).diagnostics.map((d) => d.severity);
    expect([said("enable"), said("warn"), said("error")]).toEqual([[], ["warning"], ["error"]]);
  });

  test("0.17 has none", () => {
    expect(compile("BEGIN { @ = tseries(1, 1, 5); }", options({ compat: "0.17" })).script).toBeUndefined();
  });
});
