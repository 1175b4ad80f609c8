// kernel: network namespaces: entering them for one synchronous piece of work, and the cookies that name them.
import { constants, statSync } from "node:fs";
import { Fd } from "./bpf.ts";
import { getsockopt, open, setns, socket } from "./ffi.ts";

const CLONE_NEWNET = 0x40000000;
const AF_INET = 2;
const SOCK_DGRAM = 2;
const SOL_SOCKET = 1;
const SO_NETNS_COOKIE = 71;

/** The namespace of the calling thread. */
export const ownNetns = "/proc/thread-self/ns/net";

/** Opens a namespace file: `/run/netns/NAME`, `/proc/PID/ns/net`. @throws KernelError */
export const openNetns = (path: string): Fd => new Fd(open(path, constants.O_RDONLY));

/**
 * Runs `work` with this thread in another network namespace. `work` must be synchronous: whatever it awaited would run
 * in the wrong place. Sockets made inside stay there; a path under /sys/class/net does not follow.
 * @throws KernelError where the namespace cannot be entered, and whatever `work` throws
 */
export function inNetns<T>(path: string, work: () => T): T {
  using own = openNetns(ownNetns);
  using other = openNetns(path);
  setns(other.number, CLONE_NEWNET);
  try {
    return work();
  } finally {
    setns(own.number, CLONE_NEWNET);
  }
}

/** The kernel's name for a namespace, never reused until reboot (SO_NETNS_COOKIE, kernel 5.14). @throws KernelError */
export function netnsCookie(path: string): bigint {
  const read = () => {
    using fd = new Fd(socket(AF_INET, SOCK_DGRAM, 0));
    const bytes = getsockopt(fd.number, SOL_SOCKET, SO_NETNS_COOKIE, 8);
    return new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true);
  };
  return path === ownNetns ? read() : inNetns(path, read);
}

/** Inode number: what `ip netns identify`, `lsns` and bpf_link_info show. May be reused once a namespace is gone. */
export const netnsInode = (path: string): bigint => statSync(path, { bigint: true }).ino;
