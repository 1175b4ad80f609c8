// plan: the decision about one candidate: every condition in order, the first that fails is the reason.
import {
  type BGPAdvertisement,
  type BGPPeer,
  excludeLabel,
  routeKind,
  selects,
  serviceLabels,
  whenEmptyAnnotation,
} from "../api/index.ts";
import { type AddressType, type Candidate, servicesOf } from "./candidates.ts";
import { canonical } from "./canonical.ts";
import { type DrainPhase, drainWithdraws } from "./drain.ts";
import { communitiesAt, type Faults, gracefulShutdown } from "./fields.ts";
import { type Reason, reasons } from "./messages.ts";
import { prefixText } from "./text.ts";
import type {
  Announcement,
  AnnouncementState,
  Proof,
  RouteAttributesOut,
  SpeakerOrigin,
  SpeakerPeer,
  VipEntry,
} from "./types.ts";

type Item = BGPAdvertisement["spec"]["advertise"][number];

/** A BGPAdvertisement whose attributes have been read. */
export interface CompiledAdvertisement {
  readonly name: string;
  readonly object: BGPAdvertisement;
  readonly attributes: readonly RouteAttributesOut[];
}

/** Reads the attributes of each item of a BGPAdvertisement. */
export function compileAdvertisement(object: BGPAdvertisement, into: Faults): CompiledAdvertisement {
  return {
    name: object.metadata.name,
    object,
    attributes: object.spec.advertise.map((item, i) => {
      const given = item.attributes;
      const communities = communitiesAt(
        given?.communities,
        `spec.advertise[${i}].attributes.communities`,
        into,
      );
      return {
        ...(given?.med !== undefined && { med: given.med }),
        ...(given?.localPreference !== undefined && { localPref: given.localPreference }),
        communities: communities.standard,
        large: communities.large,
        prepend: given?.prepend ?? 0,
      };
    }),
  };
}

export interface AnnounceContext {
  readonly node: string;
  readonly labels: Readonly<Record<string, string>> | undefined;
  readonly mode: "None" | "Observe" | "Allocate" | "Announce";
  /** The Node is paused and nothing is in force on it. */
  readonly paused: boolean;
  readonly asn: number;
  readonly clusterID: number;
  readonly advertisements: readonly CompiledAdvertisement[];
  /** All BGPPeers, and those of this node as the speaker gets them. */
  readonly allPeers: readonly BGPPeer[];
  readonly peers: ReadonlyMap<string, { readonly object: BGPPeer; readonly speaker: SpeakerPeer }>;
  /** Entries with backends, by canonical prefix. */
  readonly vips: ReadonlyMap<string, VipEntry>;
  readonly proofs: ReadonlyMap<string, Proof>;
  /** Canonical prefixes that are announced now. */
  readonly announcedBefore: ReadonlySet<string>;
  readonly elsewhere: ReadonlySet<string> | undefined;
  readonly drain: { readonly phase: DrainPhase; readonly force: boolean };
}

export interface Decision {
  readonly announcement: Announcement;
  /** One for each distinct set of attributes; empty unless announced. */
  readonly origins: readonly SpeakerOrigin[];
  /** Whether this node's own drain is why it is not announced. */
  readonly byDrain: boolean;
}

/** MED is a cost: the highest is least wanted. */
const highestMED = 0xffff_ffff;
/** Enough to lose against any path of ours that is not de-preferred. */
const dePreferPrepend = 3;

/** The same route, least wanted: RFC 8326's community, highest MED, lowest LOCAL_PREF, a longer path. */
export const dePrefer = (a: RouteAttributesOut): RouteAttributesOut => ({
  med: highestMED,
  localPref: 0,
  communities: a.communities.includes(gracefulShutdown)
    ? a.communities
    : [...a.communities, gracefulShutdown],
  large: a.large,
  prepend: Math.max(a.prepend, dePreferPrepend),
});

/** Why this item does not ask for the candidate; undefined where it does. */
function itemRefusal(item: Item, candidate: Candidate): Reason | undefined {
  const wanted = candidate.kind === "Pods" ? "PodBlocks" : "Services";
  const selected = (): Reason | undefined =>
    servicesOf(candidate).some((s) => selects(item.serviceSelector, serviceLabels(s)))
      ? undefined
      : reasons.serviceSelectorNoMatch();
  if (item.type === "Pools") {
    const { pool } = candidate;
    if (pool === undefined || !item.pools?.includes(pool)) return reasons.poolNotAdvertised(pool);
    return wanted === "PodBlocks" ? undefined : selected();
  }
  if (item.type !== wanted) return reasons.typeNotAdvertised(wanted);
  if (wanted === "PodBlocks") return undefined;
  const type: AddressType = candidate.addressType ?? "LoadBalancerIP";
  if (!item.addresses?.includes(type)) return reasons.addressTypeNotAdvertised(type);
  return selected();
}

