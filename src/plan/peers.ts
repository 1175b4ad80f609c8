// plan: BGPPeers of this node with the policies that they name, compiled together: one mistake holds back one peer only.
import { type BGPPeer, type BGPPolicy, selects } from "../api/index.ts";
import type { Address } from "../net/address.ts";
import type { PeeringRule } from "../routes/index.ts";
import { addressAt, collectFaults, type Fault, type Faults, prefixAt } from "./fields.ts";
import { faults } from "./messages.ts";
import { compilePolicy, impliedExport, impliedImport } from "./policies.ts";
import type { PeerSources, SpeakerPeer, SpeakerPolicy, SpeakerTreatment } from "./types.ts";

/** What the node contributes to each of its peers. */
export interface PeerContext {
  readonly localASN: number;
  readonly clusterID: number;
  /** ASNs of all nodes of this cluster. */
  readonly clusterASNs: readonly number[];
  readonly nodeAddresses: readonly Address[];
  readonly peerings: readonly PeeringRule[];
  readonly passwords: ReadonlySet<string>;
}

export interface CompiledPeer {
  readonly peer: SpeakerPeer;
  readonly policies: readonly SpeakerPolicy[];
}

/** The peer's own object with the policies that it names, as far as they are there. */
export function sourcesOf(peer: BGPPeer, policies: readonly BGPPolicy[]): PeerSources {
  const named = new Set([...(peer.spec.importPolicies ?? []), ...(peer.spec.exportPolicies ?? [])]);
  return {
    peer,
    policies: Object.fromEntries(
      policies.filter((p) => named.has(p.metadata.name)).map((p) => [p.metadata.name, p]),
    ),
  };
}

/** The named policies in order: the speaker joins their rules, and the first that matches in any of them decides. */
function namedPolicies(
  field: "importPolicies" | "exportPolicies",
  sources: PeerSources,
  kept: boolean,
  into: Faults,
): readonly SpeakerPolicy[] {
  return (sources.peer.spec[field] ?? []).flatMap((name, i) => {
    const policy = sources.policies[name];
    if (!policy) {
      into.add(`spec.${field}[${i}]`, faults.noPolicy(name));
      return [];
    }
    const inside = collectFaults();
    const rules = compilePolicy(policy, inside);
    for (const fault of inside.list)
      into.add(`spec.${field}[${i}]`, faults.inPolicy(name, fault.path, fault.message));
    // An older form of a policy must not stand in for the present one at other peers.
    return [{ name: kept ? `${name}@${sources.peer.metadata.name}` : name, rules }];
  });
}

/** How the peer is treated beside policy; undefined for an ordinary one. What does not fit its kind is a fault. */
function treatmentOf(spec: BGPPeer["spec"], external: boolean, into: Faults): SpeakerTreatment | undefined {
  const treatment: SpeakerTreatment = {
    allowASIn: spec.allowASIn ?? 0,
    asOverride: spec.asOverride ?? false,
    removePrivateAS: spec.removePrivateAS ?? false,
    nextHopUnchanged: spec.nextHopUnchanged ?? false,
    reflectorClient: spec.reflectorClient ?? false,
    routeServerClient: spec.routeServerClient ?? false,
    ...(spec.role !== undefined && { role: spec.role }),
    strictRole: spec.strictRole ?? false,
  };
  const externals = [
    "asOverride",
    "removePrivateAS",
    "nextHopUnchanged",
    "routeServerClient",
    "role",
  ] as const;
  if (!external)
    for (const field of externals) if (treatment[field]) into.add(`spec.${field}`, faults.externalOnly());
  if (external && treatment.reflectorClient) into.add("spec.reflectorClient", faults.internalOnly());
  if (treatment.strictRole && treatment.role === undefined) into.add("spec.strictRole", faults.needs("role"));
  return Object.values(treatment).some(Boolean) ? treatment : undefined;
}

const unspecified: Address = { family: 6, hi: 0n, lo: 0n };

/**
 * Next hop of ours for one family: as configured, else the node's own address where the session is of the other family. On a link
 * without numbers it is our address there for both families (RFC 8950).
 */
function nextHopOf(
  spec: BGPPeer["spec"],
  family: 4 | 6,
  session: Address,
  nodeAddresses: readonly Address[],
  into: Faults,
): Address | undefined {
  const name = family === 4 ? "ipv4" : "ipv6";
  const text = spec.nextHop?.[name];
  if (text === undefined)
    return (family === session.family && spec.ranges === undefined) || spec.interface !== undefined
      ? undefined
      : nodeAddresses.find((a) => a.family === family);
  const address = addressAt(text, `spec.nextHop.${name}`, into);
  if (address && address.family !== family) into.add(`spec.nextHop.${name}`, faults.notFamily(family));
  return address;
}

/** What becomes of prefixes above the limit, where that is out of the ordinary. */
function overLimitOf({ maxPrefixes }: BGPPeer["spec"]): Pick<SpeakerPeer, "overLimit"> {
  const { action = "Teardown", warnPercent = 90, restartSeconds } = maxPrefixes ?? {};
  if (action === "Teardown" && warnPercent === 90 && restartSeconds === undefined) return {};
  return { overLimit: { action, warnPercent, ...(restartSeconds !== undefined && { restartSeconds }) } };
}

