// kube: hub, agents and `waggle trace` over TLS against control planes: identities, rights, answers, and what is left by a kill -9.
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { discoverHub } from "../../src/fleet/discovery.ts";
import { type Hub, startHub } from "../../src/fleet/hub/index.ts";
import { joinHub, type Member } from "../../src/fleet/member.ts";
import { type KubeClient, kinds, loadKubeConfig, systemClock } from "../../src/kube/index.ts";
import { countMap, FakeTracer, type Plan, quiet } from "../unit/fleet/world.ts";
import { addNode, kubeconfigWith, type Plane, planes, tokenOf } from "./fleet-plane.ts";

interface Result {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** The command as a user runs it; the sources, so that no build is needed. */
function waggle(...args: string[]): { readonly child: ChildProcess; readonly result: Promise<Result> } {
  const child = spawn(process.execPath, ["src/cli/main.ts", ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, NO_COLOR: "1", KUBECONFIG: "" },
  });
  let out = "";
  let err = "";
  child.stdout!.on("data", (data: Buffer) => {
    out += data.toString();
  });
  child.stderr!.on("data", (data: Buffer) => {
    err += data.toString();
  });
  const result = new Promise<Result>((resolve) => child.once("close", (code) => resolve({ code, out, err })));
  return { child, result };
}

