// plan tests: what makes a neighbour out of the ordinary reaches the speaker, what does not fit is a fault, and what is heard follows.
import { describe, expect, it } from "vitest";
import type { BGPPeer, BGPPolicy } from "../../../src/api/index.ts";
import { speakerConfig } from "../../../src/bgp/daemon/config.ts";
import { Role } from "../../../src/bgp/wire/constants.ts";
import { formatAddress, formatPrefix, parseAddress } from "../../../src/net/address.ts";
import { difference, encodeDesired, hearings, inForceOf, plan } from "../../../src/plan/index.ts";
import {
  advertisement,
  clusterNetwork,
  everything,
  inputs,
  originated,
  peer,
  service,
  slice,
  snapshot,
  vipClaim,
} from "./fixture.ts";

/** Takes the fixture's number away. */
const noASN = { peerASN: undefined as never };

const policy = (name: string, rules: BGPPolicy["spec"]["rules"]): BGPPolicy => ({
  apiVersion: "waggle.dev/v1alpha1",
  kind: "BGPPolicy",
  metadata: { name },
  spec: { rules },
});

/** The speaker's own configuration of the one neighbour. */
const spoken = (spec: Partial<BGPPeer["spec"]>) => {
  const p = plan(snapshot({ peers: [peer("tor", spec)] }), "node1", inputs());
  const config = speakerConfig(encodeDesired(p.speaker, 1n, true, new Map()));
  return { config, peer: config.peers[0], problems: p.problems };
};

