// test, script: fn: parameters, results, return from inside of loops, recursion on literals.
import { describe, expect, test } from "vitest";
import { compile } from "../../../src/script/index.ts";
import { options } from "./fixture.ts";
import { start } from "./run.ts";

const prints = (source: string): string => start(source).output();
const errors = (source: string): string =>
  compile(source, options())
    .diagnostics.filter((d) => d.severity === "error")
    .map((d) => d.message)
    .join("\n");

describe("fn", () => {
  test("gives what its return says", () => {
    expect(
      prints(
        "fn add($a: int64, $b: int64): int64 { return $a + $b; } BEGIN { print(add(5, 11)); $x = 2; print(add($x, add(1, $x))); }",
      ),
    ).toBe("16\n5\n");
    expect(
      prints(
        'fn f1(): void { printf("1"); f2(); } fn f2(): void { printf("2"); f3(); } fn f3(): void { printf("3"); } BEGIN { f1(); }',
      ),
    ).toBe("123");
  });

  test("converts to its types, and has maps in common with everything", () => {
    expect(
      prints(
        'fn low($x: uint8): int64 { @calls++; return $x; } fn name($s: string[4]): string[16] { if ($s == "a") { return "one"; } return comm; } BEGIN { $n = 258; print(low($n)); print(name("a")); print(name("b")); print((@calls, 0)); }',
      ),
    ).toBe("2\none\ntest\n(1, 0)\n");
  });

  test("return leaves it from inside of loops, and nothing else", () => {
    const f =
      "fn first($m: int64): int64 { for ($i : 0..10) { for ($j : 0..3) { if ($m == 100) { return 77; } } if ($i * $i > $m) { return $i; } } return -1; }";
    expect(
      prints(`${f} BEGIN { $a = 20; $b = 100; $c = 500; print((first($a), first($b), first($c))); }`),
    ).toBe("(5, 77, -1)\n");
    expect(
      prints(`${f} BEGIN { $k = 20; while ($k > 0) { $k--; if (first($k) == 3) { break; } } print($k); }`),
    ).toBe("8\n");
  });

  test("recursion on literals ends while it is compiled", () => {
    const fact = "fn fact($x: int64): int64 { if ($x == 0) { return 1; } return $x * fact($x - 1); }";
    expect(prints(`${fact} BEGIN { print(fact(5)); }`)).toBe("120\n");
    expect(errors(`${fact} BEGIN { $n = 5; print(fact($n)); }`)).toContain("the call stack is too deep");
    expect(errors(`${fact} BEGIN { print(fact(50)); }`)).toContain("the call stack is too deep");
  });

  test("calls that double with each function are too many at some point", () => {
    const functions = Array.from(
      { length: 7 },
      (_, n) => `fn f${n + 1}($x: int64): int64 { return ${Array(8).fill(`f${n}($x)`).join(" + ")}; }`,
    );
    expect(
      errors(
        `fn f0($x: int64): int64 { return $x; } ${functions.join(" ")} BEGIN { $a = 1; print(f6($a)); }`,
      ),
    ).toContain("more than 400");
  });

  test("a parameter may be written to", () => {
    expect(
      prints(
        "fn up($x: int64): int64 { $x += 1; $x++; return $x; } BEGIN { $a = 1; print(up(5)); print(up($a)); print($a); }",
      ),
    ).toBe("7\n3\n1\n");
  });

  test.each([
    ["fn f($i: int64): void { return 1; } BEGIN { f(1); }", "is of type void"],
    ["fn f(): int64 { return; } BEGIN { f(); }", "return needs a value"],
    ["fn f($i: int64): void { } BEGIN { f(comm); }", "Type mismatch for $i"],
    ["fn f($i: int64): void { } BEGIN { f(); }", "f() requires 1 argument (0 provided)"],
    ["fn f(): void { } fn f(): void { } BEGIN { f(); }", "Redefinition of function 'f'"],
    ["fn f(): int64 { return nobody; } BEGIN { }", "Unknown identifier: 'nobody'"],
    ["fn f(): int64 { return $x; } BEGIN { $x = 1; f(); }", "Undefined or undeclared variable: $x"],
    ["fn f(): void { break; } BEGIN { while (1) { f(); } }", "inside a loop"],
    ["fn f(): void { } BEGIN { print(f()); }", "returns no value"],
  ])("%s", (source, message) => {
    expect(errors(source)).toContain(message);
  });
});
