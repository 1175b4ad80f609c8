// import: MetalLB (metallb.io/v1beta1 and v1beta2): neighbours, pools, advertisements, communities and BFD profiles.
import { type BGPPeer, type LabelSelector, selects } from "../api/index.ts";
import { AddressError, parseAddress } from "../net/address.ts";
import { type Item, nameOf, networkObject, peerObject, poolLabel } from "./build.ts";
import { attributesOf, largeCommunity, standardCommunity } from "./communities.ts";
import { bfdOf, secondsOf } from "./frr.ts";
import { says } from "./messages.ts";
import { type Entry, resolve } from "./overlaps.ts";
import { poolsFor, type ReadPool, rangeAt, reservedMax, sayOverlaps } from "./pools.ts";
import { buggyOf, type Range } from "./ranges.ts";
import { Findings, Reader, specOf } from "./reader.ts";
import { disjoint, everything, joined } from "./selectors.ts";
import { reservationsOf } from "./services.ts";
import type { Imported, ImportOptions, Source } from "./types.ts";

const group = "metallb.io/";
const helpful = new Set(["Service", "Namespace", "Node", "Secret", "EndpointSlice"]);
/** Written by MetalLB for people; nothing follows from them. */
const views = new Set(["ServiceBGPStatus", "ServiceL2Status", "ConfigurationState"]);

interface ReadPeer {
  readonly name: string;
  readonly asn: number;
  readonly objects: readonly BGPPeer[];
}

interface Context {
  readonly sources: readonly Source[];
  readonly findings: Findings;
  readonly of: (kind: string) => readonly Source[];
}

function peerOf(source: Source, c: Context): ReadPeer | undefined {
  const r = specOf(source, c.findings);
  const { name } = source.object.metadata;
  const asn = r.number("myASN");
  const localASN = r.number("localASN");
  const own = localASN ?? asn;
  const who = neighbourASN(r, "peerASN", own);
  const link = r.text("interface");
  const text = r.text("peerAddress");
  const dual = r.flag("dualStackAddressFamily") ?? false;
  const family = text === undefined ? undefined : familyOf(r, "peerAddress", text);
  const source_ = r.text("sourceAddress");
  const port = r.number("peerPort") ?? 179;
  const external = who?.peerASN !== own;
  const hold = secondsOf(r, "holdTime", 180);
  const keepalive = secondsOf(r, "keepaliveTime", 60);
  if (hold !== 0 && Math.floor(hold / 3) !== keepalive)
    r.say("keepaliveTime", says.keepalive(keepalive, hold));
  const connect = secondsOf(r, "connectTime", 120);
  if (r.raw("routerID") !== undefined) r.say("routerID", says.left(says.routerID()));
  const vrf = r.raw("vrf");
  if (vrf !== undefined && vrf !== "") r.say("vrf", says.noEqual(says.vrf()));
  r.raw("disableMP"); // without effect since dualStackAddressFamily says it
  const restarts = r.flag("enableGracefulRestart") ?? false;
  r.say("enableGracefulRestart", restarts ? says.restart(120) : says.noRestart());
  const multihop = r.flag("ebgpMultiHop") ?? false;
  if (multihop) r.say("ebgpMultiHop", external ? says.multihopFlag() : says.multihopInternal());
  const profile = r.text("bfdProfile");
  const bfd = profile === undefined ? undefined : profileOf(r, profile, c, multihop && external);
  const secret = secretOf(r, name, source.object.metadata.namespace ?? "metallb-system");
  const selectors = r.selectors("nodeSelectors");
  if (selectors.length === 0) r.say("nodeSelectors", says.selectsAll("all nodes"));
  r.done();
  if (asn === undefined) r.say("myASN", says.missing("our AS number"));
  if (!r.has("peerAddress") && !r.has("interface"))
    r.say("peerAddress", says.missing("the neighbour's address"));
  if (
    vrf ||
    asn === undefined ||
    own === undefined ||
    !who ||
    (text === undefined ? link === undefined : !family)
  )
    return undefined;
  if (hold < 3) r.say("holdTime", says.clamped(hold, 3));
  const label = nameOf(name);
  const nodes = selectors.length === 0 ? [everything] : disjoint(selectors);
  const objects = nodes.map((nodeSelector, i) =>
    peerObject(nodes.length === 1 ? label : nameOf(name, String(i + 1)), label, {
      nodeSelector,
      ...(text === undefined ? { interface: link! } : { address: text }),
      port,
      ...who,
      localASN: own,
      ...(source_ !== undefined && { localAddress: source_ }),
      families:
        dual || family === undefined
          ? ["IPv4Unicast", "IPv6Unicast"]
          : [family === 4 ? ("IPv4Unicast" as const) : ("IPv6Unicast" as const)],
      holdSeconds: Math.max(hold, 3),
      connectRetrySeconds: connect,
      ...(secret !== undefined && { passwordSecretName: secret }),
      ...(multihop && external && { multihopTTL: 255 }),
      gracefulRestart: { enabled: restarts, restartSeconds: 120 },
      ...(bfd && { bfd }),
    }),
  );
  return { name, asn: own, objects };
}

