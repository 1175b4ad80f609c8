// apiserver/schema: what is pruned, defaulted, refused, and in which words.
import { describe, expect, test } from "vitest";
import type { Json, JsonObject } from "../../../src/apiserver/json.ts";
import { fieldErrorText } from "../../../src/apiserver/messages.ts";
import { structuralErrors } from "../../../src/apiserver/registry/structural.ts";
import { validateRules } from "../../../src/apiserver/schema/cel.ts";
import { parseQuantity } from "../../../src/apiserver/schema/cel-library.ts";
import { checkRules } from "../../../src/apiserver/schema/cel-types.ts";
import { escapeName } from "../../../src/apiserver/schema/cel-values.ts";
import { applyDefaults, missesDefaults, prune } from "../../../src/apiserver/schema/prune.ts";
import { parseSchema } from "../../../src/apiserver/schema/schema.ts";
import { validateSchema } from "../../../src/apiserver/schema/validate.ts";

const of = (properties: JsonObject, more: JsonObject = {}) =>
  parseSchema({ type: "object", properties, ...more });
const errors = (value: Json, schema: ReturnType<typeof of>, old?: Json): string[] =>
  validateSchema(value, schema, old).map(fieldErrorText);

describe("validateSchema", () => {
  const schema = of({
    text: { type: "string", minLength: 2, maxLength: 3, pattern: "^[a-z]*$" },
    number: { type: "number", minimum: 1, maximum: 5, exclusiveMaximum: true, multipleOf: 0.5 },
    whole: { type: "integer", format: "int32" },
    flag: { type: "boolean" },
    either: { "x-kubernetes-int-or-string": true },
    list: { type: "array", minItems: 1, maxItems: 2, items: { type: "string", enum: ["a", "b"] } },
    set: { type: "array", "x-kubernetes-list-type": "set", items: { type: "integer" } },
    map: {
      type: "array",
      "x-kubernetes-list-type": "map",
      "x-kubernetes-list-map-keys": ["port", "proto"],
      items: {
        type: "object",
        required: ["port"],
        properties: { port: { type: "integer" }, proto: { type: "string", default: "TCP" } },
      },
    },
    free: { type: "object", maxProperties: 1, additionalProperties: { type: "string", maxLength: 1 } },
    cidr: { type: "string", format: "cidr" },
    maybe: { type: "string", nullable: true },
    one: {
      type: "object",
      oneOf: [{ required: ["a"] }, { required: ["b"] }],
      properties: { a: { type: "string" }, b: { type: "string" } },
    },
  });
  test.each<[Json, string[]]>([
    [{ text: "ab", number: 4.5, whole: 3, flag: true, either: "50%", list: ["a"], maybe: null }, []],
    [{ text: "a" }, ['text: Invalid value: "a": text in body should be at least 2 chars long']],
    [{ text: "abcd" }, ["text: Too long: may not be more than 3 bytes"]],
    [{ text: "A1" }, ["text: Invalid value: \"A1\": text in body should match '^[a-z]*$'"]],
    [{ text: 5 }, ['text: Invalid value: "integer": text in body must be of type string: "integer"']],
    [{ text: null }, ['text: Invalid value: "null": text in body must be of type string: "null"']],
    [{ number: 5 }, ["number: Invalid value: 5: number in body should be less than 5"]],
    [{ number: 0.5 }, ["number: Invalid value: 0.5: number in body should be greater than or equal to 1"]],
    [{ number: 1.25 }, ["number: Invalid value: 1.25: number in body should be a multiple of 0.5"]],
    [{ whole: 1.5 }, ['whole: Invalid value: "number": whole in body must be of type integer: "number"']],
    [
      { either: true },
      ['either: Invalid value: "boolean": either in body must be of type integer,string: "boolean"'],
    ],
    [{ list: [] }, ["list: Invalid value: 0: list in body should have at least 1 items"]],
    [{ list: ["a", "b", "a"] }, ["list: Too many: 3: must have at most 2 items"]],
    [{ list: ["c"] }, ['list[0]: Unsupported value: "c": supported values: "a", "b"']],
    [{ set: [1, 2, 1] }, ["set[2]: Duplicate value: 1"]],
    [
      { map: [{ port: 1 }, { port: 1, proto: "TCP" }] },
      ['map[1]: Duplicate value: {"port":1,"proto":"TCP"}'],
    ],
    [{ map: [{}] }, ["map[0].port: Required value"]],
    [{ free: { a: "xx" } }, ["free.a: Too long: may not be more than 1 bytes"]],
    [{ free: { a: "x", b: "y" } }, ["free: Too many: 2: must have at most 1 item"]],
    [
      { cidr: "10.0.0.0/33" },
      ['cidr: Invalid value: "10.0.0.0/33": cidr in body must be of type cidr: "10.0.0.0/33"'],
    ],
    [
      { one: {} },
      ["one: Invalid value: {}: one in body must validate one and only one schema (oneOf). Found none valid"],
    ],
    [
      { one: { a: "1", b: "2" } },
      [
        'one: Invalid value: {"a":"1","b":"2"}: one in body must validate one and only one schema (oneOf). Found 2 valid alternatives',
      ],
    ],
  ])("%j", (value, expected) => {
    expect(errors(value, schema)).toEqual(expected);
  });

  test("what has not changed is not complained about again, in map lists item by item", () => {
    expect(errors({ text: "a", whole: 1 }, schema, { text: "a" })).toEqual([]);
    const old = { map: [{ port: 1, proto: 5 }] };
    expect(errors({ map: [{ port: 2 }, { port: 1, proto: 5 }] }, schema, old)).toEqual([]);
    expect(errors({ map: [{ port: 1, proto: 6 }] }, schema, old)).toHaveLength(1);
  });

  test("the number of complaints is bounded", () => {
    expect(
      validateSchema({ list: Array.from({ length: 5000 }, () => "z") }, schema).length,
    ).toBeLessThanOrEqual(101);
  });
});

