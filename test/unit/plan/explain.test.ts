// plan: explanations and differences: they say what the model says, and each no has the reason that it has.
import { describe, expect, it } from "vitest";
import { parseAddress } from "../../../src/net/address.ts";
import {
  addressesOf,
  difference,
  type Explanation,
  explain,
  type HeardRoute,
  inForceOf,
  type NodeFacts,
  noDrain,
  type Plan,
  type PlanInputs,
  plan,
  questionOf,
  type SessionFacts,
  type Snapshot,
  whyNothing,
} from "../../../src/plan/index.ts";
import {
  Dice,
  type Fixed,
  nodeName,
  peerDefaults,
  provable,
  randomOf,
  randomState,
  type State,
} from "../../support/cluster-states.ts";
import {
  advertisement,
  clusterNetwork,
  draining,
  inputs,
  node,
  peer,
  peering,
  pool,
  proven,
  service,
  snapshot,
  vips,
} from "./fixture.ts";
import { naive } from "./naive.ts";

const question = (text: string) => {
  const q = questionOf(text);
  if (!q) throw new Error(`${text} is no question`);
  return q;
};

const up: SessionFacts = { state: "Established", families: ["IPv4Unicast", "IPv6Unicast"] };

const factsOf = (p: Plan, s: Snapshot, given: Partial<NodeFacts> = {}): NodeFacts => ({
  sessions: new Map(p.speaker.peers.map((x) => [x.name, up] as const)),
  proofs: proven(),
  localAddress: (x) =>
    addressesOf(s.nodes.find((n) => n.metadata.name === p.node)).find((a) => a.family === x.address.family),
  ...given,
});

/** Explains one prefix on node1. */
function about(
  prefix: string,
  change: Partial<Snapshot> = {},
  given: Partial<PlanInputs> = {},
  facts: Partial<NodeFacts> = {},
): Explanation {
  const s = snapshot(change);
  const p = plan(s, "node1", inputs(given));
  const [only, ...more] = explain(p, factsOf(p, s, facts), question(prefix));
  expect(more).toEqual([]);
  return only!;
}

const policy = (name: string, rules: NonNullable<Snapshot["policies"]>[number]["spec"]["rules"]) => ({
  apiVersion: "waggle.dev/v1alpha1" as const,
  kind: "BGPPolicy" as const,
  metadata: { name },
  spec: { rules },
});