/** A peer as the speaker wants it, or what is wrong with it. `kept`: these are its last good sources, not the present ones. */
export function compilePeer(
  sources: PeerSources,
  context: PeerContext,
  kept: boolean,
): { readonly value: CompiledPeer } | { readonly faults: readonly Fault[] } {
  const into = collectFaults();
  const { metadata, spec } = sources.peer;
  const unnumbered = spec.address === undefined && spec.interface !== undefined;
  const ranges = spec.ranges?.flatMap((text, i) => prefixAt(text, `spec.ranges[${i}]`, into) ?? []);
  if (ranges && spec.address !== undefined) into.add("spec.ranges", faults.exclusive("address"));
  if (ranges && spec.bfd) into.add("spec.bfd", faults.exclusive("ranges"));
  if (ranges && spec.localPort !== undefined) into.add("spec.localPort", faults.exclusive("ranges"));
  const address =
    spec.address === undefined
      ? unnumbered || ranges
        ? unspecified
        : undefined
      : addressAt(spec.address, "spec.address", into);
  const localAddress =
    spec.localAddress === undefined ? undefined : addressAt(spec.localAddress, "spec.localAddress", into);
  if (address && localAddress && address.family !== localAddress.family)
    into.add("spec.localAddress", faults.otherFamily());
  if (spec.localPort !== undefined && spec.passive) into.add("spec.localPort", faults.exclusive("passive"));
  if (spec.ttlSecurityHops && spec.multihopTTL)
    into.add("spec.multihopTTL", faults.exclusive("ttlSecurityHops"));
  const localASN = spec.localASN ?? context.localASN;

  const implied = impliedImport(metadata.name, context.peerings, context.clusterID, context.clusterASNs);
  const imports = spec.importPolicies?.length
    ? namedPolicies("importPolicies", sources, kept, into)
    : implied
      ? [implied]
      : [];
  const exports = spec.exportPolicies?.length
    ? namedPolicies("exportPolicies", sources, kept, into)
    : [impliedExport(context.localASN, context.clusterID)];

  const treatment = treatmentOf(spec, spec.external === true || spec.peerASN !== localASN, into);
  if ((spec.peerASN === undefined) !== (spec.external === true)) into.add("spec.peerASN", faults.eitherASN());
  const nextHop = (family: 4 | 6): Address | undefined =>
    address && nextHopOf(spec, family, address, context.nodeAddresses, into);
  const nextHopIPv4 = nextHop(4);
  const nextHopIPv6 = nextHop(6);
  if (into.list.length > 0 || !address) return { faults: into.list };
  const secret = spec.passwordSecretName;
  const peer: SpeakerPeer = {
    name: metadata.name,
    address,
    ...(unnumbered && { interface: spec.interface! }),
    ...(ranges && { ranges }),
    ...(spec.rangeLimit !== undefined && { rangeLimit: spec.rangeLimit }),
    port: spec.port ?? 179,
    peerASN: spec.peerASN ?? 0,
    ...(spec.external === true && { external: true as const }),
    localASN,
    ...(localAddress && { localAddress }),
    ...(spec.localPort !== undefined && { localPort: spec.localPort }),
    families: spec.families ?? ["IPv4Unicast", "IPv6Unicast"],
    holdSeconds: spec.holdSeconds ?? 90,
    connectRetrySeconds: spec.connectRetrySeconds ?? 5,
    ...(spec.connectRetryMaxSeconds !== undefined && { connectRetryMaxSeconds: spec.connectRetryMaxSeconds }),
    ...(secret !== undefined && { passwordSecret: secret }),
    passwordMissing: secret !== undefined && !context.passwords.has(secret),
    ttlSecurityHops: spec.ttlSecurityHops ?? 0,
    multihopTTL: spec.multihopTTL ?? 0,
    gracefulRestart: spec.gracefulRestart?.enabled ?? true,
    restartSeconds: spec.gracefulRestart?.restartSeconds ?? 120,
    ...(spec.gracefulRestart?.longLivedSeconds && {
      longLivedSeconds: spec.gracefulRestart.longLivedSeconds,
    }),
    maxPrefixes: { ipv4: spec.maxPrefixes?.ipv4 ?? 10_000, ipv6: spec.maxPrefixes?.ipv6 ?? 10_000 },
    ...overLimitOf(spec),
    ...(spec.maxPrefixesSent && { maxPrefixesSent: spec.maxPrefixesSent }),
    importPolicies: imports.map((p) => p.name),
    exportPolicies: exports.map((p) => p.name),
    ...(nextHopIPv4 && { nextHopIPv4 }),
    ...(nextHopIPv6 && { nextHopIPv6 }),
    passive: spec.passive ?? false,
    ...(spec.adminDown === true && { adminDown: true as const }),
    ...(spec.bfd && {
      bfd: {
        transmitMs: spec.bfd.transmitMilliseconds ?? 300,
        receiveMs: spec.bfd.receiveMilliseconds ?? 300,
        detectMultiplier: spec.bfd.detectMultiplier ?? 3,
        multihop: spec.bfd.multihop ?? false,
      },
    }),
    ...((spec.addPath?.receive || spec.addPath?.send) && {
      addPath: {
        receive: spec.addPath.receive ?? false,
        send: spec.addPath.send ?? false,
        ...(spec.addPath.best !== undefined && { best: spec.addPath.best }),
      },
    }),
    ...(spec.extendedNextHop !== undefined && { extendedNextHop: spec.extendedNextHop }),
    ...(treatment && { treatment }),
  };
  return { value: { peer, policies: [...imports, ...exports] } };
}

/** Whether a peer is this node's. */
export const peerOnNode = (peer: BGPPeer, labels: Readonly<Record<string, string>> | undefined): boolean =>
  selects(peer.spec.nodeSelector, labels);
