// lab: brings a lab up, step by step, and writes down each thing before it exists so that it can always be taken down.
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { KubeClient } from "../kube/index.ts";
import { birdConfig } from "./bird.ts";
import {
  adminClient,
  agentIdentity,
  applyBase,
  applyObjects,
  operatorIdentity,
  registerNode,
} from "./cluster.ts";
import { nodeCgroup } from "./exec.ts";
import { labCgroup, labPins, mountFileSystems } from "./host.ts";
import { installation, waggle } from "./launcher.ts";
import { clusterManifests } from "./manifests.ts";
import { fabricMTU, labNamespaces, makeNetwork } from "./network.ts";
import { makeCgroup, type ProcessRecord, type StartOptions, start } from "./processes.ts";
import { run, until } from "./shell.ts";
import { type LabState, readState, stateDirectory, writeState } from "./state.ts";
import { type LabCluster, type LabNode, type Topology, type TopologyOptions, topology } from "./topology.ts";

export interface UpOptions extends TopologyOptions {
  /** MTU of the links between data centres, in bytes. */
  readonly dciMTU?: number;
  /** TCP-MD5 password that the routers ask for. */
  readonly bgpPassword?: string;
  readonly stripCommunities?: boolean;
}

/** A running lab: its state on disk and clients of its clusters. */
export class Lab implements AsyncDisposable {
  readonly topology: Topology;
  readonly clients = new Map<string, KubeClient>();
  #state: LabState;

  constructor(state: LabState) {
    this.topology = topology(state.options);
    this.#state = state;
  }

  get state(): LabState {
    return this.#state;
  }

  /** Changes the written state; the file is never behind what exists. */
  update(change: (state: LabState) => LabState): void {
    this.#state = change(this.#state);
    writeState(this.#state);
  }

  client(cluster: string): KubeClient {
    const client = this.clients.get(cluster);
    if (!client) throw new Error(`cluster ${cluster} is not up`);
    return client;
  }

  /** Starts a daemon and writes it down; one of the same name is replaced. */
  start(options: StartOptions): ProcessRecord {
    const record = start(options);
    this.update((s) => ({ ...s, processes: [...s.processes.filter((p) => p.name !== record.name), record] }));
    return record;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.clients.values()) await client[Symbol.asyncDispose]();
    this.clients.clear();
  }
}

/** Opens a lab that is up. @throws Error when there is none */
export async function openLab(lab: string): Promise<Lab> {
  const state = readState(lab);
  if (!state) throw new Error(`there is no lab ${JSON.stringify(lab)}; bring one up: waggle lab up`);
  const opened = new Lab(state);
  for (const cluster of state.clusters)
    if (existsSync(cluster.kubeconfig))
      opened.clients.set(cluster.name, await adminClient(cluster.kubeconfig, cluster.apiSocket));
  return opened;
}

/** Writes the plan down and makes mounts, cgroup and namespaces. */
export async function makeLab(options: UpOptions): Promise<Lab> {
  const plan = topology(options);
  const { lab } = options;
  if (readState(lab) || labNamespaces(lab).length > 0)
    throw new Error(`lab ${JSON.stringify(lab)} is there already; take it down first: waggle lab down`);
  const directory = stateDirectory(lab);
  const made = new Lab({
    lab,
    directory,
    options: { lab, clusters: options.clusters, nodes: options.nodes },
    startedAt: new Date().toISOString(),
    bpffs: labPins(lab),
    cgroup: labCgroup(lab),
    mounts: [],
    clusters: plan.clusters.map((c) => ({
      name: c.name,
      id: c.id,
      kubeconfig: join(directory, c.name, "admin.kubeconfig"),
      apiSocket: join(directory, c.name, "api.sock"),
      router: {
        name: c.router.name,
        netns: c.router.netns,
        controlSocket: join(directory, c.name, "bird.ctl"),
      },
      client: { name: c.client.name, netns: c.client.netns },
      nodes: c.nodes.map((n) => ({ name: n.name, netns: n.netns, directory: join(directory, n.name) })),
    })),
    processes: [],
    pods: [],
  });
  made.update((s) => s);
  const mounts = await mountFileSystems();
  made.update((s) => ({ ...s, mounts }));
  makeCgroup(made.state.cgroup);
  mkdirSync(made.state.bpffs, { recursive: true });
  await makeNetwork(plan, options.dciMTU ?? fabricMTU);
  return made;
}

/** Starts BIRD in each router. */
export function startRouters(
  lab: Lab,
  options: Pick<UpOptions, "bgpPassword" | "stripCommunities"> = {},
): void {
  for (const cluster of lab.topology.clusters) {
    const directory = join(lab.state.directory, cluster.name);
    mkdirSync(directory, { recursive: true });
    const config = join(directory, "bird.conf");
    writeFileSync(
      config,
      birdConfig(lab.topology, cluster, {
        ...(options.bgpPassword ? { password: options.bgpPassword } : {}),
        ...(options.stripCommunities ? { stripCommunities: true } : {}),
      }),
      { mode: 0o600 },
    );
    lab.start({
      name: cluster.router.name,
      netns: cluster.router.netns,
      cgroup: ensureCgroup(lab, cluster.router.name),
      command: ["bird", "-f", "-c", config, "-s", join(directory, "bird.ctl")],
      log: join(directory, "bird.log"),
    });
  }
}

