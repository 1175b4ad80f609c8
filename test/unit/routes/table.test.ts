// routes: the table: ids that never change their meaning, restarts of agent and speaker, bounds.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatPrefix, fromInteger, parseAddress, parsePrefix } from "../../../src/net/address.ts";
import {
  type LearnedPath,
  type LearnedRoute,
  overflowRoute,
  PeerNumbers,
  planFib,
  quarantineMs,
  type RouteAttributes,
  RouteIds,
  type RoutePolicy,
  RouteTable,
} from "../../../src/routes/index.ts";

const policy: RoutePolicy = {
  clusterID: 1,
  asn: 64601,
  ownBlocks: [parsePrefix("10.1.0.0/16")],
  peerings: [
    {
      name: "dc2",
      clusterID: 2,
      clusterName: "dc2",
      prefixes: [parsePrefix("10.2.0.0/16"), parsePrefix("fd10:2::/48")],
      peers: ["tor", "spine"],
      kinds: ["Pods", "VIPs"],
      fib: true,
    },
  ],
};
const path = (change: Partial<LearnedPath> = {}): LearnedPath => ({
  peer: "tor",
  nextHop: parseAddress("172.30.1.1"),
  asPath: [65001, 65002, 64602],
  communities: [],
  large: [{ global: 64602, local1: 2, local2: 1 }],
  stale: false,
  ...change,
});
const route = (prefix: string, ...paths: LearnedPath[]): LearnedRoute => ({
  prefix: parsePrefix(prefix),
  paths,
});
const table = (peers = new PeerNumbers(), ids = new RouteIds()): RouteTable => {
  const t = new RouteTable(peers, ids);
  t.configure(policy, [{ prefix: parsePrefix("10.1.0.0/16") }, { prefix: parsePrefix("10.1.0.0/26") }], 0);
  return t;
};
const ids = (t: RouteTable): Record<string, number> =>
  Object.fromEntries(t.view().prefixes.map((p) => [formatPrefix(p.prefix), p.routeId]));

describe("route table", () => {
  it("gives own prefixes one id of the own cluster", () => {
    const view = table().view();
    const id = view.prefixes[0]!.routeId;
    expect(view.prefixes.map((p) => p.routeId)).toEqual([id, id]);
    expect(view.attributes.find((a) => a.id === id)!.attributes).toEqual({
      cluster: 1,
      originASN: 64601,
      peer: 0,
      community: 0,
    });
  });

  it("interns equal attributes once and keeps an id as long as its attributes", () => {
    const t = table();
    t.apply([route("10.2.0.0/26", path()), route("10.2.0.64/26", path())], 0);
    const first = ids(t);
    expect(first["10.2.0.0/26"]).toBe(first["10.2.0.64/26"]);
    t.apply([route("10.2.0.64/26", path({ communities: [65001 * 65536 + 9, 0xffff_ff01] }))], 1);
    const second = ids(t);
    expect(second["10.2.0.0/26"]).toBe(first["10.2.0.0/26"]);
    expect(second["10.2.0.64/26"]).not.toBe(first["10.2.0.0/26"]);
    const changed = t.view().attributes.find((a) => a.id === second["10.2.0.64/26"])!.attributes;
    expect(changed.community).toBe(65001 * 65536 + 9);
    t.apply([route("10.2.0.64/26", path())], 2);
    expect(ids(t)["10.2.0.64/26"]).toBe(first["10.2.0.0/26"]);
  });

  it("withdraws, counts refusals and names clusters whose tags are missing", () => {
    const t = table();
    t.apply(
      [
        route("10.2.0.0/26", path({ large: [] })),
        route("10.9.0.0/24", path()),
        route("0.0.0.0/0", path()),
        route("10.2.1.0/26", path({ peer: "other" })),
      ],
      0,
    );
    expect(t.view()).toMatchObject({
      counts: { learned: 4, refused: 3, ignoredTags: 2 },
      refusals: { OutsideDeclared: 1, DefaultRoute: 1, PeerNotNamed: 1 },
      tagMissing: ["dc2"],
      byPeering: { dc2: 1 },
    });
    t.apply([route("10.2.0.0/26")], 1);
    expect(t.view().tagMissing).toEqual([]);
    expect(t.view().counts.learned).toBe(3);
  });

  it("takes the ECMP set of paths that are the same cluster's", () => {
    const t = table();
    const other = path({ peer: "spine", nextHop: parseAddress("172.30.1.2") });
    const stranger = path({ peer: "other", nextHop: parseAddress("172.30.1.3") });
    t.apply([route("10.2.0.0/26", path(), other, path(), stranger)], 0);
    expect(t.view().fib[0]!.nextHops.map((h) => h.lo)).toEqual([0xac1e0101n, 0xac1e0102n]);
  });

  it("decides everything again when the policy changes", () => {
    const t = table();
    t.apply([route("10.2.0.0/26", path())], 0);
    t.configure({ ...policy, peerings: [] }, [], 1);
    expect(t.view()).toMatchObject({ counts: { refused: 1 }, fib: [], prefixes: [] });
    t.configure(policy, [], 2);
    expect(t.view().fib.length).toBe(1);
  });

  it("refuses what is beyond its bound and says how much", () => {
    const t = table();
    const many = Array.from({ length: 16_400 }, (_, i) => ({
      prefix: { ...fromInteger(4, (10n << 24n) + (2n << 16n) + BigInt(i)), length: 32 },
      paths: [path()],
    }));
    t.apply(many, 0);
    expect(t.view().counts.learned).toBe(16_384);
    expect(t.view().refusals.TableFull).toBe(16);
    expect(t.view().prefixes.length).toBe(16_384);
  });
});

