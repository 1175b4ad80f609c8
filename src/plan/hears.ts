// plan: what each neighbour of a node hears of what the node originates: the speaker's own export, on a plan's state.
import { compileChain } from "../bgp/policy/chain.ts";
import { extendedTexts } from "../bgp/policy/communities.ts";
import { originIn, policyIn, treatmentIn } from "../bgp/rib/desired.ts";
import { type ExportTarget, exportTarget } from "../bgp/rib/export.ts";
import { decideOrigin, exportOrigin, type Origin, originFor } from "../bgp/rib/group.ts";
import { exportTreatment } from "../bgp/rib/treatment.ts";
import { flatten } from "../bgp/wire/aspath.ts";
import type { PathAttributes } from "../bgp/wire/attributes.ts";
import { type Address, formatAddress, fromBytes, maskTo, toBytes } from "../net/address.ts";
import { encodeDesired } from "./desired.ts";
import { originatedPolicy } from "./policies.ts";
import { prefixText } from "./text.ts";
import type { SpeakerPeer, SpeakerState } from "./types.ts";

/** A route as it is written into an UPDATE. */
export interface HeardRoute {
  readonly nextHop: string;
  /** Nearest first. */
  readonly asPath: readonly number[];
  readonly origin: "IGP" | "EGP" | "incomplete";
  readonly med?: number;
  /** Absent towards external peers. */
  readonly localPreference?: number;
  /** `65001:100`, in the order in which they are sent. */
  readonly communities: readonly string[];
  /** `65001:1:2`, in the order in which they are sent. */
  readonly largeCommunities: readonly string[];
  /** `rt:65001:100`; absent where there is none. */
  readonly extendedCommunities?: readonly string[];
  /** ONLY_TO_CUSTOMER (RFC 9234): the AS that has marked it; absent where it is not marked. */
  readonly onlyToCustomer?: number;
}

/** What the export policy of one peer makes of one route that is originated for it. */
export interface Hearing {
  readonly peer: string;
  /** Canonical text. */
  readonly prefix: string;
  /** The rule, `policy/rule`, or the sentence that stands in for one. */
  readonly decidedBy: string;
  /** Whether {@link decidedBy} is a rule. */
  readonly byRule: boolean;
  /** Present where it is accepted: what is sent once the session is up and has the family. */
  readonly route?: HeardRoute;
}

/** Our own address on the session with a peer; undefined where that is not known. */
export type LocalAddressOf = (peer: SpeakerPeer) => Address | undefined;

/** By the number of ORIGIN. */
export const origins = ["IGP", "EGP", "incomplete"] as const;

/** A set of attributes as people read it. */
export const heardRoute = (a: PathAttributes): HeardRoute => ({
  nextHop: a.nextHop.length > 0 ? formatAddress(fromBytes(a.nextHop.subarray(0, 16))) : "",
  asPath: flatten(a.asPath),
  origin: origins[a.origin],
  ...(a.med !== undefined && { med: a.med }),
  ...(a.localPref !== undefined && { localPreference: a.localPref }),
  communities: (a.communities ?? []).map((c) => `${c >>> 16}:${c & 0xffff}`),
  largeCommunities: (a.large ?? []).map((l) => l.join(":")),
  ...(a.extendedCommunities && { extendedCommunities: extendedTexts(a.extendedCommunities) }),
  ...(a.otc !== undefined && { onlyToCustomer: a.otc }),
});

const prefixOf = (o: Origin): string => {
  const bytes = new Uint8Array(o.words.length * 4);
  const view = new DataView(bytes.buffer);
  for (const [i, word] of o.words.entries()) view.setUint32(i * 4, word);
  return prefixText(maskTo(fromBytes(bytes), o.length));
};

