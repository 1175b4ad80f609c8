// The lab's address plan, BIRD configuration and example manifests.
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { birdConfig } from "../../../src/lab/bird.ts";
import { clusterManifests, toYaml, webService } from "../../../src/lab/manifests.ts";
import { limits, topology } from "../../../src/lab/topology.ts";
import { overlaps, parseAddress, parsePrefix } from "../../../src/net/address.ts";

describe("topology", () => {
  const big = topology({ lab: "default", clusters: limits.clusters, nodes: limits.nodes });

  it("gives every interface an address of its own", () => {
    const all = big.clusters.flatMap((c) => [
      c.router.address,
      c.client.address,
      ...c.nodes.map((n) => n.address),
    ]);
    all.push(...big.dci.flatMap((l) => [l.fromAddress, l.toAddress]));
    const texts = all.flatMap((a) => [a.ipv4, a.ipv6]);
    for (const t of texts) expect(() => parseAddress(t)).not.toThrow();
    expect(new Set(texts).size).toBe(texts.length);
    const indices = big.clusters.flatMap((c) => c.nodes.map((n) => n.index));
    expect(new Set(indices).size).toBe(indices.length);
  });

  it("keeps clusters' prefixes apart", () => {
    const prefixes = big.clusters.flatMap((c) =>
      [c.pods.ipv4, c.pods.ipv6, c.vips.ipv4, c.vips.ipv6].map(parsePrefix),
    );
    for (let i = 0; i < prefixes.length; i++)
      for (let j = 0; j < i; j++) expect(overlaps(prefixes[i]!, prefixes[j]!)).toBe(false);
  });

  it("refuses what does not fit", () => {
    expect(() => topology({ lab: "default", clusters: 0, nodes: 1 })).toThrow(/--clusters/);
    expect(() => topology({ lab: "default", clusters: 1, nodes: 65 })).toThrow(/--nodes/);
    expect(() => topology({ lab: "Bad Name", clusters: 1, nodes: 1 })).toThrow(/lab name/);
  });
});

describe("BIRD's configuration", () => {
  const two = topology({ lab: "default", clusters: 2, nodes: 2 });

  it("has a session for each node and each other data centre", () => {
    const text = birdConfig(two, two.clusters[0]!);
    expect(text.match(/^protocol bgp dc1_node\d from node/gm)).toHaveLength(2);
    expect(text.match(/^protocol bgp dci_dc2 from dci/gm)).toHaveLength(1);
    expect(text).not.toContain("password");
    expect(birdConfig(two, two.clusters[0]!, { password: "x" })).toContain('password "x"');
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
