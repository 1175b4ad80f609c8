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
import { type DesiredDatapath, type DesiredService, limits, type Refusal } from "./types.ts";

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

/** Services that are encoded already, by name: building the tables is the expensive part. */
export class ServiceCache {
  #known = new Map<string, { readonly signature: string; readonly value: Uint8Array }>();
  #next = new Map<string, { readonly signature: string; readonly value: Uint8Array }>();

  get(name: string, signature: string, make: () => Uint8Array): Uint8Array {
    const known = this.#known.get(name);
    const value = known?.signature === signature ? known.value : make();
    this.#next.set(name, { signature, value });
    return value;
  }

  /** Forgets what was not asked for since the last call. */
  turn(): void {
    this.#known = this.#next;
    this.#next = new Map();
  }
}

interface EncodedService {
  readonly entry: Entry;
  readonly overhead: number;
  readonly refused: readonly Refusal[];
}

function encodeOne(service: DesiredService, desired: DesiredDatapath, cache: ServiceCache): EncodedService {
  const name = serviceName(service);
  const vip = parseAddress(service.vip);
  const refused: Refusal[] = [];
  const fitting = service.backends.filter((backend) => {
    if (parseAddress(backend.address).family === vip.family) return true;
    refused.push({ subject: name, reason: familyMismatch(backend.address) });
    return false;
  });
  const { placed, unreachable } = placeBackends({ ...service, backends: fitting }, desired.node);
  if (unreachable.length > 0) refused.push({ subject: name, reason: noNodeAddress(unreachable) });
  const limit = limits.backendsPerService;
  if (placed.length > limit) refused.push({ subject: name, reason: tooManyBackends(placed.length, limit) });
  // Sorted, so every node leaves out the same ones.
  const taken = placed.slice(0, limit);
  const overhead = taken.reduce((most, b) => (b.node ? Math.max(most, overheads[b.node.family]) : most), 0);
  const signature = JSON.stringify([service.entry, taken], (_, v) => (typeof v === "bigint" ? `${v}` : v));
  const value = cache.get(name, signature, () => encodeService(taken, service.entry));
  const key = serviceKey(vip, service.port, service.protocol);
  return { entry: { subject: name, key, value }, overhead, refused };
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
    const encoded = encodeOne(service, desired, cache);
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
