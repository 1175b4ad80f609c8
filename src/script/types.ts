// script: what the rooms around the language see of it. Everything here is plain data.

/** Half-open range of UTF-16 offsets in the source, with the 1-based line and column of its start and end. */
export interface Span {
  readonly start: number;
  readonly end: number;
  readonly line: number;
  readonly column: number;
  readonly endLine: number;
  readonly endColumn: number;
}

/** One message for the user. Built only in diagnostics.ts. */
export interface Diagnostic {
  readonly severity: "error" | "warning";
  readonly code: string;
  readonly message: string;
  readonly span: Span;
  readonly hint?: string;
}

/** C-like types of values that scripts see. Sizes and offsets in bytes; bitfield offsets and widths in bits. Anonymous members of a Structure have the name "". */
export type Type =
  | { readonly kind: "none" }
  | { readonly kind: "int"; readonly size: 1 | 2 | 4 | 8; readonly signed: boolean }
  | { readonly kind: "bool" }
  | { readonly kind: "enum"; readonly name: string; readonly size: 1 | 2 | 4 | 8; readonly signed: boolean }
  | { readonly kind: "pointer"; readonly to: Type; readonly space: AddressSpace }
  | { readonly kind: "array"; readonly of: Type; readonly length: number }
  | { readonly kind: "struct"; readonly name: string; readonly size: number; readonly union: boolean }
  /** `cut`: text that fills all but the last byte was longer where it came from. */
  | { readonly kind: "string"; readonly size: number; readonly cut?: true }
  | { readonly kind: "buffer"; readonly size: number }
  | { readonly kind: "tuple"; readonly items: readonly Type[]; readonly names?: readonly string[] }
  /** An address printed as text: 20 bytes {u8 family; u8 prefixLength; u8 pad[2]; u8 address[16], v4-mapped}. */
  | { readonly kind: "inet" }
  /** As inet, printed with its length: what prefix(ip) yields; family 0 is "unknown". */
  | { readonly kind: "prefix" }
  /** u32 that the results room prints by a dictionary which the node sends along: cluster, node, pod, namespace, peer. */
  | { readonly kind: "name"; readonly dictionary: NameDictionary }
  /** {s64 bytes of frames, negative if there is no stack; u64 pid; u64 frames[limit], innermost first}. */
  | {
      readonly kind: "stack";
      readonly user: boolean;
      readonly limit: number;
      readonly mode: "bpftrace" | "perf" | "raw";
    }
  | { readonly kind: "symbol"; readonly user: boolean }
  | { readonly kind: "timestamp"; readonly format: string; readonly clock: "boot" | "realtime" }
  /** RFC 1997 community, u32, printed as AS:value; 0 is "unknown". */
  | { readonly kind: "community" }
  | { readonly kind: "mac" }
  /** u64 cgroup id, printed as the path of its directory. */
  | { readonly kind: "cgroup_path" }
  /** i64 errno, printed as strerror(3) does. */
  | { readonly kind: "errno" }
  /** u64 number of a system call, printed as its name. */
  | { readonly kind: "syscall" }
  | { readonly kind: "username" };

export type AddressSpace = "kernel" | "user";
export type NameDictionary = "cluster" | "node" | "pod" | "namespace" | "peer";

export interface Field {
  readonly name: string;
  /** Byte offset from the start of the structure or tracepoint record. */
  readonly offset: number;
  readonly type: Type;
  /** Bitfield: `offset` counts from the lowest bit of the byte at Field.offset. */
  readonly bits?: { readonly offset: number; readonly width: number };
  /** tracefs `__data_loc`: the u32 at `offset` holds length << 16 | offset of the data. */
  readonly dataLoc?: boolean;
}

export interface Structure {
  readonly name: string;
  readonly size: number;
  readonly fields: readonly Field[];
}

export interface FunctionPrototype {
  readonly name: string;
  readonly parameters: readonly { readonly name: string; readonly type: Type }[];
  readonly returns: Type;
  /** "vmlinux" or the module. */
  readonly module: string;
  /** BTF type id, and fd of the module's BTF where it is not vmlinux. */
  readonly btfId: number;
}

