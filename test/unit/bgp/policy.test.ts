// test/unit/bgp: policy: patterns of communities and paths, every condition and every change of a rule, and who is told which rule it was.
import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { parseSpeaker } from "../../../src/bgp/daemon/standalone.ts";
import { compileChain, type Sender } from "../../../src/bgp/policy/chain.ts";
import { compileCommunity, extendedOf, extendedText } from "../../../src/bgp/policy/communities.ts";
import { Pattern, PatternError } from "../../../src/bgp/policy/regex.ts";
import { type ExportTarget, exportRoute } from "../../../src/bgp/rib/export.ts";
import { Rib } from "../../../src/bgp/rib/rib.ts";
import { flatten } from "../../../src/bgp/wire/aspath.ts";
import type { PathAttributes } from "../../../src/bgp/wire/attributes.ts";
import { NlriCursor } from "../../../src/bgp/wire/nlri.ts";

describe("regular expressions", () => {
  test.each<[string, string, boolean]>([
    ["^65001$", "65001", true],
    ["^65001$", "65001 65002", false],
    ["_65002_", "65001 65002 65003", true],
    ["_65002_", "165002 650023", false],
    ["_65002$", "65001 65002", true],
    ["_65002_$", "65001 65002", true],
    ["^_65001", "65001 65002", true],
    ["_65001_65002_", "65001 65002", true],
    ["^$", "", true],
    ["^$", "1", false],
    ["", "anything", true],
    ["^(65001 ?)+$", "65001 65001 65001", true],
    ["^(65001 ?)+$", "65001 65002", false],
    ["^65001( 65001){2}$", "65001 65001 65001", true],
    ["^65001( 65001){2}$", "65001 65001", false],
    ["^[^ ]+ [^ ]+$", "65001 65002", true],
    ["^(6451[2-9]|645[2-9]\\d)$", "64512", true],
    ["^(6451[2-9]|645[2-9]\\d)$", "64511", false],
    ["^\\d+(_\\d+){0,2}$", "1 2 3", true],
    ["^\\d+(_\\d+){0,2}$", "1 2 3 4", false],
    ["(?:a|b)c", "xbc", true],
    ["[]x]", "]", true],
    ["1.3", "1 3", true],
  ])("%s in %j: %s", (pattern, text, found) => {
    expect(new Pattern(pattern).test(text)).toBe(found);
  });

  test.each<[string, RegExp]>([
    ["(", /not closed/],
    [")", /without an opening/],
    ["[1", /bracket/],
    ["*1", /nothing for \*/],
    ["1**", /two repetitions/],
    ["^*", /anchor/],
    ["1{3,2}", /from 3 to 2/],
    ["1{999}", /more than 255/],
    ["1{a}", /brace/],
    ["(?=1)", /looks around/],
    ["(?<n>1)", /looks around/],
    ["\\1", /\\1/],
    ["\\w", /\\w/],
    ["1\\", /backslash/],
    ["((1{200}){200}){200}", /more than 2000 states/],
    ["é", /no path or community/],
    ["[9-0]", /high to low/],
    ["1".repeat(257), /more than 256/],
    ["(".repeat(20), /more than 16/],
  ])("%s is refused", (pattern, message) => {
    expect(() => new Pattern(pattern)).toThrow(message);
  });

  it("finds what JavaScript's own finds", () => {
    const atom = fc.constantFrom(
      "1",
      "2",
      " ",
      ".",
      "[12]",
      "[^1]",
      "\\d",
      "(1|2 )",
      "(?:12)+",
      "(1?2){1,3}",
    );
    const piece = fc
      .tuple(atom, fc.constantFrom("", "", "*", "+", "?", "{2}", "{0,2}", "{1,}"))
      .map(([a, r]) =>
        // Two repetitions in a row mean something else there.
        /[+}]$/.test(a) ? a : a + r,
      );
    const pattern = fc
      .tuple(fc.constantFrom("", "^"), fc.array(piece, { maxLength: 5 }), fc.constantFrom("", "$"))
      .map(([a, b, c]) => a + b.join("") + c);
    const text = fc.string({ unit: fc.constantFrom("1", "2", "3", " "), maxLength: 12 });
    fc.assert(
      fc.property(
        fc.array(pattern, { minLength: 1, maxLength: 2 }),
        fc.array(text, { minLength: 3 }),
        (list, texts) => {
          const joined = list.join("|");
          const ours = new Pattern(joined);
          const theirs = new RegExp(joined);
          for (const t of texts) expect([joined, t, ours.test(t)]).toEqual([joined, t, theirs.test(t)]);
        },
      ),
      { seed: 7, numRuns: 300 },
    );
  });

  it("takes no longer than the text is, and remembers a bounded number of states", () => {
    const evil = new Pattern("^(1+)+$");
    const many = new Pattern("(1|2)*1(1|2){12}$");
    const long = "1".repeat(20_000);
    const began = performance.now();
    expect(evil.test(`${long}x`)).toBe(false);
    const random = Array.from({ length: 20_000 }, (_, i) => 1 + ((i * i * 7 + (i >> 3)) & 1)).join("");
    expect(many.test(random)).toBe(random.at(-13) === "1");
    expect(performance.now() - began).toBeLessThan(20_000);
  });
});

