// plan: tests of routing policy without a cluster: one route, one neighbour, and what must become of it, by the speaker's own code.
import { type ClusterNetwork, type Node, routeKind } from "../api/index.ts";
import { compileChain } from "../bgp/policy/chain.ts";
import { extendedOf } from "../bgp/policy/communities.ts";
import { policyIn, treatmentIn } from "../bgp/rib/desired.ts";
import { exportRoute } from "../bgp/rib/export.ts";
import { Rib } from "../bgp/rib/rib.ts";
import { importTreatment } from "../bgp/rib/treatment.ts";
import type { PathAttributes } from "../bgp/wire/attributes.ts";
import type { Afi } from "../bgp/wire/constants.ts";
import { NlriCursor, nlriBytes } from "../bgp/wire/nlri.ts";
import { nextHopHash } from "../bgp/wire/scan.ts";
import { type Address, type Family, type Prefix, toBytes } from "../net/address.ts";
import { decideOrigin, refusalText } from "../routes/index.ts";
import { canonical } from "./canonical.ts";
import { encodeDesired } from "./desired.ts";
import { noDrain } from "./drain.ts";
import {
  addressAt,
  type Communities,
  collectFaults,
  communitiesAt,
  type Faults,
  prefixAt,
} from "./fields.ts";
import { exportTargets, type HeardRoute, heardRoute, hearings, origins } from "./hears.ts";
import { testSays } from "./messages.ts";
import { addressesOf } from "./noderule.ts";
import { plan } from "./plan.ts";
import { prefixText } from "./text.ts";
import {
  nothingRemembered,
  type Plan,
  type Problem,
  type RouteAttributesOut,
  type Snapshot,
  type SpeakerPeer,
} from "./types.ts";

/** Attributes as they are written in a test. */
export interface TestAttributes {
  readonly med?: number | null;
  readonly localPreference?: number | null;
  readonly asPath?: readonly number[];
  readonly nextHop?: string;
  readonly communities?: readonly string[];
  readonly largeCommunities?: readonly string[];
  readonly extendedCommunities?: readonly string[];
  readonly origin?: HeardRoute["origin"];
}

export interface PolicyCase {
  readonly name: string;
  readonly peer: string;
  /** Default Export. */
  readonly direction?: "Export" | "Import";
  readonly route: TestAttributes & {
    readonly prefix: string;
    /** Export: what it is of ours, which gives it our tag. Default VIPs. */
    readonly kind?: "Pods" | "VIPs";
    /** Export: our AS number this many further times in front. */
    readonly prepend?: number;
    /** Export: not a route of ours, but one that has been taken from this BGPPeer. */
    readonly learnedFrom?: string;
  };
  readonly expect: {
    readonly verdict: "Accept" | "Reject";
    /** `policy/rule`, or the sentence that stands in for one. */
    readonly rule?: string;
    readonly attributes?: TestAttributes;
    /** Import: the ClusterPeering that takes the route; null where none does. */
    readonly peering?: string | null;
  };
}

/** The node whose sessions are meant. */
export interface TestNode {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Our addresses; the first of a family is the next hop and the address of sessions of that family. */
  readonly addresses: readonly string[];
}

/** Stands in for a ClusterNetwork where the manifests have none. */
export interface TestCluster {
  readonly name: string;
  readonly id: number;
  readonly asn: number;
}

export interface CaseFailure {
  /** Path of the field below the case. */
  readonly path: readonly string[];
  readonly message: string;
}

export interface CaseResult {
  readonly name: string;
  readonly passed: boolean;
  readonly failures: readonly CaseFailure[];
  /** What became of the route; absent where it could not be tried. */
  readonly verdict?: "Accept" | "Reject";
  readonly rule?: string;
  readonly route?: HeardRoute;
  readonly peering?: string;
}

/** A node's sessions and policies, compiled once for all cases. */
export interface PolicyBench {
  readonly plan: Plan;
  readonly addresses: readonly Address[];
  /** What is wrong with the objects; a peer that is named here is not there to be tested. */
  readonly problems: readonly Problem[];
}

const networkFor = (c: TestCluster): ClusterNetwork => ({
  apiVersion: "waggle.dev/v1alpha1",
  kind: "ClusterNetwork",
  metadata: { name: "default" },
  spec: {
    clusterName: c.name,
    clusterID: c.id,
    withdrawGuardPercent: 30,
    servicesWithoutClass: "WithVIPs",
    drainSeconds: 5,
    nodes: [
      {
        nodeSelector: {},
        mode: "Announce",
        owns: ["Pods", "VIPs", "Routes"],
        localASN: c.asn,
        routerIDSource: "Hash",
        interfaces: ["eth0"],
      },
    ],
  },
});

