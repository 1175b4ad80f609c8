// plan: a drain from beginning to end under a virtual clock, with acknowledgements that come late or never.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type DrainInputs,
  type DrainProgress,
  drainWakesAt,
  noDrain,
  type Plan,
  type PlanInputs,
  pendingWithdrawals,
  plan,
  type Retirement,
  retirementsSent,
  type Snapshot,
  stepDrain,
  stepRetirements,
} from "../../../src/plan/index.ts";
import { blocks, drained, everything, inputs, node, originated, snapshot, vips } from "./fixture.ts";

const seconds = 5;
const base: DrainInputs = {
  taint: "",
  drainSeconds: seconds,
  acknowledged: () => true,
  kept: [],
  pendingWithdrawals: 0,
  now: 0,
};

describe("drain, step by step", () => {
  it("waits for acknowledgements and rests in between", () => {
    let p: DrainProgress = noDrain;
    const step = (change: Partial<DrainInputs>): string => {
      p = stepDrain(p, { ...base, ...change });
      return p.phase;
    };
    expect(step({ now: 100 })).toBe("DePreferred");
    expect(step({ now: 60_000 })).toBe("DePreferred");
    p = { ...p, generation: 7 };
    expect(step({ now: 61_000, acknowledged: () => false })).toBe("DePreferred");
    expect(step({ now: 62_000, acknowledged: (g) => g === 7 })).toBe("DePreferred");
    expect(drainWakesAt(p, seconds)).toBe(67_000);
    expect(step({ now: 66_999 })).toBe("DePreferred");
    expect(step({ now: 67_000 })).toBe("Quiet");
    p = { ...p, generation: 8 };
    expect(step({ now: 68_000, acknowledged: () => false })).toBe("Quiet");
    expect(step({ now: 69_000, kept: ["10.101.0.5/32"] })).toBe("Quiet");
    expect(step({ now: 69_000, pendingWithdrawals: 1 })).toBe("Quiet");
    expect(step({ now: 70_000 })).toBe("Withdrawn");
    expect(step({ now: 74_999 })).toBe("Withdrawn");
    expect(step({ now: 75_000 })).toBe("Released");
    expect(step({ now: 999_000 })).toBe("Released");
  });

  it("is undone from everywhere by taking the taint away", () => {
    for (const phase of ["DePreferred", "Quiet", "Withdrawn", "Released"] as const)
      expect(stepDrain({ phase, since: 5 }, { ...base, taint: undefined, now: 9 })).toEqual({
        phase: "None",
        since: 9,
      });
    expect(stepDrain(noDrain, { ...base, taint: undefined })).toBe(noDrain);
  });
});

/** The agent's loop without the agent: what is decided, sent and acknowledged in virtual time. */
class World {
  now = 1_000_000;
  drain: DrainProgress = noDrain;
  retiring: readonly Retirement[] = [];
  inForce: Plan | undefined;
  generation = 0;
  acked = 0;
  sent = "";
  elsewhere: ReadonlySet<string> = new Set(vips);
  readonly phases: string[] = [];

  round(given: Snapshot, change: Partial<PlanInputs> = {}): Plan {
    const taint = given.nodes[0]!.spec?.taints?.[0]?.value;
    this.drain = stepDrain(this.drain, {
      taint,
      drainSeconds: seconds,
      acknowledged: (g) => this.acked >= g,
      kept: (this.inForce?.announcements ?? []).flatMap((a) =>
        a.reason.code === "LastAnnouncer" ? [a.prefix!] : [],
      ),
      pendingWithdrawals: pendingWithdrawals(this.retiring).length,
      now: this.now,
    });
    if (this.phases.at(-1) !== this.drain.phase) this.phases.push(this.drain.phase);
    const next = plan(
      given,
      "node1",
      inputs({
        drain: this.drain,
        retiring: this.retiring,
        now: this.now,
        elsewhere: this.elsewhere,
        ...(this.inForce && { previous: this.inForce }),
        ...change,
      }),
    );
    this.retiring = stepRetirements(this.retiring, {
      previous: this.inForce,
      next,
      drainSeconds: seconds,
      acknowledged: (g) => this.acked >= g,
      now: this.now,
    });
    this.inForce = next;
    const text = JSON.stringify(next.speaker, (_, v: unknown) => (typeof v === "bigint" ? String(v) : v));
    if (text !== this.sent) {
      this.sent = text;
      this.generation += 1;
    }
    this.retiring = retirementsSent(this.retiring, this.generation);
    if (this.drain.phase !== "None" && this.drain.generation === undefined)
      this.drain = { ...this.drain, generation: this.generation };
    return next;
  }
}

