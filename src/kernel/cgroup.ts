// kernel: control groups, version 2: where they are mounted and the numbers that programs know them by.
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";

/** The id that bpf_get_current_cgroup_id() returns: the directory's inode number (kernel 5.5). @throws Error (ENOENT) */
export const cgroupId = (directory: string): bigint => statSync(directory, { bigint: true }).ino;

/** Mount point of the first file system of a type in the text of /proc/self/mounts; undefined if there is none. */
export function mountPointOf(type: string, mounts: string): string | undefined {
  for (const line of mounts.split("\n")) {
    const [, where, what] = line.split(" ");
    // Spaces and the like are written as octal escapes (fs/proc_namespace.c).
    if (what === type && where !== undefined)
      return where.replace(/\\(\d{3})/g, (_, octal: string) =>
        String.fromCharCode(Number.parseInt(octal, 8)),
      );
  }
  return undefined;
}

/** Where cgroup2 is mounted: /sys/fs/cgroup, or /sys/fs/cgroup/unified beside version 1. undefined: nowhere. */
export const cgroupRoot = (): string | undefined =>
  mountPointOf("cgroup2", readFileSync("/proc/self/mounts", "utf8"));

/** Directory of a process's cgroup2; undefined without cgroup2 or without the process. */
export function cgroupOf(pid: number | "self"): string | undefined {
  const root = cgroupRoot();
  if (root === undefined) return undefined;
  const line = readFileSync(`/proc/${pid}/cgroup`, "utf8")
    .split("\n")
    .find((l) => l.startsWith("0::"));
  return line && join(root, line.slice(3));
}
