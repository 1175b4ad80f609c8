// plan: what birdc says, as routes: its protocols of BGP with their neighbours, and what they export. For comparing a BIRD that runs today.
import { parsePrefix } from "../net/address.ts";
import type { HeardRoute } from "./hears.ts";
import { prefixText } from "./text.ts";

/** Neighbours by name of the protocol, from `show protocols all`. Only those that are established tell anybody anything. */
export function birdNeighbors(text: string): ReadonlyMap<string, string> {
  const out = new Map<string, string>();
  let name = "";
  let up = false;
  for (const line of text.split("\n")) {
    const head = /^(\S+)\s+(\S+)\s+\S+\s+(\S+)/.exec(line);
    if (head) {
      name = head[2] === "BGP" ? head[1]! : "";
      up = head[3] === "up";
      continue;
    }
    const neighbor = /^\s+Neighbor address:\s+(\S+)/.exec(line)?.[1];
    if (name !== "" && up && neighbor) out.set(name, neighbor.replace(/%.*$/, ""));
  }
  return out;
}

const origins: Readonly<Record<string, HeardRoute["origin"]>> = {
  IGP: "IGP",
  EGP: "EGP",
  Incomplete: "incomplete",
};

type Draft = { -readonly [K in keyof HeardRoute]: HeardRoute[K] };

const blank = (): Draft => ({
  nextHop: "",
  asPath: [],
  origin: "incomplete",
  communities: [],
  largeCommunities: [],
});

/** "(64512,100) (64512,200)" -> "64512:100", "64512:200". */
const communitiesIn = (text: string): string[] =>
  [...text.matchAll(/\(([^)]*)\)/g)].map((m) =>
    m[1]!
      .split(",")
      .map((n) => n.trim())
      .join(":"),
  );

/** One attribute's line into the route. */
function readAttribute(route: Draft, name: string, value: string): void {
  switch (name) {
    case "origin":
      route.origin = origins[value] ?? "incomplete";
      break;
    case "as_path":
      route.asPath = (value.match(/\d+/g) ?? []).map(Number);
      break;
    case "next_hop":
      route.nextHop = value.split(" ")[0] ?? "";
      break;
    case "med":
      route.med = Number(value);
      break;
    case "local_pref":
      route.localPreference = Number(value);
      break;
    case "community":
      route.communities = communitiesIn(value);
      break;
    case "large_community":
      route.largeCommunities = communitiesIn(value);
      break;
    default:
      break;
  }
}

/** Best routes by prefix, from `show route … all`. */
export function birdRoutes(text: string): ReadonlyMap<string, HeardRoute> {
  const out = new Map<string, HeardRoute>();
  let route: Draft | undefined;
  for (const line of text.split("\n")) {
    const prefix = /^([0-9a-fA-F.:]+\/\d+)\s/.exec(line)?.[1];
    if (prefix !== undefined) {
      const canonical = prefixText(parsePrefix(prefix));
      // Of several routes of a prefix the first is the best one, and only that is exported.
      route = out.has(canonical) ? undefined : blank();
      if (route) out.set(canonical, route);
      continue;
    }
    // A further route of the same prefix.
    if (/^\s+\S+\s+\[\S+ /.test(line)) route = undefined;
    const attribute = /^\s+(?:BGP\.|bgp_)([a-z_]+):\s*(.*)$/.exec(line);
    if (route && attribute) readAttribute(route, attribute[1]!, attribute[2]!.trim());
  }
  return out;
}
