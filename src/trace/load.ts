// trace: a compiled script brought into the kernel: maps made, code relocated, programs loaded with their BTF. Attaches nothing.
import {
  AttachType,
  type Fd,
  ProgramType as KernelProgramType,
  loadBtf,
  MapFlag,
  MapType,
} from "../kernel/bpf.ts";
import { hasCode, KernelError } from "../kernel/ffi.ts";
import { type BpfMap, createMap } from "../kernel/maps.ts";
import { type BpfProgram, loadProgram, VerifierError } from "../kernel/programs.ts";
import type {
  CompiledMap,
  CompiledProgram,
  CompiledScript,
  Diagnostic,
  ExternalMap,
  ProgramType,
  Relocation,
} from "../script/types.ts";
import { allocatedOnDemand } from "./map-allocation.ts";
import { say } from "./messages.ts";
import { programBtf } from "./program-btf.ts";
import { verifierDiagnostic } from "./verifier.ts";

const mapTypes: Readonly<Record<CompiledMap["type"], MapType>> = {
  hash: MapType.HASH,
  percpu_hash: MapType.PERCPU_HASH,
  array: MapType.ARRAY,
  percpu_array: MapType.PERCPU_ARRAY,
  lru_hash: MapType.LRU_HASH,
  lru_percpu_hash: MapType.LRU_PERCPU_HASH,
  ringbuf: MapType.RINGBUF,
  stack_trace: MapType.STACK_TRACE,
};

/** BPF_F_SLEEPABLE of BPF_PROG_LOAD; programs of type SYSCALL must have it. */
const SLEEPABLE = 1 << 4;

/** Types of programs as the kernel has them. */
export const programTypes: Readonly<
  Record<
    ProgramType,
    { readonly type: KernelProgramType; readonly attach?: AttachType; readonly flags?: number }
  >
> = {
  tracepoint: { type: KernelProgramType.TRACEPOINT },
  raw_tracepoint: { type: KernelProgramType.RAW_TRACEPOINT },
  tp_btf: { type: KernelProgramType.TRACING, attach: AttachType.TRACE_RAW_TP },
  perf_event: { type: KernelProgramType.PERF_EVENT },
  kprobe: { type: KernelProgramType.KPROBE },
  fentry: { type: KernelProgramType.TRACING, attach: AttachType.TRACE_FENTRY },
  fexit: { type: KernelProgramType.TRACING, attach: AttachType.TRACE_FEXIT },
  iter: { type: KernelProgramType.TRACING, attach: AttachType.TRACE_ITER },
  syscall: { type: KernelProgramType.SYSCALL, flags: SLEEPABLE },
};

export interface LoadOptions {
  /** What verifier messages and bpftool call the source. */
  readonly name: string;
  readonly source: string;
  /** Maps outside of the script, by name; they stay the caller's. */
  readonly external: (name: ExternalMap) => BpfMap | undefined;
  /** BTF id of the function that an iterator's program attaches to. */
  readonly iteratorFunction: (name: string) => number | undefined;
  /** Asks for the verifier's log of programs that load. */
  readonly verifierLog?: boolean;
}

/** A script that the kernel does not take; diagnostics point into the source. */
export class ScriptLoadError extends Error {
  readonly diagnostics: readonly Diagnostic[];
  /** The verifier's whole log, or "". */
  readonly log: string;
  constructor(diagnostics: readonly Diagnostic[], log: string) {
    super(diagnostics.map((d) => d.message).join("\n"));
    this.name = "ScriptLoadError";
    this.diagnostics = diagnostics;
    this.log = log;
  }
}

/** The script in the kernel. Dispose closes programs and maps; links are somebody else's. */
export class LoadedScript implements Disposable {
  readonly script: CompiledScript;
  readonly maps: readonly BpfMap[];
  readonly programs: readonly BpfProgram[];

  constructor(script: CompiledScript, maps: readonly BpfMap[], programs: readonly BpfProgram[]) {
    this.script = script;
    this.maps = maps;
    this.programs = programs;
  }

  /** @throws RangeError for an index that the script does not have */
  map(index: number): BpfMap {
    const map = this.maps[index];
    if (!map) throw new RangeError(`the script has no map ${index}`);
    return map;
  }

  program(index: number): BpfProgram {
    const program = this.programs[index];
    if (!program) throw new RangeError(`the script has no program ${index}`);
    return program;
  }

  [Symbol.dispose](): void {
    for (const program of this.programs) program[Symbol.dispose]();
    for (const map of this.maps) map[Symbol.dispose]();
  }
}

