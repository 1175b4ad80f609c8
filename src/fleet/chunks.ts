// fleet: NodeChunk as bytes and back. What comes from another process is checked before anything is done with it.
import type { Cell, MapData, MapRow, NodeChunk, ResultSchema } from "../results/types.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: false });

export const encodeJson = (value: unknown): Uint8Array => encoder.encode(JSON.stringify(value));

/** @throws SyntaxError when the bytes are not JSON */
export const decodeJson = (bytes: Uint8Array): unknown => JSON.parse(decoder.decode(bytes)) as unknown;

/** The value is not what its sender claims. */
export class ChunkError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "ChunkError";
  }
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const isInteger = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;
const isDecimal = (value: unknown): boolean => typeof value === "string" && /^-?\d{1,39}$/.test(value);

function isCell(cell: unknown): cell is Cell {
  if (!isRecord(cell)) return false;
  if ("number" in cell) return isDecimal(cell["number"]);
  if ("count" in cell) return isDecimal(cell["count"]) && isDecimal(cell["total"]);
  if ("buckets" in cell)
    return (
      Array.isArray(cell["buckets"]) &&
      cell["buckets"].every((b) => Array.isArray(b) && Number.isSafeInteger(b[0]) && isDecimal(b[1]))
    );
  if ("series" in cell)
    return (
      Array.isArray(cell["series"]) &&
      cell["series"].every((p) => Array.isArray(p) && isDecimal(p[0]) && isDecimal(p[1]))
    );
  return "value" in cell;
}

const isRow = (row: unknown): row is MapRow =>
  isRecord(row) && Array.isArray(row["key"]) && isCell(row["cell"]);

const isMap = (map: unknown): map is MapData =>
  isRecord(map) && typeof map["name"] === "string" && Array.isArray(map["rows"]) && map["rows"].every(isRow);

/** @throws ChunkError, with words for the user */
export function decodeChunk(bytes: Uint8Array): NodeChunk {
  let chunk: unknown;
  try {
    chunk = decodeJson(bytes);
  } catch (error) {
    throw new ChunkError((error as Error).message);
  }
  if (!isRecord(chunk)) throw new ChunkError("not an object");
  switch (chunk["kind"]) {
    case "line":
      if (typeof chunk["text"] === "string" && typeof chunk["type"] === "string") return chunk as NodeChunk;
      break;
    case "round":
      if (isInteger(chunk["site"]) && isInteger(chunk["ordinal"]) && isMap(chunk["map"]))
        return chunk as NodeChunk;
      break;
    case "maps":
      if (Array.isArray(chunk["maps"]) && chunk["maps"].every(isMap)) return chunk as NodeChunk;
      break;
  }
  throw new ChunkError(`a ${String(chunk["kind"])} that is not as it should be`);
}

/** @throws ChunkError */
export function decodeSchema(bytes: Uint8Array): ResultSchema {
  const schema = decodeJson(bytes);
  if (
    !isRecord(schema) ||
    schema["version"] !== 1 ||
    !Array.isArray(schema["maps"]) ||
    !Array.isArray(schema["rounds"])
  )
    throw new ChunkError("a result schema of another version");
  return schema as unknown as ResultSchema;
}

/** Bytes of a row as JSON, near enough to cut by. */
const rowBytes = (row: MapRow): number => JSON.stringify(row).length + 1;

/** A maps chunk as several, none much over `most` bytes; the receiver puts rows of one map together again. */
export function* splitMaps(maps: readonly MapData[], most: number): Generator<NodeChunk> {
  let pieces: MapData[] = [];
  let bytes = 0;
  for (const { name, rows } of maps) {
    let from = 0;
    for (let i = 0; i < rows.length; i++) {
      const size = rowBytes(rows[i]!);
      if (bytes + size > most && bytes > 0) {
        if (i > from) pieces.push({ name, rows: rows.slice(from, i) });
        yield { kind: "maps", maps: pieces };
        pieces = [];
        bytes = 0;
        from = i;
      }
      bytes += size;
    }
    // An empty map is sent, too: it says that there is nothing.
    if (from < rows.length || rows.length === 0) pieces.push({ name, rows: rows.slice(from) });
  }
  if (pieces.length > 0) yield { kind: "maps", maps: pieces };
}

/** Puts pieces of maps together, in the order of their coming. */
export function joinMaps(pieces: readonly (readonly MapData[])[]): readonly MapData[] {
  const out = new Map<string, MapRow[]>();
  for (const maps of pieces)
    for (const { name, rows } of maps) {
      const all = out.get(name);
      if (all) for (const row of rows) all.push(row);
      else out.set(name, [...rows]);
    }
  return [...out].map(([name, rows]) => ({ name, rows }));
}
