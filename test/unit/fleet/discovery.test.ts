// Which of several hubs is the cluster's: the youngest, the other one when it goes, and also when it is killed without a word.
import { describe, expect, it } from "vitest";
import { hubLeaseMs, keepPublished } from "../../../src/fleet/discovery.ts";
import { SimulatedApi } from "../kube/simulated-api.ts";
import { seeded, VirtualClock } from "../kube/virtual-clock.ts";
import { quiet } from "./world.ts";

function setup(seed = 1) {
  const clock = new VirtualClock();
  const random = seeded(seed);
  const api = new SimulatedApi({ clock, random, latencyMs: 20 });
  const active = new Set<string>();
  const start = (name: string): AbortController => {
    const death = new AbortController();
    void keepPublished(
      {
        client: api.client(name, death.signal),
        endpoint: { ca: `authority of ${name}`, address: `${name}:1` },
        clock,
        random,
        log: quiet,
        onActive: (now) => void (now ? active.add(name) : active.delete(name)),
      },
      death.signal,
    );
    return death;
  };
  return { clock, api, active, start };
}

describe("the hub of a cluster", () => {
  it("is the youngest; a killed one is replaced by one that stands by, after its Lease has run out and not before", async () => {
    const { clock, active, start } = setup();
    start("old");
    await clock.until(() => active.has("old"), 5_000);
    const young = start("young");
    await clock.until(() => active.has("young") && !active.has("old"), 10_000);
    await clock.advance(120_000);
    expect([...active]).toEqual(["young"]);
    young.abort();
    active.delete("young");
    await clock.advance(hubLeaseMs - 7_000);
    expect(active.size).toBe(0);
    await clock.until(() => active.has("old"), 15_000);
  });

  it("is one of two that stand by, and they agree which", async () => {
    for (let seed = 1; seed <= 10; seed++) {
      const { clock, active, start } = setup(seed);
      start("a");
      start("b");
      await clock.advance(20_000);
      const last = start("c");
      await clock.until(() => active.has("c") && active.size === 1, 10_000);
      last.abort();
      active.delete("c");
      await clock.advance(hubLeaseMs + 20_000);
      expect(active.size).toBe(1);
      await clock.advance(120_000);
      expect(active.size).toBe(1);
    }
  });

  it("writes nothing but its Lease while nothing happens", async () => {
    const { clock, api, active, start } = setup();
    start("a");
    start("b");
    await clock.until(() => active.size === 1, 20_000);
    await clock.advance(10_000);
    const written = new Set<string>();
    api.onWrite = (kind) => void written.add(kind);
    await clock.advance(600_000);
    expect([...written]).toEqual(["Lease"]);
  });
});
