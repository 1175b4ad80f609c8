// apiserver/ssa: sets of fields, who owns them after each kind of write, and that applying twice changes nothing.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { clone, equal, type Json, type JsonObject } from "../../../src/apiserver/json.ts";
import { ApiError } from "../../../src/apiserver/messages.ts";
import type { ApiObject } from "../../../src/apiserver/object.ts";
import { parseSchema } from "../../../src/apiserver/schema/schema.ts";
import {
  difference,
  type FieldSet,
  fromFieldsV1,
  intersection,
  isEmpty,
  pathTexts,
  recursiveDifference,
  setsEqual,
  toFieldsV1,
  union,
} from "../../../src/apiserver/ssa/fieldset.ts";
import { apply, doors, updateManagers, type Writer } from "../../../src/apiserver/ssa/managers.ts";
import { compare, fieldsOf, merge, removeFields } from "../../../src/apiserver/ssa/typed.ts";

const schema = parseSchema({
  type: "object",
  properties: {
    apiVersion: { type: "string" },
    kind: { type: "string" },
    metadata: {
      type: "object",
      properties: {
        name: { type: "string" },
        labels: { type: "object", additionalProperties: { type: "string" } },
      },
    },
    spec: {
      type: "object",
      properties: {
        a: { type: "integer" },
        b: { type: "string" },
        tags: { type: "array", "x-kubernetes-list-type": "set", items: { type: "string" } },
        ports: {
          type: "array",
          "x-kubernetes-list-type": "map",
          "x-kubernetes-list-map-keys": ["port", "proto"],
          items: {
            type: "object",
            properties: {
              port: { type: "integer" },
              proto: { type: "string", default: "TCP" },
              name: { type: "string" },
            },
          },
        },
        order: { type: "array", items: { type: "integer" } },
        atom: { type: "object", "x-kubernetes-map-type": "atomic", properties: { x: { type: "integer" } } },
        free: { type: "object", additionalProperties: { type: "string" } },
        open: { type: "object", "x-kubernetes-preserve-unknown-fields": true },
      },
    },
    status: { type: "object", properties: { ready: { type: "boolean" } } },
  },
});

const object = (spec: JsonObject, metadata: JsonObject = {}): ApiObject =>
  ({ apiVersion: "g/v1", kind: "K", metadata: { name: "x", ...metadata }, spec }) as unknown as ApiObject;
const config = (spec: JsonObject): JsonObject => ({
  apiVersion: "g/v1",
  kind: "K",
  metadata: { name: "x" },
  spec,
});
const writer = (manager: string, time = "2026-01-01T00:00:00Z", subresource = ""): Writer => ({
  manager,
  apiVersion: "g/v1",
  subresource,
  time,
});
const paths = (set: FieldSet): string[] => pathTexts(set);
const owned = (o: ApiObject): Record<string, string[]> =>
  Object.fromEntries(
    (o.metadata.managedFields ?? []).map((m) => [
      `${m.manager}/${m.operation}`,
      paths(fromFieldsV1(m.fieldsV1)),
    ]),
  );

