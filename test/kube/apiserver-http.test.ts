// The embedded API server on the wire: watches, revisions, paging, discovery, bounds.
import { describe, expect, test } from "vitest";
import { readManifests } from "../../src/apiserver/index.ts";
import { plainRequest } from "./apiserver-client.ts";
import {
  apiServerFixture,
  configMap,
  configMaps,
  manifest,
  until,
  widget,
  widgets,
} from "./apiserver-fixture.ts";

const api = apiServerFixture();

describe("watch", () => {
  test("from a revision: what came since, then what comes; deletions carry their own revision", async () => {
    const start = await api.revision();
    await api.client.post(widgets, widget("a"));
    await using w = await api.client.watch(`${widgets}?watch=1&resourceVersion=${start}`);
    expect(await w.next()).toMatchObject({
      type: "ADDED",
      object: { kind: "Widget", metadata: { name: "a" } },
    });
    await api.client.patch(`${widgets}/a`, { spec: { replicas: 7 } });
    const modified = await w.next();
    expect(modified).toMatchObject({ type: "MODIFIED", object: { spec: { replicas: 7 } } });
    await api.client.delete(`${widgets}/a`);
    const deleted = await w.next();
    expect(deleted).toMatchObject({ type: "DELETED", object: { spec: { replicas: 7 } } });
    expect(Number(deleted.object.metadata.resourceVersion)).toBeGreaterThan(
      Number(modified.object.metadata.resourceVersion),
    );
  });

  test("without a revision: the state first", async () => {
    await api.client.post(widgets, widget("b"));
    await using w = await api.client.watch(`${widgets}?watch=true`);
    expect((await w.next()).object.metadata.name).toBe("b");
    await api.client.delete(`${widgets}/b`);
    expect((await w.next()).type).toBe("DELETED");
  });

  test("WatchList: the state, a bookmark that marks its end, then events; also for an empty selection", async () => {
    await api.client.post(widgets, widget("c", undefined, { labels: { app: "x" } }));
    const query = "watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan";
    await using w = await api.client.watch(`${widgets}?${query}`);
    expect((await w.next()).type).toBe("ADDED");
    const mark = await w.next();
    expect(mark).toMatchObject({
      type: "BOOKMARK",
      object: { kind: "Widget", metadata: { annotations: { "k8s.io/initial-events-end": "true" } } },
    });
    expect(mark.object.metadata.resourceVersion).toBe(await api.revision());
    await using empty = await api.client.watch(`${widgets}?${query}&labelSelector=app%3Dnone`);
    expect((await empty.next()).type).toBe("BOOKMARK");
    expect((await api.client.get(`${widgets}?watch=1&sendInitialEvents=true`)).code).toBe(422);
    await api.client.delete(`${widgets}/c`);
  });

  test("selectors: entering is ADDED, leaving is DELETED with the previous object at the new revision", async () => {
    const start = await api.revision();
    await using w = await api.client.watch(
      `${widgets}?watch=1&resourceVersion=${start}&labelSelector=app%3Dx`,
    );
    await api.client.post(widgets, widget("d"));
    await api.client.patch(`${widgets}/d`, { metadata: { labels: { app: "x" } } });
    expect(await w.next()).toMatchObject({ type: "ADDED" });
    const left = await api.client.patch(`${widgets}/d`, { metadata: { labels: { app: "y" } } });
    expect(await w.next()).toMatchObject({
      type: "DELETED",
      object: { metadata: { labels: { app: "x" }, resourceVersion: left.body.metadata.resourceVersion } },
    });
    await api.client.delete(`${widgets}/d`);
    expect(await w.rest()).toEqual([]);
  });

  test("one object by field selector, other namespaces unheard", async () => {
    await using w = await api.client.watch(
      `/api/v1/namespaces/default/configmaps?watch=1&resourceVersion=${await api.revision()}&fieldSelector=metadata.name%3Dmine`,
    );
    await api.client.post("/api/v1/namespaces/kube-system/configmaps", configMap("mine"));
    await api.client.post(configMaps, configMap("other"));
    await api.client.post(configMaps, configMap("mine"));
    expect((await w.next()).object.metadata).toMatchObject({ name: "mine", namespace: "default" });
    expect(await w.rest()).toEqual([]);
    await api.client.delete(configMaps);
  });

  test("too old: HTTP 200 and one ERROR event with 410; a paged list that is too old: HTTP 410 with a token to go on", async () => {
    const start = await api.revision();
    for (let i = 0; i < 3; i++) await api.client.post(widgets, widget(`p${i}`));
    const first = await api.client.get(`${widgets}?limit=1`);
    expect(first.body.metadata.remainingItemCount).toBe(2);
    await api.client.post(widgets, widget("p9"));
    const second = await api.client.get(`${widgets}?limit=5&continue=${first.body.metadata.continue}`);
    expect(second.body.items.map((i: { metadata: { name: string } }) => i.metadata.name)).toEqual([
      "p1",
      "p2",
    ]);
    expect(second.body.metadata.resourceVersion).toBe(first.body.metadata.resourceVersion);
    for (let i = 0; i < 210; i++) await api.client.patch(`${widgets}/p0`, { spec: { replicas: i % 100 } });
    await using w = await api.client.watch(`${widgets}?watch=1&resourceVersion=${start}`);
    expect(w.code).toBe(200);
    expect(await w.next()).toMatchObject({
      type: "ERROR",
      object: { kind: "Status", code: 410, reason: "Expired" },
    });
    await w.ended;
    const expired = await api.client.get(`${widgets}?limit=1&continue=${first.body.metadata.continue}`);
    expect(expired).toMatchObject({ code: 410, body: { reason: "Expired" } });
    const rest = await api.client.get(`${widgets}?continue=${expired.body.metadata.continue}`);
    expect(rest.body.items.map((i: { metadata: { name: string } }) => i.metadata.name)).toEqual([
      "p1",
      "p2",
      "p9",
    ]);
    await api.client.delete(widgets);
  });

  test("tables: columns in the first event only", async () => {
    await using w = await api.client.watch(`${widgets}?watch=1&resourceVersion=${await api.revision()}`, {
      accept: "application/json;as=Table;g=meta.k8s.io;v=v1",
    });
    await api.client.post(widgets, widget("t1"));
    await api.client.post(widgets, widget("t2"));
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
    await api.client.delete(widgets);
  });

  test("ends at its timeout, a bookmark shortly before", async () => {
    await using w = await api.client.watch(
      `${widgets}?watch=1&resourceVersion=${await api.revision()}&allowWatchBookmarks=1&timeoutSeconds=1`,
    );
    expect(await w.next()).toMatchObject({
      type: "BOOKMARK",
      object: { metadata: { resourceVersion: await api.revision() } },
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
    expect((await api.client.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd)).code).toBe(
      201,
    );
    const gadgets = "/apis/example.test/v1/namespaces/default/gadgets";
    // A new kind is served as soon as its CRD is there.
    expect((await api.client.post(gadgets, { ...widget("g"), kind: "Gadget" })).code).toBe(201);
    await using w = await api.client.watch(`${gadgets}?watch=1`);
    await w.next();
    await api.client.delete("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/gadgets.example.test");
    expect((await w.next()).type).toBe("DELETED");
    await w.ended;
    await until(async () => (await api.client.get(gadgets)).code === 404);
  });
});

describe("discovery and bounds", () => {
  test("discovery: aggregated and plain, with ETag and 304; OpenAPI by hash", async () => {
    const accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
    const groups = await api.client.get("/apis", { accept });
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
    expect((await api.client.get("/apis", { accept, "if-none-match": groups.headers.etag ?? "" })).code).toBe(
      304,
    );
    const index = (await api.client.get("/openapi/v3")).body.paths;
    const url = index["apis/example.test/v1"].serverRelativeURL as string;
    const document = await api.client.get(url);
    expect(document.headers["cache-control"]).toMatch(/immutable/);
    expect(
      document.body.components.schemas["test.example.v1.Widget"]["x-kubernetes-group-version-kind"],
    ).toEqual([{ group: "example.test", kind: "Widget", version: "v1" }]);
    expect((await api.client.get(url.replace(/hash=.*/, "hash=OLD"))).code).toBe(301);
    expect(
      (
        await api.client.send("GET", "/openapi/v2", {
          headers: { accept: "application/com.github.proto-openapi.spec.v2.v1.0+protobuf" },
        })
      ).text.slice(2, 5),
    ).toBe("2.0");
  });
  test("what it is not, for a browser", async () => {
    const page = await api.client.get("/", { accept: "text/html" });
    expect(page.headers["content-type"]).toMatch(/text\/html/);
    expect(page.text).toMatch(/not for production/);
  });
  test("long bodies are refused, with and without a length; TLS only; foreign media types", async () => {
    const long = JSON.stringify({ ...configMap("long"), data: { x: "y".repeat(200_000) } });
    expect((await api.client.post(configMaps, long)).code).toBe(413);
    expect(
      (
        await api.client.send("POST", configMaps, {
          body: "<x/>",
          headers: { "content-type": "application/xml" },
        })
      ).code,
    ).toBe(415);
    expect((await api.client.send("POST", configMaps, { body: "{nonsense", headers: {} })).code).toBe(400);
    expect((await api.client.get(configMaps, { accept: "application/xml" })).code).toBe(406);
    expect(await plainRequest(api.server.port)).toMatch(/ECONNRESET|EPROTO|HPE|400/);
    expect((await api.client.get("/metrics")).text).toMatch(/waggle_apiserver_requests_too_large_total 1/);
  });
  test("YAML bodies are read as well", async () => {
    const made = await api.client.send("POST", configMaps, {
      body: "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: yaml\ndata:\n  a: b\n",
      headers: { "content-type": "application/yaml" },
    });
    expect(made.body.data).toEqual({ a: "b" });
  });
});
