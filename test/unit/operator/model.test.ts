// The model of model.ts over many seeds. A failure names its seed: WAGGLE_MODEL_ONE=<seed> runs that cluster again.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { complaints, picture, simulate } from "./model.ts";

const runs = Number(process.env["WAGGLE_MODEL_RUNS"] ?? 12);
const steps = Number(process.env["WAGGLE_MODEL_STEPS"] ?? 60);
/** One cluster again, after a failure. */
const oneSeed = Number(process.env["WAGGLE_MODEL_ONE"] ?? 0);
const firstSeed = Number(process.env["WAGGLE_MODEL_SEED"] ?? 1);

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
});