/** Prepares the objects of the manifests for one node. */
export function policyBench(
  objects: Pick<
    Snapshot,
    "clusterNetwork" | "nodes" | "pools" | "peers" | "policies" | "advertisements" | "peerings"
  >,
  node: TestNode,
  cluster: TestCluster | undefined,
): PolicyBench {
  const own: Node = objects.nodes.find((n) => n.metadata.name === node.name) ?? {
    apiVersion: "v1",
    kind: "Node",
    metadata: { name: node.name, labels: node.labels },
    status: { addresses: node.addresses.map((address) => ({ type: "InternalIP", address })) },
  };
  const clusterNetwork = objects.clusterNetwork ?? (cluster && networkFor(cluster));
  const snapshot: Snapshot = {
    clusterUID: "",
    services: [],
    endpointSlices: [],
    allocations: [],
    lastGood: nothingRemembered,
    ...objects,
    nodes: [own],
    ...(clusterNetwork && { clusterNetwork }),
  };
  const made = plan(snapshot, node.name, {
    proofs: new Map(),
    passwords: new Set(),
    drain: noDrain,
    retiring: [],
    guardSerial: 0,
    host: { connected: [], apiServer: [], cniDataDir: "" },
    now: 0,
  });
  return { plan: made, addresses: addressesOf(own), problems: made.problems };
}

interface Outcome {
  readonly verdict: "Accept" | "Reject";
  readonly rule: string;
  readonly route?: HeardRoute;
  readonly peering?: string;
  /** Why no ClusterPeering takes it. */
  readonly refusal?: string;
}

const localOf = (bench: PolicyBench, peer: SpeakerPeer): Address | undefined =>
  peer.localAddress ??
  bench.addresses.find((a) => a.family === peer.address.family && peer.interface === undefined);

/** A route that has been learned from another neighbour, as it stands after import. */
function passedOn(
  bench: PolicyBench,
  peer: SpeakerPeer,
  from: SpeakerPeer,
  prefix: Prefix,
  test: PolicyCase,
  into: Faults,
): Outcome {
  const attributes = received(from, prefix, test, into);
  const target = exportTargets(bench.plan.speaker, (p) => localOf(bench, p)).get(peer.name)!;
  const { nlri: _, ...route } = encoded(prefix);
  const ebgp = from.peerASN !== from.localASN;
  const decision = exportRoute(target, route, attributes, {
    learned: true,
    fromEbgp: ebgp,
    fromClient: !ebgp && (from.treatment?.reflectorClient ?? false),
    sender: { name: from.name, audience: from.name, ebgp },
    prepend: 0,
  });
  return decision.accepted
    ? { verdict: "Accept", rule: decision.decidedBy, route: heardRoute(decision.attributes) }
    : { verdict: "Reject", rule: decision.decidedBy };
}

/** A prefix as it is in an UPDATE, and as the RIB takes it. */
function encoded(prefix: Prefix) {
  const afi: Afi = prefix.family === 4 ? 1 : 2;
  const nlri = Uint8Array.from([prefix.length, ...toBytes(prefix)]).subarray(0, nlriBytes(prefix.length));
  const cursor = new NlriCursor();
  cursor.read(nlri, 0, afi);
  return { nlri, afi, keys: cursor.words, key: 0, length: cursor.length };
}

const givenCommunities = (route: TestAttributes, into: Faults): Communities =>
  communitiesAt(
    {
      standard: route.communities ?? [],
      large: route.largeCommunities ?? [],
      extended: route.extendedCommunities ?? [],
    },
    "communities",
    into,
  );

function exported(
  bench: PolicyBench,
  peer: SpeakerPeer,
  prefix: Prefix,
  test: PolicyCase,
  into: Faults,
): Outcome {
  const { route } = test;
  if (route.learnedFrom !== undefined) {
    const from = bench.plan.speaker.peers.find((p) => p.name === route.learnedFrom);
    if (from) return passedOn(bench, peer, from, prefix, test, into);
    into.add("learnedFrom", testSays.noPeer(route.learnedFrom, []));
  }
  const given = givenCommunities(route, into);
  const tag = {
    global: bench.plan.routePolicy.asn,
    local1: bench.plan.clusterID,
    local2: route.kind === "Pods" ? routeKind.pods : routeKind.vips,
  };
  const attributes: RouteAttributesOut = {
    ...(route.med != null && { med: route.med }),
    ...(route.localPreference != null && { localPref: route.localPreference }),
    communities: given.standard,
    large: [...given.large.filter((l) => canonical(l) !== canonical(tag)), tag],
    prepend: route.prepend ?? 0,
  };
  const origins = [{ prefix, attributes, peers: [peer.name] }];
  const state = { ...bench.plan.speaker, peers: [peer], origins };
  const [heard] = hearings(state, (p) => localOf(bench, p));
  return heard?.route
    ? { verdict: "Accept", rule: heard.decidedBy, route: heard.route }
    : { verdict: "Reject", rule: heard?.decidedBy ?? "" };
}

