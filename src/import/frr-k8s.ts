// import: FRR-K8s (frrk8s.metallb.io/v1beta1): configurations of one set of nodes are merged, as FRR-K8s merges them.
import type { BGPPeer, BGPPolicy, LabelSelector } from "../api/index.ts";
import { AddressError, bitsOf, formatPrefix, type Prefix, parsePrefix } from "../net/address.ts";
import { advertisementObject, nameOf, networkObject, peerObject, policyObject, poolLabel } from "./build.ts";
import { attributesOf, largeCommunity, standardCommunity } from "./communities.ts";
import { bfdOf, secondsOf } from "./frr.ts";
import { says } from "./messages.ts";
import { familyOf, neighbourASN, secretOf } from "./metallb.ts";
import { poolsFor } from "./pools.ts";
import { parseRange } from "./ranges.ts";
import { Findings, Reader, specOf } from "./reader.ts";
import { everything, intersect, selectsAll } from "./selectors.ts";
import { reservationsOf } from "./services.ts";
import type { Imported, ImportOptions, Source } from "./types.ts";

type Rule = BGPPolicy["spec"]["rules"][number];

const group = "frrk8s.metallb.io/";
const helpful = new Set(["Service", "Namespace", "Node", "Secret", "EndpointSlice"]);
const views = new Set(["FRRNodeState", "BGPSessionState", "FRRK8sConfiguration"]);
/** Prefixes in one rule. */
const prefixesMax = 64;

/** Who hears what of a neighbour's lists, before it is known which prefixes there are. */
interface Lists {
  /** Undefined: all of the router's. */
  readonly advertise: readonly Prefix[] | undefined;
  readonly preferences: readonly { readonly prefixes: readonly string[]; readonly value: number }[];
  readonly communities: readonly { readonly prefixes: readonly string[]; readonly value: string }[];
  /** Undefined: everything. */
  readonly receive:
    | readonly { readonly prefix: string; readonly ge: number; readonly le: number }[]
    | undefined;
}

interface Neighbour {
  readonly source: Source;
  readonly reader: Reader;
  readonly address: string;
  readonly spec: Pick<BGPPeer["spec"], "families"> & Partial<BGPPeer["spec"]>;
  readonly lists: Lists;
}

interface Config {
  readonly source: Source;
  readonly nodes: LabelSelector;
  readonly asn: number | undefined;
  readonly prefixes: readonly { readonly prefix: Prefix; readonly say: () => void }[];
  readonly neighbours: readonly Neighbour[];
}

function prefixAt(r: Reader, field: string, text: string): Prefix | undefined {
  try {
    return parsePrefix(text);
  } catch (error) {
    if (!(error instanceof AddressError)) throw error;
    r.say(field, says.address(error.message));
    return undefined;
  }
}

const prefixesAt = (r: Reader, field: string): readonly Prefix[] =>
  r.texts(field).flatMap((t, i) => prefixAt(r, `${field}[${i}]`, t) ?? []);

function listsOf(n: Reader): Lists {
  const out = n.inner("toAdvertise");
  const allowed = out?.inner("allowed");
  const all = allowed?.text("mode") === "all";
  const advertise = allowed ? prefixesAt(allowed, "prefixes") : [];
  allowed?.done();
  if (!out || (!all && advertise.length === 0))
    (out ?? n).say(out ? "allowed" : "toAdvertise", says.filtered());
  const preferences = (out?.list("withLocalPref") ?? []).flatMap((p) => {
    const prefixes = prefixesAt(p, "prefixes").map(formatPrefix);
    const value = p.number("localPref");
    p.done();
    return value === undefined ? [] : [{ prefixes, value }];
  });
  const communities = (out?.list("withCommunity") ?? []).flatMap((p) => {
    const prefixes = prefixesAt(p, "prefixes").map(formatPrefix);
    const value = p.text("community");
    p.done();
    return value === undefined ? [] : [{ prefixes, value }];
  });
  out?.done();
  const into = n.inner("toReceive");
  const taken = into?.inner("allowed");
  const everythingTaken = taken?.text("mode") === "all";
  const receive = (taken?.list("prefixes") ?? []).flatMap((p) => {
    const prefix = prefixAt(p, "prefix", p.text("prefix") ?? "");
    const ge = p.number("ge");
    const le = p.number("le");
    p.done();
    if (!prefix) return [];
    // As FRR reads a prefix list: a lower bound alone has no upper one.
    const upper = le ?? (ge === undefined ? prefix.length : bitsOf(prefix.family));
    return [{ prefix: formatPrefix(prefix), ge: ge ?? prefix.length, le: upper }];
  });
  taken?.done();
  into?.done();
  return {
    advertise: all ? undefined : advertise,
    preferences,
    communities,
    receive: everythingTaken ? undefined : receive,
  };
}

