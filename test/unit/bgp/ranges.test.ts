// test/unit/bgp: neighbours by range: who gets in, what they hear, the limit, and how they are forgotten.
import { describe, expect, test } from "vitest";
import { parseSpeaker } from "../../../src/bgp/daemon/standalone.ts";
import { rangeOf } from "../../../src/bgp/session/ranges.ts";
import { type PeerConfig, State } from "../../../src/bgp/session/types.ts";
import type { Capabilities } from "../../../src/bgp/wire/capabilities.ts";
import { keepaliveMessage } from "../../../src/bgp/wire/frame.ts";
import { encodeOpen } from "../../../src/bgp/wire/open.ts";
import { parseAddress, parsePrefix } from "../../../src/net/address.ts";
import { type Host, origin, peerConfig, type RawPeer, speakerConfig, World } from "./world.ts";

const range = (name: string, prefixes: readonly string[], more: Partial<PeerConfig> = {}, limit = 3) =>
  peerConfig(name, "::", 0, {
    range: { prefixes: prefixes.map(parsePrefix), limit },
    gracefulRestart: false,
    ...more,
  });
const start = (...peers: PeerConfig[]): { world: World; host: Host } => {
  const world = new World(5);
  const host = world.add("h", "10.0.0.1");
  host.speaker.apply(speakerConfig(peers, { origins: [origin(0x0a400000, 24, ["servers"])] }));
  return { world, host };
};
const join = (world: World, host: Host, address: string, asn = 65009): RawPeer => {
  const raw = world.raw(host, address);
  const capabilities: Capabilities = { families: [{ afi: 1, safi: 1 }], as4: asn };
  raw.send(
    encodeOpen({ asn, holdSeconds: 0, routerId: Number(parseAddress(address).lo), capabilities }),
    keepaliveMessage,
  );
  return raw;
};
const names = (host: Host): string[] => [...host.speaker.sessions].map((s) => s.name).sort();

