// test/unit/bgp: each row of RFC 7606 and its relatives, for external and internal neighbours, judged by what is in the RIB afterwards.
import { describe, expect, test } from "vitest";
import { compileChain } from "../../../src/bgp/policy/chain.ts";
import { receiveUpdate, updateCounters } from "../../../src/bgp/rib/receive.ts";
import { Rib } from "../../../src/bgp/rib/rib.ts";
import { encodeCanonical } from "../../../src/bgp/wire/canonical.ts";
import { acceptAll } from "./world.ts";

type Attribute = readonly number[];

const attr = (flags: number, code: number, value: readonly number[]): Attribute => [
  flags,
  code,
  value.length,
  ...value,
];
const good = {
  origin: attr(0x40, 1, [0]),
  asPath: attr(0x40, 2, [2, 1, 0, 0, 0xfd, 0xe9]), // 65001
  emptyPath: attr(0x40, 2, []),
  nextHop: attr(0x40, 3, [192, 0, 2, 1]),
  localPref: attr(0x40, 5, [0, 0, 0, 100]),
};
const v6NextHop = [0x20, 1, 0x0d, 0xb8, ...new Array<number>(11).fill(0), 1];
const reach6 = (nlri: readonly number[] = [32, 0x20, 1, 0x0d, 0xb8]): Attribute =>
  attr(0x80, 14, [0, 2, 1, 16, ...v6NextHop, 0, ...nlri]);
const prefix4 = [24, 198, 51, 100];

const u16 = (n: number) => [n >> 8, n & 255];
const update = (
  attributes: readonly Attribute[],
  nlri: readonly number[] = prefix4,
  withdrawn: readonly number[] = [],
) => {
  const flat = attributes.flat();
  return Uint8Array.from([...u16(withdrawn.length), ...withdrawn, ...u16(flat.length), ...flat, ...nlri]);
};

/** A RIB with one neighbour that has announced 198.51.100.0/24 and 2001:db8::/32 already. */
function scene(kind: "external" | "internal", max = 1000) {
  const rib = new Rib(1);
  const peer = rib.addPeer("p")!;
  const ebgp = kind === "external";
  peer.asn = ebgp ? 65001 : 65000;
  peer.ebgp = ebgp;
  const chain = compileChain(["all"], new Map([["all", acceptAll]]));
  rib.setImport(peer, { ebgp, localAsn: 65000, routerId: 1, chain });
  const counters = updateCounters();
  const from = {
    peer,
    context: { ebgp, as4: true },
    families: { 1: true, 2: true },
    form: 0,
    prefixesMax: { 1: max, 2: max },
  };
  const base = ebgp
    ? [good.origin, good.asPath, good.nextHop]
    : [good.origin, good.emptyPath, good.nextHop, good.localPref];
  const send = (bytes: Uint8Array) => receiveUpdate(rib, from, counters, bytes, 0, bytes.length);
  send(update(base));
  send(update([...base.filter((a) => a[1] !== 3), reach6()], []));
  rib.flush();
  if (peer.accepted[1] !== 1 || peer.accepted[2] !== 1) throw new Error("the scene is broken");
  return { rib, peer, counters, send, base };
}

/** The one IPv4 route after an UPDATE, its attributes as a value. */
function outcome(kind: "external" | "internal", build: (base: readonly Attribute[]) => Uint8Array) {
  const s = scene(kind);
  const result = s.send(build(s.base));
  s.rib.flush();
  if (result.error)
    return { verb: `reset ${result.error.code}/${result.error.subcode}`, attributes: undefined };
  const table = s.rib.tables[1];
  const pid = table.prefixes.find(Uint32Array.of(0xc6336400), 0, 24);
  const path = pid < 0 ? -1 : table.head[pid]!;
  if (path < 0) return { verb: "withdraw", attributes: undefined };
  return { verb: "used", attributes: s.rib.attributes.attributes(table.pathRaw[path]!, 1) };
}

