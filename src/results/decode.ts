// results: what programs left in maps and in the ring, as values.
import { sizeOf } from "../script/layout.ts";
import type { OutputAction, OutputMap, OutputPlan } from "../script/types.ts";
import { readInteger, readSmall } from "./bytes.ts";
import { errorText } from "./errno.ts";
import { valueText } from "./print.ts";
import { compileFormat, type Formatter } from "./printf.ts";
import { seriesRows } from "./series.ts";
import { strftime } from "./strftime.ts";
import type { Cell, DecodedRecord, MapData, MapRow, RawEntry, Resolvers, Value } from "./types.ts";
import { type Decoding, decodeValue } from "./values.ts";

type Aggregate = Extract<OutputMap["value"], { kind: "aggregate" }>;

/** Whether any CPU has put something into a one-element array. */
const isSet = (values: readonly Uint8Array[]): boolean => values.some((v) => v.some((b) => b !== 0));

function reduce(value: Aggregate, values: readonly Uint8Array[]): Cell {
  const first = values.map((v) => readInteger(v, 0, 8, value.signed));
  const second = values.map((v) => readInteger(v, 8, 8, false));
  const sum = (list: readonly bigint[]): bigint => list.reduce((a, b) => a + b, 0n);
  const wrapped = (n: bigint): string => String(value.signed ? BigInt.asIntN(64, n) : BigInt.asUintN(64, n));
  switch (value.aggregate) {
    case "count":
    case "sum":
      return { number: wrapped(sum(first)) };
    case "min":
    case "max": {
      const seen = first.filter((_, i) => second[i] !== 0n);
      const best = seen.reduce<bigint | undefined>(
        (a, b) => (a === undefined || (value.aggregate === "min" ? b < a : b > a) ? b : a),
        undefined,
      );
      return { number: String(best ?? 0n) };
    }
    case "avg":
    case "stats":
      return { count: String(sum(second)), total: wrapped(sum(first)) };
    default:
      return { buckets: [] };
  }
}

/**
 * The rows of one map. Entries of histograms, one a bucket, are gathered by key. `zeroed`: zero() was called on it, so that a map
 * without a key that holds nothing shows as zero, not as empty.
 */
export function decodeMap(
  plan: OutputPlan,
  map: OutputMap,
  entries: Iterable<RawEntry>,
  resolvers: Resolvers,
  zeroed = false,
): MapData {
  const d: Decoding = { plan, resolvers };
  const inKey: Decoding = { ...d, key: true };
  const keyOf = (entry: RawEntry): Value[] =>
    map.key.map((k) => decodeValue(inKey, k.type, entry.key, k.offset));
  const { value } = map;
  if (value.kind === "aggregate" && value.hist) {
    const rows = histogramRows(map, value, entries, keyOf);
    const empty = rows.length === 0 && map.key.length === 0 && zeroed;
    return { name: map.name, rows: empty ? [{ key: [], cell: { buckets: [] } }] : rows };
  }
  if (value.kind === "aggregate" && value.series) {
    const rows = seriesRows(map, value, value.series, entries, keyOf, resolvers);
    const empty = rows.length === 0 && map.key.length === 0 && zeroed;
    return { name: map.name, rows: empty ? [{ key: [], cell: { series: [] } }] : rows };
  }
  const rows: MapRow[] = [];
  for (const entry of entries) {
    // count() has a value before anything is counted, as in bpftrace.
    const counts = value.kind === "aggregate" && value.aggregate === "count";
    if (map.setOffset !== undefined && !counts && !zeroed && !isSet(entry.values)) continue;
    const [one] = entry.values;
    if (!one) continue;
    const cell: Cell =
      value.kind === "value" ? { value: decodeValue(d, value.type, one, 0) } : reduce(value, entry.values);
    rows.push({ key: keyOf(entry), cell });
  }
  return { name: map.name, rows };
}

function histogramRows(
  map: OutputMap,
  value: Aggregate,
  entries: Iterable<RawEntry>,
  keyOf: (entry: RawEntry) => Value[],
): MapRow[] {
  const keyless = map.key.length === 0;
  const gathered = new Map<string, { key: Value[]; buckets: [number, string][] }>();
  for (const entry of entries) {
    const count = entry.values.reduce((sum, v) => sum + readInteger(v, 0, 8, false), 0n);
    if (keyless && count === 0n) continue;
    const at = value.hist?.bucketOffset ?? 0;
    const index = Number(
      keyless ? readInteger(entry.key, 0, 4, false) : readInteger(entry.key, at, 8, false),
    );
    const id = keyless ? "" : entry.key.subarray(0, at).join(",");
    let row = gathered.get(id);
    if (!row) {
      row = { key: keyOf(entry), buckets: [] };
      gathered.set(id, row);
    }
    row.buckets.push([index, String(count)]);
  }
  return [...gathered.values()].map(({ key, buckets }) => ({
    key,
    cell: { buckets: buckets.sort((a, b) => a[0] - b[0]) },
  }));
}