/** What the compiler may ask about the kernel below it. trace/ implements it; tests use a fixture. */
export interface TypeSource {
  /** tracefs format of `category:event`; undefined if there is no such event. */
  tracepoint(category: string, event: string): (Structure & { readonly id: number }) | undefined;
  /** Names that match a glob for a provider, as `category:event`, `function`, ... Bounded by the caller's max_probes. */
  match(provider: string, pattern: string): readonly string[];
  /** `struct X`, `union X` or typedef by name, from BTF. */
  structure(name: string): Structure | undefined;
  /** One member of a structure, anonymous ones' among them; cheaper than all of it. */
  member?(structure: string, name: string): Field | undefined;
  /** Resolves a typedef or base type name. */
  typeByName(name: string): Type | undefined;
  enumValue(name: string): { readonly value: bigint; readonly type: Type } | undefined;
  enumName(enumType: string, value: bigint): string | undefined;
  /** Kernel function (fentry, kprobe arguments). */
  function(name: string): FunctionPrototype | undefined;
  /** Arguments of `btf_trace_<name>` without the leading void*. */
  rawTracepoint(name: string): FunctionPrototype | undefined;
  /** A variable of vmlinux, per CPU or not, by its BTF id. */
  variable?(name: string): { readonly btfId: number; readonly type: Type } | undefined;
  /** Whether programs of a type may call a function of the kernel. */
  kfuncAllowed?(name: string, program: ProgramType): boolean;
  /** Context of an iterator: struct bpf_iter__<name>. */
  iterator(name: string): Structure | undefined;
  /** Address of a kernel symbol. */
  kernelSymbol(name: string): bigint | undefined;
  /** Id of a cgroup v2 directory. */
  cgroupId?(path: string): bigint | undefined;
  /** Path of an executable file or library by name or path, if there is one; `named`: libraries are not looked for. */
  binary?(name: string, named?: boolean): string | undefined;
  userSymbol(binary: string, symbol: string): { readonly offset: bigint; readonly path: string } | undefined;
  /** Address of a symbol as the file has it, and its size in bytes. */
  userAddress?(
    binary: string,
    symbol: string,
  ): { readonly address: bigint; readonly size: number } | undefined;
  /** Every place in a file where a USDT probe stands; a provider of "" is any. */
  usdt?(binary: string, provider: string, name: string): readonly UsdtPlace[];
  readonly features: KernelFeatures;
}

export interface UsdtPlace {
  readonly path: string;
  /** Offset in the file, as uprobes want it. */
  readonly offset: bigint;
  /** File offset of the semaphore; absent if there is none. */
  readonly semaphore?: bigint;
  /** As in the note: "-4@%edi 8@-16(%rbp)". */
  readonly arguments: string;
}

export interface KernelFeatures {
  readonly bpfLoop: boolean;
  readonly ringBuffer: boolean;
  readonly probeReadKernelStr: boolean;
  readonly tpBtf: boolean;
  readonly fentry: boolean;
  readonly kprobe: boolean;
  readonly currentTaskBtf: boolean;
  readonly forEachMapElem: boolean;
  readonly mapLookupPercpuElem: boolean;
  readonly ktimeGetTaiNs: boolean;
  readonly cpus: number;
}

/**
 * Who owns an event when several nodes share one kernel (the lab), and where pod names come from on any node.
 * The tracer fills two hash maps before the run: net cookie (u64) and cgroup id (u64) -> {u32 node; u32 pod; u32 namespace}.
 */
export interface Ownership {
  /** Index of this node; owners with another index belong to another agent. */
  readonly node: number;
  /** True: an event without an owner entry is this node's own (a real node). False: it is nobody's (the lab). */
  readonly unownedIsNode: boolean;
  /** In the lab exactly one agent counts events without an owner. */
  readonly countsUnattributed: boolean;
}

export interface CompileOptions {
  /** What messages call the source: a file name or "stdin". */
  readonly name: string;
  readonly types: TypeSource;
  readonly compat?: "0.17";
  readonly positional?: readonly string[];
  readonly unsafe?: boolean;
  readonly ownership?: Ownership;
  /** Whether the route maps of an agent are there; without them the network words yield unknown. */
  readonly network: boolean;
  /** Id of a name on this node, for comparisons such as cluster(ip) == "dc2"; undefined if the node knows no such name. */
  readonly nameId?: (dictionary: NameDictionary, name: string) => number | undefined;
  /** Settings from outside, as in a config block: they count for more than the script's own. */
  readonly settings?: Readonly<Record<string, string>>;
  readonly maxStrlen?: number;
  readonly maxMapKeys?: number;
  /** Process that the script was started with (-c) or for (-p): the `cpid` builtin. */
  readonly childPid?: number;
  /** False: tracepoints are attached to as they are, never by the raw ones below them. */
  readonly equivalents?: boolean;
  /**
   * Probes of kernel functions are taken even where this kernel has none: attaching them is what fails then. "kprobe": kprobe and
   * kretprobe alone; "all": fentry and fexit as well, whose programs such a kernel does not load.
   */
  readonly anyKernel?: "kprobe" | "all";
  /** Most attach points after wildcards; 1024 if absent. */
  readonly maxProbes?: number;
  /** Bytes of the ring buffer, a power of two; 8 MiB if absent. */
  readonly ringBytes?: number;
  /** Helpers that fail are told of, each time, with their place (-k). */
  readonly checkHelpers?: boolean;
}

