// results: one answer out of many. count, sum, min, max, avg, stats, hist and lhist merge exactly, in any order and in any grouping;
// any other map keeps each node's rows apart by a leading key, the node's name.
import type { Cell, MapData, MapRow, MapSchema, ResultSchema, Value } from "./types.ts";

/** One source's maps: a node's at a hub, a cluster's at a caller. */
export interface MergePart {
  readonly source: string;
  readonly maps: readonly MapData[];
}

export const isMergeable = (schema: MapSchema): boolean =>
  schema.kind !== "value" && schema.kind !== "tseries";

/** The schema of merged answers: maps that do not merge have the node's name as first part of their key. */
export function mergedSchema(schema: ResultSchema): ResultSchema {
  return {
    ...schema,
    maps: schema.maps.map((m) =>
      isMergeable(m) || m.perNode ? m : { ...m, key: ["node", ...m.key], perNode: true },
    ),
  };
}

function mergeCells(schema: MapSchema, a: Cell, b: Cell): Cell {
  if ("number" in a && "number" in b) {
    const [x, y] = [BigInt(a.number), BigInt(b.number)];
    if (schema.kind === "min") return { number: String(x < y ? x : y) };
    if (schema.kind === "max") return { number: String(x > y ? x : y) };
    return { number: String(wrap(schema, x + y)) };
  }
  if ("count" in a && "count" in b)
    return {
      count: String(BigInt(a.count) + BigInt(b.count)),
      total: String(wrap(schema, BigInt(a.total) + BigInt(b.total))),
    };
  if ("buckets" in a && "buckets" in b) {
    const counts = new Map(a.buckets.map(([i, n]) => [i, BigInt(n)]));
    for (const [i, n] of b.buckets) counts.set(i, (counts.get(i) ?? 0n) + BigInt(n));
    return { buckets: [...counts].sort(([x], [y]) => x - y).map(([i, n]) => [i, String(n)] as const) };
  }
  return a;
}

/** Sums wrap as the kernel's do, so that merging in two steps gives what one step gives. */
const wrap = (schema: MapSchema, n: bigint): bigint =>
  schema.value.startsWith("u") ? BigInt.asUintN(64, n) : BigInt.asIntN(64, n);

const keyId = (key: readonly Value[]): string => JSON.stringify(key);

function mergeRows(
  schema: MapSchema,
  parts: readonly { readonly source: string; readonly map: MapData }[],
): MapRow[] {
  const rows = new Map<string, MapRow>();
  for (const { map } of parts)
    for (const row of map.rows) {
      const id = keyId(row.key);
      const had = rows.get(id);
      rows.set(id, had ? { key: had.key, cell: mergeCells(schema, had.cell, row.cell) } : row);
    }
  return [...rows.values()];
}

/** Rows by node. Where two sources have nodes of one name, the source's name goes before it. */
function apart(
  schema: MapSchema,
  parts: readonly { readonly source: string; readonly map: MapData }[],
): MapRow[] {
  if (!schema.perNode)
    return parts.flatMap(({ source, map }) =>
      map.rows.map((row) => ({ key: [source, ...row.key], cell: row.cell })),
    );
  const owners = new Map<Value, Set<string>>();
  for (const { source, map } of parts)
    for (const row of map.rows) {
      const node = row.key[0] ?? "";
      owners.set(node, (owners.get(node) ?? new Set()).add(source));
    }
  return parts.flatMap(({ source, map }) =>
    map.rows.map((row) => {
      const [node = "", ...rest] = row.key;
      return (owners.get(node)?.size ?? 0) > 1
        ? { key: [`${source}/${String(node)}`, ...rest], cell: row.cell }
        : row;
    }),
  );
}

/**
 * The maps of all parts as one, in the order of the schema. With a node's schema, what does not merge gets the source as leading key;
 * with a schema from {@link mergedSchema}, parts are answers that were merged already. Maps unknown to the schema are left out.
 */
export function mergeMaps(schema: ResultSchema, parts: readonly MergePart[]): MapData[] {
  return schema.maps.map((m) => {
    const mine = parts.flatMap(({ source, maps }) => {
      const map = maps.find((x) => x.name === m.name);
      return map ? [{ source, map }] : [];
    });
    return { name: m.name, rows: isMergeable(m) ? mergeRows(m, mine) : apart(m, mine) };
  });
}
