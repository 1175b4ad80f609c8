// trace: what the compiler asks about this kernel, answered from BTF, tracefs, kallsyms and ELF files.
import { existsSync } from "node:fs";
import { basename } from "node:path";
import { type Btf, BtfKind, btfDirectory, btfModules } from "../kernel/btf.ts";
import { type IndexedBtf, type OpenedIndex, openIndexed } from "../kernel/btf-index.ts";
import { cgroupId } from "../kernel/cgroup.ts";
import { ElfFile, isElfFile } from "../kernel/elf.ts";
import { findBinary, KernelSymbols } from "../kernel/symbols.ts";
import { eventCategories, eventFormat, eventsOf, filterFunctions } from "../kernel/tracefs.ts";
import type {
  Field,
  FunctionPrototype,
  KernelFeatures,
  ProgramType,
  Structure,
  Type,
  TypeSource,
  UsdtPlace,
} from "../script/types.ts";
import { anonymousId, memberNamed, prototypeOf, structureOf, typeOf } from "./btf-types.ts";
import { probeFeatures } from "./features.ts";
import { globMatcher, isGlob } from "./glob.ts";
import { tryKfunc } from "./kfuncs.ts";
import { recordOf } from "./tracepoint-types.ts";

export interface TypeSourceOptions {
  /** Where tracefs is mounted; without it there are no tracepoints. */
  readonly tracefs: string | undefined;
  /** Directory of the BTF index; undefined: it is built in memory. */
  readonly cacheDirectory: string | undefined;
  readonly symbols?: KernelSymbols;
  /** Where uprobes of a process look for files first: `/proc/PID/root`. */
  readonly pid?: number;
}

/** A TypeSource of the running kernel. Answers are remembered: the kernel's types do not change while it runs. */
export class KernelTypes implements TypeSource {
  readonly features: KernelFeatures;
  readonly symbols: KernelSymbols;
  readonly #options: TypeSourceOptions;
  #vmlinux: OpenedIndex | undefined;
  #modules: readonly IndexedBtf[] | undefined;
  readonly #structures = new Map<string, Structure | undefined>();
  readonly #types = new Map<string, Type | undefined>();
  readonly #tracepoints = new Map<string, (Structure & { readonly id: number }) | undefined>();
  #functions: readonly string[] | undefined;

  constructor(options: TypeSourceOptions) {
    this.#options = options;
    this.symbols = options.symbols ?? new KernelSymbols();
    this.features = probeFeatures(this);
  }

  /** vmlinux's BTF. @throws Error (ENOENT) where the kernel has none */
  get vmlinux(): IndexedBtf {
    this.#vmlinux ??= openIndexed("vmlinux", this.#options.cacheDirectory);
    return this.#vmlinux.indexed;
  }

  /** Why the index could not be kept, if it could not. */
  get indexNotSaved(): string | undefined {
    return this.#vmlinux?.notSaved;
  }

  get hasBtf(): boolean {
    return existsSync(`${btfDirectory}/vmlinux`);
  }

