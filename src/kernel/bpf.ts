// kernel: bpf(2): its commands and types by name, the attribute block, and file descriptors that close themselves.
import { addressOf, bpfSystemCall, close, errnoName, KernelError } from "./ffi.ts";

/** enum bpf_cmd (include/uapi/linux/bpf.h). */
export const BpfCommand = {
  MAP_CREATE: 0,
  MAP_LOOKUP_ELEM: 1,
  MAP_UPDATE_ELEM: 2,
  MAP_DELETE_ELEM: 3,
  MAP_GET_NEXT_KEY: 4,
  PROG_LOAD: 5,
  OBJ_PIN: 6,
  OBJ_GET: 7,
  PROG_ATTACH: 8,
  PROG_DETACH: 9,
  PROG_TEST_RUN: 10,
  PROG_GET_NEXT_ID: 11,
  MAP_GET_NEXT_ID: 12,
  PROG_GET_FD_BY_ID: 13,
  MAP_GET_FD_BY_ID: 14,
  OBJ_GET_INFO_BY_FD: 15,
  PROG_QUERY: 16,
  RAW_TRACEPOINT_OPEN: 17,
  BTF_LOAD: 18,
  BTF_GET_FD_BY_ID: 19,
  MAP_LOOKUP_AND_DELETE_ELEM: 21,
  MAP_FREEZE: 22,
  BTF_GET_NEXT_ID: 23,
  MAP_LOOKUP_BATCH: 24,
  MAP_LOOKUP_AND_DELETE_BATCH: 25,
  MAP_UPDATE_BATCH: 26,
  MAP_DELETE_BATCH: 27,
  LINK_CREATE: 28,
  LINK_UPDATE: 29,
  LINK_GET_FD_BY_ID: 30,
  LINK_GET_NEXT_ID: 31,
  ENABLE_STATS: 32,
  ITER_CREATE: 33,
  LINK_DETACH: 34,
} as const;

/** enum bpf_map_type. */
export const MapType = {
  HASH: 1,
  ARRAY: 2,
  PROG_ARRAY: 3,
  PERF_EVENT_ARRAY: 4,
  PERCPU_HASH: 5,
  PERCPU_ARRAY: 6,
  STACK_TRACE: 7,
  CGROUP_ARRAY: 8,
  LRU_HASH: 9,
  LRU_PERCPU_HASH: 10,
  LPM_TRIE: 11,
  ARRAY_OF_MAPS: 12,
  HASH_OF_MAPS: 13,
  DEVMAP: 14,
  SOCKMAP: 15,
  CPUMAP: 16,
  XSKMAP: 17,
  SOCKHASH: 18,
  QUEUE: 22,
  STACK: 23,
  SK_STORAGE: 24,
  DEVMAP_HASH: 25,
  RINGBUF: 27,
  INODE_STORAGE: 28,
  TASK_STORAGE: 29,
  BLOOM_FILTER: 30,
  USER_RINGBUF: 31,
  CGRP_STORAGE: 32,
  ARENA: 33,
} as const;
export type MapType = (typeof MapType)[keyof typeof MapType];

/** Flags of BPF_MAP_CREATE. */
export const MapFlag = {
  NO_PREALLOC: 1 << 0,
  NO_COMMON_LRU: 1 << 1,
  NUMA_NODE: 1 << 2,
  RDONLY: 1 << 3,
  WRONLY: 1 << 4,
  RDONLY_PROG: 1 << 7,
  WRONLY_PROG: 1 << 8,
  MMAPABLE: 1 << 10,
} as const;

/** Flags of BPF_MAP_UPDATE_ELEM. */
export const UpdateFlag = { ANY: 0, NOEXIST: 1, EXIST: 2 } as const;

/** enum bpf_prog_type. */
export const ProgramType = {
  SOCKET_FILTER: 1,
  KPROBE: 2,
  SCHED_CLS: 3,
  SCHED_ACT: 4,
  TRACEPOINT: 5,
  XDP: 6,
  PERF_EVENT: 7,
  CGROUP_SKB: 8,
  CGROUP_SOCK: 9,
  SOCK_OPS: 13,
  RAW_TRACEPOINT: 17,
  CGROUP_SOCK_ADDR: 18,
  FLOW_DISSECTOR: 22,
  CGROUP_SYSCTL: 23,
  CGROUP_SOCKOPT: 25,
  TRACING: 26,
  STRUCT_OPS: 27,
  EXT: 28,
  LSM: 29,
  SK_LOOKUP: 30,
  SYSCALL: 31,
  NETFILTER: 32,
} as const;
export type ProgramType = (typeof ProgramType)[keyof typeof ProgramType];

