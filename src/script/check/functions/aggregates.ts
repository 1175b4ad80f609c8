// script, checker: count, sum, min, max, avg, stats, hist, lhist. They are assigned to maps, so a call elsewhere is an error.
import type { ExprOf } from "../../ast.ts";
import { say } from "../../diagnostics.ts";
import { formatType, isInteger, isSigned } from "../../layout.ts";
import type { MapInfo, TExpr } from "../../typed.ts";
import type { Aggregate } from "../../types.ts";
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
];

const specs = new Map(AGGREGATES.map((a) => [a.name, a]));

export const isAggregate = (name: string): name is Aggregate => specs.has(name);

/** Most buckets of a linear histogram, as bpftrace. */
const MAX_BUCKETS = 1000n;

/** `map[...] = name(...)`: notes the aggregate and gives its arguments; undefined after an error. */
export function checkAggregate(c: Checking, map: MapInfo, e: ExprOf<"call">): readonly TExpr[] | undefined {
  const row = specs.get(e.name);
  if (!row || !isAggregate(e.name)) return undefined;
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
  return noteAggregate(c, map, e.name, e.name === "count" ? false : signed, hist, e.loc) ? args : undefined;
}