describe("ranges", () => {
  test("whoever connects from one is a neighbour under its name and address, and hears what is for the range", () => {
    const { world, host } = start(range("servers", ["10.1.0.0/16"]));
    const raw = join(world, host, "10.1.0.7");
    const session = host.speaker.session("servers-10.1.0.7")!;
    expect(session.state).toBe(State.established);
    expect(session.negotiated).toMatchObject({ peerAsn: 65009, ebgp: true });
    expect(session.sender!.out(1)!.advertised).toBe(1);
    expect(raw.received.filter((m) => m.type === 2 && m.body.length > 4)).toHaveLength(1);
    expect(host.speaker.session("servers")!.downReason).toContain("10.1.0.0/16");
    expect(() => join(world, host, "10.2.0.7")).toThrow("not configured");
  });

  test("the longest prefix counts, and a neighbour with an address of its own before any range", () => {
    const wide = range("wide", ["10.0.0.0/8", "fd00::/8"]);
    const narrow = range("narrow", ["10.1.0.0/16"]);
    const of = (text: string) => rangeOf([wide, narrow], parseAddress(text), undefined)?.name;
    expect(["10.1.2.3", "10.2.2.3", "fd00::1", "192.0.2.1"].map(of)).toEqual([
      "narrow",
      "wide",
      "wide",
      undefined,
    ]);
    const { world, host } = start(wide, peerConfig("own", "10.1.0.7", 65009, { passive: true }));
    join(world, host, "10.1.0.7");
    expect(names(host)).toEqual(["own", "wide"]);
    expect(host.speaker.session("own")!.state).toBe(State.established);
  });

  test("no more than the limit; one that is down makes room, one that is up never", () => {
    const { world, host } = start(range("servers", ["10.1.0.0/16"], {}, 2));
    const first = join(world, host, "10.1.0.1");
    join(world, host, "10.1.0.2");
    expect(() => join(world, host, "10.1.0.3")).toThrow("not configured");
    expect(host.speaker.rangeRefused).toBe(1);
    first.close();
    join(world, host, "10.1.0.3");
    expect(names(host)).toEqual(["servers", "servers-10.1.0.2", "servers-10.1.0.3"]);
  });

  test("one that is gone is forgotten after a while; routes that are kept keep it", () => {
    const { world, host } = start(range("servers", ["10.1.0.0/16"]));
    const raw = join(world, host, "10.1.0.1");
    raw.close();
    expect(host.speaker.session("servers-10.1.0.1")!.state).toBe(State.active);
    world.clock.run(119_000);
    expect(names(host)).toContain("servers-10.1.0.1");
    world.clock.run(2_000);
    expect(names(host)).toEqual(["servers"]);
    join(world, host, "10.1.0.1");
    world.clock.run(600_000);
    expect(host.speaker.session("servers-10.1.0.1")!.state).toBe(State.established);
    for (let i = 0; i < 50; i++) {
      const next = join(world, host, `10.1.1.${i}`);
      next.close();
      world.clock.run(200_000);
    }
    expect(names(host)).toEqual(["servers", "servers-10.1.0.1"]);
  });

  test("an edit reaches living neighbours; without the range they are told to go", () => {
    const { world, host } = start(range("servers", ["10.1.0.0/16"]));
    const raw = join(world, host, "10.1.0.1");
    host.speaker.apply(speakerConfig([range("servers", ["10.1.0.0/24"], { exportPolicies: [] })]));
    world.clock.run(20);
    const session = host.speaker.session("servers-10.1.0.1")!;
    expect(session.state).toBe(State.established);
    expect(session.sender!.out(1)!.advertised).toBe(0);
    host.speaker.apply(speakerConfig([range("servers", ["10.1.1.0/24"])]));
    world.clock.run(20);
    expect(raw.notification).toBe("6/3");
    expect(names(host)).toEqual(["servers"]);
  });

  test("a generation is acknowledged for the range once all its neighbours have heard", () => {
    const { world, host } = start(range("servers", ["10.1.0.0/16"]));
    const [a, b] = [join(world, host, "10.1.0.1"), join(world, host, "10.1.0.2")];
    b.stall(true);
    host.acks.length = 0;
    const again = (generation: bigint, origins: number[]) =>
      host.speaker.apply(
        speakerConfig([range("servers", ["10.1.0.0/16"])], {
          generation,
          origins: origins.map((n) => origin(n, 24, ["servers"])),
        }),
      );
    again(7n, [0x0a410000]);
    world.clock.run(1_000);
    expect(host.acks).toEqual([]);
    b.stall(false);
    world.clock.run(1_000);
    expect(host.acks).toEqual([{ generation: 7n, peer: "servers", state: "sent" }]);
    a.close();
    b.close();
    host.acks.length = 0;
    again(8n, []);
    expect(host.acks).toEqual([{ generation: 8n, peer: "servers", state: "peer-down" }]);
  });

  test("speaker.yaml", () => {
    const file = (peer: object) =>
      parseSpeaker(
        { asn: 65000, routerID: "10.0.0.1", peers: [{ name: "s", asn: "external", ...peer }] },
        "x",
      );
    const { range: r, password } = file({ ranges: ["10.1.0.0/16", "fd00::/8"], limit: 9, password: "x" })
      .peers[0]!;
    expect(r!.limit).toBe(9);
    expect(r!.prefixes.map((p) => p.length)).toEqual([16, 8]);
    expect(password).toBe("x");
    expect(file({ ranges: ["10.0.0.0/8"] }).peers[0]!.range!.limit).toBe(100);
    expect(() => file({ ranges: ["10.0.0.0/8"], address: "10.0.0.1" })).toThrow("address and ranges");
    expect(() => file({ ranges: ["10.0.0.0/8"], bfd: {} })).toThrow("BFD");
    expect(() => file({ ranges: [] })).toThrow();
  });
});
