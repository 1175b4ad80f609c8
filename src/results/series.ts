// results: time series: each CPU's buckets made one series, its graph in text, its points in JSON, as bpftrace draws them.
import type { OutputMap } from "../script/types.ts";
import { readInteger } from "./bytes.ts";
import { strftime } from "./strftime.ts";
import type { MapRow, MapSchema, RawEntry, Resolvers, Value } from "./types.ts";

type Aggregate = Extract<OutputMap["value"], { kind: "aggregate" }>;
type Layout = NonNullable<Aggregate["series"]>;

/** What one CPU keeps of one interval. */
interface Part {
  readonly value: bigint;
  readonly second: bigint;
}

/** The parts of all CPUs as one number. */
function reduce(layout: Layout, parts: readonly Part[]): bigint {
  const sum = parts.reduce((total, p) => total + p.value, 0n);
  const pick = (better: (a: Part, b: Part) => boolean): bigint =>
    parts.reduce((best, p) => (better(p, best) ? p : best)).value;
  switch (layout.how) {
    case "sum":
      return sum;
    case "avg":
      return sum / parts.reduce((n, p) => n + (p.second || 1n), 0n);
    case "min":
      return pick((a, b) => a.value < b.value);
    case "max":
      return pick((a, b) => a.value > b.value);
    case "last":
      return pick((a, b) => a.second > b.second);
  }
}

/** The entry's newest interval and its value; undefined where nothing was put in. */
function readEntry(
  value: Aggregate,
  layout: Layout,
  entry: RawEntry,
): readonly [interval: bigint, value: bigint] | undefined {
  const cells = entry.values.map((bytes) => ({
    value: readInteger(bytes, 0, 8, value.signed),
    second: readInteger(bytes, 8, 8, false),
    interval: readInteger(bytes, 16, 8, false),
  }));
  const newest = cells.map((c) => c.interval).sort((a, b) => (a < b ? 1 : -1))[0] ?? 0n;
  if (newest === 0n) return undefined;
  const wrapped = reduce(
    layout,
    cells.filter((c) => c.interval === newest),
  );
  return [newest, value.signed ? BigInt.asIntN(64, wrapped) : BigInt.asUintN(64, wrapped)];
}

/** Rows of a time series: points by the wall-clock time (ns) at which their intervals began, oldest first. */
export function seriesRows(
  map: OutputMap,
  value: Aggregate,
  layout: Layout,
  entries: Iterable<RawEntry>,
  keyOf: (entry: RawEntry) => Value[],
  resolvers: Resolvers,
): MapRow[] {
  const keyless = map.key.length === 0;
  const offset = layout.clock === "tai" ? (resolvers.taiOffset?.() ?? 0n) : resolvers.bootOffset();
  const gathered = new Map<string, { key: Value[]; points: Map<bigint, bigint> }>();
  for (const entry of entries) {
    const point = readEntry(value, layout, entry);
    if (keyless && !point) continue;
    const id = keyless ? "" : entry.key.subarray(0, layout.bucketOffset).join(",");
    let row = gathered.get(id);
    if (!row) {
      row = { key: keyOf(entry), points: new Map() };
      gathered.set(id, row);
    }
    if (point) row.points.set(point[0], point[1]);
  }
  return [...gathered.values()].map(({ key, points }) => ({
    key,
    cell: {
      series: [...points]
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([n, v]) => [String(n * layout.interval + offset), String(v)] as const),
    },
  }));
}

type Points = readonly (readonly [start: string, value: string])[];

/** A point of a drawn series; null where an interval has no value. */
type Drawn = readonly [start: bigint, value: bigint | null];

/** The start (ns) of the newest interval among all rows, which is where every row's graph ends. */
export function newestStart(rows: readonly MapRow[]): bigint | undefined {
  let newest: bigint | undefined;
  for (const { cell } of rows)
    for (const [start] of "series" in cell ? cell.series : []) {
      const n = BigInt(start);
      if (newest === undefined || n > newest) newest = n;
    }
  return newest;
}