function neighbourOf(
  source: Source,
  n: Reader,
  asn: number | undefined,
  profiles: ReadonlyMap<string, Reader>,
): Neighbour | undefined {
  const own = n.number("localASN") ?? asn;
  const who = neighbourASN(n, "asn", own);
  const link = n.text("interface");
  const address = n.text("address");
  const family = address === undefined ? undefined : familyOf(n, "address", address);
  const localAddress = n.text("sourceaddress");
  const port = n.number("port") ?? 179;
  const external = who?.peerASN !== own;
  const hold = secondsOf(n, "holdTime", 180);
  const keepalive = secondsOf(n, "keepaliveTime", 60);
  if (hold !== 0 && Math.floor(hold / 3) !== keepalive)
    n.say("keepaliveTime", says.keepalive(keepalive, hold));
  if (hold < 3) n.say("holdTime", says.clamped(hold, 3));
  const connect = secondsOf(n, "connectTime", 120);
  const restarts = n.flag("enableGracefulRestart") ?? false;
  n.say("enableGracefulRestart", restarts ? says.restart(120) : says.noRestart());
  const multihop = n.flag("ebgpMultiHop") ?? false;
  if (multihop) n.say("ebgpMultiHop", external ? says.multihopFlag() : says.multihopInternal());
  const profile = n.text("bfdProfile");
  const found = profile === undefined ? undefined : profiles.get(profile);
  if (profile !== undefined && !found) n.say("bfdProfile", says.noObject("bfdProfile", profile));
  const secret = secretOf(
    n,
    `${source.object.metadata.name}-${address ?? ""}`,
    source.object.metadata.namespace ?? "frr-k8s-system",
  );
  n.raw("disableMP"); // without effect since dualStackAddressFamily says it
  const dual = n.flag("dualStackAddressFamily") ?? false;
  for (const [i, f] of n.texts("addressFamilies").entries())
    if (f !== "unicast") n.say(`addressFamilies[${i}]`, says.noEqual(`address family ${f} is not spoken`));
  const hop = n.inner("toAdvertise")?.inner("nextHop");
  const nextHop = { ipv4: hop?.text("ipv4"), ipv6: hop?.text("ipv6") };
  hop?.done();
  const lists = listsOf(withoutNextHop(n));
  n.raw("toAdvertise");
  n.raw("toReceive");
  n.done();
  if (address === undefined && !n.has("interface")) n.say("address", says.missing("the neighbour's address"));
  if (own === undefined || !who || (address === undefined ? link === undefined : !family)) return undefined;
  return {
    source,
    reader: n,
    address: address ?? link!,
    lists,
    spec: {
      ...(address === undefined ? { interface: link! } : { address }),
      port,
      ...who,
      localASN: own,
      ...(localAddress !== undefined && { localAddress }),
      families:
        dual || family === undefined
          ? ["IPv4Unicast", "IPv6Unicast"]
          : [family === 4 ? "IPv4Unicast" : "IPv6Unicast"],
      holdSeconds: Math.max(hold, 3),
      connectRetrySeconds: connect,
      ...(secret !== undefined && { passwordSecretName: secret }),
      ...(multihop && external && { multihopTTL: 255 }),
      gracefulRestart: { enabled: restarts, restartSeconds: 120 },
      ...(found && { bfd: bfdOf(found, multihop && external) }),
      ...((nextHop.ipv4 !== undefined || nextHop.ipv6 !== undefined) && {
        nextHop: {
          ...(nextHop.ipv4 !== undefined && { ipv4: nextHop.ipv4 }),
          ...(nextHop.ipv6 !== undefined && { ipv6: nextHop.ipv6 }),
        },
      }),
    },
  };
}

/** The same neighbour for whoever reads the lists and not the next hop. */
function withoutNextHop(n: Reader): Reader {
  const out = n.raw("toAdvertise") as Record<string, unknown> | undefined;
  const { nextHop: _, ...toAdvertise } = out ?? {};
  return new Reader(
    n.source,
    n.findings,
    { ...(out && { toAdvertise }), toReceive: n.raw("toReceive") },
    n.path,
  );
}