describe("restarts", () => {
  it("the same speaker: what is not in its table again is gone at the end of it", () => {
    const t = table();
    t.beginEpoch(false, 1_000);
    t.apply([route("10.2.0.0/26", path()), route("10.2.0.64/26", path())], 0);
    t.snapshotDone(0);
    expect(t.view().settled).toBe(true);
    t.beginEpoch(true, 1_000);
    expect(t.view().settled).toBe(false);
    t.apply([route("10.2.0.0/26", path())], 1);
    expect(Object.keys(ids(t))).toContain("10.2.0.64/26");
    t.snapshotDone(1);
    expect(Object.keys(ids(t))).not.toContain("10.2.0.64/26");
    expect(t.view().settled).toBe(true);
  });

  it("another speaker: routes stay until the End-of-RIB of their peer and family", () => {
    const t = table();
    t.beginEpoch(false, 1_000);
    t.apply(
      [
        route("10.2.0.0/26", path()),
        route("10.2.0.64/26", path({ peer: "spine" })),
        route("fd10:2::/64", path({ nextHop: parseAddress("fd30:1::1") })),
      ],
      0,
    );
    t.snapshotDone(0);
    t.beginEpoch(false, 1_000);
    t.snapshotDone(1);
    expect(t.view().counts.learned).toBe(3);
    t.endOfRib("tor", 4, 2);
    expect(Object.keys(ids(t)).sort()).toEqual(["10.1.0.0/16", "10.1.0.0/26", "10.2.0.64/26", "fd10:2::/64"]);
    t.apply([route("10.2.0.64/26", path({ peer: "spine" }))], 3);
    t.endOfRib("spine", 4, 3);
    expect(t.view().counts.learned).toBe(2);
    expect(t.view().settled).toBe(false);
    t.expire(999);
    expect(t.view().settled).toBe(false);
    t.expire(1_000);
    expect(Object.keys(ids(t))).not.toContain("fd10:2::/64");
    expect(t.view().settled).toBe(true);
  });

  it("of the agent: ids and prefixes of the pinned maps stay, with their meaning", () => {
    const peers = new PeerNumbers();
    const before = table(peers);
    before.beginEpoch(false, 1_000);
    before.apply([route("10.2.0.0/26", path()), route("10.2.0.64/26", path({ communities: [5] }))], 0);
    const view = before.view();

    const after = new RouteTable(new PeerNumbers(peers.names()), new RouteIds());
    after.restore(view.attributes, view.prefixes, 10);
    expect(ids(after)).toEqual(ids(before));
    after.configure(
      policy,
      [{ prefix: parsePrefix("10.1.0.0/16") }, { prefix: parsePrefix("10.1.0.0/26") }],
      10,
    );
    expect(ids(after)).toEqual(ids(before));
    expect(after.view().fib).toEqual([]);
    after.beginEpoch(false, 1_000);
    after.apply([route("10.2.0.64/26", path({ communities: [5] }))], 11);
    after.snapshotDone(11);
    expect(ids(after)).toEqual(ids(before));
    expect(after.view().settled).toBe(false);
    after.endOfRib("tor", 4, 12);
    const left = { ...ids(before) };
    delete left["10.2.0.0/26"];
    expect(ids(after)).toEqual(left);
    expect(after.view().settled).toBe(true);
  });
});

