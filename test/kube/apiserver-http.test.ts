// The embedded API server on the wire: watches, revisions, deletion, collection, reviews, bounds.
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type RunningApiServer, readManifests, startApiServer } from "../../src/apiserver/index.ts";
import { plainRequest, TestClient } from "./apiserver-client.ts";

const widgets = "/apis/example.test/v1/namespaces/default/widgets";
const manifest = new URL("./apiserver-widget.yaml", import.meta.url).pathname;
const widget = (name: string, spec: object = { color: "red" }, metadata: object = {}) => ({
  apiVersion: "example.test/v1",
  kind: "Widget",
  metadata: { name, ...metadata },
  spec,
});
const configMap = (name: string, metadata: object = {}) => ({
  apiVersion: "v1",
  kind: "ConfigMap",
  metadata: { name, ...metadata },
});
const configMaps = "/api/v1/namespaces/default/configmaps";

let server: RunningApiServer;
let client: TestClient;
const dir = mkdtempSync(join(tmpdir(), "waggle-http-"));
const socketPath = join(dir, "api.sock");

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

const revision = async (): Promise<string> =>
  (await client.get(`${widgets}?limit=1`)).body.metadata.resourceVersion;

/** Polls until `done`; fails after five seconds. */
async function until(done: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + 5000;
  while (!(await done())) {
    if (performance.now() > end) throw new Error("did not come true within 5 s");
    await new Promise((r) => setTimeout(r, 10));
  }
}

