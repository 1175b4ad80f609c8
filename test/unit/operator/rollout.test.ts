// operator: roll-outs: steps by label, stops, approvals, ways back; simulated fleets of which every run is told by its seed.
import { describe, expect, it } from "vitest";
import type { BGPAdvertisement, BGPPolicy, ClusterNetwork, Node } from "../../../src/api/index.ts";
import { kinds } from "../../../src/kube/index.ts";
import { type RollOutNode, type RollOutOutcome, stepRollOut } from "../../../src/operator/rollout.ts";
import { formThatCounts, type RollOut, type RollOutConfig, stepOf } from "../../../src/plan/index.ts";
import { plainPeer } from "../../support/cluster-states.ts";
import { seeded } from "../kube/virtual-clock.ts";
import { apiVersion, network, node, pods, World } from "./world.ts";

const policy = (prefix: string, generation = 1): BGPPolicy => ({
  apiVersion,
  kind: "BGPPolicy",
  metadata: { name: "to-tors", uid: "uid-policy", generation },
  spec: { rules: [{ name: "mine", match: { prefixes: [{ prefix }] }, action: "Accept" }] },
});

const advertisement = (): BGPAdvertisement => ({
  apiVersion,
  kind: "BGPAdvertisement",
  metadata: { name: "pods", uid: "uid-advertisement", generation: 1 },
  spec: { nodeSelector: {}, peerSelector: {}, advertise: [{ type: "PodBlocks" }] },
});

const config = (more: Partial<RollOutConfig> = {}): RollOutConfig => ({
  byNodeLabel: "rack",
  order: ["canary"],
  soakSeconds: 30,
  deadlineSeconds: 120,
  maxFailures: 0,
  ...more,
});

/** A node's agent: what it remembers, what it says. */
interface SimulatedNode {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  form: BGPPolicy | BGPAdvertisement | undefined;
  rollout: RollOut | undefined;
  failures: string[];
}

/** A fleet around one object: agents that look now and then, an operator that is born anew for each step. */
class Fleet {
  object: BGPPolicy | BGPAdvertisement;
  now = 1_000_000_000_000;
  config: RollOutConfig | undefined = config();
  readonly nodes: SimulatedNode[];
  last: RollOutOutcome | undefined;

  constructor(object: BGPPolicy | BGPAdvertisement, racks: readonly (string | undefined)[]) {
    this.object = object;
    this.nodes = racks.map((rack, i) => ({
      name: `n${i}`,
      labels: rack === undefined ? {} : { rack },
      form: undefined,
      rollout: undefined,
      failures: [],
    }));
  }

  operator(view = this.#reports()): RollOutOutcome {
    const outcome = stepRollOut({
      object: this.object,
      config: this.config,
      faults: [],
      nodes: view,
      now: this.now,
    });
    const { observedGeneration: _, ...status } = this.object.status ?? {};
    const paused = this.object.metadata.annotations?.["waggle.dev/paused"] === "true";
    const seen = paused ? this.object.status?.observedGeneration : this.object.metadata.generation;
    const { rollout } = outcome;
    const { rollout: __, ...others } = status;
    this.object = {
      ...this.object,
      status: {
        ...others,
        ...(seen !== undefined && { observedGeneration: seen }),
        ...(rollout && { rollout }),
      },
    } as typeof this.object;
    this.last = outcome;
    return outcome;
  }

  #reports(): RollOutNode[] {
    return this.nodes.map((n) => ({
      name: n.name,
      labels: n.labels,
      createdAt: 0,
      left: false,
      taken: n.rollout?.taken ? n.rollout.target : undefined,
      failures: n.failures,
    }));
  }
  reports = (): RollOutNode[] => this.#reports();

  /** An agent looks at the object. */
  look(n: SimulatedNode, breaks = false): void {
    const rollouts: RollOut[] = [];
    const before = n.form?.metadata.generation;
    n.form = formThatCounts("BGPPolicy/to-tors", this.object, n.form, {
      config: this.config,
      labels: n.labels,
      rollouts,
      paused: [],
    });
    n.rollout = rollouts[0];
    if (!n.rollout?.taken || before !== n.form?.metadata.generation) n.failures = [];
    if (breaks && n.rollout?.taken && n.failures.length === 0) n.failures = ["session tor was lost"];
  }

  edit(change: (o: BGPPolicy) => BGPPolicy): void {
    const next = change(this.object as BGPPolicy);
    const generation = (this.object.metadata.generation ?? 0) + 1;
    this.object = { ...next, metadata: { ...next.metadata, generation } };
  }

  annotate(annotations: Record<string, string>): void {
    this.object = { ...this.object, metadata: { ...this.object.metadata, annotations } };
  }

  /** Everybody looks, seconds pass. */
  run(seconds: number, breaks: (n: SimulatedNode) => boolean = () => false): void {
    for (let i = 0; i < seconds; i++) {
      for (const n of this.nodes) this.look(n, breaks(n));
      this.operator();
      this.now += 1_000;
    }
  }

  get generations(): string {
    return this.nodes.map((n) => n.form?.metadata.generation ?? 0).join("");
  }
  get message(): string {
    return this.last?.verdict?.say.message ?? "";
  }
  get reason(): string {
    return this.last?.verdict?.say.reason ?? "";
  }
}

