// test: map entries as bytes: keys, services with their tables, routes, and what is refused on the way.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  decodeAttributes,
  decodeRoute,
  encodeAttributes,
  encodeRoute,
  encodeService,
  fromLpmKey,
  layouts,
  lpmKey,
  placeBackends,
  serviceKey,
  sizes,
  viewOf,
} from "../../../src/datapath/codec.ts";
import { encodeDesired, ServiceCache } from "../../../src/datapath/desired.ts";
import {
  type DesiredBackend,
  type DesiredDatapath,
  type DesiredService,
  limits,
} from "../../../src/datapath/types.ts";
import { formatPrefix, fromInteger, maskTo, parseAddress, parsePrefix } from "../../../src/net/address.ts";

const prefixes = fc
  .tuple(fc.constantFrom(4 as const, 6 as const), fc.bigInt(0n, (1n << 128n) - 1n), fc.nat(128))
  .map(([family, value, length]) => {
    const bits = family === 4 ? 32 : 128;
    // 2000::/3: what lies in ::/3 could be a mapped IPv4 address.
    const high = family === 4 ? value & 0xffff_ffffn : (value >> 3n) | (1n << 125n);
    return maskTo(fromInteger(family, high), Math.min(length, bits));
  });

const own = { ipv4: "172.28.0.11", ipv6: "fd28::11" };

const backend = (n: number, local: boolean): DesiredBackend => ({
  address: `10.61.${local ? 1 : 2}.${n}`,
  port: 8080,
  node: local ? own : { ipv4: "172.28.0.12" },
  local,
});

const service = (backends: readonly DesiredBackend[]): DesiredService => ({
  vip: "10.62.0.1",
  port: 80,
  protocol: "TCP",
  entry: true,
  backends,
});

const desired = (services: readonly DesiredService[]): DesiredDatapath => ({
  generation: 1,
  node: own,
  interfaces: ["eth0"],
  podBlocks: ["10.61.1.0/26"],
  services,
});

describe("LPM keys", () => {
  test("come back as they went in", () => {
    fc.assert(
      fc.property(prefixes, (p) => {
        expect(formatPrefix(fromLpmKey(lpmKey(p)))).toBe(formatPrefix(p));
      }),
      { seed: 1 },
    );
  });

  test("have IPv4 96 bits in", () => {
    const key = lpmKey(parsePrefix("10.1.0.0/16"));
    expect(viewOf(key).getUint32(0, true)).toBe(112);
    expect(Buffer.from(key.subarray(4)).toString("hex")).toBe("00000000000000000000ffff0a010000");
  });
});

describe("routes", () => {
  test("prefixes and attributes come back as they went in", () => {
    const route = encodeRoute("10.2.0.0/16", 7);
    expect(route.value[4]).toBe(112);
    expect(decodeRoute(route.key, route.value)).toEqual({ prefix: "10.2.0.0/16", routeId: 7 });
    const attributes = {
      ...{ id: 7, cluster: 2, originASN: 4_200_000_001, peer: 3, flags: 1, community: 0xfde8_0064 },
      nextHop: "fd30:2::1",
    };
    const entry = encodeAttributes(attributes);
    expect(entry.value.length).toBe(sizes.route_attributes);
    expect(decodeAttributes(entry.key, entry.value)).toEqual(attributes);
  });
});

describe("services", () => {
  test("key: mapped address, port in network order, protocol", () => {
    const key = serviceKey(parseAddress("10.62.0.1"), 443, "UDP");
    expect(Buffer.from(key).toString("hex")).toBe("00000000000000000000ffff0a3e000101bb1100");
  });

  test("are the same on two nodes but for what is local and where to tunnel", () => {
    const all = [1, 2, 3, 4].map((n) => backend(n, n % 2 === 0));
    const mirrored = all.map((b) => ({ ...b, local: !b.local, node: { ipv4: "172.28.0.11" } })).reverse();
    const here = encodeService(placeBackends(service(all), own).placed, true);
    const there = encodeService(placeBackends(service(mirrored), own).placed, true);
    const { slots, local_slots } = layouts.service;
    expect(here.subarray(slots, local_slots)).toEqual(there.subarray(slots, local_slots));
    expect(viewOf(here).getUint16(layouts.service.local_count, true)).toBe(2);
    expect(viewOf(there).getUint16(layouts.service.local_count, true)).toBe(2);
  });

  test("local table names local backends only", () => {
    const value = encodeService(
      placeBackends(service([1, 2, 3].map((n) => backend(n, n === 2))), own).placed,
      true,
    );
    const table = value.subarray(layouts.service.local_slots, layouts.service.pad);
    const used = new Set(table);
    expect(used.size).toBe(1);
    const [index] = used;
    const flags = value[layouts.service.backends + index! * sizes.backend + layouts.backend.flags];
    expect(flags).toBe(1);
  });

  test("an address given twice is one backend", () => {
    expect(placeBackends(service([backend(1, true), backend(1, true)]), own).placed.length).toBe(1);
  });
});

describe("encodeDesired", () => {
  test("a service that is no entry is kept, its VIP is not", () => {
    const entries = encodeDesired(
      desired([{ ...service([backend(1, true)]), entry: false }]),
      new ServiceCache(),
    );
    expect(entries.services.length).toBe(1);
    expect(entries.vips).toEqual([]);
  });

  test("says what it refused: other family, too many backends, nodes without an address", () => {
    const many = Array.from({ length: 300 }, (_, i) => ({ ...backend(1, true), port: 1000 + i }));
    const entries = encodeDesired(
      desired([
        service([...many, { ...backend(1, true), address: "fd61::1" }]),
        { ...service([{ address: "10.61.2.1", port: 1, node: {}, local: false }]), port: 81 },
      ]),
      new ServiceCache(),
    );
    const reasons = entries.refused.map((r) => `${r.subject}: ${r.reason}`);
    expect(reasons).toEqual([
      "10.62.0.1:80/TCP: backend fd61::1 is of another family than the VIP",
      "10.62.0.1:80/TCP: 300 backends, of which the datapath takes 256",
      expect.stringMatching(/^10\.62\.0\.1:81\/TCP: no address of the node of 10\.61\.2\.1 /),
    ]);
  });

  test("services beyond the limit are refused by name", () => {
    const services = Array.from({ length: limits.services + 1 }, (_, i) => ({ ...service([]), port: i + 1 }));
    const entries = encodeDesired(desired(services), new ServiceCache());
    expect(entries.services.length).toBe(limits.services);
    expect(entries.refused.map((r) => r.subject)).toEqual([`10.62.0.1:${limits.services + 1}/TCP`]);
  });

  test("knows how much the tunnel adds", () => {
    const overhead = (b: DesiredBackend): number =>
      encodeDesired(desired([service([b])]), new ServiceCache()).tunnelOverhead;
    expect(overhead(backend(1, true))).toBe(50);
    expect(overhead(backend(1, false))).toBe(50);
    expect(overhead({ ...backend(1, false), node: { ipv6: "fd28::12" } })).toBe(70);
  });
});
