// test/unit/bgp: ADD-PATH (RFC 7911): identifiers on the wire, several paths of one neighbour, and what a neighbour that takes them is told.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { PATHS_MAX } from "../../../src/bgp/rib/table.ts";
import { noTreatment } from "../../../src/bgp/rib/treatment.ts";
import { type PeerConfig, State } from "../../../src/bgp/session/types.ts";
import { flatten } from "../../../src/bgp/wire/aspath.ts";
import { encodeCanonical } from "../../../src/bgp/wire/canonical.ts";
import type { Capabilities } from "../../../src/bgp/wire/capabilities.ts";
import { FrameReader, keepaliveMessage } from "../../../src/bgp/wire/frame.ts";
import { countNlri, countNlriWithIds, NlriCursor, readPathId } from "../../../src/bgp/wire/nlri.ts";
import { decodeOpen, encodeOpen, type Open } from "../../../src/bgp/wire/open.ts";
import { layoutUpdate, parseAttributes, UpdateForm, updateLayout } from "../../../src/bgp/wire/update.ts";
import { routeRefresh, UpdateWriter } from "../../../src/bgp/wire/writer.ts";
import { attributes } from "./arbitrary.ts";
import { type Host, origin, peerConfig, type RawPeer, seeded, speakerConfig, World } from "./world.ts";

const form = UpdateForm.pathIds[1] | UpdateForm.pathIds[2];

describe("wire", () => {
  test.each([1, 2] as const)("identifiers that we write are read as they went in, AFI %d", (afi) => {
    const layout = updateLayout();
    const writer = new UpdateWriter();
    const cursor = new NlriCursor();
    const nlri = fc.tuple(fc.integer({ min: 0, max: 0xffffffff }), fc.integer({ min: 8, max: 32 }));
    fc.assert(
      fc.property(attributes(afi), fc.array(nlri, { minLength: 1, maxLength: 900 }), (a, list) => {
        const bytes = encodeCanonical(a);
        for (const withdrawn of [false, true]) {
          writer.begin(4096);
          if (withdrawn) writer.withdraw(afi, true);
          else if (!writer.announce(afi, bytes, 0, bytes.length, true)) return;
          for (const [id, length] of list) writer.add(Uint32Array.of(0x0b000000, 0, 0, 0), 0, length, id);
          const seen: [number, number][] = [];
          const error = new FrameReader().push(writer.finish(), (_type, b, start, end) => {
            expect(end - start + 19).toBeLessThanOrEqual(4096);
            expect(layoutUpdate(b, start, end, layout, form)).toBeUndefined();
            const mp = withdrawn ? layout.unreach.nlri : layout.reach.nlri;
            const span = afi === 2 ? mp : withdrawn ? layout.withdrawn : layout.nlri;
            const before = seen.length;
            for (let at = span.start; at < span.end; ) {
              const id = readPathId(b, at);
              at = cursor.read(b, at + 4, afi);
              seen.push([id, cursor.length]);
            }
            expect(countNlriWithIds(b, span.start, span.end, afi)).toBe(seen.length - before);
            return true;
          });
          expect(error).toBeUndefined();
          expect(seen).toEqual(list);
        }
      }),
      { seed: 7911, numRuns: 60 },
    );
  });

  test.each([
    ["cut in the identifier", [0, 0, 0]],
    ["nothing behind the identifier", [0, 0, 0, 1]],
    ["a prefix of 33 bits", [0, 0, 0, 1, 33, 10, 0, 0, 0, 0]],
    ["a prefix that runs over the end", [0, 0, 0, 1, 24, 10, 0]],
  ])("%s is malformed", (_name, octets) => {
    expect(countNlriWithIds(Uint8Array.from(octets), 0, octets.length, 1)).toBe(-1);
  });

  test("the capability: a mode that means nothing is passed over (RFC 7911 4)", () => {
    const value = Uint8Array.of(0, 1, 1, 3, 0, 2, 1, 0, 0, 2, 1, 9);
    const bytes = encodeOpen({
      asn: 65001,
      holdSeconds: 90,
      routerId: 1,
      capabilities: { other: [{ code: 69, value }] },
    });
    const read = decodeOpen(bytes, 19, bytes.length) as Open;
    expect(read.capabilities.addPath).toEqual([{ afi: 1, safi: 1, mode: 3 }]);
    const odd = encodeOpen({
      asn: 65001,
      holdSeconds: 90,
      routerId: 1,
      capabilities: { other: [{ code: 69, value: value.slice(0, 5) }] },
    });
    expect(decodeOpen(odd, 19, odd.length)).toMatchObject({ code: 2 });
  });
});

