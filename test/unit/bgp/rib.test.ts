// test/unit/bgp: the RIB's data structures against plain models, and the decision process.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { AttributeTable } from "../../../src/bgp/rib/attributes.ts";
import { ChangeLog, type LogCursor } from "../../../src/bgp/rib/changelog.ts";
import { type Candidate, decide } from "../../../src/bgp/rib/decision.ts";
import { PrefixTable } from "../../../src/bgp/rib/prefixes.ts";
import type { PathAttributes } from "../../../src/bgp/wire/attributes.ts";
import { seeded } from "./world.ts";

describe("PrefixTable", () => {
  test.each([1, 2] as const)("behaves as a map, AFI %d", (afi) => {
    const random = seeded(7);
    const table = new PrefixTable(afi, 99);
    const model = new Map<string, number>();
    const words = afi === 1 ? 1 : 4;
    const keys = new Uint32Array(4);
    for (let step = 0; step < 30_000; step++) {
      // Few distinct keys, so that they collide, come back and go.
      for (let i = 0; i < words; i++) keys[i] = Math.floor(random() * 6) << 24;
      keys[0]! |= Math.floor(random() * 200);
      const length = afi === 1 ? 32 : 64 + Math.floor(random() * 3);
      const text = `${keys.subarray(0, words).join()}/${length}`;
      const known = model.get(text);
      expect(table.find(keys, 0, length)).toBe(known ?? -1);
      if (random() < 0.6) {
        const pid = table.intern(keys, 0, length);
        if (known !== undefined) expect(pid).toBe(known);
        else {
          expect([...model.values()]).not.toContain(pid);
          model.set(text, pid);
        }
        if (step % 100 !== 0) continue;
        expect(table.size).toBe(model.size);
      } else if (known !== undefined) {
        table.remove(known);
        model.delete(text);
      }
    }
  });
});

describe("ChangeLog", () => {
  test("every reader sees each change after it at least once, none twice without a further change", () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.oneof(
            { weight: 8, arbitrary: fc.record({ op: fc.constant("change"), pid: fc.nat({ max: 12 }) }) },
            { weight: 4, arbitrary: fc.record({ op: fc.constant("read"), pid: fc.nat({ max: 20 }) }) },
            { weight: 1, arbitrary: fc.record({ op: fc.constant("open"), pid: fc.constant(0) }) },
            { weight: 1, arbitrary: fc.record({ op: fc.constant("close"), pid: fc.nat({ max: 5 }) }) },
          ),
          { maxLength: 400 },
        ),
        (steps) => {
          const pins = new Uint16Array(64);
          const log = new ChangeLog({ pins, releaseIfUnused: (pid) => expect(pins[pid]).toBe(0) });
          const readers: { cursor: LogCursor; owed: Set<number> }[] = [];
          for (const { op, pid } of steps) {
            if (op === "open" && readers.length < 5) readers.push({ cursor: log.open(), owed: new Set() });
            else if (op === "close" && readers[pid]) {
              log.close(readers[pid].cursor);
              readers.splice(pid, 1);
            } else if (op === "change") {
              log.append(pid);
              for (const r of readers) r.owed.add(pid);
            } else if (op === "read" && readers.length > 0) {
              const r = readers[pid % readers.length]!;
              for (let n = 0; n <= pid && r.cursor.position < log.end; n++) {
                const seen = log.entry(r.cursor.position++);
                if (seen < 0) continue;
                expect(r.owed.delete(seen)).toBe(true);
              }
              log.trim();
            }
            const owed = new Set(readers.flatMap((r) => [...r.owed]));
            for (const p of owed) expect(pins[p]).toBe(1);
            expect(log.live).toBeGreaterThanOrEqual(owed.size);
          }
          for (const r of readers) {
            while (r.cursor.position < log.end) {
              const seen = log.entry(r.cursor.position++);
              if (seen >= 0) expect(r.owed.delete(seen)).toBe(true);
            }
            expect(r.owed.size).toBe(0);
          }
          for (const r of readers) log.close(r.cursor);
          expect(pins.every((n) => n === 0)).toBe(true);
        },
      ),
      { seed: 1, numRuns: 400 },
    );
  });

  test("a reader that never reads costs one entry a prefix, not one a change", () => {
    const log = new ChangeLog({ pins: new Uint16Array(128), releaseIfUnused: () => {} });
    log.open();
    const fast = log.open();
    for (let i = 0; i < 200_000; i++) {
      log.append(i % 100);
      fast.position = log.end;
      log.trim();
    }
    expect(log.live).toBe(100);
    expect(log.end).toBeLessThanOrEqual(256);
  });
});

const set = (more: Partial<PathAttributes> = {}): PathAttributes => ({
  afi: 1,
  origin: 0,
  asPath: [{ type: 2, asns: [65001] }],
  nextHop: Uint8Array.of(192, 0, 2, 1),
  ...more,
});

