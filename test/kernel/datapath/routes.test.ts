// test: learned routes: in the contract maps, in the flow counters, in the node's own table.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type DesiredRoutes, KernelRoutes } from "../../../src/datapath/index.ts";
import { buildObjects, type NodeDatapath, sh, TestNetwork } from "./topology.ts";

const root = process.getuid?.() === 0;

describe.skipIf(!root)("routes (skipped: needs root)", () => {
  let network: TestNetwork;
  let a: NodeDatapath;

  beforeAll(async () => {
    buildObjects();
    network = new TestNetwork("wdp-r");
    await network.serve();
    network.routeVips("a");
    a = network.open("a");
    a.run((d) => d.sync(network.desired("a", ["a1"])));
  }, 60_000);

  afterAll(async () => {
    a?.[Symbol.dispose]();
    await network?.[Symbol.asyncDispose]();
  });

  const attributes = (id: number) => ({
    ...{ id, cluster: id, originASN: 65_000 + id, peer: 1, flags: 0, community: 0 },
    nextHop: "172.28.0.1",
  });

  test("flows are counted by source and destination route, both ways", async () => {
    const routes: DesiredRoutes = {
      attributes: [attributes(2), attributes(3)],
      prefixes: [
        { prefix: "172.27.0.0/24", routeId: 2 },
        { prefix: "fd27::/64", routeId: 2 },
        { prefix: "10.62.0.0/24", routeId: 3 },
        { prefix: "fd62::/64", routeId: 3 },
      ],
    };
    expect(a.run((d) => d.syncRoutes(routes)).changed).toBe(6);
    expect(a.run((d) => d.syncRoutes(routes)).changed).toBe(0);
    const read = a.run((d) => d.readRoutes());
    expect(read.attributes.toSorted((x, y) => x.id - y.id)).toEqual([...routes.attributes]);
    expect(new Set(read.prefixes)).toEqual(new Set(routes.prefixes));
    for (const host of ["10.62.0.1", "fd62::1"])
      expect(sh(`ip netns exec wdp-r-c ping -q -n -c 10 -i 0.01 ${host}`)).toContain(" 0% packet loss");
    const { flows, refused } = a.run((d) => d.flowCounters());
    const of = (source: number, destination: number) =>
      flows.find((f) => f.source === source && f.destination === destination);
    // Twenty requests in, twenty replies out; 98 bytes each over IPv4, 118 over IPv6.
    expect(of(2, 3)).toMatchObject({ packets: 20n, bytes: 2160n });
    expect(of(3, 2)).toMatchObject({ packets: 20n, bytes: 2160n });
    expect(refused).toBe(0n);
  });

  test("a tampered route map is found and mended", () => {
    const map = a.run((d) => `${d.mapDirectory}/route_attributes`);
    sh(`bpftool map delete pinned ${map} key 2 0 0 0`);
    expect(a.run((d) => d.inspect()).map((f) => `${f.kind} ${f.subject}`)).toEqual([
      "MapEntryMissing route_attributes route 2",
    ]);
    expect(a.run((d) => d.repair()).left).toEqual([]);
    expect(a.run((d) => d.readRoutes().attributes.length)).toBe(2);
  });

  test("full maps refuse, count and keep what they have", () => {
    const many = 16_500;
    const prefixes = Array.from({ length: many }, (_, i) => ({
      prefix: `10.${128 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}/32`,
      routeId: 1,
    }));
    const started = performance.now();
    const { maps } = a.run((d) => d.syncRoutes({ attributes: [attributes(1)], prefixes }));
    expect(performance.now() - started).toBeLessThan(3000);
    expect(maps.find((m) => m.name === "routes")).toMatchObject({ used: 16_384, max: 16_384, refused: 116 });
    expect(a.run((d) => d.inspect())).toEqual([]);
    a.run((d) => d.syncRoutes({ attributes: [], prefixes: [] }));
    expect(a.run((d) => d.readRoutes())).toEqual({ attributes: [], prefixes: [] });
  });

  describe("kernel routes", () => {
    const open = (addresses: readonly string[] = []) =>
      network.on("a", () => new KernelRoutes({ protected: addresses }));
    const hops = (...addresses: string[]) => addresses.map((address) => ({ address }));
    const shown = (family: 4 | 6) => sh(`ip -n wdp-r-na -${family} route show proto 87`).trim();

    test("are written with next hops, replaced, and removed with the wish for them", () => {
      using routes = open();
      const first = routes.sync([
        { prefix: "10.90.0.0/16", nextHops: hops("172.28.0.1") },
        { prefix: "fd90::/48", nextHops: hops("fd28::1", "fd28::12") },
      ]);
      expect(first).toEqual({ installed: 2, changed: 2, refused: [] });
      expect(shown(4)).toBe("10.90.0.0/16 via 172.28.0.1 dev eth0 metric 1087");
      expect(shown(6)).toContain("nexthop via fd28::12 dev eth0 weight 1");
      const again = routes.sync([
        { prefix: "10.90.0.0/16", nextHops: [{ address: "172.28.0.1", interface: "eth0" }] },
        { prefix: "fd90::/48", nextHops: hops("fd28::12", "fd28::1") },
      ]);
      expect(again).toEqual({ installed: 2, changed: 0, refused: [] });
      expect(routes.sync([{ prefix: "10.90.0.0/16", nextHops: hops("172.28.0.12", "172.28.0.1") }])).toEqual({
        installed: 1,
        changed: 2,
        refused: [],
      });
      expect(shown(4).match(/nexthop/g)?.length).toBe(2);
      expect(shown(6)).toBe("");
      expect(routes.list().length).toBe(1);
      expect(routes.flush()).toBe(1);
      expect(routes.flush()).toBe(0);
    });

    test("never a default route, a connected subnet, a protected address, or a route of somebody else", () => {
      sh("ip -n wdp-r-na route add 10.91.0.0/16 via 172.28.0.1 proto static");
      using routes = open(["10.92.0.7", "fd92::7"]);
      const prefixes = [
        "0.0.0.0/0",
        "::/0",
        "172.28.0.0/25",
        "172.16.0.0/12",
        "10.92.0.0/24",
        "fd92::/64",
        "10.91.0.0/16",
      ];
      const result = routes.sync(
        prefixes.map((prefix) => ({
          prefix,
          nextHops: hops(prefix.includes(":") ? "fd28::1" : "172.28.0.1"),
        })),
      );
      expect(result.installed).toBe(0);
      expect(result.refused.map((r) => r.reason)).toEqual([
        "it is a default route",
        "it is a default route",
        "it overlaps the connected subnet 172.28.0.0/24",
        "it overlaps the connected subnet 172.28.0.0/24",
        "it covers 10.92.0.7, which must stay reachable as it is",
        "it covers fd92::7, which must stay reachable as it is",
        "a route of protocol 4 has the same prefix; it stays",
      ]);
      expect(sh("ip -n wdp-r-na route show 10.91.0.0/16")).toContain("proto static");
      sh("ip -n wdp-r-na route del 10.91.0.0/16");
    });

    test("what the kernel refuses is told with its words", () => {
      using routes = open();
      const { refused } = routes.sync([
        { prefix: "10.93.0.0/16", nextHops: hops("203.0.113.1") },
        { prefix: "10.94.0.0/16", nextHops: [{ address: "172.28.0.1", interface: "nope" }] },
        { prefix: "10.95.0.0/16", nextHops: [] },
      ]);
      expect(refused).toEqual([
        { prefix: "10.94.0.0/16", reason: "next hop by interface nope, which does not exist" },
        { prefix: "10.95.0.0/16", reason: "it has no next hop" },
        expect.objectContaining({ prefix: "10.93.0.0/16" }),
      ]);
      routes.flush();
    });
  });
});
