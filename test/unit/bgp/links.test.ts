// test/unit/bgp: which next hops an external neighbour on a link may name.
import { expect, test } from "vitest";
import { linksOf } from "../../../src/bgp/daemon/tcp.ts";
import { AttributeTable } from "../../../src/bgp/rib/attributes.ts";
import { Links } from "../../../src/bgp/rib/links.ts";
import { formatPrefix, parseAddress, parsePrefix, toBytes } from "../../../src/net/address.ts";

const bytes = (text: string): Uint8Array => toBytes(parseAddress(text));
const prefixes = ["192.0.2.0/24", "2001:db8:1::/64"].map(parsePrefix);

test.each([
  ["the neighbour itself", "192.0.2.1", false],
  ["another router on the link", "192.0.2.77", false],
  ["somebody behind a router", "198.51.100.1", true],
  ["IPv6: on the link", "2001:db8:1::7", false],
  ["IPv6: behind a router", "2001:db8:2::7", true],
  ["IPv6: link-local", "fe80::7", false],
])("%s", (_name, hop, off) => {
  const t = new AttributeTable(1);
  const nextHop = bytes(hop);
  const id = t.intern({
    afi: nextHop.length === 4 ? 1 : 2,
    origin: 0,
    asPath: [{ type: 2, asns: [65001] }],
    nextHop,
  });
  expect(new Links(prefixes, bytes("192.0.2.1")).isOff(t, id)).toBe(off);
  // Without an address of the family on the link nothing can be said.
  expect(new Links([], bytes("192.0.2.1")).isOff(t, id)).toBe(false);
});

test("the prefixes of the interface that has the address, link-local ones and loopback aside", () => {
  const one = (address: string, cidr: string, internal = false) => ({
    address,
    cidr,
    netmask: "",
    mac: "",
    internal,
    ...(address.includes(":") ? { family: "IPv6" as const, scopeid: 0 } : { family: "IPv4" as const }),
  });
  const interfaces = {
    lo: [one("127.0.0.1", "127.0.0.1/8", true)],
    eth0: [
      one("192.0.2.9", "192.0.2.9/24"),
      one("2001:db8:1::9", "2001:db8:1::9/64"),
      one("fe80::9", "fe80::9/64"),
    ],
    eth1: [one("198.51.100.9", "198.51.100.9/24")],
  };
  const of = (text: string) => linksOf(parseAddress(text), interfaces)?.map(formatPrefix);
  expect(of("192.0.2.9")).toEqual(["192.0.2.0/24", "2001:db8:1::/64"]);
  expect(of("198.51.100.9")).toEqual(["198.51.100.0/24"]);
  expect(of("127.0.0.1")).toBeUndefined();
  expect(of("203.0.113.9")).toBeUndefined();
});
