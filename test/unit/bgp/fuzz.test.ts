// test/unit/bgp: mutated messages through decoder, RIB and session: no exception, no growth without bound, the routes of others untouched.
// WAGGLE_FUZZ_MESSAGES sets how many; the seed is fixed.
import { describe, expect, test } from "vitest";
import { State } from "../../../src/bgp/session/types.ts";
import { encodeCanonical } from "../../../src/bgp/wire/canonical.ts";
import { keepaliveMessage, notificationMessage } from "../../../src/bgp/wire/frame.ts";
import { notification } from "../../../src/bgp/wire/notification.ts";
import { encodeOpen } from "../../../src/bgp/wire/open.ts";
import { endOfRib, routeRefresh, toTwoOctet, UpdateWriter } from "../../../src/bgp/wire/writer.ts";
import { type Host, peerConfig, type RawPeer, seeded, speakerConfig, World } from "./world.ts";

const messages = Number(process.env["WAGGLE_FUZZ_MESSAGES"] ?? 6_000);
const families = [
  { afi: 1, safi: 1 },
  { afi: 2, safi: 1 },
];

/** Well-formed messages of every kind to begin with. */
function corpus(random: () => number, asn: number): Uint8Array[] {
  const writer = new UpdateWriter();
  const out: Uint8Array[] = [keepaliveMessage, endOfRib(1), endOfRib(2), routeRefresh(1), routeRefresh(2, 1)];
  for (const afi of [1, 2] as const)
    for (let i = 0; i < 12; i++) {
      const a = encodeCanonical({
        afi,
        origin: (i % 3) as 0 | 1 | 2,
        asPath: [{ type: 2, asns: [asn, 70000 + i, ...new Array<number>(i).fill(5)] }],
        nextHop:
          afi === 1
            ? Uint8Array.of(10, 0, 0, 2)
            : Uint8Array.from([0x20, ...new Array<number>(14).fill(0), i + 2]),
        ...(i % 2 ? { med: i } : {}),
        ...(asn === 65000 ? { localPref: 100 } : {}),
        ...(i % 3 ? { communities: [i, 0xffffff01] } : {}),
        ...(i % 4 ? { large: [[1, 2, i]] as const } : {}),
        ...(i === 5 ? { aggregator: { asn: 80000, address: 9 }, atomicAggregate: true as const } : {}),
        ...(i === 6 ? { unknown: [{ code: 99, flags: 0xe0, value: new Uint8Array(300) }] } : {}),
        ...(i === 7 ? { extendedCommunities: new Uint8Array(16) } : {}),
      });
      writer.begin(4096);
      const bytes = i === 3 ? toTwoOctet(a, 0, a.length, afi) : a;
      writer.announce(afi, bytes, 0, bytes.length);
      for (let n = 0; n < 1 + (i % 4); n++) {
        const keys = Uint32Array.from({ length: 4 }, () => Math.floor(random() * 2 ** 32));
        keys[0] = afi === 1 ? 0x0c000000 + Math.floor(random() * 4096) * 256 : 0x20010000 + i;
        writer.add(keys, 0, afi === 1 ? 24 : 64);
      }
      if (i % 4 === 0) {
        writer.withdraw(afi);
        writer.add(Uint32Array.of(afi === 1 ? 0x0c000100 : 0x20010000, 0, 0, 0), 0, 24);
      }
      out.push(writer.finish());
    }
  return out;
}

const interesting = [0, 1, 2, 3, 4, 14, 15, 16, 32, 33, 64, 127, 128, 129, 192, 254, 255];

/** A message with a few octets changed, cut, doubled or spliced; half of the time its length fits again. */
function mutate(random: () => number, from: readonly Uint8Array[]): Uint8Array {
  const pick = (): Uint8Array => from[Math.floor(random() * from.length)]!;
  let b = Uint8Array.from(pick());
  const before = b.length;
  for (let n = 1 + Math.floor(random() * 4); n > 0; n--) {
    const at =
      b.length < 30 || random() < 0.1
        ? Math.floor(random() * b.length)
        : 23 + Math.floor(random() * (b.length - 23));
    const dice = random();
    if (dice < 0.35) b[at] = interesting[Math.floor(random() * interesting.length)]!;
    else if (dice < 0.6) b[at]! ^= 1 << Math.floor(random() * 8);
    else if (dice < 0.75)
      b = Uint8Array.from([...b.subarray(0, at), ...b.subarray(at + 1 + Math.floor(random() * 6))]);
    else if (dice < 0.9)
      b = Uint8Array.from([...b.subarray(0, at), ...b.subarray(at, at + 12), ...b.subarray(at)]);
    else {
      const other = pick();
      b = Uint8Array.from([...b.subarray(0, at), ...other.subarray(Math.floor(random() * other.length))]);
    }
  }
  if (b.length < 19) b = Uint8Array.from([...b, ...new Uint8Array(19 - b.length)]);
  if (random() < 0.8 && b.length <= 4096) {
    b.fill(255, 0, 16);
    b[16] = b.length >> 8;
    b[17] = b.length & 255;
    // The total attribute length follows, most of the time, so that the attributes themselves are looked at.
    const total = ((b[21]! << 8) | b[22]!) + b.length - before;
    if (b[19] === 0 && b[20] === 0 && total > 0 && random() < 0.8) {
      b[21] = total >> 8;
      b[22] = total & 255;
    }
    // Half of these stay UPDATEs: the other kinds end a session too soon to be of use.
    if (random() < 0.5) b[18] = 2;
  }
  return b;
}