describe("AttributeTable", () => {
  test("equal sets have one number; a sweep frees the unused and keeps numbers", () => {
    const table = new AttributeTable(5);
    const ids = Array.from({ length: 500 }, (_, i) => table.intern(set({ med: i })));
    expect(new Set(ids).size).toBe(500);
    expect(table.intern(set({ med: 7 }))).toBe(ids[7]);
    const raw = Uint8Array.of(1, 2, 3);
    table.alias(3, raw, 0, 3, ids[7]!);
    const shared = table.bytes.slice(table.start(ids[9]!), table.end(ids[9]!));
    table.alias(3, shared, 0, shared.length, ids[9]!);
    expect(table.lookup(3, raw, 0, 3)).toBe(ids[7]);
    expect(table.lookup(4, raw, 0, 3)).toBe(-1);
    table.sweep((used) => {
      for (let i = 0; i < 500; i += 2) used[ids[i]!] = 1;
      used[ids[9]!] = 1;
    });
    expect(table.size).toBe(251);
    for (let i = 0; i < 500; i += 2) expect(table.attributes(ids[i]!, 1).med).toBe(i);
    expect(table.lookup(3, shared, 0, shared.length)).toBe(ids[9]);
    expect(table.lookup(3, raw, 0, 3)).toBe(-1);
    const fresh = table.intern(set({ med: 10_001 }));
    expect(fresh).toBeLessThanOrEqual(501);
    expect(ids.filter((_, i) => i % 2 === 0 || i === 9)).not.toContain(fresh);
    expect(table.attributes(fresh, 1).med).toBe(10_001);
  });

  test("churn of sets does not grow the table", () => {
    const table = new AttributeTable(5);
    for (let round = 0; round < 60; round++) {
      for (let i = 0; i < 1000; i++) table.intern(set({ med: round * 1000 + i }));
      table.sweep(() => {});
    }
    expect(table.limit).toBeLessThanOrEqual(1001);
    expect(table.bytes.length).toBeLessThanOrEqual(128 * 1024);
  });
});

describe("decision process", () => {
  const t = new AttributeTable(1);
  const peer = (index: number, more: Partial<Candidate["peer"]> = {}) => ({
    index,
    ebgp: true,
    routerId: index,
    address: BigInt(index),
    ...more,
  });
  let path = 0;
  const candidate = (attributes: PathAttributes, p = peer(1)): Candidate => ({
    path: path++,
    id: 0,
    attribute: t.intern(attributes),
    peer: p,
  });
  const best = (...candidates: Candidate[]) => decide(t, candidates);

  test.each([
    ["a route of our own", candidate(set({ localPref: 1 }), peer(0)), candidate(set({ localPref: 900 }))],
    ["higher LOCAL_PREF", candidate(set({ localPref: 101 })), candidate(set())],
    ["shorter AS_PATH", candidate(set()), candidate(set({ asPath: [{ type: 2, asns: [65001, 1] }] }))],
    ["lower ORIGIN", candidate(set()), candidate(set({ origin: 2 }))],
    ["lower MED of one neighbour AS", candidate(set({ med: 1 })), candidate(set({ med: 2 }), peer(2))],
    ["no MED is MED 0", candidate(set(), peer(9)), candidate(set({ med: 2 }), peer(2))],
    [
      "external over internal",
      candidate(set(), peer(9)),
      candidate(set({ localPref: 100 }), peer(2, { ebgp: false })),
    ],
    [
      "lower router identifier",
      candidate(set(), peer(9, { routerId: 1 })),
      candidate(set(), peer(3, { routerId: 2 })),
    ],
    [
      "lower address",
      candidate(set(), peer(9, { routerId: 1, address: 1n })),
      candidate(set(), peer(3, { routerId: 1, address: 2n })),
    ],
  ])("%s wins", (_name, winner, loser) => {
    expect(best(winner, loser).order[0]).toBe(winner);
    expect(best(loser, winner).order[0]).toBe(winner);
  });

  test("MED of different neighbour ASes is not compared", () => {
    const a = candidate(set({ med: 50, asPath: [{ type: 2, asns: [1] }] }), peer(1));
    const b = candidate(set({ med: 10, asPath: [{ type: 2, asns: [2] }] }), peer(2));
    expect(best(a, b).order[0]).toBe(a);
    expect(best(a, b).equal).toBe(2);
  });

  test("the answer does not depend on the order of arrival", () => {
    // The classic: pairwise comparison with MED is not transitive.
    const attributes = fc
      .record({
        med: fc.nat({ max: 2 }),
        asn: fc.integer({ min: 1, max: 3 }),
        ebgp: fc.boolean(),
        id: fc.nat({ max: 3 }),
      })
      .map(({ med, asn, ebgp, id }) => ({ a: set({ med, asPath: [{ type: 2, asns: [asn] }] }), ebgp, id }));
    fc.assert(
      fc.property(fc.array(attributes, { minLength: 2, maxLength: 8 }), fc.nat(), (list, salt) => {
        const all = list.map(({ a, ebgp, id }, i) => candidate(a, peer(i + 1, { ebgp, routerId: id })));
        const random = seeded(salt);
        const shuffled = all
          .map((c) => ({ c, key: random() }))
          .sort((x, y) => x.key - y.key)
          .map(({ c }) => c);
        const x = best(...all);
        const y = best(...shuffled);
        expect(y.order[0]).toBe(x.order[0]);
        expect(new Set(y.order.slice(0, y.equal))).toEqual(new Set(x.order.slice(0, x.equal)));
      }),
      { seed: 3, numRuns: 500 },
    );
  });

  test("multipath: those that tie before the router identifier", () => {
    const a = candidate(set(), peer(1));
    const b = candidate(set({ asPath: [{ type: 2, asns: [65002] }] }), peer(2));
    const c = candidate(set({ asPath: [{ type: 2, asns: [65002, 3] }] }), peer(3));
    const { order, equal } = best(c, b, a);
    expect(order).toEqual([a, b, c]);
    expect(equal).toBe(2);
  });
});
