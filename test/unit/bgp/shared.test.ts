// test/unit/bgp: neighbours that share what is written of a change log: each ends with exactly what it alone would have been told.
import { describe, expect, test } from "vitest";
import { compileChain } from "../../../src/bgp/policy/chain.ts";
import { AdjRibOut } from "../../../src/bgp/rib/adjout.ts";
import { exportTarget } from "../../../src/bgp/rib/export.ts";
import { Rib, type RibPeer } from "../../../src/bgp/rib/rib.ts";
import type { PathAttributes } from "../../../src/bgp/wire/attributes.ts";
import { FrameReader } from "../../../src/bgp/wire/frame.ts";
import { NlriCursor } from "../../../src/bgp/wire/nlri.ts";
import { layoutUpdate, updateLayout } from "../../../src/bgp/wire/update.ts";
import { UpdateWriter } from "../../../src/bgp/wire/writer.ts";
import { parseAddress } from "../../../src/net/address.ts";
import { acceptAll, origin, rule, seeded } from "./world.ts";

const hex = (b: Uint8Array): string => Buffer.from(b).toString("hex");

/** Octets as the neighbour understands them: attributes by prefix. */
class Listener {
  readonly routes = new Map<string, string>();
  /** Withdrawals of what was never announced. */
  idle = 0;
  readonly #frames = new FrameReader();
  readonly #layout = updateLayout();
  readonly #cursor = new NlriCursor();

  hear(bytes: Uint8Array): void {
    this.#frames.push(bytes, (_type, b, start, end) => {
      const layout = this.#layout;
      expect(layoutUpdate(b, start, end, layout)).toBeUndefined();
      for (const p of this.#prefixes(b, layout.withdrawn)) if (!this.routes.delete(p)) this.idle++;
      const attributes = hex(b.subarray(layout.attributes.start, layout.attributes.end));
      for (const p of this.#prefixes(b, layout.nlri)) this.routes.set(p, attributes);
      return true;
    });
  }

  *#prefixes(b: Uint8Array, { start, end }: { start: number; end: number }): Generator<string> {
    for (let at = start; at < end; ) {
      at = this.#cursor.read(b, at, 1);
      yield `${this.#cursor.words[0]}/${this.#cursor.length}`;
    }
  }
}

interface Session {
  out: AdjRibOut;
  listener: Listener;
  readonly peer: RibPeer;
}

const policy = { name: "marks", rules: [rule("all", { set: { ...acceptAll.rules[0]!.set, prepend: 1 } })] };
const policies = new Map([
  [acceptAll.name, acceptAll],
  [policy.name, policy],
]);

/** A RIB with so many external neighbours, and how to begin a session with one. */
function hive(peersMax: number, chainName: string) {
  const rib = new Rib(1);
  const peers = Array.from({ length: peersMax }, (_, i) => {
    const peer = rib.addPeer(`p${i}`)!;
    Object.assign(peer, { ebgp: true, asn: 65001, routerId: i + 1 });
    const chain = compileChain(["all"], policies);
    rib.setImport(peer, { ebgp: true, localAsn: 65000, routerId: 99, chain });
    return peer;
  });
  const target = exportTarget({
    ebgp: true,
    localAsn: 65000,
    chain: compileChain([chainName], policies),
    nextHop: { 1: undefined, 2: undefined },
    local: parseAddress("192.0.2.99"),
  });
  const open = (peer: RibPeer): Session => ({
    out: new AdjRibOut(1, rib.group(target), peer, rib.tables[1], rib.attributes, true),
    listener: new Listener(),
    peer,
  });
  return { rib, peers, open };
}

const attributes = (origin = 7): PathAttributes => ({
  afi: 1,
  origin: 0,
  asPath: [{ type: 2, asns: [65001, origin] }],
  nextHop: Uint8Array.of(192, 0, 2, 1),
});

const nlri = (n: number): Uint8Array => Uint8Array.of(24, 11, 0, n);

