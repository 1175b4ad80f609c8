// import: Cilium's BGP control plane (cilium.io/v2 and v2alpha1), LB IPAM and pod pools.
import { type BGPPeer, type LabelSelector, selects } from "../api/index.ts";
import { formatPrefix } from "../net/address.ts";
import {
  type Item,
  type NodeRule,
  nameOf,
  networkObject,
  peerObject,
  policyObject,
  poolObject,
} from "./build.ts";
import { byNode, type Override, onlyNode, overridesOf } from "./cilium-overrides.ts";
import { attributesOf, largeCommunity, standardCommunity, wellKnownCommunity } from "./communities.ts";
import { says } from "./messages.ts";
import { familyOf } from "./metallb.ts";
import { type Entry, resolve } from "./overlaps.ts";
import { poolsFor, type ReadPool, rangeAt, sayOverlaps } from "./pools.ts";
import { edgesOf, prefixesOf } from "./ranges.ts";
import { Findings, type Reader, specOf } from "./reader.ts";
import { everything, intersect, selectsAll } from "./selectors.ts";
import { reservationsOf } from "./services.ts";
import type { Imported, ImportOptions, Source } from "./types.ts";

const group = "cilium.io/";
const converted = new Set([
  "CiliumBGPClusterConfig",
  "CiliumBGPPeerConfig",
  "CiliumBGPAdvertisement",
  "CiliumBGPNodeConfigOverride",
  "CiliumLoadBalancerIPPool",
  "CiliumPodIPPool",
]);
/** Written by Cilium's operator from the others. */
const views = new Set(["CiliumBGPNodeConfig", "CiliumNode"]);
const helpful = new Set(["Service", "Namespace", "Node", "Secret", "EndpointSlice"]);

type Family = "ipv4" | "ipv6";
const families = ["ipv4", "ipv6"] as const;

interface Context {
  readonly findings: Findings;
  readonly of: (kind: string) => readonly Source[];
}

/** A CiliumBGPPeerConfig, or what Cilium takes where none is named. */
interface PeerConfig {
  readonly port: number;
  readonly localPort?: number;
  readonly retry: number;
  readonly hold: number;
  readonly secret?: string;
  readonly restarts: { readonly enabled: boolean; readonly restartSeconds: number };
  readonly multihop: number;
  /** For each family, the selector of its advertisements; undefined selects none. */
  readonly families: Partial<
    Record<Family, { readonly selector: LabelSelector | undefined; readonly path: string }>
  >;
  readonly source: Source | undefined;
}

const unnamed: PeerConfig = {
  port: 179,
  retry: 120,
  hold: 90,
  restarts: { enabled: false, restartSeconds: 120 },
  multihop: 1,
  families: { ipv4: { selector: undefined, path: "" }, ipv6: { selector: undefined, path: "" } },
  source: undefined,
};

