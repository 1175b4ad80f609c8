// plan: paused objects and nodes, the exclusion label, and the annotation that lets everything go.
import { describe, expect, it } from "vitest";
import type { BGPAdvertisement, BGPPeer, BGPPolicy, Node } from "../../../src/api/index.ts";
import {
  drainOrder,
  inForceOf,
  type LastGood,
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
  node,
  originated,
  peer,
  peering,
  snapshot,
  vips,
} from "./fixture.ts";

const first = plan(snapshot(), "node1", inputs());

/** The object as the user has changed it after pausing it. */
const edited = <T extends { readonly metadata: object }>(object: T, generation = 2): T => ({
  ...object,
  metadata: { ...object.metadata, generation, annotations: { "waggle.dev/paused": "true" } },
});
/** What the operator says that it had seen. */
const seenAt = <T extends object>(object: T, observedGeneration: number): T => ({
  ...object,
  status: { observedGeneration },
});

const policy = (name: string, action: "Accept" | "Reject"): BGPPolicy => ({
  apiVersion: "waggle.dev/v1alpha1",
  kind: "BGPPolicy",
  metadata: { name },
  spec: { rules: [{ name: "all", action }] },
});

/** The plan after a change, by an agent that remembers what was before it. */
const next = (
  change: Partial<Snapshot>,
  given: Partial<PlanInputs> = {},
  before: Plan = first,
  lastGood: LastGood = before.lastGood,
): Plan =>
  plan(snapshot({ ...change, lastGood }), "node1", inputs({ previous: inForceOf(before), ...given }));

describe("a paused object", () => {
  const narrow = { peerSelector: { matchLabels: { fabric: "nobody" } } };

  it.each<[string, Partial<Snapshot>, string]>([
    [
      "a BGPAdvertisement",
      { advertisements: [edited(advertisement("all", narrow))] },
      "BGPAdvertisement/all",
    ],
    ["a BGPPeer", { peers: [edited(peer("tor", { peerASN: 65_999 }))] }, "BGPPeer/tor"],
    [
      "a ClusterPeering",
      { peerings: [edited(peering({ prefixes: ["10.9.0.0/16"] }))] },
      "ClusterPeering/dc2",
    ],
    [
      "the ClusterNetwork",
      { clusterNetwork: edited(clusterNetwork({ localASN: 64_999, mode: "Observe" })) },
      "ClusterNetwork/default",
    ],
  ])("stays in force as it was: %s", (_, change, object) => {
    const p = next(change);
    expect(inForceOf(p)).toEqual(inForceOf(first));
    expect(p.held).toBeUndefined();
    expect(p.paused).toEqual([{ object, inForce: "Earlier" }]);
    // And again, from what this plan remembers.
    expect(inForceOf(next(change, {}, first, p.lastGood))).toEqual(inForceOf(first));
    // Without the annotation the same edit counts.
    const unpaused = JSON.parse(
      JSON.stringify(change).replace('"waggle.dev/paused":"true"', ""),
    ) as typeof change;
    expect(next(unpaused).paused).toEqual([]);
    expect(inForceOf(next(unpaused))).not.toEqual(inForceOf(first));
  });

  it("holds back a BGPPolicy for every peer that uses it", () => {
    const peers = [peer("tor", { exportPolicies: ["out"] }), peer("spine", { exportPolicies: ["out"] })];
    const before = plan(snapshot({ peers, policies: [policy("out", "Accept")] }), "node1", inputs());
    const p = next({ peers, policies: [edited(policy("out", "Reject"))] }, {}, before);
    expect(p.speaker).toEqual(before.speaker);
    expect(p.paused).toEqual([{ object: "BGPPolicy/out", inForce: "Earlier" }]);
    // A paused peer keeps the policy as it was, too, though only the peer is paused.
    const q = next(
      { peers: [edited(peers[0]!), peers[1]!], policies: [policy("out", "Reject")] },
      {},
      before,
    );
    const rules = (name: string) =>
      q.speaker.peers
        .find((x) => x.name === name)!
        .exportPolicies.flatMap((x) => q.speaker.policies.find((y) => y.name === x)!.rules)
        .map((r) => r.accept);
    expect([rules("tor"), rules("spine")]).toEqual([[true], [false]]);
  });

  it("keeps its labels, too", () => {
    const advertisements = [advertisement("all", { peerSelector: { matchLabels: { fabric: "tor" } } })];
    const before = plan(snapshot({ advertisements }), "node1", inputs());
    const unlabelled = { ...peer("tor"), metadata: { name: "tor" } };
    expect(originated(next({ advertisements, peers: [edited(unlabelled)] }, {}, before))).toEqual(everything);
    expect(next({ advertisements, peers: [unlabelled] }, {}, before).held).toBeDefined();
  });

  it("says so where nothing has been changed since", () => {
    const same = { ...peer("tor"), metadata: { ...peer("tor").metadata, generation: 4 } };
    const before = plan(snapshot({ peers: [same] }), "node1", inputs());
    const p = next({ peers: [edited(peer("tor"), 4)] }, {}, before);
    expect(p.paused).toEqual([{ object: "BGPPeer/tor", inForce: "Present" }]);
  });

  it("is in force for an agent without memory only in the form that was seen before the pause", () => {
    const fresh = (p: BGPPeer) => plan(snapshot({ peers: [p] }), "node1", inputs());
    const untouched = fresh(seenAt(edited(peer("tor"), 3), 3));
    expect(originated(untouched)).toEqual(everything);
    expect(untouched.paused).toEqual([{ object: "BGPPeer/tor", inForce: "Present" }]);
    const touched = fresh(seenAt(edited(peer("tor"), 4), 3));
    expect(touched.speaker.peers).toEqual([]);
    expect(originated(touched)).toEqual([]);
    expect(touched.paused).toEqual([{ object: "BGPPeer/tor", inForce: "Nothing" }]);
  });

  it("goes when it is deleted", () => {
    const advertisements: BGPAdvertisement[] = [edited(advertisement("all"))];
    const paused = next({ advertisements });
    expect(originated(paused)).toEqual(everything);
    const p = next({ advertisements: [] }, {}, paused);
    expect(p.held?.withdraws).toEqual(everything);
  });

  it("anything but true is not paused", () => {
    const object = { ...advertisement("all", narrow) };
    const p = next({
      advertisements: [
        { ...object, metadata: { ...object.metadata, annotations: { "waggle.dev/paused": "no" } } },
      ],
    });
    expect(p.paused).toEqual([]);
    expect(p.held).toBeDefined();
  });
});

