// bgp/daemon: a BMP station: listens, and hands out what routers send. For looking and comparing; it keeps nothing itself.
import { createServer, type Server, type Socket } from "node:net";
import { type BmpMessage, BmpReader } from "../bmp/message.ts";

/** Routers at once; further ones are refused. */
const ROUTERS_MAX = 256;

export interface BmpReceiverHost {
  /** `router` names a connection: "192.0.2.1 port 40000". */
  message(router: string, message: BmpMessage): void;
  /** A router has gone; `reason` where it sent something that cannot be read. */
  gone(router: string, reason: string | undefined): void;
}

export class BmpReceiver {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly port: number;

  private constructor(server: Server, port: number) {
    this.#server = server;
    this.port = port;
  }

  /** @throws NodeJS.ErrnoException EADDRINUSE, EADDRNOTAVAIL, EACCES */
  static open(address: string | undefined, port: number, host: BmpReceiverHost): Promise<BmpReceiver> {
    return new Promise((resolve, reject) => {
      const server = createServer((socket) => {
        if (receiver) receiver.#accept(socket, host);
      });
      let receiver: BmpReceiver | undefined;
      server.once("error", reject);
      server.listen({ port, ...(address !== undefined && { host: address }) }, () => {
        server.removeListener("error", reject);
        const bound = server.address();
        receiver = new BmpReceiver(server, typeof bound === "object" && bound ? bound.port : port);
        resolve(receiver);
      });
    });
  }

  #accept(socket: Socket, host: BmpReceiverHost): void {
    if (this.#sockets.size >= ROUTERS_MAX) {
      socket.destroy();
      return;
    }
    this.#sockets.add(socket);
    const router = `${(socket.remoteAddress ?? "").replace(/^::ffff:/, "")} port ${socket.remotePort}`;
    const reader = new BmpReader();
    let reason: string | undefined;
    socket.on("data", (chunk) => {
      reason = reader.push(chunk as Uint8Array, (message) => host.message(router, message));
      if (reason !== undefined) socket.destroy();
    });
    socket.on("error", (error) => {
      reason ??= error.message;
    });
    socket.on("close", () => {
      this.#sockets.delete(socket);
      host.gone(router, reason);
    });
  }

  [Symbol.dispose](): void {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
  }
}
