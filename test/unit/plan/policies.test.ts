// plan tests: every condition and change of a BGPPolicy reaches the speaker, what makes no sense is a fault at its field, and `waggle test` tries them.
import { describe, expect, it } from "vitest";
import type { BGPPolicy } from "../../../src/api/index.ts";
import { policyIn } from "../../../src/bgp/rib/desired.ts";
import { encodeDesired, plan } from "../../../src/plan/index.ts";
import { type PolicyCase, policyBench, runPolicyCase } from "../../../src/plan/policy-test.ts";
import { inputs, peer, snapshot } from "./fixture.ts";

type Rules = BGPPolicy["spec"]["rules"];

const policy = (rules: Rules): BGPPolicy => ({
  apiVersion: "waggle.dev/v1alpha1",
  kind: "BGPPolicy",
  metadata: { name: "p" },
  spec: { rules },
});

const planned = (rules: Rules) =>
  plan(
    snapshot({ peers: [peer("tor", { importPolicies: ["p"] })], policies: [policy(rules)] }),
    "node1",
    inputs(),
  );

describe("BGPPolicy", () => {
  it("arrives at the speaker whole", () => {
    const { speaker, problems } = planned([
      {
        name: "all",
        action: "Accept",
        match: {
          source: "External",
          communities: { standard: ["65001:1", "65001:*"], large: ["1:2:3", "/^1:/"], extended: ["rt:1:2"] },
          anyCommunity: { standard: ["no-export", "/^1:/"] },
          asPath: { regex: "^65001_", origin: [65009], neighbor: [65001], minLength: 1, maxLength: 9 },
          nextHops: ["10.0.0.0/8", "fd00::/8"],
          origins: ["IGP", "Incomplete"],
          neighbors: ["tor"],
        },
        set: {
          medAdd: -5,
          origin: "EGP",
          nextHop: { mode: "Address", ipv4: "10.0.0.9", ipv6: "fd00::9" },
          prepend: 2,
          prependASN: 65099,
          communities: { standard: [], extended: ["rt:1:1"] },
          removeCommunities: { large: ["*"] },
          addCommunities: { standard: ["1:1"], large: ["1:1:1"], extended: ["soo:1:1"] },
        },
      },
      { name: "self", action: "Accept", set: { nextHop: { mode: "Self" } } },
    ]);
    expect(problems).toEqual([]);
    const [all, self] = policyIn(
      encodeDesired(speaker, 1n, true, new Map()).policies.find((p) => p.name === "p")!,
    ).rules;
    expect(self!.set.nextHop).toEqual({ mode: "self" });
    expect(all).toMatchObject({
      match: {
        source: "external",
        communities: [65001 * 65536 + 1],
        large: [[1, 2, 3]],
        patterns: [
          { kind: "standard", pattern: "65001:*" },
          { kind: "large", pattern: "/^1:/" },
          { kind: "extended", pattern: "rt:1:2" },
        ],
        anyCommunity: [{ pattern: "no-export" }, { pattern: "/^1:/" }],
        path: { regex: "^65001_", origin: [65009], neighbor: [65001], minLength: 1, maxLength: 9 },
        nextHops: [{ length: 8 }, { length: 8 }],
        origins: [0, 2],
        neighbors: ["tor"],
      },
      set: {
        medAdd: -5,
        origin: 1,
        nextHop: { mode: "address", ipv4: Uint8Array.of(10, 0, 0, 9) },
        prepend: 2,
        prependAsn: 65099,
        replace: { standard: [], extended: ["rt:1:1"] },
        remove: [{ kind: "large", pattern: "*" }],
        addCommunities: [65537],
        addLarge: [[1, 1, 1]],
        addExtended: ["soo:1:1"],
      },
    });
    expect(all!.set.replace).not.toHaveProperty("large");
  });

  it.each<[string, Rules[number]["match"], Rules[number]["set"]]>([
    ["match.asPath.regex", { asPath: { regex: "(" } }, undefined],
    ["match.communities.standard[1]", { communities: { standard: ["1:1", "1*:1"] } }, undefined],
    ["match.anyCommunity.large[0]", { anyCommunity: { large: ["/[/"] } }, undefined],
    ["match.nextHops[0]", { nextHops: ["10.0.0.1/8"] }, undefined],
    ["set.addCommunities.extended[0]", undefined, { addCommunities: { extended: ["rt:1"] } }],
    ["set.communities.standard[0]", undefined, { communities: { standard: ["1:99999"] } }],
    ["set.removeCommunities.standard[0]", undefined, { removeCommunities: { standard: ["/(/"] } }],
    ["set.nextHop.ipv4", undefined, { nextHop: { mode: "Address", ipv4: "fd00::1" } }],
    ["set.nextHop", undefined, { nextHop: { mode: "Address" } }],
    ["set.medAdd", undefined, { med: 1, medAdd: 1 }],
    ["set.prependASN", undefined, { prependASN: 1 }],
  ])("%s is named where it makes no sense, and the neighbour waits", (path, match, set) => {
    const rule = { name: "bad", action: "Accept" as const, ...(match && { match }), ...(set && { set }) };
    const { speaker, problems } = planned([rule]);
    expect(speaker.peers).toEqual([]);
    expect(problems.map((p) => p.message)).toEqual(
      expect.arrayContaining([expect.stringContaining(`spec.rules[0].${path}`)]),
    );
  });
});