const renamed = (prefix: string) => (o: BGPPolicy) => ({ ...o, spec: policy(prefix).spec });
const racks = ["b", "a", "canary", undefined, "a"] as const;

function settled(): Fleet {
  const fleet = new Fleet(policy("10.0.0.0/8"), racks);
  fleet.operator();
  fleet.run(2);
  expect(fleet.generations).toBe("11111");
  return fleet;
}

describe("a changed policy", () => {
  it("goes from step to step: the order first, then sorted, nodes without the label last", () => {
    const fleet = settled();
    fleet.edit(renamed("10.0.0.0/9"));
    const seen: string[] = [];
    for (let i = 0; i < 150; i++) {
      fleet.run(1);
      if (seen.at(-1) !== fleet.generations) seen.push(fleet.generations);
    }
    expect(seen).toEqual(["11111", "11211", "12212", "22212", "22222"]);
    expect(fleet.object.status?.rollout).toMatchObject({ phase: "Done", generation: 2 });
    expect(fleet.last?.verdict?.status).toBe("True");
  });

  it("waits for the operator: an edit that it has not seen changes nothing anywhere", () => {
    const fleet = settled();
    fleet.edit(renamed("10.0.0.0/9"));
    for (const n of fleet.nodes) fleet.look(n);
    expect(fleet.generations).toBe("11111");
    // Nor on a node whose agent remembers nothing: what is in force stands in the status.
    fleet.nodes[0]!.form = undefined;
    fleet.look(fleet.nodes[0]!);
    expect((fleet.nodes[0]!.form as BGPPolicy | undefined)?.spec).toEqual(policy("10.0.0.0/8").spec);
  });

  it("stops where a node fails, says why, and goes on once that is approved", () => {
    const fleet = settled();
    fleet.edit(renamed("10.0.0.0/9"));
    fleet.run(100, (n) => n.name === "n1");
    expect(fleet.generations).toBe("12212");
    expect(fleet.message).toContain("stopped at step 2 of 4 (rack=a): n1: session tor was lost");
    expect(fleet.object.status?.rollout).toMatchObject({ phase: "Stopped", failing: 1, taken: 3, nodes: 5 });
    fleet.annotate({ "waggle.dev/approve": "something else" });
    fleet.run(5, (n) => n.name === "n1");
    expect(fleet.generations).toBe("12212");
    fleet.annotate({ "waggle.dev/approve": fleet.object.status!.rollout!.approve! });
    fleet.run(100, (n) => n.name === "n1");
    expect(fleet.generations).toBe("22222");
    expect(fleet.object.status?.rollout?.phase).toBe("Done");
  });

  it("stops again where another node fails after an approval", () => {
    const fleet = settled();
    fleet.edit(renamed("10.0.0.0/9"));
    fleet.run(100, (n) => n.name === "n1");
    fleet.annotate({ "waggle.dev/approve": fleet.object.status!.rollout!.approve! });
    fleet.run(100, (n) => n.name === "n1" || n.name === "n0");
    expect(fleet.generations).toBe("22212");
    expect(fleet.reason).toBe("Stopped");
  });

  it("goes back at once and everywhere when the form before is applied again", () => {
    const fleet = settled();
    fleet.edit(renamed("10.0.0.0/9"));
    fleet.run(100, (n) => n.name === "n1");
    fleet.edit(renamed("10.0.0.0/8"));
    fleet.run(2);
    expect(fleet.nodes.map((n) => JSON.stringify(n.form?.spec))).toEqual(
      racks.map(() => JSON.stringify(policy("10.0.0.0/8").spec)),
    );
    expect(fleet.object.status?.rollout).toMatchObject({ phase: "Done", generation: 3 });
  });

  it("begins anew with another edit: nodes have the newest form or the one before the roll-out", () => {
    const fleet = settled();
    fleet.edit(renamed("10.0.0.0/9"));
    fleet.run(40);
    expect(fleet.generations).toBe("12212");
    fleet.edit(renamed("10.0.0.0/10"));
    fleet.run(2);
    expect(fleet.generations).toBe("11311");
    fleet.run(150);
    expect(fleet.generations).toBe("33333");
  });

  it("stays where it is while it is paused", () => {
    const fleet = settled();
    fleet.edit(renamed("10.0.0.0/9"));
    fleet.run(40);
    fleet.annotate({ "waggle.dev/paused": "true" });
    fleet.run(200);
    expect(fleet.generations).toBe("12212");
    expect(fleet.reason).toBe("Paused");
    fleet.annotate({});
    fleet.run(150);
    expect(fleet.generations).toBe("22222");
  });

  it("counts a node that does not take it in time as failing", () => {
    const fleet = settled();
    fleet.edit(renamed("10.0.0.0/9"));
    for (let i = 0; i < 130; i++) {
      for (const n of fleet.nodes) if (n.name !== "n2") fleet.look(n);
      fleet.operator();
      fleet.now += 1_000;
    }
    expect(fleet.message).toContain("n2: has not taken it within 120 s");
    fleet.run(1);
    expect(fleet.reason).toBe("Soaking");
  });

  it("tolerates as many failures as are allowed", () => {
    const fleet = settled();
    fleet.config = config({ maxFailures: 1 });
    fleet.edit(renamed("10.0.0.0/9"));
    fleet.run(150, (n) => n.name === "n1");
    expect(fleet.generations).toBe("22222");
  });

  it("is everywhere at once where roll-outs are not asked for any more", () => {
    const fleet = settled();
    fleet.edit(renamed("10.0.0.0/9"));
    fleet.run(3);
    fleet.config = undefined;
    fleet.run(1);
    expect(fleet.generations).toBe("22222");
    expect(fleet.object.status?.rollout).toBeUndefined();
  });
});

