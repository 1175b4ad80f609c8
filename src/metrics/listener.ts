// metrics: the HTTP listener: /metrics, /livez and /readyz; plain on loopback, anywhere else TLS with a certificate of the client.
import { readFileSync, statSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer, type Server as TlsServer } from "node:https";
import { type AddressInfo, BlockList, isIP } from "node:net";
import { contentTypes, expose, negotiate, type Source } from "./exposition.ts";
import { messages } from "./messages.ts";

/** PEM files; read again when they change, as a mounted Secret does. */
export interface TlsFiles {
  readonly cert: string;
  readonly key: string;
  /** Authorities of clients' certificates. */
  readonly clientCa: string;
}

export interface MetricsOptions {
  /** host:port each; port 0 takes any. */
  readonly listen: readonly string[];
  /** Needed where an address is not a loopback one. */
  readonly tls?: TlsFiles;
  readonly sources: readonly Source[];
  /** Why this process is not ready; undefined: it is. */
  readonly notReady: () => string | undefined;
  readonly log: { warn(members: object, message: string): void };
}

export interface MetricsListener extends AsyncDisposable {
  /** host:port as bound. */
  readonly addresses: readonly string[];
}

const connectionsMax = 16;
/** A scrape is one request; kept connections make room after this, ms. */
const idleMs = 30_000;
const renewMs = 60_000;

const loopback = new BlockList();
loopback.addSubnet("127.0.0.0", 8, "ipv4");
loopback.addAddress("::1", "ipv6");

export const isLoopback = (host: string): boolean => {
  const family = isIP(host);
  return family !== 0 && loopback.check(host, family === 6 ? "ipv6" : "ipv4");
};

/** @throws Error for anything but an address and a port */
export function parseListen(text: string): { readonly host: string; readonly port: number } {
  const [, v6, v4, port] = /^(?:\[([^\]]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text) ?? [];
  const host = v6 ?? v4 ?? "";
  if (isIP(host) === 0 || Number(port) > 65_535) throw new Error(messages.address(text));
  return { host, port: Number(port) };
}

function readFiles(files: TlsFiles): { cert: Buffer; key: Buffer; ca: Buffer } {
  const read = (file: string): Buffer => {
    try {
      return readFileSync(file);
    } catch (error) {
      throw new Error(messages.unreadable(file, (error as NodeJS.ErrnoException).code ?? "unknown"), {
        cause: error,
      });
    }
  };
  return { cert: read(files.cert), key: read(files.key), ca: read(files.clientCa) };
}

/** Takes renewed files over. Never throws. */
function renewal(server: TlsServer, files: TlsFiles, log: MetricsOptions["log"]): NodeJS.Timeout {
  const mark = (): string => [files.cert, files.key, files.clientCa].map((f) => statSync(f).mtimeMs).join();
  let before = mark();
  const look = (): void => {
    try {
      const now = mark();
      if (now === before) return;
      server.setSecureContext({ ...readFiles(files), minVersion: "TLSv1.3" });
      before = now;
    } catch (error) {
      log.warn({ error: (error as Error).message }, messages.kept);
    }
  };
  return setInterval(look, renewMs).unref();
}

/** @throws Error when an address is taken, is none, or needs a certificate that is not there */
export async function listenMetrics(options: MetricsOptions): Promise<MetricsListener> {
  const { log, sources, notReady, tls } = options;
  const places = options.listen.map((text) => ({ text, ...parseListen(text) }));
  const naked = places.find((p) => !isLoopback(p.host) && tls === undefined);
  if (naked) throw new Error(messages.needsTls(naked.text));
  let refused = 0;
  let dropped = 0;
  const own: Source = (emit) => {
    emit("waggle_metrics_requests_refused_total", refused);
    emit("waggle_metrics_samples_dropped_total", dropped);
  };
  const answer = (response: ServerResponse, code: number, text: string, type = "text/plain"): void => {
    response.writeHead(code, { "content-type": type, "x-content-type-options": "nosniff" });
    response.end(text);
  };
  const show = (request: IncomingMessage, response: ServerResponse): void => {
    const format = negotiate(request.headers.accept);
    try {
      const shown = expose([...sources, own], format);
      dropped += shown.dropped;
      answer(response, 200, shown.text, contentTypes[format]);
    } catch (error) {
      log.warn({ error: String(error) }, messages.sourceFailed);
      answer(response, 500, `${messages.sourceFailed}\n`);
    }
  };
  const handle = (request: IncomingMessage, response: ServerResponse): void => {
    const path = request.url?.split("?", 1)[0];
    if (request.method !== "GET" && request.method !== "HEAD") {
      refused += 1;
      answer(response, 405, "only GET\n");
    } else if (path === "/livez") answer(response, 200, "ok\n");
    else if (path === "/readyz") {
      const why = notReady();
      answer(response, why === undefined ? 200 : 503, why === undefined ? "ok\n" : `${why}\n`);
    } else if (path === "/metrics") show(request, response);
    else {
      refused += 1;
      answer(response, 404, "not found\n");
    }
  };
  const limits = {
    maxHeaderSize: 16_384,
    requestTimeout: 10_000,
    headersTimeout: 5_000,
    keepAliveTimeout: idleMs,
  };
  const servers: Server[] = [];
  const timers: NodeJS.Timeout[] = [];
  const close = async (): Promise<void> => {
    for (const timer of timers) clearInterval(timer);
    await Promise.all(
      servers.map((server) => {
        server.closeAllConnections();
        return new Promise<void>((resolve) => void server.close(() => resolve()));
      }),
    );
  };
  const addresses: string[] = [];
  try {
    for (const { host, port } of places) {
      let server: Server;
      if (isLoopback(host)) server = createServer(limits, handle);
      else {
        const secure = createTlsServer(
          {
            ...limits,
            ...readFiles(tls!),
            requestCert: true,
            rejectUnauthorized: true,
            minVersion: "TLSv1.3",
          },
          handle,
        );
        secure.on("tlsClientError", () => void (refused += 1));
        timers.push(renewal(secure, tls!, log));
        server = secure;
      }
      servers.push(server);
      server.maxConnections = connectionsMax;
      server.on("drop", () => void (refused += 1));
      await new Promise<void>((resolve, reject) => {
        server.once("error", reject);
        server.listen({ host, port, exclusive: true }, () => {
          server.off("error", reject);
          server.on("error", (error) => log.warn({ error: error.message }, messages.sourceFailed));
          resolve();
        });
      });
      const bound = (server.address() as AddressInfo).port;
      addresses.push(host.includes(":") ? `[${host}]:${bound}` : `${host}:${bound}`);
    }
  } catch (error) {
    await close();
    throw error;
  }
  return { addresses, [Symbol.asyncDispose]: close };
}
