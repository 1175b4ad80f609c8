// test/interop: AS-number knobs, next hop, reflection, route server and roles between two sessions with BIRD, judged by what BIRD shows at the far one.
import type { MessageInitShape } from "@bufbuild/protobuf";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Family, type PeerSchema, Role, SessionState } from "../../src/api/generated/proto/speaker_pb.js";
import { parseAddress, toBytes } from "../../src/net/address.ts";
import {
  acceptAll,
  asn,
  type Bgpd,
  BgpLab,
  type Bird,
  birdPeer,
  canRun,
  ours,
  theirs,
  until,
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

  /** Sets both ends up. */
  const begin = (s: Sides): void => {
    bgpd.desire({ peers: [], policies: [acceptAll] });
    const head = (c: string): string => c.slice(0, c.indexOf("\nipv4 table fartable"));
    bird.reconfigure((c) => head(c) + config(s));
    bgpd.desire({ peers: peers(s), policies: [acceptAll] });
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
