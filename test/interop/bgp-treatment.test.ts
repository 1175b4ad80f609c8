// test/interop: AS-number knobs, next hop, reflection, route server and roles between two sessions with BIRD, judged by what BIRD shows at the far one.
import type { MessageInitShape } from "@bufbuild/protobuf";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  CommunityKind,
  Family,
  LimitAction,
  type OriginSchema,
  type PeerSchema,
  type PolicySchema,
  Role,
  SessionState,
  Source,
} from "../../src/api/generated/proto/speaker_pb.js";
import { parseAddress, toBytes } from "../../src/net/address.ts";
import {
  acceptAll,
  asn,
  type Bgpd,
  BgpLab,
  type Bird,
  birdPeer,
  canRun,
  origin,
  ours,
  theirs,
  until,
  untilPatient,
} from "./bgp-lab.ts";

const why = canRun ? "" : " (skipped: needs root and bird)";
/** The ends of the second session: BIRD tells sessions apart by our address alone. */
const far = "10.99.0.3";
const oursToFar = "10.99.0.4";
/** Next hop of BIRD's route: one of its own addresses it would not take back. */
const third = "10.99.0.9";
type PeerMore = Omit<MessageInitShape<typeof PeerSchema>, "$typeName">;

interface Sides {
  readonly nearAsn?: number;
  readonly farAsn?: number;
  /** Further lines of BIRD's. */
  readonly near?: string;
  readonly farOptions?: string;
  /** What BIRD does to its route before it sends it. */
  readonly filter?: string;
  /** Beside the one that accepts everything. */
  readonly policies?: readonly MessageInitShape<typeof PolicySchema>[];
  readonly origins?: readonly MessageInitShape<typeof OriginSchema>[];
  readonly toNear?: PeerMore;
  readonly toFar?: PeerMore;
}

/** One BIRD with two sessions, whose routes do not meet in its tables. */
const config = (s: Sides): string => `
ipv4 table fartable;
protocol static static4 { ipv4; route 192.0.2.0/24 unreachable; }
protocol bgp near {
  local ${theirs.ipv4} as ${s.nearAsn ?? asn.bird};
  neighbor ${ours.ipv4} as ${asn.ours};
  connect delay time 1; connect retry time 1; error wait time 1, 2;
  ${s.near ?? ""}
  ipv4 { import none; export filter { ${s.filter ?? ""} accept; }; next hop address ${third}; };
}
protocol bgp far {
  router id ${far};
  local ${far} as ${s.farAsn ?? 65003};
  neighbor ${oursToFar} as ${asn.ours};
  connect delay time 1; connect retry time 1; error wait time 1, 2;
  ${s.farOptions ?? ""}
  ipv4 { table fartable; import all; export none; };
}
`;

