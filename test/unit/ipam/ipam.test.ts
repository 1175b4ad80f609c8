import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { IPPool } from "../../../src/api/index.ts";
import {
  type Applicant,
  bucketOf,
  capacityOf,
  chooseExactly,
  chooseFree,
  nextFree,
  Occupancy,
  overlapOf,
  parseClaimName,
  parsePool,
  poolLabelValue,
  type Refusal,
  refusedPools,
  type Space,
  spanOf,
} from "../../../src/ipam/index.ts";
import { joined, unitsIn } from "../../../src/ipam/ranges.ts";
import {
  bitsOf,
  claimName,
  comparePrefix,
  contains,
  type Family,
  formatPrefix,
  fromInteger,
  hostPrefix,
  maskTo,
  overlaps,
  type Prefix,
  parseAddress,
  parsePrefix,
  toInteger,
} from "../../../src/net/address.ts";

const poolObject = (
  name: string,
  spec: Partial<IPPool["spec"]>,
  created = "2026-01-01T00:00:00Z",
): IPPool => ({
  apiVersion: "waggle.dev/v1alpha1",
  kind: "IPPool",
  metadata: { name, uid: `uid-${name}`, creationTimestamp: created },
  spec: {
    purpose: "LoadBalancers",
    blocks: ["10.0.0.0/24"],
    serviceSelector: {},
    priority: 100,
    cooldownSeconds: 30,
    disabled: false,
    ...spec,
  },
});
const pool = (name: string, spec: Partial<IPPool["spec"]>) => parsePool(poolObject(name, spec)).pool;
const web: Applicant = { purpose: "LoadBalancers", family: 4, labels: { app: "web" }, namespace: "shop" };

const space = (more: Partial<Space>): Space => ({
  pools: [],
  accepted: () => true,
  taken: new Occupancy(),
  used: () => 0,
  kept: [],
  ...more,
});

/** Prefixes inside a /20 or /116, so that an oracle may look at every unit. */
const family = fc.constantFrom<Family>(4, 6);
const base: Record<Family, Prefix> = { 4: parsePrefix("10.0.0.0/20"), 6: parsePrefix("fd00::/116") };
const inside = (f: Family, shortest: number, longest = bitsOf(f)) =>
  fc
    .tuple(fc.integer({ min: shortest, max: longest }), fc.integer({ min: 0, max: 4095 }))
    .map(([length, offset]) => maskTo(fromInteger(f, toInteger(base[f]) + BigInt(offset)), length));

const scenario = family.chain((f) => {
  const bits = bitsOf(f);
  return fc.record({
    block: inside(f, bits - 12, bits - 4),
    more: fc.integer({ min: 0, max: 4 }),
    claims: fc.array(inside(f, bits - 10), { maxLength: 40 }),
    kept: fc.array(inside(f, bits - 10), { maxLength: 6 }),
  });
});

/** Every unit of the block, one after another. */
function* units(block: Prefix, length: number): Generator<Prefix> {
  const size = 1n << BigInt(bitsOf(block.family) - length);
  const end = toInteger(block) + (1n << BigInt(bitsOf(block.family) - block.length));
  for (let at = toInteger(block); at < end; at += size) yield { ...fromInteger(block.family, at), length };
}

