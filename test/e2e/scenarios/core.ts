// e2e: what has to work whatever the lab is made of: pods and VIPs of the other cluster answer, and a drain loses nothing.
import { setTimeout as sleep } from "node:timers/promises";
import { expect, it } from "vitest";
import { waggle } from "../../../src/lab/launcher.ts";
import { webPort, webVips } from "../../../src/lab/pods.ts";
import { begin, fetchFrom, runWaggle, sentTowards, urlOf } from "../../../src/lab/programs.ts";
import { routerView } from "../../../src/lab/routers.ts";
import { familiesOf } from "../../../src/lab/routing.ts";
import type { Lab } from "../../../src/lab/up.ts";
import { nodesReady } from "../../../src/lab/wait.ts";
import type { StreamResult } from "../../../src/lab/workload.ts";
import { pinging, timeUntil } from "../support.ts";

export function coreScenario(lab: () => Lab): void {
  it("pods and VIPs of the other cluster answer, from a pod and from a host, in both directions", async () => {
    const { clusters } = lab().topology;
    for (const [here, there] of [clusters, clusters.toReversed()] as const) {
      const server = lab()
        .state.pods.filter((p) => p.cluster === there!.name)
        .at(-1)!;
      const families = familiesOf(there!.pods).length;
      const vips = await webVips(lab(), there!.name);
      expect([server.addresses.length, vips.length]).toEqual([families, families]);
      for (const from of [`${here!.name}-web-1`, here!.client.name]) {
        for (const address of server.addresses)
          expect(await fetchFrom(lab().state, from, urlOf(address, webPort))).toContain(server.name);
        for (const vip of vips)
          expect(await fetchFrom(lab().state, from, urlOf(vip, 80))).toContain(`hello from ${there!.name}-`);
      }
    }
  }, 60_000);

  it("a drain loses neither a ping nor a connection, and the node comes back", async () => {
    const cluster = lab().topology.clusters[1]!;
    const [node] = cluster.nodes;
    const client = lab().topology.clusters[0]!.client.name;
    const vips = await webVips(lab(), cluster.name);
    const kubeconfig = lab().state.clusters[1]!.kubeconfig;
    const drain = async (...flags: string[]): Promise<void> => {
      const words = ["drain", node!.name, "--kubeconfig", kubeconfig, "--wait", "--timeout", "60s"];
      const outcome = await runWaggle([...words, ...flags]);
      expect(outcome.code, outcome.stderr).toBe(0);
    };
    /** Whether any router still has a route by way of the node. */
    const isSeen = async (): Promise<boolean> => {
      for (const [i, router] of cluster.routers.entries())
        for (const family of familiesOf(router.address)) {
          const prefixes = [cluster.pods[family]!, cluster.vips[family]!];
          const view = await routerView(lab(), router, family, prefixes);
          const words = view.text.split(/[\s,]+/);
          if (words.includes(node!.uplinks[i]!.address[family]!)) return true;
        }
      return false;
    };

    expect(await isSeen()).toBe(true);
    const before = await sentTowards(cluster, node!);
    const pings = pinging(lab(), client, vips);
    const stream = begin(
      lab().state,
      client,
      waggle("lab", "workload", "connections", "--per-second", "50", ...vips.map((v) => urlOf(v, 80))),
    );
    await timeUntil(30_000, "traffic enters by the node", async () => {
      return (await sentTowards(cluster, node!)) - before > 50;
    });
    await drain();
    expect(await isSeen()).toBe(false);
    await drain("--undo");
    await timeUntil(30_000, "its routes are back", isSeen);
    await sleep(500);
    const streamed = JSON.parse(await stream.end("SIGTERM")) as StreamResult;
    for (const { target, sent, lost } of await pings.losses()) {
      expect(sent, `pings to ${target}`).toBeGreaterThan(30);
      // ping's own last packet may be on its way when it is told to stop.
      expect(lost, `pings lost to ${target} of ${sent}`).toBeLessThanOrEqual(1);
    }
    expect(streamed.opened).toBeGreaterThan(50);
    expect(streamed.failed, streamed.errors.join("; ")).toBe(0);
    await nodesReady(lab());
  }, 180_000);
}
