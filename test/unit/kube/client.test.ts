import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { KubeClient } from "../../../src/kube/client.ts";
import { ApiError, TransportError } from "../../../src/kube/errors.ts";
import { loadKubeConfig } from "../../../src/kube/load.ts";
import { kinds, pathOf } from "../../../src/kube/resource.ts";
import type { HttpRequest, HttpResponse, Transport } from "../../../src/kube/transport.ts";
import { splitLines } from "../../../src/kube/watch-lines.ts";
import { seeded, VirtualClock } from "./virtual-clock.ts";

type Answer = { status?: number; body?: unknown; headers?: Record<string, string> };

/** A transport that answers from a list and remembers what it was asked. */
function scripted(answers: (Answer | Error)[]) {
  const asked: HttpRequest[] = [];
  const transport: Transport = {
    async send(request) {
      asked.push(request);
      const next = answers.shift();
      if (!next) throw new Error(`unexpected ${request.method} ${request.path}`);
      if (next instanceof Error) throw next;
      const text = typeof next.body === "string" ? next.body : JSON.stringify(next.body ?? {});
      const headers: Record<string, string> = { "content-type": "application/json", ...next.headers };
      return {
        status: next.status ?? 200,
        header: (name) => headers[name],
        text: async () => text,
        async *chunks() {
          yield Buffer.from(text);
        },
      } satisfies HttpResponse;
    },
    close: async () => undefined,
  };
  const clock = new VirtualClock();
  return { asked, clock, client: new KubeClient(transport, { clock, random: seeded(1), name: "test" }) };
}

const page = (names: readonly string[], resourceVersion: string, next?: string) => ({
  body: {
    kind: "NodeList",
    apiVersion: "v1",
    metadata: { resourceVersion, ...(next && { continue: next }) },
    items: names.map((name) => ({ metadata: { name } })),
  },
});

/** Runs a call whose retries wait on the virtual clock. */
async function patiently<T>(clock: VirtualClock, call: Promise<T>): Promise<T> {
  let open = true;
  const ended = call.finally(() => {
    open = false;
  });
  ended.catch(() => undefined);
  while (open) await clock.advance(100);
  return ended;
}

