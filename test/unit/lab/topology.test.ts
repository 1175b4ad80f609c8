// The lab's address plan, routers' configurations and example manifests.
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { birdConfig } from "../../../src/lab/bird.ts";
import { frrChange, frrConfig } from "../../../src/lab/frr.ts";
import { clusterManifests, toYaml, webService } from "../../../src/lab/manifests.ts";
import {
  type Addresses,
  ipFamilies,
  limits,
  routersOf,
  type Topology,
  textsOf,
  topology,
} from "../../../src/lab/topology.ts";
import { overlaps, parseAddress, parsePrefix } from "../../../src/net/address.ts";

/** Every address of every interface. */
const interfaceAddresses = (plan: Topology): Addresses[] => [
  ...routersOf(plan).flatMap((r) => [r.address, r.clientGateway]),
  ...plan.clusters
    .flatMap((c) => [...c.client.uplinks, ...c.nodes.flatMap((n) => n.uplinks)])
    .map((u) => u.address),
  ...plan.links.flatMap((l) => l.ends.map((e) => e.address)),
];

const prefixesOf = (plan: Topology): string[] =>
  plan.clusters.flatMap((c) => [...textsOf(c.pods), ...textsOf(c.vips)]);

describe.each([1, limits.tors])("topology with %i routers a data centre", (tors) => {
  const big = topology({ lab: "default", clusters: limits.clusters, nodes: limits.nodes, tors });

  it("gives every interface an address of its own", () => {
    const texts = interfaceAddresses(big).flatMap(textsOf);
    for (const t of texts) expect(() => parseAddress(t)).not.toThrow();
    expect(new Set(texts).size).toBe(texts.length);
    const indices = big.clusters.flatMap((c) => c.nodes.map((n) => n.index));
    expect(new Set(indices).size).toBe(indices.length);
    const routers = routersOf(big);
    expect(routers).toHaveLength(tors * limits.clusters);
    expect(new Set(routers.flatMap((r) => [r.routerID, r.asn, r.name])).size).toBe(3 * routers.length);
  });

  it("keeps the ends of a link on one subnet, and subnets apart", () => {
    const subnets = big.links.flatMap(({ ends: [a, b] }) => {
      const four = parsePrefix(`${a.address.ipv4!.replace(/\d+$/, (n) => String(Number(n) & ~3))}/30`);
      expect(overlaps(four, parsePrefix(`${b.address.ipv4}/32`))).toBe(true);
      const six = a.address.ipv6!.replace(/::1$/, "::/64");
      expect(b.address.ipv6!.replace(/::2$/, "::/64")).toBe(six);
      expect(a.interface.length).toBeLessThanOrEqual(15);
      return [`${four.lo}`, six];
    });
    expect(new Set(subnets).size).toBe(subnets.length);
  });

  it("keeps clusters' prefixes apart", () => {
    const prefixes = prefixesOf(big).map((text) => parsePrefix(text));
    for (let i = 0; i < prefixes.length; i++)
      for (let j = 0; j < i; j++) expect(overlaps(prefixes[i]!, prefixes[j]!)).toBe(false);
  });
});

describe("topology", () => {
  it.each(ipFamilies)("%s has addresses of no other family", (family) => {
    const plan = topology({ lab: "default", clusters: 2, nodes: 2, family, tors: 2 });
    const texts = [...interfaceAddresses(plan).flatMap(textsOf), ...prefixesOf(plan)];
    const isOf = {
      dual: () => true,
      ipv4: (t: string) => !t.includes(":"),
      ipv6: (t: string) => t.includes(":"),
    };
    expect(texts.filter((t) => !isOf[family](t))).toEqual([]);
    const manifests = plan.clusters.flatMap((c) => clusterManifests(plan, c));
    const said = JSON.stringify([...manifests, webService(family)]);
    if (family === "ipv6") expect(said).not.toMatch(/\d+\.\d+\.\d+\.\d+|IPv4|ipv4/);
    if (family === "ipv4") expect(said).not.toMatch(/fd\d\d:|IPv6|ipv6/);
  });

  it("refuses what does not fit", () => {
    const one = { lab: "default", clusters: 1, nodes: 1 };
    expect(() => topology({ ...one, clusters: 0 })).toThrow(/--clusters/);
    expect(() => topology({ ...one, nodes: 65 })).toThrow(/--nodes/);
    expect(() => topology({ ...one, tors: 3 })).toThrow(/--tors/);
    expect(() => topology({ ...one, lab: "Bad Name" })).toThrow(/lab name/);
  });
});