describe.skipIf(!canRun)(`BIRD: neighbours out of the ordinary${why}`, () => {
  let lab: BgpLab;
  let bird: Bird;
  let bgpd: Bgpd;

  beforeAll(async () => {
    lab = new BgpLab("treat");
    lab.in("a", "ip", "addr", "add", `${far}/24`, "dev", "veth0");
    lab.in("b", "ip", "addr", "add", `${oursToFar}/24`, "dev", "veth0");
    bird = await lab.bird(config({}));
    bgpd = await lab.speaker();
  });
  afterAll(() => lab?.[Symbol.asyncDispose]());

  const peers = (s: Sides): MessageInitShape<typeof PeerSchema>[] => {
    const both = { families: [Family.IPV4_UNICAST], importPolicies: ["all"], exportPolicies: ["all"] };
    return [
      birdPeer({ ...both, peerAsn: s.nearAsn ?? asn.bird, ...s.toNear }),
      birdPeer({
        ...both,
        name: "far",
        address: toBytes(parseAddress(far)),
        localAddress: toBytes(parseAddress(oursToFar)),
        peerAsn: s.farAsn ?? 65003,
        ...s.toFar,
      }),
    ];
  };
  const up = async (name: string): Promise<boolean> =>
    (await bgpd.session(name))?.state === SessionState.SESSION_ESTABLISHED;

  const desired = (s: Sides) => ({
    peers: peers(s),
    policies: [acceptAll, ...(s.policies ?? [])],
    origins: [...(s.origins ?? [])],
  });

  /** Sets both ends up. */
  const begin = (s: Sides): void => {
    bgpd.desire({ peers: [], policies: [acceptAll] });
    const head = (c: string): string => c.slice(0, c.indexOf("\nipv4 table fartable"));
    bird.reconfigure((c) => head(c) + config(s));
    bgpd.desire(desired(s));
  };
  const establish = async (s: Sides): Promise<void> => {
    begin(s);
    await until("both sessions", async () => (await up("bird")) && (await up("far")), 15_000);
  };
  const heard = (): string => bird.ask("show route all table fartable");
  const hears = async (s: Sides): Promise<string> => {
    await establish(s);
    await until("the route at the far end", () => heard().includes("192.0.2.0/24"));
    return heard();
  };

  test("an ordinary neighbour", async () => {
    const text = await hears({});
    expect(text).toContain("BGP.as_path: 64512 65001\n");
    expect(text).toContain(`BGP.next_hop: ${oursToFar}`);
  }, 30_000);

  test("allowas-in", async () => {
    const loop = { filter: `bgp_path.prepend(${asn.ours});` };
    await establish(loop);
    await until("received", async () => (await bgpd.session("bird"))!.counts[0]!.received === 1);
    expect((await bgpd.session("bird"))!.counts[0]!.accepted).toBe(0);
    expect(heard()).not.toContain("192.0.2.0/24");
    expect(await hears({ ...loop, toNear: { allowAsIn: 1 } })).toContain("BGP.as_path: 64512 65001 64512\n");
  }, 30_000);

  test("as-override: BIRD takes a route of its own AS", async () => {
    const text = await hears({ farAsn: asn.bird, toFar: { asOverride: true } });
    expect(text).toContain("BGP.as_path: 64512 64512\n");
  }, 30_000);

  test("remove-private-as", async () => {
    const filter = "bgp_path.prepend(3356);";
    const text = await hears({ filter, toFar: { removePrivateAs: true } });
    expect(text).toContain("BGP.as_path: 64512 3356\n");
  }, 30_000);

  test("next hop unchanged", async () => {
    const text = await hears({ toFar: { nextHopUnchanged: true } });
    expect(text).toContain(`BGP.next_hop: ${third}`);
    expect(text).toContain("BGP.as_path: 64512 65001\n");
  }, 30_000);

  test("route reflector: originator and cluster are there", async () => {
    const internal = { nearAsn: asn.ours, farAsn: asn.ours };
    const text = await hears({ ...internal, toNear: { reflectorClient: true } });
    expect(text).toContain(`BGP.originator_id: ${theirs.ipv4}`);
    expect(text).toContain(`BGP.cluster_list: ${ours.ipv4}`);
    expect(text).toContain(`BGP.next_hop: ${third}`);
    expect(text).toMatch(/BGP.as_path: *\n/);
  }, 30_000);

  test("route server: path, next hop and MED as they came", async () => {
    const text = await hears({ filter: "bgp_med = 70;", toFar: { routeServerClient: true } });
    expect(text).toContain("BGP.as_path: 65001\n");
    expect(text).toContain(`BGP.next_hop: ${third}`);
    expect(text).toContain("BGP.med: 70");
  }, 30_000);

  test("policy: patterns decide, and what they change is what BIRD hears", async () => {
    const standard = (pattern: string) => ({ kind: CommunityKind.COMMUNITY_STANDARD, pattern });
    const extended = (pattern: string) => ({ kind: CommunityKind.COMMUNITY_EXTENDED, pattern });
    const text = await hears({
      filter: `bgp_path.prepend(65020); bgp_med = 50; bgp_community.add((65001, 7)); bgp_community.add((65001, 150));
        bgp_community.add((65002, 7)); bgp_ext_community.add((rt, 65001, 9)); bgp_ext_community.add((ro, 65001, 9));
        bgp_large_community.add((65001, 1, 2));`,
      policies: [
        {
          name: "in",
          rules: [
            { name: "no", accept: false, match: { communityPatterns: [standard("65003:*")] } },
            {
              name: "yes",
              accept: true,
              match: {
                communityPatterns: [standard("65001:*"), standard("/:1[0-9]{2}$/"), extended("rt:65001:*")],
                asPathRegex: "^65001_65020$",
                nextHops: [{ prefix: toBytes(parseAddress(third)), length: 32 }],
                neighbors: ["bird"],
                origins: [0],
              },
              set: { remove: [standard("*:7"), extended("rt:*:9")] },
            },
          ],
        },
        {
          name: "out",
          rules: [
            {
              name: "marked",
              accept: true,
              match: { source: Source.EXTERNAL, neighbors: ["bird"] },
              set: {
                medAdd: 5n,
                origin: 2,
                prepend: 1,
                prependAsn: 65077,
                nextHop: { unchanged: true },
                replace: { large: true, largeCommunities: [{ global: 1, local1: 2, local2: 3 }] },
                addExtended: ["rt:64512:1"],
              },
            },
          ],
        },
      ],
      toNear: { importPolicies: ["in"] },
      toFar: { exportPolicies: ["out"] },
    });
    expect(text).toContain("BGP.as_path: 64512 65077 65001 65020\n");
    expect(text).toContain(`BGP.next_hop: ${third}`);
    expect(text).toContain("BGP.med: 55");
    expect(text).toContain("BGP.origin: Incomplete");
    expect(text).toMatch(/BGP.community: \(65001,150\)\n/);
    expect(text).toMatch(/BGP.large_community: \(1, 2, 3\)\n/);
    expect(text).toMatch(/BGP.ext_community: \(ro, 65001, 9\) \(rt, 64512, 1\)\n/);
  }, 30_000);

  test("limits, both ways, on living sessions; and from which port we come", async () => {
    const origins = [1, 2, 3].map((i) => origin(`10.1.${i}.0/24`, { peers: ["far"] }));
    const count = (): number => heard().match(/^10\.1\./gm)?.length ?? 0;
    const sides = (toFar: PeerMore, toNear: PeerMore = {}): Sides => ({ origins, toFar, toNear });
    const nearLimit = { maxPrefixesIpv4: 1, maxPrefixesAction: LimitAction.LIMIT_DISCARD };
    await establish(sides({ maxSentIpv4: 3, localPort: 17901 }, nearLimit));
    // Three of ours and the one of the other session are one too many.
    await untilPatient(
      "as many as may be",
      async () => (await bgpd.session("far"))!.counts[0]!.advertised === 3,
    );
    expect((await bgpd.session("far"))!.counts[0]).toMatchObject({ limitSent: 3, heldBack: 1 });
    await untilPatient("at BIRD", () => count() + (heard().includes("192.0.2.0/24") ? 1 : 0) === 3);
    expect(lab.in("a", "ss", "-tnH")).toContain(`${oursToFar}:17901`);
    bgpd.desire(desired(sides({ localPort: 17901 }, nearLimit)));
    await untilPatient("all of them", () => count() === 3 && heard().includes("192.0.2.0/24"));
    bird.reconfigure((c) =>
      c.replace("route 192.0.2.0/24 unreachable;", "$& route 198.51.100.0/24 unreachable;"),
    );
    await untilPatient("one too many", async () => (await bgpd.session("bird"))!.counts[0]!.discarded === 1n);
    expect((await bgpd.session("bird"))!.counts[0]).toMatchObject({ received: 1, limit: 1 });
    bgpd.desire(desired(sides({ localPort: 17901 })));
    await untilPatient(
      "asked for again",
      async () => (await bgpd.session("bird"))!.counts[0]!.received === 2,
    );
    for (const name of ["bird", "far"]) expect((await bgpd.session(name))!.flaps).toBe(0n);
  }, 240_000);

  test("roles: a provider's route reaches a customer, marked, and no peer", async () => {
    const above = { near: "local role provider; require roles on;", toNear: { role: Role.CUSTOMER } };
    const text = await hears({
      ...above,
      farOptions: "local role customer; require roles on;",
      toFar: { role: Role.PROVIDER, strictRole: true },
    });
    expect(text).toContain("BGP.otc: 65001");
    await establish({ ...above, farOptions: "local role peer;", toFar: { role: Role.PEER } });
    await until("accepted here", async () => (await bgpd.session("bird"))!.counts[0]!.accepted === 1);
    expect((await bgpd.session("far"))!.counts[0]!.advertised).toBe(0);
    expect(heard()).not.toContain("192.0.2.0/24");
  }, 60_000);

  test("roles that do not fit, or a strict one alone: Role Mismatch, no session", async () => {
    begin({ near: "local role customer;", toNear: { role: Role.CUSTOMER } });
    await until("said so", async () => {
      const s = (await bgpd.session("bird"))!;
      return `${s.lastErrorSent} ${s.lastErrorReceived}`.includes("2/11");
    });
    begin({ toNear: { role: Role.CUSTOMER, strictRole: true } });
    await until("said so", async () => (await bgpd.session("bird"))!.lastErrorSent.includes("2/11"));
    expect(await up("bird")).toBe(false);
  }, 30_000);
});
