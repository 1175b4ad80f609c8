// lab: control planes and operators of clusters, and everything else in the order in which a fleet comes up.
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type KubeClient, kinds } from "../kube/index.ts";
import {
  adminClient,
  applyBase,
  applyObjects,
  operatorIdentity,
  readManifests,
  registerNode,
} from "./cluster.ts";
import { installation, waggle } from "./launcher.ts";
import { clusterManifests, passwordObject } from "./manifests.ts";
import { startAgent, startSpeaker } from "./nodes.ts";
import { isAlive, type ProcessRecord } from "./processes.ts";
import {
  findAssets,
  lastWords,
  type milestones,
  missingAssets,
  planReal,
  type RealOptions,
  realUser,
  untilReal,
} from "./real.ts";
import { until } from "./shell.ts";
import type { ControlPlane } from "./state.ts";
import type { Addresses, LabCluster } from "./topology.ts";
import { clientOf, type Lab } from "./up.ts";

export const controlPlaneOf = (lab: Lab): ControlPlane => lab.state.options.kubernetes ?? "embedded";

const serviceRange: Readonly<Record<keyof Addresses, string>> = {
  ipv4: "10.96.0.0/16",
  ipv6: "fd00:10:96::/112",
};

/** Ranges of the Services' cluster addresses, in the lab's families. */
const serviceRanges = (lab: Lab): readonly string[] =>
  (["ipv4", "ipv6"] as const)
    .filter((f) => lab.topology.family === "dual" || lab.topology.family === f)
    .map((f) => serviceRange[f]);

const directoryOf = (lab: Lab, cluster: LabCluster): string => join(lab.state.directory, cluster.name);
const cgroupOf = (lab: Lab, cluster: LabCluster): string => lab.cgroup(`${cluster.name}-control-plane`);

async function keepClient(lab: Lab, cluster: LabCluster, client: KubeClient): Promise<void> {
  await lab.clients.get(cluster.name)?.[Symbol.asyncDispose]();
  lab.clients.set(cluster.name, client);
}

/** A fixed port where a person may have the kubeconfig in use; the server keeps any other by itself. */
function apiListen(lab: Lab, cluster: LabCluster): string {
  const port = lab.state.options.lab === "default" ? 16_440 + cluster.id : 0;
  return `127.0.0.1:${port}`;
}

