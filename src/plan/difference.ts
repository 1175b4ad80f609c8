// plan: what each neighbour of a node would hear differently after a change, and which sessions would be made anew.
import { approveAnnotation, type NodeNetwork } from "../api/index.ts";
import { canonical } from "./canonical.ts";
import type { DrainPhase } from "./drain.ts";
import type { Verdict } from "./explain.ts";
import { type HeardRoute, type Hearing, hearings, type LocalAddressOf } from "./hears.ts";
import { verdicts } from "./messages.ts";
import { drainOrder, inForceOf, plan } from "./plan.ts";
import { rolledOut, turnOf } from "./rollout.ts";
import type { Plan, PlanInputs, Problem, Snapshot, SpeakerPeer } from "./types.ts";

/** A node before a change: what {@link plan} takes. */
export interface DifferenceInputs {
  readonly node: string;
  readonly before: Snapshot;
  readonly after: Snapshot;
  readonly inputs: PlanInputs;
  readonly localAddress: LocalAddressOf;
}

/** One route of one peer. */
export interface RouteDifference {
  readonly peer: string;
  readonly prefix: string;
  /** Absent: it did not hear it. */
  readonly before?: HeardRoute;
  /** Absent: it would not hear it. */
  readonly after?: HeardRoute;
  /** What it would hear until the withdraw guard's hold is approved, where that is not what it hears now. */
  readonly meanwhile?: HeardRoute;
  /** Why it would be so afterwards. */
  readonly why: Verdict;
  /** What it would still wait for: a proof that has never been tried, an approval of the withdraw guard, its turn in a roll-out. */
  readonly waitsFor: readonly ("Proof" | "Approval" | "RollOut")[];
}

export interface PeerDifference {
  readonly peer: string;
  readonly change: "Added" | "Removed" | "Changed";
  /** Fields of the session's configuration that differ. */
  readonly fields: readonly string[];
  /** Whether a session that is up would end and be made anew. */
  readonly restarts: boolean;
}

export interface NodeDifference {
  readonly node: string;
  /** When its turn is, where the change is rolled out: `2 of 4, zone=b`. */
  readonly turn?: string;
  readonly routes: readonly RouteDifference[];
  readonly peers: readonly PeerDifference[];
  /** What the change makes wrong that was not wrong before. */
  readonly problems: readonly Problem[];
}

interface Assuming {
  readonly plan: Plan;
  /** With proofs, taken to succeed, for what waits for one and has never been tried. */
  readonly inputs: PlanInputs;
  readonly untried: ReadonlySet<string>;
}

/** A plan, and the inputs of the one that follows once what has never been tried is proven. */
export function assumingProofs(snapshot: Snapshot, node: string, inputs: PlanInputs): Assuming {
  const first = plan(snapshot, node, inputs);
  const untried = first.announcements.flatMap((a) =>
    a.reason.code === "NotProven" && a.prefix !== undefined && !inputs.proofs.has(a.prefix) ? [a.prefix] : [],
  );
  const assumed = untried.map((p) => [p, { state: "Proven", reason: "assumed" }] as const);
  return {
    plan: first,
    inputs: untried.length > 0 ? { ...inputs, proofs: new Map([...inputs.proofs, ...assumed]) } : inputs,
    untried: new Set(untried),
  };
}

/** The plan with the guard's approval, and what it would wait for without. */
function approved(
  snapshot: Snapshot,
  node: string,
  inputs: PlanInputs,
): { readonly plan: Plan; readonly held: ReadonlySet<string>; readonly until: Plan } {
  const first = plan(snapshot, node, inputs);
  if (!first.held) return { plan: first, held: new Set(), until: first };
  const network: NodeNetwork = snapshot.nodeNetwork ?? {
    apiVersion: "waggle.dev/v1alpha1",
    kind: "NodeNetwork",
    metadata: { name: node },
    spec: {},
  };
  const annotations = { ...network.metadata.annotations, [approveAnnotation]: first.held.hash };
  const nodeNetwork = { ...network, metadata: { ...network.metadata, annotations } };
  const held = new Set(first.held.withdraws);
  return { plan: plan({ ...snapshot, nodeNetwork }, node, inputs), held, until: first };
}

/** Where a change begins or ends a drain, the phase in which that shows. */
function phaseAfter(before: Snapshot, after: Snapshot, node: string, inputs: PlanInputs): DrainPhase {
  const was = drainOrder(before, node);
  const is = drainOrder(after, node);
  if (was === is) return inputs.drain.phase;
  return is === undefined ? "None" : "Quiet";
}

const keyOf = (h: { readonly peer: string; readonly prefix: string }): string => `${h.peer} ${h.prefix}`;

/** Why a peer hears a route after the change, or does not. */
export function whyAfter(after: Plan, hearing: Hearing | undefined, peer: string, prefix: string): Verdict {
  if (hearing)
    return hearing.route
      ? verdicts.hears(hearing.decidedBy, hearing.byRule)
      : verdicts.refused(hearing.decidedBy, hearing.byRule);
  const announcement = after.announcements.find((a) => a.prefix === prefix);
  if (!announcement) return verdicts.nobodyAsks();
  const refusal = announcement.refusals.find((r) => r.object === `BGPPeer/${peer}`);
  if (refusal) return refusal.reason;
  return announcement.state === "Withdrawn" ? announcement.reason : verdicts.peerGone();
}

interface Waiting {
  /** Not announced before the change only because nothing has been tried. */
  readonly before: ReadonlySet<string>;
  /** The same after it. */
  readonly after: ReadonlySet<string>;
  /** What the guard holds after it, and how that goes out until it is approved. */
  readonly held: ReadonlySet<string>;
  readonly until: readonly Hearing[];
}

