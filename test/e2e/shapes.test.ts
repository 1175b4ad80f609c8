// e2e: the same fleet in other shapes: without IPv4, over a link with a small MTU, with two routers in each data centre.
import { describe } from "vitest";
import { coreScenario } from "./scenarios/core.ts";
import { ipv6Scenario } from "./scenarios/ipv6.ts";
import { passwordScenario } from "./scenarios/password.ts";
import { survivalScenario } from "./scenarios/survival.ts";
import { torsScenario } from "./scenarios/tors.ts";
import { transferScenario } from "./scenarios/transfer.ts";
import { labSuite } from "./suite.ts";
import { labName } from "./support.ts";

labSuite("a lab without IPv4", { lab: labName("ipv6"), family: "ipv6" }, (lab) => {
  ipv6Scenario(lab);
  describe("core", () => coreScenario(lab));
  describe("survival", () =>
    survivalScenario(lab, { deaths: true, upgrade: false, controlPlane: false, apiAway: false }));
  describe("password", () => passwordScenario(lab));
});

labSuite("a lab with an MTU of 1400 between data centres", { lab: labName("mtu"), dciMTU: 1400 }, (lab) =>
  transferScenario(lab),
);

for (const router of ["bird", "frr"] as const)
  labSuite(
    `a lab with two routers of ${router.toUpperCase()} in each data centre`,
    { lab: labName(router), tors: 2, router },
    (lab) => {
      torsScenario(lab);
      describe("core", () => coreScenario(lab));
    },
  );
