// operator: paused objects: their status goes on speaking of the form that was seen before the pause, and says so.
import { type Condition, isPaused, type KubernetesObject } from "../api/index.ts";
import { setCondition } from "../kube/index.ts";
import { pausedSays } from "./messages.ts";

/** Condition type of what is paused; objects that are not do not have it. */
export const pausedType = "Paused";

type WithStatus = KubernetesObject & {
  readonly status?: { readonly observedGeneration?: number; readonly conditions?: readonly Condition[] };
};

/**
 * The generation that a status may say it has seen: of a paused object the one before the pause, for agents that start
 * without memory take a form that was seen for the one in force. Undefined: none.
 */
export const observedOf = (object: WithStatus): number | undefined =>
  isPaused(object) ? object.status?.observedGeneration : object.metadata.generation;

/** The conditions with Paused, where the object is. `now` in unix ms. */
export function withPaused(
  object: WithStatus,
  conditions: readonly Condition[],
  now: number,
): readonly Condition[] {
  const others = conditions.filter((c) => c.type !== pausedType);
  if (!isPaused(object)) return others;
  const { generation } = object.metadata;
  const before = object.status?.conditions?.filter((c) => c.type === pausedType) ?? [];
  const changed = generation !== undefined && object.status?.observedGeneration !== generation;
  const observed = generation === undefined ? {} : { observedGeneration: generation };
  return setCondition(
    [...before, ...others],
    { type: pausedType, status: "True", ...pausedSays(changed), ...observed },
    now,
  );
}
