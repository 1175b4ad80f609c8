// plan: a drain as a state machine over an injected clock: de-prefer, quiet, withdraw, acknowledge, let go.

export type DrainPhase = "None" | "DePreferred" | "Quiet" | "Withdrawn" | "Released";

export interface DrainProgress {
  readonly phase: DrainPhase;
  /** When the phase began, unix ms. */
  readonly since: number;
  /** First generation of desired state that carries this phase; absent until it has been sent. */
  readonly generation?: number;
  /** When every neighbour had acknowledged that generation, unix ms. */
  readonly ackedAt?: number;
}

export const noDrain: DrainProgress = { phase: "None", since: 0 };

export interface DrainInputs {
  /** Value of the taint; undefined where there is none. "force" withdraws what no other node announces too. */
  readonly taint: string | undefined;
  readonly drainSeconds: number;
  /** Whether every neighbour has sent (or is down for) all of this generation. */
  readonly acknowledged: (generation: number) => boolean;
  /** Prefixes that are kept because no other node announces them. */
  readonly kept: readonly string[];
  /** Withdrawals that some neighbour has not acknowledged yet. */
  readonly pendingWithdrawals: number;
  /** Unix ms. */
  readonly now: number;
}

const enter = (phase: DrainPhase, now: number): DrainProgress => ({ phase, since: now });

/**
 * The next state. A phase ends only after the generation that carries it has been acknowledged; de-preferring and the
 * withdrawal rest drainSeconds each. Taking the taint away leads back to None from everywhere.
 */
export function stepDrain(progress: DrainProgress, inputs: DrainInputs): DrainProgress {
  const { now } = inputs;
  if (inputs.taint === undefined) return progress.phase === "None" ? progress : enter("None", now);
  if (progress.phase === "None") return enter("DePreferred", now);
  if (progress.phase === "Released") return progress;
  const acked =
    progress.generation !== undefined && inputs.acknowledged(progress.generation) ? now : undefined;
  if (progress.ackedAt === undefined) {
    if (acked === undefined) return progress;
    return stepDrain({ ...progress, ackedAt: acked }, inputs);
  }
  const rested = now >= progress.ackedAt + inputs.drainSeconds * 1000;
  if (progress.phase === "DePreferred") return rested ? enter("Quiet", now) : progress;
  // Quiet: the withdrawal is out and acknowledged; it is over only when nothing is kept.
  if (progress.phase === "Quiet")
    return inputs.kept.length > 0 || inputs.pendingWithdrawals > 0
      ? progress
      : {
          phase: "Withdrawn",
          since: now,
          ackedAt: now,
          ...(progress.generation !== undefined && { generation: progress.generation }),
        };
  return rested ? enter("Released", now) : progress;
}

/** When time alone will move it next, unix ms; undefined where it waits for something else. */
export function drainWakesAt(progress: DrainProgress, drainSeconds: number): number | undefined {
  if (progress.phase === "None" || progress.phase === "Released" || progress.phase === "Quiet")
    return undefined;
  return progress.ackedAt === undefined ? undefined : progress.ackedAt + drainSeconds * 1000;
}

/** Whether what drains away is still announced at all in this phase. */
export const drainWithdraws = (phase: DrainPhase): boolean =>
  phase === "Quiet" || phase === "Withdrawn" || phase === "Released";
