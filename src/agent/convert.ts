// agent: between plans and the datapath: what is asked for as the datapath wants it, what it answers as plans want it.
import { selects } from "../api/index.ts";
import type {
  DesiredDatapath,
  DesiredKernelRoute,
  DesiredRoutes,
  DesiredService,
  NodeAddresses,
  ProofResult,
  ProofTarget,
  RouteAttributesEntry,
} from "../datapath/index.ts";
import { type Address, formatAddress, formatPrefix, parseAddress } from "../net/address.ts";
import {
  addressText,
  hostOf,
  type InForce,
  type Proof,
  prefixText,
  type Snapshot,
  toAddress,
  type VipEntry,
} from "../plan/index.ts";
import type { FibPlan, RouteAttributes, RouteView } from "../routes/index.ts";

function nodeAddresses(addresses: readonly Address[]): NodeAddresses {
  const ipv4 = addresses.find((a) => a.family === 4);
  const ipv6 = addresses.find((a) => a.family === 6);
  return { ...(ipv4 && { ipv4: addressText(ipv4) }), ...(ipv6 && { ipv6: addressText(ipv6) }) };
}

/** A VIP as the datapath takes it: a service for each port that has a backend. */
const servicesOf = (vip: VipEntry): DesiredService[] =>
  vip.ports
    .filter((port) => port.backends.length > 0)
    .map((port) => ({
      vip: addressText(vip.address),
      port: port.port,
      protocol: port.protocol,
      entry: vip.entry,
      backends: port.backends.map((b) => ({
        address: addressText(b.address),
        port: b.port,
        local: b.local,
        ...(!b.local && { node: nodeAddresses(b.nodeAddresses) }),
      })),
    }));

/** The datapath of a plan; one service for each VIP and port that has a backend. */
export function desiredDatapath(plan: InForce, generation: number): DesiredDatapath {
  const active = plan.mode === "Announce";
  return {
    generation,
    node: nodeAddresses(plan.nodeAddresses),
    interfaces: active ? plan.interfaces : [],
    podBlocks: active ? plan.podBlocks.map(formatPrefix) : [],
    services: plan.vips.flatMap(servicesOf),
  };
}

/** Something to prove, and how it is programmed: as long as that is the same, a proof of it stands for a while. */
export interface Provable {
  readonly target: ProofTarget;
  readonly signature: string;
}

/** What of a plan is to be proven, by canonical prefix: the own pod blocks and every VIP that enters here. */
export function provable(plan: InForce): ReadonlyMap<string, Provable> {
  if (plan.mode !== "Announce") return new Map();
  const common = JSON.stringify([plan.interfaces, nodeAddresses(plan.nodeAddresses)]);
  const out = new Map<string, Provable>();
  for (const block of plan.podBlocks)
    out.set(prefixText(block), {
      target: { kind: "podBlock", prefix: prefixText(block) },
      signature: common,
    });
  for (const vip of plan.vips) {
    const services = servicesOf(vip);
    if (vip.entry && services.length > 0)
      out.set(prefixText(hostOf(vip.address)), {
        target: { kind: "vip", address: addressText(vip.address) },
        signature: common + JSON.stringify(services),
      });
  }
  return out;
}

/** Canonical prefix of what was to be proven. */
export const provenPrefix = (target: ProofTarget): string =>
  target.kind === "podBlock" ? target.prefix : prefixText(hostOf(toAddress(target.address)));

export const proofsOf = (results: readonly ProofResult[]): ReadonlyMap<string, Proof> =>
  new Map(results.map((r) => [provenPrefix(r.target), { state: r.state, reason: r.reason }]));

/** Route maps as the datapath wants them. */
export function desiredRoutes(view: RouteView): DesiredRoutes {
  return {
    attributes: view.attributes.map(({ id, attributes: a }) => ({
      id,
      cluster: a.cluster,
      originASN: a.originASN,
      peer: a.peer,
      flags: 0,
      ...(a.nextHop && { nextHop: addressText(a.nextHop) }),
      community: a.community,
    })),
    prefixes: view.prefixes.map((p) => ({ prefix: prefixText(p.prefix), routeId: p.routeId })),
  };
}

/** The inverse, for what is read back at start. */
export const attributesFrom = (entry: RouteAttributesEntry): RouteAttributes => ({
  cluster: entry.cluster,
  originASN: entry.originASN,
  peer: entry.peer,
  community: entry.community,
  ...(entry.nextHop !== undefined && { nextHop: parseAddress(entry.nextHop) }),
});

export const desiredKernelRoutes = (fib: FibPlan | undefined): readonly DesiredKernelRoute[] =>
  (fib?.routes ?? []).map((r) => ({
    prefix: formatPrefix(r.prefix),
    nextHops: r.nextHops.map((hop) => ({
      address: formatAddress(hop),
      ...(hop.link !== undefined && { interface: hop.link }),
    })),
  }));

/** Secrets that this node's peers name, in their present form or in the one that stays in force. */
export function secretsOf(snapshot: Snapshot, node: string): ReadonlySet<string> {
  const labels = snapshot.nodes.find((n) => n.metadata.name === node)?.metadata.labels;
  const peers = [...snapshot.peers, ...Object.values(snapshot.lastGood.peers).map((s) => s.peer)];
  return new Set(
    peers.flatMap((p) =>
      p.spec.passwordSecretName !== undefined && selects(p.spec.nodeSelector, labels)
        ? [p.spec.passwordSecretName]
        : [],
    ),
  );
}