describe("watch", () => {
  test("from a revision: what came since, then what comes; deletions carry their own revision", async () => {
    const start = await revision();
    await client.post(widgets, widget("a"));
    await using w = await client.watch(`${widgets}?watch=1&resourceVersion=${start}`);
    expect(await w.next()).toMatchObject({
      type: "ADDED",
      object: { kind: "Widget", metadata: { name: "a" } },
    });
    await client.patch(`${widgets}/a`, { spec: { replicas: 7 } });
    const modified = await w.next();
    expect(modified).toMatchObject({ type: "MODIFIED", object: { spec: { replicas: 7 } } });
    await client.delete(`${widgets}/a`);
    const deleted = await w.next();
    expect(deleted).toMatchObject({ type: "DELETED", object: { spec: { replicas: 7 } } });
    expect(Number(deleted.object.metadata.resourceVersion)).toBeGreaterThan(
      Number(modified.object.metadata.resourceVersion),
    );
  });

  test("without a revision: the state first", async () => {
    await client.post(widgets, widget("b"));
    await using w = await client.watch(`${widgets}?watch=true`);
    expect((await w.next()).object.metadata.name).toBe("b");
    await client.delete(`${widgets}/b`);
    expect((await w.next()).type).toBe("DELETED");
  });

  test("WatchList: the state, a bookmark that marks its end, then events; also for an empty selection", async () => {
    await client.post(widgets, widget("c", undefined, { labels: { app: "x" } }));
    const query = "watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan";
    await using w = await client.watch(`${widgets}?${query}`);
    expect((await w.next()).type).toBe("ADDED");
    const mark = await w.next();
    expect(mark).toMatchObject({
      type: "BOOKMARK",
      object: { kind: "Widget", metadata: { annotations: { "k8s.io/initial-events-end": "true" } } },
    });
    expect(mark.object.metadata.resourceVersion).toBe(await revision());
    await using empty = await client.watch(`${widgets}?${query}&labelSelector=app%3Dnone`);
    expect((await empty.next()).type).toBe("BOOKMARK");
    expect((await client.get(`${widgets}?watch=1&sendInitialEvents=true`)).code).toBe(422);
    await client.delete(`${widgets}/c`);
  });

  test("selectors: entering is ADDED, leaving is DELETED with the previous object at the new revision", async () => {
    const start = await revision();
    await using w = await client.watch(`${widgets}?watch=1&resourceVersion=${start}&labelSelector=app%3Dx`);
    await client.post(widgets, widget("d"));
    await client.patch(`${widgets}/d`, { metadata: { labels: { app: "x" } } });
    expect(await w.next()).toMatchObject({ type: "ADDED" });
    const left = await client.patch(`${widgets}/d`, { metadata: { labels: { app: "y" } } });
    expect(await w.next()).toMatchObject({
      type: "DELETED",
      object: { metadata: { labels: { app: "x" }, resourceVersion: left.body.metadata.resourceVersion } },
    });
    await client.delete(`${widgets}/d`);
    expect(await w.rest()).toEqual([]);
  });

  test("one object by field selector, other namespaces unheard", async () => {
    await using w = await client.watch(
      `/api/v1/namespaces/default/configmaps?watch=1&resourceVersion=${await revision()}&fieldSelector=metadata.name%3Dmine`,
    );
    await client.post("/api/v1/namespaces/kube-system/configmaps", configMap("mine"));
    await client.post(configMaps, configMap("other"));
    await client.post(configMaps, configMap("mine"));
    expect((await w.next()).object.metadata).toMatchObject({ name: "mine", namespace: "default" });
    expect(await w.rest()).toEqual([]);
    await client.delete(configMaps);
  });

  test("too old: HTTP 200 and one ERROR event with 410; a paged list that is too old: HTTP 410 with a token to go on", async () => {
    const start = await revision();
    for (let i = 0; i < 3; i++) await client.post(widgets, widget(`p${i}`));
    const first = await client.get(`${widgets}?limit=1`);
    expect(first.body.metadata.remainingItemCount).toBe(2);
    await client.post(widgets, widget("p9"));
    const second = await client.get(`${widgets}?limit=5&continue=${first.body.metadata.continue}`);
    expect(second.body.items.map((i: { metadata: { name: string } }) => i.metadata.name)).toEqual([
      "p1",
      "p2",
    ]);
    expect(second.body.metadata.resourceVersion).toBe(first.body.metadata.resourceVersion);
    for (let i = 0; i < 210; i++) await client.patch(`${widgets}/p0`, { spec: { replicas: i % 100 } });
    await using w = await client.watch(`${widgets}?watch=1&resourceVersion=${start}`);
    expect(w.code).toBe(200);
    expect(await w.next()).toMatchObject({
      type: "ERROR",
      object: { kind: "Status", code: 410, reason: "Expired" },
    });
    await w.ended;
    const expired = await client.get(`${widgets}?limit=1&continue=${first.body.metadata.continue}`);
    expect(expired).toMatchObject({ code: 410, body: { reason: "Expired" } });
    const rest = await client.get(`${widgets}?continue=${expired.body.metadata.continue}`);
    expect(rest.body.items.map((i: { metadata: { name: string } }) => i.metadata.name)).toEqual([
      "p1",
      "p2",
      "p9",
    ]);
    await client.delete(widgets);
  });

  test("tables: columns in the first event only", async () => {
    await using w = await client.watch(`${widgets}?watch=1&resourceVersion=${await revision()}`, {
      accept: "application/json;as=Table;g=meta.k8s.io;v=v1",
    });
    await client.post(widgets, widget("t1"));
    await client.post(widgets, widget("t2"));
    const first = await w.next();
    expect(first.object.columnDefinitions.map((c: { name: string }) => c.name)).toEqual([
      "Name",
      "Color",
      "Replicas",
      "Ready",
      "Parts",
      "Age",
    ]);
    expect(first.object.rows[0].cells.slice(0, 3)).toEqual(["t1", "red", 1]);
    expect((await w.next()).object.columnDefinitions).toBeNull();
    await client.delete(widgets);
  });

  test("ends at its timeout, a bookmark shortly before", async () => {
    await using w = await client.watch(
      `${widgets}?watch=1&resourceVersion=${await revision()}&allowWatchBookmarks=1&timeoutSeconds=1`,
    );
    expect(await w.next()).toMatchObject({
      type: "BOOKMARK",
      object: { metadata: { resourceVersion: await revision() } },
    });
    await w.ended;
  });

  test("ends with its kind, after the deletions", async () => {
    const crd = structuredClone(readManifests(manifest)[0]!) as {
      metadata: { name: string };
      spec: { names: Record<string, unknown> };
    };
    crd.metadata.name = "gadgets.example.test";
    crd.spec.names = { kind: "Gadget", plural: "gadgets" };
    expect((await client.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd)).code).toBe(
      201,
    );
    const gadgets = "/apis/example.test/v1/namespaces/default/gadgets";
    // A new kind is served as soon as its CRD is there.
    expect((await client.post(gadgets, { ...widget("g"), kind: "Gadget" })).code).toBe(201);
    await using w = await client.watch(`${gadgets}?watch=1`);
    await w.next();
    await client.delete("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/gadgets.example.test");
    expect((await w.next()).type).toBe("DELETED");
    await w.ended;
    await until(async () => (await client.get(gadgets)).code === 404);
  });
});

