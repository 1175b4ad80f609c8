// operator: every sentence of conditions and events that the operator writes. One place.
import { approveAnnotation, type KubernetesObject } from "../api/index.ts";
import type { Overlap, Refusal } from "../ipam/index.ts";
import { type Family, formatPrefix } from "../net/address.ts";

/** Reason and message of a condition. */
export interface Say {
  readonly reason: string;
  readonly message: string;
}

const say = (reason: string, message: string): Say => ({ reason, message });

/** Items that a message names. */
const named = 8;
export const some = (items: readonly string[]): string =>
  items.length > named
    ? `${items.slice(0, named).join(", ")} and ${items.length - named} more`
    : items.join(", ");

/** As many of the users as fit into 128 characters, and how many more there are. */
export function usersText(users: readonly string[]): string {
  const sorted = users.toSorted();
  for (let n = Math.min(3, sorted.length); n > 0; n--) {
    const rest = sorted.length - n;
    const text = sorted.slice(0, n).join(", ") + (rest > 0 ? ` and ${rest} more` : "");
    if (text.length <= 128) return text;
  }
  return `${sorted[0]?.slice(0, 100)}… and ${sorted.length - 1} more`;
}

/** `prefix by users` of each, as far as 1024 characters reach. */
export function inUseText(list: readonly { readonly prefix: string; readonly users: string }[]): string {
  const text = list.map((u) => `${u.prefix} by ${u.users}`).join("; ");
  return text.length <= 1024 ? text : `${text.slice(0, 1023)}…`;
}

const plural = (n: number, word: string): string => `${n} ${word}${n === 1 ? "" : "s"}`;

export const poolSays = {
  accepted: () => say("Accepted", "overlaps no other pool; addresses are given out"),
  invalid: (faults: readonly string[]) => say("Invalid", some(faults)),
  overlap: ({ other, mine, theirs }: Overlap) =>
    say(
      "Overlap",
      `${formatPrefix(mine)} overlaps ${formatPrefix(theirs)} of the older IPPool ${other}; nothing new is given out, what is allocated stays`,
    ),
  overlapsServices: ({ other, mine, theirs }: Overlap) =>
    say(
      "OverlapsServices",
      `${formatPrefix(mine)} overlaps ${formatPrefix(theirs)} of ${other}, where the API server gives out cluster addresses; nothing new is given out, what is allocated stays`,
    ),
  tooManyOverlaps: (n: number) => say("Overlap", `overlaps ${n} other pools`),
  ready: () => say("Ready", "in use"),
  disabled: () => say("Disabled", "disabled: nothing new is given out, what is allocated stays"),
  full: () => say("Full", "everything is allocated, cooling down or reserved"),
  overlapsPeering: ({ other, mine, theirs }: Overlap) =>
    say(
      "OverlapsPeering",
      `${formatPrefix(mine)} overlaps ${formatPrefix(theirs)}, which ClusterPeering ${other} declares as another cluster's; nothing new is given out inside, what is allocated stays`,
    ),
  claimsOutside: (prefixes: readonly string[]) =>
    say(
      "PrefixInUse",
      `allocated outside the pool's blocks: ${some(prefixes)}; put the blocks back, or delete what uses them`,
    ),
} as const;

export const claimSays = {
  bound: () => say("Bound", "in use"),
  awaiting: (nodes: readonly string[]) =>
    say(
      "AwaitingWithdrawal",
      `waiting until ${some(nodes)} no longer announce${nodes.length === 1 ? "s" : ""} it`,
    ),
  quarantined: (nodes: readonly string[]) =>
    say(
      "Quarantined",
      `in use on ${some(nodes)} and not known to the API server, as after a restore from a backup; free when it is withdrawn there`,
    ),
  settling: () => say("Settling", "withdrawn; waiting for late reports of nodes"),
  cooling: (until: string) => say("Cooling", `rests until ${until}`),
} as const;