const without = (base: readonly Attribute[], code: number) => base.filter((a) => a[1] !== code);
const replaced = (base: readonly Attribute[], ...by: readonly Attribute[]) => [
  ...base.filter((a) => !by.some((b) => b[1] === a[1])),
  ...by,
];
/** An attribute set that differs from what is there, so that "used" is seen. */
const used = "used";
const withdraw = "withdraw";

interface Row {
  readonly name: string;
  readonly external: string;
  readonly internal?: string;
  readonly build: (base: readonly Attribute[]) => Uint8Array;
}
const row = (name: string, external: string, build: Row["build"], internal = external): Row => ({
  name,
  external,
  internal,
  build,
});
const withAttributes =
  (...by: readonly Attribute[]) =>
  (base: readonly Attribute[]) =>
    update(replaced(base, ...by));

const rows: readonly Row[] = [
  row("well formed", used, withAttributes()),
  row("ORIGIN of 2 octets (7.1)", withdraw, withAttributes(attr(0x40, 1, [0, 0]))),
  row("ORIGIN 3 (7.1)", withdraw, withAttributes(attr(0x40, 1, [3]))),
  row("ORIGIN optional (3 c)", withdraw, withAttributes(attr(0xc0, 1, [0]))),
  row("ORIGIN missing (3 d)", withdraw, (b) => update(without(b, 1))),
  row("AS_PATH segment type 5 (7.2)", withdraw, withAttributes(attr(0x40, 2, [5, 1, 0, 0, 0xfd, 0xe9]))),
  row("AS_PATH empty segment (7.2)", withdraw, withAttributes(attr(0x40, 2, [2, 0]))),
  row("AS_PATH overrun (7.2)", withdraw, withAttributes(attr(0x40, 2, [2, 2, 0, 0, 0xfd, 0xe9]))),
  row("AS_PATH one octet (7.2)", withdraw, withAttributes(attr(0x40, 2, [2]))),
  row(
    "AS_PATH with AS 0 (RFC 7607)",
    withdraw,
    withAttributes(attr(0x40, 2, [2, 2, 0, 0, 0xfd, 0xe9, 0, 0, 0, 0])),
  ),
  row(
    "AS_PATH confederation segment (RFC 5065)",
    withdraw,
    withAttributes(attr(0x40, 2, [3, 1, 0, 0, 0xfd, 0xe9])),
  ),
  row(
    "AS_PATH with AS_SET (RFC 9774)",
    withdraw,
    withAttributes(attr(0x40, 2, [2, 1, 0, 0, 0xfd, 0xe9, 1, 1, 0, 0, 0, 9])),
  ),
  row("AS_PATH missing", withdraw, (b) => update(without(b, 2))),
  row("NEXT_HOP of 5 octets (7.3)", withdraw, withAttributes(attr(0x40, 3, [192, 0, 2, 1, 0]))),
  row("NEXT_HOP 0.0.0.0", withdraw, withAttributes(attr(0x40, 3, [0, 0, 0, 0]))),
  row("NEXT_HOP multicast", withdraw, withAttributes(attr(0x40, 3, [224, 0, 0, 1]))),
  row("NEXT_HOP missing", withdraw, (b) => update(without(b, 3))),
  row("MULTI_EXIT_DISC of 3 octets (7.4)", withdraw, withAttributes(attr(0x80, 4, [0, 0, 1]))),
  row("MULTI_EXIT_DISC transitive", withdraw, withAttributes(attr(0xc0, 4, [0, 0, 0, 1]))),
  row("LOCAL_PREF of 3 octets (7.5)", used, withAttributes(attr(0x40, 5, [0, 0, 1])), withdraw),
  row("LOCAL_PREF missing", used, (b) => update(without(b, 5))),
  row("ATOMIC_AGGREGATE of 1 octet (7.6)", used, withAttributes(attr(0x40, 6, [0]))),
  row(
    "AGGREGATOR of 6 octets from a 4-octet speaker (7.7)",
    used,
    withAttributes(attr(0xc0, 7, [0, 9, 1, 1, 1, 1])),
  ),
  row("AGGREGATOR AS 0 (RFC 7607)", used, withAttributes(attr(0xc0, 7, [0, 0, 0, 0, 1, 1, 1, 1]))),
  row("COMMUNITIES of 5 octets (7.8)", withdraw, withAttributes(attr(0xc0, 8, [0, 1, 0, 1, 9]))),
  row("COMMUNITIES empty (7.8)", withdraw, withAttributes(attr(0xc0, 8, []))),
  row("ORIGINATOR_ID of 3 octets (7.9)", used, withAttributes(attr(0x80, 9, [1, 1, 1])), withdraw),
  row("CLUSTER_LIST of 3 octets (7.10)", used, withAttributes(attr(0x80, 10, [1, 1, 1])), withdraw),
  row("CLUSTER_LIST empty (7.10)", used, withAttributes(attr(0x80, 10, [])), withdraw),
  row(
    "EXTENDED_COMMUNITIES of 7 octets (7.14)",
    withdraw,
    withAttributes(attr(0xc0, 16, [0, 2, 0, 1, 0, 0, 0])),
  ),
  row("EXTENDED_COMMUNITIES empty (7.14)", withdraw, withAttributes(attr(0xc0, 16, []))),
  row(
    "IPV6_EXTENDED_COMMUNITIES of 19 octets (7.15)",
    withdraw,
    withAttributes(attr(0xc0, 25, new Array<number>(19).fill(1))),
  ),
  row("IPV6_EXTENDED_COMMUNITIES empty (7.15)", withdraw, withAttributes(attr(0xc0, 25, []))),
  row("an error beside an MP_REACH_NLRI without NLRI (5.2)", "reset 3/1", (b) =>
    update([...replaced(without(b, 3), attr(0x40, 1, [3])), reach6([])], []),
  ),
  row(
    "LARGE_COMMUNITY of 13 octets (RFC 8092 6)",
    withdraw,
    withAttributes(attr(0xc0, 32, new Array<number>(13).fill(1))),
  ),
  row("LARGE_COMMUNITY empty (RFC 8092 6)", withdraw, withAttributes(attr(0xc0, 32, []))),
  row("ONLY_TO_CUSTOMER of 5 octets (RFC 9234)", withdraw, withAttributes(attr(0xc0, 35, [0, 0, 0, 1, 1]))),
  row(
    "AS4_PATH from a 4-octet speaker (RFC 6793 6)",
    used,
    withAttributes(attr(0xc0, 17, [2, 1, 0, 0, 0, 9])),
  ),
  row("duplicate MED: the first counts (3 g)", used, (b) =>
    update([...b, attr(0x80, 4, [0, 0, 0, 7]), attr(0x80, 4, [9])]),
  ),
  row("MP_REACH_NLRI twice (3 g)", "reset 3/1", (b) => update([...without(b, 3), reach6(), reach6()], [])),
  row("unrecognized well-known attribute", withdraw, withAttributes(attr(0x40, 99, [1]))),
  row("unrecognized optional transitive", used, withAttributes(attr(0xc0, 99, [1]))),
  row("attribute code 254 is unrecognized like any other", used, withAttributes(attr(0xc0, 254, [1, 2]))),
  row("unrecognized optional non-transitive", used, withAttributes(attr(0x80, 99, [1]))),
  row("last attribute longer than the attributes (4)", withdraw, (b) => update([...b, [0x80, 4, 200, 0]])),
  row("one octet left over (4)", withdraw, (b) => update([...b, [0x80]])),
  row("extended length with three octets left (4)", withdraw, (b) => update([...b, [0x90, 4, 0]])),
  row("NLRI of 33 bits (5.3)", "reset 3/10", (b) => update(b, [33, 1, 2, 3, 4, 5])),
  row("NLRI truncated (5.3)", "reset 3/10", (b) => update(b, [24, 198, 51])),
  row("withdrawn routes truncated (3 i)", "reset 3/10", (b) => update(b, prefix4, [24, 1, 2])),
  row("withdrawn length over the message", "reset 3/1", () => Uint8Array.of(0, 9, 0, 0)),
  row("attribute length over the message", "reset 3/1", () => Uint8Array.of(0, 0, 0, 9)),
  row("MP_REACH_NLRI with NLRI of 129 bits (5.3)", "reset 3/9", (b) =>
    update([...without(b, 3), reach6([129, ...new Array<number>(17).fill(1)])], []),
  ),
  row("MP_REACH_NLRI with a next hop of 5 octets (7.11)", "reset 3/9", (b) =>
    update([...without(b, 3), attr(0x80, 14, [0, 2, 1, 5, 1, 2, 3, 4, 5, 0, 32, 1, 2, 3, 4])], []),
  ),
  row("MP_UNREACH_NLRI truncated", "reset 3/9", (b) => update([...b, attr(0x80, 15, [0, 2, 1, 64, 1])])),
  row("an error and no route in sight (5.2)", "reset 3/1", () => update([attr(0x40, 1, [3])], [])),
  row("a discard and no route in sight (5.2)", used, () => update([good.origin, attr(0x40, 6, [0])], [])),
  row("routes without any attribute (3 d)", withdraw, () => update([])),
  row(
    "two errors: the stronger counts (3 h)",
    withdraw,
    withAttributes(attr(0x40, 6, [0]), attr(0x80, 4, [1])),
  ),
  row("a withdrawal and the same route: the route stays", used, (b) => update(b, prefix4, prefix4)),
  row("well-formed MP_UNREACH_NLRI for IPv4 unicast", withdraw, () =>
    update([attr(0x80, 15, [0, 1, 1, ...prefix4])], []),
  ),
  row("a family that was not negotiated is ignored", used, () =>
    update([attr(0x80, 15, [0, 25, 70, 1, 2, 3])], []),
  ),
];