/** enum bpf_attach_type: the ones that a link of ours can have. */
export const AttachType = {
  CGROUP_INET_INGRESS: 0,
  CGROUP_INET_EGRESS: 1,
  CGROUP_INET_SOCK_CREATE: 2,
  CGROUP_SOCK_OPS: 3,
  CGROUP_INET4_CONNECT: 10,
  CGROUP_INET6_CONNECT: 11,
  CGROUP_INET4_POST_BIND: 12,
  CGROUP_INET6_POST_BIND: 13,
  CGROUP_UDP4_SENDMSG: 14,
  CGROUP_UDP6_SENDMSG: 15,
  FLOW_DISSECTOR: 17,
  TRACE_RAW_TP: 23,
  TRACE_FENTRY: 24,
  TRACE_FEXIT: 25,
  MODIFY_RETURN: 26,
  LSM_MAC: 27,
  TRACE_ITER: 28,
  CGROUP_INET_SOCK_RELEASE: 34,
  SK_LOOKUP: 36,
  XDP: 37,
  PERF_EVENT: 41,
  TRACE_KPROBE_MULTI: 42,
  NETFILTER: 45,
  TCX_INGRESS: 46,
  TCX_EGRESS: 47,
  TRACE_UPROBE_MULTI: 48,
} as const;
export type AttachType = (typeof AttachType)[keyof typeof AttachType];

/** enum bpf_link_type. */
export const LinkType = {
  RAW_TRACEPOINT: 1,
  TRACING: 2,
  CGROUP: 3,
  ITER: 4,
  NETNS: 5,
  XDP: 6,
  PERF_EVENT: 7,
  KPROBE_MULTI: 8,
  STRUCT_OPS: 9,
  NETFILTER: 10,
  TCX: 11,
  UPROBE_MULTI: 12,
} as const;

const commandNames = new Map<number, string>(Object.entries(BpfCommand).map(([name, n]) => [n, name]));

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** A NUL-terminated copy of a string. */
export const cString = (text: string): Uint8Array => encoder.encode(`${text}\0`);

/** The text before the first NUL. */
export function fromCString(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return decoder.decode(end < 0 ? bytes : bytes.subarray(0, end));
}

/**
 * One `union bpf_attr`, little-endian host order. Offsets are those of include/uapi/linux/bpf.h. Arrays whose addresses
 * are stored in it are kept alive by it.
 */
export class Attr {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly #held: ArrayBufferView[] = [];

  constructor(size: number) {
    this.bytes = new Uint8Array(size);
    this.view = new DataView(this.bytes.buffer);
  }

  u32(offset: number, value: number): this {
    this.view.setUint32(offset, value, true);
    return this;
  }

  u64(offset: number, value: bigint): this {
    this.view.setBigUint64(offset, value, true);
    return this;
  }

  /** Stores the array's address; nothing (NULL) for undefined or an empty array. */
  pointer(offset: number, target: ArrayBufferView | undefined): this {
    if (!target || target.byteLength === 0) return this;
    this.#held.push(target);
    return this.u64(offset, addressOf(target));
  }

  /** An object name: up to 15 bytes, what the kernel takes of others (letters, digits, `_` and `.`). */
  name(offset: number, name: string): this {
    this.bytes.set(encoder.encode(name.replace(/[^\w.]/g, "_").slice(0, 15)), offset);
    return this;
  }

  get32(offset: number): number {
    return this.view.getUint32(offset, true);
  }

  get64(offset: number): bigint {
    return this.view.getBigUint64(offset, true);
  }
}

/** bpf(2). @throws KernelError with the command's name */
export function bpf(command: number, attr: Attr, detail?: string): number {
  const result = bpfSystemCall(command, attr.bytes);
  if (result < 0) throw bpfError(command, -result, detail);
  return result;
}

/** bpf(2) for calls that fail in normal operation: the result, or the negative errno. */
export const tryBpf = (command: number, attr: Attr): number => bpfSystemCall(command, attr.bytes);

/** The error of a bpf(2) command. */
export const bpfError = (command: number, errno: number, detail?: string): KernelError =>
  new KernelError(`bpf(${commandNames.get(command) ?? command})`, errno, detail);

/** A file descriptor with one owner. Closed by dispose; used after that, it throws. */
export class Fd implements Disposable {
  #fd: number;

