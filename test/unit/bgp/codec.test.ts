// test/unit/bgp: the wire codec: what is encoded is decoded to the same, and what the RFCs show is read as they say.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  flatten,
  mergeAs4Path,
  pathLength,
  prepend,
  readAsPath,
  writeAsPath,
} from "../../../src/bgp/wire/aspath.ts";
import { decodeCanonical, encodeCanonical } from "../../../src/bgp/wire/canonical.ts";
import { FrameReader, message, notificationMessage } from "../../../src/bgp/wire/frame.ts";
import { countNlri, NlriCursor, writeNlri } from "../../../src/bgp/wire/nlri.ts";
import {
  describeNotification,
  notification,
  shutdownData,
  shutdownText,
} from "../../../src/bgp/wire/notification.ts";
import { decodeOpen, encodeOpen, type Open } from "../../../src/bgp/wire/open.ts";
import { layoutUpdate, parseAttributes, updateLayout } from "../../../src/bgp/wire/update.ts";
import { endOfRib, toTwoOctet, UpdateWriter } from "../../../src/bgp/wire/writer.ts";
import { asn, attributes, path } from "./arbitrary.ts";

const seed = { seed: 4271, numRuns: 300 };
const family = fc.record({ afi: fc.integer({ min: 1, max: 25 }), safi: fc.integer({ min: 1, max: 133 }) });
const open: fc.Arbitrary<Open> = fc
  .record({
    asn,
    holdSeconds: fc.oneof(fc.constant(0), fc.integer({ min: 3, max: 65535 })),
    routerId: asn,
    families: fc.option(fc.array(family, { minLength: 1, maxLength: 70 }), { nil: undefined }),
    routeRefresh: fc.boolean(),
    gr: fc.option(
      fc.record({
        restarting: fc.boolean(),
        notification: fc.boolean(),
        seconds: fc.nat({ max: 4095 }),
        families: fc.array(
          fc.record({ afi: fc.nat({ max: 3 }), safi: fc.nat({ max: 3 }), forwarding: fc.boolean() }),
          {
            maxLength: 4,
          },
        ),
      }),
      { nil: undefined },
    ),
    role: fc.option(fc.nat({ max: 4 }), { nil: undefined }),
    other: fc.array(
      fc.record({ code: fc.integer({ min: 128, max: 255 }), value: fc.uint8Array({ maxLength: 40 }) }),
      {
        minLength: 1,
        maxLength: 3,
      },
    ),
  })
  .map(({ asn, holdSeconds, routerId, families, routeRefresh, gr, role, other }) => ({
    asn,
    holdSeconds,
    routerId,
    capabilities: {
      ...(families
        ? {
            families: families.filter(
              (f, i) => families.findIndex((g) => g.afi === f.afi && g.safi === f.safi) === i,
            ),
          }
        : {}),
      ...(routeRefresh ? { routeRefresh: true as const } : {}),
      as4: asn,
      ...(gr ? { gracefulRestart: gr } : {}),
      ...(role === undefined ? {} : { role }),
      other,
    },
  }));

/** Body of an UPDATE: what is behind the header. */
const body = (m: Uint8Array): Uint8Array => m.subarray(19);

