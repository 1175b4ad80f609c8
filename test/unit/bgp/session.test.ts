// test/unit/bgp: the session's state machine, message by message, with a neighbour that the test plays.
import { beforeEach, describe, expect, test } from "vitest";
import { State } from "../../../src/bgp/session/types.ts";
import { encodeCanonical } from "../../../src/bgp/wire/canonical.ts";
import type { Capabilities } from "../../../src/bgp/wire/capabilities.ts";
import { keepaliveMessage, message, notificationMessage } from "../../../src/bgp/wire/frame.ts";
import { notification } from "../../../src/bgp/wire/notification.ts";
import { decodeOpen, encodeOpen, type Open } from "../../../src/bgp/wire/open.ts";
import { endOfRib, routeRefresh, UpdateWriter } from "../../../src/bgp/wire/writer.ts";
import { type Host, origin, peerConfig, type RawPeer, speakerConfig, World } from "./world.ts";

const families = [
  { afi: 1, safi: 1 },
  { afi: 2, safi: 1 },
];
const capabilities: Capabilities = { families, as4: 65001, routeRefresh: true };
const grCapability = (more: Partial<NonNullable<Capabilities["gracefulRestart"]>> = {}): Capabilities => ({
  ...capabilities,
  gracefulRestart: {
    restarting: false,
    notification: false,
    seconds: 60,
    families: families.map((f) => ({ ...f, forwarding: true })),
    ...more,
  },
});
const open = (more: Partial<Open> = {}): Uint8Array =>
  encodeOpen({ asn: 65001, holdSeconds: 90, routerId: 0x0a000002, capabilities, ...more });

const announce = (...prefixes: [number, number][]): Uint8Array => {
  const writer = new UpdateWriter();
  writer.begin(4096);
  const a = encodeCanonical({
    afi: 1,
    origin: 0,
    asPath: [{ type: 2, asns: [65001] }],
    nextHop: Uint8Array.of(10, 0, 0, 2),
  });
  writer.announce(1, a, 0, a.length);
  for (const [address, length] of prefixes) writer.add(Uint32Array.of(address), 0, length);
  return writer.finish();
};

let world: World;
let host: Host;
const session = () => host.speaker.session("p")!;
const received = () => session().rib.received[1];

/** Passive: only the neighbour that the test plays connects. */
const configure = (more: Parameters<typeof peerConfig>[3] = {}) =>
  host.speaker.apply(speakerConfig([peerConfig("p", "10.0.0.2", 65001, { passive: true, ...more })]));

const connect = (): RawPeer => {
  const raw = world.raw(host, "10.0.0.2");
  world.clock.run(20);
  return raw;
};
const establish = (o: Uint8Array = open()): RawPeer => {
  const raw = connect();
  raw.send(o, keepaliveMessage);
  expect(session().state).toBe(State.established);
  return raw;
};

beforeEach(() => {
  world = new World(1);
  host = world.add("h", "10.0.0.1");
  configure();
});

describe("before Established", () => {
  test("OPEN goes out at once, with our capabilities and the R bit of a speaker that has just started", () => {
    const raw = connect();
    const ours = decodeOpen(raw.received[0]!.body, 0, raw.received[0]!.body.length) as Open;
    expect(ours).toMatchObject({ asn: 65000, holdSeconds: 90, routerId: 0x0a000001 });
    expect(ours.capabilities).toMatchObject({ as4: 65000, routeRefresh: true, families });
    expect(ours.capabilities.gracefulRestart).toMatchObject({
      restarting: true,
      seconds: 120,
      families: families.map((f) => ({ ...f, forwarding: true })),
    });
  });

  test.each([
    ["another AS", () => open({ asn: 65002, capabilities: { ...capabilities, as4: 65002 } }), "2/2"],
    [
      "no family in common",
      () => open({ capabilities: { families: [{ afi: 25, safi: 70 }], as4: 65001 } }),
      "2/7",
    ],
    ["a KEEPALIVE instead of OPEN (RFC 6608)", () => keepaliveMessage, "5/1"],
    ["an UPDATE instead of OPEN", () => announce([0x0a010000, 24]), "5/1"],
    ["marker", () => keepaliveMessage.map((x, i) => (i === 3 ? 0 : x)), "1/1"],
    ["unknown type", () => message(9, new Uint8Array(4)), "1/3"],
    ["KEEPALIVE of 20 octets", () => message(4, new Uint8Array(1)), "1/2"],
  ])("%s: %s", (_name, bytes, expected) => {
    const raw = connect();
    raw.send(bytes());
    expect(raw.notification).toBe(expected);
    expect(session().state).not.toBe(State.established);
    expect(session().lastErrorSent).toContain(expected);
  });

  test("a second OPEN in OpenConfirm: 5/2", () => {
    const raw = connect();
    raw.send(open(), open());
    expect(raw.notification).toBe("5/2");
  });

  test("no capability at all means IPv4 unicast and 2-octet AS numbers", () => {
    const raw = connect();
    raw.send(encodeOpen({ asn: 65001, holdSeconds: 90, routerId: 9, capabilities: {} }), keepaliveMessage);
    expect(session().negotiated).toMatchObject({ as4: false, families: { 1: true, 2: false } });
  });

  test("nothing is heard after the connection: gone after four minutes", () => {
    const raw = connect();
    world.clock.run(239_000);
    expect(raw.notification).toBe("");
    world.clock.run(2_000);
    expect(raw.notification).toBe("4/0");
  });
});