describe("shared chunks", () => {
  test("a route that has become the neighbour's own is not told to it although others were told", () => {
    const { rib, peers, open } = hive(3, "all");
    const [fast, slow] = [open(peers[2]!), open(peers[1]!)];
    const writer = new UpdateWriter();
    const turn = ({ out, listener }: Session): void => {
      while (!out.idle) listener.hear(out.take(writer, 4096, 1000).bytes);
    };
    turn(fast);
    turn(slow);
    const raw = rib.attributes.intern(attributes());
    for (const i of [0, 1]) rib.announce(peers[i]!, 1, nlri(1), 0, 4, raw);
    rib.flush();
    turn(fast);
    rib.withdraw(peers[0]!, 1, nlri(1), 0, 4);
    rib.flush();
    turn(slow);
    expect(fast.listener.routes.size).toBe(1);
    expect(slow.listener.routes.size).toBe(0);
  });

  test("a change while nobody is ahead any more is told, not what was told before it", () => {
    const { rib, peers, open } = hive(3, "all");
    const [fast, slow] = [open(peers[2]!), open(peers[1]!)];
    const writer = new UpdateWriter();
    const turn = ({ out, listener }: Session): void => {
      while (!out.idle) listener.hear(out.take(writer, 4096, 1000).bytes);
    };
    turn(fast);
    turn(slow);
    rib.announce(peers[0]!, 1, nlri(1), 0, 4, rib.attributes.intern(attributes()));
    rib.flush();
    turn(fast);
    fast.out[Symbol.dispose]();
    rib.announce(peers[0]!, 1, nlri(1), 0, 4, rib.attributes.intern(attributes(8)));
    rib.flush();
    turn(slow);
    const now = slow.out.out(rib.tables[1].prefixes.find(Uint32Array.of(0x0b000100), 0, 24));
    expect(rib.attributes.attributes(now, 1).asPath[0]!.asns).toEqual([65001, 8]);
    expect([...slow.listener.routes.values()]).toEqual([hex(slow.out.group.rewritten(1, now))]);
  });

  test.each([
    ["rewritten while written", "all", 21],
    ["changed by policy", "marks", 22],
  ])("%s: any order of changes and turns", (_name, chainName, seed) => {
    const random = seeded(seed);
    const pick = (n: number): number => Math.floor(random() * n);
    const { rib, peers, open } = hive(7, chainName);
    const sessions = peers.map(open);
    const writer = new UpdateWriter();
    const given = new Set<Uint8Array>();
    let again = 0;
    const turn = (s: Session): void => {
      if (s.out.idle) return;
      const { bytes } = s.out.take(writer, 4096, 150 + pick(200));
      if (bytes.length > 0 && given.has(bytes)) again++;
      given.add(bytes);
      s.listener.hear(bytes);
    };
    for (let step = 0; step < 8_000; step++) {
      const what = random();
      // The last neighbour has most routes, so that others come to the same places without any of their own there.
      const peer = peers[random() < 0.93 ? 6 : pick(3)]!;
      if (what < 0.35) {
        // The same whoever sends it, at times: then only who sent it changes.
        const raw = rib.attributes.intern(attributes(random() < 0.5 ? step : undefined));
        for (let i = pick(4); i >= 0; i--) rib.announce(peer, 1, nlri(pick(200)), 0, 4, raw);
      } else if (what < 0.5) rib.withdraw(peer, 1, nlri(pick(200)), 0, 4);
      else if (what < 0.52)
        rib.setOrigins([origin(0x0b000000 + 256 * (200 + pick(3)), 24, [`p${pick(7)}`, `p${pick(7)}`])]);
      else if (what < 0.56) {
        const i = pick(sessions.length);
        sessions[i]!.out[Symbol.dispose]();
        sessions[i] = open(sessions[i]!.peer);
      } else if (what < 0.562) sessions[pick(sessions.length)]!.out.restart();
      else if (what < 0.563) rib.sweep();
      else if (what < 0.7) rib.flush();
      // Some come to their turn far more often than others.
      else turn(sessions[Math.min(pick(7), pick(7))]!);
      if (step % 400 !== 399) continue;
      rib.flush();
      for (const s of sessions) while (!s.out.idle) turn(s);
      for (const { out, listener, peer } of sessions) {
        const wanted = new Map<string, string>();
        const { keys, lengths, limit } = rib.tables[1].prefixes;
        for (let pid = 0; pid < limit; pid++) {
          if (rib.tables[1].best[pid]! < 0) continue;
          const attribute = out.out(pid);
          if (attribute <= 0) continue;
          const t = rib.attributes;
          const learned = out.group.out[1][pid]! > 0 && out.group.rewrites[1];
          const bytes = learned
            ? out.group.rewritten(1, attribute)
            : t.bytes.subarray(t.start(attribute), t.end(attribute));
          wanted.set(`${keys[pid]}/${lengths[pid]}`, hex(bytes));
        }
        expect([...listener.routes].sort(), peer.name).toEqual([...wanted].sort());
        expect(out.advertised).toBe(wanted.size);
        expect(listener.idle).toBe(0);
      }
    }
    expect(again).toBeGreaterThan(50);
  });
});
