// script, checker: the shape of a row of the function table, and what the rows share.
import type { Argument, ExprOf, Loc } from "../../ast.ts";
import { say } from "../../diagnostics.ts";
import { formatType, isInteger, isScalar, NONE } from "../../layout.ts";
import type { ActionKind, MapInfo, TExpr } from "../../typed.ts";
import type { Type } from "../../types.ts";
import { substitutedMap } from "../expressions.ts";
import { bad, type Checking, unknown, useMap } from "../state.ts";

export interface CallArguments {
  readonly call: ExprOf<"call">;
  readonly raw: readonly Argument[];
  readonly loc: Loc;
  /** Argument i, checked on first use. */
  get(i: number): TExpr;
}

export interface FunctionSpec {
  readonly name: string;
  readonly usage: string;
  readonly about: string;
  readonly least: number;
  readonly most: number;
  readonly unsafe?: boolean;
  check(c: Checking, args: CallArguments): TExpr;
}

/** An action has no value: it is a block whose only statement emits a record. */
export const emit = (action: ActionKind, args: readonly TExpr[], loc: Loc): TExpr => ({
  op: "block",
  body: [{ op: "emit", action, args, loc }],
  value: bad(loc),
  type: NONE,
  loc,
});

export const call = (
  name: string,
  type: Type,
  args: readonly TExpr[],
  loc: Loc,
  data?: Extract<TExpr, { op: "call" }>["data"],
): TExpr => ({ op: "call", name, args, type, loc, ...(data ? { data } : {}) });

/** The map that argument i names, without a key; undefined after an error. */
export function mapArgument(c: Checking, args: CallArguments, i: number): MapInfo | undefined {
  const raw = args.raw[i];
  if (raw?.node === "map" && raw.keys === undefined) return useMap(c, substitutedMap(c, raw.name), raw.loc);
  c.report(raw?.loc ?? args.loc, say.mapArgument(args.call.name));
  return undefined;
}

/** The value of a literal integer argument; undefined after an error. */
export function literalArgument(c: Checking, args: CallArguments, i: number): bigint | undefined {
  const e = args.get(i);
  if (unknown(e.type)) return undefined;
  if (e.op === "const" && isInteger(e.type)) return e.value;
  c.report(e.loc, say.literalArgument(args.call.name, "integer"));
  return undefined;
}

/** The value of a literal string argument; undefined after an error. */
export function textArgument(c: Checking, args: CallArguments, i: number): string | undefined {
  const e = args.get(i);
  if (unknown(e.type)) return undefined;
  if (e.op === "text") return e.value;
  // A positional parameter that was not given is an empty string here.
  if (args.raw[i]?.node === "positional") return e.op === "const" && e.value !== 0n ? String(e.value) : "";
  c.report(e.loc, say.literalArgument(args.call.name, "string"));
  return undefined;
}

/** An integer argument; undefined after an error. */
export function integerArgument(c: Checking, args: CallArguments, i: number): TExpr | undefined {
  const e = args.get(i);
  if (unknown(e.type)) return undefined;
  if (isInteger(e.type)) return e;
  c.report(e.loc, say.argumentType(args.call.name, i + 1, "integer", formatType(e.type)));
  return undefined;
}

/** An integer or pointer argument; undefined after an error. */
export function wordArgument(c: Checking, args: CallArguments, i: number, want: string): TExpr | undefined {
  const e = args.get(i);
  if (unknown(e.type)) return undefined;
  if (isScalar(e.type)) return e;
  c.report(e.loc, say.argumentType(args.call.name, i + 1, want, formatType(e.type)));
  return undefined;
}
