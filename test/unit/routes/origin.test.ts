// routes: whose a learned route is: tags are believed from named peers inside declared prefixes and nowhere else.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseAddress, parsePrefix } from "../../../src/net/address.ts";
import { decideOrigin, type LearnedPath, type RoutePolicy } from "../../../src/routes/index.ts";

const policy = (change: Partial<RoutePolicy> = {}): RoutePolicy => ({
  clusterID: 1,
  asn: 64601,
  ownBlocks: [parsePrefix("10.1.0.0/16"), parsePrefix("10.101.0.0/24")],
  peerings: [
    {
      name: "dc2",
      clusterID: 2,
      clusterName: "dc2",
      prefixes: [parsePrefix("10.2.0.0/16"), parsePrefix("fd10:2::/48")],
      peers: ["tor"],
      kinds: ["Pods", "VIPs"],
      fib: true,
    },
  ],
  ...change,
});

const tag = (cluster: number, kind: number) => ({ global: 64600 + cluster, local1: cluster, local2: kind });
const path = (change: Partial<LearnedPath> = {}): LearnedPath => ({
  peer: "tor",
  nextHop: parseAddress("172.30.1.1"),
  asPath: [65001, 65002, 64602],
  communities: [],
  large: [tag(2, 1)],
  stale: false,
  ...change,
});
const decide = (prefix: string, change: Partial<LearnedPath> = {}, p = policy()) =>
  decideOrigin(parsePrefix(prefix), path(change), p);

describe("origin cluster", () => {
  it("believes the tag of a named peer inside a declared prefix", () => {
    expect(decide("10.2.0.0/26")).toEqual({
      accepted: true,
      cluster: 2,
      peering: "dc2",
      kind: "Pods",
      tag: "Believed",
      ignoredTag: false,
      fib: true,
    });
  });

  it("takes the declared cluster without a tag and says that it is missing", () => {
    expect(decide("10.2.0.0/26", { large: [] })).toMatchObject({
      accepted: true,
      cluster: 2,
      kind: "Both",
      tag: "Missing",
      ignoredTag: false,
    });
  });

  it.each<[string, string, Partial<LearnedPath>, Partial<RoutePolicy>, string, boolean]>([
    ["outside declared prefixes", "10.9.0.0/24", {}, {}, "OutsideDeclared", true],
    ["outside, without a tag", "10.9.0.0/24", { large: [] }, {}, "OutsideDeclared", false],
    ["wider than declared", "10.0.0.0/15", { large: [] }, { ownBlocks: [] }, "OutsideDeclared", false],
    ["from a peer that is not named", "10.2.0.0/26", { peer: "other" }, {}, "PeerNotNamed", true],
    ["our own ID", "10.2.0.0/26", { large: [tag(1, 1)] }, {}, "OwnCluster", false],
    ["our own ID beside theirs", "10.2.0.0/26", { large: [tag(2, 1), tag(1, 2)] }, {}, "OwnCluster", false],
    ["inside an own pool", "10.1.7.0/24", {}, {}, "OwnPrefix", false],
    ["around an own pool", "10.0.0.0/8", {}, {}, "OwnPrefix", false],
    ["a default route", "0.0.0.0/0", {}, {}, "DefaultRoute", false],
    ["an IPv6 default route", "::/0", {}, {}, "DefaultRoute", false],
    [
      "a kind that is not taken",
      "10.2.0.0/26",
      {},
      { peerings: [{ ...policy().peerings[0]!, kinds: ["VIPs"] }] },
      "KindNotTaken",
      false,
    ],
    [
      "nothing is taken",
      "10.2.0.0/26",
      { large: [] },
      { peerings: [{ ...policy().peerings[0]!, kinds: [] }] },
      "KindNotTaken",
      false,
    ],
  ])("refuses: %s", (_, prefix, change, p, code, ignoredTag) => {
    expect(decide(prefix, change, policy(p))).toEqual({ accepted: false, code, ignoredTag });
  });

  it("ignores and counts the tag of another known cluster", () => {
    const three = {
      ...policy().peerings[0]!,
      name: "dc3",
      clusterID: 3,
      prefixes: [parsePrefix("10.3.0.0/16")],
    };
    const p = policy({ peerings: [...policy().peerings, three] });
    expect(decide("10.2.0.0/26", { large: [tag(3, 1)] }, p)).toMatchObject({
      accepted: true,
      cluster: 2,
      tag: "Missing",
      ignoredTag: true,
    });
  });

  it("takes no notice of large communities that are somebody else's", () => {
    expect(decide("10.2.0.0/26", { large: [{ global: 65001, local1: 77, local2: 1 }] })).toMatchObject({
      accepted: true,
      ignoredTag: false,
      tag: "Missing",
    });
  });

  it("a route without a tag counts as both kinds", () => {
    const p = policy({ peerings: [{ ...policy().peerings[0]!, kinds: ["VIPs"] }] });
    expect(decide("10.2.0.0/26", { large: [] }, p)).toMatchObject({ accepted: true, kind: "Both" });
  });

  it("the more specific declaration decides", () => {
    const inner = {
      ...policy().peerings[0]!,
      name: "inner",
      clusterID: 4,
      prefixes: [parsePrefix("10.2.8.0/24")],
    };
    const p = policy({ peerings: [...policy().peerings, inner] });
    expect(decide("10.2.8.0/26", { large: [] }, p)).toMatchObject({ cluster: 4 });
    expect(decide("10.2.9.0/26", { large: [] }, p)).toMatchObject({ cluster: 2 });
  });

  it("no tag ever makes a route acceptable that would not be without it", () => {
    const prefixes = fc.constantFrom("10.2.0.0/26", "10.9.0.0/24", "10.1.0.0/26", "fd10:2::/64", "0.0.0.0/0");
    fc.assert(
      fc.property(
        prefixes,
        fc.constantFrom("tor", "other"),
        fc.array(fc.record({ global: fc.nat(70_000), local1: fc.nat(4), local2: fc.nat(3) }), {
          maxLength: 4,
        }),
        (prefix, peer, large) => {
          if (decide(prefix, { peer, large }).accepted)
            expect(decide(prefix, { peer, large: [] }).accepted).toBe(true);
        },
      ),
      { seed: 11, numRuns: 500 },
    );
  });
});