/** Whose neighbour it is: a number, or any but ours. Undefined where nobody says. */
export function neighbourASN(
  r: Reader,
  field: string,
  own: number | undefined,
): Pick<BGPPeer["spec"], "peerASN" | "external"> | undefined {
  const asn = r.number(field) ?? 0;
  const dynamic = r.text("dynamicASN");
  if (dynamic === "external") return { external: true };
  if (dynamic === "internal") return own === undefined ? undefined : { peerASN: own, external: false };
  if (asn !== 0) return { peerASN: asn, external: false };
  r.say(dynamic === undefined ? field : "dynamicASN", says.anyASN());
  return undefined;
}

/** The family of an address, or what is wrong with it said. */
export function familyOf(r: Reader, field: string, text: string): 4 | 6 | undefined {
  try {
    return parseAddress(text).family;
  } catch (error) {
    if (!(error instanceof AddressError)) throw error;
    r.say(field, says.address(error.message));
    return undefined;
  }
}

/** Name of the Secret that a neighbour is to use. */
export function secretOf(r: Reader, peer: string, namespace: string): string | undefined {
  if (r.raw("password") !== undefined && r.raw("password") !== "") {
    const name = nameOf(peer, "password");
    r.say("password", says.plainPassword(name));
    return name;
  }
  const reference = r.inner("passwordSecret");
  const name = reference?.text("name");
  const from = reference?.text("namespace") ?? namespace;
  reference?.done();
  if (name === undefined || name === "") return undefined;
  r.say("passwordSecret", says.secret(name, from, "type kubernetes.io/basic-auth"));
  return name;
}

function profileOf(r: Reader, name: string, c: Context, multihop: boolean): BGPPeer["spec"]["bfd"] {
  const source = c.of("BFDProfile").find((s) => s.object.metadata.name === name);
  if (!source) {
    r.say("bfdProfile", says.noObject("BFDProfile", name));
    return undefined;
  }
  return bfdOf(specOf(source, c.findings), multihop);
}

function poolOf(source: Source, c: Context): ReadPool {
  const r = specOf(source, c.findings);
  const { name, labels } = source.object.metadata;
  const ranges = r.texts("addresses").flatMap((t, i) => rangeAt(r, `addresses[${i}]`, t) ?? []);
  const assigns = r.flag("autoAssign") ?? true;
  const label = `${poolLabel}=${nameOf(name)}`;
  if (!assigns) r.say("autoAssign", says.autoAssign(label));
  const reserved: string[] = [];
  if (r.flag("avoidBuggyIPs")) {
    r.say("avoidBuggyIPs", says.buggy());
    for (const range of ranges) {
      const list = buggyOf(range, reservedMax);
      if (!list || reserved.length + list.length > reservedMax)
        r.say("avoidBuggyIPs", says.tooManyReserved());
      else reserved.push(...list);
    }
  }
  const to = r.inner("serviceAllocation");
  const wanted = to?.number("priority") ?? 0;
  const priority = wanted <= 0 ? 1000 : Math.min(wanted, 999);
  (to ?? r).say(to ? "priority" : "", says.priority(priority));
  const namespaces = [...(to?.texts("namespaces") ?? []), ...(to ? namespacesOf(to, c) : [])];
  const selectors = to?.selectors("serviceSelectors") ?? [];
  if (namespaces.length > 0 && selectors.length > 0) to!.say("", says.poolEither());
  to?.done();
  // An older kind says its protocol and its advertisements here; both are read elsewhere.
  for (const field of ["protocol", "bgpAdvertisements"])
    if (source.object.kind === "AddressPool") r.raw(field);
  r.done();
  const one = selectors.length === 0 ? everything : joined(selectors);
  if (!one) to!.say("serviceSelectors", says.poolServices());
  if (assigns && selectors.length === 0)
    r.say(
      "serviceAllocation",
      says.selectsAll(namespaces.length > 0 ? "all Services of its namespaces" : "all Services"),
    );
  const serviceSelector: LabelSelector = assigns
    ? (one ?? everything)
    : {
        matchLabels: { ...one?.matchLabels, [poolLabel]: nameOf(name) },
        ...(one?.matchExpressions && { matchExpressions: one.matchExpressions }),
      };
  const objects = one
    ? poolsFor(r, name, ranges, reserved, {
        serviceSelector,
        priority,
        ...(namespaces.length > 0 && { namespaces: [...new Set(namespaces)].sort() }),
      })
    : [];
  return { source, name, labels, ranges: one ? ranges : [], objects };
}

