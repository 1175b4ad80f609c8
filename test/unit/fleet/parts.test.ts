// fleet: the parts by themselves: rounds, chunks, outbox, watchdog, selectors, node names.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decodeChunk, encodeJson, joinMaps, splitMaps } from "../../../src/fleet/chunks.ts";
import { nodeNames } from "../../../src/fleet/client/index.ts";
import { parseSelector } from "../../../src/fleet/client/selector.ts";
import { mergeNodes } from "../../../src/fleet/merge.ts";
import { Outbox } from "../../../src/fleet/outbox.ts";
import { splitAddress } from "../../../src/fleet/protocol.ts";
import { type Round, RoundMerger } from "../../../src/fleet/rounds.ts";
import { Watchdog, within } from "../../../src/fleet/watchdog.ts";
import type { MapData } from "../../../src/results/types.ts";
import { VirtualClock } from "../kube/virtual-clock.ts";
import { countMap, schema } from "./world.ts";

const round = (ordinal: number, n: number, site = 1): Round => ({
  kind: "round",
  site,
  ordinal,
  map: countMap({ x: n }),
});

function merger(sources: readonly string[], maxPending = 100) {
  const out: [number, number][] = [];
  const rounds = new RoundMerger({
    schema,
    merge: mergeNodes,
    sources,
    maxPending,
    emit: ({ ordinal, map }) => {
      const cell = map.rows[0]!.cell;
      out.push([ordinal, "number" in cell ? Number(cell.number) : -1]);
    },
  });
  return { rounds, out };
}

describe("rounds", () => {
  it("go out when every source has sent them, in order", () => {
    const { rounds, out } = merger(["a", "b"]);
    rounds.add("a", round(0, 1));
    rounds.add("a", round(1, 2));
    expect(out).toEqual([]);
    rounds.add("b", round(0, 10));
    expect(out).toEqual([[0, 11]]);
    rounds.leave("b");
    expect(out).toEqual([
      [0, 11],
      [1, 2],
    ]);
  });

  it("do not wait for more than is allowed; what comes later is counted", () => {
    const { rounds, out } = merger(["a", "b"], 2);
    for (let i = 0; i < 4; i++) rounds.add("a", round(i, 1));
    expect(out).toEqual([
      [0, 1],
      [1, 1],
    ]);
    rounds.add("b", round(0, 10));
    expect(rounds.late).toBe(1);
    rounds.add("b", round(2, 10));
    expect(out.at(-1)).toEqual([2, 11]);
    rounds.flush();
    expect(out.at(-1)).toEqual([3, 1]);
    expect(rounds.incomplete).toBe(2);
  });

  it("lose and double nothing, whatever the order of arrival", () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.constantFrom("a", "b", "c"), fc.boolean()), { maxLength: 60 }),
        (steps) => {
          const { rounds, out } = merger(["a", "b", "c"]);
          const next: Record<string, number> = { a: 0, b: 0, c: 0 };
          let sent = 0;
          for (const [source, lost] of steps) {
            if (!lost) {
              rounds.add(source, round(next[source]!, 1));
              sent += 1;
            }
            next[source]! += 1;
          }
          rounds.flush();
          expect(out.reduce((sum, [, n]) => sum + n, 0) + rounds.late).toBe(sent);
          expect(rounds.late).toBe(0);
          expect(out.map(([ordinal]) => ordinal)).toEqual(
            [...new Set(out.map(([ordinal]) => ordinal))].sort((a, b) => a - b),
          );
        },
      ),
      { seed: 99, numRuns: 200 },
    );
  });
});

describe("chunks", () => {
  const maps: MapData[] = [
    { name: "@a", rows: Array.from({ length: 50 }, (_, i) => ({ key: [i], cell: { number: String(i) } })) },
    { name: "@empty", rows: [] },
    { name: "@b", rows: [{ key: ["k"], cell: { count: "1", total: "2" } }] },
  ];

  it("large maps are sent in pieces and are the same afterwards", () => {
    const pieces = [...splitMaps(maps, 200)];
    expect(pieces.length).toBeGreaterThan(5);
    for (const piece of pieces) expect(encodeJson(piece).length).toBeLessThan(400);
    const back = pieces.map((p) => decodeChunk(encodeJson(p)));
    expect(joinMaps(back.map((p) => (p.kind === "maps" ? p.maps : [])))).toEqual(maps);
  });

  it.each([
    ["not JSON", "{"],
    ["null", "null"],
    ["an unknown kind", '{"kind":"shell"}'],
    [
      "a number that is none",
      '{"kind":"maps","maps":[{"name":"@","rows":[{"key":[],"cell":{"number":"1e3"}}]}]}',
    ],
    ["rows that are none", '{"kind":"maps","maps":[{"name":"@","rows":[1]}]}'],
    ["a negative ordinal", '{"kind":"round","site":0,"ordinal":-1,"map":{"name":"@","rows":[]}}'],
    [
      "buckets without counts",
      '{"kind":"maps","maps":[{"name":"@","rows":[{"key":[],"cell":{"buckets":[[1]]}}]}]}',
    ],
  ])("%s is refused", (_, text) => {
    expect(() => decodeChunk(new TextEncoder().encode(text))).toThrow(/./);
  });
});

