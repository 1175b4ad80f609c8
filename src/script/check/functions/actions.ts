// script, checker: functions that user space carries out: printf, print, time, exit and their kin.
import type { Loc } from "../../ast.ts";
import { say } from "../../diagnostics.ts";
import { type Conversion, parseFormat } from "../../format.ts";
import { formatType, I64, isInteger, sizeOf } from "../../layout.ts";
import type { TExpr, TStatement } from "../../typed.ts";
import type { Type } from "../../types.ts";
import { checkKey, hasNoValue, substitutedMap } from "../expressions.ts";
import { recordOf } from "../fields.ts";
import { truth } from "../operators.ts";
import { bad, type Checking, noteKey, unknown, useMap } from "../state.ts";
import {
  type CallArguments,
  emit,
  type FunctionSpec,
  literalArgument,
  mapArgument,
  textArgument,
} from "./table.ts";

/** Largest record that may go through the ring. */
export const MAX_RECORD = 32 * 1024;

const TEXT_KINDS: readonly Type["kind"][] = [
  "string",
  "inet",
  "prefix",
  "name",
  "symbol",
  "username",
  "timestamp",
  "stack",
  "mac",
  "community",
  "cgroup_path",
  "errno",
  "syscall",
  "enum",
  "bool",
];

function fits(conversion: Conversion, type: Type, old: boolean): string | undefined {
  switch (conversion.letter) {
    case "s":
      // The newest prints whatever it is by %s.
      return !old || TEXT_KINDS.includes(type.kind) ? undefined : "string";
    case "r":
    case "rx":
    case "rh":
      return type.kind === "buffer" ? undefined : "buffer";
    case "p":
      return type.kind === "pointer" || isInteger(type) ? undefined : "pointer";
    default:
      return isInteger(type) ||
        type.kind === "pointer" ||
        type.kind === "username" ||
        (type.kind === "symbol" && !type.user) ||
        type.kind === "timestamp"
        ? undefined
        : "integer";
  }
}

const shown = (type: Type): string =>
  isInteger(type) && type.kind === "int"
    ? "integer"
    : type.kind === "tuple"
      ? "tuple"
      : type.kind === "string"
        ? "string"
        : formatType(type);

/** Checks a format against its arguments; the arguments if all is well. */
export function checkFormat(
  c: Checking,
  args: CallArguments,
  format: string,
  from: number,
): TExpr[] | undefined {
  const { name } = args.call;
  const { parts, bad: wrong } = parseFormat(format, c.old);
  if (wrong !== undefined) {
    c.report(args.loc, say.formatSpecifier(name, wrong));
    return undefined;
  }
  const conversions = parts.filter((p) => p.kind === "conversion");
  const given = args.raw.length - from;
  if (conversions.length !== given) {
    c.report(args.loc, say.formatCount(name, conversions.length, given));
    return undefined;
  }
  const values: TExpr[] = [];
  let fine = true;
  for (const [i, conversion] of conversions.entries()) {
    const value = recordOf(c, args.get(from + i));
    values.push(value);
    if (unknown(value.type)) {
      if (value.op === "map")
        c.report(value.loc, say.formatType(name, conversion.text, "value", "aggregate"));
      fine = false;
      continue;
    }
    const summed = c.old && value.op === "map" ? value.map.aggregate : undefined;
    const want = summed ? "integer" : fits(conversion, value.type, c.old);
    if (want === undefined) continue;
    c.report(args.loc, say.formatType(name, conversion.text, want, summed ?? shown(value.type)));
    fine = false;
  }
  const size = values.reduce((sum, v) => sum + sizeOf(v.type), 8);
  if (size > MAX_RECORD) {
    c.report(args.loc, say.tooLarge(`the record of ${name}()`, size, MAX_RECORD));
    fine = false;
  }
  return fine ? values : undefined;
}

function formatted(
  kind: "printf" | "errorf" | "warnf" | "system" | "cat",
  about: string,
  unsafe: boolean,
): FunctionSpec {
  return {
    name: kind,
    usage: `${kind}(format, ...)`,
    about,
    least: 1,
    most: 64,
    ...(unsafe ? { unsafe } : {}),
    check: (c, args) => {
      const format = textArgument(c, args, 0);
      if (format === undefined) return bad(args.loc);
      const values = checkFormat(c, args, format, 1);
      return values ? emit({ kind, format }, values, args.loc) : bad(args.loc);
    },
  };
}

function printMap(c: Checking, args: CallArguments): TExpr {
  const map = mapArgument(c, args, 0);
  const top = args.raw.length > 1 ? literalArgument(c, args, 1) : 0n;
  const divide = args.raw.length > 2 ? literalArgument(c, args, 2) : 1n;
  if (!map || top === undefined || divide === undefined) return bad(args.loc);
  if (map.key === undefined && map.aggregate === undefined && unknown(map.value)) {
    c.report(args.raw[0]?.loc ?? args.loc, say.undefinedMap(map.name, c.maps.keys()));
    return bad(args.loc);
  }
  return emit({ kind: "print_map", map, top: Number(top), divide: Number(divide) || 1 }, [], args.loc);
}

