// fleet/hub: the listeners: TLS and HTTP/2 on a TCP address, on a unix socket, or on both, serving one set of handlers.
import { chmodSync, existsSync, unlinkSync } from "node:fs";
import {
  createSecureServer,
  type Http2SecureServer,
  type Http2ServerRequest,
  type Http2ServerResponse,
} from "node:http2";
import { type AddressInfo, connect } from "node:net";
import { Code, ConnectError, type ConnectRouter, createConnectRouter } from "@connectrpc/connect";
import { universalRequestFromNodeRequest, universalResponseToNodeResponse } from "@connectrpc/connect-node";
import { describeError } from "../../kube/index.ts";
import { bounds, type Log, splitAddress } from "../protocol.ts";

export interface ServerOptions {
  /** host:port; port 0 takes any. */
  readonly listen?: string;
  readonly socket?: string;
  readonly tls: { readonly key: string; readonly cert: string };
  readonly routes: (router: ConnectRouter) => void;
  readonly log: Log;
}

export interface HubServer {
  /** host:port as bound. */
  readonly address: string | undefined;
  renew(tls: { readonly key: string; readonly cert: string }): void;
  close(): Promise<void>;
}

const socketLimit = 8_192;

/** A socket file of a process that has ended would be in the way; one that answers belongs to somebody. */
async function removeStaleSocket(path: string): Promise<void> {
  if (!existsSync(path)) return;
  const alive = await new Promise<boolean>((resolve) => {
    const probe = connect(path);
    probe.once("connect", () => {
      probe.destroy();
      resolve(true);
    });
    probe.once("error", () => resolve(false));
  });
  if (alive) throw new Error(`${path}: another process listens there`);
  unlinkSync(path);
}

function handler(options: ServerOptions): (req: Http2ServerRequest, res: Http2ServerResponse) => void {
  const router = createConnectRouter({
    readMaxBytes: bounds.messageBytes,
    writeMaxBytes: bounds.runMapBytes,
    grpc: true,
    grpcWeb: false,
    connect: true,
  });
  options.routes(router);
  const paths = new Map(router.handlers.map((h) => [h.requestPath, h]));
  return (req, res) => {
    const handle = paths.get(req.url);
    if (!handle) {
      res.writeHead(404);
      res.end();
      return;
    }
    handle(universalRequestFromNodeRequest(req, res, undefined, undefined))
      .then((answer) => universalResponseToNodeResponse(answer, res))
      .catch((error: unknown) => {
        const { code } = ConnectError.from(error);
        // A peer that goes away while we write to it is the normal end of a stream.
        if (code === Code.Aborted || code === Code.Canceled) return;
        options.log.debug({ error: describeError(error) }, "stream broke");
      });
  };
}

function listener(options: ServerOptions): Http2SecureServer {
  const server = createSecureServer(
    {
      ...options.tls,
      minVersion: "TLSv1.3",
      allowHTTP1: false,
      handshakeTimeout: 5_000,
      maxSessionMemory: 32,
      // Windows large enough that a map of a megabyte does not wait for round trips.
      settings: { maxConcurrentStreams: 16, initialWindowSize: 1 << 20 },
    },
    handler(options),
  );
  server.maxConnections = socketLimit;
  server.on("sessionError", (error) => options.log.debug({ error: error.message }, "connection broke"));
  server.on("tlsClientError", (error) => options.log.debug({ error: error.message }, "TLS handshake failed"));
  return server;
}

const listening = (server: Http2SecureServer, at: { host: string; port: number } | { path: string }) =>
  new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(at, () => {
      server.off("error", reject);
      server.on("error", () => undefined);
      resolve();
    });
  });

/** @throws Error when an address is taken */
export async function serve(options: ServerOptions): Promise<HubServer> {
  const servers: Http2SecureServer[] = [];
  const sessions = new Set<{ destroy(): void }>();
  const open = (): Http2SecureServer => {
    const server = listener(options);
    server.on("session", (session) => {
      sessions.add(session);
      session.once("close", () => sessions.delete(session));
    });
    servers.push(server);
    return server;
  };
  const close = async (): Promise<void> => {
    const closed = servers.map((s) => new Promise<void>((resolve) => s.close(() => resolve())));
    for (const session of sessions) session.destroy();
    await Promise.all(closed);
  };
  let address: string | undefined;
  try {
    if (options.listen !== undefined) {
      const at = splitAddress(options.listen);
      const server = open();
      await listening(server, at);
      const bound = server.address() as AddressInfo;
      address = at.host.includes(":") ? `[${at.host}]:${bound.port}` : `${at.host}:${bound.port}`;
    }
    if (options.socket !== undefined) {
      await removeStaleSocket(options.socket);
      await listening(open(), { path: options.socket });
      // Who may connect is decided by tokens and keys; users of this machine may ask.
      chmodSync(options.socket, 0o666);
    }
  } catch (error) {
    await close();
    throw error;
  }
  return {
    address,
    renew(tls) {
      for (const server of servers) server.setSecureContext(tls);
    },
    close,
  };
}