function peerConfigOf(source: Source, c: Context): PeerConfig {
  const r = specOf(source, c.findings);
  const written = (reader: Reader | undefined, field: string, value: number): number => {
    if (!reader?.has(field)) (reader ?? r).say(reader ? field : "", says.defaulted(`${field} ${value}`));
    return reader?.number(field) ?? value;
  };
  const transport = r.inner("transport");
  const port = written(transport, "peerPort", 179);
  transport?.refuse(
    "sourceInterface",
    "give localAddress of the BGPPeer, for each node that needs another its own BGPPeer",
  );
  const localPort = transport?.number("localPort");
  transport?.done();
  const timers = r.inner("timers");
  const retry = written(timers, "connectRetryTimeSeconds", 120);
  const hold = written(timers, "holdTimeSeconds", 90);
  const keepalive = written(timers, "keepAliveTimeSeconds", 30);
  if (keepalive !== Math.floor(hold / 3))
    timers?.say("keepAliveTimeSeconds", says.keepalive(keepalive, hold));
  if (retry > 3600) timers?.say("connectRetryTimeSeconds", says.clamped(retry, 3600));
  timers?.done();
  const secret = r.text("authSecretRef");
  if (secret !== undefined) {
    r.say(
      "authSecretRef",
      says.secret(secret, "kube-system, or bgpControlPlane.secretsNamespace", "an opaque Secret"),
    );
    r.say("authSecretRef", says.failsOpen());
  }
  const graceful = r.inner("gracefulRestart");
  const restarts = {
    enabled: graceful?.flag("enabled") ?? false,
    restartSeconds: graceful?.number("restartTimeSeconds") ?? 120,
  };
  if (!graceful) r.say("gracefulRestart", says.noRestart());
  graceful?.done();
  const multihop = written(r, "ebgpMultihop", 1);
  const out: PeerConfig["families"] = {};
  const list = r.list("families");
  for (const f of list) {
    const afi = f.text("afi");
    const safi = f.text("safi");
    const selector = f.selector("advertisements");
    if ((afi !== "ipv4" && afi !== "ipv6") || safi !== "unicast")
      f.say("", says.noEqual(`address family ${afi}/${safi} is not spoken`));
    else {
      out[afi] = { selector, path: f.at("advertisements") };
      if (!selector) f.say("advertisements", says.selectsNothing("no advertisement of this family"));
      else if (selectsAll(selector)) f.say("advertisements", says.selectsAll("every CiliumBGPAdvertisement"));
    }
    f.done();
  }
  if (list.length === 0) r.say("families", says.defaulted("IPv4 and IPv6 unicast without advertisements"));
  r.done();
  return {
    port,
    ...(localPort !== undefined && { localPort }),
    retry: Math.min(retry, 3600),
    hold,
    ...(secret !== undefined && { secret }),
    restarts,
    multihop,
    families: list.length === 0 ? unnamed.families : out,
    source,
  };
}

/** A neighbour with the advertisements that it hears by family. */
interface ReadPeer {
  readonly object: BGPPeer;
  readonly hears: readonly string[];
  readonly only: Family | undefined;
}

interface Advertised {
  readonly source: Source;
  readonly name: string;
  readonly entries: readonly Pick<Entry, "items" | "attributes">[];
}

function attributesAt(r: Reader) {
  const at = r.inner("attributes");
  const communities = at?.inner("communities");
  const read = (field: string, parse: (text: string) => string | ReturnType<typeof says.community>) =>
    (communities?.texts(field) ?? []).flatMap((text, i) => {
      const value = parse(text);
      if (typeof value === "string") return [value];
      communities!.say(`${field}[${i}]`, value);
      return [];
    });
  const standard = [...read("standard", standardCommunity), ...read("wellKnown", wellKnownCommunity)];
  const large = read("large", largeCommunity);
  communities?.done();
  const preference = at?.number("localPreference");
  at?.done();
  return attributesOf({ standard, large }, preference);
}

/** Pods pools by the labels that Cilium's selectors see. */
const poolLabels = ({ object: { metadata } }: Source): Readonly<Record<string, string>> => ({
  ...metadata.labels,
  "io.cilium.podippool.name": metadata.name,
  "io.cilium.podippool.namespace": metadata.namespace ?? "",
});

