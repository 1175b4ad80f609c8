// test/unit/bgp: how many prefixes a neighbour may send and is sent, from which port we connect, and which paths are used together.
import { beforeEach, describe, expect, test } from "vitest";
import { sessionMessage } from "../../../src/bgp/daemon/convert.ts";
import { parseSpeaker } from "../../../src/bgp/daemon/standalone.ts";
import { SendLimit } from "../../../src/bgp/rib/sendlimit.ts";
import { noLimits, type PeerConfig, type PrefixLimits, State } from "../../../src/bgp/session/types.ts";
import { encodeCanonical } from "../../../src/bgp/wire/canonical.ts";
import { keepaliveMessage } from "../../../src/bgp/wire/frame.ts";
import { encodeOpen } from "../../../src/bgp/wire/open.ts";
import { UpdateWriter } from "../../../src/bgp/wire/writer.ts";
import { type Host, origin, peerConfig, type RawPeer, speakerConfig, World } from "./world.ts";

let world: World;
let host: Host;

beforeEach(() => {
  world = new World(5);
  host = world.add("dut", "10.0.0.1");
});

const net = (i: number): number => 0x0a000000 + (i << 8);

/** UPDATEs for 10.0.i.0/24. */
function updates(numbers: readonly number[], withdraw = false): Uint8Array {
  const writer = new UpdateWriter();
  writer.begin(4096);
  if (withdraw) writer.withdraw(1);
  else {
    const a = encodeCanonical({
      afi: 1,
      origin: 0,
      asPath: [{ type: 2, asns: [65001] }],
      nextHop: Uint8Array.of(10, 0, 0, 2),
    });
    writer.announce(1, a, 0, a.length);
  }
  for (const i of numbers) writer.add(Uint32Array.of(net(i)), 0, 24);
  return writer.finish();
}

const upTo = (n: number, from = 0): number[] => Array.from({ length: n }, (_, i) => from + i);

/** A neighbour that the test plays, Established. */
function establish(more: Partial<PeerConfig> = {}): RawPeer {
  configure(more);
  const raw = world.raw(host, "10.0.0.2");
  world.clock.run(20);
  const families = [{ afi: 1, safi: 1 }];
  raw.send(
    encodeOpen({
      asn: 65001,
      holdSeconds: 90,
      routerId: 2,
      capabilities: { families, as4: 65001, routeRefresh: true },
    }),
    keepaliveMessage,
  );
  return raw;
}

const configure = (more: Partial<PeerConfig>) =>
  host.speaker.apply(speakerConfig([peerConfig("p", "10.0.0.2", 65001, { passive: true, ...more })]));

const limits = (more: Partial<PrefixLimits>): Partial<PeerConfig> => ({
  prefixesMax: { 1: 10, 2: 10 },
  prefixLimits: { ...noLimits, warnPercent: 80, ...more },
});
const session = () => host.speaker.session("p")!;
const shown = () => sessionMessage(session()).counts[0]!;

describe("what a neighbour may send", () => {
  test("Warn: everything is taken, and it is said when it comes near and when it is too many", () => {
    const raw = establish(limits({ action: "warn" }));
    raw.send(updates(upTo(7)));
    expect(session().limits.state[1]).toBe("ok");
    raw.send(updates(upTo(8)));
    expect(session().limits.state[1]).toBe("near");
    raw.send(updates(upTo(14)));
    expect(session().limits.state[1]).toBe("over");
    expect(session().state).toBe(State.established);
    expect(shown()).toMatchObject({ received: 14, limit: 10, discarded: 0n });
    raw.send(updates(upTo(10), true));
    expect(session().limits.state[1]).toBe("ok");
  });

  test("Discard: what was there is kept and may change, further ones are not taken until they are asked for again", () => {
    const raw = establish(limits({ action: "discard" }));
    raw.send(updates(upTo(14)));
    expect(shown()).toMatchObject({ received: 10, accepted: 10, discarded: 4n });
    expect(session().limits.state[1]).toBe("over");
    // Prefixes that found no place leave nothing behind.
    expect(host.speaker.rib.tables[1].prefixes.size).toBe(10);
    raw.send(updates([3]));
    expect(shown().discarded).toBe(4n);
    const asked = () => raw.received.filter((m) => m.type === 5).length;
    expect(asked()).toBe(0);
    raw.send(updates(upTo(2), true));
    expect(asked()).toBe(0);
    raw.send(updates([2, 3], true));
    expect(asked()).toBe(1);
    expect(session().state).toBe(State.established);
  });

  test("Discard: a higher limit asks for everything again", () => {
    const raw = establish(limits({ action: "discard" }));
    raw.send(updates(upTo(12)));
    configure({ ...limits({ action: "discard" }), prefixesMax: { 1: 100, 2: 100 } });
    world.clock.run(20);
    expect(raw.received.filter((m) => m.type === 5)).toHaveLength(1);
    raw.send(updates(upTo(12)));
    expect(shown()).toMatchObject({ received: 12, limit: 100 });
  });

  test("Teardown with a pause of one's own", () => {
    const raw = establish(limits({ restartSeconds: 7 }));
    raw.send(updates(upTo(11)));
    expect(raw.notification).toBe("6/1");
    world.clock.run(6_000);
    expect(() => world.raw(host, "10.0.0.2")).toThrow("refused");
    world.clock.run(1_100);
    world.raw(host, "10.0.0.2");
  });

  test("a lower limit on a living session ends it only where it is Teardown", () => {
    const raw = establish(limits({ action: "warn" }));
    raw.send(updates(upTo(9)));
    configure({ ...limits({ action: "warn" }), prefixesMax: { 1: 3, 2: 3 } });
    expect(session().state).toBe(State.established);
    expect(session().limits.state[1]).toBe("over");
    configure({ ...limits({ action: "teardown" }), prefixesMax: { 1: 3, 2: 3 } });
    world.clock.run(20);
    expect(raw.notification).toBe("6/1");
  });
});

