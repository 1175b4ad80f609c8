// results: the answer of a run as plain JSON. Integers that a double cannot hold exactly are decimal strings.

/** A value that has left the node: ids have become values. */
export type Value = number | string | boolean | readonly Value[];

/** What a map or print site looks like; two nodes' answers merge only if their schemas are the same to the letter. */
export interface ResultSchema {
  readonly version: 1;
  readonly maps: readonly MapSchema[];
  /** print(@m) sites inside probes, in source order; merged per ordinal. */
  readonly rounds: readonly {
    readonly site: number;
    readonly map: string;
    readonly top: number;
    readonly divide: number;
  }[];
}

export interface MapSchema {
  readonly name: string;
  /** Type names of the key's parts, as printed by formatType; empty for a scalar. */
  readonly key: readonly string[];
  readonly value: string;
  readonly kind: "value" | "count" | "sum" | "min" | "max" | "avg" | "stats" | "hist" | "lhist";
  readonly hist?: {
    readonly bits: number;
    readonly min: string;
    readonly max: string;
    readonly step: string;
  };
}

/** count,sum,min,max: value. avg,stats: count and total. hist,lhist: counts by bucket index. */
export type Cell =
  | { readonly value: Value }
  | { readonly number: string }
  | { readonly count: string; readonly total: string }
  | { readonly buckets: readonly (readonly [index: number, count: string])[] };

export interface MapRow {
  readonly key: readonly Value[];
  readonly cell: Cell;
}

export interface MapData {
  readonly name: string;
  readonly rows: readonly MapRow[];
}

/** What one node sends; `maps` once at the end, the others while the run goes on. */
export type NodeChunk =
  | { readonly kind: "maps"; readonly maps: readonly MapData[] }
  | { readonly kind: "round"; readonly site: number; readonly ordinal: number; readonly map: MapData }
  | {
      readonly kind: "line";
      readonly type: "printf" | "time" | "join" | "value" | "cat" | "system" | "error";
      readonly text: string;
    };

export interface Coverage {
  readonly asked: number;
  readonly answered: number;
  readonly lostEvents: number;
  readonly mapFull: number;
  readonly unattributed: number;
  readonly errors: readonly { readonly node: string; readonly error: string }[];
}
