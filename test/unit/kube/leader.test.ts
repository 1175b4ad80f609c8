import { describe, expect, it } from "vitest";
import { ApiError, TransportError } from "../../../src/kube/errors.ts";
import { LeaseElector } from "../../../src/kube/leader.ts";
import { builtinKinds } from "../../../src/kube/resource.ts";
import { SimulatedApi } from "./simulated-api.ts";
import { seeded, VirtualClock } from "./virtual-clock.ts";

function setup(names: readonly string[], seed = 1) {
  const clock = new VirtualClock();
  const random = seeded(seed);
  const api = new SimulatedApi({ clock, random, latencyMs: 20 });
  const leading = new Set<string>();
  const history: string[] = [];
  let most = 0;
  const processes = names.map((identity) => {
    const death = new AbortController();
    const elector = new LeaseElector({
      api: api.client(identity, death.signal),
      namespace: "waggle-system",
      name: "operator",
      identity,
      clock,
      random,
      onElected: () => {
        leading.add(identity);
        history.push(identity);
        most = Math.max(most, leading.size);
      },
      onLost: () => leading.delete(identity),
    });
    return { identity, elector, death };
  });
  return { clock, api, processes, leading, history, most: () => most };
}

describe("lease election", () => {
  it("elects one of two; the other takes over at once when the first stops", async () => {
    const { clock, processes, leading, history } = setup(["a", "b"]);
    processes[0]!.elector.start();
    await clock.until(() => leading.has("a"), 5_000);
    processes[1]!.elector.start();
    await clock.advance(60_000);
    expect([...leading]).toEqual(["a"]);
    const stopping = processes[0]!.elector[Symbol.asyncDispose]();
    await clock.until(() => leading.has("b"), 4_000);
    await stopping;
    expect(history).toEqual(["a", "b"]);
  });

  it("takes over from a dead leader after its lease has run out, not before", async () => {
    const { clock, processes, leading } = setup(["a", "b"]);
    for (const p of processes) p.elector.start();
    await clock.until(() => leading.size === 1, 5_000);
    const first = processes.find((p) => leading.has(p.identity))!;
    const other = processes.find((p) => !leading.has(p.identity))!;
    await clock.advance(20_000);
    first.death.abort();
    leading.delete(first.identity);
    await clock.advance(12_000);
    expect(leading.size).toBe(0);
    await clock.until(() => leading.has(other.identity), 8_000);
  });

  it("stops leading 10 s after it could last renew, whatever the wall clock does, and before another may lead", async () => {
    const { clock, api, processes, leading, most } = setup(["a", "b"]);
    for (const p of processes) p.elector.start();
    await clock.until(() => leading.size === 1, 5_000);
    const [first] = [...leading];
    api.fault = (_o, _effect, client) =>
      client === first ? new TransportError("connect", "unreachable") : undefined;
    clock.jumpWall(-3_600_000);
    await clock.advance(9_000);
    expect(leading.has(first!)).toBe(true);
    await clock.advance(3_500);
    expect(leading.has(first!)).toBe(false);
    await clock.until(() => leading.size === 1, 10_000);
    expect(most()).toBe(1);
  });

  it("tolerates a missing namespace until it is there", async () => {
    const { clock, api, processes, leading } = setup(["a"]);
    api.fault = (o) =>
      o.verb === "create" ? new ApiError(404, "NotFound", 'namespaces "waggle-system" not found') : undefined;
    processes[0]!.elector.start();
    await clock.advance(30_000);
    expect(leading.size).toBe(0);
    expect(api.read(builtinKinds.Lease, "operator", "waggle-system")).toBeUndefined();
    api.fault = () => undefined;
    await clock.until(() => leading.has("a"), 5_000);
  });

  it.each([1, 2, 3, 4, 5])("never has two leaders under faults and deaths (seed %i)", async (seed) => {
    const { clock, api, processes, leading, history, most } = setup(["a", "b", "c"], seed);
    const random = seeded(seed + 50);
    for (const p of processes) p.elector.start();
    let bad = "";
    api.fault = (_o, _effect, client) =>
      client === bad || random() < 0.1 ? new TransportError("connect", "reset") : undefined;
    api.stall = () => (random() < 0.05 ? random() * 20_000 : 0);
    for (let i = 0; i < 60; i++) {
      bad = ["a", "b", "c", "", ""][Math.floor(random() * 5)]!;
      if (random() < 0.3) clock.jumpWall((random() - 0.5) * 100_000);
      await clock.advance(random() * 30_000);
    }
    expect(most()).toBe(1);
    expect(new Set(history).size).toBeGreaterThan(1);
    expect(leading.size).toBeLessThanOrEqual(1);
  });
});
