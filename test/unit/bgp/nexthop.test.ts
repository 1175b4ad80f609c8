// test/unit/bgp: IPv4 routes with IPv6 next hops (RFC 8950), next hops of a link, neighbours of any external AS, and unnumbered ones.
import { describe, expect, test } from "vitest";
import { withAddresses } from "../../../src/bgp/daemon/links.ts";
import { parseSpeaker } from "../../../src/bgp/daemon/standalone.ts";
import { type ExportTarget, exportTarget, rewriteExport } from "../../../src/bgp/rib/export.ts";
import { type PeerConfig, State } from "../../../src/bgp/session/types.ts";
import type { PathAttributes } from "../../../src/bgp/wire/attributes.ts";
import { encodeCanonical } from "../../../src/bgp/wire/canonical.ts";
import type { Capabilities } from "../../../src/bgp/wire/capabilities.ts";
import { keepaliveMessage } from "../../../src/bgp/wire/frame.ts";
import { decodeOpen, encodeOpen, type Open } from "../../../src/bgp/wire/open.ts";
import { layoutUpdate, UpdateForm, updateLayout } from "../../../src/bgp/wire/update.ts";
import { UpdateWriter } from "../../../src/bgp/wire/writer.ts";
import { parseAddress, toBytes } from "../../../src/net/address.ts";
import { type Host, origin, peerConfig, type RawPeer, speakerConfig, World } from "./world.ts";

const b = (text: string): Uint8Array => toBytes(parseAddress(text));
const joined = (...parts: string[]): Uint8Array => Uint8Array.from(parts.flatMap((p) => [...b(p)]));
const extendedNextHop = [{ afi: 1, safi: 1, nextHopAfi: 2 }];
const capabilities: Capabilities = {
  families: [
    { afi: 1, safi: 1 },
    { afi: 2, safi: 1 },
  ],
  as4: 65001,
  extendedNextHop,
};
const set = (nextHop: Uint8Array, more: Partial<PathAttributes> = {}): PathAttributes => ({
  afi: 1,
  origin: 0,
  asPath: [{ type: 2, asns: [65001] }],
  nextHop,
  ...more,
});
const announce = (nextHop: Uint8Array): Uint8Array => {
  const writer = new UpdateWriter();
  writer.begin(4096);
  const bytes = encodeCanonical(set(nextHop));
  writer.announce(1, bytes, 0, bytes.length);
  writer.add(Uint32Array.of(0x0b000000), 0, 24);
  return writer.finish();
};

/** A session over IPv6 with a neighbour that the test plays. */
function start(more: Partial<PeerConfig> = {}, caps = capabilities): { host: Host; raw: RawPeer } {
  const world = new World(1);
  const host = world.add("h", "fe80::1");
  host.speaker.apply(
    speakerConfig(
      [
        peerConfig("p", "fe80::2", 65001, {
          passive: true,
          nextHop: { 1: undefined, 2: undefined },
          interface: "eth0",
          ...more,
        }),
      ],
      { origins: [origin(0x0a400000, 24, ["p"])] },
    ),
  );
  const raw = world.raw(host, "fe80::2");
  raw.send(encodeOpen({ asn: 65001, holdSeconds: 0, routerId: 2, capabilities: caps }), keepaliveMessage);
  world.clock.run(20);
  return { host, raw };
}
const received = (host: Host): string[] => {
  const { tables, attributes } = host.speaker.rib;
  const own = host.speaker.session("p")!.rib.index;
  const out = [];
  for (let path = 0; path < tables[1].pathLimit; path++)
    if (tables[1].pathPid[path]! >= 0 && tables[1].pathPeer[path] === own)
      out.push(Buffer.from(attributes.attributes(tables[1].pathRaw[path]!, 1).nextHop).toString("hex"));
  return out;
};
const hex = (x: Uint8Array): string => Buffer.from(x).toString("hex");

