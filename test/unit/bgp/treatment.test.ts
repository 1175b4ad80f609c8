// test/unit/bgp: what neighbours hear under AS-number knobs, reflection (RFC 4456), as route server's clients (RFC 7947) and in roles (RFC 9234).
import { beforeEach, describe, expect, test } from "vitest";
import { parseSpeaker } from "../../../src/bgp/daemon/standalone.ts";
import { DesiredStateError } from "../../../src/bgp/rib/desired.ts";
import { noTreatment, otcIn, otcOut, type PeerTreatment } from "../../../src/bgp/rib/treatment.ts";
import { type PeerConfig, State } from "../../../src/bgp/session/types.ts";
import { flatten } from "../../../src/bgp/wire/aspath.ts";
import type { PathAttributes } from "../../../src/bgp/wire/attributes.ts";
import { Role } from "../../../src/bgp/wire/constants.ts";
import { type Host, origin, peerConfig, speakerConfig, World } from "./world.ts";

let world: World;
let a: Host;
let dut: Host;
let b: Host;

beforeEach(() => {
  world = new World(3);
  dut = world.add("dut", "10.0.0.1");
  a = world.add("a", "10.0.0.2");
  b = world.add("b", "10.0.0.3");
});

const with_ = (more: Partial<PeerTreatment>): PeerTreatment => ({ ...noTreatment, ...more });

interface Sides {
  readonly asnA?: number;
  readonly asnB?: number;
  readonly toA?: Partial<PeerTreatment>;
  readonly toB?: Partial<PeerTreatment>;
  readonly atA?: Partial<PeerTreatment>;
  readonly atB?: Partial<PeerTreatment>;
  /** In front of the path that a originates. */
  readonly path?: readonly number[];
  /** ONLY_TO_CUSTOMER that it has when a originates it. */
  readonly otc?: number;
}

/** a - dut (AS 65000) - b; a originates 10.9.0.0/16. */
function run(s: Sides): void {
  const { asnA = 65001, asnB = 65002 } = s;
  const peer = (
    name: string,
    address: string,
    asn: number,
    localAsn: number,
    t: Partial<PeerTreatment> = {},
  ) => peerConfig(name, address, asn, { localAsn, treatment: with_(t) } satisfies Partial<PeerConfig>);
  const route = origin(0x0a090000, 16, ["dut"], 77);
  const asPath = s.path ? [{ type: 2, asns: s.path }] : [];
  dut.speaker.apply(
    speakerConfig([peer("a", "10.0.0.2", asnA, 65000, s.toA), peer("b", "10.0.0.3", asnB, 65000, s.toB)]),
  );
  a.speaker.apply(
    speakerConfig([peer("dut", "10.0.0.1", 65000, asnA, s.atA)], {
      asn: asnA,
      routerId: 2,
      clusterId: 2,
      origins: [
        {
          ...route,
          key: JSON.stringify([s.path, s.otc]),
          attributes: { ...route.attributes, asPath, ...(s.otc === undefined ? {} : { otc: s.otc }) },
        },
      ],
    }),
  );
  b.speaker.apply(
    speakerConfig([peer("dut", "10.0.0.1", 65000, asnB, s.atB)], { asn: asnB, routerId: 3, clusterId: 3 }),
  );
  world.clock.run(20_000);
}

/** What a host has of a prefix: as received, or as accepted. */
function at(host: Host, accepted = false): PathAttributes | undefined {
  const { rib } = host.speaker;
  const table = rib.tables[1];
  const pid = table.prefixes.find(Uint32Array.of(0x0a090000), 0, 16);
  if (pid < 0) return undefined;
  const path = table.pathOf(pid, host.speaker.session(host === dut ? "a" : "dut")!.rib.index);
  if (path < 0) return undefined;
  const id = accepted ? table.pathAttr[path]! : table.pathRaw[path]!;
  return id < 0 ? undefined : rib.attributes.attributes(id, 1);
}

const pathAt = (host: Host): readonly number[] | undefined => {
  const attributes = at(host);
  return attributes && flatten(attributes.asPath);
};
const bytes = (text: string): Uint8Array => Uint8Array.from(text.split(".").map(Number));

