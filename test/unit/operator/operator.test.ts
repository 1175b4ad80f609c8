import { describe, expect, it } from "vitest";
import type { ServiceCIDR } from "../../../src/kube/builtin.ts";
import { ApiError } from "../../../src/kube/errors.ts";
import { kinds } from "../../../src/kube/resource.ts";
import { plainPeer } from "../../support/cluster-states.ts";
import {
  apiVersion,
  cluster,
  ingress,
  network,
  node,
  peering,
  pods,
  reservation,
  service,
  vips,
  World,
} from "./world.ts";

describe("nodes", () => {
  it("get one block of each family, a NodeNetwork that shows them, and a router ID", async () => {
    const w = await cluster();
    expect(w.claims().map((c) => `${c.spec.prefix} ${c.status?.phase}`)).toEqual([
      "10.1.0.0/26 Bound",
      "10.1.0.64/26 Bound",
      "fd10:1::/122 Bound",
      "fd10:1::40/122 Bound",
    ]);
    const mine = w.claims().filter((c) => c.spec.owner.name === "n1");
    expect(mine).toHaveLength(2);
    expect(w.view("n1")?.spec).toEqual({
      routerID: "172.30.1.11",
      podBlocks: mine.map((c) => ({ prefix: c.spec.prefix, pool: "pods" })),
    });
    const owner = w.view("n1")?.metadata.ownerReferences?.[0];
    expect(owner).toMatchObject({
      kind: "Node",
      name: "n1",
      uid: w.api.read(kinds.Node, "n1")?.metadata.uid,
    });
    expect(w.pool("pods")?.status).toMatchObject({ allocated: 4, cooling: 0 });
    expect(w.condition(w.api.read(kinds.ClusterNetwork, "default"), "Ready")).toBe("True Ready");
  });

  it("keep their blocks when an operator dies and another starts", async () => {
    const w = await cluster();
    const before = [w.view("n1")?.spec, w.view("n2")?.spec];
    w.kill(w.processes[0]!);
    w.api.put(kinds.Node, node("n0", "172.30.1.10"));
    w.start();
    await w.settle(30_000);
    expect([w.view("n1")?.spec, w.view("n2")?.spec]).toEqual(before);
    expect(w.view("n0")?.spec.podBlocks?.[0]?.prefix).toBe("10.1.0.128/26");
  });

  it("that are gone give their blocks back after the rest, and a new node of the name is another node", async () => {
    const w = await cluster();
    w.announce("n1", [w.view("n1")!.spec.podBlocks![0]!.prefix]);
    w.api.remove(kinds.Node, "n1");
    await w.settle(4_000);
    expect(w.view("n1")).toBeUndefined();
    expect(
      w
        .claimLines()
        .filter((l) => l.endsWith("n1"))
        .map((l) => l.split(" ")[1]),
    ).toEqual(["Cooling", "Cooling"]);
    w.api.put(kinds.Node, node("n1", "172.30.1.11"));
    await w.settle();
    expect(w.view("n1")?.spec.podBlocks?.map((b) => b.prefix)).toEqual(["10.1.0.128/26", "fd10:1::80/122"]);
    // The machine may be the same one, so its old blocks wait until it has reported under its new Node.
    await w.settle(60_000);
    expect(w.claims()).toHaveLength(6);
    w.announce("n1", []);
    await w.settle(60_000);
    expect(w.claims()).toHaveLength(4);
  });

  it("get nothing in mode Observe, but a NodeNetwork to report in", async () => {
    const w = new World(1);
    w.api.put(kinds.ClusterNetwork, network("Observe"));
    w.api.put(kinds.IPPool, pods("pods", ["10.1.0.0/16"]));
    w.api.put(kinds.IPPool, vips("vips", ["10.101.0.0/24"]));
    w.api.put(kinds.Node, node("n1", "172.30.1.11"));
    w.api.put(kinds.Service, service("web"));
    w.start();
    await w.settle(10_000);
    expect(w.claims()).toEqual([]);
    expect(w.view("n1")?.spec).toEqual({});
    expect(w.service("web")?.status).toBeUndefined();
  });

  it("take the pool with the lowest number that selects them and has room", async () => {
    const w = new World(1);
    w.api.put(kinds.ClusterNetwork, network());
    w.api.put(kinds.IPPool, pods("small", ["10.1.0.0/26"], { priority: 10 }));
    w.api.put(kinds.IPPool, pods("big", ["10.2.0.0/16"], { priority: 20 }));
    w.api.put(
      kinds.IPPool,
      pods("other", ["10.3.0.0/16"], { priority: 1, nodeSelector: { matchLabels: { rack: "9" } } }),
    );
    for (const i of [1, 2]) w.api.put(kinds.Node, node(`n${i}`, `172.30.1.1${i}`));
    w.start();
    await w.settle();
    expect(w.claims().map((c) => c.spec.prefix)).toEqual(["10.1.0.0/26", "10.2.0.0/26"]);
    expect(new Set(w.claims().map((c) => c.spec.owner.name)).size).toBe(2);
  });

  it("without room are named, and served when room appears", async () => {
    const w = new World(1);
    w.api.put(kinds.ClusterNetwork, network());
    w.api.put(kinds.IPPool, pods("small", ["10.1.0.0/26"]));
    for (const i of [1, 2]) w.api.put(kinds.Node, node(`n${i}`, `172.30.1.1${i}`));
    w.start();
    await w.settle();
    const object = w.api.read(kinds.ClusterNetwork, "default");
    expect(w.condition(object, "Ready")).toBe("False NodesWithoutBlock");
    const without = ["n1", "n2"].find((n) => !w.view(n)?.spec.podBlocks)!;
    const ready = object?.status?.conditions?.find((c) => c.type === "Ready");
    expect(ready?.message).toContain(without);
    expect(w.condition(w.pool("small"), "Ready")).toBe("True Full");
    w.api.put(kinds.IPPool, pods("more", ["10.2.0.0/16"]));
    await w.settle();
    expect(w.view(without)?.spec.podBlocks?.[0]?.prefix).toBe("10.2.0.0/26");
    expect(w.condition(w.api.read(kinds.ClusterNetwork, "default"), "Ready")).toBe("True Ready");
  });
});

