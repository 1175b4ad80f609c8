// apiserver/table: meta.k8s.io/v1 Table and PartialObjectMetadata, what `kubectl get` and metadata clients ask for.
import type { Json, JsonObject } from "../json.ts";
import type { ApiObject } from "../object.ts";
import type { Column } from "./columns.ts";

export type IncludeObject = "None" | "Metadata" | "Object";

export const tableColumns = (columns: readonly Column[]): JsonObject[] =>
  columns.map(({ name, type, format, description, priority }) => ({
    name,
    type,
    format,
    description,
    priority,
  }));

export const partialMetadata = (object: ApiObject): JsonObject => ({
  kind: "PartialObjectMetadata",
  apiVersion: "meta.k8s.io/v1",
  metadata: object.metadata,
});

/** `columnSource` is in storage form, `shown` in that of the version asked for. */
export function tableRow(
  columns: readonly Column[],
  columnSource: ApiObject,
  shown: () => ApiObject,
  include: IncludeObject,
  nowMs: number,
): JsonObject {
  const cells: Json[] = columns.map((c) => c.cell(columnSource, nowMs));
  if (include === "None") return { cells };
  return { cells, object: include === "Object" ? shown() : partialMetadata(columnSource) };
}