describe("next free", () => {
  it("is the lowest unit that touches nothing taken or kept, and there is one exactly if there is one", () => {
    fc.assert(
      fc.property(scenario, ({ block, more, claims, kept }) => {
        const length = Math.min(bitsOf(block.family), block.length + more * 2);
        const found = nextFree(block, length, Occupancy.of(claims), joined(kept, block.family));
        let expected: Prefix | undefined;
        for (const unit of units(block, length))
          if (![...claims, ...kept].some((p) => overlaps(p, unit))) {
            expected = unit;
            break;
          }
        expect(found && formatPrefix(found)).toBe(expected && formatPrefix(expected));
      }),
      { seed: 20, numRuns: 1500 },
    );
  });

  it("fills a block to its last address without giving any twice, then says that it is full", () => {
    fc.assert(
      fc.property(scenario, ({ block, claims, kept }) => {
        const length = Math.min(bitsOf(block.family), block.length + 6);
        const taken = Occupancy.of(claims);
        const ranges = joined(kept, block.family);
        const given = new Set<string>();
        for (let i = 0; ; i++) {
          const next = nextFree(block, length, taken, ranges);
          if (!next) break;
          expect(contains(block, next)).toBe(true);
          expect(given.has(formatPrefix(next))).toBe(false);
          given.add(formatPrefix(next));
          taken.set(`given-${i}`, next);
        }
        const free = [...units(block, length)].filter(
          (u) => ![...claims, ...kept].some((p) => overlaps(p, u)),
        );
        expect(given.size).toBe(free.length);
      }),
      { seed: 21, numRuns: 200 },
    );
  });

  it("does not walk through a huge range", () => {
    const block = parsePrefix("fd00::/32");
    const begun = performance.now();
    expect(formatPrefix(nextFree(block, 128, Occupancy.of([parsePrefix("fd00::/33")]), [])!)).toBe(
      "fd00:0:8000::/128",
    );
    expect(capacityOf(pool("p", { blocks: ["fd00::/32"], reserved: ["fd00::/33"] }))).toBe(1n << 95n);
    expect(performance.now() - begun).toBeLessThan(100);
  });

  it("goes on behind ten thousand claims in milliseconds", () => {
    const taken = new Occupancy();
    for (let i = 0; i < 10_000; i++)
      taken.set(`c${i}`, hostPrefix(fromInteger(4, 0x0a000000n + BigInt((i * 7919) % 10_000))));
    const begun = performance.now();
    expect(formatPrefix(nextFree(parsePrefix("10.0.0.0/16"), 32, taken, [])!)).toBe("10.0.39.16/32");
    expect(performance.now() - begun).toBeLessThan(50);
  });
});

describe("occupancy", () => {
  it("finds what overlaps, whatever was added and taken away", () => {
    fc.assert(
      fc.property(
        family.chain((f) => {
          const prefix = inside(f, bitsOf(f) - 12);
          return fc.record({
            steps: fc.array(fc.record({ name: fc.integer({ min: 0, max: 9 }), prefix, add: fc.boolean() }), {
              maxLength: 60,
            }),
            asked: prefix,
          });
        }),
        ({ steps, asked }) => {
          const model = new Map<string, Prefix>();
          const taken = new Occupancy();
          for (const { name, prefix, add } of steps) {
            const key = String(name);
            if (add) {
              model.set(key, prefix);
              taken.set(key, prefix);
            } else {
              model.delete(key);
              taken.delete(key);
            }
          }
          const expected = [...model].filter(([, p]) => overlaps(p, asked)).map(([n]) => n);
          expect([...taken.overlapping(asked)].sort()).toEqual(expected.sort());
          expect(taken.size).toBe(model.size);
        },
      ),
      { seed: 22, numRuns: 800 },
    );
  });
});

describe("capacity", () => {
  it("counts the units that reserved ranges leave", () => {
    fc.assert(
      fc.property(scenario, ({ block, more, kept }) => {
        const length = Math.min(bitsOf(block.family), block.length + more * 2);
        const left = [...units(block, length)].filter((u) => !kept.some((p) => overlaps(p, u)));
        expect(unitsIn(block, length, joined(kept, block.family))).toBe(BigInt(left.length));
      }),
      { seed: 23, numRuns: 500 },
    );
  });

  it("is blocks for Pods pools", () => {
    const pods = pool("pods", {
      purpose: "Pods",
      blocks: ["10.1.0.0/16", "fd10:1::/48"],
      blockSize: { ipv4: 26, ipv6: 122 },
      nodeSelector: {},
    });
    expect(capacityOf(pods)).toBe(1024n + (1n << 74n));
  });
});

