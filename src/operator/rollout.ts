// operator: one step of a roll-out as a pure function: what an object's status says next, from what its nodes report.
import { approveAnnotation, isPaused } from "../api/index.ts";
import { timestamp } from "../kube/index.ts";
import { canonical, hashOf } from "../plan/canonical.ts";
import {
  earlierForm,
  type RollOutConfig,
  type RollOutStatus,
  type Staged,
  stepOf,
  stepsOf,
  stepText,
} from "../plan/rollout.ts";
import { rolloutSays, type Say } from "./messages.ts";

/** Specs that do not fit into a status cannot be kept for the nodes that are still to come, characters. */
const specLimit = 524_288;

/** A node that the change concerns, and what its agent says of it. */
export interface RollOutNode {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>> | undefined;
  /** Unix ms; 0 where it is not known. */
  readonly createdAt: number;
  /** It takes nothing: it is paused, or its agent is silent and was so before. */
  readonly left: boolean;
  /** The generation of the object that its agent reports to be in force there. */
  readonly taken: number | undefined;
  /** What has gone wrong there since. */
  readonly failures: readonly string[];
}

export interface RollOutInputs {
  readonly object: Staged;
  /** Undefined: changes reach all nodes at once. */
  readonly config: RollOutConfig | undefined;
  /** What is wrong in the present form. */
  readonly faults: readonly string[];
  /** Nodes that the form before the change or the present one concerns. */
  readonly nodes: readonly RollOutNode[];
  /** Unix ms. */
  readonly now: number;
}

export interface RollOutOutcome {
  /** Undefined: nothing is written down. */
  readonly rollout: RollOutStatus | undefined;
  /** Condition RolledOut; absent where changes reach all nodes at once. */
  readonly verdict?: { readonly status: "True" | "False"; readonly say: Say };
  /** When time alone moves it, unix ms. */
  readonly wakeAt?: number;
}

const done = (generation: number, spec: string): RollOutStatus => ({ phase: "Done", generation, spec });

/** The next phase of the same step. */
const enter = (r: RollOutStatus, phase: NonNullable<RollOutStatus["phase"]>): RollOutStatus => {
  const { approve: _, ...rest } = r;
  return { ...rest, phase };
};

/** What has come of the nodes whose turn it is, or was. */
interface Judgement {
  /** Lines `node: why`, sorted. */
  readonly failing: readonly string[];
  /** Nodes that have not taken it and are not late yet. */
  readonly pending: readonly RollOutNode[];
  /** When the first of them is late, unix ms. */
  readonly lateAt: number;
}

function judge(r: RollOutStatus, config: RollOutConfig, inputs: RollOutInputs): Judgement {
  const since = Date.parse(r.since ?? "");
  const failing: string[] = [];
  const pending: RollOutNode[] = [];
  let lateAt = Number.POSITIVE_INFINITY;
  for (const node of inputs.nodes) {
    if (!r.reached?.includes(stepOf(r.label ?? "", node.labels)) || node.left) continue;
    if (node.taken === r.target) {
      if (node.failures.length > 0) failing.push(`${node.name}: ${node.failures.join(", ")}`);
      continue;
    }
    const late = Math.max(since, node.createdAt) + config.deadlineSeconds * 1000;
    if (inputs.now >= late) failing.push(rolloutSays.late(node.name, config.deadlineSeconds));
    else {
      pending.push(node);
      lateAt = Math.min(lateAt, late);
    }
  }
  return { failing: failing.sort(), pending, lateAt };
}

/** The roll-out of this very form, begun where it has not been. */
function begun(inputs: RollOutInputs, config: RollOutConfig, before: RollOutStatus): RollOutStatus {
  const target = inputs.object.metadata.generation ?? 0;
  if (before.target === target) return before;
  const { generation = 0, spec } = before;
  return {
    phase: "Progressing",
    generation,
    ...(spec !== undefined && { spec }),
    target,
    label: config.byNodeLabel,
    reached: [],
    since: timestamp(inputs.now),
    tolerated: 0,
  };
}

/**
 * What comes next. It depends on the object, its nodes' reports and the time alone, so that an operator that starts in the
 * middle, or another one, goes on where the status stands.
 */
