// test/unit/bgp: MRT: records octet by octet, reading what was written, tables of a speaker, and files that stay within their bounds.
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { MrtDumper } from "../../../src/bgp/daemon/mrt-dump.ts";
import {
  decodeRecord,
  MrtReader,
  type MrtRecord,
  messageRecord,
  peerIndexTable,
  ribRecord,
  stateRecord,
} from "../../../src/bgp/mrt/record.ts";
import type { MrtConfig } from "../../../src/bgp/session/types.ts";
import { encodeCanonical } from "../../../src/bgp/wire/canonical.ts";
import { keepaliveMessage } from "../../../src/bgp/wire/frame.ts";
import { encodeOpen } from "../../../src/bgp/wire/open.ts";
import { UpdateWriter } from "../../../src/bgp/wire/writer.ts";
import { formatAddress, formatPrefix, parseAddress } from "../../../src/net/address.ts";
import { until as waitFor } from "../../interop/bgp-lab.ts";
import { attributes } from "./arbitrary.ts";
import { origin, peerConfig, speakerConfig, World } from "./world.ts";

/** The disk of a starved machine may take its time. */
const until = (what: string, check: () => boolean): Promise<boolean> => waitFor(what, check, 25_000);
const hex = (b: Uint8Array): string => Buffer.from(b).toString("hex");
const session = {
  peerAsn: 65001,
  localAsn: 65000,
  peerAddress: parseAddress("192.0.2.1"),
  localAddress: parseAddress("192.0.2.2"),
};