/** Export policies and next hops of every peer of a state, ready for routes. */
export function exportTargets(
  state: SpeakerState,
  localAddress: LocalAddressOf,
): ReadonlyMap<string, ExportTarget> {
  const desired = encodeDesired({ ...state, origins: [] }, 0n, true, new Map());
  const policies = new Map(desired.policies.map((p) => [p.name, policyIn(p)] as const));
  const reflecting = desired.peers.some((p) => p.reflectorClient);
  return new Map(
    state.peers.map((p, i) => {
      const ebgp = p.peerASN !== p.localASN;
      const local = p.localAddress ?? localAddress(p);
      const target = exportTarget({
        ebgp,
        localAsn: p.localASN,
        chain: compileChain(p.exportPolicies, policies),
        nextHop: { 1: p.nextHopIPv4 && toBytes(p.nextHopIPv4), 2: p.nextHopIPv6 && toBytes(p.nextHopIPv6) },
        local,
        // A neighbour that is asked for it is taken to agree.
        extendedNextHop: p.extendedNextHop ?? local?.family === 6,
        treatment: exportTreatment(treatmentIn(desired.peers[i]!, ebgp, p.name), {
          ebgp,
          peerAsn: p.peerASN,
          peerRouterId: 0, // what a neighbour is told does not depend on it
          reflecting,
          clusterId: desired.clusterId || desired.routerId,
        }),
      });
      return [p.name, target];
    }),
  );
}

/** Which rule of a peer's export policies accepts each route that is originated for it, by index over all of them; by prefix. */
export function acceptedBy(state: SpeakerState): ReadonlyMap<string, ReadonlyMap<string, number>> {
  const origins = encodeDesired(state, 0n, true, new Map()).origins.map(originIn);
  const out = new Map<string, Map<string, number>>();
  for (const [peer, target] of exportTargets(state, () => undefined)) {
    const accepted = new Map<string, number>();
    for (const origin of origins) {
      if (!origin.peers.has(peer)) continue;
      const rule = decideOrigin(target, origin);
      if (typeof rule === "number" && (rule < 0 || target.chain.rules[rule]!.rule.accept))
        accepted.set(prefixOf(origin), rule);
    }
    out.set(peer, accepted);
  }
  return out;
}

const heardMemo = new WeakMap<SpeakerState, ReadonlySet<string>>();

/** Prefixes that at least one peer's export policies let out, whether or not its session is up. */
export function letOut(state: SpeakerState): ReadonlySet<string> {
  let out = heardMemo.get(state);
  if (!out) {
    // What carries our own tag passes the policy that follows from it: nothing to look at one by one.
    const plain = state.peers.every((p) => p.exportPolicies.join() === originatedPolicy);
    out = new Set(
      plain
        ? state.origins.map((o) => prefixText(o.prefix))
        : [...acceptedBy(state).values()].flatMap((accepted) => [...accepted.keys()]),
    );
    heardMemo.set(state, out);
  }
  return out;
}

/** What every peer hears of every route that is originated for it, in the order of peers and prefixes. */
export function hearings(state: SpeakerState, localAddress: LocalAddressOf): readonly Hearing[] {
  const byPrefix = new Map<string, Origin[]>();
  for (const origin of encodeDesired(state, 0n, true, new Map()).origins.map(originIn)) {
    const prefix = prefixOf(origin);
    byPrefix.set(prefix, [...(byPrefix.get(prefix) ?? []), origin]);
  }
  const prefixes = [...byPrefix].sort(([a], [b]) => (a < b ? -1 : 1));
  return [...exportTargets(state, localAddress)].flatMap(([peer, target]) =>
    prefixes.flatMap(([prefix, list]): readonly Hearing[] => {
      const origin = originFor(list, peer);
      if (!origin) return [];
      const decision = exportOrigin(target, origin);
      const { decidedBy } = decision;
      const byRule = target.chain.rules.some((r) => r.label === decidedBy);
      const route = decision.accepted && { route: heardRoute(decision.attributes) };
      return [{ peer, prefix, decidedBy, byRule, ...route }];
    }),
  );
}
