// agent: what has gone wrong on this node since a change that is being rolled out came into force here; pure.
import type { NodeNetworkStatus } from "../api/index.ts";
import { timestamp } from "../kube/index.ts";
import type { RollOut } from "../plan/index.ts";
import { rolloutFailures as say } from "./messages.ts";

/** Changes that are watched at once, and what is told of one. */
const watchLimit = 64;
const failureLimit = 8;
const textLimit = 256;

/** What of a node's report a change is judged by. */
export interface Health {
  readonly sessions: Readonly<
    Record<
      string,
      {
        readonly up: boolean;
        readonly flaps: number;
        readonly received: number;
        readonly accepted: number;
        readonly advertised: number;
      }
    >
  >;
  readonly failedProofs: readonly string[];
  readonly held: string | undefined;
  /** Conditions that are False, each with its message. */
  readonly broken: Readonly<Record<string, string>>;
  /** Without a connection to the speaker nothing is known of sessions. */
  readonly speaker: boolean;
}

/** A change that is in force here and still on its way elsewhere. */
export interface Watch {
  /** Kind/name */
  readonly object: string;
  readonly generation: number;
  /** Unix ms. */
  readonly since: number;
  /** Just before it came into force. */
  readonly before: Health;
  /** What has gone wrong since, in the order in which it was noticed. */
  readonly failures: readonly string[];
}

const watched = ["ConfigAccepted", "DatapathHealthy"] as const;

/** What a report says of the node's health. */
export function healthOf(status: NodeNetworkStatus | undefined): Health {
  const conditions = status?.conditions ?? [];
  const isFalse = (type: string): boolean => conditions.some((c) => c.type === type && c.status === "False");
  return {
    sessions: Object.fromEntries(
      (status?.sessions ?? []).map((s) => [
        s.peer,
        {
          up: s.state === "Established",
          flaps: s.flaps ?? 0,
          received: s.received ?? 0,
          accepted: s.accepted ?? 0,
          advertised: s.advertised ?? 0,
        },
      ]),
    ),
    failedProofs: (status?.proofs ?? []).flatMap((p) => (p.state === "Failed" ? [p.prefix] : [])),
    held: status?.heldPlan?.hash,
    broken: Object.fromEntries(
      watched.flatMap((type) =>
        isFalse(type) ? [[type, conditions.find((c) => c.type === type)!.message]] : [],
      ),
    ),
    speaker: !isFalse("SpeakerConnected"),
  };
}

/** What is wrong now and was not before. */
function failuresNow(before: Health, now: Health): readonly string[] {
  const out: string[] = [];
  if (now.speaker)
    for (const [peer, was] of Object.entries(before.sessions)) {
      const is = now.sessions[peer];
      if (!was.up || !is) continue;
      if (!is.up) out.push(say.sessionLost(peer));
      // A speaker that has started anew counts from 0.
      else if (is.flaps > was.flaps) out.push(say.sessionFlapped(peer));
      else if (was.accepted > 0 && is.accepted === 0 && is.received > 0) out.push(say.rejected(peer));
      else if (was.advertised > 0 && is.advertised === 0) out.push(say.silenced(peer));
    }
  const failed = now.failedProofs.filter((p) => !before.failedProofs.includes(p));
  if (failed.length > 0) out.push(say.proofs(failed));
  if (now.held !== undefined && now.held !== before.held) out.push(say.held(now.held));
  for (const type of watched)
    if (now.broken[type] !== undefined && now.broken[type] !== before.broken[type])
      out.push(`${type}: ${now.broken[type]}`);
  return out.map((text) => (text.length > textLimit ? `${text.slice(0, textLimit - 1)}…` : text));
}

/**
 * The watches after a report: a change that has just come into force is judged against the report before it, and what has
 * once gone wrong stays said until its roll-out has ended.
 */
export function stepWatches(
  watches: readonly Watch[],
  rollouts: readonly RollOut[],
  reports: { readonly before: NodeNetworkStatus | undefined; readonly now: NodeNetworkStatus },
  now: number,
): readonly Watch[] {
  const taken = rollouts.filter((r) => r.taken).slice(0, watchLimit);
  if (taken.length === 0) return watches.length === 0 ? watches : [];
  const health = healthOf(reports.now);
  return taken.map(({ object, target }): Watch => {
    const known = watches.find((w) => w.object === object && w.generation === target);
    const watch = known ?? {
      object,
      generation: target,
      since: now,
      before: healthOf(reports.before),
      failures: [],
    };
    const fresh = failuresNow(watch.before, health).filter((f) => !watch.failures.includes(f));
    if (known && fresh.length === 0) return known;
    return { ...watch, failures: [...watch.failures, ...fresh].slice(0, failureLimit) };
  });
}

/** As the status shows them. */
export const reportedRollouts = (watches: readonly Watch[]): NonNullable<NodeNetworkStatus["rollouts"]> =>
  watches.map(({ object, generation, since, failures }) => ({
    object,
    generation,
    since: timestamp(since),
    ...(failures.length > 0 && { failures }),
  }));
