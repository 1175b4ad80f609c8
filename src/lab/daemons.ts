// lab: ends and starts single daemons of a running lab, as crashes and upgrades do.
import { controlPlaneProcesses, startControlPlaneProcess, startOperator } from "./control-plane.ts";
import { startAgent, startSpeaker } from "./nodes.ts";
import { isAlive, type ProcessRecord, signal } from "./processes.ts";
import { until } from "./shell.ts";
import type { Lab } from "./up.ts";

const recordOf = (lab: Lab, name: string): ProcessRecord => {
  const record = lab.state.processes.find((p) => p.name === name);
  if (!record)
    throw new Error(`no process ${name}; there are ${lab.state.processes.map((p) => p.name).join(", ")}`);
  return record;
};

/** Signals a daemon and waits up to 10 s for its end. @throws Error when it is still there */
export async function killProcess(
  lab: Lab,
  name: string,
  signalName: NodeJS.Signals,
): Promise<{ ended: string }> {
  const record = recordOf(lab, name);
  signal(record, signalName);
  if (!(await until(() => !isAlive(record), 10_000, 10)))
    throw new Error(`${name} (pid ${record.pid}) is still there 10 s after ${signalName}`);
  return { ended: name };
}

/** Starts a daemon again. */
export async function startProcess(lab: Lab, name: string): Promise<ProcessRecord | { name: string }> {
  if (isAlive(recordOf(lab, name))) throw new Error(`${name} runs already`);
  for (const cluster of lab.topology.clusters) {
    if (controlPlaneProcesses(lab, cluster).includes(name)) {
      await startControlPlaneProcess(lab, cluster, name);
      return { name };
    }
    if (name === `${cluster.name}-operator`) {
      await startOperator(lab, cluster);
      return { name };
    }
    for (const node of cluster.nodes) {
      if (name === `${node.name}-agent`) return await startAgent(lab, cluster, node);
      if (name === `${node.name}-bgpd`) return startSpeaker(lab, node);
    }
  }
  throw new Error(`${name} is not a daemon that the lab starts by itself`);
}