describe("RFC 8950", () => {
  test("is offered where IPv4 goes over IPv6, or as configured", () => {
    const offered = (more: Partial<PeerConfig>) => {
      const { raw } = start(more);
      const { body } = raw.received[0]!;
      return (decodeOpen(body, 0, body.length) as Open).capabilities.extendedNextHop;
    };
    expect(offered({})).toEqual(extendedNextHop);
    expect(offered({ families: [2] })).toBeUndefined();
    expect(offered({ extendedNextHop: false })).toBeUndefined();
  });

  test.each([
    ["global", "2001:db8::1"],
    ["global and link-local", "2001:db8::1", "fe80::2"],
    ["link-local", "fe80::2"],
    ["link-local twice", "fe80::2", "fe80::2"],
  ])("a next hop that is %s is taken", (_name, ...parts) => {
    const { host, raw } = start();
    raw.send(announce(joined(...parts)));
    expect(received(host)).toEqual([hex(joined(...parts))]);
    expect(host.speaker.session("p")!.rib.accepted[1]).toBe(1);
  });

  test("an unspecified address before the link-local one stands for it", () => {
    const { host, raw } = start();
    raw.send(announce(joined("::", "fe80::2")));
    expect(received(host)).toEqual([hex(joined("fe80::2", "fe80::2"))]);
  });

  test.each([
    ["::", "withdrawn"],
    ["::1", "withdrawn"],
    ["ff02::1", "withdrawn"],
  ])("next hop %s: treated as withdrawn", (text) => {
    const { host, raw } = start();
    raw.send(announce(b(text)));
    expect(received(host)).toEqual([]);
    expect(host.speaker.session("p")!.state).toBe(State.established);
  });

  test("without the capability such an UPDATE is malformed", () => {
    const { extendedNextHop: _, ...plain } = capabilities;
    const { raw } = start({}, plain);
    raw.send(announce(b("2001:db8::1")));
    expect(raw.notification).toBe("3/9");
    const message = announce(b("2001:db8::1"));
    const body = message.slice(19);
    expect(layoutUpdate(body, 0, body.length, updateLayout())).toMatchObject({ code: 3 });
    expect(layoutUpdate(body, 0, body.length, updateLayout(), UpdateForm.extendedNextHop)).toBeUndefined();
  });

  test("our IPv4 routes go out with our address on the link; without the capability not at all", () => {
    const hop = (raw: RawPeer): string | undefined => {
      const layout = updateLayout();
      for (const { type, body } of raw.received) {
        if (type !== 2 || body.length <= 4) continue;
        expect(layoutUpdate(body, 0, body.length, layout, UpdateForm.extendedNextHop)).toBeUndefined();
        if (layout.reach.present && layout.reach.afi === 1)
          return hex(body.slice(layout.reach.nextHop.start, layout.reach.nextHop.end));
      }
      return undefined;
    };
    expect(hop(start().raw)).toBe(hex(joined("fe80::1", "fe80::1")));
    const global = { 1: undefined, 2: b("2001:db8::9") };
    expect(hop(start({ nextHop: global }).raw)).toBe(hex(joined("2001:db8::9", "fe80::1")));
    const { extendedNextHop: _, ...plain } = capabilities;
    const { host, raw } = start({}, plain);
    expect(hop(raw)).toBeUndefined();
    expect(host.speaker.session("p")!.sender!.out(1)!.advertised).toBe(0);
  });
});

describe("learned next hops on their way out", () => {
  const chain = { rules: [], key: "" };
  const target = (ebgp: boolean, extended: boolean): ExportTarget =>
    exportTarget({
      ebgp,
      localAsn: 65000,
      chain,
      nextHop: { 1: undefined, 2: undefined },
      local: parseAddress("10.0.0.1"),
      extendedNextHop: extended,
    });
  const out = (t: ExportTarget, nextHop: Uint8Array): string => {
    const a = rewriteExport(t, 1, set(nextHop), { learned: true, fromEbgp: true, prepend: 0 }, -1);
    return typeof a === "string" ? a : hex(a.nextHop);
  };

  test("an IPv6 next hop goes to an internal neighbour that takes it, without what is of its link", () => {
    expect(out(target(false, true), joined("2001:db8::1", "fe80::2"))).toBe(hex(b("2001:db8::1")));
    expect(out(target(false, false), b("2001:db8::1"))).toContain("RFC 8950");
  });

  test("a link-local one is replaced by ours: nobody else could use it", () => {
    expect(out(target(false, true), joined("fe80::2", "fe80::2"))).toBe(hex(b("10.0.0.1")));
    expect(out(target(true, false), b("fe80::2"))).toBe(hex(b("10.0.0.1")));
  });
});

describe("unnumbered", () => {
  const file = (peer: object) =>
    parseSpeaker({ asn: 65000, routerID: "10.0.0.1", peers: [{ name: "tor", ...peer }] }, "x");

  test("speaker.yaml: an interface instead of an address, any external AS", () => {
    const [tor] = file({ interface: "eth0", asn: "external" }).peers;
    expect(tor).toMatchObject({ unnumbered: true, interface: "eth0", peerAsn: 0 });
    expect(() => file({ asn: 65001 })).toThrow(/peers\/0/);
    expect(() => file({ interface: "eth0", asn: "internal" })).toThrow(/asn/);
    expect(file({ address: "fe80::2", interface: "eth0", asn: 65001 }).peers[0]!.unnumbered).toBe(false);
  });

  test("waits for the neighbour to show itself, then connects to what was found", () => {
    const world = new World(1);
    const host = world.add("h", "fe80::1");
    const config = speakerConfig(file({ interface: "eth0", asn: "external" }).peers);
    host.speaker.apply(config);
    world.clock.run(60_000);
    const session = host.speaker.session("tor")!;
    expect(session.state).toBe(State.idle);
    expect(session.downReason).toContain("router advertisement on eth0");
    const found = withAddresses(config, new Map([["eth0", parseAddress("fe80::2")]]));
    host.speaker.amend(found.peers[0]!);
    expect(session.state).toBe(State.connect);
    expect(session.downReason).toContain("fe80::2%eth0");
  });

  test("any external AS, but not our own", () => {
    expect(start({ peerAsn: 0 }).host.speaker.session("p")!.negotiated).toMatchObject({
      ebgp: true,
      peerAsn: 65001,
    });
    expect(start({ peerAsn: 0, localAsn: 65001 }).raw.notification).toBe("2/2");
  });

  test("a link-local neighbour is known by its interface, too", () => {
    const world = new World(1);
    const host = world.add("h", "fe80::1");
    host.speaker.apply(
      speakerConfig(
        ["eth0", "eth1"].map((link) =>
          peerConfig(link, "fe80::2", 65001, { interface: link, passive: true }),
        ),
      ),
    );
    const at = (link: string) => host.speaker.peerFor(parseAddress("fe80::2"), undefined, link)?.name;
    expect([at("eth0"), at("eth1"), at("eth2")]).toEqual(["eth0", "eth1", undefined]);
  });
});
