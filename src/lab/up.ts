// lab: brings a lab up, step by step, and writes down each thing before it exists so that it can always be taken down.
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import type { KubeClient } from "../kube/index.ts";
import { adminClient } from "./cluster.ts";
import { labCgroup, labPins, mountFileSystems } from "./host.ts";
import { fabricMTU, labNamespaces, makeNetwork } from "./network.ts";
import { makeCgroup, type ProcessRecord, type StartOptions, start } from "./processes.ts";
import { missingFor } from "./requirements.ts";
import {
  type ClusterRecord,
  frrDirectory,
  type LabOptions,
  type LabState,
  type RouterRecord,
  readState,
  stateDirectory,
  writeState,
} from "./state.ts";
import { type LabCluster, type Topology, topology } from "./topology.ts";

export interface UpOptions extends LabOptions {
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

  /** A cgroup below the lab's, made where it is missing. */
  cgroup(path: string): string {
    const full = join(this.#state.cgroup, path);
    makeCgroup(full);
    return full;
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

/** A client of the administrator of one cluster; a real API server is on TCP alone, its socket is a relay for the nodes. */
export const clientOf = (state: LabState, cluster: ClusterRecord): Promise<KubeClient> =>
  adminClient(cluster.kubeconfig, state.options.kubernetes === "real" ? undefined : cluster.apiSocket);

/** Opens a lab that is up. @throws Error when there is none */
export async function openLab(lab: string): Promise<Lab> {
  const state = readState(lab);
  if (!state) throw new Error(`there is no lab ${JSON.stringify(lab)}; bring one up: waggle lab up`);
  const opened = new Lab(state);
  for (const cluster of state.clusters)
    if (existsSync(cluster.kubeconfig)) opened.clients.set(cluster.name, await clientOf(state, cluster));
  return opened;
}

function recordOf(directory: string, options: LabOptions, cluster: LabCluster): ClusterRecord {
  const routers = cluster.routers.map((r): RouterRecord => {
    const own = join(directory, cluster.routers.length > 1 ? r.name : cluster.name);
    const controlSocket =
      options.router === "frr" ? join(frrDirectory(options.lab), r.name, "bgpd.vty") : join(own, "bird.ctl");
    return { name: r.name, netns: r.netns, controlSocket, directory: own };
  });
  return {
    name: cluster.name,
    id: cluster.id,
    kubeconfig: join(directory, cluster.name, "admin.kubeconfig"),
    apiSocket: join(directory, cluster.name, "api.sock"),
    router: routers[0]!,
    routers,
    client: { name: cluster.client.name, netns: cluster.client.netns },
    nodes: cluster.nodes.map((n) => ({ name: n.name, netns: n.netns, directory: join(directory, n.name) })),
  };
}

/** Writes the plan down and makes mounts, cgroup and namespaces. */
export async function makeLab(options: UpOptions): Promise<Lab> {
  const { dciMTU, bgpPassword: _password, stripCommunities: _strip, ...kept } = options;
  const plan = topology(kept);
  const { lab } = kept;
  const missing = missingFor(kept);
  if (missing) throw new Error(`this lab needs ${missing}`);
  if (readState(lab) || labNamespaces(lab).length > 0)
    throw new Error(`lab ${JSON.stringify(lab)} is there already; take it down first: waggle lab down`);
  const directory = stateDirectory(lab);
  const made = new Lab({
    lab,
    directory,
    options: kept,
    startedAt: new Date().toISOString(),
    bpffs: labPins(lab),
    cgroup: labCgroup(lab),
    mounts: [],
    clusters: plan.clusters.map((c) => recordOf(directory, kept, c)),
    processes: [],
    pods: [],
  });
  made.update((s) => s);
  const mounts = await mountFileSystems();
  made.update((s) => ({ ...s, mounts }));
  makeCgroup(made.state.cgroup);
  mkdirSync(made.state.bpffs, { recursive: true });
  await makeNetwork(plan, dciMTU ?? fabricMTU);
  return made;
}