describe("communities", () => {
  test.each<["standard" | "large" | "extended", string, readonly string[], readonly string[]]>([
    ["standard", "65000:*", ["65000:1", "65000:0"], ["65001:1"]],
    ["standard", "*:100", ["1:100", "65000:100"], ["100:1"]],
    ["standard", "*", ["1:1"], []],
    ["standard", "blackhole", ["65535:666"], ["65535:667"]],
    ["standard", "/^65000:1[0-9]$/", ["65000:10", "65000:19"], ["65000:1", "65000:100", "165000:10"]],
    ["large", "65000:*:2", ["65000:1:2", "65000:4294967295:2"], ["65000:1:3", "65001:1:2"]],
    ["large", "/:7$/", ["1:2:7"], ["1:7:2"]],
    ["extended", "rt:65000:*", ["rt:65000:1"], ["soo:65000:1", "rt:65001:1"]],
    ["extended", "rt:*:100", ["rt:10.0.0.1:100", "rt:70000:100"], ["rt:65000:1"]],
    ["extended", "0x4300000000000001", ["0x4300000000000001"], ["0x4300000000000002"]],
    ["extended", "/^soo:/", ["soo:65000:1"], ["rt:65000:1"]],
  ])("%s %s", (kind, pattern, inside, outside) => {
    const t = compileCommunity({ kind, pattern });
    const says = (text: string): boolean => {
      if (t.kind === "extended") return t.test(extendedText(extendedOf(text), 0));
      const parts = text.split(":").map(Number) as [number, number, number];
      return t.kind === "large" ? t.test(parts) : t.test(parts[0] * 65536 + parts[1]);
    };
    for (const c of inside) expect([c, says(c)]).toEqual([c, true]);
    for (const c of outside) expect([c, says(c)]).toEqual([c, false]);
  });

  test.each<["standard" | "large" | "extended", string]>([
    ["standard", "65000"],
    ["standard", "65536:1"],
    ["standard", "65000:1*"],
    ["standard", "*:*:*"],
    ["standard", "/1"],
    ["standard", "/(/"],
    ["large", "1:2"],
    ["large", "4294967296:*:1"],
    ["extended", "rt:65000"],
    ["extended", "rt:*"],
    ["extended", "rt:70000:70000"],
    ["extended", "rt:256.0.0.1:1"],
    ["extended", "0x43"],
    ["extended", "color:1:*"],
  ])("%s %s is refused", (kind, pattern) => {
    expect(() => compileCommunity({ kind, pattern })).toThrow(PatternError);
  });

  it("extended ones are written as they are read", () => {
    for (const text of ["rt:65000:4294967295", "rt:70000:65535", "soo:10.1.2.3:4", "0x43000000000000ff"])
      expect(extendedText(extendedOf(text), 0)).toBe(text);
  });
});

/** Rules as in speaker.yaml. */
const policies = (rules: readonly object[]) =>
  parseSpeaker({ asn: 65000, routerID: "10.0.0.1", peers: [], policies: [{ name: "p", rules }] }, "test")
    .policies;

const chain = (rules: readonly object[], sender?: Omit<Sender, "ebgp">) =>
  compileChain(["p"], new Map(policies(rules).map((p) => [p.name, p])), sender);

const base: PathAttributes = {
  afi: 1,
  origin: 0,
  asPath: [{ type: 2, asns: [65001, 65010, 65020] }],
  nextHop: Uint8Array.of(192, 0, 2, 7),
  med: 50,
  communities: [(65001 << 16) | 5, (65001 << 16) | 9],
  large: [[65001, 1, 2]],
  extendedCommunities: extendedOf("rt:65001:7"),
};