describe.each(["external", "internal"] as const)("from an %s neighbour", (kind) => {
  test.each(rows)("$name", ({ build, ...expected }) => {
    expect(outcome(kind, build).verb).toBe(expected[kind]);
  });
});

describe("what is kept of a route whose attribute is discarded", () => {
  test("nothing of the discarded one", () => {
    const build = withAttributes(
      attr(0x40, 5, [0, 0, 0, 7]),
      attr(0x80, 9, [1, 1, 1, 1]),
      attr(0xc0, 7, [1]),
    );
    const { attributes } = outcome("external", build);
    expect(attributes).toMatchObject({ origin: 0 });
    for (const field of ["localPref", "originatorId", "aggregator"])
      expect(attributes).not.toHaveProperty(field);
  });

  test("the first of two", () => {
    const { attributes } = outcome("external", (b) =>
      update([...b, attr(0x80, 4, [0, 0, 0, 7]), attr(0x80, 4, [0, 0, 0, 8])]),
    );
    expect(attributes!.med).toBe(7);
  });

  test("unrecognized transitive ones, with the partial bit; not the non-transitive", () => {
    const { attributes } = outcome("external", withAttributes(attr(0xc0, 99, [1]), attr(0x80, 98, [1])));
    expect(attributes!.unknown).toEqual([{ code: 99, flags: 0xe0, value: Uint8Array.of(1) }]);
  });

  test("the partial bit of a recognized one stays (RFC 4271 5)", () => {
    const { attributes } = outcome("external", withAttributes(attr(0xe0, 8, [0, 1, 0, 1])));
    expect(attributes).toMatchObject({ communities: [0x10001], partial: [8] });
    expect([...encodeCanonical(attributes!)].join()).toContain([0xe0, 8, 4, 0, 1, 0, 1].join());
  });

  test("large communities without their duplicates (RFC 8092 5)", () => {
    const one = [0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
    expect(outcome("external", withAttributes(attr(0xc0, 32, [...one, ...one]))).attributes!.large).toEqual([
      [1, 2, 3],
    ]);
  });
});

describe("both families in one message", () => {
  test("an error withdraws the routes of both", () => {
    const s = scene("external");
    s.send(update([...replaced(s.base, attr(0x40, 1, [9])), reach6()]));
    expect(s.peer.received).toEqual({ 1: 0, 2: 0 });
    expect(s.counters.treatedAsWithdraw).toBe(1);
  });

  test("IPv4 routes in MP_REACH_NLRI and in the NLRI field have a next hop each", () => {
    const s = scene("external");
    const mp4 = attr(0x80, 14, [0, 1, 1, 4, 192, 0, 2, 9, 0, 24, 198, 51, 101]);
    s.send(update([...s.base, mp4]));
    const table = s.rib.tables[1];
    const hops = [0xc6336400, 0xc6336500].map((address) => {
      const path = table.head[table.prefixes.find(Uint32Array.of(address), 0, 24)]!;
      return s.rib.attributes.attributes(table.pathRaw[path]!, 1).nextHop.join(".");
    });
    expect(hops).toEqual(["192.0.2.1", "192.0.2.9"]);
  });

  test("MP_REACH_NLRI leads or follows: the same set", () => {
    const s = scene("external");
    const rest = without(s.base, 3);
    s.send(update([reach6([48, 0x20, 1, 0x0d, 0xb8, 0, 1]), ...rest], []));
    s.send(update([...rest, reach6([48, 0x20, 1, 0x0d, 0xb8, 0, 2])], []));
    const table = s.rib.tables[2];
    const raws = new Set([...table.pathRaw.subarray(0, table.pathLimit)]);
    expect(table.pathLimit).toBe(3);
    expect(raws.size).toBe(1);
  });

  test("NEXT_HOP beside MP_REACH_NLRI is ignored, however it looks, and not passed on (RFC 4760 3)", () => {
    for (const nextHop of [good.nextHop, attr(0x40, 3, [0, 0, 0, 0])]) {
      const s = scene("external");
      s.send(update([...replaced(s.base, nextHop), reach6([48, 0x20, 1, 0x0d, 0xb8, 0, 1])], []));
      expect(s.peer.received[2]).toBe(2);
      const { attributes: t, tables } = s.rib;
      const raw = tables[2].pathRaw[1]!;
      const octets = t.bytes.slice(t.start(raw), t.end(raw));
      expect(encodeCanonical(t.attributes(raw, 2))).toEqual(octets);
    }
  });
});

describe("End-of-RIB", () => {
  test.each([
    [[0, 0, 0, 0], 1],
    [[0, 0, 0, 6, 0x80, 15, 3, 0, 2, 1], 2],
    [[0, 0, 0, 7, 0x90, 15, 0, 3, 0, 2, 1], 2],
    [[0, 0, 0, 6, 0x80, 15, 3, 0, 1, 1], 1],
  ])("%j is one of family %d", (octets, afi) => {
    const s = scene("external");
    expect(s.send(Uint8Array.from(octets)).endOfRib).toBe(afi);
  });

  test("a withdrawal is none", () => {
    expect(scene("external").send(update([], [], prefix4)).endOfRib).toBeUndefined();
  });
});

test("one prefix more than the limit: Cease 6/1 with family and limit (RFC 4486)", () => {
  const s = scene("external", 1);
  const { error } = s.send(update(s.base, [24, 10, 0, 1]));
  expect(`${error?.code}/${error?.subcode}`).toBe("6/1");
  expect([...error!.data]).toEqual([0, 1, 1, 0, 0, 0, 1]);
});

test("unroutable prefixes are ignored and counted, the others used", () => {
  const s = scene("external");
  s.send(update(s.base, [24, 10, 0, 1, 8, 127, 4, 0xe0, 24, 10, 0, 2]));
  expect(s.counters.unroutable).toBe(2);
  expect(s.peer.received[1]).toBe(3);
});
