// trace: `-l` and `-lv`: the probes of this kernel that match a pattern, with their arguments; structures by name.
import { readFileSync } from "node:fs";
import { BtfKind } from "../kernel/btf.ts";
import { executableMappings } from "../kernel/symbols.ts";
import { eventFormat } from "../kernel/tracefs.ts";
import { cDeclaration, cDefinition, cType } from "./c-text.ts";
import { globMatcher } from "./glob.ts";
import type { KernelTypes } from "./type-source.ts";

export interface ListingOptions {
  readonly types: KernelTypes;
  readonly tracefs: string | undefined;
  /** Arguments as well. */
  readonly verbose: boolean;
  /** Files of this process where a probe needs a file and the pattern names none. */
  readonly pid?: number;
}

interface Provider {
  readonly name: string;
  readonly aliases: readonly string[];
  /** Listed when no provider is named. */
  readonly always: boolean;
  /** What follows the provider's name, of those that match a pattern (all of them for "*"). */
  list(pattern: string, options: ListingOptions): Iterable<string>;
  /** Lines of `-lv`. */
  details?(name: string, options: ListingOptions): Iterable<string>;
}

const softwareEvents = [
  "alignment-faults",
  "bpf-output",
  "context-switches",
  "cpu-clock",
  "cpu-migrations",
  "cpu",
  "cs",
  "dummy",
  "emulation-faults",
  "faults",
  "major-faults",
  "minor-faults",
  "page-faults",
  "task-clock",
];
const hardwareEvents = [
  "backend-stalls",
  "branch-instructions",
  "branch-misses",
  "branches",
  "bus-cycles",
  "cache-misses",
  "cache-references",
  "cpu-cycles",
  "cycles",
  "frontend-stalls",
  "instructions",
  "ref-cycles",
];
const timeUnits = ["hz", "ms", "s", "us"];

/** Names of a fixed list, each with the colon after which a count or period goes. */
const fixed = (names: readonly string[]) => (pattern: string) => {
  const matches = globMatcher(pattern.replace(/:.*$/, "") || "*");
  return names.filter((name) => matches(name)).map((name) => `${name}:`);
};

function* functionDetails(name: string, { types }: ListingOptions, ret: boolean): Generator<string> {
  const found = types.functionType(name.slice(name.lastIndexOf(":") + 1));
  if (!found) return;
  const proto = found.btf.target(found.id);
  for (const p of found.btf.parameters(proto))
    if (p.name !== "") yield cDeclaration(found.btf, p.typeId, p.name);
  const returns = found.btf.target(proto);
  if (ret && returns !== 0) yield `${cType(found.btf, returns)} retval`;
}

/** Functions as fentry probes name them: with the module that they are in. */
const typedFunctions = (pattern: string, { types }: ListingOptions): string[] => {
  const at = pattern.indexOf(":");
  const inModule = globMatcher(at < 0 ? "*" : pattern.slice(0, at));
  return types
    .match("fentry", at < 0 ? pattern : pattern.slice(at + 1))
    .map((name) => `${types.function(name)?.module ?? "vmlinux"}:${name}`)
    .filter((name) => inModule(name.slice(0, name.indexOf(":"))));
};

/** Files of a process that hold code, or what the pattern names. */
function* inFiles(pattern: string, options: ListingOptions, provider: string): Generator<string> {
  const { types, pid } = options;
  const colon = pattern.indexOf(":");
  const [file, rest] =
    colon < 0 ? [pattern, "*"] : [pattern.slice(0, colon), pattern.slice(colon + 1) || "*"];
  const mapped =
    pid !== undefined && (file === "*" || file === "")
      ? [...new Set(executableMappings(readFileSync(`/proc/${pid}/maps`, "utf8")).map((m) => m.path))]
      : [];
  if (mapped.length === 0 && file !== "*" && file !== "") yield* types.match(provider, `${file}:${rest}`);
  for (const path of mapped) yield* types.match(provider, `${path}:${rest}`);
}