describe("client", () => {
  it("addresses collections, objects and subresources of both scopes", () => {
    expect(pathOf(kinds.Node)).toBe("/api/v1/nodes");
    expect(pathOf(kinds.Service, { namespace: "a", name: "b", subresource: "status" })).toBe(
      "/api/v1/namespaces/a/services/b/status",
    );
    expect(pathOf(kinds.IPPool, { name: "vips" })).toBe("/apis/waggle.dev/v1alpha1/ippools/vips");
    expect(pathOf(kinds.Service)).toBe("/api/v1/services");
    expect(() => pathOf(kinds.Service, { name: "b" })).toThrow(RangeError);
  });

  it("reads a list page by page, and gives core items the kind that they lack", async () => {
    const { client, asked } = scripted([page(["a", "b"], "7", "more"), page(["c"], "7")]);
    const list = await client.list(kinds.Node, { limit: 2 });
    expect(list.resourceVersion).toBe("7");
    expect(list.items.map((n) => `${n.apiVersion} ${n.kind} ${n.metadata.name}`)).toEqual([
      "v1 Node a",
      "v1 Node b",
      "v1 Node c",
    ]);
    expect(asked.map((r) => r.path)).toEqual([
      "/api/v1/nodes?limit=2",
      "/api/v1/nodes?limit=2&continue=more",
    ]);
  });

  it("begins a list again when its continue token has expired, never returning half", async () => {
    const gone = { status: 410, body: { kind: "Status", code: 410, reason: "Expired", message: "too old" } };
    const { client } = scripted([
      page(["a"], "7", "more"),
      gone,
      page(["b"], "9", "x"),
      gone,
      page(["c"], "11"),
    ]);
    expect(await client.list(kinds.Node)).toMatchObject({
      resourceVersion: "11",
      items: [{ metadata: { name: "c" } }],
    });
  });

  it.each([
    ["no items", { kind: "NodeList", metadata: { resourceVersion: "1" } }],
    ["null items", { kind: "NodeList", metadata: { resourceVersion: "1" }, items: null }],
    ["no resourceVersion", { kind: "NodeList", metadata: {}, items: [] }],
    ["another kind", { kind: "Status", metadata: { resourceVersion: "1" }, items: [] }],
    ["an item without a name", { kind: "NodeList", metadata: { resourceVersion: "1" }, items: [{}] }],
    ["text", "hello"],
  ])("never takes %s for an empty list", async (_, body) => {
    const { client } = scripted([{ body }]);
    await expect(client.list(kinds.Node, { retries: 0 })).rejects.toThrow(TransportError);
  });

  it("turns a Status into an ApiError with its causes", async () => {
    const { client } = scripted([
      {
        status: 422,
        body: {
          kind: "Status",
          code: 422,
          reason: "Invalid",
          message: "spec.blocks is wrong",
          details: { causes: [{ field: "spec.blocks[0]", message: "must be a prefix" }] },
        },
      },
    ]);
    const error = await client
      .create(kinds.IPPool, { kind: "IPPool", metadata: { name: "x" } } as never)
      .catch((e: unknown) => e as ApiError);
    expect(error).toBeInstanceOf(ApiError);
    expect(error).toMatchObject({ code: 422, reason: "Invalid", causes: [{ field: "spec.blocks[0]" }] });
  });

  it("waits as long as Retry-After says, then tries again; a write too, since it was refused", async () => {
    const { client, clock, asked } = scripted([
      { status: 429, headers: { "retry-after": "3" }, body: { code: 429 } },
      { body: { kind: "Node", metadata: { name: "a" } } },
    ]);
    const begun = clock.monotonic();
    await patiently(
      clock,
      client.create(kinds.Node, { apiVersion: "v1", kind: "Node", metadata: { name: "a" } }),
    );
    expect(asked).toHaveLength(2);
    expect(clock.monotonic() - begun).toBeGreaterThanOrEqual(2_700);
    expect(client.stats.retries).toBe(1);
  });

  it("repeats a read after a reset, but not a write whose fate is unknown", async () => {
    const reset = new TransportError("connect", "ECONNRESET");
    const read = scripted([reset, { status: 500 }, { body: { kind: "Node", metadata: { name: "a" } } }]);
    await patiently(read.clock, read.client.get(kinds.Node, "a"));
    expect(read.asked).toHaveLength(3);
    const write = scripted([reset]);
    const node = { apiVersion: "v1", kind: "Node", metadata: { name: "a" } } as const;
    await expect(patiently(write.clock, write.client.create(kinds.Node, node))).rejects.toThrow("ECONNRESET");
    expect(write.asked).toHaveLength(1);
  });

  it("repeats a write that was never sent", async () => {
    const refused = new TransportError("connect", "ECONNREFUSED", { unsent: true });
    const { client, clock, asked } = scripted([refused, refused, { body: { kind: "Status" } }]);
    await patiently(clock, client.delete(kinds.IPPool, "a"));
    expect(asked).toHaveLength(3);
  });

  it("says which patch it sends and who manages the fields", async () => {
    const { client, asked } = scripted([{ body: {} }, { body: {} }, { body: {} }]);
    await client.patch(kinds.IPPool, "x", "merge", { a: 1 });
    await client.patch(kinds.IPPool, "x", "apply", { a: 1 }, { fieldManager: "waggle-ipam", force: true });
    await client.patchStatus(kinds.IPPool, "x", { allocated: 1 }, { resourceVersion: "5" });
    expect(asked.map((r) => r.headers["content-type"])).toEqual([
      "application/merge-patch+json",
      "application/apply-patch+yaml",
      "application/merge-patch+json",
    ]);
    expect(asked[1]?.path).toContain("fieldManager=waggle-ipam&force=true");
    expect(asked[2]?.path).toContain("/ippools/x/status?fieldManager=test");
    expect(JSON.parse(asked[2]?.body ?? "")).toEqual({
      metadata: { resourceVersion: "5" },
      status: { allocated: 1 },
    });
  });

  it("deletes with preconditions", async () => {
    const { client, asked } = scripted([{ body: { kind: "Status" } }]);
    await client.delete(kinds.IPAllocation, "v4-1", { preconditions: { uid: "u", resourceVersion: "5" } });
    expect(JSON.parse(asked[0]?.body ?? "")).toMatchObject({
      preconditions: { uid: "u", resourceVersion: "5" },
    });
  });
});

describe("watch lines", () => {
  it("puts lines together again however the chunks are cut", async () => {
    const text = '{"a":"ä€😀"}\n{"b":1}\n\n{"c":2}\n{"torn":';
    const bytes = Buffer.from(text);
    for (let size = 1; size <= bytes.length; size++) {
      const chunks = (async function* () {
        for (let i = 0; i < bytes.length; i += size) yield bytes.subarray(i, i + size);
      })();
      const lines: string[] = [];
      for await (const line of splitLines(chunks)) lines.push(line);
      expect(lines).toEqual(['{"a":"ä€😀"}', '{"b":1}', '{"c":2}']);
    }
  });
});