function itemsOf(r: Reader, c: Context): readonly Omit<Item, "attributes">[] {
  const type = r.text("advertisementType");
  const selector = r.selector("selector");
  const nothing = (): readonly Omit<Item, "attributes">[] => {
    r.say("selector", says.selectsNothing("this advertisement says nothing"));
    return [];
  };
  switch (type) {
    case "PodCIDR":
      if (c.of("CiliumPodIPPool").length > 0) {
        r.say("advertisementType", says.podMode());
        return [];
      }
      r.say("", says.podBlocks());
      return [{ type: "PodBlocks" }];
    case "CiliumPodIPPool": {
      if (!selector) return nothing();
      const pools = c
        .of("CiliumPodIPPool")
        .filter((s) => selects(selector, poolLabels(s)))
        .map((s) => nameOf(s.object.metadata.name));
      if (pools.length > 0) return [{ type: "Pools", pools, serviceSelector: everything }];
      r.say("selector", says.noObject("CiliumPodIPPool", "that it selects"));
      return [];
    }
    case "Service": {
      const service = r.inner("service");
      const addresses = service?.texts("addresses") ?? [];
      for (const [field, family] of [
        ["aggregationLengthIPv4", 4],
        ["aggregationLengthIPv6", 6],
      ] as const) {
        const length = service?.number(field);
        if (length !== undefined) service?.say(field, says.aggregation(length, family));
      }
      service?.done();
      if (addresses.includes("ClusterIP")) service?.say("addresses", says.clusterIPs());
      if (addresses.includes("ExternalIP")) service?.say("addresses", says.externalIPs());
      if (!selector) return nothing();
      if (selectsAll(selector)) r.say("selector", says.selectsAll("all Services"));
      r.say("", says.noEndpoints());
      const known = addresses.flatMap((a, i): readonly NonNullable<Item["addresses"]>[number][] => {
        if (a === "LoadBalancerIP" || a === "ClusterIP" || a === "ExternalIP") return [a];
        service?.say(`addresses[${i}]`, says.notA("one of LoadBalancerIP, ClusterIP, ExternalIP"));
        return [];
      });
      return known.length === 0
        ? []
        : [{ type: "Services", serviceSelector: selector, addresses: known, whenEmpty: "Keep" }];
    }
    default:
      r.say(
        "advertisementType",
        says.noEqual(`an advertisement of type ${type} announces what nothing has claimed`),
      );
      r.raw("interface");
      return [];
  }
}

function advertisementOf(source: Source, c: Context): Advertised {
  const r = specOf(source, c.findings);
  const entries = r.list("advertisements").map((each) => {
    const attributes = attributesAt(each);
    const items = itemsOf(each, c);
    each.raw("interface");
    each.done();
    return { items, attributes };
  });
  r.done();
  return { source, name: source.object.metadata.name, entries: entries.filter((e) => e.items.length > 0) };
}

interface ReadConfig {
  readonly source: Source;
  readonly nodes: LabelSelector;
  readonly rules: readonly NodeRule[];
  readonly peers: readonly ReadPeer[];
  readonly instances: readonly string[];
}

function clusterConfigOf(
  source: Source,
  c: Context,
  configs: ReadonlyMap<string, PeerConfig>,
  advertised: readonly Advertised[],
  overrides: readonly Override[],
): ReadConfig {
  const r = specOf(source, c.findings);
  const nodes = r.selector("nodeSelector") ?? everything;
  if (selectsAll(nodes)) r.say("nodeSelector", says.selectsAll("all nodes"));
  const rules: NodeRule[] = [];
  const peers: ReadPeer[] = [];
  const instances: string[] = [];
  for (const instance of r.list("bgpInstances")) {
    const name = instance.text("name") ?? "";
    const asn = instance.number("localASN");
    const listenPort = instance.number("localPort");
    if (asn === undefined) instance.say("localASN", says.missing("our AS number"));
    if (listenPort === undefined)
      instance.say("localPort", says.defaulted("no listener; Waggle connects only"));
    instances.push(name);
    const own = overrides.filter((o) => o.instance === name);
    if (asn !== undefined && rules.length === 0)
      rules.push(...rulesByNode(nodes, asn, listenPort, own), {
        nodeSelector: nodes,
        localASN: asn,
        ...(listenPort !== undefined && { listenPort }),
      });
    for (const p of instance.list("peers")) {
      const read = peerOf(p, [source.object.metadata.name, name], nodes, asn, c, configs, advertised);
      if (!read) continue;
      const { common, special } = byNode(read.object, p.text("name") ?? "", own);
      // The label of the first stands for all of them in BGPAdvertisements.
      peers.push({ ...read, object: common }, ...special.map((object) => ({ ...read, object, hears: [] })));
    }
    instance.done();
  }
  r.done();
  return { source, nodes, rules, peers, instances };
}

