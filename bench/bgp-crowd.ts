// bench: a bad crowd: neighbours that never read, that flap, that read slowly; they only connect and misbehave.
import { connect } from "node:net";
import { keepaliveMessage } from "../src/bgp/wire/frame.ts";
import { encodeOpen } from "../src/bgp/wire/open.ts";

const [target, addressesText] = process.argv.slice(2) as [string, string];
const addresses = addressesText.split(",");

const open = (asn: number): Uint8Array =>
  encodeOpen({
    asn,
    holdSeconds: 90,
    routerId: asn,
    capabilities: { families: [{ afi: 1, safi: 1 }], as4: asn, routeRefresh: true },
  });

function join(i: number): void {
  const localAddress = addresses[i]!;
  const asn = 64000 + i;
  const socket = connect({ host: target, port: 179, localAddress });
  const again = (ms: number) => setTimeout(() => join(i), ms);
  socket.on("error", () => {});
  socket.on("connect", () => {
    socket.write(open(asn));
    socket.write(keepaliveMessage);
    const kind = i % 3;
    if (kind === 0) {
      // Reads what it must to come up, then never again, but stays alive.
      setTimeout(() => socket.pause(), 500);
      setInterval(() => socket.write(keepaliveMessage), 20_000);
    } else if (kind === 1) setTimeout(() => socket.destroy(), 50);
    else {
      setInterval(() => {
        socket.resume();
        setTimeout(() => socket.pause(), 1);
      }, 200);
      setInterval(() => socket.write(keepaliveMessage), 20_000);
    }
  });
  socket.on("data", () => {});
  socket.on("close", () => {
    if (i % 3 === 1) again(50);
  });
}

for (let i = 0; i < addresses.length; i++) join(i);
process.stdout.write("crowded\n");
