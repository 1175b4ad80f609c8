// script, checker: casts, and the operators * and & on pointers.
import type { Loc } from "../ast.ts";
import { say } from "../diagnostics.ts";
import { formatType, isInteger, isScalar, isSigned, NONE, sizeOf } from "../layout.ts";
import type { MapInfo, TExpr } from "../typed.ts";
import type { Type } from "../types.ts";
import { unstable } from "./config.ts";
import { textOf } from "./expressions.ts";
import { call } from "./functions/table.ts";
import { checkBinary, checkUnary, wrap } from "./operators.ts";
import { bad, type Checking, unknown } from "./state.ts";
import { complete, findStructure } from "./structures.ts";

export function checkCast(c: Checking, to: Type, e: TExpr, loc: Loc): TExpr {
  if (unknown(to) || unknown(e.type)) return bad(loc);
  const refuse = (): TExpr => {
    c.report(loc, say.cannotCast(formatType(e.type), formatType(to)));
    return bad(loc);
  };
  if (to.kind === "int" || to.kind === "enum" || to.kind === "bool") {
    if (e.type.kind === "array" && isInteger(e.type.of) && sizeOf(e.type) <= 8 && to.kind === "int")
      return { op: "convert", operand: e, type: to, loc };
    if (to.kind === "bool" && e.type.kind === "string") return checkBinary(c, "!=", e, textOf("", loc), loc);
    if (!isScalar(e.type)) return refuse();
    if (to.kind === "bool") return checkUnary(c, "!", checkUnary(c, "!", e, loc), loc);
    // 0.17 widens as the new type has a sign or not, the newest as the old one has.
    const from: Type = c.old && e.type.kind === "int" ? { ...e.type, signed: isSigned(to) } : e.type;
    if (e.op === "const") return { op: "const", value: wrap(wrap(e.value, from), to), type: to, loc };
    const widened = c.old && sizeOf(e.type) < sizeOf(to);
    const operand: TExpr = widened ? { op: "convert", operand: e, type: from, loc } : e;
    return { op: "convert", operand, type: to, loc };
  }
  if (to.kind === "pointer") {
    if (!isScalar(e.type) && !(e.type.kind === "array")) return refuse();
    const space =
      e.type.kind === "pointer"
        ? e.type.space
        : c.point.context.kind === "registers"
          ? c.point.context.space
          : "kernel";
    return { op: "convert", operand: e, type: { ...to, space }, loc };
  }
  if (to.kind === "struct" && isScalar(e.type))
    // Old scripts cast an integer to a structure and mean a pointer to it.
    return { op: "convert", operand: e, type: { kind: "pointer", to, space: "kernel" }, loc };
  if (to.kind === "array" && isInteger(e.type) && isInteger(to.of)) {
    const length = to.length || Math.max(1, Math.floor(sizeOf(e.type) / sizeOf(to.of)));
    const operand = ofSize(e, length * sizeOf(to.of));
    return operand ? { op: "convert", operand, type: { ...to, length }, loc } : refuse();
  }
  if (to.kind === "string" && e.type.kind === "string") return { ...e, type: to };
  if (formatType(to) === formatType(e.type)) return e;
  return refuse();
}

/** An integer of so many bytes; a literal is one if its value fits. */
function ofSize(e: TExpr, size: number): TExpr | undefined {
  if (sizeOf(e.type) === size) return e;
  if (e.op !== "const" || !e.literal || (size !== 1 && size !== 2 && size !== 4 && size !== 8))
    return undefined;
  const type: Type = { kind: "int", size, signed: e.value < 0n };
  return wrap(e.value, type) === e.value ? { ...e, type } : undefined;
}

export function deref(c: Checking, pointer: TExpr, loc: Loc): TExpr {
  if (unknown(pointer.type)) return bad(loc);
  if (pointer.type.kind !== "pointer") {
    c.report(loc, say.cannotDeref(formatType(pointer.type)));
    return bad(loc);
  }
  if (unknown(pointer.type.to)) {
    c.report(loc, say.cannotDeref("void *"));
    return bad(loc);
  }
  return { op: "deref", pointer, type: complete(c, pointer.type.to), loc };
}

/** `&@map`: where the kernel's own object of the map lies. */
export function mapAddress(c: Checking, map: MapInfo, loc: Loc): TExpr {
  if (!unstable(c, "unstable_addr", loc)) return bad(loc);
  const structure = findStructure(c, "struct bpf_map");
  const to: Type = structure
    ? { kind: "struct", name: structure.name, size: structure.size, union: false }
    : NONE;
  return call("map_address", { kind: "pointer", to, space: "kernel" }, [], loc, { map });
}

export function addressOf(c: Checking, place: TExpr, loc: Loc): TExpr {
  if (unknown(place.type)) return bad(loc);
  if (place.op === "deref") return place.pointer;
  if (place.op === "field" || place.op === "element")
    return { op: "address", place, type: { kind: "pointer", to: place.type, space: "kernel" }, loc };
  if (!c.old && place.op === "variable") {
    place.variable.addressed = true;
    if (!unstable(c, "unstable_addr", loc)) return bad(loc);
    return { op: "address", place, type: { kind: "pointer", to: place.type, space: "kernel" }, loc };
  }
  c.report(loc, say.operatorType("&", formatType(place.type)));
  return bad(loc);
}
