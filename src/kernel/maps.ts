// kernel: BPF maps: made, opened from a pin, read and written singly or in batches.
import { readFileSync } from "node:fs";
import {
  Attr,
  BpfCommand,
  bpf,
  bpfError,
  Fd,
  fromCString,
  MapType,
  objectInfo,
  openById,
  openPinnedObject,
  openPinnedObjectIfAny,
  pinObject,
  tryBpf,
} from "./bpf.ts";
import { errnoName } from "./ffi.ts";

export interface MapSpec {
  readonly type: MapType;
  readonly name: string;
  /** Bytes; 0 for rings and queues. */
  readonly keySize: number;
  /** Bytes; of one CPU's value for per-CPU maps. */
  readonly valueSize: number;
  readonly maxEntries: number;
  /** Bits of {@link MapFlag}. */
  readonly flags?: number;
  readonly btf?: { readonly fd: number; readonly keyTypeId: number; readonly valueTypeId: number };
  /** Map-in-map: a map of the inner kind. */
  readonly innerMapFd?: number;
  readonly extra?: bigint;
}

/** What the kernel says of a map (struct bpf_map_info). */
export interface MapInfo {
  readonly type: number;
  readonly id: number;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly flags: number;
  readonly name: string;
  /** The BTF object that describes its types; 0 = none. */
  readonly btfId: number;
  readonly keyTypeId: number;
  readonly valueTypeId: number;
}

/** "0-3,8" and the like, as /sys/devices/system/cpu/possible writes it: the number of CPUs, the highest + 1. */
export function cpuCount(list: string): number {
  if (!/^\d+(-\d+)?(,\d+(-\d+)?)*$/.test(list.trim()))
    throw new Error(`not a list of CPUs: ${JSON.stringify(list)}`);
  return Math.max(...[...list.matchAll(/\d+/g)].map(([n]) => Number(n))) + 1;
}

let possible: number | undefined;

/** Number of possible CPUs: how many values a per-CPU map returns. */
export function possibleCpus(): number {
  possible ??= cpuCount(readFileSync("/sys/devices/system/cpu/possible", "utf8"));
  return possible;
}

const round8 = (n: number): number => (n + 7) & ~7;

const perCpuTypes: ReadonlySet<number> = new Set([
  MapType.PERCPU_HASH,
  MapType.PERCPU_ARRAY,
  MapType.LRU_PERCPU_HASH,
]);

/** Elements of one batch call, and the bytes that they may take: a call stays well under 10 ms. */
const batchSize = 1024;
const batchBytes = 256 * 1024;

/** One map. Keys and values are bytes in the layout of the C declaration (host order unless that says otherwise). */
export class BpfMap implements Disposable {
  readonly #fd: Fd;
  readonly type: number;
  readonly name: string;
  readonly keySize: number;
  /** Bytes of one value as the C side declares it. */
  readonly valueSize: number;
  /** Bytes that one lookup returns: for per-CPU maps CPUs x valueSize rounded up to 8. */
  readonly lookupSize: number;
  readonly maxEntries: number;
  readonly #element: Attr;
  readonly #deletion: Attr;
  readonly #elementKey: Uint8Array;
  readonly #elementValue: Uint8Array;

