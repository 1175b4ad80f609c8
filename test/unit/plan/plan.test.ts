// plan: what is announced and why, what is not and why not.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatPrefix } from "../../../src/net/address.ts";
import {
  originatedPolicy,
  type Plan,
  type PlanInputs,
  plan,
  type Snapshot,
} from "../../../src/plan/index.ts";
import {
  advertisement,
  blocks,
  claim,
  clusterNetwork,
  draining,
  everything,
  inputs,
  node,
  nodeNetwork,
  originated,
  peer,
  peering,
  podClaim,
  proven,
  service,
  slice,
  snapshot,
  vipClaim,
  vips,
} from "./fixture.ts";

const reasonOf = (p: Plan, prefix: string): string | undefined =>
  p.announcements.find((a) => a.prefix === prefix)?.reason.code;
const stateOf = (p: Plan, prefix: string): string | undefined =>
  p.announcements.find((a) => a.prefix === prefix)?.state;
const originOf = (p: Plan, prefix: string) =>
  p.speaker.origins.find((o) => formatPrefix(o.prefix) === prefix)!;

describe("announcing", () => {
  it("announces pod blocks and VIPs that are claimed, proven and asked for, with our tag", () => {
    const p = plan(snapshot(), "node1", inputs());
    expect(originated(p)).toEqual(everything);
    expect(originOf(p, "10.1.0.0/26").attributes.large).toEqual([{ global: 64601, local1: 1, local2: 1 }]);
    expect(originOf(p, "10.101.0.5/32").attributes.large).toEqual([{ global: 64601, local1: 1, local2: 2 }]);
    expect(originOf(p, "10.101.0.5/32").peers).toEqual(["tor"]);
    expect(p.problems).toEqual([]);
    const entry = p.announcements.find((a) => a.prefix === "10.101.0.5/32")!;
    expect(entry).toMatchObject({
      state: "Announced",
      pool: "vips",
      owner: { kind: "Service", namespace: "default", name: "web" },
      advertisements: ["all"],
    });
  });

  it.each<[string, Partial<Snapshot>, Partial<PlanInputs>, string, string]>([
    ["no proof", {}, { proofs: new Map() }, "10.101.0.5/32", "NotProven"],
    [
      "a proof that fails",
      {},
      { proofs: new Map([["10.1.0.0/26", { state: "Failed", reason: "dropped" }]]) },
      "10.1.0.0/26",
      "NotProven",
    ],
    [
      "a claim that is being released",
      {
        allocations: [
          claim(
            "10.101.0.5/32",
            { kind: "Service", namespace: "default", name: "web", uid: "uid-web" },
            "vips",
            "Releasing",
          ),
        ],
      },
      {},
      "10.101.0.5/32",
      "ClaimReleasing",
    ],
    ["a Service that is gone", { services: [] }, {}, "10.101.0.5/32", "OwnerGone"],
    [
      "a claim of an earlier Service of the name",
      {
        allocations: [
          claim(
            "10.101.0.5/32",
            { kind: "Service", namespace: "default", name: "web", uid: "uid-old" },
            "vips",
          ),
        ],
      },
      {},
      "10.101.0.5/32",
      "OwnerGone",
    ],
    [
      "a claim of an earlier Node of the name",
      { nodes: [{ ...node(1), metadata: { name: "node1", uid: "new" } }] },
      {},
      "10.1.0.0/26",
      "OwnerGone",
    ],
    ["no endpoint", { endpointSlices: [] }, {}, "10.101.0.5/32", "NoReadyEndpoint"],
    [
      "no ready endpoint",
      { endpointSlices: [slice("web", 4, [{ address: "10.1.0.2", node: 1, ready: false }])] },
      {},
      "10.101.0.5/32",
      "NoReadyEndpoint",
    ],
    [
      "only a terminating endpoint",
      { endpointSlices: [slice("web", 4, [{ address: "10.1.0.2", node: 1, terminating: true }])] },
      {},
      "10.101.0.5/32",
      "NoReadyEndpoint",
    ],
    [
      "externalTrafficPolicy Local without a local endpoint",
      {
        services: [service("web", { externalTrafficPolicy: "Local" })],
        endpointSlices: [slice("web", 4, [{ address: "10.1.0.66", node: 2 }])],
      },
      {},
      "10.101.0.5/32",
      "NoLocalEndpoint",
    ],
    [
      "somebody else's class",
      { services: [service("web", { loadBalancerClass: "else.example/lb" })] },
      {},
      "10.101.0.5/32",
      "NotOurs",
    ],
    ["no advertisement", { advertisements: [] }, {}, "10.101.0.5/32", "NoAdvertisement"],
    [
      "a service selector that does not match",
      {
        advertisements: [
          advertisement("all", {
            advertise: [
              {
                type: "Services",
                serviceSelector: { matchLabels: { app: "other" } },
                addresses: ["LoadBalancerIP"],
              },
            ],
          }),
        ],
      },
      {},
      "10.101.0.5/32",
      "NoAdvertisement",
    ],
    [
      "a peer selector that does not match",
      { advertisements: [advertisement("all", { peerSelector: { matchLabels: { fabric: "spine" } } })] },
      {},
      "10.1.0.0/26",
      "NoPeer",
    ],
    [
      "a peer of other nodes",
      { peers: [peer("tor", { nodeSelector: { matchLabels: { host: "node2" } } })] },
      {},
      "10.1.0.0/26",
      "NoPeer",
    ],
    [
      "a family that the peer does not have",
      { peers: [peer("tor", { families: ["IPv4Unicast"] })] },
      {},
      "fd10:1::/122",
      "NoPeer",
    ],
    [
      "mode Observe",
      { clusterNetwork: clusterNetwork({ mode: "Observe" }) },
      {},
      "10.1.0.0/26",
      "ModeIsObserve",
    ],
    [
      "mode Allocate",
      { clusterNetwork: clusterNetwork({ mode: "Allocate" }) },
      {},
      "10.1.0.0/26",
      "ModeIsAllocate",
    ],
    [
      "a node that no rule matches",
      { clusterNetwork: clusterNetwork({ nodeSelector: { matchLabels: { host: "node2" } } }) },
      {},
      "10.1.0.0/26",
      "NodeNotSelected",
    ],
    ["a drain", {}, { drain: draining("DePreferred") }, "10.1.0.0/26", "Drained"],
  ])("does not announce with %s, and says so", (_, change, given, prefix, code) => {
    const p = plan(snapshot(change), "node1", inputs(given));
    expect(originated(p)).not.toContain(prefix);
    expect(stateOf(p, prefix)).toBe("Withdrawn");
    expect(reasonOf(p, prefix)).toBe(code);
  });

  it("names each advertisement and peer that says no", () => {
    const p = plan(
      snapshot({
        advertisements: [
          advertisement("all"),
          advertisement("zz", { nodeSelector: { matchLabels: { host: "node2" } } }),
        ],
        peers: [peer("tor"), peer("spine", { nodeSelector: { matchLabels: { host: "node2" } } })],
      }),
      "node1",
      inputs(),
    );
    const refusals = p.announcements.find((a) => a.prefix === "10.1.0.0/26")!.refusals;
    expect(refusals.map((r) => [r.object, r.reason.code])).toEqual([
      ["BGPAdvertisement/zz", "NodeSelectorNoMatch"],
      ["BGPPeer/spine", "PeerNotOnNode"],
    ]);
  });

  it("says of a Service without an address that it has none", () => {
    const p = plan(snapshot({ services: [service("web"), service("late")] }), "node1", inputs());
    const late = p.announcements.find((a) => a.owner.name === "late")!;
    expect(late.prefix).toBeUndefined();
    expect(late.reason.code).toBe("NoAddress");
  });

  it("refuses an address that a Service shows and nothing claims", () => {
    const shown = { ...service("web"), status: { loadBalancer: { ingress: [{ ip: "10.101.0.99" }] } } };
    const p = plan(
      snapshot({ services: [shown] }),
      "node1",
      inputs({ proofs: proven([...everything, "10.101.0.99/32"]) }),
    );
    expect(reasonOf(p, "10.101.0.99/32")).toBe("NotClaimed");
    expect(originated(p)).toEqual(everything);
  });

  it("announces a reserved address for the Service that shows it", () => {
    const shown = { ...service("web"), status: { loadBalancer: { ingress: [{ ip: "10.101.0.9" }] } } };
    const reserved = claim(
      "10.101.0.9/32",
      { kind: "IPReservation", namespace: "default", name: "kept", uid: "uid-kept" },
      "vips",
    );
    const p = plan(
      snapshot({ services: [shown], allocations: [reserved] }),
      "node1",
      inputs({ proofs: proven(["10.101.0.9/32"]) }),
    );
    expect(originated(p)).toEqual(["10.101.0.9/32"]);
  });

  it("gives attributes and tells peers apart by advertisement", () => {
    const attributes = {
      med: 5,
      localPreference: 200,
      prepend: 2,
      communities: { standard: ["65001:7", "no-export"], large: ["1:2:3"] },
    };
    const p = plan(
      snapshot({
        peers: [peer("tor"), peer("spine", { address: "172.30.1.2" })],
        advertisements: [
          advertisement("a", {
            peerSelector: { matchLabels: { fabric: "spine" } },
            advertise: [{ type: "PodBlocks", attributes }],
          }),
          advertisement("b", { advertise: [{ type: "PodBlocks" }] }),
        ],
      }),
      "node1",
      inputs(),
    );
    const both = p.speaker.origins.filter((o) => formatPrefix(o.prefix) === "10.1.0.0/26");
    expect(both.map((o) => o.peers)).toEqual([["spine"], ["tor"]]);
    expect(both[0]!.attributes).toEqual({
      med: 5,
      localPref: 200,
      communities: [65001 * 65536 + 7, 0xffff_ff01],
      large: [
        { global: 1, local1: 2, local2: 3 },
        { global: 64601, local1: 1, local2: 1 },
      ],
      prepend: 2,
    });
  });

  it("advertises cluster IPs only where an advertisement names them and a proof is there", () => {
    const given = snapshot({
      services: [service("web", { clusterIPs: ["10.96.0.10"] })],
      advertisements: [
        advertisement("all", {
          advertise: [{ type: "Services", serviceSelector: {}, addresses: ["ClusterIP"] }],
        }),
      ],
    });
    expect(originated(plan(given, "node1", inputs()))).toEqual([]);
    const p = plan(given, "node1", inputs({ proofs: proven(["10.96.0.10/32"]) }));
    expect(originated(p)).toEqual(["10.96.0.10/32"]);
    // Somebody else delivers them.
    expect(
      p.vips.map((v) => formatPrefix({ ...v.address, length: v.address.family === 4 ? 32 : 128 })),
    ).toEqual([...vips]);
  });
});

