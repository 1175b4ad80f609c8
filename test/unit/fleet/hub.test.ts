// fleet/hub: who may join, what a key opens, what Trace objects say, and what a hub forgets.
import { createClient, createRouterTransport } from "@connectrpc/connect";
import { describe, expect, it } from "vitest";
import { AgentHub, CallerHub } from "../../../src/api/generated/proto/hub_pb.js";
import type { Trace } from "../../../src/api/index.ts";
import { encodeJson } from "../../../src/fleet/chunks.ts";
import type { AgentSession } from "../../../src/fleet/hub/agents.ts";
import { tokenReviewer } from "../../../src/fleet/hub/authenticate.ts";
import { HubRun } from "../../../src/fleet/hub/run.ts";
import { agentAccount, defaultTiming, nodeNameExtra } from "../../../src/fleet/protocol.ts";
import { ApiError, type KubeApi, kinds, type TokenReview, TransportError } from "../../../src/kube/index.ts";
import { settle, VirtualClock } from "../kube/virtual-clock.ts";
import { countMap, quiet, type SimCluster, schema, World } from "./world.ts";

/** A caller that is not ours: it sends what it likes. */
function rawCaller(cluster: SimCluster, trace: string, key: string) {
  const transport = createRouterTransport(cluster.core.routes);
  const stop = new AbortController();
  const requests = async function* () {
    yield { message: { case: "run" as const, value: { trace, key } } };
    await new Promise(() => undefined);
  };
  const events: string[] = [];
  let error: string | undefined;
  void (async () => {
    try {
      for await (const event of createClient(CallerHub, transport).run(requests(), { signal: stop.signal }))
        events.push(event.message.case ?? "");
    } catch (e) {
      error = (e as Error).message;
    }
  })();
  return { events, stop, error: () => error };
}

const keyOf = (n: number): string => n.toString(16).padStart(64, "0");
async function putTrace(world: World, cluster: SimCluster, name: string, key: string): Promise<void> {
  const { createHash } = await import("node:crypto");
  cluster.api.put(kinds.Trace, {
    apiVersion: "waggle.dev/v1alpha1",
    kind: "Trace",
    metadata: { name },
    spec: {
      script: "x",
      nodeSelector: {},
      durationSeconds: 5,
      keyHash: createHash("sha256").update(key).digest("hex"),
      limits: { mapBytes: 4096, ringBytes: 4096 },
    },
  });
  await world.clock.until(() => statusOf(cluster, name)?.hub !== undefined);
}
const statusOf = (cluster: SimCluster, name: string): Trace["status"] =>
  cluster.api.read(kinds.Trace, name)?.status;

