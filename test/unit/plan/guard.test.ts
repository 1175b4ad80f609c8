// plan: the withdraw guard: what is held, until when, and what is not its business.
import { describe, expect, it } from "vitest";
import { type InForce, type Plan, type PlanInputs, plan, type Snapshot } from "../../../src/plan/index.ts";
import {
  advertisement,
  clusterNetwork,
  draining,
  everything,
  inputs,
  nodeNetwork,
  originated,
  peer,
  snapshot,
  vipClaim,
  vips,
} from "./fixture.ts";

const before: InForce = plan(snapshot(), "node1", inputs());
const next = (change: Partial<Snapshot>, given: Partial<PlanInputs> = {}): Plan =>
  plan(
    snapshot({ ...change, lastGood: plan(snapshot(), "node1", inputs()).lastGood }),
    "node1",
    inputs({ previous: before, ...given }),
  );

describe("withdraw guard", () => {
  it.each<[string, Partial<Snapshot>]>([
    ["the advertisement is gone", { advertisements: [] }],
    ["every peer is gone", { peers: [] }],
    ["the ClusterNetwork is gone", (({ clusterNetwork: _, ...rest }) => rest)(snapshot())],
    [
      "the node is selected no more",
      { clusterNetwork: clusterNetwork({ nodeSelector: { matchLabels: { x: "y" } } }) },
    ],
    ["the mode is Observe", { clusterNetwork: clusterNetwork({ mode: "Observe" }) }],
    ["all claims are gone", { allocations: [] }],
  ])("holds everything when %s", (_, change) => {
    const { clusterNetwork: network, ...rest } = snapshot();
    const without = "clusterNetwork" in change ? change : { ...change, clusterNetwork: network };
    const base = _ === "the ClusterNetwork is gone" ? rest : { ...rest, ...without };
    const good = plan(snapshot(), "node1", inputs());
    const p = plan({ ...base, lastGood: good.lastGood } as Snapshot, "node1", inputs({ previous: before }));
    expect(originated(p)).toEqual(everything);
    expect(p.held?.withdraws).toEqual(everything);
    expect(
      p.announcements
        .filter((a) => a.state === "Held")
        .map((a) => a.prefix)
        .sort(),
    ).toEqual(everything);
    expect(p.speaker.peers).toEqual(before.speaker.peers);
    expect(p.vips).toEqual(before.vips);
    expect(p.interfaces).toEqual(["eth0"]);
    expect(p.podBlocks).toEqual(before.podBlocks);
    for (const name of before.speaker.peers.flatMap((x) => [...x.importPolicies, ...x.exportPolicies]))
      expect(p.speaker.policies.map((x) => x.name)).toContain(name);
  });

  it("goes on holding from plan to plan with the same hash", () => {
    const first = next({ advertisements: [] });
    const second = next({ advertisements: [] }, { previous: first });
    expect(second.held).toEqual(first.held);
    expect(originated(second)).toEqual(everything);
  });

  it("lets go when the hash is approved, once", () => {
    const { hash } = next({ advertisements: [] }).held!;
    const approved = next({ advertisements: [], nodeNetwork: nodeNetwork({ "waggle.dev/approve": hash }) });
    expect(approved.held).toBeUndefined();
    expect(approved.approved).toBe(true);
    expect(originated(approved)).toEqual([]);
    const again = next(
      { advertisements: [], nodeNetwork: nodeNetwork({ "waggle.dev/approve": hash }) },
      { guardSerial: 1 },
    );
    expect(again.held).toBeDefined();
    const other = next({
      advertisements: [],
      nodeNetwork: nodeNetwork({ "waggle.dev/approve": "0000000000000000" }),
    });
    expect(other.held?.hash).toBe(hash);
  });

  it("ends by itself when the configuration comes back", () => {
    const held = next({ advertisements: [] });
    const back = next({}, { previous: held });
    expect(back.held).toBeUndefined();
    expect(back.announcements.every((a) => a.state === "Announced")).toBe(true);
  });

  it("does not hold one Service that goes, though it has two addresses", () => {
    const gone = next({ services: [], allocations: snapshot().allocations.slice(0, 3) });
    expect(gone.held).toBeDefined();
    const deleted = next({ services: [] });
    expect(deleted.held).toBeUndefined();
    const empty = next({ endpointSlices: [] });
    expect(empty.held).toBeUndefined();
    expect(originated(empty)).not.toContain(vips[0]);
  });

  it("holds two withdrawals beyond the share and not below it", () => {
    const change = { peers: [peer("tor", { families: ["IPv6Unicast"] })] } as const;
    expect(next(change).held?.withdraws).toEqual(["10.1.0.0/26", "10.101.0.5/32"]);
    const wide = next({ ...change, clusterNetwork: clusterNetwork({}, { withdrawGuardPercent: 50 }) });
    expect(wide.held).toBeUndefined();
    const narrow = next({ ...change, clusterNetwork: clusterNetwork({}, { withdrawGuardPercent: 49 }) });
    expect(narrow.held).toBeDefined();
  });

  it("does not hold what the node's own drain withdraws", () => {
    const p = next({}, { drain: draining("Quiet"), elsewhere: new Set(vips) });
    expect(p.held).toBeUndefined();
    expect(originated(p)).toEqual([]);
  });

  it("holds what failing proofs would withdraw on a large scale, de-preferred", () => {
    const failing = new Map(everything.map((x) => [x, { state: "Failed", reason: "r" } as const]));
    const p = next({}, { proofs: failing, elsewhere: new Set(everything) });
    expect(p.held?.withdraws).toEqual(everything);
    for (const o of p.speaker.origins) expect(o.attributes.localPref).toBe(0);
  });

  it("has no say in what was never announced", () => {
    const p = plan(snapshot({ advertisements: [] }), "node1", inputs());
    expect(p.held).toBeUndefined();
  });

  it("lets a new announcement pass while it holds others", () => {
    const p = next({
      advertisements: [
        advertisement("vips", {
          advertise: [
            {
              type: "Services",
              serviceSelector: { matchLabels: { app: "none" } },
              addresses: ["LoadBalancerIP"],
            },
          ],
        }),
      ],
      allocations: [...snapshot().allocations, vipClaim("10.101.0.6/32", "web")],
    });
    expect(p.held).toBeDefined();
    expect(originated(p)).toEqual(everything);
  });
});