describe("a new advertisement", () => {
  it("is rolled out too: nodes whose turn has not come have nothing of it", () => {
    const fleet = new Fleet(advertisement(), racks);
    fleet.run(3);
    expect(fleet.generations).toBe("00100");
    fleet.run(150);
    expect(fleet.generations).toBe("11111");
  });
});

/** One seeded run of a fleet; returns what happened, and throws where a rule is broken. */
function simulate(seed: number): string {
  const random = seeded(seed);
  const pick = (n: number): number => Math.floor(random() * n);
  const names = ["a", "b", "c", "canary", undefined];
  const fleet = new Fleet(
    policy("10.0.0.0/8"),
    Array.from({ length: 3 + pick(12) }, () => names[pick(names.length)]),
  );
  fleet.config = config({ maxFailures: pick(3), soakSeconds: pick(60), deadlineSeconds: 20 + pick(100) });
  fleet.operator();
  for (const n of fleet.nodes) fleet.look(n);
  const story: string[] = [];
  let view = fleet.reports();
  let stepAt = fleet.now;
  let reached = 0;
  for (let i = 0; i < 400; i++) {
    fleet.now += 500 + pick(3_000);
    const action = random();
    if (action < 0.02) fleet.edit(renamed(`10.${pick(3)}.0.0/16`));
    else if (action < 0.03) fleet.annotate(random() < 0.5 ? { "waggle.dev/paused": "true" } : {});
    else if (action < 0.05) {
      const approve = fleet.object.status?.rollout?.approve;
      if (approve !== undefined) fleet.annotate({ "waggle.dev/approve": approve });
    } else if (action < 0.75) fleet.look(fleet.nodes[pick(fleet.nodes.length)]!, random() < 0.03);
    // Caches are behind now and then.
    if (random() < 0.7) view = fleet.reports();
    if (random() < 0.6) {
      const before = fleet.object.status?.rollout;
      const { rollout } = fleet.operator(view);
      const now = rollout?.target === undefined ? 0 : (rollout.reached?.length ?? 0);
      if (rollout?.target !== undefined && before?.target === rollout.target && now > reached) {
        if (now !== reached + 1 && view.some((n) => stepOf("rack", n.labels) === rollout.reached?.at(-2)))
          throw new Error(`seed ${seed}: two steps at once`);
        const failing = view.filter((n) => n.taken === rollout.target && n.failures.length > 0).length;
        if (failing > fleet.config.maxFailures + (rollout.tolerated ?? 0))
          throw new Error(`seed ${seed}: went on with ${failing} failures`);
        if (reached > 0 && fleet.now - stepAt < (fleet.config.soakSeconds - 1) * 1000)
          throw new Error(`seed ${seed}: did not wait`);
      }
      if (now !== reached) stepAt = fleet.now;
      reached = now;
      const line = `${rollout?.generation} ${rollout?.target ?? "-"} ${rollout?.phase} ${rollout?.reached?.join() ?? ""}`;
      if (story.at(-1) !== line) story.push(line);
    }
    const { rollout } = fleet.object.status ?? {};
    for (const n of fleet.nodes) {
      const has = n.form?.metadata.generation ?? 0;
      if (n.rollout?.taken && n.rollout.target === rollout?.target && has === rollout.target)
        if (!rollout.reached?.includes(stepOf("rack", n.labels)))
          throw new Error(`seed ${seed}: ${n.name} took it before its turn`);
      if (has === 0) throw new Error(`seed ${seed}: ${n.name} has nothing`);
    }
  }
  return story.join("\n");
}