export function stepRollOut(inputs: RollOutInputs): RollOutOutcome {
  const { object, config, faults } = inputs;
  const { generation } = object.metadata;
  const before = object.status?.rollout;
  if (!config || generation === undefined) return { rollout: undefined };
  if (isPaused(object)) return paused(object, before);
  const spec = canonical(object.spec);
  const kept = spec.length > specLimit ? "" : spec;
  // A policy that was not there was in force nowhere: who names it waits for it anyway.
  const isNew = object.status?.observedGeneration === undefined && object.kind === "BGPAdvertisement";
  if (!before && !isNew) return finished(done(generation, kept), inputs.nodes.length);
  const start = before ?? { phase: "Progressing" as const, generation: 0 };
  const old = earlierForm({ ...object, status: { rollout: start } });
  if (start.generation === generation || (old && canonical(old.spec) === spec))
    return finished(done(generation, kept), inputs.nodes.length);
  if (faults.length > 0)
    return { rollout: start, verdict: { status: "False", say: rolloutSays.invalid(faults) } };
  return advance(begun(inputs, config, start), config, inputs, kept);
}

/** What has not been taken back stays as far as it has come. */
function paused(object: Staged, before: RollOutStatus | undefined): RollOutOutcome {
  const { generation } = object.metadata;
  if (before && (before.target !== undefined || before.generation !== generation))
    return { rollout: before, verdict: { status: "False", say: rolloutSays.paused() } };
  return { rollout: before };
}

const finished = (rollout: RollOutStatus, nodes: number): RollOutOutcome => ({
  rollout,
  verdict: { status: "True", say: rolloutSays.done(nodes) },
});

function advance(
  from: RollOutStatus,
  config: RollOutConfig,
  inputs: RollOutInputs,
  spec: string,
): RollOutOutcome {
  const { object, now } = inputs;
  const label = from.label ?? config.byNodeLabel;
  const metadata = inputs.nodes.map((n) => ({ metadata: { name: n.name, labels: n.labels ?? {} } }));
  const steps = stepsOf(config, label, metadata);
  let r = from;
  for (;;) {
    const { failing, pending, lateAt } = judge(r, config, inputs);
    const counts = {
      nodes: inputs.nodes.length,
      taken: inputs.nodes.filter((n) => n.taken === r.target).length,
      failing: failing.length,
    };
    const value = r.reached?.at(-1);
    const where = value === undefined ? "" : stepText(label, value);
    const at = value === undefined ? 0 : steps.indexOf(value) + 1;
    const step = { where, at, of: steps.length, ...counts };
    if (failing.length > config.maxFailures + (r.tolerated ?? 0)) {
      const approve = hashOf({ uid: object.metadata.uid, target: r.target, value, failing });
      if (object.metadata.annotations?.[approveAnnotation] !== approve) {
        return {
          rollout: { ...enter(r, "Stopped"), ...counts, approve },
          verdict: { status: "False", say: rolloutSays.stopped(object, step, failing, approve) },
          ...(lateAt < Number.POSITIVE_INFINITY && { wakeAt: lateAt }),
        };
      }
      r = { ...r, tolerated: failing.length };
    }
    if (pending.length > 0)
      return {
        rollout: { ...enter(r, "Progressing"), ...counts },
        verdict: { status: "False", say: rolloutSays.progressing(step) },
        wakeAt: lateAt,
      };
    if (value !== undefined) {
      r = { ...enter(r, "Soaking"), soakingSince: r.soakingSince ?? timestamp(now) };
      const until = Date.parse(r.soakingSince ?? "") + config.soakSeconds * 1000;
      if (now < until)
        return {
          rollout: { ...r, ...counts },
          verdict: { status: "False", say: rolloutSays.soaking(step, timestamp(until)) },
          wakeAt: until,
        };
    }
    const next = steps.find((v) => !r.reached?.includes(v));
    if (next === undefined) return finished(done(r.target ?? 0, spec), inputs.nodes.length);
    const { soakingSince: _, ...rest } = enter(r, "Progressing");
    r = { ...rest, reached: [...(r.reached ?? []), next], since: timestamp(now) };
  }
}
