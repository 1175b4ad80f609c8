// lab: takes a lab down, whatever state it is in: complete, half made, or left by a killed process.
import { existsSync, readdirSync, rmdirSync, rmSync } from "node:fs";
import { dirname } from "node:path";
import { labCgroup, removePins, unmountFileSystems } from "./host.ts";
import { labNamespaces, processesIn, removeNetwork } from "./network.ts";
import { type ProcessRecord, processesOf, removeCgroup, stop } from "./processes.ts";
import { until } from "./shell.ts";
import { frrDirectory, readState, removeState, stateDirectory } from "./state.ts";

export interface DownReport {
  readonly processes: number;
  readonly namespaces: number;
  /** Mounts that somebody else uses by now. */
  readonly left: readonly string[];
}

/** Ends processes that carry no record: those in the lab's cgroups and namespaces. */
async function killStrays(lab: string, cgroup: string): Promise<number> {
  const strays = new Set(processesOf(cgroup));
  for (const netns of labNamespaces(lab)) for (const pid of await processesIn(netns)) strays.add(pid);
  strays.delete(process.pid);
  for (const pid of strays) {
    try {
      process.kill(pid, "SIGKILL");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
    }
  }
  await until(() => processesOf(cgroup).filter((p) => p !== process.pid).length === 0, 3_000, 20);
  return strays.size;
}

function removeFrrDirectory(lab: string): void {
  const directory = frrDirectory(lab);
  if (!existsSync(directory)) return;
  rmSync(directory, { recursive: true, force: true });
  if (readdirSync(dirname(directory)).length === 0) rmdirSync(dirname(directory));
}

/** Removes every trace of a lab. Safe to call twice, and when there is no lab. */
export async function down(lab: string): Promise<DownReport> {
  const state = readState(lab);
  const records: readonly ProcessRecord[] = state?.processes ?? [];
  // Nothing of a lab is worth an orderly end, and a killed daemon is what its successors must cope with anyway.
  await stop(records, 0);
  const cgroup = state?.cgroup ?? labCgroup(lab);
  const strays = await killStrays(lab, cgroup);
  const namespaces = labNamespaces(lab).length;
  await removeNetwork(lab);
  removePins(lab);
  // A process that was being started while the others were killed is still in there.
  const busy = (error: unknown): boolean => (error as NodeJS.ErrnoException).code === "EBUSY";
  const removed = await until(
    async () => {
      try {
        removeCgroup(cgroup);
        return true;
      } catch (error) {
        if (!busy(error)) throw error;
        await killStrays(lab, cgroup);
        return false;
      }
    },
    10_000,
    50,
  );
  if (!removed) throw new Error(`processes in ${cgroup} do not end`);
  const left = await unmountFileSystems(state?.mounts ?? []);
  removeState(lab);
  rmSync(stateDirectory(lab), { recursive: true, force: true });
  removeFrrDirectory(lab);
  return { processes: records.length + strays, namespaces, left };
}