describe("simulated fleets", () => {
  it("keep the rules and tell the same story for the same seed", () => {
    let stops = 0;
    let finished = 0;
    for (let seed = 1; seed <= 60; seed++) {
      const story = simulate(seed);
      expect(simulate(seed)).toBe(story);
      stops += story.split("Stopped").length - 1;
      finished += story.split("Done").length - 2;
    }
    expect(stops).toBeGreaterThan(10);
    expect(finished).toBeGreaterThan(10);
  });
});

describe("the operator", () => {
  const zoned = (): ClusterNetwork => {
    const base = network();
    return { ...base, spec: { ...base.spec, rollout: config({ soakSeconds: 20 }) } };
  };

  /** Agents: every node reports what a roll-out has brought it. */
  function report(w: World, name: string, failures: readonly string[] = []): number {
    const object = w.api.read(kinds.BGPPolicy, "to-tors")!;
    const labels = w.api.read(kinds.Node, name)!.metadata.labels;
    const rollouts: RollOut[] = [];
    const form = formThatCounts("BGPPolicy/to-tors", object, undefined, {
      config: zoned().spec.rollout,
      labels,
      rollouts,
      paused: [],
    });
    const view = w.view(name)!;
    const since = "2026-01-01T00:00:00Z";
    w.api.put(kinds.NodeNetwork, {
      ...view,
      status: {
        ...view.status,
        rollouts: rollouts
          .filter((r) => r.taken)
          .map((r) => ({ object: r.object, generation: r.target, since, failures })),
      },
    });
    return form?.metadata.generation ?? 0;
  }

  it("carries a roll-out on after it was killed in the middle, and stops for good where a node fails", async () => {
    const w = new World(5);
    w.api.put(kinds.ClusterNetwork, zoned());
    w.api.put(kinds.IPPool, pods("pods", ["10.1.0.0/16"]));
    const racked = (n: Node, rack: string): Node => ({ ...n, metadata: { ...n.metadata, labels: { rack } } });
    for (const [i, rack] of ["canary", "a", "b"].entries())
      w.api.put(kinds.Node, racked(node(`n${i}`, `172.30.1.1${i}`), rack));
    w.api.put(kinds.BGPPeer, {
      apiVersion,
      kind: "BGPPeer",
      metadata: { name: "tor" },
      spec: {
        ...{ nodeSelector: {}, address: "172.30.1.1", port: 179, peerASN: 65_001, families: ["IPv4Unicast"] },
        ...{ holdSeconds: 90, connectRetrySeconds: 5, connectRetryMaxSeconds: 120, passive: false },
        gracefulRestart: { enabled: true, restartSeconds: 120 },
        maxPrefixes: { ipv4: 1, ipv6: 1 },
        exportPolicies: ["to-tors"],
        ...plainPeer,
      },
    });
    w.api.put(kinds.BGPPolicy, policy("10.0.0.0/8"));
    w.start();
    await w.settle();
    const all = (failing?: string): string =>
      ["n0", "n1", "n2"].map((n) => report(w, n, n === failing ? ["session tor was lost"] : [])).join("");
    const read = () => w.api.read(kinds.BGPPolicy, "to-tors")!;
    expect(all()).toBe("111");
    const edited = { ...read(), spec: policy("10.0.0.0/9").spec };
    w.api.put(kinds.BGPPolicy, { ...edited, metadata: { ...edited.metadata, generation: 2 } });
    await w.settle();
    expect(all()).toBe("211");
    await w.settle();
    expect(w.condition(read(), "RolledOut")).toBe("False Soaking");
    w.kill(w.processes[0]!);
    w.start();
    await w.settle(60_000);
    expect(all("n1")).toBe("221");
    await w.settle(60_000);
    expect(all("n1")).toBe("221");
    expect(w.condition(read(), "RolledOut")).toBe("False Stopped");
    expect(w.condition(read(), "Ready")).toBe("True Ready");
    const { approve } = read().status!.rollout!;
    w.api.put(kinds.BGPPolicy, {
      ...read(),
      metadata: { ...read().metadata, annotations: { "waggle.dev/approve": approve! } },
    });
    await w.settle(30_000);
    expect(all("n1")).toBe("222");
    await w.settle(30_000);
    expect(w.condition(read(), "RolledOut")).toBe("True Done");
    expect(read().status?.rollout?.generation).toBe(2);
  });
});