/** Rules of nodes whose AS number or listener differs; they come before the one for all. */
function rulesByNode(
  nodes: LabelSelector,
  asn: number,
  listenPort: number | undefined,
  overrides: readonly Override[],
): readonly NodeRule[] {
  return overrides.flatMap((o) => {
    const nodeSelector = onlyNode(nodes, o.node);
    if (!nodeSelector || (o.localASN === undefined && o.listenPort === undefined)) return [];
    const port = o.listenPort ?? listenPort;
    return [{ nodeSelector, localASN: o.localASN ?? asn, ...(port !== undefined && { listenPort: port }) }];
  });
}

function peerOf(
  p: Reader,
  path: readonly string[],
  nodeSelector: LabelSelector,
  asn: number | undefined,
  c: Context,
  configs: ReadonlyMap<string, PeerConfig>,
  advertised: readonly Advertised[],
): ReadPeer | undefined {
  const name = nameOf(...path, p.text("name") ?? "");
  const address = p.text("peerAddress");
  const peerASN = p.number("peerASN") ?? 0;
  p.refuse("autoDiscovery", "a BGPPeer names its neighbour; write one for each router, with nodeSelector");
  p.refuse("interface", "an unnumbered neighbour is a BGPPeer with interface");
  const reference = p.inner("peerConfigRef");
  const wanted = reference?.text("name");
  reference?.raw("group");
  reference?.raw("kind");
  reference?.done();
  p.done();
  if (peerASN === 0) p.say("peerASN", says.anyExternal());
  if (address === undefined && !p.has("autoDiscovery"))
    p.say("peerAddress", says.missing("the neighbour's address"));
  const config = wanted === undefined ? unnamed : configs.get(wanted);
  if (!config) p.say("peerConfigRef.name", says.noObject("CiliumBGPPeerConfig", wanted ?? ""));
  const family = address === undefined ? undefined : familyOf(p, "peerAddress", address);
  if (
    !config ||
    address === undefined ||
    !family ||
    asn === undefined ||
    Object.keys(config.families).length === 0
  )
    return undefined;
  const hears = hearing(config, p, advertised, c);
  const external = peerASN !== asn;
  if (config.multihop > 1 && !external) p.say("", says.multihopInternal());
  p.say("", says.importsUnused());
  const object = peerObject(name, name, {
    nodeSelector,
    address,
    port: config.port,
    ...(config.localPort !== undefined && { localPort: config.localPort }),
    ...(peerASN === 0 ? { external: true } : { peerASN }),
    localASN: asn,
    families: families
      .filter((f) => config.families[f])
      .map((f) => (f === "ipv4" ? ("IPv4Unicast" as const) : ("IPv6Unicast" as const))),
    holdSeconds: config.hold,
    connectRetrySeconds: config.retry,
    ...(config.secret !== undefined && { passwordSecretName: config.secret }),
    ...(config.multihop > 1 && external && { multihopTTL: config.multihop }),
    gracefulRestart: config.restarts,
    ...(hears.only && { exportPolicies: [onlyPolicy[hears.only]] }),
  });
  return { object, ...hears };
}

const onlyPolicy = { ipv4: "cilium-only-ipv4", ipv6: "cilium-only-ipv6" } as const;

/** Advertisements that a neighbour hears, and the only family that it hears any of. */
function hearing(
  config: PeerConfig,
  p: Reader,
  advertised: readonly Advertised[],
  c: Context,
): { readonly hears: readonly string[]; readonly only: Family | undefined } {
  const of = (f: Family): readonly string[] | undefined => {
    const family = config.families[f];
    if (!family) return undefined;
    return advertised
      .filter((a) => family.selector && selects(family.selector, a.source.object.metadata.labels))
      .map((a) => a.name);
  };
  const v4 = of("ipv4");
  const v6 = of("ipv6");
  const both = v4 && v6;
  if (both && v4.length > 0 && v6.length > 0 && v4.join() !== v6.join()) {
    c.findings.add(config.source ?? p.source, config.families.ipv6?.path ?? "", says.familyDiffers());
    return { hears: [], only: undefined };
  }
  const hears = v4 && v4.length > 0 ? v4 : (v6 ?? v4 ?? []);
  const only =
    both && hears.length > 0 && v4.length !== v6.length ? (v4.length > 0 ? "ipv4" : "ipv6") : undefined;
  return { hears, only };
}