describe("prune and defaults", () => {
  const schema = of({
    known: { type: "object", properties: { a: { type: "integer", default: 1 } }, default: {} },
    open: {
      type: "object",
      "x-kubernetes-preserve-unknown-fields": true,
      properties: { inner: { type: "object", properties: { b: { type: "string" } } } },
    },
    list: {
      type: "array",
      items: { type: "object", properties: { n: { type: "string" }, d: { type: "string", default: "x" } } },
    },
    embedded: { type: "object", "x-kubernetes-embedded-resource": true, properties: {} },
    nullable: { type: "string", nullable: true, default: "d" },
    plain: { type: "string" },
  });
  test("unknown fields go and are named; metadata stays; what is open stays", () => {
    const value: JsonObject = {
      apiVersion: "v1",
      kind: "K",
      metadata: { name: "x" },
      nope: 1,
      known: { a: 2, b: 3 },
      open: { any: 1, inner: { b: "1", c: 2 } },
      list: [{ n: "1" }, { m: 2 }],
      embedded: { apiVersion: "v1", kind: "P", metadata: {}, spec: {} },
    };
    expect(prune(value, schema)).toEqual(["nope", "known.b", "open.inner.c", "list[1].m", "embedded.spec"]);
    expect(value.open).toEqual({ any: 1, inner: { b: "1" } });
  });
  test("defaults fill in, also below defaults and in lists; nulls that are not allowed count as not set", () => {
    const value: JsonObject = { list: [{}], nullable: null, plain: null };
    expect(missesDefaults(value, schema)).toBe(true);
    applyDefaults(value, schema);
    expect(value).toEqual({ known: { a: 1 }, list: [{ d: "x" }], nullable: null });
    expect(missesDefaults(value, schema)).toBe(false);
  });
});