function ensureCgroup(lab: Lab, path: string): string {
  const full = join(lab.state.cgroup, path);
  makeCgroup(full);
  return full;
}

/** Starts the API server of a cluster and waits until it serves. */
export async function startApiServer(lab: Lab, cluster: LabCluster): Promise<void> {
  const record = lab.state.clusters[cluster.id - 1]!;
  const directory = join(lab.state.directory, cluster.name);
  mkdirSync(directory, { recursive: true });
  const process = lab.start({
    name: `${cluster.name}-apiserver`,
    cgroup: ensureCgroup(lab, `${cluster.name}-control-plane`),
    command: waggle(
      "apiserver",
      ...[
        "--data-dir",
        join(directory, "data"),
        "--listen",
        apiListen(lab, cluster),
        "--socket",
        record.apiSocket,
      ],
      ...[
        "--kubeconfig",
        record.kubeconfig,
        "--crds",
        join(installation(), "crds"),
        "--cluster-name",
        cluster.name,
      ],
    ),
    log: join(directory, "apiserver.log"),
  });
  const client = await until(async () => {
    if (!existsSync(record.kubeconfig) || !existsSync(record.apiSocket)) return undefined;
    const candidate = await adminClient(record.kubeconfig, record.apiSocket);
    try {
      await candidate.raw({ method: "GET", path: "/readyz", retries: 0 });
      return candidate;
    } catch {
      // Not there yet; the time limit around this decides when that becomes an error.
      await candidate[Symbol.asyncDispose]();
      return undefined;
    }
  }, 20_000);
  if (!client)
    throw new Error(`API server of ${cluster.name} did not get ready within 20 s; see ${process.log}`);
  await lab.clients.get(cluster.name)?.[Symbol.asyncDispose]();
  lab.clients.set(cluster.name, client);
}

/** Any port the first time, the same one after a restart, so that kubeconfigs stay true. */
function apiListen(lab: Lab, cluster: LabCluster): string {
  const port = lab.state.options.lab === "default" ? 16_440 + cluster.id : 0;
  return `127.0.0.1:${port}`;
}

/** Starts (or starts again) the operator of a cluster. */
export async function startOperator(lab: Lab, cluster: LabCluster): Promise<void> {
  const directory = join(lab.state.directory, cluster.name);
  const record = lab.state.clusters[cluster.id - 1]!;
  const kubeconfig = await operatorIdentity(lab.client(cluster.name), record.kubeconfig, directory);
  lab.start({
    name: `${cluster.name}-operator`,
    cgroup: ensureCgroup(lab, `${cluster.name}-control-plane`),
    command: waggle(
      "operator",
      ...["--kubeconfig", kubeconfig, "--socket", record.apiSocket, "--hub-listen", "127.0.0.1:0"],
      ...["--hub-socket", join(directory, "hub.sock"), "--state-dir", join(directory, "operator")],
    ),
    log: join(directory, "operator.log"),
  });
}

/** Starts (or starts again) the speaker of a node. */
export function startSpeaker(lab: Lab, node: LabNode): ProcessRecord {
  const directory = join(lab.state.directory, node.name);
  mkdirSync(directory, { recursive: true });
  return lab.start({
    name: `${node.name}-bgpd`,
    netns: node.netns,
    cgroup: ensureCgroup(lab, nodeCgroup(node.name)),
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
    cgroup: ensureCgroup(lab, nodeCgroup(node.name)),
    command: agentCommand(lab, cluster, node),
    log: join(directory, "agent.log"),
  });
}

/** Control planes, operators, speakers and agents of all clusters; returns when every process runs. */
export async function startClusters(lab: Lab, note: (text: string) => void = () => undefined): Promise<void> {
  await Promise.all(
    lab.topology.clusters.map(async (cluster) => {
      await startApiServer(lab, cluster);
      note(`${cluster.name}: API server serves`);
      const client = lab.client(cluster.name);
      await applyBase(client);
      for (const node of cluster.nodes) await registerNode(client, node);
      await startOperator(lab, cluster);
      for (const node of cluster.nodes) {
        startSpeaker(lab, node);
        await startAgent(lab, cluster, node);
      }
      note(`${cluster.name}: operator, ${cluster.nodes.length} agents and speakers started`);
    }),
  );
}

/** Applies the manifests of examples/two-clusters, made for this lab's size. */
export async function applyManifests(lab: Lab): Promise<void> {
  await Promise.all(
    lab.topology.clusters.map((cluster) =>
      applyObjects(lab.client(cluster.name), clusterManifests(lab.topology, cluster)),
    ),
  );
}

/** What BIRD of a cluster's router says, without its greeting. */
export async function birdc(lab: Lab, cluster: string, ...command: readonly string[]): Promise<string> {
  const socket = lab.state.clusters.find((c) => c.name === cluster)!.router.controlSocket;
  return (await run("birdc", ["-r", "-s", socket, ...command])).replace(
    /^(BIRD .* ready\.|Access restricted)\n/gm,
    "",
  );
}
