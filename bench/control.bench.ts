// bench: the control plane: from applying a Service to the UPDATE at a neighbour, with real operator, agents' loops and speakers
// on the embedded API server; writes while nothing happens; addresses given out beside the server's own create rate.
// WAGGLE_BENCH_SERVICES (default 100,1000), WAGGLE_BENCH_NODES (default 10,100), WAGGLE_BENCH_SAMPLES (default 60).
//
// All nodes share this machine, so that what a real fleet does on a hundred machines is done here on its few cores: node 0 runs in
// a process of its own and is what is measured; the others make their load, at a lower priority.
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { KubernetesObject, Service } from "../src/api/index.ts";
import { builtinKinds, type KubeClient, kinds, loadKubeConfig, type Resource } from "../src/kube/index.ts";
import { Neighbour, neighbourASN } from "./control-neighbour.ts";
import { report } from "./harness.ts";

const list = (name: string, otherwise: string): readonly number[] =>
  (process.env[name] ?? otherwise).split(",").map(Number);
const samples = Number(process.env["WAGGLE_BENCH_SAMPLES"] ?? 60);
const root = join(import.meta.dirname, "..");
const apiVersion = "waggle.dev/v1alpha1" as const;

async function until(what: string, done: () => boolean | Promise<boolean>, ms: number): Promise<void> {
  const end = performance.now() + ms;
  while (!(await done())) {
    if (performance.now() > end) throw new Error(`not within ${ms / 1000} s: ${what}`);
    await sleep(20);
  }
}

/** CPU seconds of a process, and its resident memory in MiB (proc(5)). */
function usage(pid: number): { readonly cpu: number; readonly rss: number } {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]!.split(" ");
  return { cpu: (Number(fields[11]) + Number(fields[12])) / 100, rss: (Number(fields[21]) * 4096) / 2 ** 20 };
}

const spawned = new Set<ChildProcess>();
function start(args: readonly string[], nice = 0): ChildProcess {
  const child = spawn("nice", ["-n", String(nice), process.execPath, ...args], {
    cwd: root,
    stdio: ["ignore", "pipe", "inherit"],
  });
  child.stdout!.resume();
  spawned.add(child);
  return child;
}
async function stop(...children: readonly ChildProcess[]): Promise<void> {
  for (const child of children) {
    spawned.delete(child);
    if (child.exitCode !== null || child.signalCode !== null) continue;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGTERM");
    await Promise.race([ended, sleep(5_000)]);
    child.kill("SIGKILL");
  }
}
process.once("exit", () => {
  for (const child of spawned) child.kill("SIGKILL");
});

const program = "src/cli/main.ts";
const forAll = { nodeSelector: {} };
const manifests = (port: number): readonly KubernetesObject[] =>
  [
    {
      kind: "ClusterNetwork",
      metadata: { name: "default" },
      spec: {
        clusterName: "bench",
        clusterID: 1,
        nodes: [{ ...forAll, mode: "Announce", owns: ["VIPs"], localASN: 64601 }],
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

const services: Resource<Service> = kinds.Service;
const slices = kinds.EndpointSlice;

async function createService(client: KubeClient, name: string): Promise<void> {
  await client.create(services, {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name, namespace: "default" },
    spec: {
      type: "LoadBalancer",
      loadBalancerClass: "waggle.dev/bgp",
      ports: [{ port: 80, protocol: "TCP" }],
    },
  } as Service);
}
const createSlice = (client: KubeClient, name: string): Promise<unknown> =>
  client.create(slices, {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { name, namespace: "default", labels: { "kubernetes.io/service-name": name } },
    addressType: "IPv4",
    endpoints: [{ addresses: ["10.1.0.2"], nodeName: "n0", conditions: { ready: true } }],
    ports: [{ name: "", port: 8080, protocol: "TCP" }],
  } as never);

/** Runs `run` for 0..n-1, so many at a time. */
async function each(n: number, at: number, run: (i: number) => Promise<unknown>): Promise<void> {
  let next = 0;
  await Promise.all(
    Array.from({ length: at }, async () => {
      while (next < n) await run(next++);
    }),
  );
}

const quantile = (values: readonly number[], q: number): number =>
  values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.ceil(values.length * q) - 1)]!;

