// plan: the withdraw guard: what is held, until when, and what is not its business.
import { describe, expect, it } from "vitest";
import { parseAddress } from "../../../src/net/address.ts";
import {
  hearings,
  type InForce,
  type Plan,
  type PlanInputs,
  plan,
  type Snapshot,
} from "../../../src/plan/index.ts";
import {
  advertisement,
  blocks,
  clusterNetwork,
  draining,
  everything,
  inputs,
  nodeNetwork,
  originated,
  peer,
  proven,
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

  it("holds what nobody would hear any more because of export policies, and everything goes out as before", () => {
    const peers = [peer("tor", { exportPolicies: ["out"] })];
    const policy = (name: string, rules: Snapshot["policies"][number]["spec"]["rules"]) => ({
      apiVersion: "waggle.dev/v1alpha1" as const,
      kind: "BGPPolicy" as const,
      metadata: { name },
      spec: { rules },
    });
    const prefixes = [{ prefix: "10.1.0.0/16", le: 32 }];
    const good = policy("out", [
      { name: "pods", match: { prefixes }, action: "Accept", set: { med: 7 } },
      { name: "rest", action: "Accept", set: { prepend: 2 } },
    ]);
    const was = plan(snapshot({ peers, policies: [good] }), "node1", inputs());
    const step = (policies: Snapshot["policies"], previous: Plan, more: Partial<Snapshot> = {}): Plan =>
      plan(
        snapshot({ peers, policies, lastGood: previous.lastGood, ...more }),
        "node1",
        inputs({ previous }),
      );
    const heard = (p: Plan) =>
      hearings(p.speaker, () => parseAddress("172.30.1.11")).map((h) => [h.prefix, h.route]);
    const none = [policy("out", [{ name: "none", action: "Reject" }])];
    const held = step(none, was);
    expect(held.held?.withdraws).toEqual(everything);
    expect(held.announcements[0]).toMatchObject({ state: "Held" });
    expect(heard(held)).toEqual(heard(was));
    // From plan to plan, with the same hash.
    const again = step(none, held);
    expect(again.held).toEqual(held.held);
    expect(heard(again)).toEqual(heard(was));
    const approved = step(none, again, {
      nodeNetwork: nodeNetwork({ "waggle.dev/approve": held.held!.hash }),
    });
    expect(approved.approved).toBe(true);
    expect(heard(approved).filter(([, route]) => route)).toEqual([]);
    const back = step([good], again);
    expect(back.held).toBeUndefined();
    expect(back.speaker).toEqual(was.speaker);
    // One of four may go.
    const few = step(
      [
        policy("out", [
          { name: "v6", match: { prefixes: [{ prefix: "fd20:1::5/128" }] }, action: "Reject" },
          ...good.spec.rules,
        ]),
      ],
      was,
    );
    expect(few.held).toBeUndefined();
  });

  it("what is held keeps its attributes while policies change for the others", () => {
    const peers = [peer("tor", { exportPolicies: ["out"] })];
    const policy = (med: number) => ({
      apiVersion: "waggle.dev/v1alpha1" as const,
      kind: "BGPPolicy" as const,
      metadata: { name: "out" },
      spec: { rules: [{ name: "all", action: "Accept" as const, set: { med } }] },
    });
    const was = plan(snapshot({ peers, policies: [policy(1)] }), "node1", inputs());
    const p = plan(
      snapshot({
        peers,
        policies: [policy(2)],
        allocations: snapshot().allocations.slice(2),
        lastGood: was.lastGood,
      }),
      "node1",
      inputs({ previous: was }),
    );
    expect(p.held?.withdraws).toEqual([...blocks].sort());
    const meds = hearings(p.speaker, () => parseAddress("172.30.1.11")).map((h) => [h.prefix, h.route?.med]);
    expect(Object.fromEntries(meds)).toEqual({ [blocks[0]]: 1, [blocks[1]]: 1, [vips[0]]: 2, [vips[1]]: 2 });
  });

  it("what is held stays held, however much else comes to be announced", () => {
    const two = next({ allocations: snapshot().allocations.slice(2) });
    expect(two.held?.withdraws).toEqual([...blocks].sort());
    const more = Array.from({ length: 12 }, (_, i) => `10.101.0.${20 + i}/32`);
    const allocations = [...snapshot().allocations.slice(2), ...more.map((m) => vipClaim(m, "web"))];
    const given = { proofs: proven([...everything, ...more]) };
    const grown = next({ allocations }, { previous: two, ...given });
    expect(originated(grown)).toEqual([...everything, ...more].sort());
    const later = next({ allocations }, { previous: grown, ...given });
    expect(later.held?.withdraws).toEqual([...blocks].sort());
    expect(originated(later)).toContain(blocks[0]);
    const approved = next(
      { allocations, nodeNetwork: nodeNetwork({ "waggle.dev/approve": later.held!.hash }) },
      { previous: later, ...given },
    );
    expect(originated(approved)).toEqual([...vips, ...more].sort());
  });
});