describe("callers", () => {
  it("a wrong key, a wrong name and a key of another run open nothing, and all get the same answer", async () => {
    const world = new World(1, "dc1");
    const cluster = world.cluster("dc1");
    const tracer = cluster.addNode("a", {});
    await world.joined();
    await putTrace(world, cluster, "one", keyOf(1));
    await putTrace(world, cluster, "two", keyOf(2));
    for (const [name, key] of [
      ["one", keyOf(3)],
      ["one", keyOf(2)],
      ["none", keyOf(1)],
      ["one", ""],
      ["none", ""],
    ] as const) {
      const caller = rawCaller(cluster, name, key);
      await world.clock.advance(100);
      expect(caller.error()).toMatch(/no run of this name waits for a caller with this key/);
    }
    expect(tracer.prepared).toBe(0);
    expect(cluster.core.callers.stats.refused).toBe(5);
  });

  it("a run has one caller", async () => {
    const world = new World(2, "dc1");
    const cluster = world.cluster("dc1");
    cluster.addNode("a", {});
    await world.joined();
    await putTrace(world, cluster, "one", keyOf(1));
    const first = rawCaller(cluster, "one", keyOf(1));
    await world.clock.until(() => first.events.includes("compiled"));
    const second = rawCaller(cluster, "one", keyOf(1));
    await world.clock.advance(100);
    expect(second.error()).toMatch(/has its caller already/);
    first.stop.abort();
    await world.clock.until(() => statusOf(cluster, "one")?.finishedAt !== undefined);
    const third = rawCaller(cluster, "one", keyOf(1));
    await world.clock.advance(100);
    expect(third.error()).toMatch(/has its caller already/);
  });

  it("two callers at the same moment: one gets in", async () => {
    const world = new World(5, "dc1");
    const cluster = world.cluster("dc1");
    cluster.addNode("a", {});
    await world.joined();
    await putTrace(world, cluster, "one", keyOf(1));
    const callers = [rawCaller(cluster, "one", keyOf(1)), rawCaller(cluster, "one", keyOf(1))];
    await world.clock.advance(100);
    expect(callers.map((c) => c.error()?.includes("has its caller already") ?? false).sort()).toEqual([
      false,
      true,
    ]);
    for (const caller of callers) caller.stop.abort();
  });

  it("a hub takes 16 runs at a time, and more when they have ended", async () => {
    const world = new World(3, "dc1");
    const cluster = world.cluster("dc1");
    cluster.addNode("a", { errors: ["no"] }, { ceilings: { runs: 100 } });
    await world.joined();
    for (let i = 0; i < 17; i++) await putTrace(world, cluster, `t${i}`, keyOf(i));
    // The API server does not take the final status, so runs stay open a little.
    cluster.api.stall = ({ verb, kind }) => (verb === "patch" && kind === "Trace" ? 900 : 0);
    const callers = Array.from({ length: 17 }, (_, i) => rawCaller(cluster, `t${i}`, keyOf(i)));
    await world.clock.advance(200);
    expect(callers.filter((c) => c.error() !== undefined)).toHaveLength(1);
    expect(callers[16]!.error()).toMatch(/16 runs are going on/);
    await world.clock.advance(2_000);
    const again = rawCaller(cluster, "t16", keyOf(16));
    await world.clock.until(() => again.events.includes("done"));
  });

  it("a caller that never says attach loses its run, and nothing was attached", async () => {
    const world = new World(4, "dc1");
    const cluster = world.cluster("dc1");
    const tracer = cluster.addNode("a", {});
    await world.joined();
    await putTrace(world, cluster, "one", keyOf(1));
    const transport = createRouterTransport(cluster.core.routes);
    let heartbeats = true;
    const events: string[] = [];
    void (async () => {
      const requests = async function* () {
        yield { message: { case: "run" as const, value: { trace: "one", key: keyOf(1) } } };
        while (heartbeats) {
          await new Promise<void>((resolve) => void world.clock.after(1_000, resolve));
          yield { message: { case: "heartbeat" as const, value: { atUnixMs: 0n } } };
        }
      };
      for await (const { message } of createClient(CallerHub, transport).run(requests()))
        events.push(message.case === "done" ? message.value.reason : (message.case ?? ""));
    })();
    await world.clock.until(() => events.at(-1)?.includes("did not ask") === true, 31_000);
    heartbeats = false;
    expect([tracer.prepared, tracer.attaches, tracer.runs.size]).toEqual([1, 0, 0]);
    expect(statusOf(cluster, "one")).toMatchObject({ phase: "Failed" });
  });
});

describe("what a run holds is bounded", () => {
  /** A run whose nodes say what the test says, and whose caller reads nothing. */
  async function begin(nodes: readonly string[], mapBytes?: number) {
    const clock = new VirtualClock();
    const stops: string[] = [];
    const session = (node: string): AgentSession => ({
      node,
      hello: {} as AgentSession["hello"],
      listen: () => undefined,
      forget: () => undefined,
      prepare: () => undefined,
      attach: () => undefined,
      stop: () => void stops.push(node),
    });
    const run = new HubRun({
      trace: {
        apiVersion: "waggle.dev/v1alpha1",
        kind: "Trace",
        metadata: { name: "t", uid: "u" },
        spec: {
          script: "x",
          nodeSelector: {},
          durationSeconds: 5,
          keyHash: keyOf(0),
          limits: { mapBytes: 4096, ringBytes: 4096 },
        },
      },
      nodes,
      session,
      clock,
      timing: defaultTiming,
      log: quiet,
      progress: () => undefined,
      ...(mapBytes === undefined ? {} : { mapBytes }),
    });
    const ended = run.execute();
    const none = { errors: [], warnings: [] };
    for (const node of nodes)
      run.compiled(node, { ok: true, schemaHash: "h", schemaJson: encodeJson(schema), ...none });
    await settle();
    run.proceed("h");
    await settle();
    for (const node of nodes) run.attached(node, { ok: true, error: "" });
    await settle();
    const finish = async (node: string) => {
      const zero = { lostEvents: 0n, mapFull: 0n, unattributed: 0n, exitCode: 0, message: "" };
      run.finished(node, { reason: "deadline", ...zero });
      await settle();
    };
    return { run, ended, finish, stops };
  }

  it("lines beyond 16 MiB for a caller that does not read are dropped and told of", async () => {
    const { run, ended, finish } = await begin(["a"]);
    const megabyte = encodeJson({ kind: "line", type: "printf", text: "x".repeat(1 << 20) });
    for (let i = 0; i < 20; i++) run.report("a", megabyte);
    await finish("a");
    const outcome = await ended;
    run.finish(outcome);
    expect(run.events.bytes).toBeLessThanOrEqual(17 * 1024 * 1024);
    expect(outcome.lostEvents).toBe(5n);
    const events = [];
    for await (const event of run.events) events.push(event.message);
    const done = events.at(-1);
    expect(done?.case === "done" && done.value.errors.map((e) => e.error)).toEqual([
      "5 lines were dropped: the caller reads more slowly than they come",
    ]);
  });

  it("a node whose maps do not fit any more is told of; the others' answer stays whole", async () => {
    const { run, ended, finish, stops } = await begin(["a", "b"], 300);
    run.report("a", encodeJson({ kind: "maps", maps: [countMap({ x: 1 })] }));
    run.report("b", encodeJson({ kind: "maps", maps: [countMap({ ["y".repeat(400)]: 1 })] }));
    await finish("a");
    await finish("b");
    const outcome = await ended;
    expect([outcome.answered, stops]).toEqual([1, ["b"]]);
  });

  it("an answer that cannot be read costs its node the run, not the run its end", async () => {
    const { run, ended, finish } = await begin(["a", "b"]);
    run.report("a", new TextEncoder().encode('{"kind":"shell"}'));
    await finish("b");
    expect(await ended).toMatchObject({ asked: 2, answered: 1 });
  });
});

