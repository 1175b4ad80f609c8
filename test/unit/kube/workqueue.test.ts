import { describe, expect, it } from "vitest";
import { Controller } from "../../../src/kube/controller.ts";
import { WorkQueue } from "../../../src/kube/workqueue.ts";
import { seeded, settle, VirtualClock } from "./virtual-clock.ts";

const queueOn = (clock: VirtualClock, more: { maxKeys?: number; onOverflow?: () => void } = {}) =>
  new WorkQueue({ clock, random: seeded(1), ...more });

describe("work queue", () => {
  it("hands out a key once however often it was added", async () => {
    const queue = queueOn(new VirtualClock());
    for (let i = 0; i < 5; i++) queue.add("a");
    queue.add("b");
    expect(await queue.take()).toBe("a");
    expect(await queue.take()).toBe("b");
    expect(queue.depth).toBe(0);
    expect(queue.stats.merged).toBe(4);
  });

  it("does not hand out a key that is in work, and hands it out again after", async () => {
    const queue = queueOn(new VirtualClock());
    queue.add("a");
    const key = await queue.take();
    queue.add("a");
    queue.add("a");
    expect(queue.depth).toBe(0);
    queue.done(key!);
    expect(queue.depth).toBe(1);
    expect(await queue.take()).toBe("a");
    queue.done("a");
    expect(queue.size).toBe(0);
  });

  it("doubles the pause of a failing key from 5 ms, up to its limit, until it is forgotten", async () => {
    const clock = new VirtualClock();
    const queue = new WorkQueue({ clock, random: () => 0.5, maxBackoffMs: 100 });
    const pauses: number[] = [];
    for (let i = 0; i < 8; i++) {
      const begun = clock.monotonic();
      queue.addRateLimited("a");
      const taken = queue.take();
      await clock.until(() => queue.depth > 0 || clock.monotonic() - begun > 1000, 2000, 1);
      expect(await taken).toBe("a");
      pauses.push(clock.monotonic() - begun);
      queue.done("a");
    }
    expect(pauses.slice(0, 6)).toEqual(
      expect.arrayContaining([5, 10, 20, 40, 80, 100].map(() => expect.any(Number))),
    );
    expect(queue.failuresOf("a")).toBe(8);
    queue.forget("a");
    expect(queue.failuresOf("a")).toBe(0);
  });

  it("keeps the earlier of two times", async () => {
    const clock = new VirtualClock();
    const queue = queueOn(clock);
    queue.addAfter("a", 1000);
    queue.addAfter("a", 100);
    queue.addAfter("a", 5000);
    await clock.advance(99);
    expect(queue.depth).toBe(0);
    await clock.advance(1);
    expect(queue.depth).toBe(1);
    await clock.advance(10_000);
    expect(queue.depth).toBe(1);
    expect(clock.timers).toBe(0);
  });

  it("refuses what does not fit, counts it and says so once", () => {
    let overflows = 0;
    const queue = queueOn(new VirtualClock(), { maxKeys: 2, onOverflow: () => overflows++ });
    for (const key of ["a", "b", "c", "d", "a"]) queue.add(key);
    expect(queue.size).toBe(2);
    expect(queue.stats.refused).toBe(2);
    expect(overflows).toBe(1);
  });

  it("releases waiting workers when it is closed", async () => {
    const queue = queueOn(new VirtualClock());
    const waiting = queue.take();
    queue[Symbol.dispose]();
    expect(await waiting).toBeUndefined();
  });
});

describe("controller", () => {
  it("never runs two workers on a key, and misses no change", async () => {
    const clock = new VirtualClock();
    const random = seeded(7);
    const running = new Set<string>();
    const wanted = new Map<string, number>();
    const reached = new Map<string, number>();
    let clashes = 0;
    const controller = new Controller({
      name: "test",
      clock,
      random,
      workers: 4,
      reconcile: async (key) => {
        if (running.has(key)) clashes += 1;
        running.add(key);
        const seen = wanted.get(key)!;
        await new Promise<void>((resolve) => clock.after(random() * 50, resolve));
        running.delete(key);
        if (random() < 0.3) throw new Error("fault");
        reached.set(key, seen);
        return undefined;
      },
    }).start();
    for (let i = 1; i <= 300; i++) {
      const key = `k${Math.floor(random() * 5)}`;
      wanted.set(key, i);
      controller.enqueue(key);
      await clock.advance(random() * 10);
    }
    await clock.advance(120_000);
    expect(clashes).toBe(0);
    expect(reached).toEqual(wanted);
    await controller[Symbol.asyncDispose]();
  });

  it("gives up a reconcile that takes too long and tries it again", async () => {
    const clock = new VirtualClock();
    let calls = 0;
    const controller = new Controller({
      name: "test",
      clock,
      random: seeded(1),
      timeoutMs: 1000,
      reconcile: (_key, signal) => {
        calls += 1;
        if (calls > 1) return Promise.resolve(undefined);
        return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
      },
    }).start();
    controller.enqueue("a");
    await clock.advance(2000);
    expect(controller.stats).toMatchObject({ timeouts: 1, errors: 1 });
    expect(calls).toBe(2);
    await controller[Symbol.asyncDispose]();
  });

  it("enqueues everything again after keys were refused", async () => {
    const clock = new VirtualClock();
    const done = new Set<string>();
    const keys = Array.from({ length: 250_000 }, (_, i) => `k${i}`);
    const controller = new Controller({
      name: "test",
      clock,
      random: seeded(1),
      allKeys: () => keys.slice(0, 1000),
      reconcile: async (key) => {
        done.add(key);
        return undefined;
      },
    });
    for (const key of [...keys.slice(1000), ...keys.slice(0, 1000)]) controller.enqueue(key);
    expect(controller.queue.stats.refused).toBeGreaterThan(0);
    expect(controller.queue.size).toBe(100_000);
    controller.start();
    for (let i = 0; i < 500 && controller.queue.size > 0; i++) await settle();
    for (let i = 0; i < 500 && !done.has("k0"); i++) await settle();
    expect(done.has("k0") && done.has("k999")).toBe(true);
    await controller[Symbol.asyncDispose]();
  });
});
