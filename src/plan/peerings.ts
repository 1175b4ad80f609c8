// plan: ClusterPeerings compiled: declared prefixes parsed, peers by name, overlaps told.
import { type BGPPeer, type ClusterPeering, selects } from "../api/index.ts";
import { overlaps, type Prefix } from "../net/address.ts";
import type { PeeringRule } from "../routes/index.ts";
import { collectFaults, type Fault, prefixAt } from "./fields.ts";
import { faults } from "./messages.ts";
import type { Problem } from "./types.ts";

/** One peering, or why it is not usable at all. */
export function compilePeering(
  peering: ClusterPeering,
  peers: readonly BGPPeer[],
  clusterID: number,
): { readonly value: PeeringRule } | { readonly faults: readonly Fault[] } {
  const into = collectFaults();
  const { metadata, spec } = peering;
  if (spec.clusterID === clusterID) into.add("spec.clusterID", faults.ownClusterID(clusterID));
  const prefixes: Prefix[] = [];
  for (const [i, text] of spec.prefixes.entries()) {
    const prefix = prefixAt(text, `spec.prefixes[${i}]`, into);
    if (prefix) prefixes.push(prefix);
  }
  if (into.list.length > 0) return { faults: into.list };
  return {
    value: {
      name: metadata.name,
      clusterID: spec.clusterID,
      clusterName: spec.clusterName,
      prefixes,
      peers: peers
        .filter((p) => selects(spec.peerSelector, p.metadata.labels))
        .map((p) => p.metadata.name)
        .sort(),
      kinds: spec.take.kinds,
      fib: spec.take.fib,
    },
  };
}

/** What is told although it stops nothing: overlaps with own pools and with one another, IDs given twice. */
export function peeringOverlaps(
  rules: readonly PeeringRule[],
  ownBlocks: readonly { readonly pool: string; readonly prefix: Prefix }[],
): readonly Problem[] {
  const out: Problem[] = [];
  const tell = (name: string, path: string, message: string): void =>
    void out.push({ object: `ClusterPeering/${name}`, path, message, lastGoodInForce: false });
  for (const [i, rule] of rules.entries()) {
    for (const other of rules.slice(0, i)) {
      if (other.clusterID === rule.clusterID)
        tell(rule.name, "spec.clusterID", faults.sameClusterID(other.name));
      for (const [k, prefix] of rule.prefixes.entries())
        if (other.prefixes.some((p) => overlaps(p, prefix)))
          tell(rule.name, `spec.prefixes[${k}]`, faults.overlapsPeering(other.name));
    }
    for (const [k, prefix] of rule.prefixes.entries()) {
      const own = ownBlocks.find((b) => overlaps(b.prefix, prefix));
      if (own) tell(rule.name, `spec.prefixes[${k}]`, faults.overlapsPool(own.pool));
    }
  }
  return out;
}