describe.each([
  ["external", 65001],
  ["internal", 65000],
] as const)("mutated messages from an %s neighbour", (_kind, asn) => {
  test(`${messages} messages`, () => {
    const random = seeded(20_260_101);
    const world = new World(3);
    const host: Host = world.add("h", "10.0.0.1");
    const limit = 500;
    const config = (n: bigint) =>
      speakerConfig(
        [
          peerConfig("p", "10.0.0.2", asn, { passive: true, prefixesMax: { 1: limit, 2: limit } }),
          peerConfig("good", "10.0.0.3", 65003, { passive: true }),
        ],
        { generation: n },
      );
    host.speaker.apply(config(1n));
    const open = (as: number, routerId: number) =>
      encodeOpen({
        asn: as,
        holdSeconds: 0,
        routerId,
        capabilities: {
          families,
          as4: as,
          routeRefresh: true,
          enhancedRouteRefresh: true,
          extendedMessages: true,
        },
      });
    const connect = (address: string, as: number, id: number): RawPeer => {
      const raw = world.raw(host, address);
      raw.send(open(as, id), keepaliveMessage);
      return raw;
    };
    const good = connect("10.0.0.3", 65003, 3);
    const writer = new UpdateWriter();
    writer.begin(4096);
    const a = encodeCanonical({
      afi: 1,
      origin: 0,
      asPath: [{ type: 2, asns: [65003] }],
      nextHop: Uint8Array.of(10, 0, 0, 3),
    });
    writer.announce(1, a, 0, a.length);
    writer.add(Uint32Array.of(0xc6336400), 0, 24);
    good.send(writer.finish());
    const from = corpus(random, asn);
    let memory = 0;
    const session = () => host.speaker.session("p")!;
    let raw = connect("10.0.0.2", asn, 2);
    let sessions = 1;
    for (let i = 0; i < messages; i++) {
      if (session().state !== State.established) {
        // A fresh configuration forgets the back-off.
        host.speaker.apply(speakerConfig([config(1n).peers[1]!]));
        host.speaker.apply(config(BigInt(i + 2)));
        raw = connect("10.0.0.2", asn, 2);
        sessions++;
      }
      if (i % 50 === 0) raw.send(from[5 + Math.floor(random() * (from.length - 5))]!);
      raw.send(mutate(random, from));
      raw.received.length = 0;
      host.acks.length = 0;
      good.received.length = Math.min(good.received.length, 10);
      expect(session().rib.received[1]).toBeLessThanOrEqual(limit);
      // What a few thousand messages leave behind is what millions leave behind.
      if (i === 4_000) memory = process.memoryUsage().heapUsed;
      if (i % 100_000 === 99_999)
        expect(process.memoryUsage().heapUsed).toBeLessThan(memory + 200 * 1024 * 1024);
    }
    expect(sessions).toBeGreaterThan(10);
    // Enough of them get past the first checks to be worth the time.
    expect(sessions).toBeLessThan(messages * 0.75);
    const { rib } = host.speaker;
    for (const afi of [1, 2] as const) {
      const table = rib.tables[afi];
      const counted = new Map<number, number>();
      for (let path = 0; path < table.pathLimit; path++)
        if (table.pathPid[path]! >= 0)
          counted.set(table.pathPeer[path]!, (counted.get(table.pathPeer[path]!) ?? 0) + 1);
      for (const s of host.speaker.sessions) expect(counted.get(s.rib.index) ?? 0).toBe(s.rib.received[afi]);
      expect(table.prefixes.size).toBeLessThanOrEqual(3 * limit);
    }
    expect(world.log.filter((l) => l.includes("internal error"))).toEqual([]);
    expect(good.notification).toBe("");
    expect(host.speaker.session("good")!.rib.accepted[1]).toBe(1);
    rib.sweep();
    expect(rib.attributes.size).toBeLessThan(4 * limit);
    raw.send(notificationMessage(notification(6, 2)));
    expect(session().rib.received).toEqual({ 1: 0, 2: 0 });
  }, 3_600_000);
});
