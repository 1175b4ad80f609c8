// Heartbeats of agents: who is waited for before anything new is given out, who is silent, what is in use and unknown.
import { describe, expect, it } from "vitest";
import type { NodeNetwork } from "../../../src/api/index.ts";
import { Heartbeat } from "../../../src/kube/heartbeat.ts";
import { kinds } from "../../../src/kube/resource.ts";
import { cluster, ingress, network, node, pods, reservation, service, vips, World } from "./world.ts";

/** An agent that beats, and reports what it is told to have in use. */
function agent(w: World, name: string) {
  const state = {
    uses: [] as { prefix: string; service?: string }[],
    dead: false,
    seen: undefined as bigint | undefined,
  };
  const report = (): boolean => {
    const view: NodeNetwork | undefined = w.view(name);
    if (!view) return false;
    const announced = state.uses.map((u) => ({ ...u, state: "Announced" as const }));
    w.api.put(kinds.NodeNetwork, { ...view, status: { ...view.status, announced } });
    return true;
  };
  const heartbeat = new Heartbeat({
    api: w.api.client(`agent-${name}`),
    namespace: "waggle-system",
    name: `waggle-agent-${name}`,
    kind: "agent",
    holder: name,
    clock: w.clock,
    random: w.random,
    settle: async () => report(),
    seen: () => state.seen,
    onRewound: () => {
      state.seen = undefined;
    },
    onError: () => undefined,
  });
  heartbeat.start();
  return Object.assign(state, { heartbeat, report });
}

describe("heartbeats", () => {
  it("of all agents are heard before an operator that starts gives out anything", async () => {
    const w = await cluster();
    agent(w, "n1");
    agent(w, "n2");
    await w.settle(15_000);
    w.kill(w.processes[0]!);
    w.api.put(kinds.Service, service("a"));
    await w.settle(12_000);
    const { operator } = w.start();
    expect(operator.awaited?.length).toBeGreaterThan(0);
    await w.clock.until(() => w.condition(w.service("a"), "waggle.dev/Allocated") !== "absent");
    expect(w.condition(w.service("a"), "waggle.dev/Allocated")).toBe("False AwaitingAgents");
    await w.clock.until(() => ingress(w.service("a")).length > 0, 20_000);
  });

  it("that stop make an agent silent: its session is unknown, and status says so until it is back", async () => {
    const w = await cluster();
    const one = agent(w, "n1");
    agent(w, "n2");
    await w.settle(60_000);
    const alive = (): string => w.condition(w.api.read(kinds.ClusterNetwork, "default"), "AgentsAlive");
    expect(alive()).toBe("True AgentsAlive");
    await Promise.all([one.heartbeat[Symbol.asyncDispose](), w.settle(70_000)]);
    expect(alive()).toBe("False AgentSilent");
    agent(w, "n1");
    await w.settle(15_000);
    expect(alive()).toBe("True AgentsAlive");
  });

  it("write nothing but Leases when nothing changes", async () => {
    const w = await cluster();
    agent(w, "n1");
    agent(w, "n2");
    await w.settle(60_000);
    const others: string[] = [];
    w.api.onWrite = (kind) => {
      if (kind !== "Lease") others.push(kind);
    };
    await w.settle(9 * 60_000);
    expect(others).toEqual([]);
  });
});