describe("field sets", () => {
  test("what applying a value claims", () => {
    expect(
      paths(
        fieldsOf(
          config({
            a: 1,
            tags: ["x"],
            ports: [{ port: 80, name: "h" }],
            order: [1],
            atom: { x: 1 },
            free: { k: "v" },
            open: { deep: { er: 1 } },
          }),
          schema,
        ),
      ),
    ).toEqual([
      ".apiVersion",
      ".kind",
      ".metadata.name",
      ".spec.a",
      ".spec.atom",
      ".spec.order",
      ".spec.free.k",
      ".spec.open.deep",
      ".spec.open.deep.er",
      '.spec.ports[port=80,proto="TCP"]',
      '.spec.ports[port=80,proto="TCP"].name',
      '.spec.ports[port=80,proto="TCP"].port',
      '.spec.tags[="x"]',
    ]);
  });

  test("what an update changes, creation of whole parts included", () => {
    const c = compare(
      config({ a: 1, b: "x", tags: ["p", "q"], order: [1] }),
      config({ a: 2, tags: ["q", "r"], order: [2], free: {}, ports: [{ port: 1 }] }),
      schema,
    );
    expect(paths(c.added)).toEqual([
      ".spec.free",
      ".spec.ports",
      '.spec.ports[port=1,proto="TCP"]',
      '.spec.ports[port=1,proto="TCP"].port',
      '.spec.tags[="r"]',
    ]);
    expect(paths(c.modified)).toEqual([".spec.a", ".spec.order"]);
    expect(paths(c.removed)).toEqual([".spec.b", '.spec.tags[="p"]']);
  });

  test("FieldsV1 goes both ways", () => {
    const json = {
      "f:spec": { ".": {}, "f:a": {}, 'k:{"port":80}': { ".": {}, "f:name": {} }, 'v:"x"': {} },
    };
    expect(toFieldsV1(fromFieldsV1(json))).toEqual(json);
    expect(isEmpty(fromFieldsV1({ bad: {}, "f:x": 5 }))).toBe(true);
  });

  const anySet = fc
    .array(
      fc.array(fc.constantFrom("f:a", "f:b", "f:c", 'k:{"n":1}', 'v:"x"'), { minLength: 1, maxLength: 4 }),
      { maxLength: 12 },
    )
    .map((list) => {
      const json: JsonObject = {};
      for (const path of list) {
        let node = json;
        for (const element of path) node = (node[element] ??= {}) as JsonObject;
        node["."] = {};
      }
      return fromFieldsV1(json);
    });
  test("the algebra of sets holds", () => {
    fc.assert(
      fc.property(anySet, anySet, anySet, (a, b, c) => {
        const text = (s: FieldSet): string => paths(s).sort().join();
        const setOf = (s: FieldSet): Set<string> => new Set(paths(s));
        expect(new Set(paths(union(a, b)))).toEqual(setOf(a).union(setOf(b)));
        expect(new Set(paths(intersection(a, b)))).toEqual(setOf(a).intersection(setOf(b)));
        expect(new Set(paths(difference(a, b)))).toEqual(setOf(a).difference(setOf(b)));
        expect(text(union(a, union(b, c)))).toBe(text(union(union(a, b), c)));
        expect(setsEqual(fromFieldsV1(toFieldsV1(a)), a)).toBe(true);
        const gone = setOf(b);
        expect(new Set(paths(recursiveDifference(a, b)))).toEqual(
          new Set(
            paths(a).filter(
              (p) => ![...gone].some((g) => p === g || (p.startsWith(g) && /^[.[]/.test(p.slice(g.length)))),
            ),
          ),
        );
      }),
      { seed: 11, numRuns: 300 },
    );
  });
});

describe("merge", () => {
  test("keeps the order of what is applied, and what only the live list has in its place", () => {
    const list = (...ports: number[]): JsonObject => config({ ports: ports.map((port) => ({ port })) });
    const merged = (live: number[], applied: number[]): unknown =>
      (
        (merge(list(...live), list(...applied), schema) as JsonObject).spec as { ports: { port: number }[] }
      ).ports.map((p) => p.port);
    expect(merged([1, 2, 3], [2])).toEqual([1, 2, 3]);
    expect(merged([1, 2], [3, 2])).toEqual([1, 3, 2]);
    expect(merged([], [2, 1])).toEqual([2, 1]);
    expect(merged([1, 2, 3], [4])).toEqual([1, 2, 3, 4]);
    expect(merged([1, 2, 3], [3, 1])).toEqual([2, 3, 1]);
    expect(merged([1, 2, 3], [4, 2])).toEqual([1, 4, 2, 3]);
  });
  test("atomic parts are replaced, others joined", () => {
    expect(
      merge(
        config({ order: [1], atom: { x: 1 }, free: { a: "1" } }),
        config({ order: [2, 3], atom: {}, free: { b: "2" } }),
        schema,
      ),
    ).toEqual(config({ order: [2, 3], atom: {}, free: { a: "1", b: "2" } }));
  });
  test("removing takes emptied parents along and nothing else", () => {
    const set = fromFieldsV1({
      "f:spec": { "f:free": { "f:a": {} }, "f:ports": { 'k:{"port":1,"proto":"TCP"}': {} } },
    });
    expect(
      removeFields(config({ free: { a: "1" }, ports: [{ port: 1 }, { port: 2 }], b: "x" }), set, schema),
    ).toEqual(config({ ports: [{ port: 2 }], b: "x" }));
  });
});

describe("managers", () => {
  const run = (live: ApiObject | undefined, spec: JsonObject, manager: string, force = false) =>
    apply(live, config(spec), schema, doors.main, writer(manager), force);

  test("fields that a manager leaves out go, unless somebody else owns them", () => {
    const one = run(
      undefined,
      { a: 1, b: "x", tags: ["p", "q"], ports: [{ port: 1 }, { port: 2 }] },
      "m1",
    ).object;
    const two = run(one, { b: "x", tags: ["q"], ports: [{ port: 2, name: "n" }] }, "m2").object;
    const three = run(two, {}, "m1").object;
    expect(three.spec).toEqual({ b: "x", tags: ["q"], ports: [{ port: 2, name: "n" }] });
    // An empty spec claims itself and nothing below.
    expect(owned(three)).toEqual({
      "m1/Apply": [".spec"],
      "m2/Apply": [
        ".spec.b",
        '.spec.ports[port=2,proto="TCP"]',
        '.spec.ports[port=2,proto="TCP"].name',
        '.spec.ports[port=2,proto="TCP"].port',
        '.spec.tags[="q"]',
      ],
    });
  });

  test("a conflict names field and manager, and force takes the field over", () => {
    const one = run(undefined, { a: 1, b: "x" }, "m1").object;
    const conflict = ((): unknown => {
      try {
        return run(one, { a: 2, b: "y" }, "m2");
      } catch (error) {
        return error;
      }
    })();
    expect(conflict).toBeInstanceOf(ApiError);
    expect((conflict as ApiError).message).toBe(
      'Apply failed with 2 conflicts: conflicts with "m1":\n- .spec.a\n- .spec.b',
    );
    const forced = run(one, { a: 2 }, "m2", true).object;
    expect(owned(forced)).toEqual({ "m1/Apply": [".spec.b"], "m2/Apply": [".spec.a"] });
    expect(run(forced, { a: 2 }, "m3").object.spec).toEqual({ a: 2, b: "x" });
  });

  test("an update takes what it changes and loses what it removes; the status door owns no spec", () => {
    const created = object({ a: 1, free: { k: "v" } });
    const first = updateManagers(undefined, created, schema, doors.main, writer("c"));
    created.metadata.managedFields = first ?? [];
    expect(owned(created)).toEqual({ "c/Update": [".spec", ".spec.a", ".spec.free", ".spec.free.k"] });
    const next = clone(created);
    next.spec = { a: 2 };
    next.status = { ready: true };
    next.metadata.managedFields =
      updateManagers(created, next, schema, doors.main, writer("u", "2026-01-02T00:00:00Z")) ?? [];
    expect(owned(next)).toEqual({ "c/Update": [".spec"], "u/Update": [".spec.a"] });
    const status = updateManagers(
      created,
      next,
      schema,
      doors.status,
      writer("s", "2026-01-03T00:00:00Z", "status"),
    );
    expect(status?.find((m) => m.manager === "s")).toMatchObject({
      subresource: "status",
      fieldsV1: { "f:status": { ".": {}, "f:ready": {} } },
    });
  });

  test("one empty entry resets, more than ten updaters are put together", () => {
    const live = object({ a: 1 });
    const reset = object({ a: 1 }, { managedFields: [{}] });
    expect(updateManagers(live, reset, schema, doors.main, writer("x"))).toBeUndefined();
    let current = object({ free: {} });
    for (let i = 0; i < 15; i++) {
      const next = clone(current);
      (next.spec as { free: JsonObject }).free[`k${i}`] = "v";
      next.metadata.managedFields =
        updateManagers(
          current,
          next,
          schema,
          doors.main,
          writer(`m${i}`, `2026-01-01T00:00:${String(i).padStart(2, "0")}Z`),
        ) ?? [];
      current = next;
    }
    expect(current.metadata.managedFields?.map((m) => m.manager)).toHaveLength(10);
    expect(current.metadata.managedFields?.[0]?.manager).toBe("ancient-changes");
  });

  const anySpec = fc.record(
    {
      a: fc.integer({ min: 0, max: 3 }),
      b: fc.constantFrom("x", "y"),
      tags: fc.uniqueArray(fc.constantFrom("p", "q", "r"), { maxLength: 3 }),
      ports: fc
        .uniqueArray(fc.integer({ min: 1, max: 3 }), { maxLength: 3 })
        .map((l) => l.map((port) => ({ port, name: `n${port}` }))),
      order: fc.array(fc.integer({ min: 0, max: 2 }), { maxLength: 2 }),
      free: fc.dictionary(fc.constantFrom("k", "l"), fc.constantFrom("1", "2"), { maxKeys: 2 }),
    },
    { requiredKeys: [] },
  );
  test("applying again changes nothing; what was applied is there; dropping everything leaves what others own", () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.constantFrom("m1", "m2", "m3"), anySpec), { minLength: 1, maxLength: 8 }),
        (writes) => {
          let live: ApiObject | undefined;
          for (const [manager, spec] of writes) {
            const { object: next } = run(live, spec as JsonObject, manager, true);
            const again = run(next, spec as JsonObject, manager);
            // A manager that applied nothing owns nothing, so that there is no entry to compare with.
            if (Object.keys(spec).length > 0) expect(again.unchanged).toBe(true);
            expect(equal(again.object.spec, next.spec)).toBe(true);
            for (const [key, value] of Object.entries(spec)) {
              const got = (next.spec as JsonObject)[key];
              if (key === "a" || key === "b" || key === "order") expect(got).toEqual(value);
              else if (key === "tags") expect(got ?? []).toEqual(expect.arrayContaining(value as unknown[]));
            }
            live = next;
          }
          for (const manager of ["m1", "m2", "m3"]) live = run(live, {}, manager, true).object;
          // An empty list has no item to own it, so that nobody takes it away.
          expect(Object.values(live?.spec as JsonObject).flat()).toEqual([]);
        },
      ),
      { seed: 5, numRuns: 200 },
    );
  });
});

test("merge is idempotent and lists never gain duplicates", () => {
  const tags = fc.uniqueArray(fc.constantFrom("a", "b", "c", "d", "e"));
  fc.assert(
    fc.property(tags, tags, (live, applied) => {
      const once = merge(config({ tags: live }), config({ tags: applied }), schema) as {
        spec: { tags: string[] };
      };
      expect(new Set(once.spec.tags)).toEqual(new Set([...live, ...applied]));
      expect(once.spec.tags).toHaveLength(new Set([...live, ...applied]).size);
      expect(once.spec.tags.filter((t) => (applied as string[]).includes(t))).toEqual(applied);
      expect(merge(once as unknown as Json, config({ tags: applied }), schema)).toEqual(once);
    }),
    { seed: 2, numRuns: 300 },
  );
});
