// bgp/bmp: changed paths as Route Monitoring messages: by neighbour, view and attributes, read from the RIB at the moment they are written.
import type { Rib } from "../rib/rib.ts";
import { encodeCanonical } from "../wire/canonical.ts";
import { type Afi, addressBytes, EXTENDED_MESSAGE_BYTES_MAX } from "../wire/constants.ts";
import { nextHopHash } from "../wire/scan.ts";
import type { UpdateWriter } from "../wire/writer.ts";
import type { BmpExporter, StationConfig } from "./exporter.ts";
import { routeMonitoring } from "./message.ts";

const NO_NEXT_HOP = nextHopHash(new Uint8Array(0));

export const views = (c: StationConfig): boolean[] => [
  ...(c.prePolicy ? [false] : []),
  ...(c.postPolicy ? [true] : []),
];

/** Prefix numbers and path identifiers in turn, by attribute set; -1 is withdrawn. */
export type PathGroups = Map<number, number[]>;

export function push(groups: PathGroups, attribute: number, pid: number, id: number): void {
  const list = groups.get(attribute);
  if (list) list.push(pid, id);
  else groups.set(attribute, [pid, id]);
}

/** Paths to tell of, by neighbour, view and attributes, as they are when they are written. */
export class Batch {
  size = 0;
  readonly #exporter: BmpExporter;
  readonly #config: StationConfig;
  readonly #afi: Afi;
  readonly #timeUs: bigint;
  readonly #byPeer = new Map<number, readonly [pre: PathGroups, post: PathGroups]>();

  constructor(exporter: BmpExporter, config: StationConfig, afi: Afi, timeUs: bigint) {
    this.#exporter = exporter;
    this.#config = config;
    this.#afi = afi;
    this.#timeUs = timeUs;
  }

  /** A path that is there. */
  add(index: number, pid: number, path: number): void {
    const peer = this.#exporter.monitored.get(index);
    if (!peer) return;
    const table = this.#exporter.parts.rib.tables[this.#afi];
    this.#push(index, pid, peer.pathIds[this.#afi] ? table.idOf(path) : 0, path);
  }

  /** A path that has changed or gone. `ids` are those that have; undefined where the neighbour gives none. */
  changed(index: number, pid: number, ids: readonly number[] | undefined): void {
    const peer = this.#exporter.monitored.get(index);
    if (!peer) return;
    const table = this.#exporter.parts.rib.tables[this.#afi];
    if (!ids) this.#push(index, pid, 0, table.pathOf(pid, index));
    else for (const id of ids) this.#push(index, pid, id, table.pathWithId(pid, index, id));
  }

  #push(index: number, pid: number, id: number, path: number): void {
    let groups = this.#byPeer.get(index);
    if (!groups) {
      groups = [new Map(), new Map()];
      this.#byPeer.set(index, groups);
    }
    const table = this.#exporter.parts.rib.tables[this.#afi];
    if (this.#config.prePolicy) push(groups[0], path < 0 ? -1 : table.pathRaw[path]!, pid, id);
    if (this.#config.postPolicy) push(groups[1], path < 0 ? -1 : table.pathAttr[path]!, pid, id);
    this.size++;
  }

  write(writer: UpdateWriter, count: (messages: number) => void): Uint8Array {
    const out: Uint8Array[] = [];
    for (const [index, groups] of this.#byPeer) {
      const peer = this.#exporter.monitored.get(index)!;
      const ids = peer.pathIds[this.#afi];
      for (const post of views(this.#config)) {
        const header = peer.header(post, this.#timeUs);
        writeGroups(writer, this.#exporter.parts.rib, this.#afi, groups[post ? 1 : 0], ids, header, out);
      }
    }
    count(out.length);
    return Buffer.concat(out);
  }
}

/** Writes prefixes by attribute set as Route Monitoring messages. */
export function writeGroups(
  writer: UpdateWriter,
  rib: Rib,
  afi: Afi,
  groups: PathGroups,
  pathIds: boolean,
  header: Uint8Array,
  out: Uint8Array[],
): void {
  const { keys, lengths, words } = rib.tables[afi].prefixes;
  writer.begin(EXTENDED_MESSAGE_BYTES_MAX);
  for (const [attribute, paths] of groups) {
    if (attribute < 0) writer.withdraw(afi, pathIds);
    else {
      const bytes = octetsOf(rib, attribute, afi);
      // Attributes that leave no room in 65,535 octets have come in no message.
      if (!writer.announce(afi, bytes, 0, bytes.length, pathIds)) continue;
    }
    for (let i = 0; i < paths.length; i += 2)
      writer.add(keys, paths[i]! * words, lengths[paths[i]!]!, paths[i + 1]!);
  }
  const bytes = writer.finish();
  for (let at = 0; at < bytes.length; ) {
    const length = (bytes[at + 16]! << 8) | bytes[at + 17]!;
    out.push(routeMonitoring(header, bytes.subarray(at, at + length)));
    at += length;
  }
}

/** A set of attributes as it goes into a message. A route of our own has no next hop; there it is the unspecified address. */
function octetsOf({ attributes }: Rib, id: number, afi: Afi): Uint8Array {
  if (attributes.nextHopHash[id] !== NO_NEXT_HOP)
    return attributes.bytes.subarray(attributes.start(id), attributes.end(id));
  const a = attributes.attributes(id, afi);
  return encodeCanonical({ ...a, nextHop: new Uint8Array(addressBytes(afi)) });
}
