// agent: the connection to the speaker over a real unix socket, and what goes over it as the speaker reads it.
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Log } from "../../../src/agent/ports.ts";
import { SpeakerClient, type SpeakerListener } from "../../../src/agent/speaker/client.ts";
import { encodeFrame, FrameError, FrameReader, frameLimit } from "../../../src/agent/speaker/frames.ts";
import {
  type FromSpeaker,
  FromSpeakerSchema,
  ToSpeakerSchema,
} from "../../../src/api/generated/proto/speaker_pb.js";
import { speakerConfig } from "../../../src/bgp/daemon/config.ts";
import { systemClock } from "../../../src/kube/index.ts";
import { encodeDesired, plan } from "../../../src/plan/index.ts";
import { inputs, peer, snapshot } from "../plan/fixture.ts";

const quiet = (): void => undefined;
const log: Log = { debug: quiet, info: quiet, warn: quiet, error: quiet };
const until = async (check: () => boolean): Promise<void> => {
  for (let i = 0; i < 400 && !check(); i++) await new Promise((r) => setTimeout(r, 5));
  expect(check()).toBe(true);
};

describe("frames", () => {
  it("come out as they went in, however the stream is cut", () => {
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 8 }),
        fc.array(fc.integer({ min: 1, max: 50 }), { maxLength: 30 }),
        (messages, cuts) => {
          const stream = Buffer.concat(messages.map(encodeFrame));
          const reader = new FrameReader();
          const out: Uint8Array[] = [];
          let at = 0;
          for (const cut of [...cuts, stream.length]) {
            for (const m of reader.push(stream.subarray(at, at + cut))) out.push(new Uint8Array(m));
            at += cut;
          }
          expect(out).toEqual(messages.map((m) => new Uint8Array(m)));
        },
      ),
      { seed: 3 },
    );
  });

  it("are refused beyond the bound, before they are read", () => {
    const head = new Uint8Array(4);
    new DataView(head.buffer).setUint32(0, frameLimit + 1);
    expect(() => new FrameReader().push(head)).toThrow(FrameError);
  });
});

describe("desired state", () => {
  it("is what the speaker understands", () => {
    const given = snapshot({ peers: [peer("tor", { passwordSecretName: "bgp", multihopTTL: 3 })] });
    const p = plan(given, "node1", inputs({ passwords: new Set(["bgp"]) }));
    const config = speakerConfig(encodeDesired(p.speaker, 7n, true, new Map([["bgp", "geheim"]])));
    expect(config).toMatchObject({ generation: 7n, asn: 64601, complete: true });
    expect(config.peers[0]).toMatchObject({
      name: "tor",
      password: "geheim",
      passwordMissing: false,
      multihopTtl: 3,
      forwardingPreserved: true,
      families: [1, 2],
    });
    expect(config.origins.map((o) => [o.length, [...o.peers]])).toEqual([
      [26, ["tor"]],
      [122, ["tor"]],
      [32, ["tor"]],
      [128, ["tor"]],
    ]);
    expect(config.origins[2]!.attributes.large).toEqual([[64601, 1, 2]]);
    const names = config.policies.map((x) => x.name);
    for (const name of [...config.peers[0]!.importPolicies, ...config.peers[0]!.exportPolicies])
      expect(names).toContain(name);
    const dc2 = config.policies.flatMap((x) => x.rules).find((r) => r.name === "dc2")!;
    expect(dc2.match.prefixes.map((m) => [m.ge, m.le])).toEqual([
      [16, 32],
      [48, 128],
    ]);
  });

  it("holds a peer down whose password is not there, whatever the plan thought", () => {
    const given = snapshot({ peers: [peer("tor", { passwordSecretName: "bgp" })] });
    const p = plan(given, "node1", inputs({ passwords: new Set(["bgp"]) }));
    expect(encodeDesired(p.speaker, 1n, true, new Map()).peers[0]).toMatchObject({
      password: "",
      passwordMissing: true,
    });
  });
});