/** Names of namespaces that selectors mean now. */
function namespacesOf(r: Reader, c: Context): readonly string[] {
  const selectors = r.selectors("namespaceSelectors");
  if (selectors.length === 0) return [];
  const known = c.of("Namespace");
  if (known.length === 0) {
    r.say("namespaceSelectors", says.noNamespaces());
    return [];
  }
  const names = known
    .filter(({ object }) => selectors.some((s) => selects(s, object.metadata.labels)))
    .map((s) => s.object.metadata.name);
  r.say("namespaceSelectors", says.namespacesFixed(names));
  // A list that names nobody must not become one that names everybody.
  return names.length > 0 ? names : ["-"];
}

interface Aliases {
  readonly get: (name: string) => string | undefined;
}

function aliasesOf(c: Context): Aliases {
  const known = new Map<string, string>();
  for (const source of c.of("Community")) {
    const r = specOf(source, c.findings);
    for (const each of r.list("communities")) {
      const name = each.text("name");
      const value = each.text("value");
      each.done();
      if (name !== undefined && value !== undefined) known.set(name, value);
    }
    r.done();
  }
  return known;
}

function communitiesOf(r: Reader, aliases: Aliases) {
  const standard: string[] = [];
  const large: string[] = [];
  for (const [i, text] of r.texts("communities").entries()) {
    const value = /:/.test(text) ? text : aliases.get(text);
    if (value === undefined) {
      r.say(`communities[${i}]`, says.alias(text));
      continue;
    }
    const isLarge = value.startsWith("large:");
    const parsed = isLarge ? largeCommunity(value.slice("large:".length)) : standardCommunity(value);
    if (typeof parsed !== "string") r.say(`communities[${i}]`, parsed);
    else (isLarge ? large : standard).push(parsed);
  }
  return { standard, large };
}

/** Fields that BGPAdvertisement and the older AddressPool share. */
function attributesAt(r: Reader, aliases: Aliases) {
  for (const [field, family, host] of [
    ["aggregationLength", 4, 32],
    ["aggregationLengthV6", 6, 128],
  ] as const) {
    const length = r.number(field) ?? host;
    if (length !== host) r.say(field, says.aggregation(length, family));
  }
  return attributesOf(communitiesOf(r, aliases), r.number("localPref"));
}

interface Named {
  readonly entry: Entry;
  readonly source: Source;
}

function advertisementOf(
  source: Source,
  c: Context,
  pools: readonly ReadPool[],
  peers: readonly ReadPeer[],
  aliases: Aliases,
): Named | undefined {
  const r = specOf(source, c.findings);
  const attributes = attributesAt(r, aliases);
  const named = r.texts("ipAddressPools");
  const byLabel = r.selectors("ipAddressPoolSelectors");
  for (const [i, name] of named.entries())
    if (!pools.some((p) => p.name === name))
      r.say(`ipAddressPools[${i}]`, says.noObject("IPAddressPool", name));
  const all = named.length === 0 && byLabel.length === 0;
  if (all) r.say("ipAddressPools", says.selectsAll("all pools"));
  const meant = pools.filter(
    (p) => all || named.includes(p.name) || byLabel.some((s) => selects(s, p.labels)),
  );
  const nodes = r.selectors("nodeSelectors");
  if (nodes.length === 0) r.say("nodeSelectors", says.selectsAll("all nodes"));
  const wanted = r.texts("peers");
  for (const [i, name] of wanted.entries())
    if (!peers.some((p) => p.name === name)) r.say(`peers[${i}]`, says.noObject("BGPPeer", name));
  if (wanted.length === 0) r.say("peers", says.selectsAll("all neighbours"));
  const services = r.selectors("serviceSelectors");
  if (services.length === 0) r.say("serviceSelectors", says.selectsAll("all Services of the pools"));
  r.say("", says.withdrawEmpty());
  r.done();
  const hearers = peers
    .filter((p) => wanted.length === 0 || wanted.includes(p.name))
    .map((p) => nameOf(p.name));
  const names = meant.flatMap((p) => p.objects.map((o) => o.metadata.name));
  if (names.length === 0 || hearers.length === 0) return undefined;
  return { source, entry: entryOf(source.object.metadata.name, names, hearers, nodes, services, attributes) };
}