describe("knobs of a neighbour", () => {
  it("are all off in an ordinary one, whose plan does not mention them", () => {
    const p = plan(snapshot(), "node1", inputs());
    expect(p.speaker.peers[0]).not.toHaveProperty("treatment");
    expect(p.speaker.peers[0]).not.toHaveProperty("adminDown");
    expect(spoken({}).peer).toMatchObject({
      adminDown: false,
      treatment: { allowAsIn: 0, asOverride: false, role: undefined, strictRole: false },
    });
  });

  it("an interface instead of an address: unnumbered, with no next hop but the link's", () => {
    const numbered = peer("tor", { interface: "eth0" });
    const { address: _, ...spec } = numbered.spec;
    const p = plan(snapshot({ peers: [{ ...numbered, spec }] }), "node1", inputs());
    const config = speakerConfig(encodeDesired(p.speaker, 1n, true, new Map()));
    expect(p.problems).toEqual([]);
    expect(config.peers[0]).toMatchObject({
      unnumbered: true,
      interface: "eth0",
      nextHop: { 1: undefined, 2: undefined },
    });
  });

  it("ranges instead of an address: whoever comes from there, with the node's own next hops", () => {
    const { address: _, ...spec } = peer("servers", {
      ranges: ["10.50.0.0/16", "fd50::/32"],
      rangeLimit: 7,
    }).spec;
    const p = plan(snapshot({ peers: [{ ...peer("servers"), spec }] }), "node1", inputs());
    expect(p.problems).toEqual([]);
    const [config] = speakerConfig(encodeDesired(p.speaker, 1n, true, new Map())).peers;
    expect(config).toMatchObject({ range: { limit: 7 }, unnumbered: false });
    expect(config!.range!.prefixes.map(formatPrefix)).toEqual(["10.50.0.0/16", "fd50::/32"]);
    expect(config!.nextHop[1]).toBeDefined();
  });

  it.each<[string, Partial<BGPPeer["spec"]>]>([
    ["spec.ranges[0]", { ranges: ["10.50.0.1/16"] }],
    ["spec.localPort", { ranges: ["10.50.0.0/16"], localPort: 1 }],
    ["spec.bfd", { ranges: ["10.50.0.0/16"], bfd: {} as never }],
  ])("%s does not fit ranges", (path, more) => {
    const { address: _, ...spec } = peer("servers", more).spec;
    const p = plan(snapshot({ peers: [{ ...peer("servers"), spec }] }), "node1", inputs());
    expect(p.problems.map((x) => x.path)).toContain(path);
    expect(p.speaker.peers).toEqual([]);
  });

  it.each<[keyof BGPPeer["spec"], Partial<BGPPeer["spec"]>, object]>([
    ["adminDown", { adminDown: true }, { adminDown: true }],
    ["allowASIn", { allowASIn: 2 }, { treatment: { allowAsIn: 2 } }],
    ["asOverride", { asOverride: true }, { treatment: { asOverride: true } }],
    ["removePrivateAS", { removePrivateAS: true }, { treatment: { removePrivateAs: true } }],
    ["nextHopUnchanged", { nextHopUnchanged: true }, { treatment: { nextHopUnchanged: true } }],
    ["reflectorClient", { reflectorClient: true, peerASN: 64601 }, { treatment: { reflectorClient: true } }],
    ["routeServerClient", { routeServerClient: true }, { treatment: { routeServerClient: true } }],
    ["role", { role: "Provider" }, { treatment: { role: Role.provider } }],
    ["role", { role: "Customer" }, { treatment: { role: Role.customer } }],
    ["role", { role: "Peer" }, { treatment: { role: Role.peer } }],
    ["role", { role: "RouteServer" }, { treatment: { role: Role.routeServer } }],
    ["role", { role: "RouteServerClient" }, { treatment: { role: Role.routeServerClient } }],
    ["strictRole", { role: "Peer", strictRole: true }, { treatment: { strictRole: true } }],
    [
      "bfd",
      { bfd: { transmitMilliseconds: 50, receiveMilliseconds: 60, detectMultiplier: 5, multihop: true } },
      { bfd: { transmitMs: 50, receiveMs: 60, detectMultiplier: 5, multihop: true } },
    ],
    [
      "addPath",
      { addPath: { receive: true, send: true, best: 4 } },
      { addPath: { 1: { receive: true, send: 4 }, 2: { receive: true, send: 4 } } },
    ],
    [
      "gracefulRestart",
      { gracefulRestart: { enabled: true, restartSeconds: 120, longLivedSeconds: 3600 } },
      { longLivedSeconds: 3600 },
    ],
    ["extendedNextHop", { extendedNextHop: true }, { extendedNextHop: true }],
    ["external", { ...noASN, external: true, role: "Peer" }, { peerAsn: 0, treatment: { role: Role.peer } }],
    [
      "gracefulRestart",
      { gracefulRestart: { enabled: true, restartSeconds: 9, longLivedSeconds: 3600 } },
      { longLivedSeconds: 3600 },
    ],
    ["localASN", { localASN: 64777 }, { localAsn: 64777 }],
    ["multihopTTL", { multihopTTL: 7 }, { multihopTtl: 7 }],
    ["ttlSecurityHops", { ttlSecurityHops: 3 }, { ttlSecurityHops: 3 }],
    ["passive", { passive: true }, { passive: true }],
    ["port", { port: 1790 }, { port: 1790 }],
    ["holdSeconds", { holdSeconds: 9 }, { holdSeconds: 9 }],
    ["connectRetrySeconds", { connectRetrySeconds: 77 }, { connectRetrySeconds: 77 }],
    [
      "maxPrefixes",
      { maxPrefixes: { ipv4: 10_000, ipv6: 10_000, action: "Discard", warnPercent: 50, restartSeconds: 7 } },
      {
        prefixesMax: { 1: 10_000, 2: 10_000 },
        prefixLimits: { action: "discard", warnPercent: 50, restartSeconds: 7 },
      },
    ],
    [
      "maxPrefixesSent",
      { maxPrefixesSent: { ipv4: 3 } },
      { prefixLimits: { action: "teardown", warnPercent: 90, sent: { 1: 3, 2: undefined } } },
    ],
    ["localPort", { localPort: 1790 }, { localPort: 1790 }],
    ["maxPrefixes", { maxPrefixes: { ipv4: 5, ipv6: 6 } }, { prefixesMax: { 1: 5, 2: 6 } }],
    [
      "gracefulRestart",
      { gracefulRestart: { enabled: false, restartSeconds: 9 } },
      { gracefulRestart: false, restartSeconds: 9 },
    ],
  ])("%s reaches the speaker (%j)", (_, spec, expected) => {
    const { peer: config, problems } = spoken(spec);
    expect(problems).toEqual([]);
    expect(config).toMatchObject(expected);
  });

  it("local address and next hops reach the speaker; without one the node's own address stands in", () => {
    const given = spoken({ localAddress: "172.30.1.11", nextHop: { ipv4: "10.0.0.9", ipv6: "fd00::9" } })
      .peer!;
    expect(formatAddress(given.localAddress!)).toBe("172.30.1.11");
    expect([...given.nextHop[1]!]).toEqual([10, 0, 0, 9]);
    expect(given.nextHop[2]!.at(-1)).toBe(9);
    const plain = spoken({}).peer!;
    expect(plain.nextHop[1]).toBeUndefined();
    expect(plain.nextHop[2]).toHaveLength(16);
  });

  it("the reflector's cluster ID reaches the speaker", () => {
    const network = clusterNetwork({ reflectorClusterID: "10.0.0.255" });
    const p = plan(snapshot({ clusterNetwork: network }), "node1", inputs());
    expect(speakerConfig(encodeDesired(p.speaker, 1n, true, new Map())).clusterId).toBe(0x0a0000ff);
  });

  it("stations that monitor the node's speaker reach it", () => {
    const station = { name: "noc", address: "fd00::9", port: 11019, prePolicy: true, postPolicy: false };
    const network = clusterNetwork({ bmpStations: [{ ...station, locRIB: true, statisticsSeconds: 30 }] });
    const p = plan(snapshot({ clusterNetwork: network }), "node1", inputs());
    expect(p.problems).toEqual([]);
    expect(encodeDesired(p.speaker, 1n, true, new Map()).bmpStations).toMatchObject([
      { name: "noc", port: 11019, prePolicy: true, postPolicy: false, locRib: true, statisticsSeconds: 30 },
    ]);
    expect(
      encodeDesired(plan(snapshot(), "node1", inputs()).speaker, 1n, true, new Map()).bmpStations,
    ).toEqual([]);
  });

  it.each<[string, Partial<BGPPeer["spec"]>, string]>([
    ["asOverride", { asOverride: true, peerASN: 64601 }, "spec.asOverride"],
    ["a role", { role: "Peer", peerASN: 64777, localASN: 64777 }, "spec.role"],
    ["an external reflector client", { reflectorClient: true }, "spec.reflectorClient"],
    ["neither peerASN nor external", { ...noASN }, "spec.peerASN"],
    ["both peerASN and external", { external: true, peerASN: 7 }, "spec.peerASN"],
    [
      "an external reflector client",
      { external: true, ...noASN, reflectorClient: true },
      "spec.reflectorClient",
    ],
    ["a strict role", { strictRole: true }, "spec.strictRole"],
    ["a next hop of the other family", { nextHop: { ipv6: "10.0.0.9" } }, "spec.nextHop.ipv6"],
  ])("%s where it does not fit is a fault of that neighbour alone", (_, spec, path) => {
    const other = peer("other", { address: "172.30.1.2" });
    const p = plan(snapshot({ peers: [peer("tor", spec), other] }), "node1", inputs());
    expect(p.problems.map((x) => [x.object, x.path])).toEqual([["BGPPeer/tor", path]]);
    expect(p.speaker.peers.map((x) => x.name)).toEqual(["other"]);
  });

  it("the source of a rule reaches the speaker and decides what is heard", () => {
    const heard = (source: "Originated" | "Learned" | "Any") => {
      const p = plan(
        snapshot({
          peers: [peer("tor", { exportPolicies: ["p"] })],
          policies: [policy("p", [{ name: "r", match: { source }, action: "Accept" }])],
        }),
        "node1",
        inputs(),
      );
      return hearings(p.speaker, () => parseAddress("172.30.1.11")).filter((h) => h.route).length;
    };
    expect(heard("Originated")).toBe(everything.length);
    expect(heard("Any")).toBe(everything.length);
    expect(heard("Learned")).toBe(0);
  });

  it("a role marks what is heard (RFC 9234), and diff says that the session is made anew", () => {
    const before = snapshot();
    const after = snapshot({ peers: [peer("tor", { role: "Provider" })] });
    const now = plan(before, "node1", inputs());
    const made = difference({
      node: "node1",
      before,
      after,
      inputs: inputs({ previous: inForceOf(now) }),
      localAddress: () => parseAddress("172.30.1.11"),
    });
    expect(made.peers).toEqual([{ peer: "tor", change: "Changed", fields: ["treatment"], restarts: true }]);
    expect(made.routes.map((r) => r.after?.onlyToCustomer)).toEqual(everything.map(() => 64601));
    const living = difference({
      node: "node1",
      before,
      after: snapshot({ peers: [peer("tor", { allowASIn: 1 })] }),
      inputs: inputs({ previous: inForceOf(now) }),
      localAddress: () => parseAddress("172.30.1.11"),
    });
    expect(living.peers[0]?.restarts).toBe(false);
  });
});