const both = { receive: true, send: 0xffff };
const addPath = { 1: both, 2: { receive: false, send: 0 } };
const capability: Capabilities = {
  families: [{ afi: 1, safi: 1 }],
  routeRefresh: true,
  addPath: [{ afi: 1, safi: 1, mode: 3 }],
};

/** A neighbour that the test plays; `n` makes its address and AS number. */
class Player {
  readonly raw: RawPeer;
  readonly n: number;
  readonly pathIds: boolean;
  constructor(world: World, host: Host, n: number, pathIds: boolean) {
    this.n = n;
    this.pathIds = pathIds;
    this.raw = world.raw(host, `10.0.0.${n}`);
    const capabilities: Capabilities = { ...capability, as4: 65000 + n };
    if (!pathIds) delete (capabilities as { addPath?: unknown }).addPath;
    this.raw.send(
      encodeOpen({ asn: 65000 + n, holdSeconds: 0, routerId: n, capabilities }),
      keepaliveMessage,
    );
  }

  announce(prefix: number, id: number, path: readonly number[], med?: number): void {
    const writer = new UpdateWriter();
    writer.begin(4096);
    const a = encodeCanonical({
      afi: 1,
      origin: 0,
      asPath: [{ type: 2, asns: [65000 + this.n, ...path] }],
      nextHop: Uint8Array.of(10, 0, 0, this.n),
      ...(med === undefined ? {} : { med }),
    });
    writer.announce(1, a, 0, a.length, this.pathIds);
    writer.add(Uint32Array.of(prefix), 0, 24, id);
    this.raw.send(writer.finish());
  }

  withdraw(prefix: number, id: number): void {
    const writer = new UpdateWriter();
    writer.begin(4096);
    writer.withdraw(1, this.pathIds);
    writer.add(Uint32Array.of(prefix), 0, 24, id);
    this.raw.send(writer.finish());
  }

  /** What it holds of us, from all that it was sent: prefix -> AS paths, sorted. */
  holds(): Record<string, string[]> {
    const table = new Map<string, Map<number, string>>();
    const layout = updateLayout();
    const cursor = new NlriCursor();
    const ids = this.pathIds ? UpdateForm.pathIds[1] : 0;
    for (const { type, body } of this.raw.received) {
      if (type !== 2) continue;
      expect(layoutUpdate(body, 0, body.length, layout, ids)).toBeUndefined();
      const { attributes: a, withdrawn, nlri } = layout;
      const context = { ebgp: true, as4: true };
      const parsed = parseAttributes(body, a.start, a.end, 1, undefined, context, nlri.start < nlri.end);
      const text = flatten(parsed.attributes?.asPath ?? []).join(" ");
      for (const [span, gone] of [
        [withdrawn, true],
        [nlri, false],
      ] as const)
        for (let at = span.start; at < span.end; ) {
          const id = this.pathIds ? readPathId(body, at) : 0;
          at = cursor.read(body, at + (this.pathIds ? 4 : 0), 1);
          const key = (cursor.words[0]! >>> 8).toString(16);
          const paths = table.get(key) ?? new Map<number, string>();
          if (gone) expect(paths.delete(id), `withdrawn: ${key} ${id}`).toBe(true);
          else paths.set(id, text);
          table.set(key, paths);
        }
    }
    return Object.fromEntries(
      [...table]
        .filter(([, paths]) => paths.size > 0)
        .map(([key, paths]) => [key, [...paths.values()].sort()] as const)
        .sort(([x], [y]) => (x < y ? -1 : 1)),
    );
  }
}

const peer = (n: number, more: Partial<PeerConfig> = {}): PeerConfig =>
  peerConfig(`p${n}`, `10.0.0.${n}`, 65000 + n, { passive: true, families: [1], addPath, ...more });
const start = (...peers: PeerConfig[]): { world: World; host: Host } => {
  const world = new World(3);
  const host = world.add("h", "10.0.0.1");
  host.speaker.apply(speakerConfig(peers));
  return { world, host };
};
const prefix = 0x0b000000;