describe("MRT records", () => {
  it("RFC 6396 4.3.1 and 4.3.2, octet by octet", () => {
    const index = peerIndexTable(1_700_000_000_999, 0x0a000001, "v", [
      { address: parseAddress("192.0.2.1"), asn: 65001, routerId: 0x0a000002 },
      { address: parseAddress("2001:db8::1"), asn: 70_000, routerId: 0x0a000003 },
    ]);
    expect(hex(index)).toBe(
      "6553f100" +
        "000d0001" +
        "0000002f" +
        "0a000001" +
        "0001" +
        "76" +
        "0002" +
        "02" +
        "0a000002" +
        "c0000201" +
        "0000fde9" +
        "03" +
        "0a000003" +
        "20010db8000000000000000000000001" +
        "00011170",
    );
    const a = encodeCanonical({ afi: 2, origin: 0, asPath: [], nextHop: parseBytes("2001:db8::9") });
    const rib = ribRecord(1_700_000_000_000, 7, 2, Uint32Array.of(0x20010db8, 0, 0, 0), 0, 32, [
      { peer: 1, originated: 5, pathId: 0, attributes: a },
    ]);
    // 4.3.4: MP_REACH_NLRI is the length of the next hop and the next hop.
    expect(hex(rib.subarray(12))).toBe(
      "00000007" +
        "2020010db8" +
        "0001" +
        "0001" +
        "00000005" +
        "001b" +
        "800e1110" +
        "20010db8000000000000000000000009" +
        "40010100" +
        "400200",
    );
  });

  it("RFC 6396 4.4, octet by octet", () => {
    const m = messageRecord(1000, session, keepaliveMessage, { as4: true, local: false, addPath: false });
    expect(hex(m)).toBe(
      "00000001" +
        "00100004" +
        "00000027" +
        "0000fde9" +
        "0000fde8" +
        "0000" +
        "0001" +
        "c0000201" +
        "c0000202" +
        hex(keepaliveMessage),
    );
    const old = messageRecord(1000, { ...session, peerAsn: 70_000 }, keepaliveMessage, {
      as4: false,
      local: true,
      addPath: false,
    });
    expect(hex(old.subarray(4, 18))).toBe("0010000600000023" + "5ba0" + "fde8" + "0000");
    expect(hex(stateRecord(1000, session, 5, 6).subarray(4))).toBe(
      "00100005" +
        "00000018" +
        "0000fde9" +
        "0000fde8" +
        "0000" +
        "0001" +
        "c0000201" +
        "c0000202" +
        "0005" +
        "0006",
    );
  });

  const u32 = fc.nat({ max: 0xffffffff });
  it("tables are read as they were written, with and without path identifiers", () => {
    const entry = (afi: 1 | 2, ids: boolean) =>
      fc.record({
        peer: fc.nat({ max: 65535 }),
        originated: u32,
        pathId: ids ? fc.integer({ min: 1, max: 0xffffffff }) : fc.constant(0),
        value: attributes(afi),
      });
    const any = fc.constantFrom(1 as const, 2 as const).chain((afi) =>
      fc.boolean().chain((ids) =>
        fc.record({
          afi: fc.constant(afi),
          sequence: u32,
          words: fc.array(u32, { minLength: 4, maxLength: 4 }),
          entries: fc.array(entry(afi, ids), { minLength: 1, maxLength: 4 }),
        }),
      ),
    );
    fc.assert(
      fc.property(any, ({ afi, sequence, words, entries }) => {
        const length = afi === 1 ? 32 : 128;
        const written = entries.map((e) => ({ ...e, attributes: encodeCanonical(e.value) }));
        const r = decodeRecord(ribRecord(5000, sequence, afi, Uint32Array.from(words), 0, length, written));
        if (typeof r === "string" || r.kind !== "rib") throw new Error(JSON.stringify(r));
        expect([r.timeMs, r.sequence, r.prefix.length]).toEqual([5000, sequence, length]);
        for (const [i, e] of r.entries.entries()) {
          expect([e.peer, e.originated, e.pathId]).toEqual([
            entries[i]!.peer,
            entries[i]!.originated,
            entries[i]!.pathId,
          ]);
          expect(hex(encodeCanonical(e.attributes))).toBe(hex(written[i]!.attributes));
        }
      }),
      { seed: 6396, numRuns: 400 },
    );
  });

  it("octets with mistakes are refused or read, never thrown at", () => {
    const a = encodeCanonical({
      afi: 1,
      origin: 0,
      asPath: [{ type: 2, asns: [1, 2] }],
      nextHop: Uint8Array.of(1, 2, 3, 4),
    });
    const good = [
      peerIndexTable(0, 1, "view", [{ address: session.peerAddress, asn: 1, routerId: 2 }]),
      ribRecord(0, 1, 1, Uint32Array.of(0x0a000000), 0, 8, [
        { peer: 0, originated: 1, pathId: 3, attributes: a },
      ]),
      messageRecord(0, session, updateOf([1, 2, 3]), { as4: true, local: true, addPath: false }),
      stateRecord(0, session, 1, 2),
    ];
    fc.assert(
      fc.property(
        fc.constantFrom(...good),
        fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { maxLength: 4 }),
        fc.nat(),
        (b, edits, cut) => {
          const bad = b.slice(0, cut % 4 === 0 ? 12 + (cut % (b.length - 11)) : b.length);
          for (const [at, value] of edits) bad[at % bad.length] = value;
          new DataView(bad.buffer).setUint32(8, bad.length - 12);
          decodeRecord(bad);
          new MrtReader().push(bad, () => {});
        },
      ),
      { seed: 6397, numRuns: 4000 },
    );
  });
});

const parseBytes = (text: string): Uint8Array => {
  const { hi, lo } = parseAddress(text);
  const out = new Uint8Array(16);
  const view = new DataView(out.buffer);
  view.setBigUint64(0, hi);
  view.setBigUint64(8, lo);
  return out;
};

function updateOf(prefixes: readonly number[]): Uint8Array {
  const writer = new UpdateWriter();
  writer.begin(4096);
  const a = encodeCanonical({
    afi: 1,
    origin: 0,
    asPath: [{ type: 2, asns: [65001] }],
    nextHop: Uint8Array.of(10, 0, 0, 2),
  });
  writer.announce(1, a, 0, a.length);
  for (const n of prefixes) writer.add(Uint32Array.of(0x14000000 + (n << 8)), 0, 24);
  return writer.finish();
}

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "waggle-mrt-"));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const read = (kind: string): MrtRecord[] => {
  const out: MrtRecord[] = [];
  const reader = new MrtReader();
  for (const name of readdirSync(directory)
    .filter((n) => n.startsWith(kind))
    .sort())
    expect(
      reader.push(readFileSync(join(directory, name)), (r) => {
        if (typeof r === "string") throw new Error(r);
        out.push(r);
      }),
    ).toBeUndefined();
  expect(reader.unfinished).toBe(0);
  return out;
};

