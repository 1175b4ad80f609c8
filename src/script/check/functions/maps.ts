// script, checker: functions on maps whose effect is at once, in the kernel.

import { say } from "../../diagnostics.ts";
import { BOOL, formatType, I64, U64 } from "../../layout.ts";
import type { MapInfo, TExpr } from "../../typed.ts";
import { checkKey, substitutedMap } from "../expressions.ts";
import {
  bad,
  type Checking,
  declareVariable,
  findVariable,
  noteKey,
  noteVariable,
  unknown,
  useMap,
} from "../state.ts";
import { spreadKey } from "../tuples.ts";
import { type CallArguments, call, type FunctionSpec } from "./table.ts";

/** `f(@m, key)`, `f(@m, (a, b))`, `f(@m[key])`, and for scalars `f(@m)`. */
function mapAndKey(c: Checking, args: CallArguments): { map: MapInfo; key: readonly TExpr[] } | undefined {
  const raw = args.raw[0];
  if (raw?.node !== "map") {
    c.report(raw?.loc ?? args.loc, say.mapArgument(args.call.name));
    return undefined;
  }
  const map = useMap(c, substitutedMap(c, raw.name), raw.loc);
  let key: readonly TExpr[];
  if (args.raw.length > 1 && raw.keys) {
    c.report(raw.loc, say.mapWithoutKey(args.call.name));
    return undefined;
  }
  if (args.raw.length > 1) {
    key = spreadKey(
      c,
      args.raw.slice(1).map((_, n) => args.get(n + 1)),
    );
  } else key = checkKey(c, raw.keys);
  if (key.some((k) => unknown(k.type))) return undefined;
  noteKey(c, map, key, args.loc);
  return { map, key };
}

const keyed = (name: string, usage: string, about: string): FunctionSpec => ({
  name,
  usage,
  about,
  least: 1,
  most: 2,
  check: (c, args) => {
    const found = mapAndKey(c, args);
    return found ? call(name, BOOL, found.key, args.loc, { map: found.map }) : bad(args.loc);
  },
});

/** find(@map, key, $variable): whether there is an entry, and its value in the variable. */
function find(c: Checking, args: CallArguments): TExpr {
  const [raw, , target] = args.raw;
  if (raw?.node !== "map" || raw.keys || target?.node !== "variable") {
    c.report(args.loc, say.argumentValue("find", "write find(@map, key, $variable)"));
    return bad(args.loc);
  }
  const map = useMap(c, substitutedMap(c, raw.name), raw.loc);
  const second = args.get(1);
  if (unknown(second.type)) return bad(args.loc);
  const key = spreadKey(c, [second]);
  noteKey(c, map, key, args.loc);
  const value: TExpr = {
    op: "map",
    map,
    key,
    type: map.aggregate ? (map.signed ? I64 : U64) : map.value,
    loc: args.loc,
  };
  const variable = findVariable(c, target.name) ?? declareVariable(c, target.name, target.loc);
  if (!unknown(value.type)) noteVariable(c, variable, value, args.loc);
  const has = call("has_key", BOOL, key, args.loc, { map });
  if (unknown(variable.type)) return bad(args.loc);
  return {
    op: "block",
    body: [{ op: "set_variable", variable, value, loc: args.loc }],
    value: has,
    type: BOOL,
    loc: args.loc,
  };
}

export const MAPS: readonly FunctionSpec[] = [
  {
    name: "find",
    usage: "find(@map, key, $variable)",
    about: "whether there is an entry; its value goes to the variable",
    least: 3,
    most: 3,
    check: find,
  },
  {
    name: "len",
    usage: "len(@map) or len(kstack)",
    about: "number of entries of a map, or of frames of a stack",
    least: 1,
    most: 1,
    check: (c, args) => {
      const raw = args.raw[0];
      if (raw?.node === "map" && raw.keys === undefined) {
        const map = useMap(c, substitutedMap(c, raw.name), raw.loc);
        if (map.key?.length === 0) {
          c.report(raw.loc, say.needsKey(map.name));
          return bad(args.loc);
        }
        return call("len", U64, [], args.loc, { map });
      }
      const value = args.get(0);
      if (unknown(value.type)) return bad(args.loc);
      if (value.type.kind !== "stack") {
        c.report(value.loc, say.argumentType("len", 1, "map or stack", formatType(value.type)));
        return bad(args.loc);
      }
      return call("frames", U64, [value], args.loc);
    },
  },
  keyed("delete", "delete(@map, key)", "removes an entry; whether there was one"),
  keyed("has_key", "has_key(@map, key)", "whether there is an entry"),
];
