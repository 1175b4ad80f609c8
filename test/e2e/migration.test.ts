// e2e: node by node from a BIRD that announces a VIP, with iptables to deliver it, to Waggle and back: no address moves, nothing is lost.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { KubernetesObject } from "../../src/api/index.ts";
import { kinds } from "../../src/kube/index.ts";
import { applyObjects } from "../../src/lab/cluster.ts";
import { killProcess } from "../../src/lab/daemons.ts";
import { raise } from "../../src/lab/demo.ts";
import { down } from "../../src/lab/down.ts";
import { waggle } from "../../src/lab/launcher.ts";
import { clusterManifests, webService } from "../../src/lab/manifests.ts";
import { labNamespaces } from "../../src/lab/network.ts";
import { applyService, startWebPods, webPort } from "../../src/lab/pods.ts";
import { begin, fetchFrom, type Running, urlOf } from "../../src/lab/programs.ts";
import { birdc } from "../../src/lab/routers.ts";
import type { LabCluster, LabNode } from "../../src/lab/topology.ts";
import type { Lab } from "../../src/lab/up.ts";
import { nodeNetworks, nodesReady } from "../../src/lab/wait.ts";
import type { StreamResult } from "../../src/lab/workload.ts";
import { addressesOf, labName, missingForLab, run, runIn, timeUntil } from "./support.ts";

/** What the Service had before Waggle came: of Waggle's pool, as the import pins it. */
const vip = { ipv4: "10.101.0.77", ipv6: "fd20:1::77" } as const;
const vips = Object.values(vip);
/** The router's addresses for sessions with the daemon that was there first. */
const second = { ipv4: "172.30.1.2", ipv6: "fd30:1::2" } as const;
const service = "shop";
/** Nodes with this label announce VIPs. */
const label = "lb";

const missing = missingForLab() || (existsSync("/usr/sbin/iptables") ? "" : "iptables");

/** Pod routes by Waggle from the beginning; VIPs belong to somebody else, and so does port 179. */
function manifests(lab: Lab, cluster: LabCluster): readonly KubernetesObject[] {
  return clusterManifests(lab.topology, cluster).flatMap((object): KubernetesObject[] => {
    const { spec } = object as KubernetesObject & { spec: Record<string, unknown> };
    if (object.kind === "ClusterNetwork") {
      const [node] = spec["nodes"] as object[];
      const nodes = [{ ...node, owns: ["Pods", "Routes"], listen: { mode: "None" } }];
      return [{ ...object, spec: { ...spec, nodes, servicesWithoutClass: "Always" } } as KubernetesObject];
    }
    if (object.kind !== "BGPAdvertisement") return [object];
    const [blocks, services] = spec["advertise"] as object[];
    return [
      { ...object, spec: { ...spec, advertise: [blocks] } } as KubernetesObject,
      {
        ...object,
        metadata: { name: "vips" },
        spec: { ...spec, nodeSelector: { matchLabels: { [label]: "waggle" } }, advertise: [services] },
      } as KubernetesObject,
    ];
  });
}

/** The daemon that announces the VIP on a node today. */
function incumbentConfig(cluster: LabCluster, node: LabNode): string {
  const [router] = cluster.routers;
  return `router id ${node.uplinks[0]!.address.ipv4};
log stderr { warning, error, fatal, bug };
protocol device { }
protocol static static4 { ipv4; route ${vip.ipv4}/32 blackhole; }
protocol static static6 { ipv6; route ${vip.ipv6}/128 blackhole; }
protocol bgp tor {
  local ${node.uplinks[0]!.address.ipv4} as ${cluster.nodeASN};
  neighbor ${second.ipv4} as ${router!.asn};
  connect delay time 1; connect retry time 1; error wait time 1, 2;
  ipv4 { import none; export where source = RTS_STATIC; next hop self; };
  ipv6 { import none; export where source = RTS_STATIC; next hop address ${node.uplinks[0]!.address.ipv6}; };
}
`;
}

const protocolOf = (node: LabNode): string => `first_${node.name.replaceAll("-", "_")}`;

/** The router's side of it; BIRD takes a second neighbour of one address if its port is another one, which it never uses. */
const routerConfig = (cluster: LabCluster): string =>
  cluster.nodes
    .map(
      (node) =>
        `protocol bgp ${protocolOf(node)} { local ${second.ipv4} as ${cluster.routers[0]!.asn}; neighbor ${node.uplinks[0]!.address.ipv4} port 1790 as ${cluster.nodeASN}; passive;
  ipv4 { import all; export none; }; ipv6 { import all; export none; }; }\n`,
    )
    .join("");