describe("rules", () => {
  const withRules = (properties: JsonObject, ...rules: JsonObject[]) =>
    of({ spec: { type: "object", properties, "x-kubernetes-validations": rules } });
  const texts = (value: Json, schema: ReturnType<typeof of>, old?: Json): string[] =>
    validateRules(value, schema, old).errors.map(fieldErrorText);
  const integer = { type: "integer" };

  test("message, messageExpression, fieldPath and reason", () => {
    const schema = withRules(
      { a: integer, b: integer },
      { rule: "self.a <= self.b", message: "a above b", fieldPath: ".a" },
      { rule: "self.a != 7", messageExpression: "'a is ' + string(self.a)", reason: "FieldValueForbidden" },
      { rule: "self.b != 0" },
    );
    expect(texts({ spec: { a: 1, b: 2 } }, schema)).toEqual([]);
    expect(texts({ spec: { a: 7, b: 0 } }, schema)).toEqual([
      'spec.a: Invalid value: "object": a above b',
      "spec: Forbidden: a is 7",
      'spec: Invalid value: "object": failed rule: self.b != 0',
    ]);
    expect(texts({ spec: { b: 1 } }, schema)).toEqual([
      'spec: Invalid value: "object": No such key: a evaluating rule: a above b',
      'spec: Invalid value: "object": No such key: a evaluating rule: self.a != 7',
    ]);
  });

  test("transition rules run only where there is an old value, and are never ratcheted", () => {
    const schema = of({
      spec: {
        type: "object",
        properties: {
          color: {
            type: "string",
            "x-kubernetes-validations": [{ rule: "self == oldSelf", message: "is immutable" }],
          },
          parts: {
            type: "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
            items: {
              type: "object",
              properties: { name: { type: "string" }, n: integer },
              "x-kubernetes-validations": [{ rule: "self.n >= oldSelf.n", message: "n shrinks" }],
            },
          },
        },
      },
    });
    expect(texts({ spec: { color: "red" } }, schema)).toEqual([]);
    expect(texts({ spec: { color: "blue" } }, schema, { spec: { color: "red" } })).toEqual([
      'spec.color: Invalid value: "string": is immutable',
    ]);
    expect(texts({ spec: { color: "blue" } }, schema, { spec: {} })).toEqual([]);
    const old = {
      spec: {
        parts: [
          { name: "a", n: 5 },
          { name: "b", n: 1 },
        ],
      },
    };
    expect(
      texts(
        {
          spec: {
            parts: [
              { name: "b", n: 2 },
              { name: "a", n: 4 },
              { name: "c", n: 0 },
            ],
          },
        },
        schema,
        old,
      ),
    ).toEqual(['spec.parts[1]: Invalid value: "object": n shrinks']);
  });

  test("optionalOldSelf", () => {
    const schema = withRules(
      { a: integer },
      { rule: "!oldSelf.hasValue() || self.a >= oldSelf.value().a", optionalOldSelf: true, message: "no" },
    );
    expect(texts({ spec: { a: 1 } }, schema)).toEqual([]);
    expect(texts({ spec: { a: 1 } }, schema, { spec: { a: 2 } })).toEqual([
      'spec: Invalid value: "object": no',
    ]);
  });

  test("a rule that an unchanged part breaks is a warning", () => {
    const schema = withRules({ a: integer, b: integer }, { rule: "self.a < 5", message: "too big" });
    const result = validateRules({ spec: { a: 9 }, other: 1 }, schema, { spec: { a: 9 } });
    expect(result.errors).toEqual([]);
    expect(result.warnings).toEqual(['spec: Invalid value: "object": too big']);
    expect(texts({ spec: { a: 9, b: 1 } }, schema, { spec: { a: 9 } })).toHaveLength(1);
  });

  test.each<[string, Json, boolean]>([
    ["isIP(self)", "10.0.0.1", true],
    ["isIP(self)", "::ffff:10.0.0.1", false],
    ["isIP(self)", "010.0.0.1", false],
    ["isCIDR(self) && cidr(self) == cidr(self).masked()", "10.1.0.0/16", true],
    ["isCIDR(self) && cidr(self) == cidr(self).masked()", "10.1.0.1/16", false],
    ["isCIDR(self)", "10.1.0.0/33", false],
    ["cidr('fd00::/8').containsIP(self)", "fd12::1", true],
    ["cidr('10.0.0.0/8').containsCIDR(self)", "10.2.0.0/16", true],
    ["cidr('10.0.0.0/16').containsCIDR(self)", "10.0.0.0/8", false],
    ["ip(self).family() == 6 && !ip(self).isLoopback()", "fd00::1", true],
    ["ip(self).isLinkLocalUnicast()", "fe80::1", true],
    ["self.matches('^[a-z]+$') && self.lowerAscii() == self", "abc", true],
    ["self.split('.').size() == 2 && self.replace('.', '-') == 'a-b'", "a.b", true],
    ["self.find('[0-9]+') == '42' && self.findAll('[a-z]') == ['x', 'y']", "x42y", true],
    ["'%s-%d'.format([self, 5]) == 'a-5'", "a", true],
    ["url(self).getHostname() == 'x.y'", "https://x.y:1/z", true],
    ["quantity(self).isGreaterThan(quantity('1M'))", "1Gi", true],
  ])("%s for %j is %j", (rule, value, expected) => {
    const schema = of({ v: { type: "string", "x-kubernetes-validations": [{ rule }] } });
    expect(texts({ v: value }, schema)).toHaveLength(expected ? 0 : 1);
  });

  test("names that CEL cannot write are escaped", () => {
    expect(["a-b", "x.y/z", "in", "a__b", "plain"].map(escapeName)).toEqual([
      "a__dash__b",
      "x__dot__y__slash__z",
      "__in__",
      "a__underscores__b",
      "plain",
    ]);
    const schema = withRules(
      { "a-b": integer, namespace: integer },
      { rule: "self.a__dash__b == 1 && self.__namespace__ == 2" },
    );
    expect(texts({ spec: { "a-b": 1, namespace: 2 } }, schema)).toEqual([]);
  });

  test("wrong rules are found with their schema", () => {
    const problems = (rule: JsonObject): string[] =>
      checkRules(
        parseSchema({
          type: "object",
          properties: {
            a: integer,
            l: { type: "array", items: { type: "object", properties: { x: { type: "string" } } } },
          },
          "x-kubernetes-validations": [rule],
        }),
        false,
      )
        .flat()
        .map((p) => `${p.part}: ${p.reason}`);
    expect(problems({ rule: "self.a > 1 && self.l.all(i, i.x == 'q')" })).toEqual([]);
    expect(problems({ rule: "self.b > 1" })).toEqual([
      "rule: compilation failed: ERROR: <input>:1:6: undefined field 'b'",
    ]);
    expect(problems({ rule: "self.a == 'x'" })).toEqual([
      "rule: compilation failed: ERROR: <input>:1:1: no such overload: int == string",
    ]);
    expect(problems({ rule: "self.a" })).toEqual(["rule: cel expression must evaluate to a bool"]);
    expect(problems({ rule: "true", messageExpression: "self.a" })).toEqual([
      "messageExpression: messageExpression must evaluate to a string",
    ]);
    expect(problems({ rule: "self.l.all(i, i.y == 'q')" })[0]).toMatch(/undefined field 'y'/);
    expect(problems({ rule: "self.a >" })[0]).toMatch(/^rule: compilation failed: ERROR: <input>:1:\d+: /);
    expect(problems({ rule: "nosuch(self)" })[0]).toMatch(/nosuch/);
  });
});

