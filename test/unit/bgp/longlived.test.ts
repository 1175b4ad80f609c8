// test/unit/bgp: long-lived graceful restart (RFC 9494): what is kept when the restart time is over, for how long, and who hears of it.
import { beforeEach, describe, expect, test } from "vitest";
import { type PeerConfig, State } from "../../../src/bgp/session/types.ts";
import { encodeCanonical } from "../../../src/bgp/wire/canonical.ts";
import type { Capabilities, LongLivedFamily } from "../../../src/bgp/wire/capabilities.ts";
import { WellKnown } from "../../../src/bgp/wire/constants.ts";
import { keepaliveMessage } from "../../../src/bgp/wire/frame.ts";
import { decodeOpen, encodeOpen, type Open } from "../../../src/bgp/wire/open.ts";
import { endOfRib, UpdateWriter } from "../../../src/bgp/wire/writer.ts";
import { type Host, peerConfig, type RawPeer, speakerConfig, World } from "./world.ts";

const ipv4 = { afi: 1, safi: 1 };
const longLived: readonly LongLivedFamily[] = [{ ...ipv4, forwarding: true, seconds: 3600 }];
const capable = (more: Partial<Capabilities> = {}, restart = 60): Capabilities => ({
  families: [ipv4],
  gracefulRestart: {
    restarting: false,
    notification: false,
    seconds: restart,
    families: [{ ...ipv4, forwarding: true }],
  },
  longLived,
  ...more,
});

let world: World;
let host: Host;
const prefix = 0x0b000000;

const peer = (n: number, more: Partial<PeerConfig> = {}): PeerConfig =>
  peerConfig(`p${n}`, `10.0.0.${n}`, 65000 + n, {
    passive: true,
    families: [1],
    longLivedSeconds: 86_400,
    ...more,
  });
const join = (n: number, capabilities: Capabilities): RawPeer => {
  const raw = world.raw(host, `10.0.0.${n}`);
  raw.send(
    encodeOpen({
      asn: 65000 + n,
      holdSeconds: 0,
      routerId: n,
      capabilities: { as4: 65000 + n, ...capabilities },
    }),
    keepaliveMessage,
  );
  expect(host.speaker.session(`p${n}`)!.state).toBe(State.established);
  return raw;
};
const announce = (
  n: number,
  communities: readonly number[] = [],
  path: readonly number[] = [],
): Uint8Array => {
  const writer = new UpdateWriter();
  writer.begin(4096);
  const a = encodeCanonical({
    afi: 1,
    origin: 0,
    asPath: [{ type: 2, asns: [65000 + n, ...path] }],
    nextHop: Uint8Array.of(10, 0, 0, n),
    ...(communities.length > 0 && { communities }),
  });
  writer.announce(1, a, 0, a.length);
  writer.add(Uint32Array.of(prefix), 0, 24);
  return writer.finish();
};
const received = (n = 2): number => host.speaker.session(`p${n}`)!.rib.received[1];
const sentTo = (n: number): number => host.speaker.session(`p${n}`)!.sender!.out(1)!.advertised;
/** Communities of the best path. */
const best = (): { from: string; communities: readonly number[] } | undefined => {
  const { tables, attributes } = host.speaker.rib;
  const [first] = tables[1].candidates(0).order;
  return (
    first && {
      from: host.speaker.rib.peer(first.peer.index)!.name,
      communities: attributes.attributes(first.attribute, 1).communities ?? [],
    }
  );
};

beforeEach(() => {
  world = new World(9494);
  host = world.add("h", "10.0.0.1");
  host.speaker.apply(speakerConfig([peer(2), peer(3), peer(4)]));
});

