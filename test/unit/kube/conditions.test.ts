import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { IPPool } from "../../../src/api/index.ts";
import { applyStatus, mergePatch, sameJson, setCondition } from "../../../src/kube/conditions.ts";
import { EventRecorder } from "../../../src/kube/events.ts";
import { kinds } from "../../../src/kube/resource.ts";
import { SimulatedApi } from "./simulated-api.ts";
import { seeded, VirtualClock } from "./virtual-clock.ts";

describe("conditions", () => {
  it("keeps the time of transition unless the status flips", () => {
    const ready = { type: "Ready", reason: "A", message: "m" } as const;
    const first = setCondition(undefined, { ...ready, status: "True" }, 0);
    const second = setCondition(first, { ...ready, status: "True", reason: "B" }, 5_000);
    const third = setCondition(second, { ...ready, status: "False" }, 9_000);
    expect([first, second, third].map((c) => c[0]?.lastTransitionTime)).toEqual([
      "1970-01-01T00:00:00Z",
      "1970-01-01T00:00:00Z",
      "1970-01-01T00:00:09Z",
    ]);
    expect(second[0]?.reason).toBe("B");
  });

  it("leaves other types alone", () => {
    const one = setCondition(undefined, { type: "Ready", status: "True", reason: "A", message: "" }, 0);
    const two = setCondition(one, { type: "Accepted", status: "True", reason: "A", message: "" }, 0);
    expect(two.map((c) => c.type)).toEqual(["Accepted", "Ready"]);
  });
});

/** RFC 7386, as a server does it. */
function merged(into: unknown, patch: unknown): unknown {
  if (typeof patch !== "object" || patch === null || Array.isArray(patch)) return patch;
  const out: Record<string, unknown> =
    typeof into === "object" && into !== null && !Array.isArray(into) ? { ...into } : {};
  for (const [key, value] of Object.entries(patch))
    if (value === null) delete out[key];
    else out[key] = merged(out[key], value);
  return out;
}

describe("merge patch", () => {
  const leaf = fc.oneof(fc.integer(), fc.string(), fc.boolean(), fc.array(fc.integer(), { maxLength: 3 }));
  const key = fc.constantFrom("a", "b", "c", "d");
  const object = fc.dictionary(key, fc.oneof(leaf, fc.dictionary(key, leaf)));

  it("turns one value into the other, and is absent only when they are the same", () => {
    fc.assert(
      fc.property(object, object, (from, to) => {
        const patch = mergePatch(from, to);
        expect(patch === undefined).toBe(sameJson(from, to));
        expect(sameJson(patch ? merged(from, patch) : from, to)).toBe(true);
      }),
      { seed: 1, numRuns: 500 },
    );
  });
});

const pool: IPPool = {
  apiVersion: "waggle.dev/v1alpha1",
  kind: "IPPool",
  metadata: { name: "p" },
  spec: { purpose: "Pods", blocks: [], priority: 1, cooldownSeconds: 0, disabled: false },
};

describe("status", () => {
  it("is written on change only, and not over somebody else's change", async () => {
    const clock = new VirtualClock();
    const api = new SimulatedApi({ clock, random: seeded(1) });
    const client = api.client("test");
    const run = async <T>(call: Promise<T>): Promise<T> => {
      call.catch(() => undefined);
      await clock.advance(10);
      return call;
    };
    const stored = api.put(kinds.IPPool, pool);
    const options = { fieldManager: "t" };
    const written = await run(applyStatus(client, kinds.IPPool, stored, { allocated: 3 }, options));
    expect(written?.status).toEqual({ allocated: 3 });
    expect(await run(applyStatus(client, kinds.IPPool, written!, { allocated: 3 }, options))).toBeUndefined();
    await expect(
      run(applyStatus(client, kinds.IPPool, stored, { allocated: 4 }, options)),
    ).rejects.toMatchObject({
      code: 409,
    });
  });
});

describe("events", () => {
  it("counts the same one again, and refuses a flood from one object", async () => {
    const clock = new VirtualClock();
    const api = new SimulatedApi({ clock, random: seeded(1) });
    const recorder = new EventRecorder({ api: api.client("t"), controller: "c", instance: "i", clock });
    const stored = api.put(kinds.IPPool, pool);
    const event = { type: "Warning", reason: "Overlap", action: "Check", note: "p overlaps q" } as const;
    for (let i = 0; i < 30; i++) {
      recorder.record(stored, event);
      await clock.advance(10_000);
    }
    const events = api.all(kinds.Event);
    expect(events).toHaveLength(1);
    expect(events[0]?.series?.count).toBeGreaterThan(5);
    expect(recorder.stats.written).toBeLessThan(12);
    for (let i = 0; i < 100; i++) recorder.record(stored, { ...event, note: `note ${i}` });
    await clock.advance(1_000);
    expect(recorder.stats.refused).toBeGreaterThanOrEqual(90);
  });
});
