// agent: nodes that are only observed, paused nodes and objects, and everything let go on purpose.
import { describe, expect, it } from "vitest";
import type { BGPPeer, Node } from "../../../src/api/index.ts";
import type { Snapshot } from "../../../src/plan/index.ts";
import {
  advertisement,
  blocks,
  clusterNetwork,
  drained,
  everything,
  node,
  peer,
  service,
  slice,
  snapshot,
} from "../plan/fixture.ts";
import { World } from "./world.ts";

async function settled(cluster: Snapshot = snapshot()): Promise<World> {
  const world = new World();
  world.cluster = cluster;
  world.start();
  await world.clock.advance(500);
  return world;
}

const paused = <T extends { readonly metadata: object }>(object: T): T => ({
  ...object,
  metadata: { ...object.metadata, annotations: { "waggle.dev/paused": "true" } },
});
const pausedNode = (): readonly Node[] => [paused(node(1)), node(2)];

describe("mode Observe", () => {
  it.each<[string, Snapshot]>([
    ["by its rule", snapshot({ clusterNetwork: clusterNetwork({ mode: "Observe" }) })],
    [
      "by no rule",
      snapshot({ clusterNetwork: clusterNetwork({ nodeSelector: { matchLabels: { a: "b" } } }) }),
    ],
  ])("opens nothing, attaches nothing, speaks to nobody and writes nothing: %s", async (_, cluster) => {
    const world = new World();
    world.cluster = cluster;
    world.answering = new Set(["10.101.0.5", "fd20:1::5"]);
    const tried: string[] = [];
    const written: boolean[] = [];
    const parts = world.parts.bind(world);
    world.parts = () => ({
      ...parts(),
      connect: async (address) => {
        tried.push(address);
        return undefined;
      },
      cni: (owns, wanted) => {
        written.push(owns || wanted !== undefined);
        return { state: "NotOwned" };
      },
    });
    world.start();
    await world.clock.advance(60_000);
    expect(world.datapath.calls).toEqual([]);
    expect(world.speaker.received).toEqual([]);
    expect(tried).toEqual([]);
    expect(new Set(written)).toEqual(new Set([false]));
    expect(world.condition("Ready")).toMatch(/^True (NotAnnouncing|NodeNotSelected)/);
    // It says what it would do and why it does not.
    expect(world.status?.announced?.map((a) => a.state)).toEqual(Array(4).fill("Withdrawn"));
    expect(new Set(world.status?.announced?.map((a) => a.code)).size).toBe(1);
  });

  it("becomes Announce without a restart, and takes over what an earlier run has pinned", async () => {
    const world = await settled(snapshot({ clusterNetwork: clusterNetwork({ mode: "Observe" }) }));
    expect(world.datapath.calls).toEqual([]);
    await world.change(snapshot(), 500);
    expect(world.datapath.calls.indexOf("readRoutes")).toBeLessThan(world.datapath.calls.indexOf("sync"));
    expect(world.datapath.calls).toContain("readRoutes");
    expect(world.speaker.origins()).toEqual(everything);
  });

  it("is reached from Announce only through an approved withdrawal, and then nothing more is touched", async () => {
    const world = await settled();
    const observe = clusterNetwork({ mode: "Observe" });
    await world.change(snapshot({ clusterNetwork: observe }), 500);
    expect(world.speaker.origins()).toEqual(everything);
    expect(world.condition("PlanApplied")).toMatch(/^False PlanHeld/);
  });
});

describe("a Service that is not announced", () => {
  it("is in the status with its name, its reason as a word and as a sentence", async () => {
    const world = await settled(
      snapshot({ services: [service("web"), service("late")], endpointSlices: [] }),
    );
    expect(world.status?.announced?.filter((a) => a.state === "Withdrawn")).toEqual([
      {
        prefix: "10.101.0.5/32",
        state: "Withdrawn",
        service: "default/web",
        code: "NoReadyEndpoint",
        reason: "no ready endpoint of the address's family",
        peers: [],
      },
      expect.objectContaining({ prefix: "fd20:1::5/128", service: "default/web", code: "NoReadyEndpoint" }),
    ]);
    // What is announced comes first.
    expect(world.status?.announced?.map((a) => a.state)).toEqual([
      "Announced",
      "Announced",
      "Withdrawn",
      "Withdrawn",
    ]);
    expect(world.status?.unaddressed).toEqual([
      {
        service: "default/late",
        code: "NoAddress",
        reason: "the Service has no address yet; see its Events and the IPPools",
      },
    ]);
  });

  it("because of the Node's label", async () => {
    const excluded: Node = {
      ...node(1),
      metadata: {
        ...node(1).metadata,
        labels: { "node.kubernetes.io/exclude-from-external-load-balancers": "" },
      },
    };
    const world = await settled(snapshot({ nodes: [excluded, node(2)] }));
    expect(world.speaker.origins()).toEqual([...blocks].sort());
    expect(world.status?.announced?.filter((a) => a.service === "default/web").map((a) => a.code)).toEqual([
      "NodeExcluded",
      "NodeExcluded",
    ]);
  });
});

