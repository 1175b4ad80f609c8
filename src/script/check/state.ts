// script, checker: what the checking functions share, and the rules by which maps and variables get their types.
// The whole program is checked again until no type grows any more; messages count only in the last round.
import type { Expr, Loc, Macro } from "../ast.ts";
import { type Message, say } from "../diagnostics.ts";
import { formatType, isInteger, NONE, sizeOf, stored, unify } from "../layout.ts";
import type { ResolvedPoint } from "../probes.ts";
import type { MapInfo, TExpr, Variable } from "../typed.ts";
import type { Aggregate, CompileOptions, Structure, Type, TypeSource } from "../types.ts";
import type { Returning, Subprogram } from "./subprograms.ts";

export interface Settings {
  maxStrlen: number;
  maxMapKeys: number;
  maxProbes: number;
  missingProbes: "error" | "warn" | "ignore";
  maxCatBytes?: number;
  printMapsOnExit: boolean;
  strTruncTrailer: string;
  stackMode: "bpftrace" | "perf" | "raw";
  license: string;
  /** How features that bpftrace calls unstable are taken; absent: with a warning. */
  unstable: Readonly<Record<string, "error" | "warn" | "enable">>;
}

/** What a parameter of the macro in hand stands for. */
export type Binding = { readonly loc: Loc } & (
  | { readonly kind: "variable"; readonly variable: Variable }
  | { readonly kind: "map"; readonly name: string }
  /** A parameter of a function that was given a literal. */
  | { readonly kind: "constant"; readonly value: TExpr }
  | {
      readonly kind: "expression";
      readonly value: Expr;
      readonly scopes: Map<string, Variable>[];
      readonly bindings: ReadonlyMap<string, Binding>;
    }
);

export interface Checking {
  readonly options: CompileOptions;
  readonly types: TypeSource;
  readonly settings: Settings;
  readonly old: boolean;
  readonly positional: readonly string[];
  /** Named parameters that the script asks for. */
  readonly named: Set<string>;
  readonly maps: Map<string, MapInfo>;
  /** By probe and place of the first assignment, so that types survive from round to round. */
  readonly variables: Map<string, Variable>;
  readonly structures: Map<string, Structure>;
  readonly typedefs: Map<string, Type>;
  readonly constants: Map<string, { readonly value: bigint; readonly type: Type }>;
  readonly macros: Map<string, Macro>;
  readonly subprograms: Map<string, Subprogram>;
  /** Functions that were called in this round. */
  readonly called: Set<string>;
  readonly defines: ReadonlyMap<string, { readonly text: string; readonly loc: Loc }>;
  /** Enums of the script: name -> value -> text. */
  readonly enums: Map<string, ReadonlyMap<string, string>>;
  report(loc: Loc, message: Message): void;
  /** A type grew: another round is needed. */
  changed: boolean;

  // The probe in hand.
  probeKey: string;
  points: readonly ResolvedPoint[];
  point: ResolvedPoint;
  scopes: Map<string, Variable>[];
  probeVariables: Set<Variable>;
  loops: number;
  /** Macro calls around the code in hand, as name@place. */
  expanding: readonly string[];
  bindings: ReadonlyMap<string, Binding>;
  /** Calls of functions that were put in place in this probe. */
  expansions: number;
  /** The function whose body is in hand. */
  returning: Returning | undefined;
  /** The body asks which attach point it is, so that points cannot share a program. */
  asksPoint: boolean;
}

/** What stands for an expression that has an error: of type none, about which nothing more is said. */
export const bad = (loc: Loc): TExpr => ({ op: "const", value: 0n, type: NONE, loc });

export const unknown = (type: Type): boolean => type.kind === "none";

export function useMap(c: Checking, name: string, loc: Loc): MapInfo {
  let map = c.maps.get(name);
  if (!map) {
    map = {
      name,
      id: c.maps.size,
      key: undefined,
      value: NONE,
      aggregate: undefined,
      signed: false,
      hist: undefined,
      series: undefined,
      declared: undefined,
      firstUse: loc,
      assigned: false,
    };
    c.maps.set(name, map);
  }
  return map;
}

const list = (types: readonly Type[]): string =>
  types.length === 0 ? "()" : types.map(formatType).join(",");

/** Notes the key with which a map is used; reports a mismatch with earlier uses. */
export function noteKey(c: Checking, map: MapInfo, key: readonly TExpr[], loc: Loc): void {
  const types = key.map((k) => stored(k.type));
  if (types.some(unknown)) return;
  if (c.old && types.some((t) => t.kind === "tuple")) {
    c.report(loc, say.tupleKey());
    return;
  }
  const empty = types.find((t) => sizeOf(t) === 0);
  if (empty) {
    c.report(loc, say.cannotAssign(formatType(empty), "a map's key"));
    return;
  }
  if (map.key === undefined) {
    map.key = types;
    c.changed = true;
    return;
  }
  if (types.length !== map.key.length) {
    if (types.length === 0) c.report(loc, say.needsKey(map.name));
    else if (map.key.length === 0) c.report(loc, say.takesNoKey(map.name));
    else c.report(loc, say.keyMismatch(map.name, list(types), list(map.key)));
    return;
  }
  const both: Type[] = [];
  for (const [i, had] of map.key.entries()) {
    const got = types[i] ?? NONE;
    const united = unify(had, got);
    if (!united) {
      c.report(loc, say.keyMismatch(map.name, list(types), list(map.key)));
      return;
    }
    both.push(stored(united));
  }
  if (list(both) !== list(map.key)) {
    map.key = both;
    c.changed = true;
  }
}