describe("AS numbers and next hop", () => {
  test("an ordinary neighbour: our number in front, our next hop, no MED", () => {
    run({ path: [65077] });
    expect(pathAt(b)).toEqual([65000, 65001, 65077]);
    expect(at(b)!.nextHop).toEqual(bytes("10.0.0.1"));
    expect(at(b)!.med).toBeUndefined();
  });

  test.each([
    [0, false],
    [1, false],
    [2, true],
  ])("allowas-in %i with our number twice in the path: accepted %s", (allowAsIn, accepted) => {
    run({ path: [65000, 65000], toA: { allowAsIn } });
    expect(at(dut)).toBeDefined();
    expect(at(dut, true) !== undefined).toBe(accepted);
    expect(at(b) !== undefined).toBe(accepted);
  });

  test("as-override: the neighbour's number becomes ours, wherever it is, and the neighbour accepts", () => {
    run({ asnA: 65002, path: [65077, 65002], toB: { asOverride: true } });
    expect(pathAt(b)).toEqual([65000, 65000, 65077, 65000]);
    expect(at(b, true)).toBeDefined();
  });

  test("remove-private-as: the neighbour's own number and public ones stay", () => {
    run({ asnA: 64999, path: [3356, 4_200_000_001, 65002, 65535], toB: { removePrivateAs: true } });
    expect(pathAt(b)).toEqual([65000, 3356, 65002, 65535]);
  });

  test("next hop unchanged: a's, with our number in front", () => {
    run({ toB: { nextHopUnchanged: true } });
    expect(at(b)!.nextHop).toEqual(bytes("10.0.0.2"));
    expect(pathAt(b)).toEqual([65000, 65001]);
  });

  test("applied to a living session, and taken back", () => {
    run({});
    const since = dut.speaker.session("b")!.flaps;
    run({ toB: { nextHopUnchanged: true } });
    expect(at(b)!.nextHop).toEqual(bytes("10.0.0.2"));
    run({});
    expect(at(b)!.nextHop).toEqual(bytes("10.0.0.1"));
    expect(dut.speaker.session("b")!.flaps).toBe(since);
  });
});

describe("route reflector (RFC 4456)", () => {
  const internal = { asnA: 65000, asnB: 65000 };

  test.each([
    ["no client", {}, {}, false],
    ["client to other", { reflectorClient: true }, {}, true],
    ["other to client", {}, { reflectorClient: true }, true],
    ["client to client", { reflectorClient: true }, { reflectorClient: true }, true],
  ])("%s", (_name, toA, toB, heard) => {
    run({ ...internal, toA, toB });
    const seen = at(b);
    expect(seen !== undefined).toBe(heard);
    if (!seen) return;
    expect(seen).toMatchObject({ originatorId: 2, clusterList: [0x0a000001], localPref: 100, med: 77 });
    expect(seen.asPath).toEqual([]);
    expect(seen.nextHop).toEqual(bytes("10.0.0.2"));
  });

  test("a client comes and goes: the other's session lives on", () => {
    run(internal);
    const { flaps } = dut.speaker.session("b")!;
    run({ ...internal, toA: { reflectorClient: true } });
    expect(at(b)).toMatchObject({ originatorId: 2, clusterList: [0x0a000001] });
    run(internal);
    expect(at(b)).toBeUndefined();
    expect(dut.speaker.session("b")!.flaps).toBe(flaps);
  });

  test("what came from an external neighbour is not reflected: it has no originator", () => {
    run({ asnB: 65000, toB: { reflectorClient: true } });
    expect(at(b)!.originatorId).toBeUndefined();
    expect(at(b)!.clusterList).toBeUndefined();
  });

  test("towards an external neighbour nothing of it is seen", () => {
    run({ asnA: 65000, toA: { reflectorClient: true } });
    expect(pathAt(b)).toEqual([65000]);
    expect(at(b)!.originatorId).toBeUndefined();
    expect(at(b)!.clusterList).toBeUndefined();
  });
});

test("route server client (RFC 7947): path, next hop and MED as they came; its client accepts them", () => {
  run({ toB: { routeServerClient: true }, atB: { role: Role.routeServerClient } });
  expect(pathAt(b)).toEqual([65001]);
  expect(at(b)!.nextHop).toEqual(bytes("10.0.0.2"));
  expect(at(b)!.med).toBe(77);
  expect(at(b, true)).toMatchObject({ otc: 65000 });
});

test("a path that does not begin with the neighbour's number is refused from anybody but a route server", () => {
  run({ toB: { routeServerClient: true } });
  expect(at(b)).toBeDefined();
  expect(at(b, true)).toBeUndefined();
});

