// e2e: must-show 6: what happens to the datapath behind its back is noticed within five seconds and told in status.
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { inNetns } from "../../../src/kernel/netns.ts";
import { kinds } from "../../../src/kube/index.ts";
import { webVips } from "../../../src/lab/pods.ts";
import type { Lab } from "../../../src/lab/up.ts";
import { nodesReady } from "../../../src/lab/wait.ts";
import { attachRedirect, emptyServices, linkOn } from "../foreign.ts";
import { conditionsOf, run, timeUntil } from "../support.ts";

const node = "dc1-node2";
const withinMs = 5_000;

export function datapathScenario(lab: () => Lab): void {
  const netns = (): string =>
    `/run/netns/${lab().state.clusters[0]!.nodes.find((n) => n.name === node)!.netns}`;
  /** Conditions and Events that a person would look at, less what was told before. */
  const told = async (before: readonly string[] = []): Promise<string> =>
    (await lines()).filter((l) => !before.includes(l)).join("\n");
  const lines = async (): Promise<string[]> => {
    const conditions = await conditionsOf(lab(), "dc1", node);
    const events = (await lab().client("dc1").list(kinds.Event)).items.filter(
      (e) => e.regarding?.name === node,
    );
    return [
      ...Object.entries(conditions).map(([type, c]) => `${type}=${c.status} ${c.reason} ${c.message}`),
      ...events.map((e) => `${e.metadata.name} ${e.series?.count ?? 1} ${e.reason} ${e.note}`),
    ];
  };

  it("a program that redirects ahead of ours is noticed and named", async () => {
    {
      using _foreign = inNetns(netns(), () => attachRedirect("eth0"));
      const ms = await timeUntil(withinMs, "the foreign program in status", async () =>
        /Proven=(False|Unknown).*(foreign|e2e_redirect)/is.test(await told()),
      );
      console.log(`foreign program noticed after ${Math.round(ms)} ms`);
    }
    await timeUntil(withinMs, "its end in status", async () => /Proven=True/.test(await told()));
    await nodesReady(lab());
  }, 40_000);

  it("a detached link of ours is noticed, told and attached again", async () => {
    const id = inNetns(netns(), () => linkOn("eth0"));
    const before = await lines();
    await run("bpftool", ["link", "detach", "id", String(id)]);
    const ms = await timeUntil(withinMs, "the detached link in status", async () =>
      /detach/i.test(await told(before)),
    );
    console.log(`detached link noticed after ${Math.round(ms)} ms`);
    await timeUntil(withinMs, "a link again", async () => inNetns(netns(), () => linkOn("eth0")) !== 0);
    await nodesReady(lab());
  }, 40_000);

  it("an emptied map entry is noticed, told and filled again", async () => {
    const [vip] = await webVips(lab(), "dc1");
    const directory = join(lab().state.bpffs, "waggle", node);
    const layout = readdirSync(directory).find((d) => !d.startsWith("."))!;
    const before = await lines();
    expect(emptyServices(join(directory, layout))).toBeGreaterThan(0);
    const ms = await timeUntil(withinMs, `the missing entry of ${vip} in status`, async () =>
      /missing|services/i.test(await told(before)),
    );
    console.log(`emptied map entry noticed after ${Math.round(ms)} ms`);
    await nodesReady(lab());
  }, 40_000);
}
