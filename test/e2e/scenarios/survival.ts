// e2e: must-show 4: whatever is killed, nothing is lost and no address moves, under 100 pings a second between clusters.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, it } from "vitest";
import { kinds } from "../../../src/kube/index.ts";
import { applyBase, applyObjects, readManifests } from "../../../src/lab/cluster.ts";
import { killProcess, startProcess } from "../../../src/lab/daemons.ts";
import { clusterManifests } from "../../../src/lab/manifests.ts";
import { agentCommand } from "../../../src/lab/nodes.ts";
import { webVips } from "../../../src/lab/pods.ts";
import { sessionAddress } from "../../../src/lab/topology.ts";
import type { Lab } from "../../../src/lab/up.ts";
import { nodesReady } from "../../../src/lab/wait.ts";
import {
  addressesOf,
  birdRoutes,
  linkIds,
  pinging,
  run,
  sameSessions,
  sessionsSince,
  timeUntil,
} from "../support.ts";

const agent = "dc2-node2-agent";
const speaker = "dc2-node2-bgpd";

export interface Survival {
  /** Deaths of a node's own parts. */
  readonly deaths: boolean;
  /** Another build of them, and back. */
  readonly upgrade: boolean;
  /** What an API server has a part in. */
  readonly controlPlane: boolean;
  /** The API server away for a minute. */
  readonly apiAway: boolean;
}