async function startEmbedded(lab: Lab, cluster: LabCluster): Promise<void> {
  const record = lab.state.clusters[cluster.id - 1]!;
  const directory = directoryOf(lab, cluster);
  mkdirSync(directory, { recursive: true });
  const process = lab.start({
    name: `${cluster.name}-apiserver`,
    cgroup: cgroupOf(lab, cluster),
    command: waggle(
      "apiserver",
      ...["--data-dir", join(directory, "data"), "--listen", apiListen(lab, cluster)],
      ...["--socket", record.apiSocket, "--kubeconfig", record.kubeconfig],
      ...["--crds", join(installation(), "crds"), "--cluster-name", cluster.name],
      ...["--service-cidr", ...serviceRanges(lab)],
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
  await keepClient(lab, cluster, client);
}

function realOptions(lab: Lab, cluster: LabCluster): RealOptions {
  const assets = findAssets("plane");
  if (!assets) throw new Error(`this lab needs ${missingAssets}`);
  return {
    assets,
    directory: join(directoryOf(lab, cluster), "real"),
    name: cluster.name,
    controllerManager: true,
    serviceRanges: serviceRanges(lab),
  };
}

/** Starts those programs of a real control plane that `only` names. */
async function startPrograms(lab: Lab, cluster: LabCluster, only: (name: string) => boolean): Promise<void> {
  const plane = await planReal(realOptions(lab, cluster));
  const record = lab.state.clusters[cluster.id - 1]!;
  writeFileSync(record.kubeconfig, plane.kubeconfig, { mode: 0o600 });
  const programs = [
    ...plane.programs,
    {
      name: "relay",
      command: waggle("lab", "relay", "--socket", record.apiSocket, "--to", `127.0.0.1:${plane.port}`),
    },
  ];
  for (const { name, command } of programs.filter((p) => only(p.name)))
    lab.start({
      name: `${cluster.name}-${name}`,
      cgroup: cgroupOf(lab, cluster),
      command,
      log: join(directoryOf(lab, cluster), `${name}.log`),
    });
}

/** Waits for a milestone of the API server's. @throws Error with the last words of what has ended or is not ready */
async function untilReached(
  lab: Lab,
  cluster: LabCluster,
  client: KubeClient,
  milestone: keyof typeof milestones,
): Promise<void> {
  const needed = { ready: ["etcd", "apiserver"], takesPods: ["etcd", "apiserver", "controller-manager"] };
  const processes = needed[milestone].map(
    (name) => lab.state.processes.find((p) => p.name === `${cluster.name}-${name}`)!,
  );
  const dead = (): ProcessRecord | undefined => processes.find((p) => !isAlive(p));
  try {
    await untilReal(client, milestone, () => dead()?.name);
  } catch (error) {
    const { log } = dead() ?? processes.at(-1)!;
    throw new Error(`${cluster.name}: ${(error as Error).message}; see ${log}:\n${lastWords(log)}`);
  }
}

/** Waits for the API server and keeps a client of it. */
async function untilServes(lab: Lab, cluster: LabCluster): Promise<KubeClient> {
  const client = await clientOf(lab.state, lab.state.clusters[cluster.id - 1]!);
  try {
    await untilReached(lab, cluster, client, "ready");
  } catch (error) {
    await client[Symbol.asyncDispose]();
    throw error;
  }
  await keepClient(lab, cluster, client);
  return client;
}

/** Our kinds, as whoever installs Waggle applies them; waits until they are served. */
async function applyDefinitions(client: KubeClient): Promise<void> {
  const directory = join(installation(), "crds");
  const definitions = readdirSync(directory)
    .filter((f) => f.endsWith(".yaml"))
    .flatMap((f) => readManifests(readFileSync(join(directory, f), "utf8")));
  await applyObjects(client, definitions);
  const served = await until(async () => {
    const { items } = await client.list(kinds.CustomResourceDefinition);
    const established = items.filter((d) =>
      d.status?.conditions?.some((c) => c.type === "Established" && c.status === "True"),
    );
    return established.length >= definitions.length;
  }, 30_000);
  if (!served) throw new Error("our kinds are not established within 30 s");
}

/** The names of a cluster's control plane's processes, in the order in which they start. */
export const controlPlaneProcesses = (lab: Lab, cluster: LabCluster): readonly string[] =>
  (controlPlaneOf(lab) === "real" ? ["etcd", "apiserver", "controller-manager", "relay"] : ["apiserver"]).map(
    (name) => `${cluster.name}-${name}`,
  );

/** Starts one process of a control plane again; an API server serves when this returns. */
export async function startControlPlaneProcess(lab: Lab, cluster: LabCluster, name: string): Promise<void> {
  if (controlPlaneOf(lab) === "embedded") return startEmbedded(lab, cluster);
  await startPrograms(lab, cluster, (program) => `${cluster.name}-${program}` === name);
  if (name.endsWith("-apiserver")) await untilServes(lab, cluster);
}

/** Starts the control plane of a cluster and waits until it serves our kinds. */
export async function startControlPlane(lab: Lab, cluster: LabCluster): Promise<void> {
  if (controlPlaneOf(lab) === "embedded") return startEmbedded(lab, cluster);
  mkdirSync(directoryOf(lab, cluster), { recursive: true });
  const manager = "controller-manager";
  await startPrograms(lab, cluster, (name) => name !== manager);
  const client = await untilServes(lab, cluster);
  await startPrograms(lab, cluster, (name) => name === manager);
  await applyDefinitions(client);
  await untilReached(lab, cluster, client, "takesPods");
}

/** A kubeconfig of an ordinary user of a cluster; what the user may do is said by RBAC. Returns its path. */
export async function makeUser(lab: Lab, cluster: LabCluster, user: string): Promise<string> {
  const directory = directoryOf(lab, cluster);
  const file = join(directory, `${user}.kubeconfig`);
  if (controlPlaneOf(lab) === "real") {
    writeFileSync(file, await realUser(realOptions(lab, cluster), user), { mode: 0o600 });
    return file;
  }
  const [program, ...args] = waggle(
    ...["apiserver", "user", "--data-dir", join(directory, "data"), "--name", user, "--kubeconfig", file],
  );
  execFileSync(program!, args, { stdio: "pipe" });
  return file;
}

/** Starts (or starts again) the operator of a cluster. */
export async function startOperator(lab: Lab, cluster: LabCluster): Promise<void> {
  const directory = directoryOf(lab, cluster);
  const record = lab.state.clusters[cluster.id - 1]!;
  const kubeconfig = await operatorIdentity(lab.client(cluster.name), record.kubeconfig, directory);
  lab.start({
    name: `${cluster.name}-operator`,
    cgroup: cgroupOf(lab, cluster),
    command: waggle(
      "operator",
      ...["--kubeconfig", kubeconfig, "--socket", record.apiSocket, "--hub-listen", "127.0.0.1:0"],
      ...["--hub-socket", join(directory, "hub.sock"), "--state-dir", join(directory, "operator")],
    ),
    log: join(directory, "operator.log"),
  });
}

/** Control planes, operators, speakers and agents of all clusters; returns when every process runs. */
export async function startClusters(lab: Lab, note: (text: string) => void = () => undefined): Promise<void> {
  await Promise.all(
    lab.topology.clusters.map(async (cluster) => {
      await startControlPlane(lab, cluster);
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

/** Applies the manifests of examples/two-clusters, made for this lab. `password`: what its routers ask for. */
export async function applyManifests(lab: Lab, password: string | undefined): Promise<void> {
  await Promise.all(
    lab.topology.clusters.map((cluster) =>
      applyObjects(lab.client(cluster.name), [
        ...(password === undefined ? [] : [passwordObject(password)]),
        ...clusterManifests(lab.topology, cluster, password !== undefined),
      ]),
    ),
  );
}
