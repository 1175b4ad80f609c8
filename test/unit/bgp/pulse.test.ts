// test/unit/bgp: timers that run between two pieces of work although the clock has had no chance.
import { expect, test } from "vitest";
import { Pulse } from "../../../src/bgp/session/pulse.ts";
import { VirtualClock } from "./world.ts";

test("due ones run at a beat, once, and those that were cancelled do not", () => {
  let now = 0;
  const late: (() => void)[] = [];
  const pulse = new Pulse({
    now: () => now,
    unixMs: () => now,
    // The loop is busy: its timers come when everything is over.
    after: (_ms, run) => {
      late.push(run);
      return { cancel: () => void late.splice(late.indexOf(run), 1) };
    },
    soon: () => {},
  });
  const ran: string[] = [];
  const again = (name: string) => (): void => {
    ran.push(`${name} ${now}`);
    pulse.after(100, again(name));
  };
  pulse.after(100, again("a"));
  pulse.after(150, () => ran.push("once")).cancel();
  const b = pulse.after(150, () => ran.push("b"));
  pulse.after(120, () => b.cancel());
  for (now = 10; now <= 310; now += 50) pulse.beat();
  expect(ran).toEqual(["a 110", "a 210", "a 310"]);
  for (const run of [...late]) run();
  expect(ran.length).toBe(4);
});

test("without beats the clock runs them", () => {
  const clock = new VirtualClock();
  const pulse = new Pulse(clock);
  const ran: number[] = [];
  pulse.after(100, () => ran.push(clock.now()));
  clock.run(99);
  pulse.beat();
  expect(ran).toEqual([]);
  clock.run(50);
  pulse.beat();
  expect(ran).toEqual([100]);
});