describe("Established", () => {
  test("KEEPALIVEs come every third of the hold time, and silence ends the session with 4/0", () => {
    const raw = establish(open({ holdSeconds: 9 }));
    const before = raw.received.filter((m) => m.type === 4).length;
    world.clock.run(8_900);
    expect(raw.received.filter((m) => m.type === 4).length - before).toBeGreaterThanOrEqual(2);
    expect(session().state).toBe(State.established);
    world.clock.run(300);
    expect(raw.notification).toBe("4/0");
    expect(session().downReason).toContain("4/0 Hold Timer Expired");
  });

  test("hold time 0: neither KEEPALIVEs nor expiry", () => {
    const raw = establish(open({ holdSeconds: 0 }));
    const before = raw.received.length;
    world.clock.run(3_600_000);
    expect(session().state).toBe(State.established);
    expect(raw.received.length).toBe(before);
  });

  test.each([
    ["OPEN: 5/3 (RFC 6608)", () => open(), "5/3"],
    ["a malformed UPDATE", () => message(2, Uint8Array.of(0, 9, 0, 0)), "3/1"],
    ["ROUTE-REFRESH of a wrong length", () => message(5, new Uint8Array(5)), "1/2"],
  ])("%s", (_name, bytes, expected) => {
    const raw = establish();
    raw.send(announce([0x0a010000, 24]));
    expect(received()).toBe(1);
    raw.send(bytes());
    expect(raw.notification).toBe(expected);
    expect(received()).toBe(0);
  });

  test("ROUTE-REFRESH of a wrong length, enhanced: 7/1 (RFC 7313)", () => {
    const raw = establish(open({ capabilities: { ...capabilities, enhancedRouteRefresh: true } }));
    raw.send(message(5, new Uint8Array(5)));
    expect(raw.notification).toBe("7/1");
  });

  test("a refresh for a family that was not negotiated is ignored", () => {
    const raw = establish(open({ capabilities: { ...capabilities, families: families.slice(0, 1) } }));
    raw.send(routeRefresh(2), message(5, Uint8Array.of(0, 25, 0, 70)));
    expect(session().state).toBe(State.established);
  });

  test("enhanced refresh: what does not come between BoRR and EoRR is gone; ours is framed too", () => {
    const raw = establish(open({ capabilities: { ...capabilities, enhancedRouteRefresh: true } }));
    raw.send(announce([0x0a010000, 24], [0x0a010100, 24]));
    raw.send(routeRefresh(1, 1), announce([0x0a010100, 24]), routeRefresh(1, 2));
    expect(received()).toBe(1);
    const before = raw.received.length;
    raw.send(routeRefresh(1));
    const subtypes = raw.received
      .slice(before)
      .filter((m) => m.type === 5)
      .map((m) => m.body[2]);
    expect(subtypes).toEqual([1, 2]);
  });

  test("a NOTIFICATION ends it and is shown; the shutdown text too", () => {
    const raw = establish();
    raw.send(notificationMessage(notification(6, 2, "", Uint8Array.of(2, 104, 105))));
    expect(session().lastErrorReceived).toBe("6/2 Cease, Administrative Shutdown: hi");
    expect(raw.closedReason).toBeDefined();
  });

  test("extended messages are taken once both have said so, not otherwise", () => {
    const long = (): Uint8Array => {
      const body = new Uint8Array(6000);
      body[3] = 0;
      return message(2, Uint8Array.from([...body.subarray(0, 4), ...new Array<number>(5996).fill(0)]));
    };
    const plain = establish();
    plain.send(long());
    expect(plain.notification).toBe("1/2");
    world.clock.run(60_000);
    const extended = establish(open({ capabilities: { ...capabilities, extendedMessages: true } }));
    extended.send(long());
    expect(extended.notification).not.toBe("1/2");
  });

  test("a neighbour that does not read: one chunk waits, no KEEPALIVE behind it; after eight minutes it is over (RFC 9687)", () => {
    const raw = establish(open({ holdSeconds: 9 }));
    raw.stall(true);
    host.speaker.apply(
      speakerConfig([peerConfig("p", "10.0.0.2", 65001, { passive: true })], {
        origins: Array.from({ length: 40_000 }, (_, i) => origin(0x0b000000 + i * 256, 24, ["p"])),
      }),
    );
    const hear = () => raw.send(keepaliveMessage);
    for (let t = 0; t < 470; t += 2) {
      world.clock.run(1_980);
      hear();
    }
    expect(raw.unread).toBeGreaterThan(0);
    expect(raw.unread).toBeLessThan(200_000);
    expect(session().state).toBe(State.established);
    for (let t = 0; t < 20; t += 2) {
      world.clock.run(1_980);
      hear();
    }
    expect(session().lastErrorSent).toBe("8/0 Send Hold Timer Expired");
  });
});

