// test: the tables that make every node choose alike: even, stable, and independent of who computes them.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  flowHash,
  localSlotOfFlow,
  localSlots,
  maglevTable,
  slotOfFlow,
  slots,
} from "../../../src/datapath/maglev.ts";

const names = (count: number): string[] =>
  Array.from({ length: count }, (_, i) => `10.1.${i >> 8}.${i & 255} 80`);

const shares = (table: Uint8Array, count: number): number[] => {
  const of = new Array<number>(count).fill(0);
  for (const index of table) of[index]!++;
  return of;
};

describe("maglevTable", () => {
  test.each([1, 2, 3, 10, 100, 256])("gives each of %i backends its share", (count) => {
    for (const share of shares(maglevTable(names(count), slots), count)) {
      expect(share).toBeGreaterThanOrEqual(Math.floor(slots / count));
      expect(share).toBeLessThanOrEqual(Math.ceil(slots / count));
    }
  });

  test("moves few slots of others when a backend goes", () => {
    const before = names(50);
    const after = before.toSpliced(17, 1);
    const a = maglevTable(before, slots);
    const b = maglevTable(after, slots);
    let moved = 0;
    for (let i = 0; i < slots; i++) if (a[i] !== 17 && before[a[i]!] !== after[b[i]!]) moved++;
    expect(moved / slots).toBeLessThan(0.05);
  });

  test("fills every slot for any set of names", () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.string(), { minLength: 1, maxLength: 40 }), (some) => {
        const table = maglevTable(some, localSlots);
        const used = new Set(table);
        expect(used.size).toBe(some.length);
        expect(Math.max(...used)).toBe(some.length - 1);
      }),
      { seed: 7, numRuns: 50 },
    );
  });

  test("refuses what one byte cannot number", () => {
    expect(() => maglevTable(names(257), slots)).toThrow(RangeError);
  });
});

describe("flowHash", () => {
  const flow = (clientPort: number) => ({
    client: Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 192, 0, 2, 1),
    clientPort,
    vip: Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 62, 0, 1),
    vipPort: 80,
    protocol: 6,
  });

  test("stays within the tables", () => {
    fc.assert(
      fc.property(fc.nat(0xffff_ffff), (hash) => {
        expect(slotOfFlow(hash)).toBeLessThan(slots);
        expect(localSlotOfFlow(hash)).toBeLessThan(localSlots);
      }),
      { seed: 8 },
    );
  });

  test("spreads ports over the slots, and the local table independently of the first", () => {
    const first = new Array<number>(8).fill(0);
    const second = new Array<number>(8).fill(0);
    for (let port = 1024; port < 9216; port++) {
      const hash = flowHash(flow(port));
      const part = Math.floor((slotOfFlow(hash) * 8) / slots);
      first[part]!++;
      // Of the flows in one eighth of the first table: where are they in the second?
      if (part === 0) second[Math.floor((localSlotOfFlow(hash) * 8) / localSlots)]!++;
    }
    for (const share of first) expect(share).toBeGreaterThan(850);
    for (const share of second) expect(share).toBeGreaterThan(85);
  });
});
