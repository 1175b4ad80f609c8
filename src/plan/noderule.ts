// plan: which rule of the ClusterNetwork is this node's, and what follows from it: router ID, listening addresses.
import { type ClusterNetwork, type Node, selects } from "../api/index.ts";
import type { Address } from "../net/address.ts";
import { addressAt, collectFaults, type Fault, tryAddress } from "./fields.ts";
import { faults } from "./messages.ts";
import type { BmpStation, MrtDumps, SpeakerState } from "./types.ts";

export type ClusterNetworkRule = ClusterNetwork["spec"]["nodes"][number];

/** The first rule whose selector matches, with its place in the list. */
export function ruleOf(
  network: ClusterNetwork | undefined,
  labels: Readonly<Record<string, string>> | undefined,
): { readonly rule: ClusterNetworkRule; readonly index: number } | undefined {
  const index = network?.spec.nodes.findIndex((r) => selects(r.nodeSelector, labels)) ?? -1;
  return index < 0 ? undefined : { rule: network!.spec.nodes[index]!, index };
}

/** InternalIPs of a node, in their order. */
export const addressesOf = (node: Node | undefined): readonly Address[] =>
  (node?.status?.addresses ?? []).flatMap((a) => {
    const address = a.type === "InternalIP" ? tryAddress(a.address) : undefined;
    return address ? [address] : [];
  });

/** A router ID from a name: FNV-1a over its UTF-16 units, never 0 (RFC 6286 asks for non-zero and unique in the AS). */
export function hashedRouterID(name: string): number {
  let hash = 0x811c_9dc5;
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x0100_0193) >>> 0;
  return hash || 1;
}

export interface NodeRule {
  readonly routerID: number;
  readonly clusterID?: number;
  readonly bmpStations?: readonly BmpStation[];
  readonly multipath?: NonNullable<SpeakerState["multipath"]>;
  readonly mrt?: MrtDumps;
  readonly listen: SpeakerState["listen"];
}

function multipathOf({ multipath: m }: ClusterNetworkRule): Pick<NodeRule, "multipath"> {
  const { external = 64, internal = 64, relaxASPath = true } = m ?? {};
  // What the speaker does anyway is not said: a plan of before would differ.
  if (external === 64 && internal === 64 && relaxASPath) return {};
  return { multipath: { external, internal, samePath: !relaxASPath } };
}

const mrtOf = ({ mrt: m }: ClusterNetworkRule): Pick<NodeRule, "mrt"> =>
  m
    ? {
        mrt: {
          directory: m.directory,
          messages: m.messages ?? true,
          tableSeconds: m.tableSeconds ?? 0,
          fileBytesMax: (m.fileMebibytes ?? 64) * 1024 * 1024,
          filesMax: m.files ?? 16,
        },
      }
    : {};

/** Router ID and listening addresses by the rule. NodeNetwork.spec.routerID, where it is there, has the last word. */
export function compileRule(
  found: { readonly rule: ClusterNetworkRule; readonly index: number },
  node: { readonly name: string; readonly addresses: readonly Address[]; readonly routerID?: string },
): { readonly value: NodeRule } | { readonly faults: readonly Fault[] } {
  const into = collectFaults();
  const { rule, index } = found;
  const at = `spec.nodes[${index}]`;
  const said = node.routerID === undefined ? undefined : tryAddress(node.routerID);
  const own = node.addresses.find((a) => a.family === 4);
  let routerID = 0;
  if (said?.family === 4 && said.lo !== 0n) routerID = Number(said.lo);
  else if (rule.routerIDSource === "Hash") routerID = hashedRouterID(node.name);
  else if (own) routerID = Number(own.lo);
  else into.add(`${at}.routerIDSource`, faults.noRouterID());

  const cluster =
    rule.reflectorClusterID === undefined
      ? undefined
      : addressAt(rule.reflectorClusterID, `${at}.reflectorClusterID`, into);
  if (cluster && (cluster.family !== 4 || cluster.lo === 0n))
    into.add(`${at}.reflectorClusterID`, faults.notFamily(4));
  const clusterID = cluster && Number(cluster.lo);

  const stations = (rule.bmpStations ?? []).flatMap((s, i): readonly BmpStation[] => {
    const address = addressAt(s.address, `${at}.bmpStations[${i}].address`, into);
    return address ? [{ ...s, address }] : [];
  });

  const listen: { address?: Address; port: number }[] = [];
  const port = rule.listen?.port ?? 179;
  if (rule.listen?.mode === "Any") listen.push({ port });
  if (rule.listen?.mode === "Address") {
    if (rule.listen.address === undefined) into.add(`${at}.listen.address`, faults.listenAddress());
    else {
      const address = addressAt(rule.listen.address, `${at}.listen.address`, into);
      if (address) listen.push({ address, port });
    }
  }
  return into.list.length > 0
    ? { faults: into.list }
    : {
        value: {
          routerID,
          ...(clusterID !== undefined && { clusterID }),
          ...(stations.length > 0 && { bmpStations: stations }),
          ...multipathOf(rule),
          ...mrtOf(rule),
          listen,
        },
      };
}
