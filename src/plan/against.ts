// plan: what the speaker of today tells a node's neighbours, beside what Waggle would tell them: differences both ways, with reasons.
import { canonical } from "./canonical.ts";
import { assumingProofs, type NodeDifference, type RouteDifference, whyAfter } from "./difference.ts";
import { noDrain } from "./drain.ts";
import { type HeardRoute, hearings, type LocalAddressOf } from "./hears.ts";
import { addressText } from "./text.ts";
import type { PlanInputs, Snapshot } from "./types.ts";

/** What one neighbour of a node hears today. */
export interface HeardToday {
  /** The neighbour's address, canonical text. */
  readonly neighbor: string;
  /** Canonical prefix -> route. */
  readonly routes: ReadonlyMap<string, HeardRoute>;
}

export interface AgainstInputs {
  readonly node: string;
  readonly snapshot: Snapshot;
  readonly inputs: PlanInputs;
  readonly localAddress: LocalAddressOf;
  readonly today: readonly HeardToday[];
  /**
   * What is compared of a route that both tell: "sent" everything that is sent, "policy" MED and communities alone, where today's
   * routes are as they are before the session adds AS number and next hop.
   */
  readonly fields: "sent" | "policy";
}

/** The same node as one that announces: what a plan of a node that only observes leaves out. */
function announcing(snapshot: Snapshot): Snapshot {
  const network = snapshot.clusterNetwork;
  if (!network) return snapshot;
  const nodes = network.spec.nodes.map((n) => ({ ...n, mode: "Announce" as const }));
  return { ...snapshot, clusterNetwork: { ...network, spec: { ...network.spec, nodes } } };
}

const compared = (r: HeardRoute, fields: AgainstInputs["fields"]): string => {
  const policy = [r.med ?? 0, [...r.communities].sort(), [...r.largeCommunities].sort()];
  return canonical(fields === "policy" ? policy : [...policy, r.asPath, r.nextHop, r.origin]);
};

/** Before is what is heard today, after what Waggle would tell. A neighbour that is no BGPPeer of the node is named by its address. */
export function against(given: AgainstInputs): NodeDifference {
  const { node, localAddress, fields } = given;
  const { previous: _, ...inputs } = given.inputs;
  const snapshot = announcing(given.snapshot);
  const first = assumingProofs(snapshot, node, { ...inputs, drain: noDrain });
  const { plan, untried } = first.untried.size > 0 ? withProofs(first, snapshot, node) : first;
  const byAddress = new Map(plan.speaker.peers.map((p) => [addressText(p.address), p.name] as const));
  const waggle = hearings(plan.speaker, localAddress);
  const routes: RouteDifference[] = [];
  for (const { neighbor, routes: today } of given.today) {
    const peer = byAddress.get(neighbor) ?? neighbor;
    const ours = new Map(waggle.filter((h) => h.peer === peer).map((h) => [h.prefix, h] as const));
    for (const prefix of [...new Set([...today.keys(), ...ours.keys()])].sort()) {
      const before = today.get(prefix);
      const hearing = ours.get(prefix);
      const after = hearing?.route;
      if (!before && !after) continue;
      if (before && after && compared(before, fields) === compared(after, fields)) continue;
      routes.push({
        peer,
        prefix,
        ...(before && { before }),
        ...(after && { after }),
        why: whyAfter(plan, hearing, peer, prefix),
        waitsFor: after && untried.has(prefix) ? ["Proof"] : [],
      });
    }
  }
  return { node, routes, peers: [], problems: plan.problems };
}

/** The plan once everything that has never been tried is proven. */
function withProofs(
  { inputs, untried }: ReturnType<typeof assumingProofs>,
  snapshot: Snapshot,
  node: string,
): Pick<ReturnType<typeof assumingProofs>, "plan" | "untried"> {
  return { plan: assumingProofs(snapshot, node, inputs).plan, untried };
}
