// bgp/mrt: the Loc-RIB as a table dump: its peers, then each prefix with all paths that policy accepted, best first.
import { type Address, fromInteger } from "../../net/address.ts";
import { LOCAL, PEERS_MAX, type Rib } from "../rib/rib.ts";
import { encodeCanonical } from "../wire/canonical.ts";
import { type Afi, addressBytes, afis } from "../wire/constants.ts";
import { nextHopHash } from "../wire/scan.ts";
import { type IndexedPeer, peerIndexTable, ribRecord, type WrittenEntry } from "./record.ts";

/** Prefixes looked at in one piece. */
const PIECE = 2_000;
const NO_NEXT_HOP = nextHopHash(new Uint8Array(0));

export interface Snapshot {
  readonly timeMs: number;
  /** Ours, for routes of our own. */
  readonly local: IndexedPeer;
  /** The neighbour's address as configured or connected; by its index in the RIB. */
  address(index: number): Address | undefined;
}

/**
 * The records of a dump, in pieces, so that its taker may do other things between two. What changes meanwhile is dumped as it is when
 * its turn comes; a neighbour that comes meanwhile is not in it.
 */
export function* tableDump(rib: Rib, s: Snapshot): Generator<Uint8Array> {
  const peers: IndexedPeer[] = [s.local];
  const position = new Map<number, number>([[LOCAL, 0]]);
  for (let index = LOCAL + 1; index < PEERS_MAX; index++) {
    const peer = rib.peer(index);
    if (!peer || peer.received[1] + peer.received[2] === 0) continue;
    position.set(index, peers.length);
    const address = s.address(index) ?? fromInteger(6, peer.address);
    peers.push({ address, asn: peer.asn, routerId: peer.routerId });
  }
  yield peerIndexTable(s.timeMs, s.local.routerId, "", peers);
  let sequence = 0;
  for (const afi of afis) {
    const table = rib.tables[afi];
    for (let from = 0; from < table.prefixes.limit; from += PIECE) {
      const out: Uint8Array[] = [];
      for (let pid = from; pid < Math.min(from + PIECE, table.prefixes.limit); pid++) {
        if (table.head[pid]! < 0) continue;
        const entries = entriesOf(rib, afi, pid, position, s.timeMs);
        if (entries.length === 0) continue;
        const { keys, words, lengths } = table.prefixes;
        out.push(ribRecord(s.timeMs, sequence++, afi, keys, pid * words, lengths[pid]!, entries));
      }
      yield concat(out);
    }
  }
}

function entriesOf(
  rib: Rib,
  afi: Afi,
  pid: number,
  position: ReadonlyMap<number, number>,
  timeMs: number,
): WrittenEntry[] {
  const table = rib.tables[afi];
  return table.candidates(pid).order.flatMap(({ path, attribute, peer }) => {
    const at = position.get(peer.index);
    if (at === undefined) return [];
    const attributes = octetsOf(rib, attribute, afi);
    return [{ peer: at, originated: Math.floor(timeMs / 1000), pathId: table.idOf(path), attributes }];
  });
}

/** A route of our own has no next hop; in a dump it is the unspecified address. */
function octetsOf({ attributes }: Rib, id: number, afi: Afi): Uint8Array {
  if (attributes.nextHopHash[id] !== NO_NEXT_HOP)
    return attributes.bytes.subarray(attributes.start(id), attributes.end(id));
  const nextHop = new Uint8Array(addressBytes(afi));
  return encodeCanonical({ ...attributes.attributes(id, afi), nextHop });
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((sum, p) => sum + p.length, 0));
  let at = 0;
  for (const p of parts) {
    out.set(p, at);
    at += p.length;
  }
  return out;
}
