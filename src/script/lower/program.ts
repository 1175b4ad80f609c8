// script, lowering: each checked probe becomes one program of the intermediate form: the probe's function, and one for each loop.
import { type Builder, createBuilder } from "../ir/builder.ts";
import { HELPER } from "../ir/helpers.ts";
import { type FrameObject, type Insn, type IrFunction, uses } from "../ir/ir.ts";
import type { TProbe } from "../typed.ts";
import type { CompileOptions } from "../types.ts";
import { expressionDepth, loopDepth } from "./loops.ts";
import type { Plan } from "./plan.ts";
import { claim, gate } from "./prologue.ts";
import { branchOn } from "./scalars.ts";
import { at, type Lowering, type ProgramParts } from "./state.ts";
import { declare, lowerStatements } from "./statements.ts";

export interface LoweredProgram {
  readonly functions: readonly IrFunction[];
  /** Bytes of stack that each function may take: a chain of calls shares the 512. */
  readonly stackLimit: number;
}

const STACK = 512;

/** `share`: how much of the stack is for the program's objects, 0..1; the rest is for spilled registers. */
export function lowerProbe(
  probe: TProbe,
  plan: Plan,
  options: CompileOptions,
  maxStrlen: number,
  share: number,
): LoweredProgram {
  const [point] = probe.points;
  if (!point) throw new Error("a probe without attach points");
  const depth = Math.max(loopDepth(probe.body), probe.predicate ? expressionDepth(probe.predicate) : 0);
  const stackLimit = Math.floor(STACK / (depth + 1) / 32) * 32;
  const stackBudget = Math.floor(stackLimit * share);
  const b = createBuilder(point.text, 1, stackBudget);
  const loops = depth > 0;
  const program: ProgramParts = {
    builders: [b],
    contextSlot: loops ? b.pinned(8, "stack") : undefined,
    ended: loops ? b.pinned(8, "scratch") : undefined,
    stackBudget,
  };
  startFunction(b);
  let exit: number | undefined;
  const l: Lowering & { owner: Lowering["owner"] } = {
    b,
    plan,
    options,
    point,
    ctx: 0,
    callbackContext: undefined,
    variables: new Map(),
    owner: undefined,
    caches: [new Map()],
    maxStrlen,
    loops: [],
    exitBlock: () => (exit ??= b.block()),
    program,
  };
  b.loc = probe.loc;
  if (!point.manual) gate(l);
  l.owner = claim(l);
  if (program.contextSlot) b.store(at(program.contextSlot), 8, l.ctx);
  if (program.ended) b.store(at(program.ended), 8, 0n);
  if (loops) for (const variable of probe.variables) declare(l, variable);
  else for (const variable of probe.early) declare(l, variable);
  if (probe.predicate) {
    const yes = b.block();
    b.loc = probe.predicate.loc;
    branchOn(l, probe.predicate, yes, l.exitBlock());
    b.enter(yes);
  }
  if (!loops) for (const variable of probe.variables) declare(l, variable);
  lowerStatements(l, probe.body);
  b.loc = probe.loc;
  if (b.reachable()) b.jump(l.exitBlock());
  if (exit !== undefined) {
    b.enter(exit);
    b.ret(0n);
  }
  return { functions: finishFunctions(program.builders, plan), stackLimit };
}

/** The program whose only work is to note when the script began. */
export function lowerStart(plan: Plan): LoweredProgram {
  const b = createBuilder("start", 1, 256);
  startFunction(b);
  b.store(at(b.mapValue(plan.start(), 0)), 8, b.call(HELPER.ktime_get_boot_ns, []));
  b.ret(0n);
  return { functions: finishFunctions([b], plan), stackLimit: STACK };
}

/** The entry block stays empty until it is known whether anything lies in scratch. */
function startFunction(b: Builder): void {
  const body = b.block();
  b.jump(body);
  b.enter(body);
}

/** A function of a loop, the next of the program's. */
export function newFunction(program: ProgramParts, name: string, parameters: number): Builder {
  const b = createBuilder(name, parameters, program.stackBudget);
  program.builders.push(b);
  startFunction(b);
  return b;
}

/** Lays the functions' parts of the scratch element out one after another, and looks the element up in those that use it. */
function finishFunctions(builders: readonly Builder[], plan: Plan): IrFunction[] {
  let base = 0;
  const finished = builders.map((b) => {
    const { f, scratchBytes } = b.finish(base);
    base += scratchBytes;
    return f;
  });
  return finished.map((f) => (base > 0 && usesScratch(f) ? withScratch(f, plan.scratch(base)) : f));
}

function usesScratch(f: IrFunction): boolean {
  const inScratch = (base: number | FrameObject): boolean =>
    typeof base !== "number" && base.where === "scratch";
  const touches = (i: Insn): boolean => {
    switch (i.op) {
      case "load":
        return inScratch(i.from.base);
      case "store":
      case "atomic_add":
        return inScratch(i.to.base);
      case "address":
        return inScratch(i.of.base);
      default:
        return uses(i).includes(f.scratch);
    }
  };
  return f.blocks.some((block) => block.insns.some(touches));
}

/** Looks the scratch element up in the entry block; without one (there always is one) the function returns. */
function withScratch(f: IrFunction, map: number): IrFunction {
  const [entry, ...rest] = f.blocks;
  if (entry?.end.op !== "jump") return f;
  const mapReg = f.registers;
  const keyReg = f.registers + 1;
  const stackBytes = f.stackBytes + 8;
  const key: FrameObject = { where: "stack", offset: stackBytes, size: 8 };
  const failed = {
    id: 1 + Math.max(...f.blocks.map((x) => x.id)),
    insns: [],
    end: { op: "return", value: 0n } as const,
  };
  entry.insns = [
    ...entry.insns,
    { op: "store", to: at(key), size: 8, s: 0n },
    { op: "map", d: mapReg, map },
    { op: "address", d: keyReg, of: at(key) },
    { op: "call", d: f.scratch, helper: HELPER.map_lookup_elem, args: [mapReg, keyReg] },
  ];
  entry.end = {
    op: "branch",
    condition: "ne",
    a: f.scratch,
    b: 0n,
    yes: entry.end.to,
    no: failed.id,
  };
  return { ...f, blocks: [entry, ...rest, failed], registers: f.registers + 2, stackBytes };
}
