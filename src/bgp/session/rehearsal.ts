// bgp/session: a rehearsal: a table of made-up routes goes through a speaker of its own, so that the code which the first real table
// needs has been compiled before it comes. Nothing of it is seen outside.
import { type Address, parseAddress } from "../../net/address.ts";
import type { Policy } from "../policy/types.ts";
import { noTreatment } from "../rib/treatment.ts";
import type { PathAttributes } from "../wire/attributes.ts";
import { encodeCanonical } from "../wire/canonical.ts";
import { keepaliveMessage } from "../wire/frame.ts";
import { encodeOpen } from "../wire/open.ts";
import { UpdateWriter } from "../wire/writer.ts";
import { Speaker } from "./speaker.ts";
import { type Clock, type Connection, type ConnectionHandler, noAddPath, type PeerConfig } from "./types.ts";

/** Prefixes in a table, and how often it comes and goes: what it takes until the compilers have nothing left to do. */
const PREFIXES = 14_000;
const ROUNDS = 4;
/** Octets that are read in one go: a few milliseconds, which real neighbours may wait. */
const SLICE_BYTES = 8 * 1024;
const PREFIXES_PER_SET = 6;
const ASN = 65000;
const own = parseAddress("192.0.2.1");

/** Takes everything at once and only counts it. */
class Sink implements Connection {
  bytes = 0;
  readonly local = own;
  readonly remote: Address;
  readonly pendingBytes = 0;

  constructor(remote: Address) {
    this.remote = remote;
  }

  write(bytes: Uint8Array): boolean {
    this.bytes += bytes.length;
    return true;
  }

  unacknowledged(): number {
    return 0;
  }

  end(): void {}
  destroy(): void {}
}

const neighbour = (name: string, address: string, asn: number, more: Partial<PeerConfig>): PeerConfig => ({
  name,
  address: parseAddress(address),
  unnumbered: false,
  range: undefined,
  port: 179,
  peerAsn: asn,
  localAsn: ASN,
  localAddress: undefined,
  families: [1],
  holdSeconds: 90,
  connectRetrySeconds: 5,
  password: undefined,
  passwordMissing: false,
  ttlSecurityHops: 0,
  multihopTtl: 0,
  gracefulRestart: false,
  restartSeconds: 0,
  longLivedSeconds: 0,
  forwardingPreserved: false,
  prefixesMax: { 1: 2 * PREFIXES, 2: 0 },
  importPolicies: [],
  exportPolicies: [],
  nextHop: { 1: undefined, 2: undefined },
  passive: true,
  interface: undefined,
  adminDown: false,
  treatment: noTreatment,
  addPath: noAddPath,
  extendedNextHop: undefined,
  ...more,
});

/** Some rules look at the prefix, the last takes the rest: as policies commonly do. */
function policy(): Policy {
  const match = { prefixes: [], communities: [], large: [], asPathContains: [], source: "any" } as const;
  const set = { addCommunities: [], addLarge: [], prepend: 0 };
  const refused = (address: string, length: number, ge: number, le: number) => {
    const prefixes = [{ prefix: { ...parseAddress(address), length }, ge, le }];
    return { name: address, match: { ...match, prefixes }, accept: false, set };
  };
  return {
    name: "rehearsed",
    rules: [
      refused("0.0.0.0", 0, 0, 7),
      refused("10.0.0.0", 8, 8, 32),
      refused("192.168.0.0", 16, 16, 32),
      { name: "rest", match, accept: true, set },
    ],
  };
}

/** UPDATEs that announce, each time with other attributes, or withdraw the table. */
function table(round: number, announce: boolean): Uint8Array {
  const writer = new UpdateWriter();
  writer.begin(4096);
  const key = new Uint32Array(1);
  if (!announce) writer.withdraw(1);
  for (let i = 0; i < PREFIXES; i++) {
    // All over the address space, as real ones are: small and large numbers are different to a compiler.
    key[0] = ((1 + ((i * 7) % 220)) << 24) | (Math.imul(i, 0x9e3779b1) & 0xffff00);
    const s = i / PREFIXES_PER_SET;
    if (announce && Number.isInteger(s)) {
      const asns = Array.from(
        { length: 2 + (s % 5) },
        (_, k) => 200_000 + ((s * 31 + k * 7 + round) % 400_000),
      );
      const a: PathAttributes = {
        afi: 1,
        origin: s % 10 === 0 ? 2 : 0,
        asPath: [{ type: 2, asns: [ASN + 1, ...asns] }],
        nextHop: Uint8Array.of(192, 0, 2, 2),
        ...(s % 4 === 0 ? { med: s % 100 } : {}),
        ...(s % 3 === 0 ? { communities: [(s & 1023) * 65536 + 1, (ASN + 1) * 65536 + round] } : {}),
      };
      const bytes = encodeCanonical(a);
      writer.announce(1, bytes, 0, bytes.length);
    }
    writer.add(key, 0, 24);
  }
  return writer.finish();
}

/**
 * Runs the rehearsal in slices.
 * @param over asked before each slice: true ends it, as when real routes have come
 * @returns octets that were sent on
 */
export async function rehearse(clock: Pick<Clock, "soon">, over: () => boolean): Promise<number> {
  const turn = (): Promise<void> => new Promise((resolve) => clock.soon(resolve));
  // Time that stands still, but for what makes sessions old enough to be sent to without waiting for their turn.
  let now = 0;
  const nothing = (): void => {};
  const speaker = new Speaker({
    clock: { now: () => now, unixMs: () => now, after: () => ({ cancel: nothing }), soon: clock.soon },
    random: () => 0.5,
    transport: { connect: (target) => new Sink(target.address) },
    events: {
      acknowledged: nothing,
      sessionChanged: nothing,
      routesChanged: nothing,
      endOfRib: nothing,
      log: nothing,
    },
  });
  speaker.apply({
    generation: 0n,
    asn: ASN,
    routerId: 0xc0000201,
    clusterId: 0xc0000201,
    listen: [],
    peers: [
      neighbour("from", "192.0.2.2", ASN + 1, { importPolicies: ["rehearsed"] }),
      neighbour("to", "192.0.2.3", ASN + 2, { exportPolicies: ["rehearsed"] }),
    ],
    origins: [],
    policies: [policy()],
    complete: true,
  });
  const join = (sink: Sink, asn: number): ConnectionHandler | undefined => {
    const peer = speaker.admit(sink.remote, own);
    const handler = peer && speaker.accept(peer, sink);
    handler?.connected();
    const capabilities = { families: [{ afi: 1, safi: 1 }], as4: asn, routeRefresh: true } as const;
    handler?.data(encodeOpen({ asn, holdSeconds: 90, routerId: asn, capabilities }));
    handler?.data(keepaliveMessage);
    return handler;
  };
  const from = join(new Sink(parseAddress("192.0.2.2")), ASN + 1);
  const to = new Sink(parseAddress("192.0.2.3"));
  join(to, ASN + 2);
  now = 10_000;
  for (let round = 0; round < ROUNDS; round++)
    for (const announce of [true, false]) {
      const bytes = table(round, announce);
      for (let at = 0; at < bytes.length; at += SLICE_BYTES) {
        await turn();
        if (over()) return to.bytes;
        from?.data(bytes.subarray(at, at + SLICE_BYTES));
      }
    }
  await turn();
  from?.closed("rehearsal over");
  return to.bytes;
}
