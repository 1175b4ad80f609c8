// lab: the picture of a running lab, for people and as JSON.
import type { NodeNetwork } from "../api/index.ts";
import { isAlive } from "./processes.ts";
import { showRoutes } from "./routers.ts";
import type { LabState } from "./state.ts";
import type { Lab } from "./up.ts";
import { nodeNetworks } from "./wait.ts";

/** The documented JSON of `waggle lab up -o json` and `waggle lab status -o json`. */
export const statusOf = (state: LabState): object => ({
  lab: state.lab,
  startedAt: state.startedAt,
  clusters: state.clusters.map((c) => ({
    name: c.name,
    id: c.id,
    kubeconfig: c.kubeconfig,
    router: c.router,
    routers: c.routers,
    client: c.client,
    nodes: c.nodes.map((n) => ({ name: n.name, netns: n.netns, speakerSocket: `${n.directory}/bgpd.sock` })),
  })),
  pods: state.pods,
  bpffs: state.bpffs,
  cgroup: state.cgroup,
  processes: state.processes.map((p) => ({ name: p.name, pid: p.pid, alive: isAlive(p), log: p.log })),
});

/** NodeNetworks by cluster; a cluster whose API server does not answer is named with its error. */
export async function withNetworks(
  lab: Lab,
): Promise<Readonly<Record<string, readonly NodeNetwork[] | string>>> {
  const out: Record<string, readonly NodeNetwork[] | string> = {};
  for (const cluster of lab.state.clusters) {
    try {
      out[cluster.name] = await nodeNetworks(lab, cluster.name);
    } catch (error) {
      out[cluster.name] = (error as Error).message;
    }
  }
  return out;
}

export function printUp(state: LabState): void {
  console.log(`lab ${state.lab} is up`);
  for (const cluster of state.clusters) {
    console.log(
      `  ${cluster.name}  nodes ${cluster.nodes.map((n) => n.name).join(", ")}; ${cluster.routers.length > 1 ? "routers" : "router"} ${cluster.routers.map((r) => r.name).join(", ")}`,
    );
    console.log(`    export KUBECONFIG=${cluster.kubeconfig}`);
  }
  const first = state.clusters[0]!.router;
  console.log("try:");
  const named = state.lab === "default" ? "" : ` --name ${state.lab}`;
  console.log(`  waggle lab status${named}`);
  console.log(
    `  waggle lab exec${named} ${first.name} -- ${showRoutes(state.options.router ?? "bird", first)}`,
  );
  console.log(
    "  waggle trace --for 5s -e 'tracepoint:tcp:tcp_retransmit_skb { @[node, prefix(args.daddr_v6)] = count(); }'",
  );
  console.log(`  waggle lab down${named}`);
}

export function printStatus(
  state: LabState,
  networks: Readonly<Record<string, readonly NodeNetwork[] | string>>,
): void {
  for (const cluster of state.clusters) {
    const seen = networks[cluster.name];
    console.log(`${cluster.name}  (KUBECONFIG=${cluster.kubeconfig})`);
    if (typeof seen === "string") {
      console.log(`  API server: ${seen}`);
      continue;
    }
    for (const network of seen ?? []) {
      const sessions =
        (network.status?.sessions ?? []).map((s) => `${s.peer} ${s.state}`).join(", ") || "no session";
      const ready = network.status?.conditions?.find((c) => c.type === "Ready");
      const routes = network.status?.routes;
      console.log(
        `  ${network.metadata.name}  ${(network.spec.podBlocks ?? []).map((b) => b.prefix).join(" ")}`,
      );
      console.log(
        `    ${sessions}; announces ${network.status?.announced?.length ?? 0}, learned ${routes?.learned ?? 0}, in FIB ${routes?.inFIB ?? 0}`,
      );
      if (ready?.status !== "True")
        console.log(`    ${ready?.reason ?? "NoStatus"}: ${ready?.message ?? "the agent has not reported"}`);
    }
    for (const pod of state.pods.filter((p) => p.cluster === cluster.name))
      console.log(`  pod ${pod.name} on ${pod.node}  ${pod.addresses.join(" ")}`);
  }
  const dead = state.processes.filter((p) => !isAlive(p));
  console.log(
    `${state.processes.length - dead.length} processes run${dead.length ? `; not running: ${dead.map((p) => p.name).join(", ")}` : ""}`,
  );
}