describe("writes", () => {
  test("optimistic concurrency: a stale resourceVersion is 409, none is refused for custom kinds", async () => {
    const made = (await client.post(widgets, widget("o"))).body;
    expect((await client.put(`${widgets}/o`, { ...made, spec: { color: "red", replicas: 2 } })).code).toBe(
      200,
    );
    expect(await client.put(`${widgets}/o`, { ...made, spec: { color: "red", replicas: 3 } })).toMatchObject({
      code: 409,
      body: { reason: "Conflict" },
    });
    expect(
      (
        await client.patch(`${widgets}/o`, {
          metadata: { resourceVersion: made.metadata.resourceVersion },
          spec: { replicas: 4 },
        })
      ).code,
    ).toBe(409);
    const { resourceVersion: _, ...metadata } = made.metadata;
    expect((await client.put(`${widgets}/o`, { ...made, metadata })).code).toBe(422);
    expect(
      (
        await client.put(`${widgets}/o`, {
          ...made,
          metadata: { ...metadata, uid: "other", resourceVersion: "" },
        })
      ).code,
    ).toBe(422);
  });

  test("a write that changes nothing keeps the revision; one that changes counts the generation; status does not", async () => {
    const before = (await client.get(`${widgets}/o`)).body.metadata;
    expect((await client.patch(`${widgets}/o`, { spec: { replicas: 2 } })).body.metadata).toEqual(before);
    expect(
      (await client.patch(`${widgets}/o`, { metadata: { labels: { a: "b" } } })).body.metadata.generation,
    ).toBe(before.generation);
    expect((await client.patch(`${widgets}/o`, { spec: { replicas: 3 } })).body.metadata.generation).toBe(
      before.generation + 1,
    );
    const status = await client.patch(`${widgets}/o/status`, {
      spec: { replicas: 99 },
      status: { replicas: 1 },
    });
    expect(status.body).toMatchObject({
      spec: { replicas: 3 },
      status: { replicas: 1 },
      metadata: { generation: before.generation + 1 },
    });
    expect((await client.patch(`${widgets}/o`, { status: { replicas: 5 } })).body.status).toEqual({
      replicas: 1,
    });
  });

  test("applying twice writes once", async () => {
    const path = `${widgets}/applied?fieldManager=argocd-controller&force=true`;
    const first = await client.apply(
      path,
      widget("applied", { color: "red", parts: [{ name: "x" }], tags: ["a"] }),
    );
    expect(first.code).toBe(201);
    const second = await client.apply(
      path,
      widget("applied", { color: "red", parts: [{ name: "x" }], tags: ["a"] }),
    );
    expect([second.code, second.body]).toEqual([200, first.body]);
    expect((await client.apply(`${widgets}/applied`, widget("applied"))).code).toBe(422);
  });

  test("dry run checks everything and writes nothing", async () => {
    const before = await revision();
    expect((await client.post(`${widgets}?dryRun=All`, widget("dry"))).code).toBe(201);
    expect((await client.post(`${widgets}?dryRun=All`, widget("dry", { color: "pink" }))).code).toBe(422);
    expect((await client.delete(`${widgets}/o?dryRun=All`)).code).toBe(200);
    expect(await revision()).toBe(before);
  });

  test("deletion: preconditions, finalizers, answers", async () => {
    const { uid } = (await client.get(`${widgets}/o`)).body.metadata;
    expect(await client.delete(`${widgets}/o`, { preconditions: { uid: "other" } })).toMatchObject({
      code: 409,
      body: {
        message: expect.stringMatching(
          /^Operation cannot be fulfilled on Widget.example.test "o": the UID in the precondition \(other\) does not match/,
        ),
      },
    });
    expect((await client.delete(`${widgets}/o`, { preconditions: { resourceVersion: "1" } })).code).toBe(409);
    await client.patch(`${widgets}/o`, { metadata: { finalizers: ["x.test/hold"] } });
    const waiting = await client.delete(`${widgets}/o`, { preconditions: { uid } });
    expect(waiting.body).toMatchObject({
      kind: "Widget",
      metadata: { deletionTimestamp: expect.any(String), deletionGracePeriodSeconds: 0 },
    });
    // Spec changes are allowed meanwhile, a null deletionTimestamp is ignored, new finalizers are refused.
    expect(
      (await client.patch(`${widgets}/o`, { spec: { replicas: 9 }, metadata: { deletionTimestamp: null } }))
        .body.metadata.deletionTimestamp,
    ).toBe(waiting.body.metadata.deletionTimestamp);
    expect(
      (await client.patch(`${widgets}/o`, { metadata: { finalizers: ["x.test/hold", "x.test/more"] } })).code,
    ).toBe(422);
    expect((await client.patch(`${widgets}/o`, { metadata: { finalizers: [] } })).code).toBe(200);
    expect((await client.get(`${widgets}/o`)).code).toBe(404);
    expect((await client.delete(`${widgets}/applied`)).body).toMatchObject({
      kind: "Status",
      status: "Success",
      details: { name: "applied", group: "example.test", kind: "widgets" },
    });
  });

  test("what only the server knows cannot be set", async () => {
    const made = await client.post(
      configMaps,
      configMap("server", {
        uid: "mine",
        creationTimestamp: "2000-01-01T00:00:00Z",
        generation: 7,
        deletionTimestamp: "2000-01-01T00:00:00Z",
        selfLink: "x",
      }),
    );
    expect(made.body.metadata).toMatchObject({
      uid: expect.stringMatching(/^[0-9a-f-]{36}$/),
      creationTimestamp: expect.stringMatching(/^20[2-9]/),
    });
    expect(
      made.body.metadata.deletionTimestamp ?? made.body.metadata.generation ?? made.body.metadata.selfLink,
    ).toBeUndefined();
  });
});