test("a defect of ours in reading one neighbour's message ends that session alone, and is logged", () => {
  host.speaker.apply(
    speakerConfig([
      peerConfig("p", "10.0.0.2", 65001, { passive: true }),
      peerConfig("other", "10.0.0.3", 65003, { passive: true }),
    ]),
  );
  const other = world.raw(host, "10.0.0.3");
  other.send(open({ asn: 65003, routerId: 3, capabilities: { families, as4: 65003 } }), keepaliveMessage);
  const raw = establish();
  host.speaker.rib.announce = () => {
    throw new TypeError("a defect");
  };
  raw.send(announce([0x0a010000, 24]));
  expect(raw.notification).toBe("6/8");
  expect(other.notification).toBe("");
  expect(host.speaker.session("other")!.state).toBe(State.established);
  expect(world.log.some((l) => l.includes("error p: internal error") && l.includes("a defect"))).toBe(true);
});

describe("graceful restart, as helper", () => {
  const withRoutes = (o = open({ capabilities: grCapability() })): RawPeer => {
    const raw = establish(o);
    raw.send(announce([0x0a010000, 24], [0x0a010100, 24]), endOfRib(1), endOfRib(2));
    return raw;
  };

  test("the connection breaks: routes stay as stale, and go when the restart time is over", () => {
    withRoutes().close();
    expect(session().state).not.toBe(State.established);
    expect(received()).toBe(2);
    expect(session().stale[1]).toBe(true);
    world.clock.run(59_000);
    expect(received()).toBe(2);
    world.clock.run(2_000);
    expect(received()).toBe(0);
  });

  test("it comes back: what is not announced again goes at End-of-RIB", () => {
    withRoutes().close();
    const raw = establish(open({ capabilities: grCapability({ restarting: true }) }));
    raw.send(announce([0x0a010000, 24]));
    expect(received()).toBe(2);
    raw.send(endOfRib(1));
    expect(received()).toBe(1);
    expect(session().stale[1]).toBe(false);
  });

  test("it comes back without the F bit: its routes go at once", () => {
    withRoutes().close();
    establish(
      open({ capabilities: grCapability({ families: families.map((f) => ({ ...f, forwarding: false })) }) }),
    );
    expect(received()).toBe(0);
  });

  test("it comes back without the family: its routes go at once", () => {
    withRoutes().close();
    establish(open({ capabilities: grCapability({ families: [{ afi: 2, safi: 1, forwarding: true }] }) }));
    expect(received()).toBe(0);
  });

  test("it comes back and sends no End-of-RIB: there is a limit", () => {
    withRoutes().close();
    const raw = establish(open({ holdSeconds: 0, capabilities: grCapability({ restarting: true }) }));
    raw.send(announce([0x0a010000, 24]));
    world.clock.run(361_000);
    expect(received()).toBe(1);
  });

  test("it opens a new connection while the old one seems alive: that is a restart", () => {
    const old = withRoutes();
    world.clock.run(6_000);
    establish(open({ capabilities: grCapability({ restarting: true }) }));
    expect(old.closedReason).toBeDefined();
    expect(old.notification).toBe("");
    expect(received()).toBe(2);
    expect(session().stale[1]).toBe(true);
  });

  test("a second connection right after the first came up is a collision: 6/7", () => {
    withRoutes();
    const second = connect();
    second.send(open({ capabilities: grCapability() }));
    expect(second.notification).toBe("6/7");
    expect(session().state).toBe(State.established);
  });

  test("without graceful restart a second connection loses: 6/7", () => {
    establish();
    const second = connect();
    second.send(open());
    expect(second.notification).toBe("6/7");
    expect(session().state).toBe(State.established);
  });

  test("a NOTIFICATION ends it: routes go; with the N bit they stay, unless it is a Hard Reset (RFC 8538)", () => {
    withRoutes().send(notificationMessage(notification(6, 4)));
    expect(received()).toBe(0);
    world.clock.run(30_000);
    const n = open({ capabilities: grCapability({ notification: true }) });
    withRoutes(n).send(notificationMessage(notification(6, 4)));
    expect(received()).toBe(2);
    world.clock.run(30_000);
    withRoutes(n).send(notificationMessage(notification(6, 9)));
    expect(received()).toBe(0);
  });

  test("two restarts in a row: what was stale already is not kept again", () => {
    withRoutes().close();
    const raw = establish(open({ capabilities: grCapability({ restarting: true }) }));
    raw.send(announce([0x0a010000, 24]));
    raw.close();
    expect(received()).toBe(1);
  });

  test("the neighbour is removed from the configuration: Cease 6/3 (as Hard Reset with the N bit), routes gone", () => {
    const raw = withRoutes(open({ capabilities: grCapability({ notification: true }) }));
    host.speaker.apply(speakerConfig([]));
    world.clock.run(20);
    expect(raw.notification).toBe("6/9");
    expect([...raw.received.find((m) => m.type === 3)!.body.subarray(2, 4)]).toEqual([6, 3]);
    expect(host.speaker.rib.tables[1].pathCount).toBe(0);
  });
});

