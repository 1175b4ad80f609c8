// plan: roll-outs: which form of a BGPPolicy or BGPAdvertisement counts on a node while a changed one goes from step to step.
import {
  type BGPAdvertisement,
  type BGPPolicy,
  type ClusterNetwork,
  isPaused,
  type Node,
} from "../api/index.ts";
import { canonical } from "./canonical.ts";
import { ruleOf } from "./noderule.ts";
import { formInForce, type PausedObject } from "./paused.ts";
import type { Snapshot } from "./types.ts";

/** Kinds whose changes can be rolled out. */
export type Staged = BGPPolicy | BGPAdvertisement;
export type RollOutConfig = NonNullable<ClusterNetwork["spec"]["rollout"]>;
export type RollOutStatus = NonNullable<NonNullable<Staged["status"]>["rollout"]>;

/** A change that is being rolled out, and what of it counts on this node. */
export interface RollOut {
  /** Kind/name */
  readonly object: string;
  /** The generation that is in force here; 0: none. */
  readonly inForce: number;
  /** The generation that is on its way. */
  readonly target: number;
  /** Whether the target is in force here. */
  readonly taken: boolean;
  /** The value of the label by which this node waits, as in `topology.kubernetes.io/zone=a`. */
  readonly step: string;
}

/** The node that forms are looked at from. */
export interface Staging {
  /** Undefined: changes reach all nodes at once. */
  readonly config: RollOutConfig | undefined;
  readonly labels: Readonly<Record<string, string>> | undefined;
  readonly rollouts: RollOut[];
  readonly paused: PausedObject[];
}

/** A step as it is written: `label=value`; nodes without the label are `label` with a `!` before it, as selectors have it. */
export const stepText = (label: string, value: string): string =>
  value === "" ? `!${label}` : `${label}=${value}`;

/** Value of the label that decides when a node's turn is; "" without it. */
export const stepOf = (label: string, labels: Readonly<Record<string, string>> | undefined): string =>
  labels?.[label] ?? "";

/** The values that these nodes have, in the order in which their turn is: as configured, then sorted, nodes without the label last. */
export function stepsOf(
  config: RollOutConfig,
  label: string,
  nodes: readonly Pick<Node, "metadata">[],
): readonly string[] {
  const values = new Set(nodes.map((n) => stepOf(label, n.metadata.labels)));
  const first = (config.order ?? []).filter((v) => v !== "" && values.has(v));
  const others = [...values].filter((v) => v !== "" && !first.includes(v)).sort();
  return [...first, ...others, ...(values.has("") ? [""] : [])];
}

/** Specs of earlier generations by the text that a status keeps; the same object for the same status. */
const parsed = new WeakMap<RollOutStatus, unknown>();

/** The form that is in force where the roll-out has not come to; undefined where there was none, or it is not known. */
export function earlierForm<T extends Staged>(written: T): T | undefined {
  const status = written.status?.rollout;
  if (!status?.generation || !status.spec) return undefined;
  let form = parsed.get(status);
  if (form === undefined) {
    const metadata = { ...written.metadata, generation: status.generation };
    form = { ...written, metadata, spec: JSON.parse(status.spec) as T["spec"] };
    parsed.set(status, form);
  }
  return form as T;
}

/** The earlier form on a node that the roll-out has not come to. One too long for the status is known to those who remember it. */
const earlierHere = <T extends Staged>(written: T, remembered: T | undefined): T | undefined => {
  const status = written.status?.rollout;
  const kept =
    !status?.spec && status?.generation !== 0 && remembered?.metadata.generation !== status?.target;
  return kept ? remembered : earlierForm(written);
};

/** The form that counts where changes go in steps. `remembered` is the one that was in force here. */
function stagedForm<T extends Staged>(
  object: string,
  written: T,
  remembered: T | undefined,
  { config, labels }: Staging,
): { readonly form: T | undefined; readonly rollout?: RollOut } {
  const { generation } = written.metadata;
  if (!config || generation === undefined) return { form: written };
  const status = written.status?.rollout;
  // Nothing is written down yet: what the operator has seen before counts, what is new or changed waits for it.
  if (!status && written.status?.observedGeneration === generation) return { form: written };
  if (status && status.target === undefined && status.generation === generation) return { form: written };
  const label = status?.label ?? config.byNodeLabel;
  const value = stepOf(label, labels);
  const current = status?.target === generation;
  const taken = current && (status?.reached ?? []).includes(value);
  const form = taken
    ? written
    : current
      ? earlierHere(written, remembered)
      : (remembered ?? earlierForm(written));
  const inForce = form?.metadata.generation ?? 0;
  return { form, rollout: { object, inForce, target: generation, taken, step: stepText(label, value) } };
}

/** The form of an object that counts on a node, whether it is paused, in the middle of a roll-out, or both. */
export function formThatCounts<T extends Staged>(
  object: string,
  written: T,
  remembered: T | undefined,
  staging: Staging,
): T | undefined {
  const { form, rollout } = stagedForm(object, written, remembered, staging);
  if (!isPaused(written)) {
    if (rollout) staging.rollouts.push(rollout);
    return form;
  }
  // What is paused has its turn neither here nor elsewhere until it goes on.
  if (staging.config && !remembered && !form) {
    staging.paused.push({ object, inForce: "Nothing" });
    return undefined;
  }
  const before = remembered ?? (staging.config ? form : undefined);
  return formInForce(object, written, before, staging.paused);
}

/** Names of the objects whose specs differ between two lists. */
const changedIn = <T extends Staged>(before: readonly T[], after: readonly T[]): ReadonlySet<string> => {
  const was = new Map(before.map((o) => [o.metadata.name, canonical(o.spec)] as const));
  return new Set(
    after.filter((o) => was.get(o.metadata.name) !== canonical(o.spec)).map((o) => o.metadata.name),
  );
};

/** An object as it is once its roll-out has ended. */
function arrived<T extends Staged>(object: T): T {
  const { generation } = object.metadata;
  const { rollout: _, ...status } = object.status ?? {};
  return {
    ...object,
    status: { ...status, ...(generation !== undefined && { observedGeneration: generation }) },
  };
}

/** The snapshot after a change as it is once the change has come to every node; the same one where nothing would be rolled out. */
export function rolledOut(before: Snapshot, after: Snapshot): Snapshot {
  if (!after.clusterNetwork?.spec.rollout) return after;
  const policies = changedIn(before.policies, after.policies);
  const advertisements = changedIn(before.advertisements, after.advertisements);
  if (policies.size + advertisements.size === 0) return after;
  return {
    ...after,
    policies: after.policies.map((p) => (policies.has(p.metadata.name) ? arrived(p) : p)),
    advertisements: after.advertisements.map((a) => (advertisements.has(a.metadata.name) ? arrived(a) : a)),
  };
}

/** When a node's turn is in a roll-out over all nodes that announce: as in `2 of 4, zone=b`. */
export function turnOf(snapshot: Snapshot, node: string): string | undefined {
  const network = snapshot.clusterNetwork;
  const config = network?.spec.rollout;
  const own = snapshot.nodes.find((n) => n.metadata.name === node);
  if (!config || !own) return undefined;
  const announcing = snapshot.nodes.filter(
    (n) => ruleOf(network, n.metadata.labels)?.rule.mode === "Announce",
  );
  const steps = stepsOf(config, config.byNodeLabel, announcing);
  const value = stepOf(config.byNodeLabel, own.metadata.labels);
  return `${steps.indexOf(value) + 1} of ${steps.length}, ${stepText(config.byNodeLabel, value)}`;
}
