// lab: what a lab changes on the machine outside its namespaces: mounts, a cgroup, pinned objects. Made and removed.
import { existsSync, readdirSync, readFileSync, rmdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { cgroupRoot } from "./processes.ts";
import { CommandError, run } from "./shell.ts";

export const bpffsMount = "/sys/fs/bpf";
const tracefsMount = "/sys/kernel/tracing";

const isMounted = (path: string): boolean =>
  readFileSync("/proc/mounts", "utf8")
    .split("\n")
    .some((line) => line.split(" ")[1] === path);

/** Mounts bpffs and tracefs where they are not, and tells which. */
export async function mountFileSystems(): Promise<readonly string[]> {
  const mounted: string[] = [];
  for (const [path, type] of [
    [bpffsMount, "bpf"],
    [tracefsMount, "tracefs"],
  ] as const) {
    if (isMounted(path)) continue;
    await run("mount", ["-t", type, type, path]);
    mounted.push(path);
  }
  return mounted;
}

/** Unmounts what a lab mounted; a mount that somebody else uses by now stays, and is named. */
export async function unmountFileSystems(mounts: readonly string[]): Promise<readonly string[]> {
  const left: string[] = [];
  for (const path of mounts) {
    if (!isMounted(path)) continue;
    // Other people's pinned objects would go with the mount. Two files are the kernel's own (bpf_preload).
    const others = (): string[] => readdirSync(path).filter((f) => f !== "maps.debug" && f !== "progs.debug");
    if (path === bpffsMount && others().length > 0) {
      left.push(path);
      continue;
    }
    try {
      await run("umount", [path]);
    } catch (error) {
      if (!(error instanceof CommandError)) throw error;
      left.push(path);
    }
  }
  return left;
}

/** cgroup of a lab: `<cgroup2>/waggle-lab-<name>`. */
export const labCgroup = (lab: string): string => join(cgroupRoot(), `waggle-lab-${lab}`);

/** Directory for a lab's pins: one below it for each node, and `owners`. */
export const labPins = (lab: string): string => join(bpffsMount, "waggle", `lab-${lab}`);

/** Removes a lab's pinned objects; links end with them. */
export function removePins(lab: string): void {
  if (!isMounted(bpffsMount)) return;
  rmSync(labPins(lab), { recursive: true, force: true });
  const parent = join(bpffsMount, "waggle");
  if (existsSync(parent) && readdirSync(parent).length === 0) rmdirSync(parent);
}