describe("connection", () => {
  let directory: string;
  let server: Server;
  let sockets: Socket[];
  let received: string[];
  let client: SpeakerClient;
  let heard: string[];
  const listener: SpeakerListener = {
    connected: (hello) => void heard.push(`connected ${hello.pid} ${hello.generation}`),
    disconnected: (reason) => void heard.push(`disconnected ${reason}`),
    refused: (reason) => void heard.push(`refused ${reason}`),
    ack: (ack) => void heard.push(`ack ${ack.generation} ${ack.peer}`),
    session: (s) => void heard.push(`session ${s.peer}`),
    routes: (b) => void heard.push(`routes ${b.sequence}`),
  };
  const say = (socket: Socket, message: FromSpeaker["message"]): void =>
    void socket.write(encodeFrame(toBinary(FromSpeakerSchema, create(FromSpeakerSchema, { message }))));

  const listen = (onHello: (socket: Socket) => void): Promise<void> => {
    server = createServer((socket) => {
      sockets.push(socket);
      const reader = new FrameReader();
      socket.on("error", quiet);
      socket.on("data", (chunk) => {
        for (const bytes of reader.push(chunk as Uint8Array)) {
          const { message } = fromBinary(ToSpeakerSchema, bytes);
          received.push(message.case ?? "");
          if (message.case === "hello") onHello(socket);
        }
      });
    });
    return new Promise((resolve) => server.listen(join(directory, "s"), resolve));
  };
  const hello = (socket: Socket, protocol = 1): void =>
    say(socket, {
      case: "hello",
      value: { $typeName: "waggle.speaker.v1.HelloReply", protocol, version: "t", pid: 5n, generation: 3n },
    });

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "waggle-speaker-"));
    sockets = [];
    received = [];
    heard = [];
    client = new SpeakerClient({ path: join(directory, "s"), clock: systemClock, random: () => 0.5, log });
  });
  afterEach(async () => {
    client[Symbol.dispose]();
    for (const s of sockets) s.destroy();
    if (server) await new Promise((resolve) => server.close(resolve));
    rmSync(directory, { recursive: true, force: true });
  });

  it("waits for the socket, says hello, and comes back after an end", async () => {
    client.start(listener);
    await until(() => heard.length > 0);
    expect(heard[0]).toContain("is not there");
    expect(
      client.sendDesired(encodeDesired(plan(snapshot(), "node1", inputs()).speaker, 1n, true, new Map())),
    ).toBe(false);
    await listen((socket) => hello(socket));
    await until(() => client.connected);
    expect(heard.at(-1)).toBe("connected 5 3");
    expect(
      client.sendDesired(encodeDesired(plan(snapshot(), "node1", inputs()).speaker, 4n, true, new Map())),
    ).toBe(true);
    client.ackRoutes(2n);
    await until(() => received.length === 3);
    expect(received).toEqual(["hello", "desired", "routesAck"]);
    sockets.at(-1)!.destroy();
    await until(() => heard.filter((h) => h.startsWith("connected")).length === 2);
  });

  it("tells a refused state and keeps the connection", async () => {
    await listen((socket) => hello(socket));
    client.start(listener);
    await until(() => client.connected);
    say(sockets[0]!, {
      case: "refusal",
      value: { $typeName: "waggle.speaker.v1.Refusal", reason: "asn is 0" },
    });
    await until(() => heard.includes("refused asn is 0"));
    expect(client.connected).toBe(true);
  });

  it("gives up on another protocol, with the reason", async () => {
    await listen((socket) => hello(socket, 9));
    client.start(listener);
    await until(() => heard.some((h) => h.includes("protocol 9")));
    expect(client.connected).toBe(false);
  });

  it("survives garbage", async () => {
    let first = true;
    await listen((socket) => {
      if (first) socket.write(new Uint8Array([0, 0, 0, 3, 255, 255, 255]));
      else hello(socket);
      first = false;
    });
    client.start(listener);
    await until(() => client.connected);
    expect(heard[0]).toContain("cannot be read");
  });
});
