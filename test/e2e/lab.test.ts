// e2e: one lab of two clusters for every scenario: the main job's must-shows on real parts.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { raise, settle } from "../../src/lab/demo.ts";
import { down } from "../../src/lab/down.ts";
import { labNamespaces } from "../../src/lab/network.ts";
import type { Lab } from "../../src/lab/up.ts";
import { askScenario } from "./scenarios/ask.ts";
import { datapathScenario } from "./scenarios/datapath.ts";
import { guideScenario } from "./scenarios/guide.ts";
import { kubectlScenario } from "./scenarios/kubectl.ts";
import { passwordScenario } from "./scenarios/password.ts";
import { survivalScenario } from "./scenarios/survival.ts";
import { missingForLab } from "./support.ts";

const missing = missingForLab();

describe.skipIf(missing)(`a lab of two clusters${missing ? ` (skipped: needs ${missing})` : ""}`, () => {
  const name = "e2e";
  let lab: Lab;

  beforeAll(async () => {
    await down(name);
    lab = await raise({ lab: name, clusters: 2, nodes: 2 }, () => undefined);
    await settle(lab, () => undefined);
  }, 120_000);

  afterAll(async () => {
    await lab?.[Symbol.asyncDispose]();
    if (process.env.WAGGLE_LAB_KEEP) return;
    await down(name);
    expect(labNamespaces(name)).toEqual([]);
  }, 60_000);

  const current = (): Lab => lab;
  it("is up", () => expect(lab.state.processes.length).toBe(2 * (1 + 1 + 1 + 2 * 2 + 3)));
  describe("ask", () => askScenario(current));
  describe("datapath", () => datapathScenario(current));
  describe("kubectl", () => kubectlScenario(current));
  describe("guide", () => guideScenario(current));
  describe("survival", () => survivalScenario(current));
  describe("password", () => passwordScenario(current));
});
