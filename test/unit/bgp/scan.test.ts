// test/unit/bgp: the short cuts over octets say what the slow way says, or leave it to it.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { compileChain } from "../../../src/bgp/policy/chain.ts";
import { summaryOf } from "../../../src/bgp/rib/attributes.ts";
import { rewriteExport } from "../../../src/bgp/rib/export.ts";
import { pathContains } from "../../../src/bgp/wire/aspath.ts";
import { decodeCanonical, encodeCanonical, nextHopAttribute } from "../../../src/bgp/wire/canonical.ts";
import { pathHas, rewriteExternal, scanReceived, setSummary, summarize } from "../../../src/bgp/wire/scan.ts";
import { parseAttributes } from "../../../src/bgp/wire/update.ts";
import { asn, attributes } from "./arbitrary.ts";
import { acceptAll } from "./world.ts";

const runs = { seed: 77, numRuns: 500 };

describe.each([1, 2] as const)("AFI %d", (afi) => {
  test("what the scan takes, the parser takes too, to the same octets and summary", () => {
    let taken = 0;
    fc.assert(
      fc.property(
        attributes(afi),
        fc.boolean(),
        fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { maxLength: 2 }),
        (a, external, edits) => {
          const b = encodeCanonical(a);
          for (const [at, value] of edits) b[at % b.length] = value;
          const summary = setSummary();
          if (!scanReceived(b, 0, b.length, external, summary)) return;
          taken++;
          // The parser gets the MP next hop from the message's frame.
          const value = decodeCanonical(b, 0, b.length, afi);
          const nextHop = value.nextHop.length > 4 ? value.nextHop : undefined;
          const parsed = parseAttributes(
            b,
            0,
            b.length,
            value.afi,
            nextHop,
            { ebgp: external, as4: true },
            true,
          );
          expect(parsed.problems).toEqual([]);
          expect(encodeCanonical(parsed.attributes!)).toEqual(b);
          expect(summary).toEqual(summaryOf(parsed.attributes!));
        },
      ),
      { ...runs, numRuns: 3000 },
    );
    expect(taken).toBeGreaterThan(50);
  });

  test("a set of our own is summarised as by value", () => {
    fc.assert(
      fc.property(attributes(afi), (a) => {
        const b = encodeCanonical(a);
        const summary = setSummary();
        if (summarize(b, 0, b.length, summary)) expect(summary).toEqual(summaryOf(a));
        else expect(a.unknown ?? a.large?.length ?? 0).toBeTruthy();
      }),
      runs,
    );
  });

  test("an AS number is found in the path", () => {
    fc.assert(
      fc.property(attributes(afi), asn, (a, other) => {
        const b = encodeCanonical(a);
        expect(pathHas(b, 0, b.length, other)).toBe(pathContains(a.asPath, other));
        for (const s of a.asPath) expect(pathHas(b, 0, b.length, s.asns.at(-1)!)).toBe(true);
      }),
      runs,
    );
  });

  test("rewriting for an external neighbour gives what the values give", () => {
    const own =
      afi === 1 ? Uint8Array.of(9, 9, 9, 9) : Uint8Array.from([0xfd, ...new Array<number>(15).fill(3)]);
    const chain = compileChain(["all"], new Map([["all", acceptAll]]));
    const target = { ebgp: true, localAsn: 64999, chain, nextHop: { 1: own, 2: own }, nextHopSelf: false };
    const hop = nextHopAttribute(afi, own);
    const out = new Uint8Array(65536);
    let quick = 0;
    fc.assert(
      fc.property(attributes(afi), (a) => {
        const b = encodeCanonical(a);
        const length = rewriteExternal(b, 0, b.length, 64999, hop, out);
        if (length < 0) return;
        quick++;
        const expected = rewriteExport(target, afi, a, { learned: true, fromEbgp: true, prepend: 0 }, 0);
        expect(typeof expected).toBe("object");
        expect(out.slice(0, length)).toEqual(encodeCanonical(expected as typeof a));
      }),
      runs,
    );
    expect(quick).toBeGreaterThan(400);
  });
});