describe.skipIf(missing)(`migration${missing ? ` (skipped: needs ${missing})` : ""}`, () => {
  const name = labName("migrate");
  let lab: Lab;
  let cluster: LabCluster;
  let nodes: readonly LabNode[];
  let stream: Running;
  let before: string;

  const incumbent = (node: LabNode): string => `${node.name}-bird`;
  function startIncumbent(node: LabNode): void {
    const directory = join(lab.state.directory, node.name);
    const config = join(directory, "bird.conf");
    writeFileSync(config, incumbentConfig(cluster, node));
    lab.start({
      name: incumbent(node),
      netns: node.netns,
      cgroup: lab.cgroup(incumbent(node)),
      command: ["bird", "-f", "-c", config, "-s", join(directory, "bird.ctl")],
      log: join(directory, "bird.log"),
    });
  }

  /** Whose paths for the VIP the router has, of one family: `first_<node>` or `<node>`. */
  async function paths(family: keyof typeof vip): Promise<readonly string[]> {
    const table = family === "ipv4" ? "master4" : "master6";
    const bits = family === "ipv4" ? 32 : 128;
    const text = await birdc(
      lab.state.clusters[0]!.router,
      ...["show", "route", "table", table, "where", `net = ${vip[family]}/${bits}`],
    );
    return [...text.matchAll(/\[(\w+) \d/g)].map((m) => m[1]!).sort();
  }
  const heard = (what: string, by: readonly string[]): Promise<number> =>
    timeUntil(30_000, what, async () => {
      const wanted = [...by].sort().join(" ");
      return (await paths("ipv4")).join(" ") === wanted && (await paths("ipv6")).join(" ") === wanted;
    });
  const ours = (node: LabNode): string => node.name.replaceAll("-", "_");

  const client = () => lab.client(cluster.name);
  const relabel = (node: LabNode, value: string | null): Promise<unknown> =>
    client().patch(kinds.Node, node.name, "merge", { metadata: { labels: { [label]: value } } });
  const shown = async (): Promise<readonly (string | undefined)[]> =>
    (
      (await client().get(kinds.Service, service, { namespace: "default" })).status?.loadBalancer?.ingress ??
      []
    ).map((i) => i.ip);

  beforeAll(async () => {
    await down(name);
    lab = await raise({ lab: name, clusters: 1, nodes: 2 }, () => undefined);
    cluster = lab.topology.clusters[0]!;
    nodes = cluster.nodes;
    const isPool = (o: KubernetesObject): boolean => o.kind === "IPPool" && o.metadata.name === "vips";
    const objects = manifests(lab, cluster);
    await applyObjects(
      client(),
      objects.filter((o) => !isPool(o)),
    );
    await startWebPods(lab);
    await nodesReady(lab);

    const router = lab.state.clusters[0]!.router;
    for (const [address, bits] of [
      [second.ipv4, 24],
      [second.ipv6, 64],
    ] as const)
      await runIn(router.netns, ["ip", "address", "add", `${address}/${bits}`, "dev", "br0", "nodad"]);
    const config = join(router.directory, "bird.conf");
    writeFileSync(config, readFileSync(config, "utf8") + routerConfig(cluster));
    await run("birdc", ["-s", router.controlSocket, "configure"]);
    for (const node of nodes) {
      // Each node delivers to its own pods, as kube-proxy does with externalTrafficPolicy Local.
      const pod = lab.state.pods.find((p) => p.node === node.name)!;
      for (const [i, program] of ["iptables", "ip6tables"].entries()) {
        const to = i === 0 ? `${pod.addresses[0]}:${webPort}` : `[${pod.addresses[1]}]:${webPort}`;
        for (const chain of ["PREROUTING", "OUTPUT"])
          await runIn(node.netns, [
            ...[program, "-t", "nat", "-A", chain, "-d", vips[i]!, "-p", "tcp", "--dport", "80"],
            ...["-j", "DNAT", "--to-destination", to],
          ]);
      }
      startIncumbent(node);
    }
    await heard("the daemons that were there first", nodes.map(protocolOf));
    // As it is found: with an address, and without a class, since whoever gave it knows of none.
    const { loadBalancerClass: _, ...spec } = webService().spec as { loadBalancerClass?: string };
    const object = { ...webService(), metadata: { name: service, namespace: "default" }, spec };
    await applyService(lab, cluster, object as KubernetesObject);
    await client().patchStatus(
      kinds.Service,
      service,
      { loadBalancer: { ingress: vips.map((ip) => ({ ip })) } },
      { namespace: "default", fieldManager: "first" },
    );
    await applyObjects(client(), objects.filter(isPool));
    await timeUntil(20_000, "the address is claimed", async () => {
      const claims = (await client().list(kinds.IPAllocation)).items;
      return vips.every((v) =>
        claims.some((c) => c.spec.prefix.startsWith(`${v}/`) && c.status?.phase === "Bound"),
      );
    });
    before = await addressesOf(lab);
    stream = begin(
      lab.state,
      cluster.client.name,
      waggle("lab", "workload", "connections", "--per-second", "50", ...vips.map((v) => urlOf(v, 80))),
    );
  }, 240_000);

  afterAll(async () => {
    await lab?.[Symbol.asyncDispose]();
    if (process.env.WAGGLE_LAB_KEEP) return;
    await down(name);
    expect(labNamespaces(name)).toEqual([]);
  }, 60_000);

  it("what was there is taken over as it is, and nothing of it is announced by Waggle", async () => {
    expect(await shown()).toEqual(vips);
    expect(await paths("ipv4")).toEqual(nodes.map(protocolOf).sort());
    for (const v of vips)
      expect(await fetchFrom(lab.state, cluster.client.name, urlOf(v, 80))).toContain("hello from");
  });

  it("there: both announce in between, and every announcement is proven end to end", async () => {
    const left = new Set(nodes.map(protocolOf));
    const by: string[] = [];
    for (const node of nodes) {
      await relabel(node, "waggle");
      by.push(ours(node));
      await heard(`both on ${node.name}`, [...left, ...by]);
      // Status follows a moment later.
      let entries: readonly object[] = [];
      await timeUntil(20_000, "announced, in status", async () => {
        const network = (await nodeNetworks(lab, cluster.name)).find((n) => n.metadata.name === node.name);
        const { announced = [], proofs = [] } = network?.status ?? {};
        entries = proofs.filter((p) => vips.some((v) => p.prefix.startsWith(`${v}/`)));
        return vips.every((v) =>
          announced.some((x) => x.prefix.startsWith(`${v}/`) && x.state === "Announced"),
        );
      });
      expect(entries).toHaveLength(2);
      for (const entry of entries)
        expect(entry).toMatchObject({
          state: "Proven",
          reason: expect.stringContaining("another component delivers it"),
        });
      await sleep(500);
      await killProcess(lab, incumbent(node), "SIGTERM");
      left.delete(protocolOf(node));
      await heard(`Waggle alone on ${node.name}`, [...left, ...by]);
      expect(await shown()).toEqual(vips);
    }
    expect(await paths("ipv6")).toEqual(nodes.map(ours).sort());
  }, 120_000);

  it("and back: what the withdraw guard holds goes when it is approved", async () => {
    const left = new Set(nodes.map(ours));
    const by: string[] = [];
    for (const node of nodes) {
      startIncumbent(node);
      by.push(protocolOf(node));
      await heard(`both on ${node.name} again`, [...left, ...by]);
      await sleep(500);
      await relabel(node, null);
      // Two of a node's four routes are more than the guard lets go by itself.
      let hash: string | undefined;
      await timeUntil(20_000, "held", async () => {
        const network = (await nodeNetworks(lab, cluster.name)).find((n) => n.metadata.name === node.name);
        hash = network?.status?.heldPlan?.hash;
        return hash !== undefined;
      });
      expect(await paths("ipv4")).toContain(ours(node));
      await client().patch(kinds.NodeNetwork, node.name, "merge", {
        metadata: { annotations: { "waggle.dev/approve": hash } },
      });
      left.delete(ours(node));
      await heard(`without Waggle on ${node.name}`, [...left, ...by]);
    }
    expect(await shown()).toEqual(vips);
  }, 120_000);

  it("no connection was lost on the way, and no address has moved", async () => {
    const result = JSON.parse(await stream.end("SIGTERM")) as StreamResult;
    expect(result.opened).toBeGreaterThan(100);
    expect(result.failed, result.errors.join("; ")).toBe(0);
    expect(await addressesOf(lab)).toBe(before);
    await nodesReady(lab);
  });

  it("a Service whose status another controller rewrites is reported and left alone", async () => {
    const name = "contested";
    const theirs = "10.55.0.1";
    const { loadBalancerClass: _, ...spec } = webService("ipv4").spec as { loadBalancerClass?: string };
    await applyService(lab, cluster, {
      ...webService("ipv4"),
      metadata: { name, namespace: "default" },
      spec,
    } as KubernetesObject);
    const get = () => client().get(kinds.Service, name, { namespace: "default" });
    const ips = async (): Promise<string> =>
      ((await get()).status?.loadBalancer?.ingress ?? []).map((i) => i.ip).join(" ");
    await timeUntil(20_000, "an address of ours", async () => (await ips()).startsWith("10.101.0."));
    let rewrites = 0;
    const rewrite = async (): Promise<void> => {
      if ((await ips()) === theirs) return;
      rewrites += 1;
      await client().patchStatus(
        kinds.Service,
        name,
        { loadBalancer: { ingress: [{ ip: theirs }] } },
        { namespace: "default", fieldManager: "first", force: true },
      );
    };
    await timeUntil(60_000, "reported", async () => {
      await rewrite();
      const condition = (await get()).status?.conditions?.find((c) => c.type === "waggle.dev/Allocated");
      return condition?.message?.includes("another controller keeps writing") === true;
    });
    await rewrite();
    const after = rewrites;
    expect(after).toBeLessThan(10);
    await sleep(2_000);
    expect(await ips()).toBe(theirs);
    expect(rewrites).toBe(after);
  }, 120_000);
});
