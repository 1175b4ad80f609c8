// fleet: runs over simulated clusters: who is asked, when anything is attached, what is merged, and what is left behind.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ApiError, kinds, TransportError } from "../../../src/kube/index.ts";
import type { MapData, NodeChunk } from "../../../src/results/types.ts";
import { countMap, type FakeTracer, World } from "./world.ts";

const rowsOf = (maps: readonly MapData[], name: string) => maps.find((m) => m.name === name)?.rows ?? [];
const line = (text: string): NodeChunk => ({ kind: "line", type: "printf", text });
const round = (ordinal: number, n: number): NodeChunk => ({
  kind: "round",
  site: 1,
  ordinal,
  map: countMap({ x: n }),
});

describe("a run on two clusters", () => {
  it("attaches everywhere, merges exactly and leaves no Trace", async () => {
    const world = new World(1, "dc1", "dc2");
    world.cluster("dc1").addNode("a", { maps: [countMap({ x: 1, y: 2 })] });
    world.cluster("dc1").addNode("b", { maps: [countMap({ x: 10 })] });
    world.cluster("dc2").addNode("c", { maps: [countMap({ x: 100 })], lostEvents: 3 });
    await world.joined();
    const outcome = await world.answer();
    expect(outcome.status).toBe("ok");
    expect(rowsOf(outcome.maps, "@c")).toEqual([
      { key: ["x"], cell: { number: "111" } },
      { key: ["y"], cell: { number: "2" } },
    ]);
    expect(outcome.coverage).toEqual({
      asked: 3,
      answered: 3,
      lostEvents: 3,
      mapFull: 0,
      unattributed: 0,
      errors: [],
    });
    expect(outcome.clusters.map(({ cluster, asked, answered }) => [cluster, asked, answered])).toEqual([
      ["dc1", 2, 2],
      ["dc2", 1, 1],
    ]);
    for (const { api } of world.clusters.values()) expect(api.all(kinds.Trace)).toEqual([]);
  });

  it("keeps values apart by node, under cluster/node where two clusters have one of that name", async () => {
    const value = (n: number): MapData => ({ name: "@v", rows: [{ key: [7], cell: { value: n } }] });
    const world = new World(2, "dc1", "dc2");
    world.cluster("dc1").addNode("same", { maps: [value(1)], chunks: [{ atMs: 100, chunk: line("hi\n") }] });
    world.cluster("dc2").addNode("same", { maps: [value(2)] });
    world.cluster("dc2").addNode("other", { maps: [value(3)] });
    await world.joined();
    const asked = world.ask();
    await world.clock.until(() => asked.outcome !== undefined);
    expect(
      rowsOf(asked.outcome!.maps, "@v").map((r) => [...r.key, "value" in r.cell && r.cell.value]),
    ).toEqual([
      ["dc1/same", 7, 1],
      ["other", 7, 3],
      ["dc2/same", 7, 2],
    ]);
    expect(asked.events.filter((e) => e.kind === "line").map((e) => e.node)).toEqual(["dc1/same"]);
  });

  it("gives the same answer however nodes are spread over clusters", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.record({
            cluster: fc.integer({ min: 0, max: 2 }),
            counts: fc.dictionary(fc.constantFrom("x", "y", "z"), fc.integer({ min: 0, max: 1e9 })),
            buckets: fc.uniqueArray(fc.tuple(fc.nat(40), fc.bigInt(0n, 2n ** 60n)), { selector: ([i]) => i }),
          }),
          { minLength: 1, maxLength: 5 },
        ),
        async (nodes) => {
          const world = new World(3, "c0", "c1", "c2");
          nodes.forEach(({ cluster, counts, buckets }, i) => {
            const hist: MapData = {
              name: "@h",
              rows: [{ key: [], cell: { buckets: buckets.map(([b, n]) => [b, String(n)] as const) } }],
            };
            world.cluster(`c${cluster}`).addNode(`n${i}`, { maps: [countMap(counts), hist], exitAtMs: 50 });
          });
          await world.joined();
          const { maps, coverage } = await world.answer();
          expect(coverage.answered).toBe(nodes.length);
          const counts = new Map<string, bigint>();
          const buckets = new Map<number, bigint>();
          for (const node of nodes) {
            for (const [key, n] of Object.entries(node.counts))
              counts.set(key, (counts.get(key) ?? 0n) + BigInt(n));
            for (const [b, n] of node.buckets) buckets.set(b, (buckets.get(b) ?? 0n) + n);
          }
          expect(
            new Map(rowsOf(maps, "@c").map((r) => [r.key[0], "number" in r.cell && BigInt(r.cell.number)])),
          ).toEqual(counts);
          const cell = rowsOf(maps, "@h")[0]?.cell;
          expect(
            new Map(cell && "buckets" in cell ? cell.buckets.map(([b, n]) => [b, BigInt(n)]) : []),
          ).toEqual(buckets);
        },
      ),
      { seed: 4711, numRuns: 25 },
    );
  });

  it("merges rounds by their ordinal while the run goes on", async () => {
    const world = new World(4, "dc1", "dc2");
    const at = (ms: number, n: number) => [1, 2, 3].map((i) => ({ atMs: i * ms, chunk: round(i - 1, n) }));
    world.cluster("dc1").addNode("a", { chunks: at(1000, 1) });
    world.cluster("dc1").addNode("b", { chunks: at(1200, 10) });
    // The kernel lost this node's second record.
    world.cluster("dc2").addNode("c", { chunks: at(900, 100).filter((_, i) => i !== 1) });
    await world.joined();
    const asked = world.ask();
    await world.clock.until(() => asked.events.some((e) => e.kind === "round"));
    expect(asked.outcome).toBeUndefined();
    await world.clock.until(() => asked.outcome !== undefined);
    const rounds = asked.events.flatMap((e) => (e.kind === "round" ? [e.round] : []));
    expect(rounds.map((r) => [r.ordinal, r.map.rows[0]!.cell])).toEqual([
      [0, { number: "111" }],
      [1, { number: "11" }],
      [2, { number: "111" }],
    ]);
  });

  it("passes lines on at once, with their node", async () => {
    const world = new World(5, "dc1");
    world.cluster("dc1").addNode("a", { chunks: [{ atMs: 500, chunk: line("early\n") }] });
    world.cluster("dc1").addNode("b", {});
    await world.joined();
    const asked = world.ask();
    await world.clock.until(() => asked.events.some((e) => e.kind === "line"), 2_000);
    expect(asked.outcome).toBeUndefined();
    expect(asked.events.at(-1)).toEqual({ kind: "line", node: "a", line: line("early\n") });
  });

  it("ends when asked to, with the answer so far", async () => {
    const world = new World(6, "dc1", "dc2");
    const tracer = world.cluster("dc1").addNode("a", { maps: [countMap({ x: 1 })] });
    world.cluster("dc2").addNode("b", { maps: [countMap({ x: 2 })] });
    await world.joined();
    const asked = world.ask({ durationSeconds: 3600 });
    await world.clock.until(() => tracer.attached === 1);
    asked.stop.abort();
    await world.clock.until(() => asked.outcome !== undefined, 1_000);
    expect(asked.outcome!.status).toBe("ok");
    expect(rowsOf(asked.outcome!.maps, "@c")).toEqual([{ key: ["x"], cell: { number: "3" } }]);
  });

  it("hands on what the script gave to exit()", async () => {
    const world = new World(7, "dc1");
    world.cluster("dc1").addNode("a", { exitAtMs: 10, exitCode: 42 });
    await world.joined();
    expect((await world.answer()).exitCode).toBe(42);
  });

  it("asks only nodes that the selector matches", async () => {
    const world = new World(8, "dc1");
    const a = world.cluster("dc1").addNode("a", { maps: [countMap({ x: 1 })] });
    const b = world.cluster("dc1").addNode("b", {});
    await world.joined();
    const { coverage } = await world.answer({
      nodeSelector: { matchLabels: { "kubernetes.io/hostname": "a" } },
    });
    expect([coverage.asked, a.prepared, b.prepared]).toEqual([1, 1, 0]);
  });
});

