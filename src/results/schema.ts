// results: the shape of an answer. Two nodes' answers merge only if their schemas are the same to the letter.
import { formatType } from "../script/layout.ts";
import type { OutputPlan } from "../script/types.ts";
import type { MapSchema, ResultSchema } from "./types.ts";

export function schemaOf(plan: OutputPlan): ResultSchema {
  const maps = plan.maps
    .map((m): MapSchema => {
      const key = m.key.map((k) => formatType(k.type));
      if (m.value.kind === "value")
        return { name: m.name, key, value: formatType(m.value.type), kind: "value" };
      const { aggregate, signed, hist, series } = m.value;
      return {
        name: m.name,
        key,
        value: signed ? "int64" : "uint64",
        kind: aggregate,
        ...(hist
          ? {
              hist: {
                bits: hist.bits,
                min: String(hist.min),
                max: String(hist.max),
                step: String(hist.step),
              },
            }
          : {}),
        ...(series ? { series: { interval: String(series.interval), count: series.count } } : {}),
      };
    })
    .sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
  // One site may be compiled several times, for several attach points.
  const rounds = new Map<number, ResultSchema["rounds"][number]>();
  for (const a of plan.actions)
    if (a.kind === "print_map")
      rounds.set(a.site, { site: a.site, map: a.map, top: a.top, divide: a.divide });
  return { version: 1, maps, rounds: [...rounds.values()].sort((a, b) => a.site - b.site) };
}

/** JSON with the keys of objects in order and nothing between. */
export function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (value !== null && typeof value === "object")
    return `{${Object.entries(value)
      .filter(([, v]) => v !== undefined)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([k, v]) => `${JSON.stringify(k)}:${canonical(v)}`)
      .join(",")}}`;
  return JSON.stringify(value) ?? "null";
}

const PRIME = 0x0000_0100_0000_01b3n;
const BASIS = 0xcbf2_9ce4_8422_2325n;

/** FNV-1a, 64 bits, of the canonical text, as 16 hex digits: a check that agreeing nodes agree, not a seal against forgers. */
export function hashSchema(schema: ResultSchema): string {
  let hash = BASIS;
  for (const byte of new TextEncoder().encode(canonical(schema)))
    hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * PRIME);
  return hash.toString(16).padStart(16, "0");
}
