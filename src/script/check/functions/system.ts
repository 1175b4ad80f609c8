// script, checker: functions about the kernel, its tasks and the script's own parameters.
import { say } from "../../diagnostics.ts";
import { formatType, isInteger, U64 } from "../../layout.ts";
import type { TExpr } from "../../typed.ts";
import type { Type } from "../../types.ts";
import { checkBuiltin, registerByName } from "../builtins.ts";
import { textOf } from "../expressions.ts";
import { checkField } from "../fields.ts";
import { bad, type Checking, unknown } from "../state.ts";
import { literalType } from "../structures.ts";
import {
  type CallArguments,
  call,
  emit,
  type FunctionSpec,
  integerArgument,
  textArgument,
  wordArgument,
} from "./table.ts";

/** Clocks of nsecs(clock). */
const CLOCKS = ["boot", "monotonic", "tai", "sw_tai"];

/** x86-64 and arm64 have the same numbers for the classic signals. */
const SIGNALS =
  "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS".split(
    " ",
  );

function signal(name: "signal" | "signal_thread"): FunctionSpec {
  return {
    name,
    usage: `${name}(number) or ${name}("NAME")`,
    about: `sends a signal to the current ${name === "signal" ? "process" : "thread"}`,
    least: 1,
    most: 1,
    unsafe: true,
    check: (c, args) => {
      let value = args.get(0);
      if (unknown(value.type)) return bad(args.loc);
      // There, the current process is the tracer, or whatever a timer met.
      if (["begin", "end", "interval"].includes(c.point.provider)) {
        c.report(args.loc, say.notHere(name, c.point.provider));
        return bad(args.loc);
      }
      if (value.op === "text") {
        const number = SIGNALS.indexOf(value.value.replace(/^SIG/, "")) + 1;
        if (number === 0) {
          c.report(value.loc, say.argumentValue(name, `Invalid string for signal: ${value.value}`));
          return bad(args.loc);
        }
        value = { op: "const", value: BigInt(number), type: U64, loc: value.loc };
      }
      if (!isInteger(value.type)) {
        c.report(value.loc, say.argumentType(name, 1, "integer or string", formatType(value.type)));
        return bad(args.loc);
      }
      if (value.op === "const" && (value.value < 1n || value.value > 64n)) {
        c.report(
          value.loc,
          say.argumentValue(name, `${value.value} is not a valid signal, allowed range: [1,64]`),
        );
        return bad(args.loc);
      }
      return {
        op: "block",
        body: [{ op: "expr", value: call(name, U64, [value], args.loc), loc: args.loc }],
        value: bad(args.loc),
        type: bad(args.loc).type,
        loc: args.loc,
      };
    },
  };
}

/** getopt("name" [, default [, description]]): `--name=value` among the parameters. */
function option(c: Checking, args: CallArguments): TExpr {
  const name = textArgument(c, args, 0);
  if (name === undefined) return bad(args.loc);
  c.named.add(name);
  const fallback = args.raw.length > 1 ? args.get(1) : undefined;
  const given = c.options.positional?.find((p) => p === `--${name}` || p.startsWith(`--${name}=`));
  const text = given?.includes("=") ? given.slice(given.indexOf("=") + 1) : undefined;
  const bool = (value: boolean): TExpr => ({
    op: "const",
    value: value ? 1n : 0n,
    type: { kind: "bool" },
    loc: args.loc,
  });
  if (!fallback || fallback.type.kind === "bool") {
    if (given === undefined) return fallback ?? bool(false);
    const word = text?.toLowerCase();
    if (word !== undefined && !["true", "false", "1", "0"].includes(word)) {
      c.report(args.loc, say.argumentValue("getopt", `'--${name}' is true or false, '${text}' given`));
      return bad(args.loc);
    }
    return bool(word !== "false" && word !== "0");
  }
  if (unknown(fallback.type)) return bad(args.loc);
  if (given === undefined) return fallback;
  if (fallback.op === "text") return textOf(text ?? "", args.loc);
  // As bpftrace reads it: --n alone is 1, and words of truth are numbers.
  const word = text === undefined || /^true$/i.test(text) ? "1" : /^false$/i.test(text) ? "0" : text;
  if (!/^-?(0x[0-9a-f]+|\d+)$/i.test(word)) {
    c.report(args.loc, say.argumentValue("getopt", `'--${name}' is a number, '${text ?? ""}' given`));
    return bad(args.loc);
  }
  const negative = word.startsWith("-");
  const value = BigInt(negative ? word.slice(1) : word);
  return {
    op: "const",
    value: negative ? -value : value,
    type: literalType(value),
    literal: true,
    loc: args.loc,
  };
}