  constructor(fd: number) {
    this.#fd = fd;
  }

  /** @throws Error once closed or disowned */
  get number(): number {
    if (this.#fd < 0) throw new Error("file descriptor used after it was closed");
    return this.#fd;
  }

  get open(): boolean {
    return this.#fd >= 0;
  }

  /** Hands the descriptor to somebody else, who closes it. */
  disown(): number {
    const fd = this.number;
    this.#fd = -1;
    return fd;
  }

  [Symbol.dispose](): void {
    if (this.#fd < 0) return;
    const fd = this.#fd;
    this.#fd = -1;
    close(fd);
  }
}

/** Pins a map, program or link at a path on a bpffs. @throws KernelError (EEXIST, EPERM where it is no bpffs) */
export function pinObject(fd: number, path: string): void {
  const attr = new Attr(24).pointer(0, cString(path)).u32(8, fd);
  bpf(BpfCommand.OBJ_PIN, attr, path);
}

/** Opens what is pinned at a path. @throws KernelError (ENOENT) */
export function openPinnedObject(path: string): Fd {
  const attr = new Attr(24).pointer(0, cString(path));
  return new Fd(bpf(BpfCommand.OBJ_GET, attr, path));
}

/** Opens what is pinned at a path; undefined if nothing is. @throws KernelError for any other failure */
export function openPinnedObjectIfAny(path: string): Fd | undefined {
  const result = tryBpf(BpfCommand.OBJ_GET, new Attr(24).pointer(0, cString(path)));
  if (result >= 0) return new Fd(result);
  if (errnoName(-result) === "ENOENT") return undefined;
  throw bpfError(BpfCommand.OBJ_GET, -result, path);
}

/** BPF_OBJ_GET_INFO_BY_FD into a buffer that the caller may have filled with pointers. @throws KernelError */
export function objectInfo(fd: number, info: Uint8Array): DataView {
  const attr = new Attr(16).u32(0, fd).u32(4, info.length).pointer(8, info);
  bpf(BpfCommand.OBJ_GET_INFO_BY_FD, attr);
  return new DataView(info.buffer, info.byteOffset, info.byteLength);
}

/** Opens an object by its kernel-wide id; undefined if it is gone. @throws KernelError */
export function openById(command: number, id: number): Fd | undefined {
  const result = tryBpf(command, new Attr(16).u32(0, id));
  if (result >= 0) return new Fd(result);
  if (errnoName(-result) === "ENOENT") return undefined;
  throw bpfError(command, -result, `id ${id}`);
}

/** The ids of one kind of object (BPF_*_GET_NEXT_ID), at most `limit`. @throws KernelError */
export function* objectIds(command: number, limit = 65_536): Generator<number> {
  let id = 0;
  for (let i = 0; i < limit; i++) {
    const attr = new Attr(16).u32(0, id);
    const result = tryBpf(command, attr);
    if (result < 0) {
      if (errnoName(-result) === "ENOENT") return;
      throw bpfError(command, -result);
    }
    id = attr.get32(4);
    yield id;
  }
}

/** The BTF object of an id as bytes; undefined if it is gone. @throws KernelError */
export function btfById(id: number): Uint8Array | undefined {
  using fd = openById(BpfCommand.BTF_GET_FD_BY_ID, id);
  if (!fd) return undefined;
  // struct bpf_btf_info: btf, btf_size, id, name, name_len, kernel_btf.
  const size = objectInfo(fd.number, new Attr(32).bytes).getUint32(8, true);
  const bytes = new Uint8Array(size);
  objectInfo(fd.number, new Attr(32).pointer(0, bytes).u32(8, size).bytes);
  return bytes;
}

/** Loads BTF; the returned descriptor goes into map or program loads. @throws KernelError with the kernel's log */
export function loadBtf(btf: Uint8Array): Fd {
  const result = tryBpf(BpfCommand.BTF_LOAD, new Attr(32).pointer(0, btf).u32(16, btf.length));
  if (result >= 0) return new Fd(result);
  const log = new Uint8Array(64 * 1024);
  const attr = new Attr(32)
    .pointer(0, btf)
    .pointer(8, log)
    .u32(16, btf.length)
    .u32(20, log.length)
    .u32(24, 1);
  const again = tryBpf(BpfCommand.BTF_LOAD, attr);
  if (again >= 0) return new Fd(again);
  throw bpfError(BpfCommand.BTF_LOAD, -again, fromCString(log).trim());
}
