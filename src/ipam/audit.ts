// ipam: all claims held against one another, their pools, their owners, and what Services and NodeNetworks show.
import {
  type IPAllocation,
  type IPPool,
  type IPReservation,
  loadBalancerClass,
  type Node,
  type NodeNetwork,
  type Service,
} from "../api/index.ts";
import {
  AddressError,
  claimName,
  comparePrefix,
  contains,
  endOf,
  formatPrefix,
  hostPrefix,
  overlaps,
  type Prefix,
  parseAddress,
  parsePrefix,
} from "../net/address.ts";
import { findings } from "./messages.ts";
import { claimLabels, nodeSpecPool } from "./names.ts";

export interface Books {
  readonly claims: readonly IPAllocation[];
  readonly pools: readonly IPPool[];
  readonly nodes: readonly Node[];
  readonly networks: readonly NodeNetwork[];
  readonly services: readonly Service[];
  readonly reservations: readonly IPReservation[];
  /** ms since the epoch. */
  readonly now: number;
}

export type FindingKind =
  /** Two claims share an address. */
  | "Duplicate"
  /** A claim whose owner is gone and that is not being released. */
  | "Leak"
  /** A claim whose pool is gone. */
  | "Orphan"
  /** A claim outside its pool's blocks. */
  | "Outside"
  /** A claim whose name or label does not follow from its prefix, so that it locks nothing. */
  | "Misnamed"
  /** A claim that was never verified. */
  | "Unverified"
  /** Something is shown that nothing claims for it. */
  | "Unclaimed"
  /** An owner with more claims of a family than it can use. */
  | "Surplus";

export interface Finding {
  readonly kind: FindingKind;
  readonly subject: string;
  readonly message: string;
}

/** A claim is verified within moments; one that is older than this was left behind. */
const verifiedWithinMs = 60_000;

const ownerText = ({ kind, namespace, name }: IPAllocation["spec"]["owner"]): string =>
  namespace ? `${kind} ${namespace}/${name}` : `${kind} ${name}`;

function tryParse<T>(parse: (text: string) => T, text: string): T | undefined {
  try {
    return parse(text);
  } catch (error) {
    if (error instanceof AddressError) return undefined;
    throw error;
  }
}

const hostOf = (ip: string): string | undefined => {
  const address = tryParse(parseAddress, ip);
  return address && formatPrefix(hostPrefix(address));
};

const ingressOf = (s: Service): readonly string[] =>
  (s.status?.loadBalancer?.ingress ?? []).flatMap((i) => (i.ip ? [i.ip] : []));

const keyOf = (o: { readonly metadata: { readonly namespace?: string; readonly name: string } }): string =>
  o.metadata.namespace ? `${o.metadata.namespace}/${o.metadata.name}` : o.metadata.name;

interface Parsed {
  readonly claim: IPAllocation;
  readonly prefix: Prefix;
}

/** Everything that is not as it should be; empty in a cluster that is at rest. In the order of subjects. */
export function audit(books: Books): readonly Finding[] {
  const parsed = books.claims.flatMap((claim): readonly Parsed[] => {
    const prefix = tryParse(parsePrefix, claim.spec.prefix);
    return prefix ? [{ claim, prefix }] : [];
  });
  const out = [
    ...duplicates(parsed),
    ...parsed.flatMap((p) => ofClaim(p, books)),
    ...surplus(parsed),
    ...unclaimedAddresses(books),
    ...unclaimedBlocks(books),
  ];
  return out.sort((a, b) => (a.subject < b.subject ? -1 : a.subject > b.subject ? 1 : 0));
}

/** In address order, whatever overlaps an earlier block begins before that block ends. */
function duplicates(parsed: readonly Parsed[]): readonly Finding[] {
  const sorted = parsed.toSorted((a, b) => comparePrefix(a.prefix, b.prefix));
  const out: Finding[] = [];
  let widest = sorted[0];
  for (const next of sorted.slice(1)) {
    if (overlaps(widest!.prefix, next.prefix))
      out.push({
        kind: "Duplicate",
        subject: widest!.claim.spec.prefix,
        message: findings.overlaps(next.claim.spec.prefix, ownerText(next.claim.spec.owner)),
      });
    if (next.prefix.family !== widest!.prefix.family || endOf(next.prefix) > endOf(widest!.prefix))
      widest = next;
  }
  return out;
}