function routeDifferences(
  before: readonly Hearing[],
  after: readonly Hearing[],
  plan: Plan,
  waiting: Waiting,
): readonly RouteDifference[] {
  const was = new Map(before.map((h) => [keyOf(h), h] as const));
  const is = new Map(after.map((h) => [keyOf(h), h] as const));
  const seen = new Map([...was, ...is]);
  const until = new Map(waiting.until.map((h) => [keyOf(h), h] as const));
  return [...seen.values()]
    .sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1))
    .flatMap(({ peer, prefix }): readonly RouteDifference[] => {
      const key = keyOf({ peer, prefix });
      const assumed = was.get(key)?.route;
      const next = is.get(key)?.route;
      if (canonical(assumed) === canonical(next)) return [];
      const old = waiting.before.has(prefix) ? undefined : assumed;
      if (!old && !next) return [];
      // What is held goes out as before, but for a failing proof: then it is de-preferred.
      const kept = !next && waiting.held.has(prefix) ? until.get(key)?.route : undefined;
      const differs = kept && canonical(kept) !== canonical(old);
      const waitsFor = [
        ...(waiting.after.has(prefix) || waiting.before.has(prefix) ? (["Proof"] as const) : []),
        ...(!next && waiting.held.has(prefix) ? (["Approval"] as const) : []),
      ];
      return [
        {
          peer,
          prefix,
          ...(old && { before: old }),
          ...(next && { after: next }),
          ...(differs && { meanwhile: kept }),
          why: whyAfter(plan, is.get(key), peer, prefix),
          waitsFor,
        },
      ];
    });
}

/** What of fields that a living session takes over it does not. */
const ofTheSession = ({ treatment: t, addPath }: SpeakerPeer): string =>
  canonical([
    t?.role ?? "",
    t?.strictRole ?? false,
    t?.reflectorClient ?? false,
    t?.routeServerClient ?? false,
    addPath?.receive ?? false,
    addPath?.send ?? false,
  ]);

/** Fields that a living session takes over; any other ends it. */
const takenOver: ReadonlySet<string> = new Set([
  "connectRetrySeconds",
  "connectRetryMaxSeconds",
  "maxPrefixes",
  "overLimit",
  "maxPrefixesSent",
  "importPolicies",
  "exportPolicies",
  "nextHopIPv4",
  "nextHopIPv6",
  "treatment",
  "addPath",
  "bfd",
] satisfies readonly (keyof SpeakerPeer)[]);

const importsOf = ({ speaker }: Plan, peer: SpeakerPeer): string =>
  canonical(peer.importPolicies.map((name) => speaker.policies.find((p) => p.name === name)?.rules));

function peerDifferences(before: Plan, after: Plan): readonly PeerDifference[] {
  const was = new Map(before.speaker.peers.map((p) => [p.name, p] as const));
  const is = new Map(after.speaker.peers.map((p) => [p.name, p] as const));
  const clusterID = ({ speaker }: Plan): number => speaker.clusterID ?? speaker.routerID;
  const restartsAll =
    before.speaker.routerID !== after.speaker.routerID || clusterID(before) !== clusterID(after);
  return [...new Set([...was.keys(), ...is.keys()])].sort().flatMap((peer): readonly PeerDifference[] => {
    const old = was.get(peer);
    const next = is.get(peer);
    if (!old || !next) return [{ peer, change: old ? "Removed" : "Added", fields: [], restarts: false }];
    const names = new Set([...Object.keys(old), ...Object.keys(next)]) as Set<keyof SpeakerPeer>;
    const differs = (name: keyof SpeakerPeer): boolean =>
      canonical(old[name]) !== canonical(next[name]) ||
      // What export policies say shows in the routes; nothing else shows what import policies say.
      (name === "importPolicies" && importsOf(before, old) !== importsOf(after, next));
    const fields: string[] = [...names].filter(differs).sort();
    if (restartsAll) fields.push("routerID");
    if (fields.length === 0) return [];
    return [
      {
        peer,
        change: "Changed",
        fields,
        restarts: fields.some((f) => !takenOver.has(f)) || ofTheSession(old) !== ofTheSession(next),
      },
    ];
  });
}

/** What a change does to one node. Empty lists: nothing. */
export function difference(given: DifferenceInputs): NodeDifference {
  const { node, localAddress } = given;
  const { plan: now, inputs, untried } = assumingProofs(given.before, node, given.inputs);
  const before = untried.size > 0 ? plan(given.before, node, inputs) : now;
  const arrived = rolledOut(given.before, given.after);
  const snapshot: Snapshot = { ...arrived, lastGood: before.lastGood };
  const turn = arrived === given.after ? undefined : turnOf(given.after, node);
  const drain = { ...inputs.drain, phase: phaseAfter(given.before, given.after, node, inputs) };
  const next = assumingProofs(snapshot, node, { ...inputs, drain, previous: inForceOf(now) });
  const { plan: after, held, until } = approved(snapshot, node, next.inputs);
  const known = new Set(before.problems.map((p) => canonical(p)));
  const routes = routeDifferences(
    hearings(before.speaker, localAddress),
    hearings(after.speaker, localAddress),
    after,
    {
      before: untried,
      after: next.untried,
      held,
      until: held.size > 0 ? hearings(until.speaker, localAddress) : [],
    },
  );
  return {
    node,
    ...(turn !== undefined && { turn }),
    routes: turn === undefined ? routes : routes.map((r) => ({ ...r, waitsFor: [...r.waitsFor, "RollOut"] })),
    peers: peerDifferences(before, after),
    problems: after.problems.filter((p) => !known.has(canonical(p))),
  };
}
