// kernel: BPF objects compiled by clang, loaded by libbpf (1.0 or later): relocation, BTF, maps that are shared or fresh.
import { Attr, BpfCommand, fromCString, openById } from "./bpf.ts";
import { KernelError, koffi, loadLibrary, viewOf } from "./ffi.ts";
import { BpfMap, mapInfo } from "./maps.ts";
import { BpfProgram, programInfo, VerifierError } from "./programs.ts";

type Handle = number | bigint;

interface Libbpf {
  setPrint(callback: bigint | null): Handle;
  openFile(path: string, options: Uint8Array): Handle;
  load(object: Handle): number;
  close(object: Handle): void;
  btf(object: Handle): Handle;
  btfRawData(btf: Handle, size: Uint32Array): Handle;
  nextMap(object: Handle, previous: Handle): Handle;
  nextProgram(object: Handle, previous: Handle): Handle;
  mapName(map: Handle): string;
  mapType(map: Handle): number;
  mapKeySize(map: Handle): number;
  mapValueSize(map: Handle): number;
  mapMaxEntries(map: Handle): number;
  mapFlags(map: Handle): number;
  mapKeyType(map: Handle): number;
  mapValueType(map: Handle): number;
  mapFd(map: Handle): number;
  mapReuseFd(map: Handle, fd: number): number;
  mapSetInitialValue(map: Handle, value: Uint8Array, size: number): number;
  programName(program: Handle): string;
  programFd(program: Handle): number;
}

let bound: Libbpf | undefined;

/** Name of the shared library: the ABI that libbpf keeps from 1.0 on. */
export const libraryName = "libbpf.so.1";

function libbpf(): Libbpf {
  if (bound) return bound;
  const library = loadLibrary(libraryName);
  const f = (symbol: string, result: string, ...args: string[]) => library.func(symbol, result, args);
  const handle = "uintptr_t";
  bound = {
    setPrint: f("libbpf_set_print", handle, "void *"),
    openFile: f("bpf_object__open_file", handle, "str", "void *"),
    load: f("bpf_object__load", "int", handle),
    close: f("bpf_object__close", "void", handle),
    btf: f("bpf_object__btf", handle, handle),
    btfRawData: f("btf__raw_data", handle, handle, "void *"),
    nextMap: f("bpf_object__next_map", handle, handle, handle),
    nextProgram: f("bpf_object__next_program", handle, handle, handle),
    mapName: f("bpf_map__name", "str", handle),
    mapType: f("bpf_map__type", "int", handle),
    mapKeySize: f("bpf_map__key_size", "uint", handle),
    mapValueSize: f("bpf_map__value_size", "uint", handle),
    mapMaxEntries: f("bpf_map__max_entries", "uint", handle),
    mapFlags: f("bpf_map__map_flags", "uint", handle),
    mapKeyType: f("bpf_map__btf_key_type_id", "uint", handle),
    mapValueType: f("bpf_map__btf_value_type_id", "uint", handle),
    mapFd: f("bpf_map__fd", "int", handle),
    mapReuseFd: f("bpf_map__reuse_fd", "int", handle, "int"),
    mapSetInitialValue: f("bpf_map__set_initial_value", "int", handle, "void *", "size_t"),
    programName: f("bpf_program__name", "str", handle),
    programFd: f("bpf_program__fd", "int", handle),
  };
  // Its messages would go to our stderr; what matters of them comes back in the error.
  bound.setPrint(null);
  return bound;
}

/** Whether libbpf is installed. */
export function hasLibbpf(): boolean {
  try {
    libbpf();
    return true;
  } catch {
    // dlopen(3) says no: that is the answer.
    return false;
  }
}

/** A map as the object declares it. Type ids are into {@link BpfObject.btf}; 0 without BTF. */
export interface MapDeclaration {
  readonly name: string;
  readonly type: number;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly flags: number;
  readonly keyTypeId: number;
  readonly valueTypeId: number;
}

const logSize = 1024 * 1024;

/**
 * One object file: opened, its maps looked at and replaced by existing ones, then loaded. Loading is one call into
 * libbpf and the verifier (tens of milliseconds): for the start of a process only.
 */
export class BpfObject implements Disposable {
  readonly path: string;
  #object: Handle;
  readonly #maps = new Map<string, Handle>();
  readonly #log: Uint8Array;
  // libbpf keeps the pointers that are in it until close.
  readonly #options: Attr;

  private constructor(path: string, object: Handle, log: Uint8Array, options: Attr) {
    this.path = path;
    this.#object = object;
    this.#log = log;
    this.#options = options;
    for (const map of walk((previous) => libbpf().nextMap(object, previous)))
      this.#maps.set(libbpf().mapName(map), map);
  }

