// kube: one HTTP exchange as an interface, and its implementation on a keep-alive pool of undici.
import { type Dispatcher, Pool, ProxyAgent } from "undici";
import { TransportError } from "./errors.ts";

export interface HttpRequest {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** With query, from the server's root. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly signal?: AbortSignal;
  /** To the end of the body; 0 means none, for watches. */
  readonly timeoutMs: number;
  /** Longest silence inside the body, ms. */
  readonly idleMs: number;
}

export interface HttpResponse {
  readonly status: number;
  header(name: string): string | undefined;
  /** The whole body. @throws TransportError */
  text(): Promise<string>;
  /** The body as it comes; leaving the loop ends the exchange. */
  chunks(): AsyncIterable<Uint8Array>;
}

export interface Transport {
  /** @throws TransportError when there is no answer */
  send(request: HttpRequest): Promise<HttpResponse>;
  close(): Promise<void>;
}

/** What a connection is made with; all of it may change when a credential is renewed. */
export interface Endpoint {
  /** Origin, such as https://10.0.0.1:6443. */
  readonly origin: string;
  /** Path in front of every request, for servers behind a proxy; "" usually. */
  readonly basePath: string;
  readonly ca?: Buffer;
  readonly cert?: Buffer | string;
  readonly key?: Buffer | string;
  readonly servername?: string;
  readonly rejectUnauthorized?: boolean;
  readonly socketPath?: string;
  readonly proxy?: string;
}

/** Connections of one pool; a watch holds one as long as it lives. */
const poolConnections = 128;

/** A pool for an endpoint. HTTP/1.1 only: one slow stream must not hold up the others on a shared connection. */
export function openPool(endpoint: Endpoint): Dispatcher {
  const tls = {
    ...(endpoint.ca && { ca: endpoint.ca }),
    ...(endpoint.cert && { cert: endpoint.cert }),
    ...(endpoint.key && { key: endpoint.key }),
    ...(endpoint.servername && { servername: endpoint.servername }),
    ...(endpoint.rejectUnauthorized !== undefined && { rejectUnauthorized: endpoint.rejectUnauthorized }),
  };
  if (endpoint.proxy)
    return new ProxyAgent({
      uri: endpoint.proxy,
      requestTls: tls,
      connections: poolConnections,
      allowH2: false,
    });
  return new Pool(endpoint.origin, {
    connections: poolConnections,
    pipelining: 1,
    keepAliveTimeout: 30_000,
    allowH2: false,
    connect: {
      ...tls,
      timeout: 10_000,
      keepAlive: true,
      keepAliveInitialDelay: 30_000,
      ...(endpoint.socketPath && { socketPath: endpoint.socketPath }),
    },
  });
}

/**
 * Failures before the first byte: no connection, or (EPIPE) a kept one that the server had closed already. Headers and body
 * go out in one write, so where it fails none of them has gone.
 */
const unsentCodes: ReadonlySet<string> = new Set([
  "EPIPE",
  "ECONNREFUSED",
  "ENOENT",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "UND_ERR_CONNECT_TIMEOUT",
]);

function transportError(error: unknown, request: HttpRequest): TransportError {
  if (error instanceof TransportError) return error;
  const e = error as { name?: string; code?: string; message?: string; errors?: readonly Error[] };
  const message = e.message || e.errors?.[0]?.message || e.code || String(error);
  if (request.signal?.aborted)
    return new TransportError("aborted", "the request was given up", { cause: error });
  if (e.name === "TimeoutError" || (/TIMEOUT/.test(e.code ?? "") && !unsentCodes.has(e.code ?? "")))
    return new TransportError("timeout", `no answer within the time allowed (${message})`, { cause: error });
  return new TransportError("connect", message, { cause: error, unsent: unsentCodes.has(e.code ?? "") });
}

/** Sends one request over a pool. @throws TransportError */
export async function exchange(
  pool: Dispatcher,
  endpoint: Endpoint,
  headers: Readonly<Record<string, string>>,
  request: HttpRequest,
): Promise<HttpResponse> {
  const limits: AbortSignal[] = request.signal ? [request.signal] : [];
  if (request.timeoutMs > 0) limits.push(AbortSignal.timeout(request.timeoutMs));
  try {
    const answer = await pool.request({
      origin: endpoint.origin,
      path: endpoint.basePath + request.path,
      method: request.method,
      headers: { ...request.headers, ...headers },
      body: request.body ?? null,
      headersTimeout: request.timeoutMs > 0 ? request.timeoutMs : 30_000,
      bodyTimeout: request.idleMs,
      ...(limits.length > 0 && { signal: AbortSignal.any(limits) }),
    });
    return {
      status: answer.statusCode,
      header(name) {
        const value = answer.headers[name];
        return Array.isArray(value) ? value[0] : value;
      },
      async text() {
        try {
          return await answer.body.text();
        } catch (error) {
          throw transportError(error, request);
        }
      },
      async *chunks() {
        try {
          for await (const chunk of answer.body) yield chunk as Uint8Array;
        } catch (error) {
          throw transportError(error, request);
        }
      },
    };
  } catch (error) {
    throw transportError(error, request);
  }
}
