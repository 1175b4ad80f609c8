// bench: memory and idle CPU of one node's agent and speaker, as they are installed, in a cluster of WAGGLE_BENCH_CLUSTER_NODES
// (1000) nodes and WAGGLE_BENCH_CLUSTER_SERVICES (2000) Services with four endpoints each, on the embedded API server.
// Needs root (a network namespace and eBPF) and `make build`. RSS is what ps(1) shows; PSS shares the program's text out.
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { KubernetesObject } from "../src/api/index.ts";
import { claimLabels } from "../src/ipam/index.ts";
import { builtinKinds, type KubeClient, kinds, loadKubeConfig, type Resource } from "../src/kube/index.ts";
import { claimName, parsePrefix } from "../src/net/address.ts";
import { Neighbour, neighbourASN } from "./control-neighbour.ts";
import { report } from "./harness.ts";

const nodes = Number(process.env["WAGGLE_BENCH_CLUSTER_NODES"] ?? 1_000);
const services = Number(process.env["WAGGLE_BENCH_CLUSTER_SERVICES"] ?? 2_000);
const idleSeconds = Number(process.env["WAGGLE_BENCH_IDLE_SECONDS"] ?? 60);
const root = join(import.meta.dirname, "..");
const waggle = join(root, "bin/waggle");
const netns = `wgl-foot-${process.pid}`;
const bpffs = `/sys/fs/bpf/${netns}`;

const spawned: ChildProcess[] = [];
function start(command: readonly string[]): ChildProcess {
  const child = spawn(command[0]!, command.slice(1), { stdio: ["ignore", "ignore", "inherit"] });
  spawned.push(child);
  return child;
}

async function until(what: string, done: () => boolean | Promise<boolean>, ms: number): Promise<void> {
  const end = performance.now() + ms;
  while (!(await done())) {
    if (performance.now() > end) throw new Error(`not within ${ms / 1000} s: ${what}`);
    await sleep(100);
  }
}

/** CPU seconds of a process, and its memory in MiB (proc(5)). */
function usage(pid: number) {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]!.split(" ");
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
  const mib = (name: string): number =>
    Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(rollup)![1]) / 1024;
  return {
    cpu: (Number(stat[11]) + Number(stat[12])) / 100,
    rss: mib("Rss"),
    pss: mib("Pss"),
    own: mib("Private_Dirty") + mib("Private_Clean"),
  };
}

async function each(n: number, run: (i: number) => Promise<unknown>): Promise<void> {
  let next = 0;
  await Promise.all(
    Array.from({ length: 16 }, async () => {
      while (next < n) await run(next++);
    }),
  );
}

const apiVersion = "waggle.dev/v1alpha1";
const forAll = { nodeSelector: {} };
const configuration = (port: number): readonly KubernetesObject[] =>
  [
    {
      kind: "ClusterNetwork",
      metadata: { name: "default" },
      spec: {
        clusterName: "bench",
        clusterID: 1,
        nodes: [{ ...forAll, mode: "Announce", owns: ["VIPs"], localASN: 64601, interfaces: ["eth0"] }],
      },
    },
    {
      kind: "IPPool",
      metadata: { name: "vips" },
      spec: { purpose: "LoadBalancers", blocks: ["10.64.0.0/16"], serviceSelector: {} },
    },
    {
      kind: "BGPPeer",
      metadata: { name: "neighbour" },
      spec: {
        ...forAll,
        address: "127.0.0.1",
        port,
        peerASN: neighbourASN,
        families: ["IPv4Unicast"],
        holdSeconds: 240,
      },
    },
    {
      kind: "BGPAdvertisement",
      metadata: { name: "services" },
      spec: {
        ...forAll,
        peerSelector: {},
        advertise: [{ type: "Services", serviceSelector: {}, addresses: ["LoadBalancerIP"] }],
      },
    },
  ].map((m) => ({ apiVersion, ...m }));

const nodeOf = (i: number): KubernetesObject =>
  ({
    apiVersion: "v1",
    kind: "Node",
    metadata: {
      name: `n${i}`,
      labels: {
        "kubernetes.io/hostname": `n${i}`,
        "kubernetes.io/os": "linux",
        "topology.kubernetes.io/zone": "a",
      },
    },
    status: {
      addresses: [{ type: "InternalIP", address: `10.0.${i >> 8}.${i & 255}` }],
      conditions: [{ type: "Ready", status: "True" }],
      images: Array.from({ length: 20 }, (_, k) => ({
        names: [`registry.example/team/image-${k}@sha256:${"0".repeat(64)}`],
        sizeBytes: 1_000_000 * k,
      })),
    },
  }) as KubernetesObject;

