// datapath: keys and values of the maps in bpf/maps.h and bpf/routes.h, as bytes. A test compares the layouts with BTF.
import {
  type Address,
  formatAddress,
  formatPrefix,
  fromBytes,
  type Prefix,
  parseAddress,
  parsePrefix,
  toMappedBytes,
} from "../net/address.ts";
import { localSlots, maglevTable, slots } from "./maglev.ts";
import type { DesiredBackend, DesiredService, Protocol, RouteAttributesEntry } from "./types.ts";

export const protocolNumbers: Readonly<Record<Protocol, number>> = { TCP: 6, UDP: 17 };

/** FLAG_ENTRY, BACKEND_LOCAL, and flags of struct connection. */
export const flagEntry = 1;
export const backendLocal = 1;
export const connectionFlags = { local: 1, established: 2, closing: 4 } as const;

/** enum counter, in order. */
export const counterNames = [
  "localPrefix",
  "vipLocal",
  "vipTunnelled",
  "tunnelDelivered",
  "tunnelForwarded",
  "reply",
  "echo",
  "icmpError",
  "noService",
  "noBackend",
  "fragment",
  "unsupported",
  "tunnelStranger",
  "tunnelFailed",
  "flowRefused",
  "mssClamped",
] as const;
export type CounterName = (typeof counterNames)[number];

/** Byte offsets of the structs, by member. */
export const layouts = {
  service: {
    flags: 0,
    backend_count: 4,
    local_count: 6,
    slots: 8,
    local_slots: 4101,
    pad: 5122,
    backends: 5124,
  },
  backend: { address: 0, node: 16, port: 32, flags: 34, pad: 35 },
  service_key: { vip: 0, port: 16, protocol: 18, pad: 19 },
  settings: { tunnel_ifindex: 0, mss_ipv4: 4, mss_ipv6: 6, reserved: 8 },
  connection_key: {
    client: 0,
    server: 16,
    client_port: 32,
    server_port: 34,
    protocol: 36,
    direction: 37,
    pad: 38,
  },
  connection: { address: 0, port: 16, flags: 18, pad: 19, last_seen: 20 },
  route_value: { route_id: 0, length: 4, pad: 5 },
  route_attributes: {
    cluster: 0,
    origin_asn: 4,
    peer: 8,
    flags: 12,
    next_hop: 16,
    community: 32,
    reserved: 36,
  },
  flow_key: { source_route: 0, destination_route: 4 },
  flow: { packets: 0, bytes: 8 },
} as const;

export const sizes = {
  service: 14_340,
  backend: 36,
  service_key: 20,
  settings: 16,
  connection_key: 40,
  connection: 24,
  route_value: 8,
  route_attributes: 48,
  flow_key: 8,
  flow: 16,
} as const;