describe("services", () => {
  it("get an address of each family they have, in their order, claimed first", async () => {
    const w = await cluster();
    w.api.onWrite = (kind, _type, object) => {
      if (kind !== "Service") return;
      for (const ip of ingress(w.service(object.metadata.name)))
        expect(w.claimLines()).toContain(
          `${ip}/${ip.includes(":") ? 128 : 32} Bound Service/${object.metadata.name}`,
        );
    };
    w.api.put(
      kinds.Service,
      service("web", { ipFamilies: ["IPv6", "IPv4"], ipFamilyPolicy: "RequireDualStack" }),
    );
    await w.settle();
    expect(w.service("web")?.status?.loadBalancer?.ingress).toEqual([
      { ip: "fd20:1::", ipMode: "VIP" },
      { ip: "10.101.0.0", ipMode: "VIP" },
    ]);
    expect(w.condition(w.service("web"), "waggle.dev/Allocated")).toBe("True Allocated");
    expect(w.pool("vips")?.status).toMatchObject({ allocated: 2 });
  });

  it("of other classes and types are left alone", async () => {
    const w = await cluster();
    const foreign = { loadBalancer: { ingress: [{ ip: "192.0.2.1" }] } };
    w.api.put(kinds.Service, service("theirs", { loadBalancerClass: "example.com/lb" }));
    w.api.put(kinds.Service, service("plain", { type: "ClusterIP" }));
    const classless = service("classless");
    delete (classless.spec as { loadBalancerClass?: string }).loadBalancerClass;
    w.api.put(kinds.Service, { ...classless, status: foreign });
    await w.settle();
    expect(w.service("theirs")?.status).toBeUndefined();
    expect(w.service("plain")?.status).toBeUndefined();
    expect(w.service("classless")?.status).toEqual(foreign);
  });

  it("without a class are taken over with the address that they show once it lies in a pool", async () => {
    const w = await cluster();
    const shop = service("shop");
    delete (shop.spec as { loadBalancerClass?: string }).loadBalancerClass;
    const status = { loadBalancer: { ingress: [{ ip: "10.77.0.9" }] } };
    w.api.put(kinds.Service, { ...shop, status });
    await w.settle();
    expect(w.claimLines().filter((c) => c.includes("shop"))).toEqual([]);
    w.api.put(kinds.IPPool, vips("theirs", ["10.77.0.0/24"]));
    await w.settle();
    expect(w.claimLines()).toContain("10.77.0.9/32 Bound Service/shop");
    expect(ingress(w.service("shop"))).toEqual(["10.77.0.9"]);
  });

  it("without a class wait where no node owns VIPs, unless the cluster serves them always", async () => {
    const w = await cluster();
    const net = network();
    const [rule] = net.spec.nodes;
    const nodes = [{ ...rule!, owns: ["Pods" as const] }];
    w.api.put(kinds.ClusterNetwork, { ...net, spec: { ...net.spec, nodes } });
    await w.settle();
    const shop = service("shop");
    delete (shop.spec as { loadBalancerClass?: string }).loadBalancerClass;
    w.api.put(kinds.Service, shop);
    await w.settle();
    expect(w.service("shop")?.status).toBeUndefined();
    w.api.put(kinds.ClusterNetwork, {
      ...net,
      spec: { ...net.spec, nodes, servicesWithoutClass: "Always" },
    });
    await w.settle();
    expect(ingress(w.service("shop"))).toEqual(["10.101.0.0"]);
  });

  it("keep their addresses over restarts, and what they show is claimed again before anything new is given out", async () => {
    const w = await cluster();
    for (const name of ["a", "b"]) w.api.put(kinds.Service, service(name));
    await w.settle();
    const before = ["a", "b"].map((n) => ingress(w.service(n)));
    const view = w.view("n1")?.spec;
    w.kill(w.processes[0]!);
    // The claims' kind was deleted and made again meanwhile.
    for (const claim of w.claims()) w.api.remove(kinds.IPAllocation, claim.metadata.name);
    w.api.put(kinds.Service, service("0-first-by-name"));
    w.start();
    await w.settle(30_000);
    expect(["a", "b"].map((n) => ingress(w.service(n)))).toEqual(before);
    expect(ingress(w.service("0-first-by-name"))).toEqual(["10.101.0.2"]);
    expect(w.claimLines()).toContain(`${before[0]}/32 Bound Service/a`);
    expect(w.view("n1")?.spec).toEqual(view);
  });

  it("keep an address whose pool is gone, and get their claim when the pool is back", async () => {
    const w = await cluster();
    w.api.put(kinds.Service, service("a"));
    await w.settle();
    w.kill(w.processes[0]!);
    const pool = w.pool("vips")!;
    w.api.remove(kinds.IPPool, "vips");
    for (const claim of w.claims()) w.api.remove(kinds.IPAllocation, claim.metadata.name);
    w.api.put(kinds.IPPool, vips("early", ["10.77.0.0/24"]));
    w.start();
    await w.settle(30_000);
    expect(ingress(w.service("a"))).toEqual(["10.101.0.0"]);
    expect(w.condition(w.service("a"), "waggle.dev/Allocated")).toBe("False AddressOutsidePools");
    w.api.put(kinds.IPPool, vips("vips", pool.spec.blocks));
    await w.settle();
    expect(w.claimLines()).toContain("10.101.0.0/32 Bound Service/a");
    expect(w.condition(w.service("a"), "waggle.dev/Allocated")).toBe("True Allocated");
  });

  it("get what they ask for, or are told why not", async () => {
    const w = await cluster();
    const ask = (name: string, addresses: string, spec = {}) =>
      w.api.put(kinds.Service, service(name, spec, { annotations: { "waggle.dev/addresses": addresses } }));
    ask("a", "10.101.0.77");
    await w.settle();
    ask("b", "10.101.0.77");
    ask("c", "10.9.9.9");
    ask("d", "nonsense");
    ask("e", "fd20:1::5");
    ask("f", "10.101.0.5, fd20:1::5", { ipFamilies: ["IPv4", "IPv6"], ipFamilyPolicy: "RequireDualStack" });
    await w.settle();
    expect(ingress(w.service("a"))).toEqual(["10.101.0.77"]);
    expect(ingress(w.service("f"))).toEqual(["10.101.0.5", "fd20:1::5"]);
    expect(["b", "c", "d", "e"].map((n) => w.condition(w.service(n), "waggle.dev/Allocated"))).toEqual([
      "False AddressTaken",
      "False AddressOutsidePools",
      "False AddressInvalid",
      "False AddressInvalid",
    ]);
    w.api.remove(kinds.Service, "a", "shop");
    await w.settle(20_000);
    expect(ingress(w.service("b"))).toEqual(["10.101.0.77"]);
  });

  it("that ask for another address later get it, and the old one rests", async () => {
    const w = await cluster();
    const first = w.api.put(kinds.Service, service("a"));
    await w.settle();
    w.api.put(kinds.Service, {
      ...w.service("a")!,
      metadata: { ...first.metadata, annotations: { "waggle.dev/addresses": "10.101.0.9" } },
    });
    await w.settle();
    expect(ingress(w.service("a"))).toEqual(["10.101.0.9"]);
    expect(w.claimLines()).toContain("10.101.0.0/32 Cooling Service/a");
  });

  it("that need both families get both or nothing; those that prefer them get what there is", async () => {
    const w = await cluster();
    w.api.put(kinds.IPPool, vips("vips", ["10.101.0.0/24"]));
    await w.settle();
    const dual = { ipFamilies: ["IPv4", "IPv6"] as const };
    w.api.put(kinds.Service, service("need", { ...dual, ipFamilyPolicy: "RequireDualStack" }));
    w.api.put(kinds.Service, service("prefer", { ...dual, ipFamilyPolicy: "PreferDualStack" }));
    await w.settle();
    expect(ingress(w.service("need"))).toEqual([]);
    expect(w.condition(w.service("need"), "waggle.dev/Allocated")).toBe("False NoPool");
    expect(ingress(w.service("prefer"))).toEqual(["10.101.0.0"]);
    expect(w.condition(w.service("prefer"), "waggle.dev/Allocated")).toBe("True Allocated");
    expect(w.claims().filter((c) => c.spec.owner.name === "need")).toEqual([]);
    w.api.put(kinds.IPPool, vips("six", ["fd20:6::/112"]));
    await w.settle();
    expect(ingress(w.service("need"))).toEqual(["10.101.0.1", expect.stringMatching(/^fd20:6::/)]);
    expect(ingress(w.service("prefer"))).toHaveLength(2);
  });

  it("that stop being ours lose their address and give it back", async () => {
    const w = await cluster();
    w.api.put(kinds.Service, service("a"));
    await w.settle();
    w.api.put(kinds.Service, { ...w.service("a")!, spec: { type: "ClusterIP" } });
    await w.settle();
    expect(ingress(w.service("a"))).toEqual([]);
    expect(w.claims().find((c) => c.spec.owner.name === "a")?.status?.phase).toBe("Cooling");
  });

  it("release their address only when every node has withdrawn it, or is gone, and it has rested", async () => {
    const w = await cluster();
    w.api.put(kinds.Service, service("a"));
    await w.settle();
    w.announce("n1", ["10.101.0.0/32", "10.1.0.0/26"]);
    w.announce("n2", ["10.101.0.0/32"]);
    w.api.remove(kinds.Service, "a", "shop");
    w.api.put(kinds.Service, service("b"));
    await w.settle(60_000);
    const claim = () => w.claims().find((c) => c.spec.owner.name === "a");
    expect(claim()?.status).toMatchObject({ phase: "Releasing", announcedBy: ["n1", "n2"] });
    expect(ingress(w.service("b"))).toEqual(["10.101.0.1"]);
    w.announce("n1", ["10.1.0.0/26"]);
    await w.settle(60_000);
    expect(claim()?.status).toMatchObject({ phase: "Releasing", announcedBy: ["n2"] });
    w.api.remove(kinds.Node, "n2");
    await w.settle();
    expect(claim()?.status?.phase).toBe("Cooling");
    await w.settle(5_000);
    expect(claim()?.status?.phase).toBe("Cooling");
    await w.settle(6_000);
    expect(claim()).toBeUndefined();
    w.api.put(kinds.Service, service("c"));
    await w.settle();
    expect(ingress(w.service("c"))).toEqual(["10.101.0.0"]);
  });

  it("whose status another controller rewrites are told of, not fought over", async () => {
    const w = await cluster();
    w.api.put(kinds.Service, service("a"));
    await w.settle();
    let writes = 0;
    for (let i = 0; i < 30; i++) {
      w.api.put(kinds.Service, {
        ...w.service("a")!,
        status: { ...w.service("a")?.status, loadBalancer: { ingress: [{ ip: "192.0.2.7" }] } },
      });
      await w.settle(2_000);
      if (ingress(w.service("a"))[0] === "10.101.0.0") writes += 1;
    }
    expect(writes).toBeGreaterThan(0);
    expect(writes).toBeLessThan(6);
    expect(w.condition(w.service("a"), "waggle.dev/Allocated")).toBe("False Contested");
    expect(w.claimLines()).toContain("10.101.0.0/32 Bound Service/a");
    await w.settle(11 * 60_000);
    expect(ingress(w.service("a"))).toEqual(["10.101.0.0"]);
    expect(w.condition(w.service("a"), "waggle.dev/Allocated")).toBe("True Allocated");
  });

  it("keep to the quota and the namespaces of a pool", async () => {
    const w = await cluster();
    w.api.put(kinds.IPPool, vips("vips", ["10.101.0.0/24"], { quota: 2 }));
    w.api.put(kinds.IPPool, vips("bank", ["10.102.0.0/24"], { namespaces: ["bank"] }));
    await w.settle();
    for (const name of ["a", "b", "c"]) w.api.put(kinds.Service, service(name));
    w.api.put(kinds.Service, service("d", {}, { namespace: "bank" }));
    await w.settle();
    const got = ["a", "b", "c"].filter((n) => ingress(w.service(n)).length > 0);
    expect(got).toHaveLength(2);
    const without = ["a", "b", "c"].find((n) => !got.includes(n))!;
    expect(w.condition(w.service(without), "waggle.dev/Allocated")).toBe("False QuotaReached");
    expect(ingress(w.service("d", "bank"))[0]).toMatch(/^10\.102\./);
  });
});

