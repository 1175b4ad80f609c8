// import tests: manifests of each dialect with what they become, word for word; and the plan of that announces what the original did.
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { parse, stringify } from "yaml";
import type {
  BGPAdvertisement,
  BGPPeer,
  BGPPolicy,
  ClusterNetwork,
  IPAllocation,
  IPPool,
  KubernetesObject,
} from "../../../src/api/index.ts";
import { crdCheck } from "../../../src/cli/crd-check.ts";
import { readSources } from "../../../src/cli/import.ts";
import { type Dialect, dialects, importManifests } from "../../../src/import/index.ts";
import { formatAddress, parseAddress } from "../../../src/net/address.ts";
import {
  hearings,
  type InForce,
  inForceOf,
  noDrain,
  nothingRemembered,
  type Plan,
  plan,
  type Snapshot,
} from "../../../src/plan/index.ts";
import { policyBench, runPolicyCase } from "../../../src/plan/policy-test.ts";
import { cilium, frr, frrTakes, metallb, poolBlocks, type Routes, rangesOf } from "./naive.ts";
import { claim, claimsOf, nodes, podBlock, slicesOf, type World, worldOf } from "./world.ts";

const directory = (d: Dialect): string => join("test/import", d);
const casesOf = (d: Dialect): readonly string[] =>
  readdirSync(directory(d))
    .filter((f) => f.endsWith(".yaml") && !f.endsWith(".expected.yaml"))
    .map((f) => f.slice(0, -5))
    .sort();

/** Set to write what comes out as what is expected: to be read before it is committed. */
const update = process.env["WAGGLE_UPDATE_EXPECTED"] === "1";
const crds = await crdCheck();
let compared = 0;
const options = { cluster: { name: "dc1", id: 1 }, mode: "Announce" } as const;

function imported(dialect: Dialect, name: string) {
  const file = join(directory(dialect), `${name}.yaml`);
  const sources = readSources([file]).map((r) => r.source);
  const { objects, findings } = importManifests(dialect, sources, options);
  const checked = objects.map((o) => crds.check(o));
  return {
    sources,
    written: objects,
    objects: checked.map((c) => c.object),
    problems: checked.flatMap((c) => c.problems),
    findings,
  };
}

const kind = <T extends KubernetesObject>(
  objects: readonly KubernetesObject[],
  name: T["kind"],
): readonly T[] => objects.filter((o) => o.kind === name) as unknown as readonly T[];

const blocksOf = (
  dialect: Dialect,
  originals: readonly KubernetesObject[],
  objects: readonly KubernetesObject[],
): readonly IPAllocation[] => {
  const owner = (name: string) => ({ kind: "Node" as const, name, uid: `uid-${name}` });
  return nodes
    .flatMap(({ metadata: { name } }) => [
      claim(podBlock(name), "of-the-cluster", owner(name)),
      ...(dialect === "cilium"
        ? originals
            .filter((o) => o.kind === "CiliumPodIPPool")
            .flatMap((p) => poolBlocks(p, name).map((b) => claim(b, p.metadata.name, owner(name))))
        : []),
    ])
    .filter((c) => objects.length > 0 && c.spec.prefix !== "");
};

/** What neighbours hear of the converted objects, on every node, after every Service has had an endpoint everywhere. */
function routesOf(
  dialect: Dialect,
  originals: readonly KubernetesObject[],
  objects: readonly KubernetesObject[],
  world: World,
): Routes {
  const out = new Map<string, string>();
  const network = kind<ClusterNetwork>(objects, "ClusterNetwork")[0];
  if (!network) return out;
  const services = world.services.map((s) => ({ ...s }));
  const snapshot: Snapshot = {
    clusterUID: "uid",
    nodes: world.nodes,
    // The guard is not what is judged here.
    clusterNetwork: { ...network, spec: { ...network.spec, withdrawGuardPercent: 100 } },
    services,
    endpointSlices: slicesOf(world, true),
    pools: kind<IPPool>(objects, "IPPool"),
    allocations: [...claimsOf(world, objects), ...blocksOf(dialect, originals, objects)],
    peers: kind<BGPPeer>(objects, "BGPPeer"),
    policies: kind<BGPPolicy>(objects, "BGPPolicy"),
    advertisements: kind<BGPAdvertisement>(objects, "BGPAdvertisement"),
    peerings: [],
    lastGood: nothingRemembered,
  };
  const prefixes = [
    ...snapshot.allocations.map((a) => a.spec.prefix),
    ...services.flatMap((s) =>
      [...(s.spec.clusterIPs ?? []), ...(s.spec.externalIPs ?? [])].map(
        (a) => `${a}/${a.includes(":") ? 128 : 32}`,
      ),
    ),
  ];
  const make = (node: string, of: Snapshot, previous?: InForce): Plan =>
    plan(of, node, {
      proofs: new Map(prefixes.map((p) => [p, { state: "Proven", reason: "tried" }])),
      passwords: new Set(kind<BGPPeer>(objects, "BGPPeer").flatMap((p) => p.spec.passwordSecretName ?? [])),
      drain: noDrain,
      retiring: [],
      guardSerial: 0,
      host: { connected: [], apiServer: [], cniDataDir: "" },
      now: 0,
      ...(previous && { previous }),
    });
  for (const { metadata, status } of world.nodes) {
    const first = make(metadata.name, snapshot);
    expect(first.problems.filter((p) => !p.object.startsWith("Service/"))).toEqual([]);
    const settled = make(
      metadata.name,
      { ...snapshot, endpointSlices: slicesOf(world, false) },
      inForceOf(first),
    );
    expect(settled.held).toBeUndefined();
    const own = (status?.addresses ?? []).map((a) => parseAddress(a.address));
    for (const h of hearings(settled.speaker, (p) => own.find((a) => a.family === p.address.family))) {
      if (!h.route) continue;
      const peer = settled.speaker.peers.find((p) => p.name === h.peer)!;
      const tag = `${settled.speaker.asn}:1:`;
      const large = h.route.largeCommunities.filter((l) => l !== `${tag}1` && l !== `${tag}2`);
      const communities = [...h.route.communities, ...large].sort().join(" ");
      const preference = peer.peerASN === peer.localASN ? ` pref ${h.route.localPreference}` : "";
      const key = `${metadata.name} ${formatAddress(peer.address)} ${h.prefix}`;
      expect(out.has(key), `${key} by two sessions`).toBe(false);
      out.set(key, communities + preference);
    }
  }
  return out;
}