describe("speaker", () => {
  it("is told peers with next hops for the other family, implied policies and the router ID", () => {
    const { speaker } = plan(snapshot(), "node1", inputs());
    expect(speaker.asn).toBe(64601);
    expect(speaker.routerID).toBe(0xac1e010b);
    expect(speaker.listen).toEqual([{ port: 179 }]);
    const [tor] = speaker.peers;
    expect(tor).toMatchObject({ name: "tor", passwordMissing: false, exportPolicies: [originatedPolicy] });
    expect(tor!.nextHopIPv4).toBeUndefined();
    expect(formatPrefix({ ...tor!.nextHopIPv6!, length: 128 })).toBe("fd30:1::11/128");
    const imported = speaker.policies.find((p) => p.name === tor!.importPolicies[0])!;
    expect(imported.rules.map((r) => [r.name, r.accept])).toEqual([
      ["own-pods", false],
      ["own-vips", false],
      ["dc2", true],
    ]);
    expect(imported.rules[2]!.match.prefixes.map((m) => [formatPrefix(m.prefix), m.ge, m.le])).toEqual([
      ["10.2.0.0/16", 16, 32],
      ["fd10:2::/48", 48, 128],
    ]);
  });

  it("gives a peer that no ClusterPeering names no import policy", () => {
    const { speaker } = plan(snapshot({ peerings: [] }), "node1", inputs());
    expect(speaker.peers[0]!.importPolicies).toEqual([]);
  });

  it("holds a peer down whose Secret is not there", () => {
    const given = snapshot({ peers: [peer("tor", { passwordSecretName: "bgp" })] });
    expect(plan(given, "node1", inputs()).speaker.peers[0]!.passwordMissing).toBe(true);
    const there = plan(given, "node1", inputs({ passwords: new Set(["bgp"]) }));
    expect(there.speaker.peers[0]!.passwordMissing).toBe(false);
  });

  it("asks for a router ID by hash where the node has no IPv4 address", () => {
    const only6 = node(1, { status: { addresses: [{ type: "InternalIP", address: "fd30:1::b" }] } });
    const wrong = plan(snapshot({ nodes: [only6] }), "node1", inputs());
    expect(wrong.problems[0]).toMatchObject({
      object: "ClusterNetwork/default",
      path: "spec.nodes[0].routerIDSource",
    });
    const right = plan(
      snapshot({ nodes: [only6], clusterNetwork: clusterNetwork({ routerIDSource: "Hash" }) }),
      "node1",
      inputs(),
    );
    expect(right.problems).toEqual([]);
    expect(right.speaker.routerID).toBeGreaterThan(0);
  });
});

