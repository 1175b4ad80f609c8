// plan: why each neighbour of a node hears a prefix or does not: the plan's own reasons, the export policy and the session.
import { contains, type Prefix } from "../net/address.ts";
import { serviceObstacle } from "./candidates.ts";
import { tryAddress, tryPrefix } from "./fields.ts";
import { isAnnounced } from "./guard.ts";
import { type HeardRoute, type Hearing, hearings, type LocalAddressOf } from "./hears.ts";
import { type Reason, verdicts } from "./messages.ts";
import { hostOf, toPrefix } from "./text.ts";
import type { Announcement, AnnouncementState, Plan, Proof, Snapshot } from "./types.ts";

/** A session as the node's agent reports it. */
export interface SessionFacts {
  /** RFC 4271's state. */
  readonly state: string;
  /** Why it is not Established. */
  readonly reason?: string;
  /** Negotiated; absent where nobody knows. */
  readonly families?: readonly string[];
}

/** What a node's agent says that it announces. */
export interface Reported {
  readonly prefix: string;
  readonly state: AnnouncementState;
  readonly reason?: string;
  readonly peers?: readonly string[];
}

/** What is known of a node besides its plan. */
export interface NodeFacts {
  readonly sessions: ReadonlyMap<string, SessionFacts>;
  readonly proofs: ReadonlyMap<string, Proof>;
  /** By canonical prefix; undefined where the agent has reported nothing at all. */
  readonly reported?: ReadonlyMap<string, Reported>;
  readonly localAddress: LocalAddressOf;
}

export interface Verdict {
  readonly code: string;
  readonly message: string;
}

export interface PeerExplanation {
  readonly peer: string;
  readonly hears: boolean;
  readonly why: Verdict;
  /** The export policy's rule, `policy/rule`, where it came to that. */
  readonly rule?: string;
  /** What it hears; where only the session is missing, what it would hear. */
  readonly route?: HeardRoute;
  readonly session?: SessionFacts;
}

export interface Explanation {
  readonly node: string;
  /** Absent for a Service that has no address. */
  readonly prefix?: string;
  readonly kind: Announcement["kind"];
  readonly owner: Announcement["owner"];
  /** namespace/name of the other Services that have the address too. */
  readonly sharedBy?: readonly string[];
  readonly pool?: string;
  readonly state: AnnouncementState;
  readonly why: Reason;
  readonly proof?: Proof;
  /** BGPAdvertisements that ask for it. */
  readonly advertisements: readonly string[];
  /** BGPAdvertisements that do not, each with its reason. */
  readonly refusals: Announcement["refusals"];
  readonly peers: readonly PeerExplanation[];
  readonly reported?: Reported;
  /** Whether the agent reports the same; absent where it has not reported. */
  readonly agrees?: boolean;
  /** Changes on their way that have not come to this node, and an earlier form counts; absent where there is none. */
  readonly rollouts?: Plan["rollouts"];
}

/** What is asked about: addresses, or a Service. */
export type Question =
  | { readonly prefix: Prefix }
  | { readonly service: { readonly namespace: string; readonly name: string } };

/** `10.1.0.0/26`, `10.101.0.5` or `namespace/name`; undefined where it is none of them. */
export function questionOf(text: string): Question | undefined {
  const address = tryAddress(text);
  if (address) return { prefix: hostOf(address) };
  const prefix = tryPrefix(text);
  if (prefix) return { prefix };
  const [, namespace, name] = /^([a-z0-9](?:[-a-z0-9]*[a-z0-9])?)\/([a-z0-9][-a-z0-9.]*)$/.exec(text) ?? [];
  return namespace !== undefined && name !== undefined ? { service: { namespace, name } } : undefined;
}

/** The announcements that a question is about: those of the Service; or those that hold the prefix, else those inside it. */
export function asked(announcements: readonly Announcement[], question: Question): readonly Announcement[] {
  if ("service" in question) {
    const { namespace, name } = question.service;
    return announcements.filter(
      (a) =>
        (a.owner.kind === "Service" && a.owner.namespace === namespace && a.owner.name === name) ||
        a.sharedBy?.includes(`${namespace}/${name}`) === true,
    );
  }
  const wanted = question.prefix;
  const near = announcements.filter((a) => a.prefix !== undefined && contains(toPrefix(a.prefix), wanted));
  return near.length > 0
    ? near
    : announcements.filter((a) => a.prefix !== undefined && contains(wanted, toPrefix(a.prefix)));
}

/** Why there is nothing to explain, as far as the cluster says. */
export function whyNothing(snapshot: Snapshot, question: Question): Verdict {
  if ("service" in question) {
    const { namespace, name } = question.service;
    const service = snapshot.services.find(
      (s) => s.metadata.namespace === namespace && s.metadata.name === name,
    );
    return service
      ? (serviceObstacle(service) ?? verdicts.noCandidate())
      : verdicts.noService(namespace, name);
  }
  const holds = (texts: readonly string[]): boolean =>
    texts.some((text) => {
      const prefix = tryPrefix(text);
      return prefix !== undefined && contains(prefix, question.prefix);
    });
  const pool = snapshot.pools.find((p) => holds(p.spec.blocks));
  if (pool) return verdicts.unclaimed(pool.metadata.name);
  const peering = snapshot.peerings.find((p) => holds(p.spec.prefixes));
  return peering ? verdicts.elsewhere(peering.metadata.name) : verdicts.unknownPrefix();
}