function poolOf(source: Source, c: Context): ReadPool {
  const r = specOf(source, c.findings);
  const { name, labels } = source.object.metadata;
  const blocks = [...r.list("blocks"), ...r.list("cidrs")];
  const ranges = blocks.flatMap((b) => {
    const cidr = b.text("cidr");
    const start = b.text("start");
    const stop = b.text("stop");
    b.done();
    const range = rangeAt(
      b,
      cidr === undefined ? "start" : "cidr",
      cidr ?? start ?? "",
      cidr === undefined ? (stop ?? start) : undefined,
    );
    return range ? [{ range, whole: cidr !== undefined }] : [];
  });
  const edges = r.text("allowFirstLastIPs") ?? "Yes";
  const reserved = edges === "No" ? ranges.flatMap((b) => (b.whole ? edgesOf(b.range) : [])) : [];
  if (reserved.length > 0) r.say("allowFirstLastIPs", says.firstLast());
  const selector = r.selector("serviceSelector");
  if (!selector || selectsAll(selector)) r.say("serviceSelector", says.selectsAll("all Services"));
  const disabled = r.flag("disabled") ?? false;
  r.say("", says.sourceOrder());
  r.done();
  const all = ranges.map((b) => b.range);
  return {
    source,
    name,
    labels,
    ranges: all,
    objects: poolsFor(r, name, all, reserved, { serviceSelector: selector ?? everything, disabled }),
  };
}

function podPoolOf(source: Source, c: Context): ReadPool {
  const r = specOf(source, c.findings);
  const { name, labels } = source.object.metadata;
  const size: { ipv4?: number; ipv6?: number } = {};
  const ranges = families.flatMap((f) => {
    const of = r.inner(f);
    const mask = of?.number("maskSize");
    if (mask !== undefined) size[f] = mask;
    const plain = of?.texts("cidrs") ?? [];
    const listed = of?.list("pool") ?? [];
    const out = [
      ...plain.flatMap((t, i) => rangeAt(of!, `cidrs[${i}]`, t) ?? []),
      ...listed.flatMap((p) => {
        const range = rangeAt(p, "cidr", p.text("cidr") ?? "");
        p.refuse("reservedRanges", "reserve whole prefixes in IPPool.spec.reserved");
        p.done();
        return range ?? [];
      }),
    ];
    of?.done();
    return out;
  });
  for (const field of ["podSelector", "namespaceSelector"]) r.leave(field, says.podSelector());
  for (const field of ["allowFirstIP", "allowLastIP"])
    r.leave(field, "the CNI decides about single addresses of a block");
  r.say("", says.podPool());
  r.done();
  const object = poolObject(nameOf(name), {
    purpose: "Pods",
    blocks: ranges.flatMap(prefixesOf).map(formatPrefix),
    nodeSelector: everything,
    blockSize: { ipv4: size.ipv4 ?? 26, ipv6: size.ipv6 ?? 122 },
    disabled: true,
  });
  return { source, name, labels, ranges, objects: ranges.length > 0 ? [object] : [] };
}

