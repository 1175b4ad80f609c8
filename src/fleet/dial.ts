// fleet: how agents and callers reach a hub: TLS that trusts this hub's certificate and nothing else, over TCP or a unix socket.
import { existsSync } from "node:fs";
import { connect as tlsConnect } from "node:tls";
import type { Transport } from "@connectrpc/connect";
import { createConnectTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { bounds, type HubEndpoint, hubServerName, splitAddress } from "./protocol.ts";

/** A way to a hub; disposing it closes its connection. */
export interface HubConnection extends Disposable {
  readonly transport: Transport;
}

export type Dial = (endpoint: HubEndpoint) => HubConnection;

/** Nothing is connected before the first call. The socket is used where it is on this machine, or the only way. */
export const dialHub: Dial = (endpoint) => {
  const { address, socket, ca } = endpoint;
  if (socket === undefined && address === undefined)
    throw new RangeError("the hub has neither an address nor a socket");
  const here = socket !== undefined && (address === undefined || existsSync(socket));
  const where = here ? { path: socket } : splitAddress(address!);
  // The authority is the name in the certificate; where the bytes go is decided by createConnection alone.
  const baseUrl = `https://${hubServerName}`;
  const sessionManager = new Http2SessionManager(
    baseUrl,
    // A hub's machine that vanishes sends no end of stream.
    { pingIntervalMs: 10_000, pingTimeoutMs: 5_000, idleConnectionTimeoutMs: 5_000 },
    {
      settings: { initialWindowSize: 1 << 20 },
      createConnection: () =>
        tlsConnect({ ...where, ca, servername: hubServerName, ALPNProtocols: ["h2"], minVersion: "TLSv1.3" }),
    },
  );
  const transport = createConnectTransport({
    baseUrl,
    httpVersion: "2",
    sessionManager,
    acceptCompression: [],
    readMaxBytes: bounds.runMapBytes,
    writeMaxBytes: bounds.messageBytes,
  });
  return { transport, [Symbol.dispose]: () => sessionManager.abort() };
};
