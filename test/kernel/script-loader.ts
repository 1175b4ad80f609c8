// test: loads a compiled script through the kernel room: makes its maps, patches their descriptors in, loads its programs.

import { loadBtf, MapType, ProgramType } from "../../src/kernel/bpf.ts";
import { type BpfMap, createMap } from "../../src/kernel/maps.ts";
import { type BpfProgram, loadProgram } from "../../src/kernel/programs.ts";
import type { CompiledMap, CompiledProgram, CompiledScript, ExternalMap } from "../../src/script/types.ts";
import { programBtf } from "../../src/trace/program-btf.ts";

const MAP_TYPES: Readonly<Record<CompiledMap["type"], MapType>> = {
  hash: MapType.HASH,
  percpu_hash: MapType.PERCPU_HASH,
  array: MapType.ARRAY,
  percpu_array: MapType.PERCPU_ARRAY,
  lru_hash: MapType.LRU_HASH,
  lru_percpu_hash: MapType.LRU_PERCPU_HASH,
  ringbuf: MapType.RINGBUF,
  stack_trace: MapType.STACK_TRACE,
};

const PROGRAM_TYPES: Readonly<Record<CompiledProgram["type"], ProgramType>> = {
  tracepoint: ProgramType.TRACEPOINT,
  raw_tracepoint: ProgramType.RAW_TRACEPOINT,
  tp_btf: ProgramType.TRACING,
  perf_event: ProgramType.PERF_EVENT,
  kprobe: ProgramType.KPROBE,
  fentry: ProgramType.TRACING,
  fexit: ProgramType.TRACING,
  iter: ProgramType.TRACING,
  syscall: ProgramType.SYSCALL,
};

/** enum bpf_attach_type of the program types that name one. */
const ATTACH_TYPES: Readonly<Partial<Record<CompiledProgram["type"], number>>> = {
  tp_btf: 23,
  fentry: 24,
  fexit: 25,
  iter: 28,
};

export const EXTERNAL: Readonly<
  Record<ExternalMap, { type: MapType; keySize: number; valueSize: number; flags: number }>
> = {
  routes: { type: MapType.LPM_TRIE, keySize: 20, valueSize: 8, flags: 1 },
  route_attributes: { type: MapType.HASH, keySize: 4, valueSize: 48, flags: 0 },
  owner_netns: { type: MapType.HASH, keySize: 8, valueSize: 12, flags: 0 },
  owner_cgroup: { type: MapType.HASH, keySize: 8, valueSize: 12, flags: 0 },
};

export interface Loaded extends Disposable {
  readonly maps: readonly BpfMap[];
  readonly external: Readonly<Record<ExternalMap, BpfMap>>;
  readonly programs: readonly BpfProgram[];
}

/** A page of ring is enough for tests. */
const RING = 4096 * 16;

const makeExternal = (): Record<ExternalMap, BpfMap> => {
  const make = (name: ExternalMap): BpfMap => createMap({ name, maxEntries: 64, ...EXTERNAL[name] });
  return {
    routes: make("routes"),
    route_attributes: make("route_attributes"),
    owner_netns: make("owner_netns"),
    owner_cgroup: make("owner_cgroup"),
  };
};

/** @throws VerifierError */
export function load(script: CompiledScript, externalMaps?: Record<ExternalMap, BpfMap>): Loaded {
  const external = externalMaps ?? makeExternal();
  const maps = script.maps.map((m) =>
    createMap({
      type: MAP_TYPES[m.type],
      name: m.name.replace(/[^A-Za-z0-9_.]/g, "_").slice(0, 15),
      keySize: m.keySize,
      valueSize: m.valueSize,
      maxEntries: m.type === "ringbuf" ? RING : Math.min(m.maxEntries, 2048),
      flags: m.flags,
    }),
  );
  const programs: BpfProgram[] = [];
  const dispose = (): void => {
    for (const p of programs) p[Symbol.dispose]();
    for (const m of maps) m[Symbol.dispose]();
    if (!externalMaps) for (const m of Object.values(external)) m[Symbol.dispose]();
  };
  try {
    for (const p of script.programs) {
      const code = p.code.slice();
      const view = new DataView(code.buffer);
      for (const r of p.relocations) {
        const map = typeof r.map === "number" ? maps[r.map] : external[r.map];
        view.setInt32(r.instruction * 8 + 4, map?.fd ?? -1, true);
      }
      const { btf, funcInfo, lineInfo } = programBtf(p, "script", []);
      using btfFd = loadBtf(btf);
      programs.push(
        loadProgram({
          btf: { fd: btfFd.number, funcInfo, lineInfo },
          type: PROGRAM_TYPES[p.type],
          name: p.name,
          code,
          flags: p.type === "syscall" ? 1 << 4 : 0,
          ...(ATTACH_TYPES[p.type] === undefined ? {} : { expectedAttachType: ATTACH_TYPES[p.type] ?? 0 }),
          ...(p.attachBtfId === undefined ? {} : { attachBtfId: p.attachBtfId }),
        }),
      );
    }
  } catch (error) {
    dispose();
    throw error;
  }
  return { maps, external, programs, [Symbol.dispose]: dispose };
}
