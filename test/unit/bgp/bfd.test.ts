// test/unit/bgp: BFD: the packet against RFC 5880 octet by octet, and sessions on a virtual clock with loss, reordering and cuts.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type BfdPacket,
  BfdState,
  Diagnostic,
  decodePacket,
  encodePacket,
} from "../../../src/bgp/bfd/packet.ts";
import { addressText, BfdSessions, type BfdSource } from "../../../src/bgp/bfd/sessions.ts";
import { type BfdStatus, type BfdTarget, bfdKey } from "../../../src/bgp/session/bfd.ts";
import { parseAddress } from "../../../src/net/address.ts";
import { seeded, VirtualClock } from "./world.ts";

const u32 = fc.integer({ min: 0, max: 0xffffffff });
const packet: fc.Arbitrary<BfdPacket> = fc.record({
  diagnostic: fc.integer({ min: 0, max: 31 }),
  state: fc.constantFrom(...Object.values(BfdState)),
  poll: fc.boolean(),
  final: fc.boolean(),
  independent: fc.boolean(),
  demand: fc.boolean(),
  detectMultiplier: fc.integer({ min: 1, max: 255 }),
  myDiscriminator: fc.integer({ min: 1, max: 0xffffffff }),
  yourDiscriminator: fc.integer({ min: 1, max: 0xffffffff }),
  desiredMinTx: u32,
  requiredMinRx: u32,
  requiredMinEchoRx: u32,
});

describe("BFD Control packet", () => {
  it("RFC 5880 4.1, octet by octet", () => {
    const bytes = encodePacket({
      diagnostic: Diagnostic.neighborSignaled,
      state: BfdState.up,
      poll: true,
      final: false,
      independent: true,
      demand: false,
      detectMultiplier: 3,
      myDiscriminator: 0x01020304,
      yourDiscriminator: 0xfffefdfc,
      desiredMinTx: 300_000,
      requiredMinRx: 1_000_000,
      requiredMinEchoRx: 0,
    });
    expect(Buffer.from(bytes).toString("hex")).toBe("23e8031801020304fffefdfc000493e0000f424000000000");
  });

  it("is read as it was written", () => {
    fc.assert(
      fc.property(packet, (p) => {
        expect(decodePacket(encodePacket(p))).toEqual(p);
      }),
      { seed: 5880, numRuns: 2000 },
    );
  });

  it("any octets at all are read or refused, never thrown at", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (b) => {
        const p = decodePacket(b);
        if (typeof p === "object")
          expect(encodePacket(p)).toEqual(encodePacket(decodePacket(encodePacket(p)) as BfdPacket));
      }),
      { seed: 1, numRuns: 5000 },
    );
  });

  it("RFC 5880 6.8.6: each reason to discard", () => {
    const good = encodePacket({
      diagnostic: 0,
      state: BfdState.up,
      poll: false,
      final: false,
      independent: false,
      demand: false,
      detectMultiplier: 3,
      myDiscriminator: 1,
      yourDiscriminator: 2,
      desiredMinTx: 1,
      requiredMinRx: 1,
      requiredMinEchoRx: 0,
    });
    const bad = (at: number, value: number): unknown => {
      const b = good.slice();
      b[at] = value;
      return decodePacket(b);
    };
    expect(decodePacket(good.subarray(0, 23))).toBe("short");
    expect(bad(0, 0x00)).toBe("version");
    expect(bad(0, 0x40)).toBe("version");
    expect(bad(2, 0)).toBe("multiplier");
    expect(bad(3, 23)).toBe("length");
    expect(bad(3, 25)).toBe("length");
    expect(bad(1, 0xc1)).toBe("multipoint");
    expect(bad(7, 0)).toBe("discriminator");
    expect(bad(11, 0)).toBe("discriminator");
    // With the A bit 26 octets at least, and there is no session that authenticates.
    expect(bad(1, 0xc4)).toBe("length");
    const authenticated = new Uint8Array(26);
    authenticated.set(good);
    authenticated[1] = 0xc4;
    authenticated[3] = 26;
    expect(decodePacket(authenticated)).toBe("authentication");
  });
});

interface Path {
  loss: number;
  cut: boolean;
  /** Milliseconds a packet takes, at most. */
  delay: number;
}

/** Two ends and a path between them that may lose, delay and so reorder. */
class Pair {
  readonly clock = new VirtualClock();
  readonly random: () => number;
  readonly path: Path = { loss: 0, cut: false, delay: 1 };
  readonly ends: End[];