/** Rows of all maps; `read` gives the entries of one. */
export function decodeMaps(
  plan: OutputPlan,
  read: (map: OutputMap) => Iterable<RawEntry>,
  resolvers: Resolvers,
): MapData[] {
  return plan.maps.map((map) => decodeMap(plan, map, read(map), resolvers));
}

/** A record that no action of the plan made: the ring holds something else than this script's output. */
export class UnknownRecordError extends Error {
  constructor(id: number) {
    super(`no action ${id}`);
    this.name = "UnknownRecordError";
  }
}

/** Formatters by action; an action belongs to one plan. */
const formatters = new WeakMap<OutputAction, Formatter>();

function formatterOf(plan: OutputPlan, action: OutputAction & { readonly format: string }): Formatter {
  let formatter = formatters.get(action);
  if (!formatter) {
    formatter = compileFormat(action.format, action.arguments, plan.old === true);
    formatters.set(action, formatter);
  }
  return formatter;
}

/** A ring record. @throws UnknownRecordError */
export function decodeRecord(plan: OutputPlan, bytes: Uint8Array, resolvers: Resolvers): DecodedRecord {
  const id = readSmall(bytes, 0, 4, false);
  const action: OutputAction | undefined = plan.actions[id];
  if (!action) throw new UnknownRecordError(id);
  const d: Decoding = { plan, resolvers };
  switch (action.kind) {
    case "printf":
    case "system":
    case "cat":
      return {
        kind: "line",
        type: action.kind,
        text: formatterOf(plan, action)(d, bytes),
      };
    case "errorf":
    case "warnf": {
      const { line, column } = action.span;
      const severity = action.kind === "errorf" ? "ERROR" : "WARNING";
      const message = formatterOf(plan, action)(d, bytes);
      const file = plan.source ?? "stdin";
      return {
        kind: "line",
        type: "error",
        text: `${file}:${line}:${column}: ${severity}: ${message}\n`,
        said: { kind: action.kind, message, file, line, column },
      };
    }
    case "print_map":
      return {
        kind: "print_map",
        map: action.map,
        site: action.site,
        top: action.top,
        divide: action.divide,
      };
    case "print_value": {
      const [argument] = action.arguments;
      if (!argument) throw new UnknownRecordError(id);
      const value = decodeValue(d, argument.type, bytes, argument.offset);
      return { kind: "line", type: "value", text: `${valueText(value)}\n`, data: value };
    }
    case "clear":
    case "zero":
      return { kind: action.kind, map: action.map };
    case "exit": {
      const [argument] = action.arguments;
      const code = argument ? readInteger(bytes, argument.offset, sizeOf(argument.type), true) : 0n;
      return { kind: "exit", code: Number(code & 0xffn) };
    }
    case "time":
      return { kind: "line", type: "time", text: strftime(action.format, resolvers.now()) };
    case "join": {
      const parts = action.arguments.map((a) => String(decodeValue(d, a.type, bytes, a.offset)));
      return {
        kind: "line",
        type: "join",
        text: `${parts.filter((p) => p !== "").join(action.separator)}\n`,
      };
    }
    case "error":
      return { kind: "line", type: "error", text: action.message };
    case "runtime_error":
      return warning(plan, action, action.message);
    case "helper_error": {
      const [argument] = action.arguments;
      const code = argument ? Number(readInteger(bytes, argument.offset, 8, true)) : 0;
      return warning(plan, action, helperText(action.helper, code), { helper: action.helper, code });
    }
  }
}

const E2BIG = -7;
const ENOENT = -2;

/** What a helper's failure means. */
function helperText(helper: string, code: number): string {
  if (helper === "map_update_elem" && code === E2BIG)
    return "Map full; can't update element. Try increasing max_map_keys config or manually setting the max entries in a map declaration e.g. `let @a = hash(5000)`";
  if (helper === "map_delete_elem" && code === ENOENT)
    return "Can't delete map element because it does not exist.";
  if (helper === "map_lookup_elem") return "Can't lookup map element because it does not exist.";
  return errorText(-code);
}

/** Something that went wrong at a place of the script. */
function warning(
  plan: OutputPlan,
  { span }: OutputAction,
  message: string,
  call?: { readonly helper: string; readonly code: number },
): DecodedRecord {
  const { line, column } = span;
  const file = plan.source ?? "stdin";
  const end = span.endLine === line ? `-${span.endColumn}` : "";
  const more = call ? `\nAdditional Info - helper: ${call.helper}, retcode: ${call.code}` : "";
  const kind = call ? "helper_error" : "runtime_error";
  return {
    kind: "line",
    type: "error",
    text: `${file}:${line}:${column}${end}: WARNING: ${message}${more}\n`,
    // JSON has the plain words of the error number.
    said: {
      kind,
      message: call ? errorText(-call.code) : message,
      file,
      line,
      column,
      ...call,
    },
  };
}
