// script, lowering: each checked probe becomes one function of the intermediate form.

import { createBuilder } from "../ir/builder.ts";
import { HELPER } from "../ir/helpers.ts";
import type { IrFunction } from "../ir/ir.ts";
import type { TProbe } from "../typed.ts";
import type { CompileOptions } from "../types.ts";
import type { Plan } from "./plan.ts";
import { claim, gate } from "./prologue.ts";
import { branchOn } from "./scalars.ts";
import { at, type Lowering } from "./state.ts";
import { declare, lowerStatements } from "./statements.ts";

export interface LoweredProgram {
  readonly functions: readonly IrFunction[];
}

/** `stackBudget`: bytes of stack for the program's objects; the rest of the 512 is for spilled registers. */
export function lowerProbe(
  probe: TProbe,
  pointIndex: number,
  plan: Plan,
  options: CompileOptions,
  maxStrlen: number,
  stackBudget: number,
): LoweredProgram {
  const [point] = probe.points;
  if (!point) throw new Error("a probe without attach points");
  const b = createBuilder(point.text, 1, stackBudget);
  let exit: number | undefined;
  const l: Lowering & { owner: Lowering["owner"] } = {
    b,
    plan,
    options,
    point,
    pointIndex,
    ctx: 0,
    variables: new Map(),
    owner: undefined,
    caches: [new Map()],
    maxStrlen,
    loops: [],
    exitBlock: () => (exit ??= b.block()),
  };
  b.loc = probe.loc;
  // The scratch lookup is put here once it is known whether anything lies there.
  const body = b.block();
  b.jump(body);
  b.enter(body);
  if (!point.manual) gate(l);
  l.owner = claim(l);
  if (probe.predicate) {
    const yes = b.block();
    b.loc = probe.predicate.loc;
    branchOn(l, probe.predicate, yes, l.exitBlock());
    b.enter(yes);
  }
  for (const variable of probe.variables) declare(l, variable);
  if (options.compat === "0.17")
    for (const home of l.variables.values()) if (typeof home === "number") b.set(home, 0n);
  lowerStatements(l, probe.body);
  b.loc = probe.loc;
  if (b.reachable()) b.jump(l.exitBlock());
  if (exit !== undefined) {
    b.enter(exit);
    b.ret(0n);
  }
  const f = b.finish();
  return { functions: [f.scratch === undefined ? f : withScratch(f, plan.scratch(b.scratchBytes()))] };
}

/** The program whose only work is to note when the script began. */
export function lowerStart(plan: Plan): LoweredProgram {
  const b = createBuilder("start", 1, 256);
  b.store(at(b.mapValue(plan.start(), 0)), 8, b.call(HELPER.ktime_get_boot_ns, []));
  b.ret(0n);
  return { functions: [b.finish()] };
}

/** Looks the scratch element up in the entry block; without one (there always is one) the program returns. */
function withScratch(f: IrFunction, map: number): IrFunction {
  const [entry, ...rest] = f.blocks;
  if (!entry || f.scratch === undefined || entry.end.op !== "jump") return f;
  const mapReg = f.registers;
  const keyReg = f.registers + 1;
  const stackBytes = f.stackBytes + 8;
  const key = { where: "stack", offset: stackBytes, size: 8 } as const;
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
