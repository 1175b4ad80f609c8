// script: the pipeline. parse -> check -> lower -> optimise -> legalise -> allocate -> emit; each pass stops the line if it reports errors.
import type { Program } from "./ast.ts";
import { allocate } from "./backend/allocate.ts";
import { emitProgram } from "./backend/emit.ts";
import { legalise } from "./backend/legalise.ts";
import { optimise } from "./backend/optimise.ts";
import { checkProgram } from "./check/program.ts";
import { createDiagnostics, type Diagnostics, say } from "./diagnostics.ts";
import { onEquivalents } from "./equivalents.ts";
import type { IrFunction } from "./ir/ir.ts";
import { createPlan, type Plan } from "./lower/plan.ts";
import { type LoweredProgram, lowerProbe, lowerStart } from "./lower/program.ts";
import { parse } from "./parse.ts";
import { type LineMap, lineMap } from "./text.ts";
import type { TProbe, TProgram } from "./typed.ts";
import type {
  AttachPoint,
  CompiledMap,
  CompiledProgram,
  CompiledScript,
  CompileOptions,
  Diagnostic,
  Structure,
  Type,
} from "./types.ts";

export interface CompileResult {
  readonly diagnostics: readonly Diagnostic[];
  /** Absent if there is an error among the diagnostics. */
  readonly script?: CompiledScript;
}

const RING_BYTES = 8 << 20;
/** Most instructions of a program; the kernel's own limit is a million. */
const MAX_INSTRUCTIONS = 32_000;
/** Share of the stack for a program's objects, tried in turn until the registers that must be spilled fit beside them. */
const STACK_SHARES = [0.6, 0.35, 0.1, 0];

/** How the back end works; tests turn passes off to compare. */
export interface Passes {
  readonly optimise: boolean;
}

export function compile(
  source: string,
  options: CompileOptions,
  passes: Passes = { optimise: true },
): CompileResult {
  const lines = lineMap(source);
  const diagnostics = createDiagnostics(lines);
  try {
    const script = run(source, options, passes, lines, diagnostics);
    return diagnostics.errors() > 0 || !script
      ? { diagnostics: diagnostics.list() }
      : { diagnostics: diagnostics.list(), script };
  } catch (error) {
    // A defect of ours must not take down a tracer that runs other people's scripts.
    diagnostics.report({ start: 0, end: Math.min(1, source.length) }, say.internal((error as Error).message));
    return { diagnostics: diagnostics.list() };
  }
}

function run(
  source: string,
  options: CompileOptions,
  passes: Passes,
  lines: LineMap,
  diagnostics: Diagnostics,
): CompiledScript | undefined {
  const parsed = parse(source, diagnostics);
  const typed = parsed && checkProgram(parsed.program, parsed.preprocessed.defines, options, diagnostics);
  return typed && generate(typed, options, passes, lines, diagnostics);
}

/** Syntax only: what can be said without a kernel. */
export function checkSyntax(source: string): readonly Diagnostic[] {
  const diagnostics = createDiagnostics(lineMap(source));
  const parsed = parse(source, diagnostics);
  if (parsed && !hasProbe(parsed.program)) diagnostics.report({ start: 0, end: 1 }, say.noProbes());
  return diagnostics.list();
}

const hasProbe = (program: Program): boolean => program.items.some((i) => i.node === "probe");

function generate(
  typed: TProgram,
  options: CompileOptions,
  passes: Passes,
  lines: LineMap,
  diagnostics: Diagnostics,
): CompiledScript | undefined {
  const plan = createPlan(
    lines,
    typed.settings.maxMapKeys,
    options.ringBytes ?? RING_BYTES,
    options.types.features,
  );
  for (const map of typed.maps) plan.storage(map);
  const programs: CompiledProgram[] = [];
  const attach: AttachPoint[] = [];
  const begin: number[] = [];
  const end: number[] = [];
  const probes =
    options.equivalents === false
      ? typed.probes
      : typed.probes.flatMap((one) => onEquivalents(one, options.types));
  for (const probe of probes) {
    const program = compileProbe(probe, plan, options, passes, typed, lines, diagnostics);
    if (!program) continue;
    const index = programs.push(program) - 1;
    for (const point of probe.points) {
      if (point.manual === "begin") begin.push(index);
      else if (point.manual === "end") end.push(index);
      else attach.push({ ...point.attach, text: point.text, provider: point.provider, program: index });
    }
  }
  if (diagnostics.errors() > 0) return undefined;
  if (plan.usesStart()) {
    const code = finish(lowerStart(plan), passes, lines);
    if (code) begin.unshift(programs.push({ name: "start", type: "syscall", ...code }) - 1);
  }
  const maps = plan.maps();
  return {
    maps,
    programs,
    attach,
    begin,
    end,
    output: {
      ...plan.output(describe(plan, options, typed)),
      ...(typed.settings.printMapsOnExit ? {} : { silent: true }),
    },
    mapBytes: mapBytes(maps, options.types.features.cpus),
  };
}