  constructor(seed: number, options: readonly [Partial<BfdTarget>, Partial<BfdTarget>] = [{}, {}]) {
    this.random = seeded(seed);
    this.ends = [new End(this, 0, options[0]), new End(this, 1, options[1])];
  }
}

const addresses = [parseAddress("192.0.2.1"), parseAddress("192.0.2.2")];

class End {
  sessions!: BfdSessions;
  status: BfdStatus | undefined;
  failures = 0;
  readonly failedAt: number[] = [];
  sent = 0;
  readonly sentAt: number[] = [];
  readonly target: BfdTarget;
  readonly #pair: Pair;
  readonly #index: number;

  constructor(pair: Pair, index: number, options: Partial<BfdTarget>) {
    this.#pair = pair;
    this.#index = index;
    const path = {
      address: addresses[1 - index]!,
      localAddress: undefined,
      interface: undefined,
      multihop: false,
    };
    this.target = {
      ...path,
      key: bfdKey(path),
      transmitMs: 300,
      receiveMs: 300,
      detectMultiplier: 3,
      ...options,
    };
    this.start();
  }

  start(): void {
    const { clock, random, path } = this.#pair;
    this.sessions = new BfdSessions({
      clock,
      random,
      open: () => ({
        problem: "",
        send: (bytes) => {
          this.sent++;
          this.sentAt.push(clock.now());
          if (path.cut || random() < path.loss) return;
          const other = this.#pair.ends[1 - this.#index]!;
          clock.after(random() * path.delay, () => other.receive(bytes));
        },
        [Symbol.dispose]: () => {},
      }),
      changed: (_key, status) => {
        this.status = status;
        if (status.failed) {
          this.failures++;
          this.failedAt.push(clock.now());
        }
      },
    });
    this.sessions.set([this.target]);
  }