describe("sessions", () => {
  test("both directions are negotiated by family and by what each side wants", () => {
    const { world, host } = start(peer(2), peer(3, { addPath: { 1: { receive: false, send: 2 }, 2: both } }));
    new Player(world, host, 2, true);
    new Player(world, host, 3, true);
    expect(host.speaker.session("p2")!.negotiated).toMatchObject({
      pathsIn: { 1: true, 2: false },
      pathsOut: { 1: true, 2: false },
    });
    expect(host.speaker.session("p3")!.negotiated).toMatchObject({
      pathsIn: { 1: false, 2: false },
      pathsOut: { 1: true, 2: false },
    });
  });

  test("several paths of one neighbour: kept apart, replaced and withdrawn by identifier", () => {
    const { world, host } = start(peer(2));
    const p = new Player(world, host, 2, true);
    const { rib } = host.speaker.session("p2")!;
    p.announce(prefix, 7, [1, 2]);
    p.announce(prefix, 0, [1]);
    p.announce(prefix, 9, [1, 2, 3]);
    expect(rib.received[1]).toBe(3);
    const best = () => {
      const { attributes: t, tables } = host.speaker.rib;
      const { order } = tables[1].candidates(0);
      return order.map((c) => `${c.id}: ${flatten(t.attributes(c.attribute, 1).asPath).join(" ")}`);
    };
    expect(best()).toEqual(["0: 65002 1", "7: 65002 1 2", "9: 65002 1 2 3"]);
    p.announce(prefix, 9, []);
    expect(best()).toEqual(["9: 65002", "0: 65002 1", "7: 65002 1 2"]);
    p.withdraw(prefix, 9);
    p.withdraw(prefix, 5);
    expect(best()).toEqual(["0: 65002 1", "7: 65002 1 2"]);
    p.raw.close();
    expect(rib.received[1]).toBe(0);
    expect(host.speaker.rib.tables[1].pathCount).toBe(0);
  });

  test("a neighbour cannot pile paths up on a prefix", () => {
    const { world, host } = start(peer(2));
    const p = new Player(world, host, 2, true);
    for (let id = 1; id <= PATHS_MAX + 5; id++) p.announce(prefix, id, []);
    expect(host.speaker.session("p2")!.rib.received[1]).toBe(PATHS_MAX);
    expect(host.speaker.rib.tables[1].pathsRefused).toBe(5);
    expect(host.speaker.session("p2")!.state).toBe(State.established);
  });

  test("best 2 of the paths are sent, never the neighbour's own, and what falls out is withdrawn", () => {
    const two = { 1: { receive: true, send: 2 }, 2: both };
    const { world, host } = start(peer(2), peer(3), peer(4, { addPath: two }));
    const [a, b, c] = [2, 3, 4].map((n) => new Player(world, host, n, true)) as [Player, Player, Player];
    a.announce(prefix, 1, [1, 2, 3]);
    b.announce(prefix, 1, [1, 2]);
    c.announce(prefix, 1, []);
    expect(c.holds()).toEqual({ b0000: ["65000 65002 1 2 3", "65000 65003 1 2"] });
    a.announce(prefix, 2, [9]);
    expect(c.holds()).toEqual({ b0000: ["65000 65002 9", "65000 65003 1 2"] });
    a.withdraw(prefix, 2);
    expect(c.holds()).toEqual({ b0000: ["65000 65002 1 2 3", "65000 65003 1 2"] });
    const sent = host.speaker.session("p4")!.sender!.out(1)!;
    expect(sent.advertised).toBe(2);
    // More of them, on the living session.
    host.speaker.apply(speakerConfig([peer(2), peer(3), peer(4)]));
    a.announce(prefix, 2, [9]);
    expect(c.holds()["b0000"]).toHaveLength(3);
    expect(host.speaker.session("p4")!.flaps).toBe(0);
  });

  test("a route of our own goes along with learned ones; a refresh sends all again", () => {
    const { world, host } = start(peer(2), peer(3));
    const [a, b] = [2, 3].map((n) => new Player(world, host, n, true)) as [Player, Player];
    a.announce(prefix, 4, [1]);
    host.speaker.apply(speakerConfig([peer(2), peer(3)], { origins: [origin(prefix, 24, ["p3"])] }));
    world.clock.run(20);
    expect(b.holds()).toEqual({ b0000: ["65000", "65000 65002 1"] });
    const before = b.raw.received.length;
    b.raw.send(routeRefresh(1));
    const again = b.raw.received.slice(before).filter((m) => m.type === 2);
    expect(again.length).toBe(2);
    expect(b.holds()).toEqual({ b0000: ["65000", "65000 65002 1"] });
    host.speaker.apply(speakerConfig([peer(2), peer(3)]));
    world.clock.run(20);
    expect(b.holds()).toEqual({ b0000: ["65000 65002 1"] });
  });

  test.each([1, 2, 3])("after any history everybody holds what a naive model says, seed %d", (seed) => {
    const random = seeded(seed);
    const pick = (n: number): number => Math.floor(random() * n);
    const limits = [0xffff, 2, 0xffff, 0xffff];
    const withIds = [true, true, true, false];
    const configs = [2, 3, 4, 5].map((n, i) =>
      peer(n, { gracefulRestart: false, addPath: { 1: { receive: true, send: limits[i]! }, 2: both } }),
    );
    const { world, host } = start(...configs);
    const players = [2, 3, 4, 5].map((n, i) => new Player(world, host, n, withIds[i]!));
    /** By player, prefix and identifier: the path, as the neighbours hear it. */
    const model = new Map<string, { from: number; key: string; path: string; length: number; id: number }>();
    for (let step = 0; step < 300; step++) {
      const i = pick(4);
      const p = players[i]!;
      const number = pick(5);
      const id = p.pathIds ? pick(3) : 0;
      const name = `${i} ${number} ${id}`;
      if (random() < 0.04) {
        p.raw.close();
        world.clock.run(60_000);
        players[i] = new Player(world, host, i + 2, withIds[i]!);
        for (const [k, r] of model) if (r.from === i) model.delete(k);
      } else if (random() < 0.65) {
        const path = Array.from({ length: pick(3) }, () => 100 + pick(3));
        const med = pick(2);
        p.announce(prefix + number * 256, id, path, med);
        const text = [65000, 65002 + i, ...path].join(" ");
        const key = ((prefix + number * 256) >>> 8).toString(16);
        model.set(name, { from: i, key, path: text, length: path.length, id });
      } else {
        p.withdraw(prefix + number * 256, id);
        model.delete(name);
      }
      if (random() < 0.05) p.raw.stall(random() < 0.5);
    }
    for (const p of players) p.raw.stall(false);
    world.clock.run(5_000);
    for (const [i, p] of players.entries()) {
      const expected: Record<string, string[]> = {};
      const keys = [...new Set([...model.values()].map((r) => r.key))].sort();
      for (const key of keys) {
        const all = [...model.values()].filter((r) => r.key === key);
        // Best first by length and then router identifier; MED counts within an AS only, where it only orders.
        if (!p.pathIds) continue;
        const others = all.filter((r) => r.from !== i);
        if (others.length === 0) continue;
        if (limits[i] === 0xffff) expected[key] = others.map((r) => r.path).sort();
        else expected[key] = [];
      }
      const held = p.holds();
      if (!p.pathIds) continue;
      if (limits[i] === 0xffff) expect(held, `p${i + 2}`).toEqual(expected);
      else
        for (const key of Object.keys(expected)) {
          const others = [...model.values()].filter((r) => r.key === key && r.from !== i);
          expect(held[key]).toHaveLength(Math.min(2, others.length));
          // None that is left out is shorter than one that is sent.
          const longest = Math.max(...held[key]!.map((t) => t.split(" ").length));
          const left = others.filter((r) => !held[key]!.includes(r.path));
          for (const r of left) expect(r.length + 2).toBeGreaterThanOrEqual(longest);
        }
    }
  });
});

