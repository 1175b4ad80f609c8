// test/unit/bgp: the speaker's unix socket: who controls, what is refused, answers in pieces, routes at the reader's pace; and speaker.yaml.
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { connect, createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  AckState,
  type DesiredState,
  DesiredStateSchema,
  Family,
  type FromSpeaker,
  OriginSchema,
  QueryKind,
  type Route,
  type RouteBatch,
} from "../../../src/api/generated/proto/speaker_pb.js";
import { systemClock } from "../../../src/bgp/daemon/clock.ts";
import { speakerConfig as convert } from "../../../src/bgp/daemon/config.ts";
import { ControlServer } from "../../../src/bgp/daemon/control.ts";
import { FrameSplitter, frame } from "../../../src/bgp/daemon/framing.ts";
import { SpeakerClient } from "../../../src/bgp/daemon/speaker-client.ts";
import { parseSpeaker, readSpeakerFile } from "../../../src/bgp/daemon/standalone.ts";
import { DesiredStateError } from "../../../src/bgp/rib/desired.ts";
import { Speaker } from "../../../src/bgp/session/speaker.ts";
import { parseAddress, parsePrefix, toBytes } from "../../../src/net/address.ts";

let directory: string;
let path: string;
let speaker: Speaker;
let control: ControlServer;

const open = async (fileControlled = false): Promise<void> => {
  let server: ControlServer | undefined;
  speaker = new Speaker({
    clock: systemClock,
    random: () => 0.5,
    // Nobody is ever reached.
    transport: {
      connect: () => ({
        local: undefined,
        remote: undefined,
        write: () => false,
        pendingBytes: 0,
        unacknowledged: () => 0,
        end: () => {},
        destroy: () => {},
      }),
    },
    events: {
      acknowledged: (g, p, s) => server?.acknowledged(g, p, s),
      sessionChanged: (s) => server?.sessionChanged(s),
      routesChanged: () => server?.routesChanged(),
      endOfRib: (p, afi) => server?.endOfRib(p, afi),
      log: () => {},
    },
  });
  server = await ControlServer.open({
    path,
    speaker,
    version: "test",
    fileControlled,
    apply: (state) => speaker.apply(convert(state)),
    log: () => {},
  });
  control = server;
};

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "waggle-bgpd-"));
  path = join(directory, "bgpd.sock");
  await open();
});
afterEach(() => {
  speaker.stop();
  for (const session of speaker.sessions) session[Symbol.dispose]();
  control.close();
  rmSync(directory, { recursive: true, force: true });
});

