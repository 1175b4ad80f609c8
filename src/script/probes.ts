// script: attach points. Text such as `tracepoint:sock:*` becomes resolved points: what to attach to and what the context holds.
import type { AttachText, Loc } from "./ast.ts";
import { type Diagnostics, say } from "./diagnostics.ts";
import type { Equivalent } from "./equivalents.ts";
import { isGlob } from "./glob.ts";
import { PROVIDERS } from "./providers.ts";
import type { AttachPoint, FunctionPrototype, ProgramType, Structure, TypeSource } from "./types.ts";

/** What a program finds behind the pointer in r1. */
export type Context =
  | { readonly kind: "none" }
  /** `equivalent`: the program is not on the event but on the raw tracepoint below it, and finds the fields in its arguments. */
  | {
      readonly kind: "tracepoint";
      readonly structure: Structure;
      readonly category: string;
      readonly equivalent?: Equivalent;
    }
  /** Words that hold arguments of known types; `retval` is the word after them (fexit). `typed`: the verifier knows the types, too. */
  | {
      readonly kind: "btf";
      readonly prototype: FunctionPrototype;
      readonly typed: boolean;
      readonly ret: boolean;
    }
  | {
      readonly kind: "registers";
      readonly ret: boolean;
      readonly space: "kernel" | "user";
      readonly prototype?: FunctionPrototype;
      /** USDT: where the arguments are, as its note says it. */
      readonly note?: string;
    }
  | { readonly kind: "iterator"; readonly structure: Structure };

export interface ResolvedPoint {
  readonly text: string;
  readonly provider: string;
  readonly programType: ProgramType;
  readonly context: Context;
  readonly attach: Omit<AttachPoint, "text" | "provider" | "program">;
  /** Points with the same key can share one program, unless the body asks which point it is. */
  readonly shareKey: string;
  readonly attachBtfId?: number;
  /** Tells apart what has the same text: the places of one USDT probe. */
  readonly place?: bigint;
  /** begin, end and signal programs are run by hand. */
  readonly manual?: "begin" | "end" | "signal";
}

export interface ProbeOptions {
  readonly types: TypeSource;
  readonly diagnostics: Diagnostics;
  readonly maxProbes: number;
  readonly missing: "error" | "warn" | "ignore";
  readonly expand: (text: string) => string;
  readonly old: boolean;
  readonly anyKernel?: "kprobe" | "all";
  /** The probe has one attach point. */
  readonly alone?: boolean;
}

export interface Provider {
  readonly name: string;
  readonly aliases: readonly string[];
  readonly usage: string;
  resolve(parts: readonly string[], options: ProbeOptions, loc: Loc): ResolvedPoint[] | undefined;
}

/** As they are written (`u` and `U` are two providers), and in small letters where those are nobody's. */
const byName = new Map<string, Provider>();
for (const spell of [(name: string) => name, (name: string) => name.toLowerCase()])
  for (const provider of PROVIDERS)
    for (const name of [provider.name, ...provider.aliases].map(spell))
      if (!byName.has(name)) byName.set(name, provider);
const providerOf = (name: string): Provider | undefined => byName.get(name) ?? byName.get(name.toLowerCase());

/** Those of which 0.17 leaves out what is not there. */
const searched: ReadonlySet<string> = new Set(["uprobe", "uretprobe", "usdt", "kprobe", "kretprobe"]);

/** Resolves the attach points of one probe; duplicates are dropped, order is kept. */
export function resolvePoints(texts: readonly AttachText[], options: ProbeOptions): readonly ResolvedPoint[] {
  const { diagnostics } = options;
  const found = new Map<string, ResolvedPoint>();
  for (const { text: written, loc } of texts) {
    const text = options.expand(written);
    const parts = splitPoint(text);
    const provider = providerOf(parts[0] ?? "");
    if (!provider) {
      diagnostics.report(loc, say.unknownProvider(parts[0] ?? "", byName.keys()));
      continue;
    }
    const before = diagnostics.list().length;
    const points = provider.resolve(parts.slice(1), { ...options, alone: texts.length === 1 }, loc);
    if (!points) {
      diagnostics.report(loc, say.attachPoint(provider.name, provider.usage));
      continue;
    }
    if (points.length === 0 && diagnostics.list().length === before) {
      // 0.17 says nothing of functions that a file does not have, and takes any other absence for an error.
      if (options.old ? !searched.has(provider.name) : options.missing === "error")
        diagnostics.report(loc, say.noMatch(text));
      else if (!options.old && options.missing === "warn") diagnostics.report(loc, say.noMatchSkipped(text));
    }
    // Among all that a wildcard matches there may be functions that cannot be probed: the others are.
    const missing = options.missing === "error" && isGlob(text) ? "warn" : options.missing;
    for (const point of points)
      found.set(
        `${point.text} ${point.place ?? ""}`,
        missing === "error" ? point : { ...point, attach: { ...point.attach, missing } },
      );
    if (found.size > options.maxProbes) {
      diagnostics.report(loc, say.tooManyProbes(found.size, options.maxProbes));
      break;
    }
  }
  return [...found.values()];
}

/** Splits at colons outside of quotes. */
function splitPoint(text: string): string[] {
  const parts: string[] = [""];
  let quoted = false;
  for (const c of text) {
    if (c === '"') quoted = !quoted;
    else if (c === ":" && !quoted) parts.push("");
    else parts[parts.length - 1] += c;
  }
  return parts;
}
