// trace: the tracer's own memory cgroup, version 2 or 1: a script that runs away is killed, nothing else.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export interface MemoryCgroup {
  readonly directory: string;
  /** Moves a process in. @throws Error from node:fs */
  add(pid: number): void;
  /** Removes it once its processes are gone, for which it waits a moment. False: it is still in use, or not ours to remove. */
  remove(): Promise<boolean>;
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

/** rmdir(2). False: processes are in it, or are only just leaving. @throws Error from node:fs for anything else */
function removeNow(directory: string): boolean {
  try {
    rmdirSync(directory);
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") return true;
    if (code === "EBUSY" || code === "ENOTEMPTY") return false;
    throw error;
  }
}

const removeAttempts = 50;
const removeEveryMs = 20;

async function removeSoon(directory: string): Promise<boolean> {
  for (let i = 0; i < removeAttempts; i++) {
    if (removeNow(directory)) return true;
    await new Promise((resolve) => setTimeout(resolve, removeEveryMs));
  }
  return false;
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
    remove: () => removeSoon(directory),
  };
}

/**
 * Leaves a cgroup and removes it: what a process does whose parent is gone, as nobody else would. What it was charged for
 * stays charged to the cgroup that is no more.
 */
export function leaveMemoryCgroup(directory: string): void {
  try {
    writeFileSync(join(directory, "..", "cgroup.procs"), String(process.pid));
  } catch (error) {
    // Version 2 takes no process into a cgroup that has given its controllers away; then the next tracer sweeps.
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "EBUSY" && code !== "EOPNOTSUPP" && code !== "ENOENT") throw error;
  }
  removeNow(directory);
}

/** Removes cgroups `prefix<pid>` of processes that were killed and could not do it. */
function sweep(parent: string, prefix: string): void {
  for (const entry of readdirSync(parent)) {
    if (!entry.startsWith(prefix)) continue;
    const pid = entry.slice(prefix.length);
    if (/^\d+$/.test(pid) && !existsSync(`/proc/${pid}`)) removeNow(join(parent, entry));
  }
}

/**
 * Makes the cgroup `prefix<our pid>` below our own with a limit in bytes, and removes those of the dead. In version 2 the memory controller must be given to children, which a
 * cgroup with processes of its own cannot do: then it goes beside ours.
 */
export function createMemoryCgroup(prefix: string, limit: number): MemoryCgroupResult {
  const name = `${prefix}${process.pid}`;
  try {
    const own = ownCgroups(readFileSync("/proc/self/cgroup", "utf8"));
    const { version1, version2 } = cgroupMounts(readFileSync("/proc/self/mounts", "utf8"));
    const memory = own.get("memory");
    if (version1 !== undefined && memory !== undefined) {
      const parent = existsSync(join(version1, memory)) ? join(version1, memory) : version1;
      sweep(parent, prefix);
      return { ok: true, cgroup: make(join(parent, name), "memory.limit_in_bytes", limit) };
    }
    const unified = own.get("");
    if (version2 === undefined || unified === undefined)
      return { ok: false, reason: "no memory cgroup is mounted" };
    const below = join(version2, unified);
    for (const parent of [below, join(below, "..")]) {
      const given = join(parent, "cgroup.subtree_control");
      if (!existsSync(given) || !readFileSync(given, "utf8").split(/\s/).includes("memory")) continue;
      sweep(parent, prefix);
      return { ok: true, cgroup: make(join(parent, name), "memory.max", limit) };
    }
    return { ok: false, reason: "the memory controller is not given to our cgroup" };
  } catch (error) {
    return { ok: false, reason: (error as Error).message };
  }
}
