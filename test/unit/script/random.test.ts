// test, script: random programs. Well-typed ones compile and do the same with and without the optimiser; broken ones get a message, always.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decodeRecord } from "../../../src/results/index.ts";
import { compile } from "../../../src/script/compile.ts";
import { renderDiagnostics } from "../../../src/script/index.ts";
import { Vm } from "../../support/bpf-vm.ts";
import { generate, type Pick, picker } from "../../support/script-generator.ts";
import { options } from "./fixture.ts";
import { PROGRAMS } from "./programs.ts";
import { resolvers } from "./run.ts";

const seeds = fc.integer({ min: 1, max: 1 << 30 });
const OWNERSHIPS = [
  undefined,
  { node: 1, unownedIsNode: false, countsUnattributed: true },
  { node: 0, unownedIsNode: true, countsUnattributed: false },
];

/** A context of random bytes, so that branches go both ways. */
function context(pick: Pick): Uint8Array {
  return Uint8Array.from({ length: 1024 }, () => (pick(3) === 0 ? pick(256) : 0));
}

/** What a compiled script leaves behind after each of its programs has run a few times. */
function behaviour(source: string, seed: number, optimise: boolean): string {
  const ownership = OWNERSHIPS[seed % 3];
  const { script, diagnostics } = compile(source, options(ownership ? { ownership } : {}), { optimise });
  if (!script) throw new Error(renderDiagnostics(source, "stdin", diagnostics));
  const pick = picker(seed);
  const owner = (key: bigint): readonly [Uint8Array, Uint8Array] => [
    new Uint8Array(BigUint64Array.of(key).buffer),
    new Uint8Array(Uint32Array.of(1, 2, 3).buffer),
  ];
  const vm = new Vm(script, { comm: "ab", external: { owner_cgroup: [owner(7n)] } });
  const time = (): void => {
    vm.now = 5_000_000n;
  };
  for (let round = 0; round < 3; round++)
    for (let i = 0; i < script.programs.length; i++) {
      time();
      vm.cpu = pick(2);
      vm.run(i, context(pick));
    }
  const lines = vm.ring.map((bytes) => {
    const r = decodeRecord(script.output, bytes, resolvers);
    return r.kind === "line" ? r.text : r.kind;
  });
  const maps = script.output.maps.map((m) => [
    m.name,
    vm
      .read(m.map)
      .map((e) => [...e.key, "=", ...e.values.flatMap((v) => [...v])].join(" "))
      .sort(),
  ]);
  return JSON.stringify([lines, maps]);
}

describe("well-typed programs", () => {
  test("compile, read no memory that they did not write, and mean the same with and without the optimiser", () => {
    fc.assert(
      fc.property(seeds, (seed) => {
        const { source } = generate(picker(seed), 3);
        // nsecs and elapsed differ by how many helpers were called: taken out.
        const fixed = source.replaceAll(/\b(nsecs|elapsed)\b/g, "cgroup");
        expect(behaviour(fixed, seed, true)).toBe(behaviour(fixed, seed, false));
      }),
      { seed: 11, numRuns: 120 },
    );
  });
});

