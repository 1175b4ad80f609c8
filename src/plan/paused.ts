// plan: paused objects: the form of each that is in force, whatever has been written into it since.
import { isPaused, type KubernetesObject } from "../api/index.ts";

/** An object that is paused, and what that means here. */
export interface PausedObject {
  /** Kind/name */
  readonly object: string;
  /**
   * Present: its present form is the one in force. Earlier: it has been changed since, and the change waits.
   * Nothing: it was written while it was paused, or nothing is known of its form before.
   */
  readonly inForce: "Present" | "Earlier" | "Nothing";
}

type Observed = KubernetesObject & { readonly status?: { readonly observedGeneration?: number } };

/** Whether the operator has seen this very form before it was paused: it holds observedGeneration back while an object is paused. */
const seen = (object: Observed): boolean =>
  object.metadata.generation === undefined ||
  object.status?.observedGeneration === object.metadata.generation;

const sameForm = (a: KubernetesObject, b: KubernetesObject): boolean =>
  a.metadata.generation !== undefined && a.metadata.generation === b.metadata.generation;

/**
 * The form of an object that counts. `remembered` is the one that was in force; without it a form that was seen before the
 * pause stands in for it. Undefined: nothing of it is in force.
 */
export function formInForce<T extends Observed>(
  object: string,
  current: T,
  remembered: T | undefined,
  into: PausedObject[],
): T | undefined {
  if (!isPaused(current)) return current;
  const form = remembered ?? (seen(current) ? current : undefined);
  into.push({
    object,
    inForce: !form ? "Nothing" : form === current || sameForm(form, current) ? "Present" : "Earlier",
  });
  return form;
}