async function until(condition: () => boolean | Promise<boolean>, limitMs: number): Promise<number> {
  const began = performance.now();
  while (!(await condition())) {
    if (performance.now() - began > limitMs) throw new Error(`not within ${limitMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return performance.now() - began;
}

/** One cluster: control plane, hub with the operator's rights, agents with a fake tracer each. */
interface Cluster {
  readonly name: string;
  readonly plane: Plane;
  readonly operator: KubeClient;
  readonly hub: Hub;
  readonly agents: Map<string, { readonly tracer: FakeTracer; readonly member: Member }>;
  /** Kubeconfig of its administrator, with the cluster's name as context. */
  readonly kubeconfig: string;
}

for (const { name: planeName, skipped, start } of planes)
  describe.skipIf(skipped)(`the fleet on ${planeName}`, () => {
    const directory = mkdtempSync(join(tmpdir(), "waggle-fleet-"));
    const clusters: Cluster[] = [];
    let plan: Plan = {};

    async function cluster(name: string, nodes: readonly string[]): Promise<Cluster> {
      const plane = await start(name);
      const file = join(directory, `${name}.yaml`);
      writeFileSync(file, kubeconfigWith(plane.kubeconfig, name));
      const operatorFile = join(directory, `${name}-operator.yaml`);
      const operatorToken = await tokenOf(plane.client, "waggle-operator", undefined);
      writeFileSync(operatorFile, kubeconfigWith(plane.kubeconfig, "operator", operatorToken));
      const operator = (await loadKubeConfig({ kubeconfig: operatorFile })).client;
      for (const node of nodes) await addNode(plane.client, node);
      const hub = await startHub({
        client: operator,
        listen: "127.0.0.1:0",
        socket: join(directory, `${name}.sock`),
        clock: systemClock,
        random: Math.random,
        log: quiet,
        cluster: name,
      });
      const made: Cluster = { name, plane, operator, hub, agents: new Map(), kubeconfig: file };
      clusters.push(made);
      for (const [i, node] of nodes.entries()) {
        const tracer = new FakeTracer(systemClock, () => plan);
        const nodeToken = await tokenOf(plane.client, "waggle-agent", "waggle-hub", node);
        const agentFile = join(directory, `${node}.yaml`);
        const apiToken = await tokenOf(plane.client, "waggle-agent", undefined, node);
        writeFileSync(agentFile, kubeconfigWith(plane.kubeconfig, node, apiToken));
        const { client } = await loadKubeConfig({ kubeconfig: agentFile });
        const member = joinHub({
          // One over TCP, one over the socket.
          discover: async () => {
            const hub = await discoverHub(client);
            if (!hub) return undefined;
            return i === 0 ? { ca: hub.ca, address: hub.address! } : { ca: hub.ca, socket: hub.socket! };
          },
          token: async () => nodeToken,
          node,
          version: "test",
          kernel: "6",
          tracer,
          clock: systemClock,
          random: Math.random,
          log: quiet,
        });
        made.agents.set(node, { tracer, member });
      }
      return made;
    }

    beforeAll(async () => {
      await cluster("dc1", ["dc1-n1", "dc1-n2"]);
      await cluster("dc2", ["dc2-n1"]);
      await until(() => clusters.every((c) => c.hub.nodes().length === c.agents.size), 20_000);
    }, 180_000);

    afterAll(async () => {
      for (const { agents, hub, operator, plane } of clusters) {
        for (const { member } of agents.values()) await member.close();
        await hub.close();
        await operator[Symbol.asyncDispose]();
        await plane[Symbol.asyncDispose]();
      }
      rmSync(directory, { recursive: true });
    }, 30_000);

    const tracers = (): FakeTracer[] => clusters.flatMap((c) => [...c.agents.values()].map((a) => a.tracer));
    const both = (): string[] => clusters.flatMap((c) => ["--kubeconfig", c.kubeconfig]);
    const traces = async (): Promise<number> =>
      (await Promise.all(clusters.map((c) => c.plane.client.list(kinds.Trace)))).reduce(
        (n, list) => n + list.items.length,
        0,
      );

    it("one line asks every node of both clusters and prints one answer", async () => {
      plan = {
        maps: [countMap({ curl: 2, sshd: 1 })],
        chunks: [{ atMs: 50, chunk: { kind: "line", type: "printf", text: "hello\n" } }],
      };
      const { code, out, err } = await waggle("trace", "--for", "1s", ...both(), "-e", "BEGIN { }").result;
      expect(err).toContain("3/3 nodes answered (dc1 2/2, dc2 1/1), 0 events lost");
      expect(
        out
          .split("\n")
          .filter((l) => l.endsWith(": hello"))
          .sort(),
      ).toEqual(["dc1-n1: hello", "dc1-n2: hello", "dc2-n1: hello"]);
      expect(out).toContain("@c[sshd]: 3\n@c[curl]: 6\n");
      expect(code).toBe(0);
      expect(await traces()).toBe(0);
    });

    it("JSON ends with who answered", async () => {
      plan = { maps: [countMap({ curl: 2 })], lostEvents: 1 };
      const { code, out } = await waggle(
        "trace",
        "--for",
        "1s",
        "-f",
        "json",
        "-q",
        ...both(),
        "-e",
        "BEGIN { }",
      ).result;
      const lines = out
        .trim()
        .split("\n")
        .map((l) => JSON.parse(l) as { type: string; data: unknown });
      expect(lines[0]).toEqual({ type: "map", data: { "@c": { curl: 6 } } });
      expect(lines.at(-1)).toMatchObject({
        type: "coverage",
        data: { asked: 3, answered: 3, lostEvents: 3, clusters: [{ cluster: "dc1" }, { cluster: "dc2" }] },
      });
      expect(code).toBe(0);
    });

    it("a script that no node compiles is attached nowhere", async () => {
      plan = { errors: ["stdin:1:9-13: ERROR: there is no field nope"] };
      const before = tracers().map((t) => t.attaches);
      const { code, err } = await waggle("trace", ...both(), "-e", "BEGIN { }").result;
      expect(err).toContain("there is no field nope");
      expect(err).toContain("dc1-n1, dc1-n2");
      expect(code).toBe(1);
      expect(tracers().map((t) => t.attaches)).toEqual(before);
    });

    it("a script with a syntax error is shown with its place, and nobody is asked", async () => {
      const { code, err } = await waggle("trace", ...both(), "-e", "BEGIN { @ = count( }").result;
      expect(err).toMatch(/stdin:1:\d+-\d+: ERROR: syntax error/);
      expect(err).toContain("~");
      expect(code).toBe(1);
    });

    it("a user without rights in dc2 gets dc1's answer, and is told", async () => {
      plan = { maps: [countMap({ curl: 1 })] };
      const nobody = join(directory, "nobody.yaml");
      const dc2 = clusters[1]!;
      writeFileSync(
        nobody,
        kubeconfigWith(dc2.kubeconfig, "dc2", await tokenOf(dc2.plane.client, "waggle-agent", undefined)),
      );
      const { code, out, err } = await waggle(
        ...["trace", "--for", "1s", "--kubeconfig", clusters[0]!.kubeconfig, "--kubeconfig", nobody],
        ...["-e", "BEGIN { }"],
      ).result;
      expect(err).toMatch(/^dc2: refused/m);
      expect(err).toContain("2/2 nodes answered (dc1 2/2, dc2 refused)");
      expect(out).toContain("@c[curl]: 2");
      expect(code).toBe(3);
    });

    it("killed with -9, it leaves nothing attached", async () => {
      plan = {};
      const { child, result } = waggle("trace", "--for", "60s", ...both(), "-e", "BEGIN { }");
      await until(() => tracers().every((t) => t.attached === 1), 10_000);
      child.kill("SIGKILL");
      await result;
      const ms = await until(() => tracers().every((t) => t.attached === 0), 5_000);
      expect(ms).toBeLessThan(1_000);
      // The hub has written down how it ended.
      const list = await clusters[0]!.plane.client.list(kinds.Trace);
      await until(async () => {
        const trace = await clusters[0]!.plane.client.get(kinds.Trace, list.items[0]!.metadata.name);
        return trace.status?.phase === "Failed";
      }, 5_000);
      for (const c of clusters)
        for (const { metadata } of (await c.plane.client.list(kinds.Trace)).items)
          await c.plane.client.delete(kinds.Trace, metadata.name);
    });

    it("Ctrl-C ends the run and prints the answer so far", async () => {
      plan = { maps: [countMap({ curl: 1 })] };
      const { child, result } = waggle("trace", "--for", "60s", ...both(), "-e", "BEGIN { }");
      await until(() => tracers().every((t) => t.attached === 1), 10_000);
      child.kill("SIGINT");
      const { code, out, err } = await result;
      expect(out).toContain("@c[curl]: 3");
      expect(err).toContain("3/3 nodes answered");
      expect([code, await traces()]).toEqual([0, 0]);
    });

    it("an agent's token for the API server, or of another node, does not open the hub", async () => {
      const { hub, plane, agents } = clusters[0]!;
      const ca = hub.caBundle;
      const refusedBefore = hub.stats.agents.refused;
      for (const token of [
        await tokenOf(plane.client, "waggle-agent", undefined, "dc1-n1"),
        await tokenOf(plane.client, "waggle-agent", "waggle-hub", "dc1-n2"),
        await tokenOf(plane.client, "waggle-agent", "waggle-hub"),
        await tokenOf(plane.client, "waggle-operator", "waggle-hub", "dc1-n1"),
        "nonsense",
      ]) {
        await using member = joinHub({
          discover: async () => ({ address: hub.address!, ca }),
          token: async () => token,
          node: "dc1-n1",
          version: "x",
          kernel: "6",
          tracer: new FakeTracer(systemClock, () => ({})),
          clock: systemClock,
          random: Math.random,
          log: quiet,
        });
        await until(() => member.state.lastError !== undefined, 5_000);
        expect(member.stats.joins).toBe(0);
      }
      expect(hub.stats.agents.refused).toBeGreaterThanOrEqual(refusedBefore + 5);
      expect(agents.get("dc1-n1")!.member.state.connected).toBe(true);
    });

    it("a hub with another certificate is not spoken to: no token reaches it", async () => {
      const [one, two] = clusters as [Cluster, Cluster];
      const before = two.hub.stats.agents.refused;
      await using member = joinHub({
        discover: async () => ({ address: two.hub.address!, ca: one.hub.caBundle }),
        token: async () => "secret",
        node: "dc1-n1",
        version: "x",
        kernel: "6",
        tracer: new FakeTracer(systemClock, () => ({})),
        clock: systemClock,
        random: Math.random,
        log: quiet,
      });
      await until(() => member.state.lastError !== undefined, 5_000);
      expect(member.state.lastError).toMatch(/certificate|self.signed/i);
      expect(two.hub.stats.agents.refused).toBe(before);
    });

    it("a hub that starts again is found again, and its socket is its own", async () => {
      const old = clusters[1]!;
      await old.hub.close();
      expect(existsSync(old.hub.socket!)).toBe(false);
      const hub = await startHub({
        client: old.operator,
        listen: "127.0.0.1:0",
        socket: old.hub.socket!,
        clock: systemClock,
        random: Math.random,
        log: quiet,
        cluster: "dc2",
      });
      clusters[1] = { ...old, hub };
      await until(() => hub.nodes().length === 1, 15_000);
      plan = { maps: [countMap({ curl: 1 })] };
      const { code } = await waggle("trace", "--for", "1s", ...both(), "-e", "BEGIN { }").result;
      expect(code).toBe(0);
    });

    it("of two hubs the younger one is the cluster's, and when it goes the other one takes over again", async () => {
      const { hub: old, operator, agents } = clusters[0]!;
      const young = await startHub({
        client: operator,
        listen: "127.0.0.1:0",
        socket: join(directory, "young.sock"),
        clock: systemClock,
        random: Math.random,
        log: quiet,
        cluster: "dc1",
      });
      const one = ["trace", "--for", "1s", "--kubeconfig", clusters[0]!.kubeconfig, "-e", "BEGIN { }"];
      await until(() => young.nodes().length === agents.size && old.nodes().length === 0, 20_000);
      expect((await waggle(...one).result).code).toBe(0);
      expect(young.stats.callers.runs).toBe(1);
      await young.close();
      await until(() => old.nodes().length === agents.size, 20_000);
      expect((await waggle(...one).result).code).toBe(0);
    }, 60_000);
  });
