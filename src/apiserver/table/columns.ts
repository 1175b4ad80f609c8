// apiserver/table: the columns that `kubectl get` shows, for custom kinds by their JSONPath.
import type { Json, JsonObject } from "../json.ts";
import { isObject, listAt, numberAt, stringAt } from "../json.ts";
import type { ApiObject } from "../object.ts";
import { parseJsonPath, select } from "./jsonpath.ts";

/** One column; priority above 0 is shown by `-o wide` only. `nowMs` is the server's clock. */
export interface Column {
  readonly name: string;
  readonly type: "string" | "integer" | "number" | "boolean" | "date";
  readonly format: string;
  readonly description: string;
  readonly priority: number;
  readonly cell: (object: ApiObject, nowMs: number) => Json;
}

/** How long ago, as kubectl prints it: two units at most, the second only while it says something. */
export function humanDuration(milliseconds: number): string {
  const seconds = Math.floor(milliseconds / 1000);
  if (seconds < -1) return "<invalid>";
  if (seconds < 0) return "0s";
  if (seconds < 120) return `${seconds}s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 10) return seconds % 60 === 0 ? `${minutes}m` : `${minutes}m${seconds % 60}s`;
  if (minutes < 180) return `${minutes}m`;
  const hours = Math.floor(minutes / 60);
  if (hours < 8) return minutes % 60 === 0 ? `${hours}h` : `${hours}h${minutes % 60}m`;
  if (hours < 48) return `${hours}h`;
  const days = Math.floor(hours / 24);
  if (hours < 192) return hours % 24 === 0 ? `${days}d` : `${days}d${hours % 24}h`;
  if (hours < 24 * 365 * 2) return `${days}d`;
  const years = Math.floor(days / 365);
  if (hours < 24 * 365 * 8) return days % 365 === 0 ? `${years}y` : `${years}y${days % 365}d`;
  return `${years}y`;
}

/** Age of an RFC 3339 time; `<unknown>` for none. */
export function age(time: Json | undefined, nowMs: number): string {
  if (typeof time !== "string" || time === "") return "<unknown>";
  const then = Date.parse(time);
  return Number.isNaN(then) ? "<invalid>" : humanDuration(nowMs - then);
}

const defaults = { type: "string", format: "", description: "", priority: 0 } as const;

export const column = (
  name: string,
  cell: (object: ApiObject, nowMs: number) => Json,
  options: Partial<Pick<Column, "type" | "format" | "description" | "priority">> = {},
): Column => ({ name, ...defaults, ...options, cell });

export const nameColumn = column("Name", (o) => o.metadata.name, {
  format: "name",
  description: "Name must be unique within a namespace.",
});
export const ageColumn = column("Age", (o, now) => age(o.metadata.creationTimestamp, now), {
  description: "Time since the object was created.",
});
export const createdAtColumn = column("Created At", (o) => o.metadata.creationTimestamp, { type: "date" });

const types = ["string", "integer", "number", "boolean", "date"] as const;

/** The columns of a version of a custom kind: name, then the declared ones, or the age where none are declared. */
export function customColumns(version: JsonObject): Column[] {
  const declared = listAt(version, "additionalPrinterColumns").filter(isObject);
  if (declared.length === 0)
    return [nameColumn, column("Age", (o, now) => age(o.metadata.creationTimestamp, now), { type: "date" })];
  return [nameColumn, ...declared.map(customColumn)];
}

function customColumn(source: JsonObject): Column {
  const path = parseJsonPath(stringAt(source, "jsonPath"));
  const type = types.find((t) => t === source.type) ?? "string";
  return {
    name: stringAt(source, "name"),
    type,
    format: stringAt(source, "format"),
    description: stringAt(source, "description"),
    priority: numberAt(source, "priority") ?? 0,
    cell: (object, now) => customCell(type, select(path, object)[0], now),
  };
}

function customCell(type: Column["type"], value: Json | undefined, nowMs: number): Json {
  if (value === undefined || value === null) return null;
  switch (type) {
    case "integer":
      return typeof value === "number" ? Math.trunc(value) : null;
    case "number":
      return typeof value === "number" ? value : null;
    case "boolean":
      return typeof value === "boolean" ? value : null;
    case "date":
      return age(value, nowMs);
    default:
      return typeof value === "string" ? value : JSON.stringify(value);
  }
}
