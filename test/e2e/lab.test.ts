// e2e: the main job's must-shows on real parts, on our own API server and on a real one.
import { describe } from "vitest";
import { findAssets } from "../../src/lab/real.ts";
import { askScenario, rightsScenario } from "./scenarios/ask.ts";
import { datapathScenario } from "./scenarios/datapath.ts";
import { gitopsScenario } from "./scenarios/gitops.ts";
import { guideScenario } from "./scenarios/guide.ts";
import { kubectlScenario } from "./scenarios/kubectl.ts";
import { passwordScenario } from "./scenarios/password.ts";
import { survivalScenario } from "./scenarios/survival.ts";
import { labSuite } from "./suite.ts";
import { labName } from "./support.ts";

/** On both: what an API server has a part in. A minute without one is waited for once, on the real ones where there are any. */
for (const kubernetes of ["embedded", "real"] as const) {
  const embedded = kubernetes === "embedded";
  const server = embedded ? "our API server" : "real API servers";
  labSuite(`a lab of two clusters on ${server}`, { lab: labName(kubernetes), kubernetes }, (lab) => {
    if (embedded) describe("ask", () => askScenario(lab));
    describe("rights", () => rightsScenario(lab));
    if (embedded) describe("datapath", () => datapathScenario(lab));
    describe("kubectl", () => kubectlScenario(lab));
    describe("gitops", () => gitopsScenario(lab));
    if (embedded) describe("guide", () => guideScenario(lab));
    describe("survival", () =>
      survivalScenario(lab, {
        deaths: embedded,
        upgrade: embedded,
        controlPlane: true,
        apiAway: embedded === (findAssets("plane") === undefined),
      }));
    describe("password", () => passwordScenario(lab));
  });
}