describe("structuralErrors", () => {
  const root = (spec: JsonObject): string[] =>
    structuralErrors({ type: "object", properties: { spec } }, "schema").map(fieldErrorText);
  test.each<[JsonObject, RegExp]>([
    [
      { description: "no type" },
      /^schema\.properties\[spec\]\.type: Required value: must not be empty for specified object fields$/,
    ],
    [{ type: "strin" }, /Unsupported value: "strin"/],
    [{ type: "array" }, /\.items: Required value: must be specified/],
    [{ type: "string", pattern: "(" }, /\.pattern: Invalid value: "\("/],
    [{ type: "integer", default: "x" }, /\.default: Invalid value: "string":/],
    [{ type: "string", $ref: "#/x" }, /\.\$ref: Forbidden/],
    [{ type: "object", properties: {}, additionalProperties: { type: "string" } }, /mutual exclusive/],
    [
      { type: "string", "x-kubernetes-list-type": "set" },
      /must be array if x-kubernetes-list-type is specified/,
    ],
    [
      { type: "array", "x-kubernetes-list-type": "map", items: { type: "object" } },
      /x-kubernetes-list-map-keys: Required value/,
    ],
    [
      {
        type: "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["a"],
        items: { type: "object", properties: { a: { type: "string" } } },
      },
      /must have a default or be a required property/,
    ],
    [
      {
        type: "object",
        properties: { a: { type: "string" } },
        "x-kubernetes-validations": [{ rule: "true", fieldPath: ".b" }],
      },
      /fieldPath must be a valid path/,
    ],
    [
      { type: "object", "x-kubernetes-validations": [{ rule: "true", reason: "Nope" }] },
      /\.reason: Unsupported value: "Nope"/,
    ],
  ])("%j", (spec, expected) => {
    const found = root(spec);
    expect(
      found.some((e) => expected.test(e)),
      found.join("\n"),
    ).toBe(true);
  });
  test("a good schema has none", () => {
    expect(
      root({
        type: "object",
        properties: {
          a: { "x-kubernetes-int-or-string": true },
          b: { type: "object", "x-kubernetes-preserve-unknown-fields": true },
        },
      }),
    ).toEqual([]);
  });
});

test("quantities", () => {
  expect(["1", "1.5Gi", "100m", "2k", "-3", "1e3", "5E", "x", "1Kb"].map(parseQuantity)).toEqual([
    1,
    1.5 * 2 ** 30,
    0.1,
    2000,
    -3,
    1000,
    5e18,
    undefined,
    undefined,
  ]);
});
