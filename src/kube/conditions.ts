// kube: conditions (KEP-1623) and status: written only when something has changed, transitions stamped only on a flip.
import type { Condition, KubernetesObject } from "../api/index.ts";
import type { KubeApi } from "./api.ts";
import { timestamp } from "./clock.ts";
import type { Resource } from "./resource.ts";

/** A condition as a controller states it; the time of transition follows from what was there. */
export type NewCondition = Omit<Condition, "lastTransitionTime">;

const order = (a: Condition, b: Condition): number => (a.type < b.type ? -1 : a.type > b.type ? 1 : 0);

/** Longest message that the CRDs store. */
const longestMessage = 4096;

/**
 * Conditions with one set: replaced by type, lastTransitionTime kept unless `status` flips, sorted by type.
 * `nowMs` is wall time.
 */
export function setCondition(
  conditions: readonly Condition[] | undefined,
  condition: NewCondition,
  nowMs: number,
): readonly Condition[] {
  const old = conditions?.find((c) => c.type === condition.type);
  const next: Condition = {
    ...condition,
    message: condition.message.slice(0, longestMessage),
    lastTransitionTime: old?.status === condition.status ? old.lastTransitionTime : timestamp(nowMs),
  };
  return [...(conditions ?? []).filter((c) => c.type !== condition.type), next].sort(order);
}

export const getCondition = (
  conditions: readonly Condition[] | undefined,
  type: string,
): Condition | undefined => conditions?.find((c) => c.type === type);

export const conditionIs = (
  conditions: readonly Condition[] | undefined,
  type: string,
  status: Condition["status"],
): boolean => getCondition(conditions, type)?.status === status;

/** Whether two JSON values are the same; an absent member equals undefined, the order of members does not matter. */
export function sameJson(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (Array.isArray(a) || Array.isArray(b))
    return (
      Array.isArray(a) &&
      Array.isArray(b) &&
      a.length === b.length &&
      a.every((item, i) => sameJson(item, b[i]))
    );
  const x = a as Record<string, unknown>;
  const y = b as Record<string, unknown>;
  for (const key of new Set([...Object.keys(x), ...Object.keys(y)]))
    if (!sameJson(x[key], y[key])) return false;
  return true;
}

/** The smallest merge patch (RFC 7386) that turns `from` into `to`; undefined when they are the same. */
export function mergePatch(
  from: Readonly<Record<string, unknown>> | undefined,
  to: Readonly<Record<string, unknown>>,
): Record<string, unknown> | undefined {
  const patch: Record<string, unknown> = {};
  for (const key of new Set([...Object.keys(from ?? {}), ...Object.keys(to)])) {
    const a = from?.[key];
    const b = to[key];
    if (b === undefined) {
      if (a !== undefined) patch[key] = null;
    } else if (isRecord(a) && isRecord(b)) {
      const inner = mergePatch(a, b);
      if (inner) patch[key] = inner;
    } else if (!sameJson(a, b)) patch[key] = b;
  }
  return Object.keys(patch).length > 0 ? patch : undefined;
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

export interface ApplyStatusOptions {
  readonly fieldManager: string;
  readonly signal?: AbortSignal;
}

/**
 * Writes an object's status if it differs from what the object has, on condition that the object has not changed since.
 * @returns the object as stored, or undefined when nothing had to be written
 * @throws ApiError Conflict when the object has changed: read it again and decide again
 */
export async function applyStatus<T extends KubernetesObject & { readonly status?: object }>(
  api: KubeApi,
  resource: Resource<T>,
  object: T,
  status: NonNullable<T["status"]>,
  options: ApplyStatusOptions,
): Promise<T | undefined> {
  const patch = mergePatch(
    object.status as Record<string, unknown> | undefined,
    status as Record<string, unknown>,
  );
  if (!patch) return undefined;
  const { name, namespace, resourceVersion } = object.metadata;
  return api.patch(
    resource,
    name,
    "merge",
    { ...(resourceVersion && { metadata: { resourceVersion } }), status: patch },
    {
      subresource: "status",
      fieldManager: options.fieldManager,
      ...(namespace !== undefined && { namespace }),
      ...(options.signal && { signal: options.signal }),
    },
  );
}
