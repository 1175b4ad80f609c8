// script, checker: functions on memory: buffers, comparing, casting between address spaces.
import { say } from "../../diagnostics.ts";
import { formatType, I64, isInteger, sizeOf, U8, U64 } from "../../layout.ts";
import { parseInet } from "../../literals.ts";
import type { TExpr } from "../../typed.ts";
import type { Type } from "../../types.ts";
import { fieldPathOffset } from "../fields.ts";
import { checkBinary } from "../operators.ts";
import { bad, type Checking, unknown } from "../state.ts";
import { resolveType } from "../structures.ts";
import {
  type CallArguments,
  call,
  type FunctionSpec,
  integerArgument,
  literalArgument,
  textArgument,
} from "./table.ts";

function buffer(c: Checking, args: CallArguments): TExpr {
  const from = args.get(0);
  if (unknown(from.type)) return bad(args.loc);
  const most = c.settings.maxStrlen;
  const length = args.raw.length > 1 ? integerArgument(c, args, 1) : undefined;
  if (args.raw.length > 1 && !length) return bad(args.loc);
  if (from.type.kind === "array" || from.type.kind === "string") {
    const whole = sizeOf(from.type);
    // A string is as long as one says; what it does not have is zeros.
    const longest = from.type.kind === "string" ? most : whole;
    const size =
      length?.op === "const" ? Math.min(longest, Math.max(1, Number(length.value))) : Math.min(whole, most);
    return call(
      "buf",
      { kind: "buffer", size },
      length && length.op !== "const" ? [from, length] : [from],
      args.loc,
    );
  }
  if (from.type.kind !== "pointer" && !isInteger(from.type)) {
    c.report(from.loc, say.argumentType("buf", 1, "integer, pointer or array", formatType(from.type)));
    return bad(args.loc);
  }
  if (!length) {
    c.report(args.loc, say.argumentValue("buf", "a pointer needs a length"));
    return bad(args.loc);
  }
  const size = length.op === "const" ? Math.min(most, Math.max(1, Number(length.value))) : most;
  return call("buf", { kind: "buffer", size }, [from, length], args.loc, { space: spaceOf(c, from.type) });
}

function spaceOf(c: Checking, type: Type): "kernel" | "user" {
  if (type.kind === "pointer") return type.space;
  if (c.point.context.kind === "registers") return c.point.context.space;
  return c.point.context.kind === "tracepoint" && c.point.context.category === "syscalls" ? "user" : "kernel";
}

/** strncmp: 0 if the first n bytes are the same, else 1. memcmp: -1, 0 or 1. */
function compare(name: "strncmp" | "memcmp"): FunctionSpec["check"] {
  return (c, args) => {
    const left = args.get(0);
    const right = args.get(1);
    const n = literalArgument(c, args, 2);
    if (unknown(left.type) || unknown(right.type) || n === undefined) return bad(args.loc);
    const strings = left.type.kind === "string" && right.type.kind === "string";
    const memory = (t: Type): boolean => t.kind === "string" || t.kind === "array" || t.kind === "inet";
    if (name === "strncmp" ? !strings : !(memory(left.type) && memory(right.type))) {
      const wrong = (name === "strncmp" ? left.type.kind === "string" : memory(left.type)) ? right : left;
      c.report(wrong.loc, say.argumentType(name, wrong === left ? 1 : 2, "string", formatType(wrong.type)));
      return bad(args.loc);
    }
    if (n < 0n || n > BigInt(c.settings.maxStrlen)) {
      c.report(args.loc, say.argumentValue(name, `Length must be 0..${c.settings.maxStrlen}, ${n} given`));
      return bad(args.loc);
    }
    return call("compare", name === "memcmp" ? I64 : U64, [left, right], args.loc, {
      size: Number(n),
      word: name,
    });
  };
}

const cast =
  (space: "kernel" | "user"): FunctionSpec["check"] =>
  (c, args) => {
    const value = args.get(0);
    if (unknown(value.type)) return bad(args.loc);
    if (value.type.kind === "pointer") return { ...value, type: { ...value.type, space } };
    if (isInteger(value.type))
      return { op: "convert", operand: value, type: { kind: "pointer", to: U8, space }, loc: args.loc };
    c.report(value.loc, say.argumentType(args.call.name, 1, "integer or pointer", formatType(value.type)));
    return bad(args.loc);
  };