describe("before anything is attached", () => {
  it("an error on every node of every cluster attaches nothing anywhere", async () => {
    const world = new World(10, "dc1", "dc2");
    const errors = ["stdin:1:1-4: ERROR: no such field"];
    const tracers = [
      world.cluster("dc1").addNode("a", { errors }),
      world.cluster("dc1").addNode("b", { errors }),
      world.cluster("dc2").addNode("c", { errors }),
    ];
    await world.joined();
    const asked = world.ask();
    await world.clock.until(() => asked.outcome !== undefined, 5_000);
    expect(asked.outcome!.status).toBe("failed");
    expect(asked.outcome!.reason).toMatch(/attached nowhere/);
    expect(tracers.map((t) => t.attaches)).toEqual([0, 0, 0]);
    expect(
      asked.events.filter((e) => e.kind === "compiled").map((e) => [e.cluster, e.compiled, e.asked]),
    ).toEqual([
      ["dc1", 0, 2],
      ["dc2", 0, 1],
    ]);
  });

  it("the clusters wait for one another", async () => {
    const world = new World(11, "dc1", "dc2");
    const slow = world.cluster("dc1").addNode("slow", { prepareMs: 3_000 });
    const fast = world.cluster("dc2").addNode("fast", {});
    await world.joined();
    const asked = world.ask();
    await world.clock.until(() => asked.events.some((e) => e.kind === "compiled"));
    await world.clock.advance(2_000);
    expect([slow.attaches, fast.attaches]).toEqual([0, 0]);
    await world.clock.until(() => slow.attached === 1 && fast.attached === 1, 1_500);
    await world.clock.until(() => asked.outcome !== undefined);
    expect(asked.outcome!.status).toBe("ok");
  });

  it("a cluster where nothing compiles does not keep the others from answering", async () => {
    const world = new World(12, "dc1", "dc2");
    world.cluster("dc1").addNode("a", { errors: ["old kernel"] });
    world.cluster("dc2").addNode("b", { maps: [countMap({ x: 1 })] });
    await world.joined();
    const { status, coverage, maps } = await world.answer();
    expect(status).toBe("partial");
    expect(coverage.errors).toEqual([{ node: "a", error: "old kernel" }]);
    expect(rowsOf(maps, "@c")).toHaveLength(1);
  });

  it("--strict attaches nowhere when one node does not compile", async () => {
    const world = new World(13, "dc1", "dc2");
    const tracers = [
      world.cluster("dc1").addNode("a", {}),
      world.cluster("dc1").addNode("b", { errors: ["no"] }),
      world.cluster("dc2").addNode("c", {}),
    ];
    await world.joined();
    const { status, reason } = await world.answer({ strict: true });
    expect([status, tracers.map((t) => t.attaches)]).toEqual(["failed", [0, 0, 0]]);
    expect(reason).toMatch(/--strict/);
    expect(tracers.map((t) => t.runs.size)).toEqual([0, 0, 0]);
  });

  it("a node whose answer has another form is told of and not merged; the majority wins", async () => {
    const world = new World(14, "dc1");
    const odd = world.cluster("dc1").addNode("odd", { hash: "hash-0", maps: [countMap({ x: 1000 })] });
    world.cluster("dc1").addNode("a", { maps: [countMap({ x: 1 })] });
    world.cluster("dc1").addNode("b", { maps: [countMap({ x: 2 })] });
    await world.joined();
    const { status, coverage, maps } = await world.answer();
    expect(status).toBe("partial");
    expect(rowsOf(maps, "@c")).toEqual([{ key: ["x"], cell: { number: "3" } }]);
    expect(coverage.errors[0]!.node).toBe("odd");
    expect(coverage.errors[0]!.error).toMatch(/another form/);
    expect([odd.attaches, odd.runs.size]).toEqual([0, 0]);
  });

  it("of two forms that equally many clusters have, one wins wherever it is", async () => {
    const outcomes = await Promise.all(
      [
        ["hash-a", "hash-b"],
        ["hash-b", "hash-a"],
      ].map(async ([one, two], i) => {
        const world = new World(15 + i, "dc1", "dc2");
        world.cluster("dc1").addNode("a", { hash: one!, maps: [countMap({ [one!]: 1 })] });
        world.cluster("dc2").addNode("b", { hash: two!, maps: [countMap({ [two!]: 1 })] });
        await world.joined();
        return world.answer();
      }),
    );
    for (const { status, maps, clusters } of outcomes) {
      expect(status).toBe("partial");
      expect(rowsOf(maps, "@c").map((r) => r.key)).toEqual([["hash-a"]]);
      expect(clusters.filter((c) => c.error?.includes("another form"))).toHaveLength(1);
    }
  });

  it("a node that does not attach is told of", async () => {
    const world = new World(17, "dc1");
    world.cluster("dc1").addNode("a", { attachError: "no such tracepoint" });
    world.cluster("dc1").addNode("b", {});
    await world.joined();
    const { status, coverage } = await world.answer();
    expect([status, coverage.errors]).toEqual(["partial", [{ node: "a", error: "no such tracepoint" }]]);
  });
});

