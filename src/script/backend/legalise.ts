// script, backend: rewrites what the machine cannot say: large constants, constant left sides, scratch objects, far offsets.
import type { Address, Insn, IrFunction, Val, VReg } from "../ir/ir.ts";

export const fits32 = (v: bigint): boolean => v >= -0x8000_0000n && v <= 0x7fff_ffffn;
const FAR = 0x7000;

export function legalise(f: IrFunction): IrFunction {
  let registers = f.registers;
  const blocks = f.blocks.map((block) => {
    const insns: Insn[] = [];
    let loc: Insn["loc"];
    const push = (i: Insn): void => {
      insns.push(loc ? { ...i, loc } : i);
    };
    const inRegister = (v: Val): VReg => {
      if (typeof v === "number") return v;
      const d = registers++;
      push({ op: "mov", d, s: v });
      return d;
    };
    const small = (v: Val): Val => (typeof v === "bigint" && !fits32(v) ? inRegister(v) : v);
    const near = (a: Address): Address => {
      let { base, offset } = a;
      if (typeof base !== "number" && base.where === "scratch") {
        offset += base.offset;
        base = f.scratch;
      }
      if (typeof base !== "number" || Math.abs(offset) <= FAR) return { base, offset };
      const d = registers++;
      push({ op: "alu", alu: "add", d, a: base, b: BigInt(offset) });
      return { base: d, offset: 0 };
    };
    for (const i of block.insns) {
      loc = i.loc;
      switch (i.op) {
        case "alu":
          push({ ...i, a: inRegister(i.a), b: small(i.b) });
          break;
        case "load":
          push({ ...i, from: near(i.from) });
          break;
        case "store":
          push({ ...i, to: near(i.to), s: narrowed(i.s, i.size, small) });
          break;
        case "atomic_add":
          push({ ...i, to: near(i.to) });
          break;
        case "address":
          push({ ...i, of: near(i.of) });
          break;
        default:
          push(i);
      }
    }
    let { end } = block;
    loc = end.loc;
    if (end.op === "branch") end = { ...end, b: small(end.b) };
    return { id: block.id, insns, end };
  });
  return { ...f, blocks, registers };
}

/** A constant is stored as the immediate whose low bytes it is. */
function narrowed(v: Val, size: number, small: (v: Val) => Val): Val {
  if (typeof v !== "bigint") return v;
  if (size === 8) return small(v);
  return BigInt.asIntN(32, BigInt.asUintN(size * 8, v));
}
