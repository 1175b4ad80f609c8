// differential tests: numbers, operators, casts, printf formats.
import type { Case } from "./case.ts";

const begin = (body: string): string => `BEGIN { ${body} exit(); }`;

export const expressions: readonly Case[] = [
  {
    name: "division by zero",
    program: begin(
      `$z = pid - pid; printf("%d %d\\n", 10 / $z, 10 % $z); @x = 5; @y = 0; printf("%d %d %d\\n", @x / @y, @x % @y, -5 / @y);`,
    ),
  },
  {
    name: "casts that widen",
    program: begin(
      `$x = (uint8)255; printf("%d %d\\n", (int64)$x, (int16)$x); $k = (int8)-1; printf("%u %d %d\\n", (uint32)$k, (int64)$k, (uint16)$k);`,
    ),
  },
  {
    name: "division and remainder",
    program: begin(
      `printf("%d %d %d %d\\n", 7/2, -7/2, 7%3, -7%3); $a = -7; $b = 2; printf("%d %d\\n", $a / $b, $a % $b);
       printf("%d %d\\n", 0xffffffffffffffff / 2, 10 / -3);`,
    ),
  },
  {
    name: "division of unsigned values",
    program: begin(`$u = (uint64)18446744073709551615; printf("%u %lu\\n", $u / 3, $u % 10);`),
  },
  {
    name: "wrap-around",
    program: begin(
      `$m = 0x7fffffffffffffff; printf("%d %d\\n", $m + 1, -$m - 2); $z = 0; printf("%d %u\\n", $z - 1, $z - 1); printf("%d\\n", 1 << 63);`,
    ),
  },
  {
    name: "shifts",
    program: begin(
      `printf("%d %d %d %x\\n", 1 << 10, 1024 >> 3, -16 >> 2, 0xff << 4); $n = -1; printf("%x\\n", $n >> 60);`,
    ),
  },
  {
    name: "bits",
    program: begin(`printf("%d %d %d %d %x\\n", 12 & 10, 12 | 3, 12 ^ 10, ~0, ~0xff);`),
  },
  {
    name: "precedence",
    program: begin(
      `printf("%d %d %d %d %d %d\\n", 1+2*3, (1+2)*3, 1|2&3, 1<<2+1, 10-4-3, 2*3%4);
       printf("%d %d %d\\n", 1 == 1 & 1, 5 & 3 == 3, !0 + 1); printf("%d %d\\n", 1 < 2 == 1, -2 - -3);`,
    ),
  },
  {
    name: "comparisons",
    program: begin(
      `$a = -1; $b = 1; printf("%d %d %d %d %d %d\\n", $a < $b, $a > $b, $a <= -1, $a >= 0, $a == -1, $a != -1);
       printf("%d %d\\n", (uint64)$a > (uint64)$b, 0xffffffffffffffff > 1);`,
    ),
  },
  {
    name: "logic is short",
    program: begin(
      `@x = 0; if (0 && @x++) { } if (1 || @x++) { } if (1 && 1 && 0) { printf("no\\n"); } else { printf("yes\\n"); }
       printf("%d %d %d %d\\n", 5 && 3, 0 || 7, !5, !0);`,
    ),
  },
  {
    name: "ternary",
    program: begin(
      `$a = 3; printf("%d %s %d\\n", $a > 2 ? 10 : 20, $a > 5 ? "big" : "small", $a == 1 ? 1 : $a == 3 ? 33 : 0); 1 ? printf("A\\n") : printf("B\\n");`,
    ),
  },
  {
    name: "increments",
    program: begin(
      `$a = 5; printf("%d", $a++); printf(" %d", $a); printf(" %d", ++$a); printf(" %d", $a--); printf(" %d\\n", --$a);
       @m = 5; printf("%d %d\\n", @m++, @m); printf("%d %d\\n", ++@m, --@m); @k["a"]++; @k["a"]++; @k["b"]--;`,
    ),
  },
  {
    name: "compound assignment",
    program: begin(
      `$a = 10; $a += 5; $a -= 2; $a *= 3; $a /= 2; $a %= 7; $a <<= 4; $a >>= 1; $a |= 1; $a &= 0xff; $a ^= 3; printf("%d\\n", $a);
       @a = 10; @a += 5; @a *= 2; @b["x"] += 7; @b["x"] -= 2;`,
    ),
  },
  {
    name: "casts",
    program: begin(
      `printf("%d %d %d %d\\n", (int8)200, (uint8)300, (int16)40000, (uint16)70000); printf("%d %u\\n", (int32)3000000000, (uint32)-1);
       $x = (uint8)255; printf("%d\\n", $x + 1); $y = (int8)-1; printf("%d %u\\n", $y, $y);`,
    ),
  },
  {
    name: "values of casts in maps",
    program: begin(
      `@a = (uint8)300; @b = (int32)-5; @c = (uint32)-5; @d[(int8)-1] = (uint64)-1; @e = (int64)-1;`,
    ),
    json: true,
  },
  {
    name: "literals",
    program: begin(
      `printf("%d %d %d %d %d\\n", 0x1F, 1e3, 5e6, 1_000_000, 0xDEADbeef); printf("%d\\n", 010); printf("%d\\n", 9223372036854775807);`,
    ),
  },
  {
    name: "printf integers",
    program: begin(
      `printf("%d|%i|%u|%x|%X|%o|%c\\n", -5, 7, 8, 255, 255, 8, 65); printf("%5d|%-5d|%05d|\\n", 42, 42, 42);
       printf("%ld %lld %lu %llu %lx %llx %hd %hhd\\n", -1, -2, 3, 4, 5, 6, 7, 8); printf("%%|%5s|%-5s|\\n", "ab", "cd");`,
    ),
  },
  {
    name: "printf widths and precisions",
    program: begin(
      `printf("%10.3s|%-10.2s|%.1s|\\n", "abcdef", "abcdef", "abcdef"); printf("%8x|%-8x|%08x|\\n", 255, 255, 255);`,
    ),
  },
  {
    name: "printf negative numbers",
    program: begin(`printf("%d %u %x %lu %lx\\n", -1, -1, -1, -1, -1);`),
  },
  { name: "printf pointers", program: begin(`printf("%p %p\\n", 0xffff888800001234, 0);`) },
  { name: "printf escapes", program: begin(`printf("a\\tb\\\\c\\"d\\n"); printf("\\x41\\102\\r\\n");`) },
  { name: "printf of a symbol that is none", program: begin(`printf("%s\\n", ksym(0));`) },
  { name: "printf of a negative division", program: begin(`$x = -9; printf("%d %d\\n", $x / 4, $x >> 1);`) },
  {
    name: "if, else if, else",
    program: begin(
      `$i = 2; if ($i == 1) { printf("one\\n"); } else if ($i == 2) { printf("two\\n"); } else { printf("many\\n"); } if ($i > 5) { printf("no\\n"); }`,
    ),
  },
  {
    name: "unroll",
    program: begin(`$i = 0; unroll(5) { printf("%d ", $i); $i++; } printf("\\n"); unroll(2) { @x += 3; }`),
  },
  {
    name: "while, break, continue",
    program: begin(
      `$i = 0; while ($i < 10) { $i++; if ($i == 3) { continue; } if ($i == 7) { break; } printf("%d ", $i); } printf("\\n");`,
    ),
  },
  { name: "return", program: `BEGIN { printf("a\\n"); exit(); return; printf("b\\n"); }` },
  { name: "unary minus and not", program: begin(`$x = 5; printf("%d %d %d %d\\n", -$x, !$x, ~$x, - -$x);`) },
  {
    name: "sizeof",
    program: begin(
      `printf("%d %d %d %d\\n", sizeof(uint64), sizeof(struct task_struct) > 100, sizeof(uint8), sizeof(1));`,
    ),
  },
  {
    name: "comma of definitions",
    program: `#define TEN 10\n#define NAME "ten"\nBEGIN { printf("%d %s\\n", TEN * 2, NAME); exit(); }`,
  },
  {
    name: "comments",
    program: `// first\n/* second\n lines */ BEGIN { /* in */ printf("x\\n"); // end\n exit(); }`,
  },
  {
    name: "bool of a condition",
    program: begin(`$a = 3 > 2; $b = 3 < 2; @c = $a; printf("%d %d\\n", $a, $b);`),
  },
  {
    name: "predicates",
    error: true,
    program: `BEGIN /1/ { printf("in\\n"); } BEGIN /0/ { printf("out\\n"); } BEGIN /3 - 3/ { printf("out\\n"); } BEGIN { exit(); }`,
  },
  {
    name: "enum",
    program: `enum colour { RED, GREEN = 5, BLUE }; BEGIN { printf("%d %d %d\\n", RED, GREEN, BLUE); exit(); }`,
  },
];
