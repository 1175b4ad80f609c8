// test/interop: neighbours of a busy speaker, on sockets of their own: one that loads a table, and some that write down when they hear what.
import { connect, type Socket } from "node:net";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { stream } from "../../bench/bgp-stream.ts";
import { FrameReader, keepaliveMessage } from "../../src/bgp/wire/frame.ts";
import { countNlri } from "../../src/bgp/wire/nlri.ts";
import { encodeOpen } from "../../src/bgp/wire/open.ts";
import { layoutUpdate, updateLayout } from "../../src/bgp/wire/update.ts";

export interface Heard {
  /** Milliseconds between KEEPALIVEs since the load began; the last until now. */
  readonly keepaliveGaps: readonly number[];
  /** The longest silence since then, in ms. */
  readonly silence: number;
  readonly announced: number;
  /** NOTIFICATION, or why the connection ended; empty while it is there. */
  readonly ended: string;
}

const [target = "", role = "", localAddress = "", asnText, holdText, prefixesText] = process.argv.slice(2);
const asn = Number(asnText);
const hold = Number(holdText);
const layout = updateLayout();
let keepalives: number[] = [];
let lastHeard = 0;
let silence = 0;
let announced = 0;
let ended = "";

async function dial(): Promise<Socket> {
  for (;;) {
    const socket = connect({ host: target, port: 179, localAddress });
    const ok = await new Promise<boolean>((resolve) => {
      socket.once("connect", () => resolve(true));
      socket.once("error", () => resolve(false));
    });
    if (ok) return socket;
    await sleep(100);
  }
}

/** Resolves once the session is there; false where the speaker closes before: it is not ready yet. */
async function session(): Promise<Socket | undefined> {
  const socket = await dial();
  const frames = new FrameReader();
  socket.on("error", (error) => {
    ended ||= error.message;
  });
  socket.write(
    encodeOpen({
      asn,
      holdSeconds: hold,
      routerId: asn,
      capabilities: { families: [{ afi: 1, safi: 1 }], as4: asn, routeRefresh: true },
    }),
  );
  return new Promise((resolve) => {
    socket.on("close", () => {
      ended ||= "closed";
      resolve(undefined);
    });
    socket.on("data", (chunk) => {
      const now = performance.now();
      silence = Math.max(silence, now - lastHeard);
      lastHeard = now;
      const wrong = frames.push(chunk as Uint8Array, (type, b, start, end) => {
        if (type === 1) socket.write(keepaliveMessage);
        else if (type === 2) {
          layoutUpdate(b, start, end, layout);
          announced += countNlri(b, layout.nlri.start, layout.nlri.end, 1);
        } else if (type === 3) ended ||= `NOTIFICATION ${b[start]}/${b[start + 1]}`;
        else if (type === 4) {
          keepalives.push(now);
          resolve(socket);
        }
        return true;
      });
      if (wrong) ended ||= wrong.reason ?? "malformed";
    });
  });
}

let socket = await session();
while (!socket) {
  await sleep(200);
  ended = "";
  socket = await session();
}
const established = socket;
setInterval(() => established.write(keepaliveMessage), (hold * 1000) / 6);
process.stdout.write("up\n");
for await (const line of createInterface({ input: process.stdin })) {
  if (line === "begin") {
    lastHeard = performance.now();
    keepalives = keepalives.slice(-1);
    silence = 0;
    if (role === "loader")
      established.write(
        stream({
          prefixes: Number(prefixesText),
          asn,
          nextHop: Uint8Array.from(localAddress.split(".").map(Number)),
          seed: 1,
        }),
      );
  } else {
    const now = performance.now();
    const gaps = [...keepalives, now].slice(1).map((t, i) => t - keepalives[i]!);
    const heard: Heard = {
      keepaliveGaps: gaps,
      silence: Math.max(silence, now - lastHeard),
      announced,
      ended,
    };
    process.stdout.write(`${JSON.stringify(heard)}\n`);
  }
}
