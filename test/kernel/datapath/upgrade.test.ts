// test: what outlives a process, and how one build hands over to another, under traffic.
import { fork } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { DesiredDatapath, SyncResult } from "../../../src/datapath/index.ts";
import { nodeDirectory } from "../../../src/datapath/index.ts";
import { buildObjects, type NodeDatapath, sh, TestNetwork } from "./topology.ts";

const root = process.getuid?.() === 0;

interface LinkRow {
  readonly id: number;
  readonly prog_id: number;
}

describe.skipIf(!root)("restarts and upgrades (skipped: needs root)", () => {
  let network: TestNetwork;
  let b: NodeDatapath;
  let other: string;
  const pods = ["a1", "a2", "b1"] as const;

  const layouts = (): string[] => {
    const directory = nodeDirectory(network.bpffs, network.nodes.a.name);
    return existsSync(directory) ? readdirSync(directory) : [];
  };

  /** Our links on node a: name to id and program. */
  const links = (): Record<string, LinkRow> => {
    const [layout] = layouts();
    const directory = `${nodeDirectory(network.bpffs, network.nodes.a.name)}/${layout}/links`;
    return Object.fromEntries(
      readdirSync(directory).map((name) => [
        name,
        JSON.parse(sh(`bpftool -j link show pinned ${directory}/${name}`)) as LinkRow,
      ]),
    );
  };

  /** Runs an agent on node a until it has synced, then kills it as the kernel would. */
  async function liveAndDie(objectDirectory?: string): Promise<{ result: SyncResult; layout: string }> {
    const script = fileURLToPath(new URL("agent.ts", import.meta.url));
    const child = fork(script, [], {
      execPath: "nsenter",
      execArgv: [`--net=/run/netns/${network.nodes.a.netns}`, process.execPath],
    });
    const options = network.options("a", objectDirectory);
    const desired: DesiredDatapath = network.desired("a", pods);
    child.send({ options, desired });
    const reply = await new Promise<{ result: SyncResult; layout: string }>((done, failed) => {
      child.once("message", (message) => done(message as { result: SyncResult; layout: string }));
      child.once("exit", (code) => failed(new Error(`agent ended with ${code}`)));
    });
    const ended = new Promise((done) => child.once("exit", done));
    child.kill("SIGKILL");
    await ended;
    return reply;
  }

  /** SYNs that the client had to send again: each is one that the datapath lost or answered wrongly. */
  const synRepeats = (): string =>
    sh(`ip netns exec ${network.prefix}-c nstat -asz TcpExtTCPSynRetrans`).replace(/^#.*\n/, "");

  /** Work during which new connections, old ones and pings all must go on. */
  async function unharmed<T>(host: string, work: () => Promise<T>): Promise<T> {
    const lived = ["l1", "l2", "l3", "l4", "l5", "l6"];
    const first: string[] = [];
    for (const id of lived) {
      await network.client.call({ op: "connect", id, host, port: 80 });
      first.push(await network.client.call({ op: "ask", id, text: "x" }));
    }
    const repeats = synRepeats();
    const hammered = network.client.call({ op: "hammer", host, port: 80, milliseconds: 2500, pauseMs: 2 });
    const pings = `${network.directory}/pings`;
    sh(`ip netns exec ${network.prefix}-c ping -q -n -i 0.01 -c 200 -W 1 ${host} > ${pings} 2>&1 &`);
    const result = await work();
    const report = JSON.parse(await hammered) as { good: number; bad: string[] };
    expect(report.bad).toEqual([]);
    expect(report.good).toBeGreaterThan(50);
    expect(synRepeats()).toBe(repeats);
    for (const [i, id] of lived.entries()) {
      expect(await network.client.call({ op: "ask", id, text: "x" })).toBe(first[i]);
      await network.client.call({ op: "close", id });
    }
    await expect.poll(() => sh(`cat ${pings}`), { timeout: 5000 }).toContain(" 0% packet loss");
    return result;
  }

  beforeAll(async () => {
    buildObjects();
    other = buildObjects(true);
    network = new TestNetwork("wdp-u");
    await network.serve();
    network.routeVips("a");
    b = network.open("b");
    b.run((d) => d.sync(network.desired("b", pods)));
  }, 60_000);

  afterAll(async () => {
    b?.[Symbol.dispose]();
    await network?.[Symbol.asyncDispose]();
  });

  test("kill -9 leaves links, programs and maps; the next process takes them over unchanged", async () => {
    await liveAndDie();
    const before = links();
    expect(Object.keys(before).sort()).toEqual([
      "eth0-egress",
      "eth0-ingress",
      "pod1-egress",
      "pod2-egress",
      "waggle0-ingress",
    ]);
    await unharmed("10.62.0.1", async () => {
      expect(sh("bpftool -j link show")).toContain(`"id":${before["eth0-ingress"]!.id},`);
      const { result } = await liveAndDie();
      expect(result.changed).toBe(0);
      expect(result.refused).toEqual([]);
    });
    expect(links()).toEqual(before);
  }, 30_000);

  test.each(["10.62.0.1", "fd62::1"])(
    "another layout and back, under traffic to %s",
    async (host) => {
      const { layout } = await liveAndDie();
      const before = links();
      await unharmed(host, async () => {
        const upgraded = await liveAndDie(other);
        expect(upgraded.layout).not.toBe(layout);
        expect(layouts()).toEqual([upgraded.layout]);
        const moved = links();
        for (const [name, link] of Object.entries(before)) {
          // The very same link, with another program under it.
          expect(moved[name]?.id).toBe(link.id);
          expect(moved[name]?.prog_id).not.toBe(link.prog_id);
        }
        const back = await liveAndDie();
        expect(back.layout).toBe(layout);
        expect(layouts()).toEqual([layout]);
      });
      expect(Object.keys(links())).toEqual(Object.keys(before));
    },
    40_000,
  );

  test("a death in the middle of an upgrade: both trees are there, the next one finishes", async () => {
    await liveAndDie();
    await unharmed("10.62.0.1", async () => {
      // Loaded and pinned, never synced: the old programs stay in force.
      const half = network.open("a", { objectDirectory: other });
      half[Symbol.dispose]();
      expect(layouts().length).toBe(2);
      const upgraded = await liveAndDie(other);
      expect(layouts()).toEqual([upgraded.layout]);
    });
    await liveAndDie();
  }, 30_000);

  test("routes survive into another layout; counters begin again", async () => {
    await liveAndDie();
    const routes = {
      attributes: [
        { id: 2, cluster: 7, originASN: 65_007, peer: 1, flags: 0, nextHop: "172.28.0.1", community: 0 },
      ],
      prefixes: [{ prefix: "172.27.0.0/24", routeId: 2 }],
    };
    {
      using a = network.open("a");
      a.run((d) => d.sync(network.desired("a", pods)));
      a.run((d) => d.syncRoutes(routes));
      await network.client.call({ op: "connect", id: "r", host: "10.62.0.1", port: 80 });
      const { flows } = a.run((d) => d.flowCounters());
      expect(flows.find((f) => f.source === 2)?.packets).toBeGreaterThan(0n);
    }
    using upgraded = network.open("a", { objectDirectory: other });
    expect(upgraded.run((d) => d.readRoutes())).toEqual(routes);
    upgraded.run((d) => d.sync(network.desired("a", pods)));
    expect(upgraded.run((d) => d.readRoutes())).toEqual(routes);
    // New answers may already be counted; nothing of before is.
    const [flow] = upgraded.run((d) => d.flowCounters()).flows.filter((f) => f.source === 2);
    expect(flow?.packets ?? 0n).toBeLessThan(3n);
    expect(upgraded.datapath.notes).toEqual([]);
  }, 30_000);

  test("cleanup removes exactly what is ours", async () => {
    await liveAndDie();
    const others = () => b.run((d) => d.inspect());
    expect(network.cleanup("a")).toBeGreaterThan(5);
    expect(layouts()).toEqual([]);
    expect(sh(`ip -n ${network.nodes.a.netns} link show`)).not.toContain("waggle0");
    expect(sh(`ip netns exec ${network.nodes.a.netns} bpftool net show dev eth0`)).not.toContain("fabric");
    expect(network.cleanup("a")).toBe(0);
    expect(others()).toEqual([]);
    await liveAndDie();
  }, 30_000);

  test("where there is no BPF file system the message says what to do", () => {
    expect(() => network.open("a", { bpffs: "/tmp" })).toThrow(
      "/tmp is not a BPF file system; mount one there: mount -t bpf bpf /tmp",
    );
  });
});