describe("explain", () => {
  it("says what is heard, from where and by which rule", () => {
    const e = about("10.101.0.5");
    expect(e).toMatchObject({
      node: "node1",
      prefix: "10.101.0.5/32",
      kind: "VIPs",
      pool: "vips",
      state: "Announced",
      advertisements: ["all"],
      proof: { state: "Proven" },
    });
    expect(e.peers).toEqual([
      {
        peer: "tor",
        hears: true,
        why: { code: "Hears", message: "rule waggle:originated/vips of its export policies accepts it" },
        rule: "waggle:originated/vips",
        route: {
          nextHop: "172.30.1.11",
          asPath: [64601],
          origin: "IGP",
          communities: [],
          largeCommunities: ["64601:1:2"],
        },
        session: up,
      },
    ]);
  });

  it.each<[string, Partial<Snapshot>, Partial<PlanInputs>, Partial<NodeFacts>, string]>([
    ["no endpoint", { endpointSlices: [] }, {}, {}, "NoReadyEndpoint"],
    ["no proof", {}, { proofs: new Map() }, {}, "NotProven"],
    ["no advertisement", { advertisements: [] }, {}, {}, "NoAdvertisement"],
    [
      "another peer selector",
      {
        advertisements: [
          advertisement("all", { peerSelector: { matchLabels: { fabric: "x" } } }),
          advertisement("b", { peerSelector: { matchLabels: { fabric: "spine" } } }),
        ],
        peers: [peer("tor"), peer("spine", { address: "172.30.1.2" })],
      },
      {},
      {},
      "PeerNotSelected",
    ],
    [
      "a peer of other nodes",
      {
        peers: [
          peer("tor", { nodeSelector: { matchLabels: { host: "node2" } } }),
          peer("zz", { address: "172.30.1.2" }),
        ],
      },
      {},
      {},
      "PeerNotOnNode",
    ],
    [
      "a family that it has not",
      { peers: [peer("tor", { families: ["IPv6Unicast"] }), peer("zz", { address: "172.30.1.2" })] },
      {},
      {},
      "FamilyNotConfigured",
    ],
    [
      "a policy that rejects",
      {
        peers: [peer("tor", { exportPolicies: ["out"] })],
        policies: [policy("out", [{ name: "no", action: "Reject" }])],
      },
      {},
      {},
      "ExportPolicy",
    ],
    [
      "a policy without a rule for it",
      {
        peers: [peer("tor", { exportPolicies: ["out"] })],
        policies: [
          policy("out", [
            { name: "no", action: "Accept", match: { prefixes: [{ prefix: "192.0.2.0/24" }] } },
          ]),
        ],
      },
      {},
      {},
      "ExportPolicy",
    ],
    [
      "a session that is down",
      {},
      {},
      { sessions: new Map([["tor", { state: "Active", reason: "no route to host" }]]) },
      "SessionDown",
    ],
    ["a session that nobody has reported", {}, {}, { sessions: new Map() }, "SessionUnknown"],
    [
      "a family that was not agreed",
      {},
      {},
      { sessions: new Map([["tor", { state: "Established", families: ["IPv6Unicast"] }]]) },
      "FamilyNotNegotiated",
    ],
    ["a drain", {}, { drain: draining("Quiet") }, {}, "Drained"],
    ["mode Observe", { clusterNetwork: clusterNetwork({ mode: "Observe" }) }, {}, {}, "ModeIsObserve"],
  ])("says why not: %s", (_, change, given, facts, code) => {
    const e = about("10.101.0.5", change, given, facts);
    const tor = e.peers.find((p) => p.peer === "tor");
    // Without a mode that announces the node has no neighbours at all.
    expect(tor ? { hears: tor.hears, code: tor.why.code } : { hears: false, code: e.why.code }).toEqual({
      hears: false,
      code,
    });
  });

  it("says what would be heard where only the session is missing", () => {
    const e = about("10.101.0.5", {}, {}, { sessions: new Map([["tor", { state: "Idle" }]]) });
    expect(e.peers[0]).toMatchObject({ hears: false, route: { asPath: [64601] } });
  });

  it("names the sentence of an export that no rule decides", () => {
    const nodes = [
      { ...node(1), status: { addresses: [{ type: "InternalIP", address: "172.30.1.11" }] } },
      node(2),
    ];
    const e = about("fd20:1::5", { nodes });
    expect(e.peers[0]).toMatchObject({
      hears: false,
      why: { code: "ExportPolicy", message: "no next hop for IPv6 unicast" },
    });
    expect(e.peers[0]!.rule).toBeUndefined();
  });

  it("finds what is asked for by Service, address, prefix and what is inside it", () => {
    const s = snapshot();
    const p = plan(s, "node1", inputs());
    const found = (text: string) =>
      explain(p, factsOf(p, s), question(text))
        .map((e) => e.prefix)
        .sort();
    expect(found("default/web")).toEqual([...vips].sort());
    expect(found("10.1.0.7")).toEqual(["10.1.0.0/26"]);
    expect(found("10.1.0.0/28")).toEqual(["10.1.0.0/26"]);
    expect(found("10.0.0.0/8")).toEqual(["10.1.0.0/26", "10.101.0.5/32"]);
    expect(found("fd20:1::5")).toEqual(["fd20:1::5/128"]);
    expect(found("192.0.2.1")).toEqual([]);
    for (const text of ["", "web", "default/Web", "10.0.0.0/33", "a/b/c", "10.1.0.0/"])
      expect(questionOf(text)).toBeUndefined();
  });

  it("explains a Service that has no address, and says why there is nothing to explain", () => {
    const s = snapshot({
      services: [service("web"), service("late"), service("plain", { type: "ClusterIP" })],
      pools: [pool("vips", "LoadBalancers", ["10.101.0.0/24"])],
      peerings: [peering()],
    });
    const p = plan(s, "node1", inputs());
    expect(explain(p, factsOf(p, s), question("default/late"))).toMatchObject([
      { why: { code: "NoAddress" } },
    ]);
    const why = (text: string) => whyNothing(s, question(text)).code;
    expect(why("default/plain")).toBe("NotLoadBalancer");
    expect(why("default/none")).toBe("NoService");
    expect(why("10.101.0.77")).toBe("Unclaimed");
    expect(why("10.2.3.0/24")).toBe("Elsewhere");
    expect(why("203.0.113.9")).toBe("UnknownPrefix");
  });

  it("says where the agent reports something else", () => {
    const reported = (state: "Announced" | "Withdrawn" | "Held", peers: string[] = ["tor"]) =>
      about(
        "10.101.0.5",
        {},
        {},
        { reported: new Map([["10.101.0.5/32", { prefix: "10.101.0.5/32", state, peers }]]) },
      ).agrees;
    expect(reported("Announced")).toBe(true);
    expect(reported("Announced", [])).toBe(false);
    expect(reported("Withdrawn")).toBe(false);
    expect(about("10.101.0.5", {}, {}, { reported: new Map() }).agrees).toBe(false);
    expect(about("10.101.0.5").agrees).toBeUndefined();
  });

  it("takes the agent's word for what it holds: only there is known what was in force before", () => {
    const prefix = "10.101.0.5/32";
    const e = about(
      prefix,
      {
        peers: [peer("tor", { exportPolicies: ["out"] })],
        policies: [policy("out", [{ name: "no", action: "Reject" }])],
      },
      {},
      { reported: new Map([[prefix, { prefix, state: "Held", reason: "kept: approve", peers: ["tor"] }]]) },
    );
    expect([e.state, e.why.message, e.agrees]).toEqual(["Held", "kept: approve", true]);
    expect(e.peers.map((p) => [p.peer, p.hears, p.why.message, p.route])).toEqual([
      ["tor", true, "held as it was announced before", undefined],
    ]);
  });
});

