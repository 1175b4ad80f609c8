// lab: what runs inside pods and clients: a web server, and clients that count what they lose.
import { createServer, get } from "node:http";
import { connect, type Socket } from "node:net";
import { serveTransfer, transferPath } from "./transfer.ts";

/** Serves one page on all addresses, and takes and gives what `transfer` moves. */
export async function serve(port: number, name: string): Promise<void> {
  const server = createServer((request, response) => {
    if (request.url?.startsWith(transferPath)) return serveTransfer(request, response, name);
    response.setHeader("content-type", "text/plain");
    response.end(`hello from ${name}\n`);
  });
  server.keepAliveTimeout = 600_000;
  server.headersTimeout = 610_000;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    // Without an address: all of both families, or of the one that there is.
    server.listen(port, () => resolve());
  });
  console.log(JSON.stringify({ serving: port, name }));
  await new Promise<void>((resolve) => process.once("SIGTERM", () => resolve()));
  server.closeAllConnections();
  server.close();
}

/** Fetches one page over a connection of its own. @throws Error on a refusal or after `timeoutMs` */
export function fetchPage(url: string, timeoutMs = 3_000): Promise<string> {
  return new Promise((resolve, reject) => {
    const request = get(url, { agent: false, timeout: timeoutMs }, (response) => {
      let body = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => {
        body += chunk;
      });
      response.on("end", () =>
        response.statusCode === 200
          ? resolve(body)
          : reject(new Error(`${url}: status ${response.statusCode}`)),
      );
      response.on("error", reject);
    });
    request.on("timeout", () => request.destroy(new Error(`${url}: no answer within ${timeoutMs} ms`)));
    request.on("error", reject);
  });
}

export interface StreamResult {
  readonly opened: number;
  readonly failed: number;
  readonly errors: readonly string[];
  /** Pages by the pod that served them. */
  readonly servedBy: Readonly<Record<string, number>>;
}

/** Opens `perSecond` new connections a second until the signal aborts; at most 256 are under way at once. */
export async function connectionStream(
  urls: readonly string[],
  perSecond: number,
  signal: AbortSignal,
): Promise<StreamResult> {
  let opened = 0;
  let failed = 0;
  const errors: string[] = [];
  const servedBy: Record<string, number> = {};
  const running = new Set<Promise<void>>();
  const begin = performance.now();
  while (!signal.aborted) {
    const due = Math.floor(((performance.now() - begin) / 1000) * perSecond);
    while (opened < due && running.size < 256) {
      const url = urls[opened++ % urls.length]!;
      const one: Promise<void> = fetchPage(url)
        .then((body) => {
          const who = body.trim().replace(/^hello from /, "");
          servedBy[who] = (servedBy[who] ?? 0) + 1;
        })
        .catch((error: Error) => {
          failed++;
          if (errors.length < 8) errors.push(error.message);
        })
        .finally(() => running.delete(one));
      running.add(one);
    }
    await new Promise((r) => setTimeout(r, 5));
  }
  await Promise.all(running);
  return { opened, failed, errors, servedBy };
}

/** Long-lived connections: opened now, asked for a page every 200 ms each until the signal aborts; how many lived. */
export async function holdConnections(
  host: string,
  port: number,
  count: number,
  signal: AbortSignal,
  ready: (connected: number) => void,
): Promise<{ readonly connected: number; readonly alive: number }> {
  const alive = new Set<Socket>();
  const answered = new Map<Socket, number>();
  await Promise.all(
    Array.from(
      { length: count },
      () =>
        new Promise<void>((resolve) => {
          const socket = connect({ host, port, noDelay: true });
          socket.setTimeout(5_000, () => socket.destroy());
          socket.once("connect", () => {
            alive.add(socket);
            resolve();
          });
          socket.on("data", () => answered.set(socket, (answered.get(socket) ?? 0) + 1));
          socket.on("error", () => undefined);
          socket.on("close", () => {
            alive.delete(socket);
            resolve();
          });
        }),
    ),
  );
  const connected = alive.size;
  ready(connected);
  const request = `GET / HTTP/1.1\r\nHost: ${host.includes(":") ? `[${host}]` : host}\r\n\r\n`;
  while (!signal.aborted) {
    for (const socket of alive) socket.write(request);
    await new Promise((r) => setTimeout(r, 200));
  }
  // A connection lives only if it still answers, not merely because nobody has noticed its end.
  const before = new Map(answered);
  for (const socket of alive) socket.write(request);
  await new Promise((r) => setTimeout(r, 1_500));
  let living = 0;
  for (const socket of alive) if ((answered.get(socket) ?? 0) > (before.get(socket) ?? 0)) living++;
  for (const socket of alive) socket.destroy();
  return { connected, alive: living };
}