describe("route ids", () => {
  const attributes = (n: number): RouteAttributes => ({ cluster: n, originASN: 1, peer: 1, community: 0 });

  it("never reuses an id within the quarantine, and gives overflow instead", () => {
    const table = new RouteIds(4);
    const a = table.take(attributes(1), 0);
    table.take(attributes(2), 0);
    table.release(a, 100);
    expect(table.take(attributes(3), 200)).toBe(overflowRoute);
    expect(table.take(attributes(3), 100 + quarantineMs - 1)).toBe(overflowRoute);
    expect(table.overflows).toBe(2);
    expect(table.get(a)).toEqual(attributes(1));
    expect(table.take(attributes(3), 100 + quarantineMs)).toBe(a);
  });

  it("revives an id whose attributes come back", () => {
    const table = new RouteIds(4);
    const a = table.take(attributes(1), 0);
    table.release(a, 1);
    expect(table.take(attributes(1), 2)).toBe(a);
    expect(table.take(attributes(2), quarantineMs * 2)).not.toBe(a);
  });

  it("an id means one thing for as long as anything may hold it", () => {
    const step = fc.record({ n: fc.nat(12), take: fc.boolean(), ms: fc.nat(quarantineMs) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const table = new RouteIds(8);
        const held = new Map<number, { id: number; count: number }>();
        /** Meaning of an id and until when somebody may still look it up. */
        const meaning = new Map<number, { n: number; until: number }>();
        let now = 0;
        for (const { n, take, ms } of steps) {
          const mine = held.get(n);
          if (take) {
            const id = table.take(attributes(n), now);
            if (id === overflowRoute) continue;
            const old = meaning.get(id);
            if (old && old.n !== n) expect(now).toBeGreaterThanOrEqual(old.until);
            meaning.set(id, { n, until: Number.POSITIVE_INFINITY });
            held.set(n, { id, count: (mine?.count ?? 0) + 1 });
          } else if (mine) {
            table.release(mine.id, now);
            if (mine.count === 1) {
              held.delete(n);
              meaning.set(mine.id, { n, until: now + quarantineMs });
            } else held.set(n, { ...mine, count: mine.count - 1 });
          }
          for (const { id } of held.values()) expect(table.get(id)).toBeDefined();
          now += ms;
        }
      }),
      { seed: 5, numRuns: 200 },
    );
  });
});

describe("kernel routes", () => {
  const fib = (prefix: string, ...hops: string[]) => ({
    prefix: parsePrefix(prefix),
    nextHops: hops.map(parseAddress),
    cluster: 2,
    peering: "dc2",
  });
  const guard = {
    connected: [parsePrefix("172.30.1.0/24")],
    addresses: [parseAddress("10.9.9.9")],
    podBlocks: [parsePrefix("10.1.0.0/26")],
  };

  it.each([
    ["0.0.0.0/0", "DefaultRoute"],
    ["172.30.1.0/24", "ConnectedSubnet"],
    ["172.30.0.0/16", "ConnectedSubnet"],
    ["172.30.1.7/32", "ConnectedSubnet"],
    ["10.9.0.0/16", "CoversAddress"],
    ["10.9.9.9/32", "CoversAddress"],
    ["10.1.0.0/16", "CoversPods"],
    ["10.1.0.5/32", "CoversPods"],
  ])("%s is never installed: %s", (prefix, code) => {
    const plan = planFib([fib(prefix, "172.30.1.1")], guard);
    expect(plan.routes).toEqual([]);
    expect(plan.refused.map((r) => r.code)).toEqual([code]);
  });

  it("leaves out IPv4 next hops of IPv6 routes and next hops inside the route; IPv4 goes by IPv6, too", () => {
    const plan = planFib(
      [
        fib("10.2.0.0/16", "172.30.1.1", "10.2.0.1"),
        fib("10.3.0.0/16", "fd30:1::1"),
        fib("fd33::/48", "172.30.1.1"),
      ],
      guard,
    );
    expect(plan.routes.map((r) => r.nextHops.length)).toEqual([1, 1]);
    expect(plan.refused).toEqual([{ prefix: parsePrefix("fd33::/48"), code: "NoNextHop" }]);
  });
});