const nlri = Uint8Array.of(16, 10, 9);

/** What becomes of {@link base} on import from an external neighbour. */
function imported(rules: readonly object[], given: Partial<PathAttributes> = {}, name = "a") {
  const rib = new Rib(1);
  const peer = rib.addPeer(name)!;
  peer.ebgp = true;
  peer.asn = 65001;
  rib.setImport(peer, {
    ebgp: true,
    localAsn: 65000,
    routerId: 1,
    chain: chain(rules, { name, audience: name }),
  });
  rib.announce(peer, 1, nlri, 0, nlri.length, rib.attributes.intern({ ...base, ...given }));
  const table = rib.tables[1];
  const path = table.pathOf(0, peer.index);
  const attribute = table.pathAttr[path]!;
  return {
    rule: rib.names.name(table.pathRule[path]!),
    route: attribute < 0 ? undefined : rib.attributes.attributes(attribute, 1),
  };
}

const target = (rules: readonly object[], more: Partial<ExportTarget> = {}): ExportTarget => ({
  ebgp: true,
  localAsn: 65000,
  chain: chain(rules),
  nextHop: { 1: Uint8Array.of(10, 0, 0, 1), 2: undefined },
  nextHopSelf: false,
  ...more,
});

/** What an external neighbour hears of {@link base}, learned from `sender`. */
function exported(
  rules: readonly object[],
  more: Partial<ExportTarget> = {},
  sender: Sender = { name: "a", audience: "a", ebgp: true },
  given: Partial<PathAttributes> = {},
) {
  const cursor = new NlriCursor();
  cursor.read(nlri, 0, 1);
  const prefix = { afi: 1, keys: cursor.words, key: 0, length: 16 } as const;
  return exportRoute(
    target(rules, more),
    prefix,
    { ...base, ...given },
    {
      learned: true,
      fromEbgp: sender.ebgp,
      sender,
      prepend: 0,
    },
  );
}

describe("conditions", () => {
  test.each<[string, object, Partial<PathAttributes>, boolean]>([
    ["wildcard", { communities: { standard: ["65001:*"] } }, {}, true],
    ["all of them", { communities: { standard: ["65001:*", "65002:*"] } }, {}, false],
    ["any of them", { anyCommunity: { standard: ["65002:1"], large: ["65001:*:*"] } }, {}, true],
    ["none of any", { anyCommunity: { standard: ["65002:1"] } }, {}, false],
    ["none there", { anyCommunity: { standard: ["*"] } }, { communities: [] }, false],
    ["regex", { communities: { large: ["/^65001:1:/"] } }, {}, true],
    ["extended", { communities: { extended: ["rt:65001:*"] } }, {}, true],
    ["extended, other", { communities: { extended: ["rt:65001:8"] } }, {}, false],
    ["path regex", { asPath: { regex: "^65001_.*_65020$" } }, {}, true],
    ["path regex, no", { asPath: { regex: "_65011_" } }, {}, false],
    ["path origin", { asPath: { origin: [1, 65020] } }, {}, true],
    ["path origin, no", { asPath: { origin: [65010] } }, {}, false],
    ["path neighbor", { asPath: { neighbor: [65001] } }, {}, true],
    ["path neighbor, no", { asPath: { neighbor: [65010] } }, {}, false],
    ["path length", { asPath: { minLength: 3, maxLength: 3 } }, {}, true],
    ["path too long", { asPath: { maxLength: 2 } }, {}, false],
    ["path too short", { asPath: { minLength: 4 } }, {}, false],
    ["contains", { asPathContains: [65010] }, {}, true],
    ["next hop", { nextHops: ["192.0.2.0/24"] }, {}, true],
    ["next hop, no", { nextHops: ["192.0.3.0/24", "2001:db8::/32"] }, {}, false],
    ["origin", { origins: ["igp", "egp"] }, {}, true],
    ["origin, no", { origins: ["incomplete"] }, {}, false],
    ["neighbor", { neighbors: ["b", "a"] }, {}, true],
    ["neighbor, no", { neighbors: ["b"] }, {}, false],
    ["external", { source: "external" }, {}, true],
    ["internal", { source: "internal" }, {}, false],
    ["all together", { origins: ["igp"], nextHops: ["192.0.2.7/32"], asPath: { origin: [65020] } }, {}, true],
    ["all but one", { origins: ["egp"], nextHops: ["192.0.2.7/32"], asPath: { origin: [65020] } }, {}, false],
  ])("%s, on import and export", (_name, match, given, hit) => {
    const rules = [
      { name: "first", action: "accept", match: { source: "learned", ...match } },
      { name: "rest", action: "reject", match: { source: "any" } },
    ];
    expect(imported(rules, given).rule).toBe(hit ? "p/first" : "p/rest");
    expect(exported(rules, {}, undefined, given)).toMatchObject({
      accepted: hit,
      decidedBy: hit ? "p/first" : "p/rest",
    });
  });

  it("a rule for one neighbour's routes says nothing of our own", () => {
    const rules = [{ name: "r", action: "accept", match: { source: "any", neighbors: ["a"] } }];
    const cursor = new NlriCursor();
    cursor.read(nlri, 0, 1);
    const prefix = { afi: 1, keys: cursor.words, key: 0, length: 16 } as const;
    const own = { learned: false, fromEbgp: false, prepend: 0 };
    expect(exportRoute(target(rules), prefix, base, own)).toMatchObject({
      accepted: false,
      decidedBy: "no rule of the export policy matches",
    });
  });

  it("a range's neighbours are meant by its name", () => {
    const rules = [{ name: "r", action: "accept", match: { source: "learned", neighbors: ["servers"] } }];
    const member = { name: "servers-10.0.0.7", audience: "servers", ebgp: true };
    expect(exported(rules, {}, member).accepted).toBe(true);
    expect(chain(rules, member).rules).toHaveLength(1);
    expect(chain(rules, { name: "x", audience: "x" }).rules).toHaveLength(0);
  });

  it("external and internal on export", () => {
    const rules = [{ name: "r", action: "accept", match: { source: "internal" } }];
    expect(exported(rules).accepted).toBe(false);
    expect(exported(rules, {}, { name: "i", audience: "i", ebgp: false }).accepted).toBe(true);
  });
});

