// e2e: a fleet without any IPv4: nothing has an IPv4 address, and router IDs come from names and stay.
import { isDeepStrictEqual } from "node:util";
import { expect, it } from "vitest";
import { kinds } from "../../../src/kube/index.ts";
import { killProcess, startProcess } from "../../../src/lab/daemons.ts";
import { places } from "../../../src/lab/exec.ts";
import { birdc } from "../../../src/lab/routers.ts";
import type { Lab } from "../../../src/lab/up.ts";
import { nodesReady } from "../../../src/lab/wait.ts";
import { runIn, timeUntil } from "../support.ts";

export function ipv6Scenario(lab: () => Lab): void {
  it("no node, pod, router or client has an IPv4 address, not even 127.0.0.1", async () => {
    for (const place of places(lab().state)) {
      const links = JSON.parse(await runIn(place.netns, ["ip", "-j", "-4", "addr"])) as {
        addr_info?: unknown[];
      }[];
      expect(
        links.flatMap((l) => l.addr_info ?? []),
        place.name,
      ).toEqual([]);
    }
    for (const cluster of lab().state.clusters) {
      const client = lab().client(cluster.name);
      const claims = (await client.list(kinds.IPAllocation)).items.map((c) => c.spec.prefix);
      expect(claims.length).toBeGreaterThanOrEqual(3);
      expect(claims.filter((p) => !p.includes(":"))).toEqual([]);
    }
  });

  it("router IDs come from the nodes' names, differ, and stay across restarts", async () => {
    const cluster = lab().state.clusters[0]!;
    const ids = async (): Promise<string[]> =>
      (await lab().client(cluster.name).list(kinds.NodeNetwork)).items.map((n) => n.spec.routerID ?? "none");
    /** What the router hears, which is what counts. */
    const heard = async (): Promise<string[]> =>
      [...(await birdc(cluster.router, "show", "protocols", "all")).matchAll(/Neighbor ID: +(\S+)/g)]
        .map((m) => m[1]!)
        .filter((id) => !id.startsWith("172.30."))
        .sort();
    const before = await ids();
    expect(new Set(before).size).toBe(cluster.nodes.length);
    expect(await heard()).toEqual(before.toSorted());
    for (const daemon of ["agent", "bgpd"]) {
      const name = `${cluster.nodes[0]!.name}-${daemon}`;
      await killProcess(lab(), name, "SIGKILL");
      await startProcess(lab(), name);
    }
    // What status says may be older than the restart.
    await timeUntil(20_000, "the router hears the same IDs again", async () =>
      isDeepStrictEqual(await heard(), before.toSorted()),
    );
    await nodesReady(lab());
    expect(await ids()).toEqual(before);
  }, 60_000);
}