describe("a paused node", () => {
  it("announces what it did, whatever else is written, and says so", async () => {
    const world = await settled();
    const before = world.speaker.received.length;
    await world.change(
      snapshot({ nodes: pausedNode(), advertisements: [], peers: [peer("tor", { peerASN: 65_999 })] }),
      20_000,
    );
    expect(world.speaker.received.length).toBe(before);
    expect(world.speaker.origins()).toEqual(everything);
    expect(world.condition("Paused")).toMatch(/^True Paused: .*Node\/node1/);
    await world.change(snapshot(), 500);
    expect(world.condition("Paused")).toMatch(/^False NotPaused/);
  });

  it("follows endpoints, and does not drain", async () => {
    const world = await settled();
    const moved = [
      slice("web", 4, [{ address: "10.1.0.77", node: 2 }]),
      slice("web", 6, [{ address: "fd10:1::77", node: 2 }]),
    ];
    const taint = { spec: drained(1, "force").spec! };
    await world.change(
      snapshot({ nodes: [{ ...paused(node(1)), ...taint }, node(2)], endpointSlices: moved }),
      30_000,
    );
    expect(world.datapath.desired?.services[0]?.backends.map((b) => b.address)).toEqual(["10.1.0.77"]);
    expect(world.speaker.origins()).toEqual(everything);
    expect(world.status?.drain?.phase).toBe("None");
    // Let go, it drains.
    await world.change(snapshot({ nodes: [drained(1, "force"), node(2)], endpointSlices: moved }), 40_000);
    expect(world.status?.drain?.phase).toBe("Released");
  });

  it("stays as it was over a restart of the agent, and is not touched by one without memory", async () => {
    const world = await settled();
    await world.change(snapshot({ nodes: pausedNode() }), 500);
    world.kill();
    world.cluster = snapshot({ nodes: pausedNode(), advertisements: [] });
    world.start();
    await world.clock.advance(5_000);
    expect(world.speaker.origins()).toEqual(everything);
    world.kill();
    world.disk.progress = undefined;
    world.disk.snapshot = undefined;
    world.datapath.calls = [];
    const received = world.speaker.received.length;
    world.start();
    await world.clock.advance(5_000);
    expect(world.speaker.received.length).toBe(received);
    expect(world.datapath.calls).toEqual([]);
    expect(world.speaker.origins()).toEqual(everything);
  });
});

describe("a paused object", () => {
  it("holds its change back over restarts, and lets it go afterwards", async () => {
    const world = await settled();
    const edited = (annotated: boolean): BGPPeer => {
      const object = peer("tor", { peerASN: 65_999 });
      return { ...(annotated ? paused(object) : object) };
    };
    const asns = () => world.speaker.state?.peers.map((p) => p.peerAsn);
    await world.change(snapshot({ peers: [edited(true)] }), 2_000);
    expect(asns()).toEqual([65_001]);
    expect(world.condition("Paused")).toMatch(/^True Paused: .*BGPPeer\/tor \(its form before the change/);
    world.kill();
    world.start();
    await world.clock.advance(5_000);
    expect(asns()).toEqual([65_001]);
    await world.change(snapshot({ peers: [edited(false)] }), 2_000);
    expect(asns()).toEqual([65_999]);
  });

  it("among others that change", async () => {
    const world = await settled();
    await world.change(
      snapshot({
        advertisements: [paused(advertisement("all", { peerSelector: { matchLabels: { a: "b" } } }))],
        allocations: snapshot().allocations.slice(1),
      }),
      20_000,
    );
    expect(world.speaker.origins()).toEqual(everything.filter((p) => p !== "10.1.0.0/26"));
  });
});

describe("a drain of a node that only observes", () => {
  it("has nobody to wait for", async () => {
    const world = await settled(snapshot({ clusterNetwork: clusterNetwork({ mode: "Observe" }) }));
    await world.change(
      snapshot({ clusterNetwork: clusterNetwork({ mode: "Observe" }), nodes: [drained(1), node(2)] }),
      60_000,
    );
    expect(world.status?.drain?.phase).toBe("Released");
    expect(world.datapath.calls).toEqual([]);
  });
});

describe("everything let go on purpose", () => {
  const leaving = () => {
    const object = clusterNetwork();
    return { ...object, metadata: { ...object.metadata, annotations: { "waggle.dev/withdraw": "dc1" } } };
  };

  it("goes the way of a drain, also what nobody else announces, and comes back when the annotation goes", async () => {
    const world = await settled();
    world.elsewhere = new Set();
    const seen: string[] = [];
    for (let i = 0; i < 60; i++) {
      await world.change(snapshot({ clusterNetwork: leaving() }), 500);
      const phase = world.status?.drain?.phase ?? "";
      if (seen.at(-1) !== phase) seen.push(phase);
    }
    // Quiet is over as soon as the neighbours have acknowledged.
    expect(seen.filter((phase) => phase !== "Quiet")).toEqual(["DePreferred", "Withdrawn", "Released"]);
    expect(seen.at(-1)).toBe("Released");
    expect(world.speaker.origins()).toEqual([]);
    expect(world.condition("PlanApplied")).toMatch(/^True/);
    await world.change(snapshot(), 1_000);
    expect(world.speaker.origins()).toEqual(everything);
  });
});
