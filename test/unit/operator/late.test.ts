// What an operator with a late cache must not do while another one is at work: each case is one line of code that forgets to ask.
import { describe, expect, it } from "vitest";
import type { IPPool, NodeNetwork } from "../../../src/api/index.ts";
import { overlapOf, parsePool } from "../../../src/ipam/index.ts";
import { kinds } from "../../../src/kube/resource.ts";
import { storedAccepted } from "../../../src/operator/pool-book.ts";
import { network, node, pods, vips, World } from "./world.ts";

const ownerOf = (view: NodeNetwork | undefined): string | undefined =>
  view?.metadata.ownerReferences?.[0]?.uid;

function anarchy(): World {
  const w = new World(1, 10);
  w.api.put(kinds.ClusterNetwork, network());
  return w;
}

describe("two operators at once, one with late caches", () => {
  it("a NodeNetwork is never taken over for a Node that is gone", async () => {
    const w = anarchy();
    w.api.put(kinds.IPPool, pods("pods", ["10.1.0.0/24"]));
    w.api.put(kinds.Node, node("n1", "172.30.1.11"));
    w.start(true);
    const late = w.start(true);
    await w.settle();
    const first = w.api.read(kinds.Node, "n1")!.metadata.uid;
    expect(ownerOf(w.view("n1"))).toBe(first);
    w.api.lag = (client, kind) => (client === late.name && kind === "Node" ? 20_000 : 0);
    w.api.remove(kinds.Node, "n1");
    w.api.put(kinds.Node, node("n1", "172.30.1.11"));
    const second = w.api.read(kinds.Node, "n1")!.metadata.uid;
    const owners: (string | undefined)[] = [];
    w.api.onWrite = (kind, type, object) => {
      if (kind === "NodeNetwork" && type !== "DELETED") owners.push(ownerOf(object as NodeNetwork));
    };
    await w.settle(60_000);
    expect(ownerOf(w.view("n1"))).toBe(second);
    expect(owners.indexOf(first, owners.indexOf(second))).toBe(-1);
  });

  it("a block that the view shows is not given back as one too many", async () => {
    const w = anarchy();
    w.api.put(kinds.IPPool, pods("pods", ["10.1.0.0/24"]));
    w.api.put(kinds.Node, node("n1", "172.30.1.11"));
    w.start(true);
    await w.settle();
    const mine = w.claims()[0]!;
    expect(w.view("n1")?.spec.podBlocks?.map((b) => b.prefix)).toEqual([mine.spec.prefix]);
    w.api.lag = (_client, kind) => (kind === "NodeNetwork" ? 15_000 : 0);
    const released: string[] = [];
    w.api.onWrite = (kind, _type, object) => {
      const { spec, status } = object as unknown as { spec: { prefix: string }; status?: { phase?: string } };
      const shown = w.view("n1")?.spec.podBlocks?.some((p) => p.prefix === spec.prefix);
      if (kind === "IPAllocation" && status?.phase === "Releasing" && shown) released.push(spec.prefix);
    };
    // The view changes to another block, and its claim is heard of before the view is.
    const view = w.view("n1")!;
    const other = { prefix: "10.1.0.128/26", pool: "pods" };
    w.api.put(kinds.NodeNetwork, { ...view, spec: { ...view.spec, podBlocks: [other] } });
    const { uid: _, ...metadata } = mine.metadata;
    w.api.put(kinds.IPAllocation, {
      ...mine,
      metadata: {
        ...metadata,
        name: "v4-10-1-0-128-26",
      },
      spec: { ...mine.spec, prefix: other.prefix },
    });
    await w.settle(10_000);
    expect(released).toEqual([]);
    await w.settle(120_000);
    expect(released).toEqual([]);
    // The other one waits for the agent, of which there is none here.
    expect(w.claimLines()).toEqual(["10.1.0.0/26 Releasing Node/n1", "10.1.0.128/26 Bound Node/n1"]);
  });

  it("two pools that overlap are never both accepted, however often one of them is changed", async () => {
    const w = anarchy();
    const both = (): boolean => {
      const accepted = w.api.all(kinds.IPPool).filter((p) => storedAccepted(p) === true);
      const [x, y] = accepted.map((p) => parsePool(p).pool);
      return x !== undefined && y !== undefined && overlapOf(x.blocks, y.blocks, "") !== undefined;
    };
    let broken = 0;
    w.api.onWrite = (kind) => {
      if (kind === "IPPool" && both()) broken += 1;
    };
    const put = (pool: IPPool, blocks: readonly string[]): void => {
      const generation = (pool.metadata.generation ?? 1) + 1;
      w.api.put(kinds.IPPool, {
        ...pool,
        metadata: { ...pool.metadata, generation },
        spec: { ...pool.spec, blocks },
      });
    };
    w.api.put(kinds.IPPool, vips("a", ["10.101.0.0/24"]));
    const slow = w.start(true);
    await w.settle();
    w.api.put(kinds.IPPool, vips("b", ["10.101.0.0/25"]));
    await w.settle();
    expect(w.condition(w.pool("b"), "Accepted")).toBe("False Overlap");
    // It decides to accept the one, while the other is elsewhere; its write takes a while.
    w.api.stall = ({ kind, verb, name }, client) =>
      kind === "IPPool" && verb === "patch" && name === "b" ? (client === slow.name ? 8_000 : 20_000) : 0;
    put(w.pool("a")!, ["10.102.0.0/24"]);
    await w.settle(1_500);
    // Meanwhile the other is back, and somebody who has just begun sees a refusal of what was before.
    put(w.pool("a")!, ["10.101.0.0/24"]);
    w.start(true);
    await w.settle(30_000);
    expect(broken).toBe(0);
    expect(w.api.all(kinds.IPPool).filter((p) => storedAccepted(p) === true)).toHaveLength(1);
  });
});