describe("outbox", () => {
  it("refuses output beyond its bound, never messages, and keeps the order", async () => {
    const box = new Outbox<number>(10);
    expect([box.offer(1, 6), box.offer(2, 6), box.offer(3, 4)]).toEqual([true, false, true]);
    box.push(4, 100);
    expect([box.refused, box.bytes, box.size]).toEqual([1, 110, 3]);
    box.end();
    box.push(5);
    const got: number[] = [];
    for await (const n of box) got.push(n);
    expect(got).toEqual([1, 3, 4]);
    expect(box.bytes).toBe(0);
  });

  it("wakes its reader, and ends with an error after what was queued", async () => {
    const box = new Outbox<number>(10);
    const got: number[] = [];
    const reading = (async () => {
      for await (const n of box) got.push(n);
    })();
    await Promise.resolve();
    box.push(1);
    await new Promise((resolve) => setImmediate(resolve));
    box.push(2);
    box.end(new Error("over"));
    await expect(reading).rejects.toThrow("over");
    expect(got).toEqual([1, 2]);
  });
});

describe("watchdog", () => {
  it("barks once after silence, and not before", async () => {
    const clock = new VirtualClock();
    let barks = 0;
    using dog = new Watchdog(clock, 100, () => barks++);
    for (let i = 0; i < 10; i++) {
      await clock.advance(90);
      dog.heard();
    }
    expect(barks).toBe(0);
    await clock.advance(101);
    expect(barks).toBe(1);
    await clock.advance(1_000);
    expect(barks).toBe(1);
  });

  it("within: the value, or undefined after the time", async () => {
    const clock = new VirtualClock();
    expect(await within(clock, 10, Promise.resolve(5))).toBe(5);
    const late = within(clock, 10, new Promise<number>(() => undefined));
    await clock.advance(11);
    expect(await late).toBeUndefined();
    await expect(within(clock, 10, Promise.reject(new Error("no")))).rejects.toThrow("no");
  });
});

describe("selectors", () => {
  it.each([
    ["", {}],
    ["zone=a", { matchLabels: { zone: "a" } }],
    ["zone==a, disk=ssd", { matchLabels: { zone: "a", disk: "ssd" } }],
    ["kubernetes.io/hostname=n-1", { matchLabels: { "kubernetes.io/hostname": "n-1" } }],
    ["zone!=a", { matchExpressions: [{ key: "zone", operator: "NotIn", values: ["a"] }] }],
    [
      "zone in (a, b),spot",
      {
        matchExpressions: [
          { key: "zone", operator: "In", values: ["a", "b"] },
          { key: "spot", operator: "Exists" },
        ],
      },
    ],
    ["x notin (a)", { matchExpressions: [{ key: "x", operator: "NotIn", values: ["a"] }] }],
    ["!spot", { matchExpressions: [{ key: "spot", operator: "DoesNotExist" }] }],
    ["a=1,a=2", { matchLabels: { a: "1" }, matchExpressions: [{ key: "a", operator: "In", values: ["2"] }] }],
  ])("%j", (text, selector) => {
    expect(parseSelector(text)).toEqual(selector);
  });

  it.each(["=a", "a b", "a in b", "a,,b", "a>1", "a=b=c"])("%j is refused by name", (text) => {
    expect(() => parseSelector(text)).toThrow(/is not a requirement/);
  });
});

describe("addresses", () => {
  it.each([
    ["127.0.0.1:0", { host: "127.0.0.1", port: 0 }],
    ["[::1]:443", { host: "::1", port: 443 }],
    ["hub.waggle-system.svc:8443", { host: "hub.waggle-system.svc", port: 8443 }],
  ])("%s", (text, parts) => {
    expect(splitAddress(text)).toEqual(parts);
  });
  it.each(["", "host", ":1", "host:", "host:99999", "::1:1"])("%j is refused", (text) => {
    expect(() => splitAddress(text)).toThrow(/is not host:port/);
  });
});

it("nodes are called by their own name unless two clusters have it", () => {
  const name = nodeNames([
    { name: "dc1", nodes: ["a", "b"] },
    { name: "dc2", nodes: ["b", "c"] },
  ]);
  expect([name("dc1", "a"), name("dc1", "b"), name("dc2", "b"), name("dc2", "")]).toEqual([
    "a",
    "dc1/b",
    "dc2/b",
    "dc2",
  ]);
});
