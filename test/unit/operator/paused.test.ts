// operator: paused objects: their status speaks of the form before the pause, and nothing new comes of a changed one.
import { describe, expect, it } from "vitest";
import type { BGPPeer, KubernetesObject } from "../../../src/api/index.ts";
import { kinds, type Resource } from "../../../src/kube/index.ts";
import { plainPeer } from "../../support/cluster-states.ts";
import { cluster, ingress, reservation, service, vips, type World } from "./world.ts";

const peer = (peerASN: number): BGPPeer => ({
  apiVersion: "waggle.dev/v1alpha1",
  kind: "BGPPeer",
  metadata: { name: "tor" },
  spec: {
    nodeSelector: {},
    address: "172.30.1.1",
    port: 179,
    peerASN,
    families: ["IPv4Unicast"],
    holdSeconds: 90,
    connectRetrySeconds: 5,
    connectRetryMaxSeconds: 120,
    passive: false,
    gracefulRestart: { enabled: true, restartSeconds: 120 },
    maxPrefixes: { ipv4: 1, ipv6: 1 },
    ...plainPeer,
  },
});

/** Changes an object as a user does: a new spec raises the generation, an annotation does not. */
function change<T extends KubernetesObject>(
  w: World,
  kind: Resource<T>,
  name: string,
  paused: boolean,
  edit?: (object: T) => T,
  namespace?: string,
): void {
  const object = w.api.read(kind, name, namespace)!;
  const next = edit ? edit(object) : object;
  const generation = (object.metadata.generation ?? 1) + (edit ? 1 : 0);
  const annotations: Record<string, string> = paused ? { "waggle.dev/paused": "true" } : {};
  w.api.put(kind, { ...next, metadata: { ...object.metadata, generation, annotations } });
}

const observed = (object: { status?: { observedGeneration?: number } } | undefined) =>
  object?.status?.observedGeneration;
const message = (
  object: { status?: { conditions?: readonly { type: string; message: string }[] } } | undefined,
) => object?.status?.conditions?.find((c) => c.type === "Paused")?.message;

describe("a paused object", () => {
  it("keeps its observed generation, says so, and goes on when it is let go", async () => {
    const w = await cluster();
    const read = () => w.api.read(kinds.BGPPeer, "tor");
    w.api.put(kinds.BGPPeer, peer(65_001));
    await w.settle();
    expect([observed(read()), w.condition(read(), "Paused")]).toEqual([1, "absent"]);
    change(w, kinds.BGPPeer, "tor", true);
    await w.settle();
    expect([observed(read()), w.condition(read(), "Paused")]).toEqual([1, "True Paused"]);
    expect(message(read())).toContain("stays in force as it is");
    change(w, kinds.BGPPeer, "tor", true, (o) => ({ ...o, spec: { ...o.spec, peerASN: 65_002 } }));
    await w.settle();
    expect(observed(read())).toBe(1);
    expect(message(read())).toContain("the change waits");
    change(w, kinds.BGPPeer, "tor", false);
    await w.settle();
    expect([observed(read()), w.condition(read(), "Paused")]).toEqual([2, "absent"]);
  });

  it("that was made paused has never been seen", async () => {
    const w = await cluster();
    const object = peer(65_001);
    w.api.put(kinds.BGPPeer, {
      ...object,
      metadata: { name: "tor", annotations: { "waggle.dev/paused": "true" } },
    });
    await w.settle();
    const made = w.api.read(kinds.BGPPeer, "tor");
    expect([observed(made), w.condition(made, "Paused")]).toEqual([undefined, "True Paused"]);
  });

  it("an IPPool keeps its claims, and gives nothing out of a form that was never accepted", async () => {
    const w = await cluster();
    w.api.put(kinds.Service, service("one"));
    await w.settle();
    const [first] = ingress(w.service("one"));
    expect(first).toMatch(/^10\.101\.0\./);
    const accepted = w.pool("vips")!.status?.conditions?.find((c) => c.type === "Accepted");
    // As it was: it goes on giving.
    change(w, kinds.IPPool, "vips", true);
    await w.settle();
    expect(w.condition(w.pool("vips"), "Paused")).toBe("True Paused");
    w.api.put(kinds.Service, service("two"));
    await w.settle();
    expect(ingress(w.service("two"))[0]).toMatch(/^10\.101\.0\./);
    // Changed: nothing more, until it is let go.
    change(w, kinds.IPPool, "vips", true, (o) => ({
      ...o,
      spec: vips("vips", ["10.102.0.0/24", "10.101.0.0/24", "fd20:1::/112"]).spec,
    }));
    await w.settle();
    expect(w.pool("vips")!.status?.conditions?.find((c) => c.type === "Accepted")).toEqual(accepted);
    w.api.put(kinds.Service, service("three"));
    await w.settle();
    expect(ingress(w.service("three"))).toEqual([]);
    expect(ingress(w.service("one"))[0]).toBe(first);
    change(w, kinds.IPPool, "vips", false);
    await w.settle(10_000);
    expect(ingress(w.service("three"))[0]).toMatch(/^10\.10[12]\.0\./);
    expect(ingress(w.service("one"))[0]).toBe(first);
  });

  it("an IPReservation takes nothing while it is paused", async () => {
    const w = await cluster();
    const object = reservation("kept", "10.101.0.77", "later");
    const namespace = object.metadata.namespace!;
    w.api.put(kinds.IPReservation, {
      ...object,
      metadata: { ...object.metadata, annotations: { "waggle.dev/paused": "true" } },
    });
    await w.settle();
    const held = () => w.claimLines().some((line) => line.startsWith("10.101.0.77/32"));
    expect(held()).toBe(false);
    expect(w.condition(w.api.read(kinds.IPReservation, "kept", namespace), "Paused")).toBe("True Paused");
    change(w, kinds.IPReservation, "kept", false, undefined, namespace);
    await w.settle();
    expect(held()).toBe(true);
    expect(w.condition(w.api.read(kinds.IPReservation, "kept", namespace), "Paused")).toBe("absent");
  });
});
