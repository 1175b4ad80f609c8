// test/unit/bgp: attribute sets for property tests.
import fc from "fast-check";
import type { PathAttributes } from "../../../src/bgp/wire/attributes.ts";

export const u32 = fc.nat({ max: 0xffffffff });
export const asn = fc.integer({ min: 1, max: 0xffffffff });

const unique = <T>(item: fc.Arbitrary<T>, key: (t: T) => unknown, max: number) =>
  fc.uniqueArray(item, { selector: key, maxLength: max });

export const path = fc
  .array(fc.array(asn, { minLength: 1, maxLength: 6 }), { maxLength: 3 })
  .map((segments) => segments.map((asns) => ({ type: 2, asns })));

const unicast4 = fc
  .tuple(fc.integer({ min: 1, max: 223 }), fc.nat({ max: 255 }), fc.nat({ max: 255 }), fc.nat({ max: 255 }))
  .filter(([a]) => a !== 127)
  .map((b) => Uint8Array.from(b));
const unicast6 = fc.uint8Array({ minLength: 15, maxLength: 15 }).map((b) => Uint8Array.from([0x20, ...b]));

const partialFields: Readonly<Record<number, Exclude<keyof PathAttributes, "afi" | "partial">>> = {
  7: "aggregator",
  8: "communities",
  16: "extendedCommunities",
  25: "ipv6ExtendedCommunities",
  32: "large",
  35: "otc",
};

/** Any set of attributes that may be used, for routes of a family. */
export const attributes = (afi: 1 | 2): fc.Arbitrary<PathAttributes> =>
  fc
    .record(
      {
        origin: fc.constantFrom(0, 1, 2) as fc.Arbitrary<0 | 1 | 2>,
        asPath: path,
        nextHop: afi === 1 ? unicast4 : unicast6,
        med: u32,
        localPref: u32,
        atomicAggregate: fc.constant(true as const),
        aggregator: fc.record({ asn, address: u32 }),
        communities: fc.array(fc.oneof(u32, fc.constantFrom(0xffffff01, 0xffffff02, 0xffff0000)), {
          minLength: 1,
          maxLength: 80,
        }),
        originatorId: u32,
        clusterList: fc.array(u32, { minLength: 1, maxLength: 3 }),
        extendedCommunities: fc.uint8Array({ minLength: 8, maxLength: 8 }),
        ipv6ExtendedCommunities: fc.uint8Array({ minLength: 20, maxLength: 20 }),
        partial: fc.subarray([7, 8, 16, 25, 32, 35], { minLength: 1 }),
        large: unique(fc.tuple(u32, u32, u32), (l) => l.join(), 30).filter((l) => l.length > 0),
        otc: u32,
        unknown: unique(
          fc.record({
            code: fc.integer({ min: 60, max: 127 }),
            flags: fc.constant(0xe0),
            value: fc.uint8Array({ maxLength: 300 }),
          }),
          (u) => u.code,
          3,
        )
          .filter((u) => u.length > 0)
          .map((u) => u.sort((a, b) => a.code - b.code)),
      },
      { requiredKeys: ["origin", "asPath", "nextHop"] },
    )
    .map(({ partial, ...a }) => {
      // Only what is there can have the bit.
      const kept = partial?.filter((code) => a[partialFields[code]!] !== undefined);
      return { afi, ...a, ...(kept?.length ? { partial: kept } : {}) };
    });