export function survivalScenario(lab: () => Lab, parts: Survival): void {
  /** Does something while pods of dc1 ping a pod and the VIP of dc2 over both families; nothing may be lost or moved. */
  async function unharmed(what: string, event: () => Promise<void>): Promise<void> {
    const pod = lab()
      .state.pods.filter((p) => p.cluster === "dc2")
      .at(-1)!;
    const targets = [...pod.addresses, ...(await webVips(lab(), "dc2"))];
    const before = await addressesOf(lab());
    const pings = pinging(lab(), "dc1-web-1", targets);
    await sleep(500);
    try {
      await event();
      await sleep(500);
    } finally {
      const losses = await pings.losses();
      // ping's own last packet may be on its way when it is told to stop.
      for (const { target, sent, lost } of losses) {
        expect(sent, `${what}: pings to ${target}`).toBeGreaterThan(30);
        expect(lost, `${what}: pings lost to ${target} of ${sent}`).toBeLessThanOrEqual(1);
      }
    }
    await nodesReady(lab());
    expect(await addressesOf(lab()), `${what}: addresses`).toBe(before);
  }

  if (parts.deaths) deaths();
  if (parts.upgrade) upgrade();
  if (parts.controlPlane) controlPlane();

  function deaths(): void {
    it("kill -9 of an agent: sessions stay, links stay, nothing is lost", async () => {
      await unharmed("agent", async () => {
        const since = await sessionsSince(lab(), "dc2");
        const isSame = (now: typeof since): boolean => sameSessions(since, now);
        const links = await linkIds();
        await killProcess(lab(), agent, "SIGKILL");
        await sleep(1_000);
        expect((await linkIds()).filter((id) => links.includes(id)).length).toBeGreaterThanOrEqual(3);
        expect(await sessionsSince(lab(), "dc2")).toSatisfy(isSame);
        await startProcess(lab(), agent);
        await nodesReady(lab());
        expect(await sessionsSince(lab(), "dc2")).toSatisfy(isSame);
      });
    }, 60_000);

    it("kill -9 of a speaker: graceful restart, nothing is lost", async () => {
      await unharmed("speaker", async () => {
        await killProcess(lab(), speaker, "SIGKILL");
        await sleep(1_000);
        expect(await birdRoutes(lab(), "dc2")).toContain(
          sessionAddress(lab().topology.clusters[1]!.nodes[1]!.address),
        );
        await startProcess(lab(), speaker);
        await nodesReady(lab());
      });
    }, 60_000);

    it("kill -9 of agent and speaker: nothing is lost", async () => {
      await unharmed("both", async () => {
        await killProcess(lab(), agent, "SIGKILL");
        await killProcess(lab(), speaker, "SIGKILL");
        await sleep(1_000);
        await startProcess(lab(), speaker);
        await startProcess(lab(), agent);
        await nodesReady(lab());
      });
    }, 60_000);
  }

  function upgrade(): void {
    it("SIGTERM of both, a build with one more map field, and back: nothing is lost", async () => {
      const other = mkdtempSync(join(tmpdir(), "waggle-layout-"));
      await run("make", ["-s", "bpf", `BPF_BUILD=${other}`, "BPF_CFLAGS=-DWAGGLE_EXTRA_FIELD"], {
        timeoutMs: 60_000,
      });
      const cluster = lab().topology.clusters[1]!;
      const node = cluster.nodes[1]!;
      const layout = async () =>
        (await lab().client("dc2").get(kinds.NodeNetwork, node.name)).status?.agent?.layout;
      const old = await layout();
      try {
        await unharmed("upgrade", async () => {
          await killProcess(lab(), agent, "SIGTERM");
          await killProcess(lab(), speaker, "SIGTERM");
          await startProcess(lab(), speaker);
          const record = lab().state.processes.find((p) => p.name === agent)!;
          lab().start({
            name: agent,
            netns: node.netns,
            cgroup: join(lab().state.cgroup, node.name, "node"),
            command: [...agentCommand(lab(), cluster, node), "--object-dir", other],
            log: record.log,
          });
          await timeUntil(
            20_000,
            "the new layout in status",
            async () => ![undefined, old].includes(await layout()),
          );
          await nodesReady(lab());
        });
        await unharmed("downgrade", async () => {
          await killProcess(lab(), agent, "SIGTERM");
          await killProcess(lab(), speaker, "SIGTERM");
          await startProcess(lab(), speaker);
          await startProcess(lab(), agent);
          await timeUntil(20_000, "the old layout in status", async () => (await layout()) === old);
          await nodesReady(lab());
        });
      } finally {
        rmSync(other, { recursive: true });
      }
    }, 120_000);
  }

  function controlPlane(): void {
    it("kill -9 of the operator: nothing is lost", async () => {
      await unharmed("operator", async () => {
        await killProcess(lab(), "dc2-operator", "SIGKILL");
        await sleep(1_000);
        await startProcess(lab(), "dc2-operator");
      });
    }, 60_000);

    if (parts.apiAway)
      it("the API server away for a minute while an agent restarts: nothing is lost", async () => {
        await unharmed("API server", async () => {
          await killProcess(lab(), "dc2-apiserver", "SIGKILL");
          await sleep(2_000);
          await killProcess(lab(), agent, "SIGKILL");
          await startProcess(lab(), agent);
          await sleep(58_000);
          await startProcess(lab(), "dc2-apiserver");
          await nodesReady(lab());
        });
      }, 150_000);

    it("a revoked ClusterRole and a deleted CRD withdraw nothing", async () => {
      const client = lab().client("dc2");
      const cluster = lab().topology.clusters[1]!;
      const routes = async () =>
        ((await birdRoutes(lab(), "dc2")).match(/^(10\.2|10\.102|fd10:2:|fd20:2:)\S+/gm) ?? [])
          .sort()
          .join(" ");
      const before = await routes();
      expect(before).not.toBe("");
      await unharmed("403", async () => {
        await client.raw({
          method: "DELETE",
          path: "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/waggle-agent",
        });
        await sleep(4_000);
        await killProcess(lab(), agent, "SIGKILL");
        await startProcess(lab(), agent);
        await sleep(4_000);
        expect(await routes()).toBe(before);
        await applyBase(client);
      });
      await unharmed("CRD", async () => {
        await client.delete(kinds.CustomResourceDefinition, "bgpadvertisements.waggle.dev");
        await sleep(4_000);
        expect(await routes()).toBe(before);
        const name = "bgpadvertisements.waggle.dev";
        const definitions = async () => (await client.list(kinds.CustomResourceDefinition)).items;
        await timeUntil(20_000, "the kind is gone", async () =>
          (await definitions()).every((d) => d.metadata.name !== name),
        );
        await applyObjects(client, readManifests(readFileSync("crds/bgpadvertisements.yaml", "utf8")));
        await timeUntil(20_000, "the kind is served", () =>
          client.list(kinds.BGPAdvertisement, { retries: 0 }).then(
            () => true,
            () => false,
          ),
        );
        await applyObjects(
          client,
          clusterManifests(lab().topology, cluster).filter((o) => o.kind === "BGPAdvertisement"),
        );
        await sleep(2_000);
        expect(await routes()).toBe(before);
      });
    }, 120_000);
  }
}