/** Maps outside the script that its code may use; the tracer supplies the file descriptors. */
export type ExternalMap =
  /** LPM {u32 bits; u8 addr[16]} -> {u32 routeId; u8 length; u8 pad[3]}; IPv4 as ::ffff:0:0/96 + length. */
  | "routes"
  /** hash u32 routeId -> struct route_attributes of bpf/routes.h. */
  | "route_attributes"
  /** hash u64 netns cookie -> {u32 node; u32 pod; u32 namespace}. */
  | "owner_netns"
  /** hash u64 cgroup id -> {u32 node; u32 pod; u32 namespace}. */
  | "owner_cgroup";

export interface Relocation {
  /** Index (in 8-byte instructions) of the LDDW that takes a map fd (src_reg 1) or, for `value`, a direct value (src_reg 2). */
  readonly instruction: number;
  readonly map: number | ExternalMap;
  readonly value?: boolean;
}

export type ProgramType =
  | "tracepoint"
  | "raw_tracepoint"
  | "tp_btf"
  | "perf_event"
  | "kprobe"
  | "fentry"
  | "fexit"
  | "iter"
  | "syscall";

/** Where a program is to be attached: one resolved attach point. */
export interface AttachPoint {
  /** Canonical text, what the `probe` builtin prints: "tracepoint:sock:inet_sock_set_state". */
  readonly text: string;
  readonly provider: string;
  readonly program: number;
  /** What becomes of the run if the kernel refuses this one: it goes on, with or without a word; absent: it fails. */
  readonly missing?: "warn" | "ignore";
  readonly tracepoint?: { readonly category: string; readonly event: string; readonly id: number };
  readonly rawTracepoint?: { readonly name: string; readonly btfId: number };
  readonly kernelFunction?: {
    readonly name: string;
    readonly offset: number;
    readonly ret: boolean;
    readonly btfId?: number;
  };
  readonly userFunction?: {
    readonly path: string;
    readonly offset: bigint;
    readonly ret: boolean;
    readonly pid?: number;
    /** USDT: file offset of the semaphore, which the kernel raises while the probe is on. */
    readonly semaphore?: bigint;
  };
  /** interval and profile: period in ns; software/hardware: event and count. */
  readonly perf?: {
    readonly kind: "interval" | "profile" | "software" | "hardware";
    readonly config: number;
    readonly period: bigint;
  };
  readonly iterator?: string;
  readonly signal?: string;
  /** Hardware breakpoint: mode of "r", "w", "x". */
  readonly watchpoint?: { readonly address: bigint; readonly length: number; readonly mode: string };
}

export interface CompiledProgram {
  readonly name: string;
  readonly type: ProgramType;
  /** kernel struct bpf_insn, 8 bytes each, little endian. */
  readonly code: Uint8Array;
  readonly relocations: readonly Relocation[];
  /** For BTF line info and for mapping verifier errors back. */
  readonly lines: readonly { readonly instruction: number; readonly line: number; readonly column: number }[];
  readonly attachBtfId?: number;
  readonly sleepable?: boolean;
}

export interface CompiledMap {
  /** "@x" for the script's own, otherwise an internal name such as "ring", "scratch", "lost", "gate". */
  readonly name: string;
  readonly type:
    | "hash"
    | "percpu_hash"
    | "array"
    | "percpu_array"
    | "lru_hash"
    | "lru_percpu_hash"
    | "ringbuf"
    | "stack_trace";
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly flags: number;
  /** Initial values for arrays (format strings, constants). */
  readonly initial?: readonly { readonly key: Uint8Array; readonly value: Uint8Array }[];
}

/** The whole product of the compiler. */
export interface CompiledScript {
  readonly maps: readonly CompiledMap[];
  readonly programs: readonly CompiledProgram[];
  readonly attach: readonly AttachPoint[];
  /** BEGIN and END programs (indices), run by BPF_PROG_TEST_RUN of a syscall program. */
  readonly begin: readonly number[];
  readonly end: readonly number[];
  readonly output: OutputPlan;
  /** Kernel memory of all maps at this number of CPUs, for the agent's ceiling. */
  readonly mapBytes: number;
}