describe("invalid objects", () => {
  const good = plan(snapshot(), "node1", inputs());
  const changed = (change: Partial<Snapshot>): Plan =>
    plan(snapshot({ ...change, lastGood: good.lastGood }), "node1", inputs({ previous: good }));

  it.each<[string, Partial<Snapshot>, string, string]>([
    [
      "a policy that is not there",
      { peers: [peer("tor", { importPolicies: ["nope"] })] },
      "BGPPeer/tor",
      "spec.importPolicies[0]",
    ],
    [
      "an address that is none",
      { peers: [peer("tor", { address: "172.30.1.300" })] },
      "BGPPeer/tor",
      "spec.address",
    ],
    [
      "a local address of the other family",
      { peers: [peer("tor", { localAddress: "fd30:1::b" })] },
      "BGPPeer/tor",
      "spec.localAddress",
    ],
    [
      "a community that is none",
      {
        advertisements: [
          advertisement("all", {
            advertise: [{ type: "PodBlocks", attributes: { communities: { standard: ["65001:99999"] } } }],
          }),
        ],
      },
      "BGPAdvertisement/all",
      "spec.advertise[0].attributes.communities.standard[0]",
    ],
    [
      "a peering with our own ID",
      { peerings: [peering({ clusterID: 1 })] },
      "ClusterPeering/dc2",
      "spec.clusterID",
    ],
    [
      "a declared prefix that is none",
      { peerings: [peering({ prefixes: ["10.2.0.1/16"] })] },
      "ClusterPeering/dc2",
      "spec.prefixes[0]",
    ],
  ])("%s: the last good configuration stays in force and the field is named", (_, change, object, path) => {
    const p = changed(change);
    expect(p.problems).toContainEqual(expect.objectContaining({ object, path, lastGoodInForce: true }));
    expect(p.speaker).toEqual(good.speaker);
    expect(originated(p)).toEqual(everything);
    expect(p.lastGood).toEqual(good.lastGood);
  });

  it("a mistake in one peer does not hold back another", () => {
    const p = plan(
      snapshot({
        peers: [
          peer("spine", { address: "172.30.1.2", peerASN: 65009 }),
          peer("tor", { address: "nonsense" }),
        ],
        lastGood: good.lastGood,
      }),
      "node1",
      inputs(),
    );
    expect(p.speaker.peers.map((x) => [x.name, x.peerASN])).toEqual([
      ["spine", 65009],
      ["tor", 65001],
    ]);
  });

  it("without a last good form the peer is left out and named", () => {
    const p = plan(snapshot({ peers: [peer("tor", { address: "nonsense" })] }), "node1", inputs());
    expect(p.speaker.peers).toEqual([]);
    expect(p.problems[0]).toMatchObject({ object: "BGPPeer/tor", lastGoodInForce: false });
  });

  it("an older form of a policy does not stand in for the present one at other peers", () => {
    const policy = (ge?: number) => ({
      apiVersion: "waggle.dev/v1alpha1" as const,
      kind: "BGPPolicy" as const,
      metadata: { name: "p" },
      spec: {
        rules: [
          {
            name: "r",
            action: "Accept" as const,
            match: { prefixes: [{ prefix: "10.0.0.0/8", ...(ge && { ge, le: 32 }) }] },
          },
        ],
      },
    });
    const first = plan(
      snapshot({ policies: [policy()], peers: [peer("a", { importPolicies: ["p"] })] }),
      "node1",
      inputs(),
    );
    const p = plan(
      snapshot({
        policies: [policy(24)],
        peers: [
          peer("a", { importPolicies: ["p"], localAddress: "fd30:1::b" }),
          peer("b", { address: "172.30.1.2", importPolicies: ["p"] }),
        ],
        lastGood: first.lastGood,
      }),
      "node1",
      inputs(),
    );
    const ge = (name: string) =>
      p.speaker.policies.find(
        (x) => x.name === p.speaker.peers.find((y) => y.name === name)!.importPolicies[0],
      )!.rules[0]!.match.prefixes[0]!.ge;
    expect([ge("a"), ge("b")]).toEqual([8, 24]);
  });

  it("a prefix match without room is a mistake of its rule", () => {
    const p = plan(
      snapshot({
        policies: [
          {
            apiVersion: "waggle.dev/v1alpha1",
            kind: "BGPPolicy",
            metadata: { name: "p" },
            spec: {
              rules: [
                { name: "r", action: "Accept", match: { prefixes: [{ prefix: "10.0.0.0/16", ge: 24 }] } },
              ],
            },
          },
        ],
        peers: [peer("tor", { importPolicies: ["p"] })],
      }),
      "node1",
      inputs(),
    );
    expect(p.problems[0]!.message).toContain("spec.rules[0].match.prefixes[0].ge");
  });
});