describe("a paused Node", () => {
  const paused: Node = {
    ...node(1),
    metadata: { ...node(1).metadata, annotations: { "waggle.dev/paused": "true" } },
  };
  const nodes = [paused, node(2)];

  it.each<[string, Partial<Snapshot>, Partial<PlanInputs>]>([
    ["BGPAdvertisements are gone", { advertisements: [] }, {}],
    ["peers are gone", { peers: [] }, {}],
    ["claims are gone", { allocations: [] }, {}],
    ["the mode is Observe", { clusterNetwork: clusterNetwork({ mode: "Observe" }) }, {}],
    ["a proof fails", {}, { proofs: new Map([["10.1.0.0/26", { state: "Failed", reason: "dropped" }]]) }],
    ["no proof has been tried", {}, { proofs: new Map() }],
    [
      "it is to drain",
      {
        nodes: [
          {
            ...paused,
            spec: { taints: [{ key: "waggle.dev/drain", value: "force", effect: "NoSchedule" }] },
          },
          node(2),
        ],
      },
      { drain: draining("Quiet") },
    ],
    ["pools are gone", { pools: [] }, {}],
  ])("keeps everything as it is when %s", (_, change, given) => {
    const p = next({ nodes, ...change }, given);
    expect(inForceOf(p)).toEqual(inForceOf(first));
    expect(p.held).toBeUndefined();
    expect(p.paused[0]).toEqual({ object: "Node/node1", inForce: "Present" });
  });

  it("announces nothing new", () => {
    const before = plan(snapshot({ services: [] }), "node1", inputs());
    expect(originated(before)).toEqual([...blocks].sort());
    expect(originated(next({ nodes }, {}, before))).toEqual([...blocks].sort());
  });

  it("follows the endpoints of what is in force", () => {
    const p = next({
      nodes,
      endpointSlices: snapshot().endpointSlices.map((s) => ({ ...s, endpoints: s.endpoints!.slice(1) })),
    });
    expect(p.vips.map((v) => v.ports.map((x) => x.backends.length))).toEqual([[1], [1]]);
    expect(first.vips.map((v) => v.ports.map((x) => x.backends.length))).toEqual([[2], [2]]);
    expect(p.announcements).toEqual(first.announcements);
    const gone = next({ nodes, services: [] });
    expect(gone.vips).toEqual(first.vips);
  });

  it("is left alone where nothing was in force", () => {
    const p = plan(snapshot({ nodes }), "node1", inputs());
    expect(p.mode).toBe("None");
    expect(p.speaker).toMatchObject({ asn: 0, peers: [], origins: [], listen: [] });
    expect(p.vips).toEqual([]);
    expect(p.conflist).toBeUndefined();
    expect(new Set(p.announcements.map((a) => a.reason.code))).toEqual(new Set(["NodePaused"]));
    expect(p.paused).toEqual([{ object: "Node/node1", inForce: "Nothing" }]);
  });

  it("is another node's business only there", () => {
    const p = plan(
      snapshot({
        nodes: [
          node(1),
          { ...node(2), metadata: { ...node(2).metadata, annotations: { "waggle.dev/paused": "true" } } },
        ],
      }),
      "node1",
      inputs(),
    );
    expect(inForceOf(p)).toEqual(inForceOf(first));
    expect(p.paused).toEqual([]);
  });
});