const entryOf = (
  name: string,
  pools: readonly string[],
  peers: readonly string[],
  nodes: readonly LabelSelector[],
  services: readonly LabelSelector[],
  attributes: Entry["attributes"],
): Entry => ({
  name,
  nodes: nodes.length === 0 ? [everything] : alternatives(nodes),
  peers,
  items: (services.length === 0 ? [everything] : alternatives(services)).map(
    (serviceSelector): Omit<Item, "attributes"> => ({
      type: "Pools",
      pools,
      serviceSelector,
      whenEmpty: "Withdraw",
    }),
  ),
  attributes,
});

const alternatives = (list: readonly LabelSelector[]): readonly LabelSelector[] => {
  const one = joined(list);
  return one ? [one] : list;
};

/** The older AddressPool carries its advertisements; without one, each address is announced to everybody. */
function olderOf(pool: ReadPool, c: Context, peers: readonly ReadPeer[], aliases: Aliases): readonly Named[] {
  const quiet = new Reader(pool.source, c.findings, (pool.source.object as { spec?: unknown }).spec, "spec");
  const protocol = quiet.text("protocol");
  if (protocol !== "bgp") {
    quiet.say("protocol", says.layer2());
    return [];
  }
  const names = pool.objects.map((o) => o.metadata.name);
  const hearers = peers.map((p) => nameOf(p.name));
  if (names.length === 0 || hearers.length === 0) return [];
  const list = quiet.list("bgpAdvertisements");
  const attributes = list.map((r) => {
    const out = attributesAt(r, aliases);
    r.done();
    return out;
  });
  return (attributes.length > 0 ? attributes : [{}]).map((a, i) => ({
    source: pool.source,
    entry: entryOf(`${pool.name}-${i + 1}`, names, hearers, [], [], a),
  }));
}

/** Whether one preference is said where the others say another, or none. */
const conflict = (entries: readonly Entry[]): boolean =>
  new Set(entries.map((e) => e.attributes.localPreference)).size > 1;

/** Manifests of MetalLB as ours. */
export function importMetalLB(sources: readonly Source[], options: ImportOptions): Imported {
  const findings = new Findings();
  const c: Context = { sources, findings, of: (kind) => sources.filter((s) => s.object.kind === kind) };
  for (const source of sources) kindOf(source, findings);
  const aliases = aliasesOf(c);
  const peers = c.of("BGPPeer").flatMap((s) => peerOf(s, c) ?? []);
  const older = c.of("AddressPool").map((s) => poolOf(s, c));
  const pools = [...c.of("IPAddressPool").map((s) => poolOf(s, c)), ...older];
  sayOverlaps(pools, findings);
  const named = [
    ...c.of("BGPAdvertisement").flatMap((s) => advertisementOf(s, c, pools, peers, aliases) ?? []),
    ...older.flatMap((p) => olderOf(p, c, peers, aliases)),
  ];
  const { objects, met, tooMany } = resolve(
    "metallb",
    named.map((n) => n.entry),
  );
  for (const list of met) {
    const [first, ...rest] = list.map((i) => named[i]!);
    const others = rest.map((n) => `${n.source.object.kind}/${n.source.object.metadata.name}`).join(", ");
    findings.add(
      first!.source,
      "spec",
      conflict(list.map((i) => named[i]!.entry)) ? says.preferenceConflict(others) : says.united(others),
    );
  }
  if (tooMany) for (const n of named) findings.add(n.source, "spec", says.tooManyOverlaps());
  const ranges: readonly Range[] = pools.flatMap((p) => p.ranges);
  const reservations = reservationsOf(
    sources,
    ranges,
    {
      addresses: ["metallb.io/loadBalancerIPs", "metallb.universe.tf/loadBalancerIPs"],
      pool: ["metallb.io/address-pool", "metallb.universe.tf/address-pool"],
      sharing: ["metallb.io/allow-shared-ip", "metallb.universe.tf/allow-shared-ip"],
    },
    findings,
  );
  const asn = peers[0]?.asn;
  if (!options.cluster && sources[0]) findings.add(sources[0], "", says.noCluster());
  return {
    objects: [
      ...(options.cluster && asn !== undefined
        ? [networkObject(options.cluster, options.mode, [{ nodeSelector: everything, localASN: asn }])]
        : []),
      ...pools.flatMap((p) => p.objects),
      ...reservations,
      ...peers.flatMap((p) => p.objects),
      ...objects,
    ],
    findings: findings.list,
  };
}

const converted = new Set([
  "BGPPeer",
  "IPAddressPool",
  "AddressPool",
  "BGPAdvertisement",
  "Community",
  "BFDProfile",
]);

function kindOf(source: Source, findings: Findings): void {
  const { apiVersion, kind } = source.object;
  const ours = apiVersion.startsWith(group);
  if (ours && kind === "L2Advertisement") findings.add(source, "", says.layer2());
  else if (ours ? !converted.has(kind) && !views.has(kind) : !helpful.has(kind))
    findings.add(source, "", says.kind());
}