describe("integer expressions", () => {
  /** An expression over $a and $b and its value by a model of the language: 64 bits, signed, C's operators. */
  function expression(pick: Pick, a: bigint, b: bigint, depth: number): readonly [string, bigint] {
    const wrap = (n: bigint): bigint => BigInt.asIntN(64, n);
    if (depth === 0) {
      const n = BigInt(pick(2000)) - 1000n;
      return (
        (
          [
            ["$a", a],
            ["$b", b],
            [n < 0n ? `(${n})` : `${n}`, n],
          ] as const
        )[pick(3)] ?? ["$a", a]
      );
    }
    const [x, vx] = expression(pick, a, b, depth - 1);
    const [y, vy] = expression(pick, a, b, depth - 1);
    switch (pick(12)) {
      case 0:
        return [`(${x} + ${y})`, wrap(vx + vy)];
      case 1:
        return [`(${x} - ${y})`, wrap(vx - vy)];
      case 2:
        return [`(${x} * ${y})`, wrap(vx * vy)];
      case 3:
        return [`(${x} / (${y} | 1))`, wrap(vx / (vy | 1n))];
      case 4:
        return [`(${x} % (${y} | 1))`, wrap(vx % (vy | 1n))];
      case 5:
        return [`(${x} & ${y})`, wrap(vx & vy)];
      case 6:
        return [`(${x} ^ ${y})`, wrap(vx ^ vy)];
      case 7:
        return [`(${x} | ${y})`, wrap(vx | vy)];
      case 8:
        return [`(${x} < ${y} ? ${x} : ${y} + 1)`, vx < vy ? vx : wrap(vy + 1n)];
      case 9:
        return [`((int32)${x})`, BigInt.asIntN(32, vx)];
      case 10:
        return [`(-${x})`, wrap(-vx)];
      default:
        return [`(~${x})`, wrap(~vx)];
    }
  }
  test("have the value of the model", () => {
    fc.assert(
      fc.property(
        seeds,
        fc.bigInt({ min: -(2n ** 40n), max: 2n ** 40n }),
        fc.bigInt({ min: -500n, max: 500n }),
        (seed, a, b) => {
          const pick = picker(seed);
          const [text, value] = expression(pick, a, b, 4);
          const source = `BEGIN { $a = (int64)tid - 101 + (${a}); $b = (int64)tid - 101 + (${b}); printf("%lld", ${text}); }`;
          const { script, diagnostics } = compile(source, options());
          if (!script) throw new Error(renderDiagnostics(source, "stdin", diagnostics));
          const vm = new Vm(script);
          vm.run(0);
          const record = decodeRecord(script.output, vm.ring[0] ?? new Uint8Array(), resolvers);
          expect(record.kind === "line" ? record.text : "", source).toBe(String(value));
        },
      ),
      { seed: 12, numRuns: 400 },
    );
  });
});

describe("broken programs", () => {
  const BITS = [
    ...'{}()[]"/;,.$@?:&*~#_\\\n\0é',
    "/*",
    "*/",
    "//",
    "#if X\n",
    "$1",
    "..",
    "->",
    "=",
    "==",
    "%s",
    "0x",
    "1e9",
    "9999999999999999999",
    "struct",
    "if",
    "else",
    "for",
    "while",
    "unroll(3)",
    "let",
    "macro",
    "config = {",
    "count()",
    "hist(",
    "args",
    "kstack",
    "(uint8)",
    "return",
    "sizeof(",
    "typeof(",
    "import",
    "fn",
    '"%d %s"',
  ];

  function mutate(pick: Pick, source: string): string {
    let s = source;
    for (let k = 1 + pick(6); k > 0; k--) {
      const at = pick(s.length + 1);
      const bit = BITS[pick(BITS.length)] ?? "";
      switch (pick(5)) {
        case 0:
          s = s.slice(0, at) + bit + s.slice(at);
          break;
        case 1:
          s = s.slice(0, at) + s.slice(at + 1 + pick(8));
          break;
        case 2: {
          const from = pick(s.length + 1);
          s = s.slice(0, at) + s.slice(from, from + pick(40)) + s.slice(at);
          break;
        }
        case 3:
          s = s.slice(0, at) + String.fromCharCode(pick(128)) + s.slice(at + 1);
          break;
        default:
          s = s.slice(0, at) + bit.repeat(1 + pick(60)) + s.slice(at);
      }
    }
    return s;
  }

  /** A share by default; 200,000 take a quarter of an hour. */
  const mutations = Number(process.env["WAGGLE_MUTATIONS"] ?? 800);

  test("never crash or hang the compiler; an error has its place", {
    timeout: 30_000 + mutations * 60,
  }, () => {
    fc.assert(
      fc.property(seeds, (seed) => {
        const pick = picker(seed);
        const base = pick(3) === 0 ? (PROGRAMS[pick(PROGRAMS.length)] ?? "") : generate(pick, 2).source;
        const source = mutate(pick, base);
        const before = performance.now();
        const { script, diagnostics } = compile(source, options(pick(3) === 0 ? { compat: "0.17" } : {}));
        expect(performance.now() - before, source).toBeLessThan(5000);
        if (script) return;
        const errors = diagnostics.filter((d) => d.severity === "error");
        expect(errors.length, source).toBeGreaterThan(0);
        for (const d of errors) {
          expect(d.code, source).not.toBe("internal");
          expect(d.span.line).toBeGreaterThan(0);
          expect(d.span.start).toBeLessThanOrEqual(source.length + 1);
        }
      }),
      { seed: 13, numRuns: mutations },
    );
  });
});