describe("Trace objects", () => {
  it("tell where the hub is, how far the run is, and what came of it", async () => {
    const world = new World(10, "dc1");
    const cluster = world.cluster("dc1");
    cluster.addNode("a", { maps: [countMap({ x: 1 })], lostEvents: 2 });
    await world.joined();
    // Kept from being deleted, so that it can be looked at.
    cluster.api.fault = ({ verb }, effect) =>
      verb === "delete" && !effect ? new TransportError("connect", "no") : undefined;
    const asked = world.ask();
    const phases: string[] = [];
    const trace = () => cluster.api.all(kinds.Trace)[0];
    await world.clock.until(
      () => {
        const phase = trace()?.status?.phase;
        if (phase && phases.at(-1) !== phase) phases.push(phase);
        return asked.outcome !== undefined;
      },
      20_000,
      2,
    );
    expect(phases).toEqual(["Pending", "Compiled", "Running", "Done"]);
    expect(trace()!.status).toMatchObject({
      observedGeneration: 1,
      hub: { address: "dc1.test:1", caBundle: "CA of dc1" },
      asked: 1,
      answered: 1,
      lostEvents: 2,
      message: "1/1 nodes answered",
      conditions: [{ type: "Ready", status: "True", reason: "Done", observedGeneration: 1 }],
    });
    expect(trace()!.status!.resultDigest).toMatch(/^[0-9a-f]{64}$/);
    expect(trace()!.spec.keyHash).toMatch(/^[0-9a-f]{64}$/);
  });

  it("the same answer has the same digest", async () => {
    const digest = async (seed: number, x: number): Promise<string | undefined> => {
      const world = new World(seed, "dc1");
      const cluster = world.cluster("dc1");
      for (const node of ["a", "b"]) cluster.addNode(node, { maps: [countMap({ x })] });
      cluster.api.fault = ({ verb }) => (verb === "delete" ? new TransportError("connect", "no") : undefined);
      await world.joined();
      await world.answer();
      return cluster.api.all(kinds.Trace)[0]!.status!.resultDigest;
    };
    expect(await digest(11, 1)).toBe(await digest(12, 1));
    expect(await digest(11, 1)).not.toBe(await digest(12, 2));
  });

  it("without a caller are failed after a minute and deleted an hour later", async () => {
    const world = new World(13, "dc1");
    const cluster = world.cluster("dc1");
    await putTrace(world, cluster, "lonely", keyOf(1));
    await world.clock.advance(55_000);
    expect(statusOf(cluster, "lonely")).toMatchObject({ phase: "Pending" });
    await world.clock.until(() => statusOf(cluster, "lonely")?.phase === "Failed", 10_000, 500);
    expect(statusOf(cluster, "lonely")?.message).toMatch(/no caller joined within 60 s/);
    await world.clock.advance(3_500_000);
    expect(cluster.api.all(kinds.Trace)).toHaveLength(1);
    await world.clock.advance(200_000);
    expect(cluster.api.all(kinds.Trace)).toHaveLength(0);
  });

  it("beyond a hundred finished ones the oldest are deleted", async () => {
    const world = new World(14, "dc1");
    const cluster = world.cluster("dc1");
    for (let i = 0; i < 120; i++) {
      const name = `t${String(i).padStart(3, "0")}`;
      const finishedAt = new Date(world.clock.now() - (200 - i) * 1000).toISOString();
      cluster.api.put(kinds.Trace, {
        apiVersion: "waggle.dev/v1alpha1",
        kind: "Trace",
        metadata: { name },
        spec: {
          script: "x",
          nodeSelector: {},
          durationSeconds: 5,
          keyHash: keyOf(i),
          limits: { mapBytes: 4096, ringBytes: 4096 },
        },
        status: { phase: "Done", finishedAt },
      });
    }
    await world.clock.advance(20_000);
    const left = cluster.api.all(kinds.Trace).map((t) => t.metadata.name);
    expect(left).toHaveLength(100);
    expect(left.sort()[0]).toBe("t020");
  });

  it("deleted during the run: the run ends", async () => {
    const world = new World(15, "dc1");
    const cluster = world.cluster("dc1");
    const tracer = cluster.addNode("a", { maps: [countMap({ x: 1 })] });
    await world.joined();
    const asked = world.ask({ durationSeconds: 600 });
    await world.clock.until(() => tracer.attached === 1);
    cluster.api.remove(kinds.Trace, cluster.api.all(kinds.Trace)[0]!.metadata.name);
    await world.clock.until(() => asked.outcome !== undefined, 5_000);
    expect(tracer.attached).toBe(0);
    expect(asked.outcome!.clusters[0]!.error).toMatch(/deleted/);
  });

  it("of runs that another hub had begun are failed; those that wait are taken over", async () => {
    const world = new World(16, "dc1");
    const cluster = world.cluster("dc1");
    const old = { address: "old:1", caBundle: "old" };
    const spec = {
      script: "x",
      nodeSelector: {},
      durationSeconds: 5,
      keyHash: keyOf(1),
      limits: { mapBytes: 4096, ringBytes: 4096 },
    };
    for (const [name, phase] of [
      ["begun", "Running"],
      ["waits", "Pending"],
    ] as const)
      cluster.api.put(kinds.Trace, {
        apiVersion: "waggle.dev/v1alpha1",
        kind: "Trace",
        metadata: { name },
        spec,
        status: { phase, hub: old },
      });
    await world.clock.advance(2_000);
    expect(statusOf(cluster, "begun")).toMatchObject({ phase: "Failed", message: /restarted/ });
    expect(statusOf(cluster, "waits")).toMatchObject({ phase: "Pending", hub: { caBundle: "CA of dc1" } });
  });

  it("an API server that is away during the run costs the status and nothing else", async () => {
    const world = new World(17, "dc1");
    const cluster = world.cluster("dc1");
    const tracer = cluster.addNode("a", { maps: [countMap({ x: 1 })] });
    await world.joined();
    const asked = world.ask();
    await world.clock.until(() => tracer.attached === 1);
    cluster.api.fault = () => new TransportError("connect", "refused");
    await world.clock.until(() => asked.outcome !== undefined);
    expect(asked.outcome!.status).toBe("ok");
  });
});

