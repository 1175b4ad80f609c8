// script, checker: count, sum, min, max, avg, stats, hist, lhist, tseries. They are assigned to maps, so a call elsewhere is an error.
import type { ExprOf } from "../../ast.ts";
import { say } from "../../diagnostics.ts";
import { formatType, isInteger, isSigned } from "../../layout.ts";
import type { MapInfo, TExpr } from "../../typed.ts";
import type { Aggregate, SeriesHow } from "../../types.ts";
import { unstable } from "../config.ts";
import { argumentExpr } from "../expressions.ts";
import { bad, type Checking, noteAggregate, unknown } from "../state.ts";
import type { FunctionSpec } from "./table.ts";

const spec = (name: Aggregate, least: number, most: number, usage: string, about: string): FunctionSpec => ({
  name,
  usage,
  about,
  least,
  most,
  check: (c, args) => {
    c.report(args.loc, say.onlyAssigned(name));
    return bad(args.loc);
  },
});

export const AGGREGATES: readonly FunctionSpec[] = [
  spec("count", 0, 0, "@x = count()", "counts events"),
  spec("sum", 1, 1, "@x = sum(n)", "adds up"),
  spec("min", 1, 1, "@x = min(n)", "keeps the smallest"),
  spec("max", 1, 1, "@x = max(n)", "keeps the largest"),
  spec("avg", 1, 1, "@x = avg(n)", "average"),
  spec("stats", 1, 1, "@x = stats(n)", "count, average and total"),
  spec("hist", 1, 2, "@x = hist(n [, bits])", "histogram by powers of two, each split into 2^bits"),
  spec("lhist", 4, 4, "@x = lhist(n, min, max, step)", "linear histogram"),
  spec(
    "tseries",
    3,
    4,
    '@x = tseries(n, interval_ns, intervals [, "avg" | "max" | "min" | "sum"])',
    "values over time: of each interval the last one, or what they come to",
  ),
];

const specs = new Map(AGGREGATES.map((a) => [a.name, a]));

export const isAggregate = (name: string): name is Aggregate => specs.has(name);

/** What 0.17 does not have. */
const NEW: ReadonlySet<string> = new Set(["tseries"]);

/** Most buckets of a linear histogram, as bpftrace. */
const MAX_BUCKETS = 1000n;

/** `map[...] = name(...)`: notes the aggregate and gives its arguments; undefined after an error. */
export function checkAggregate(c: Checking, map: MapInfo, e: ExprOf<"call">): readonly TExpr[] | undefined {
  const row = specs.get(e.name);
  if (!row || !isAggregate(e.name)) return undefined;
  if (c.old && NEW.has(e.name)) {
    c.report(e.nameLoc, say.unknownFunction(e.name, [...specs.keys()]));
    return undefined;
  }
  const given = e.arguments.length;
  if (given < row.least || given > row.most) {
    c.report(e.loc, say.argumentCount(e.name, row.least, row.most, given));
    return undefined;
  }
  const args = e.arguments.map((a) => argumentExpr(c, a));
  if (args.some((a) => unknown(a.type))) return undefined;
  const [value] = args;
  if (value && !isInteger(value.type) && value.type.kind !== "pointer") {
    c.report(value.loc, say.argumentType(e.name, 1, "integer", formatType(value.type)));
    return undefined;
  }
  if (e.name === "tseries") return timeSeries(c, map, e, args);
  const literals: bigint[] = [];
  for (const [i, a] of args.slice(1).entries()) {
    if (a.op !== "const") {
      c.report(a.loc, say.literalArgument(e.name, "integer"));
      return undefined;
    }
    literals.push(a.value);
    if (e.name === "hist" && (a.value < 0n || a.value > 5n)) {
      c.report(a.loc, say.argumentValue("hist", `bits ${a.value} must be 0..5`));
      return undefined;
    }
    if (i > 2) break;
  }
  let hist: MapInfo["hist"];
  if (e.name === "hist") hist = { bits: Number(literals[0] ?? 0n), min: 0n, max: 0n, step: 0n };
  if (e.name === "lhist") {
    const [min = 0n, max = 0n, step = 0n] = literals;
    const problem =
      c.old && min < 0n
        ? `min must be non-negative (provided min ${min})`
        : step <= 0n
          ? `step must be >= 1 (${step} provided)`
          : max <= min
            ? `min must be less than max (provided min ${min} and max ${max})`
            : max - min < step
              ? `step is too large for the range (provided step ${step} for range ${max - min})`
              : (max - min) / step > MAX_BUCKETS
                ? `too many buckets, must be <= ${MAX_BUCKETS} (would need ${(max - min) / step})`
                : undefined;
    if (problem !== undefined) {
      c.report(e.loc, say.argumentValue("lhist", problem));
      return undefined;
    }
    hist = { bits: 0, min, max, step };
  }
  // 0.17 reads a minimum with a sign whatever it was made of.
  const signed = value !== undefined && (isSigned(value.type) || (c.old && e.name === "min"));
  return noteAggregate(
    c,
    map,
    e.name,
    e.name === "count" ? false : signed,
    { hist, series: undefined },
    e.loc,
  )
    ? args
    : undefined;
}

const HOWS: readonly string[] = ["avg", "max", "min", "sum"] satisfies SeriesHow[];

/** Most intervals of a time series, as bpftrace. */
const MAX_INTERVALS = 1_000_000n;

function timeSeries(
  c: Checking,
  map: MapInfo,
  e: ExprOf<"call">,
  args: readonly TExpr[],
): readonly TExpr[] | undefined {
  const [value, interval, intervals, how] = args;
  if (!value || !interval || !intervals) return undefined;
  for (const [name, a] of [
    ["interval_ns", interval],
    ["num_intervals", intervals],
  ] as const) {
    if (a.op !== "const" || a.value < 0n) {
      c.report(e.loc, say.argumentValue("tseries", `invalid ${name} value (must be non-negative literal)`));
      return undefined;
    }
    if (a.value < 1n || (name === "num_intervals" && a.value > MAX_INTERVALS)) {
      const bound = a.value < 1n ? ">= 1" : `<= ${MAX_INTERVALS}`;
      c.report(e.loc, say.argumentValue("tseries", `${name} must be ${bound} (${a.value} provided)`));
      return undefined;
    }
  }
  if (how && how.op !== "text") {
    c.report(how.loc, say.literalArgument("tseries", "string"));
    return undefined;
  }
  if (how && !HOWS.includes(how.value)) {
    const text = `expects one of the following aggregation functions: ${HOWS.join(", ")} ("${how.value}" provided)`;
    c.report(e.loc, say.argumentValue("tseries", text));
    return undefined;
  }
  if (interval.op !== "const" || intervals.op !== "const") return undefined;
  const series = {
    interval: interval.value,
    count: Number(intervals.value),
    how: (how?.value ?? "last") as SeriesHow,
  };
  if (!unstable(c, "unstable_tseries", e.loc)) return undefined;
  return noteAggregate(c, map, "tseries", isSigned(value.type), { hist: undefined, series }, e.loc)
    ? [value]
    : undefined;
}
