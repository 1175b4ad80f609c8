// The embedded API server on the wire: writes, deletion, garbage collection, namespaces, tokens and rights.
import { statSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { TestClient } from "./apiserver-client.ts";
import { apiServerFixture, configMap, configMaps, until, widget, widgets } from "./apiserver-fixture.ts";

const api = apiServerFixture();

describe("writes", () => {
  test("optimistic concurrency: a stale resourceVersion is 409, none is refused for custom kinds", async () => {
    const made = (await api.client.post(widgets, widget("o"))).body;
    expect(
      (await api.client.put(`${widgets}/o`, { ...made, spec: { color: "red", replicas: 2 } })).code,
    ).toBe(200);
    expect(
      await api.client.put(`${widgets}/o`, { ...made, spec: { color: "red", replicas: 3 } }),
    ).toMatchObject({
      code: 409,
      body: { reason: "Conflict" },
    });
    expect(
      (
        await api.client.patch(`${widgets}/o`, {
          metadata: { resourceVersion: made.metadata.resourceVersion },
          spec: { replicas: 4 },
        })
      ).code,
    ).toBe(409);
    const { resourceVersion: _, ...metadata } = made.metadata;
    expect((await api.client.put(`${widgets}/o`, { ...made, metadata })).code).toBe(422);
    expect(
      (
        await api.client.put(`${widgets}/o`, {
          ...made,
          metadata: { ...metadata, uid: "other", resourceVersion: "" },
        })
      ).code,
    ).toBe(422);
  });

  test("a write that changes nothing keeps the revision; one that changes counts the generation; status does not", async () => {
    const before = (await api.client.get(`${widgets}/o`)).body.metadata;
    expect((await api.client.patch(`${widgets}/o`, { spec: { replicas: 2 } })).body.metadata).toEqual(before);
    expect(
      (await api.client.patch(`${widgets}/o`, { metadata: { labels: { a: "b" } } })).body.metadata.generation,
    ).toBe(before.generation);
    expect((await api.client.patch(`${widgets}/o`, { spec: { replicas: 3 } })).body.metadata.generation).toBe(
      before.generation + 1,
    );
    const status = await api.client.patch(`${widgets}/o/status`, {
      spec: { replicas: 99 },
      status: { replicas: 1 },
    });
    expect(status.body).toMatchObject({
      spec: { replicas: 3 },
      status: { replicas: 1 },
      metadata: { generation: before.generation + 1 },
    });
    expect((await api.client.patch(`${widgets}/o`, { status: { replicas: 5 } })).body.status).toEqual({
      replicas: 1,
    });
  });

  test("applying twice writes once", async () => {
    const path = `${widgets}/applied?fieldManager=argocd-controller&force=true`;
    const first = await api.client.apply(
      path,
      widget("applied", { color: "red", parts: [{ name: "x" }], tags: ["a"] }),
    );
    expect(first.code).toBe(201);
    const second = await api.client.apply(
      path,
      widget("applied", { color: "red", parts: [{ name: "x" }], tags: ["a"] }),
    );
    expect([second.code, second.body]).toEqual([200, first.body]);
    expect((await api.client.apply(`${widgets}/applied`, widget("applied"))).code).toBe(422);
  });

  test("dry run checks everything and writes nothing", async () => {
    const before = await api.revision();
    expect((await api.client.post(`${widgets}?dryRun=All`, widget("dry"))).code).toBe(201);
    expect((await api.client.post(`${widgets}?dryRun=All`, widget("dry", { color: "pink" }))).code).toBe(422);
    expect((await api.client.delete(`${widgets}/o?dryRun=All`)).code).toBe(200);
    expect(await api.revision()).toBe(before);
  });

  test("deletion: preconditions, finalizers, answers", async () => {
    const { uid } = (await api.client.get(`${widgets}/o`)).body.metadata;
    expect(await api.client.delete(`${widgets}/o`, { preconditions: { uid: "other" } })).toMatchObject({
      code: 409,
      body: {
        message: expect.stringMatching(
          /^Operation cannot be fulfilled on Widget.example.test "o": the UID in the precondition \(other\) does not match/,
        ),
      },
    });
    expect((await api.client.delete(`${widgets}/o`, { preconditions: { resourceVersion: "1" } })).code).toBe(
      409,
    );
    await api.client.patch(`${widgets}/o`, { metadata: { finalizers: ["x.test/hold"] } });
    const waiting = await api.client.delete(`${widgets}/o`, { preconditions: { uid } });
    expect(waiting.body).toMatchObject({
      kind: "Widget",
      metadata: { deletionTimestamp: expect.any(String), deletionGracePeriodSeconds: 0 },
    });
    // Spec changes are allowed meanwhile, a null deletionTimestamp is ignored, new finalizers are refused.
    expect(
      (
        await api.client.patch(`${widgets}/o`, {
          spec: { replicas: 9 },
          metadata: { deletionTimestamp: null },
        })
      ).body.metadata.deletionTimestamp,
    ).toBe(waiting.body.metadata.deletionTimestamp);
    expect(
      (await api.client.patch(`${widgets}/o`, { metadata: { finalizers: ["x.test/hold", "x.test/more"] } }))
        .code,
    ).toBe(422);
    expect((await api.client.patch(`${widgets}/o`, { metadata: { finalizers: [] } })).code).toBe(200);
    expect((await api.client.get(`${widgets}/o`)).code).toBe(404);
    expect((await api.client.delete(`${widgets}/applied`)).body).toMatchObject({
      kind: "Status",
      status: "Success",
      details: { name: "applied", group: "example.test", kind: "widgets" },
    });
  });

  test("what only the server knows cannot be set", async () => {
    const made = await api.client.post(
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

describe("kinds", () => {
  const crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
  const version = (name: string, storage: boolean, more: object = {}) => ({
    name,
    served: true,
    storage,
    schema: {
      openAPIV3Schema: {
        type: "object",
        properties: { spec: { type: "object", properties: { a: { type: "integer" }, ...more } } },
      },
    },
  });
  const crd = (...versions: object[]) => ({
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: "things.example.test" },
    spec: { group: "example.test", scope: "Cluster", names: { kind: "Thing", plural: "things" }, versions },
  });
  const thing = (v: string, name: string) => ({
    apiVersion: `example.test/${v}`,
    kind: "Thing",
    metadata: { name },
    spec: { a: 1 },
  });
  const path = (v: string, name = "") => `/apis/example.test/${v}/things${name && `/${name}`}`;

  test("versions: each shows every object as its own, also after the storage version has moved on", async () => {
    const made = await api.client.post(crds, crd(version("v1alpha1", true)));
    expect(made.body.status.storedVersions).toEqual(["v1alpha1"]);
    await api.client.post(path("v1alpha1"), thing("v1alpha1", "old"));
    const changed = await api.client.put(`${crds}/things.example.test`, {
      ...made.body,
      spec: { ...made.body.spec, versions: [version("v1alpha1", false), version("v1", true)] },
    });
    expect(changed.body.status.storedVersions).toEqual(["v1alpha1", "v1"]);
    await using w = await api.client.watch(`${path("v1")}?watch=1`);
    await api.client.post(path("v1alpha1"), thing("v1alpha1", "new"));
    for (const v of ["v1alpha1", "v1"]) {
      const list = (await api.client.get(path(v))).body;
      expect(list.items.map((i: { apiVersion: string }) => i.apiVersion)).toEqual([
        `example.test/${v}`,
        `example.test/${v}`,
      ]);
      expect((await api.client.get(path(v, "old"))).body.apiVersion).toBe(`example.test/${v}`);
    }
    expect([(await w.next()).object.apiVersion, (await w.next()).object.apiVersion]).toEqual([
      "example.test/v1",
      "example.test/v1",
    ]);
    const applied = await api.client.apply(
      `${path("v1", "old")}?fieldManager=x&force=true`,
      thing("v1", "old"),
    );
    expect(applied).toMatchObject({ code: 200, body: { apiVersion: "example.test/v1" } });
    expect((await api.client.post(path("v1"), thing("v1alpha1", "wrong"))).code).toBe(400);
  });

  test("a default that a kind gets later shows on what is stored, without a write", async () => {
    const before = (await api.client.get(path("v1", "old"))).body.metadata.resourceVersion;
    const current = (await api.client.get(`${crds}/things.example.test`)).body;
    const b = { b: { type: "string", default: "later" } };
    const versions = [version("v1alpha1", false, b), version("v1", true, b)];
    expect(
      (
        await api.client.put(`${crds}/things.example.test`, {
          ...current,
          spec: { ...current.spec, versions },
        })
      ).code,
    ).toBe(200);
    await until(async () => (await api.client.get(path("v1", "old"))).body.spec.b === "later");
    expect((await api.client.get(path("v1", "old"))).body.metadata.resourceVersion).toBe(before);
  });

  test("names that are taken are told, and the second kind is not served", async () => {
    const second = crd(version("v1", true));
    second.metadata.name = "others.example.test";
    second.spec.names = { kind: "Thing", plural: "others" };
    const made = await api.client.post(crds, second);
    expect(made.body.status.conditions).toMatchObject([
      {
        type: "NamesAccepted",
        status: "False",
        reason: "ListKindConflict",
        message: '"ThingList" is already in use',
      },
      { type: "Established", status: "False", reason: "NotAccepted" },
    ]);
    expect((await api.client.get("/apis/example.test/v1/others")).code).toBe(404);
  });
});

describe("collection", () => {
  const owner = async (name: string) => (await api.client.post(configMaps, configMap(name))).body;
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
    const b = (await api.client.post(configMaps, owned("own-b", a))).body;
    await api.client.post(configMaps, owned("own-c", b));
    await api.client.delete(`${configMaps}/own-a`);
    await until(async () => (await api.client.get(`${configMaps}/own-c`)).code === 404);
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
    await api.client.post(configMaps, both);
    await api.client.delete(`${configMaps}/two-a`);
    await until(
      async () => (await api.client.get(`${configMaps}/two-c`)).body.metadata.ownerReferences.length === 1,
    );
    await api.client.delete(`${configMaps}/two-b`);
    await until(async () => (await api.client.get(`${configMaps}/two-c`)).code === 404);
  });
  test("foreground: the owner waits for those that block; orphan: they stay", async () => {
    const a = await owner("fore-a");
    await api.client.post(configMaps, owned("fore-b", a, true));
    await api.client.patch(`${configMaps}/fore-b`, { metadata: { finalizers: ["x.test/hold"] } });
    const waiting = await api.client.delete(`${configMaps}/fore-a`, { propagationPolicy: "Foreground" });
    expect(waiting.body.metadata.finalizers).toEqual(["foregroundDeletion"]);
    await until(
      async () =>
        (await api.client.get(`${configMaps}/fore-b`)).body.metadata.deletionTimestamp !== undefined,
    );
    expect((await api.client.get(`${configMaps}/fore-a`)).code).toBe(200);
    await api.client.patch(`${configMaps}/fore-b`, { metadata: { finalizers: null } });
    await until(async () => (await api.client.get(`${configMaps}/fore-a`)).code === 404);
    const o = await owner("orph-a");
    await api.client.post(configMaps, owned("orph-b", o));
    await api.client.delete(`${configMaps}/orph-a`, { propagationPolicy: "Orphan" });
    await until(async () => (await api.client.get(`${configMaps}/orph-a`)).code === 404);
    expect((await api.client.get(`${configMaps}/orph-b`)).body.metadata.ownerReferences).toBeUndefined();
  });
  test("an owner of a kind that is not served deletes nothing", async () => {
    await api.client.post(
      configMaps,
      configMap("strange", {
        ownerReferences: [{ apiVersion: "none.test/v1", kind: "None", name: "x", uid: "y" }],
      }),
    );
    await new Promise((r) => setTimeout(r, 50));
    expect((await api.client.get(`${configMaps}/strange`)).code).toBe(200);
  });
  test("a namespace is emptied, waits for finalizers and says so, and takes nothing new meanwhile", async () => {
    await api.client.post("/api/v1/namespaces", {
      apiVersion: "v1",
      kind: "Namespace",
      metadata: { name: "gone" },
    });
    const inside = "/api/v1/namespaces/gone/configmaps";
    await api.client.post(inside, configMap("held", { finalizers: ["x.test/hold"] }));
    await api.client.post(inside, configMap("free"));
    await until(
      async () => (await api.client.get("/api/v1/namespaces/gone/serviceaccounts/default")).code === 200,
    );
    await api.client.delete("/api/v1/namespaces/gone");
    await until(async () => (await api.client.get(`${inside}/free`)).code === 404);
    expect(await api.client.post(inside, configMap("late"))).toMatchObject({
      code: 403,
      body: { details: { causes: [{ reason: "NamespaceTerminating" }] } },
    });
    await until(
      async () => (await api.client.get("/api/v1/namespaces/gone")).body.status.conditions !== undefined,
    );
    expect((await api.client.get("/api/v1/namespaces/gone")).body.status.phase).toBe("Terminating");
    await api.client.patch(`${inside}/held`, { metadata: { finalizers: null } });
    await until(async () => (await api.client.get("/api/v1/namespaces/gone")).code === 404);
  });
});

describe("reviews", () => {
  test("a token bound to a node, for the hub's audience, tells the node; the API server does not take it", async () => {
    const node = (
      await api.client.post("/api/v1/nodes", { apiVersion: "v1", kind: "Node", metadata: { name: "n1" } })
    ).body;
    await api.client.post("/api/v1/namespaces/default/serviceaccounts", {
      apiVersion: "v1",
      kind: "ServiceAccount",
      metadata: { name: "agent" },
    });
    const asked = await api.client.post("/api/v1/namespaces/default/serviceaccounts/agent/token", {
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
      api.client.post("/apis/authentication.k8s.io/v1/tokenreviews", {
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
    expect((await api.client.send("GET", "/api", { token })).code).toBe(401);
    await api.client.delete("/api/v1/nodes/n1");
    expect((await review(["waggle-hub"])).body.status.authenticated).toBeUndefined();
    expect(
      (
        await api.client.post("/api/v1/namespaces/default/serviceaccounts/agent/token", {
          spec: { audiences: [], boundObjectRef: { kind: "Node", apiVersion: "v1", name: "n1" } },
        })
      ).code,
    ).toBe(404);
  });

  test("nobody: health and version, nothing else; a wrong token: nothing at all", async () => {
    const anonymous = (path: string) => api.client.send("GET", path, { token: null });
    expect([
      (await anonymous("/healthz")).code,
      (await anonymous("/version")).code,
      (await anonymous("/api")).code,
    ]).toEqual([200, 200, 403]);
    expect((await anonymous("/api/v1/nodes")).body.message).toBe(
      'nodes is forbidden: User "system:anonymous" cannot list resource "nodes" in API group "" at the cluster scope',
    );
    expect((await api.client.send("GET", "/healthz", { token: "nonsense" })).code).toBe(401);
  });

  test("a user of the command line may do what RBAC gives, on the socket as on the port", async () => {
    const config = api.server.userKubeconfig("alice", ["ops"]);
    const token = /token: (\S+)/.exec(config)?.[1] ?? "";
    using socket = new TestClient(api.server, api.socketPath);
    const create = (name: string) => socket.send("POST", widgets, { token, body: widget(name) });
    expect(await create("u1")).toMatchObject({
      code: 403,
      body: {
        message:
          'widgets.example.test is forbidden: User "alice" cannot create resource "widgets" in API group "example.test" in the namespace "default"',
      },
    });
    await api.client.post("/apis/rbac.authorization.k8s.io/v1/clusterroles", {
      metadata: { name: "make" },
      rules: [{ verbs: ["create"], apiGroups: ["example.test"], resources: ["widgets"] }],
    });
    await api.client.post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", {
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
    expect(statSync(api.socketPath).isSocket()).toBe(true);
  });
});