export const serviceSays = {
  allocated: (addresses: readonly string[], missing: string | undefined) =>
    say(
      "Allocated",
      missing === undefined ? addresses.join(", ") : `${addresses.join(", ")}; no other: ${missing}`,
    ),
  contested: (others: readonly string[]) =>
    say(
      "Contested",
      `another controller keeps writing ${others.length > 0 ? some(others) : "nothing"} into the Service's status; give the Service a loadBalancerClass that only one of them serves`,
    ),
  requestInvalid: (why: string) => say("AddressInvalid", `annotation waggle.dev/addresses: ${why}`),
  sharingConflict: (address: string, why: string) =>
    say(
      "SharingConflict",
      `shares ${address} and asks for what another has since it was edited: ${why}; it keeps the address, and the other keeps what clashes`,
    ),
  reservationPending: (name: string) =>
    say("ReservationPending", `IPReservation ${name} keeps an address for it and has not got it yet`),
  reservationBroken: (name: string, why: string) =>
    say("ReservationNotReady", `IPReservation ${name} keeps an address for it: ${why}`),
  familyWanted: (family: number, why: string) => `IPv${family}: ${why}`,
  moreThanOne: (family: number) => `more than one IPv${family} address is asked for`,
  notAsked: (address: string) => `${address} is of a family that the Service does not have`,
} as const;

/** Why a family has no address. */
export const sayRefusal = (family: Family, refusal: Refusal): Say => ({
  reason: refusal.code,
  message: serviceSays.familyWanted(family, refusal.message),
});

export const reservationSays = {
  kept: (pool: string) => say("Kept", `kept in IPPool ${pool}`),
  inUse: (service: string) => say("InUse", `Service ${service} has it`),
  waits: (phase: string) =>
    say("Cooling", `its earlier claim is ${phase}; it is kept as soon as that has ended`),
  invalid: (why: string) => say("Invalid", `spec.address ${why}`),
  observing: () => say("Observing", "no rule of the ClusterNetwork allocates; nothing is claimed"),
} as const;

export const networkSays = {
  ready: (nodes: number) => say("Ready", `${plural(nodes, "node")} selected`),
  noNodes: () => say("NoNodes", "no rule matches any node"),
  routerIDMissing: (nodes: readonly string[]) =>
    say(
      "NoRouterID",
      `routerIDSource NodeAddress needs an IPv4 InternalIP, which ${some(nodes)} ${nodes.length === 1 ? "has" : "have"} not; use Hash`,
    ),
  agentsAlive: () => say("AgentsAlive", "no agent that has beaten is silent"),
  agentsSilent: (nodes: readonly string[]) =>
    say(
      "AgentSilent",
      `no heartbeat from the agent of ${some(nodes)}; what it reported last may not be so any more, and addresses that it announced are not released; see to the agent, or delete the Node that is gone`,
    ),
  nodesWithoutBlock: (nodes: readonly string[]) =>
    say("NodesWithoutBlock", `no pod block for ${some(nodes)}`),
  nodesCrowded: (nodes: readonly string[]) =>
    say(
      "PodBlocksFull",
      `the pod blocks of ${some(nodes)} are nearly full and there is no other; see the Nodes' Events`,
    ),
  invalid: (faults: readonly string[]) => say("Invalid", some(faults)),
} as const;

export const peerSays = {
  established: (n: number) => say("Established", `${plural(n, "session")} Established`),
  noNodes: () => say("NoNodes", "nodeSelector matches no node that announces"),
  invalid: (faults: readonly string[]) => say("Invalid", some(faults)),
  secretMissing: (secret: string, nodes: readonly string[]) =>
    say(
      "PasswordSecretMissing",
      `Secret waggle-system/${secret} with key password is not there; the session is kept down on ${some(nodes)}`,
    ),
  notEstablished: (lines: readonly string[]) => say("NotEstablished", some(lines)),
  agentSilent: (nodes: readonly string[]) =>
    say("AgentSilent", `no heartbeat from the agent of ${some(nodes)}; how its session is now is not known`),
  noReport: (nodes: readonly string[]) =>
    say("NoReport", `the agent of ${some(nodes)} has not reported this session`),
} as const;

export const policySays = {
  used: (peers: number) =>
    say("Ready", peers === 0 ? "no BGPPeer names it" : `used by ${plural(peers, "BGPPeer")}`),
  invalid: (faults: readonly string[]) => say("Invalid", some(faults)),
} as const;

