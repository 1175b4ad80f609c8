// Services that have one address together: who may, what happens when one changes or goes, and that nothing moves.
import { describe, expect, it } from "vitest";
import type { Service } from "../../../src/api/index.ts";
import { kinds } from "../../../src/kube/resource.ts";
import { cluster, ingress, reservation, service, vips, type World } from "./world.ts";

interface Shape {
  readonly key?: string;
  readonly ports?: readonly string[];
  readonly namespace?: string;
  readonly namespaces?: string;
  readonly addresses?: string;
  readonly local?: Readonly<Record<string, string>>;
}

const sharing = (name: string, shape: Shape = {}): Service =>
  service(
    name,
    {
      ports: (shape.ports ?? ["TCP/80"]).map((p) => ({
        name: p.toLowerCase().replace("/", "-"),
        protocol: p.split("/")[0] as "TCP",
        port: Number(p.split("/")[1]),
      })),
      ...(shape.local && { externalTrafficPolicy: "Local", selector: shape.local }),
    },
    {
      namespace: shape.namespace ?? "shop",
      annotations: {
        "waggle.dev/sharing-key": shape.key ?? "dns",
        ...(shape.namespaces && { "waggle.dev/sharing-namespaces": shape.namespaces }),
        ...(shape.addresses && { "waggle.dev/addresses": shape.addresses }),
      },
    },
  );

const ipOf = (w: World, name: string, namespace = "shop"): string =>
  ingress(w.service(name, namespace)).join();
const say = (w: World, name: string, namespace = "shop") =>
  w.service(name, namespace)?.status?.conditions?.find((c) => c.type === "waggle.dev/Allocated");
const users = (w: World, prefix: string): string =>
  (w.claims().find((c) => c.spec.prefix === prefix)?.status?.sharing?.users ?? []).map((u) => u.name).join();

/** Changes what a user wrote and keeps the status. */
const edit = (w: World, name: string, next: Service): void => {
  const now = w.service(name)!;
  w.api.put(kinds.Service, {
    ...now,
    metadata: { ...now.metadata, annotations: { ...next.metadata.annotations } },
    spec: next.spec,
  });
};