describe("OPEN", () => {
  test("decode(encode(x)) = x, also with more than 255 octets of parameters (RFC 9072)", () => {
    fc.assert(
      fc.property(open, (o) => {
        const bytes = encodeOpen(o);
        expect(decodeOpen(bytes, 19, bytes.length)).toEqual(o);
      }),
      seed,
    );
  });

  test.each([
    ["version 3", [3, 0, 1, 0, 90, 1, 1, 1, 1, 0], "2/1"],
    ["AS 0 (RFC 7607)", [4, 0, 0, 0, 90, 1, 1, 1, 1, 0], "2/2"],
    ["AS 0 by capability", [4, 0x5b, 0xa0, 0, 90, 1, 1, 1, 1, 8, 2, 6, 65, 4, 0, 0, 0, 0], "2/2"],
    ["hold time 1", [4, 0, 1, 0, 1, 1, 1, 1, 1, 0], "2/6"],
    ["hold time 2", [4, 0, 1, 0, 2, 1, 1, 1, 1, 0], "2/6"],
    ["identifier 0", [4, 0, 1, 0, 90, 0, 0, 0, 0, 0], "2/3"],
    ["unknown optional parameter", [4, 0, 1, 0, 90, 1, 1, 1, 1, 3, 1, 1, 0], "2/4"],
    ["parameters shorter than said", [4, 0, 1, 0, 90, 1, 1, 1, 1, 9, 2, 0], "2/0"],
    ["capability longer than its parameter", [4, 0, 1, 0, 90, 1, 1, 1, 1, 4, 2, 2, 65, 4], "2/0"],
    ["multiprotocol capability of 3 octets", [4, 0, 1, 0, 90, 1, 1, 1, 1, 7, 2, 5, 1, 3, 0, 1, 0], "2/0"],
  ])("%s", (_name, octets, expected) => {
    const bytes = Uint8Array.from(octets);
    const result = decodeOpen(bytes, 0, bytes.length);
    expect("code" in result ? `${result.code}/${result.subcode}` : result).toBe(expected);
  });

  test("hold time 0 and unknown capabilities are fine", () => {
    const bytes = Uint8Array.from([4, 0, 1, 0, 0, 1, 1, 1, 1, 5, 2, 3, 200, 1, 9]);
    expect(decodeOpen(bytes, 0, bytes.length)).toMatchObject({ holdSeconds: 0, asn: 1 });
  });
});

describe("attributes", () => {
  test.each([1, 2] as const)("decode(encode(x)) = x for AFI %d", (afi) => {
    fc.assert(
      fc.property(attributes(afi), (a) => {
        const bytes = encodeCanonical(a);
        expect(decodeCanonical(bytes, 0, bytes.length, afi)).toEqual(a);
      }),
      seed,
    );
  });

  test.each([1, 2] as const)("an UPDATE that we write is read as what went in, AFI %d", (afi) => {
    const layout = updateLayout();
    const writer = new UpdateWriter();
    fc.assert(
      fc.property(
        attributes(afi),
        fc.array(
          fc.tuple(
            fc.uint8Array({ minLength: 16, maxLength: 16 }),
            fc.integer({ min: 8, max: afi === 1 ? 32 : 128 }),
          ),
          {
            minLength: 1,
            maxLength: 600,
          },
        ),
        (a, prefixes) => {
          const bytes = encodeCanonical(a);
          writer.begin(4096);
          if (!writer.announce(afi, bytes, 0, bytes.length)) return;
          const keys = new Uint32Array(4);
          for (const [address, length] of prefixes) {
            new Uint8Array(keys.buffer).set(address);
            writer.add(keys, 0, length);
          }
          const stream = writer.finish();
          let seen = 0;
          const error = new FrameReader().push(stream, (type, b, start, end) => {
            expect(type).toBe(2);
            expect(end - start + 19).toBeLessThanOrEqual(4096);
            expect(layoutUpdate(b, start, end, layout)).toBeUndefined();
            const nlri = afi === 1 ? layout.nlri : layout.reach.nlri;
            seen += countNlri(b, nlri.start, nlri.end, afi);
            const nextHop =
              afi === 2 ? b.slice(layout.reach.nextHop.start, layout.reach.nextHop.end) : undefined;
            const { attributes: spanA } = layout;
            const context = { ebgp: false, as4: true };
            const withPref = { ...a, localPref: a.localPref ?? 1 };
            if (a.localPref !== undefined) {
              const parsed = parseAttributes(b, spanA.start, spanA.end, afi, nextHop, context, true);
              expect(parsed.attributes).toEqual(withPref);
            }
            return true;
          });
          expect(error).toBeUndefined();
          expect(seen).toBe(prefixes.length);
        },
      ),
      { ...seed, numRuns: 100 },
    );
  });

  test("for a 2-octet speaker AS4_PATH and AS4_AGGREGATOR carry the truth (RFC 6793)", () => {
    fc.assert(
      fc.property(attributes(1), (given) => {
        const a = { ...given, localPref: 100 };
        const canonical = encodeCanonical(a);
        const two = toTwoOctet(canonical, 0, canonical.length, 1);
        const parsed = parseAttributes(two, 0, two.length, 1, undefined, { ebgp: false, as4: false }, true);
        expect(parsed.problems).toEqual([]);
        const { asPath, ...rest } = parsed.attributes!;
        const { asPath: before, ...restBefore } = a;
        expect(flatten(asPath)).toEqual(flatten(before));
        expect(rest).toEqual(restBefore);
      }),
      seed,
    );
  });
});

