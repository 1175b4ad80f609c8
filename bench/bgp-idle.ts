// bench: many neighbours that only stay up, in one process. Says "up" once all sessions are established; ends where one is lost.
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { FrameReader, keepaliveMessage } from "../src/bgp/wire/frame.ts";
import { encodeOpen } from "../src/bgp/wire/open.ts";

const [target, addressesText] = process.argv.slice(2) as [string, string];
const addresses = addressesText.split(",");

const KEEPALIVE_MS = 60_000;
/** How long the speaker under test may take to listen and to take them all. */
const START_MS = 120_000;
/** Connections that are being opened at once. */
const AT_ONCE = 50;
const started = performance.now();

async function join(localAddress: string, asn: number): Promise<void> {
  for (;;) {
    const socket = connect({ host: target, port: 179, localAddress });
    const failed = await new Promise<string | undefined>((resolve) => {
      const frames = new FrameReader();
      socket.on("error", (error) => resolve(error.message));
      socket.on("close", () => resolve("closed"));
      socket.on("connect", () =>
        socket.write(
          encodeOpen({
            asn,
            holdSeconds: 180,
            routerId: asn,
            capabilities: { families: [{ afi: 1, safi: 1 }], as4: asn, routeRefresh: true },
          }),
        ),
      );
      let confirmed = false;
      socket.on("data", (chunk) => {
        const error = frames.push(chunk as Uint8Array, (type) => {
          if (type === 1) socket.write(keepaliveMessage);
          else if (type === 4 && !confirmed) {
            confirmed = true;
            resolve(undefined);
          } else if (type === 3) resolve("NOTIFICATION");
          return type !== 3;
        });
        if (error) resolve(error.reason);
      });
    });
    if (failed === undefined) {
      socket.on("close", () => process.exit(1));
      // Not all at once, as routers do not agree on when to speak.
      setTimeout(
        () => {
          socket.write(keepaliveMessage);
          setInterval(() => socket.write(keepaliveMessage), KEEPALIVE_MS);
        },
        (KEEPALIVE_MS * addresses.indexOf(localAddress)) / addresses.length,
      );
      return;
    }
    socket.destroy();
    if (performance.now() - started > START_MS) throw new Error(`${localAddress}: ${failed}`);
    await sleep(200);
  }
}

const waiting = addresses.map((address, i) => ({ address, asn: 64000 + i }));
await Promise.all(
  Array.from({ length: AT_ONCE }, async () => {
    for (let next = waiting.shift(); next; next = waiting.shift()) await join(next.address, next.asn);
  }),
);
process.stdout.write("up\n");
