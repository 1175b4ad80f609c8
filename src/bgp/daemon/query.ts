// bgp/daemon: answers to questions about the RIB, in pieces, as a generator: the socket takes the next piece when it has sent the last.
import { create } from "@bufbuild/protobuf";
import {
  type Query,
  QueryKind,
  type QueryReply,
  QueryReplySchema,
  type Route,
} from "../../api/generated/proto/speaker_pb.js";
import { bitsOf, contains, fromBytes, maskTo, type Prefix } from "../../net/address.ts";
import type { Speaker } from "../session/speaker.ts";
import { type Afi, afis } from "../wire/constants.ts";
import { advertisedRoute, locRoute, type MonitoringReply, receivedRoute, sessionMessage } from "./convert.ts";
import { queryError } from "./messages.ts";

const ROUTES_PER_PIECE = 1_000;
/** Prefixes looked at before a piece is handed out although it is not full, so that a filter that matches little holds nobody up. */
const LOOKS_PER_PIECE = 50_000;

/** The pieces of an answer; the last has `last` set. */
export function* answer(
  speaker: Speaker,
  query: Query,
  monitoring: () => MonitoringReply,
): Generator<QueryReply> {
  const { id } = query;
  const reply = (
    rest: Partial<Pick<QueryReply, "sessions" | "stations" | "mrt" | "routes" | "error" | "last">>,
  ): QueryReply => create(QueryReplySchema, { id, ...rest });
  if (query.kind === QueryKind.QUERY_PEERS) {
    yield reply({ sessions: [...speaker.sessions].map(sessionMessage), last: true });
    return;
  }
  if (query.kind === QueryKind.QUERY_MONITORING) {
    yield reply({ ...monitoring(), last: true });
    return;
  }
  const session = query.kind === QueryKind.QUERY_ROUTES ? undefined : speaker.session(query.peer);
  if (query.kind !== QueryKind.QUERY_ROUTES) {
    if (!session) {
      yield reply({ error: queryError.noPeer(query.peer), last: true });
      return;
    }
    if (query.kind === QueryKind.QUERY_ADVERTISED && !session.sender) {
      yield reply({ error: queryError.peerDown(session.name, session.downReason), last: true });
      return;
    }
  }
  const filter = filterOf(query);
  if (typeof filter === "string") {
    yield reply({ error: filter, last: true });
    return;
  }
  speaker.flush();
  const { rib } = speaker;
  const route = (afi: Afi, pid: number): Route | undefined => {
    const table = rib.tables[afi];
    if (query.kind === QueryKind.QUERY_ROUTES)
      return table.best[pid]! >= 0 ? locRoute(rib, afi, pid, true) : undefined;
    if (query.kind === QueryKind.QUERY_ADVERTISED) return advertisedRoute(rib, afi, pid, session!);
    return receivedRoute(rib, afi, pid, session!.rib);
  };
  let routes: Route[] = [];
  for (const afi of afis) {
    if (filter && (filter.family === 4) !== (afi === 1)) continue;
    const { prefixes } = rib.tables[afi];
    for (let pid = 0, looked = 0; pid < prefixes.limit; pid++) {
      if (++looked % LOOKS_PER_PIECE === 0) {
        yield reply({ routes });
        routes = [];
      }
      if (rib.tables[afi].head[pid]! < 0) continue;
      if (filter && !inside(filter, prefixes.keys, pid * prefixes.words, prefixes.lengths[pid]!)) continue;
      const found = route(afi, pid);
      if (!found) continue;
      routes.push(found);
      if (routes.length === ROUTES_PER_PIECE) {
        yield reply({ routes });
        routes = [];
      }
    }
  }
  yield reply({ routes, last: true });
}

/** The prefix within which routes are asked for; text where it makes no sense. */
function filterOf(query: Query): Prefix | string | undefined {
  if (query.prefix.length === 0) return undefined;
  if (query.prefix.length !== 4 && query.prefix.length !== 16)
    return `prefix of ${query.prefix.length} bytes`;
  const address = fromBytes(query.prefix);
  if (query.length > bitsOf(address.family)) return `prefix length ${query.length}`;
  return maskTo(address, query.length);
}

function inside(outer: Prefix, keys: Uint32Array, key: number, length: number): boolean {
  if (length < outer.length) return false;
  const word = (i: number): bigint => BigInt(keys[key + i]!);
  return outer.family === 4
    ? contains(outer, { family: 4, hi: 0n, lo: word(0), length })
    : contains(outer, {
        family: 6,
        hi: (word(0) << 32n) | word(1),
        lo: (word(2) << 32n) | word(3),
        length,
      });
}