/** Manifests of Cilium as ours. */
export function importCilium(sources: readonly Source[], options: ImportOptions): Imported {
  const findings = new Findings();
  const c: Context = { findings, of: (kind) => sources.filter((s) => s.object.kind === kind) };
  for (const source of sources) kindOf(source, findings);
  const configs = new Map(
    c.of("CiliumBGPPeerConfig").map((s) => [s.object.metadata.name, peerConfigOf(s, c)] as const),
  );
  const advertised = c.of("CiliumBGPAdvertisement").map((s) => advertisementOf(s, c));
  const overrides = c.of("CiliumBGPNodeConfigOverride").flatMap((s) => overridesOf(s, findings));
  const read = c
    .of("CiliumBGPClusterConfig")
    .map((s) => clusterConfigOf(s, c, configs, advertised, overrides));
  for (const o of overrides)
    if (!read.some((r) => r.instances.includes(o.instance)))
      o.reader.say("name", says.noObject("bgpInstance", o.instance));
  for (const [i, one] of read.entries())
    for (const other of read.slice(0, i))
      if (intersect(one.nodes, other.nodes))
        findings.add(
          one.source,
          "spec.nodeSelector",
          says.instanceOverlap(`CiliumBGPClusterConfig/${other.source.object.metadata.name}`),
        );
  const vips = c.of("CiliumLoadBalancerIPPool").map((s) => poolOf(s, c));
  const pods = c.of("CiliumPodIPPool").map((s) => podPoolOf(s, c));
  sayOverlaps([...vips, ...pods], findings);
  const peers = read.flatMap((r) => r.peers);
  const named = advertised.flatMap((a) => {
    const hearers = peers.filter((p) => p.hears.includes(a.name)).map((p) => p.object.metadata.name);
    return hearers.length === 0
      ? []
      : a.entries.map((e, i) => ({
          source: a.source,
          entry: {
            ...e,
            name: a.entries.length > 1 ? `${a.name}-${i + 1}` : a.name,
            nodes: [everything],
            peers: hearers,
          },
        }));
  });
  const { objects, met, tooMany } = resolve(
    "cilium",
    named.map((n) => n.entry),
  );
  for (const list of met) {
    const [first, ...rest] = list.map((i) => named[i]!);
    const others = rest.map((n) => n.entry.name).join(", ");
    const preferences = list.flatMap((i) => named[i]!.entry.attributes.localPreference ?? []);
    findings.add(
      first!.source,
      "spec.advertisements",
      preferences.length > 0 && new Set(preferences).size + Number(preferences.length < list.length) > 1
        ? says.preferenceMax(others, Math.max(...preferences))
        : says.united(others),
    );
  }
  if (tooMany) for (const n of named) findings.add(n.source, "spec.advertisements", says.tooManyOverlaps());
  const reservations = reservationsOf(
    sources,
    vips.flatMap((p) => p.ranges),
    {
      addresses: ["lbipam.cilium.io/ips", "io.cilium/lb-ipam-ips"],
      pool: [],
      sharing: [
        "lbipam.cilium.io/sharing-key",
        "lbipam.cilium.io/sharing-cross-namespace",
        "io.cilium/lb-ipam-sharing-key",
        "io.cilium/lb-ipam-sharing-cross-namespace",
      ],
    },
    findings,
  );
  const rules = read.flatMap((r) => r.rules);
  if (!options.cluster && sources[0]) findings.add(sources[0], "", says.noCluster());
  const only = families.filter((f) => peers.some((p) => p.only === f));
  return {
    objects: [
      ...(options.cluster && rules.length > 0 ? [networkObject(options.cluster, options.mode, rules)] : []),
      ...[...vips, ...pods].flatMap((p) => p.objects),
      ...reservations,
      ...only.map((f) =>
        policyObject(onlyPolicy[f], [
          {
            name: f,
            match: {
              prefixes: [f === "ipv4" ? { prefix: "0.0.0.0/0", le: 32 } : { prefix: "::/0", le: 128 }],
            },
            action: "Accept",
          },
        ]),
      ),
      ...peers.map((p) => p.object),
      ...objects,
    ],
    findings: findings.list,
  };
}

function kindOf(source: Source, findings: Findings): void {
  const { apiVersion, kind } = source.object;
  const ours = apiVersion.startsWith(group);
  if (kind === "CiliumL2AnnouncementPolicy") findings.add(source, "", says.layer2());
  else if (ours ? !converted.has(kind) && !views.has(kind) : !helpful.has(kind))
    findings.add(source, "", says.kind());
}