  constructor(fd: Fd, shape: Pick<MapInfo, "type" | "name" | "keySize" | "valueSize" | "maxEntries">) {
    this.#fd = fd;
    this.type = shape.type;
    this.name = shape.name;
    this.keySize = shape.keySize;
    this.valueSize = shape.valueSize;
    this.maxEntries = shape.maxEntries;
    this.lookupSize = this.perCpu ? possibleCpus() * round8(shape.valueSize) : shape.valueSize;
    // One attribute block with its own key and value buffers serves every single-element call: these are hot.
    this.#elementKey = new Uint8Array(this.keySize);
    this.#elementValue = new Uint8Array(this.lookupSize);
    this.#element = new Attr(32)
      .u32(0, fd.number)
      .pointer(8, this.#elementKey)
      .pointer(16, this.#elementValue);
    this.#deletion = new Attr(16).u32(0, fd.number).pointer(8, this.#elementKey);
  }

  /** Opens a pinned map. @throws KernelError (ENOENT) */
  static openPinned(path: string): BpfMap {
    return BpfMap.fromFd(openPinnedObject(path));
  }

  /** Opens a pinned map; undefined if nothing is pinned there. */
  static openPinnedIfAny(path: string): BpfMap | undefined {
    const fd = openPinnedObjectIfAny(path);
    return fd && BpfMap.fromFd(fd);
  }

  /** Opens a map by its kernel-wide id; undefined if it is gone. */
  static openById(id: number): BpfMap | undefined {
    const fd = openById(BpfCommand.MAP_GET_FD_BY_ID, id);
    return fd && BpfMap.fromFd(fd);
  }

  /** Takes ownership of a map's descriptor. */
  static fromFd(fd: Fd): BpfMap {
    return new BpfMap(fd, mapInfo(fd.number));
  }

  get fd(): number {
    return this.#fd.number;
  }

  get perCpu(): boolean {
    return perCpuTypes.has(this.type);
  }

  #setKey(key: Uint8Array): void {
    if (key.length !== this.keySize)
      throw new RangeError(`map ${this.name}: key of ${key.length} bytes, expected ${this.keySize}`);
    this.#elementKey.set(key);
  }

  /** The value, {@link lookupSize} bytes; undefined if there is none. @throws KernelError */
  lookup(key: Uint8Array): Uint8Array | undefined {
    this.#setKey(key);
    this.#element.u32(0, this.fd).u64(24, 0n);
    const result = tryBpf(BpfCommand.MAP_LOOKUP_ELEM, this.#element);
    if (result >= 0) return this.#elementValue.slice();
    if (errnoName(-result) === "ENOENT") return undefined;
    throw bpfError(BpfCommand.MAP_LOOKUP_ELEM, -result, this.name);
  }

  /** All CPUs' values one after the other, each rounded up to 8 bytes. */
  lookupPercpu(key: Uint8Array): Uint8Array | undefined {
    if (!this.perCpu) throw new TypeError(`map ${this.name} is not per CPU`);
    return this.lookup(key);
  }

  /** Writes one element; `flags` of {@link UpdateFlag}. @throws KernelError (E2BIG: the map is full) */
  update(key: Uint8Array, value: Uint8Array, flags = 0): void {
    const result = this.tryUpdate(key, value, flags);
    if (result < 0) throw bpfError(BpfCommand.MAP_UPDATE_ELEM, -result, this.name);
  }

  /** As {@link update}, but returns the negative errno: for maps that may be full. */
  tryUpdate(key: Uint8Array, value: Uint8Array, flags = 0): number {
    this.#setKey(key);
    if (value.length !== this.lookupSize)
      throw new RangeError(`map ${this.name}: value of ${value.length} bytes, expected ${this.lookupSize}`);
    this.#elementValue.set(value);
    this.#element.u32(0, this.fd).u64(24, BigInt(flags));
    return tryBpf(BpfCommand.MAP_UPDATE_ELEM, this.#element);
  }

  /** Whether there was something to delete. @throws KernelError */
  delete(key: Uint8Array): boolean {
    this.#setKey(key);
    this.#deletion.u32(0, this.fd);
    const result = tryBpf(BpfCommand.MAP_DELETE_ELEM, this.#deletion);
    if (result >= 0) return true;
    if (errnoName(-result) === "ENOENT") return false;
    throw bpfError(BpfCommand.MAP_DELETE_ELEM, -result, this.name);
  }

  /** The key after `key`, or the first. undefined at the end. */
  nextKey(key?: Uint8Array): Uint8Array | undefined {
    const next = new Uint8Array(this.keySize);
    const attr = new Attr(32).u32(0, this.fd).pointer(8, key).pointer(16, next);
    const result = tryBpf(BpfCommand.MAP_GET_NEXT_KEY, attr);
    if (result >= 0) return next;
    if (errnoName(-result) === "ENOENT") return undefined;
    throw bpfError(BpfCommand.MAP_GET_NEXT_KEY, -result, this.name);
  }

  /**
   * All elements, in batches where the map's type has them. Elements that come or go meanwhile may be missed; none is
   * given twice by a map that nobody writes. Bounded by twice maxEntries: a map that is rewritten all the time ends.
   * With `reuse` what was given out is good until the next element is asked for, and no garbage is made.
   */
  *entries(reuse = false): Generator<[key: Uint8Array, value: Uint8Array]> {
    let limit = this.maxEntries * 2 + 16;
    let done = false;
    for (const batch of this.#batches(reuse)) {
      if (batch === "unsupported") break;
      for (const entry of batch) {
        if (limit-- <= 0) return;
        yield entry;
      }
      done = true;
    }
    if (done) return;
    for (let key = this.nextKey(); key && limit-- > 0; ) {
      const value = this.lookup(key);
      if (value) yield [key, value];
      key = this.nextKey(key);
    }
  }

  *#batches(reuse: boolean): Generator<[Uint8Array, Uint8Array][] | "unsupported"> {
    let capacity = this.#batchCapacity();
    const cursor = new Uint8Array(Math.max(this.keySize, 8));
    let first = true;
    let keys = new Uint8Array(0);
    let values = keys;
    for (;;) {
      const next = new Uint8Array(cursor.length);
      if (!reuse || keys.length !== capacity * this.keySize) {
        keys = new Uint8Array(capacity * this.keySize);
        values = new Uint8Array(capacity * this.lookupSize);
      }
      const attr = new Attr(56)
        .pointer(0, first ? undefined : cursor)
        .pointer(8, next)
        .pointer(16, keys)
        .pointer(24, values)
        .u32(32, capacity)
        .u32(36, this.fd);
      const result = tryBpf(BpfCommand.MAP_LOOKUP_BATCH, attr);
      const code = result < 0 ? errnoName(-result) : "";
      if (code === "ENOSPC" && capacity < 1 << 20) {
        // A hash bucket that holds more than the batch: only a bigger buffer helps.
        capacity *= 4;
        continue;
      }
      if (code === "ENOTSUPP" || code === "EINVAL" || code === "EOPNOTSUPP") {
        yield "unsupported";
        return;
      }
      if (code !== "" && code !== "ENOENT") throw bpfError(BpfCommand.MAP_LOOKUP_BATCH, -result, this.name);
      const count = attr.get32(32);
      const entries: [Uint8Array, Uint8Array][] = [];
      for (let i = 0; i < count; i++)
        entries.push([
          keys.subarray(i * this.keySize, (i + 1) * this.keySize),
          values.subarray(i * this.lookupSize, (i + 1) * this.lookupSize),
        ]);
      yield entries;
      if (code === "ENOENT") return;
      cursor.set(next);
      first = false;
    }
  }

  #batchCapacity(): number {
    const fit = Math.floor(batchBytes / (this.keySize + this.lookupSize));
    return Math.max(8, Math.min(batchSize, fit));
  }

  /**
   * Writes many elements, in batches where the type has them. Sort LPM keys first: it halves the time.
   * @returns how many were written; less than `entries.length` means that the map is full
   * @throws KernelError for anything but a full map
   */
  updateBatch(entries: readonly (readonly [key: Uint8Array, value: Uint8Array])[]): number {
    let written = 0;
    const capacity = this.#batchCapacity();
    for (let from = 0; from < entries.length; from += capacity) {
      const part = entries.slice(from, from + capacity);
      const n = this.#updatePart(part);
      written += n;
      if (n < part.length) return written;
    }
    return written;
  }

  #updatePart(part: readonly (readonly [Uint8Array, Uint8Array])[]): number {
    const keys = new Uint8Array(part.length * this.keySize);
    const values = new Uint8Array(part.length * this.lookupSize);
    for (const [i, [key, value]] of part.entries()) {
      if (key.length !== this.keySize || value.length !== this.lookupSize)
        throw new RangeError(`map ${this.name}: element ${i} has the wrong size`);
      keys.set(key, i * this.keySize);
      values.set(value, i * this.lookupSize);
    }
    const attr = new Attr(56).pointer(16, keys).pointer(24, values).u32(32, part.length).u32(36, this.fd);
    const result = tryBpf(BpfCommand.MAP_UPDATE_BATCH, attr);
    if (result >= 0) return part.length;
    const code = errnoName(-result);
    if (code === "E2BIG" || code === "ENOSPC") return attr.get32(32);
    if (code !== "ENOTSUPP" && code !== "EOPNOTSUPP")
      throw bpfError(BpfCommand.MAP_UPDATE_BATCH, -result, this.name);
    for (const [i, [key, value]] of part.entries()) {
      const single = this.tryUpdate(key, value);
      if (single >= 0) continue;
      const singleCode = errnoName(-single);
      if (singleCode === "E2BIG" || singleCode === "ENOSPC") return i;
      throw bpfError(BpfCommand.MAP_UPDATE_ELEM, -single, this.name);
    }
    return part.length;
  }

  /** No more writes from user space. @throws KernelError */
  freeze(): void {
    bpf(BpfCommand.MAP_FREEZE, new Attr(8).u32(0, this.fd), this.name);
  }

  /** @throws KernelError (EEXIST) */
  pin(path: string): void {
    pinObject(this.fd, path);
  }

  info(): MapInfo {
    return mapInfo(this.fd);
  }

  [Symbol.dispose](): void {
    this.#fd[Symbol.dispose]();
  }
}

/** Creates a map. @throws KernelError (EPERM, ENOMEM, EINVAL for a type that this kernel lacks) */
export function createMap(spec: MapSpec): BpfMap {
  const attr = new Attr(72)
    .u32(0, spec.type)
    .u32(4, spec.keySize)
    .u32(8, spec.valueSize)
    .u32(12, spec.maxEntries)
    .u32(16, spec.flags ?? 0)
    .u32(20, spec.innerMapFd ?? 0)
    .name(28, spec.name);
  if (spec.btf) attr.u32(48, spec.btf.fd).u32(52, spec.btf.keyTypeId).u32(56, spec.btf.valueTypeId);
  if (spec.extra !== undefined) attr.u64(64, spec.extra);
  const fd = bpf(BpfCommand.MAP_CREATE, attr, `${spec.name}, ${spec.maxEntries} entries`);
  return new BpfMap(new Fd(fd), spec);
}

/** struct bpf_map_info of a descriptor. @throws KernelError */
export function mapInfo(fd: number): MapInfo {
  const bytes = new Uint8Array(96);
  const v = objectInfo(fd, bytes);
  return {
    type: v.getUint32(0, true),
    id: v.getUint32(4, true),
    keySize: v.getUint32(8, true),
    valueSize: v.getUint32(12, true),
    maxEntries: v.getUint32(16, true),
    flags: v.getUint32(20, true),
    name: fromCString(bytes.subarray(24, 40)),
    btfId: v.getUint32(64, true),
    keyTypeId: v.getUint32(68, true),
    valueTypeId: v.getUint32(72, true),
  };
}
