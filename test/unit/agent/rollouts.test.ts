// agent: what a change that is being rolled out is judged by on a node.
import { describe, expect, it } from "vitest";
import { healthOf, reportedRollouts, stepWatches, type Watch } from "../../../src/agent/rollouts.ts";
import type { NodeNetworkStatus } from "../../../src/api/index.ts";
import type { RollOut } from "../../../src/plan/index.ts";

type Session = NonNullable<NodeNetworkStatus["sessions"]>[number];

const session = (more: Partial<Session> = {}): Session => ({
  peer: "tor",
  state: "Established",
  received: 10,
  accepted: 8,
  advertised: 3,
  flaps: 1,
  ...more,
});
const report = (sessions: readonly Session[], more: Partial<NodeNetworkStatus> = {}): NodeNetworkStatus => ({
  sessions,
  ...more,
});
const condition = (type: string, status: "True" | "False", message = "") => ({
  type,
  status,
  reason: "R",
  message,
  lastTransitionTime: "2026-01-01T00:00:00Z",
});
const taken: RollOut = {
  object: "BGPPolicy/to-tors",
  inForce: 2,
  target: 2,
  taken: true,
  step: "rack=a",
};

const before = report([session(), session({ peer: "spine", state: "Idle", flaps: 0 })]);
const watchesAfter = (now: NodeNetworkStatus, known: readonly Watch[] = []): readonly Watch[] =>
  stepWatches(known, [taken], { before, now }, 1_000);
const failures = (now: NodeNetworkStatus): readonly string[] => watchesAfter(now)[0]!.failures;

describe("a change that has come into force", () => {
  it("is in order where nothing is worse than before, whatever was wrong before", () => {
    expect(failures(before)).toEqual([]);
  });

  it("has failed where a session is lost, or was for a moment, or a neighbour is not heard or told any more", () => {
    expect(failures(report([session({ state: "Active" })]))).toEqual(["session tor was lost"]);
    expect(failures(report([session({ flaps: 2 })]))).toEqual(["session tor was lost and is back"]);
    expect(failures(report([session({ accepted: 0 })]))).toEqual(["every route of tor is rejected"]);
    expect(failures(report([session({ accepted: 0, received: 0 })]))).toEqual([]);
    expect(failures(report([session({ advertised: 0 })]))).toEqual(["tor hears nothing any more"]);
  });

  it("has failed where a proof fails, the guard holds the plan or the configuration is not accepted", () => {
    const proofs = [{ prefix: "10.1.0.0/26", state: "Failed" as const }];
    expect(failures(report([session()], { proofs }))).toEqual(["the proof of 10.1.0.0/26 fails"]);
    expect(failures(report([session()], { heldPlan: { hash: "abc" } }))).toEqual([
      "the withdraw guard holds the plan abc",
    ]);
    const conditions = [condition("ConfigAccepted", "False", "BGPPeer/tor: wrong")];
    expect(failures(report([session()], { conditions }))).toEqual(["ConfigAccepted: BGPPeer/tor: wrong"]);
  });

  it("says nothing of sessions while the speaker is away", () => {
    const conditions = [condition("SpeakerConnected", "False")];
    expect(failures(report([session({ state: "Idle" })], { conditions }))).toEqual([]);
  });

  it("keeps what has once gone wrong, until its roll-out has ended", () => {
    const first = watchesAfter(before);
    const second = watchesAfter(report([session({ state: "Active" })]), first);
    const third = watchesAfter(before, second);
    expect(third).toEqual(second);
    expect(reportedRollouts(third)).toEqual([
      {
        object: "BGPPolicy/to-tors",
        generation: 2,
        since: "1970-01-01T00:00:01Z",
        failures: ["session tor was lost"],
      },
    ]);
    expect(stepWatches(third, [{ ...taken, taken: false }], { before, now: before }, 2_000)).toEqual([]);
    expect(stepWatches(third, [], { before, now: before }, 2_000)).toEqual([]);
  });

  it("is judged anew where it is another change", () => {
    const lost = watchesAfter(report([session({ state: "Active" })]));
    const next = stepWatches(lost, [{ ...taken, target: 3 }], { before, now: before }, 2_000);
    expect(next.map((w) => [w.generation, w.failures.length, w.since])).toEqual([[3, 0, 2_000]]);
    expect(next[0]!.before).toEqual(healthOf(before));
  });
});
