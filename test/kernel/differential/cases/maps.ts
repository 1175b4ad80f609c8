// differential tests: maps of all kinds, aggregates, what is printed of them and when.
import type { Case } from "./case.ts";

const begin = (body: string): string => `BEGIN { ${body} exit(); }`;

export const maps: readonly Case[] = [
  { name: "the tracer's name", program: begin(`print(comm); @[comm] = 1; @a[comm, 1] = 2;`), json: true },
  {
    name: "scalars in name order",
    program: begin(`@z = 1; @a = 2; @ = 3; @m = "text"; @k = -4;`),
    json: true,
  },
  {
    name: "keys ascending by value",
    program: begin(`@["c"] = 3; @["a"] = 1; @["b"] = 2; @n[5] = 50; @n[1] = 7; @n[-3] = 8;`),
    json: true,
  },
  {
    name: "equal values",
    unordered: true,
    program: begin(`@[3] = 1; @s["b"] = 0;`),
    json: true,
  },
  {
    name: "several keys",
    program: begin(`@[1, "x", 3] = 1; @[1, "a", 2] = 5; @["q", 1] = 2;`.replace('@["q", 1] = 2;', "")),
    json: true,
  },
  { name: "negative values sort", program: begin(`@[1] = -5; @[2] = 3; @[3] = 0; @[4] = -1;`), json: true },
  {
    name: "keys of big numbers",
    program: begin(`@[0xffffffffffffffff] = 1; @[0x7fffffffffffffff] = 2; @[(uint64)-2] = 3;`),
    json: true,
  },
  {
    name: "values of big numbers",
    program: begin(`@ = 0xffffffffffffffff; @b = 9007199254740993; @c = 0x8000000000000000;`),
    json: true,
  },
  {
    name: "map to map",
    program: begin(`@a = 5; @b = @a + 1; @c["x"] = @b; @d = @c["x"]; @e = @c["nothing"];`),
    json: true,
  },
  {
    name: "missing keys",
    program: begin(`printf("%d [%s] %d\\n", @a[1], @s["x"], @z); @a[2] = 1; @s["y"] = "v"; @z = 0;`),
    json: true,
  },
  { name: "zero is a value", program: begin(`@a = 0; @b[1] = 0; @c["x"] = "";`), json: true },
  {
    name: "delete",
    program: begin(`@a[1] = 1; @a[2] = 2; delete(@a[1]); @s = 5; delete(@s); delete(@a[99]);`),
    json: true,
  },
  { name: "delete of all", program: begin(`@a[1] = 1; delete(@a[1]); @b = count(); clear(@b);`), json: true },
  {
    name: "clear",
    program: begin(
      `@a[1] = 1; @a[2] = 2; clear(@a); @h = hist(5); clear(@h); @c = count(); clear(@c); @k["x"] = count(); clear(@k);`,
    ),
    json: true,
  },
  {
    name: "zero",
    unordered: true,
    program: begin(
      `@a[1] = 1; @a[2] = 2; zero(@a); @h = hist(5); zero(@h); @c = count(); zero(@c); @s["q"] = sum(5); zero(@s);`,
    ),
    json: true,
  },
  {
    name: "print of scalars",
    program: begin(`@a = 1; print(@a); @a = 2; print(@a); @s = "str"; print(@s);`),
    json: true,
  },
  { name: "print of keyed maps", program: begin(`@a[1] = 10; @a[2] = 5; print(@a); clear(@a);`), json: true },
  {
    name: "print top",
    program: begin(
      `@a[1] = 10; @a[2] = 50; @a[3] = 30; @a[4] = 20; print(@a, 2); print(@a, 3, 10); print(@a, 0, 7); print(@a, 99); clear(@a);`,
    ),
    json: true,
  },
  {
    name: "print top of aggregates",
    program: begin(
      `@a["x"] = sum(100); @a["y"] = sum(55); @a["z"] = sum(7); print(@a, 2); print(@a, 2, 10); clear(@a);`,
    ),
    json: true,
  },
  {
    name: "print with division of scalars",
    program: begin(
      `@a = sum(1000); @b = count(); @c = avg(500); @d = max(90); @e = stats(77); print(@a, 0, 10); print(@b, 0, 10); print(@c, 0, 10); print(@d, 0, 10); print(@e, 0, 10);`,
    ),
    json: true,
  },
  {
    name: "print of values",
    program: begin(
      `print(1); print("text"); print(-5); print((1, "a", (2, 3))); print(0xffffffffffffffff); $x = 5; print($x); print($x + 1);`,
    ),
    json: true,
  },
  {
    name: "print of one entry",
    error: true,
    program: begin(`@a["x"] = 5; @a["y"] = 6; print(@a["x"]); clear(@a);`),
    json: true,
  },
  {
    name: "print of an empty map",
    program: begin(
      `@a[1] = 1; clear(@a); print(@a); @b = hist(1); clear(@b); print(@b); @c = count(); clear(@c); print(@c);`,
    ),
    json: true,
  },
  {
    name: "count",
    program: begin(`@ = count(); @ = count(); @k["a"] = count(); @k["b"] = count(); @k["b"] = count();`),
    json: true,
  },
  { name: "sum", program: begin(`@ = sum(5); @ = sum(-7); @k[1] = sum(3); @k[2] = sum(-3);`), json: true },
  {
    name: "min and max",
    program: begin(
      `@min = min(5); @min = min(3); @min = min(9); @max = max(5); @max = max(9); @max = max(-3);`,
    ),
    json: true,
  },
  {
    name: "min and max of negative numbers",
    program: begin(
      `@min = min(-5); @min = min(-9); @max = max(-5); @max = max(-9); @k[1] = max(-5); @j[1] = min(-2);`,
    ),
    json: true,
  },
  { name: "min and max of zero", program: begin(`@min = min(0); @min = min(5); @max = max(0);`), json: true },
  {
    name: "min of unsigned",
    program: begin(`@min = min((uint64)-1); @max = max((uint64)-1); @sum = sum((uint64)-1);`),
    json: true,
  },
  {
    name: "avg",
    program: begin(
      `@ = avg(1); @ = avg(2); @ = avg(6); @n = avg(-5); @n = avg(-6); @k["x"] = avg(10); @k["x"] = avg(21); @k["y"] = avg(3);`,
    ),
    json: true,
  },
  {
    name: "stats",
    program: begin(
      `@ = stats(1); @ = stats(2); @ = stats(9); @n = stats(-5); @n = stats(-6); @k["x"] = stats(10); @k["x"] = stats(20); @k["y"] = stats(3);`,
    ),
    json: true,
  },
  {
    name: "hist",
    program: begin(
      `@ = hist(0); @ = hist(1); @ = hist(2); @ = hist(3); @ = hist(4); @ = hist(1023); @ = hist(1024); @ = hist(1024); @ = hist(5000000);`,
    ),
    json: true,
  },
  {
    name: "hist of negative numbers",
    program: begin(`@ = hist(-1); @ = hist(-500); @ = hist(3); @n = hist(-1);`),
    json: true,
  },
  {
    name: "hist of great numbers",
    program: begin(`@ = hist(1 << 40); @ = hist(1 << 50); @ = hist(1 << 62); @u = hist((uint64)-1);`),
    json: true,
  },
  { name: "hist with one value", program: begin(`@ = hist(0); @b = hist(1); @c = hist(7);`), json: true },
  {
    name: "hist by key",
    program: begin(
      `@["a"] = hist(5); @["b"] = hist(50); @["b"] = hist(60); @["a"] = hist(5); @["c"] = hist(-2); @d[1, "x"] = hist(9);`,
    ),
    json: true,
  },
  {
    name: "hist bars",
    program: `BEGIN { $i = 0; while ($i < 100) { @ = hist($i); $i++; } exit(); }`,
    json: true,
  },
  {
    name: "hist by key, top",
    program: begin(
      `@["a"] = hist(5); @["b"] = hist(50); @["b"] = hist(60); @["c"] = hist(1); print(@, 2); print(@, 1); print(@, 0, 2); clear(@);`,
    ),
    json: true,
  },
  {
    name: "lhist",
    program: begin(
      `@ = lhist(0, 0, 100, 10); @ = lhist(5, 0, 100, 10); @ = lhist(10, 0, 100, 10); @ = lhist(99, 0, 100, 10); @ = lhist(100, 0, 100, 10); @ = lhist(1000, 0, 100, 10); @ = lhist(-1, 0, 100, 10);`,
    ),
    json: true,
  },
  {
    name: "lhist from below zero",
    error: true,
    program: begin(
      `@ = lhist(-7, -10, 10, 5); @ = lhist(-11, -10, 10, 5); @ = lhist(-5, -10, 10, 5); @ = lhist(0, -10, 10, 5); @ = lhist(10, -10, 10, 5);`,
    ),
    json: true,
  },
  {
    name: "lhist from above zero",
    program: begin(`@ = lhist(5, 100, 200, 20); @ = lhist(150, 100, 200, 20); @ = lhist(119, 100, 200, 20);`),
    json: true,
  },
  {
    name: "lhist of thousands",
    program: begin(
      `@ = lhist(1500, 0, 10000, 1000); @ = lhist(20000, 0, 10000, 1000); @b = lhist(3, 0, 5, 1);`,
    ),
    json: true,
  },
  {
    name: "lhist whose step does not fit",
    program: begin(`@ = lhist(9, 0, 10, 3); @ = lhist(0, 0, 10, 3); @ = lhist(10, 0, 10, 3);`),
    json: true,
  },
  {
    name: "lhist by key",
    program: begin(
      `@["a"] = lhist(5, 0, 20, 5); @["b"] = lhist(15, 0, 20, 5); @["a"] = lhist(25, 0, 20, 5);`,
    ),
    json: true,
  },
  {
    name: "lhist with one bucket",
    program: begin(`@ = lhist(5, 0, 10, 10); @b = lhist(15, 0, 10, 10);`),
    json: true,
  },
  {
    name: "tuples",
    program: begin(
      `@t = (1, "a", (2, 3)); @u[1] = (1, 2); $t = (7, "seven"); printf("%d %s\\n", $t.0, $t.1); $n = (1, (2, 3)); printf("%d\\n", $n.1.1);`,
    ),
    json: true,
  },
  { name: "tuples as keys", program: begin(`@[(1, 2)] = 3; @[(1, 1)] = 4; @s[("a", 1)] = 1;`), json: true },
  {
    name: "tuple of a map and back",
    program: begin(`@t = (1, "abc"); $x = @t; printf("%s\\n", $x.1); @v = @t.0;`),
  },
  {
    name: "END sees maps",
    program: `BEGIN { @a = 5; @b[1] = 2; exit(); } END { printf("end %d %d\\n", @a, @b[1]); clear(@b); @c = 9; }`,
    json: true,
  },
  { name: "END clears", program: `BEGIN { @a = 5; @h = hist(3); exit(); } END { clear(@a); clear(@h); }` },
  {
    name: "several BEGIN and END",
    error: true,
    program: `BEGIN { printf("b1\\n"); } END { printf("e1\\n"); } BEGIN { printf("b2\\n"); exit(); } END { printf("e2\\n"); }`,
  },
  {
    name: "exit stops the rest",
    error: true,
    program: `BEGIN { printf("a\\n"); exit(); printf("b\\n"); } BEGIN { printf("c\\n"); }`,
  },
  {
    name: "map as condition",
    program: begin(
      `if (@x) { printf("no\\n"); } @x = 1; if (@x) { printf("yes\\n"); } if (@k["a"] == 0) { printf("zero\\n"); } @k["a"] = 1;`,
    ),
  },
  {
    name: "string values of different lengths",
    program: begin(
      `@a = "abc"; @a = "abcdefghijkl"; @["short"] = "x"; @["a longer key"] = "a longer value";`,
    ),
    json: true,
  },
  {
    name: "count and arithmetic of maps",
    program: begin(`@a = 3; @b = 4; @c = @a * @b; @d[@a] = @b; printf("%d\\n", @d[3]);`),
  },
  {
    name: "maps in conditions",
    program: begin(`@a[1] = 5; @b = @a[1] > 3 ? "big" : "small"; printf("%s\\n", @b);`),
  },
];
