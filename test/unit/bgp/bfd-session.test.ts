// test/unit/bgp: what a failure that BFD reports does to a BGP session: RFC 5882 4.3.2 with graceful restart and the C bit, RFC 9384.
import { beforeEach, describe, expect, test } from "vitest";
import type { BfdStatus } from "../../../src/bgp/session/bfd.ts";
import { State } from "../../../src/bgp/session/types.ts";
import { encodeCanonical } from "../../../src/bgp/wire/canonical.ts";
import { keepaliveMessage } from "../../../src/bgp/wire/frame.ts";
import { encodeOpen } from "../../../src/bgp/wire/open.ts";
import { UpdateWriter } from "../../../src/bgp/wire/writer.ts";
import { type Host, peerConfig, type RawPeer, speakerConfig, World } from "./world.ts";

const families = [
  { afi: 1, safi: 1 },
  { afi: 2, safi: 1 },
];
const open = (notification: boolean, gracefulRestart = true): Uint8Array =>
  encodeOpen({
    asn: 65001,
    holdSeconds: 90,
    routerId: 0x0a000002,
    capabilities: {
      families,
      as4: 65001,
      routeRefresh: true,
      ...(gracefulRestart && {
        gracefulRestart: {
          restarting: false,
          notification,
          seconds: 60,
          families: families.map((f) => ({ ...f, forwarding: true })),
        },
      }),
    },
  });

function route(): Uint8Array {
  const writer = new UpdateWriter();
  writer.begin(4096);
  const a = encodeCanonical({
    afi: 1,
    origin: 0,
    asPath: [{ type: 2, asns: [65001] }],
    nextHop: Uint8Array.of(10, 0, 0, 2),
  });
  writer.announce(1, a, 0, a.length);
  writer.add(Uint32Array.of(0xc0000200), 0, 24);
  return writer.finish();
}

const status = (more: Partial<BfdStatus> = {}): BfdStatus => ({
  state: "Down",
  diagnostic: "control detection time expired",
  remoteState: "Up",
  remoteDiagnostic: "no diagnostic",
  remoteIndependent: false,
  sinceUnixMs: 0,
  transmitMs: 300,
  detectMs: 900,
  downs: 1,
  problem: "",
  failed: true,
  ...more,
});

let world: World;
let host: Host;
const session = () => host.speaker.session("p")!;
const received = () => session().rib.received[1];

const establish = (o: Uint8Array): RawPeer => {
  const raw = world.raw(host, "10.0.0.2");
  world.clock.run(20);
  raw.send(o, keepaliveMessage);
  raw.send(route());
  expect([session().state, received()]).toEqual([State.established, 1]);
  return raw;
};

beforeEach(() => {
  world = new World(1);
  host = world.add("h", "10.0.0.1");
  const bfd = { transmitMs: 300, receiveMs: 300, detectMultiplier: 3, multihop: false };
  host.speaker.apply(speakerConfig([peerConfig("p", "10.0.0.2", 65001, { passive: true, bfd })]));
});

describe("BFD goes down while the session is up", () => {
  for (const [name, o, independent, told] of [
    ["no graceful restart", open(false, false), false, "6/10"],
    ["graceful restart, C bit 0", open(false), false, "6/10"],
    ["graceful restart, C bit 1", open(false), true, "6/10"],
    // RFC 8538: else the neighbour would keep our routes.
    ["with the N bit, C bit 0", open(true), false, "6/9"],
    ["with the N bit, C bit 1", open(true), true, "6/9"],
  ] as const)
    test(`${name}: the session ends, and its routes with it`, () => {
      const raw = establish(o);
      session().bfdChanged(status({ remoteIndependent: independent }));
      world.clock.run(20);
      expect(raw.notification).toBe(told);
      if (told === "6/9") expect([...raw.received.at(-1)!.body]).toEqual([6, 9, 6, 10]);
      expect(received()).toBe(0);
      expect(session().downReason).toContain("BFD says that the path to the neighbour is down");
      expect(session().bfd?.state).toBe("Down");
    });

  test("what is no failure ends nothing: the neighbour's operator, or a state that was never Up", () => {
    establish(open(true));
    session().bfdChanged(status({ failed: false, remoteState: "AdminDown" }));
    world.clock.run(1000);
    expect([session().state, received()]).toEqual([State.established, 1]);
  });
});

describe("BFD goes down while the neighbour restarts", () => {
  test("C bit 0: its BFD has gone with its control plane, the routes stay", () => {
    establish(open(true)).close();
    expect(received()).toBe(1);
    session().bfdChanged(status());
    world.clock.run(100);
    expect(received()).toBe(1);
    expect(session().stale[1]).toBe(true);
  });

  test("C bit 1: its forwarding is gone, the routes go at once", () => {
    establish(open(true)).close();
    session().bfdChanged(status({ remoteIndependent: true }));
    world.clock.run(100);
    expect(received()).toBe(0);
    expect(session().stale[1]).toBe(false);
  });

  test("the session may come again while BFD is still down", () => {
    establish(open(true)).close();
    session().bfdChanged(status());
    establish(open(true));
    world.clock.run(1000);
    expect(session().state).toBe(State.established);
  });
});
