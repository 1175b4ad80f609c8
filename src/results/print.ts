// results: maps as text and as JSON lines, in the forms that bpftrace prints.
import { integerValue } from "./bytes.ts";
import { type Bucket, buckets, histogramText } from "./histogram.ts";
import { newestStart, seriesJson, seriesText } from "./series.ts";
import type { Cell, MapData, MapRow, MapSchema, NodeChunk, Value } from "./types.ts";

export interface PrintOptions {
  /** The largest `top` rows; 0 is all. */
  readonly top?: number;
  readonly divide?: number;
  /** As bpftrace 0.17 prints. */
  readonly old?: boolean;
}

const isTuple = (value: Value): value is readonly Value[] => Array.isArray(value);

/** Tuples are written (a, b), arrays [a,b], records { .x = a, .y = b }. */
export function valueText(value: Value): string {
  if (isTuple(value)) return `(${value.map(valueText).join(", ")})`;
  if (typeof value !== "object") return String(value);
  if ("symbol" in value) return value.symbol;
  if ("array" in value) return `[${value.array.map(valueText).join(",")}]`;
  if ("buffer" in value) return value.text;
  if (value.record.length === 0) return "{}";
  return `{ ${value.record.map(([name, v]) => `.${name} = ${valueText(v)}`).join(", ")} }`;
}

function keyText(key: readonly Value[]): string {
  const text = key.map(valueText).join(", ");
  // A tuple that is the whole key is written without its parentheses.
  return key.length === 1 && isTuple(key[0] ?? "") ? text.slice(1, -1) : text;
}

const average = (cell: { readonly count: string; readonly total: string }): bigint =>
  cell.count === "0" ? 0n : BigInt(cell.total) / BigInt(cell.count);

/** By what rows are ordered: the reduced value; undefined where only the key counts. */
function rank(cell: Cell): bigint | undefined {
  if ("number" in cell) return BigInt(cell.number);
  if ("count" in cell) return average(cell);
  if ("series" in cell) return undefined;
  if ("buckets" in cell) return cell.buckets.reduce((sum, [, n]) => sum + BigInt(n), 0n);
  const { value } = cell;
  if (typeof value === "object" && "symbol" in value) return BigInt(value.number);
  return typeof value === "number" ? BigInt(Math.trunc(value)) : undefined;
}

/** 0.17 orders integer keys as if they had no sign. */
function compareValues(a: Value, b: Value, old: boolean): number {
  if (isTuple(a) && isTuple(b)) {
    for (const [i, x] of a.entries()) {
      const c = compareValues(x, b[i] ?? 0, old);
      if (c !== 0) return c;
    }
    return a.length - b.length;
  }
  if (typeof a === "number" && typeof b === "number" && !old) return a - b;
  const key = (v: Value): string => (typeof v === "object" && "symbol" in v ? v.number : valueText(v));
  const x = key(a);
  const y = key(b);
  if (/^-?\d+$/.test(x) && /^-?\d+$/.test(y)) {
    const [m, n] = old
      ? [BigInt.asUintN(64, BigInt(x)), BigInt.asUintN(64, BigInt(y))]
      : [BigInt(x), BigInt(y)];
    const difference = m - n;
    return difference < 0n ? -1 : difference > 0n ? 1 : 0;
  }
  return x < y ? -1 : x > y ? 1 : 0;
}

/** Ascending by value, then by key; maps whose values are no numbers by key alone. */
export function sortRows(schema: MapSchema, rows: readonly MapRow[], old = false): MapRow[] {
  const numeric = (schema.kind !== "value" && schema.kind !== "tseries") || /^u?int\d+$/.test(schema.value);
  const byKey = (a: MapRow, b: MapRow): number => compareValues([...a.key], [...b.key], old);
  const order = (row: MapRow): bigint => {
    const r = rank(row.cell);
    if (r !== undefined) return r;
    return "value" in row.cell && /^-?\d+$/.test(String(row.cell.value))
      ? BigInt(String(row.cell.value))
      : 0n;
  };
  // The newest compares least and greatest values as if they had no sign.
  const extreme = !old && (schema.kind === "min" || schema.kind === "max");
  const raw = (n: bigint): bigint => (extreme ? BigInt.asUintN(64, n) : n);
  return [...rows].sort((a, b) => {
    if (numeric) {
      const difference = raw(order(a)) - raw(order(b));
      if (difference !== 0n) return difference < 0n ? -1 : 1;
    }
    return byKey(a, b);
  });
}