/** UID and resourceVersion of everything that there is but Leases. */
async function everything(client: KubeClient): Promise<ReadonlyMap<string, string>> {
  const out = new Map<string, string>();
  for (const kind of [...Object.values(kinds), builtinKinds.Event] as Resource[]) {
    if (kind.kind === "Lease" || kind.kind.endsWith("Review")) continue;
    for (const { metadata } of (await client.list(kind)).items)
      out.set(`${kind.kind} ${metadata.namespace ?? ""}/${metadata.name}`, `${metadata.resourceVersion}`);
  }
  return out;
}

async function once(serviceCount: number, nodeCount: number): Promise<void> {
  const name = `${serviceCount} Services, ${nodeCount} nodes`;
  const directory = mkdtempSync(join(tmpdir(), "waggle-bench-control-"));
  const kubeconfig = join(directory, "kubeconfig");
  using neighbour = new Neighbour();
  const port = await neighbour.listen();
  const server = start([program, "apiserver", "--memory", "--kubeconfig", kubeconfig, "--crds", "crds"]);
  let client: KubeClient | undefined;
  const running: ChildProcess[] = [server];
  try {
    await until(
      "the API server",
      async () => {
        try {
          client ??= (await loadKubeConfig({ kubeconfig })).client;
          await client.list(kinds.Node, { retries: 0 });
          return true;
        } catch {
          // Not there yet.
          return false;
        }
      },
      30_000,
    );
    const api = client!;
    await api.create(builtinKinds.Namespace, {
      apiVersion: "v1",
      kind: "Namespace",
      metadata: { name: "waggle-system" },
    } as never);
    for (let i = 0; i < nodeCount; i++)
      await api.create(kinds.Node, {
        apiVersion: "v1",
        kind: "Node",
        metadata: { name: `n${i}` },
        status: { addresses: [{ type: "InternalIP", address: `10.0.${i >> 8}.${i & 255}` }] },
      } as never);

    // What the server itself does: the same Services, and nobody who cares.
    await each(serviceCount, 16, (i) => createSlice(api, `s${i}`));
    const createBegan = performance.now();
    await each(serviceCount, 16, (i) => createService(api, `plain${i}`));
    const createRate = (serviceCount / (performance.now() - createBegan)) * 1_000;
    await each(serviceCount, 16, (i) => api.delete(services, `plain${i}`, { namespace: "default" }));

    for (const manifest of manifests(port)) {
      const resource = (Object.values(kinds) as Resource[]).find((k) => k.kind === manifest.kind)!;
      await api.create(resource, manifest);
    }
    const operator = start([program, "operator", "--kubeconfig", kubeconfig, "--log-level", "error"]);
    running.push(operator);
    await until(
      "the pool is accepted",
      async () => {
        const [pool] = (await api.list(kinds.IPPool)).items;
        return pool?.status?.conditions?.some((c) => c.type === "Ready" && c.status === "True") ?? false;
      },
      30_000,
    );

    const allocateBegan = performance.now();
    await each(serviceCount, 16, (i) => createService(api, `s${i}`));
    const ipsOf = async (prefix: string): Promise<ReadonlyMap<string, string>> =>
      new Map(
        (await api.list(services)).items
          .filter((s) => s.metadata.name.startsWith(prefix))
          .flatMap((s) =>
            (s.status?.loadBalancer?.ingress ?? []).map((g) => [s.metadata.name, g.ip!] as const),
          ),
      );
    await until(
      "addresses",
      async () => {
        await sleep(100);
        return (await ipsOf("s")).size === serviceCount;
      },
      300_000,
    );
    const allocateRate = (serviceCount / (performance.now() - allocateBegan)) * 1_000;
    report("control", `${name}: addresses given out`, "1/s", [allocateRate], {
      name: "the API server's own creates",
      values: [createRate],
    });

    const node0 = start(["bench/control-nodes.ts", kubeconfig, "0", "1"]);
    running.push(node0);
    // A crowd shares processes: as many as there are cores would be fair to nobody.
    for (let i = 1; i < nodeCount; i += 25)
      running.push(
        start(["bench/control-nodes.ts", kubeconfig, String(i), String(Math.min(25, nodeCount - i))], 10),
      );
    await until(
      "every node announces every address",
      () => {
        const counts = [...neighbour.heard.values()].map((m) => m.size);
        return counts.length === nodeCount && counts.every((c) => c >= serviceCount);
      },
      900_000,
    );

    await settle(api);
    const before = await everything(api);
    const idle = { operator: usage(operator.pid!), node: usage(node0.pid!) };
    await sleep(20_000);
    const rest = { operator: usage(operator.pid!), node: usage(node0.pid!) };
    const after = await everything(api);
    const written = [...after].filter(([key, version]) => before.get(key) !== version).map(([key]) => key);
    if (written.length > 0) process.stderr.write(`written while nothing happened: ${written.join(", ")}\n`);
    report("control", `${name}: objects written in 20 idle seconds, Leases excepted`, "objects", [
      written.length,
    ]);
    for (const who of ["operator", "node"] as const) {
      report(
        "control",
        `${name}: ${who === "node" ? "agent's loop and speaker" : who}, idle`,
        "% of a core",
        [((rest[who].cpu - idle[who].cpu) / 20) * 100],
      );
      report("control", `${name}: ${who === "node" ? "agent's loop and speaker" : who}, memory`, "MiB", [
        rest[who].rss,
      ]);
    }

    const begun = new Map<string, number>();
    const updatesBefore = neighbour.updates;
    for (let i = 0; i < samples; i++) {
      await createSlice(api, `m${i}`);
      await sleep(nodeCount > 10 ? 500 : 100);
      begun.set(`m${i}`, performance.now());
      await createService(api, `m${i}`);
      await sleep(nodeCount > 10 ? 1_500 : 300);
    }
    let ips = await ipsOf("m");
    await until(
      "every node announces what was measured",
      async () => {
        ips = await ipsOf("m");
        return (
          ips.size === samples &&
          [...neighbour.heard.values()].every((m) => [...ips.values()].every((ip) => m.has(ip)))
        );
      },
      120_000,
    );
    const latencies = (node: string): number[] =>
      [...begun].map(([service, at]) => neighbour.heard.get(node)!.get(ips.get(service)!)! - at);
    const own = latencies("n0");
    report("control", `${name}: applied -> UPDATE of one node, p50`, "ms", [quantile(own, 0.5)]);
    report("control", `${name}: applied -> UPDATE of one node, p99`, "ms", [quantile(own, 0.99)]);
    const all = [...neighbour.heard.keys()].flatMap(latencies);
    report("control", `${name}: applied -> UPDATE, all nodes on this machine, p99`, "ms", [
      quantile(all, 0.99),
    ]);
    report("control", `${name}: UPDATEs a Service and node`, "messages", [
      (neighbour.updates - updatesBefore) / samples / nodeCount,
    ]);
  } finally {
    await stop(...running.toReversed());
    await client?.[Symbol.asyncDispose]();
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Statuses follow with jitter: and counts of sessions are asked for every ten seconds: quiet is when nothing has been written for longer. */
async function settle(api: KubeClient): Promise<void> {
  for (let last = "", quiet = 0; quiet < 15; ) {
    const now = JSON.stringify([...(await everything(api))]);
    quiet = now === last ? quiet + 1 : 0;
    last = now;
    await sleep(1_000);
  }
}

for (const nodes of list("WAGGLE_BENCH_NODES", "10,100"))
  for (const count of list("WAGGLE_BENCH_SERVICES", "100,1000")) await once(count, nodes);
