// script: docs/language.md: what stays the same is written here, what grows comes from the tables that the checker goes by.
import { languageReference } from "./reference.ts";

const cell = (text: string): string => text.replaceAll("|", "\\|");
const code = (text: string): string => `\`${cell(text)}\``;
const table = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
  [head, head.map(() => "---"), ...rows].map((row) => `| ${row.join(" | ")} |`).join("\n");

const structure = `# Tracing language

Made from the compiler's tables by \`node scripts/language-docs.ts\`. The language is bpftrace's; [differences](trace-compat.md)
are listed on their own page. \`waggle trace --fmt FILE\` lays a script out, \`waggle trace -l 'tracepoint:tcp:*'\` lists probes and
\`-lv\` their arguments.

## A script

    config = { missing_probes = "warn" }          // settings, first
    #define PORT 179                              // object-like; #ifdef, #ifndef, #else, #endif
    struct pair { int a; int b; };                // C structures, unions, enums, typedefs, bitfields
    macro twice(x) { x * 2 }                      // hygienic; parameters are expressions, $variables or @maps
    let @seen = lruhash(10000);                   // hash, lruhash, percpuhash, percpulruhash with their size

    probe, another:probe /predicate/ { statements }

Probes have the form \`provider:part:part\`; \`*\` stands for any text in the parts that name something; \`$1\` is expanded in them.
Positional parameters are \`$1\`, \`$2\`, ... and \`$#\`, as a number or with \`str($1)\` as text. Comments are \`//\` and \`/* */\`.

## Statements and expressions

| what | how |
| --- | --- |
| variables of a probe | \`$x = 1;\` \`let $x: uint32 = 1;\` they live in their block |
| maps, shared by all probes | \`@x = 1;\` \`@x[pid, comm] = 1;\` \`@ = 1;\` \`@x++\` \`@x += 2\` |
| choices | \`if (a) { } else if (b) { } else { }\` \`a ? b : c\` \`$x = if (a) { 1 } else { 2 };\` |
| loops | \`for ($i : 0..10) { }\` \`for ($kv : @map) { $kv.0; $kv.1; }\` \`while (a) { }\` \`unroll(4) { }\` \`break\` \`continue\` |
| leave the probe | \`return;\` |
| numbers | \`42\` \`0x2a\` \`1e6\` \`1_000_000\` \`5s\` \`100ms\` (durations are nanoseconds) |
| text | \`"a\\n"\` with \`\\n \\t \\r \\\\ \\" \\x41 \\101\` |
| truth | \`true\` \`false\` |
| tuples and records | \`(1, "a").0\` \`(a=1, b="x").b\` |
| structures | \`args.field\` \`$p->field\` \`$p.field\` \`$p->array[3]\` \`*$p\` |
| casts | \`(uint8)$x\` \`(struct task_struct *)$p\` \`(typeof($y))$x\` \`(int8[4])$x\` |
| sizes | \`sizeof(struct task_struct)\` \`sizeof($x)\` \`offsetof(struct task_struct, comm)\` |

Operators, the weakest first: \`?:\`, \`||\`, \`&&\`, \`|\`, \`^\`, \`&\`, \`== !=\`, \`< <= > >=\`, \`<< >>\`, \`+ -\`, \`* / %\`, unary
\`! ~ - * ++ --\` and casts. Integers have 1, 2, 4 or 8 bytes, with or without a sign; a division by zero gives 1 and is told at the end.

## Printing

printf() takes \`%d %i %u %x %X %o %c %p %s %r %rx %rh %%\` with widths, \`-\`, \`0\` and, for text, precisions; lengths
(\`l\`, \`ll\`, \`h\`, \`hh\`) are accepted. Maps that hold something are printed when the script ends: in order of their names, entries by value,
largest last. \`clear(@x)\` in \`END\` keeps one out, \`config = { print_maps_on_exit = false }\` all.
`;

/** The page, with a line end at its end. */
export function languagePage(): string {
  const { functions, builtins, providers, settings } = languageReference();
  const aggregates = functions.filter((f) => f.usage.startsWith("@"));
  const others = functions.filter((f) => !f.usage.startsWith("@"));
  const names = (all: readonly string[]): string => all.map(code).join(", ");
  return `${[
    structure,
    "## Probes\n",
    table(
      ["provider", "short", "written"],
      providers.map((p) => [code(p.name), names(p.aliases), cell(p.usage)]),
    ),
    "\n## Builtins\n",
    table(
      ["name", "what"],
      builtins.map((b) => [code(b.name), cell(b.about)]),
    ),
    "\n## Aggregations\n",
    "Counted on each CPU by itself, so nothing is lost, and exact when merged over nodes.\n",
    table(
      ["written", "what"],
      aggregates.map((f) => [code(f.usage), cell(f.about)]),
    ),
    "\n## Functions\n",
    table(
      ["written", "what"],
      others.map((f) => [code(f.usage), `${cell(f.about)}${f.unsafe ? " (needs `--unsafe`)" : ""}`]),
    ),
    "\n## Settings\n",
    `In the config block, or as environment variables \`BPFTRACE_MAX_STRLEN\` and so on: ${names(settings)}.`,
  ].join("\n")}\n`;
}