const providers: readonly Provider[] = [
  { name: "hardware", aliases: ["h"], always: true, list: fixed(hardwareEvents) },
  { name: "interval", aliases: ["i"], always: true, list: fixed(timeUnits) },
  {
    name: "iter",
    aliases: ["it"],
    always: true,
    list: (pattern, { types }) => types.match("iter", pattern),
    *details(name, { types }) {
      const found = types.functionType(`bpf_iter_${name}`);
      if (!found) return;
      const [, ...parameters] = found.btf.parameters(found.btf.target(found.id));
      for (const p of parameters) yield cDeclaration(found.btf, p.typeId, p.name);
    },
  },
  {
    name: "fentry",
    aliases: ["f", "kfunc"],
    always: true,
    list: (pattern, options) => (options.types.features.fentry ? typedFunctions(pattern, options) : []),
    details: (name, options) => functionDetails(name, options, false),
  },
  {
    name: "fexit",
    aliases: ["fr", "kretfunc"],
    always: false,
    list: (pattern, options) => (options.types.features.fentry ? typedFunctions(pattern, options) : []),
    details: (name, options) => functionDetails(name, options, true),
  },
  {
    name: "kprobe",
    aliases: ["k"],
    always: true,
    list: (pattern, { types }) => (types.features.kprobe ? types.match("kprobe", pattern) : []),
  },
  {
    name: "kretprobe",
    aliases: ["kr"],
    always: false,
    list: (pattern, { types }) => (types.features.kprobe ? types.match("kretprobe", pattern) : []),
  },
  { name: "profile", aliases: ["p"], always: true, list: fixed(timeUnits) },
  {
    name: "rawtracepoint",
    aliases: ["rt"],
    always: true,
    list: (pattern, { types }) =>
      types.match("rawtracepoint", pattern.slice(pattern.indexOf(":") + 1)).map((name) => `vmlinux:${name}`),
    *details(name, { types }) {
      const bare = name.slice(name.indexOf(":") + 1);
      const twin = types.functionType(`__traceiter_${bare}`) ?? types.functionType(`__probestub_${bare}`);
      if (!twin) return;
      const [, ...parameters] = twin.btf.parameters(twin.btf.target(twin.id));
      for (const p of parameters) yield cDeclaration(twin.btf, p.typeId, p.name);
    },
  },
  { name: "software", aliases: ["s"], always: true, list: fixed(softwareEvents) },
  {
    name: "tracepoint",
    aliases: ["t"],
    always: true,
    list: (pattern, { types }) => types.match("tracepoint", pattern.includes(":") ? pattern : `${pattern}:*`),
    *details(name, { tracefs }) {
      const [category = "", event = ""] = name.split(":");
      const format = tracefs === undefined ? undefined : eventFormat(tracefs, category, event);
      for (const field of format?.fields ?? []) yield field.declaration;
    },
  },
  {
    name: "uprobe",
    aliases: ["u"],
    always: false,
    list: (pattern, options) => inFiles(pattern, options, "uprobe"),
  },
  {
    name: "uretprobe",
    aliases: ["ur"],
    always: false,
    list: (pattern, options) => inFiles(pattern, options, "uprobe"),
  },
  {
    name: "usdt",
    aliases: ["U"],
    always: false,
    list: (pattern, options) => inFiles(pattern, options, "usdt"),
  },
];

function* listed(provider: Provider, names: Iterable<string>, options: ListingOptions): Generator<string> {
  for (const name of names) {
    yield `${provider.name}:${name}`;
    if (!options.verbose || !provider.details) continue;
    for (const line of provider.details(name, options)) yield `    ${line}`;
  }
}

/** `struct x`, `union x`, `enum x`: its definition. */
function* definitions(pattern: string, { types }: ListingOptions): Generator<string> {
  const [word = "", ...rest] = pattern.split(/\s+/);
  const kinds: Readonly<Record<string, readonly number[]>> = {
    struct: [BtfKind.STRUCT],
    union: [BtfKind.UNION],
    enum: [BtfKind.ENUM, BtfKind.ENUM64],
  };
  const wanted = kinds[word] ?? [];
  for (const { btf, id } of types.namedTypes(rest.join(" "), wanted)) yield cDefinition(btf, id);
}

/**
 * The lines of a listing. A pattern is `provider:rest`, both with wildcards, several separated by commas; one without a
 * colon is looked for in the whole text of every probe of the kernel; none lists all of them.
 */
export function* listProbes(pattern: string, options: ListingOptions): Generator<string> {
  for (const part of pattern === "" ? ["*"] : pattern.split(",").map((p) => p.trim())) {
    if (/^(struct|union|enum)\s/.test(part)) {
      yield* definitions(part, options);
      continue;
    }
    const colon = part.indexOf(":");
    if (colon < 0) {
      const whole = globMatcher(part);
      const named = providers.filter((p) => p.name === part.toLowerCase() || p.aliases.includes(part));
      for (const provider of named.length > 0 ? named : providers.filter((p) => p.always)) {
        const names = [...provider.list("*", options)];
        const shown = named.length > 0 ? names : names.filter((name) => whole(`${provider.name}:${name}`));
        yield* listed(provider, shown, options);
      }
      continue;
    }
    const head = part.slice(0, colon);
    const rest = part.slice(colon + 1) || "*";
    const byName = globMatcher(head.toLowerCase());
    for (const provider of providers)
      if (byName(provider.name) || provider.aliases.includes(head))
        yield* listed(provider, provider.list(rest, options), options);
  }
}