function ofClaim({ claim, prefix }: Parsed, books: Books): readonly Finding[] {
  const out: Finding[] = [];
  const find = (kind: FindingKind, message: string): void =>
    void out.push({ kind, subject: claim.spec.prefix, message });
  const name = claimName(prefix);
  if (claim.metadata.name !== name) find("Misnamed", findings.misnamed(claim.metadata.name, name));
  else
    for (const [label, value] of Object.entries(claimLabels(prefix, claim.spec.pool)))
      if (claim.metadata.labels?.[label] !== value) find("Misnamed", findings.mislabelled(label, value));
  const pool = books.pools.find((p) => p.metadata.name === claim.spec.pool);
  if (!pool && claim.spec.pool === nodeSpecPool) {
    // Given out by whoever writes the Node.
  } else if (!pool) find("Orphan", findings.orphan(claim.spec.pool));
  else if (!pool.spec.blocks.some((b) => contains(tryParse(parsePrefix, b) ?? prefix, prefix)))
    find("Outside", findings.outside(claim.spec.pool));
  const phase = claim.status?.phase;
  const age = books.now - Date.parse(claim.metadata.creationTimestamp ?? "");
  if (phase === undefined && age > verifiedWithinMs) find("Unverified", findings.unverified());
  if ((phase === undefined || phase === "Bound") && !isWanted(claim, books))
    find("Leak", findings.leak(ownerText(claim.spec.owner)));
  return out;
}

function isWanted({ spec: { owner, prefix }, status }: IPAllocation, books: Books): boolean {
  if (status?.sharing?.users.some((u) => books.services.some((s) => s.metadata.uid === u.uid))) return true;
  if (owner.kind === "Node") return books.nodes.some((n) => n.metadata.uid === owner.uid);
  if (owner.kind === "Service") return books.services.some((s) => s.metadata.uid === owner.uid);
  // The Service that shows a reserved address keeps it when the reservation goes.
  return (
    books.reservations.some((r) => r.metadata.uid === owner.uid && hostOf(r.spec.address) === prefix) ||
    books.services.some(
      (s) => s.metadata.namespace === owner.namespace && ingressOf(s).some((ip) => hostOf(ip) === prefix),
    )
  );
}

function surplus(parsed: readonly Parsed[]): readonly Finding[] {
  const seen = new Map<string, string>();
  return parsed.flatMap(({ claim, prefix }): readonly Finding[] => {
    const { owner } = claim.spec;
    // A node may have several blocks.
    if (owner.kind !== "Service" || claim.status?.phase !== "Bound") return [];
    const key = `${owner.uid} ${prefix.family}`;
    const first = seen.get(key);
    seen.set(key, first ?? claim.spec.prefix);
    return first === undefined
      ? []
      : [{ kind: "Surplus", subject: claim.spec.prefix, message: findings.surplus(ownerText(owner), first) }];
  });
}

function unclaimedAddresses(books: Books): readonly Finding[] {
  const bound = new Map(
    books.claims.filter((c) => c.status?.phase === "Bound").map((c) => [c.spec.prefix, c]),
  );
  const blocks = books.pools
    .filter((p) => p.spec.purpose === "LoadBalancers")
    .flatMap((p) => p.spec.blocks.flatMap((b) => tryParse(parsePrefix, b) ?? []));
  return books.services.flatMap((s) =>
    ingressOf(s).flatMap((ip): readonly Finding[] => {
      const { loadBalancerClass: wanted, type } = s.spec;
      const host = hostOf(ip);
      if (type !== "LoadBalancer" || (wanted !== undefined && wanted !== loadBalancerClass) || !host)
        return [];
      // Without a class it may be another controller's, unless it comes from our pools.
      if (wanted === undefined && !blocks.some((b) => contains(b, parsePrefix(host)))) return [];
      const claim = bound.get(host);
      const owner = claim?.spec.owner;
      const mine =
        owner?.uid === s.metadata.uid ||
        claim?.status?.sharing?.users.some((u) => u.uid === s.metadata.uid) ||
        (owner?.kind === "IPReservation" && owner.namespace === s.metadata.namespace);
      return mine
        ? []
        : [{ kind: "Unclaimed", subject: `Service ${keyOf(s)}`, message: findings.unclaimed(ip) }];
    }),
  );
}

function unclaimedBlocks(books: Books): readonly Finding[] {
  const bound = new Map(
    books.claims.filter((c) => c.status?.phase === "Bound").map((c) => [c.spec.prefix, c]),
  );
  return books.networks.flatMap((n) => {
    const node = books.nodes.find((each) => each.metadata.name === n.metadata.name);
    return (n.spec.podBlocks ?? []).flatMap(({ prefix }): readonly Finding[] =>
      node && bound.get(prefix)?.spec.owner.uid !== node.metadata.uid
        ? [{ kind: "Unclaimed", subject: `NodeNetwork ${keyOf(n)}`, message: findings.unclaimed(prefix) }]
        : [],
    );
  });
}