interface Match {
  readonly advertisement: CompiledAdvertisement;
  /** The address stays announced without a ready endpoint. */
  readonly keeps: boolean;
  readonly attributes: RouteAttributesOut;
}

/** BGPAdvertisements that ask for the candidate, in the order of their names, and why the others do not. */
function matching(
  candidate: Candidate,
  context: AnnounceContext,
): { readonly matches: readonly Match[]; readonly refusals: Announcement["refusals"] } {
  const matches: Match[] = [];
  const refusals: { object: string; reason: Reason }[] = [];
  for (const advertisement of context.advertisements) {
    const { object, name } = advertisement;
    const refuse = (reason: Reason): void =>
      void refusals.push({ object: `BGPAdvertisement/${name}`, reason });
    if (!selects(object.spec.nodeSelector, context.labels)) {
      refuse(reasons.nodeSelectorNoMatch());
      continue;
    }
    const answers = object.spec.advertise.map((item) => itemRefusal(item, candidate));
    const index = answers.indexOf(undefined);
    // The last item's reason is as good as any; a selector that does not match says more than a type.
    if (index < 0)
      refuse(
        answers.find((a) => a?.code === "ServiceSelectorNoMatch") ??
          answers.at(-1) ??
          reasons.noAdvertisement(),
      );
    else
      matches.push({
        advertisement,
        keeps: object.spec.advertise[index]!.whenEmpty === "Keep",
        attributes: advertisement.attributes[index]!,
      });
  }
  return { matches, refusals };
}

/** Peers that hear the candidate, each with the attributes of the first BGPAdvertisement that selects it. */
function hearing(
  candidate: Candidate,
  matches: readonly Match[],
  context: AnnounceContext,
): { readonly peers: ReadonlyMap<string, RouteAttributesOut>; readonly refusals: Announcement["refusals"] } {
  const peers = new Map<string, RouteAttributesOut>();
  const refusals: { object: string; reason: Reason }[] = [];
  const family = candidate.prefix!.family === 4 ? "IPv4Unicast" : "IPv6Unicast";
  for (const object of context.allPeers) {
    const { name, labels } = object.metadata;
    const refuse = (reason: Reason): void => void refusals.push({ object: `BGPPeer/${name}`, reason });
    const own = context.peers.get(name);
    const match = matches.find((m) => selects(m.advertisement.object.spec.peerSelector, labels));
    if (!own) refuse(reasons.peerNotOnNode());
    else if (!match) refuse(reasons.peerNotSelected(matches.map((m) => m.advertisement.name)));
    else if (!own.speaker.families.includes(family)) refuse(reasons.familyNotConfigured(family));
    else peers.set(name, match.attributes);
  }
  return { peers, refusals };
}

/** What is kept without an endpoint was proven when it had one; what has let go of it does not come back so. */
function endpointObstacle(
  candidate: Candidate,
  entry: VipEntry | undefined,
  kept: boolean,
): Reason | undefined {
  if (candidate.kind === "Pods") return undefined;
  const backends = entry?.ports.flatMap((p) => p.backends) ?? [];
  if (candidate.service?.spec.externalTrafficPolicy === "Local")
    return backends.some((b) => b.local) ? undefined : reasons.noLocalEndpoint();
  return backends.length > 0 || kept ? undefined : reasons.noReadyEndpoint();
}

/** Whether an address without a ready endpoint stays announced: the Service's own word, else the BGPAdvertisements'. */
function keptWhenEmpty(candidate: Candidate, matches: readonly Match[], before: boolean): boolean {
  const said = servicesOf(candidate).map((s) => s.metadata.annotations?.[whenEmptyAnnotation]);
  return before && (said.includes("Keep") || (!said.includes("Withdraw") && matches.some((m) => m.keeps)));
}

const modeObstacle = ({ mode, paused }: AnnounceContext): Reason | undefined =>
  mode === "None"
    ? paused
      ? reasons.nodePaused()
      : reasons.nodeNotSelected()
    : mode === "Observe"
      ? reasons.observe()
      : mode === "Allocate"
        ? reasons.allocate()
        : undefined;

const exclusion = (candidate: Candidate, { labels }: AnnounceContext): Reason | undefined =>
  candidate.kind === "VIPs" && labels?.[excludeLabel] !== undefined ? reasons.nodeExcluded() : undefined;