describe("what a neighbour is sent", () => {
  let far: Host;
  const dut = (sent: number | undefined, count: number, more: Partial<PeerConfig> = {}) =>
    host.speaker.apply(
      speakerConfig(
        [
          peerConfig("far", "10.0.0.9", 65009, {
            prefixLimits: { ...noLimits, sent: { 1: sent, 2: undefined } },
            ...more,
          }),
        ],
        { origins: upTo(count).map((i) => origin(net(i), 24, ["far"])) },
      ),
    );
  const heard = () => far.speaker.session("dut")?.rib.received[1];
  const out = () => host.speaker.session("far")!.sender!.out(1)!;

  const both = { 1: { receive: true, send: 4 }, 2: { receive: false, send: 0 } };
  const forms: readonly [string, Partial<PeerConfig>][] = [
    ["one path", {}],
    ["several paths", { addPath: both }],
  ];

  for (const [form, more] of forms)
    describe(form, () => {
      beforeEach(() => {
        far = world.add("far", "10.0.0.9");
        far.speaker.apply(
          speakerConfig([peerConfig("dut", "10.0.0.1", 65000, { localAsn: 65009, ...more })], {
            asn: 65009,
            routerId: 9,
            clusterId: 9,
          }),
        );
      });

      test("is as many as may be; the others come once there is room", () => {
        dut(5, 8, more);
        world.clock.run(20_000);
        expect(heard()).toBe(5);
        expect([out().advertised, out().heldBack]).toEqual([5, 3]);
        // Three of those that it has go: the three that were kept back come.
        host.speaker.apply(
          speakerConfig(host.speaker.config!.peers, {
            origins: upTo(5, 3).map((i) => origin(net(i), 24, ["far"])),
          }),
        );
        world.clock.run(2_000);
        expect(heard()).toBe(5);
        expect(out().heldBack).toBe(0);
      });

      test("follows the limit up and down, without another session", () => {
        dut(5, 8, more);
        world.clock.run(20_000);
        for (const [limit, count] of [
          [7, 7],
          [2, 2],
          [undefined, 8],
          [6, 6],
        ] as const) {
          dut(limit, 8, more);
          world.clock.run(2_000);
          expect([limit, heard()]).toEqual([limit, count]);
        }
        expect(host.speaker.session("far")!.flaps).toBe(0);
      });
    });

  test("more than are remembered one by one are found all the same", () => {
    const limit = new SendLimit(1);
    limit.begin(0);
    expect(limit.allows(0, true, false)).toBe(true);
    for (let pid = 1; pid < 70_000; pid++) expect(limit.allows(pid, true, false)).toBe(false);
    expect(limit.heldBack).toBe(65_536);
    expect(limit.release(1)).toEqual([]);
    limit.max = 100_000;
    expect(limit.release(1)).toHaveLength(65_536);
    expect(limit.release(65_537)).toBe("all");
    expect(limit.release(65_537)).toEqual([]);
  });
});

