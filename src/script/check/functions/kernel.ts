// script, checker: functions that are thin covers of one helper of the kernel, most of them seldom used or dangerous.
import { say } from "../../diagnostics.ts";
import { parseFormat } from "../../format.ts";
import { BOOL, formatType, I64, isScalar, stringOf } from "../../layout.ts";
import type { TExpr } from "../../typed.ts";
import type { Type } from "../../types.ts";
import { bad, type Checking, unknown } from "../state.ts";
import {
  type CallArguments,
  call,
  type FunctionSpec,
  integerArgument,
  literalArgument,
  textArgument,
  wordArgument,
} from "./table.ts";

/** A call that is made for its effect. */
const effect = (made: TExpr): TExpr => ({
  op: "block",
  body: [{ op: "expr", value: made, loc: made.loc }],
  value: bad(made.loc),
  type: bad(made.loc).type,
  loc: made.loc,
});

/** Conversions and arguments that bpf_trace_printk() takes. */
const PRINTK_LETTERS = ["d", "u", "x", "p", "s"];
const PRINTK_ARGUMENTS = 3;

function debugf(c: Checking, args: CallArguments): TExpr {
  const format = textArgument(c, args, 0);
  if (format === undefined) return bad(args.loc);
  c.report(args.loc, say.debugOnly());
  const { parts, bad: wrong } = parseFormat(format, c.old);
  const conversions = parts.filter((p) => p.kind === "conversion");
  const given = args.raw.length - 1;
  const refused = wrong ?? conversions.find((x) => !PRINTK_LETTERS.includes(x.letter))?.text;
  if (refused !== undefined) c.report(args.loc, say.formatSpecifier("debugf", refused));
  else if (conversions.length !== given)
    c.report(args.loc, say.formatCount("debugf", conversions.length, given));
  else if (given > PRINTK_ARGUMENTS)
    c.report(
      args.loc,
      say.argumentValue("debugf", `cannot use more than ${PRINTK_ARGUMENTS} conversion specifiers`),
    );
  else {
    const values = conversions.map((_, i) => args.get(i + 1));
    if (values.some((v) => unknown(v.type))) return bad(args.loc);
    for (const [i, { letter, text }] of conversions.entries()) {
      const value = values[i];
      if (!value) continue;
      if (letter === "s" ? value.type.kind === "string" : isScalar(value.type)) continue;
      const want = letter === "s" ? "string" : "integer";
      c.report(value.loc, say.formatType("debugf", text, want, formatType(value.type)));
      return bad(args.loc);
    }
    return effect(call("debugf", I64, values, args.loc, { word: format }));
  }
  return bad(args.loc);
}

/** write_user(address, value or pointer, length): whether the kernel wrote it. */
function writeUser(c: Checking, args: CallArguments): TExpr {
  const to = wordArgument(c, args, 0, "integer or pointer");
  const from = args.get(1);
  const length = literalArgument(c, args, 2);
  if (!to || unknown(from.type) || length === undefined) return bad(args.loc);
  const source = from.op === "address" ? from.place : from;
  if (isScalar(source.type) && from.op !== "address") {
    c.report(
      from.loc,
      say.argumentType("write_user", 2, "a value in the script's memory", formatType(from.type)),
    );
    return bad(args.loc);
  }
  if (length < 1n || length > BigInt(c.settings.maxStrlen)) {
    c.report(
      args.loc,
      say.argumentValue("write_user", `Length must be 1..${c.settings.maxStrlen}, ${length} given`),
    );
    return bad(args.loc);
  }
  return call("write_user", BOOL, [to, source], args.loc, { size: Number(length) });
}

/** Whether an expression is reached from the probe's arguments by pointers and fields alone, so that the kernel knows its type. */
function isTracked(e: TExpr): boolean {
  switch (e.op) {
    case "context_word":
      return true;
    case "field":
      return e.base.op === "context" || isTracked(e.base);
    case "deref":
      return isTracked(e.pointer);
    case "address":
      return isTracked(e.place);
    default:
      return false;
  }
}

const PATH_PROVIDERS = ["fentry", "fexit", "iter"];