describe("kubeconfig", () => {
  let directory: string;
  let server: Server;
  let connections = 0;
  let handler: (request: IncomingMessage, response: ServerResponse) => void;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "waggle-kube-"));
    connections = 0;
    server = createServer((request, response) => handler(request, response));
    server.on("connection", () => {
      connections += 1;
    });
  });
  afterEach(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    rmSync(directory, { recursive: true });
  });

  const json = (response: ServerResponse, body: unknown, status = 200): void => {
    response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
  };
  const write = (url: string, user: string, cluster = ""): string => {
    const path = join(directory, "config");
    writeFileSync(
      path,
      `apiVersion: v1
kind: Config
current-context: here
contexts:
  - {name: here, context: {cluster: c, user: u, namespace: apps}}
  - {name: there, context: {cluster: c, user: u}}
clusters:
  - name: c
    cluster:
      server: ${url}
      insecure-skip-tls-verify: true
${cluster}
users:
  - {name: u, user: ${user}}
`,
    );
    return path;
  };
  const listen = async (at: string | number): Promise<string> => {
    await new Promise<void>((resolve) =>
      typeof at === "string" ? server.listen(at, resolve) : server.listen(at, "127.0.0.1", resolve),
    );
    return typeof at === "string" ? "" : `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  };

  it("keeps its connections for later requests", async () => {
    handler = (request, response) => {
      expect(request.headers.authorization).toBe("Bearer secret");
      json(response, { kind: "Node", metadata: { name: "a" } });
    };
    const cluster = await loadKubeConfig({ kubeconfig: write(await listen(0), "{token: secret}") });
    await using client = cluster.client;
    for (let i = 0; i < 20; i++) await client.get(kinds.Node, "a");
    expect(connections).toBeLessThanOrEqual(2);
    expect(cluster).toMatchObject({ context: "here", namespace: "apps" });
  });

  it("connects through the unix socket that the kubeconfig's extension names", async () => {
    handler = (request, response) =>
      json(response, { kind: "Node", metadata: { name: request.headers.host ?? "" } });
    const socket = join(directory, "api.sock");
    await listen(socket);
    const extension = `      extensions: [{name: waggle.dev/socket, extension: {path: ${socket}}}]`;
    const kubeconfig = write("http://api.example:6443", "{token: secret}", extension);
    await using client = (await loadKubeConfig({ kubeconfig })).client;
    expect((await client.get(kinds.Node, "a")).metadata.name).toBe("api.example:6443");
  });

  it("reads the kubeconfig again after a 401, so that a renewed token is used", async () => {
    let good = "old";
    handler = (request, response) =>
      request.headers.authorization === `Bearer ${good}`
        ? json(response, { kind: "Node", metadata: { name: "a" } })
        : json(response, { kind: "Status", code: 401, reason: "Unauthorized", message: "no" }, 401);
    const url = await listen(0);
    await using client = (await loadKubeConfig({ kubeconfig: write(url, "{token: old}") })).client;
    await client.get(kinds.Node, "a");
    good = "new";
    write(url, "{token: new}");
    await expect(client.get(kinds.Node, "a")).rejects.toMatchObject({ code: 401 });
    await expect
      .poll(
        () =>
          client.get(kinds.Node, "a").then(
            (n) => n.metadata.name,
            () => "",
          ),
        { timeout: 8_000, interval: 250 },
      )
      .toBe("a");
  });

  it("follows a watch, and closes its connection when the reader leaves", async () => {
    let closed = false;
    handler = (request, response) => {
      request.on("close", () => {
        closed = true;
      });
      response.writeHead(200, { "content-type": "application/json" });
      response.write(
        '{"type":"ADDED","object":{"kind":"Node","metadata":{"name":"a","resourceVersion":"2"}}}\n',
      );
    };
    await using client = (await loadKubeConfig({ kubeconfig: write(await listen(0), "{token: secret}") }))
      .client;
    for await (const event of await client.watch(kinds.Node, { resourceVersion: "1", timeoutSeconds: 300 })) {
      expect(event).toMatchObject({ type: "ADDED", object: { metadata: { name: "a" } } });
      break;
    }
    await expect.poll(() => closed).toBe(true);
  });

  it("explains what is wrong with the configuration", async () => {
    const kubeconfig = write("http://127.0.0.1:1", "{token: secret}");
    await expect(loadKubeConfig({ kubeconfig, context: "nowhere" })).rejects.toThrow(
      /no context "nowhere".*here, there/,
    );
    await expect(loadKubeConfig({ kubeconfig: join(directory, "none") })).rejects.toThrow(/none: ENOENT/);
    await using client = (await loadKubeConfig({ kubeconfig })).client;
    await expect(client.get(kinds.Node, "a", { retries: 0 })).rejects.toThrow(/ECONNREFUSED/);
  });
});