export const advertisementSays = {
  announcing: (routes: number) =>
    say("Announcing", `${plural(routes, "prefix")} originated`.replace("prefixs", "prefixes")),
  nothing: () => say("NothingToAnnounce", "selects nothing that has an address and may be announced"),
  noNodes: () => say("NoNodes", "nodeSelector matches no node that announces"),
  noPeers: () => say("NoPeers", "peerSelector matches no BGPPeer of these nodes"),
  invalid: (faults: readonly string[]) => say("Invalid", some(faults)),
} as const;

export const peeringSays = {
  ready: (learned: number) =>
    say("Ready", `${plural(learned, "prefix")} known`.replace("prefixs", "prefixes")),
  nothingLearned: () => say("NothingLearned", "no prefix of it is known on any node"),
  noPeers: () => say("NoPeers", "peerSelector matches no BGPPeer"),
  invalid: (faults: readonly string[]) => say("Invalid", some(faults)),
  overlaps: (what: readonly string[]) =>
    say("Overlap", `${some(what)}; who is there stays, nothing new is given out inside`),
  disjoint: () => say("Disjoint", "overlaps neither a pool of this cluster nor another peering"),
  tagMissing: (nodes: readonly string[]) =>
    say(
      "TagMissing",
      `its routes arrive at ${some(nodes)} without their large community; the declared prefixes name the cluster`,
    ),
  tagged: () => say("Tagged", "its routes carry their large community, or none is known"),
} as const;

/** Where a roll-out is. */
export interface RollOutStep {
  /** `label=value` */
  readonly where: string;
  readonly at: number;
  readonly of: number;
  readonly nodes: number;
  readonly taken: number;
  readonly failing: number;
}

const stepSays = ({ where, at, of }: RollOutStep): string => `step ${at} of ${of} (${where})`;

/** What every agent that has taken a change is watched for stands in docs/explain.md. */
export const rolloutSays = {
  done: (nodes: number) => say("Done", `in force on ${plural(nodes, "node")} that it concerns`),
  progressing: (step: RollOutStep) =>
    say("Progressing", `${stepSays(step)}: ${step.taken} of ${plural(step.nodes, "node")} have taken it`),
  soaking: (step: RollOutStep, until: string) =>
    say(
      "Soaking",
      `${stepSays(step)}: ${step.taken} of ${plural(step.nodes, "node")} have taken it; watched until ${until}`,
    ),
  stopped: (
    { kind, metadata }: KubernetesObject,
    step: RollOutStep,
    failing: readonly string[],
    hash: string,
  ) =>
    say(
      "Stopped",
      `stopped at ${stepSays(step)}: ${some(failing)}; other nodes keep the form before. To go on: kubectl annotate ${kind.toLowerCase()} ${metadata.name} --overwrite ${approveAnnotation}=${hash}, or waggle rollout continue ${kind}/${metadata.name}. To go back: apply the form before again, or waggle rollout undo ${kind}/${metadata.name}`,
    ),
  paused: () =>
    say("Paused", "it is paused in the middle of a roll-out: every node keeps the form that it has"),
  invalid: (faults: readonly string[]) => say("Invalid", `not rolled out: ${some(faults)}`),
  late: (node: string, seconds: number) => `${node}: has not taken it within ${seconds} s`,
  silent: () => "no heartbeat from its agent",
} as const;

export const pausedSays = (changed: boolean): Say =>
  say(
    "Paused",
    changed
      ? "it has been changed since it was paused, and the change waits until annotation waggle.dev/paused is taken away"
      : "it stays in force as it is until annotation waggle.dev/paused is taken away",
  );

export const eventNotes = {
  noBlock: (family: number, why: string) => `no IPv${family} pod block: ${why}`,
  quarantined: (prefix: string, service: string | undefined) =>
    `${prefix} is in use here${service ? ` for Service ${service}` : ""} and no IPAllocation says so; it is given to nobody until it is withdrawn`,
  shared: (address: string, key: string, others: readonly string[]) =>
    `${address} together with ${some(others)}, by sharing key ${key}`,
  allocated: (prefix: string, pool: string) => `${prefix} of IPPool ${pool}`,
} as const;
