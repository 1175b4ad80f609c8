// test/unit/bgp: BMP: each message against the RFCs octet by octet, reading what was written, and stations that hear what the RIB holds.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BmpCollector, type RouteTable, type View } from "../../../src/bgp/bmp/collector.ts";
import { BmpExporter, type StationConfig } from "../../../src/bgp/bmp/exporter.ts";
import {
  type BmpMessage,
  type BmpPeer,
  BmpReader,
  decodeMessage,
  encodePeer,
  initiation,
  peerDown,
  peerUp,
  routeMonitoring,
  type Stat,
  statistics,
  termination,
  textTlv,
} from "../../../src/bgp/bmp/message.ts";
import type { Connection, ConnectionHandler, Transport } from "../../../src/bgp/session/types.ts";
import { encodeCanonical } from "../../../src/bgp/wire/canonical.ts";
import { AddPathMode } from "../../../src/bgp/wire/capabilities.ts";
import type { Afi } from "../../../src/bgp/wire/constants.ts";
import { keepaliveMessage, notificationMessage } from "../../../src/bgp/wire/frame.ts";
import { notification } from "../../../src/bgp/wire/notification.ts";
import { encodeOpen } from "../../../src/bgp/wire/open.ts";
import { endOfRib, UpdateWriter } from "../../../src/bgp/wire/writer.ts";
import { formatPrefix, fromInteger, parseAddress } from "../../../src/net/address.ts";
import { type Host, origin, peerConfig, type RawPeer, rule, seeded, speakerConfig, World } from "./world.ts";

const hex = (b: Uint8Array): string => Buffer.from(b).toString("hex");
const peer: BmpPeer = {
  type: 0,
  distinguisher: "0000000000000000",
  address: parseAddress("192.0.2.1"),
  asn: 65001,
  routerId: 0x0a000002,
  postPolicy: false,
  adjRibOut: false,
  as2: false,
  filtered: false,
  timeUs: 1_700_000_000_000_123n,
};
const openOf = (asn: number): Uint8Array =>
  encodeOpen({ asn, holdSeconds: 90, routerId: 1, capabilities: { as4: asn } });

