// script, checker: arguments of USDT probes. A place's note says where each is: "-4@%edi 8@-16(%rbp) 4@$7".
import type { Loc } from "../ast.ts";
import { U64 } from "../layout.ts";
import type { TExpr } from "../typed.ts";
import type { Type } from "../types.ts";

/** Where an argument is: in a register, behind one or two of them, or nowhere because it is constant. */
type Operand =
  | { readonly kind: "constant"; readonly value: bigint }
  | { readonly kind: "register"; readonly register: string }
  | {
      readonly kind: "memory";
      readonly base: string;
      readonly offset: bigint;
      readonly index?: { readonly register: string; readonly scale: bigint };
    };

interface UsdtArgument {
  readonly size: 1 | 2 | 4 | 8;
  readonly signed: boolean;
  readonly operand: Operand;
}

/** Splits at blanks outside of brackets. */
const WORD = /(?:[^\s()[\]]|\([^)]*\)|\[[^\]]*\])+/g;

/** Arguments of a note; undefined in place of what is written in a way we do not know. */
export function usdtArguments(note: string): (UsdtArgument | undefined)[] {
  return (note.match(WORD) ?? []).map((word) => {
    const [, sign, digits, rest = ""] = /^(-?)([1248])[a-z]?@(.+)$/.exec(word) ?? [];
    const operand = operandOf(rest);
    return digits && operand
      ? { size: Number(digits) as 1 | 2 | 4 | 8, signed: sign === "-", operand }
      : undefined;
  });
}

function operandOf(text: string): Operand | undefined {
  const constant = /^\$?(-?(?:0x[0-9a-f]+|\d+))$/i.exec(text);
  if (constant) return { kind: "constant", value: integer(constant[1] ?? "0") };
  if (/^%\w+$/.test(text)) return { kind: "register", register: registerName(text) };
  // x86: offset(%base,%index,scale)
  const [, offset = "", base, index, scale] =
    /^(-?(?:0x[0-9a-f]+|\d+)?)\((%\w+)(?:,(%\w+)(?:,([1248]))?)?\)$/i.exec(text) ?? [];
  if (base)
    return {
      kind: "memory",
      base: registerName(base),
      offset: integer(offset),
      ...(index ? { index: { register: registerName(index), scale: BigInt(scale ?? 1) } } : {}),
    };
  // arm64: x0, [sp, 8]
  if (/^(x\d+|sp)$/.test(text)) return { kind: "register", register: text };
  const [, register, displacement = "0"] = /^\[(x\d+|sp)(?:, ?(-?\d+))?\]$/.exec(text) ?? [];
  return register ? { kind: "memory", base: register, offset: integer(displacement) } : undefined;
}

const integer = (text: string): bigint =>
  text.startsWith("-") ? -BigInt(text.slice(1) || 0) : BigInt(text || 0);

/** %eax, %ax and %al as struct pt_regs calls the whole: ax. */
function registerName(text: string): string {
  const name = text.replace(/^%/, "");
  const numbered = /^(r\d+)[dwb]?$/.exec(name);
  if (numbered) return numbered[1] ?? name;
  const short = name.replace(/^[re](?=..$)/, "");
  if (/^[abcd]l$/.test(short)) return `${short[0]}x`;
  return short.replace(/^(si|di|bp|sp)l$/, "$1");
}

/** The value of an argument, its bytes extended by its sign. @param offset of a register in struct pt_regs */
export function usdtValue(
  argument: UsdtArgument,
  offset: (register: string) => number | undefined,
  type: Type,
  loc: Loc,
): TExpr | undefined {
  const { size, signed, operand } = argument;
  const own: Type = { kind: "int", size, signed };
  const register = (name: string): TExpr | undefined => {
    const at = offset(name);
    return at === undefined ? undefined : { op: "context_word", offset: at, size: 8, type: U64, loc };
  };
  const sum = (left: TExpr, right: TExpr): TExpr => ({
    op: "arithmetic",
    operator: "+",
    left,
    right,
    type: U64,
    loc,
  });
  const constant = (value: bigint): TExpr => ({ op: "const", value, type: U64, loc });
  if (operand.kind === "constant") return { ...constant(operand.value), type };
  if (operand.kind === "register") {
    const word = register(operand.register);
    return word && { op: "convert", operand: { op: "convert", operand: word, type: own, loc }, type, loc };
  }
  const base = register(operand.base);
  const index = operand.index && register(operand.index.register);
  if (!base || (operand.index && !index)) return undefined;
  let address = sum(base, constant(operand.offset));
  if (index && operand.index)
    address = sum(address, {
      op: "arithmetic",
      operator: "*",
      left: index,
      right: constant(operand.index.scale),
      type: U64,
      loc,
    });
  const pointer: TExpr = { ...address, type: { kind: "pointer", to: own, space: "user" } };
  return { op: "convert", operand: { op: "deref", pointer, type: own, loc }, type, loc };
}
