// script: integer arithmetic and comparisons in the intermediate form, by size and sign.
import type { Loc } from "../ast.ts";
import { RUNTIME } from "../diagnostics.ts";
import type { MemorySize, Val } from "../ir/ir.ts";
import { isSigned, sizeOf } from "../layout.ts";
import type { TExprOf } from "../typed.ts";
import { stepMap } from "./maps.ts";
import { toMemory } from "./memory.ts";
import { loadFrom, value } from "./scalars.ts";
import { at, canonical, fault, type Lowering, when } from "./state.ts";

export function arithmetic(l: Lowering, e: TExprOf<"arithmetic">): Val {
  const { b } = l;
  const left = value(l, e.left);
  const right = value(l, e.right);
  switch (e.operator) {
    case "+":
      return b.alu("add", left, right);
    case "-":
      return b.alu("sub", left, right);
    case "*":
      return b.alu("mul", left, right);
    case "&":
      return b.alu("and", left, right);
    case "|":
      return b.alu("or", left, right);
    case "^":
      return b.alu("xor", left, right);
    case "<<":
      return b.alu("lsh", left, typeof right === "bigint" ? right & 63n : b.alu("and", right, 63n));
    case ">>":
      return b.alu(
        isSigned(e.left.type) ? "arsh" : "rsh",
        left,
        typeof right === "bigint" ? right & 63n : b.alu("and", right, 63n),
      );
    case "/":
    case "%":
      if (e.unchecked) return l.b.alu(e.operator === "/" ? "div" : "mod", left, right);
      return divide(l, e.operator === "/" ? "div" : "mod", left, right, isSigned(e.type), e.loc);
  }
}

/** Division as in C; by zero it gives 1, as bpftrace does, and is counted. */
export function divide(
  l: Lowering,
  op: "div" | "mod",
  left: Val,
  right: Val,
  signed: boolean,
  loc: Loc,
): Val {
  const { b } = l;
  if (typeof right === "bigint" && right !== 0n) return signedDivide(l, op, left, right, signed);
  const result = b.reg();
  when(
    l,
    "eq",
    right,
    0n,
    () => {
      fault(l, RUNTIME.division, loc);
      b.set(result, 1n);
    },
    () => b.set(result, signedDivide(l, op, left, right, signed)),
  );
  return result;
}

/** The machine divides unsigned: magnitudes are divided and the sign put back. */
export function signedDivide(l: Lowering, op: "div" | "mod", left: Val, right: Val, signed: boolean): Val {
  const { b } = l;
  if (!signed) return b.alu(op, left, right);
  const magnitude = (v: Val): Val => {
    if (typeof v === "bigint") return v < 0n ? -v : v;
    const sign = b.alu("arsh", v, 63n);
    return b.alu("sub", b.alu("xor", v, sign), sign);
  };
  const q = b.alu(op, magnitude(left), magnitude(right));
  const signs =
    op === "div" ? (typeof right === "bigint" && right >= 0n ? left : b.alu("xor", left, right)) : left;
  const sign = b.alu("arsh", signs, 63n);
  return b.alu("sub", b.alu("xor", q, sign), sign);
}

export function convert(l: Lowering, e: TExprOf<"convert">): Val {
  const from = e.operand.type;
  if (from.kind === "array") {
    const memory = toMemory(l, e.operand);
    return canonical(
      l,
      loadFrom(
        l,
        { space: "bpf", address: memory },
        { kind: "int", size: sizeOf(from) as MemorySize, signed: isSigned(e.type) },
      ),
      Math.min(sizeOf(from), sizeOf(e.type)),
      isSigned(e.type),
    );
  }
  const v = value(l, e.operand);
  if (e.type.kind !== "int" && e.type.kind !== "enum") return v;
  const to = e.type;
  if (to.size >= sizeOf(from) && (isSigned(from) === to.signed || to.size === 8)) return v;
  return canonical(l, v, to.size, to.signed);
}

export function increment(l: Lowering, e: TExprOf<"step">): Val {
  const { b } = l;
  if ("map" in e.target) return stepMap(l, e.target.map, e.target.key, e.delta, e.prefix);
  const { variable } = e.target;
  const home = l.variables.get(variable);
  const scale = variable.type.kind === "pointer" ? BigInt(Math.max(1, sizeOf(variable.type.to))) : 1n;
  const narrow = (v: Val): Val =>
    variable.type.kind === "int" ? canonical(l, v, variable.type.size, variable.type.signed) : v;
  if (typeof home === "number") {
    const before = b.mov(home);
    const after = narrow(b.alu("add", before, e.delta * scale));
    b.set(home, after);
    return e.prefix ? after : before;
  }
  if (!home) return 0n;
  const before = loadFrom(l, { space: "bpf", address: at(home) }, variable.type);
  const after = narrow(b.alu("add", before, e.delta * scale));
  b.store(at(home), sizeOf(variable.type) as MemorySize, after);
  return e.prefix ? after : before;
}