describe("reservations", () => {
  it("that a quota refuses write nothing while they wait, and get their address when there is room", async () => {
    const w = await cluster();
    w.api.put(kinds.IPPool, vips("vips", ["10.101.0.0/24"], { quota: 1 }));
    w.api.put(kinds.Service, service("a"));
    await w.settle();
    w.api.put(kinds.IPReservation, reservation("r", "10.101.0.9", "later"));
    await w.settle();
    const writes = w.api.version;
    await w.settle(9 * 60_000);
    expect(w.condition(w.api.read(kinds.IPReservation, "r", "shop"), "Ready")).toBe("False QuotaReached");
    // The Lease alone.
    expect(w.api.version - writes).toBeLessThan(9 * 60 + 1);
    expect(
      w.api.log.slice(-200).filter((l) => l.operation.kind !== "Lease" && l.operation.verb === "create"),
    ).toEqual([]);
    w.api.remove(kinds.Service, "a", "shop");
    await w.settle(20_000);
    expect(w.condition(w.api.read(kinds.IPReservation, "r", "shop"), "Ready")).toBe("True Kept");
  });

  it("keep an address for a name, before, between and after Services of it", async () => {
    const w = await cluster();
    w.api.put(kinds.IPReservation, reservation("r", "10.101.0.0", "web"));
    await w.settle();
    w.api.put(kinds.Service, service("other"));
    await w.settle();
    expect(ingress(w.service("other"))).toEqual(["10.101.0.1"]);
    expect(w.condition(w.api.read(kinds.IPReservation, "r", "shop"), "Ready")).toBe("True Kept");
    for (let i = 0; i < 2; i++) {
      w.api.put(kinds.Service, service("web"));
      await w.settle();
      expect(ingress(w.service("web"))).toEqual(["10.101.0.0"]);
      expect(w.condition(w.api.read(kinds.IPReservation, "r", "shop"), "Ready")).toBe("True InUse");
      w.api.remove(kinds.Service, "web", "shop");
      await w.settle();
      expect(w.claimLines()).toContain("10.101.0.0/32 Bound IPReservation/r");
    }
    w.api.remove(kinds.IPReservation, "r", "shop");
    await w.settle(60_000);
    expect(w.claims().some((c) => c.spec.prefix === "10.101.0.0/32")).toBe(false);
  });

  it("that go leave the address with the Service that shows it", async () => {
    const w = await cluster();
    w.api.put(kinds.IPReservation, reservation("r", "10.101.0.50", "web"));
    w.api.put(kinds.Service, service("web"));
    await w.settle();
    expect(ingress(w.service("web"))).toEqual(["10.101.0.50"]);
    w.api.remove(kinds.IPReservation, "r", "shop");
    await w.settle(60_000);
    expect(ingress(w.service("web"))).toEqual(["10.101.0.50"]);
    expect(w.claimLines()).toContain("10.101.0.50/32 Bound IPReservation/r");
    w.api.remove(kinds.Service, "web", "shop");
    await w.settle(60_000);
    expect(w.claims().some((c) => c.spec.prefix === "10.101.0.50/32")).toBe(false);
  });

  it("say what stands in their way", async () => {
    const w = await cluster();
    w.api.put(kinds.Service, service("first"));
    await w.settle();
    w.api.put(kinds.IPReservation, reservation("taken", "10.101.0.0", "web"));
    w.api.put(kinds.IPReservation, reservation("outside", "192.0.2.1", "web2"));
    await w.settle();
    const say = (name: string) => w.condition(w.api.read(kinds.IPReservation, name, "shop"), "Ready");
    expect([say("taken"), say("outside")]).toEqual(["False AddressTaken", "False AddressOutsidePools"]);
    w.api.put(kinds.Service, service("web2"));
    await w.settle();
    expect(w.condition(w.service("web2"), "waggle.dev/Allocated")).toBe("False ReservationNotReady");
  });
});