  /** vmlinux first, then, only when it is asked for, the modules. */
  *#objects(): Generator<IndexedBtf> {
    if (!this.hasBtf) return;
    yield this.vmlinux;
    const base = this.vmlinux.btf;
    this.#modules ??= btfModules().map(
      (name) => openIndexed(name, this.#options.cacheDirectory, { base }).indexed,
    );
    yield* this.#modules;
  }

  #find(
    name: string,
    ...kinds: readonly number[]
  ): { readonly from: IndexedBtf; readonly id: number } | undefined {
    for (const from of this.#objects()) {
      const id = from.find(name, ...kinds);
      if (id !== undefined) return { from, id };
    }
    return undefined;
  }

  /** The object and id behind a tag, which may be that of an anonymous type. */
  #tagged(tag: string, ...kinds: readonly number[]): { readonly btf: Btf; readonly id: number } | undefined {
    const anonymous = anonymousId(tag);
    if (!anonymous) {
      const found = this.#find(tag, ...kinds);
      return found && { btf: found.from.btf, id: found.id };
    }
    for (const from of this.#objects())
      if (from.btf.label === anonymous.module && anonymous.id < from.btf.endId)
        return kinds.includes(from.btf.kind(anonymous.id)) ? { btf: from.btf, id: anonymous.id } : undefined;
    return undefined;
  }

  structure(name: string): Structure | undefined {
    if (!this.#structures.has(name)) this.#structures.set(name, this.#readStructure(name));
    return this.#structures.get(name);
  }

  #readStructure(name: string): Structure | undefined {
    const found = this.#findStructure(name);
    return found && structureOf(found.btf, found.id);
  }

  #findStructure(name: string): { readonly btf: Btf; readonly id: number } | undefined {
    const tag = /^(struct|union) (.+)$/.exec(name);
    const kinds = tag
      ? [tag[1] === "union" ? BtfKind.UNION : BtfKind.STRUCT]
      : [BtfKind.STRUCT, BtfKind.UNION, BtfKind.TYPEDEF];
    const found = this.#tagged(tag?.[2] ?? name, ...kinds);
    if (!found) return undefined;
    const id = found.btf.resolve(found.id);
    const kind = found.btf.kind(id);
    return kind === BtfKind.STRUCT || kind === BtfKind.UNION ? { btf: found.btf, id } : undefined;
  }

  member(structure: string, name: string): Field | undefined {
    const known = this.#structures.get(structure);
    if (known) return known.fields.find((field) => field.name === name);
    const found = this.#findStructure(structure);
    return found && memberNamed(found.btf, found.id, name);
  }

  typeByName(name: string): Type | undefined {
    if (!this.#types.has(name)) this.#types.set(name, this.#readType(name));
    return this.#types.get(name);
  }

  #readType(name: string): Type | undefined {
    const tag = /^(struct|union|enum) (.+)$/.exec(name);
    const kinds = !tag
      ? [BtfKind.TYPEDEF, BtfKind.INT]
      : tag[1] === "enum"
        ? [BtfKind.ENUM, BtfKind.ENUM64]
        : [tag[1] === "union" ? BtfKind.UNION : BtfKind.STRUCT];
    const found = this.#tagged(tag?.[2] ?? name, ...kinds);
    return found && typeOf(found.btf, found.id);
  }

  enumValue(name: string): { readonly value: bigint; readonly type: Type } | undefined {
    for (const { btf, from } of this.#withBtf()) {
      const found = from.findEnumerator(name);
      if (found)
        return { value: btf.enumeratorValue(found.typeId, found.index), type: typeOf(btf, found.typeId) };
    }
    return undefined;
  }

  *#withBtf(): Generator<{ readonly from: IndexedBtf; readonly btf: Btf }> {
    for (const from of this.#objects()) yield { from, btf: from.btf };
  }

  enumName(enumType: string, value: bigint): string | undefined {
    const found = this.#tagged(enumType.replace(/^enum /, ""), BtfKind.ENUM, BtfKind.ENUM64);
    return found?.btf.enumerators(found.id).find((e) => e.value === value)?.name;
  }

  function(name: string): FunctionPrototype | undefined {
    const found = this.#find(name, BtfKind.FUNC);
    if (!found) return undefined;
    const { btf, module } = found.from;
    return prototypeOf(btf, btf.target(found.id), { name, module, btfId: found.id });
  }

  variable(name: string): { readonly btfId: number; readonly type: Type } | undefined {
    if (!this.hasBtf) return undefined;
    const id = this.vmlinux.find(name, BtfKind.VAR);
    const { btf } = this.vmlinux;
    return id === undefined ? undefined : { btfId: id, type: typeOf(btf, btf.target(id)) };
  }

  kfuncAllowed(name: string, program: ProgramType): boolean {
    const id = this.hasBtf ? this.vmlinux.find(name, BtfKind.FUNC) : undefined;
    return id !== undefined && tryKfunc(id, program, this.#attachable(program));
  }

  /** Something that programs of a typed kind can be made for. */
  #attachable(program: ProgramType): number | undefined {
    if (program === "tp_btf") return this.vmlinux.find("btf_trace_sched_switch", BtfKind.TYPEDEF);
    if (program === "iter") return this.iteratorFunction("task");
    return program === "fentry" || program === "fexit" ? this.function("do_exit")?.btfId : undefined;
  }

  /** The FUNC of a name, for listings. */
  functionType(name: string): { readonly btf: Btf; readonly id: number } | undefined {
    const found = this.#find(name, BtfKind.FUNC);
    return found && { btf: found.from.btf, id: found.id };
  }

  /** Named types of some kinds whose names match a glob, in order of ids. */
  *namedTypes(
    pattern: string,
    kinds: readonly number[],
  ): Generator<{ readonly btf: Btf; readonly id: number }> {
    if (!isGlob(pattern)) {
      const found = this.#find(pattern, ...kinds);
      if (found) yield { btf: found.from.btf, id: found.id };
      return;
    }
    const matches = globMatcher(pattern);
    for (const { btf } of this.#withBtf())
      for (let id = btf.firstId; id < btf.endId; id++)
        if (kinds.includes(btf.kind(id)) && btf.name(id) !== "" && matches(btf.name(id))) yield { btf, id };
  }

  rawTracepoint(name: string): FunctionPrototype | undefined {
    const found = this.#find(`btf_trace_${name}`, BtfKind.TYPEDEF);
    if (!found) return undefined;
    const { btf, module } = found.from;
    const about = { name, module, btfId: found.id };
    // The typedef that programs attach by has lost its parameters' names; functions made for the same tracepoint have them.
    for (const twin of [`__traceiter_${name}`, `__probestub_${name}`, `__bpf_trace_${name}`]) {
      const id = found.from.find(twin, BtfKind.FUNC);
      if (id !== undefined) return prototypeOf(btf, btf.target(id), about, 1);
    }
    const proto = btf.target(btf.resolve(found.id));
    return btf.kind(proto) === BtfKind.FUNC_PROTO ? prototypeOf(btf, proto, about, 1) : undefined;
  }

  iterator(name: string): Structure | undefined {
    if (!this.iteratorFunction(name)) return undefined;
    const context = this.structure(`struct bpf_iter__${name}`);
    return context && { ...context, name: `bpf_iter__${name}` };
  }

  /** BTF id of the function that an iterator's program attaches to. */
  iteratorFunction(name: string): number | undefined {
    return this.#find(`bpf_iter_${name}`, BtfKind.FUNC)?.id;
  }

  tracepoint(category: string, event: string): (Structure & { readonly id: number }) | undefined {
    const key = `${category}:${event}`;
    if (!this.#tracepoints.has(key)) {
      const { tracefs } = this.#options;
      const format = tracefs === undefined ? undefined : eventFormat(tracefs, category, event);
      this.#tracepoints.set(key, format && recordOf(format, category, (n) => this.#fieldType(n)));
    }
    return this.#tracepoints.get(key);
  }

  #fieldType(name: string): Type | undefined {
    return this.hasBtf ? this.typeByName(name) : undefined;
  }

  kernelSymbol(name: string): bigint | undefined {
    return this.symbols.address(name);
  }

  cgroupId(path: string): bigint | undefined {
    return existsSync(path) ? cgroupId(path) : undefined;
  }

  userSymbol(binary: string, symbol: string): { readonly offset: bigint; readonly path: string } | undefined {
    const path = this.binary(binary);
    if (path === undefined) return undefined;
    using elf = new ElfFile(path);
    const plus = /^(.+)\+(0x[0-9a-fA-F]+|\d+)$/.exec(symbol);
    const name = plus?.[1] ?? symbol;
    const address = /^(0x[0-9a-fA-F]+|\d+)$/.test(name)
      ? BigInt(name)
      : elf.symbols().find((s) => s.name === name && s.kind !== "object")?.address;
    if (address === undefined) return undefined;
    const offset = elf.fileOffset(address + BigInt(plus?.[2] ?? 0));
    return offset === undefined ? undefined : { offset, path };
  }

  userAddress(
    binary: string,
    symbol: string,
  ): { readonly address: bigint; readonly size: number } | undefined {
    const path = this.binary(binary);
    if (path === undefined) return undefined;
    using elf = new ElfFile(path);
    const found = elf.symbols().find((s) => s.name === symbol);
    return found && { address: found.address, size: Number(found.size) };
  }

  usdt(binary: string, provider: string, name: string): readonly UsdtPlace[] {
    const path = this.binary(binary);
    if (path === undefined) return [];
    using elf = new ElfFile(path);
    return elf.usdtProbes().flatMap((probe): UsdtPlace[] => {
      if (probe.name !== name || (provider !== "" && probe.provider !== provider)) return [];
      const offset = elf.fileOffset(probe.address);
      if (offset === undefined) return [];
      const semaphore = probe.semaphore === 0n ? undefined : elf.fileOffset(probe.semaphore);
      const place = { path, offset, arguments: probe.arguments };
      return [semaphore === undefined ? place : { ...place, semaphore }];
    });
  }

  /** The file that an attach point names; undefined if there is none. */
  binary(name: string, named = false): string | undefined {
    const path = findBinary(name);
    if (path === undefined || !isElfFile(path)) return undefined;
    return named && !name.includes("/") && basename(path) !== name ? undefined : path;
  }

  match(provider: string, pattern: string): readonly string[] {
    switch (provider) {
      case "tracepoint":
        return this.#matchTracepoints(pattern);
      case "rawtracepoint":
        return this.#matchRawTracepoints(pattern);
      case "kprobe":
      case "kretprobe":
      case "fentry":
      case "fexit":
        return this.#functionNames().filter(globMatcher(pattern));
      case "uprobe":
      case "uretprobe":
        return this.#matchUserFunctions(pattern);
      case "usdt":
        return this.#matchUsdt(pattern);
      case "iter":
        return this.#matchIterators(pattern);
      default:
        return [];
    }
  }

  #matchTracepoints(pattern: string): string[] {
    const { tracefs } = this.#options;
    if (tracefs === undefined) return [];
    const [category = "*", event = "*"] = pattern.split(":");
    const eventMatches = globMatcher(event);
    const categories = isGlob(category) ? eventCategories(tracefs).filter(globMatcher(category)) : [category];
    return categories.flatMap((c) =>
      eventsOf(tracefs, c)
        .filter(eventMatches)
        .map((e) => `${c}:${e}`),
    );
  }

  #matchRawTracepoints(pattern: string): string[] {
    const matches = globMatcher(pattern);
    const found: string[] = [];
    for (const { from } of this.#withBtf())
      for (const name of from.names(BtfKind.TYPEDEF, "btf_trace_"))
        if (matches(name.slice("btf_trace_".length))) found.push(name.slice("btf_trace_".length));
    return found.sort();
  }

  /** Functions that probes can be put on, in order of names. */
  #functionNames(): readonly string[] {
    if (this.#functions) return this.#functions;
    const { tracefs } = this.#options;
    const told = tracefs === undefined ? undefined : filterFunctions(tracefs);
    const names = new Set(told ?? []);
    if (!told)
      for (const { from } of this.#withBtf()) for (const name of from.names(BtfKind.FUNC)) names.add(name);
    this.#functions = [...names].sort();
    return this.#functions;
  }

  #matchUserFunctions(pattern: string): string[] {
    const at = pattern.lastIndexOf(":");
    const path = this.binary(pattern.slice(0, at));
    if (path === undefined) return [];
    const matches = globMatcher(pattern.slice(at + 1));
    using elf = new ElfFile(path);
    const names = new Set<string>();
    for (const symbol of elf.symbols())
      if (symbol.kind === "function" && matches(symbol.name)) names.add(symbol.name);
    return [...names].sort().map((name) => `${path}:${name}`);
  }

  #matchUsdt(pattern: string): string[] {
    const [file = "", ...rest] = pattern.split(":");
    const path = this.binary(file);
    if (path === undefined) return [];
    const [namespace, name] = rest.length > 1 ? [rest[0] ?? "*", rest[1] ?? "*"] : ["*", rest[0] ?? "*"];
    const providers = globMatcher(namespace || "*");
    const names = globMatcher(name);
    using elf = new ElfFile(path);
    const found = elf.usdtProbes().filter((p) => providers(p.provider) && names(p.name));
    return [...new Set(found.map((p) => `${path}:${p.provider}:${p.name}`))].sort();
  }

  #matchIterators(pattern: string): string[] {
    const matches = globMatcher(pattern);
    const found: string[] = [];
    for (const { from } of this.#withBtf())
      for (const name of from.names(BtfKind.STRUCT, "bpf_iter__")) {
        const short = name.slice("bpf_iter__".length);
        if (matches(short) && this.iteratorFunction(short) !== undefined) found.push(short);
      }
    return found.sort();
  }
}
