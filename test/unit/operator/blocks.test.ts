// Nodes with several blocks: another when all are nearly full, one less when it is not needed; and blocks that others give out.
import { describe, expect, it } from "vitest";
import type { Node } from "../../../src/api/index.ts";
import { type Fill, fillOf, podAddressesOf } from "../../../src/ipam/index.ts";
import { kinds } from "../../../src/kube/resource.ts";
import { parsePrefix } from "../../../src/net/address.ts";
import { cluster, network, node, pods, World } from "./world.ts";

const minute = 60_000;

/** What the node's agent says of its blocks, having seen the view as it is. */
function report(w: World, name: string, fills: readonly Fill[], inUse: readonly string[] = []): void {
  const view = w.view(name)!;
  const v4 = (view.spec.podBlocks ?? []).filter((b) => b.prefix.includes("."));
  const v6 = (view.spec.podBlocks ?? []).filter((b) => b.prefix.includes(":"));
  const status = {
    ...view.status,
    ...(view.metadata.generation !== undefined && { observedGeneration: view.metadata.generation }),
    podBlocks: [
      ...v4.map((b, i) => ({ prefix: b.prefix, fill: fills[i] ?? ("Empty" as const) })),
      ...v6.map((b) => ({ prefix: b.prefix, fill: "Roomy" as const })),
    ],
    inUse: inUse.map((prefix) => ({ prefix })),
  };
  w.api.put(kinds.NodeNetwork, { ...view, status });
}

const blocks = (w: World, name: string): readonly string[] =>
  (w.view(name)?.spec.podBlocks ?? []).map((b) => b.prefix).filter((p) => p.includes("."));
/** The block that n1 got at first: which of two nodes is served first does not matter. */
const first = (w: World): string =>
  ["10.1.0.0/26", "10.1.0.64/26"].find((p) => w.claimLines().includes(`${p} Bound Node/n1`))!;
const claimOf = (w: World, prefix: string): string | undefined =>
  w.claims().find((c) => c.spec.prefix === prefix)?.status?.phase;

describe("a node's blocks", () => {
  it("are filled by words that do not change back and forth", () => {
    const block = parsePrefix("10.1.0.0/26");
    expect(podAddressesOf(block)).toBe(61);
    expect(podAddressesOf(parsePrefix("fd00::/64"))).toBeGreaterThan(1e8);
    const words = [0, 1, 30, 31, 48, 49, 61].map((n) => fillOf(block, n, undefined));
    expect(words).toEqual(["Empty", "Roomy", "Roomy", "Busy", "Busy", "NearlyFull", "NearlyFull"]);
    expect(fillOf(block, 45, "NearlyFull")).toBe("NearlyFull");
    expect(fillOf(block, 42, "NearlyFull")).toBe("Busy");
  });

  it("get one more when all are nearly full, and no more until that is so again", async () => {
    const w = await cluster();
    expect(blocks(w, "n1")).toEqual([first(w)]);
    report(w, "n1", ["Busy"]);
    await w.settle();
    expect(blocks(w, "n1").length).toBe(1);
    report(w, "n1", ["NearlyFull"]);
    await w.settle();
    expect(blocks(w, "n1")).toEqual([first(w), "10.1.0.128/26"]);
    await w.settle(10 * minute);
    // The new one has not been reported yet.
    expect(blocks(w, "n1").length).toBe(2);
    report(w, "n1", ["NearlyFull", "Empty"]);
    await w.settle(10 * minute);
    expect(blocks(w, "n1").length).toBe(2);
    report(w, "n1", ["NearlyFull", "NearlyFull"]);
    await w.settle();
    expect(blocks(w, "n1")).toEqual([first(w), "10.1.0.128/26", "10.1.0.192/26"]);
    expect(blocks(w, "n2").length).toBe(1);
  });

  it("come from the next pool that selects the node when the first gives no more, and say so when there is none", async () => {
    const w = await cluster();
    const now = w.pool("pods")!;
    w.api.put(kinds.IPPool, { ...now, spec: { ...now.spec, maxBlocksPerNode: 1 } });
    await w.settle();
    report(w, "n1", ["NearlyFull"]);
    await w.settle();
    expect(blocks(w, "n1").length).toBe(1);
    expect(w.condition(w.api.read(kinds.ClusterNetwork, "default"), "Ready")).toBe("False PodBlocksFull");
    const notes = w.api.all(kinds.Event).map((e) => (e as { note?: string }).note ?? "");
    expect(notes.join()).toContain("IPPool pods gives a node 1 blocks of a family at most");
    w.api.put(kinds.IPPool, pods("more", ["10.9.0.0/24"]));
    await w.settle(5_000);
    expect(blocks(w, "n1")).toEqual([first(w), "10.9.0.0/26"]);
    expect(w.condition(w.api.read(kinds.ClusterNetwork, "default"), "Ready")).toBe("True Ready");
  });

  it("are given back when one stays empty and the others have room: out of the view, then released, then it rests", async () => {
    const w = await cluster();
    report(w, "n1", ["NearlyFull"]);
    await w.settle();
    report(w, "n1", ["Roomy", "Empty"]);
    await w.settle(3 * minute);
    expect(blocks(w, "n1").length).toBe(2);
    await w.settle(3 * minute);
    expect(blocks(w, "n1")).toEqual([first(w)]);
    // Its claim stays until the agent has seen that, and for a while longer.
    await w.settle(5 * minute);
    expect(claimOf(w, "10.1.0.128/26")).toBe("Bound");
    report(w, "n1", ["Roomy"]);
    await w.settle(30_000);
    expect(claimOf(w, "10.1.0.128/26")).toBe("Bound");
    await w.settle(45_000);
    expect(claimOf(w, "10.1.0.128/26")).not.toBe("Bound");
    await w.settle(2 * minute);
    expect(claimOf(w, "10.1.0.128/26")).toBeUndefined();
    expect(blocks(w, "n1")).toEqual([first(w)]);
  });

  it("stay when another is not roomy enough, or pods come meanwhile", async () => {
    const w = await cluster();
    report(w, "n1", ["NearlyFull"]);
    await w.settle();
    report(w, "n1", ["Busy", "Empty"]);
    await w.settle(30 * minute);
    expect(blocks(w, "n1").length).toBe(2);
    report(w, "n1", ["Roomy", "Empty"]);
    await w.settle(4 * minute);
    report(w, "n1", ["Roomy", "Roomy"]);
    await w.settle();
    report(w, "n1", ["Roomy", "Empty"]);
    await w.settle(4 * minute);
    expect(blocks(w, "n1").length).toBe(2);
  });

  it("come back into the view when a pod has got an address just before it left, even from their release", async () => {
    for (const after of [10_000, 70_000]) {
      const w = await cluster();
      report(w, "n1", ["NearlyFull"]);
      await w.settle();
      report(w, "n1", ["Roomy", "Empty"]);
      await w.settle(6 * minute);
      expect(blocks(w, "n1").length).toBe(1);
      report(w, "n1", ["Roomy"]);
      await w.settle(after);
      expect(claimOf(w, "10.1.0.128/26")).toBe(after > minute ? "Cooling" : "Bound");
      report(w, "n1", ["Roomy"], ["10.1.0.128/26"]);
      await w.settle();
      expect(claimOf(w, "10.1.0.128/26")).toBe("Bound");
      expect(blocks(w, "n1")).toEqual([first(w), "10.1.0.128/26"]);
    }
  });

  it("are the same after an operator dies in between", async () => {
    const w = await cluster();
    report(w, "n1", ["NearlyFull"]);
    await w.settle();
    report(w, "n1", ["NearlyFull", "Roomy"]);
    w.kill(w.processes[0]!);
    w.start();
    await w.settle(20 * minute);
    expect(blocks(w, "n1")).toEqual([first(w), "10.1.0.128/26"]);
    expect(w.claimLines().filter((l) => !l.includes(" Bound "))).toEqual([]);
  });
});

