// e2e: the main job's must-shows on real parts, on our own API server and on a real one.
import { describe } from "vitest";
import { findAssets } from "../../src/lab/real.ts";
import { askScenario } from "./scenarios/ask.ts";
import { datapathScenario } from "./scenarios/datapath.ts";
import { guideScenario } from "./scenarios/guide.ts";
import { kubectlScenario } from "./scenarios/kubectl.ts";
import { passwordScenario } from "./scenarios/password.ts";
import { survivalScenario } from "./scenarios/survival.ts";
import { labSuite } from "./suite.ts";

/** On both where there are both: what an API server has a part in. A minute without one is waited for once. */
for (const kubernetes of ["embedded", "real"] as const) {
  const embedded = kubernetes === "embedded";
  const server = embedded ? "our API server" : "real API servers";
  labSuite(`a lab of two clusters on ${server}`, { lab: `e2e-${kubernetes}`, kubernetes }, (lab) => {
    describe("ask", () => askScenario(lab));
    if (embedded) describe("datapath", () => datapathScenario(lab));
    describe("kubectl", () => kubectlScenario(lab));
    if (embedded) describe("guide", () => guideScenario(lab));
    describe("survival", () =>
      survivalScenario(lab, { nodeParts: embedded, apiAway: embedded === (findAssets() === undefined) }));
    describe("password", () => passwordScenario(lab));
  });
}