const kinds: Readonly<Record<string, (e: TExpr) => boolean>> = {
  is_ptr: (e) => e.type.kind === "pointer",
  is_array: (e) => e.type.kind === "array",
  is_str: (e) => e.type.kind === "string",
  is_integer: (e) => e.type.kind === "int",
  is_unsigned_integer: (e) => e.type.kind === "int" && !e.type.signed,
  is_literal: (e) => (e.op === "const" && e.literal === true) || e.op === "text",
};

export const BUFFERS: readonly FunctionSpec[] = [
  {
    name: "buf",
    usage: "buf(pointer, length) or buf(array)",
    about: "bytes, printed by %r, %rx and %rh",
    least: 1,
    most: 2,
    check: buffer,
  },
  {
    name: "strncmp",
    usage: "strncmp(a, b, n)",
    about: "0 if n bytes of two strings are the same",
    least: 3,
    most: 3,
    check: compare("strncmp"),
  },
  {
    name: "memcmp",
    usage: "memcmp(a, b, n)",
    about: "0 if n bytes are the same, -1 if those of a are less, else 1",
    least: 3,
    most: 3,
    check: compare("memcmp"),
  },
  {
    name: "kptr",
    usage: "kptr(pointer)",
    about: "the pointer as one into kernel memory",
    least: 1,
    most: 1,
    check: cast("kernel"),
  },
  {
    name: "uptr",
    usage: "uptr(pointer)",
    about: "the pointer as one into user memory",
    least: 1,
    most: 1,
    check: cast("user"),
  },
  {
    name: "pton",
    usage: 'pton("address")',
    about: "the bytes of an address",
    least: 1,
    most: 1,
    check: (c, args) => {
      const text = textArgument(c, args, 0);
      if (text === undefined) return bad(args.loc);
      const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(text)?.[1];
      const bytes = parseInet(mapped ?? text, false);
      if (!bytes) {
        c.report(args.loc, say.argumentValue("pton", `Invalid IP address: ${text}`));
        return bad(args.loc);
      }
      const tail = bytes[0] === 4 && mapped === undefined ? bytes.slice(16) : bytes.slice(4);
      const type: Type = { kind: "array", of: U8, length: tail.length };
      return { op: "text", value: text, bytes: tail, type, loc: args.loc };
    },
  },
  {
    name: "container_of",
    usage: "container_of(pointer, type, field)",
    about: "the structure that a field lies in",
    least: 3,
    most: 3,
    check: (c, args) => {
      const pointer = args.get(0);
      const [, typeName, field] = args.raw;
      if (unknown(pointer.type)) return bad(args.loc);
      if (typeName?.node !== "type" || field?.node !== "identifier" || pointer.type.kind !== "pointer") {
        c.report(
          args.loc,
          say.argumentValue("container_of", "write container_of(pointer, struct type, field)"),
        );
        return bad(args.loc);
      }
      const type = resolveType(c, typeName.type, () => I64);
      const offset = fieldPathOffset(c, type, [field.name], field.loc);
      if (offset === undefined) return bad(args.loc);
      const whole: TExpr = { op: "convert", operand: pointer, type: U64, loc: args.loc };
      const moved = checkBinary(
        c,
        "-",
        whole,
        { op: "const", value: BigInt(offset), type: U64, loc: args.loc },
        args.loc,
      );
      return {
        op: "convert",
        operand: moved,
        type: { kind: "pointer", to: type, space: pointer.type.space },
        loc: args.loc,
      };
    },
  },
  ...Object.entries(kinds).map(
    ([name, test]): FunctionSpec => ({
      name,
      usage: `${name}(value)`,
      about: "a question about a type, answered when the script is compiled",
      least: 1,
      most: 1,
      check: (_c, args) => {
        const e = args.get(0);
        return unknown(e.type)
          ? bad(args.loc)
          : { op: "const", value: test(e) ? 1n : 0n, type: { kind: "bool" }, loc: args.loc };
      },
    }),
  ),
];
