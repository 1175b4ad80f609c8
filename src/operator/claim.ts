// operator: what a claim says of itself: phase, prefix, owner.
import type { IPAllocation } from "../api/index.ts";
import type { Sharer } from "../ipam/index.ts";
import { type Prefix, parsePrefix } from "../net/address.ts";

export type Owner = IPAllocation["spec"]["owner"];
export type Phase = NonNullable<NonNullable<IPAllocation["status"]>["phase"]>;

/** UID of an owner that nobody knows: no object has it. */
export const unknownUID = "unknown";

/** undefined: not verified. */
export const phaseOf = (claim: IPAllocation): Phase | undefined => claim.status?.phase;
export const isBound = (claim: IPAllocation): boolean => phaseOf(claim) === "Bound";
/** Releasing or Cooling: nobody may use it, and nobody else may have it. */
export const isGoing = (claim: IPAllocation): boolean => {
  const phase = phaseOf(claim);
  return phase === "Releasing" || phase === "Cooling";
};

/** Counts and choices ask for the same claims' prefixes again and again. */
const parsed = new WeakMap<IPAllocation, Prefix>();
export function prefixOf(claim: IPAllocation): Prefix {
  let prefix = parsed.get(claim);
  if (!prefix) parsed.set(claim, (prefix = parsePrefix(claim.spec.prefix)));
  return prefix;
}

/** `namespace/name`, or `name`. */
export const ownerKey = (o: Owner): string => (o.namespace ? `${o.namespace}/${o.name}` : o.name);
export const describeOwner = (o: Owner): string => `${o.kind} ${ownerKey(o)}`;

/** Later forms of a claim, and claims that were made later, have higher ones. */
export const versionOf = (claim: IPAllocation): bigint => BigInt(claim.metadata.resourceVersion ?? "0");

/** Services that have its address together; none where nobody shares it. */
export const sharersOf = (claim: IPAllocation): readonly Sharer[] => claim.status?.sharing?.users ?? [];
export const isSharer = (claim: IPAllocation, uid: string | undefined): boolean =>
  uid !== undefined && sharersOf(claim).some((u) => u.uid === uid);
