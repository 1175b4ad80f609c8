// results: what other rooms call. Raw bytes to values, many answers to one, values to text and JSON; no I/O.
export { decodeMap, decodeMaps, decodeRecord, UnknownRecordError } from "./decode.ts";
export { isMergeable, type MergePart, mergedSchema, mergeMaps } from "./merge.ts";
export {
  lineJson,
  mapJson,
  mapText,
  type PrintOptions,
  printJson,
  printText,
  sortRows,
  valueText,
} from "./print.ts";
export { hashSchema, schemaOf } from "./schema.ts";
export type * from "./types.ts";