describe("AS_PATH", () => {
  test("read(write(x)) = x", () => {
    fc.assert(
      fc.property(path, (p) => {
        const bytes = writeAsPath(p, 4);
        expect(readAsPath(bytes, 0, bytes.length, 4)).toEqual({ path: p });
      }),
      seed,
    );
  });

  test("prepending to a full segment begins a new one", () => {
    const full = [{ type: 2, asns: new Array<number>(254).fill(7) }];
    const longer = prepend(full, 9, 3);
    expect(longer.map((s) => s.asns.length)).toEqual([2, 255]);
    expect(pathLength(longer)).toBe(257);
  });

  test("AS4_PATH longer than AS_PATH is ignored, a shorter one replaces the tail", () => {
    const old = [{ type: 2, asns: [10, 23456, 23456] }];
    expect(flatten(mergeAs4Path(old, [{ type: 2, asns: [70000, 80000] }]))).toEqual([10, 70000, 80000]);
    expect(flatten(mergeAs4Path(old, [{ type: 2, asns: [1, 2, 3, 4] }]))).toEqual([10, 23456, 23456]);
  });
});

describe("NLRI", () => {
  test.each([1, 2] as const)("read(write(x)) = x, AFI %d", (afi) => {
    const bits = afi === 1 ? 32 : 128;
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 16, maxLength: 16 }),
        fc.nat({ max: bits }),
        (address, length) => {
          const keys = new Uint32Array(4);
          for (let i = 0; i < 4; i++) {
            const keep = Math.min(Math.max(length - i * 32, 0), 32);
            const word = new DataView(address.buffer).getUint32(i * 4);
            keys[i] = keep === 0 ? 0 : word & (keep === 32 ? -1 : -1 << (32 - keep));
          }
          const out = new Uint8Array(32);
          const end = writeNlri(out, 0, keys, 0, length);
          const cursor = new NlriCursor();
          expect(countNlri(out, 0, end, afi)).toBe(1);
          expect(cursor.read(out, 0, afi)).toBe(end);
          expect(cursor.length).toBe(length);
          const words = afi === 1 ? 1 : 4;
          expect([...cursor.words.subarray(0, words)]).toEqual([...keys.subarray(0, words)]);
        },
      ),
      seed,
    );
  });

  test("host bits are cleared, bad lengths are refused", () => {
    const cursor = new NlriCursor();
    cursor.read(Uint8Array.of(20, 10, 1, 0xff), 0, 1);
    expect(cursor.words[0]).toBe(0x0a01f000);
    expect(countNlri(Uint8Array.of(33, 10, 0, 0, 0, 0), 0, 6, 1)).toBe(-1);
    expect(countNlri(Uint8Array.of(24, 10, 0), 0, 3, 1)).toBe(-1);
  });

  test.each([
    [1, [0], true],
    [1, [8, 0], false],
    [1, [8, 127], false],
    [1, [4, 0xe0], false],
    [1, [24, 10, 0, 0], true],
    [2, [0], true],
    [2, [8, 0xff], false],
    [2, [10, 0xfe, 0x80], false],
    [2, [7, 0xfc], true],
    [2, [128, ...new Array<number>(15).fill(0), 1], false],
  ] as const)("AFI %d %j is routable: %s", (afi, octets, expected) => {
    const cursor = new NlriCursor();
    cursor.read(Uint8Array.from(octets), 0, afi);
    expect(cursor.routable(afi)).toBe(expected);
  });
});

