// apiserver/table and selectors: columns, ages, JSONPath, label and field selectors.
import { describe, expect, test } from "vitest";
import type { Json } from "../../../src/apiserver/json.ts";
import type { ApiObject } from "../../../src/apiserver/object.ts";
import { builtinResources } from "../../../src/apiserver/registry/builtin.ts";
import { actionOf, parseResourcePath } from "../../../src/apiserver/rest/request-info.ts";
import { fieldSelector, labelSelector } from "../../../src/apiserver/rest/selectors.ts";
import { customColumns, humanDuration } from "../../../src/apiserver/table/columns.ts";
import { parseJsonPath, select } from "../../../src/apiserver/table/jsonpath.ts";

test.each([
  [-3000, "<invalid>"],
  [-1000, "0s"],
  [0, "0s"],
  [59_000, "59s"],
  [119_000, "119s"],
  [120_000, "2m"],
  [125_000, "2m5s"],
  [600_000, "10m"],
  [10_799_000, "179m"],
  [10_800_000, "3h"],
  [11_100_000, "3h5m"],
  [28_800_000, "8h"],
  [172_700_000, "47h"],
  [172_800_000, "2d"],
  [180_000_000, "2d2h"],
  [691_200_000, "8d"],
  [63_000_000_000, "729d"],
  [63_158_400_000, "2y1d"],
  [252_460_800_000, "8y"],
])("humanDuration(%i) is %s", (milliseconds, text) => {
  expect(humanDuration(milliseconds)).toBe(text);
});

describe("JSONPath", () => {
  const value: Json = {
    spec: {
      "a.b": 1,
      list: [
        { type: "Ready", status: "True", n: 3 },
        { type: "Other", status: "False" },
      ],
      m: { x: 1, y: 2 },
    },
  };
  test.each<[string, Json[]]>([
    [".spec.m.x", [1]],
    ["{.spec.m.x}", [1]],
    ["$.spec.m.x", [1]],
    [".spec['a.b']", [1]],
    [".spec.a\\.b", [1]],
    [".spec.list[0].type", ["Ready"]],
    [".spec.list[-1].type", ["Other"]],
    [".spec.list[*].status", ["True", "False"]],
    ['.spec.list[?(@.type=="Ready")].status', ["True"]],
    [".spec.list[?(@.type!='Ready')].status", ["False"]],
    [".spec.list[?(@.n>2)].type", ["Ready"]],
    [".spec.list[?(@.n)].type", ["Ready"]],
    [".spec.m.*", [1, 2]],
    [".spec.none.deeper", []],
  ])("%s", (path, expected) => {
    expect(select(parseJsonPath(path), value)).toEqual(expected);
  });
  test.each([".a[", ".a[?(@.b=='c'", "a b", ".a]"])("refuses %s", (path) => {
    expect(() => parseJsonPath(path)).toThrow(Error);
  });
});

test("columns of a custom kind take the first result and show what its type allows", () => {
  const columns = customColumns({
    additionalPrinterColumns: [
      { name: "S", type: "string", jsonPath: ".s[*]" },
      { name: "O", type: "string", jsonPath: ".o" },
      { name: "I", type: "integer", jsonPath: ".n", priority: 1 },
      { name: "W", type: "integer", jsonPath: ".o" },
      { name: "D", type: "date", jsonPath: ".metadata.creationTimestamp" },
      { name: "None", type: "date", jsonPath: ".none" },
    ],
  });
  const object = {
    apiVersion: "v1",
    kind: "K",
    metadata: { name: "x", creationTimestamp: "2026-01-01T00:00:00Z" },
    s: ["a", "b"],
    o: { k: [1] },
    n: 2.7,
  } as unknown as ApiObject;
  expect(
    columns.map((c) => [c.name, c.priority, c.cell(object, Date.parse("2026-01-01T00:05:00Z"))]),
  ).toEqual([
    ["Name", 0, "x"],
    ["S", 0, "a"],
    ["O", 0, '{"k":[1]}'],
    ["I", 1, 2],
    ["W", 0, null],
    ["D", 0, "5m"],
    ["None", 0, null],
  ]);
  expect(customColumns({}).map((c) => c.name)).toEqual(["Name", "Age"]);
});