describe("collection", () => {
  const owner = async (name: string) => (await client.post(configMaps, configMap(name))).body;
  const owned = (
    name: string,
    of: { kind: string; metadata: { name: string; uid: string } },
    block = false,
  ) =>
    configMap(name, {
      ownerReferences: [
        {
          apiVersion: "v1",
          kind: "ConfigMap",
          name: of.metadata.name,
          uid: of.metadata.uid,
          blockOwnerDeletion: block,
        },
      ],
    });

  test("dependants go in the background, and theirs with them", async () => {
    const a = await owner("own-a");
    const b = (await client.post(configMaps, owned("own-b", a))).body;
    await client.post(configMaps, owned("own-c", b));
    await client.delete(`${configMaps}/own-a`);
    await until(async () => (await client.get(`${configMaps}/own-c`)).code === 404);
  });
  test("one of two owners gone: the reference goes, the object stays", async () => {
    const a = await owner("two-a");
    const b = await owner("two-b");
    const both = owned("two-c", a) as unknown as { metadata: { ownerReferences: object[] } };
    both.metadata.ownerReferences.push({
      apiVersion: "v1",
      kind: "ConfigMap",
      name: "two-b",
      uid: b.metadata.uid,
    });
    await client.post(configMaps, both);
    await client.delete(`${configMaps}/two-a`);
    await until(
      async () => (await client.get(`${configMaps}/two-c`)).body.metadata.ownerReferences.length === 1,
    );
    await client.delete(`${configMaps}/two-b`);
    await until(async () => (await client.get(`${configMaps}/two-c`)).code === 404);
  });
  test("foreground: the owner waits for those that block; orphan: they stay", async () => {
    const a = await owner("fore-a");
    await client.post(configMaps, owned("fore-b", a, true));
    await client.patch(`${configMaps}/fore-b`, { metadata: { finalizers: ["x.test/hold"] } });
    const waiting = await client.delete(`${configMaps}/fore-a`, { propagationPolicy: "Foreground" });
    expect(waiting.body.metadata.finalizers).toEqual(["foregroundDeletion"]);
    await until(
      async () => (await client.get(`${configMaps}/fore-b`)).body.metadata.deletionTimestamp !== undefined,
    );
    expect((await client.get(`${configMaps}/fore-a`)).code).toBe(200);
    await client.patch(`${configMaps}/fore-b`, { metadata: { finalizers: null } });
    await until(async () => (await client.get(`${configMaps}/fore-a`)).code === 404);
    const o = await owner("orph-a");
    await client.post(configMaps, owned("orph-b", o));
    await client.delete(`${configMaps}/orph-a`, { propagationPolicy: "Orphan" });
    await until(async () => (await client.get(`${configMaps}/orph-a`)).code === 404);
    expect((await client.get(`${configMaps}/orph-b`)).body.metadata.ownerReferences).toBeUndefined();
  });
  test("an owner of a kind that is not served deletes nothing", async () => {
    await client.post(
      configMaps,
      configMap("strange", {
        ownerReferences: [{ apiVersion: "none.test/v1", kind: "None", name: "x", uid: "y" }],
      }),
    );
    await new Promise((r) => setTimeout(r, 50));
    expect((await client.get(`${configMaps}/strange`)).code).toBe(200);
  });
  test("a namespace is emptied, waits for finalizers and says so, and takes nothing new meanwhile", async () => {
    await client.post("/api/v1/namespaces", {
      apiVersion: "v1",
      kind: "Namespace",
      metadata: { name: "gone" },
    });
    const inside = "/api/v1/namespaces/gone/configmaps";
    await client.post(inside, configMap("held", { finalizers: ["x.test/hold"] }));
    await client.post(inside, configMap("free"));
    await until(
      async () => (await client.get("/api/v1/namespaces/gone/serviceaccounts/default")).code === 200,
    );
    await client.delete("/api/v1/namespaces/gone");
    await until(async () => (await client.get(`${inside}/free`)).code === 404);
    expect(await client.post(inside, configMap("late"))).toMatchObject({
      code: 403,
      body: { details: { causes: [{ reason: "NamespaceTerminating" }] } },
    });
    await until(
      async () => (await client.get("/api/v1/namespaces/gone")).body.status.conditions !== undefined,
    );
    expect((await client.get("/api/v1/namespaces/gone")).body.status.phase).toBe("Terminating");
    await client.patch(`${inside}/held`, { metadata: { finalizers: null } });
    await until(async () => (await client.get("/api/v1/namespaces/gone")).code === 404);
  });
});