function configOf(source: Source, findings: Findings): Config {
  const r = specOf(source, findings);
  const nodes = r.selector("nodeSelector") ?? everything;
  if (selectsAll(nodes)) r.say("nodeSelector", says.selectsAll("all nodes"));
  r.refuse("raw", says.rawConfig());
  const bgp = r.inner("bgp");
  const profiles = new Map((bgp?.list("bfdProfiles") ?? []).map((p) => [p.text("name") ?? "", p] as const));
  const prefixes: { prefix: Prefix; say: () => void }[] = [];
  const neighbours: Neighbour[] = [];
  let first: number | undefined;
  for (const router of bgp?.list("routers") ?? []) {
    const asn = router.number("asn");
    if (asn === undefined) router.say("asn", says.missing("our AS number"));
    first ??= asn;
    router.leave("id", says.routerID());
    const other = router.raw("vrf");
    if (other !== undefined && other !== "") router.say("vrf", says.noEqual(says.vrf()));
    router.refuse("imports", says.vrf());
    router.refuse("evpn", "EVPN is not spoken");
    const own = router.texts("prefixes").flatMap((t, i) => {
      const prefix = prefixAt(router, `prefixes[${i}]`, t);
      return prefix
        ? [{ prefix, say: () => router.say(`prefixes[${i}]`, says.prefixOwner(formatPrefix(prefix))) }]
        : [];
    });
    const list = router.list("neighbors").flatMap((n) => neighbourOf(source, n, asn, profiles) ?? []);
    router.done();
    if (other !== undefined && other !== "") continue;
    prefixes.push(...own);
    neighbours.push(...list);
  }
  bgp?.done();
  r.done();
  return { source, nodes, asn: first, prefixes, neighbours };
}

const exactly = (p: string) => {
  const { length } = parsePrefix(p);
  return { prefix: p, ge: length, le: length };
};

const chunks = <T>(list: readonly T[]): readonly (readonly T[])[] =>
  Array.from({ length: Math.ceil(list.length / prefixesMax) }, (_, i) =>
    list.slice(i * prefixesMax, (i + 1) * prefixesMax),
  );

/** What goes out to a neighbour: exactly its prefixes, those with equal attributes in one rule. */
function exportRules(n: Neighbour, all: readonly string[]): readonly Rule[] {
  const { advertise, preferences, communities } = n.lists;
  const mine = advertise === undefined ? all : advertise.map(formatPrefix).filter((p) => all.includes(p));
  const groups = new Map<string, string[]>();
  for (const prefix of mine) {
    const values = communities.filter((c) => c.prefixes.includes(prefix)).map((c) => c.value);
    const preference = preferences.find((p) => p.prefixes.includes(prefix))?.value;
    const key = JSON.stringify([values, preference ?? null]);
    groups.set(key, [...(groups.get(key) ?? []), prefix]);
  }
  const rules = [...groups].flatMap(([key, prefixes]) => {
    const [values, preference] = JSON.parse(key) as [readonly string[], number | null];
    const standard: string[] = [];
    const large: string[] = [];
    for (const value of values) {
      const isLarge = value.startsWith("large:");
      const parsed = isLarge ? largeCommunity(value.slice(6)) : standardCommunity(value);
      if (typeof parsed !== "string") n.reader.say("toAdvertise.withCommunity", parsed);
      else (isLarge ? large : standard).push(parsed);
    }
    const { localPreference, communities: addCommunities } = attributesOf(
      { standard, large },
      preference ?? undefined,
    );
    const set = {
      ...(localPreference !== undefined && { localPreference }),
      ...(addCommunities && { addCommunities }),
    };
    return chunks(prefixes).map((part) => ({
      match: { prefixes: part.map(exactly) },
      ...(Object.keys(set).length > 0 && { set }),
    }));
  });
  return rules.length === 0
    ? [{ name: "nothing", action: "Reject" }]
    : rules.map((r, i): Rule => ({ name: `prefixes-${i + 1}`, action: "Accept", ...r }));
}

function importRules({ receive }: Lists): readonly Rule[] | undefined {
  if (receive === undefined) return [{ name: "all", action: "Accept" }];
  if (receive.length === 0) return undefined;
  return chunks(receive).map(
    (prefixes, i): Rule => ({ name: `prefixes-${i + 1}`, match: { prefixes }, action: "Accept" }),
  );
}

/** All of them; undefined where one of them is everything. */
const union = <T>(lists: readonly (readonly T[] | undefined)[]): readonly T[] | undefined =>
  lists.includes(undefined) ? undefined : lists.flatMap((l) => l ?? []);

/** What several configurations say of one neighbour, together. */
function merged(list: readonly Neighbour[]): Neighbour {
  const [first, ...rest] = list;
  for (const b of rest)
    if (JSON.stringify(first!.spec) !== JSON.stringify(b.spec))
      b.reader.say("", says.neighbourDiffers(`FRRConfiguration/${first!.source.object.metadata.name}`));
  return {
    ...first!,
    lists: {
      advertise: union(list.map((n) => n.lists.advertise)),
      receive: union(list.map((n) => n.lists.receive)),
      preferences: list.flatMap((n) => n.lists.preferences),
      communities: list.flatMap((n) => n.lists.communities),
    },
  };
}

const byKey = <T>(list: readonly T[], key: (value: T) => string): readonly (readonly T[])[] => {
  const out = new Map<string, T[]>();
  for (const value of list) out.set(key(value), [...(out.get(key(value)) ?? []), value]);
  return [...out.values()];
};

