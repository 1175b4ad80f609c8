// script, checker: functions on maps whose effect is at once, in the kernel.

import { say } from "../../diagnostics.ts";
import { BOOL, formatType, U64 } from "../../layout.ts";
import type { MapInfo, TExpr } from "../../typed.ts";
import { checkKey, substitutedMap } from "../expressions.ts";
import { bad, type Checking, noteKey, unknown, useMap } from "../state.ts";
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
    const second = args.get(1);
    // A tuple is spread only where the map's key has that many parts.
    const spread = second.op === "tuple" && map.key?.length === second.items.length;
    key = second.op === "tuple" && spread ? second.items : args.raw.slice(1).map((_, i) => args.get(i + 1));
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

export const MAPS: readonly FunctionSpec[] = [
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