/** From the row's first point within the schema's number of intervals up to the newest of the map. */
function drawn(schema: MapSchema, points: Points, newest: bigint | undefined): Drawn[] {
  const { series } = schema;
  if (!series || newest === undefined) return [];
  const interval = BigInt(series.interval);
  const oldest = newest - BigInt(series.count - 1) * interval;
  const values = new Map(points.map(([start, v]) => [BigInt(start), BigInt(v)]));
  let first = newest;
  for (const start of values.keys()) if (start >= oldest && start < first) first = start;
  const out: Drawn[] = [];
  for (let at = first; at <= newest; at += interval) out.push([at, values.get(at) ?? null]);
  return out;
}

const GRAPH = 53;
const LABEL = 21;

/** Unit in which times are shown, by the distance of the points; digits after the second. */
function unitOf(distance: bigint): { readonly name: string; readonly digits: number } {
  if (distance >= 1_000_000_000n) return { name: "s", digits: 0 };
  if (distance >= 1_000_000n) return { name: "ms", digits: 3 };
  return distance >= 1000n ? { name: "μs", digits: 6 } : { name: "ns", digits: 9 };
}

/** Wall-clock text with so many digits after the second. */
function timeText(format: string, ns: bigint, digits: number): string {
  const second = strftime(format, ns);
  const rest = String(((ns % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n).padStart(9, "0");
  return digits === 0 ? second : `${second}.${rest.slice(0, digits)}`;
}

/** width * part / whole in single precision, cut to an integer, as bpftrace places its marks. */
const place = (width: number, part: bigint, whole: bigint): number =>
  Math.trunc(Math.fround(Math.fround(width * Math.fround(Number(part))) / Math.fround(Number(whole))));

/** The graph of one row, its last line end included. */
export function seriesText(schema: MapSchema, points: Points, newest: bigint | undefined): string {
  const all = drawn(schema, points, newest);
  const [first] = all;
  const last = all.at(-1);
  if (!first || !last) return "<no data>";
  let low = first[1];
  let high = first[1];
  for (const [, v] of all) {
    if (v === null) continue;
    if (low === null || v < low) low = v;
    if (high === null || v > high) high = v;
  }
  const unsigned = schema.value.startsWith("u");
  if (low !== null && high !== null && low === high) {
    // A margin on both sides, where the type has room for it.
    if (low > (unsigned ? 0n : -(1n << 63n))) low--;
    if (high < (unsigned ? (1n << 64n) - 1n : (1n << 63n) - 1n)) high++;
  }
  const unit = unitOf((last[0] - first[0]) / BigInt(Math.max(1, all.length - 1)));
  const width = 8 + (unit.digits > 0 ? 1 + unit.digits : 0);
  const margin = " ".repeat(width + 1);
  const scale = `${String(low).padEnd(LABEL)}${String(high).padStart(GRAPH - LABEL)}`;
  const title = unit.digits > 0 ? `hh:mm:ss.${unit.name}` : "hh:mm:ss";
  // bpftrace pads by bytes, of which a micro sign has two.
  const gap = " ".repeat(Math.max(0, width + 1 - Buffer.byteLength(title)));
  const lines = [`${margin}${scale}`, `${title}${gap}|${"_".repeat(GRAPH - 2)}|`];
  const zero = low !== null && high !== null && low < 0n && high > 0n ? place(GRAPH, low, low - high) : 0;
  for (const [start, v] of all) {
    const line = ["|", ...new Array<string>(GRAPH - 2).fill(" "), "|"];
    if (zero > 0) line[zero] = ".";
    if (v !== null && low !== null && high !== null) {
      const at = low === high ? GRAPH >> 1 : place(GRAPH - 1, low - v, low - high);
      line[Math.max(0, Math.min(GRAPH - 1, at))] = "*";
    }
    lines.push(`${timeText("%H:%M:%S", start, unit.digits)} ${line.join("")} ${v ?? "-"}`);
  }
  lines.push(`${margin}v${"_".repeat(GRAPH - 2)}v`, `${margin}${scale}`);
  return `${lines.join("\n")}\n`;
}

/** Its points as JSON; intervals without a value are left out. */
export function seriesJson(schema: MapSchema, points: Points, newest: bigint | undefined): string {
  const list = drawn(schema, points, newest).flatMap(([start, v]) =>
    v === null ? [] : [`{"interval_start":"${timeText("%Y-%m-%dT%H:%M:%S", start, 9)}","value":${v}}`],
  );
  return `[${list.join(",")}]`;
}
