// plan: ready endpoints of Services from EndpointSlices (KEP-1669: ready is serving and not terminating).
import type { EndpointSlice, Node, Service } from "../api/index.ts";
import type { Address, Family } from "../net/address.ts";
import { tryAddress } from "./fields.ts";
import { addressesOf } from "./noderule.ts";
import type { Backend, VipPort } from "./types.ts";

/** Backends of one port of one VIP that the datapath holds. */
export const backendLimit = 1024;

export interface EndpointIndex {
  /** Slices by namespace/name of their Service. */
  readonly byService: ReadonlyMap<string, readonly EndpointSlice[]>;
  readonly nodeAddresses: ReadonlyMap<string, readonly Address[]>;
}

const serviceLabel = "kubernetes.io/service-name";

export function indexEndpoints(slices: readonly EndpointSlice[], nodes: readonly Node[]): EndpointIndex {
  const byService = new Map<string, EndpointSlice[]>();
  for (const slice of slices) {
    const name = slice.metadata.labels?.[serviceLabel];
    if (!name) continue;
    const key = `${slice.metadata.namespace ?? ""}/${name}`;
    const known = byService.get(key);
    if (known) known.push(slice);
    else byService.set(key, [slice]);
  }
  return { byService, nodeAddresses: new Map(nodes.map((n) => [n.metadata.name, addressesOf(n)])) };
}

const addressType = { 4: "IPv4", 6: "IPv6" } as const;

/**
 * Ports of a Service with the ready backends of one address family, sorted, so that every node has the same list in the
 * same order and chooses the same backend for a flow.
 */
export function portsOf(
  service: Service,
  family: Family,
  node: string,
  index: EndpointIndex,
): readonly VipPort[] {
  const key = `${service.metadata.namespace ?? ""}/${service.metadata.name}`;
  const slices = (index.byService.get(key) ?? []).filter((s) => s.addressType === addressType[family]);
  return (service.spec.ports ?? []).flatMap((port) => {
    const protocol = port.protocol ?? "TCP";
    if (protocol === "SCTP") return [];
    const backends = new Map<string, Backend>();
    for (const slice of slices) {
      const target = slice.ports?.find(
        (p) => (p.name ?? "") === (port.name ?? "") && (p.protocol ?? "TCP") === protocol,
      )?.port;
      if (target === undefined) continue;
      for (const endpoint of slice.endpoints ?? []) {
        const { ready, terminating } = endpoint.conditions ?? {};
        if (ready === false || terminating === true) continue;
        const text = endpoint.addresses[0];
        const address = text === undefined ? undefined : tryAddress(text);
        if (!address || address.family !== family || backends.size >= backendLimit) continue;
        backends.set(text!, {
          address,
          port: target,
          node: endpoint.nodeName ?? "",
          nodeAddresses: index.nodeAddresses.get(endpoint.nodeName ?? "") ?? [],
          local: endpoint.nodeName === node,
        });
      }
    }
    const sorted = [...backends.values()].sort((a, b) =>
      a.address.hi !== b.address.hi
        ? a.address.hi < b.address.hi
          ? -1
          : 1
        : a.address.lo < b.address.lo
          ? -1
          : 1,
    );
    return [{ protocol, port: port.port, backends: sorted }];
  });
}