const PSEUDO_MAP_FD = 1;
const PSEUDO_MAP_VALUE = 2;

/** The code with map descriptors in the places that the compiler left for them. */
export function relocate(
  code: Uint8Array,
  relocations: readonly Relocation[],
  fdOf: (map: Relocation["map"]) => number,
): Uint8Array {
  const out = code.slice();
  const view = new DataView(out.buffer);
  for (const { instruction, map, value } of relocations) {
    const at = instruction * 8;
    const registers = view.getUint8(at + 1);
    view.setUint8(at + 1, (registers & 0x0f) | ((value ? PSEUDO_MAP_VALUE : PSEUDO_MAP_FD) << 4));
    view.setInt32(at + 4, fdOf(map), true);
  }
  return out;
}

/** Names of maps in the kernel: what bpftool shows. */
const kernelName = (name: string): string => (name.startsWith("@") ? `at_${name.slice(1)}` : name);

function makeMap(map: CompiledMap, onDemand: boolean): BpfMap {
  const made = createMap({
    type: mapTypes[map.type],
    name: kernelName(map.name),
    keySize: map.keySize,
    valueSize: map.valueSize,
    maxEntries: map.maxEntries,
    flags: (map.flags & ~MapFlag.MMAPABLE) | (onDemand ? MapFlag.NO_PREALLOC : 0),
  });
  for (const { key, value } of map.initial ?? []) made.update(key, value);
  return made;
}

/**
 * Makes the script's maps and loads its programs.
 * @throws ScriptLoadError where the verifier refuses; KernelError for anything else (EPERM, ENOMEM)
 */
export function loadScript(script: CompiledScript, options: LoadOptions): LoadedScript {
  const maps: BpfMap[] = [];
  const programs: BpfProgram[] = [];
  try {
    const onDemand = allocatedOnDemand(script);
    for (const [i, map] of script.maps.entries()) maps.push(makeMap(map, onDemand.has(i)));
    const fdOf = (map: Relocation["map"]): number => {
      const found = typeof map === "number" ? maps[map] : options.external(map);
      if (!found) throw new Error(say.noSuchMap(String(map)));
      return found.fd;
    };
    const lines = options.source.split("\n");
    for (const [index, program] of script.programs.entries())
      programs.push(load(program, attachBtfIdOf(script, index, options), fdOf, lines, options));
    return new LoadedScript(script, maps, programs);
  } catch (error) {
    for (const part of [...programs, ...maps]) part[Symbol.dispose]();
    throw error;
  }
}

const loadAttempts = 5;

/** The verifier gives up with EAGAIN when a signal comes, whatever the signal: it is asked again. */
function withoutInterruption<T>(work: () => T): T {
  for (let attempt = 1; ; attempt++) {
    try {
      return work();
    } catch (error) {
      if (!hasCode(error, "EAGAIN") || attempt === loadAttempts) throw error;
    }
  }
}

function attachBtfIdOf(script: CompiledScript, index: number, options: LoadOptions): number | undefined {
  const own = script.programs[index]?.attachBtfId;
  if (own !== undefined) return own;
  const name = script.attach.find((point) => point.program === index)?.iterator;
  return name === undefined ? undefined : options.iteratorFunction(name);
}

function load(
  program: CompiledProgram,
  attachBtfId: number | undefined,
  fdOf: (map: Relocation["map"]) => number,
  lines: readonly string[],
  options: LoadOptions,
): BpfProgram {
  const { type, attach, flags } = programTypes[program.type];
  const description = programBtf(program, options.name, lines);
  using btf: Fd = loadBtf(description.btf);
  try {
    return withoutInterruption(() =>
      loadProgram({
        type,
        name: program.name,
        code: relocate(program.code, program.relocations, fdOf),
        btf: { fd: btf.number, funcInfo: description.funcInfo, lineInfo: description.lineInfo },
        flags: (flags ?? 0) | (program.sleepable ? SLEEPABLE : 0),
        ...(attach === undefined ? {} : { expectedAttachType: attach }),
        ...(attachBtfId === undefined ? {} : { attachBtfId }),
        ...(options.verifierLog ? { logLevel: 1 } : {}),
      }),
    );
  } catch (error) {
    if (error instanceof VerifierError && error.log !== "")
      throw new ScriptLoadError([verifierDiagnostic(error, program, options.source)], error.log);
    if (error instanceof KernelError)
      throw new Error(say.loadFailed(program.name, error.message), { cause: error });
    throw error;
  }
}
