// trace: the tracer's own memory cgroup, version 2 or 1: a script that runs away is killed, nothing else.
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export interface MemoryCgroup extends Disposable {
  readonly directory: string;
  /** Moves a process in. @throws Error from node:fs */
  add(pid: number): void;
}

export type MemoryCgroupResult =
  | { readonly ok: true; readonly cgroup: MemoryCgroup }
  | { readonly ok: false; readonly reason: string };

/** Our cgroup's path in each hierarchy, from the text of /proc/self/cgroup: controller list -> path. */
export function ownCgroups(text: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const line of text.split("\n")) {
    const match = /^\d+:([^:]*):(.*)$/.exec(line);
    if (match) for (const controller of (match[1] ?? "").split(",")) found.set(controller, match[2] ?? "");
  }
  return found;
}

interface Mounts {
  readonly version1: string | undefined;
  readonly version2: string | undefined;
}

/** Where the memory controller of version 1 and the one hierarchy of version 2 are mounted. */
export function cgroupMounts(mounts: string): Mounts {
  let version1: string | undefined;
  let version2: string | undefined;
  for (const line of mounts.split("\n")) {
    const [, where, type, options = ""] = line.split(" ");
    if (type === "cgroup" && options.split(",").includes("memory")) version1 ??= where;
    if (type === "cgroup2") version2 ??= where;
  }
  return { version1, version2 };
}

function make(directory: string, limitFile: string, limit: number): MemoryCgroup {
  mkdirSync(directory, { recursive: true });
  try {
    writeFileSync(join(directory, limitFile), String(limit));
  } catch (error) {
    rmdirSync(directory);
    throw error;
  }
  return {
    directory,
    add: (pid) => writeFileSync(join(directory, "cgroup.procs"), String(pid)),
    [Symbol.dispose]() {
      try {
        rmdirSync(directory);
      } catch (error) {
        // Busy while the child is still dying: the next start with this name takes it over.
        const code = (error as NodeJS.ErrnoException).code;
        if (code !== "EBUSY" && code !== "ENOENT") throw error;
      }
    },
  };
}

/**
 * Makes a cgroup below our own with a limit in bytes. In version 2 the memory controller must be given to children, which a
 * cgroup with processes of its own cannot do: then it goes beside ours.
 */
export function createMemoryCgroup(name: string, limit: number): MemoryCgroupResult {
  try {
    const own = ownCgroups(readFileSync("/proc/self/cgroup", "utf8"));
    const { version1, version2 } = cgroupMounts(readFileSync("/proc/self/mounts", "utf8"));
    const memory = own.get("memory");
    if (version1 !== undefined && memory !== undefined) {
      const parent = existsSync(join(version1, memory)) ? join(version1, memory) : version1;
      return { ok: true, cgroup: make(join(parent, name), "memory.limit_in_bytes", limit) };
    }
    const unified = own.get("");
    if (version2 === undefined || unified === undefined)
      return { ok: false, reason: "no memory cgroup is mounted" };
    const below = join(version2, unified);
    for (const parent of [below, join(below, "..")]) {
      const given = join(parent, "cgroup.subtree_control");
      if (existsSync(given) && readFileSync(given, "utf8").split(/\s/).includes("memory"))
        return { ok: true, cgroup: make(join(parent, name), "memory.max", limit) };
    }
    return { ok: false, reason: "the memory controller is not given to our cgroup" };
  } catch (error) {
    return { ok: false, reason: (error as Error).message };
  }
}