describe("paths that are used together", () => {
  /** Three external neighbours and two internal ones tell 10.9.0.0/16, with these paths. */
  function delivered(
    multipath: { external: number; internal: number; samePath: boolean } | undefined,
    external: readonly (readonly number[])[],
    internal: readonly (readonly number[])[] = [],
  ) {
    const peers: PeerConfig[] = [];
    const add = (path: readonly number[], i: number, asn: number) => {
      const name = `${asn === 65000 ? "i" : "e"}${i}`;
      const address = `10.0.${asn === 65000 ? 1 : 0}.${i + 10}`;
      const far = world.add(name, address);
      const route = origin(0x0a090000, 16, ["dut"]);
      far.speaker.apply(
        speakerConfig([peerConfig("dut", "10.0.0.1", 65000, { localAsn: asn })], {
          asn,
          routerId: 10 + i + asn,
          clusterId: 10 + i + asn,
          origins: [
            {
              ...route,
              attributes: { ...route.attributes, asPath: path.length > 0 ? [{ type: 2, asns: path }] : [] },
            },
          ],
        }),
      );
      peers.push(peerConfig(name, address, asn));
    };
    external.forEach((path, i) => {
      add(path, i, 65001 + i);
    });
    internal.forEach((path, i) => {
      add(path, i, 65000);
    });
    const apply = (m: typeof multipath) => host.speaker.apply(speakerConfig(peers, m && { multipath: m }));
    apply(multipath);
    world.clock.run(20_000);
    const found = () => {
      const table = host.speaker.rib.tables[1];
      const { order, equal } = table.candidates(table.prefixes.find(Uint32Array.of(0x0a090000), 0, 16));
      return order.slice(0, equal).map((c) => host.speaker.rib.peer(c.peer.index)!.name);
    };
    return { found, apply };
  }

  test("all of the same length, unless there are fewer", () => {
    const { found, apply } = delivered(undefined, [[65100], [65100], [65100, 65101]]);
    expect(found()).toEqual(["e0", "e1"]);
    const log = host.speaker.rib.locLogs[1];
    const reader = log.open();
    apply({ external: 1, internal: 64, samePath: false });
    expect(found()).toEqual(["e0"]);
    // Whoever follows the table hears of it.
    expect(log.end).toBeGreaterThan(reader.position);
  });

  test("internal ones have a number of their own", () => {
    const { found } = delivered(
      { external: 1, internal: 2, samePath: false },
      [],
      [[65100], [65100], [65100]],
    );
    expect(found()).toHaveLength(2);
  });

  test("without relax only those with the path of the best", () => {
    const strict = { external: 64, internal: 64, samePath: true };
    // Each external neighbour puts itself in front, so their paths are never equal; internal ones add nothing.
    const { found } = delivered(strict, [[65100], [65100]]);
    expect(found()).toEqual(["e0"]);
  });

  test("without relax internal ones with equal paths tie", () => {
    const strict = { external: 64, internal: 64, samePath: true };
    const { found } = delivered(
      strict,
      [],
      [
        [65100, 1],
        [65100, 2],
        [65100, 1],
      ],
    );
    expect(found()).toEqual(["i0", "i2"]);
  });
});

describe("speaker.yaml", () => {
  const base = { asn: 65000, routerID: "10.0.0.1" };
  const peer = { name: "p", address: "10.0.0.2", asn: 65001 };

  test("knows limits, multipath, our port, and no listener", () => {
    const config = parseSpeaker(
      {
        ...base,
        listen: "none",
        multipath: { external: 8, relaxASPath: false },
        peers: [
          {
            ...peer,
            localPort: 1790,
            maxPrefixes: { ipv4: 5, action: "discard", warnPercent: 50, restartSeconds: 9 },
            maxPrefixesSent: { ipv4: 3 },
          },
        ],
      },
      "test",
    );
    expect(config.listen).toEqual([]);
    expect(config.multipath).toEqual({ external: 8, internal: 64, samePath: true });
    expect(config.peers[0]).toMatchObject({
      localPort: 1790,
      prefixesMax: { 1: 5, 2: 10_000 },
      prefixLimits: {
        action: "discard",
        warnPercent: 50,
        restartSeconds: 9,
        sent: { 1: 3, 2: undefined },
      },
    });
  });

  test.each([
    { passive: true, localPort: 1 },
    { address: undefined, ranges: ["10.0.0.0/8"], localPort: 1 },
  ])("our port is for connections of ours: %j", (more) => {
    const { address: _, ...rest } = { ...peer, ...more };
    const given = more.address === undefined && "ranges" in more ? rest : { ...peer, ...more };
    expect(() => parseSpeaker({ ...base, peers: [given] }, "test")).toThrow("local_port");
  });
});