function selected(schema: MapSchema, map: MapData, top: number, old: boolean): MapRow[] {
  const rows = sortRows(schema, map.rows, old);
  // Of time series all rows are shown, as bpftrace does.
  if (schema.kind === "tseries") return rows;
  return top > 0 && rows.length > top ? rows.slice(rows.length - top) : rows;
}

function divided(value: Value, divide: bigint): Value {
  if (divide === 1n) return value;
  if (typeof value === "number") return Number(BigInt(value) / divide);
  if (typeof value === "object" && "symbol" in value && value.symbol === value.number)
    return integerValue(BigInt(value.number) / divide);
  if (typeof value === "string" && /^-?\d+$/.test(value)) return String(BigInt(value) / divide);
  return value;
}

/** 0.17 takes no notice of a divisor of stats. */
const divisorOf = (schema: MapSchema, divide: bigint, old: boolean): bigint =>
  old && schema.kind === "stats" ? 1n : divide;

function cellText(schema: MapSchema, cell: Cell, divide: bigint, old: boolean): string {
  if ("value" in cell) return valueText(divided(cell.value, divide));
  if ("number" in cell) return String(BigInt(cell.number) / divide);
  if ("count" in cell) {
    const mean = average(cell) / divisorOf(schema, divide, old);
    if (schema.kind === "avg") return String(mean);
    return old
      ? `count ${cell.count}, average ${mean}, total ${cell.total}`
      : `{ .count = ${cell.count}, .average = ${mean}, .total = ${cell.total} }`;
  }
  return "";
}

/** One map as print(@m) and the end of a script write it. */
export function mapText(schema: MapSchema, map: MapData, options: PrintOptions = {}): string {
  const old = options.old === true;
  const divide = BigInt(options.divide || 1);
  const rows = selected(schema, map, options.top ?? 0, old);
  const histogram = schema.kind === "hist" || schema.kind === "lhist";
  const means = schema.kind === "avg" || schema.kind === "stats";
  if (old && rows.length === 0) return means ? "\n\n" : "\n";
  const name = (row: MapRow): string =>
    row.key.length === 0 ? map.name : `${map.name}[${keyText(row.key)}]`;
  if (histogram)
    return rows
      .map((row) => {
        const list = "buckets" in row.cell ? buckets(schema, row.cell.buckets, old) : [];
        return `${name(row)}:${old ? " " : ""}\n${histogramText(list, schema.kind === "hist" ? divide : 1n)}\n`;
      })
      .join("");
  if (schema.kind === "tseries") {
    const newest = newestStart(rows);
    return rows
      .map((row) => {
        const points = "series" in row.cell ? row.cell.series : [];
        return `${name(row)}:\n${seriesText(schema, points, newest)}\n`;
      })
      .join("");
  }
  const text = rows.map((row) => `${name(row)}: ${cellText(schema, row.cell, divide, old)}\n`).join("");
  return old && means ? `${text}\n` : text;
}

// --- JSON -------------------------------------------------------------------------------------------------------------

const quoted = (text: string): string => JSON.stringify(text);
const object = (entries: readonly (readonly [string, string])[]): string =>
  `{${entries.map(([k, v]) => `${quoted(k)}: ${v}`).join(", ")}}`;

/** Numbers that a double holds exactly as numbers, others as strings; 0.17 writes all as numbers. */
function integerJson(value: bigint, old: boolean): string {
  return old || BigInt(Number(value)) === value ? String(value) : quoted(String(value));
}

export function valueJson(value: Value, old = false): string {
  const all = (values: readonly Value[]): string => `[${values.map((v) => valueJson(v, old)).join(",")}]`;
  if (isTuple(value)) return all(value);
  if (typeof value !== "object") return JSON.stringify(value);
  if ("symbol" in value) return integerJson(BigInt(value.number), old);
  if ("array" in value) return all(value.array);
  // The newest writes bytes as C's char, which has a sign.
  if ("buffer" in value)
    return old ? quoted(value.text) : `[${value.buffer.map((b) => (b << 24) >> 24).join(",")}]`;
  return object(value.record.map(([name, v]) => [name, valueJson(v, old)] as const));
}