describe("BMP messages", () => {
  it("per-peer header, RFC 7854 4.2", () => {
    expect(hex(encodePeer(peer))).toBe(
      `00${"00"}${"00".repeat(8)}${"00".repeat(12)}c00002010000fde90a0000026553f100${"0000007b"}`,
    );
    const six = encodePeer({ ...peer, address: parseAddress("2001:db8::1"), postPolicy: true, as2: true });
    expect(six[1]).toBe(0xe0);
    expect(hex(six.subarray(10, 26))).toBe("20010db8000000000000000000000001");
    // RFC 9069 4.1 and 4.2.
    const loc = encodePeer({ ...peer, type: 3, address: undefined, filtered: true });
    expect([loc[0], loc[1], hex(loc.subarray(10, 26))]).toEqual([3, 0x80, "00".repeat(16)]);
  });

  it("initiation and termination, RFC 7854 4.3 to 4.5", () => {
    expect(hex(initiation([textTlv(1, "ab"), textTlv(2, "c")]))).toBe(
      "030000001104" + "00010002" + "6162" + "00020001" + "63",
    );
    expect(hex(termination())).toBe("030000000c05" + "000100020000");
  });

  it("route monitoring, statistics, peer down and up, RFC 7854 4.6 to 4.10", () => {
    const header = encodePeer(peer);
    const eor = endOfRib(1);
    expect(hex(routeMonitoring(header, eor))).toBe(`030000004700${hex(header)}${hex(eor)}`);
    const stats = statistics(header, [
      { type: 7, value: 5n },
      { type: 9, value: 5n, afi: 1, safi: 1 },
      { type: 11, value: 2n },
    ]);
    expect(hex(stats.subarray(48))).toBe(
      "00000003" +
        "00070008" +
        "0000000000000005" +
        "0009000b" +
        "000101" +
        "0000000000000005" +
        "000b0004" +
        "00000002",
    );
    const n = notificationMessage(notification(6, 2));
    expect(hex(peerDown(header, 3, n).subarray(48))).toBe(`03${hex(n)}`);
    const up = peerUp(header, {
      localAddress: parseAddress("192.0.2.2"),
      localPort: 179,
      remotePort: 40000,
      sentOpen: openOf(65000),
      receivedOpen: openOf(65001),
      information: [],
    });
    expect(hex(up.subarray(48))).toBe(
      `${"00".repeat(12)}c0000202${"00b3"}${"9c40"}${hex(openOf(65000))}${hex(openOf(65001))}`,
    );
  });

  const u32 = fc.integer({ min: 0, max: 0xffffffff });
  const peers: fc.Arbitrary<BmpPeer> = fc
    .record({
      six: fc.boolean(),
      address: fc.bigInt({ min: 0n, max: 2n ** 32n - 1n }),
      loc: fc.boolean(),
      asn: u32,
      routerId: u32,
      distinguisher: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      postPolicy: fc.boolean(),
      adjRibOut: fc.boolean(),
      as2: fc.boolean(),
      filtered: fc.boolean(),
      seconds: fc.bigInt({ min: 0n, max: 2n ** 32n - 1n }),
      us: fc.bigInt({ min: 0n, max: 999_999n }),
    })
    .map((r) => ({
      type: r.loc ? 3 : 0,
      distinguisher: r.distinguisher.toString(16).padStart(16, "0"),
      address: r.loc ? undefined : fromInteger(r.six ? 6 : 4, r.address),
      asn: r.asn,
      routerId: r.routerId,
      postPolicy: !r.loc && r.postPolicy,
      adjRibOut: !r.loc && r.adjRibOut,
      as2: !r.loc && r.as2,
      filtered: r.loc && r.filtered,
      timeUs: r.seconds * 1_000_000n + r.us,
    }));
  const tlvs = fc.array(
    fc.record({ type: fc.nat({ max: 65535 }), value: fc.uint8Array({ maxLength: 40 }) }),
    { maxLength: 4 },
  );
  const stat: fc.Arbitrary<Stat> = fc.oneof(
    fc.record({ type: fc.constantFrom(0, 1, 11, 13), value: u32.map(BigInt) }),
    fc.record({ type: fc.constantFrom(7, 8, 14, 15), value: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }) }),
    fc.record({
      type: fc.constantFrom(9, 10, 16, 17),
      value: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      afi: fc.nat({ max: 65535 }),
      safi: fc.nat({ max: 255 }),
    }),
  );
  const messages: fc.Arbitrary<[BmpMessage, Uint8Array]> = fc.oneof(
    tlvs.map((information): [BmpMessage, Uint8Array] => [
      { kind: "initiation", information },
      initiation(information),
    ]),
    fc
      .tuple(peers, fc.array(stat, { maxLength: 5 }))
      .map(([p, stats]): [BmpMessage, Uint8Array] => [
        { kind: "statistics", peer: p, stats },
        statistics(encodePeer(p), stats),
      ]),
    fc
      .tuple(peers, fc.nat({ max: 255 }), fc.uint8Array({ maxLength: 50 }))
      .map(([p, reason, data]): [BmpMessage, Uint8Array] => [
        { kind: "peer-down", peer: p, reason, data },
        peerDown(encodePeer(p), reason, data),
      ]),
    peers.map((p): [BmpMessage, Uint8Array] => [
      { kind: "route-monitoring", peer: p, update: endOfRib(2) },
      routeMonitoring(encodePeer(p), endOfRib(2)),
    ]),
    fc.tuple(peers, tlvs).map(([p, information]): [BmpMessage, Uint8Array] => {
      const rest = {
        localAddress: p.address,
        localPort: 179,
        remotePort: 5,
        sentOpen: openOf(1),
        receivedOpen: openOf(70_000),
        information,
      };
      return [{ kind: "peer-up", peer: p, ...rest }, peerUp(encodePeer(p), rest)];
    }),
  );

  it("are read as they were written, whole or in pieces", () => {
    fc.assert(
      fc.property(fc.array(messages, { maxLength: 6 }), fc.integer({ min: 1, max: 60 }), (list, piece) => {
        const stream = Buffer.concat(list.map(([, b]) => b));
        const reader = new BmpReader();
        const read: BmpMessage[] = [];
        for (let at = 0; at < stream.length; at += piece)
          expect(reader.push(stream.subarray(at, at + piece), (m) => read.push(m))).toBeUndefined();
        expect(read).toEqual(list.map(([m]) => m));
      }),
      { seed: 7854, numRuns: 300 },
    );
  });

  it("octets with mistakes are refused or read, never thrown at", () => {
    fc.assert(
      fc.property(
        messages,
        fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { maxLength: 4 }),
        fc.nat(),
        ([, b], edits, cut) => {
          const bad = b.slice(0, Math.max(6, b.length - (cut % 3 === 0 ? cut % b.length : 0)));
          for (const [at, value] of edits) bad[at % bad.length] = value;
          new DataView(bad.buffer).setUint32(1, bad.length);
          const collector = new BmpCollector();
          const m = decodeMessage(bad);
          if (typeof m === "object") collector.take(m);
          new BmpReader().push(bad, (x) => collector.take(x));
        },
      ),
      { seed: 7855, numRuns: 3000 },
    );
  });
});

