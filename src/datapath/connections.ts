// datapath: the connection table from user space: carried over to another layout, and rid of backends that are gone.

import type { BpfMap } from "../kernel/maps.ts";
import { formatAddress, fromBytes } from "../net/address.ts";
import type { Entry } from "./codec.ts";
import { backendLocal, connectionFlags, layouts, sizes, viewOf } from "./codec.ts";

const TO_SERVER = 0;
const UDP = 17;

/** Copies all connections. Where the target is full its oldest go, as in normal operation. Returns how many. */
export function copyConnections(
  from: BpfMap,
  to: BpfMap,
  convert: (value: Uint8Array) => Uint8Array,
): number {
  let copied = 0;
  let part: [Uint8Array, Uint8Array][] = [];
  const flush = (): void => {
    copied += to.updateBatch(part);
    part = [];
  };
  for (const [key, value] of from.entries()) {
    part.push([key, convert(value)]);
    if (part.length === 1024) flush();
  }
  flush();
  return copied;
}

/** Adds the connections that the target does not know: those that began while it was being filled. Returns how many. */
export function addNewConnections(
  from: BpfMap,
  to: BpfMap,
  convert: (value: Uint8Array) => Uint8Array,
  sinceSeconds: number,
): number {
  const noExist = 1;
  let added = 0;
  for (const [key, value] of from.entries()) {
    if (viewOf(value).getUint32(layouts.connection.last_seen, true) < sinceSeconds) continue;
    if (to.tryUpdate(key, convert(value), noExist) >= 0) added++;
  }
  return added;
}

/** Seconds of the clock that the programs stamp connections with. */
export const kernelSeconds = (): number => Number(process.hrtime.bigint() / 1_000_000_000n);

const keyText = (bytes: Uint8Array): string => Buffer.from(bytes).toString("latin1");

/** Who may still be talked to by each service: "address port" of local backends, and nodes. */
function livingOf(services: Iterable<Entry>): Map<string, ReadonlySet<string>> {
  const living = new Map<string, ReadonlySet<string>>();
  for (const { key, value } of services) {
    const v = viewOf(value);
    const names = new Set<string>();
    const count = v.getUint16(layouts.service.backend_count, true);
    for (let i = 0; i < count; i++) {
      const at = layouts.service.backends + i * sizes.backend;
      const local = ((value[at + layouts.backend.flags] ?? 0) & backendLocal) !== 0;
      if (local) {
        const port = v.getUint16(at + layouts.backend.port);
        names.add(`${keyText(value.subarray(at, at + 16))} ${port}`);
      } else names.add(keyText(value.subarray(at + layouts.backend.node, at + layouts.backend.node + 16)));
    }
    living.set(keyText(key), names);
  }
  return living;
}

/**
 * Forgets connections whose backend is gone, so that their next packet chooses anew. Established TCP connections stay:
 * a terminating pod still serves them. Returns how many were forgotten.
 */
export function sweepConnections(map: BpfMap, services: Iterable<Entry>): number {
  const living = livingOf(services);
  const key = layouts.connection_key;
  const connection = layouts.connection;
  const gone: Uint8Array[] = [];
  for (const [bytes, value] of map.entries()) {
    if (bytes[key.direction] !== TO_SERVER) continue;
    const v = viewOf(bytes);
    const serviceKey = new Uint8Array(sizes.service_key);
    serviceKey.set(bytes.subarray(key.server, key.server + 16));
    viewOf(serviceKey).setUint16(layouts.service_key.port, v.getUint16(key.server_port));
    serviceKey[layouts.service_key.protocol] = bytes[key.protocol] ?? 0;
    const flags = value[connection.flags] ?? 0;
    const address = keyText(value.subarray(0, 16));
    const local = (flags & connectionFlags.local) !== 0;
    const name = local ? `${address} ${viewOf(value).getUint16(connection.port)}` : address;
    if (living.get(keyText(serviceKey))?.has(name)) continue;
    const established = bytes[key.protocol] !== UDP && (flags & connectionFlags.established) !== 0;
    if (!established) gone.push(bytes.slice());
  }
  for (const bytes of gone) map.delete(bytes);
  return gone.length;
}

/** One connection as people read it. */
export interface Connection {
  readonly client: string;
  readonly clientPort: number;
  readonly server: string;
  readonly serverPort: number;
  readonly protocol: number;
  readonly direction: "toServer" | "toClient";
  /** Backend or node (toServer), VIP (toClient). */
  readonly other: string;
  readonly otherPort: number;
  readonly local: boolean;
  readonly established: boolean;
}

/** The connection table, at most `limit` entries. */
export function listConnections(map: BpfMap, limit = 65_536): Connection[] {
  const key = layouts.connection_key;
  const found: Connection[] = [];
  const text = (bytes: Uint8Array): string => formatAddress(fromBytes(bytes));
  for (const [k, v] of map.entries()) {
    if (found.length >= limit) break;
    const flags = v[layouts.connection.flags] ?? 0;
    found.push({
      client: text(k.subarray(key.client, key.client + 16)),
      clientPort: viewOf(k).getUint16(key.client_port),
      server: text(k.subarray(key.server, key.server + 16)),
      serverPort: viewOf(k).getUint16(key.server_port),
      protocol: k[key.protocol] ?? 0,
      direction: k[key.direction] === TO_SERVER ? "toServer" : "toClient",
      other: text(v.subarray(0, 16)),
      otherPort: viewOf(v).getUint16(layouts.connection.port),
      local: (flags & connectionFlags.local) !== 0,
      established: (flags & connectionFlags.established) !== 0,
    });
  }
  return found;
}
