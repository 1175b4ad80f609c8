// kernel: tracefs: where it is mounted, which events there are, and how their records are laid out.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { mountPointOf } from "./cgroup.ts";
import { mount } from "./ffi.ts";

/** One field of an event's record, as its `format` file declares it. Offsets and sizes in bytes. */
export interface EventField {
  readonly name: string;
  /** As written: "const char * filename", "__data_loc char[] name". */
  readonly declaration: string;
  /** The C type without name, array length or location prefix: "const char *", "__u8". */
  readonly ctype: string;
  readonly offset: number;
  readonly size: number;
  readonly signed: boolean;
  /** Elements of an array field, 0 for `[]`; absent for anything else. */
  readonly length?: number;
  /** `__data_loc`: a u32 {length << 16 | offset from the record}; `__rel_loc`: offset from the end of the u32. */
  readonly location?: "data" | "relative";
}

export interface EventFormat {
  readonly name: string;
  /** perf_event_attr.config of the tracepoint. */
  readonly id: number;
  /** Without the common_* ones. */
  readonly fields: readonly EventField[];
}

const usualMounts = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/** Where tracefs is mounted; undefined if nowhere. */
export function tracefsRoot(): string | undefined {
  for (const path of usualMounts) if (existsSync(join(path, "available_events"))) return path;
  return mountPointOf("tracefs", readFileSync("/proc/self/mounts", "utf8"));
}

/** What {@link ensureTracefs} did, for whoever tells the user. */
export type TracefsState =
  | { readonly root: string; readonly mounted: boolean }
  | { readonly root: undefined; readonly reason: string };

/** As {@link tracefsRoot}, but mounts tracefs at /sys/kernel/tracing where it is missing; that may not be allowed. */
export function ensureTracefs(): TracefsState {
  const found = tracefsRoot();
  if (found !== undefined) return { root: found, mounted: false };
  const [root = ""] = usualMounts;
  try {
    mount("tracefs", root, "tracefs");
    return { root, mounted: true };
  } catch (error) {
    return { root: undefined, reason: (error as Error).message };
  }
}

/** `field:TYPE NAME[N]; offset:N; size:N; signed:N;` of one line; undefined for other lines. */
function parseField(line: string): EventField | undefined {
  const match = /^\s*field:(.+?);\s*offset:(\d+);\s*size:(\d+);(?:\s*signed:(\d+);)?/.exec(line);
  if (!match) return undefined;
  const declaration = /^(.*?)\s*\b(\w+)((?:\[\w*\])*)$/.exec((match[1] ?? "").trim());
  if (!declaration) return undefined;
  let ctype = (declaration[1] ?? "").trim();
  const location = /^__(data|rel)_loc\s+/.exec(ctype);
  if (location) ctype = ctype.slice(location[0].length);
  const size = Number(match[3]);
  const array = /\[(\w*)\]/.exec(declaration[3] ?? "");
  // `unsigned long args[]`, `char buf[]`: the data runs to the end of the record. `char[] name` is how locations are written.
  const suffix = ctype.endsWith("[]");
  if (suffix) ctype = ctype.slice(0, -2).trim();
  const isArray = array !== null || suffix;
  const field = {
    name: declaration[2] ?? "",
    declaration: (match[1] ?? "").trim(),
    ctype,
    offset: Number(match[2]),
    size,
    signed: match[4] === "1",
  };
  return {
    ...field,
    ...(isArray ? { length: /^\d+$/.test(array?.[1] ?? "") ? Number(array?.[1]) : 0 } : {}),
    ...(location ? { location: location[1] === "data" ? "data" : "relative" } : {}),
  };
}

/** Parses the text of an event's `format` file. @throws Error without name or ID */
export function parseFormat(text: string): EventFormat {
  const name = /^name: (.+)$/m.exec(text)?.[1];
  const id = /^ID: (\d+)$/m.exec(text)?.[1];
  if (name === undefined || id === undefined) throw new Error("event format without name or ID");
  const fields: EventField[] = [];
  for (const line of text.split("\n")) {
    const field = parseField(line);
    if (field && !field.name.startsWith("common_")) fields.push(field);
  }
  return { name, id: Number(id), fields };
}

/** Names that may stand in a path of tracefs. */
const isEventName = (name: string): boolean => /^[\w.-]+$/.test(name) && name !== "." && name !== "..";

/** Format of `category:event`; undefined if there is no such event. @throws Error from node:fs (EACCES) */
export function eventFormat(root: string, category: string, event: string): EventFormat | undefined {
  if (!isEventName(category) || !isEventName(event)) return undefined;
  try {
    return parseFormat(readFileSync(join(root, "events", category, event, "format"), "utf8"));
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw error;
  }
}

/** The categories, in order of names. */
export const eventCategories = (root: string): string[] =>
  readdirSync(join(root, "events"), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name)
    .sort();

/** Events of one category, in order of names; empty if there is no such category. */
export function eventsOf(root: string, category: string): string[] {
  if (!isEventName(category)) return [];
  try {
    return readdirSync(join(root, "events", category), { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => entry.name)
      .sort();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}

/**
 * Kernel functions that ftrace can attach to; undefined where the kernel does not tell (a locked-down one refuses even
 * root), and then BTF's functions are all there is.
 */
export function filterFunctions(root: string): string[] | undefined {
  try {
    return readFileSync(join(root, "available_filter_functions"), "utf8")
      .split("\n")
      .map((line) => line.split(/[ \t]/, 1)[0] ?? "")
      .filter((name) => name !== "");
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "ENOENT" || code === "EACCES" || code === "EPERM") return undefined;
    throw error;
  }
}
