// test/unit/bgp: turns of sending: one chunk each, those who read before those who do not, and nobody twice before the others.
import { expect, test } from "vitest";
import { Pulse } from "../../../src/bgp/session/pulse.ts";
import { type Hearing, Turns } from "../../../src/bgp/session/turns.ts";
import type { Clock } from "../../../src/bgp/session/types.ts";

/** A clock that moves by `step` ms each time it is asked, and work that waits for the next round of the loop. */
function loop(step: number) {
  let now = 0;
  const waiting: (() => void)[] = [];
  const clock: Clock = {
    now: () => {
      now += step;
      return now;
    },
    unixMs: () => now,
    after: () => ({ cancel: () => {} }),
    soon: (run) => void waiting.push(run),
  };
  return { clock, waiting };
}

const hearing = (told: string[], name: string, chunks: number, patient = false): Hearing => {
  let left = chunks;
  return {
    patient,
    sendChunk: () => {
      if (left === 0) return false;
      left--;
      told.push(name);
      return true;
    },
  };
};

test("one chunk each and again, and the patient ones after that", () => {
  const { clock, waiting } = loop(0);
  const told: string[] = [];
  const turns = new Turns(clock, new Pulse(clock));
  turns.add(hearing(told, "slow", 2, true));
  turns.add(hearing(told, "a", 3));
  turns.add(hearing(told, "b", 1));
  turns.run();
  expect(told).toEqual(["a", "b", "a", "a", "slow", "slow"]);
  for (const run of waiting) run();
  expect(told.length).toBe(6);
});

test("after a spell input is read first; whose turn was next is next, whatever has been added meanwhile", () => {
  const { clock, waiting } = loop(4);
  const told: string[] = [];
  const turns = new Turns(clock, new Pulse(clock));
  const all = ["a", "b", "c", "d"].map((name) => hearing(told, name, 2));
  for (const who of all) turns.add(who);
  for (let rounds = 0; waiting.length > 0; rounds++) {
    expect(rounds).toBeLessThan(10);
    const now = waiting.splice(0);
    for (const run of now) run();
    for (const who of all) turns.add(who);
    if (told.length === 8) break;
  }
  expect(told).toEqual(["a", "b", "c", "d", "a", "b", "c", "d"]);
});

test("one that never ends does not keep the others from their turns, nor the loop from reading", () => {
  const { clock, waiting } = loop(0);
  const told: string[] = [];
  const turns = new Turns(clock, new Pulse(clock));
  turns.add(hearing(told, "endless", 1e9));
  turns.add(hearing(told, "patient", 1, true));
  turns.run();
  expect(told.filter((t) => t === "patient").length).toBe(1);
  expect(told.length).toBeLessThan(20);
  expect(waiting.length).toBeGreaterThan(0);
});