describe("pools", () => {
  it("that overlap are never both accepted; the younger gives nothing out, what it gave stays", async () => {
    const w = await cluster();
    await w.settle(2_000);
    w.api.put(kinds.IPPool, vips("young", ["10.102.0.0/24"], { priority: 1 }));
    await w.settle();
    w.api.put(kinds.Service, service("a"));
    await w.settle();
    expect(ingress(w.service("a"))).toEqual(["10.102.0.0"]);
    w.api.put(kinds.IPPool, {
      ...w.pool("vips")!,
      metadata: { ...w.pool("vips")!.metadata, generation: 2 },
      spec: vips("vips", ["10.101.0.0/24", "10.102.0.0/25"]).spec,
    });
    await w.settle();
    expect(w.condition(w.pool("vips"), "Accepted")).toBe("True Accepted");
    expect(w.condition(w.pool("young"), "Accepted")).toBe("False Overlap");
    expect(w.condition(w.pool("young"), "Ready")).toBe("False Overlap");
    w.api.put(kinds.Service, service("b"));
    await w.settle();
    expect(ingress(w.service("a"))).toEqual(["10.102.0.0"]);
    expect(ingress(w.service("b"))).toEqual(["10.101.0.0"]);
  });

  it("never give out of the ranges of Services' cluster addresses, as ServiceCIDRs or the Services themselves say", async () => {
    const w = await cluster();
    const range = (cidrs: readonly string[]): ServiceCIDR => ({
      apiVersion: "networking.k8s.io/v1",
      kind: "ServiceCIDR",
      metadata: { name: "kubernetes" },
      spec: { cidrs },
    });
    w.api.put(kinds.ServiceCIDR, range(["10.96.0.0/16"]));
    await w.settle(40_000);
    w.api.put(kinds.IPPool, vips("inside", ["10.96.4.0/24"], { priority: 1 }));
    w.api.put(kinds.Service, service("a"));
    await w.settle();
    expect(w.condition(w.pool("inside"), "Accepted")).toBe("False OverlapsServices");
    expect(ingress(w.service("a"))).toEqual(["10.101.0.0"]);
    // A range that comes later, around what is given out already: that stays, and no more is given out.
    w.api.put(kinds.ServiceCIDR, range(["10.96.0.0/16", "10.101.0.0/16"]));
    await w.settle(40_000);
    expect(w.condition(w.pool("vips"), "Accepted")).toBe("False OverlapsServices");
    w.api.put(kinds.Service, service("b"));
    await w.settle();
    expect([ingress(w.service("a")), ingress(w.service("b"))]).toEqual([["10.101.0.0"], []]);
    // Where no ServiceCIDR is served, the addresses of Services say it.
    w.api.remove(kinds.ServiceCIDR, "kubernetes");
    w.api.put(kinds.Service, service("kubernetes", { type: "ClusterIP", clusterIPs: ["10.96.0.1"] }));
    w.api.put(kinds.IPPool, vips("around", ["10.96.0.0/24"]));
    await w.settle(40_000);
    expect(w.condition(w.pool("around"), "Accepted")).toBe("False OverlapsServices");
    expect(w.pool("around")?.status?.conditions?.[0]?.message).toContain("Service shop/kubernetes");
    expect(w.condition(w.pool("inside"), "Accepted")).toBe("True Accepted");
    expect(ingress(w.service("b")).length).toBe(1);
  });

  it("stop giving out what another cluster declares, and both objects say so", async () => {
    const w = await cluster();
    w.api.put(kinds.Service, service("a"));
    await w.settle();
    w.api.put(kinds.ClusterPeering, peering("dc2", ["10.101.0.0/24"]));
    await w.settle();
    w.api.put(kinds.Service, service("b"));
    await w.settle();
    expect(ingress(w.service("a"))).toEqual(["10.101.0.0"]);
    expect(w.condition(w.service("b"), "waggle.dev/Allocated")).toBe("False OtherCluster");
    expect(w.condition(w.pool("vips"), "Ready")).toBe("False OverlapsPeering");
    expect(w.condition(w.pool("vips"), "Accepted")).toBe("True Accepted");
    expect(w.condition(w.api.read(kinds.ClusterPeering, "dc2"), "Overlap")).toBe("True Overlap");
  });

  it("say what of each block is in use and by whom, and nothing of what rests", async () => {
    const w = await cluster();
    w.api.put(kinds.Service, service("b", {}, { annotations: { "waggle.dev/addresses": "10.101.0.5" } }));
    w.api.put(kinds.Service, service("a", {}, { annotations: { "waggle.dev/addresses": "10.101.0.6" } }));
    await w.settle();
    const used = [{ prefix: "10.101.0.4/30", users: "Service shop/a, Service shop/b" }];
    expect(w.pool("vips")?.status).toMatchObject({
      inUse: used,
      usedBy: `10.101.0.4/30 by ${used[0]!.users}`,
    });
    w.api.remove(kinds.Service, "b", "shop");
    await w.settle(8_000);
    expect(w.pool("vips")?.status).toMatchObject({
      cooling: 1,
      inUse: [{ prefix: "10.101.0.6/32", users: "Service shop/a" }],
    });
  });

  it("that lose a prefix in use say so", async () => {
    const w = await cluster();
    w.api.put(kinds.Service, service("a"));
    await w.settle();
    w.api.put(kinds.IPPool, {
      ...w.pool("vips")!,
      metadata: { ...w.pool("vips")!.metadata, generation: 2 },
      spec: vips("vips", ["10.103.0.0/24"]).spec,
    });
    await w.settle();
    expect(w.condition(w.pool("vips"), "Ready")).toBe("False PrefixInUse");
    expect(ingress(w.service("a"))).toEqual(["10.101.0.0"]);
  });
});