  /** @throws KernelError (ENOENT, ENOEXEC for no BPF object), Error where libbpf is missing */
  static open(path: string): BpfObject {
    const lib = libbpf();
    const log = new Uint8Array(logSize);
    // struct bpf_object_open_opts (libbpf.h): sz at 0, kernel_log_buf at 56, kernel_log_size, kernel_log_level (0: only what was
    // refused).
    const options = new Attr(80).u64(0, 80n).pointer(56, log).u64(64, BigInt(log.length));
    const object = lib.openFile(path, options.bytes);
    const errno = koffi().errno();
    if (Number(object) === 0) throw new KernelError("bpf_object__open_file", errno, path);
    return new BpfObject(path, object, log, options);
  }

  #opened(): Handle {
    if (Number(this.#object) === 0) throw new Error(`${this.path}: used after it was closed`);
    return this.#object;
  }

  #map(name: string): Handle {
    this.#opened();
    const map = this.#maps.get(name);
    if (map === undefined) throw new Error(`${this.path}: no map named ${name}`);
    return map;
  }

  maps(): MapDeclaration[] {
    const lib = libbpf();
    this.#opened();
    return [...this.#maps].map(([name, map]) => ({
      name,
      type: lib.mapType(map),
      keySize: lib.mapKeySize(map),
      valueSize: lib.mapValueSize(map),
      maxEntries: lib.mapMaxEntries(map),
      flags: lib.mapFlags(map),
      keyTypeId: lib.mapKeyType(map),
      valueTypeId: lib.mapValueType(map),
    }));
  }

  /** The object's BTF, copied; undefined if it was compiled without. */
  btf(): Uint8Array | undefined {
    const btf = libbpf().btf(this.#opened());
    if (Number(btf) === 0) return undefined;
    const size = new Uint32Array(1);
    const data = libbpf().btfRawData(btf, size);
    if (Number(data) === 0) return undefined;
    return new Uint8Array(viewOf(BigInt(data), size[0] ?? 0)).slice();
  }

  /** Before load: this map of the object is that existing one. @throws KernelError */
  reuseMap(name: string, map: BpfMap): void {
    check("bpf_map__reuse_fd", libbpf().mapReuseFd(this.#map(name), map.fd), name);
  }

  /** Before load: contents of a global data section (".rodata", ".data"). @throws KernelError (EINVAL: wrong size) */
  setInitialValue(name: string, value: Uint8Array): void {
    const result = libbpf().mapSetInitialValue(this.#map(name), value, value.length);
    check("bpf_map__set_initial_value", result, name);
  }

  /** Creates the maps and loads the programs. @throws VerifierError, KernelError */
  load(): void {
    const result = libbpf().load(this.#opened());
    if (result >= 0) return;
    const log = fromCString(this.#log);
    if (log !== "") throw new VerifierError(-result, this.path, log);
    throw new KernelError("bpf_object__load", -result, this.path);
  }

  /** After load: a map under a descriptor of its own, which outlives this object. @throws KernelError */
  openMap(name: string): BpfMap {
    const { id } = mapInfo(libbpf().mapFd(this.#map(name)));
    const fd = openById(BpfCommand.MAP_GET_FD_BY_ID, id);
    if (!fd) throw new Error(`${this.path}: map ${name} (id ${id}) is gone`);
    return BpfMap.fromFd(fd);
  }

  /** After load: the programs by name, each under a descriptor of its own. @throws KernelError */
  openPrograms(): Map<string, BpfProgram> {
    const lib = libbpf();
    const object = this.#opened();
    const programs = new Map<string, BpfProgram>();
    for (const program of walk((previous) => lib.nextProgram(object, previous))) {
      const name = lib.programName(program);
      const { id } = programInfo(lib.programFd(program));
      const opened = BpfProgram.openById(id);
      if (!opened) throw new Error(`${this.path}: program ${name} (id ${id}) is gone`);
      programs.set(name, opened);
    }
    return programs;
  }

  [Symbol.dispose](): void {
    if (Number(this.#object) === 0) return;
    libbpf().close(this.#object);
    this.#object = 0;
    this.#options.bytes.fill(0);
  }
}

function check(call: string, result: number, detail: string): void {
  if (result < 0) throw new KernelError(call, -result, detail);
}

/** Objects have some tens of maps and programs: this many steps mean a loop. */
const walkLimit = 4096;

function* walk(next: (previous: Handle) => Handle): Generator<Handle> {
  let at = next(0);
  for (let i = 0; Number(at) !== 0 && i < walkLimit; i++) {
    yield at;
    at = next(at);
  }
}