function path(c: Checking, args: CallArguments): TExpr {
  const { programType } = c.point;
  if (!PATH_PROVIDERS.includes(programType)) {
    c.report(
      args.loc,
      say.argumentValue("path", "The path function can only be used with 'fentry', 'fexit', 'iter' probes"),
    );
    return bad(args.loc);
  }
  const from = args.get(0);
  const size = args.raw.length > 1 ? literalArgument(c, args, 1) : BigInt(c.settings.maxStrlen);
  if (unknown(from.type) || size === undefined) return bad(args.loc);
  if (size < 1n || size > BigInt(c.settings.maxStrlen)) {
    c.report(args.loc, say.argumentValue("path", `size must be 1..${c.settings.maxStrlen}, ${size} given`));
    return bad(args.loc);
  }
  const pointed = from.type.kind === "pointer" ? from.type.to : from.type;
  if (pointed.kind !== "struct" || pointed.name.replace(/^struct /, "") !== "path") {
    c.report(from.loc, say.argumentType("path", 1, "struct path or a pointer to it", formatType(from.type)));
    return bad(args.loc);
  }
  const pointer: TExpr =
    from.type.kind === "pointer"
      ? from
      : {
          op: "address",
          place: from,
          type: { kind: "pointer", to: from.type, space: "kernel" },
          loc: from.loc,
        };
  if (!isTracked(pointer)) {
    c.report(
      from.loc,
      say.argumentValue("path", "the path must be a field of what the probe's arguments point to"),
    );
    return bad(args.loc);
  }
  return call("path", stringOf(Number(size)), [pointer], args.loc);
}

/** percpu_kaddr("variable" [, cpu]): where a CPU's copy of a kernel variable lies. */
function percpuAddress(c: Checking, args: CallArguments): TExpr {
  const name = textArgument(c, args, 0);
  const cpu = args.raw.length > 1 ? integerArgument(c, args, 1) : undefined;
  if (name === undefined || (args.raw.length > 1 && !cpu)) return bad(args.loc);
  const found = c.types.variable?.(name);
  if (!found) {
    c.report(args.loc, say.argumentValue("percpu_kaddr", `Could not resolve variable "${name}" from BTF`));
    return bad(args.loc);
  }
  // The verifier looks the address up by the name.
  if (c.types.kernelSymbol(name) === undefined) {
    c.report(
      args.loc,
      say.argumentValue(
        "percpu_kaddr",
        `this kernel tells no address of ${name}: it needs CONFIG_KALLSYMS_ALL`,
      ),
    );
    return bad(args.loc);
  }
  const type: Type = { kind: "pointer", to: found.type, space: "kernel" };
  return call("percpu_kaddr", type, cpu ? [cpu] : [], args.loc, { size: found.btfId });
}

const KFUNC_USAGE: Readonly<Record<"kfunc_exist" | "kfunc_allowed", string>> = {
  kfunc_exist: "whether the kernel has a function, answered when the script is compiled",
  kfunc_allowed:
    "whether this probe's program may call a function of the kernel, answered when the script is compiled",
};

const kfunc = (name: keyof typeof KFUNC_USAGE): FunctionSpec => ({
  name,
  usage: `${name}("name")`,
  about: KFUNC_USAGE[name],
  least: 1,
  most: 1,
  check: (c, args) => {
    const wanted = textArgument(c, args, 0);
    if (wanted === undefined) return bad(args.loc);
    const known = c.types.function(wanted) !== undefined;
    const yes =
      name === "kfunc_exist" ? known : known && c.types.kfuncAllowed?.(wanted, c.point.programType) === true;
    return { op: "const", value: yes ? 1n : 0n, type: BOOL, literal: true, loc: args.loc };
  },
});

export const KERNEL: readonly FunctionSpec[] = [
  {
    name: "debugf",
    usage: "debugf(format, ...)",
    about: "prints to the kernel's own trace, for looking at a script's insides",
    least: 1,
    most: 64,
    check: debugf,
  },
  {
    name: "write_user",
    usage: "write_user(address, value, length)",
    about: "writes to the memory of the current process; whether that went well",
    least: 3,
    most: 3,
    unsafe: true,
    check: writeUser,
  },
  {
    name: "path",
    usage: "path(struct path [, size])",
    about: "the path of a file",
    least: 1,
    most: 2,
    check: path,
  },
  {
    name: "percpu_kaddr",
    usage: 'percpu_kaddr("variable" [, cpu])',
    about: "address of this or another CPU's copy of a kernel variable; 0 if there is no such CPU",
    least: 1,
    most: 2,
    check: percpuAddress,
  },
  kfunc("kfunc_exist"),
  kfunc("kfunc_allowed"),
];