describe("datapath", () => {
  it("has every claimed VIP with its ready backends, whether announced or not", () => {
    const p = plan(snapshot({ advertisements: [] }), "node1", inputs({ proofs: new Map() }));
    expect(p.vips.map((v) => v.service)).toEqual(["default/web", "default/web"]);
    const [port] = p.vips[0]!.ports;
    expect(port!.backends.map((b) => [b.node, b.local, b.nodeAddresses.length])).toEqual([
      ["node1", true, 2],
      ["node2", false, 2],
    ]);
    expect(p.podBlocks.map(formatPrefix)).toEqual([...blocks]);
  });

  it("is the same list of backends on every node", () => {
    const strip = (p: Plan) =>
      p.vips.map((v) => v.ports.map((x) => x.backends.map((b) => [b.address, b.port, b.node])));
    expect(strip(plan(snapshot(), "node1", inputs()))).toEqual(strip(plan(snapshot(), "node2", inputs())));
  });

  it("keeps only local backends of a Service with externalTrafficPolicy Local", () => {
    const p = plan(
      snapshot({ services: [service("web", { externalTrafficPolicy: "Local" })] }),
      "node1",
      inputs(),
    );
    expect(p.vips[0]!.ports[0]!.backends.map((b) => b.node)).toEqual(["node1"]);
  });

  it("is empty where Waggle does not own VIPs", () => {
    const p = plan(snapshot({ clusterNetwork: clusterNetwork({ owns: ["Pods"] }) }), "node1", inputs());
    expect(p.vips).toEqual([]);
  });

  it("writes a conflist with one range set a family only where Waggle owns Pods", () => {
    const p = plan(snapshot(), "node1", inputs());
    expect(p.conflist).toMatchObject({
      name: "waggle",
      plugins: [
        {
          type: "ptp",
          ipam: {
            type: "host-local",
            ranges: [[{ subnet: "10.1.0.0/26" }], [{ subnet: "fd10:1::/122" }]],
            dataDir: "/var/lib/cni/waggle",
          },
        },
      ],
    });
    const without = plan(snapshot({ clusterNetwork: clusterNetwork({ owns: [] }) }), "node1", inputs());
    expect(without.conflist).toBeUndefined();
    const late = plan(snapshot({ allocations: [] }), "node1", inputs());
    expect(late.conflist).toBeUndefined();
  });

  it("writes no conflist while the view does not show the blocks: a pod would lack a family for good", () => {
    const ranges = (...podBlocks: string[]) => {
      const spec = { podBlocks: podBlocks.map((prefix) => ({ prefix, pool: "pods" })) };
      const view = { ...nodeNetwork(), spec };
      return plan(snapshot({ nodeNetwork: view }), "node1", inputs()).conflist?.plugins;
    };
    expect(ranges()).toBeUndefined();
    expect(ranges("10.1.0.0/26")).toMatchObject([{ ipam: { ranges: [[{ subnet: "10.1.0.0/26" }]] } }]);
    expect(ranges("10.1.0.0/26", "fd10:1::/122")).toMatchObject([{ ipam: { ranges: [{}, {}] } }]);
  });
});