  receive(bytes: Uint8Array, more: Partial<BfdSource> = {}): void {
    this.sessions.receive(bytes, {
      multihop: false,
      address: addressText(addresses[1 - this.#index]!),
      interface: "",
      localAddress: "",
      ...more,
    });
  }

  /** As a process that is killed. */
  kill(): void {
    this.sessions[Symbol.dispose]();
  }

  get state(): string {
    return this.status!.state;
  }
}

describe("BFD sessions", () => {
  it("come up, agree on intervals by a poll sequence, and send no more often than the other wants", () => {
    const pair = new Pair(1, [
      { transmitMs: 50, receiveMs: 100, detectMultiplier: 5 },
      { transmitMs: 200, receiveMs: 400 },
    ]);
    pair.clock.run(5000);
    const [a, b] = pair.ends as [End, End];
    expect([a.state, b.state]).toEqual(["Up", "Up"]);
    // RFC 5880 6.8.2 and 6.8.4.
    expect([a.status!.transmitMs, b.status!.transmitMs]).toEqual([400, 200]);
    expect([a.status!.detectMs, b.status!.detectMs]).toEqual([3 * 200, 5 * 400]);
    a.sent = b.sent = 0;
    pair.clock.run(60_000);
    expect(a.sent).toBeGreaterThanOrEqual(60_000 / 400);
    expect(a.sent).toBeLessThanOrEqual(60_000 / 300 + 1);
    expect(b.sent).toBeLessThanOrEqual(60_000 / 150 + 1);
  });

  it("no packet comes later than its interval, none earlier than three quarters of it", () => {
    const pair = new Pair(2);
    pair.clock.run(10_000);
    const a = pair.ends[0]!;
    a.sentAt.length = 0;
    pair.clock.run(30_000);
    const gaps = a.sentAt.slice(1).map((t, i) => t - a.sentAt[i]!);
    expect(Math.max(...gaps)).toBeLessThanOrEqual(300);
    expect(Math.min(...gaps)).toBeGreaterThanOrEqual(225);
    expect(new Set(gaps.map((g) => Math.round(g))).size).toBeGreaterThan(20);
  });

  it("a killed neighbour is found within the detection time, and comes back", () => {
    for (let seed = 10; seed < 40; seed++) {
      const pair = new Pair(seed);
      pair.clock.run(5000 + seed * 7);
      const [a, b] = pair.ends as [End, End];
      b.kill();
      const killed = pair.clock.now();
      pair.clock.run(2000);
      expect(a.failedAt).toHaveLength(1);
      // The last packet may have been sent just before; three intervals from it, and a millisecond under way.
      expect(a.failedAt[0]! - killed).toBeLessThanOrEqual(901);
      expect(a.failedAt[0]! - killed).toBeGreaterThanOrEqual(500);
      expect(a.status!.diagnostic).toBe("control detection time expired");
      b.start();
      pair.clock.run(5000);
      expect([a.state, b.state, a.failures]).toEqual(["Up", "Up", 1]);
    }
  });

  it("a neighbour that restarts within the detection time is noticed by its first packet", () => {
    const pair = new Pair(3, [{ receiveMs: 10_000 }, { transmitMs: 10_000 }]);
    pair.clock.run(30_000);
    const [a, b] = pair.ends as [End, End];
    expect(a.state).toBe("Up");
    b.kill();
    b.start();
    pair.clock.run(2_000);
    expect(a.failures).toBe(1);
    expect(a.status!.diagnostic).not.toBe("control detection time expired");
  });

  it("going on purpose is no failure", () => {
    const pair = new Pair(4);
    pair.clock.run(5000);
    const [a, b] = pair.ends as [End, End];
    b.sessions.set([]);
    pair.clock.run(20_000);
    expect([a.state, a.failures, a.status!.remoteState]).toEqual(["Down", 0, "AdminDown"]);
    expect(b.sessions.size).toBe(0);
    b.sessions.set([b.target]);
    pair.clock.run(5000);
    expect([a.state, b.state]).toEqual(["Up", "Up"]);
  });

  it("changed intervals reach the neighbour without a flap, faster or slower", () => {
    const pair = new Pair(5);
    pair.clock.run(5000);
    const [a, b] = pair.ends as [End, End];
    for (const ms of [2000, 50, 700, 10, 300]) {
      a.sessions.set([{ ...a.target, transmitMs: ms, receiveMs: ms }]);
      pair.clock.run(10_000);
      expect([a.state, b.state, a.failures, b.failures]).toEqual(["Up", "Up", 0, 0]);
      expect(b.status!.detectMs).toBe(3 * Math.max(ms, 300));
    }
  });

  it("with loss and reordering: never up on one side alone at rest, never up through a cut", () => {
    for (let seed = 100; seed < 160; seed++) {
      const pair = new Pair(seed, [
        { transmitMs: 50 + (seed % 7) * 60, receiveMs: 50, detectMultiplier: 2 + (seed % 4) },
        { transmitMs: 100, receiveMs: 100 + (seed % 5) * 80 },
      ]);
      const { clock, path, random, ends } = pair;
      for (let event = 0; event < 30; event++) {
        path.loss = random() < 0.5 ? 0 : random() * 0.6;
        path.delay = random() < 0.5 ? 1 : random() * 400;
        path.cut = random() < 0.3;
        if (random() < 0.2) {
          const end = ends[random() < 0.5 ? 0 : 1]!;
          end.kill();
          end.start();
        }
        clock.run(random() * 3000);
        if (path.cut) {
          clock.run(4000);
          for (const end of ends) expect(end.state).toBe("Down");
        }
      }
      path.loss = 0;
      path.cut = false;
      path.delay = 1;
      clock.run(10_000);
      for (const end of ends) {
        expect(end.state).toBe("Up");
        const before = end.failures;
        clock.run(5_000);
        expect(end.failures).toBe(before);
      }
    }
  });

  it("packets of strangers, of another path and with a made-up discriminator change nothing, and are counted", () => {
    const pair = new Pair(6);
    pair.clock.run(5000);
    const [a] = pair.ends as [End, End];
    const down = encodePacket({
      diagnostic: 0,
      state: BfdState.down,
      poll: false,
      final: false,
      independent: false,
      demand: false,
      detectMultiplier: 3,
      myDiscriminator: 7,
      yourDiscriminator: 0,
      desiredMinTx: 1_000_000,
      requiredMinRx: 1_000_000,
      requiredMinEchoRx: 0,
    });
    a.receive(down, { address: addressText(parseAddress("192.0.2.77")) });
    a.receive(down, { multihop: true });
    const forged = down.slice();
    new DataView(forged.buffer).setUint32(8, 12345);
    a.receive(forged);
    a.receive(down.subarray(0, 10));
    expect(a.state).toBe("Up");
    expect(a.sessions.counters.strangers).toBe(3);
    expect(a.sessions.counters.refused.short).toBe(1);
  });
});
