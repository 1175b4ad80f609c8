import { describe, expect, it } from "vitest";
import type { Service } from "../../../src/api/index.ts";
import { TransportError } from "../../../src/kube/errors.ts";
import { kinds } from "../../../src/kube/resource.ts";
import { SharedLists } from "../../../src/kube/shared-list.ts";
import { SimulatedApi } from "./simulated-api.ts";
import { seeded, VirtualClock } from "./virtual-clock.ts";

const service = (name: string): Service => ({
  apiVersion: "v1",
  kind: "Service",
  metadata: { name, namespace: "shop" },
  spec: { type: "ClusterIP" },
});

function make(latencyMs = 20) {
  const clock = new VirtualClock();
  const api = new SimulatedApi({ clock, random: seeded(1), latencyMs });
  const lists = new SharedLists(api.client("p"), clock);
  const asked = (): number => api.log.filter((l) => l.operation.verb === "list").length;
  return { clock, api, lists, asked };
}

describe("shared lists", () => {
  it("show everybody what was there when they asked, though a hundred ask and few lists are made", async () => {
    const { clock, api, lists, asked } = make();
    const answers: Promise<void>[] = [];
    for (let i = 0; i < 100; i++) {
      api.put(kinds.Service, service(`s${i}`));
      const answer = lists.list(kinds.Service, { namespace: "shop" });
      answers.push(answer.then((items) => expect(items.map((s) => s.metadata.name)).toContain(`s${i}`)));
      await clock.advance(1);
    }
    await clock.advance(1_000);
    await Promise.all(answers);
    expect(asked()).toBeLessThan(25);
    expect(asked()).toBeGreaterThan(1);
  });

  it("keep selections apart", async () => {
    const { clock, api, lists } = make();
    api.put(kinds.Service, service("a"));
    const here = lists.list(kinds.Service, { namespace: "shop" });
    const labelled = lists.list(kinds.Service, { namespace: "shop", labelSelector: "x=y" });
    await clock.advance(100);
    expect(await here).toHaveLength(1);
    expect(await labelled).toHaveLength(0);
  });

  it("fail those who share one, and go on after it", async () => {
    const { clock, api, lists } = make();
    let broken = true;
    api.fault = () => (broken ? new TransportError("connect", "away") : undefined);
    const first = lists.list(kinds.Service, {}).catch((error: Error) => error.message);
    const second = [1, 2].map(() => lists.list(kinds.Service, {}).catch((error: Error) => error.message));
    await clock.advance(500);
    expect([await first, ...(await Promise.all(second))]).toEqual(["away", "away", "away"]);
    broken = false;
    const after = lists.list(kinds.Service, {});
    await clock.advance(500);
    expect(await after).toEqual([]);
  });

  it("are not held up by one that is stalled", async () => {
    const { clock, api, lists } = make();
    let stalled = true;
    api.stall = () => (stalled ? 20_000 : 0);
    void lists.list(kinds.Service, {});
    await clock.advance(1);
    stalled = false;
    let answered = false;
    void lists.list(kinds.Service, {}).then(() => {
      answered = true;
    });
    await clock.advance(50);
    expect(answered).toBe(false);
    await clock.advance(200);
    expect(answered).toBe(true);
  });
});
