// plan: the guard against withdrawing much at once. What it holds stays exactly as it was until a person approves the hash.

import { type Decision, dePrefer } from "./announce.ts";
import { hashOf } from "./canonical.ts";
import { reasons } from "./messages.ts";
import { hostOf, prefixText } from "./text.ts";
import type { Announcement, HeldPlan, InForce, SpeakerOrigin, SpeakerState, VipEntry } from "./types.ts";

export interface GuardInputs {
  readonly node: string;
  /** Then nothing is withdrawn at all. */
  readonly paused: boolean;
  readonly previous: InForce | undefined;
  readonly decisions: readonly Decision[];
  readonly percent: number;
  readonly serial: number;
  /** Value of the approving annotation. */
  readonly approval: string | undefined;
}

export interface GuardResult {
  readonly held?: HeldPlan;
  /** The plan would have been held, but its hash is approved. */
  readonly approved: boolean;
}

export const isAnnounced = (a: Announcement): boolean => a.prefix !== undefined && a.state !== "Withdrawn";

/** Reasons that concern one Service as a whole: its two addresses are one withdrawal. */
const serviceReasons: ReadonlySet<string> = new Set([
  "OwnerGone",
  "ClaimReleasing",
  "NoReadyEndpoint",
  "NoLocalEndpoint",
  "NotOurs",
  "NotLoadBalancer",
]);

/** What the plan withdraws, other than by this node's own drain, with the announcement as it would be. */
function withdrawals(inputs: GuardInputs): ReadonlyMap<string, Announcement | undefined> {
  const now = new Map(inputs.decisions.map((d) => [d.announcement.prefix, d]));
  const out = new Map<string, Announcement | undefined>();
  for (const before of inputs.previous?.announcements ?? []) {
    if (!isAnnounced(before)) continue;
    const decision = now.get(before.prefix);
    if (decision && (isAnnounced(decision.announcement) || decision.byDrain)) continue;
    out.set(before.prefix!, decision?.announcement);
  }
  return out;
}

/**
 * Whether the plan is held: more than `percent` of what is announced and at least two withdrawals. The addresses of one
 * Service that goes, or loses its endpoints, count as one of the two.
 */
export function guard(inputs: GuardInputs): GuardResult {
  if (inputs.paused) return { approved: false };
  const gone = withdrawals(inputs);
  const announced = (inputs.previous?.announcements ?? []).filter(isAnnounced).length;
  const causes = new Set<string>();
  for (const [prefix, announcement] of gone)
    causes.add(
      announcement && serviceReasons.has(announcement.reason.code)
        ? `${announcement.owner.namespace ?? ""}/${announcement.owner.name}`
        : prefix,
    );
  if (causes.size < 2 || gone.size * 100 <= inputs.percent * announced) return { approved: false };
  const withdraws = [...gone.keys()].sort();
  const hash = hashOf({ node: inputs.node, serial: inputs.serial, withdraws });
  return inputs.approval === hash ? { approved: true } : { held: { hash, withdraws }, approved: false };
}

export interface Kept {
  readonly announcements: readonly Announcement[];
  readonly origins: readonly SpeakerOrigin[];
  readonly vips: readonly VipEntry[];
}

/** The held prefixes as they were announced; de-preferred where a proof is why they were to go. */
export function keep(held: HeldPlan, previous: InForce, decisions: readonly Decision[]): Kept {
  const withdraws = new Set(held.withdraws);
  const now = new Map(decisions.map((d) => [d.announcement.prefix, d.announcement]));
  const failing = new Set(
    decisions
      .filter((d) => d.announcement.reason.code === "ProofFailsElsewhere")
      .map((d) => d.announcement.prefix!),
  );
  return {
    announcements: previous.announcements
      .filter((a) => a.prefix !== undefined && withdraws.has(a.prefix))
      .map((a) => ({
        ...a,
        state: "Held",
        reason: reasons.withdrawGuard(held.hash, now.get(a.prefix)?.reason ?? reasons.notClaimed()),
      })),
    origins: previous.speaker.origins
      .filter((o) => withdraws.has(prefixText(o.prefix)))
      .map((o) => (failing.has(prefixText(o.prefix)) ? { ...o, attributes: dePrefer(o.attributes) } : o)),
    vips: previous.vips.filter((v) => withdraws.has(prefixText(hostOf(v.address)))),
  };
}

/** The new speaker state with the peers and policies that the held origins still need. */
export function withHeldPeers(next: SpeakerState, previous: SpeakerState, kept: Kept): SpeakerState {
  const needed = new Set(kept.origins.flatMap((o) => o.peers));
  const have = new Set(next.peers.map((p) => p.name));
  const peers = previous.peers.filter((p) => needed.has(p.name) && !have.has(p.name));
  const names = new Set(next.policies.map((p) => p.name));
  const policies = previous.policies.filter(
    (p) =>
      !names.has(p.name) &&
      peers.some((peer) => peer.importPolicies.includes(p.name) || peer.exportPolicies.includes(p.name)),
  );
  return {
    ...next,
    // Who announces nothing any more listens nowhere; what is held may need it.
    listen: next.listen.length > 0 ? next.listen : previous.listen,
    peers: [...next.peers, ...peers],
    origins: [...next.origins, ...kept.origins],
    policies: [...next.policies, ...policies],
  };
}