describe("reviews", () => {
  test("a token bound to a node, for the hub's audience, tells the node; the API server does not take it", async () => {
    const node = (
      await client.post("/api/v1/nodes", { apiVersion: "v1", kind: "Node", metadata: { name: "n1" } })
    ).body;
    await client.post("/api/v1/namespaces/default/serviceaccounts", {
      apiVersion: "v1",
      kind: "ServiceAccount",
      metadata: { name: "agent" },
    });
    const asked = await client.post("/api/v1/namespaces/default/serviceaccounts/agent/token", {
      apiVersion: "authentication.k8s.io/v1",
      kind: "TokenRequest",
      spec: {
        audiences: ["waggle-hub"],
        boundObjectRef: { kind: "Node", apiVersion: "v1", name: "n1" },
        expirationSeconds: 3600,
      },
    });
    const { token, expirationTimestamp } = asked.body.status;
    expect(Date.parse(expirationTimestamp) - Date.now()).toBeGreaterThan(3500_000);
    const review = (audiences: string[]) =>
      client.post("/apis/authentication.k8s.io/v1/tokenreviews", {
        apiVersion: "authentication.k8s.io/v1",
        kind: "TokenReview",
        spec: { token, audiences },
      });
    expect((await review(["waggle-hub", "x"])).body.status).toEqual({
      authenticated: true,
      audiences: ["waggle-hub"],
      user: {
        username: "system:serviceaccount:default:agent",
        uid: expect.any(String),
        groups: ["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"],
        extra: {
          "authentication.kubernetes.io/credential-id": [expect.stringMatching(/^JTI=/)],
          "authentication.kubernetes.io/node-name": ["n1"],
          "authentication.kubernetes.io/node-uid": [node.metadata.uid],
        },
      },
    });
    expect((await review([])).body.status).toMatchObject({ error: expect.any(String) });
    expect((await client.send("GET", "/api", { token })).code).toBe(401);
    await client.delete("/api/v1/nodes/n1");
    expect((await review(["waggle-hub"])).body.status.authenticated).toBeUndefined();
    expect(
      (
        await client.post("/api/v1/namespaces/default/serviceaccounts/agent/token", {
          spec: { audiences: [], boundObjectRef: { kind: "Node", apiVersion: "v1", name: "n1" } },
        })
      ).code,
    ).toBe(404);
  });

  test("nobody: health and version, nothing else; a wrong token: nothing at all", async () => {
    const anonymous = (path: string) => client.send("GET", path, { token: null });
    expect([
      (await anonymous("/healthz")).code,
      (await anonymous("/version")).code,
      (await anonymous("/api")).code,
    ]).toEqual([200, 200, 403]);
    expect((await anonymous("/api/v1/nodes")).body.message).toBe(
      'nodes is forbidden: User "system:anonymous" cannot list resource "nodes" in API group "" at the cluster scope',
    );
    expect((await client.send("GET", "/healthz", { token: "nonsense" })).code).toBe(401);
  });

  test("a user of the command line may do what RBAC gives, on the socket as on the port", async () => {
    const config = server.userKubeconfig("alice", ["ops"]);
    const token = /token: (\S+)/.exec(config)?.[1] ?? "";
    using socket = new TestClient(server, socketPath);
    const create = (name: string) => socket.send("POST", widgets, { token, body: widget(name) });
    expect(await create("u1")).toMatchObject({
      code: 403,
      body: {
        message:
          'widgets.example.test is forbidden: User "alice" cannot create resource "widgets" in API group "example.test" in the namespace "default"',
      },
    });
    await client.post("/apis/rbac.authorization.k8s.io/v1/clusterroles", {
      metadata: { name: "make" },
      rules: [{ verbs: ["create"], apiGroups: ["example.test"], resources: ["widgets"] }],
    });
    await client.post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", {
      metadata: { name: "make" },
      roleRef: { kind: "ClusterRole", name: "make" },
      subjects: [{ kind: "Group", name: "ops" }],
    });
    expect((await create("u1")).code).toBe(201);
    expect((await socket.send("GET", widgets, { token })).code).toBe(403);
    // An apply that would make the object needs the right to patch and the right to create.
    expect(
      (
        await socket.send("PATCH", `${widgets}/u2?fieldManager=x`, {
          token,
          body: widget("u2"),
          headers: { "content-type": "application/apply-patch+yaml" },
        })
      ).code,
    ).toBe(403);
    expect(statSync(socketPath).isSocket()).toBe(true);
  });
});

