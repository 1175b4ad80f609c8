// routes: sentences about routes that were not taken.
import type { FibRefusal } from "./fib.ts";
import type { RefusalCode } from "./types.ts";

export const refusalText: Readonly<Record<RefusalCode, string>> = {
  DefaultRoute: "a default route is never taken",
  OwnCluster: "it carries this cluster's own ID: a loop",
  OwnPrefix: "it overlaps a pool of this cluster",
  PeerNotNamed: "the ClusterPeering that declares the prefix does not name the neighbour it came from",
  OutsideDeclared: "no ClusterPeering declares a prefix around it",
  KindNotTaken: "the ClusterPeering does not take routes of its kind",
  TableFull: "the node's route table is full",
};

export const fibRefusalText: Readonly<Record<FibRefusal, string>> = {
  DefaultRoute: "a default route is never installed",
  ConnectedSubnet: "it overlaps a subnet of the node's own interfaces",
  CoversAddress: "it covers the address of the API server, a neighbour or the node itself",
  CoversPods: "it overlaps the addresses of this node's pods",
  NoNextHop: "it has no next hop of its own family outside itself",
  TooMany: "the node holds as many routes of ours as it may",
};