describe("selectors", () => {
  const of = (labels: Record<string, string>): ApiObject =>
    ({ metadata: { name: "n", namespace: "s", labels } }) as unknown as ApiObject;
  test.each<[string, Record<string, string>, boolean]>([
    ["a=b", { a: "b" }, true],
    ["a==b", { a: "c" }, false],
    ["a!=b", {}, true],
    ["a!=b", { a: "b" }, false],
    ["a", { a: "" }, true],
    ["!a", { a: "" }, false],
    ["a in (b,c),d notin (e)", { a: "c" }, true],
    ["a in (b, c)", { a: "d" }, false],
    ["a notin (b)", {}, true],
    ["a in ()", { a: "" }, true],
    ["n>5", { n: "6" }, true],
    ["n<5", { n: "6" }, false],
    ["n>5", { n: "x" }, false],
    ["x.y/z=1,q", { "x.y/z": "1", q: "" }, true],
    ["", {}, true],
    ["a=", { a: "" }, true],
  ])("%s on %j is %j", (text, labels, expected) => {
    expect(labelSelector(text)?.(of(labels)) ?? true).toBe(expected);
  });
  test.each(["a b", "a in", "a=b=c", "-a=b", "a=%", "a in (b", "=a"])("refuses %s", (text) => {
    expect(() => labelSelector(text)).toThrow(/unable to parse requirement/);
  });
  const event = builtinResources().find((t) => t.group === "" && t.kind === "Event")!;
  test("fields: name, namespace and what the kind allows", () => {
    const e = { ...of({}), involvedObject: { kind: "Node", name: "x" } } as ApiObject;
    const holds = (text: string): boolean => fieldSelector(text, event)?.(e) ?? true;
    expect([
      holds("metadata.name=n,metadata.namespace=s"),
      holds("involvedObject.name=x,involvedObject.kind!=Pod"),
      holds("involvedObject.name==y"),
      holds(""),
    ]).toEqual([true, true, false, true]);
    expect(() => fieldSelector("spec.x=1", event)).toThrow("field label not supported: spec.x");
    expect(() => fieldSelector("nonsense", event)).toThrow(/can't understand/);
  });
});

describe("request paths", () => {
  const parse = (method: string, url: string) => {
    const u = new URL(url, "https://s");
    const r = parseResourcePath(method, u.pathname, u.searchParams);
    return (
      r &&
      `${r.verb} ${r.group}/${r.version} ${r.namespace ?? "-"} ${r.resource} ${r.name || "-"} ${r.subresource || "-"}`
    );
  };
  test.each<[string, string, string | undefined]>([
    ["GET", "/api/v1/nodes", "list /v1 - nodes - -"],
    ["GET", "/api/v1/nodes?watch=banana", "watch /v1 - nodes - -"],
    ["GET", "/api/v1/nodes?watch=false", "list /v1 - nodes - -"],
    ["GET", "/api/v1/namespaces/x", "get /v1 - namespaces x -"],
    ["PUT", "/api/v1/namespaces/x/finalize", "update /v1 - namespaces x finalize"],
    ["GET", "/api/v1/namespaces/x/pods", "list /v1 x pods - -"],
    ["DELETE", "/api/v1/namespaces/x/pods", "deletecollection /v1 x pods - -"],
    ["PATCH", "/apis/g.x/v2/namespaces/n/things/t/status", "patch g.x/v2 n things t status"],
    ["POST", "/apis/g.x/v2/things", "create g.x/v2 - things - -"],
    ["GET", "/apis/g.x/v2/watch/things", "watch g.x/v2 - things - -"],
    [
      "GET",
      "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Aadmin",
      "get rbac.authorization.k8s.io/v1 - clusterroles system:admin -",
    ],
    ["GET", "/apis/g.x/v2", undefined],
    ["GET", "/api/v1/a/b/c/d/e/f", undefined],
    ["GET", "/api/v1/%zz", undefined],
    ["OPTIONS", "/api/v1/nodes", undefined],
  ])("%s %s", (method, url, expected) => {
    expect(parse(method, url)).toBe(expected);
  });
  test("a list narrowed to one name is asked about by that name", () => {
    const query = new URLSearchParams({ fieldSelector: "metadata.name=n1,spec.x=1", watch: "1" });
    const r = parseResourcePath("GET", "/api/v1/nodes", query)!;
    expect(actionOf(r, query)).toMatchObject({ verb: "watch", name: "n1" });
  });
});