describe("graceful restart, as restarter", () => {
  test("End-of-RIB waits for `complete`, and the R bit goes once it was sent", () => {
    host.speaker.apply({
      ...speakerConfig([peerConfig("p", "10.0.0.2", 65001, { passive: true })]),
      complete: false,
    });
    const raw = establish(open({ capabilities: grCapability() }));
    const ends = () => raw.received.filter((m) => m.type === 2).length;
    expect(ends()).toBe(0);
    configure();
    world.clock.run(20);
    expect(ends()).toBe(2);
    raw.close();
    const again = connect();
    const ours = decodeOpen(again.received[0]!.body, 0, again.received[0]!.body.length) as Open;
    expect(ours.capabilities.gracefulRestart!.restarting).toBe(false);
  });

  test("a stop for upgrade is silent towards a neighbour that keeps our routes, a Cease towards one that does not", () => {
    const silent = establish(open({ capabilities: grCapability() }));
    host.speaker.stop();
    world.clock.run(20);
    expect(silent.notification).toBe("");
    expect(silent.closedReason).toBeDefined();

    world = new World(2);
    host = world.add("h", "10.0.0.1");
    configure();
    const told = establish();
    host.speaker.stop();
    world.clock.run(20);
    expect(told.notification).toBe("6/2");
  });
});

describe("limits and back-off", () => {
  test("too many prefixes: Cease 6/1, then held down for a minute and longer each time", () => {
    configure({ prefixesMax: { 1: 1, 2: 1 } });
    const raw = establish();
    raw.send(announce([0x0a010000, 24], [0x0a010100, 24]));
    expect(raw.notification).toBe("6/1");
    expect(received()).toBe(0);
    expect(() => world.raw(host, "10.0.0.2")).toThrow("refused");
    world.clock.run(61_000);
    const again = establish();
    again.send(announce([0x0a010000, 24], [0x0a010100, 24]));
    world.clock.run(61_000);
    expect(() => world.raw(host, "10.0.0.2")).toThrow("refused");
    configure({ prefixesMax: { 1: 5, 2: 5 } });
    establish();
  });

  test("a lower limit on a living session ends it", () => {
    const raw = establish();
    raw.send(announce([0x0a010000, 24], [0x0a010100, 24]));
    configure({ prefixesMax: { 1: 1, 2: 1 } });
    world.clock.run(20);
    expect(raw.notification).toBe("6/1");
  });

  test("a neighbour that comes up and breaks at once, again and again, is refused after a while", () => {
    let refused = 0;
    for (let i = 0; i < 12; i++) {
      try {
        establish().send(message(2, Uint8Array.of(0, 9, 0, 0)));
      } catch {
        refused++;
      }
      world.clock.run(200);
    }
    expect(refused).toBeGreaterThan(6);
    world.clock.run(130_000);
    establish();
  });

  test("the password is missing: nothing is accepted", () => {
    configure({ passwordMissing: true });
    expect(() => world.raw(host, "10.0.0.2")).toThrow("refused");
    expect(session().downReason).toContain("does not exist");
  });
});

describe("collision (RFC 4271 6.8)", () => {
  test.each([
    ["our identifier is higher: our connection stays", 0x09000000, true],
    ["theirs is higher: theirs stays", 0x0b000000, false],
  ])("%s", (_name, routerId, oursStays) => {
    // Both sides connect at the same moment.
    const other = world.add("o", "10.0.0.2");
    other.speaker.apply({
      ...speakerConfig([peerConfig("h", "10.0.0.1", 65000, { localAsn: 65001 })]),
      asn: 65001,
      routerId,
    });
    configure({ passive: false });
    world.clock.run(2_000);
    expect(session().state).toBe(State.established);
    expect(other.speaker.session("h")!.state).toBe(State.established);
    const pipes = [...host.pipes].filter((p) => !p.closed);
    expect(pipes.map((p) => p.outgoing)).toEqual([oursStays]);
  });
});
