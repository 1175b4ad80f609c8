// fleet: several answers become one, by the results room's merge; at a hub over nodes, at a caller over clusters.
import { mergedSchema, mergeMaps } from "../results/index.ts";
import type { MapData, ResultSchema } from "../results/types.ts";

/** One source's share of an answer: a node's at a hub, a cluster's at a caller. */
export interface Part {
  readonly source: string;
  readonly maps: readonly MapData[];
}

/** Makes one answer of several, by the schema of one node's answer. */
export type MergeMaps = (schema: ResultSchema, parts: readonly Part[]) => readonly MapData[];

/** At the hub: aggregates are merged exactly, other maps get the node as their first key part. */
export const mergeNodes: MergeMaps = (schema, parts) => mergeMaps(schema, parts);

/** At the caller: what hubs have merged, once more. */
export const mergeClusters: MergeMaps = (schema, parts) => mergeMaps(mergedSchema(schema), parts);

/** One map of several sources. */
export function mergeOne(
  merge: MergeMaps,
  schema: ResultSchema,
  name: string,
  parts: readonly Part[],
): MapData | undefined {
  return merge({ ...schema, maps: schema.maps.filter((m) => m.name === name) }, parts)[0];
}

/** Gives nodes in the keys of what hubs have merged the names by which this caller knows them. */
export function renameNodes(
  schema: ResultSchema,
  maps: readonly MapData[],
  called: (node: string) => string,
): readonly MapData[] {
  const own = new Set(mergedSchema(schema).maps.flatMap((m) => (m.perNode ? [m.name] : [])));
  return maps.map((map) =>
    own.has(map.name)
      ? {
          ...map,
          rows: map.rows.map((row) => ({ ...row, key: [called(String(row.key[0])), ...row.key.slice(1)] })),
        }
      : map,
  );
}
