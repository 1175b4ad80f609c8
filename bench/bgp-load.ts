// bench: the neighbours of a speaker under test, in one process: senders of a generated table and an observer that counts what it is sent.
import { connect, type Socket } from "node:net";
import { createInterface } from "node:readline";
import { FrameReader, keepaliveMessage } from "../src/bgp/wire/frame.ts";
import { countNlri } from "../src/bgp/wire/nlri.ts";
import { encodeOpen } from "../src/bgp/wire/open.ts";
import { layoutUpdate, updateLayout } from "../src/bgp/wire/update.ts";
import { stream } from "./bgp-stream.ts";

export interface LoadResult {
  /** Seconds from the first octet sent until the observer had every prefix. */
  readonly loadSeconds: number;
  /** Seconds from closing the senders until the observer had every withdrawal. */
  readonly withdrawSeconds: number;
  readonly updates: number;
}

const [target, observerAddress, senderAddresses, prefixesText] = process.argv.slice(2) as [
  string,
  string,
  string,
  string,
];
const prefixes = Number(prefixesText);
const senders = senderAddresses.split(",");

/** How long the speaker under test may take to listen. */
const START_MS = 20_000;
const started = performance.now();

async function dial(localAddress: string): Promise<Socket> {
  for (;;) {
    const socket = connect({ host: target, port: 179, localAddress });
    const failed = await new Promise<Error | undefined>((resolve) => {
      socket.once("connect", () => resolve(undefined));
      socket.once("error", resolve);
    });
    if (!failed) return socket;
    if (performance.now() - started > START_MS) throw failed;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

async function open(
  localAddress: string,
  asn: number,
  onUpdate: (b: Uint8Array, start: number, end: number) => void,
): Promise<Socket> {
  const socket = await dial(localAddress);
  const frames = new FrameReader();
  socket.write(
    encodeOpen({
      asn,
      holdSeconds: 90,
      routerId: asn,
      capabilities: { families: [{ afi: 1, safi: 1 }], as4: asn, routeRefresh: true },
    }),
  );
  await new Promise<void>((resolve) => {
    socket.on("data", (chunk) => {
      const error = frames.push(chunk as Uint8Array, (type, b, start, end) => {
        if (type === 1) socket.write(keepaliveMessage);
        else if (type === 4) resolve();
        else if (type === 2) onUpdate(b, start, end);
        else if (type === 3) throw new Error(`NOTIFICATION ${b[start]}/${b[start + 1]}`);
        return true;
      });
      if (error) throw new Error(error.reason);
    });
  });
  return socket;
}

const layout = updateLayout();
let announced = 0;
let withdrawn = 0;
let updates = 0;
let wake = (): void => {};
const observed = open(observerAddress, 65100, (b, start, end) => {
  layoutUpdate(b, start, end, layout);
  announced += countNlri(b, layout.nlri.start, layout.nlri.end, 1);
  withdrawn += countNlri(b, layout.withdrawn.start, layout.withdrawn.end, 1);
  updates++;
  wake();
});
const until = async (done: () => boolean): Promise<void> => {
  while (!done())
    await new Promise<void>((resolve) => {
      wake = resolve;
    });
};

const streams = senders.map((address, i) =>
  stream({
    prefixes,
    asn: 65001 + i,
    nextHop: Uint8Array.from(address.split(".").map(Number)),
    seed: i + 1,
    longer: senders.length - i,
  }),
);
await observed;
const sockets = await Promise.all(senders.map((address, i) => open(address, 65001 + i, () => {})));
const told = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const step = async (done: object): Promise<void> => {
  process.stdout.write(`${JSON.stringify(done)}\n`);
  await told.next();
};
await step({ ready: true });
const began = performance.now();
sockets.forEach((socket, i) => {
  socket.write(streams[i]!);
});
await until(() => announced >= prefixes);
// More may come where a better path follows: quiet is when nothing has for a while.
let last = performance.now();
if (senders.length > 1)
  for (let before = -1; before !== updates; ) {
    before = updates;
    last = performance.now();
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
const loadSeconds = (last - began) / 1000;
const held = updates;
await step({ loaded: true });
const closing = performance.now();
for (const socket of sockets) socket.end();
await until(() => withdrawn >= prefixes);
const result: LoadResult = {
  loadSeconds,
  withdrawSeconds: (performance.now() - closing) / 1000,
  updates: held,
};
process.stdout.write(`${JSON.stringify(result)}\n`);
process.exit();