describe("proofs that begin to fail", () => {
  const before = plan(snapshot(), "node1", inputs());
  const failing = new Map([
    ...proven(),
    ["10.101.0.5/32", { state: "Failed", reason: "no answer" } as const],
  ]);

  it("de-prefers, and keeps what no other node announces", () => {
    const p = plan(snapshot(), "node1", inputs({ previous: before, proofs: failing, elsewhere: new Set() }));
    expect(stateOf(p, "10.101.0.5/32")).toBe("DePreferred");
    expect(originOf(p, "10.101.0.5/32").attributes).toMatchObject({
      med: 0xffff_ffff,
      localPref: 0,
      communities: [0xffff_0000],
      prepend: 3,
    });
    expect(originated(p)).toEqual(everything);
  });

  it("withdraws where another node announces the same", () => {
    const p = plan(
      snapshot(),
      "node1",
      inputs({ previous: before, proofs: failing, elsewhere: new Set(["10.101.0.5/32"]) }),
    );
    expect(stateOf(p, "10.101.0.5/32")).toBe("Withdrawn");
    expect(p.vips.length).toBe(2);
  });

  it("keeps what was announced while nothing has been tried since a start", () => {
    const p = plan(snapshot(), "node1", inputs({ previous: before, proofs: new Map() }));
    expect(originated(p)).toEqual(everything);
  });
});