describe("discovery and bounds", () => {
  test("discovery: aggregated and plain, with ETag and 304; OpenAPI by hash", async () => {
    const accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
    const groups = await client.get("/apis", { accept });
    expect(groups.headers["content-type"]).toBe(
      "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
    );
    const example = groups.body.items.find(
      (g: { metadata: { name: string } }) => g.metadata.name === "example.test",
    );
    expect(example.versions[0].resources[0]).toMatchObject({
      resource: "widgets",
      scope: "Namespaced",
      shortNames: ["wd"],
      subresources: [{ subresource: "status" }, { subresource: "scale", responseKind: { kind: "Scale" } }],
    });
    expect((await client.get("/apis", { accept, "if-none-match": groups.headers.etag ?? "" })).code).toBe(
      304,
    );
    const index = (await client.get("/openapi/v3")).body.paths;
    const url = index["apis/example.test/v1"].serverRelativeURL as string;
    const document = await client.get(url);
    expect(document.headers["cache-control"]).toMatch(/immutable/);
    expect(
      document.body.components.schemas["test.example.v1.Widget"]["x-kubernetes-group-version-kind"],
    ).toEqual([{ group: "example.test", kind: "Widget", version: "v1" }]);
    expect((await client.get(url.replace(/hash=.*/, "hash=OLD"))).code).toBe(301);
    expect(
      (
        await client.send("GET", "/openapi/v2", {
          headers: { accept: "application/com.github.proto-openapi.spec.v2.v1.0+protobuf" },
        })
      ).text.slice(2, 5),
    ).toBe("2.0");
  });
  test("what it is not, for a browser", async () => {
    const page = await client.get("/", { accept: "text/html" });
    expect(page.headers["content-type"]).toMatch(/text\/html/);
    expect(page.text).toMatch(/not for production/);
  });
  test("long bodies are refused, with and without a length; TLS only; foreign media types", async () => {
    const long = JSON.stringify({ ...configMap("long"), data: { x: "y".repeat(200_000) } });
    expect((await client.post(configMaps, long)).code).toBe(413);
    expect(
      (
        await client.send("POST", configMaps, {
          body: "<x/>",
          headers: { "content-type": "application/xml" },
        })
      ).code,
    ).toBe(415);
    expect((await client.send("POST", configMaps, { body: "{nonsense", headers: {} })).code).toBe(400);
    expect((await client.get(configMaps, { accept: "application/xml" })).code).toBe(406);
    expect(await plainRequest(server.port)).toMatch(/ECONNRESET|EPROTO|HPE|400/);
    expect((await client.get("/metrics")).text).toMatch(/waggle_apiserver_requests_too_large_total 1/);
  });
  test("YAML bodies are read as well", async () => {
    const made = await client.send("POST", configMaps, {
      body: "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: yaml\ndata:\n  a: b\n",
      headers: { "content-type": "application/yaml" },
    });
    expect(made.body.data).toEqual({ a: "b" });
  });
});
