// lab: waiting for what the parts report about themselves, with the reason when it does not come.
import type { NodeNetwork } from "../api/index.ts";
import { kinds } from "../kube/index.ts";
import { until } from "./shell.ts";
import type { Lab } from "./up.ts";

export const nodeNetworks = async (lab: Lab, cluster: string): Promise<readonly NodeNetwork[]> =>
  (await lab.client(cluster).list(kinds.NodeNetwork)).items;

/** One line for each thing of a node that is not as it should be. */
export function complaints(network: NodeNetwork): readonly string[] {
  const name = network.metadata.name;
  const out: string[] = [];
  if (!network.spec.podBlocks?.length) out.push(`${name}: has no pod block`);
  if (!network.status) return [...out, `${name}: its agent has not reported`];
  for (const session of network.status.sessions ?? [])
    if (session.state !== "Established")
      out.push(
        `${name}: session ${session.peer} is ${session.state}${session.reason ? ` (${session.reason})` : ""}`,
      );
  if ((network.status.sessions ?? []).length === 0) out.push(`${name}: has no session`);
  for (const condition of network.status.conditions ?? [])
    if (condition.type === "Ready" && condition.status !== "True")
      out.push(`${name}: ${condition.reason}: ${condition.message}`);
  return out;
}

/**
 * Waits until a check of the lab complains about nothing.
 * @throws Error with the last complaints after `timeoutMs`
 */
export async function untilQuiet(
  what: string,
  timeoutMs: number,
  check: () => Promise<readonly string[]>,
): Promise<void> {
  let last: readonly string[] = [];
  const done = await until(async () => {
    last = await check();
    return last.length === 0;
  }, timeoutMs);
  if (!done) throw new Error(`${what}: not within ${timeoutMs / 1000} s: ${last.slice(0, 6).join("; ")}`);
}

/** Every node has its blocks, an Established session and nothing to complain of. */
export const nodesReady = (lab: Lab, timeoutMs = 30_000): Promise<void> =>
  untilQuiet("nodes", timeoutMs, async () => {
    const out: string[] = [];
    for (const cluster of lab.topology.clusters) {
      const networks = await nodeNetworks(lab, cluster.name);
      for (const node of cluster.nodes) {
        const network = networks.find((n) => n.metadata.name === node.name);
        out.push(...(network ? complaints(network) : [`${node.name}: has no NodeNetwork`]));
      }
    }
    return out;
  });

/** Every node originates these prefixes of its own cluster. */
export const announced = (
  lab: Lab,
  prefixesOf: (cluster: string) => Promise<readonly string[]>,
  timeoutMs = 20_000,
) =>
  untilQuiet("announcements", timeoutMs, async () => {
    const out: string[] = [];
    for (const cluster of lab.topology.clusters) {
      const prefixes = await prefixesOf(cluster.name);
      if (prefixes.length === 0) out.push(`${cluster.name}: the Service has no address`);
      for (const network of await nodeNetworks(lab, cluster.name))
        for (const prefix of prefixes) {
          const entry = network.status?.announced?.find((a) => a.prefix === prefix);
          if (entry?.state !== "Announced")
            out.push(
              `${network.metadata.name}: ${prefix} is ${entry?.state ?? "not announced"} ${entry?.reason ?? ""}`,
            );
        }
    }
    return out;
  });

/** Every node knows `perCluster` prefixes or more of every other cluster. */
export const learned = (lab: Lab, count: number, timeoutMs = 20_000): Promise<void> =>
  untilQuiet("learned routes", timeoutMs, async () => {
    const out: string[] = [];
    for (const cluster of lab.topology.clusters)
      for (const network of await nodeNetworks(lab, cluster.name)) {
        const routes = network.status?.routes;
        const known = routes?.inFIB ?? 0;
        if (known < count)
          out.push(`${network.metadata.name}: ${known} of ${count} routes of other clusters in its FIB`);
      }
    return out;
  });