const until = async (check: () => boolean): Promise<void> => {
  for (let i = 0; !check(); i++) {
    if (i > 500) throw new Error("not within 5 s");
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
};

/** A client that keeps what it hears. */
async function client(options: { controller?: boolean; wantRoutes?: boolean; acknowledge?: boolean } = {}) {
  const heard: FromSpeaker["message"][] = [];
  let closed: string | undefined;
  const { client, hello } = await SpeakerClient.open({
    path,
    ...options,
    onMessage: (m, from) => {
      heard.push(m);
      if (m.case === "routes" && options.acknowledge !== false) from.acknowledge(m.value.sequence);
    },
    onClose: (reason) => {
      closed = reason;
    },
  });
  const batches = (): RouteBatch[] => heard.flatMap((m) => (m.case === "routes" ? [m.value] : []));
  return { client, hello, heard, batches, closed: () => closed };
}

function state(
  generation: bigint,
  prefixes: readonly string[],
  more: Partial<DesiredState> = {},
): DesiredState {
  const made = create(DesiredStateSchema, {
    generation,
    asn: 65000,
    routerId: 0x0a000001,
    complete: true,
    peers: [
      {
        name: "tor",
        address: toBytes(parseAddress("192.0.2.1")),
        peerAsn: 65001,
        families: [Family.IPV4_UNICAST],
      },
    ],
    origins: prefixes.map((text) => {
      const p = parsePrefix(text);
      return { prefix: toBytes(p), length: p.length, peers: ["tor"] };
    }),
  });
  return Object.assign(made, more);
}
const many = (n: number) => Array.from({ length: n }, (_, i) => `10.${i >> 8}.${i & 255}.0/24`);

describe("the socket", () => {
  test("only its owner may open it", () => {
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  test("a second speaker does not take it away", async () => {
    await expect(ControlServer.open({ ...optionsOf(), path })).rejects.toThrow("another speaker answers");
  });

  test("what a dead speaker left is replaced, a file of another kind is not", async () => {
    const stale = join(directory, "stale.sock");
    const dead: Server = createServer().listen(stale);
    await new Promise((resolve) => dead.once("listening", resolve));
    // Closing would remove it: the descriptor goes, the file stays.
    const copy = join(directory, "copy.sock");
    const { linkSync } = await import("node:fs");
    linkSync(stale, copy);
    dead.close();
    const second = await ControlServer.open({ ...optionsOf(), path: copy });
    second.close();
    const file = join(directory, "file");
    writeFileSync(file, "precious");
    await expect(ControlServer.open({ ...optionsOf(), path: file })).rejects.toThrow("not a socket");
    expect(existsSync(file)).toBe(true);
  });

  const optionsOf = () => ({
    speaker,
    version: "test",
    fileControlled: false,
    apply: () => {},
    log: () => {},
  });

  test("another protocol is refused with the reason", async () => {
    const socket = connect(path);
    const frames = new FrameSplitter(1024);
    const text = await new Promise<string>((resolve) => {
      socket.on("data", (chunk) =>
        frames.push(chunk as Uint8Array, (m) => resolve(Buffer.from(m).toString())),
      );
      // ToSpeaker{hello{protocol: 9}}
      socket.write(frame(Uint8Array.of(0x0a, 2, 8, 9)));
    });
    expect(text).toContain("protocol 9 is not spoken here");
    socket.destroy();
  });

  test.each([
    ["garbage", Uint8Array.of(0, 0, 0, 3, 255, 255, 255), "cannot be read"],
    ["no hello first", frame(Uint8Array.of(0x1a, 2, 8, 1)), "must be a hello"],
    ["endless", Uint8Array.of(0x7f, 0, 0, 0, 1), "longer than allowed"],
  ])("%s is refused and the connection closed", async (_name, bytes, expected) => {
    const socket = connect(path);
    let text = "";
    socket.on("data", (chunk) => {
      text += chunk.toString();
    });
    socket.write(bytes);
    await new Promise((resolve) => socket.once("close", resolve));
    expect(text).toContain(expected);
  });
});

describe("control", () => {
  test("generation, sessions and acknowledgements; a new controller replaces the old one and learns the generation", async () => {
    const first = await client({ controller: true });
    expect(first.hello.generation).toBe(0n);
    first.client.desire(state(7n, many(3)));
    await until(() => first.heard.some((m) => m.case === "ack"));
    expect(first.heard.find((m) => m.case === "ack")!.value).toMatchObject({
      generation: 7n,
      peer: "tor",
      state: AckState.ACK_PEER_DOWN,
    });
    await until(() => first.heard.some((m) => m.case === "session"));
    const second = await client({ controller: true });
    expect(second.hello.generation).toBe(7n);
    await until(() => first.closed() !== undefined);
    expect(first.closed()).toContain("another controller");
    // What the first had said stays in force.
    expect(speaker.rib.origins[1].size).toBe(3);
    await until(() => second.heard.some((m) => m.case === "session"));
    second.client[Symbol.dispose]();
  });

  test("a reader cannot control", async () => {
    const reader = await client();
    reader.client.desire(state(1n, []));
    await until(() => reader.closed() !== undefined);
    expect(reader.closed()).toContain("only the controlling agent");
    expect(speaker.config).toBeUndefined();
  });

  test.each([
    ["asn", { asn: 0 }, "asn: is 0"],
    ["router_id", { routerId: 0 }, "router_id"],
    ["two peers of one name", { peers: [1, 2].map(() => state(1n, []).peers[0]!) }, "not unique"],
    ["hold time 2", { peers: [{ ...state(1n, []).peers[0]!, holdSeconds: 2 }] }, "hold time 2"],
    [
      "host bits",
      { origins: [create(OriginSchema, { prefix: Uint8Array.of(10, 0, 0, 1), length: 24 })] },
      "host bits",
    ],
  ])("a state that makes no sense is refused and the last one stays: %s", async (_name, wrong, expected) => {
    const c = await client({ controller: true });
    c.client.desire(state(1n, many(2)));
    c.client.desire(state(2n, [], wrong as Partial<DesiredState>));
    await until(() => c.heard.some((m) => m.case === "refusal"));
    expect(JSON.stringify(c.heard.find((m) => m.case === "refusal")!.value)).toContain(expected);
    expect(speaker.config!.generation).toBe(1n);
    expect(speaker.rib.origins[1].size).toBe(2);
    c.client[Symbol.dispose]();
  });

  test("a speaker that runs from a file has no controller", async () => {
    control.close();
    rmSync(path, { force: true });
    await open(true);
    await expect(client({ controller: true })).rejects.toThrow("runs from a file");
  });
});

describe("routes", () => {
  test("the whole table first, then changes; at most two batches unacknowledged, meanwhile changes coalesce", async () => {
    const c = await client({ controller: true });
    c.client.desire(state(1n, many(3500)));
    const reader = await client({ wantRoutes: true, acknowledge: false });
    await until(() => reader.batches().length === 2);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(reader.batches().map((b) => b.routes.length)).toEqual([1000, 1000]);
    // Three changes of the same prefixes while nothing is acknowledged.
    for (let g = 2n; g < 5n; g++) c.client.desire(state(g, many(g === 3n ? 0 : 3500)));
    await until(() => speaker.config!.generation === 4n);
    const count = () => reader.batches().reduce((n, b) => n + b.routes.length, 0);
    const acknowledgeUntil = (done: () => boolean): Promise<void> =>
      until(() => {
        reader.client.acknowledge(reader.batches().at(-1)!.sequence);
        return done();
      });
    const newest = (): Map<string, Route> =>
      new Map(reader.batches().flatMap((b) => b.routes.map((r) => [`${r.prefix}/${r.length}`, r] as const)));
    const snapshots = () => reader.batches().filter((b) => b.snapshotDone).length;
    // Those of the first two batches changed since, so they are told again; the others come once with the walk and once with the log.
    await acknowledgeUntil(() => snapshots() === 1 && newest().size === 3500 && count() === 7000);
    expect([...newest().values()].every((r) => !r.withdrawn && r.paths[0]!.peer === "")).toBe(true);
    c.client.desire(state(5n, []));
    await acknowledgeUntil(() => [...newest().values()].every((r) => r.withdrawn));
    // What nobody needs any more is given back.
    await acknowledgeUntil(() => speaker.rib.tables[1].prefixes.size === 0);
    expect(snapshots()).toBe(1);
    reader.client[Symbol.dispose]();
    c.client[Symbol.dispose]();
  });

  test("answers come in pieces of a thousand; a prefix narrows them", async () => {
    const c = await client({ controller: true });
    c.client.desire(state(1n, [...many(2500), "fd00::/64"]));
    const ask = async (query: Parameters<typeof c.client.query>[0]) => {
      const sizes: number[] = [];
      for await (const piece of c.client.query(query)) sizes.push(piece.routes.length);
      return sizes;
    };
    expect(await ask({ kind: QueryKind.QUERY_ROUTES })).toEqual([1000, 1000, 501]);
    const inside = { prefix: toBytes(parseAddress("10.3.0.0")), length: 16 };
    expect(await ask({ kind: QueryKind.QUERY_ROUTES, ...inside })).toEqual([256]);
    await expect(ask({ kind: QueryKind.QUERY_RECEIVED, peer: "nobody" })).rejects.toThrow('called "nobody"');
    await expect(ask({ kind: QueryKind.QUERY_ADVERTISED, peer: "tor" })).rejects.toThrow("not established");
    c.client[Symbol.dispose]();
  });
});

test("framing: any cut of the stream gives the same messages", () => {
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ maxLength: 300 }), { minLength: 1, maxLength: 6 }),
      fc.array(fc.nat({ max: 1000 }), { maxLength: 8 }),
      (messages, cuts) => {
        const stream = Buffer.concat(messages.map(frame));
        const at = [...new Set(cuts.map((c) => c % stream.length))].sort((a, b) => a - b);
        const splitter = new FrameSplitter(1000);
        const seen: string[] = [];
        let from = 0;
        for (const to of [...at, stream.length]) {
          expect(
            splitter.push(stream.subarray(from, to), (m) => seen.push(Buffer.from(m).toString("hex"))),
          ).toBe(true);
          from = to;
        }
        expect(seen).toEqual(messages.map((m) => Buffer.from(m).toString("hex")));
      },
    ),
    { seed: 5, numRuns: 300 },
  );
});