describe("waggle test", () => {
  const rules: Rules = [
    { name: "far", action: "Reject", match: { source: "Any", asPath: { minLength: 3 } } },
    {
      name: "from-tor",
      action: "Accept",
      match: { source: "Any", neighbors: ["tor"], origins: ["EGP"], communities: { extended: ["rt:1:*"] } },
      set: { removeCommunities: { extended: ["*"] }, nextHop: { mode: "Unchanged" } },
    },
    { name: "rest", action: "Accept", match: { prefixes: [{ prefix: "10.1.0.0/16", ge: 26, le: 26 }] } },
  ];
  const base = snapshot({
    peers: [
      peer("tor", { importPolicies: ["p"] }),
      peer("spine", { address: "192.0.2.9", importPolicies: ["p"], exportPolicies: ["p"] }),
    ],
    policies: [policy(rules)],
  });
  const bench = policyBench(base, { name: "node1", labels: {}, addresses: ["192.0.2.1"] }, undefined);
  const route = {
    prefix: "10.77.0.0/16",
    origin: "EGP",
    extendedCommunities: ["rt:1:5"],
    nextHop: "192.0.2.77",
  } as const;
  const tried = (test: Omit<PolicyCase, "name">) => runPolicyCase(bench, { name: "case", ...test });

  it.each<[string, Omit<PolicyCase, "name">]>([
    [
      "what a neighbour sends",
      {
        peer: "tor",
        direction: "Import",
        route,
        expect: {
          verdict: "Accept",
          rule: "p/from-tor",
          attributes: { extendedCommunities: [], origin: "EGP" },
        },
      },
    ],
    [
      "another neighbour's",
      {
        peer: "spine",
        direction: "Import",
        route,
        expect: { verdict: "Reject" },
      },
    ],
    [
      "a long path",
      {
        peer: "tor",
        direction: "Import",
        route: { ...route, asPath: [64512, 1, 2] },
        expect: { verdict: "Reject" },
      },
    ],
    [
      "what goes on to another",
      {
        peer: "spine",
        route: { ...route, learnedFrom: "tor" },
        expect: { verdict: "Accept", rule: "p/from-tor", attributes: { nextHop: "192.0.2.77" } },
      },
    ],
    [
      "what does not",
      {
        peer: "spine",
        route: { ...route, origin: "IGP", learnedFrom: "tor" },
        expect: { verdict: "Reject", rule: "no rule of the export policy matches" },
      },
    ],
    [
      "a route of ours",
      {
        peer: "spine",
        route: { prefix: "10.1.0.0/26" },
        expect: { verdict: "Accept", rule: "p/rest" },
      },
    ],
  ])("%s", (_name, test) => {
    expect(tried(test)).toMatchObject({ passed: true, failures: [] });
  });

  it("says what is not so", () => {
    const test: Omit<PolicyCase, "name"> = {
      peer: "tor",
      direction: "Import",
      route,
      expect: { verdict: "Accept", attributes: { extendedCommunities: ["rt:1:5"], origin: "IGP" } },
    };
    expect(tried(test).failures.map((f) => f.path.at(-1))).toEqual(["extendedCommunities", "origin"]);
  });
});
