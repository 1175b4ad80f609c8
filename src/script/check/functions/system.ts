// script, checker: functions about the kernel and its tasks.

import { say } from "../../diagnostics.ts";
import { I64, U64 } from "../../layout.ts";
import { bad } from "../state.ts";
import { call, type FunctionSpec, textArgument, wordArgument } from "./table.ts";

/** Clocks of nsecs(clock). */
const CLOCKS = ["boot", "monotonic", "tai", "sw_tai"];

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
      return { op: "builtin", name: clock === "boot" ? "nsecs" : `nsecs_${clock}`, type: U64, loc: args.loc };
    },
  },
];

export { I64 };