describe("names", () => {
  it("of claims go there and back", () => {
    const any = fc.oneof(
      fc.tuple(fc.constant<Family>(4), fc.bigInt({ min: 0n, max: (1n << 32n) - 1n }), fc.nat(32)),
      fc.tuple(fc.constant<Family>(6), fc.bigInt({ min: 0n, max: (1n << 128n) - 1n }), fc.nat(128)),
    );
    fc.assert(
      fc.property(any, ([f, value, length]) => {
        const prefix = maskTo(fromInteger(f, value), length);
        expect(comparePrefix(parseClaimName(claimName(prefix))!, prefix)).toBe(0);
        expect(claimName(prefix)).toMatch(/^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/);
      }),
      { seed: 24, numRuns: 500 },
    );
    for (const name of [
      "v4-10-0-0-1-24",
      "v4-010-0-0-0-8",
      "v4-1-2-3-4",
      "v6-00-64",
      "web",
      "v4-300-0-0-0-8",
    ])
      expect(parseClaimName(name)).toBeUndefined();
  });

  it("of buckets are the same for whatever overlaps", () => {
    fc.assert(
      fc.property(
        family.chain((f) => fc.tuple(inside(f, bitsOf(f) - 12), inside(f, bitsOf(f) - 12))),
        ([a, b]) => {
          if (overlaps(a, b)) expect(bucketOf(a)).toBe(bucketOf(b));
        },
      ),
      { seed: 25 },
    );
    expect(bucketOf(parsePrefix("10.1.2.0/26"))).toBe("v4-10-1-0-0-16");
    expect(() => bucketOf(parsePrefix("10.0.0.0/8"))).toThrow(RangeError);
  });

  it("of pools fit into a label, two long ones apart", () => {
    const [a, b] = ["a", "b"].map((c) => poolLabelValue("x".repeat(100) + c));
    expect(a).toHaveLength(63);
    expect(a).not.toBe(b);
    expect(poolLabelValue("vips")).toBe("vips");
  });
});

describe("the span of what is in use", () => {
  it("is the smallest prefix that holds the first and the last", () => {
    fc.assert(
      fc.property(
        family.chain((f) => fc.tuple(inside(f, 22), inside(f, 22))),
        ([a, b]) => {
          const [first, last] = comparePrefix(a, b) <= 0 ? [a, b] : [b, a];
          const span = spanOf(first, last);
          expect(contains(span, first) && contains(span, last)).toBe(true);
          const longer = [maskTo(first, Math.min(span.length + 1, first.length))];
          if (longer[0]!.length > span.length)
            expect(contains(longer[0]!, first) && contains(longer[0]!, last)).toBe(false);
        },
      ),
      { seed: 3 },
    );
  });
});

describe("pools", () => {
  it("tell faults with the field's path", () => {
    const { faults } = parsePool(
      poolObject("p", {
        purpose: "Pods",
        blocks: ["10.0.0.0/28", "nonsense", "10.0.0.0/16"],
        nodeSelector: {},
      }),
    );
    expect(faults.map((f) => f.path)).toEqual(["spec.blocks[1]", "spec.blocks[0]", "spec.blocks[1]"]);
  });

  it("never hold both where two overlap; the older stays, whatever the order in which they are seen", () => {
    const block = fc
      .tuple(fc.integer({ min: 18, max: 30 }), fc.nat(4095))
      .map(([length, offset]) =>
        formatPrefix(maskTo(fromInteger(4, 0x0a000000n + BigInt(offset * 4)), length)),
      );
    const some = fc.array(fc.tuple(fc.array(block, { minLength: 1, maxLength: 3 }), fc.nat(3)), {
      minLength: 1,
      maxLength: 8,
    });
    fc.assert(
      fc.property(some, fc.infiniteStream(fc.nat()), (specs, shuffle) => {
        const pools = specs.map(
          ([blocks, day], i) =>
            parsePool(poolObject(`p${i}`, { blocks }, `2026-01-0${day + 1}T00:00:00Z`)).pool,
        );
        const refused = refusedPools(pools);
        for (const a of pools)
          for (const b of pools)
            if (a !== b && !refused.has(a.name) && !refused.has(b.name))
              expect(overlapOf(a.blocks, b.blocks, b.name)).toBeUndefined();
        for (const a of pools) {
          const overlap = refused.get(a.name);
          if (!overlap) continue;
          const other = pools.find((p) => p.name === overlap.other)!;
          expect(refused.has(other.name)).toBe(false);
          expect(other.createdAt).toBeLessThanOrEqual(a.createdAt);
        }
        const shuffled = [...pools].sort(() => (shuffle.next().value! % 2 === 0 ? 1 : -1));
        expect([...refusedPools(shuffled).keys()].sort()).toEqual([...refused.keys()].sort());
      }),
      { seed: 26, numRuns: 300 },
    );
  });
});

