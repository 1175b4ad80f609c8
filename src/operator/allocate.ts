// operator: from a choice to a claim: choose, claim, and where somebody was faster choose again.

import type { IPAllocation } from "../api/index.ts";
import {
  type Applicant,
  type Choice,
  chooseFree,
  type Kept,
  type Pool,
  type Refusal,
  refusals,
  type Space,
} from "../ipam/index.ts";
import { type Family, formatPrefix, type Prefix, parsePrefix } from "../net/address.ts";
import type { Owner } from "./claim.ts";
import type { OperatorContext } from "./context.ts";

export type Allocation =
  | { readonly ok: true; readonly claim: IPAllocation }
  | { readonly ok: false; readonly refusal: Refusal };

/** Choices that turn out to be taken before an allocation is put off: the caches are far behind then. */
const mostTries = 32;

/** Another attempt, later, has a better chance: thrown so that the queue's back-off decides when. */
export class Contended extends Error {
  constructor(prefix: string) {
    super(`${mostTries} choices in a row were taken meanwhile, the last one ${prefix}`);
    this.name = "Contended";
  }
}

/**
 * The next free block or address as {@link chooseFree} sees it, without what `shown` says is in use though nothing claims
 * it: a Service's or NodeNetwork's claim can be missing after its kind has been deleted and created again.
 */
export function chooseUnshown(
  applicant: Applicant,
  space: Space,
  shown: (prefix: Prefix) => string | undefined,
): Choice {
  const kept: Kept[] = [];
  for (let i = 0; i < mostTries; i++) {
    const choice = chooseFree(applicant, { ...space, kept: [...space.kept, ...kept] });
    if (!choice.ok) return choice;
    const by = shown(choice.prefix);
    if (by === undefined) return choice;
    kept.push({ prefix: choice.prefix, refusal: refusals.taken(formatPrefix(choice.prefix), by) });
  }
  throw new Contended("one that is in use without a claim");
}

/** Claims what `choose` says until a claim holds or there is nothing to choose. @throws Contended, ApiError, TransportError */
export async function allocate(
  context: OperatorContext,
  owner: Owner,
  choose: () => Choice,
): Promise<Allocation> {
  let last = "";
  for (let i = 0; i < mostTries; i++) {
    const choice = choose();
    if (!choice.ok) return choice;
    const outcome = await claimOnce(context, owner, choice.pool, choice.prefix);
    if (outcome.ok) return outcome;
    const { code } = outcome.refusal;
    if (code === "QuotaReached" || code === "AwaitingAgents") return outcome;
    // The ledger knows of the other claim now, so the next choice is another one.
    last = formatPrefix(choice.prefix);
  }
  throw new Contended(last);
}

/**
 * Claims for an owner that has come back what is quarantined under its name. The quarantine goes first, as a claim's owner
 * never changes; nobody else can verify a claim in between, for agents report that it is in use for this one.
 */
export async function takeQuarantined(
  context: OperatorContext,
  owner: Owner,
  family: Family,
): Promise<Allocation | undefined> {
  const claim = context.claims.quarantinedFor(owner, family);
  const pool = claim && context.pools.get(claim.spec.pool)?.pool;
  if (!claim || !pool || claim.status?.phase !== "Releasing") return undefined;
  await context.claims.remove(claim);
  return claimOnce(context, owner, pool, parsePrefix(claim.spec.prefix), true);
}

/** Claims one prefix; with `adopt` one that is in use already, which needs neither room in a quota nor an open gate. */
export async function claimOnce(
  context: OperatorContext,
  owner: Owner,
  pool: Pick<Pool, "name" | "quota">,
  prefix: Prefix,
  adopt = false,
): Promise<Allocation> {
  const { awaited } = context.gate;
  if (awaited && !adopt) return { ok: false, refusal: refusals.awaitingAgents(awaited) };
  const outcome = await context.claims.claim(owner, pool, prefix, adopt);
  if (outcome.ok) {
    context.log.info(
      { prefix: formatPrefix(prefix), pool: pool.name, owner: `${owner.kind}/${owner.name}`, adopt },
      "claimed",
    );
    return outcome;
  }
  if ("quota" in outcome) return { ok: false, refusal: refusals.quota(pool.name, pool.quota ?? 0) };
  return { ok: false, refusal: refusals.taken(formatPrefix(prefix), outcome.by) };
}