export type Aggregate = "count" | "sum" | "min" | "max" | "avg" | "stats" | "hist" | "lhist" | "tseries";

/** How to read what the programs leave in maps and in the ring. Pure data: it crosses no wire, its schema does. */
export interface OutputPlan {
  readonly maps: readonly OutputMap[];
  readonly actions: readonly OutputAction[];
  /** Index of the ring buffer among CompiledScript.maps, or -1. */
  readonly ring: number;
  /** Index of the per-CPU array of counters {u64 ringLost; u64 mapFull; u64 unattributed; u64 runtimeErrors}. */
  readonly counters: number;
  /** Index of the one-element array whose u32 gates every program: 1 runs, 0 returns at once; -1 if none. */
  readonly gate: number;
  /** Output as that of bpftrace 0.17. */
  readonly old?: true;
  /** Structures that are among the values. */
  readonly structures?: Readonly<Record<string, Structure>>;
  /** What messages call the source. */
  readonly source?: string;
  /** What is put after a string that str() had to cut. */
  readonly trailer?: string;
  /** Bytes that cat() prints of a file, where the script says. */
  readonly catBytes?: number;
  /** `print_maps_on_exit = false`: maps are not printed at the end. */
  readonly silent?: true;
  /** Canonical strings for enum printing: enum name -> value -> text. */
  readonly enums: Readonly<Record<string, Readonly<Record<string, string>>>>;
}

export interface OutputMap {
  readonly name: string;
  readonly map: number;
  /** Empty for a scalar. Offsets in the kernel key. */
  readonly key: readonly { readonly offset: number; readonly type: Type }[];
  readonly value:
    | { readonly kind: "value"; readonly type: Type }
    | {
        readonly kind: "aggregate";
        readonly aggregate: Aggregate;
        readonly signed: boolean;
        readonly hist?: HistLayout;
        readonly series?: SeriesLayout;
      };
  readonly perCpu: boolean;
  /**
   * Scalars are kept in one-element arrays {value; u64 set}: byte offset of `set`, which is 0 while the map is empty. Absent for
   * hash maps, whose entries exist or do not.
   */
  readonly setOffset?: number;
}

/**
 * hist and lhist keep one kernel entry per (key, bucket): the bucket index is a u64 after the key's own bytes, the value a u64
 * count. hist with k bits: bucket numbering as bpftrace's; lhist: 0 below min, n+1 at or over max.
 */
export interface HistLayout {
  readonly bits: number;
  readonly min: bigint;
  readonly max: bigint;
  readonly step: bigint;
  /** Byte offset of the bucket's u64 in the kernel key. */
  readonly bucketOffset: number;
}

/** How the values of one interval of a time series become one. */
export type SeriesHow = "last" | "sum" | "min" | "max" | "avg";

/**
 * tseries keeps one kernel entry per (key, bucket), where the bucket is the interval's number (clock / interval) modulo `count`:
 * {u64 value or total; u64 time or number of values; u64 interval's number}, 0 where nothing was put in.
 */
export interface SeriesLayout {
  /** ns. */
  readonly interval: bigint;
  /** Intervals that are kept. */
  readonly count: number;
  readonly how: SeriesHow;
  readonly clock: "tai" | "boot";
  /** Byte offset of the bucket's u64 in the kernel key. */
  readonly bucketOffset: number;
}

/** One asynchronous action; its id is the first u64 of a ring record, its arguments follow at the offsets given. */
export type OutputAction = {
  readonly id: number;
  readonly span: Span;
  readonly arguments: readonly { readonly offset: number; readonly type: Type }[];
  readonly size: number;
} & (
  | { readonly kind: "printf" | "errorf" | "warnf"; readonly format: string }
  | {
      readonly kind: "print_map";
      readonly map: string;
      readonly top: number;
      readonly divide: number;
      readonly site: number;
    }
  | { readonly kind: "print_value"; readonly site: number }
  | { readonly kind: "clear" | "zero"; readonly map: string }
  | { readonly kind: "exit" }
  | { readonly kind: "time"; readonly format: string }
  | { readonly kind: "join"; readonly separator: string }
  | { readonly kind: "system" | "cat"; readonly format: string }
  | { readonly kind: "error"; readonly message: string }
  /** Something went wrong in a program; `helper_error` carries what the helper returned. */
  | { readonly kind: "runtime_error"; readonly message: string }
  | { readonly kind: "helper_error"; readonly helper: string }
);