describe("changes", () => {
  const learned = { source: "learned" };
  const rule = (set: object) => [{ name: "r", action: "accept", match: learned, set }];

  test.each<[string, object, Partial<PathAttributes>]>([
    ["origin", { origin: "incomplete" }, { origin: 2 }],
    ["med", { med: 7 }, { med: 7 }],
    ["med up", { medAdd: 10 }, { med: 60 }],
    ["med down", { medAdd: -20 }, { med: 30 }],
    ["med not below 0", { medAdd: -60 }, { med: 0 }],
    ["local preference", { localPreference: 9 }, { localPref: 9 }],
    [
      "add",
      { addCommunities: { standard: ["65001:5", "1:2"] } },
      {
        communities: [...base.communities!, 65538],
      },
    ],
    ["remove one", { removeCommunities: { standard: ["65001:5"] } }, { communities: [(65001 << 16) | 9] }],
    ["remove some", { removeCommunities: { standard: ["*:9"] } }, { communities: [(65001 << 16) | 5] }],
    ["remove all", { removeCommunities: { standard: ["*"] } }, { communities: undefined as never }],
    ["remove by regex", { removeCommunities: { large: ["/2$/"] } }, { large: undefined as never }],
    ["replace", { communities: { standard: ["1:1"] } }, { communities: [65537] }],
    ["replace by nothing", { communities: { large: [] } }, { large: undefined as never }],
    [
      "replace, remove, add",
      {
        communities: { standard: ["1:1", "1:2"] },
        removeCommunities: { standard: ["1:*"] },
        addCommunities: { standard: ["1:2"] },
      },
      { communities: [65538] },
    ],
    [
      "add extended",
      { addCommunities: { extended: ["soo:65001:1", "rt:65001:7"] } },
      {
        extendedCommunities: Uint8Array.from([...extendedOf("rt:65001:7"), ...extendedOf("soo:65001:1")]),
      },
    ],
    [
      "remove extended",
      { removeCommunities: { extended: ["rt:*:7"] } },
      {
        extendedCommunities: undefined as never,
      },
    ],
    [
      "another's number in front",
      { prepend: 2, prependASN: 65099 },
      {
        asPath: [{ type: 2, asns: [65099, 65099, 65001, 65010, 65020] }],
      },
    ],
    ["our own is for external neighbours", { prepend: 2 }, {}],
    ["next hop", { nextHop: { ipv4: "192.0.2.99" } }, { nextHop: Uint8Array.of(192, 0, 2, 99) }],
    ["next hop self says nothing", { nextHop: "self" }, {}],
    ["next hop of the other family", { nextHop: { ipv6: "2001:db8::9" } }, {}],
  ])("on import: %s", (_name, set, wanted) => {
    const { route } = imported(rule(set));
    const { afi: _, ...expected } = { ...base, ...wanted };
    for (const [field, value] of Object.entries(expected))
      expect([field, route?.[field as keyof PathAttributes]]).toEqual([
        field,
        // Flags are signed here and not there.
        field === "communities" ? (value as number[] | undefined)?.map((c) => c >>> 0) : value,
      ]);
  });

  const hop = (set: object, more: Partial<ExportTarget> = {}, given: Partial<PathAttributes> = {}) => {
    const d = exported(rule(set), more, undefined, given);
    return d.accepted ? [...d.attributes.nextHop] : d.decidedBy;
  };

  it("next hop on export", () => {
    expect(hop({})).toEqual([10, 0, 0, 1]);
    expect(hop({ nextHop: "unchanged" })).toEqual([192, 0, 2, 7]);
    expect(hop({ nextHop: { ipv4: "192.0.2.50" } })).toEqual([192, 0, 2, 50]);
    const internal = { ebgp: false };
    expect(hop({}, internal)).toEqual([192, 0, 2, 7]);
    expect(hop({ nextHop: "self" }, internal)).toEqual([10, 0, 0, 1]);
    const v6 = { nextHop: { ipv6: "2001:db8::50" } };
    expect(hop(v6)).toEqual([10, 0, 0, 1]);
    expect(hop(v6, { extendedNextHop: true })).toHaveLength(16);
  });

  it("a link-local next hop cannot stay", () => {
    const nextHop = Uint8Array.of(0xfe, 0x80, ...new Uint8Array(13), 1);
    expect(hop({ nextHop: "unchanged" }, {}, { nextHop })).toEqual([10, 0, 0, 1]);
  });

  it("paths and MED on export", () => {
    const path = (set: object, more: Partial<ExportTarget> = {}) => {
      const d = exported(rule(set), more);
      return d.accepted ? flatten(d.attributes.asPath) : [];
    };
    expect(path({ prepend: 1 }).slice(0, 3)).toEqual([65000, 65000, 65001]);
    expect(path({ prepend: 2, prependASN: 65099 }).slice(0, 4)).toEqual([65000, 65099, 65099, 65001]);
    expect(path({ prepend: 2, prependASN: 65099 }, { ebgp: false })[0]).toBe(65001);
    const med = (set: object) => {
      const d = exported(rule(set));
      return d.accepted ? d.attributes.med : -1;
    };
    expect([med({}), med({ med: 3 }), med({ medAdd: 5 })]).toEqual([undefined, 3, 55]);
  });
});

