// lab: runs a command inside a node, pod, router or client, with this terminal.
import { spawn } from "node:child_process";
import { join } from "node:path";
import { makeCgroup } from "./processes.ts";
import { enter } from "./shell.ts";
import type { LabState } from "./state.ts";

export interface Place {
  readonly name: string;
  readonly kind: "node" | "pod" | "router" | "client";
  readonly netns: string;
  /** Relative to the lab's cgroup. */
  readonly cgroup: string;
}

/** cgroup of a node's own processes and of each of its pods, relative to the lab's. */
export const nodeCgroup = (node: string): string => join(node, "node");
export const podCgroup = (node: string, pod: string): string => join(node, `pod-${pod}`);

/** Everything that `lab exec` can enter. */
export function places(state: LabState): readonly Place[] {
  const out: Place[] = [];
  for (const cluster of state.clusters) {
    for (const { name, netns } of cluster.routers) out.push({ name, kind: "router", netns, cgroup: name });
    out.push({
      name: cluster.client.name,
      kind: "client",
      netns: cluster.client.netns,
      cgroup: cluster.client.name,
    });
    for (const node of cluster.nodes)
      out.push({ name: node.name, kind: "node", netns: node.netns, cgroup: nodeCgroup(node.name) });
  }
  for (const pod of state.pods)
    out.push({ name: pod.name, kind: "pod", netns: pod.netns, cgroup: podCgroup(pod.node, pod.name) });
  return out;
}

/** The place of this name. @throws Error that lists what there is */
export function placeOf(state: LabState, name: string): Place {
  const all = places(state);
  const found = all.find((p) => p.name === name);
  if (!found)
    throw new Error(
      `no ${JSON.stringify(name)} in lab ${state.lab}; there are ${all.map((p) => p.name).join(", ")}`,
    );
  return found;
}

/** The words that run a command inside a place: in its cgroup first, then in its network. */
export function commandIn(state: LabState, place: Place, command: readonly string[]): readonly string[] {
  const cgroup = join(state.cgroup, place.cgroup);
  makeCgroup(cgroup);
  return [
    ...["/bin/sh", "-c", `echo 0 > ${cgroup}/cgroup.procs && exec "$@"`, place.name],
    ...["nsenter", ...enter(place.netns, command)],
  ];
}

/** Runs a command with inherited terminal; resolves to its exit code (128 + signal number where one ended it). */
export function exec(state: LabState, name: string, command: readonly string[]): Promise<number> {
  const [file, ...args] = commandIn(state, placeOf(state, name), command);
  return new Promise((resolve, reject) => {
    const child = spawn(file!, args, { stdio: "inherit" });
    child.once("error", reject);
    child.once("exit", (code, signal) => resolve(code ?? (signal === "SIGINT" ? 130 : 143)));
  });
}