function start(more: Partial<MrtConfig> = {}) {
  const world = new World(1);
  const host = world.add("h", "10.0.0.1");
  const config = { directory, tableSeconds: 0, messages: true, fileBytesMax: 1 << 20, filesMax: 16, ...more };
  const dumper = new MrtDumper(config, host.speaker, () => {});
  host.speaker.apply(
    speakerConfig([peerConfig("p", "10.0.0.2", 65001, { passive: true })], {
      origins: [origin(0x0a400000, 24, ["p"])],
    }),
  );
  const raw = world.raw(host, "10.0.0.2");
  world.clock.run(20);
  const families = [{ afi: 1, safi: 1 }];
  raw.send(
    encodeOpen({ asn: 65001, holdSeconds: 90, routerId: 0x0a000002, capabilities: { families, as4: 65001 } }),
    keepaliveMessage,
  );
  return { world, host, dumper, raw };
}

describe("dumps", () => {
  it("a table holds all accepted paths, with their peers", async () => {
    const { dumper, raw } = start();
    raw.send(updateOf([1, 2, 3]));
    await dumper.dumpTable();
    const [index, ...rib] = read("table");
    if (index?.kind !== "peer-index") throw new Error("no peers first");
    expect(index.peers.map((p) => [formatAddress(p.address), p.asn, p.routerId])).toEqual([
      ["0.0.0.0", 65000, 0x0a000001],
      ["10.0.0.2", 65001, 0x0a000002],
    ]);
    const seen = rib.map((r) =>
      r.kind === "rib" ? [formatPrefix(r.prefix), r.entries[0]!.peer, r.sequence] : [],
    );
    expect(seen.map(([p, peer]) => [p, peer])).toEqual(
      expect.arrayContaining([
        ["10.64.0.0/24", 0],
        ["20.0.1.0/24", 1],
        ["20.0.2.0/24", 1],
        ["20.0.3.0/24", 1],
      ]),
    );
    expect(seen.map(([, , s]) => s)).toEqual([0, 1, 2, 3]);
  });

  it("messages hold what came and what went, in order", async () => {
    const { dumper, raw } = start();
    raw.send(updateOf([1, 2]));
    await until("written", () =>
      read("messages").some((r) => r.kind === "message" && typeof r.update === "object" && !r.local),
    );
    const types = read("messages").map((r) =>
      r.kind === "message" ? `${r.local ? "<" : ">"}${r.message[18]}` : r.kind,
    );
    expect(types.slice(0, 4)).toEqual(["<1", ">1", "<4", ">4"]);
    expect(types).toContain("<2");
    expect(types.at(-1)).toBe(">2");
    dumper[Symbol.dispose]();
  });

  it("files stay within their number, and nothing else in the directory is touched", async () => {
    writeFileSync(join(directory, "messages.mine"), "");
    const { dumper, raw } = start({ fileBytesMax: 100, filesMax: 3 });
    for (let i = 0; i < 12; i++) {
      const before = dumper.status.bytes;
      raw.send(updateOf([i]));
      await until("written", () => dumper.status.bytes > before);
    }
    for (let i = 0; i < 5; i++) await dumper.dumpTable();
    const names = readdirSync(directory);
    expect(names.filter((n) => n.startsWith("table."))).toHaveLength(3);
    expect(names.filter((n) => /^messages\.\d/.test(n)).length).toBeLessThanOrEqual(3);
    expect(names).toContain("messages.mine");
    expect(dumper.status.dropped).toBe(0);
  });

  it("a disk that fails costs records, which are counted, and no session", async () => {
    writeFileSync(join(directory, "file"), "");
    const { dumper, raw, host } = start({ directory: join(directory, "file", "below") });
    raw.send(updateOf([1]));
    await until("dropped", () => dumper.status.dropped > 0);
    expect(dumper.status.problem).not.toBe("");
    await dumper.dumpTable();
    expect(host.speaker.session("p")!.state).toBe(5);
  });
});