describe("the label that keeps Services away", () => {
  const excluded: Node = {
    ...node(1),
    metadata: {
      ...node(1).metadata,
      labels: { host: "node1", "node.kubernetes.io/exclude-from-external-load-balancers": "" },
    },
  };

  it("keeps VIPs from being announced, and nothing else", () => {
    const p = plan(snapshot({ nodes: [excluded, node(2)] }), "node1", inputs());
    expect(originated(p)).toEqual([...blocks].sort());
    for (const vip of vips)
      expect(p.announcements.find((a) => a.prefix === vip)).toMatchObject({
        state: "Withdrawn",
        reason: { code: "NodeExcluded" },
      });
  });

  it("does not concern other nodes", () => {
    const p = plan(
      snapshot({ nodes: [node(1), { ...excluded, metadata: { ...excluded.metadata, name: "node2" } }] }),
      "node1",
      inputs(),
    );
    expect(originated(p)).toEqual(everything);
  });

  it("counts whatever its value is, also for cluster and external IPs", () => {
    const labels = { "node.kubernetes.io/exclude-from-external-load-balancers": "false" };
    const services = snapshot().services.map((s) => ({
      ...s,
      spec: { ...s.spec, clusterIPs: ["10.96.0.7"], externalIPs: ["192.0.2.7"] },
    }));
    const advertisements = [
      advertisement("all", {
        advertise: [
          { type: "Services", serviceSelector: {}, addresses: ["LoadBalancerIP", "ClusterIP", "ExternalIP"] },
        ],
      }),
    ];
    const given = inputs({
      proofs: new Map(
        [...everything, "10.96.0.7/32", "192.0.2.7/32"].map((x) => [x, { state: "Proven", reason: "" }]),
      ),
    });
    const with_ = plan(
      snapshot({
        nodes: [{ ...node(1), metadata: { ...node(1).metadata, labels } }, node(2)],
        services,
        advertisements,
      }),
      "node1",
      given,
    );
    const without = plan(snapshot({ services, advertisements }), "node1", given);
    expect(originated(with_)).toEqual([]);
    expect(originated(without)).toEqual([...vips, "10.96.0.7/32", "192.0.2.7/32"].sort());
  });
});

describe("the annotation that lets everything go", () => {
  const network = (value: string) => {
    const object = clusterNetwork();
    return { ...object, metadata: { ...object.metadata, annotations: { "waggle.dev/withdraw": value } } };
  };

  it("is a forced drain of every node, for this cluster's name only", () => {
    expect(drainOrder(snapshot({ clusterNetwork: network("dc1") }), "node1")).toBe("force");
    expect(drainOrder(snapshot({ clusterNetwork: network("dc1") }), "node2")).toBe("force");
    expect(drainOrder(snapshot({ clusterNetwork: network("dc2") }), "node1")).toBeUndefined();
    expect(drainOrder(snapshot(), "node1")).toBeUndefined();
  });

  it("withdraws also what nobody else announces, and the guard does not hold it", () => {
    const p = next({ clusterNetwork: network("dc1") }, { drain: draining("Quiet"), elsewhere: new Set() });
    expect(originated(p)).toEqual([]);
    expect(p.held).toBeUndefined();
  });
});