describe("speaker.yaml", () => {
  const base = { asn: 65000, routerID: "10.0.0.1", peers: [{ name: "a", address: "192.0.2.1", asn: 65001 }] };

  test("defaults, policies and communities", () => {
    const config = parseSpeaker(
      {
        ...base,
        listen: [{}],
        origins: [
          {
            prefix: "10.1.0.0/24",
            peers: ["a"],
            attributes: { med: 5, communities: { standard: ["65000:7", "no-export"], large: ["65000:1:2"] } },
          },
        ],
        policies: [
          {
            name: "p",
            rules: [
              {
                name: "r",
                action: "accept",
                match: { prefixes: [{ prefix: "10.0.0.0/8", le: 24 }] },
                set: { prepend: 2 },
              },
            ],
          },
        ],
      },
      "test",
    );
    expect(config.peers[0]).toMatchObject({
      families: [1, 2],
      holdSeconds: 90,
      connectRetrySeconds: 5,
      gracefulRestart: true,
      importPolicies: [],
      prefixesMax: { 1: 10_000, 2: 10_000 },
    });
    expect(config.listen).toEqual([{ address: undefined, port: 179 }]);
    expect(config.origins[0]!.attributes).toMatchObject({
      med: 5,
      communities: [65000 * 65536 + 7, 0xffffff01],
      large: [[65000, 1, 2]],
    });
    expect(config.policies[0]!.rules[0]).toMatchObject({
      accept: true,
      match: { source: "default" },
      set: { prepend: 2 },
    });
  });

  test.each([
    ["an unknown field", { ...base, colour: "red" }, "additional properties"],
    ["a missing field", { asn: 1, routerID: "1.1.1.1" }, "required property 'peers'"],
    ["an AS number 0", { ...base, asn: 0 }, "/asn must be >= 1"],
    ["a bad address", { ...base, peers: [{ name: "a", address: "192.0.2.300", asn: 1 }] }, "192.0.2.300"],
    [
      "a bad community",
      {
        ...base,
        origins: [{ prefix: "10.0.0.0/8", peers: [], attributes: { communities: { standard: ["1:2:3"] } } }],
      },
      "1:2:3",
    ],
    ["an omitted audience", { ...base, origins: [{ prefix: "10.0.0.0/8" }] }, "required property 'peers'"],
    ["host bits", { ...base, origins: [{ prefix: "10.0.0.1/8", peers: [] }] }, "did you mean 10.0.0.0/8"],
  ])("%s is refused and named", (_name, document, expected) => {
    expect(() => parseSpeaker(document, "speaker.yaml")).toThrow(expected);
  });

  test("a password from a file", () => {
    const secret = join(directory, "secret");
    writeFileSync(secret, "hush\n");
    const file = join(directory, "speaker.yaml");
    writeFileSync(
      file,
      `asn: 65000\nrouterID: 10.0.0.1\npeers:\n- {name: a, address: 192.0.2.1, asn: 65001, passwordFile: ${secret}}\n`,
    );
    expect(readSpeakerFile(file).peers[0]!.password).toBe("hush");
  });

  test("a desired state that cannot be is an error of its own kind", () => {
    expect(() => convert(state(1n, [], { asn: 0 }))).toThrow(DesiredStateError);
  });
});