describe("an API server restored from a backup", () => {
  it("gives nobody an address that an agent has in use; what comes back has its own again", async () => {
    const w = await cluster();
    const one = agent(w, "n1");
    agent(w, "n2");
    await w.settle(15_000);
    w.api.put(kinds.Service, service("old"));
    await w.settle();
    const backup = w.api.backup();
    for (const name of ["lost", "back"]) w.api.put(kinds.Service, service(name));
    await w.settle();
    const [lost, back] = [ingress(w.service("lost"))[0]!, ingress(w.service("back"))[0]!];
    expect(new Set([lost, back, ...ingress(w.service("old"))]).size).toBe(3);
    one.uses = [
      { prefix: `${lost}/32`, service: "shop/lost" },
      { prefix: `${back}/32`, service: "shop/back" },
    ];
    one.report();
    await w.settle(12_000);
    w.api.restore(backup, false);
    // All watches are cut; by then one of them has noticed.
    await w.settle(3_000);
    w.api.put(kinds.Service, service("new"));
    w.api.put(kinds.IPReservation, reservation("r", "10.101.0.99", "later"));
    await w.settle(27_000);
    expect(w.condition(w.api.read(kinds.IPReservation, "r", "shop"), "Ready")).toBe("False AwaitingAgents");
    expect(ingress(w.service("new"))).toEqual([]);
    expect(w.condition(w.service("new"), "waggle.dev/Allocated")).toBe("False AwaitingAgents");
    expect(w.claimLines()).toContain(`${lost}/32 Releasing Service/lost`);
    expect(
      w.condition(
        w.claims().find((c) => c.spec.prefix === `${lost}/32`),
        "Ready",
      ),
    ).toBe("False Quarantined");
    await w.settle(40_000);
    expect(ingress(w.service("new"))).toEqual(["10.101.0.3"]);
    // Applied again, under a UID of its own.
    w.api.put(kinds.Service, service("back"));
    await w.settle();
    expect(ingress(w.service("back"))).toEqual([back]);
    // And what is withdrawn is free after its rest.
    one.uses = one.uses.filter((u) => u.service !== "shop/lost");
    one.report();
    await w.settle(60_000);
    expect(w.claims().some((c) => c.spec.prefix === `${lost}/32`)).toBe(false);
  });

  it("does not finish a claim whose address is in use for somebody else by now", async () => {
    const w = await cluster();
    const one = agent(w, "n1");
    await w.settle(15_000);
    w.api.put(kinds.Service, service("web"));
    await w.settle();
    const prefix = "10.101.0.50/32";
    one.uses = [{ prefix, service: "shop/elsewhere" }];
    const mine = w.claims().find((c) => c.spec.owner.name === "web")!;
    const { labels } = mine.metadata;
    // Made before the backup, verified never, and given to another in the time that was lost.
    w.api.put(kinds.IPAllocation, {
      apiVersion: mine.apiVersion,
      kind: mine.kind,
      metadata: { name: "v4-10-101-0-50-32", ...(labels && { labels }) },
      spec: { ...mine.spec, prefix },
    });
    one.report();
    await w.settle(30_000);
    expect(w.claimLines()).toContain(`${prefix} Releasing Service/elsewhere`);
  });

  it("waits for an agent that is cut off, until its Node is deleted", async () => {
    const w = await cluster();
    agent(w, "n1");
    const two = agent(w, "n2");
    await w.settle(15_000);
    const backup = w.api.backup();
    w.api.put(kinds.Service, service("lost"));
    await Promise.all([two.heartbeat[Symbol.asyncDispose](), w.settle(15_000)]);
    w.api.restore(backup, true);
    w.api.put(kinds.Service, service("new"));
    await w.settle(300_000);
    expect(ingress(w.service("new"))).toEqual([]);
    const message = w.service("new")?.status?.conditions?.[0]?.message;
    expect(message).toContain("waiting for n2;");
    w.api.remove(kinds.Node, "n2");
    await w.settle(5_000);
    expect(ingress(w.service("new"))).toHaveLength(1);
  });

  it("leaves blocks that pods have addresses from with their node", async () => {
    const w = new World(1, 10);
    w.api.put(kinds.ClusterNetwork, network());
    w.api.put(kinds.IPPool, pods("pods", ["10.1.0.0/16"]));
    w.api.put(kinds.IPPool, vips("vips", ["10.101.0.0/24"]));
    w.api.put(kinds.IPReservation, reservation("r", "10.101.0.9", "web"));
    w.start();
    w.api.put(kinds.Node, node("n1", "172.30.1.11"));
    await w.settle();
    // Known to the agent alone, from its CNI plugin's store.
    w.api.remove(kinds.IPAllocation, "v4-10-1-0-0-26");
    const view = w.view("n1")!;
    w.kill(w.processes[0]!);
    w.api.put(kinds.NodeNetwork, {
      ...view,
      spec: {},
      status: { ...view.status, inUse: [{ prefix: "10.1.4.0/26" }] },
    });
    w.start();
    await w.settle(30_000);
    expect(w.view("n1")?.spec.podBlocks).toEqual([{ prefix: "10.1.4.0/26", pool: "pods" }]);
  });
});