const documentation = {
  4: { family: 4, hi: 0n, lo: 0xc000_0201n },
  6: { family: 6, hi: 0x2001_0db8_0000_0000n, lo: 1n },
} as const;

/** A route as the neighbour would send it. */
function received(peer: SpeakerPeer, prefix: Prefix, test: PolicyCase, into: Faults): PathAttributes {
  const { route } = test;
  const family: Family = prefix.family;
  const given = givenCommunities(route, into);
  const nextHop =
    route.nextHop === undefined
      ? peer.address.family === family && peer.interface === undefined
        ? peer.address
        : documentation[family]
      : addressAt(route.nextHop, "nextHop", into);
  const external = peer.peerASN !== peer.localASN;
  const path = route.asPath ?? (external ? [peer.peerASN] : []);
  const localPref = route.localPreference ?? (external ? undefined : 100);
  return {
    afi: family === 4 ? 1 : 2,
    origin: origins.indexOf(route.origin ?? "IGP") as PathAttributes["origin"],
    asPath: path.length > 0 ? [{ type: 2, asns: path }] : [],
    nextHop: nextHop ? toBytes(nextHop) : new Uint8Array(0),
    ...(route.med != null && { med: route.med }),
    ...(localPref !== undefined && { localPref }),
    ...(given.standard.length > 0 && { communities: given.standard }),
    ...(given.large.length > 0 && { large: given.large.map((l) => [l.global, l.local1, l.local2] as const) }),
    ...(given.extended.length > 0 && {
      extendedCommunities: Uint8Array.from(given.extended.flatMap((text) => [...extendedOf(text)])),
    }),
  };
}

function imported(
  bench: PolicyBench,
  peer: SpeakerPeer,
  prefix: Prefix,
  test: PolicyCase,
  into: Faults,
): Outcome {
  const attributes = received(peer, prefix, test, into);
  const { afi } = attributes;
  const { speaker } = bench.plan;
  const desired = encodeDesired({ ...speaker, origins: [] }, 0n, true, new Map());
  const { policies } = desired;
  const message = desired.peers.find((p) => p.name === peer.name)!;
  const rib = new Rib(1);
  const own = rib.addPeer(peer.name)!;
  own.ebgp = peer.peerASN !== peer.localASN;
  own.asn = peer.peerASN;
  const hop = (a: Afi): number => {
    const configured = a === 1 ? peer.nextHopIPv4 : peer.nextHopIPv6;
    const local = configured ?? localOf(bench, peer);
    return local && (local.family === 4) === (a === 1) ? nextHopHash(toBytes(local)) : 0;
  };
  own.ownNextHop = { 1: hop(1), 2: hop(2) };
  rib.setImport(own, {
    ebgp: own.ebgp,
    localAsn: peer.localASN,
    routerId: speaker.routerID,
    chain: compileChain(peer.importPolicies, new Map(policies.map((p) => [p.name, policyIn(p)])), {
      name: peer.name,
      audience: peer.name,
    }),
    treatment: importTreatment(treatmentIn(message, own.ebgp, peer.name), {
      ebgp: own.ebgp,
      peerAsn: peer.peerASN,
      peerRouterId: 0, // only a reflected route shows it
      reflecting: desired.peers.some((p) => p.reflectorClient),
      clusterId: desired.clusterId || desired.routerId,
    }),
  });
  const { nlri, keys, length } = encoded(prefix);
  if (rib.announce(own, afi, nlri, 0, nlri.length, rib.attributes.intern(attributes)) > 0)
    return { verdict: "Reject", rule: testSays.unroutable() };
  const table = rib.tables[afi];
  const path = table.pathOf(table.prefixes.find(keys, 0, length), own.index);
  const rule = rib.names.name(table.pathRule[path]!);
  const attribute = table.pathAttr[path]!;
  if (attribute < 0) return { verdict: "Reject", rule };
  const accepted = rib.attributes.attributes(attribute, afi);
  const route = heardRoute(accepted);
  const decision = decideOrigin(
    prefix,
    {
      peer: peer.name,
      nextHop: documentation[prefix.family],
      asPath: route.asPath,
      communities: [],
      large: (accepted.large ?? []).map(([global, local1, local2]) => ({ global, local1, local2 })),
      stale: false,
    },
    bench.plan.routePolicy,
  );
  return {
    verdict: "Accept",
    rule,
    route,
    ...(decision.accepted ? { peering: decision.peering } : { refusal: refusalText[decision.code] }),
  };
}