describe("drain, as the loop does it", () => {
  const calm = snapshot();
  const tainted = (value = ""): Snapshot => snapshot({ nodes: [drained(1, value), node(2)] });

  function run(world: World, given: Snapshot, rounds: number, ackAfter = 1): Plan[] {
    const out: Plan[] = [];
    for (let i = 0; i < rounds; i++) {
      out.push(world.round(given));
      if (i % ackAfter === 0) world.acked = world.generation;
      world.now += 500;
    }
    return out;
  }

  it("de-prefers, withdraws, then unprograms, in this order", () => {
    const world = new World();
    run(world, calm, 2);
    const plans = run(world, tainted(), 60);
    expect(world.phases).toEqual(["None", "DePreferred", "Quiet", "Withdrawn", "Released"]);
    const dePreferred = plans[0]!;
    expect(originated(dePreferred)).toEqual(everything);
    for (const o of dePreferred.speaker.origins) expect(o.attributes.communities).toContain(0xffff_0000);
    const last = plans.at(-1)!;
    expect(originated(last)).toEqual([]);
    expect(last.speaker.peers.length).toBe(1);
    expect(last.vips.map((v) => v.entry)).toEqual([false, false]);
    expect(last.vips.every((v) => v.ports[0]!.backends.length === 2)).toBe(true);
    // Programmed as an entry until the withdrawal has been acknowledged and has rested.
    const firstWithout = plans.findIndex((p) => originated(p).length === 0);
    const firstUnprogrammed = plans.findIndex((p) => !p.vips[0]!.entry);
    expect(firstUnprogrammed - firstWithout).toBeGreaterThanOrEqual((seconds * 1000) / 500);
  });

  it("does not withdraw the VIPs that no other node announces, but everything else", () => {
    const world = new World();
    world.elsewhere = new Set([vips[0]]);
    run(world, calm, 2);
    const last = run(world, tainted(), 60).at(-1)!;
    expect(world.drain.phase).toBe("Quiet");
    expect(originated(last)).toEqual([vips[1]]);
    expect(last.announcements.find((a) => a.prefix === vips[1])).toMatchObject({
      state: "DePreferred",
      reason: { code: "LastAnnouncer" },
    });
    world.elsewhere = new Set(vips);
    expect(originated(run(world, tainted(), 40).at(-1)!)).toEqual([]);
    expect(world.drain.phase).toBe("Released");
  });

  it("withdraws even those with force", () => {
    const world = new World();
    world.elsewhere = new Set();
    run(world, calm, 2);
    expect(originated(run(world, tainted("force"), 60).at(-1)!)).toEqual([]);
    expect(world.drain.phase).toBe("Released");
  });

  it("announces everything again when it is undone", () => {
    const world = new World();
    run(world, calm, 2);
    run(world, tainted(), 60);
    const last = run(world, calm, 3).at(-1)!;
    expect(originated(last)).toEqual(everything);
    for (const o of last.speaker.origins) expect(o.attributes.communities).toEqual([]);
    expect(last.vips.map((v) => v.entry)).toEqual([true, true]);
  });

  it("begins nothing new while it drains", () => {
    const world = new World();
    const plans = run(world, tainted(), 40);
    expect(plans.every((p) => originated(p).length === 0)).toBe(true);
    expect(world.drain.phase).toBe("Released");
  });

  it("cordon alone changes nothing", () => {
    const world = new World();
    const cordoned = { ...node(1), spec: { unschedulable: true } };
    const plans = run(world, snapshot({ nodes: [cordoned, node(2)] }), 10);
    expect(world.phases).toEqual(["None"]);
    expect(originated(plans.at(-1)!)).toEqual(everything);
  });

  it("never unprograms before an acknowledged withdrawal, whatever comes when", () => {
    const step = fc.record({
      taint: fc.constantFrom("none", "", "force"),
      acknowledge: fc.boolean(),
      elsewhere: fc.subarray([...vips]),
      ms: fc.integer({ min: 1, max: 4_000 }),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const world = new World();
        run(world, calm, 2);
        let withdrawnAckedAt: number | undefined;
        for (const s of steps) {
          world.elsewhere = new Set(s.elsewhere);
          const p = world.round(s.taint === "none" ? calm : tainted(s.taint));
          const up = originated(p).filter((x) => (vips as readonly string[]).includes(x));
          // While anything of a VIP is announced, its entry is programmed.
          for (const prefix of up)
            expect(
              p.vips.some((v) => v.entry && prefix.startsWith(v.address.family === 4 ? "10." : "fd")),
            ).toBe(true);
          if (up.length > 0) withdrawnAckedAt = undefined;
          if (world.drain.phase === "Released") {
            expect(up).toEqual([]);
            expect(originated(p).filter((x) => (blocks as readonly string[]).includes(x))).toEqual([]);
            expect(withdrawnAckedAt).toBeDefined();
            expect(world.now - withdrawnAckedAt!).toBeGreaterThanOrEqual(seconds * 1000);
          }
          if (s.acknowledge) world.acked = world.generation;
          if (up.length === 0 && world.acked === world.generation) withdrawnAckedAt ??= world.now;
          world.now += s.ms;
        }
      }),
      { seed: 7, numRuns: 150 },
    );
  });
});

describe("retirements", () => {
  it("keep a deleted Service's entry until every neighbour knows and the rest is over", () => {
    const world = new World();
    world.round(snapshot());
    world.acked = world.generation;
    const gone = snapshot({ services: [] });
    const p = world.round(gone);
    expect(originated(p)).toEqual([...blocks]);
    expect(p.vips.length).toBe(2);
    expect(
      pendingWithdrawals(world.retiring)
        .map((r) => r.prefix)
        .sort(),
    ).toEqual([...vips]);
    world.now += 60_000;
    expect(world.round(gone).vips.length).toBe(2);
    world.acked = world.generation;
    expect(world.round(gone).vips.length).toBe(2);
    expect(pendingWithdrawals(world.retiring)).toEqual([]);
    world.now += seconds * 1000 - 1;
    expect(world.round(gone).vips.length).toBe(2);
    expect(world.round(gone).vips.length).toBe(2);
    world.now += 1;
    world.round(gone);
    expect(world.round(gone).vips).toEqual([]);
    expect(world.retiring).toEqual([]);
  });

  it("end when the prefix is announced again", () => {
    const world = new World();
    world.round(snapshot());
    world.round(snapshot({ services: [] }));
    expect(world.retiring.length).toBe(2);
    world.round(snapshot());
    expect(world.retiring).toEqual([]);
  });
});
