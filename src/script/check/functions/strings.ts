// script, checker: functions that make or take strings.
import { say } from "../../diagnostics.ts";
import { BOOL, formatType, I64, isInteger, sizeOf, stringOf, U64 } from "../../layout.ts";
import type { TExpr } from "../../typed.ts";
import type { Type } from "../../types.ts";
import { textOf } from "../expressions.ts";
import { bad, type Checking, unknown } from "../state.ts";
import { type CallArguments, call, type FunctionSpec, textArgument, wordArgument } from "./table.ts";

/** Longest string that str() takes. */
export const MAX_STRING = 1024;

function str(c: Checking, args: CallArguments): TExpr {
  const raw = args.raw[0];
  if (raw?.node === "positional_count") {
    c.report(args.loc, say.argumentValue("str", "use $#, not str($#)"));
    return bad(args.loc);
  }
  // str($1) is the parameter as text, whatever it looks like.
  if (raw?.node === "positional") {
    const text = c.positional[raw.index - 1] ?? "";
    const value = args.get(0);
    if (value.op === "text") return value;
    if (value.op === "const")
      return {
        op: "text",
        value: text,
        bytes: new TextEncoder().encode(text),
        type: stringOf(text.length + 1),
        loc: args.loc,
      };
  }
  const from = args.get(0);
  if (unknown(from.type)) return bad(args.loc);
  // max_strlen counted the end of the string in 0.17, and does not any more.
  const most = c.settings.maxStrlen + (c.old ? 0 : 1);
  let size = most;
  let length: TExpr | undefined;
  if (args.raw.length > 1) {
    length = args.get(1);
    if (unknown(length.type)) return bad(args.loc);
    if (!isInteger(length.type)) {
      c.report(length.loc, say.argumentType("str", 2, "integer", formatType(length.type)));
      return bad(args.loc);
    }
    if (length.op === "const") {
      if (length.value < 0n) {
        c.report(length.loc, say.argumentValue("str", `length must be positive, ${length.value} given`));
        return bad(args.loc);
      }
      // The length is that of the text; one more byte ends it.
      size = Number(length.value < BigInt(most) ? length.value + 1n : BigInt(most));
      length = undefined;
    }
  }
  if (from.type.kind === "string" && c.old && from.op === "text" && args.raw[0]?.node !== "positional") {
    c.report(args.loc, say.argumentType("str", 1, "integer or pointer", formatType(from.type)));
    return bad(args.loc);
  }
  if (from.type.kind === "string") {
    const cut = c.old && from.op === "text" && size < from.type.size;
    return cut ? textOf(from.value.slice(0, size - 1), args.loc) : from;
  }
  if (from.type.kind === "array" && isInteger(from.type.of) && sizeOf(from.type.of) === 1)
    return call("str_bytes", stringOf(Math.min(size, from.type.length + 1)), [from], args.loc);
  if (from.type.kind !== "pointer" && !isInteger(from.type)) {
    c.report(from.loc, say.argumentType("str", 1, "string or pointer", formatType(from.type)));
    return bad(args.loc);
  }
  const space =
    from.type.kind === "pointer"
      ? from.type.space
      : c.point.context.kind === "registers"
        ? c.point.context.space
        : c.point.context.kind === "tracepoint" && c.point.context.category === "syscalls"
          ? "user"
          : "kernel";
  const type: Type = { kind: "string", size, ...(c.old ? {} : { cut: true }) };
  return call("str", type, length ? [from, length] : [from], args.loc, { space });
}

/** A string, or what reads as one: an array of char, a pointer to char; undefined after an error. */
function stringLike(c: Checking, args: CallArguments, i: number): TExpr | undefined {
  const e = args.get(i);
  if (unknown(e.type)) return undefined;
  if (e.type.kind === "string") return e;
  const chars = (t: Type): boolean => t.kind === "int" && t.size === 1;
  if (!c.old && e.type.kind === "array" && chars(e.type.of))
    return call("str_bytes", stringOf(e.type.length + 1), [e], e.loc);
  if (!c.old && e.type.kind === "pointer" && chars(e.type.to))
    return call("str", stringOf(c.settings.maxStrlen + 1), [e], e.loc, { space: e.type.space });
  c.report(e.loc, say.argumentType(args.call.name, i + 1, "string", formatType(e.type)));
  return undefined;
}

/** strstr and strcontains: where a string begins in another, or whether it does. */
const search = (name: "strstr" | "strcontains", about: string): FunctionSpec => ({
  name,
  usage: `${name}(text, part)`,
  about,
  least: 2,
  most: 2,
  check: (c, args) => {
    const text = stringLike(c, args, 0);
    const part = stringLike(c, args, 1);
    if (!text || !part) return bad(args.loc);
    if (c.old && part.op !== "text") {
      c.report(part.loc, say.literalArgument(name, "string"));
      return bad(args.loc);
    }
    const type = name === "strstr" ? I64 : BOOL;
    if (text.op === "text" && part.op === "text") {
      const at = Buffer.from(text.bytes).indexOf(part.bytes);
      const value = name === "strstr" ? at : at >= 0 ? 1 : 0;
      return { op: "const", value: BigInt(value), type, loc: args.loc };
    }
    if (!c.types.features.bpfLoop) {
      c.report(args.loc, say.noKernelSupport("bpf_loop()"));
      return bad(args.loc);
    }
    return call(name, type, [text, part], args.loc);
  },
});

export const STRINGS: readonly FunctionSpec[] = [
  search("strstr", "where a string begins in another; -1 if it does not"),
  search("strcontains", "whether a string holds another"),
  {
    name: "str",
    usage: "str(pointer [, length])",
    about: "the string at an address",
    least: 1,
    most: 2,
    check: str,
  },
  {
    name: "strftime",
    usage: "strftime(format, nsecs)",
    about: "a boot time in ns as wall-clock text",
    least: 2,
    most: 2,
    check: (c, args) => {
      const format = textArgument(c, args, 0);
      const value = wordArgument(c, args, 1, "integer");
      if (format === undefined || !value) return bad(args.loc);
      return {
        op: "convert",
        operand: value,
        type: { kind: "timestamp", format, clock: "boot" },
        loc: args.loc,
      };
    },
  },
  {
    name: "strcap",
    usage: "strcap(string)",
    about: "bytes that a string may have, its end not counted",
    least: 1,
    most: 1,
    check: (c, args) => {
      const value = stringLike(c, args, 0);
      if (value?.type.kind !== "string") return bad(args.loc);
      return { op: "const", value: BigInt(value.type.size - 1), type: U64, literal: true, loc: args.loc };
    },
  },
  {
    name: "strlen",
    usage: "strlen(string)",
    about: "length of a string in bytes",
    least: 1,
    most: 1,
    check: (c, args) => {
      const value = stringLike(c, args, 0);
      if (!value) return bad(args.loc);
      if (value.op === "text")
        return { op: "const", value: BigInt(value.bytes.length), type: U64, literal: true, loc: args.loc };
      return call("strlen", U64, [value], args.loc);
    },
  },
];
