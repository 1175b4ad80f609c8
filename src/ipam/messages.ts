// ipam: every sentence that an allocation gives as its reason. One place.
import { formatPrefix, type Prefix } from "../net/address.ts";

/** Why nothing was given. The words are reasons of conditions. */
export type RefusalCode =
  | "NoPool"
  | "PoolNotAccepted"
  | "PoolDisabled"
  | "SelectorMismatch"
  | "QuotaReached"
  | "Exhausted"
  | "AddressOutsidePools"
  | "AddressReserved"
  | "AddressTaken"
  | "SharingConflict"
  | "AddressInvalid"
  | "OtherCluster"
  | "AwaitingAgents";

export interface Refusal {
  readonly code: RefusalCode;
  readonly message: string;
}

const refusal = (code: RefusalCode, message: string): Refusal => ({ code, message });

/** In this order the more telling reason wins when several pools refuse. */
export const tellingOrder: readonly RefusalCode[] = [
  "AwaitingAgents",
  "Exhausted",
  "QuotaReached",
  "OtherCluster",
  "PoolDisabled",
  "PoolNotAccepted",
  "SelectorMismatch",
  "NoPool",
];

export const refusals = {
  awaitingAgents: (awaited: readonly string[]) =>
    refusal(
      "AwaitingAgents",
      `nothing new is given out until the agents have said what is in use; waiting for ${awaited.slice(0, 8).join(", ")}${awaited.length > 8 ? ` and ${awaited.length - 8} more` : ""}; delete the Node of one that is gone for good`,
    ),
  noPool: (purpose: string, family: number) =>
    refusal("NoPool", `no IPPool with purpose ${purpose} has IPv${family} blocks`),
  notAccepted: (pool: string) => refusal("PoolNotAccepted", `IPPool ${pool} is not accepted`),
  disabled: (pool: string) => refusal("PoolDisabled", `IPPool ${pool} is disabled`),
  selector: (pool: string) => refusal("SelectorMismatch", `the selector of IPPool ${pool} does not match`),
  namespace: (pool: string) =>
    refusal("SelectorMismatch", `IPPool ${pool} is not for Services of this namespace`),
  quota: (pool: string, quota: number) =>
    refusal("QuotaReached", `IPPool ${pool} has given out its quota of ${quota}`),
  perNode: (pool: string, most: number) =>
    refusal(
      "QuotaReached",
      `IPPool ${pool} gives a node ${most} blocks of a family at most (maxBlocksPerNode)`,
    ),
  noPodCIDRs: () =>
    refusal(
      "NoPool",
      "its Node has no spec.podCIDRs; kube-controller-manager writes them with --allocate-node-cidrs, or set podBlocks: Pools in the ClusterNetwork",
    ),
  tooWide: (text: string) =>
    refusal("AddressInvalid", `${text} of spec.podCIDRs is wider than a claim can be (/16, or /64 of IPv6)`),
  exhausted: (pool: string) => refusal("Exhausted", `IPPool ${pool} has nothing free`),
  outside: (address: string) =>
    refusal("AddressOutsidePools", `${address} is in no IPPool with purpose LoadBalancers`),
  reserved: (address: string, pool: string) =>
    refusal("AddressReserved", `${address} is reserved by IPPool ${pool}`),
  reservedFor: (address: string, who: string) => refusal("AddressReserved", `${address} is kept for ${who}`),
  taken: (address: string, who: string) => refusal("AddressTaken", `${address} belongs to ${who}`),
  sharing: (address: string, why: string) =>
    refusal("SharingConflict", `${address} cannot be shared: ${why}`),
  invalid: (address: string, why: string) => refusal("AddressInvalid", `${address} ${why}`),
  otherCluster: (address: string, peering: string) =>
    refusal("OtherCluster", `${address} is inside a prefix of ClusterPeering ${peering}`),
} as const;

export const faults = {
  blockTooSmall: (block: Prefix, unit: number) =>
    `${formatPrefix(block)} is smaller than the blocks of /${unit} that it is to be cut into`,
  overlapsOwn: (block: Prefix, other: Prefix) =>
    `${formatPrefix(block)} overlaps ${formatPrefix(other)} of the same pool`,
} as const;

/** Why Services cannot have an address together. */
export const sharingFaults = {
  full: (most: number) => `${most} Services share it already`,
  manyPorts: (most: number) => `a Service with ${most} ports or more shares no address`,
  port: (port: string, who: string) => `port ${port} is Service ${who}'s`,
  policy: (who: string, policy: string) =>
    `Service ${who} has externalTrafficPolicy ${policy.split(" ")[0]}; all must have the same, and with Local the same selector`,
  namespace: (who: string, namespace: string) =>
    `annotation waggle.dev/sharing-namespaces of Service ${who} does not name namespace ${namespace}`,
} as const;

/** What an audit of all claims finds. */
export const findings = {
  overlaps: (other: string, owner: string) => `overlaps ${other} of ${owner}`,
  misnamed: (name: string, right: string) => `is claimed by ${name}; only ${right} would lock it`,
  mislabelled: (label: string, value: string) =>
    `lacks label ${label}=${value}, by which overlapping claims find one another`,
  orphan: (pool: string) => `its IPPool ${pool} does not exist`,
  outside: (pool: string) => `lies outside the blocks of its IPPool ${pool}`,
  unverified: () => "was claimed and never verified; an operator that runs finishes it or takes it back",
  leak: (owner: string) => `its owner ${owner} is gone and it is not being released`,
  surplus: (owner: string, other: string) => `${owner} has ${other} already`,
  unclaimed: (what: string) => `shows ${what}, which nothing claims for it`,
} as const;