describe("what is paused", () => {
  const pause = <T extends { readonly metadata: object }>(object: T): T => ({
    ...object,
    metadata: { ...object.metadata, annotations: { "waggle.dev/paused": "true" } },
  });

  it("is left alone: Services and Nodes", async () => {
    const w = await cluster();
    w.api.put(kinds.Service, pause(service("a")));
    w.api.put(kinds.Node, pause(node("n3", "172.30.1.13")));
    await w.settle(10_000);
    expect(w.service("a")?.status).toBeUndefined();
    expect(w.view("n3")?.spec).toEqual({});
    w.api.put(kinds.Service, service("a"));
    w.api.put(kinds.Node, node("n3", "172.30.1.13"));
    await w.settle();
    expect(ingress(w.service("a"))).toEqual(["10.101.0.0"]);
    expect(w.view("n3")?.spec.podBlocks).toHaveLength(2);
  });

  it("counts in its earlier form: the ClusterNetwork, also for an operator that starts later", async () => {
    const w = await cluster();
    const read = () => w.api.read(kinds.ClusterNetwork, "default")!;
    w.api.put(kinds.ClusterNetwork, pause(read()));
    await w.settle();
    const changed = { ...read(), spec: network("Observe").spec };
    w.api.put(kinds.ClusterNetwork, { ...changed, metadata: { ...changed.metadata, generation: 2 } });
    w.api.put(kinds.Node, node("n3", "172.30.1.13"));
    await w.settle();
    expect(w.view("n3")?.spec.podBlocks).toHaveLength(2);
    // Without memory of the earlier form nothing is given out, and nothing taken back.
    w.kill(w.processes[0]!);
    w.api.put(kinds.Node, node("n4", "172.30.1.14"));
    w.start();
    await w.settle(30_000);
    expect(w.view("n4")).toBeUndefined();
    expect(w.view("n3")?.spec.podBlocks).toHaveLength(2);
    const { annotations: _, ...metadata } = read().metadata;
    w.api.put(kinds.ClusterNetwork, { ...read(), metadata, spec: network().spec });
    await w.settle();
    expect(w.view("n4")?.spec.podBlocks).toHaveLength(2);
  });
});