/** Parts of a key joined by commas without spaces; the newest bpftrace takes all other spaces out as well. */
function keyJson(key: readonly Value[], old: boolean): string {
  const text = key.map((v) => valueText(v)).join(",");
  const bare = key.length === 1 && isTuple(key[0] ?? "") ? text.slice(1, -1) : text;
  return old ? bare.replaceAll(", ", ",") : bare.replaceAll(" ", "");
}

function bucketsJson(list: readonly Bucket[], divide: bigint, old: boolean): string {
  const one = (b: Bucket): string =>
    object([
      ...(b.min === undefined ? [] : [["min", integerJson(b.min, old)] as const]),
      ...(b.max === undefined ? [] : [["max", integerJson(b.max, old)] as const]),
      ["count", String(b.count / divide)],
    ]);
  return `[${list.map(one).join(old ? ", " : ",")}]`;
}

function cellJson(
  schema: MapSchema,
  cell: Cell,
  divide: bigint,
  old: boolean,
  newest: bigint | undefined,
): string {
  if ("value" in cell) return valueJson(divided(cell.value, divide), old);
  if ("number" in cell) return integerJson(BigInt(cell.number) / divide, old);
  if ("count" in cell) {
    const mean = integerJson(average(cell) / divisorOf(schema, divide, old), old);
    if (schema.kind === "avg") return mean;
    return object([
      ["count", cell.count],
      ["average", mean],
      ["total", integerJson(BigInt(cell.total), old)],
    ]);
  }
  if ("series" in cell) return seriesJson(schema, cell.series, newest);
  return bucketsJson(buckets(schema, cell.buckets, old), schema.kind === "hist" ? divide : 1n, old);
}

/** One line `{"type": ..., "data": {"@m": ...}}`; nothing for a map that holds nothing. */
export function mapJson(schema: MapSchema, map: MapData, options: PrintOptions = {}): string {
  const old = options.old === true;
  const divide = BigInt(options.divide || 1);
  const rows = selected(schema, map, options.top ?? 0, old);
  if (rows.length === 0) return "";
  const type =
    schema.kind === "hist" || schema.kind === "lhist"
      ? "hist"
      : schema.kind === "tseries"
        ? "tseries"
        : schema.kind === "avg" || schema.kind === "stats"
          ? "stats"
          : "map";
  const [only] = rows;
  const newest = newestStart(rows);
  const data =
    schema.key.length === 0
      ? only
        ? cellJson(schema, only.cell, divide, old, newest)
        : "{}"
      : object(
          rows.map(
            (row) => [keyJson(row.key, old), cellJson(schema, row.cell, divide, old, newest)] as const,
          ),
        );
  return `{"type": ${quoted(type)}, "data": ${object([[map.name, data]])}}\n`;
}

/** A line of a node's output as a JSON line. */
export function lineJson(chunk: Extract<NodeChunk, { kind: "line" }>, old = false): string {
  if (chunk.said) {
    const { kind, message, file, line, column, helper, code } = chunk.said;
    const call = helper === undefined ? "" : `"helper": ${quoted(helper)}, "retcode": ${code ?? 0}, `;
    return `{"type": "${kind}", "msg": ${quoted(message)}, ${call}"filename": ${quoted(file)}, "line": ${line}, "col": ${column}}\n`;
  }
  const type = chunk.type === "system" ? "syscall" : chunk.type;
  const data =
    chunk.type === "value" && chunk.data !== undefined
      ? valueJson(chunk.data, old)
      : // The line's end is the text form's own.
        quoted(chunk.type === "join" ? chunk.text.replace(/\n$/, "") : chunk.text);
  return `{"type": ${quoted(type)}, "data": ${data}}\n`;
}

/** All maps that hold something, by name, as at the end of a script. */
export function printText(
  schemas: readonly MapSchema[],
  maps: readonly MapData[],
  options: PrintOptions = {},
): string {
  return each(schemas, maps, options, mapText);
}

export function printJson(
  schemas: readonly MapSchema[],
  maps: readonly MapData[],
  options: PrintOptions = {},
): string {
  return each(schemas, maps, options, mapJson);
}

function each(
  schemas: readonly MapSchema[],
  maps: readonly MapData[],
  options: PrintOptions,
  print: (schema: MapSchema, map: MapData, options: PrintOptions) => string,
): string {
  return [...maps]
    .sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0))
    .map((map) => {
      const schema = schemas.find((s) => s.name === map.name);
      // 0.17 prints an empty line for an empty map.
      return schema && (map.rows.length > 0 || options.old) ? print(schema, map, options) : "";
    })
    .join("");
}
