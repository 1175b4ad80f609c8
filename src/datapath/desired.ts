// datapath: the desired state as map entries. Pure; what does not fit or does not make sense is refused with a reason.
import { parseAddress, parsePrefix, toMappedBytes } from "../net/address.ts";
import {
  type Entry,
  encodeService,
  flagEntry,
  lpmKey,
  placeBackends,
  serviceKey,
  serviceName,
  u32,
} from "./codec.ts";
import { familyMismatch, noNodeAddress, tooManyBackends, tooManyServices } from "./messages.ts";
import {
  type DesiredDatapath,
  type DesiredService,
  limits,
  type NodeAddresses,
  type Refusal,
} from "./types.ts";

export interface DesiredEntries {
  readonly services: readonly Entry[];
  readonly vips: readonly Entry[];
  readonly localPrefixes: readonly Entry[];
  readonly refused: readonly Refusal[];
  /** Bytes that the tunnel adds at most to a packet on the way to or from some node. */
  readonly tunnelOverhead: number;
}

/** Ethernet, VXLAN, UDP and IP around the packet. */
const overheads = { 4: 50, 6: 70 } as const;

interface EncodedService {
  readonly entry: Entry;
  readonly overhead: number;
  readonly refused: readonly Refusal[];
}

/** Services that are encoded already: building their tables is the expensive part of a sync. */
export class ServiceCache {
  #known = new Map<string, EncodedService>();
  #next = new Map<string, EncodedService>();

  /** `signature` says everything that the result depends on. */
  get(signature: string, make: () => EncodedService): EncodedService {
    const encoded = this.#known.get(signature) ?? make();
    this.#next.set(signature, encoded);
    return encoded;
  }

  /** Forgets what was not asked for since the last call. */
  turn(): void {
    this.#known = this.#next;
    this.#next = new Map();
  }
}

function encodeOne(service: DesiredService, node: NodeAddresses): EncodedService {
  const name = serviceName(service);
  const vip = parseAddress(service.vip);
  const refused: Refusal[] = [];
  const fitting = service.backends.filter((backend) => {
    if (parseAddress(backend.address).family === vip.family) return true;
    refused.push({ subject: name, reason: familyMismatch(backend.address) });
    return false;
  });
  const { placed, unreachable } = placeBackends({ ...service, backends: fitting }, node);
  if (unreachable.length > 0) refused.push({ subject: name, reason: noNodeAddress(unreachable) });
  const limit = limits.backendsPerService;
  if (placed.length > limit) refused.push({ subject: name, reason: tooManyBackends(placed.length, limit) });
  // Sorted, so every node leaves out the same ones.
  const taken = placed.slice(0, limit);
  const overhead = taken.reduce((most, b) => (b.node ? Math.max(most, overheads[b.node.family]) : most), 0);
  const key = serviceKey(vip, service.port, service.protocol);
  return { entry: { subject: name, key, value: encodeService(taken, service.entry) }, overhead, refused };
}

/** @throws AddressError for text that is no address or prefix */
export function encodeDesired(desired: DesiredDatapath, cache: ServiceCache): DesiredEntries {
  const refused: Refusal[] = [];
  const services: Entry[] = [];
  const entryVips = new Set<string>();
  let tunnelOverhead: number = overheads[desired.node.ipv4 === undefined ? 6 : 4];
  for (const service of desired.services) {
    if (services.length >= limits.services) {
      refused.push({ subject: serviceName(service), reason: tooManyServices(limits.services) });
      continue;
    }
    const signature = JSON.stringify([desired.node, service]);
    const encoded = cache.get(signature, () => encodeOne(service, desired.node));
    services.push(encoded.entry);
    refused.push(...encoded.refused);
    tunnelOverhead = Math.max(tunnelOverhead, encoded.overhead);
    if (service.entry) entryVips.add(service.vip);
  }
  cache.turn();
  return {
    services,
    vips: [...entryVips].map((vip) => ({
      subject: vip,
      key: toMappedBytes(parseAddress(vip)),
      value: u32(flagEntry),
    })),
    localPrefixes: desired.podBlocks.map((block) => ({
      subject: block,
      key: lpmKey(parsePrefix(block)),
      value: u32(1),
    })),
    refused,
    tunnelOverhead,
  };
}