describe("agents", () => {
  it("a newer stream of a node takes the older one's place", async () => {
    const world = new World(20, "dc1");
    const cluster = world.cluster("dc1");
    cluster.addNode("a", {});
    await world.joined();
    cluster.addNode("a", {}, { timing: { redialMinMs: 1e9, redialMaxMs: 1e9 } });
    await world.clock.until(() => cluster.core.agents.stats.replaced > 0);
    expect(cluster.core.agents.size).toBe(1);
    await world.clock.advance(100);
    expect(cluster.core.agents.nodes()).toEqual(["a"]);
  });

  it("an agent that says it is another node than its token is refused", async () => {
    const world = new World(21, "dc1");
    const cluster = world.cluster("dc1");
    cluster.addNode("a", {}, { token: async () => "token-of-b" });
    await world.clock.advance(2_000);
    expect(cluster.core.agents.size).toBe(0);
    expect(cluster.members.get("a")!.member.state.lastError).toMatch(
      /says it is "a", its token is bound to "b"/,
    );
  });

  it("an agent that is silent from the start is not waited for", async () => {
    const world = new World(22, "dc1");
    const cluster = world.cluster("dc1");
    let error = "";
    const requests = async function* () {
      await new Promise(() => undefined);
      yield {};
    };
    void (async () => {
      const transport = createRouterTransport(cluster.core.routes);
      try {
        for await (const _ of createClient(AgentHub, transport).join(requests(), {
          headers: { authorization: "Bearer token-of-a" },
        }));
      } catch (e) {
        error = (e as Error).message;
      }
    })();
    await world.clock.until(() => error !== "", 6_000);
    expect(error).toMatch(/must begin with a hello/);
  });

  it("asks for a hub again and again, ever more slowly, and finds it when it is there", async () => {
    const world = new World(23, "dc1");
    const cluster = world.cluster("dc1");
    let asked = 0;
    let there = false;
    cluster.addNode(
      "a",
      {},
      {
        discover: async () => {
          asked += 1;
          return there ? { address: cluster.address, ca: "" } : undefined;
        },
      },
    );
    const { member } = cluster.members.get("a")!;
    await world.clock.advance(1_000);
    expect(asked).toBeGreaterThan(1);
    expect(asked).toBeLessThan(6);
    await world.clock.advance(600_000);
    expect(asked).toBeGreaterThan(50);
    expect(asked).toBeLessThan(90);
    there = true;
    await world.clock.until(() => member.state.connected, 13_000);
    expect(member.state.cluster).toBe("dc1");
  });

  it("refuses what is over its ceilings, and gives less memory than is asked for", async () => {
    const world = new World(24, "dc1");
    const cluster = world.cluster("dc1");
    const tracer = cluster.addNode("a", {}, { ceilings: { durationMs: 10_000, mapBytes: 1024, runs: 2 } });
    await world.joined();
    const long = await world.answer({ durationSeconds: 11 });
    expect(long.coverage.errors[0]!.error).toMatch(/over this agent's ceiling of 10 s/);
    expect(tracer.prepared).toBe(0);
    const running = [world.ask(), world.ask()];
    await world.clock.until(() => tracer.attached === 2);
    expect([...tracer.runs.values()][0]!.request).toMatchObject({
      mapBytes: 1024,
      ringBytes: 8 * 1024 * 1024,
    });
    const third = await world.answer();
    expect(third.coverage.errors[0]!.error).toMatch(/2 runs are going on at this node/);
    await world.clock.until(() => running.every((r) => r.outcome?.status === "ok"));
  });
});

describe("token review", () => {
  type Status = TokenReview["status"];
  const good: Status = {
    authenticated: true,
    audiences: ["waggle-hub"],
    user: { username: agentAccount, extra: { [nodeNameExtra]: ["n1"] } },
  };
  const reviewer = (status: Status | Error, seen: TokenReview[] = []) => {
    const api = {
      create: async (_: unknown, object: TokenReview) => {
        seen.push(object);
        if (status instanceof Error) throw status;
        return { ...object, status };
      },
    } as unknown as KubeApi;
    return tokenReviewer(api, 1_000);
  };

  it("takes the node from the token, for our audience alone", async () => {
    const seen: TokenReview[] = [];
    expect(await reviewer(good, seen).agent("Bearer abc")).toEqual({ node: "n1" });
    expect(seen[0]!.spec).toEqual({ token: "abc", audiences: ["waggle-hub"] });
  });

  it.each<[string, Status | Error, string, RegExp]>([
    ["no token", good, "", /bearer token is needed/],
    ["basic authentication", good, "Basic abc", /bearer token is needed/],
    ["not authenticated", { authenticated: false }, "Bearer x", /does not accept this token/],
    ["another audience", { ...good, audiences: ["kubernetes"] }, "Bearer x", /does not accept this token/],
    ["a server that ignores audiences", { ...good, audiences: [] }, "Bearer x", /does not accept this token/],
    [
      "another account",
      { ...good, user: { ...good!.user, username: "system:serviceaccount:default:x" } },
      "Bearer x",
      /not the account/,
    ],
    ["not bound to a node", { ...good, user: { username: agentAccount } }, "Bearer x", /not bound to a node/],
    [
      "an API server that says no",
      new ApiError(500, "InternalError", "Bearer x is odd"),
      "Bearer x",
      /^\[unavailable\] token review: ApiError$/,
    ],
  ])("refuses %s", async (_, status, header, words) => {
    await expect(reviewer(status).agent(header)).rejects.toThrow(words);
  });
});