/** A station in memory that reads when it is told to. */
class FakeStation {
  collector = new BmpCollector();
  #reader = new BmpReader();
  readonly #queue: Uint8Array[] = [];
  handler: ConnectionHandler | undefined;
  connections = 0;
  stalled = false;
  /** Octets that it has not read: what a slow one costs. */
  unread = 0;
  unreadMax = 0;
  readonly transport: Transport = {
    connect: (_target, handler) => {
      const station = this;
      this.connections++;
      this.handler = handler;
      // A connection is a history of its own.
      this.collector = new BmpCollector();
      this.#reader = new BmpReader();
      let open = true;
      const connection: Connection = {
        local: undefined,
        remote: undefined,
        write: (bytes) => {
          station.#queue.push(bytes.slice());
          station.unread += bytes.length;
          station.unreadMax = Math.max(station.unreadMax, station.unread);
          station.#world.clock.after(1, () => station.read());
          return false;
        },
        get pendingBytes() {
          return station.unread;
        },
        unacknowledged: () => undefined,
        end: () => connection.destroy(),
        destroy: () => {
          if (!open) return;
          open = false;
          station.#queue.length = 0;
          station.unread = 0;
          station.#world.clock.soon(() => handler.closed("closed"));
        },
      };
      this.#world.clock.after(1, () => open && handler.connected());
      return connection;
    },
  };
  readonly #world: World;

  constructor(world: World) {
    this.#world = world;
  }

  /** The connection breaks. */
  break(): void {
    this.#queue.length = 0;
    this.unread = 0;
    const { handler } = this;
    this.handler = undefined;
    handler?.closed("broken");
  }

  read(): void {
    if (this.stalled) return;
    for (let b = this.#queue.shift(); b; b = this.#queue.shift()) {
      this.unread -= b.length;
      expect(this.#reader.push(b, (m) => this.collector.take(m))).toBeUndefined();
    }
    if (this.unread === 0) this.handler?.drained();
  }
}

const stationConfig: StationConfig = {
  name: "s",
  address: parseAddress("192.0.2.9"),
  port: 11019,
  localAddress: undefined,
  prePolicy: true,
  postPolicy: true,
  locRib: true,
  statisticsSeconds: 60,
};

const families = [
  { afi: 1, safi: 1 },
  { afi: 2, safi: 1 },
];

function updateOf(
  afi: Afi,
  asn: number,
  med: number,
  prefixes: readonly number[],
  withdraw = false,
  id?: number,
): Uint8Array {
  const writer = new UpdateWriter();
  writer.begin(4096);
  if (withdraw) writer.withdraw(afi, id !== undefined);
  else {
    const nextHop = afi === 1 ? Uint8Array.of(10, 0, 0, 2) : new Uint8Array(16).fill(0xfd, 0, 1).fill(2, 15);
    const a = encodeCanonical({ afi, origin: 0, asPath: [{ type: 2, asns: [asn, 70_000] }], nextHop, med });
    writer.announce(afi, a, 0, a.length, id !== undefined);
  }
  for (const n of prefixes)
    writer.add(
      afi === 1 ? Uint32Array.of(0x14000000 + (n << 8)) : Uint32Array.of(0x20010db8, n << 16, 0, 0),
      0,
      afi === 1 ? 24 : 48,
      id,
    );
  return writer.finish();
}

class Monitored {
  readonly world: World;
  readonly host: Host;
  readonly station: FakeStation;
  readonly exporter: BmpExporter;
  readonly raws = new Map<string, RawPeer>();

