// The model of model.ts over many seeds. A failure names its seed: WAGGLE_MODEL_ONE=<seed> runs that cluster again.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { complaints, picture, restored, simulate } from "./model.ts";

const runs = Number(process.env["WAGGLE_MODEL_RUNS"] ?? 10);
const steps = Number(process.env["WAGGLE_MODEL_STEPS"] ?? 60);
/** One cluster again, after a failure. */
const oneSeed = Number(process.env["WAGGLE_MODEL_ONE"] ?? 0);
const firstSeed = Number(process.env["WAGGLE_MODEL_SEED"] ?? 1);

/** Allocations that a restore from a backup loses. */
const allocations = Number(process.env["WAGGLE_MODEL_RESTORE"] ?? 60);
/** Runs clusters until operators and agents have made so many requests, each of which an operator may die in. */
const operations = Number(process.env["WAGGLE_MODEL_OPERATIONS"] ?? 0);

describe("claims under crashes, conflicts and late caches", () => {
  it(
    `never twice, never moved, nothing left over (${runs} clusters of ${steps} steps)`,
    async () => {
      await fc.assert(
        fc.asyncProperty(
          oneSeed ? fc.constant(oneSeed) : fc.integer({ min: 1, max: 2 ** 30 }),
          async (seed) => {
            const { rules, world } = await simulate(seed, steps);
            expect(rules.broken, `seed ${seed}\n${world.lines.slice(-60).join("\n")}`).toEqual([]);
            expect(complaints(world), `seed ${seed}\n${picture(world)}`).toEqual([]);
          },
        ),
        { seed: firstSeed, numRuns: oneSeed ? 1 : runs, endOnFailure: true },
      );
    },
    60_000 + runs * 20_000,
  );

  it.skipIf(!operations)(
    `the same over ${operations || "many"} requests (skipped: needs WAGGLE_MODEL_OPERATIONS)`,
    async () => {
      const seen = { requests: 0, clusters: 0, restores: 0, shared: 0, grown: 0 };
      for (let seed = firstSeed * 7_919; seen.requests < operations; seed += 7_919) {
        const { rules, world } = await simulate(seed, steps);
        expect(rules.broken, `seed ${seed}\n${world.lines.slice(-60).join("\n")}`).toEqual([]);
        expect(complaints(world), `seed ${seed}\n${picture(world)}`).toEqual([]);
        seen.requests += world.api.log.length;
        seen.clusters += 1;
        seen.restores += world.api.epoch;
        seen.shared += rules.sharedAtMost > 1 ? 1 : 0;
        seen.grown += rules.blocksAtMost > 2 ? 1 : 0;
        if (seen.clusters % 50 === 0) process.stderr.write(`${JSON.stringify(seen)}\n`);
      }
      process.stderr.write(`${JSON.stringify(seen)}\n`);
    },
    86_400_000,
  );

  it(
    `never twice, never moved, where the API server's data goes back by ${allocations} allocations`,
    async () => {
      const { rules, world } = await restored(firstSeed, allocations);
      expect(rules.broken).toEqual([]);
      expect(complaints(world), picture(world)).toEqual([]);
    },
    60_000 + allocations * 2_000,
  );
});