const text =
  (kind: "errno" | "cgroup_path" | "syscall"): FunctionSpec["check"] =>
  (c, args) => {
    const value = integerArgument(c, args, 0);
    if (!value) return bad(args.loc);
    const type: Type = { kind };
    return { op: "convert", operand: value, type, loc: args.loc };
  };

export const SYSTEM: readonly FunctionSpec[] = [
  {
    name: "ksym",
    usage: "ksym(address)",
    about: "name of a kernel address",
    least: 1,
    most: 1,
    check: (c, args) => {
      const value = wordArgument(c, args, 0, "integer or pointer");
      if (!value) return bad(args.loc);
      return { op: "convert", operand: value, type: { kind: "symbol", user: false }, loc: args.loc };
    },
  },
  {
    name: "usym",
    usage: "usym(address)",
    about: "name of an address of the current process",
    least: 1,
    most: 1,
    check: (c, args) => {
      const value = wordArgument(c, args, 0, "integer or pointer");
      return value ? call("usym", { kind: "symbol", user: true }, [value], args.loc) : bad(args.loc);
    },
  },
  {
    name: "kaddr",
    usage: 'kaddr("name")',
    about: "address of a kernel symbol",
    least: 1,
    most: 1,
    check: (c, args) => {
      const name = textArgument(c, args, 0);
      if (name === undefined) return bad(args.loc);
      const address = c.types.kernelSymbol(name);
      if (address === undefined) {
        c.report(args.loc, say.argumentValue("kaddr", `Failed to resolve kernel symbol: ${name}`));
        return bad(args.loc);
      }
      return { op: "const", value: address, type: U64, loc: args.loc };
    },
  },
  ...(["pid", "tid"] as const).map(
    (name): FunctionSpec => ({
      name,
      usage: `${name}([namespace])`,
      about: `the ${name} as the host numbers it (init), or as the tracer's namespace does (curr_ns): the host's as well`,
      least: 0,
      most: 1,
      check: (c, args) => {
        const raw = args.raw[0];
        if (raw && !(raw.node === "identifier" && (raw.name === "init" || raw.name === "curr_ns"))) {
          c.report(raw.loc, say.argumentValue(name, "the namespace is one of init, curr_ns"));
          return bad(args.loc);
        }
        return checkBuiltin(c, name, args.loc) ?? bad(args.loc);
      },
    }),
  ),
  {
    name: "uaddr",
    usage: 'uaddr("name")',
    about:
      "address of a symbol of the probed file, as a pointer to a number of its size; where the file says, not where it was loaded",
    least: 1,
    most: 1,
    check: (c, args) => {
      const name = textArgument(c, args, 0);
      if (name === undefined) return bad(args.loc);
      const path = c.point.attach.userFunction?.path;
      if (path === undefined) {
        c.report(args.loc, say.notHere("uaddr", c.point.provider));
        return bad(args.loc);
      }
      const found = c.types.userAddress?.(path, name);
      if (!found) {
        c.report(args.loc, say.argumentValue("uaddr", `Could not resolve symbol: ${path}:${name}`));
        return bad(args.loc);
      }
      const size = ([1, 2, 4] as const).find((n) => n === found.size) ?? 8;
      const to: Type = { kind: "int", size, signed: false };
      return {
        op: "const",
        value: found.address,
        type: { kind: "pointer", to, space: "user" },
        loc: args.loc,
      };
    },
  },
  {
    name: "nsecs",
    usage: "nsecs([clock])",
    about: "nanoseconds of a clock: boot, monotonic, tai, sw_tai",
    least: 0,
    most: 1,
    check: (c, args) => {
      const raw = args.raw[0];
      const clock = raw?.node === "identifier" ? raw.name : "boot";
      if ((raw && raw.node !== "identifier") || !CLOCKS.includes(clock)) {
        c.report(
          raw?.loc ?? args.loc,
          say.argumentValue("nsecs", `the clock is one of ${CLOCKS.join(", ")}`),
        );
        return bad(args.loc);
      }
      return {
        op: "builtin",
        name: clock === "boot" ? "nsecs" : `nsecs_${clock}`,
        type: U64,
        loc: args.loc,
      };
    },
  },
  {
    name: "reg",
    usage: 'reg("name")',
    about: "a register of the probed function",
    least: 1,
    most: 1,
    check: (c, args) => {
      const name = textArgument(c, args, 0);
      if (name === undefined) return bad(args.loc);
      if (c.point.context.kind !== "registers") {
        c.report(args.loc, say.notHere("reg", c.point.provider));
        return bad(args.loc);
      }
      const offset = registerByName(c, name);
      if (offset === undefined) {
        c.report(
          args.loc,
          say.argumentValue("reg", `'${name}' is not a valid register on this architecture`),
        );
        return bad(args.loc);
      }
      return { op: "context_word", offset, size: 8, type: U64, loc: args.loc };
    },
  },
  {
    name: "cgroupid",
    usage: 'cgroupid("path")',
    about: "ID of a cgroup v2 directory",
    least: 1,
    most: 1,
    check: (c, args) => {
      const path = textArgument(c, args, 0);
      if (path === undefined) return bad(args.loc);
      const id = c.types.cgroupId?.(path);
      if (id === undefined) {
        c.report(args.loc, say.argumentValue("cgroupid", `${path} is no cgroup v2 directory`));
        return bad(args.loc);
      }
      return { op: "const", value: id, type: U64, loc: args.loc };
    },
  },
  {
    name: "cgroup_path",
    usage: "cgroup_path(id [, filter])",
    about: "path of a cgroup",
    least: 1,
    most: 2,
    check: text("cgroup_path"),
  },
  {
    name: "strerror",
    usage: "strerror(errno)",
    about: "text of an error number",
    least: 1,
    most: 1,
    check: text("errno"),
  },
  {
    name: "syscall_name",
    usage: "syscall_name(number)",
    about: "name of a system call",
    least: 1,
    most: 1,
    check: text("syscall"),
  },
  {
    name: "join",
    usage: "join(char **argv [, separator])",
    about: "prints an array of strings",
    least: 1,
    most: 2,
    check: (c, args) => {
      const list = wordArgument(c, args, 0, "pointer");
      const separator = args.raw.length > 1 ? textArgument(c, args, 1) : " ";
      if (!list || separator === undefined) return bad(args.loc);
      return emit({ kind: "join", separator }, [list], args.loc);
    },
  },
  signal("signal"),
  signal("signal_thread"),
  {
    name: "override",
    usage: "override(value)",
    about: "makes the probed kernel function return a value",
    least: 1,
    most: 1,
    unsafe: true,
    check: (c, args) => {
      const value = integerArgument(c, args, 0);
      if (!value) return bad(args.loc);
      if (c.point.provider !== "kprobe") {
        c.report(args.loc, say.notHere("override", c.point.provider));
        return bad(args.loc);
      }
      return {
        op: "block",
        body: [{ op: "expr", value: call("override", U64, [value], args.loc), loc: args.loc }],
        value: bad(args.loc),
        type: bad(args.loc).type,
        loc: args.loc,
      };
    },
  },
  {
    name: "getopt",
    usage: 'getopt("name" [, default [, description]])',
    about: "a named parameter: --name=value after --",
    least: 1,
    most: 3,
    check: option,
  },
  {
    name: "socket_cookie",
    usage: "socket_cookie(struct sock *)",
    about: "cookie of a socket, 0 if it has none yet",
    least: 1,
    most: 1,
    check: (c, args) => {
      const sock = args.get(0);
      if (unknown(sock.type)) return bad(args.loc);
      let value = sock;
      for (const name of ["__sk_common", "skc_cookie", "counter"])
        value = checkField(c, value, name, args.loc, args.loc);
      return value;
    },
  },
  {
    name: "default_str_length",
    usage: "default_str_length()",
    about: "max_strlen",
    least: 0,
    most: 0,
    check: (c, args) => ({
      op: "const",
      value: BigInt(c.settings.maxStrlen),
      type: U64,
      literal: true,
      loc: args.loc,
    }),
  },
];