  constructor(seed: number, pathsWaitingMax?: number, config: Partial<StationConfig> = {}) {
    this.world = new World(seed);
    this.host = this.world.add("h", "10.0.0.1");
    this.station = new FakeStation(this.world);
    this.exporter = new BmpExporter({
      rib: this.host.speaker.rib,
      clock: this.world.clock,
      random: this.world.random,
      transport: this.station.transport,
      sysName: "here",
      sysDescription: "test",
      local: () => ({ asn: 65000, routerId: 0x0a000001 }),
      flush: () => this.host.speaker.flush(),
      log: () => {},
      ...(pathsWaitingMax !== undefined && { pathsWaitingMax }),
    });
    this.world.monitor = this.exporter;
    this.exporter.set([{ ...stationConfig, ...config }]);
    this.configure();
  }

  /** With `reject`, IPv6 is not taken. */
  configure(reject = true, origins: Parameters<typeof origin>[0][] = [0x0a400000]): void {
    const noV6 = rule("no", {
      accept: false,
      match: {
        prefixes: [{ prefix: { family: 6, hi: 0n, lo: 0n, length: 0 }, ge: 0, le: 128 }],
        communities: [],
        large: [],
        asPathContains: [],
        source: "any",
      },
    });
    const policy = { name: "in", rules: reject ? [noV6, rule("yes")] : [rule("yes")] };
    this.host.speaker.apply(
      speakerConfig(
        ["p", "q"].map((name, i) =>
          peerConfig(name, `10.0.0.${i + 2}`, 65001 + i, {
            passive: true,
            importPolicies: ["in"],
            // q gives its paths identifiers.
            ...(name === "q" && {
              addPath: { 1: { receive: true, send: 0 }, 2: { receive: true, send: 0 } },
            }),
          }),
        ),
        {
          policies: [policy, { name: "all", rules: [rule("accept")] }],
          origins: origins.map((o) => origin(o, 24, ["p", "q"])),
        },
      ),
    );
  }

  up(name: "p" | "q"): RawPeer {
    const i = name === "p" ? 0 : 1;
    const raw = this.world.raw(this.host, `10.0.0.${i + 2}`);
    this.world.clock.run(20);
    const open = encodeOpen({
      asn: 65001 + i,
      holdSeconds: 0,
      routerId: 0x0a000002 + i,
      capabilities: {
        families,
        as4: 65001 + i,
        ...(name === "q" && { addPath: families.map((f) => ({ ...f, mode: AddPathMode.send })) }),
      },
    });
    raw.send(open, keepaliveMessage);
    this.raws.set(name, raw);
    return raw;
  }

  view(address: string | undefined, view: View): RouteTable {
    const peer = [...this.station.collector.peers.values()].find((p) =>
      address === undefined
        ? p.address === undefined
        : p.address !== undefined && p.address.lo === parseAddress(address).lo,
    );
    return peer?.views.get(view)?.routes ?? new Map();
  }

