// plan: roll-outs: which form of a changed object counts on a node, what diff and explain say of it meanwhile.
import { describe, expect, it } from "vitest";
import type { BGPAdvertisement, ClusterNetwork } from "../../../src/api/index.ts";
import { parseAddress } from "../../../src/net/address.ts";
import {
  canonical,
  difference,
  explain,
  inForceOf,
  nothingRemembered,
  plan,
  questionOf,
  type Snapshot,
  stepsOf,
  turnOf,
} from "../../../src/plan/index.ts";
import { advertisement, clusterNetwork, inputs, node, originated, snapshot } from "./fixture.ts";

const rollout = {
  byNodeLabel: "host",
  order: ["node2"],
  soakSeconds: 60,
  deadlineSeconds: 300,
  maxFailures: 0,
};
const staged = (): ClusterNetwork => clusterNetwork({}, { rollout });
const spec = (med: number): BGPAdvertisement["spec"] => ({
  nodeSelector: {},
  peerSelector: {},
  advertise: [{ type: "PodBlocks", attributes: { med } }],
});
type Status = NonNullable<BGPAdvertisement["status"]>;
const object = (med: number, generation: number, status?: Status): BGPAdvertisement => ({
  ...advertisement("all", spec(med)),
  metadata: { name: "all", generation },
  ...(status && { status }),
});
const done = {
  observedGeneration: 1,
  rollout: { phase: "Done", generation: 1, spec: canonical(spec(1)) },
} as const;
const reaching = (...reached: readonly string[]): Status => ({
  observedGeneration: 2,
  rollout: { ...done.rollout, phase: "Soaking", target: 2, label: "host", reached },
});
const given = (a: BGPAdvertisement, change: Partial<Snapshot> = {}): Snapshot =>
  snapshot({ clusterNetwork: staged(), advertisements: [a], ...change });
const medOf = (s: Snapshot, name = "node1"): number | undefined =>
  plan(s, name, inputs()).speaker.origins[0]?.attributes.med;

describe("a changed advertisement", () => {
  it("counts on a node only once the operator says that its turn has come", () => {
    expect(medOf(given(object(1, 1, done)))).toBe(1);
    expect(medOf(given(object(7, 2, done)))).toBe(1);
    expect(medOf(given(object(7, 2, reaching("node2"))))).toBe(1);
    expect(medOf(given(object(7, 2, reaching("node2", "node1"))))).toBe(7);
    expect(medOf(given(object(7, 2, reaching("node2")), { clusterNetwork: clusterNetwork() }))).toBe(7);
  });

  it("keeps a node on what it remembers until the operator has seen an edit, and on what the status says after that", () => {
    const before = plan(given(object(7, 2, reaching("node1"))), "node1", inputs());
    const { lastGood } = before;
    // Another edit, not seen yet: what is in force here is generation 2.
    expect(medOf(given(object(9, 3, reaching("node1")), { lastGood }))).toBe(7);
    const anew = { ...reaching(), rollout: { ...reaching().rollout!, target: 3, reached: [] } };
    expect(medOf(given(object(9, 3, anew), { lastGood }))).toBe(1);
  });

  it("that is new is nothing where its turn has not come", () => {
    expect(originated(plan(given(object(1, 1)), "node1", inputs()))).toEqual([]);
    const first = {
      ...reaching("node2"),
      rollout: { phase: "Progressing", generation: 0, target: 1, label: "host", reached: ["node2"] },
    } as const;
    expect(originated(plan(given(object(1, 1, first)), "node1", inputs()))).toEqual([]);
  });

  it("that was there before roll-outs were asked for counts as it is", () => {
    expect(medOf(given(object(1, 4, { observedGeneration: 4 })))).toBe(1);
  });

  it("stays as it is while it is paused in the middle", () => {
    const paused = (a: BGPAdvertisement): BGPAdvertisement => ({
      ...a,
      metadata: { ...a.metadata, annotations: { "waggle.dev/paused": "true" } },
    });
    expect(medOf(given(paused(object(7, 2, reaching("node1")))))).toBe(7);
    expect(medOf(given(paused(object(7, 2, reaching("node2")))))).toBe(1);
    expect(originated(plan(given(paused(object(1, 1))), "node1", inputs()))).toEqual([]);
  });

  it("is named by the plan, and by explain where it has not come", () => {
    const s = given(object(7, 2, reaching("node2")));
    const made = plan(s, "node1", inputs());
    const way = { object: "BGPAdvertisement/all", inForce: 1, target: 2, taken: false, step: "host=node1" };
    expect(made.rollouts).toEqual([way]);
    const facts = { sessions: new Map(), proofs: new Map(), localAddress: () => undefined };
    expect(explain(made, facts, questionOf("10.1.0.0/26")!)[0]?.rollouts).toEqual([way]);
  });
});

describe("a difference", () => {
  it("shows what a change leads to once it has come to the node, and when that is", () => {
    const was = given(object(1, 1, done));
    const start = inputs();
    const found = difference({
      node: "node1",
      before: was,
      after: { ...was, advertisements: [object(7, 2, done)], lastGood: nothingRemembered },
      inputs: { ...start, previous: inForceOf(plan(was, "node1", start)) },
      localAddress: () => parseAddress("172.30.1.11"),
    });
    expect(found.turn).toBe("2 of 2, host=node1");
    expect(found.routes.map((r) => [r.prefix, r.before?.med, r.after?.med, r.waitsFor])).toEqual([
      ["10.1.0.0/26", 1, 7, ["RollOut"]],
      ["fd10:1::/122", 1, 7, ["RollOut"]],
    ]);
  });

  it("of something else leaves a roll-out where it is", () => {
    const was = given(object(7, 2, reaching("node2")));
    const start = inputs();
    const found = difference({
      node: "node1",
      before: was,
      after: { ...was, nodes: [node(1)] },
      inputs: { ...start, previous: inForceOf(plan(was, "node1", start)) },
      localAddress: () => parseAddress("172.30.1.11"),
    });
    expect([found.turn, found.routes]).toEqual([undefined, []]);
  });
});

describe("steps", () => {
  it("are the order first, then sorted, nodes without the label last", () => {
    const of = (...racks: (string | undefined)[]) =>
      racks.map((rack) => ({ metadata: { name: "n", labels: rack === undefined ? {} : { rack } } }));
    const nodes = of("b", undefined, "a", "z", "b");
    expect(stepsOf({ ...rollout, order: ["z", "gone", "b"] }, "rack", nodes)).toEqual(["z", "b", "a", ""]);
    expect(turnOf(given(object(1, 1, done)), "node2")).toBe("1 of 2, host=node2");
  });
});
