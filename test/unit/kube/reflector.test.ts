import { describe, expect, it } from "vitest";
import type { IPPool, Service } from "../../../src/api/index.ts";
import { ApiError, TransportError } from "../../../src/kube/errors.ts";
import { ClusterIdentity } from "../../../src/kube/identity.ts";
import { Informer } from "../../../src/kube/informer.ts";
import { kinds } from "../../../src/kube/resource.ts";
import { SimulatedApi } from "./simulated-api.ts";
import { seeded, VirtualClock } from "./virtual-clock.ts";

const service = (name: string, labels: Record<string, string> = {}): Service => ({
  apiVersion: "v1",
  kind: "Service",
  metadata: { name, namespace: "default", labels },
  spec: { type: "LoadBalancer" },
});
const pool = (name: string): IPPool => ({
  apiVersion: "waggle.dev/v1alpha1",
  kind: "IPPool",
  metadata: { name },
  spec: {
    purpose: "LoadBalancers",
    blocks: ["10.0.0.0/24"],
    priority: 100,
    cooldownSeconds: 0,
    disabled: false,
  },
});

function setup(seed = 1) {
  const clock = new VirtualClock();
  const random = seeded(seed);
  const api = new SimulatedApi({ clock, random, latencyMs: 5 });
  const client = api.client("test");
  const identity = new ClusterIdentity(client, { clock });
  const services = new Informer({
    api: client,
    resource: kinds.Service,
    clock,
    random,
    identity,
    indexes: { app: (s) => (s.metadata.labels?.["app"] ? [s.metadata.labels["app"]] : []) },
  });
  const pools = new Informer({ api: client, resource: kinds.IPPool, clock, random, identity });
  return { clock, api, services, pools };
}

