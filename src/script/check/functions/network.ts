// script, checker: functions on addresses: ntop, and the words that look an address up in the routes that BGP learned.
import { say } from "../../diagnostics.ts";
import { formatType, INET, isInteger, PREFIX, sizeOf, U32 } from "../../layout.ts";
import type { TExpr } from "../../typed.ts";
import type { Type } from "../../types.ts";
import { bad, type Checking, unknown } from "../state.ts";
import { type CallArguments, call, type FunctionSpec, integerArgument, wordArgument } from "./table.ts";

/** Whether a value of this type can be read as an address. */
function isAddress(type: Type): boolean {
  if (type.kind === "inet" || type.kind === "prefix") return true;
  if (type.kind === "int") return type.size === 4 || type.size === 8;
  if (type.kind === "array" && isInteger(type.of)) return [4, 16, 28].includes(sizeOf(type));
  if (type.kind === "struct") return type.size === 4 || type.size === 16 || /\bsockaddr/.test(type.name);
  if (type.kind === "pointer") return isAddress(type.to);
  return false;
}

function addressArgument(c: Checking, args: CallArguments, i: number): TExpr | undefined {
  let e = args.get(i);
  if (unknown(e.type)) return undefined;
  if (e.type.kind === "pointer" && isAddress(e.type.to))
    e = { op: "deref", pointer: e, type: e.type.to, loc: e.loc };
  if (isAddress(e.type)) return e;
  c.report(e.loc, say.noAddress(formatType(e.type)));
  return undefined;
}

const word = (name: string, type: Type, about: string): FunctionSpec => ({
  name,
  usage: `${name}(address)`,
  about,
  least: 1,
  most: 1,
  check: (c, args) => {
    const address = addressArgument(c, args, 0);
    return address ? call("route", type, [address], args.loc, { word: name }) : bad(args.loc);
  },
});

export const NETWORK: readonly FunctionSpec[] = [
  {
    name: "ntop",
    usage: "ntop([family,] address)",
    about: "an address as text",
    least: 1,
    most: 2,
    check: (c, args) => {
      const two = args.raw.length === 2;
      const family = two ? integerArgument(c, args, 0) : undefined;
      const address = addressArgument(c, args, two ? 1 : 0);
      if (!address || (two && !family)) return bad(args.loc);
      return call("ntop", INET, family ? [address, family] : [address], args.loc);
    },
  },
  {
    name: "macaddr",
    usage: "macaddr(bytes)",
    about: "6 bytes as a MAC address",
    least: 1,
    most: 1,
    check: (c, args) => {
      const value = args.get(0);
      if (unknown(value.type)) return bad(args.loc);
      // Arrays of char are read as text.
      const { kind } = value.type;
      if (kind === "array" || kind === "pointer" || (kind === "string" && value.op !== "text"))
        return call("macaddr", { kind: "mac" }, [value], args.loc);
      c.report(value.loc, say.argumentType("macaddr", 1, "array or pointer", formatType(value.type)));
      return bad(args.loc);
    },
  },
  {
    name: "bswap",
    usage: "bswap(n)",
    about: "bytes in reverse order",
    least: 1,
    most: 1,
    check: (c, args) => {
      const value = wordArgument(c, args, 0, "integer");
      if (!value) return bad(args.loc);
      const type: Type =
        value.type.kind === "int"
          ? { ...value.type, signed: false }
          : { kind: "int", size: 8, signed: false };
      return call("bswap", type, [value], args.loc);
    },
  },
  word("cluster", { kind: "name", dictionary: "cluster" }, "the cluster that announces the address"),
  word("prefix", PREFIX, "the longest matching prefix learned by BGP"),
  word("peer", { kind: "name", dictionary: "peer" }, "the BGP peer that the route came from"),
  word("asn", U32, "the origin AS of the route"),
  word("nexthop", INET, "the next hop of the route"),
  word("community", { kind: "community" }, "the first RFC 1997 community of the route"),
];
