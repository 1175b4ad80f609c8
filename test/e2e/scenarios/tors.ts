// e2e: two routers in each data centre: a session with each, next-hop sets in the kernel's table, and one of them let go of.
import { expect, it } from "vitest";
import { webVips } from "../../../src/lab/pods.ts";
import { changeRouter } from "../../../src/lab/routers.ts";
import type { Lab } from "../../../src/lab/up.ts";
import { nodeNetworks, nodesReady } from "../../../src/lab/wait.ts";
import { pinging, runIn, timeUntil } from "../support.ts";

interface Route {
  readonly dst: string;
  readonly dev?: string;
  readonly nexthops?: readonly { readonly dev: string }[];
}

/** Interfaces of each learned route of a node, by prefix. */
async function learnedBy(netns: string): Promise<Record<string, string>> {
  const out: Record<string, string> = {};
  for (const family of ["-4", "-6"]) {
    const text = await runIn(netns, ["ip", "-j", family, "route", "show", "proto", "87"]);
    for (const { dst, dev, nexthops } of JSON.parse(text) as Route[])
      out[dst] = (nexthops?.map((h) => h.dev) ?? [dev ?? "none"]).sort().join(" ");
  }
  return out;
}

export function torsScenario(lab: () => Lab): void {
  const hops = async (): Promise<string[]> => {
    const all = lab().topology.clusters.flatMap((c) => c.nodes);
    const sets = await Promise.all(all.map((n) => learnedBy(n.netns)));
    return sets.flatMap((s) => Object.values(s));
  };
  // Two blocks of each family and two VIPs of the other cluster, on four nodes.
  const routes = 4 * 6;

  it("every node has a session of each family with both routers", async () => {
    for (const cluster of lab().topology.clusters)
      for (const network of await nodeNetworks(lab(), cluster.name)) {
        const sessions = network.status?.sessions ?? [];
        expect(sessions.map((s) => s.peer).sort()).toEqual([
          "tor1-ipv4",
          "tor1-ipv6",
          "tor2-ipv4",
          "tor2-ipv6",
        ]);
        expect(sessions.filter((s) => s.state !== "Established")).toEqual([]);
      }
  });

  it("every learned route has both routers as its next hops", async () => {
    await timeUntil(15_000, "next-hop sets", async () => {
      const all = await hops();
      return all.length === routes && all.every((h) => h === "eth0 eth1");
    });
  }, 30_000);

  it("a router that lets its nodes go leaves every set, nothing is lost, and it comes back into them", async () => {
    const [one, two] = lab().topology.clusters;
    const targets = [
      ...lab().state.pods.find((p) => p.cluster === two!.name)!.addresses,
      ...(await webVips(lab(), two!.name)),
    ];
    const pings = pinging(lab(), `${one!.name}-web-1`, targets);
    const router = one!.routers[1]!;
    const own = async (): Promise<string[]> => {
      const sets = await Promise.all(one!.nodes.map((n) => learnedBy(n.netns)));
      return sets.flatMap((s) => Object.values(s));
    };
    await changeRouter(lab(), one!, router, { letGo: true });
    await timeUntil(20_000, "routes by the other router alone", async () =>
      (await own()).every((h) => h === "eth0"),
    );
    expect(await own()).toHaveLength(routes / 2);
    await changeRouter(lab(), one!, router, {});
    await timeUntil(30_000, "next-hop sets again", async () => (await own()).every((h) => h === "eth0 eth1"));
    for (const { target, sent, lost } of await pings.losses()) {
      expect(sent, `pings to ${target}`).toBeGreaterThan(30);
      expect(lost, `pings lost to ${target} of ${sent}`).toBeLessThanOrEqual(1);
    }
    await nodesReady(lab());
  }, 120_000);
}
