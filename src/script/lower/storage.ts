// script, lowering: how the script's maps lie in kernel maps. Keys are packed by natural alignment; integers are 8 bytes.
import { align8, alignOf, isScalar, sizeOf, stored, tupleLayout, U64 } from "../layout.ts";
import type { MapInfo } from "../typed.ts";
import type { CompiledMap, HistLayout, KernelFeatures, OutputMap, SeriesLayout, Type } from "../types.ts";

export interface Storage {
  readonly map: MapInfo;
  readonly kernel: Omit<CompiledMap, "name" | "initial">;
  readonly keyTypes: readonly Type[];
  readonly keyOffsets: readonly number[];
  readonly valueType: Type;
  /** One-element array with the value at 0 and a word at 8 that says whether it is set; reached without a lookup if not per CPU. */
  readonly single: boolean;
  /** Histogram: number of buckets, and where the bucket's number lies in the key. */
  readonly buckets: number;
  readonly bucketOffset: number;
  readonly output: Omit<OutputMap, "map">;
}

/** {u64 value; u64 time or number; u64 interval}: see SeriesLayout. */
const SERIES_CELL = 24;

/** Buckets of a histogram by powers of two, each split into 2^bits: numbers 0..n-1 as log2Bucket in aggregates.ts gives them. */
export const logBuckets = (bits: number): number => ((64 - bits) << bits) + (1 << bits) + 2;

export function bucketCount(map: MapInfo): number {
  if (map.series) return map.series.count;
  if (!map.hist) return 0;
  if (map.aggregate === "hist") return logBuckets(map.hist.bits);
  return Number((map.hist.max - map.hist.min) / map.hist.step) + 2;
}

export function planStorage(
  map: MapInfo,
  maxKeys: number,
  features: Pick<KernelFeatures, "ktimeGetTaiNs">,
): Storage {
  const keyTypes = (map.key ?? []).map(stored);
  const { offsets, size } = tupleLayout(keyTypes);
  const aggregate = map.aggregate;
  const histogram = aggregate === "hist" || aggregate === "lhist" || aggregate === "tseries";
  const bucketSize = aggregate === "tseries" ? SERIES_CELL : 8;
  const keyed = keyTypes.length > 0;
  const perCpu = aggregate !== undefined;
  const valueType = aggregate !== undefined ? U64 : stored(map.value);
  const entries = map.declared?.size ?? maxKeys;
  const hash = perCpu ? "percpu_hash" : "hash";
  const declared =
    map.declared && perCpu
      ? map.declared.type.startsWith("lru")
        ? "lru_percpu_hash"
        : "percpu_hash"
      : map.declared?.type;
  const bucketOffset = histogram && keyed ? align8(size) : 0;
  const buckets = bucketCount(map);
  const base = { map, keyTypes, keyOffsets: offsets, valueType, buckets, bucketOffset };
  const value: OutputMap["value"] =
    aggregate === undefined
      ? { kind: "value", type: valueType }
      : {
          kind: "aggregate",
          aggregate,
          signed: map.signed,
          ...(map.hist ? { hist: { ...map.hist, bucketOffset } satisfies HistLayout } : {}),
          ...(map.series
            ? {
                series: {
                  ...map.series,
                  clock: features.ktimeGetTaiNs ? "tai" : "boot",
                  bucketOffset,
                } satisfies SeriesLayout,
              }
            : {}),
        };
  const output = {
    name: map.name,
    key: keyTypes.map((type, i) => ({ type, offset: offsets[i] ?? 0 })),
    value,
    perCpu,
  };
  if (!keyed && histogram)
    return {
      ...base,
      single: false,
      kernel: { type: "percpu_array", keySize: 4, valueSize: bucketSize, maxEntries: buckets, flags: 0 },
      output,
    };
  if (!keyed && (perCpu || isScalar(valueType)))
    return {
      ...base,
      single: true,
      kernel: { type: perCpu ? "percpu_array" : "array", keySize: 4, valueSize: 16, maxEntries: 1, flags: 0 },
      output: { ...output, setOffset: 8 },
    };
  const valueSize = histogram ? bucketSize : perCpu ? 16 : align8(sizeOf(valueType));
  const keySize = histogram ? bucketOffset + 8 : keyed ? alignedKey(keyTypes, size) : 4;
  return {
    ...base,
    single: false,
    kernel: { type: declared ?? hash, keySize, valueSize, maxEntries: keyed ? entries : 1, flags: 0 },
    output,
  };
}

/** Keys are a whole number of words, so that they are hashed fast and lie aligned on the stack. */
const alignedKey = (types: readonly Type[], size: number): number =>
  types.some((t) => alignOf(t) === 8) || size > 8 ? align8(size) : Math.ceil(size / 4) * 4;
