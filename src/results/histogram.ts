// results: buckets of histograms: which numbers each holds, and how its bounds are written.
import type { MapSchema } from "./types.ts";

export interface Bucket {
  /** Inclusive; undefined is unbounded. */
  readonly min: bigint | undefined;
  readonly max: bigint | undefined;
  readonly label: string;
  readonly count: bigint;
}

/** First number of a bucket of hist: index 0 is negative, 1..2^bits are single numbers, then each power of two has 2^bits parts. */
function logStart(index: number, bits: number): bigint {
  const i = index - 1;
  const parts = 1 << bits;
  if (i < parts) return BigInt(i);
  const exponent = (i >> bits) - 1;
  return BigInt(parts + (i & (parts - 1))) << BigInt(exponent);
}

const UNITS = ["", "K", "M", "G", "T", "P", "E"];

/** 4096 as "4K": the suffix is that of the power of two that the bucket's width has. */
function logLabel(index: number, bits: number): string {
  const i = index - 1;
  const parts = 1 << bits;
  if (i < 2 * parts) return String(i);
  let power = (i >> bits) - 1;
  const decade = Math.floor(power / 10);
  power -= 10 * decade;
  return `${BigInt(parts + (i & (parts - 1))) << BigInt(power)}${UNITS[decade] ?? ""}`;
}

function linearLabel(n: bigint, step: bigint): string {
  if (step % 1024n !== 0n || n === 0n) return String(n);
  if (n % 1048576n === 0n) return `${n / 1048576n}M`;
  if (n % 1024n === 0n) return `${n / 1024n}K`;
  return String(n);
}

/** 0.17 abbreviates linear bounds whatever the step. */
const oldLinearLabel = (n: bigint): string => linearLabel(n, 1024n);

/** Every bucket from the first that counted something to the last, empty ones between included. */
export function buckets(
  schema: MapSchema,
  counts: readonly (readonly [index: number, count: string])[],
  old: boolean,
): Bucket[] {
  const { hist } = schema;
  const filled = new Map(counts.filter(([, n]) => n !== "0").map(([i, n]) => [i, BigInt(n)]));
  if (!hist || filled.size === 0) return [];
  const first = Math.min(...filled.keys());
  const last = Math.max(...filled.keys());
  const out: Bucket[] = [];
  for (let i = first; i <= last; i++)
    out.push({
      ...(schema.kind === "hist" ? logBucket(i, hist.bits, old) : linearBucket(i, hist, old)),
      count: filled.get(i) ?? 0n,
    });
  return out;
}

/** 0.17 keeps bounds in 32 bits with a sign: these of its last bucket do not fit. */
const oldLast = { min: -(1n << 31n), max: 0n };

function logBucket(i: number, bits: number, old: boolean): Omit<Bucket, "count"> {
  if (i === 0) return { min: undefined, max: -1n, label: "(..., 0)" };
  const min = logStart(i, bits);
  const max = logStart(i + 1, bits) - 1n;
  const label = min === max ? `[${min}]` : `[${logLabel(i, bits)}, ${logLabel(i + 1, bits)})`;
  return { ...(old && min === 1n << 31n ? oldLast : { min, max }), label };
}

function linearBucket(i: number, hist: NonNullable<MapSchema["hist"]>, old: boolean): Omit<Bucket, "count"> {
  const [from, to, step] = [BigInt(hist.min), BigInt(hist.max), BigInt(hist.step)];
  const label = (n: bigint): string => (old ? oldLinearLabel(n) : linearLabel(n, step));
  const count = (to - from) / step;
  if (i === 0) return { min: undefined, max: from - 1n, label: `(..., ${label(from)})` };
  if (BigInt(i) > count) {
    // Where the step does not divide the range, 0.17 names the end of the range, the newest the start of the bucket.
    const start = old ? to : from + count * step;
    return { min: start, max: undefined, label: `[${label(start)}, ...)` };
  }
  const min = from + BigInt(i - 1) * step;
  const max = min + step;
  if (step === 1n && !old) return { min, max: min, label: `[${label(min)}]` };
  return { min, max: max - 1n, label: `[${label(min)}, ${label(max)})` };
}

const WIDTH = 52;

/** One line a bucket: label, count, bar of up to 52 `@`. */
export function histogramText(list: readonly Bucket[], divide: bigint): string {
  let most = 0n;
  for (const b of list) if (b.count > most) most = b.count;
  return list
    .map((b) => {
      const bar =
        most === 0n ? 0 : Math.trunc(Math.fround(Math.fround(Number(b.count) / Number(most)) * WIDTH));
      return `${b.label.padEnd(16)}${String(b.count / divide).padStart(8)} |${"@".repeat(bar).padEnd(WIDTH)}|\n`;
    })
    .join("");
}