function print(c: Checking, args: CallArguments): TExpr {
  const raw = args.raw[0];
  if (raw?.node === "map" && raw.keys === undefined) {
    const map = useMap(c, substitutedMap(c, raw.name), raw.loc);
    if (map.key?.length !== 0 || map.aggregate !== undefined || args.raw.length > 1) return printMap(c, args);
    return printMap(c, args);
  }
  if (args.raw.length > 1) {
    c.report(args.loc, say.argumentCount("print", 1, 1, args.raw.length));
    return bad(args.loc);
  }
  if (raw?.node === "map" && c.old && !raw.parenthesised) {
    c.report(args.loc, say.printKeyed());
    return bad(args.loc);
  }
  if (raw?.node === "map") {
    const map = useMap(c, substitutedMap(c, raw.name), raw.loc);
    if (map.aggregate && hasNoValue(map.aggregate)) {
      noteKey(c, map, checkKey(c, raw.keys), raw.loc);
      c.report(args.loc, say.printOne(map.aggregate, map.name));
      return bad(args.loc);
    }
  }
  const value = recordOf(c, args.get(0));
  if (unknown(value.type)) {
    if (value.op === "block") c.report(value.loc, say.noValue("this call"));
    return bad(args.loc);
  }
  return emit({ kind: "print_value" }, [value], args.loc);
}

const onMap = (kind: "clear" | "zero", about: string): FunctionSpec => ({
  name: kind,
  usage: `${kind}(@map)`,
  about,
  least: 1,
  most: 1,
  check: (c, args) => {
    const map = mapArgument(c, args, 0);
    return map ? emit({ kind, map }, [], args.loc) : bad(args.loc);
  },
});

const ifStatement = (
  condition: TExpr,
  then: readonly TStatement[],
  otherwise: readonly TStatement[],
  loc: Loc,
): TStatement => ({ op: "if", condition, then, otherwise, loc });

const nothing = (loc: Loc): TExpr => ({ op: "block", body: [], value: bad(loc), type: bad(loc).type, loc });

const zeroCode = (loc: Loc): TExpr => ({ op: "const", value: 0n, type: I64, loc });

export const ACTIONS: readonly FunctionSpec[] = [
  formatted("printf", "prints a formatted line", false),
  formatted("errorf", "prints an error with its place", false),
  formatted("warnf", "prints a warning with its place", false),
  formatted("system", "runs a shell command", true),
  formatted("cat", "prints a file", false),
  {
    name: "print",
    usage: "print(@map [, top [, divide]]) or print(value)",
    about: "prints a map or a value",
    least: 1,
    most: 3,
    check: print,
  },
  onMap("clear", "removes all entries of a map"),
  onMap("zero", "sets all values of a map to 0"),
  {
    name: "exit",
    usage: "exit([code])",
    about: "ends the script",
    least: 0,
    most: 1,
    check: (c, args) => {
      if (c.old && args.raw.length > 0) {
        c.report(args.loc, say.argumentCount("exit", 0, 0, args.raw.length));
        return bad(args.loc);
      }
      const code = args.raw.length > 0 ? args.get(0) : zeroCode(args.loc);
      if (unknown(code.type)) return bad(args.loc);
      if (!isInteger(code.type)) {
        c.report(code.loc, say.argumentType("exit", 1, "integer", formatType(code.type)));
        return bad(args.loc);
      }
      return {
        op: "block",
        body: [
          { op: "emit", action: { kind: "exit" }, args: [code], loc: args.loc },
          { op: "return", loc: args.loc },
        ],
        value: bad(args.loc),
        type: bad(args.loc).type,
        loc: args.loc,
      };
    },
  },
  {
    name: "assert",
    usage: "assert(condition, message)",
    about: "ends the script with an error if the condition does not hold",
    least: 2,
    most: 2,
    check: (c, args) => {
      const condition = truth(c, args.get(0));
      const text = textArgument(c, args, 1);
      if (unknown(condition.type) || text === undefined) return bad(args.loc);
      const one: TExpr = { op: "const", value: 1n, type: I64, loc: args.loc };
      const failed: TStatement[] = [
        {
          op: "emit",
          action: { kind: "errorf", format: text.replaceAll("%", "%%") },
          args: [],
          loc: args.loc,
        },
        { op: "emit", action: { kind: "exit" }, args: [one], loc: args.loc },
        { op: "return", loc: args.loc },
      ];
      const holds: readonly TStatement[] = [];
      const check = ifStatement(condition, holds, failed, args.loc);
      return { op: "block", body: [check], value: bad(args.loc), type: bad(args.loc).type, loc: args.loc };
    },
  },
  {
    name: "static_assert",
    usage: "static_assert(condition, message)",
    about: "an error of compilation if the condition does not hold",
    least: 1,
    most: 2,
    check: (c, args) => {
      const condition = truth(c, args.get(0));
      const text = args.raw.length > 1 ? textArgument(c, args, 1) : "static assertion failed";
      if (unknown(condition.type) || text === undefined) return bad(args.loc);
      if (condition.op !== "const") c.report(args.loc, say.literalArgument("static_assert", "condition"));
      else if (condition.value === 0n) c.report(args.loc, say.assertion(text));
      return nothing(args.loc);
    },
  },
  {
    name: "fail",
    usage: "fail(message)",
    about: "an error of compilation, for macros that are used wrongly",
    least: 1,
    most: 1,
    check: (c, args) => {
      const text = textArgument(c, args, 0);
      if (text !== undefined) c.report(args.loc, say.assertion(text));
      return nothing(args.loc);
    },
  },
  {
    name: "time",
    usage: "time([format])",
    about: "prints the time of day",
    least: 0,
    most: 1,
    check: (c, args) => {
      const format = args.raw.length > 0 ? textArgument(c, args, 0) : "%H:%M:%S\n";
      return format === undefined ? bad(args.loc) : emit({ kind: "time", format }, [], args.loc);
    },
  },
];