async function createService(api: KubeClient, i: number): Promise<void> {
  const name = `s${i}`;
  const namespace = "default";
  const service = await api.create(kinds.Service, {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name, namespace },
    spec: {
      type: "LoadBalancer",
      loadBalancerClass: "waggle.dev/bgp",
      ports: [{ port: 80, protocol: "TCP" }],
    },
  });
  await api.create(kinds.EndpointSlice, {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { name, namespace, labels: { "kubernetes.io/service-name": name } },
    addressType: "IPv4",
    endpoints: Array.from({ length: 4 }, (_, k) => ({
      addresses: [`10.${1 + k}.${i >> 8}.${i & 255}`],
      nodeName: `n${(i + k) % nodes}`,
      conditions: { ready: true, serving: true, terminating: false },
      targetRef: { kind: "Pod", namespace, name: `${name}-${k}-0123456789` },
    })),
    ports: [{ name: "", port: 8080, protocol: "TCP" }],
  });
  const prefix = parsePrefix(`10.64.${(i >> 8) + 1}.${i & 255}/32`);
  const claim = await api.create(kinds.IPAllocation, {
    apiVersion,
    kind: "IPAllocation",
    metadata: { name: claimName(prefix), labels: claimLabels(prefix, "vips") },
    spec: {
      prefix: `10.64.${(i >> 8) + 1}.${i & 255}/32`,
      pool: "vips",
      owner: { kind: "Service", namespace, name, uid: service.metadata.uid! },
    },
  });
  await api.patchStatus(kinds.IPAllocation, claim.metadata.name, { phase: "Bound" });
  const ingress = [{ ip: `10.64.${(i >> 8) + 1}.${i & 255}` }];
  await api.patchStatus(kinds.Service, name, { loadBalancer: { ingress } }, { namespace });
}

const directory = mkdtempSync(join(tmpdir(), "waggle-footprint-"));
const path = (name: string): string => join(directory, name);
const ip = (...args: string[]): void => void execFileSync("ip", ["-n", netns, ...args]);

if (process.getuid?.() !== 0) {
  process.stderr.write("footprint: skipped, needs root\n");
  process.exit(0);
}
using neighbour = new Neighbour();
try {
  const port = await neighbour.listen();
  execFileSync("ip", ["netns", "add", netns]);
  mkdirSync(bpffs);
  ip("link", "set", "lo", "up");
  ip("link", "add", "eth0", "type", "veth", "peer", "name", "fabric");
  ip("link", "set", "fabric", "up");
  ip("addr", "add", "10.0.0.0/16", "dev", "eth0");
  ip("link", "set", "eth0", "up");
  const kubeconfig = path("kubeconfig");
  start([
    waggle,
    "apiserver",
    "--memory",
    "--kubeconfig",
    kubeconfig,
    "--socket",
    path("api.sock"),
    "--crds",
    join(root, "crds"),
  ]);
  await until("the API server", () => existsSync(kubeconfig), 30_000);
  const { client: api } = await loadKubeConfig({ kubeconfig });
  await until(
    "its answer",
    async () => (await api.list(kinds.Node).catch(() => undefined)) !== undefined,
    30_000,
  );
  await api.create(builtinKinds.Namespace, {
    apiVersion: "v1",
    kind: "Namespace",
    metadata: { name: "waggle-system" },
  } as never);
  for (const object of configuration(port)) {
    const kind = (Object.values(kinds) as Resource[]).find((k) => k.kind === object.kind)!;
    await api.create(kind, object);
  }
  await each(nodes, (i) => api.create(kinds.Node as Resource, nodeOf(i)));
  await each(services, (i) => createService(api, i));
  await api.create(kinds.NodeNetwork, {
    apiVersion,
    kind: "NodeNetwork",
    metadata: { name: "n0" },
    spec: {},
  });

  const speaker = start([waggle, "bgpd", "--socket", path("bgpd.sock"), "--log-level", "warn"]);
  const agent = start([
    "nsenter",
    `--net=/run/netns/${netns}`,
    "--",
    waggle,
    "agent",
    ...["--node", "n0", "--kubeconfig", kubeconfig, "--socket", path("api.sock"), "--bpffs", bpffs],
    ...["--state-dir", path("state"), "--speaker-socket", path("bgpd.sock"), "--cache-dir", path("cache")],
    ...["--cni-conf-dir", path("cni"), "--cni-data-dir", path("cni-data"), "--log-level", "warn"],
  ]);
  await until(
    "every address is announced",
    () => [...neighbour.heard.values()].some((m) => m.size >= services),
    300_000,
  );
  // What the start needed has gone by then.
  await sleep(idleSeconds * 500);
  const who = { agent: agent.pid!, speaker: speaker.pid! };
  const before = { agent: usage(who.agent), speaker: usage(who.speaker) };
  await sleep(idleSeconds * 1_000);
  const after = { agent: usage(who.agent), speaker: usage(who.speaker) };
  const name = `${nodes} nodes, ${services} Services`;
  for (const process of ["agent", "speaker"] as const) {
    report("control", `${name}: ${process}, resident`, "MiB", [after[process].rss]);
    report("control", `${name}: ${process}, its share (PSS)`, "MiB", [after[process].pss]);
    report("control", `${name}: ${process}, its own alone`, "MiB", [after[process].own]);
    report("control", `${name}: ${process}, idle`, "% of a core", [
      ((after[process].cpu - before[process].cpu) / idleSeconds) * 100,
    ]);
  }
  report("control", `${name}: agent and speaker, resident`, "MiB", [after.agent.rss + after.speaker.rss]);
  await api[Symbol.asyncDispose]();
} finally {
  for (const child of spawned.toReversed()) {
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGTERM");
    await Promise.race([ended, sleep(5_000)]);
    child.kill("SIGKILL");
  }
  execFileSync(
    "nsenter",
    [
      `--net=/run/netns/${netns}`,
      "--",
      waggle,
      "agent",
      "cleanup",
      "--node",
      "n0",
      "--bpffs",
      bpffs,
      "--state-dir",
      path("state"),
    ],
    {
      stdio: "ignore",
    },
  );
  execFileSync("ip", ["netns", "del", netns]);
  if (existsSync(bpffs)) rmdirSync(bpffs);
  rmSync(directory, { recursive: true, force: true });
}