describe("routers' configurations", () => {
  const lab = (options: object = {}): Topology =>
    topology({ lab: "default", clusters: 2, nodes: 2, ...options });

  it("BIRD has a session for each node and each other data centre", () => {
    const two = lab();
    const [cluster] = two.clusters;
    const text = birdConfig(two, cluster!, cluster!.routers[0]);
    expect(text.match(/^protocol bgp dc1_node\d from node/gm)).toHaveLength(2);
    expect(text.match(/^protocol bgp dci_dc2_tor from dci/gm)).toHaveLength(1);
    expect(text).not.toContain("password");
    expect(birdConfig(two, cluster!, cluster!.routers[0], { password: "x" })).toContain('password "x"');
  });

  it("two routers have a session of each family with each node, and one with each other", () => {
    const two = lab({ tors: 2 });
    const [cluster] = two.clusters;
    for (const router of cluster!.routers) {
      const bird = birdConfig(two, cluster!, router);
      expect(bird.match(/^protocol bgp dc1_node\d(_v6)? from node/gm)).toHaveLength(4);
      expect(bird.match(/^protocol bgp dci_\w+ from dci/gm)).toHaveLength(2);
      const frr = frrConfig(two, cluster!, router);
      expect(frr.match(/^ neighbor \S+ remote-as 64601$/gm)).toHaveLength(4);
      expect(frr.match(/^ neighbor \S+ remote-as 65\d\d\d$/gm)).toHaveLength(2);
    }
    const names = clusterManifests(two, cluster!)
      .filter((o) => o.kind === "BGPPeer")
      .map((o) => o.metadata.name);
    expect(names).toEqual(["tor1-ipv4", "tor1-ipv6", "tor2-ipv4", "tor2-ipv6"]);
  });

  it("neither speaks a family that the lab does not have", () => {
    const six = lab({ family: "ipv6" });
    const [cluster] = six.clusters;
    for (const config of [birdConfig, frrConfig]) {
      const text = config(six, cluster!, cluster!.routers[0]);
      expect(text).toContain("fd30:1::11");
      // A router ID only looks like an address.
      expect(text.replace(/router.id 172\.30\.1\.1/, "")).not.toMatch(
        /\d+\.\d+\.\d+\.\d+|ipv4 unicast|ipv4 \{/,
      );
    }
  });

  it("FRR can be told of a password and of stripped communities while it runs, and that they are gone", () => {
    const two = lab();
    const [cluster] = two.clusters;
    const change = (options: object): string => frrChange(two, cluster!, cluster!.routers[0], options);
    expect(change({ password: "x", stripCommunities: true })).toMatch(
      /^ set community none$[\s\S]*^ neighbor 172\.30\.1\.11 password x$/m,
    );
    expect(change({})).toMatch(/^ no set community none$[\s\S]*^ no neighbor 172\.30\.1\.11 password$/m);
  });
});

describe("examples/two-clusters", () => {
  it("is what the lab applies", () => {
    const two = topology({ lab: "default", clusters: 2, nodes: 2 });
    for (const cluster of two.clusters)
      expect(readFileSync(`examples/two-clusters/${cluster.name}.yaml`, "utf8")).toContain(
        toYaml(clusterManifests(two, cluster)),
      );
    expect(readFileSync("examples/two-clusters/web.yaml", "utf8")).toContain(toYaml([webService()]));
  });
});