/** Notes a plain value assigned to a map. */
export function noteValue(c: Checking, map: MapInfo, value: TExpr, loc: Loc): void {
  if (unknown(value.type)) return;
  if (map.aggregate !== undefined) {
    c.report(loc, say.mapMismatch(map.name, formatType(value.type), `${map.aggregate}_t`));
    return;
  }
  const type = stored(value.type);
  if (sizeOf(type) === 0) {
    c.report(loc, say.cannotAssign(formatType(value.type), "a map"));
    return;
  }
  const literal = value.op === "const" && value.literal === true;
  // A literal takes the sign that the map has, where it fits.
  if (literal && type.kind === "int" && map.value.kind === "int" && value.value >= 0n) return;
  const united = unify(map.value, type);
  if (!united) {
    c.report(loc, say.mapMismatch(map.name, formatType(value.type), formatType(map.value)));
    return;
  }
  const next = stored(united);
  if (formatType(next) !== formatType(map.value) || next.kind !== map.value.kind) {
    map.value = next;
    c.changed = true;
  }
}

/** Notes an aggregate assigned to a map. */
export function noteAggregate(
  c: Checking,
  map: MapInfo,
  aggregate: Aggregate,
  signed: boolean,
  shape: Pick<MapInfo, "hist" | "series">,
  loc: Loc,
): boolean {
  if (map.aggregate === undefined && !unknown(map.value)) {
    c.report(loc, say.mapMismatch(map.name, `${aggregate}_t`, formatType(map.value)));
    return false;
  }
  if (map.aggregate === undefined) {
    map.aggregate = aggregate;
    map.signed = signed;
    map.hist = shape.hist;
    map.series = shape.series;
    c.changed = true;
    return true;
  }
  const { hist, series } = shape;
  const sameBounds =
    hist === undefined ||
    map.hist === undefined ||
    (hist.bits === map.hist.bits &&
      hist.min === map.hist.min &&
      hist.max === map.hist.max &&
      hist.step === map.hist.step);
  const sameSeries =
    series === undefined ||
    map.series === undefined ||
    (series.interval === map.series.interval &&
      series.count === map.series.count &&
      series.how === map.series.how);
  if (map.aggregate !== aggregate || !sameBounds || !sameSeries) {
    c.report(loc, say.mapMismatch(map.name, `${aggregate}_t`, `${map.aggregate}_t`));
    return false;
  }
  if (signed && !map.signed) {
    map.signed = true;
    c.changed = true;
  }
  return true;
}

export function findVariable(c: Checking, name: string): Variable | undefined {
  for (let i = c.scopes.length - 1; i >= 0; i--) {
    const variable = c.scopes[i]?.get(name);
    if (variable) return variable;
  }
  return undefined;
}

/** The variable that an assignment at `loc` declares, in the innermost scope (0.17: in the probe's only one). */
export function declareVariable(c: Checking, name: string, loc: Loc): Variable {
  const key = `${c.probeKey}:${loc.start}:${name}:${c.expanding.join("/")}`;
  let variable = c.variables.get(key);
  if (!variable) {
    variable = { name, id: c.variables.size, type: NONE, declared: false };
    c.variables.set(key, variable);
  }
  const scope = c.old ? c.scopes[0] : c.scopes.at(-1);
  scope?.set(name, variable);
  c.probeVariables.add(variable);
  return variable;
}

/** Notes a value assigned to a variable. */
export function noteVariable(c: Checking, variable: Variable, value: TExpr, loc: Loc): void {
  if (unknown(value.type)) return;
  const type = value.type;
  const literal = value.op === "const" && value.literal === true;
  if (literal && type.kind === "int" && variable.type.kind === "int" && value.value >= 0n) return;
  const united = unify(variable.type, type);
  const converts = isInteger(variable.type) && isInteger(type);
  const other = variable.type.kind !== type.kind && !unknown(variable.type) && !converts;
  if (!united || (variable.declared && other)) {
    c.report(loc, say.variableMismatch(variable.name, formatType(type), formatType(variable.type)));
    return;
  }
  if (variable.declared) return;
  if (formatType(united) !== formatType(variable.type)) {
    variable.type = united;
    c.changed = true;
  }
}

export function withScope<R>(c: Checking, work: () => R): R {
  c.scopes.push(new Map());
  try {
    return work();
  } finally {
    c.scopes.pop();
  }
}

export function allVariables(c: Checking): string[] {
  return c.scopes.flatMap((s) => [...s.keys()]);
}