/** A map element ready to be written, and what it is called towards people. */
export interface Entry {
  readonly subject: string;
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

export const u32 = (value: number): Uint8Array => new Uint8Array(new Uint32Array([value]).buffer);

export const viewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** "10.101.0.5:80/TCP", "[fd20:1::5]:80/TCP" */
export function serviceName(service: Pick<DesiredService, "vip" | "port" | "protocol">): string {
  const host = service.vip.includes(":") ? `[${service.vip}]` : service.vip;
  return `${host}:${service.port}/${service.protocol}`;
}

export function serviceKey(vip: Address, port: number, protocol: Protocol): Uint8Array {
  const key = new Uint8Array(sizes.service_key);
  key.set(toMappedBytes(vip), layouts.service_key.vip);
  viewOf(key).setUint16(layouts.service_key.port, port);
  key[layouts.service_key.protocol] = protocolNumbers[protocol];
  return key;
}

/** Where a packet for a backend is tunnelled to: over the family that both nodes have, IPv4 first. */
export function tunnelTarget(
  backend: DesiredBackend,
  own: { readonly ipv4?: string; readonly ipv6?: string },
): Address | undefined {
  if (backend.node?.ipv4 !== undefined && own.ipv4 !== undefined) return parseAddress(backend.node.ipv4);
  if (backend.node?.ipv6 !== undefined && own.ipv6 !== undefined) return parseAddress(backend.node.ipv6);
  return undefined;
}

/** A backend in its place in the tables. */
export interface PlacedBackend {
  readonly address: Address;
  readonly port: number;
  /** Absent for local ones. */
  readonly node: Address | undefined;
}

/** Backends in the order of the tables: sorted, so that every node numbers them alike, each once. */
export function placeBackends(
  service: DesiredService,
  own: { readonly ipv4?: string; readonly ipv6?: string },
): { readonly placed: readonly PlacedBackend[]; readonly unreachable: readonly string[] } {
  const byName = new Map<string, PlacedBackend>();
  const unreachable: string[] = [];
  for (const backend of service.backends) {
    const node = backend.local ? undefined : tunnelTarget(backend, own);
    // It keeps its place all the same: the tables must be those of the other nodes.
    if (!backend.local && node === undefined) unreachable.push(backend.address);
    const address = parseAddress(backend.address);
    byName.set(backendName(address, backend.port), {
      address,
      port: backend.port,
      node: backend.local ? undefined : (node ?? unspecified),
    });
  }
  const names = [...byName.keys()].sort();
  return { placed: names.map((name) => byName.get(name)!), unreachable };
}

const unspecified: Address = { family: 6, hi: 0n, lo: 0n };

const backendName = (address: Address, port: number): string => `${formatAddress(address)} ${port}`;

/** struct service, tables and all. */
export function encodeService(placed: readonly PlacedBackend[], entry: boolean): Uint8Array {
  const at = layouts.service;
  const value = new Uint8Array(sizes.service);
  const v = viewOf(value);
  const names = placed.map((b) => backendName(b.address, b.port));
  const local = placed.flatMap((b, index) => (b.node === undefined ? [index] : []));
  v.setUint32(at.flags, entry ? flagEntry : 0, true);
  v.setUint16(at.backend_count, placed.length, true);
  v.setUint16(at.local_count, local.length, true);
  value.set(maglevTable(names, slots), at.slots);
  const localTable = maglevTable(
    local.map((index) => names[index]!),
    localSlots,
  );
  for (let i = 0; i < localTable.length; i++) value[at.local_slots + i] = local[localTable[i]!] ?? 0;
  for (const [index, backend] of placed.entries()) {
    const base = at.backends + index * sizes.backend;
    value.set(toMappedBytes(backend.address), base + layouts.backend.address);
    if (backend.node) value.set(toMappedBytes(backend.node), base + layouts.backend.node);
    v.setUint16(base + layouts.backend.port, backend.port);
    value[base + layouts.backend.flags] = backend.node ? 0 : backendLocal;
  }
  return value;
}

export function encodeSettings(settings: {
  readonly tunnelInterface: number;
  readonly mssIPv4: number;
  readonly mssIPv6: number;
}): Uint8Array {
  const value = new Uint8Array(sizes.settings);
  const v = viewOf(value);
  v.setUint32(layouts.settings.tunnel_ifindex, settings.tunnelInterface, true);
  v.setUint16(layouts.settings.mss_ipv4, settings.mssIPv4, true);
  v.setUint16(layouts.settings.mss_ipv6, settings.mssIPv6, true);
  return value;
}

/** Key of an LPM map: prefix length of the 128-bit form, then the address. */
export function lpmKey(prefix: Prefix): Uint8Array {
  const key = new Uint8Array(20);
  viewOf(key).setUint32(0, prefix.family === 4 ? prefix.length + 96 : prefix.length, true);
  key.set(toMappedBytes(prefix), 4);
  return key;
}

/** Inverse of {@link lpmKey}. */
export function fromLpmKey(key: Uint8Array): Prefix {
  const length = viewOf(key).getUint32(0, true);
  const address = fromBytes(key.subarray(4, 20));
  return { ...address, length: address.family === 4 ? length - 96 : length };
}

export function encodeRoute(prefix: string, routeId: number): Entry {
  const parsed = parsePrefix(prefix);
  const key = lpmKey(parsed);
  const value = new Uint8Array(sizes.route_value);
  viewOf(value).setUint32(layouts.route_value.route_id, routeId, true);
  value[layouts.route_value.length] = key[0]!;
  return { subject: prefix, key, value };
}

export const decodeRoute = (
  key: Uint8Array,
  value: Uint8Array,
): { readonly prefix: string; readonly routeId: number } => ({
  prefix: formatPrefix(fromLpmKey(key)),
  routeId: viewOf(value).getUint32(layouts.route_value.route_id, true),
});

export function encodeAttributes(entry: RouteAttributesEntry): Entry {
  const at = layouts.route_attributes;
  const value = new Uint8Array(sizes.route_attributes);
  const v = viewOf(value);
  v.setUint32(at.cluster, entry.cluster, true);
  v.setUint32(at.origin_asn, entry.originASN, true);
  v.setUint32(at.peer, entry.peer, true);
  v.setUint32(at.flags, entry.flags, true);
  if (entry.nextHop !== undefined) value.set(toMappedBytes(parseAddress(entry.nextHop)), at.next_hop);
  v.setUint32(at.community, entry.community, true);
  return { subject: `route ${entry.id}`, key: u32(entry.id), value };
}

export function decodeAttributes(key: Uint8Array, value: Uint8Array): RouteAttributesEntry {
  const at = layouts.route_attributes;
  const v = viewOf(value);
  const hop = value.subarray(at.next_hop, at.next_hop + 16);
  return {
    id: viewOf(key).getUint32(0, true),
    cluster: v.getUint32(at.cluster, true),
    originASN: v.getUint32(at.origin_asn, true),
    peer: v.getUint32(at.peer, true),
    flags: v.getUint32(at.flags, true),
    ...(hop.some((b) => b !== 0) && { nextHop: formatAddress(fromBytes(hop)) }),
    community: v.getUint32(at.community, true),
  };
}
