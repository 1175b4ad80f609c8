// plan: what each neighbour of a node would hear differently after a change, and which sessions would be made anew.
import { approveAnnotation, type NodeNetwork } from "../api/index.ts";
import { canonical } from "./canonical.ts";
import type { DrainPhase } from "./drain.ts";
import type { Verdict } from "./explain.ts";
import { type HeardRoute, type Hearing, hearings, type LocalAddressOf } from "./hears.ts";
import { verdicts } from "./messages.ts";
import { drainOrder, inForceOf, plan } from "./plan.ts";
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
  /** Why it would be so afterwards. */
  readonly why: Verdict;
  /** What it would still wait for: a proof that has never been tried, or an approval of the withdraw guard. */
  readonly waitsFor: readonly ("Proof" | "Approval")[];
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
  readonly routes: readonly RouteDifference[];
  readonly peers: readonly PeerDifference[];
  /** What the change makes wrong that was not wrong before. */
  readonly problems: readonly Problem[];
}

/** The same inputs with proofs, taken to succeed, for what has not been tried. */
function assumingProofs(snapshot: Snapshot, node: string, inputs: PlanInputs): PlanInputs {
  const untried = plan(snapshot, node, inputs).announcements.flatMap((a) =>
    a.reason.code === "NotProven" && a.prefix !== undefined && !inputs.proofs.has(a.prefix) ? [a.prefix] : [],
  );
  if (untried.length === 0) return inputs;
  const assumed = untried.map((p) => [p, { state: "Proven", reason: "assumed" }] as const);
  return { ...inputs, proofs: new Map([...inputs.proofs, ...assumed]) };
}

/** The plan with the guard's approval, and what it would wait for without. */
function approved(
  snapshot: Snapshot,
  node: string,
  inputs: PlanInputs,
): { readonly plan: Plan; readonly held: ReadonlySet<string> } {
  const first = plan(snapshot, node, inputs);
  if (!first.held) return { plan: first, held: new Set() };
  const network: NodeNetwork = snapshot.nodeNetwork ?? {
    apiVersion: "waggle.dev/v1alpha1",
    kind: "NodeNetwork",
    metadata: { name: node },
    spec: {},
  };
  const annotations = { ...network.metadata.annotations, [approveAnnotation]: first.held.hash };
  const nodeNetwork = { ...network, metadata: { ...network.metadata, annotations } };
  return { plan: plan({ ...snapshot, nodeNetwork }, node, inputs), held: new Set(first.held.withdraws) };
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
function whyAfter(after: Plan, hearing: Hearing | undefined, peer: string, prefix: string): Verdict {
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

function routeDifferences(
  before: readonly Hearing[],
  after: readonly Hearing[],
  plans: { readonly after: Plan; readonly held: ReadonlySet<string>; readonly tried: PlanInputs["proofs"] },
): readonly RouteDifference[] {
  const was = new Map(before.map((h) => [keyOf(h), h] as const));
  const is = new Map(after.map((h) => [keyOf(h), h] as const));
  const seen = new Map([...was, ...is]);
  return [...seen.values()]
    .sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1))
    .flatMap(({ peer, prefix }): readonly RouteDifference[] => {
      const key = keyOf({ peer, prefix });
      const old = was.get(key)?.route;
      const next = is.get(key)?.route;
      if (canonical(old) === canonical(next)) return [];
      const waitsFor = [
        ...(next && !old && !plans.tried.has(prefix) ? (["Proof"] as const) : []),
        ...(old && !next && plans.held.has(prefix) ? (["Approval"] as const) : []),
      ];
      return [
        {
          peer,
          prefix,
          ...(old && { before: old }),
          ...(next && { after: next }),
          why: whyAfter(plans.after, is.get(key), peer, prefix),
          waitsFor,
        },
      ];
    });
}

/** Fields that a living session takes over; any other ends it. */
const takenOver: ReadonlySet<string> = new Set([
  "connectRetrySeconds",
  "maxPrefixes",
  "importPolicies",
  "exportPolicies",
  "nextHopIPv4",
  "nextHopIPv6",
] satisfies readonly (keyof SpeakerPeer)[]);

const importsOf = ({ speaker }: Plan, peer: SpeakerPeer): string =>
  canonical(peer.importPolicies.map((name) => speaker.policies.find((p) => p.name === name)?.rules));

function peerDifferences(before: Plan, after: Plan): readonly PeerDifference[] {
  const was = new Map(before.speaker.peers.map((p) => [p.name, p] as const));
  const is = new Map(after.speaker.peers.map((p) => [p.name, p] as const));
  const restartsAll = before.speaker.routerID !== after.speaker.routerID;
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
    return [{ peer, change: "Changed", fields, restarts: fields.some((f) => !takenOver.has(f)) }];
  });
}

/** What a change does to one node. Empty lists: nothing. */
export function difference(given: DifferenceInputs): NodeDifference {
  const { node, localAddress } = given;
  const inputs = assumingProofs(given.before, node, given.inputs);
  const before = plan(given.before, node, inputs);
  const snapshot: Snapshot = { ...given.after, lastGood: before.lastGood };
  const drain = { ...inputs.drain, phase: phaseAfter(given.before, given.after, node, inputs) };
  const next = assumingProofs(snapshot, node, { ...inputs, drain, previous: inForceOf(before) });
  const { plan: after, held } = approved(snapshot, node, next);
  const known = new Set(before.problems.map((p) => canonical(p)));
  return {
    node,
    routes: routeDifferences(hearings(before.speaker, localAddress), hearings(after.speaker, localAddress), {
      after,
      held,
      tried: given.inputs.proofs,
    }),
    peers: peerDifferences(before, after),
    problems: after.problems.filter((p) => !known.has(canonical(p))),
  };
}