describe("choice", () => {
  const cheap = pool("cheap", { blocks: ["10.0.0.0/30"], priority: 10 });
  const dear = pool("dear", { blocks: ["10.9.0.0/24"], priority: 200 });

  it("takes the pool with the lowest number first, the next when it is full", () => {
    const taken = new Occupancy();
    const given: string[] = [];
    for (let i = 0; i < 6; i++) {
      const choice = chooseFree(web, space({ pools: [dear, cheap], taken }));
      if (!choice.ok) throw new Error(choice.refusal.message);
      given.push(`${choice.pool.name} ${formatPrefix(choice.prefix)}`);
      taken.set(String(i), choice.prefix);
    }
    expect(given).toEqual([
      "cheap 10.0.0.0/32",
      "cheap 10.0.0.1/32",
      "cheap 10.0.0.2/32",
      "cheap 10.0.0.3/32",
      "dear 10.9.0.0/32",
      "dear 10.9.0.1/32",
    ]);
  });

  const other: Refusal = { code: "OtherCluster", message: "dc2's" };
  it.each<[string, Partial<Space>, string]>([
    ["no pool at all", {}, "NoPool"],
    ["a pool of the other family", { pools: [pool("p", { blocks: ["fd00::/64"] })] }, "NoPool"],
    [
      "a selector that does not match",
      { pools: [pool("p", { serviceSelector: { matchLabels: { app: "db" } } })] },
      "SelectorMismatch",
    ],
    ["an omitted selector", { pools: [{ ...pool("p", {}), selector: undefined }] }, "SelectorMismatch"],
    ["another namespace", { pools: [pool("p", { namespaces: ["bank"] })] }, "SelectorMismatch"],
    ["a pool that is not accepted", { pools: [cheap], accepted: () => false }, "PoolNotAccepted"],
    ["a disabled pool", { pools: [pool("p", { disabled: true })] }, "PoolDisabled"],
    ["a quota", { pools: [pool("p", { quota: 2 })], used: () => 2 }, "QuotaReached"],
    ["everything taken", { pools: [cheap], taken: Occupancy.of([parsePrefix("10.0.0.0/8")]) }, "Exhausted"],
    [
      "all reserved",
      { pools: [pool("p", { blocks: ["10.0.0.0/30"], reserved: ["10.0.0.0/30"] })] },
      "Exhausted",
    ],
    [
      "another cluster's range",
      { pools: [cheap], kept: [{ prefix: parsePrefix("10.0.0.0/24"), refusal: other }] },
      "OtherCluster",
    ],
  ])("gives nothing for %s", (_, more, code) => {
    const choice = chooseFree(web, space(more));
    expect(choice).toMatchObject({ ok: false, refusal: { code } });
  });

  const address = (text: string) => hostPrefix(parseAddress(text));
  it("gives a requested address only where it may", () => {
    const reserved = pool("r", { blocks: ["10.7.0.0/24"], reserved: ["10.7.0.0/28"] });
    const keptFor = {
      prefix: address("10.0.0.2"),
      refusal: { code: "AddressReserved", message: "kept" },
    } as const;
    const s = space({ pools: [cheap, reserved], kept: [keptFor] });
    const ask = (text: string, mine = false) => {
      const choice = chooseExactly(address(text), web, s, () => mine);
      return choice.ok ? choice.pool.name : choice.refusal.code;
    };
    expect(ask("10.0.0.1")).toBe("cheap");
    expect(ask("10.0.0.2")).toBe("AddressReserved");
    expect(ask("10.0.0.2", true)).toBe("cheap");
    expect(ask("10.7.0.5")).toBe("AddressReserved");
    expect(ask("10.7.0.200")).toBe("r");
    expect(ask("10.8.0.1")).toBe("AddressOutsidePools");
  });
});