/** Announced, de-preferred or withdrawn, once claim, endpoints, BGPAdvertisement and peers say yes. */
function standing(
  candidate: Candidate,
  prefix: string,
  advertisements: readonly string[],
  context: AnnounceContext,
): { readonly state: AnnouncementState; readonly reason: Reason; readonly byDrain: boolean } {
  const proof = context.proofs.get(prefix);
  const before = context.announcedBefore.has(prefix);
  const { phase, force } = context.drain;
  if (phase !== "None") {
    const free = candidate.kind === "Pods" || force || context.elsewhere?.has(prefix) === true;
    // A draining node begins nothing new, and what it has let go of does not come back.
    if (!before || (drainWithdraws(phase) && free))
      return { state: "Withdrawn", reason: reasons.drained(), byDrain: true };
    const reason = !drainWithdraws(phase)
      ? reasons.draining()
      : context.elsewhere
        ? reasons.lastAnnouncer()
        : reasons.announcerUnknown();
    return { state: "DePreferred", reason, byDrain: true };
  }
  if (proof?.state === "Proven")
    return { state: "Announced", reason: reasons.announced(advertisements), byDrain: false };
  const why = proof?.reason ?? "the datapath has not been tried with it yet";
  if (!before) return { state: "Withdrawn", reason: reasons.notProven(why), byDrain: false };
  // Not tried since a start is no failure: what was proven stays as it is until a proof says otherwise.
  if (!proof) return { state: "Announced", reason: reasons.announced(advertisements), byDrain: false };
  return context.elsewhere?.has(prefix) === true
    ? { state: "Withdrawn", reason: reasons.proofFailsElsewhere(why), byDrain: false }
    : { state: "DePreferred", reason: reasons.proofFails(why), byDrain: false };
}

/** Peers with equal attributes share an origin. */
function originsOf(
  candidate: Candidate,
  peers: ReadonlyMap<string, RouteAttributesOut>,
  state: AnnouncementState,
  context: AnnounceContext,
): readonly SpeakerOrigin[] {
  const tag = {
    global: context.asn,
    local1: context.clusterID,
    local2: candidate.kind === "Pods" ? routeKind.pods : routeKind.vips,
  };
  const groups = new Map<RouteAttributesOut, string[]>();
  for (const [peer, attributes] of peers) groups.set(attributes, [...(groups.get(attributes) ?? []), peer]);
  return [...groups].map(([given, names]) => {
    // Somebody may have written our own tag into a BGPAdvertisement; a community is sent once (RFC 8092 3).
    const others = given.large.filter((l) => canonical(l) !== canonical(tag));
    const tagged = { ...given, large: [...others, tag] };
    return {
      prefix: candidate.prefix!,
      attributes: state === "DePreferred" ? dePrefer(tagged) : tagged,
      peers: names.sort(),
    };
  });
}

/** Decides about one candidate. */
export function decide(candidate: Candidate, context: AnnounceContext): Decision {
  const prefix = candidate.prefix && prefixText(candidate.prefix);
  const base = {
    ...(prefix !== undefined && { prefix }),
    kind: candidate.kind,
    owner: candidate.owner,
    ...(candidate.sharers && {
      sharedBy: candidate.sharers.map((s) => `${s.metadata.namespace ?? ""}/${s.metadata.name}`),
    }),
    ...(candidate.pool !== undefined && { pool: candidate.pool }),
  };
  const no = (
    reason: Reason,
    advertisements: readonly string[] = [],
    refusals: Announcement["refusals"] = [],
  ): Decision => ({
    announcement: { ...base, state: "Withdrawn", reason, advertisements, peers: [], refusals },
    origins: [],
    byDrain: false,
  });
  const obstacle = modeObstacle(context) ?? candidate.obstacle ?? exclusion(candidate, context);
  if (obstacle || prefix === undefined) return no(obstacle ?? reasons.noAddress());
  const { matches, refusals } = matching(candidate, context);
  const names = matches.map((m) => m.advertisement.name);
  if (matches.length === 0) return no(reasons.noAdvertisement(), names, refusals);
  const kept = keptWhenEmpty(candidate, matches, context.announcedBefore.has(prefix));
  const endpoints = endpointObstacle(candidate, context.vips.get(prefix), kept);
  if (endpoints) return no(endpoints, names, refusals);
  const heard = hearing(candidate, matches, context);
  const all = [...refusals, ...heard.refusals];
  if (heard.peers.size === 0) return no(reasons.noPeer(), names, all);
  const { state, reason, byDrain } = standing(candidate, prefix, names, context);
  const origins = state === "Withdrawn" ? [] : originsOf(candidate, heard.peers, state, context);
  return {
    announcement: {
      ...base,
      state,
      reason,
      advertisements: names,
      peers: state === "Withdrawn" ? [] : [...heard.peers.keys()].sort(),
      refusals: all,
    },
    origins,
    byDrain: byDrain && state === "Withdrawn",
  };
}