describe("roles (RFC 9234)", () => {
  const { provider, customer, peer, routeServer, routeServerClient } = Role;
  const up = (t: Partial<PeerTreatment>, far: Partial<PeerTreatment>): State => {
    run({ toA: t, atA: far });
    return dut.speaker.session("a")!.state;
  };

  test.each([
    [provider, customer],
    [customer, provider],
    [peer, peer],
    [routeServer, routeServerClient],
    [routeServerClient, routeServer],
  ])("%i and %i fit", (mine, theirs) => {
    expect(up({ role: mine }, { role: theirs })).toBe(State.established);
  });

  test("roles that do not fit: 2/11", () => {
    expect(up({ role: provider }, { role: provider })).not.toBe(State.established);
    expect(dut.speaker.session("a")!.lastErrorSent).toContain("2/11");
  });

  test("a neighbour without a role: only where that is not strict", () => {
    expect(up({ role: peer }, {})).toBe(State.established);
    expect(up({ role: peer, strictRole: true }, {})).not.toBe(State.established);
  });

  test("a route of a provider reaches customers, marked, and nobody else", () => {
    run({ toA: { role: customer }, toB: { role: provider } });
    expect(at(b)!.otc).toBe(65001);
    run({ toA: { role: customer }, toB: { role: peer } });
    expect(at(b)).toBeUndefined();
    run({ toA: { role: customer }, toB: { role: customer } });
    expect(at(b)).toBeUndefined();
  });

  test("a route of a customer goes to a peer, marked as ours, and to a provider unmarked", () => {
    run({ toA: { role: provider }, toB: { role: peer } });
    expect(at(b)!.otc).toBe(65000);
    run({ toA: { role: provider }, toB: { role: customer } });
    expect(at(b)).toBeDefined();
    expect(at(b)!.otc).toBeUndefined();
  });

  test("a leak, marked by somebody else, is refused", () => {
    const marked = { ...at0, otc: 65077 };
    expect(otcIn(marked, provider, 65001)).toBeUndefined();
    expect(otcIn(marked, routeServer, 65001)).toBeUndefined();
    expect(otcIn(marked, peer, 65001)).toBeUndefined();
    expect(otcIn(marked, peer, 65077)).toBe(marked);
    expect(otcIn(marked, customer, 65001)).toBe(marked);
    expect(otcOut(marked, routeServer, 65000)).toBe(marked);
  });

  test("a leak on the wire: kept as received, not accepted, not sent on", () => {
    run({ otc: 65077 });
    expect(at(b)).toBeDefined();
    run({ otc: 65077, toA: { role: provider } });
    expect(at(dut)!.otc).toBe(65077);
    expect(at(dut, true)).toBeUndefined();
    expect(at(b)).toBeUndefined();
  });
});

describe("speaker.yaml", () => {
  const parse = (peer: object, more: object = {}) =>
    parseSpeaker(
      {
        asn: 65000,
        routerID: "10.0.0.1",
        peers: [{ name: "p", address: "10.0.0.2", asn: 65001, ...peer }],
        ...more,
      },
      "speaker.yaml",
    );

  test("nothing out of the ordinary unless asked for; the cluster is the router", () => {
    const config = parse({});
    expect(config.peers[0]!.treatment).toEqual(noTreatment);
    expect(config.clusterId).toBe(0x0a000001);
  });

  test("every field arrives", () => {
    const external = {
      allowASIn: 2,
      asOverride: true,
      removePrivateAS: true,
      nextHopUnchanged: true,
      routeServerClient: true,
      role: "route-server",
      strictRole: true,
    };
    expect(parse(external).peers[0]!.treatment).toEqual({
      allowAsIn: 2,
      asOverride: true,
      removePrivateAs: true,
      nextHopUnchanged: true,
      reflectorClient: false,
      routeServerClient: true,
      role: Role.routeServer,
      strictRole: true,
    });
    const internal = parse({ asn: 65000, reflectorClient: true }, { clusterID: "10.0.0.77" });
    expect(internal.peers[0]!.treatment.reflectorClient).toBe(true);
    expect(internal.clusterId).toBe(0x0a00004d);
  });

  test.each([
    ["a role within the AS", { asn: 65000, role: "peer" }],
    ["a route server's client within the AS", { asn: 65000, routeServerClient: true }],
    ["a reflector client of another AS", { reflectorClient: true }],
  ])("%s is refused", (_name, peer) => {
    expect(() => parse(peer)).toThrow(DesiredStateError);
  });
});

const at0: PathAttributes = { afi: 1, origin: 0, asPath: [], nextHop: new Uint8Array(0) };
