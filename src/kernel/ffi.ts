// kernel: the one file that binds koffi. Everybody else sees typed functions that throw KernelError.
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { constants } from "node:os";
import { getSystemErrorMessage } from "node:util";
import type * as Koffi from "koffi";

/** Errors that no C library names: the kernel's internal ones (include/linux/errno.h) and libbpf's own (libbpf.h). */
const otherErrors: Readonly<Record<number, readonly [code: string, message: string]>> = {
  512: ["ERESTARTSYS", "interrupted; restart the call"],
  524: ["ENOTSUPP", "operation is not supported by this kernel"],
  4000: ["ELIBELF", "not an ELF file that can be read"],
  4001: ["EFORMAT", "not an object with BPF programs"],
  4003: ["EENDIAN", "an object of the other byte order"],
};

const errnoNames = new Map<number, string>();
// Two names share a number here and there; EAGAIN and EOPNOTSUPP are the ones that manuals use.
for (const [name, number] of Object.entries(constants.errno))
  if (!errnoNames.has(number) || name === "EAGAIN" || name === "EOPNOTSUPP") errnoNames.set(number, name);

/** "EPERM" for 1; "E9999" for a number that has no name. */
export const errnoName = (errno: number): string =>
  errnoNames.get(errno) ?? otherErrors[errno]?.[0] ?? `E${errno}`;

function errnoText(errno: number): string {
  const known = otherErrors[errno];
  if (known) return known[1];
  return getSystemErrorMessage(-errno) ?? `error ${errno}`;
}

/** A system call that failed: its name, the errno as number and as name. */
export class KernelError extends Error {
  readonly syscall: string;
  readonly errno: number;
  /** "EPERM", "ENOENT", … */
  readonly code: string;
  constructor(syscall: string, errno: number, detail?: string) {
    const code = errnoName(errno);
    super(`${syscall}: ${code}: ${errnoText(errno)}${detail ? ` (${detail})` : ""}`);
    this.name = "KernelError";
    this.syscall = syscall;
    this.errno = errno;
    this.code = code;
  }
}

/** Whether an error is a KernelError with one of these codes. */
export const hasCode = (error: unknown, ...codes: readonly string[]): error is KernelError =>
  error instanceof KernelError && codes.includes(error.code);

type Native = typeof Koffi;

let native: Native | undefined;

