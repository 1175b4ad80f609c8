// plan: the guard against withdrawing much at once. What it holds stays exactly as it was until a person approves the hash.

import type { Prefix } from "../net/address.ts";
import { type Decision, dePrefer } from "./announce.ts";
import { canonical, hashOf } from "./canonical.ts";
import { acceptedBy, letOut } from "./hears.ts";
import { type Reason, reasons } from "./messages.ts";
import { hostOf, prefixText } from "./text.ts";
import type {
  Announcement,
  HeldPlan,
  InForce,
  SpeakerOrigin,
  SpeakerPeer,
  SpeakerPolicy,
  SpeakerRule,
  SpeakerState,
  VipEntry,
} from "./types.ts";

export interface GuardInputs {
  readonly node: string;
  /** Then nothing is withdrawn at all. */
  readonly paused: boolean;
  readonly previous: InForce | undefined;
  readonly decisions: readonly Decision[];
  /** The state that the decisions alone would lead to. */
  readonly next: SpeakerState;
  readonly percent: number;
  readonly serial: number;
  /** Value of the approving annotation. */
  readonly approval: string | undefined;
}

export interface GuardResult {
  readonly held?: HeldPlan;
  /** The plan would have been held, but its hash is approved. */
  readonly approved: boolean;
  /** Why each withdrawal of it is one, by prefix. */
  readonly reasons: ReadonlyMap<string, Reason>;
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

interface Withdrawal {
  /** It was held before, and for this very reason. */
  readonly held: boolean;
  /** Absent where nothing is known of the prefix any more. */
  readonly announcement: Announcement | undefined;
  readonly reason: Reason;
}

/**
 * What the plan withdraws, other than by this node's own drain: what it does not announce any more, and what no export policy
 * lets out any more.
 */
function withdrawals({ previous, decisions, next }: GuardInputs): ReadonlyMap<string, Withdrawal> {
  const out = new Map<string, Withdrawal>();
  if (!previous) return out;
  const now = new Map(decisions.map((d) => [d.announcement.prefix, d]));
  for (const before of previous.announcements) {
    if (!isAnnounced(before)) continue;
    const prefix = before.prefix!;
    const decision = now.get(prefix);
    const announcement = decision?.announcement;
    const add = (reason: Reason): void => {
      // What was held with others and now goes with its Service alone is one withdrawal like any other.
      const held =
        before.state === "Held" && (!serviceReasons.has(reason.code) || before.heldFor === reason.code);
      out.set(prefix, { held, announcement, reason });
    };
    if (!decision || !announcement || (!isAnnounced(announcement) && !decision.byDrain))
      add(announcement?.reason ?? reasons.notClaimed());
    else if (isAnnounced(announcement) && letOut(previous.speaker).has(prefix) && !letOut(next).has(prefix))
      add(reasons.silenced());
  }
  return out;
}

/**
 * Whether the plan is held: more than `percent` of what is announced and at least two withdrawals. The addresses of one
 * Service that goes, or loses its endpoints, count as one of the two. What is held stays so until it is approved, or the
 * withdrawal is none any more, however much else has come to be announced.
 */
export function guard(inputs: GuardInputs): GuardResult {
  if (inputs.paused) return { approved: false, reasons: new Map() };
  const all = withdrawals(inputs);
  const announced = (inputs.previous?.announcements ?? []).filter(isAnnounced).length;
  const causes = new Set<string>();
  for (const [prefix, { announcement, reason }] of all)
    causes.add(
      announcement && serviceReasons.has(reason.code)
        ? `${announcement.owner.namespace ?? ""}/${announcement.owner.name}`
        : prefix,
    );
  const many = causes.size > 1 && all.size * 100 > inputs.percent * announced;
  const gone = [...all].filter(([, w]) => many || w.held);
  const why = new Map(gone.map(([prefix, w]) => [prefix, w.reason] as const));
  if (gone.length === 0) return { approved: false, reasons: why };
  const withdraws = [...why.keys()].sort();
  const hash = hashOf({ node: inputs.node, serial: inputs.serial, withdraws });
  return inputs.approval === hash
    ? { approved: true, reasons: why }
    : { held: { hash, withdraws }, approved: false, reasons: why };
}

export interface Kept {
  readonly announcements: readonly Announcement[];
  readonly origins: readonly SpeakerOrigin[];
  readonly vips: readonly VipEntry[];
}

/** The held prefixes as they were announced; de-preferred where a proof is why they were to go. */
export function keep(held: HeldPlan, previous: InForce, why: GuardResult["reasons"]): Kept {
  const withdraws = new Set(held.withdraws);
  const fails = (prefix: string): boolean => why.get(prefix)?.code === "ProofFailsElsewhere";
  return {
    announcements: previous.announcements
      .filter((a) => a.prefix !== undefined && withdraws.has(a.prefix))
      .map((a) => {
        const cause = why.get(a.prefix!) ?? reasons.notClaimed();
        return { ...a, state: "Held", reason: reasons.withdrawGuard(held.hash, cause), heldFor: cause.code };
      }),
    origins: previous.speaker.origins
      .filter((o) => withdraws.has(prefixText(o.prefix)))
      .map((o) => (fails(prefixText(o.prefix)) ? { ...o, attributes: dePrefer(o.attributes) } : o)),
    vips: previous.vips.filter((v) => withdraws.has(prefixText(hostOf(v.address)))),
  };
}

/** Name of the policy that keeps held routes as they were; a colon keeps it apart from every object's name. */
const heldPolicyName = (peer: string): string => `waggle:held:${peer}`;

const exactly = (prefixes: readonly Prefix[]): SpeakerRule["match"] => ({
  prefixes: prefixes.map((prefix) => ({ prefix, ge: prefix.length, le: prefix.length })),
  communities: [],
  large: [],
  asPathContains: [],
});

const exportRules = (state: SpeakerState, peer: SpeakerPeer): readonly SpeakerRule[] =>
  peer.exportPolicies.flatMap((name) => state.policies.find((p) => p.name === name)?.rules ?? []);

/** The peer's export policies as they were, for the held routes alone: whatever becomes of the policies, these go out as before. */
function heldPolicy(peer: SpeakerPeer, previous: SpeakerState, kept: Kept): SpeakerPolicy {
  const origins = kept.origins.filter((o) => o.peers.includes(peer.name));
  const rules = exportRules(previous, peer);
  const accepted = acceptedBy({ ...previous, peers: [peer], origins }).get(peer.name);
  const byRule = new Map<number, Prefix[]>();
  const rejected: Prefix[] = [];
  for (const { prefix } of origins) {
    const rule = accepted?.get(prefixText(prefix));
    if (rule === undefined || !rules[rule]) rejected.push(prefix);
    else byRule.set(rule, [...(byRule.get(rule) ?? []), prefix]);
  }
  return {
    name: heldPolicyName(peer.name),
    rules: [
      ...[...byRule]
        .sort(([a], [b]) => a - b)
        .map(([rule, list]) => ({ ...rules[rule]!, match: exactly(list) })),
      ...(rejected.length > 0
        ? [
            {
              name: "rejected",
              match: exactly(rejected),
              accept: false,
              set: { communities: [], large: [], prepend: 0 },
            },
          ]
        : []),
    ],
  };
}

/** The new speaker state with what is held, the peers that it needs, and the policies by which it goes out as before. */
export function withHeld(next: SpeakerState, previous: SpeakerState, kept: Kept): SpeakerState {
  const held = new Set(kept.origins.map((o) => prefixText(o.prefix)));
  const needed = new Set(kept.origins.flatMap((o) => o.peers));
  const present = new Map(next.peers.map((p) => [p.name, p] as const));
  const policies = new Map(next.policies.map((p) => [p.name, p] as const));
  const bring = (names: readonly string[]): void => {
    for (const policy of previous.policies)
      if (names.includes(policy.name) && !policies.has(policy.name)) policies.set(policy.name, policy);
  };
  const before = previous.peers.filter((p) => needed.has(p.name));
  const peers = before.map((was): SpeakerPeer => {
    const now = present.get(was.name);
    // A neighbour that is kept for what is held hears nothing else.
    const peer = now ?? was;
    if (!now) bring([...was.importPolicies, ...was.exportPolicies]);
    const state = { ...next, policies: [...policies.values()] };
    if (canonical(exportRules(state, peer)) === canonical(exportRules(previous, was))) return peer;
    const policy = heldPolicy(was, previous, kept);
    policies.set(policy.name, policy);
    return { ...peer, exportPolicies: [policy.name, ...(now?.exportPolicies ?? [])] };
  });
  const changed = new Map(peers.map((p) => [p.name, p] as const));
  return {
    ...next,
    // Who announces nothing any more listens nowhere; what is held may need it.
    listen: next.listen.length > 0 ? next.listen : previous.listen,
    peers: [...next.peers.map((p) => changed.get(p.name) ?? p), ...peers.filter((p) => !present.has(p.name))],
    origins: [...next.origins.filter((o) => !held.has(prefixText(o.prefix))), ...kept.origins],
    policies: [...policies.values()],
  };
}
