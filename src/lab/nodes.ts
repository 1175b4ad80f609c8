// lab: the daemons of nodes: speakers and agents, started as a cluster's own start-up scripts would.
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { agentIdentity } from "./cluster.ts";
import { nodeCgroup } from "./exec.ts";
import { waggle } from "./launcher.ts";
import type { ProcessRecord } from "./processes.ts";
import type { LabCluster, LabNode } from "./topology.ts";
import type { Lab } from "./up.ts";

/** Starts (or starts again) the speaker of a node. */
export function startSpeaker(lab: Lab, node: LabNode): ProcessRecord {
  const directory = join(lab.state.directory, node.name);
  mkdirSync(directory, { recursive: true });
  return lab.start({
    name: `${node.name}-bgpd`,
    netns: node.netns,
    cgroup: lab.cgroup(nodeCgroup(node.name)),
    command: waggle("bgpd", "--socket", join(directory, "bgpd.sock")),
    log: join(directory, "bgpd.log"),
  });
}

/** The words that start a node's agent; the identity files must be there. */
export function agentCommand(lab: Lab, cluster: LabCluster, node: LabNode): readonly string[] {
  const directory = join(lab.state.directory, node.name);
  const record = lab.state.clusters[cluster.id - 1]!;
  return waggle(
    "agent",
    ...[
      "--node",
      node.name,
      "--kubeconfig",
      join(directory, "agent.kubeconfig"),
      "--socket",
      record.apiSocket,
    ],
    ...["--speaker-socket", join(directory, "bgpd.sock"), "--bpffs", lab.state.bpffs],
    ...["--state-dir", join(directory, "state"), "--cni-conf-dir", join(directory, "cni/net.d")],
    ...["--cni-data-dir", join(directory, "cni/data"), "--cache-dir", join(lab.state.directory, "cache")],
    ...["--hub-socket", join(lab.state.directory, cluster.name, "hub.sock")],
    ...["--hub-token-file", join(directory, "hub.token")],
    ...["--owner-dir", join(lab.state.bpffs, "owners"), "--node-index", String(node.index)],
    ...["--owner-names", join(lab.state.directory, "owners.json")],
    // One agent of the whole lab speaks for events that nobody owns.
    ...(node.index === 1 ? ["--counts-unattributed"] : []),
  );
}

/** Starts (or starts again) the agent of a node. */
export async function startAgent(lab: Lab, cluster: LabCluster, node: LabNode): Promise<ProcessRecord> {
  const directory = join(lab.state.directory, node.name);
  mkdirSync(directory, { recursive: true });
  const record = lab.state.clusters[cluster.id - 1]!;
  if (!existsSync(join(directory, "agent.kubeconfig")))
    await agentIdentity(lab.client(cluster.name), record.kubeconfig, directory, node.name);
  return lab.start({
    name: `${node.name}-agent`,
    netns: node.netns,
    cgroup: lab.cgroup(nodeCgroup(node.name)),
    command: agentCommand(lab, cluster, node),
    log: join(directory, "agent.log"),
  });
}
