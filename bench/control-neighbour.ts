// bench: a neighbour of everybody: remembers when each node first told it of each prefix (v4 text), and counts UPDATEs.
import { type AddressInfo, createServer, type Server } from "node:net";
import { FrameReader, keepaliveMessage } from "../src/bgp/wire/frame.ts";
import { decodeOpen, encodeOpen } from "../src/bgp/wire/open.ts";
import { layoutUpdate, updateLayout } from "../src/bgp/wire/update.ts";

export const neighbourASN = 65100;

export class Neighbour implements Disposable {
  /** By `n` and the low 16 bits of the router ID. */
  readonly heard = new Map<string, Map<string, number>>();
  updates = 0;
  readonly #server: Server;
  readonly #layout = updateLayout();

  constructor() {
    this.#server = createServer((socket) => {
      const frames = new FrameReader();
      let node: Map<string, number> | undefined;
      socket.on("error", () => socket.destroy());
      socket.on("data", (chunk) => {
        frames.push(chunk as Uint8Array, (type, b, start, end) => {
          if (type === 1) {
            const open = decodeOpen(b, start, end);
            if (!("routerId" in open)) throw new Error(open.reason);
            node = new Map();
            this.heard.set(`n${open.routerId & 0xffff}`, node);
            socket.write(
              encodeOpen({
                asn: neighbourASN,
                holdSeconds: 240,
                routerId: 1,
                capabilities: { families: [{ afi: 1, safi: 1 }], as4: neighbourASN, routeRefresh: true },
              }),
            );
            socket.write(keepaliveMessage);
          } else if (type === 4) socket.write(keepaliveMessage);
          else if (type === 2 && node) this.#update(node, b, start, end);
          return true;
        });
      });
    });
  }

  #update(node: Map<string, number>, b: Uint8Array, start: number, end: number): void {
    this.updates += 1;
    layoutUpdate(b, start, end, this.#layout);
    const now = performance.now();
    const { nlri } = this.#layout;
    for (let at = nlri.start; at < nlri.end; ) {
      const octets = (b[at]! + 7) >> 3;
      const address = [...b.subarray(at + 1, at + 1 + octets), 0, 0, 0].slice(0, 4).join(".");
      if (!node.has(address)) node.set(address, now);
      at += 1 + octets;
    }
  }

  async listen(): Promise<number> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    return (this.#server.address() as AddressInfo).port;
  }

  [Symbol.dispose](): void {
    this.#server.close();
  }
}
