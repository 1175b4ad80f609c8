// import: CiliumBGPNodeConfigOverrides: what one node says of an instance and its neighbours becomes a rule and BGPPeers for that node alone.
import type { BGPPeer, LabelSelector } from "../api/index.ts";
import { nameOf, peerLabel } from "./build.ts";
import { says } from "./messages.ts";
import { type Findings, type Reader, specOf } from "./reader.ts";
import { intersect } from "./selectors.ts";
import type { Source } from "./types.ts";

const hostname = "kubernetes.io/hostname";

interface PeerOverride {
  readonly localAddress?: string;
  readonly localPort?: number;
}

/** What one node says of one instance. */
export interface Override {
  readonly node: string;
  readonly instance: string;
  readonly localASN?: number;
  readonly listenPort?: number;
  readonly peers: ReadonlyMap<string, PeerOverride>;
  readonly reader: Reader;
}

const optional = <K extends string, V>(key: K, value: V | undefined) =>
  (value === undefined ? {} : { [key]: value }) as Partial<Readonly<Record<K, V>>>;

/** The overrides of one object, which has its node's name. */
export function overridesOf(source: Source, findings: Findings): readonly Override[] {
  const r = specOf(source, findings);
  const node = source.object.metadata.name;
  const out = r.list("bgpInstances").map((i): Override => {
    const instance = i.text("name") ?? "";
    i.leave("routerID", says.routerID());
    const localASN = i.number("localASN");
    const listenPort = i.number("localPort");
    const peers = new Map(
      i.list("peers").map((p) => {
        const name = p.text("name") ?? "";
        const own = {
          ...optional("localAddress", p.text("localAddress")),
          ...optional("localPort", p.number("localPort")),
        };
        p.done();
        return [name, own] as const;
      }),
    );
    i.done();
    const own = { ...optional("localASN", localASN), ...optional("listenPort", listenPort) };
    if (Object.keys(own).length > 0 || peers.size > 0) i.say("", says.ofOneNode(node, hostname));
    return { node, instance, ...own, peers, reader: i };
  });
  r.done();
  return out;
}

/** The node alone, as far as it is one of `nodes`. */
export const onlyNode = (nodes: LabelSelector, node: string): LabelSelector | undefined =>
  intersect(nodes, { matchLabels: { [hostname]: node } });

/**
 * A neighbour as it is seen from most nodes, and as each node sees it that says something of its own. All of them are selected by the
 * label of the first.
 */
export function byNode(
  peer: BGPPeer,
  name: string,
  overrides: readonly Override[],
): { readonly common: BGPPeer; readonly special: readonly BGPPeer[] } {
  const special: BGPPeer[] = [];
  const nodes: string[] = [];
  for (const o of overrides) {
    const own = o.peers.get(name) ?? {};
    const fields = { ...optional("localASN", o.localASN), ...own };
    const nodeSelector = onlyNode(peer.spec.nodeSelector, o.node);
    if (Object.keys(fields).length === 0 || !nodeSelector) continue;
    nodes.push(o.node);
    special.push({
      ...peer,
      metadata: {
        name: nameOf(peer.metadata.name, o.node),
        labels: { [peerLabel]: peer.metadata.labels?.[peerLabel] ?? peer.metadata.name },
      },
      spec: { ...peer.spec, ...fields, nodeSelector },
    });
  }
  const rest =
    nodes.length > 0
      ? intersect(peer.spec.nodeSelector, {
          matchExpressions: [{ key: hostname, operator: "NotIn", values: nodes }],
        })
      : undefined;
  return { common: rest ? { ...peer, spec: { ...peer.spec, nodeSelector: rest } } : peer, special };
}
