// docs/routers: every topology has a whole configuration for each router and for Waggle; ours passes the CustomResourceDefinitions and the plan, and both speak of the same numbers.
import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import type {
  BGPAdvertisement,
  BGPPeer,
  BGPPolicy,
  ClusterNetwork,
  ClusterPeering,
  KubernetesObject,
} from "../../../src/api/index.ts";
import { crdCheck } from "../../../src/cli/crd-check.ts";
import { readManifests } from "../../../src/cli/documents.ts";
import { policyBench } from "../../../src/plan/policy-test.ts";

const root = "docs/routers";
const topologies = readdirSync(root);
const makers = ["bird", "eos", "frr", "junos"] as const;
const page = readFileSync("docs/routers.md", "utf8");
const crds = await crdCheck();

describe.each(topologies)("%s", (topology) => {
  const files = readdirSync(`${root}/${topology}`);
  const routers = [...new Set(files.filter((f) => f.endsWith(".conf")).map((f) => f.split(".")[0]!))];
  const checked = readManifests([`${root}/${topology}/waggle.yaml`]).map((m) => crds.check(m.object));
  const of = <T extends KubernetesObject>(kind: T["kind"]): T[] =>
    checked.map((c) => c.object).filter((o): o is T => o.kind === kind);
  const peers = of<BGPPeer>("BGPPeer");

  it("stands on the page, with a file for each maker", () => {
    expect(page).toContain(`](routers/${topology})`);
    expect(files.sort()).toEqual(
      [...routers.flatMap((r) => makers.map((m) => `${r}.${m}.conf`)), "waggle.yaml"].sort(),
    );
  });

  it("is valid, and a node has a session of it", () => {
    expect(checked.flatMap((c) => c.problems)).toEqual([]);
    const bench = policyBench(
      {
        clusterNetwork: of<ClusterNetwork>("ClusterNetwork")[0]!,
        nodes: [],
        pools: [],
        peers,
        policies: of<BGPPolicy>("BGPPolicy"),
        advertisements: of<BGPAdvertisement>("BGPAdvertisement"),
        peerings: of<ClusterPeering>("ClusterPeering"),
      },
      { name: "node1", labels: { "kubernetes.io/hostname": "node1" }, addresses: ["10.0.0.11", "fd00::11"] },
      undefined,
    );
    expect(bench.problems).toEqual([]);
    expect(bench.plan.speaker.peers.length).toBeGreaterThan(0);
  });

  it.each(routers.flatMap((r) => makers.map((m) => `${r}.${m}.conf`)))(
    "%s names our number and its own",
    (file) => {
      const text = readFileSync(`${root}/${topology}/${file}`, "utf8");
      const router = file.split(".")[0]!;
      const its = peers.filter((p) => p.metadata.name.startsWith(router) || p.spec.interface !== undefined);
      expect(its.length).toBeGreaterThan(0);
      for (const { spec } of its) {
        if (spec.peerASN !== undefined) expect(text).toMatch(new RegExp(`\\b${spec.peerASN}\\b`));
        if (spec.address !== undefined) expect(text).toContain(spec.address);
        if (spec.localAddress !== undefined) expect(text).toContain(spec.localAddress);
      }
      // An unnumbered neighbour of FRR's and BIRD's is whoever is external.
      if (!/external;|remote-as external/.test(text)) expect(text).toMatch(/\b64601\b/);
    },
  );
});
