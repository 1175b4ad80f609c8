// lab: pods as a kubelet would make them: namespace, owner entry, CNI, process; and the Service in front of them.
import { mkdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { KubernetesObject } from "../api/index.ts";
import { cgroupId } from "../kernel/cgroup.ts";
import { netnsCookie } from "../kernel/netns.ts";
import { kinds } from "../kube/index.ts";
import { openOwners } from "../trace/owners.ts";
import { applyObjects, endpointSlices, registerPod } from "./cluster.ts";
import { attach, readConflist } from "./cni.ts";
import { controlPlaneOf } from "./control-plane.ts";
import { nodeCgroup, podCgroup } from "./exec.ts";
import { waggle } from "./launcher.ts";
import { webService } from "./manifests.ts";
import { makePodNamespace } from "./network.ts";
import { makeCgroup } from "./processes.ts";
import { until } from "./shell.ts";
import type { PodRecord } from "./state.ts";
import { type LabCluster, type LabNode, limits, netnsPrefix } from "./topology.ts";
import type { Lab } from "./up.ts";

/** Port on which the demo's pods serve. */
export const webPort = 8080;

const ownersDirectory = (lab: Lab): string => join(lab.state.bpffs, "owners");

/** The only namespace of the lab's pods, and what owner maps call it. */
const namespaces = { 1: "default" } as const;

/** Names behind the numbers in the owner maps, for every agent of the lab. */
function writeOwnerNames(lab: Lab): void {
  const path = join(lab.state.directory, "owners.json");
  const nodes = Object.fromEntries(
    lab.topology.clusters.flatMap((c) => c.nodes.map((n) => [n.index, n.name] as const)),
  );
  const pods = Object.fromEntries(lab.state.pods.map((p) => [p.id, p.name] as const));
  writeFileSync(`${path}.new`, JSON.stringify({ nodes, pods, namespaces }));
  renameSync(`${path}.new`, path);
}

/** Registers every node's namespace and cgroup in the owner maps that all agents of the lab share. */
export function registerNodes(lab: Lab): void {
  mkdirSync(ownersDirectory(lab), { recursive: true });
  using owners = openOwners(ownersDirectory(lab));
  for (const cluster of lab.topology.clusters)
    for (const node of cluster.nodes) {
      const owner = { node: node.index, pod: 0, namespace: 0 };
      const cgroup = join(lab.state.cgroup, nodeCgroup(node.name));
      makeCgroup(cgroup);
      owners.registerNetns(netnsCookie(`/run/netns/${node.netns}`), owner);
      owners.registerCgroup(cgroupId(cgroup), owner);
    }
  writeOwnerNames(lab);
}

export interface PodRequest {
  readonly name: string;
  readonly app: string;
  /** Starts the web server in it. */
  readonly serve: boolean;
}

/**
 * Makes a pod on a node. Waits up to 20 s for the agent's conflist, as a kubelet does.
 * @throws Error when there is none by then, or the plugins refuse
 */
export async function startPod(
  lab: Lab,
  cluster: LabCluster,
  node: LabNode,
  request: PodRequest,
): Promise<PodRecord> {
  if (lab.state.pods.filter((p) => p.node === node.name).length >= limits.podsPerNode)
    throw new Error(`${node.name} has ${limits.podsPerNode} pods already, the lab's limit`);
  const directory = join(lab.state.directory, node.name);
  const conflist = await until(() => readConflist(join(directory, "cni/net.d")), 20_000);
  if (!conflist)
    throw new Error(
      `the agent of ${node.name} wrote no CNI configuration within 20 s; see ${directory}/agent.log`,
    );
  const netns = `${netnsPrefix(lab.state.lab)}${request.name}`;
  const record: PodRecord = {
    name: request.name,
    id: Math.max(0, ...lab.state.pods.map((p) => p.id)) + 1,
    cluster: cluster.name,
    node: node.name,
    namespace: "default",
    netns,
    app: request.app,
    addresses: [],
  };
  lab.update((s) => ({ ...s, pods: [...s.pods, record] }));
  writeOwnerNames(lab);
  await makePodNamespace(netns, lab.topology.family);
  const cgroup = join(lab.state.cgroup, podCgroup(node.name, request.name));
  makeCgroup(cgroup);
  {
    // Before the pod's first packet: an event that comes earlier would belong to nobody.
    using owners = openOwners(ownersDirectory(lab));
    const owner = { node: node.index, pod: record.id, namespace: 1 };
    owners.registerNetns(netnsCookie(`/run/netns/${netns}`), owner);
    owners.registerCgroup(cgroupId(cgroup), owner);
  }
  const addresses = await attach({
    nodeNetns: node.netns,
    podNetns: netns,
    containerID: request.name,
    conflist,
  });
  const ready: PodRecord = { ...record, addresses };
  lab.update((s) => ({ ...s, pods: s.pods.map((p) => (p.id === record.id ? ready : p)) }));
  if (request.serve)
    lab.start({
      name: `pod-${request.name}`,
      netns,
      cgroup,
      command: waggle(
        "lab",
        "workload",
        "serve",
        "--port",
        String(webPort),
        "--name",
        `${request.name} on ${node.name}`,
      ),
      log: join(directory, `${request.name}.log`),
    });
  await registerPod(lab.client(cluster.name), ready);
  return ready;
}

/** The web pods of every cluster, two on its last node and one on the node before, so that a Service has remote backends. */
export async function startWebPods(lab: Lab, note: (text: string) => void = () => undefined): Promise<void> {
  for (const cluster of lab.topology.clusters) {
    const last = cluster.nodes.at(-1)!;
    const before = cluster.nodes.at(-2) ?? last;
    for (const [i, node] of [before, last, last].entries()) {
      const pod = await startPod(lab, cluster, node, {
        name: `${cluster.name}-web-${i + 1}`,
        app: "web",
        serve: true,
      });
      note(`${pod.name} on ${pod.node}: ${pod.addresses.join(" ")}`);
    }
  }
}

/**
 * Applies a Service of the web pods. Where no controller manager runs, its EndpointSlices are written, too: there they are
 * nobody else's work.
 */
export async function applyService(lab: Lab, cluster: LabCluster, service: KubernetesObject): Promise<void> {
  const pods = lab.state.pods.filter((p) => p.cluster === cluster.name && p.app === "web");
  const slices = controlPlaneOf(lab) === "real" ? [] : endpointSlices(service.metadata.name, pods, webPort);
  await applyObjects(lab.client(cluster.name), [service, ...slices]);
}

/** Applies the web Service of every cluster. */
export async function applyWebService(lab: Lab): Promise<void> {
  for (const cluster of lab.topology.clusters)
    await applyService(lab, cluster, webService(lab.topology.family));
}

/** VIPs of the web Service of a cluster as they are now, IPv4 first. */
export async function webVips(lab: Lab, cluster: string): Promise<readonly string[]> {
  const service = await lab.client(cluster).get(kinds.Service, "web", { namespace: "default" });
  const ips = (service.status?.loadBalancer?.ingress ?? []).flatMap((i) => (i.ip ? [i.ip] : []));
  return ips.toSorted((a, b) => Number(a.includes(":")) - Number(b.includes(":")));
}
