// e2e: must-show 5: a missing password Secret keeps the session down and says why; with it, TCP-MD5 to BIRD.
import { expect, it } from "vitest";
import { kinds } from "../../../src/kube/index.ts";
import { applyObjects } from "../../../src/lab/cluster.ts";
import { changeRouter } from "../../../src/lab/routers.ts";
import type { Lab } from "../../../src/lab/up.ts";
import { nodeNetworks, nodesReady } from "../../../src/lab/wait.ts";
import { sessionsSince, timeUntil } from "../support.ts";

export function passwordScenario(lab: () => Lab): void {
  it("the BGP password Secret: missing keeps the session down with the reason, present brings TCP-MD5", async () => {
    const cluster = lab().topology.clusters[0]!;
    const client = lab().client("dc1");
    const configure = (password?: string): Promise<void> =>
      changeRouter(lab(), cluster, cluster.routers[0], password ? { password } : {});
    const sessions = async () => (await nodeNetworks(lab(), "dc1")).flatMap((n) => n.status?.sessions ?? []);

    await client.patch(kinds.BGPPeer, "tor", "merge", { spec: { passwordSecretName: "bgp-password" } });
    await timeUntil(15_000, "sessions go down", async () =>
      (await sessions()).every((s) => s.state !== "Established" && /Secret/.test(s.reason ?? "")),
    );
    const peer = await client.get(kinds.BGPPeer, "tor");
    await timeUntil(10_000, "the peer's condition", async () => {
      const ready = (await client.get(kinds.BGPPeer, "tor")).status?.conditions?.find(
        (c) => c.type === "Ready",
      );
      return ready?.status === "False" && /bgp-password|Secret/.test(`${ready.reason} ${ready.message}`);
    });
    expect(peer.spec.passwordSecretName).toBe("bgp-password");

    await configure("a good password");
    await applyObjects(client, [
      {
        apiVersion: "v1",
        kind: "Secret",
        metadata: { name: "bgp-password", namespace: "waggle-system" },
        data: { password: Buffer.from("a good password").toString("base64") },
      } as never,
    ]);
    await timeUntil(20_000, "sessions with TCP-MD5", async () => {
      const all = await sessions();
      return (
        all.length === cluster.nodes.length && all.every((s) => s.state === "Established" && s.md5 === true)
      );
    });
    for (const since of Object.values(await sessionsSince(lab(), "dc1"))) expect(since).not.toContain("down");

    await client.patch(kinds.BGPPeer, "tor", "merge", { spec: { passwordSecretName: null } });
    await configure();
    await nodesReady(lab());
  }, 90_000);
}