const familyOf = (prefix: string): string => (prefix.includes(":") ? "IPv6Unicast" : "IPv4Unicast");

/** One peer that the route is originated for. */
function heard(
  announcement: Announcement,
  peer: string,
  hearing: Hearing | undefined,
  session: SessionFacts | undefined,
): PeerExplanation {
  const base = {
    peer,
    ...(hearing?.byRule && { rule: hearing.decidedBy }),
    ...(hearing?.route && { route: hearing.route }),
    ...(session && { session }),
  };
  if (hearing && !hearing.route)
    return { ...base, hears: false, why: verdicts.refused(hearing.decidedBy, hearing.byRule) };
  if (!session) return { ...base, hears: false, why: verdicts.sessionUnknown() };
  if (session.state !== "Established")
    return { ...base, hears: false, why: verdicts.sessionDown(session.state, session.reason) };
  const family = familyOf(announcement.prefix ?? "");
  if (session.families && !session.families.includes(family))
    return { ...base, hears: false, why: verdicts.familyNotNegotiated(family) };
  const why = hearing ? verdicts.hears(hearing.decidedBy, hearing.byRule) : verdicts.heldAsBefore();
  return { ...base, hears: true, why };
}

function peersOf(
  announcement: Announcement,
  plan: Plan,
  byPeer: ReadonlyMap<string, Hearing>,
  facts: NodeFacts,
): readonly PeerExplanation[] {
  const refused = new Map(
    announcement.refusals.flatMap((r) =>
      r.object.startsWith("BGPPeer/") ? [[r.object.slice("BGPPeer/".length), r.reason] as const] : [],
    ),
  );
  const names = new Set([...plan.speaker.peers.map((p) => p.name), ...refused.keys(), ...announcement.peers]);
  return [...names].sort().map((peer): PeerExplanation => {
    const session = facts.sessions.get(peer);
    if (isAnnounced(announcement) && announcement.peers.includes(peer))
      return heard(announcement, peer, byPeer.get(peer), session);
    const why = refused.get(peer) ?? announcement.reason;
    return { peer, hears: false, why, ...(session && { session }) };
  });
}

const sameNames = (a: readonly string[], b: readonly string[]): boolean =>
  a.length === b.length && [...a].sort().join() === [...b].sort().join();

/** Whether plan and report say the same. A withdrawal that nobody has acknowledged is not said to be one yet. */
const agree = (announcement: Announcement, reported: Reported | undefined): boolean =>
  reported
    ? reported.state === announcement.state &&
      (announcement.state === "Withdrawn" || sameNames(reported.peers ?? [], announcement.peers))
    : announcement.state === "Withdrawn";

/**
 * An announcement as the agent holds it, where it says so: only the agent remembers what was in force before the plan that the
 * guard holds, and that goes out as it was.
 */
function asHeld(announcement: Announcement, reported: Reported | undefined): Announcement {
  if (reported?.state !== "Held" || announcement.state === "Held") return announcement;
  const reason = { code: "WithdrawGuard" as const, message: reported.reason ?? announcement.reason.message };
  return { ...announcement, state: "Held", reason, peers: reported.peers ?? announcement.peers };
}

/** Explains what the question is about on one node. Empty where the node has nothing to do with it. */
export function explain(plan: Plan, facts: NodeFacts, question: Question): readonly Explanation[] {
  const list = asked(plan.announcements, question);
  if (list.length === 0) return [];
  const wanted = new Set(list.map((a) => a.prefix));
  const waiting = plan.rollouts.filter((r) => !r.taken);
  const heardHere = hearings(plan.speaker, facts.localAddress).filter((h) => wanted.has(h.prefix));
  return list.map((planned): Explanation => {
    const reported = planned.prefix === undefined ? undefined : facts.reported?.get(planned.prefix);
    const announcement = asHeld(planned, reported);
    const { prefix, kind, owner, sharedBy, pool, state, reason, advertisements, refusals } = announcement;
    // What the plan alone would say of it is not what goes out.
    const here = announcement === planned ? heardHere.filter((h) => h.prefix === prefix) : [];
    const own = new Map(here.map((h) => [h.peer, h] as const));
    const proof = prefix === undefined ? undefined : facts.proofs.get(prefix);
    return {
      node: plan.node,
      ...(prefix !== undefined && { prefix }),
      kind,
      owner,
      ...(sharedBy && { sharedBy }),
      ...(pool !== undefined && { pool }),
      state,
      why: reason,
      ...(proof && { proof }),
      advertisements,
      refusals: refusals.filter((r) => !r.object.startsWith("BGPPeer/")),
      peers: peersOf(announcement, plan, own, facts),
      ...(reported && { reported }),
      ...(facts.reported && prefix !== undefined && { agrees: agree(announcement, reported) }),
      ...(waiting.length > 0 && { rollouts: waiting }),
    };
  });
}