test("a plain NLRI field is not one with identifiers", () => {
  const b = Uint8Array.of(24, 10, 0, 1, 24, 10, 0, 2, 16, 10, 1);
  expect(countNlri(b, 0, b.length, 1)).toBe(3);
  expect(countNlriWithIds(b, 0, b.length, 1)).toBe(-1);
});

test("clients of a route server without ADD-PATH: each hears the best of what may go to it (RFC 7947 2.3)", () => {
  const client = {
    gracefulRestart: false,
    addPath: { 1: { receive: false, send: 0 }, 2: both },
    treatment: { ...noTreatment, routeServerClient: true },
  };
  const { world, host } = start(...[2, 3, 4].map((n) => peer(n, client)));
  const [a, b, c] = [2, 3, 4].map((n) => new Player(world, host, n, false)) as [Player, Player, Player];
  a.announce(prefix, 0, []);
  b.announce(prefix, 0, [1, 2]);
  const all = () => [a, b, c].map((p) => p.holds()["b0000"]);
  // The best one is a's: it hears b's all the same.
  expect(all()).toEqual([["65003 1 2"], ["65002"], ["65002"]]);
  c.announce(prefix, 0, [1]);
  expect(all()).toEqual([["65004 1"], ["65002"], ["65002"]]);
  a.withdraw(prefix, 0);
  expect(all()).toEqual([["65004 1"], ["65004 1"], ["65003 1 2"]]);
  c.raw.close();
  world.clock.run(20);
  expect([a, b].map((p) => p.holds()["b0000"])).toEqual([["65003 1 2"], undefined]);
  expect(host.speaker.session("p3")!.sender!.out(1)!.advertised).toBe(0);
});
