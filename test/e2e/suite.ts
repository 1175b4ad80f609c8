// e2e: one lab of two clusters for a list of scenarios, brought up before the first and taken down after the last.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { raise, settle } from "../../src/lab/demo.ts";
import { down } from "../../src/lab/down.ts";
import { labNamespaces } from "../../src/lab/network.ts";
import type { Lab, UpOptions } from "../../src/lab/up.ts";
import { missingForLab } from "./support.ts";

/** Processes that a lab of two clusters of two nodes has, besides its web pods and routers. */
const processes = { embedded: 2 * (1 + 1 + 2 * 2), real: 2 * (4 + 1 + 2 * 2) } as const;

/** `lab` is this suite's own name: labs of one name exist once on a machine. */
export function labSuite(
  title: string,
  options: Omit<UpOptions, "clusters" | "nodes">,
  scenarios: (lab: () => Lab) => void,
): void {
  const missing = missingForLab(options);
  describe.skipIf(missing)(`${title}${missing ? ` (skipped: needs ${missing})` : ""}`, () => {
    let lab: Lab;

    beforeAll(async () => {
      await down(options.lab);
      lab = await raise({ ...options, clusters: 2, nodes: 2 }, () => undefined);
      await settle(lab, options, () => undefined);
    }, 240_000);

    afterAll(async () => {
      await lab?.[Symbol.asyncDispose]();
      if (process.env.WAGGLE_LAB_KEEP) return;
      await down(options.lab);
      expect(labNamespaces(options.lab)).toEqual([]);
    }, 60_000);

    it("is up", () => {
      const routers = (options.tors ?? 1) * (options.router === "frr" ? 2 : 1);
      const expected = processes[options.kubernetes ?? "embedded"] + 2 * (routers + 3);
      expect(lab.state.processes.length).toBe(expected);
    });
    scenarios(() => lab);
  });
}