/** The native module of this machine: by its place beside a built program, which saves looking for its package, else by name. */
function modulePath(): string {
  const path = `@koromix/koffi-linux-${process.arch}/linux_${process.arch}/koffi.node`;
  const beside = import.meta.url.replace(/^file:\/\//, "").replace(/[^/]*$/, `../node_modules/${path}`);
  return existsSync(beside) ? beside : path;
}

/**
 * koffi, loaded on first use. The native module is required directly where that works: the package's own entry probes
 * the machine first, which costs more than the whole rest of a start.
 */
export function koffi(): Native {
  if (native) return native;
  const require = createRequire(import.meta.url);
  try {
    native = require(modulePath()) as Native;
  } catch {
    // musl, or a layout of another version: the package knows how to find its module.
    native = require("koffi") as Native;
  }
  return native;
}

/** A C library opened by dlopen(3). @throws Error if it is not there */
export const loadLibrary = (file: string): Koffi.LibraryHandle => koffi().load(file);

/** Address of a typed array's first byte, as the kernel wants it in a __u64. Valid while the array is referenced. */
export const addressOf = (bytes: ArrayBufferView): bigint => koffi().address(bytes);

/** Memory outside of the JavaScript heap (a mapping) as an ArrayBuffer. Must not be touched after it is unmapped. */
export const viewOf = (address: bigint, length: number): ArrayBuffer => koffi().view(address, length);

interface Libc {
  bpf(number: number, command: number, attr: Uint8Array, size: number): number;
  syscall6(
    number: number,
    a: number | bigint,
    b: number | bigint,
    c: number | bigint,
    d: number | bigint,
    e: number | bigint,
    f: number | bigint,
  ): number | bigint;
  open(path: string, flags: number, mode: number): number;
  close(fd: number): number;
  fcntl(fd: number, command: number, argument: number): number;
  read(fd: number, buffer: Uint8Array, length: number): number;
  write(fd: number, buffer: Uint8Array, length: number): number;
  ioctlInteger(fd: number, request: number, argument: number | bigint): number;
  ioctlBuffer(fd: number, request: number, argument: Uint8Array): number;
  setns(fd: number, kind: number): number;
  unshare(flags: number): number;
  socket(domain: number, type: number, protocol: number): number;
  bind(fd: number, address: Uint8Array, length: number): number;
  connect(fd: number, address: Uint8Array, length: number): number;
  listen(fd: number, backlog: number): number;
  accept4(fd: number, address: null, length: null, flags: number): number;
  getsockname(fd: number, address: Uint8Array, length: Uint32Array): number;
  getpeername(fd: number, address: Uint8Array, length: Uint32Array): number;
  shutdown(fd: number, how: number): number;
  setsockopt(fd: number, level: number, option: number, value: Uint8Array, length: number): number;
  getsockopt(fd: number, level: number, option: number, value: Uint8Array, length: Uint32Array): number;
  send(fd: number, buffer: Uint8Array, length: number, flags: number): number;
  sendto(
    fd: number,
    buffer: Uint8Array,
    length: number,
    flags: number,
    address: Uint8Array,
    addressLength: number,
  ): number;
  recv(fd: number, buffer: Uint8Array, length: number, flags: number): number;
  recvfrom(
    fd: number,
    buffer: Uint8Array,
    length: number,
    flags: number,
    address: Uint8Array,
    addressLength: Uint32Array,
  ): number;
  mmap(
    address: null,
    length: number | bigint,
    protection: number,
    flags: number,
    fd: number,
    offset: number | bigint,
  ): number | bigint;
  munmap(address: bigint, length: number | bigint): number;
  mount(
    source: string | null,
    target: string,
    type: string | null,
    flags: number,
    data: string | null,
  ): number;
  umount2(target: string, flags: number): number;
  if_nametoindex(name: string): number;
}

type Prototype = readonly [symbol: string, result: string, ...args: string[]];

const f = (...prototype: Prototype): Prototype => prototype;
const long6 = ["long", "long", "long", "long", "long", "long"] as const;
const prototypes: Readonly<Record<keyof Libc, Prototype>> = {
  bpf: f("syscall", "long", "long", "long", "void *", "long"),
  syscall6: f("syscall", "long", "long", ...long6),
  open: f("open", "int", "str", "int", "int"),
  close: f("close", "int", "int"),
  fcntl: f("fcntl", "int", "int", "int", "long"),
  read: f("read", "long", "int", "void *", "size_t"),
  write: f("write", "long", "int", "void *", "size_t"),
  ioctlInteger: f("ioctl", "int", "int", "ulong", "long"),
  ioctlBuffer: f("ioctl", "int", "int", "ulong", "void *"),
  setns: f("setns", "int", "int", "int"),
  unshare: f("unshare", "int", "int"),
  socket: f("socket", "int", "int", "int", "int"),
  bind: f("bind", "int", "int", "void *", "uint"),
  connect: f("connect", "int", "int", "void *", "uint"),
  listen: f("listen", "int", "int", "int"),
  accept4: f("accept4", "int", "int", "void *", "void *", "int"),
  getsockname: f("getsockname", "int", "int", "void *", "void *"),
  getpeername: f("getpeername", "int", "int", "void *", "void *"),
  shutdown: f("shutdown", "int", "int", "int"),
  setsockopt: f("setsockopt", "int", "int", "int", "int", "void *", "uint"),
  getsockopt: f("getsockopt", "int", "int", "int", "int", "void *", "void *"),
  send: f("send", "long", "int", "void *", "size_t", "int"),
  sendto: f("sendto", "long", "int", "void *", "size_t", "int", "void *", "uint"),
  recv: f("recv", "long", "int", "void *", "size_t", "int"),
  recvfrom: f("recvfrom", "long", "int", "void *", "size_t", "int", "void *", "void *"),
  mmap: f("mmap", "long", "void *", "size_t", "int", "int", "int", "long"),
  munmap: f("munmap", "int", "void *", "size_t"),
  mount: f("mount", "int", "str", "str", "str", "ulong", "str"),
  umount2: f("umount2", "int", "str", "int"),
  if_nametoindex: f("if_nametoindex", "uint", "str"),
};

let bound: Libc | undefined;

/** Functions are bound when they are first called: a usual start needs a fifth of them. */
function libc(): Libc {
  if (bound) return bound;
  const library = koffi().load(null);
  const made = {} as Libc;
  for (const name of Object.keys(prototypes) as (keyof Libc)[])
    Object.defineProperty(made, name, {
      configurable: true,
      get() {
        const [symbol, result, ...args] = prototypes[name];
        const value = library.func(symbol, result, args);
        Object.defineProperty(made, name, { value });
        return value;
      },
    });
  bound = made;
  return made;
}

/** errno of the call before this one. Any later libc call, node:fs included, overwrites it: read it at once. */
const lastErrno = (): number => koffi().errno();

function checked(result: number, syscall: string, detail?: string): number {
  if (result < 0) throw new KernelError(syscall, lastErrno(), detail);
  return result;
}

const bpfSyscall: Readonly<Record<string, number>> = { x64: 321, arm64: 280, riscv64: 280 };

/** bpf(2) without an exception: the result, or the negative errno. For calls that fail in normal operation. */
export function bpfSystemCall(command: number, attr: Uint8Array): number {
  const number = bpfSyscall[process.arch];
  if (number === undefined) throw new KernelError(`bpf on ${process.arch}`, constants.errno.ENOSYS);
  const result = libc().bpf(number, command, attr, attr.length);
  return result < 0 ? -lastErrno() : result;
}

/** Any system call by number with up to six integer arguments. @throws KernelError named by `name` */
export function systemCall(name: string, number: number, ...args: readonly (number | bigint)[]): number {
  const a = (i: number) => args[i] ?? 0;
  const result = Number(libc().syscall6(number, a(0), a(1), a(2), a(3), a(4), a(5)));
  return checked(result, name);
}

/** open(2); `flags` from node:fs constants. O_CLOEXEC is always added. @throws KernelError */
export const open = (path: string, flags: number, mode = 0): number =>
  checked(libc().open(path, flags | 0o2000000, mode), "open", path);

/** close(2). @throws KernelError */
export const close = (fd: number): void => void checked(libc().close(fd), "close");

const F_DUPFD_CLOEXEC = 1030;

/** A second descriptor of the same file, closed on exec. @throws KernelError EMFILE */
export const duplicate = (fd: number): number =>
  checked(libc().fcntl(fd, F_DUPFD_CLOEXEC, 0), "fcntl", "F_DUPFD_CLOEXEC");

/** read(2): bytes read, 0 at the end. @throws KernelError (EAGAIN included) */
export const read = (fd: number, buffer: Uint8Array): number =>
  checked(libc().read(fd, buffer, buffer.length), "read");

/** write(2): bytes written. @throws KernelError */
export const write = (fd: number, buffer: Uint8Array): number =>
  checked(libc().write(fd, buffer, buffer.length), "write");

/** ioctl(2) with an integer or a buffer that the kernel reads or fills. @throws KernelError */
export function ioctl(fd: number, request: number, argument: number | bigint | Uint8Array): number {
  const result =
    argument instanceof Uint8Array
      ? libc().ioctlBuffer(fd, request, argument)
      : libc().ioctlInteger(fd, request, argument);
  return checked(result, "ioctl", `request 0x${request.toString(16)}`);
}

/** setns(2) of the calling thread. @throws KernelError */
export const setns = (fd: number, kind: number): void => void checked(libc().setns(fd, kind), "setns");

/** unshare(2) of the calling thread. @throws KernelError */
export const unshare = (flags: number): void => void checked(libc().unshare(flags), "unshare");

/** socket(2); SOCK_CLOEXEC is always added. @throws KernelError */
export const socket = (domain: number, type: number, protocol: number): number =>
  checked(libc().socket(domain, type | 0o2000000, protocol), "socket");

/** bind(2) to a sockaddr in the kernel's layout. @throws KernelError */
export const bind = (fd: number, address: Uint8Array): void =>
  void checked(libc().bind(fd, address, address.length), "bind");

/** connect(2); EINPROGRESS of a non-blocking socket is thrown as any other. @throws KernelError */
export const connect = (fd: number, address: Uint8Array): void =>
  void checked(libc().connect(fd, address, address.length), "connect");

/** listen(2). @throws KernelError */
export const listen = (fd: number, backlog: number): void =>
  void checked(libc().listen(fd, backlog), "listen");

/** accept4(2) without the peer's address; SOCK_CLOEXEC is always added. @throws KernelError */
export const accept = (fd: number, flags = 0): number =>
  checked(libc().accept4(fd, null, null, flags | 0o2000000), "accept4");

/** getsockname(2) or getpeername(2): the sockaddr as the kernel wrote it. @throws KernelError */
export function socketAddress(fd: number, side: "local" | "peer"): Uint8Array {
  const address = new Uint8Array(128);
  const length = new Uint32Array([address.length]);
  if (side === "local") checked(libc().getsockname(fd, address, length), "getsockname");
  else checked(libc().getpeername(fd, address, length), "getpeername");
  return address.subarray(0, length[0]);
}

/** shutdown(2): 0 reading, 1 writing, 2 both. @throws KernelError */
export const shutdown = (fd: number, how: 0 | 1 | 2): void =>
  void checked(libc().shutdown(fd, how), "shutdown");

/** setsockopt(2); a number is passed as int. @throws KernelError */
export function setsockopt(fd: number, level: number, option: number, value: Uint8Array | number): void {
  const bytes = typeof value === "number" ? new Uint8Array(new Int32Array([value]).buffer) : value;
  checked(
    libc().setsockopt(fd, level, option, bytes, bytes.length),
    "setsockopt",
    `level ${level} option ${option}`,
  );
}

/** getsockopt(2): up to `size` bytes, as many as the kernel gave. @throws KernelError */
export function getsockopt(fd: number, level: number, option: number, size = 4): Uint8Array {
  const value = new Uint8Array(size);
  const length = new Uint32Array([size]);
  checked(
    libc().getsockopt(fd, level, option, value, length),
    "getsockopt",
    `level ${level} option ${option}`,
  );
  return value.subarray(0, length[0]);
}

/** send(2): bytes sent. @throws KernelError */
export const send = (fd: number, buffer: Uint8Array, flags = 0): number =>
  checked(libc().send(fd, buffer, buffer.length, flags), "send");

/** sendto(2) a sockaddr in the kernel's layout. @throws KernelError */
export const sendTo = (fd: number, buffer: Uint8Array, address: Uint8Array, flags = 0): number =>
  checked(libc().sendto(fd, buffer, buffer.length, flags, address, address.length), "sendto");

/** recv(2): bytes received. @throws KernelError (EAGAIN included) */
export const recv = (fd: number, buffer: Uint8Array, flags = 0): number =>
  checked(libc().recv(fd, buffer, buffer.length, flags), "recv");

/** recvfrom(2): bytes received, the sender's sockaddr in `address`. @throws KernelError (EAGAIN included) */
export function receiveFrom(fd: number, buffer: Uint8Array, address: Uint8Array, flags = 0): number {
  const length = new Uint32Array([address.length]);
  return checked(libc().recvfrom(fd, buffer, buffer.length, flags, address, length), "recvfrom");
}

/** mmap(2) at an address of the kernel's choice. See {@link viewOf}. @throws KernelError */
export function mmap(length: number, protection: number, flags: number, fd: number, offset = 0): bigint {
  const address = libc().mmap(null, length, protection, flags, fd, offset);
  if (Number(address) === -1) throw new KernelError("mmap", lastErrno(), `${length} bytes`);
  return BigInt(address);
}

/** munmap(2). @throws KernelError */
export const munmap = (address: bigint, length: number): void =>
  void checked(libc().munmap(address, length), "munmap");

/** mount(2). @throws KernelError */
export const mount = (
  source: string | null,
  target: string,
  type: string | null,
  flags = 0,
  data: string | null = null,
): void => void checked(libc().mount(source, target, type, flags, data), "mount", target);

/** umount2(2). @throws KernelError */
export const umount = (target: string, flags = 0): void =>
  void checked(libc().umount2(target, flags), "umount2", target);

/** Index of an interface in the calling thread's network namespace; undefined if there is none of that name. */
export function interfaceIndex(name: string): number | undefined {
  const index = libc().if_nametoindex(name);
  return index > 0 ? index : undefined;
}

let closeFunction: Koffi.KoffiFunc<(fd: number) => number> | undefined;

/**
 * close(2) on a thread of the pool: for descriptors whose last close waits for the kernel's grace periods, tens of
 * milliseconds each. @throws KernelError (EBADF)
 */
export function closeInBackground(fd: number): Promise<void> {
  closeFunction ??= koffi().load(null).func("close", "int", ["int"]);
  const { async: closeAsync } = closeFunction;
  return new Promise((resolve, reject) => {
    closeAsync(fd, (error: unknown, result: number) => {
      // errno is the pool thread's, out of our reach; close(2) of a valid descriptor does not fail.
      if (error || result < 0) reject(new KernelError("close", constants.errno.EBADF, `descriptor ${fd}`));
      else resolve();
    });
  });
}

/** Calls back each time that a descriptor can be read, until the returned function is called. Keeps the process alive. */
export function whenReadable(fd: number, call: () => void): () => void {
  const handle = koffi().node.poll(fd, { readable: true }, () => call());
  return () => handle.close();
}

/** pidfd_open(2): its number is the same on every architecture. */
const pidfdOpen = 434;

/** Calls back once when a process ends, until the returned function is called. @throws KernelError (ESRCH: there is none) */
export function whenProcessEnds(pid: number, call: () => void): () => void {
  const fd = systemCall("pidfd_open", pidfdOpen, pid, 0);
  const stop = whenReadable(fd, () => {
    end();
    call();
  });
  let open = true;
  const end = (): void => {
    if (!open) return;
    open = false;
    stop();
    close(fd);
  };
  return end;
}