describe("a file", () => {
  test.each<[object, RegExp]>([
    [{ match: { asPath: { regex: "(" } } }, /\/policies\/0\/rules\/1\/match\/asPath\/regex: a parenthesis/],
    [
      { match: { communities: { standard: ["1:1", "x:*"] } } },
      /\/rules\/1\/match\/communities\/standard\/1: /,
    ],
    [{ match: { anyCommunity: { large: ["1:1"] } } }, /\/rules\/1\/match\/anyCommunity\/large\/0: /],
    [{ set: { addCommunities: { extended: ["rt:1"] } } }, /\/rules\/1\/set\/addCommunities\/extended\/0: /],
    [{ set: { removeCommunities: { standard: ["/[/"] } } }, /\/set\/removeCommunities\/standard\/0: /],
    [{ set: { nextHop: { ipv4: "2001:db8::1" } } }, /\/set\/nextHop\/ipv4: /],
    [{ set: { med: 1, medAdd: 1 } }, /must NOT be valid/],
    [{ set: { prependASN: 1 } }, /prepend/],
    [{ match: { origins: ["bgp"] } }, /\/match\/origins\/0/],
  ])("%j is refused with its place", (more, message) => {
    const rules = [
      { name: "ok", action: "accept" },
      { name: "bad", action: "accept", ...more },
    ];
    expect(() => policies(rules)).toThrow(message);
  });
});