  /** What the RIB itself holds: prefix to MED, for comparing. */
  truth(name: "p" | "q" | "", post: boolean): Map<string, number | undefined> {
    const { rib } = this.host.speaker;
    this.host.speaker.flush();
    const out = new Map<string, number | undefined>();
    for (const afi of [1, 2] as const) {
      const t = rib.tables[afi];
      for (let pid = 0; pid < t.prefixes.limit; pid++) {
        if (t.head[pid]! < 0) continue;
        const index = name === "" ? -1 : this.host.speaker.session(name)!.rib.index;
        const paths: number[] = [];
        for (let path = t.head[pid]!; path >= 0; path = t.pathNext[path]!)
          if (index < 0 ? path === t.best[pid] : t.pathPeer[path] === index) paths.push(path);
        const w = (i: number): bigint => BigInt(t.prefixes.keys[pid * t.prefixes.words + i]!);
        const length = t.prefixes.lengths[pid]!;
        const prefix =
          afi === 1
            ? formatPrefix({ family: 4, hi: 0n, lo: w(0), length })
            : formatPrefix({ family: 6, hi: (w(0) << 32n) | w(1), lo: (w(2) << 32n) | w(3), length });
        for (const path of paths) {
          const attribute = index < 0 || post ? t.pathAttr[path]! : t.pathRaw[path]!;
          const id = index < 0 ? 0 : t.idOf(path);
          if (attribute >= 0)
            out.set(id === 0 ? prefix : `${prefix} ${id}`, rib.attributes.attributes(attribute, afi).med);
        }
      }
    }
    return out;
  }