describe("properties", () => {
  const states = fc.constantFrom("Proven", "Failed", "Unproven", undefined);
  const world = fc.record({
    proofs: fc.array(states, { minLength: 4, maxLength: 4 }),
    claims: fc.array(fc.boolean(), { minLength: 4, maxLength: 4 }),
    endpoints: fc.array(fc.record({ node: fc.constantFrom(1, 2), ready: fc.boolean() }), { maxLength: 4 }),
    local: fc.boolean(),
    advertised: fc.boolean(),
    mode: fc.constantFrom("Announce", "Allocate", "Observe"),
    before: fc.boolean(),
    phase: fc.constantFrom("None", "DePreferred", "Quiet", "Withdrawn", "Released"),
  });
  type World = typeof world extends fc.Arbitrary<infer W> ? W : never;

  const claimsOf = (w: World) =>
    [
      podClaim("10.1.0.0/26", 1),
      podClaim("fd10:1::/122", 1),
      vipClaim("10.101.0.5/32", "web"),
      vipClaim("fd20:1::5/128", "web"),
    ].filter((_, i) => w.claims[i]);
  const of = (w: World): [Snapshot, PlanInputs] => {
    const given = snapshot({
      clusterNetwork: clusterNetwork({ mode: w.mode }),
      services: [service("web", w.local ? { externalTrafficPolicy: "Local" } : {})],
      allocations: claimsOf(w),
      advertisements: w.advertised ? [advertisement("all")] : [],
      endpointSlices: [
        slice(
          "web",
          4,
          w.endpoints.map((e, i) => ({ address: `10.1.0.${i + 2}`, ...e })),
        ),
      ],
    });
    const prefixes = [...blocks, ...vips];
    return [
      given,
      inputs({
        proofs: new Map(
          prefixes.flatMap((p, i) => {
            const state = w.proofs[i];
            return state ? [[p, { state, reason: "r" }] as const] : [];
          }),
        ),
        drain: draining(w.phase),
        ...(w.before && { previous: plan(snapshot(), "node1", inputs()) }),
      }),
    ];
  };

  it("nothing new is announced without claim, mode, advertisement, endpoint and proof", () => {
    fc.assert(
      fc.property(world, (w) => {
        if (w.before) return;
        const [given, input] = of(w);
        const p = plan(given, "node1", input);
        for (const prefix of originated(p)) {
          const i = [...blocks, ...vips].indexOf(prefix as never);
          expect(i).toBeGreaterThanOrEqual(0);
          expect(w.claims[i]).toBe(true);
          expect(w.proofs[i]).toBe("Proven");
          expect(w.mode).toBe("Announce");
          expect(w.advertised).toBe(true);
          expect(w.phase).toBe("None");
          if (i >= 2) expect(w.endpoints.some((e) => e.ready && (!w.local || e.node === 1))).toBe(true);
        }
      }),
      { seed: 1, numRuns: 400 },
    );
  });

  it("is pure: equal arguments, equal plans; the order of lists in the snapshot does not matter", () => {
    fc.assert(
      fc.property(world, (w) => {
        const [given, input] = of(w);
        const one = plan(given, "node1", input);
        const two = plan(structuredClone(given), "node1", input);
        expect(two.hash).toBe(one.hash);
        expect(Object.isFrozen(one.speaker.origins)).toBe(true);
        const turned = {
          ...given,
          advertisements: given.advertisements.toReversed(),
          peers: given.peers.toReversed(),
        };
        expect(plan(turned, "node1", input).hash).toBe(one.hash);
      }),
      { seed: 2, numRuns: 100 },
    );
  });

  it("every origin has its announcement, and every announcement that says so its origin", () => {
    fc.assert(
      fc.property(world, (w) => {
        const p = plan(...([of(w)[0], "node1", of(w)[1]] as const));
        const said = p.announcements.flatMap((a) => (a.prefix && a.state !== "Withdrawn" ? [a.prefix] : []));
        expect(originated(p)).toEqual([...new Set(said)].sort());
        const names = new Set(p.speaker.policies.map((x) => x.name));
        for (const x of p.speaker.peers)
          for (const name of [...x.importPolicies, ...x.exportPolicies]) expect(names.has(name)).toBe(true);
      }),
      { seed: 3, numRuns: 400 },
    );
  });

  it("what is announced stays programmed, and what has just been withdrawn too", () => {
    fc.assert(
      fc.property(world, (w) => {
        const [given, input] = of(w);
        const p = plan(given, "node1", input);
        const programmed = new Set(
          p.vips.map((v) => formatPrefix({ ...v.address, length: v.address.family === 4 ? 32 : 128 })),
        );
        for (const prefix of originated(p))
          if ((vips as readonly string[]).includes(prefix)) expect(programmed).toContain(prefix);
        if (input.previous) for (const prefix of vips) expect(programmed).toContain(prefix);
      }),
      { seed: 4, numRuns: 400 },
    );
  });
});
