// apiserver/patch and body readers: each patch type, duplicate keys, protobuf.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Json, JsonObject } from "../../../src/apiserver/json.ts";
import { ApiError } from "../../../src/apiserver/messages.ts";
import { jsonPatch, mergePatch } from "../../../src/apiserver/patch/patch.ts";
import { strategicPatch } from "../../../src/apiserver/patch/strategic.ts";
import { decodeProtobuf } from "../../../src/apiserver/rest/protobuf.ts";
import { duplicateKeys } from "../../../src/apiserver/rest/strict-json.ts";
import { builtinType } from "../../../src/apiserver/types/index.ts";

describe("merge patch (RFC 7396, appendix A)", () => {
  test.each<[Json, Json, Json]>([
    [{ a: "b" }, { a: "c" }, { a: "c" }],
    [{ a: "b" }, { b: "c" }, { a: "b", b: "c" }],
    [{ a: "b" }, { a: null }, {}],
    [{ a: "b", b: "c" }, { a: null }, { b: "c" }],
    [{ a: ["b"] }, { a: "c" }, { a: "c" }],
    [{ a: "c" }, { a: ["b"] }, { a: ["b"] }],
    [{ a: { b: "c" } }, { a: { b: "d", c: null } }, { a: { b: "d" } }],
    [{ a: [{ b: "c" }] }, { a: [1] }, { a: [1] }],
    [
      ["a", "b"],
      ["c", "d"],
      ["c", "d"],
    ],
    [{ a: "b" }, ["c"], ["c"]],
    [{ a: "foo" }, null, null],
    [{ e: null }, { a: 1 }, { e: null, a: 1 }],
    [[1, 2], { a: "b", c: null }, { a: "b" }],
    [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
  ])("%j with %j", (target, patch, expected) => {
    const before = JSON.stringify(target);
    expect(mergePatch(target, patch)).toEqual(expected);
    expect(JSON.stringify(target)).toBe(before);
  });
  test("a key that would set the prototype is a key", () => {
    const patched = mergePatch({}, JSON.parse('{"__proto__":{"polluted":true}}') as Json);
    expect(JSON.stringify(patched)).toBe('{"__proto__":{"polluted":true}}');
    expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
  });
});

describe("JSON patch", () => {
  test("applies to a copy", () => {
    const target = { spec: { a: 1, list: [1, 2] } };
    expect(
      jsonPatch(target, [
        { op: "test", path: "/spec/a", value: 1 },
        { op: "remove", path: "/spec/list/0" },
        { op: "add", path: "/spec/list/-", value: 3 },
      ]),
    ).toEqual({
      spec: { a: 1, list: [2, 3] },
    });
    expect(target).toEqual({ spec: { a: 1, list: [1, 2] } });
  });
  test.each<[Json, number]>([
    [[{ op: "test", path: "/a", value: 2 }], 422],
    [[{ op: "remove", path: "/none" }], 422],
    [[{ op: "frobnicate", path: "/a" }], 422],
    [{ a: 1 }, 400],
    [Array.from({ length: 10_001 }, () => ({ op: "test", path: "/a", value: 1 })), 413],
  ])("refuses %#", (patch, code) => {
    expect(() => jsonPatch({ a: 1 }, patch)).toThrow(expect.objectContaining({ code }));
  });
});

describe("strategic merge patch", () => {
  const service = builtinType("Service").schema;
  const node = builtinType("Node").schema;
  const patch = (target: JsonObject, change: JsonObject, schema = service): Json =>
    strategicPatch(target, change, schema);
  const ports = (...list: JsonObject[]): JsonObject => ({ spec: { ports: list } });

  test("lists merge by key, keep what is not named and add what is new", () => {
    expect(
      patch(
        ports({ port: 80, name: "a" }, { port: 81 }),
        ports({ port: 80, targetPort: 8080 }, { port: 82 }),
      ),
    ).toEqual(ports({ port: 80, name: "a", targetPort: 8080 }, { port: 81 }, { port: 82 }));
  });
  test("directives: delete an item, replace a list or an object, delete an object", () => {
    expect(patch(ports({ port: 80 }, { port: 81 }), ports({ port: 80, $patch: "delete" }))).toEqual(
      ports({ port: 81 }),
    );
    expect(patch(ports({ port: 80 }), ports({ $patch: "replace" }, { port: 9 }))).toEqual(ports({ port: 9 }));
    expect(
      patch({ spec: { selector: { a: "1" } } }, { spec: { selector: { $patch: "replace", b: "2" } } }),
    ).toEqual({ spec: { selector: { b: "2" } } });
    expect(
      patch({ spec: { selector: { a: "1" }, type: "x" } }, { spec: { selector: { $patch: "delete" } } }),
    ).toEqual({ spec: { type: "x" } });
  });
  test("order, primitive deletion and retained keys, as kubectl apply sends them", () => {
    expect(
      patch(ports({ port: 1 }, { port: 2 }), {
        spec: { "$setElementOrder/ports": [{ port: 2 }, { port: 3 }, { port: 1 }], ports: [{ port: 3 }] },
      }),
    ).toEqual(ports({ port: 2 }, { port: 3 }, { port: 1 }));
    expect(
      patch(
        { metadata: { finalizers: ["a", "b"] } },
        { metadata: { "$deleteFromPrimitiveList/finalizers": ["a"], finalizers: ["c"] } },
      ),
    ).toEqual({
      metadata: { finalizers: ["b", "c"] },
    });
    expect(
      patch(
        { spec: { type: "x", clusterIP: "y", ports: [] } },
        { spec: { $retainKeys: ["type"], type: "z" } },
      ),
    ).toEqual({ spec: { type: "z" } });
  });
  test("conditions merge by type, atomic lists are replaced, nulls remove", () => {
    expect(
      patch(
        {
          status: {
            conditions: [
              { type: "Ready", status: "False" },
              { type: "Other", status: "True" },
            ],
          },
          spec: { taints: [{ key: "a", effect: "x" }] },
        },
        { status: { conditions: [{ type: "Ready", status: "True" }] }, spec: { taints: null } },
        node,
      ),
    ).toEqual({
      status: {
        conditions: [
          { type: "Ready", status: "True" },
          { type: "Other", status: "True" },
        ],
      },
      spec: {},
    });
  });
  test("a patch without the key is refused", () => {
    expect(() => patch(ports({ port: 80 }), ports({ name: "x" }))).toThrow(/merge key: port/);
    expect(() => patch({}, { $patch: "nonsense" })).toThrow(ApiError);
  });
});

describe("duplicateKeys", () => {
  test.each<[string, string[]]>([
    ['{"a":1,"b":{"a":1},"c":[{"a":1},{"a":2}]}', []],
    ['{"a":1,"a":2}', ['duplicate field "a"']],
    ['{"spec":{"list":[{"x":1},{"y":1,"y":[]}]}}', ['duplicate field "spec.list[1].y"']],
    ['{"a":"{\\"a\\":1,\\"a\\":2}","b":"a"}', []],
    ['{"a\\"b":1,"a\\"b":2}', ['duplicate field "a\\"b"']],
    ["[]", []],
    ['{"a":{},"a":{"b":1,"b":1}}', ['duplicate field "a"', 'duplicate field "a.b"']],
  ])("%s", (text, expected) => {
    expect(duplicateKeys(text)).toEqual(expected);
  });
  test("what JSON.stringify writes has none, and any key written twice is found", () => {
    fc.assert(
      fc.property(fc.object({ maxDepth: 3 }), fc.string(), (value, key) => {
        const text = JSON.stringify(value);
        expect(duplicateKeys(text)).toEqual([]);
        const k = JSON.stringify(key);
        expect(duplicateKeys(`{"outer":${text},${k}:1,${k}:2}`).length).toBeGreaterThanOrEqual(1);
      }),
      { seed: 4, numRuns: 300 },
    );
  });
});

describe("protobuf", () => {
  const varint = (n: number): number[] => (n < 128 ? [n] : [(n & 127) | 128, ...varint(n >>> 7)]);
  const bytes = (number: number, body: number[] | string): number[] => {
    const data = typeof body === "string" ? [...Buffer.from(body)] : body;
    return [...varint((number << 3) | 2), ...varint(data.length), ...data];
  };
  const number = (field: number, value: number): number[] => [...varint(field << 3), ...varint(value)];
  const unknown = (apiVersion: string, kind: string, raw: number[]): Buffer =>
    Buffer.from([
      0x6b,
      0x38,
      0x73,
      0,
      ...bytes(1, [...bytes(1, apiVersion), ...bytes(2, kind)]),
      ...bytes(2, raw),
    ]);

  test("reads a Service: nested messages, maps, repeated fields, int-or-string", () => {
    const raw = [
      ...bytes(1, [
        ...bytes(1, "web"),
        ...bytes(3, ""),
        ...bytes(11, [...bytes(1, "app"), ...bytes(2, "x")]),
      ]),
      ...bytes(2, [
        ...bytes(1, [
          ...bytes(1, "http"),
          ...number(3, 80),
          ...bytes(4, [...number(1, 0), ...number(2, 8080)]),
        ]),
        ...bytes(1, [
          ...bytes(1, "dns"),
          ...number(3, 53),
          ...bytes(4, [...number(1, 1), ...bytes(3, "named")]),
          ...number(5, 0),
        ]),
        ...number(20, 0),
      ]),
    ];
    expect(decodeProtobuf(unknown("v1", "Service", raw))).toEqual({
      apiVersion: "v1",
      kind: "Service",
      metadata: { name: "web", labels: { app: "x" } },
      spec: {
        ports: [
          { name: "http", port: 80, targetPort: 8080 },
          { name: "dns", port: 53, targetPort: "named" },
        ],
        allocateLoadBalancerNodePorts: false,
      },
    });
  });
  test("bytes become base64, times text, and the zero time nothing", () => {
    const raw = [
      ...bytes(1, [...bytes(8, [...number(1, 1_767_225_600)])]),
      ...bytes(2, [...bytes(1, "k"), ...bytes(2, "v")]),
    ];
    expect(decodeProtobuf(unknown("v1", "Secret", raw))).toMatchObject({
      metadata: { creationTimestamp: "2026-01-01T00:00:00Z" },
      data: { k: "dg==" },
    });
  });
  test("managedFields keep their set of fields, which is JSON inside", () => {
    const set = '{"f:spec":{"f:holderIdentity":{}}}';
    const raw = bytes(1, bytes(17, [...bytes(1, "go"), ...bytes(6, "FieldsV1"), ...bytes(7, bytes(1, set))]));
    expect(decodeProtobuf(unknown("coordination.k8s.io/v1", "Lease", raw))).toMatchObject({
      metadata: { managedFields: [{ manager: "go", fieldsType: "FieldsV1", fieldsV1: JSON.parse(set) }] },
    });
    expect(() =>
      decodeProtobuf(unknown("v1", "Secret", bytes(1, bytes(17, bytes(7, bytes(1, "{")))))),
    ).toThrow("holds no JSON");
  });
  test("a kind outside the tables is 415, damage is 400, nothing else ever happens", () => {
    expect(() => decodeProtobuf(unknown("apps/v1", "Deployment", []))).toThrow(
      expect.objectContaining({ code: 415 }),
    );
    const good = unknown("v1", "ConfigMap", [
      ...bytes(1, bytes(1, "x")),
      ...bytes(2, [...bytes(1, "k"), ...bytes(2, "v")]),
    ]);
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { minLength: 1, maxLength: 6 }),
        fc.nat(good.length),
        (edits, cut) => {
          const damaged = Buffer.from(good.subarray(0, Math.max(4, cut)));
          for (const [at, value] of edits) if (at >= 4 && at < damaged.length) damaged[at] = value;
          try {
            decodeProtobuf(damaged);
          } catch (error) {
            expect(error).toBeInstanceOf(ApiError);
          }
        },
      ),
      { seed: 9, numRuns: 2000 },
    );
  });
});