  expectSame(): void {
    const meds = (t: RouteTable) => new Map([...t].map(([k, a]) => [k, a.med]));
    for (const [name, address] of [
      ["p", "10.0.0.2"],
      ["q", "10.0.0.3"],
    ] as const) {
      const up = this.host.speaker.session(name)!.state === 5;
      const none = new Map();
      expect(meds(this.view(address, "pre-policy"))).toEqual(up ? this.truth(name, false) : none);
      expect(meds(this.view(address, "post-policy"))).toEqual(up ? this.truth(name, true) : none);
    }
    expect(meds(this.view(undefined, "loc-rib"))).toEqual(this.truth("", true));
    expect(this.station.collector.unreadable).toBe(0);
  }
}

describe("monitoring stations", () => {
  it("hear of sessions, of routes before and after policy and of the Loc-RIB, with End-of-RIB and statistics", () => {
    const m = new Monitored(1);
    const raw = m.up("p");
    raw.send(updateOf(1, 65001, 7, [1, 2, 3]), updateOf(2, 65001, 8, [4]));
    m.world.clock.run(70_000);
    const { collector } = m.station;
    expect([collector.sysName, collector.sysDescription]).toEqual(["here", "test"]);
    const p = [...collector.peers.values()].find((x) => x.address)!;
    expect(p).toMatchObject({ asn: 65001, routerId: 0x0a000002, up: true });
    expect([...m.view("10.0.0.2", "pre-policy").keys()].sort()).toEqual([
      "20.0.1.0/24",
      "20.0.2.0/24",
      "20.0.3.0/24",
      "2001:db8:4::/48",
    ]);
    expect([...m.view("10.0.0.2", "post-policy").keys()].sort()).toEqual([
      "20.0.1.0/24",
      "20.0.2.0/24",
      "20.0.3.0/24",
    ]);
    const loc = m.view(undefined, "loc-rib");
    expect([...loc.keys()].sort()).toEqual(["10.64.0.0/24", "20.0.1.0/24", "20.0.2.0/24", "20.0.3.0/24"]);
    expect([...loc.get("10.64.0.0/24")!.nextHop]).toEqual([0, 0, 0, 0]);
    expect([...loc.get("20.0.1.0/24")!.nextHop]).toEqual([10, 0, 0, 2]);
    expect(p.views.get("pre-policy")!.endOfRib).toEqual(new Set([1, 2]));
    expect(p.statistics).toEqual(
      new Map([
        ["7", 4n],
        ["9 1/1", 3n],
        ["9 2/1", 1n],
        ["11", 0n],
        ["15", 1n],
        ["17 1/1", 1n],
        ["17 2/1", 0n],
      ]),
    );
    const l = [...collector.peers.values()].find((x) => !x.address)!;
    expect(l.statistics).toEqual(
      new Map([
        ["8", 4n],
        ["10 1/1", 4n],
        ["10 2/1", 0n],
      ]),
    );
    m.expectSame();
    raw.send(notificationMessage(notification(6, 4)));
    m.world.clock.run(100);
    expect([p.up, p.downReason]).toEqual([false, 3]);
    m.expectSame();
  });

  it("a station that comes late hears everything that is there", () => {
    const m = new Monitored(2);
    m.exporter.set([]);
    const raw = m.up("p");
    raw.send(
      updateOf(
        1,
        65001,
        1,
        Array.from({ length: 900 }, (_, i) => i),
      ),
    );
    m.exporter.set([stationConfig]);
    m.world.clock.run(2000);
    expect(m.view("10.0.0.2", "pre-policy").size).toBe(900);
    m.expectSame();
  });

  it("after any history, with a station that stalls and one that is gone, it holds what the RIB holds", () => {
    for (let seed = 0; seed < 25; seed++) {
      const m = new Monitored(seed + 100);
      const random = seeded(seed);
      const pick = (n: number) => Math.floor(random() * n);
      for (let step = 0; step < 120; step++) {
        const name = random() < 0.5 ? "p" : "q";
        const asn = name === "p" ? 65001 : 65002;
        const up = m.host.speaker.session(name)!.state === 5;
        const afi: Afi = random() < 0.7 ? 1 : 2;
        const some = Array.from({ length: 1 + pick(20) }, () => pick(60));
        const what = random();
        const id = name === "q" ? pick(3) : undefined;
        if (!up) {
          // A neighbour that comes and goes is not let in at once.
          if (what < 0.2) m.world.clock.run(150_000);
          if (what < 0.2) m.up(name);
        } else if (what < 0.5) m.raws.get(name)!.send(updateOf(afi, asn, pick(5), some, false, id));
        else if (what < 0.75) m.raws.get(name)!.send(updateOf(afi, asn, 0, some, true, id));
        else if (what < 0.82) m.raws.get(name)!.close();
        else if (what < 0.88)
          m.configure(random() < 0.5, random() < 0.5 ? [0x0a400000] : [0x0a400000, 0x0a400100]);
        else if (what < 0.94) {
          m.station.stalled = !m.station.stalled;
          if (!m.station.stalled) m.station.read();
        } else if (what < 0.96) m.station.break();
        m.world.clock.run(pick(200));
      }
      m.station.stalled = false;
      m.station.read();
      m.world.clock.run(200_000);
      m.expectSame();
    }
  });

  it("a station that never reads costs one chunk and a bounded set; beyond it the connection is begun anew, and counted", () => {
    const m = new Monitored(3, 1000, { locRib: false });
    const raw = m.up("p");
    m.world.clock.run(100);
    m.station.stalled = true;
    for (let round = 0; round < 30; round++) {
      raw.send(
        updateOf(
          1,
          65001,
          round,
          Array.from({ length: 800 }, (_, i) => i),
        ),
      );
      m.world.clock.run(50);
    }
    expect(m.exporter.status[0]!.overflows).toBe(0);
    expect(m.exporter.status[0]!.waiting).toBe(800);
    expect(m.station.unreadMax).toBeLessThan(200_000);
    raw.send(
      updateOf(
        1,
        65001,
        1,
        Array.from({ length: 900 }, (_, i) => 1000 + i),
      ),
    );
    m.world.clock.run(10);
    expect(m.exporter.status[0]!.overflows).toBe(1);
    m.station.stalled = false;
    m.world.clock.run(10_000);
    expect(m.station.connections).toBe(2);
    expect(m.view("10.0.0.2", "pre-policy").size).toBe(1700);
    // Nothing of it holds prefixes in the table for ever.
    raw.close();
    m.world.clock.run(10_000);
    const { tables } = m.host.speaker.rib;
    expect([...tables[1].pins].reduce((a, b) => a + b, 0)).toBe(0);
  });
});
