// A bare HTTPS client for the API server's own tests: nothing between a test and the wire.
import { type IncomingMessage, request } from "node:http";
import { Agent, request as secureRequest } from "node:https";
import type { RunningApiServer } from "../../src/apiserver/index.ts";

export interface Answer {
  readonly code: number;
  readonly headers: IncomingMessage["headers"];
  readonly text: string;
  /** The body as JSON; loosely typed, because a test says what it expects. */
  // biome-ignore lint/suspicious/noExplicitAny: bodies of every kind
  readonly body: any;
}

export interface WatchEvent {
  readonly type: string;
  // biome-ignore lint/suspicious/noExplicitAny: objects of every kind
  readonly object: any;
}

export interface Watch extends AsyncDisposable {
  readonly code: number;
  /** Resolves with the next event; rejects after `ms` without one. */
  next(ms?: number): Promise<WatchEvent>;
  /** Everything that comes within `ms`. */
  rest(ms?: number): Promise<WatchEvent[]>;
  /** Resolves when the server has ended the watch. */
  readonly ended: Promise<void>;
}

interface Send {
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  readonly token?: string | null;
}

const mergeType = "application/merge-patch+json";

export class TestClient implements Disposable {
  readonly #server: RunningApiServer;
  readonly #agent: Agent;
  readonly #socketPath: string | undefined;
  constructor(server: RunningApiServer, socketPath?: string) {
    this.#server = server;
    this.#socketPath = socketPath;
    this.#agent = new Agent({ keepAlive: true, ca: server.caCertificate });
  }

  #open(method: string, path: string, { body, headers, token }: Send): Promise<IncomingMessage> {
    const text = body === undefined ? undefined : typeof body === "string" ? body : JSON.stringify(body);
    return new Promise((resolve, reject) => {
      const target = this.#socketPath
        ? { socketPath: this.#socketPath }
        : { host: "127.0.0.1", port: this.#server.port };
      const r = secureRequest(
        {
          ...target,
          method,
          path,
          agent: this.#agent,
          servername: "localhost",
          headers: {
            ...(token === null ? {} : { authorization: `Bearer ${token ?? this.#server.adminToken}` }),
            ...(text === undefined
              ? {}
              : { "content-type": "application/json", "content-length": Buffer.byteLength(text) }),
            ...headers,
          },
        },
        resolve,
      );
      r.on("error", reject);
      r.end(text);
    });
  }

  async send(method: string, path: string, options: Send = {}): Promise<Answer> {
    const response = await this.#open(method, path, options);
    const chunks: Buffer[] = [];
    for await (const chunk of response as AsyncIterable<Buffer>) chunks.push(chunk);
    const text = Buffer.concat(chunks).toString("utf8");
    let body: unknown;
    try {
      body = JSON.parse(text);
    } catch {
      body = undefined;
    }
    return { code: response.statusCode ?? 0, headers: response.headers, text, body };
  }

  get = (path: string, headers: Readonly<Record<string, string>> = {}): Promise<Answer> =>
    this.send("GET", path, { headers });
  post = (path: string, body: unknown): Promise<Answer> => this.send("POST", path, { body });
  put = (path: string, body: unknown): Promise<Answer> => this.send("PUT", path, { body });
  delete = (path: string, body?: unknown): Promise<Answer> => this.send("DELETE", path, { body });
  patch = (path: string, body: unknown, type = mergeType): Promise<Answer> =>
    this.send("PATCH", path, { body, headers: { "content-type": type } });
  apply = (path: string, body: unknown): Promise<Answer> =>
    this.patch(path, body, "application/apply-patch+yaml");

  async watch(path: string, headers: Readonly<Record<string, string>> = {}): Promise<Watch> {
    const response = await this.#open("GET", path, { headers });
    const events: WatchEvent[] = [];
    let wake = (): void => {};
    let pending = "";
    const { promise: ended, resolve } = Promise.withResolvers<void>();
    response.setEncoding("utf8");
    response.on("data", (chunk: string) => {
      const lines = (pending + chunk).split("\n");
      pending = lines.pop() ?? "";
      for (const line of lines) events.push(JSON.parse(line) as WatchEvent);
      wake();
    });
    response.on("close", () => {
      resolve();
      wake();
    });
    response.on("error", () => resolve());
    const wait = (ms: number): Promise<void> =>
      new Promise((done) => {
        const timer = setTimeout(done, ms);
        wake = () => {
          clearTimeout(timer);
          done();
        };
      });
    return {
      code: response.statusCode ?? 0,
      ended,
      async next(ms = 5000) {
        const end = performance.now() + ms;
        while (events.length === 0 && performance.now() < end)
          await wait(Math.max(1, end - performance.now()));
        const event = events.shift();
        if (!event) throw new Error(`no event within ${ms} ms`);
        return event;
      },
      async rest(ms = 100) {
        await new Promise((done) => setTimeout(done, ms));
        return events.splice(0);
      },
      async [Symbol.asyncDispose]() {
        response.destroy();
        await ended;
      },
    };
  }

  [Symbol.dispose](): void {
    this.#agent.destroy();
  }
}

/** A request without TLS, to see that it is not served. */
export const plainRequest = (port: number): Promise<string> =>
  new Promise((resolve) => {
    const r = request({ host: "127.0.0.1", port, path: "/healthz" }, (response) =>
      resolve(String(response.statusCode)),
    );
    r.on("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? "error"));
    r.end();
  });