describe("blocks of Node.spec.podCIDRs", () => {
  const given = (name: string, address: string, podCIDRs: readonly string[]): Node => ({
    ...node(name, address),
    spec: { podCIDRs },
  });
  const start = async (...nodes: readonly Node[]): Promise<World> => {
    const w = new World(1);
    const base = network();
    const rule = { ...base.spec.nodes[0]!, podBlocks: "NodeSpec" as const };
    w.api.put(kinds.ClusterNetwork, { ...base, spec: { ...base.spec, nodes: [rule] } });
    w.api.put(kinds.IPPool, pods("pods", ["10.1.0.0/16"]));
    for (const n of nodes) w.api.put(kinds.Node, n);
    w.start();
    await w.settle();
    return w;
  };

  it("are claimed for the node and shown, and none is allocated", async () => {
    const w = await start(
      given("n1", "172.30.1.11", ["10.244.0.0/24", "fd00:244::/64"]),
      node("n2", "172.30.1.12"),
    );
    expect(w.claimLines()).toEqual(["10.244.0.0/24 Bound Node/n1", "fd00:244::/64 Bound Node/n1"]);
    expect(w.view("n1")?.spec.podBlocks).toEqual([
      { prefix: "10.244.0.0/24", pool: "Node.spec.podCIDRs" },
      { prefix: "fd00:244::/64", pool: "Node.spec.podCIDRs" },
    ]);
    expect(w.view("n2")?.spec.podBlocks).toBeUndefined();
    expect(w.condition(w.api.read(kinds.ClusterNetwork, "default"), "Ready")).toBe("False NodesWithoutBlock");
    // They come later, as kube-controller-manager is slower than we are.
    w.api.put(kinds.Node, { ...w.api.read(kinds.Node, "n2")!, spec: { podCIDRs: ["10.244.1.0/24"] } });
    await w.settle();
    expect(blocks(w, "n2")).toEqual(["10.244.1.0/24"]);
    expect(w.condition(w.api.read(kinds.ClusterNetwork, "default"), "Ready")).toBe("True Ready");
    // No growth: whoever gives them out decides.
    report(w, "n1", ["NearlyFull"]);
    await w.settle(20 * minute);
    expect(blocks(w, "n1")).toEqual(["10.244.0.0/24"]);
  });

  it("that somebody has already are refused, and go when the node goes", async () => {
    const w = await start(given("n1", "172.30.1.11", ["10.244.0.0/24"]));
    w.api.put(kinds.Node, given("n2", "172.30.1.12", ["10.244.0.0/23"]));
    w.api.put(kinds.Node, given("n3", "172.30.1.13", ["10.0.0.0/8"]));
    await w.settle(8_000);
    expect(w.claimLines()).toEqual(["10.244.0.0/24 Bound Node/n1"]);
    const notes = w.api
      .all(kinds.Event)
      .map((e) => (e as { note?: string }).note ?? "")
      .join();
    expect(notes).toContain("10.244.0.0/23 belongs to Node n1");
    expect(notes).toContain("10.0.0.0/8 of spec.podCIDRs is wider than a claim can be");
    w.api.remove(kinds.Node, "n1");
    await w.settle(60_000);
    expect(w.claimLines()).toEqual(["10.244.0.0/23 Bound Node/n2"]);
  });
});