describe("reflector", () => {
  it("follows adds, changes and deletions, and tells the keys", async () => {
    const { clock, api, services } = setup();
    api.put(kinds.Service, service("a"));
    const keys: string[] = [];
    services.onChange((key) => keys.push(key));
    services.start();
    await clock.until(() => services.state.fresh);
    expect(services.cache.get("default/a")?.spec.type).toBe("LoadBalancer");
    api.put(kinds.Service, service("b", { app: "web" }));
    await clock.until(() => services.cache.has("default/b"));
    expect(services.cache.byIndex("app", "web").map((s) => s.metadata.name)).toEqual(["b"]);
    api.put(kinds.Service, service("b", { app: "db" }));
    await clock.until(() => services.cache.byIndex("app", "db").length === 1);
    expect(services.cache.byIndex("app", "web")).toEqual([]);
    api.remove(kinds.Service, "a", "default");
    await clock.until(() => !services.cache.has("default/a"));
    expect(keys).toEqual(["default/a", "default/b", "default/b", "default/a"]);
    services[Symbol.dispose]();
  });

  it("freezes objects and drops managedFields", async () => {
    const { clock, api, services } = setup();
    api.put(kinds.Service, {
      ...service("a"),
      metadata: { name: "a", namespace: "default", managedFields: [{}] } as Service["metadata"],
    });
    services.start();
    await clock.until(() => services.state.synced);
    const found = services.cache.get("default/a")!;
    expect("managedFields" in found.metadata).toBe(false);
    expect(Object.isFrozen(found) && Object.isFrozen(found.spec) && Object.isFrozen(found.metadata)).toBe(
      true,
    );
    services[Symbol.dispose]();
  });

  const failures: readonly (readonly [string, Error])[] = [
    ["401", new ApiError(401, "Unauthorized", "who are you")],
    ["403", new ApiError(403, "Forbidden", "not you")],
    ["404", new ApiError(404, "NotFound", "the server could not find the requested resource")],
    ["429", new ApiError(429, "TooManyRequests", "later")],
    ["500", new ApiError(500, "InternalError", "oops")],
    ["no connection", new TransportError("connect", "ECONNREFUSED")],
    ["nonsense", new TransportError("malformed", "not a list")],
  ];
  it.each(failures)("keeps everything through %s, says so, and recovers by itself", async (_, error) => {
    const { clock, api, services } = setup();
    for (const name of ["a", "b", "c"]) api.put(kinds.Service, service(name));
    services.start();
    await clock.until(() => services.state.fresh);
    api.fault = () => error;
    api.cutWatches();
    await clock.advance(300_000);
    expect(services.cache.size).toBe(3);
    expect(services.state.fresh).toBe(false);
    expect(services.state.lastError).toContain("services");
    expect(services.state.lastError).toContain(error.message);
    // 0.2 s doubling to 30 s: in five minutes a good dozen of attempts, not hundreds and not none.
    expect(services.reflector.stats.errors).toBeGreaterThan(10);
    expect(services.reflector.stats.errors).toBeLessThan(40);
    api.remove(kinds.Service, "a", "default");
    api.put(kinds.Service, service("d"));
    api.fault = () => undefined;
    await clock.until(() => services.state.fresh, 40_000);
    await clock.advance(1_000);
    expect(services.cache.keys().toSorted()).toEqual(["default/b", "default/c", "default/d"]);
    services[Symbol.dispose]();
  });

  it("relists with a diff after 410", async () => {
    const { clock, api, services } = setup();
    for (const name of ["a", "b"]) api.put(kinds.Service, service(name));
    services.start();
    await clock.until(() => services.state.fresh);
    const keys: string[] = [];
    services.onChange((key) => keys.push(key));
    api.fault = (o) => (o.verb === "watch" ? new TransportError("connect", "reset") : undefined);
    api.cutWatches();
    await clock.advance(2_000);
    api.remove(kinds.Service, "a", "default");
    api.put(kinds.Service, service("c"));
    api.compact();
    api.fault = () => undefined;
    await clock.until(() => services.cache.has("default/c"), 40_000);
    expect(keys.toSorted()).toEqual(["default/a", "default/c"]);
    expect(services.reflector.stats.expired).toBe(1);
    services[Symbol.dispose]();
  });

  it("believes nothing of another cluster, and is fresh again when the right one is back", async () => {
    const { clock, api, services } = setup();
    for (const name of ["a", "b"]) api.put(kinds.Service, service(name));
    services.start();
    await clock.until(() => services.state.fresh);
    api.clusterUID = "cluster-2";
    api.remove(kinds.Service, "a", "default");
    api.put(kinds.Service, service("intruder"));
    api.cutWatches();
    // What the old connection delivered before it was cut belongs to the old cluster's history in this simulation.
    const before = services.cache.keys();
    api.put(kinds.Service, service("intruder2"));
    api.compact();
    await clock.advance(120_000);
    expect(services.cache.keys()).toEqual(before);
    expect(services.state.fresh).toBe(false);
    expect(services.state.lastError).toContain("another cluster");
    api.clusterUID = "cluster-1";
    await clock.until(() => services.state.fresh, 40_000);
    expect(services.cache.has("default/intruder2")).toBe(true);
    services[Symbol.dispose]();
  });

  it("keeps a kind's objects when its definition is deleted, though each is shown as deleted", async () => {
    const { clock, api, pools } = setup();
    for (const name of ["a", "b"]) api.put(kinds.IPPool, pool(name));
    pools.start();
    await clock.until(() => pools.state.fresh);
    // The definition is marked first, then its objects go, then it goes itself.
    api.fault = (o) =>
      o.kind === "CustomResourceDefinition" ? new ApiError(404, "NotFound", "no such definition") : undefined;
    api.remove(kinds.IPPool, "a");
    api.remove(kinds.IPPool, "b");
    await clock.advance(5_000);
    api.gone.add("IPPool");
    await clock.advance(300_000);
    expect(pools.cache.keys()).toEqual(["a", "b"]);
    expect(pools.state.lastError).toMatch(/gone|could not find/);
    api.fault = () => undefined;
    api.gone.delete("IPPool");
    api.put(kinds.IPPool, pool("a"));
    api.compact();
    await clock.until(() => pools.state.fresh && !pools.cache.has("b"), 60_000);
    expect(pools.cache.keys()).toEqual(["a"]);
    pools[Symbol.dispose]();
  });

  it("still sees the deletion of one object, also without the right to read definitions", async () => {
    const { clock, api, pools } = setup();
    for (const name of ["a", "b"]) api.put(kinds.IPPool, pool(name));
    api.fault = (o) =>
      o.kind === "CustomResourceDefinition" ? new ApiError(403, "Forbidden", "not yours") : undefined;
    pools.start();
    await clock.until(() => pools.state.fresh);
    api.remove(kinds.IPPool, "a");
    await clock.until(() => !pools.cache.has("a"), 5_000);
    pools[Symbol.dispose]();
  });

  it("does not hammer a server that closes every watch at once", async () => {
    const { clock, api, services } = setup();
    services.start();
    await clock.until(() => services.state.fresh);
    const stream = api.stream.bind(api);
    api.stream = async function* () {} as typeof api.stream;
    api.cutWatches();
    await clock.advance(60_000);
    expect(services.reflector.stats.watches).toBeLessThan(20);
    expect(services.state.fresh).toBe(true);
    api.stream = stream;
    services[Symbol.dispose]();
  });

  it("stops only when told, and then leaves no timer", async () => {
    const { clock, services } = setup();
    services.start();
    await clock.until(() => services.state.fresh);
    services[Symbol.dispose]();
    await clock.advance(1_000);
    expect(clock.timers).toBe(0);
  });

  it.each([11, 12, 13, 14, 15, 16])(
    "ends with exactly what the server has, whatever happened on the way (seed %i)",
    async (seed) => {
      const { clock, api, services } = setup(seed);
      const random = seeded(seed * 1000);
      services.start();
      api.fault = () => (random() < 0.2 ? new TransportError("connect", "reset") : undefined);
      for (let i = 0; i < 300; i++) {
        const name = `s${Math.floor(random() * 12)}`;
        if (random() < 0.35) api.remove(kinds.Service, name, "default");
        else api.put(kinds.Service, service(name, { app: `a${Math.floor(random() * 3)}` }));
        if (random() < 0.03) api.cutWatches();
        if (random() < 0.02) api.compact();
        await clock.advance(random() * 400);
      }
      api.fault = () => undefined;
      await clock.advance(120_000);
      const versions = (all: readonly Service[]) =>
        Object.fromEntries(all.map((s) => [s.metadata.name, s.metadata.resourceVersion]));
      expect(versions(services.cache.list())).toEqual(versions(api.all(kinds.Service)));
      for (const app of ["a0", "a1", "a2"])
        expect(services.cache.byIndex("app", app).map((s) => s.metadata.name)).toEqual(
          api
            .all(kinds.Service)
            .filter((s) => s.metadata.labels?.["app"] === app)
            .map((s) => s.metadata.name)
            .toSorted(),
        );
      services[Symbol.dispose]();
    },
  );
});