describe("framing", () => {
  test("any cut of the stream gives the same messages", () => {
    const bodies = fc.array(fc.uint8Array({ minLength: 4, maxLength: 3000 }), { minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(bodies, fc.array(fc.nat({ max: 9000 }), { maxLength: 12 }), (given, cuts) => {
        const stream = Buffer.concat(given.map((b) => message(2, b)));
        const at = [...new Set(cuts.map((c) => c % stream.length))].sort((a, b) => a - b);
        const reader = new FrameReader();
        const seen: string[] = [];
        let from = 0;
        for (const to of [...at, stream.length]) {
          const error = reader.push(stream.subarray(from, to), (_t, b, start, end) => {
            seen.push(Buffer.from(b.subarray(start, end)).toString("hex"));
            return true;
          });
          expect(error).toBeUndefined();
          from = to;
        }
        expect(seen).toEqual(given.map((b) => Buffer.from(b).toString("hex")));
        expect(reader.buffered).toBe(0);
      }),
      seed,
    );
  });

  const head = (length: number, type: number) => [
    ...new Array<number>(16).fill(255),
    length >> 8,
    length & 255,
    type,
  ];
  test.each([
    ["marker", [0, ...head(19, 4).slice(1)], "1/1", []],
    ["length 18", head(18, 4), "1/2", [0, 18]],
    ["KEEPALIVE of 20", [...head(20, 4), 0], "1/2", [0, 20]],
    ["UPDATE of 22", [...head(22, 2), 0, 0, 0], "1/2", [0, 22]],
    ["OPEN of 28", [...head(28, 1), ...new Array<number>(9).fill(0)], "1/2", [0, 28]],
    ["NOTIFICATION of 20", [...head(20, 3), 0], "1/2", [0, 20]],
    ["longer than 4096", head(4097, 2), "1/2", [0x10, 1]],
    ["type 0", head(19, 0), "1/3", [0]],
    ["type 77", head(19, 77), "1/3", [77]],
  ])("%s", (_name, octets, expected, data) => {
    const error = new FrameReader().push(Uint8Array.from(octets), () => true);
    expect(`${error?.code}/${error?.subcode}`).toBe(expected);
    expect([...error!.data]).toEqual(data);
  });
});

describe("NOTIFICATION", () => {
  test("shutdown communication (RFC 9003): cut at a whole character, unprintable octets hidden", () => {
    const long = "ö".repeat(200);
    const n = notification(6, 2, undefined, shutdownData(long));
    expect(n.data[0]).toBe(254);
    expect(shutdownText(n)).toBe("ö".repeat(127));
    expect(describeNotification(notification(6, 2, undefined, shutdownData("a\u001b[31mb")))).toBe(
      "6/2 Cease, Administrative Shutdown: a?[31mb",
    );
    expect(shutdownText(notification(6, 2, undefined, Uint8Array.of(9, 65)))).toBeUndefined();
  });

  test("never longer than a message", () => {
    expect(notificationMessage(notification(3, 1, "", new Uint8Array(9000))).length).toBe(4096);
  });
});

test("End-of-RIB is the shortest UPDATE of its family (RFC 4724 2)", () => {
  expect([...body(endOfRib(1))]).toEqual([0, 0, 0, 0]);
  expect([...body(endOfRib(2))]).toEqual([0, 0, 0, 6, 0x80, 15, 3, 0, 2, 1]);
});