describe("as helper", () => {
  test("the restart time, then the long one as the last choice, then gone", () => {
    const raw = join(2, capable());
    const [knows, doesNot] = [join(3, capable()), join(4, { families: [ipv4] })];
    raw.send(announce(2));
    expect([sentTo(3), sentTo(4)]).toEqual([1, 1]);
    raw.close();
    world.clock.run(59_000);
    expect(best()).toEqual({ from: "p2", communities: [] });
    expect([sentTo(3), sentTo(4)]).toEqual([1, 1]);
    world.clock.run(2_000);
    // Kept, marked, and told to those alone that know what the mark means.
    expect(best()).toEqual({ from: "p2", communities: [WellKnown.longLivedStale] });
    expect(host.speaker.session("p2")!.stale[1]).toBe(true);
    expect([sentTo(3), sentTo(4)]).toEqual([1, 0]);
    expect([knows, doesNot].map((r) => r.notification)).toEqual(["", ""]);
    world.clock.run(3_597_000);
    expect(received()).toBe(1);
    world.clock.run(4_000);
    expect(received()).toBe(0);
    expect(sentTo(3)).toBe(0);
  });

  test("any other path wins over it, however long", () => {
    const raw = join(2, capable());
    const other = join(3, capable());
    raw.send(announce(2));
    raw.close();
    world.clock.run(61_000);
    other.send(announce(3, [], [1, 2, 3, 4, 5]));
    expect(best()!.from).toBe("p3");
  });

  test("what says NO_LLGR goes with the restart time", () => {
    const raw = join(2, capable());
    raw.send(announce(2, [WellKnown.noLongLived]));
    raw.close();
    world.clock.run(59_000);
    expect(received()).toBe(1);
    world.clock.run(2_000);
    expect(received()).toBe(0);
  });

  test("our own limit counts where it is shorter; where one side does not want it there is nothing", () => {
    host.speaker.apply(speakerConfig([peer(2, { longLivedSeconds: 100 }), peer(3), peer(4)]));
    const raws = [join(2, capable()), join(3, capable({ longLived: [] }))];
    for (const [i, raw] of raws.entries()) {
      raw.send(announce(2 + i));
      raw.close();
    }
    world.clock.run(62_000);
    expect([received(2), received(3)]).toEqual([1, 0]);
    world.clock.run(100_000);
    expect(received(2)).toBe(0);
  });

  test("back in time: what is not sent again goes with End-of-RIB, what is loses the mark", () => {
    const raw = join(2, capable());
    raw.send(announce(2));
    raw.close();
    world.clock.run(100_000);
    expect(best()!.communities).toEqual([WellKnown.longLivedStale]);
    const again = join(2, capable());
    expect(received()).toBe(1);
    again.send(announce(2), endOfRib(1));
    expect(best()).toEqual({ from: "p2", communities: [] });
    again.close();
    world.clock.run(100_000);
    join(2, capable()).send(endOfRib(1));
    expect(received()).toBe(0);
  });

  test("back without its forwarding state: gone at once", () => {
    const raw = join(2, capable());
    raw.send(announce(2));
    raw.close();
    world.clock.run(100_000);
    join(2, capable({ longLived: [{ ...ipv4, forwarding: false, seconds: 3600 }] }));
    expect(received()).toBe(0);
  });

  test("a neighbour that comes and goes does not make the time longer", () => {
    let raw = join(2, capable());
    raw.send(announce(2));
    raw.close();
    world.clock.run(100_000);
    for (let i = 0; i < 3; i++) {
      raw = join(2, capable());
      raw.close();
      expect(received()).toBe(1);
      world.clock.run(1_000_000);
    }
    world.clock.run(600_000);
    expect(received()).toBe(0);
  });

  test("a family of this capability alone is marked at once (restart time 0)", () => {
    const raw = join(2, capable({}, 0));
    raw.send(announce(2));
    raw.close();
    world.clock.run(100);
    expect(best()!.communities).toEqual([WellKnown.longLivedStale]);
  });
});

describe("as restarter", () => {
  test("the capability goes out where it is asked for, with graceful restart", () => {
    const open = (more: Partial<PeerConfig>): Open => {
      host.speaker.apply(speakerConfig([peer(2, more)]));
      const raw = world.raw(host, "10.0.0.2");
      world.clock.run(20);
      const { body } = raw.received[0]!;
      raw.close();
      return decodeOpen(body, 0, body.length) as Open;
    };
    expect(open({}).capabilities.longLived).toEqual([{ ...ipv4, forwarding: true, seconds: 86_400 }]);
    expect(open({ longLivedSeconds: 0 }).capabilities.longLived).toBeUndefined();
    expect(open({ gracefulRestart: false }).capabilities.longLived).toBeUndefined();
  });
});
