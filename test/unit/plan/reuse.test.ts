import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { canonical, deepFreeze, listsHashOf } from "../../../src/plan/canonical.ts";
import { reuse } from "../../../src/plan/reuse.ts";

const leaf = fc.oneof(
  fc.integer({ min: 0, max: 3 }),
  fc.constantFrom("a", "b"),
  fc.constant(undefined),
  fc.bigInt(),
);
const { value } = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 3, withCrossShrink: true },
    leaf,
    fc.array(tie("value"), { maxLength: 5 }),
    fc.dictionary(fc.constantFrom("x", "y", "z"), tie("value"), { noNullPrototype: true }),
  ),
}));

const entry = (n: number) => ({
  prefix: `10.0.0.${n}/32`,
  peers: [{ name: "a" }],
  reason: { code: "Announced" },
});
const entries = (ns: readonly number[]) => ns.map(entry);

describe("what two plans have in common", () => {
  it("is one object, and nothing is other than it was to be", () => {
    fc.assert(
      fc.property(value, value, (next, previous) => {
        const before = canonical(next);
        const out = reuse(next, deepFreeze(previous));
        expect(out).toEqual(next);
        expect(canonical(out)).toBe(before);
        expect(reuse(structuredClone(previous), previous)).toBe(previous);
        expect(listsHashOf(deepFreeze(out)) === listsHashOf(deepFreeze(structuredClone(previous)))).toBe(
          canonical(out) === canonical(previous),
        );
      }),
      { seed: 3, numRuns: 2_000 },
    );
  });

  it("is found in lists from which some have gone and into which others have come", () => {
    const previous = deepFreeze(entries([1, 2, 3, 4, 5, 6, 7, 8]));
    const next = entries([1, 3, 4, 99, 5, 6, 7, 8]);
    const out = reuse(next, previous);
    expect(out).toEqual(next);
    expect(out.filter((o) => previous.includes(o)).map((o) => o.prefix)).toEqual(
      [1, 3, 4, 5, 6, 7, 8].map((n) => entry(n).prefix),
    );
  });

  it("is found around one that has changed, and inside it", () => {
    const previous = deepFreeze(entries([1, 2, 3]));
    const next = entries([1, 2, 3]).map((e, i) => (i === 1 ? { ...e, reason: { code: "Draining" } } : e));
    const out = reuse(next, previous);
    expect(out).toEqual(next);
    expect([out[0] === previous[0], out[1] === previous[1], out[2] === previous[2]]).toEqual([
      true,
      false,
      true,
    ]);
    expect(out[1]!.peers).toBe(previous[1]!.peers);
  });
});