const listed = (list: readonly (string | number)[]): string => `[${list.join(", ")}]`;
const numbers = (list: readonly string[]): readonly string[] => {
  const parsed = communitiesAt({ standard: list }, "", collectFaults());
  return parsed.standard.map((c) => `${c >>> 16}:${c & 0xffff}`);
};

/** What of the expected attributes is not so. */
function attributeFailures(expected: TestAttributes, route: HeardRoute): readonly CaseFailure[] {
  const out: CaseFailure[] = [];
  const differs = (name: keyof TestAttributes, wanted: string, found: string): void => {
    if (wanted !== found)
      out.push({ path: ["expect", "attributes", name], message: testSays.attribute(name, wanted, found) });
  };
  const number = (value: number | null | undefined): string => (value == null ? "none" : String(value));
  if (expected.med !== undefined) differs("med", number(expected.med), number(route.med));
  if (expected.localPreference !== undefined)
    differs("localPreference", number(expected.localPreference), number(route.localPreference));
  if (expected.nextHop !== undefined) differs("nextHop", expected.nextHop, route.nextHop);
  if (expected.asPath !== undefined) differs("asPath", listed(expected.asPath), listed(route.asPath));
  const set = (list: readonly string[]): string => listed([...list].sort());
  if (expected.communities !== undefined)
    differs("communities", set(numbers(expected.communities)), set(route.communities));
  if (expected.largeCommunities !== undefined)
    differs("largeCommunities", set(expected.largeCommunities), set(route.largeCommunities));
  if (expected.extendedCommunities !== undefined)
    differs("extendedCommunities", set(expected.extendedCommunities), set(route.extendedCommunities ?? []));
  if (expected.origin !== undefined) differs("origin", expected.origin, route.origin);
  return out;
}

function failuresOf({ expect }: PolicyCase, outcome: Outcome): readonly CaseFailure[] {
  const { verdict, rule, route, peering, refusal } = outcome;
  const out: CaseFailure[] = [];
  if (verdict !== expect.verdict)
    out.push({ path: ["expect", "verdict"], message: testSays.verdict(expect.verdict, verdict, rule) });
  if (expect.rule !== undefined && rule !== expect.rule)
    out.push({ path: ["expect", "rule"], message: testSays.rule(expect.rule, rule) });
  if (expect.peering !== undefined && (peering ?? null) !== expect.peering)
    out.push({
      path: ["expect", "peering"],
      message: testSays.peering(expect.peering, peering ?? null, refusal),
    });
  if (expect.attributes && route) out.push(...attributeFailures(expect.attributes, route));
  return out;
}

/** Tries one case. */
export function runPolicyCase(bench: PolicyBench, test: PolicyCase): CaseResult {
  const { name } = test;
  const fail = (path: readonly string[], message: string): CaseResult => ({
    name,
    passed: false,
    failures: [{ path, message }],
  });
  if (bench.plan.mode !== "Announce") return fail([], testSays.notAnnouncing(bench.plan.mode));
  const peer = bench.plan.speaker.peers.find((p) => p.name === test.peer);
  if (!peer) {
    const wrong = bench.problems.filter((p) => p.object === `BGPPeer/${test.peer}`);
    return fail(
      ["peer"],
      testSays.noPeer(
        test.peer,
        wrong.map((p) => `${p.path} ${p.message}`),
      ),
    );
  }
  const faults = collectFaults();
  const prefix = prefixAt(test.route.prefix, "prefix", faults);
  if (!prefix) return fail(["route", "prefix"], `${test.route.prefix} ${faults.list[0]!.message}`);
  const family = prefix.family === 4 ? "IPv4Unicast" : "IPv6Unicast";
  if (!peer.families.includes(family)) return fail(["route", "prefix"], testSays.noFamily(test.peer, family));
  const outcome =
    test.direction === "Import"
      ? imported(bench, peer, prefix, test, faults)
      : exported(bench, peer, prefix, test, faults);
  const wrong = faults.list[0];
  if (wrong) return fail(["route"], `${prefixText(prefix)}: ${wrong.path} ${wrong.message}`);
  const failures = failuresOf(test, outcome);
  return { name, passed: failures.length === 0, failures, ...outcome };
}
