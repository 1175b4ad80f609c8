// results: the answer of a run as plain JSON. Integers that a double cannot hold exactly are decimal strings.

/**
 * A value that has left the node: ids have become values. A list is a tuple. A symbol is a number with a name (an enum's value, a
 * pointer's hex), which text shows by the name and JSON by the number.
 */
export type Value =
  | number
  | string
  | boolean
  | readonly Value[]
  | { readonly symbol: string; readonly number: string }
  | { readonly array: readonly Value[] }
  /** Bytes, and how text shows them. */
  | { readonly buffer: readonly number[]; readonly text: string }
  | { readonly record: readonly (readonly [name: string, value: Value])[] };

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
  readonly kind: "value" | "count" | "sum" | "min" | "max" | "avg" | "stats" | "hist" | "lhist" | "tseries";
  readonly hist?: {
    readonly bits: number;
    readonly min: string;
    readonly max: string;
    readonly step: string;
  };
  /** Time series: ns of an interval, and how many are kept. */
  readonly series?: { readonly interval: string; readonly count: number };
  /** In a merged answer: the first part of the key is the node's name. */
  readonly perNode?: true;
}

/** count,sum,min,max: value. avg,stats: count and total. hist,lhist: counts by bucket index. tseries: values by the wall-clock ns at which their interval began. */
export type Cell =
  | { readonly value: Value }
  | { readonly number: string }
  | { readonly count: string; readonly total: string }
  | { readonly buckets: readonly (readonly [index: number, count: string])[] }
  | { readonly series: readonly (readonly [start: string, value: string])[] };

export interface MapRow {
  readonly key: readonly Value[];
  readonly cell: Cell;
}

export interface MapData {
  readonly name: string;
  readonly rows: readonly MapRow[];
}

/** What errorf() and warnf() say, or what went wrong in a program, and where in the script that is. */
export interface Said {
  readonly kind: "errorf" | "warnf" | "runtime_error" | "helper_error";
  readonly message: string;
  readonly file: string;
  readonly line: number;
  readonly column: number;
  /** helper_error: the kernel's helper and what it returned. */
  readonly helper?: string;
  readonly code?: number;
}

/** What one node sends; `maps` once at the end, the others while the run goes on. */
export type NodeChunk =
  | { readonly kind: "maps"; readonly maps: readonly MapData[] }
  | { readonly kind: "round"; readonly site: number; readonly ordinal: number; readonly map: MapData }
  | {
      readonly kind: "line";
      readonly type: "printf" | "time" | "join" | "value" | "cat" | "system" | "error";
      readonly text: string;
      /** print(value): the value for JSON. */
      readonly data?: Value;
      /** `error`: whose words these are, if the script's. */
      readonly said?: Said;
    };

export interface Coverage {
  readonly asked: number;
  readonly answered: number;
  readonly lostEvents: number;
  readonly mapFull: number;
  readonly unattributed: number;
  readonly errors: readonly { readonly node: string; readonly error: string }[];
}

/** One entry of a kernel map as read by the tracer: the value once, or once per CPU for per-CPU maps. */
export interface RawEntry {
  readonly key: Uint8Array;
  readonly values: readonly Uint8Array[];
}

/** What turns ids and addresses into values on the node that they belong to. Symbol lookups may return undefined. */
export interface Resolvers {
  /** Name of an id of a dictionary; undefined or id 0 prints as "unknown". */
  name(dictionary: "cluster" | "node" | "pod" | "namespace" | "peer", id: number): string | undefined;
  /** `offset`: with how far into the function it is, as stacks have it. */
  kernelSymbol(address: bigint, offset: boolean): string | undefined;
  userSymbol(pid: number, address: bigint, offset: boolean): string | undefined;
  /** File that an address of a process was mapped from. */
  userModule?(pid: number, address: bigint): string | undefined;
  userName(uid: number): string | undefined;
  /** Path of a cgroup v2 directory by its id. */
  cgroupPath?(id: bigint): string | undefined;
  /** Unused: stacks carry their frames. */
  stack?(id: bigint, user: boolean): readonly bigint[] | undefined;
  /** Wall clock in ns since the epoch, for time(). */
  now(): bigint;
  /** Wall clock minus the boot clock, in ns, for strftime(). */
  bootOffset(): bigint;
  /** Wall clock minus the TAI clock, in ns, for time series; 0 if absent. */
  taiOffset?(): bigint;
  /** Unused: names of attach points are text. */
  probe?(index: number): string | undefined;
}

/** A ring record, decoded. `line` goes out as it is; the tracer carries out the others. */
export type DecodedRecord =
  | {
      readonly kind: "line";
      readonly type: "printf" | "time" | "join" | "value" | "cat" | "system" | "error";
      /** What text output prints. `cat` and `system`: the path or command, which the tracer opens or runs. */
      readonly text: string;
      /** print(value): the value for JSON. */
      readonly data?: Value;
      readonly said?: Said;
    }
  | {
      readonly kind: "print_map";
      readonly map: string;
      readonly site: number;
      readonly top: number;
      readonly divide: number;
    }
  | { readonly kind: "clear" | "zero"; readonly map: string }
  | { readonly kind: "exit"; readonly code: number };
