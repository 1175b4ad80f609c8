// What the wire tests of the API server share: one server with the sample kind, a client, sample objects.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll } from "vitest";
import { type RunningApiServer, readManifests, startApiServer } from "../../src/apiserver/index.ts";
import { TestClient } from "./apiserver-client.ts";

export const widgets = "/apis/example.test/v1/namespaces/default/widgets";
export const configMaps = "/api/v1/namespaces/default/configmaps";
export const manifest = new URL("./apiserver-widget.yaml", import.meta.url).pathname;

export const widget = (name: string, spec: object = { color: "red" }, metadata: object = {}) => ({
  apiVersion: "example.test/v1",
  kind: "Widget",
  metadata: { name, ...metadata },
  spec,
});

export const configMap = (name: string, metadata: object = {}) => ({
  apiVersion: "v1",
  kind: "ConfigMap",
  metadata: { name, ...metadata },
});

export interface Fixture {
  readonly server: RunningApiServer;
  readonly client: TestClient;
  readonly socketPath: string;
  /** The collection's revision now. */
  revision(): Promise<string>;
}

/** Starts a server before the tests of a file and stops it after them. Its history is short: 200 events. */
export function apiServerFixture(): Fixture {
  const dir = mkdtempSync(join(tmpdir(), "waggle-http-"));
  const socketPath = join(dir, "api.sock");
  let server: RunningApiServer;
  let client: TestClient;
  beforeAll(async () => {
    server = await startApiServer({
      manifests: readManifests(manifest),
      socketPath,
      historyEvents: 200,
      maxBodyBytes: 100_000,
    });
    client = new TestClient(server);
  });
  afterAll(async () => {
    client[Symbol.dispose]();
    await server.close();
    rmSync(dir, { recursive: true, force: true });
  });
  return {
    get server() {
      return server;
    },
    get client() {
      return client;
    },
    socketPath,
    revision: async () => (await client.get(`${widgets}?limit=1`)).body.metadata.resourceVersion,
  };
}

/** Polls until `done`; fails after five seconds. */
export async function until(done: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + 5000;
  while (!(await done())) {
    if (performance.now() > end) throw new Error("did not come true within 5 s");
    await new Promise((r) => setTimeout(r, 10));
  }
}