/** Configurations of one set of nodes as one router. */
function routerOf(configs: readonly Config[]) {
  const [first] = configs;
  const name = nameOf("frr", first!.source.object.metadata.name);
  const prefixes = configs.flatMap((c) => c.prefixes);
  for (const p of prefixes) p.say();
  const all = [...new Set(prefixes.map((p) => formatPrefix(p.prefix)))];
  const hosts = all.filter((p) => parsePrefix(p).length === bitsOf(parsePrefix(p).family));
  const neighbours = byKey(
    configs.flatMap((c) => c.neighbours),
    (n) => n.address,
  ).map(merged);
  const made = neighbours.map((n) => {
    const peer = nameOf(name, n.address.replaceAll(/[.:]+/g, "-"));
    const imports = importRules(n.lists);
    const policies = [
      policyObject(nameOf(peer, "out"), exportRules(n, all)),
      ...(imports ? [policyObject(nameOf(peer, "in"), imports)] : []),
    ];
    return {
      policies,
      peer: peerObject(peer, peer, {
        nodeSelector: first!.nodes,
        ...n.spec,
        exportPolicies: [policies[0]!.metadata.name],
        ...(imports && { importPolicies: [policies[1]!.metadata.name] }),
      }),
    };
  });
  const ranges = hosts.map((p) => parseRange(p));
  const reader = new Reader(
    first!.source,
    first!.neighbours[0]?.reader.findings ?? new Findings(),
    {},
    "spec",
  );
  return {
    nodes: first!.nodes,
    asn: configs.find((c) => c.asn !== undefined)?.asn,
    ranges,
    pools:
      ranges.length > 0
        ? poolsFor(reader, name, ranges, [], { serviceSelector: { matchLabels: { [poolLabel]: name } } })
        : [],
    policies: made.flatMap((m) => m.policies),
    peers: made.map((m) => m.peer),
    advertisements:
      made.length > 0 && all.length > 0
        ? [
            advertisementObject(
              name,
              first!.nodes,
              made.map((m) => m.peer.metadata.name),
              [
                ...(hosts.length > 0
                  ? [
                      {
                        type: "Services" as const,
                        serviceSelector: everything,
                        addresses: ["LoadBalancerIP" as const],
                        whenEmpty: "Keep" as const,
                      },
                    ]
                  : []),
                ...(hosts.length < all.length ? [{ type: "PodBlocks" as const }] : []),
              ],
            ),
          ]
        : [],
  };
}

/** Configurations that may meet on a node and are not one set: what FRR-K8s would merge there is said. */
function sayApart(configs: readonly Config[], findings: Findings): void {
  for (const [i, one] of configs.entries())
    for (const other of configs.slice(0, i)) {
      if (JSON.stringify(one.nodes) === JSON.stringify(other.nodes) || !intersect(one.nodes, other.nodes))
        continue;
      const name = `FRRConfiguration/${other.source.object.metadata.name}`;
      findings.add(one.source, "spec.nodeSelector", says.apart(name));
      for (const n of one.neighbours)
        if (other.neighbours.some((o) => o.address === n.address))
          n.reader.say("address", says.neighbourTwice(n.address, name));
    }
}

/** Manifests of FRR-K8s as ours. */
export function importFrrK8s(sources: readonly Source[], options: ImportOptions): Imported {
  const findings = new Findings();
  for (const source of sources) {
    const { apiVersion, kind } = source.object;
    const ours = apiVersion.startsWith(group);
    if (ours ? kind !== "FRRConfiguration" && !views.has(kind) : !helpful.has(kind))
      findings.add(source, "", says.kind());
  }
  const configs = sources
    .filter((s) => s.object.kind === "FRRConfiguration")
    .map((s) => configOf(s, findings));
  sayApart(configs, findings);
  const routers = byKey(configs, (c) => JSON.stringify(c.nodes)).map(routerOf);
  const annotations = { addresses: [], pool: [], sharing: [] };
  const reservations = reservationsOf(
    sources,
    routers.flatMap((r) => r.ranges),
    annotations,
    findings,
  );
  const rules = routers.flatMap((r) =>
    r.asn === undefined ? [] : [{ nodeSelector: r.nodes, localASN: r.asn }],
  );
  if (!options.cluster && sources[0]) findings.add(sources[0], "", says.noCluster());
  return {
    objects: [
      ...(options.cluster && rules.length > 0 ? [networkObject(options.cluster, options.mode, rules)] : []),
      ...routers.flatMap((r) => r.pools),
      ...reservations,
      ...routers.flatMap((r) => r.policies),
      ...routers.flatMap((r) => r.peers),
      ...routers.flatMap((r) => r.advertisements),
    ],
    findings: findings.list,
  };
}
