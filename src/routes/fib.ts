// routes: which learned routes may enter the kernel's table of this node. Never one that could cut the node off.
import { type Address, contains, overlaps, type Prefix } from "../net/address.ts";
import type { FibRoute } from "./table.ts";

/** What no route of ours may cover. */
export interface FibGuard {
  /** Subnets of the node's own interfaces. */
  readonly connected: readonly Prefix[];
  /** The API server's, each peer's and the node's own addresses. */
  readonly addresses: readonly Address[];
  /** Blocks that this node's pods have their addresses from. */
  readonly podBlocks: readonly Prefix[];
}

export type FibRefusal =
  | "DefaultRoute"
  | "ConnectedSubnet"
  | "CoversAddress"
  | "CoversPods"
  | "NoNextHop"
  | "TooMany";

export interface FibPlan {
  readonly routes: readonly FibRoute[];
  readonly refused: readonly { readonly prefix: Prefix; readonly code: FibRefusal }[];
}

/** Kernel routes that a node holds at most. */
export const fibLimit = 16_384;

function refusalOf(route: FibRoute, guard: FibGuard): FibRefusal | undefined {
  const { prefix } = route;
  if (prefix.length === 0) return "DefaultRoute";
  if (guard.connected.some((c) => overlaps(c, prefix))) return "ConnectedSubnet";
  if (guard.podBlocks.some((b) => overlaps(b, prefix))) return "CoversPods";
  if (guard.addresses.some((a) => contains(prefix, a))) return "CoversAddress";
  return undefined;
}

/** Splits the wanted routes into those that go into the kernel and those that must not. A next hop inside its own route, or an IPv4 one of an IPv6 route, is left out. */
export function planFib(wanted: readonly FibRoute[], guard: FibGuard): FibPlan {
  const routes: FibRoute[] = [];
  const refused: { prefix: Prefix; code: FibRefusal }[] = [];
  for (const route of wanted) {
    const code = refusalOf(route, guard);
    const nextHops = route.nextHops.filter(
      (hop) =>
        // IPv4 by way of an IPv6 next hop is RFC 8950; the other way round there is nothing.
        (hop.family === route.prefix.family || hop.family === 6) &&
        (hop.hi !== 0n || hop.lo !== 0n) &&
        !contains(route.prefix, hop),
    );
    if (code) refused.push({ prefix: route.prefix, code });
    else if (nextHops.length === 0) refused.push({ prefix: route.prefix, code: "NoNextHop" });
    else if (routes.length >= fibLimit) refused.push({ prefix: route.prefix, code: "TooMany" });
    else routes.push(nextHops.length === route.nextHops.length ? route : { ...route, nextHops });
  }
  return { routes, refused };
}
