// routes: learned routes as values, and what a node's route table says about them.
import type { Address, Prefix } from "../net/address.ts";

export interface LargeCommunity {
  readonly global: number;
  readonly local1: number;
  readonly local2: number;
}

/** A next hop; one that exists on its link only has the interface with it. */
export type NextHop = Address & { readonly link?: string };

/** One way to a prefix, as the speaker's best-path selection reports it. */
export interface LearnedPath {
  /** Name of the BGPPeer it was heard from; empty where this node originates it. */
  readonly peer: string;
  readonly nextHop: NextHop;
  /** Flattened AS_PATH, nearest first. */
  readonly asPath: readonly number[];
  /** RFC 1997, high 16 bits = ASN. */
  readonly communities: readonly number[];
  readonly large: readonly LargeCommunity[];
  /** Kept over the neighbour's restart (RFC 4724). */
  readonly stale: boolean;
}

/** A prefix with its paths, best first, then those that tie for multipath. No paths means withdrawn. */
export interface LearnedRoute {
  readonly prefix: Prefix;
  readonly paths: readonly LearnedPath[];
}

export type RouteKind = "Pods" | "VIPs";

/** A ClusterPeering, compiled: declared prefixes parsed, the peer selector resolved to names. */
export interface PeeringRule {
  readonly name: string;
  readonly clusterID: number;
  readonly clusterName: string;
  readonly prefixes: readonly Prefix[];
  readonly peers: readonly string[];
  readonly kinds: readonly RouteKind[];
  readonly fib: boolean;
}

/** Which routes enter the table and what cluster they are of. */
export interface RoutePolicy {
  readonly clusterID: number;
  readonly asn: number;
  /** Blocks of the own pools: never learned, whoever sends them. */
  readonly ownBlocks: readonly Prefix[];
  readonly peerings: readonly PeeringRule[];
}

/** What a routeId stands for. Values are those that the kernel map holds; 0 and absent mean unknown. */
export interface RouteAttributes {
  readonly cluster: number;
  readonly originASN: number;
  /** Number of the peer (PeerNumbers); 0 = this cluster's own. */
  readonly peer: number;
  readonly nextHop?: Address;
  /** The lowest RFC 1997 community that is not well-known; 0 = none. */
  readonly community: number;
}

/** routeId of prefixes that no route covers. */
export const unknownRoute = 0;
/** routeId of routes that found no free id. */
export const overflowRoute = 1;
/** Entries of the pinned attribute map, and so the first id that does not exist. */
export const routeIdLimit = 16_384;
/** Learned prefixes that a node keeps; what the speaker sends beyond is counted as refused. */
export const prefixLimit = 16_384;

export type RefusalCode =
  | "DefaultRoute"
  | "OwnCluster"
  | "OwnPrefix"
  | "PeerNotNamed"
  | "OutsideDeclared"
  | "KindNotTaken"
  | "TableFull";

export type OriginDecision =
  | {
      readonly accepted: true;
      readonly cluster: number;
      readonly peering: string;
      readonly kind: RouteKind | "Both";
      readonly tag: "Believed" | "Missing";
      readonly ignoredTag: boolean;
      readonly fib: boolean;
    }
  | { readonly accepted: false; readonly code: RefusalCode; readonly ignoredTag: boolean };