describe("when something is away", () => {
  const gone = async (world: World, tracers: readonly FakeTracer[], limitMs: number): Promise<void> => {
    await world.clock.until(() => tracers.every((t) => t.attached === 0), limitMs);
  };

  it("a node without an agent is counted as asked and not answering", async () => {
    const world = new World(20, "dc1");
    world.cluster("dc1").addNode("a", {});
    world.cluster("dc1").api.put(kinds.Node, { apiVersion: "v1", kind: "Node", metadata: { name: "bare" } });
    await world.joined();
    const { status, coverage } = await world.answer();
    expect([status, coverage.asked, coverage.answered]).toEqual(["partial", 2, 1]);
    expect(coverage.errors).toEqual([
      { node: "bare", error: "no agent of this node is connected to the hub" },
    ]);
  });

  it("an agent that is lost during the run costs its own answer only", async () => {
    const world = new World(21, "dc1");
    const a = world.cluster("dc1").addNode("a", { maps: [countMap({ x: 1 })] });
    world
      .cluster("dc1")
      .addNode("b", { maps: [countMap({ x: 2 })], chunks: [{ atMs: 1_000, chunk: round(0, 2) }] });
    await world.joined();
    const asked = world.ask();
    await world.clock.until(() => a.attached === 1);
    world.cluster("dc1").members.get("a")!.wire().cut();
    await gone(world, [a], 100);
    // It does not hold the others' rounds up.
    await world.clock.until(() => asked.events.some((e) => e.kind === "round"), 1_500);
    expect(asked.outcome).toBeUndefined();
    await world.clock.until(() => asked.outcome !== undefined);
    const { status, maps, coverage } = asked.outcome!;
    expect([status, rowsOf(maps, "@c")]).toEqual(["partial", [{ key: ["x"], cell: { number: "2" } }]]);
    expect(coverage.errors).toEqual([{ node: "a", error: "the agent's connection was lost during the run" }]);
  });

  it("a caller that dies takes its run off all nodes at once", async () => {
    const world = new World(22, "dc1", "dc2");
    const tracers = [world.cluster("dc1").addNode("a", {}), world.cluster("dc2").addNode("b", {})];
    await world.joined();
    world.ask({ durationSeconds: 600 });
    await world.clock.until(() => tracers.every((t) => t.attached === 1));
    for (const cluster of world.clusters.values()) for (const wire of cluster.callers) wire.cut();
    await gone(world, tracers, 200);
  });

  it("a caller that falls silent loses its run within 5 s", async () => {
    const world = new World(23, "dc1");
    const a = world.cluster("dc1").addNode("a", {});
    await world.joined();
    world.ask({ durationSeconds: 600 });
    await world.clock.until(() => a.attached === 1);
    world.cluster("dc1").callers[0]!.freeze();
    // It cannot reach the API server either.
    world.cluster("dc1").api.fault = (_, __, client) =>
      client === "caller" ? new TransportError("timeout", "no answer") : undefined;
    await world.clock.advance(3_000);
    expect(a.attached).toBe(1);
    await gone(world, [a], 2_100);
  });

  it("a hub that dies takes all its runs off the nodes at once, and agents come back", async () => {
    const world = new World(24, "dc1");
    const a = world.cluster("dc1").addNode("a", {});
    await world.joined();
    const asked = world.ask({ durationSeconds: 600 });
    await world.clock.until(() => a.attached === 1);
    world.cluster("dc1").killHub();
    await gone(world, [a], 200);
    await world.clock.until(() => asked.outcome !== undefined);
    expect(asked.outcome!.status).toBe("failed");
    expect(asked.outcome!.clusters[0]!.error).toMatch(/lost/);
    await world.joined();
    expect((await world.answer()).status).toBe("ok");
  });

  it("a hub that falls silent: everything is detached within 5 s", async () => {
    const world = new World(25, "dc1");
    const a = world.cluster("dc1").addNode("a", {});
    await world.joined();
    world.ask({ durationSeconds: 600 });
    await world.clock.until(() => a.attached === 1);
    world.cluster("dc1").members.get("a")!.wire().freeze();
    await gone(world, [a], 5_000);
    // The hub, for its part, has given the silent agent up.
    await world.clock.until(() => world.cluster("dc1").core.agents.stats.silent === 1, 1_200);
  });

  it("an agent that hangs is given up a few seconds after the deadline", async () => {
    const world = new World(26, "dc1");
    world.cluster("dc1").addNode("a", { hangs: true });
    world.cluster("dc1").addNode("b", { maps: [countMap({ x: 1 })] });
    await world.joined();
    const asked = world.ask({ durationSeconds: 5 });
    await world.clock.until(() => asked.outcome !== undefined, 15_000);
    const { status, coverage, maps } = asked.outcome!;
    expect([status, coverage.answered, rowsOf(maps, "@c").length]).toEqual(["partial", 1, 1]);
  });

  it("a node that takes too long to compile is left behind, and lets go when it is ready", async () => {
    const world = new World(27, "dc1");
    const slow = world.cluster("dc1").addNode("slow", { prepareMs: 20_000 });
    world.cluster("dc1").addNode("b", {});
    await world.joined();
    const { status, coverage } = await world.answer();
    expect(status).toBe("partial");
    expect(coverage.errors[0]!.error).toMatch(/has not compiled within 5 s/);
    await world.clock.advance(20_000);
    expect([slow.attaches, slow.runs.size]).toEqual([0, 0]);
  });

  it("a cluster that refuses does not keep the others' answer back", async () => {
    const world = new World(28, "dc1", "dc2");
    world.cluster("dc1").addNode("a", { maps: [countMap({ x: 1 })] });
    world.cluster("dc2").addNode("b", {});
    world.cluster("dc2").api.fault = ({ verb, kind }, _, client) =>
      verb === "create" && kind === "Trace" && client === "caller"
        ? new ApiError(403, "Forbidden", 'User "eve" cannot create resource "traces"')
        : undefined;
    await world.joined();
    const asked = world.ask();
    await world.clock.until(() => asked.outcome !== undefined);
    expect(asked.outcome!.status).toBe("partial");
    expect(asked.events.find((e) => e.kind === "out")).toMatchObject({ cluster: "dc2", error: /^refused/ });
    expect(asked.outcome!.clusters.map((c) => c.answered)).toEqual([1, 0]);
  });

  it("says what is the matter with a cluster that cannot be asked", async () => {
    const cases: readonly [Error, RegExp][] = [
      [new TransportError("connect", "ECONNREFUSED"), /does not answer/],
      [new ApiError(404, "NotFound", "the server could not find the requested resource"), /not installed/],
      [new ApiError(401, "Unauthorized", "Unauthorized"), /refused/],
    ];
    for (const [error, words] of cases) {
      const world = new World(29, "dc1");
      world.cluster("dc1").api.fault = ({ verb }, _, client) =>
        verb === "create" && client === "caller" ? error : undefined;
      const { status, clusters } = await world.answer();
      expect(status).toBe("failed");
      expect(clusters[0]!.error).toMatch(words);
    }
  });

  it("a cluster without a hub is waited for 10 s", async () => {
    const world = new World(30, "dc1");
    await world.cluster("dc1").core.traces[Symbol.asyncDispose]();
    const asked = world.ask();
    await world.clock.until(() => asked.outcome !== undefined, 12_000);
    expect(asked.outcome!.clusters[0]!.error).toMatch(/no hub took the run within 10 s/);
    expect(world.cluster("dc1").api.all(kinds.Trace)).toEqual([]);
  });
});