describe("what is advertised", () => {
  const pools = (names: readonly string[], serviceSelector = {}) =>
    advertisement("all", { advertise: [{ type: "Pools", pools: names, serviceSelector }] });

  it("type Pools: addresses and blocks that are claimed from the named IPPools", () => {
    const of = (names: readonly string[], selector = {}) =>
      originated(plan(snapshot({ advertisements: [pools(names, selector)] }), "node1", inputs()));
    expect(of(["pods", "vips"])).toEqual(everything);
    expect(of(["vips"]).length).toBeGreaterThan(0);
    expect([...of(["vips"]), ...of(["pods"])].sort()).toEqual([...everything].sort());
    expect(of(["other"])).toEqual([]);
    expect(of(["vips"], { matchLabels: { app: "nothing" } })).toEqual([]);
  });

  it("says why an address is not in the named pools", () => {
    const p = plan(snapshot({ advertisements: [pools(["other"])] }), "node1", inputs());
    expect(p.announcements[0]!.refusals[0]!.reason).toMatchObject({
      code: "PoolNotAdvertised",
      message: "pools do not include pods, which it is claimed from",
    });
  });

  it("Services are selected by namespace and name, too", () => {
    const of = (key: string, values: readonly string[]) =>
      originated(
        plan(
          snapshot({
            advertisements: [
              advertisement("all", {
                advertise: [
                  {
                    type: "Services",
                    addresses: ["LoadBalancerIP"],
                    serviceSelector: { matchExpressions: [{ key, operator: "In", values }] },
                  },
                ],
              }),
            ],
          }),
          "node1",
          inputs(),
        ),
      ).length;
    expect(of("io.kubernetes.service.name", ["web"])).toBeGreaterThan(0);
    expect(of("io.kubernetes.service.namespace", ["default"])).toBeGreaterThan(0);
    expect(of("io.kubernetes.service.name", ["other"])).toBe(0);
  });

  const withoutEndpoints = (whenEmpty: "Keep" | "Withdraw" | undefined, said?: string) => {
    const web = service("web");
    return snapshot({
      services: [
        {
          ...web,
          metadata: { ...web.metadata, ...(said && { annotations: { "waggle.dev/when-empty": said } }) },
        },
      ],
      endpointSlices: [slice("web", 4, [])],
      allocations: [vipClaim("10.101.0.5/32", "web")],
      advertisements: [
        advertisement("all", {
          advertise: [
            {
              type: "Services",
              serviceSelector: {},
              addresses: ["LoadBalancerIP"],
              ...(whenEmpty && { whenEmpty }),
            },
          ],
        }),
      ],
    });
  };

  it.each<["Keep" | "Withdraw" | undefined, string | undefined, boolean]>([
    [undefined, undefined, false],
    ["Withdraw", undefined, false],
    ["Keep", undefined, true],
    ["Keep", "Withdraw", false],
    [undefined, "Keep", true],
    ["Keep", "nonsense", true],
  ])("whenEmpty %s, and the Service says %s: kept is %s", (whenEmpty, said, kept) => {
    const ready = plan(snapshot({ allocations: [vipClaim("10.101.0.5/32", "web")] }), "node1", inputs());
    expect(originated(ready)).toContain("10.101.0.5/32");
    const empty = withoutEndpoints(whenEmpty, said);
    const next = plan(empty, "node1", inputs({ previous: inForceOf(ready), proofs: new Map() }));
    expect(originated(next).includes("10.101.0.5/32")).toBe(kept);
    // Nothing begins without an endpoint.
    expect(originated(plan(empty, "node1", inputs()))).toEqual([]);
  });
});
