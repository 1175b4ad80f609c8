// plan: what has been withdrawn but not let go of: acknowledged first, then a rest, then unprogrammed, then released.
import { isAnnounced } from "./guard.ts";
import { hostOf, prefixText } from "./text.ts";
import type { InForce, Retirement } from "./types.ts";

/** Retirements that a node keeps; the oldest are let go first. */
export const retirementLimit = 4096;

export interface RetireInputs {
  readonly previous: InForce | undefined;
  readonly next: InForce;
  readonly drainSeconds: number;
  /** Whether these peers have sent (or are down for) all of this generation. */
  readonly acknowledged: (generation: number, peers: readonly string[]) => boolean;
  /** Unix ms. */
  readonly now: number;
}

const announcedIn = (state: InForce | undefined): Map<string, readonly string[]> =>
  new Map((state?.announcements ?? []).filter(isAnnounced).map((a) => [a.prefix!, a.peers] as const));

/** Adds what the step from `previous` to `next` withdraws, and lets go of what is announced again or has rested. */
export function stepRetirements(
  retiring: readonly Retirement[],
  inputs: RetireInputs,
): readonly Retirement[] {
  const { now, drainSeconds } = inputs;
  const announced = announcedIn(inputs.next);
  const known = new Set(retiring.map((r) => r.prefix));
  const entries = new Map(
    (inputs.previous?.vips ?? []).map((v) => [prefixText(hostOf(v.address)), v] as const),
  );
  const fresh = [...announcedIn(inputs.previous)]
    .filter(([prefix]) => !announced.has(prefix) && !known.has(prefix))
    .map(([prefix, peers]): Retirement => {
      const entry = entries.get(prefix);
      return { prefix, peers, ...(entry && { entry }) };
    });
  const out: Retirement[] = [];
  for (const one of [...retiring, ...fresh]) {
    if (announced.has(one.prefix)) continue;
    const acked =
      one.ackedAt ??
      (one.generation !== undefined && inputs.acknowledged(one.generation, one.peers) ? now : undefined);
    if (acked === undefined) out.push(one);
    else if (now < acked + drainSeconds * 1000) out.push({ ...one, ackedAt: acked });
  }
  return out.slice(-retirementLimit);
}

/** When time alone will let one go, unix ms. */
export function retirementsWakeAt(retiring: readonly Retirement[], drainSeconds: number): number | undefined {
  const due = retiring.flatMap((r) => (r.ackedAt === undefined ? [] : [r.ackedAt + drainSeconds * 1000]));
  return due.length > 0 ? Math.min(...due) : undefined;
}

/** Those that some neighbour has not acknowledged. */
export const pendingWithdrawals = (retiring: readonly Retirement[]): readonly Retirement[] =>
  retiring.filter((r) => r.ackedAt === undefined);

/** Retirements whose first generation has now been sent. */
export const retirementsSent = (retiring: readonly Retirement[], generation: number): readonly Retirement[] =>
  retiring.map((r) => (r.generation === undefined ? { ...r, generation } : r));