describe("an operator", () => {
  it("gives out nothing while a kind cannot be listed", async () => {
    const w = new World(1);
    w.api.put(kinds.ClusterNetwork, network());
    w.api.put(kinds.IPPool, vips("vips", ["10.101.0.0/24"]));
    w.api.put(kinds.Service, service("a"));
    w.api.fault = (o) => (o.kind === "IPReservation" ? new ApiError(403, "Forbidden", "no") : undefined);
    w.start();
    await w.settle(60_000);
    expect(w.claims()).toEqual([]);
    w.api.fault = () => undefined;
    await w.settle(40_000);
    expect(ingress(w.service("a"))).toEqual(["10.101.0.0"]);
  });

  it("releases nothing for a 403, a lost kind, or another cluster behind the address", async () => {
    const w = await cluster();
    w.api.put(kinds.Service, service("a"));
    w.api.put(kinds.IPReservation, reservation("r", "10.101.0.9", "later"));
    await w.settle();
    const before = w.claimLines();
    for (const trouble of ["403", "gone", "other"]) {
      if (trouble === "403") w.api.fault = () => new ApiError(403, "Forbidden", "no");
      if (trouble === "gone") w.api.gone.add("IPReservation");
      if (trouble === "other") w.api.clusterUID = "another";
      w.api.cutWatches();
      await w.settle(120_000);
      w.api.fault = () => undefined;
      w.api.gone.clear();
      w.api.clusterUID = "cluster-1";
      await w.settle(60_000);
      expect(w.claimLines()).toEqual(before);
      expect(ingress(w.service("a"))).toEqual(["10.101.0.0"]);
    }
  });

  it("writes no status when nothing changes", async () => {
    const w = await cluster();
    w.api.put(kinds.Service, service("a"));
    await w.settle(10_000);
    const before = w.api.version;
    const leases = () =>
      w.api.log.filter((l) => l.operation.kind === "Lease" && l.operation.verb === "replace").length;
    const renewals = leases();
    await w.settle(25 * 60_000);
    expect(w.api.version - before - (leases() - renewals)).toBe(0);
  });

  it("takes nothing back when it stops", async () => {
    const w = await cluster();
    w.api.put(kinds.Service, service("a"));
    await w.settle();
    const before = w.claimLines();
    const status = w.service("a")?.status;
    const stopping = w.processes[0]!.operator[Symbol.asyncDispose]();
    await w.settle();
    await stopping;
    expect(w.claimLines()).toEqual(before);
    expect(w.service("a")?.status).toEqual(status);
  });

  it("tells what sessions and routes make of peers, advertisements and peerings", async () => {
    const w = await cluster();
    w.api.put(kinds.BGPPeer, {
      apiVersion,
      kind: "BGPPeer",
      metadata: { name: "tor", labels: { fabric: "tor" } },
      spec: {
        nodeSelector: {},
        address: "172.30.1.1",
        port: 179,
        peerASN: 65001,
        families: ["IPv4Unicast", "IPv6Unicast"],
        holdSeconds: 90,
        connectRetrySeconds: 5,
        connectRetryMaxSeconds: 120,
        passwordSecretName: "bgp",
        passive: false,
        gracefulRestart: { enabled: true, restartSeconds: 120 },
        maxPrefixes: { ipv4: 1000, ipv6: 1000 },
        ...plainPeer,
      },
    });
    w.api.put(kinds.BGPAdvertisement, {
      apiVersion,
      kind: "BGPAdvertisement",
      metadata: { name: "all" },
      spec: { nodeSelector: {}, peerSelector: {}, advertise: [{ type: "PodBlocks" }] },
    });
    w.api.put(kinds.ClusterPeering, peering("dc2", ["10.2.0.0/16"]));
    await w.settle();
    const peer = () => w.condition(w.api.read(kinds.BGPPeer, "tor"), "Ready");
    expect(peer()).toBe("False NoReport");
    const report = (state: "Idle" | "Established", reason?: string) => {
      for (const name of ["n1", "n2"])
        w.api.put(kinds.NodeNetwork, {
          ...w.view(name)!,
          status: {
            sessions: [{ peer: "tor", state, ...(reason && { reason }) }],
            announced: (w.view(name)!.spec.podBlocks ?? []).map((b) => ({
              prefix: b.prefix,
              state: "Announced" as const,
            })),
            routes: {
              learned: 4,
              byPeering: [{ name: "dc2", learned: name === "n1" ? 4 : 3 }],
              tagMissing: name === "n1" ? ["dc2"] : [],
            },
          },
        });
    };
    report("Idle", "Secret waggle-system/bgp with key password is not there; the session is kept down");
    await w.settle();
    expect(peer()).toBe("False PasswordSecretMissing");
    report("Established");
    await w.settle();
    expect(peer()).toBe("True Established");
    expect(w.api.read(kinds.BGPPeer, "tor")?.status).toMatchObject({ nodes: 2, established: 2 });
    expect(w.api.read(kinds.BGPAdvertisement, "all")?.status).toMatchObject({ routes: 4 });
    const dc2 = w.api.read(kinds.ClusterPeering, "dc2");
    expect(dc2?.status?.learned).toBe(4);
    expect(w.condition(dc2, "TagMissing")).toBe("True TagMissing");
    expect(dc2?.status?.conditions?.find((c) => c.type === "TagMissing")?.message).toContain("n1");
    expect(w.condition(dc2, "Ready")).toBe("True Ready");
  });
});