const fixed: Fixed = {
  clusterASN: 64_601,
  nodeAddresses: ["10.99.0.2", "fd99::2"],
  peers: [
    { name: "tor1", spec: { ...peerDefaults, address: "10.99.0.1", peerASN: 65_001 } },
    {
      name: "tor2",
      spec: {
        ...peerDefaults,
        address: "10.99.0.3",
        peerASN: 65_001,
        localASN: 64_777,
        families: ["IPv4Unicast"],
      },
    },
    { name: "spine", spec: { ...peerDefaults, address: "fd99::1", peerASN: 64_601 } },
  ],
};

const sorted = (r: HeardRoute): HeardRoute => ({
  ...r,
  communities: [...r.communities].sort(),
  largeCommunities: [...r.largeCommunities].sort(),
});

const planInputs = (state: State, change: Partial<PlanInputs> = {}): PlanInputs => ({
  proofs: state.proofs,
  passwords: new Set(),
  drain: noDrain,
  retiring: [],
  guardSerial: 0,
  host: { connected: [], apiServer: [], cniDataDir: "" },
  now: 0,
  ...change,
});

/** By peer and prefix, what explain says that is heard. */
function heardBy(p: Plan, s: Snapshot): Record<string, Record<string, HeardRoute>> {
  const facts = factsOf(p, s);
  const out: Record<string, Record<string, HeardRoute>> = Object.fromEntries(
    p.speaker.peers.map((x) => [x.name, {}]),
  );
  for (const prefix of provable)
    for (const e of explain(p, facts, question(prefix)))
      for (const x of e.peers) if (x.hears && e.prefix === prefix) out[x.peer]![prefix] = sorted(x.route!);
  return out;
}

const modelled = (state: State): Record<string, Record<string, HeardRoute>> =>
  Object.fromEntries([...naive(state, fixed)].map(([name, routes]) => [name, Object.fromEntries(routes)]));

const states = Number(process.env["WAGGLE_EXPLAIN_STATES"] ?? 400);

describe("against a naive model", () => {
  it(`over ${states} states explain says what the model says`, () => {
    let heard = 0;
    let policies = 0;
    for (let seed = 1; seed <= states; seed++) {
      const state = randomState(new Dice(randomOf(seed)), fixed);
      const p = plan(state.snapshot, nodeName, planInputs(state));
      const said = heardBy(p, state.snapshot);
      expect(said, `seed ${seed}`).toEqual(modelled(state));
      heard += Object.values(said).reduce((sum, r) => sum + Object.keys(r).length, 0);
      policies += p.speaker.peers.filter((x) => x.exportPolicies.some((n) => n.startsWith("p"))).length;
    }
    // The states are worth something: much is heard, and much passes policies.
    expect(heard).toBeGreaterThan(states * 2);
    expect(policies).toBeGreaterThan(states / 2);
  });

  it(`over ${states} changes diff says what the model says before and after`, () => {
    let changed = 0;
    for (let seed = 1; seed <= states; seed++) {
      const d = new Dice(randomOf(seed * 7919));
      const before = randomState(d, fixed);
      const other = randomState(d, fixed).snapshot;
      // A part of the cluster as it is in another state.
      const parts = d.some(
        [
          "advertisements",
          "policies",
          "peers",
          "services",
          "allocations",
          "endpointSlices",
          "nodes",
          "clusterNetwork",
        ] as const,
        0.25,
      );
      const after: State = {
        snapshot: { ...before.snapshot, ...Object.fromEntries(parts.map((k) => [k, other[k]])) },
        proofs: before.proofs,
      };
      const now = plan(before.snapshot, nodeName, planInputs(before));
      const said = difference({
        node: nodeName,
        before: before.snapshot,
        after: after.snapshot,
        inputs: planInputs(before, { previous: inForceOf(now) }),
        localAddress: (x) => fixed.nodeAddresses.map(parseAddress).find((a) => a.family === x.address.family),
      });
      // What is kept although the object is wrong now, and proofs that fail on what is announced, are not the model's business.
      if (said.problems.length > 0) continue;
      const was = modelled(before);
      const is = modelled(after);
      const expected: Record<string, unknown> = {};
      for (const name of new Set([...Object.keys(was), ...Object.keys(is)]))
        for (const prefix of provable) {
          const [a, b] = [was[name]?.[prefix], is[name]?.[prefix]];
          if (JSON.stringify(a) !== JSON.stringify(b)) expected[`${name} ${prefix}`] = [a, b];
        }
      const found = Object.fromEntries(
        said.routes
          .filter((r) => !r.waitsFor.includes("Proof"))
          .map((r) => [`${r.peer} ${r.prefix}`, [r.before && sorted(r.before), r.after && sorted(r.after)]]),
      );
      expect(found, `seed ${seed}: ${parts.join()}`).toEqual(expected);
      changed += said.routes.length;
    }
    expect(changed).toBeGreaterThan(states);
  });
});
