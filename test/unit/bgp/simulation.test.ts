// test/unit/bgp: a day in the life: whatever has happened, at rest every session holds what a naive model says.
import { describe, expect, test } from "vitest";
import { Simulation } from "./simulation.ts";

describe("simulation", () => {
  test.each([
    [1, 1],
    [2, 1],
    [3, 2],
    [4, 2],
  ] as const)(
    "seed %d, AFI %d: 6 speakers, 400 events, then rest",
    (seed, afi) => {
      const sim = new Simulation(seed, 6, afi);
      for (const p of sim.plans.values()) {
        sim.randomOrigins(p);
        sim.apply(p);
      }
      let routes = 0;
      for (let round = 0; round < 4; round++) {
        for (let i = 0; i < 100; i++) sim.event();
        sim.rest();
        routes += sim.check();
      }
      expect(routes).toBeGreaterThan(100);
      for (const p of sim.plans.values()) {
        // Nothing is left behind: what is in the tables is in somebody's hands.
        const { rib } = p.host.speaker;
        rib.sweep();
        expect(rib.tables[afi].prefixes.size).toBeLessThanOrEqual(24);
        expect(rib.attributes.size).toBeLessThan(2000);
      }
    },
    300_000,
  );

  const events = Number(process.env["WAGGLE_DAY_EVENTS"] ?? 200);
  test(`a day in the life: 50 speakers, ${events} events`, () => {
    const sim = new Simulation(20_261, 50, 1, 2);
    for (const p of sim.plans.values()) {
      sim.randomOrigins(p);
      sim.apply(p);
    }
    let routes = 0;
    for (let done = 0; done < events; ) {
      for (const until = done + 500; done < until && done < events; done++) sim.event();
      sim.rest();
      routes += sim.check();
    }
    expect(routes).toBeGreaterThan(1000);
    expect(sim.world.log.filter((l) => l.includes("internal error"))).toEqual([]);
  }, 3_600_000);

  test("equal seeds, equal worlds", () => {
    const run = (): string => {
      const sim = new Simulation(9, 4);
      for (const p of sim.plans.values()) {
        sim.randomOrigins(p);
        sim.apply(p);
      }
      for (let i = 0; i < 60; i++) sim.event();
      return sim.world.log.join("\n");
    };
    expect(run()).toBe(run());
  });
});