const judges = { cilium, metallb, "frr-k8s": frr } as const;

/** Prefixes that are written for FRR-K8s become Services that show them. */
function withWrittenPrefixes(originals: readonly KubernetesObject[]): readonly KubernetesObject[] {
  const written = originals.flatMap((o) => {
    const { bgp } =
      (o as unknown as { spec?: { bgp?: { routers: { prefixes?: string[]; vrf?: string }[] } } }).spec ?? {};
    return (bgp?.routers ?? []).flatMap((r) => (r.vrf ? [] : (r.prefixes ?? [])));
  });
  const hosts = [...new Set(written)].filter((p) => /\/(32|128)$/.test(p)).map((p) => p.split("/")[0]!);
  return hosts.map(
    (ip, i): KubernetesObject =>
      ({
        apiVersion: "v1",
        kind: "Service",
        metadata: { name: `s${i}`, namespace: "default" },
        spec: { type: "LoadBalancer", ports: [{ name: "http", port: 80, protocol: "TCP" }] },
        status: { loadBalancer: { ingress: [{ ip }] } },
      }) as KubernetesObject,
  );
}

const differs = (file: string): string | undefined =>
  /^# differs: (\w+)/m.exec(readFileSync(file, "utf8"))?.[1];

describe.each(dialects)("waggle import %s", (dialect) => {
  it("has at least twenty manifests", () => {
    expect(casesOf(dialect).length).toBeGreaterThanOrEqual(20);
  });

  it.each(casesOf(dialect))("%s becomes what is expected", (name) => {
    // Without our own defaults: one that is new must not change what is expected here.
    const { written: objects, findings, problems } = imported(dialect, name);
    expect(problems).toEqual([]);
    const found = findings.map((f) => `${f.severity} ${f.code} ${f.document} ${f.object} ${f.path}`.trim());
    const file = join(directory(dialect), `${name}.expected.yaml`);
    if (update || !existsSync(file))
      writeFileSync(
        file,
        stringify({ findings: found, objects }, { aliasDuplicateObjects: false, lineWidth: 0 }),
      );
    expect({ findings: found, objects: JSON.parse(JSON.stringify(objects)) }).toEqual(
      parse(readFileSync(file, "utf8")),
    );
    expect(JSON.stringify({ objects, findings })).not.toContain("hunter2");
    const names = objects.map((o) => `${o.kind}/${o.metadata.namespace ?? ""}/${o.metadata.name}`);
    expect(new Set(names).size).toBe(names.length);
  });

  it.each(casesOf(dialect))("%s announces what it announced", (name) => {
    const { sources, objects, findings } = imported(dialect, name);
    const originals = sources.map((s) => s.object);
    const written = dialect === "frr-k8s" ? withWrittenPrefixes(originals) : originals;
    const world = worldOf(written, rangesOf(originals));
    const code = differs(join(directory(dialect), `${name}.yaml`));
    if (code !== undefined) {
      expect(findings.filter((f) => f.code === code && f.severity !== "note")).not.toEqual([]);
      return;
    }
    const found = routesOf(dialect, originals, objects, world);
    compared += found.size;
    expect(Object.fromEntries([...found].sort())).toEqual(
      Object.fromEntries([...judges[dialect](originals, world)].sort()),
    );
  });
});

it("routes have been compared, not their absence", () => {
  expect(compared).toBeGreaterThan(300);
});

describe("routes that neighbours send", () => {
  const probes = [
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.1.2.0/24",
    "10.1.2.0/25",
    "192.168.0.0/16",
    "192.168.16.0/20",
    "192.168.1.1/32",
    "172.16.5.0/24",
    "0.0.0.0/0",
    "203.0.113.0/24",
  ];

  it.each(
    casesOf("frr-k8s").filter((n) => n.includes("receive") || n === "10-merged" || n === "01-all-prefixes"),
  )("%s takes what it took", (name) => {
    const { sources, objects } = imported("frr-k8s", name);
    const originals = sources.map((s) => s.object);
    const bench = policyBench(
      {
        nodes,
        pools: [],
        peers: kind<BGPPeer>(objects, "BGPPeer"),
        policies: kind<BGPPolicy>(objects, "BGPPolicy"),
        advertisements: [],
        peerings: [],
        clusterNetwork: kind<ClusterNetwork>(objects, "ClusterNetwork")[0]!,
      },
      { name: "n1", labels: {}, addresses: [] },
      undefined,
    );
    for (const p of bench.plan.speaker.peers) {
      const address = formatAddress(p.address);
      const taken = probes.filter(
        (prefix) =>
          runPolicyCase(bench, {
            name: prefix,
            peer: p.name,
            direction: "Import",
            route: { prefix },
            expect: { verdict: "Accept" },
          }).verdict === "Accept",
      );
      expect(taken).toEqual(
        probes.filter((prefix) => frrTakes(originals, nodes[0]!.metadata.labels!, address, prefix)),
      );
    }
  });
});