function compileProbe(
  probe: TProbe,
  plan: Plan,
  options: CompileOptions,
  passes: Passes,
  typed: TProgram,
  lines: LineMap,
  diagnostics: Diagnostics,
): CompiledProgram | undefined {
  const [point] = probe.points;
  if (!point) return undefined;
  for (const share of STACK_SHARES) {
    const mark = plan.mark();
    const code = finish(lowerProbe(probe, plan, options, typed.settings.maxStrlen, share), passes, lines);
    if (!code) {
      plan.rewind(mark);
      continue;
    }
    const size = code.code.length / 8;
    if (size > MAX_INSTRUCTIONS) {
      diagnostics.report(probe.loc, say.programSize(point.text, size, MAX_INSTRUCTIONS));
      return undefined;
    }
    return {
      name: programName(point.text),
      type: point.programType,
      ...code,
      ...(point.attachBtfId === undefined ? {} : { attachBtfId: point.attachBtfId }),
    };
  }
  diagnostics.report(probe.loc, say.stack(point.text));
  return undefined;
}

/** Values of an enum whose names are asked for: small ones, single bits, and a few negative ones. */
const ENUM_VALUES = [
  ...Array.from({ length: 512 }, (_, i) => BigInt(i)),
  ...Array.from({ length: 55 }, (_, i) => 1n << BigInt(i + 9)),
  ...Array.from({ length: 16 }, (_, i) => BigInt(-1 - i)),
];

/** What user space must know of the types that the output holds: names of enum values, fields of structures. */
function describe(plan: Plan, options: CompileOptions, typed: TProgram): Parameters<Plan["output"]>[0] {
  const enums = new Set<string>();
  const structures = new Map<string, Structure>();
  const find = (name: string): Structure | undefined =>
    typed.structures.get(name) ?? options.types.structure(name);
  const visit = (type: Type): void => {
    if (type.kind === "enum") enums.add(type.name);
    else if (type.kind === "tuple") type.items.forEach(visit);
    else if (type.kind === "array") visit(type.of);
    else if (type.kind === "struct" && !structures.has(type.name)) {
      const structure = find(type.name);
      if (!structure) return;
      structures.set(type.name, structure);
      for (const field of structure.fields) visit(field.type);
    }
  };
  const { maps, actions } = plan.output({ enums: {} });
  for (const m of maps) {
    for (const k of m.key) visit(k.type);
    if (m.value.kind === "value") visit(m.value.type);
  }
  for (const a of actions) for (const argument of a.arguments) visit(argument.type);
  const texts = (name: string): readonly (readonly [string, string])[] => [
    ...(typed.enums.get(name) ??
      ENUM_VALUES.flatMap((value) => {
        const text = options.types.enumName(name, value);
        return text === undefined ? [] : [[String(value), text] as const];
      })),
  ];
  return {
    source: options.name,
    enums: Object.fromEntries([...enums].map((name) => [name, Object.fromEntries(texts(name))])),
    ...(typed.settings.maxCatBytes === undefined ? {} : { catBytes: typed.settings.maxCatBytes }),
    ...(structures.size > 0 ? { structures: Object.fromEntries(structures) } : {}),
    ...(options.compat === "0.17" ? { old: true } : { trailer: typed.settings.strTruncTrailer }),
  };
}

/** The kernel takes 15 characters of [A-Za-z0-9_.]. */
const programName = (text: string): string =>
  (text.split(":").at(-1) ?? text).replace(/[^A-Za-z0-9_.]/g, "_").slice(0, 15);

/** The functions that are still called: a loop that never runs is gone after optimising, and the kernel refuses dead code. */
function reachable(functions: readonly IrFunction[]): IrFunction[] {
  const numbers = new Map<number, number>([[0, 0]]);
  const order = [0];
  for (const index of order)
    for (const block of functions[index]?.blocks ?? [])
      for (const i of block.insns)
        if (i.op === "function" && !numbers.has(i.index)) numbers.set(i.index, order.push(i.index) - 1);
  return order.flatMap((index) => {
    const f = functions[index];
    if (!f) return [];
    const renumbered = f.blocks.map((block) => ({
      ...block,
      insns: block.insns.map((i) => (i.op === "function" ? { ...i, index: numbers.get(i.index) ?? 0 } : i)),
    }));
    return [{ ...f, blocks: renumbered }];
  });
}

function finish(
  lowered: LoweredProgram,
  passes: Passes,
  lines: LineMap,
): ReturnType<typeof emitProgram> | undefined {
  const allocations = [];
  for (const f of reachable(passes.optimise ? lowered.functions.map(optimise) : lowered.functions)) {
    const allocation = allocate(legalise(f), lowered.stackLimit);
    if (!allocation) return undefined;
    allocations.push(allocation);
  }
  return emitProgram(allocations, lines);
}

/** Kernel memory of maps, as bpf_map_memory_usage() of 6.x reckons it to within a few per cent. */
export function mapBytes(maps: readonly CompiledMap[], cpus: number): number {
  const round = (n: number): number => Math.ceil(n / 8) * 8;
  let total = 0;
  for (const m of maps) {
    const value = round(m.valueSize);
    if (m.type === "ringbuf") total += m.maxEntries;
    else if (m.type === "array") total += m.maxEntries * value;
    else if (m.type === "percpu_array") total += m.maxEntries * (value * cpus + 8);
    else if (m.type === "stack_trace") total += m.maxEntries * (value + 24);
    else {
      const perCpu = m.type === "percpu_hash" || m.type === "lru_percpu_hash";
      const buckets = 2 ** Math.ceil(Math.log2(Math.max(1, m.maxEntries)));
      total +=
        buckets * 16 + (m.maxEntries + cpus) * (48 + round(m.keySize) + (perCpu ? 8 + value * cpus : value));
    }
  }
  return total;
}