describe("Services with one sharing key", () => {
  it("have one address as long as their ports differ; the next one gets another", async () => {
    const w = await cluster();
    w.api.put(kinds.Service, sharing("a", { ports: ["TCP/53"] }));
    w.api.put(kinds.Service, sharing("b", { ports: ["UDP/53"] }));
    await w.settle();
    w.api.put(kinds.Service, sharing("c", { ports: ["UDP/53", "TCP/80"] }));
    w.api.put(kinds.Service, sharing("other", { key: "mail", ports: ["TCP/25"] }));
    w.api.put(kinds.Service, service("alone", { ports: [{ name: "x", protocol: "TCP", port: 8080 }] }));
    await w.settle();
    expect(ipOf(w, "a")).toBe("10.101.0.0");
    expect(ipOf(w, "b")).toBe("10.101.0.0");
    expect(new Set(["a", "c", "other", "alone"].map((n) => ipOf(w, n))).size).toBe(4);
    expect(users(w, "10.101.0.0/32")).toBe("a,b");
    expect(say(w, "b")).toMatchObject({ status: "True", reason: "Allocated" });
    await w.settle(60_000);
    const version = w.api.version;
    await w.settle(60_000);
    expect(w.api.version - version, "only Leases are written at rest").toBeLessThan(60);
  });

  it("applied at once get one address, not two", async () => {
    const w = await cluster();
    for (const [i, name] of ["a", "b", "c", "d"].entries())
      w.api.put(kinds.Service, sharing(name, { ports: [`TCP/${8000 + i}`] }));
    await w.settle();
    expect(new Set(["a", "b", "c", "d"].map((n) => ipOf(w, n)))).toEqual(new Set(["10.101.0.0"]));
  });

  it("share with Local only where the same pods answer", async () => {
    const w = await cluster();
    w.api.put(kinds.Service, sharing("a", { ports: ["TCP/1"], local: { app: "x" } }));
    await w.settle();
    w.api.put(kinds.Service, sharing("same", { ports: ["TCP/2"], local: { app: "x" } }));
    w.api.put(kinds.Service, sharing("others", { ports: ["TCP/3"], local: { app: "y" } }));
    w.api.put(kinds.Service, sharing("anywhere", { ports: ["TCP/4"] }));
    w.api.put(kinds.Service, sharing("asks", { ports: ["TCP/5"], addresses: "10.101.0.0" }));
    await w.settle();
    expect(users(w, "10.101.0.0/32")).toBe("a,same");
    expect(say(w, "asks")).toMatchObject({ status: "False", reason: "SharingConflict" });
    expect(say(w, "asks")?.message).toContain("Service shop/a has externalTrafficPolicy Local");
  });

  it("of other namespaces share only where both say so", async () => {
    const w = await cluster();
    w.api.put(kinds.Service, sharing("a", { ports: ["TCP/1"], namespaces: "lab" }));
    await w.settle();
    const at = { addresses: "10.101.0.0" };
    w.api.put(kinds.Service, sharing("b", { ports: ["TCP/2"], namespace: "lab", ...at }));
    w.api.put(kinds.Service, sharing("c", { ports: ["TCP/3"], namespace: "lab", namespaces: "*", ...at }));
    w.api.put(kinds.Service, sharing("d", { ports: ["TCP/4"], namespace: "den", namespaces: "*", ...at }));
    await w.settle();
    expect(users(w, "10.101.0.0/32")).toBe("a,c");
    expect(say(w, "b", "lab")?.message).toContain("of Service lab/b does not name namespace shop");
    expect(say(w, "d", "den")?.message).toContain("of Service shop/a does not name namespace den");
  });

  it("that is asked for is given by the rules, and says what stands in its way", async () => {
    const w = await cluster();
    w.api.put(kinds.Service, service("owner", { ports: [{ name: "x", protocol: "TCP", port: 80 }] }));
    await w.settle();
    w.api.put(kinds.Service, sharing("a", { ports: ["TCP/81"], addresses: "10.101.0.0" }));
    await w.settle();
    // Who has no key shares with nobody.
    expect(say(w, "a")).toMatchObject({ status: "False", reason: "AddressTaken" });
    const now = w.service("owner")!;
    w.api.put(kinds.Service, {
      ...now,
      metadata: { ...now.metadata, annotations: { "waggle.dev/sharing-key": "dns" } },
    });
    await w.settle();
    expect(ipOf(w, "a")).toBe("10.101.0.0");
  });

  it("keep the address when the first one goes; it is released with the last", async () => {
    const w = await cluster();
    w.api.put(kinds.Service, sharing("a", { ports: ["TCP/1"] }));
    await w.settle();
    w.api.put(kinds.Service, sharing("b", { ports: ["TCP/2"] }));
    await w.settle();
    w.announce("n1", ["10.101.0.0/32"]);
    w.api.remove(kinds.Service, "a", "shop");
    await w.settle(10_000);
    expect(ipOf(w, "b")).toBe("10.101.0.0");
    expect(w.claimLines()).toContain("10.101.0.0/32 Bound Service/b");
    expect(users(w, "10.101.0.0/32")).toBe("b");
    // Its port is free for another.
    w.api.put(kinds.Service, sharing("c", { ports: ["TCP/1"] }));
    await w.settle();
    expect(users(w, "10.101.0.0/32")).toBe("b,c");
    w.api.remove(kinds.Service, "b", "shop");
    w.api.remove(kinds.Service, "c", "shop");
    await w.settle(10_000);
    expect(w.claimLines().filter((l) => l.startsWith("10.101."))).toEqual([
      "10.101.0.0/32 Releasing Service/b",
    ]);
    w.announce("n1", []);
    await w.settle(30_000);
    expect(w.claimLines().filter((l) => l.startsWith("10.101."))).toEqual([]);
  });

  it("keep it over restarts, and over an edit that makes ports clash: the earlier has the port, the later is told", async () => {
    const w = await cluster();
    w.api.put(kinds.Service, sharing("a", { ports: ["TCP/1"] }));
    await w.settle();
    w.api.put(kinds.Service, sharing("b", { ports: ["TCP/2"] }));
    await w.settle();
    edit(w, "b", sharing("b", { ports: ["TCP/1"] }));
    await w.settle();
    expect(ipOf(w, "b")).toBe("10.101.0.0");
    expect(say(w, "b")).toMatchObject({ status: "False", reason: "SharingConflict" });
    expect(say(w, "b")?.message).toContain("port TCP/1 is Service shop/a's");
    w.kill(w.processes[0]!);
    w.start();
    await w.settle(60_000);
    expect([ipOf(w, "a"), ipOf(w, "b")]).toEqual(["10.101.0.0", "10.101.0.0"]);
    // The port becomes free: the clash is over.
    w.api.remove(kinds.Service, "a", "shop");
    await w.settle();
    expect(say(w, "b")).toMatchObject({ status: "True", reason: "Allocated" });
    expect(users(w, "10.101.0.0/32")).toBe("b");
  });

  it("leave it for another when they ask for that, and the others stay", async () => {
    const w = await cluster();
    w.api.put(kinds.Service, sharing("a", { ports: ["TCP/1"] }));
    await w.settle();
    w.api.put(kinds.Service, sharing("b", { ports: ["TCP/2"] }));
    await w.settle();
    edit(w, "a", sharing("a", { ports: ["TCP/1"], addresses: "10.101.0.9" }));
    await w.settle(5_000);
    expect([ipOf(w, "a"), ipOf(w, "b")]).toEqual(["10.101.0.9", "10.101.0.0"]);
    expect(w.claimLines()).toContain("10.101.0.0/32 Bound Service/b");
    // One that stops being ours leaves as well.
    const b = w.service("b")!;
    w.api.put(kinds.Service, sharing("c", { ports: ["TCP/3"], addresses: "10.101.0.0" }));
    await w.settle();
    w.api.put(kinds.Service, { ...b, spec: { ...b.spec, type: "ClusterIP" } });
    await w.settle(5_000);
    expect(users(w, "10.101.0.0/32")).toBe("c");
    expect(ipOf(w, "c")).toBe("10.101.0.0");
  });

  it("have a reserved address together, which stays theirs when the reservation goes", async () => {
    const w = await cluster();
    w.api.put(kinds.IPReservation, reservation("r", "10.101.0.7", "a"));
    await w.settle();
    w.api.put(kinds.Service, sharing("a", { ports: ["TCP/1"] }));
    await w.settle();
    w.api.put(kinds.Service, sharing("b", { ports: ["TCP/2"] }));
    await w.settle();
    expect([ipOf(w, "a"), ipOf(w, "b")]).toEqual(["10.101.0.7", "10.101.0.7"]);
    w.api.remove(kinds.IPReservation, "r", "shop");
    w.api.remove(kinds.Service, "a", "shop");
    await w.settle(60_000);
    expect(ipOf(w, "b")).toBe("10.101.0.7");
    expect(w.claims().find((c) => c.spec.prefix === "10.101.0.7/32")?.status?.phase).toBe("Bound");
    w.api.remove(kinds.Service, "b", "shop");
    await w.settle(120_000);
    expect(w.claimLines().filter((l) => l.startsWith("10.101."))).toEqual([]);
  });

  it("show one address already, as after an import: both have it, though neither had a claim", async () => {
    const w = await cluster();
    const shows = (s: Service): Service => ({
      ...s,
      status: { loadBalancer: { ingress: [{ ip: "10.101.0.3", ipMode: "VIP" }] } },
    });
    w.api.put(kinds.Service, shows(sharing("a", { ports: ["TCP/53"] })));
    w.api.put(kinds.Service, shows(sharing("b", { ports: ["UDP/53"] })));
    await w.settle();
    expect([ipOf(w, "a"), ipOf(w, "b")]).toEqual(["10.101.0.3", "10.101.0.3"]);
    expect(users(w, "10.101.0.3/32").split(",").sort()).toEqual(["a", "b"]);
  });

  it("need no room in a quota for an address that is there, and only of pools that may serve them", async () => {
    const w = await cluster();
    w.api.put(kinds.IPPool, vips("small", ["10.105.0.0/28"], { priority: 1, quota: 1, namespaces: ["lab"] }));
    await w.settle();
    const both = { namespace: "lab", namespaces: "*" };
    w.api.put(kinds.Service, sharing("a", { ports: ["TCP/1"], ...both }));
    await w.settle();
    w.api.put(kinds.Service, sharing("b", { ports: ["TCP/2"], ...both }));
    w.api.put(kinds.Service, sharing("c", { ports: ["TCP/3"], namespaces: "*" }));
    await w.settle();
    expect([ipOf(w, "a", "lab"), ipOf(w, "b", "lab")]).toEqual(["10.105.0.0", "10.105.0.0"]);
    expect(ipOf(w, "c")).toBe("10.101.0.0");
  });
});
